"""What the page of an instance rests on: its optimum, its frontier, the envelopes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from solver.engines import EngineSet
from solver.frontier import Frontier
from solver.instance import Instance
from solver.page.envelopes import Envelope, Progress, envelopes_of
from solver.planner import Options, solve, trace
from solver.read import read_instance
from solver.report import headline
from solver.result import Result


@dataclass(frozen=True)
class Report:
    """
    Everything that a page shows.

    Parameters
    ----------
    instance, engines
        What it is about.
    result
        The optimum under the instance's own limits; None for the page of a frontier alone.
    frontier
        The frontier as the instance allows it; None where there is none.
    no_frontier
        Why there is no frontier, in words; empty where there is one.
    envelopes
        Frontiers with the modes forced; may be empty.
    at
        The interactivity (tokens/s/user) whose best deployment is shown first; None: the optimum.
    """

    instance: Instance
    engines: EngineSet
    result: Result | None
    frontier: Frontier | None
    no_frontier: str = ""
    envelopes: tuple[Envelope, ...] = ()
    at: Fraction | None = None

    @property
    def frontiers(self) -> tuple[Frontier, ...]:
        """Every frontier of the page."""
        return tuple(f for f in (self.frontier, *(one.frontier for one in self.envelopes)) if f is not None)

    @property
    def status(self) -> str:
        """The status of the instance; of a frontier alone, whether it is complete."""
        if self.result is not None:
            return self.result.status
        return "feasible" if self.missing else "optimal"

    @property
    def is_refuted(self) -> bool:
        """Whether the verifier found a fault of ours."""
        own = self.result is not None and self.result.feasibility.startswith("REFUTED")
        return own or any(one.faults for one in self.frontiers)

    @property
    def missing(self) -> tuple[str, ...]:
        """What was not reached, a sentence each."""
        own = () if self.frontier is None or not self.frontier.missing else (f"frontier: {self.frontier.missing}",)
        return (*own, *(f"{one.name} envelope: {one.missing}" for one in self.envelopes if one.missing))

    def as_dict(self) -> dict[str, Any]:
        """What the page rests on as a document, version 1: result and frontier files, and the envelopes."""
        envelopes = {one.name: one for one in self.envelopes}
        return {
            "format": "disagg-report",
            "version": 1,
            "instance": self.instance.name,
            "result": None if self.result is None else self.result.as_dict(),
            "frontier": None if self.frontier is None else self.frontier.as_dict(),
            "envelopes": {
                name: {
                    "allowed": one.is_allowed,
                    "missing": one.missing,
                    "frontier": None if one.frontier is None else one.frontier.as_dict(),
                }
                for name, one in envelopes.items()
            },
            "missing": list(self.missing),
        }


def summary(report: Report) -> Iterator[str]:
    """A few lines on what a page shows."""
    if report.result is not None:
        yield headline(report.result)
    if report.frontier is not None and report.frontier.points:
        yield f"frontier: {len(report.frontier.points)} points, each proved optimal and verified exactly"
    for one in report.envelopes:
        name = {"colocated": "co-located"}.get(one.name, one.name)
        points = len(one.frontier.points) if one.frontier is not None else 0
        yield f"{name} envelope: {points} points{'' if one.is_allowed else ', if it were allowed'}"
    yield from (f"NOT COMPLETE: {text}" for text in report.missing)
    if report.no_frontier:
        yield f"no frontier: {report.no_frontier}"


def report_of(path: Path, options: Options, at: Fraction | None = None, progress: Progress | None = None) -> Report:
    """
    Solves an instance, traces its frontier and the envelopes.

    Parameters
    ----------
    path
        The instance file.
    options
        How to solve; a time limit is for everything together.
    at
        The interactivity (tokens/s/user) whose best deployment is wanted.
    progress
        Called as the work goes on.

    Raises
    ------
    costmodels.errors.InputError
        When the instance has faults, or no deployment on the frontier is that fast.
    """
    started, instance = time.perf_counter(), read_instance(path)
    result = solve(instance, options, folder=path.parent)
    report = Report(instance, result.engines, result, None, at=at)
    if result.status != "optimal":
        told = "the instance is infeasible" if result.status == "infeasible" else "a limit or an interrupt came first"
        return replace(report, no_frontier=told)
    if (now := _within(options, started)) is None:
        return replace(report, no_frontier="a limit or an interrupt came first")
    try:
        tell = None if progress is None else lambda share: progress("own", share / 4)
        frontier = trace(instance, now, folder=path.parent, reached=tell)
    except InputError as error:  # the instance itself is good: it has been solved
        return replace(report, no_frontier=error.faults[0].text)
    if at is not None:
        fast_enough(frontier, at)
    report = replace(report, frontier=frontier)
    now = None if frontier.missing else _within(options, started)
    if now is None:
        return report
    rest = None if progress is None else lambda name, share: progress(name, (1 + 3 * share) / 4)
    return replace(report, envelopes=envelopes_of(instance, now, path.parent, rest, frontier))


def fast_enough(frontier: Frontier, at: Fraction) -> int:
    """
    The place of the frontier's best point that gives each user at least so many tokens/s.

    Raises
    ------
    InputError
        When there is none.
    """
    for index, point in enumerate(frontier.points):
        if point.tokens_per_s_per_user is not None and point.tokens_per_s_per_user >= at:
            return index
    fastest = max((p.tokens_per_s_per_user or Fraction(0) for p in frontier.points), default=Fraction(0))
    end = "was traced to" if frontier.missing else "ends at"
    text = f"got {float(at):g} tokens/s/user, but the frontier {end} {float(fastest):.6g}; ask for no more than that"
    raise InputError([Fault("--at", text)])


def _within(options: Options, started: float) -> Options | None:
    """The options with the time that is left; None where none is."""
    limit = options.controls.time_limit_s
    if limit is None:
        return options
    left = limit - (time.perf_counter() - started)
    return replace(options, controls=replace(options.controls, time_limit_s=left)) if left > 0 else None
