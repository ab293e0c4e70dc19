"""What the page of an instance rests on: its optimum, its frontier, the envelopes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from costmodels.errors import Fault, InputError
from solver.engines import EngineSet
from solver.frontier import Frontier
from solver.instance import Instance
from solver.page.envelopes import Envelope, Progress, envelopes_of
from solver.planner import Options, solve, trace
from solver.read import read_instance
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
    def missing(self) -> tuple[str, ...]:
        """What was not reached, a sentence each."""
        own = () if self.frontier is None or not self.frontier.missing else (f"frontier: {self.frontier.missing}",)
        return (*own, *(f"{one.name} envelope: {one.missing}" for one in self.envelopes if one.missing))


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
        tell = None if progress is None else lambda share: progress("frontier", share)
        frontier = trace(instance, now, folder=path.parent, reached=tell)
    except InputError as error:  # the instance itself is good: it has been solved
        return replace(report, no_frontier=error.faults[0].text)
    if at is not None:
        fast_enough(frontier, at)
    report = replace(report, frontier=frontier)
    now = None if frontier.missing else _within(options, started)
    if now is None:
        return report
    return replace(report, envelopes=envelopes_of(instance, now, path.parent, progress))


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
