"""The walk: instance, demand, fleet, problem, search, placement, verifier, schedule."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from solver.backends.base import Controls
from solver.deployment import Deployment
from solver.engines import EngineSet, cost_model_of, engines_of
from solver.hint import deployment_from
from solver.instance import Instance
from solver.load import load_instance
from solver.points import points_of
from solver.result import Status
from solver.scheduling.demand import Demand
from solver.scheduling.fleet import Fleet, fleet_of
from solver.scheduling.problem import Kind, Problem, check_problem
from solver.scheduling.rules import Rules
from solver.scheduling.search import Candidate, Found, Search, candidate_of, floors_of
from solver.scheduling.shortage import Shortage, shortage_of
from solver.scheduling.static import static_of

LIMIT_S = 60.0
SHARE_OF_STATIC = 0.2
"""Share of the time that the best static plan may take."""


@dataclass(frozen=True)
class Schedule:
    """
    The answer: who serves through all periods, and what is proved.

    Parameters
    ----------
    problem
        What was scheduled.
    status
        ``optimal`` where the plan is verified and its value equals a bound for the whole horizon.
    best
        The plan with the lives of its replicas, or None.
    bound
        Proved bound on the objective, or None.
    static
        The best plan that never changes, with its value; None where none holds.
    feasibility
        What the verifier said.
    shortage
        Why nothing meets the demand, where that is proved.
    found
        How it was searched.
    gap_asked
        Gap that counts as done.
    wall_s
        Seconds from instance to answer.
    is_static_proved
        Whether it is proved that no better plan never changes.
    """

    problem: Problem
    status: Status
    best: Candidate | None
    bound: Fraction | None
    static: Candidate | None
    feasibility: str
    shortage: Shortage | None
    found: Found
    gap_asked: float
    wall_s: float
    is_static_proved: bool = True

    @property
    def value(self) -> Fraction | None:
        """The objective; None without a plan."""
        return None if self.best is None else self.best.value

    @property
    def gap(self) -> float | None:
        """|bound - value| / |value|; None without both."""
        if self.value is None or self.bound is None:
            return None
        return float(abs(self.bound - self.value) / abs(self.value)) if self.value else float(self.bound != self.value)

    @property
    def is_done(self) -> bool:
        """Whether the optimum is proved, or the gap that was asked for."""
        return self.status == "optimal" or (self.gap is not None and 0 < self.gap_asked >= self.gap)


def schedule(
    what: Instance | str | Path,
    demand: Demand,
    *,
    kind: Kind = "gpu-hours",
    rules: Rules | None = None,
    shortfall_price: Fraction | None = None,
    current: Mapping[str, Any] | None = None,
    max_changes: int | None = None,
    time_limit_s: float | None = LIMIT_S,
    gap: float = 0.0,
    folder: Path | None = None,
) -> Schedule:
    """
    The best schedule of an instance through all periods of a demand, with its bound.

    Parameters
    ----------
    what
        An instance, or the path of an instance file.
    demand
        Requests/s of each period (:func:`solver.scheduling.demand.read_demand`).
    kind, shortfall_price, max_changes
        See :class:`solver.scheduling.problem.Problem`.
    rules
        What changes take; the defaults of :class:`Rules`.
    current
        A result (parsed JSON) that runs before the first period, or None.
    time_limit_s
        Wall seconds of the search, or None.
    gap
        Relative gap at which to stop; 0 proves.
    folder
        Where relative paths in the instance start; the folder of the file where one is given.

    Raises
    ------
    costmodels.errors.InputError
        When something that was given has faults.
    """
    started = time.perf_counter()
    problem = problem_of(what, demand, kind, rules, shortfall_price, current, max_changes, folder)
    return solved(problem, Controls(time_limit_s=time_limit_s, gap=gap), started)


def problem_of(
    what: Instance | str | Path,
    demand: Demand,
    kind: Kind = "gpu-hours",
    rules: Rules | None = None,
    shortfall_price: Fraction | None = None,
    current: Mapping[str, Any] | None = None,
    max_changes: int | None = None,
    folder: Path | None = None,
) -> Problem:
    """The problem of :func:`schedule`, checked."""
    instance, folder = load_instance(what, folder)
    engines = engines_of(instance, cost_model_of(instance, folder))
    table = points_of(instance, engines)
    running = None if current is None else _running(current, instance, engines)
    kept = [] if running is None else [a.engine for a in running.assignments]
    fleet = fleet_of(
        instance, engines, table, rules or Rules(), demand.period_s, kept=kept, counted=max_changes is not None
    )
    counts = None if running is None else _counts(running, fleet)
    problem = Problem(fleet, demand, kind, shortfall_price, counts, max_changes)
    check_problem(problem)
    return problem


def _running(document: Mapping[str, Any], instance: Instance, engines: EngineSet) -> Deployment:
    """The deployment of ``--current``."""
    kind = document.get("format") if isinstance(document, Mapping) else document
    if kind != "disagg-result":
        raise InputError([Fault("--current", f"got format {kind!r}, must be disagg-result (of solve -o)")])
    deployment = deployment_from(document, instance, engines)
    if deployment is None:
        text = "has no deployment, or engines that this instance has not; solve the same instance for it"
        raise InputError([Fault("--current", text)])
    return deployment


def _counts(running: Deployment, fleet: Fleet) -> tuple[int, ...]:
    place = {column.engine.index: index for index, column in enumerate(fleet.columns)}
    counts, faults = [0] * len(fleet.columns), []
    for a in running.assignments:
        if a.engine.index in place:
            counts[place[a.engine.index]] += int(a.replicas)
        else:
            label = a.engine.curve.partition.label
            faults.append(Fault("--current", f"{a.role} engine {label} has no batch within the limits of the instance"))
    for pool in fleet.instance.pools:
        used = sum(n * c.gpus for n, c in zip(counts, fleet.columns, strict=True) if c.engine.pool.name == pool.name)
        if used > (pool.gpus or 0):
            faults.append(Fault("--current", f"uses {used} GPUs of pool {pool.name}, which has {pool.gpus}"))
    if faults:
        raise InputError(faults)
    return tuple(counts)


def solved(problem: Problem, controls: Controls, started: float | None = None) -> Schedule:
    """Searches, verifies and judges; the time counts from ``started``, of :func:`time.perf_counter`."""
    started = time.perf_counter() if started is None else started
    limit = controls.time_limit_s
    plan, peak = static_of(problem, None if limit is None else limit * SHARE_OF_STATIC)
    usable = plan is not None and problem.current is None
    static = None if plan is None else candidate_of(replace(plan, problem=replace(problem, current=None)))
    floors = floors_of(problem, None if limit is None else limit * SHARE_OF_STATIC)
    if limit is not None:
        spent = time.perf_counter() - started
        controls = replace(controls, time_limit_s=0.0 if peak.is_interrupted else max(0.0, limit - spent))
    found = Search(problem, controls, plan if usable else None, floors).run()
    shortage = None
    if found.best is None and not problem.may_fall_short:
        shortage = shortage_of(problem, controls)
    answer = Schedule(
        problem, "unknown", found.best, found.bound, static, "nothing to verify", shortage, found, controls.gap, 0.0
    )
    proved = peak.best is not None and peak.bound == peak.best.value
    return replace(_judged(answer), is_static_proved=proved, wall_s=round(time.perf_counter() - started, 3))


def _judged(answer: Schedule) -> Schedule:
    """The status: optimal only where the verifier agrees and value and bound are equal."""
    if answer.best is None:
        if answer.shortage is not None or answer.found.is_infeasible:
            return replace(answer, status="infeasible", bound=None)
        return answer
    from solver.scheduling.document import as_dict
    from solver.verify_schedule import verify_schedule

    fleet = answer.problem.fleet
    status: Status = "optimal" if answer.best.value == answer.bound else "feasible"
    told = replace(answer, status=status, feasibility="verified exactly")
    faults = verify_schedule(fleet.instance, fleet.engines, as_dict(told)).faults
    return replace(told, status="unknown", feasibility=f"REFUTED: {faults[0]}") if faults else told
