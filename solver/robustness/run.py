"""The nominal plan, what of it breaks when the cost model is wrong, the robust plan, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from costmodels.operating_curve import Role
from solver.backends.base import Controls
from solver.clock import Clock
from solver.columns import Candidates
from solver.deployment import Assignment, Deployment
from solver.engines import EngineSet
from solver.instance import Instance, Workload
from solver.load import load_instance
from solver.planner import Options, solve
from solver.points import PointTable, points_of, within
from solver.result import Result, deployment_dict, exact_text, instance_hash
from solver.robustness.best import Found, RobustStages
from solver.robustness.spread import Spread, spread_of
from solver.slack import end_to_end_ms
from solver.verify_robust import robust_faults


@dataclass(frozen=True)
class Strain:
    """
    What an error does to one engine of a plan.

    Parameters
    ----------
    assignment
        The engine with its batch and replicas.
    error
        What it may take longer, as a share.
    late
        Latency name to (latency in ms when it is wrong, its limit or None).
    lost_requests_per_s
        Planned requests/s that are lost when it is wrong.
    """

    assignment: Assignment
    error: Fraction
    late: Mapping[str, tuple[Fraction, Fraction | None]]
    lost_requests_per_s: Fraction

    @property
    def breaks(self) -> list[str]:
        """The limits that it breaks."""
        return [name for name, (ms, limit) in self.late.items() if limit is not None and ms > limit]


@dataclass(frozen=True)
class Robust:
    """
    The answer to how robust a plan is.

    Parameters
    ----------
    instance, engines
        What was planned.
    spread
        The uncertainty set.
    nominal
        The plan that trusts the cost model.
    strains
        What the errors do to each of its engines.
    unmet
        Workload name to the requests/s that it still carries in the worst case, where that is below its demand.
    late
        Workload name to its worst end-to-end time in ms, where that is above its limit.
    nominal_worst
        The objective of the nominal plan in the worst case, its broken limits left aside.
    found
        The robust plan.
    robust_nominal
        The objective of the robust plan where the cost model is right.
    solves, wall_s
        Models solved for it, and wall seconds in all.
    faults
        What the check by enumeration found wrong; empty unless we are at fault.
    """

    instance: Instance
    engines: EngineSet
    spread: Spread
    nominal: Result
    strains: tuple[Strain, ...]
    unmet: Mapping[str, Fraction]
    late: Mapping[str, Fraction]
    nominal_worst: Fraction | None
    found: Found
    robust_nominal: Fraction | None
    solves: int
    wall_s: float
    faults: tuple[str, ...]

    @property
    def survives(self) -> bool:
        """Whether the nominal plan keeps all its limits and demands in every case."""
        return not (self.unmet or self.late or any(strain.breaks for strain in self.strains))

    @property
    def price(self) -> Fraction | None:
        """What the robust plan gives away where the cost model is right, as a share of the nominal objective."""
        best = self.nominal.objective
        if self.robust_nominal is None or not best:
            return None
        return (self.robust_nominal - best if self.instance.is_minimised else best - self.robust_nominal) / best

    def rows(self) -> list[dict[str, object]]:
        """One row an engine of both plans, for pandas or polars."""
        plans = (("nominal", self.nominal.deployment), ("robust", self.found.deployment))
        return [
            {
                "plan": name,
                "workload": strain.assignment.engine.workload.name,
                "role": strain.assignment.role,
                "pool": strain.assignment.engine.pool.name,
                "partition": strain.assignment.engine.curve.partition.label,
                "batch": strain.assignment.batch,
                "replicas": strain.assignment.replicas,
                "error": float(strain.error),
                "breaks": ", ".join(strain.breaks),
                "lost_requests_per_s": float(strain.lost_requests_per_s),
            }
            for name, deployment in plans
            if deployment is not None
            for strain in strains_of(deployment, self.spread)
        ]

    def as_dict(self) -> dict[str, Any]:
        """The file, version 1."""
        values = {
            "nominal": self.nominal.objective,
            "nominal_worst": self.nominal_worst,
            "robust_nominal": self.robust_nominal,
            "robust_worst": self.found.value,
            "bound": self.found.bound,
            "price": self.price,
        }
        errors = {
            f"{workload}/{pool}/{role}": exact_text(e) for (workload, pool, role), e in self.spread.errors.items()
        }
        return {
            "format": "disagg-robust",
            "version": 1,
            "instance": self.instance.name,
            "instance_hash": instance_hash(self.instance, self.engines),
            "objective_kind": self.instance.objective,
            "uncertainty": {"budget": self.spread.budget, "errors": errors, "source": self.spread.source},
            "nominal_status": self.nominal.status,
            "status": self.found.verdict,
            **{name: None if value is None else float(value) for name, value in values.items()},
            "exact": {name: exact_text(value) for name, value in values.items()},
            "nominal_survives": self.survives,
            "engines": self.rows(),
            "unmet_requests_per_s": {name: exact_text(value) for name, value in self.unmet.items()},
            "solves": self.solves,
            "wall_s": round(self.wall_s, 6),
            "deployment": None if self.found.deployment is None else deployment_dict(self.found.deployment),
        }


def robust(
    what: Instance | str | Path,
    *,
    error: Fraction | None = None,
    by_role: Mapping[Role, Fraction] | None = None,
    budget: int = 1,
    controls: Controls | None = None,
    folder: Path | None = None,
) -> Robust:
    """
    How much of the best plan survives an error of the cost model, and the best plan that does.

    Parameters
    ----------
    what, folder
        As for :func:`solver.planner.solve`.
    error, by_role
        What an engine may take longer than the cost model says, as a share, and for single roles; None for its known
        error.
    budget
        How many engines in use may be wrong at once.
    controls
        Threads, seed, limits; the time limit is for nominal and robust plan together.

    Raises
    ------
    costmodels.errors.InputError
        When instance or tables have faults, no error is known, or the instance has what is not covered.
    """
    started = time.perf_counter()
    instance, folder = load_instance(what, folder)
    spread = spread_of(instance, budget, error, by_role or {})
    clock = Clock(controls or Controls())
    nominal = solve(instance, Options(controls=clock.controls), folder=folder)
    stages = _stages(instance, nominal.engines, spread, clock)
    plan = nominal.deployment
    strains = () if plan is None else tuple(strains_of(plan, spread))
    unmet, late = ({}, {}) if plan is None else (_unmet(plan, spread), _late(plan, spread))
    holds = not (unmet or late or any(strain.breaks for strain in strains))
    if nominal.status == "infeasible":
        found = Found("infeasible", None, None, None)
    else:
        found = stages.best(nominal.bound if nominal.status == "optimal" else None, plan if holds else None)
    best = found.deployment
    return Robust(
        instance=instance,
        engines=nominal.engines,
        spread=spread,
        nominal=nominal,
        strains=strains,
        unmet=unmet,
        late=late,
        nominal_worst=None if plan is None else stages.value(plan),
        found=found,
        robust_nominal=None if best is None else best.objective,
        solves=clock.solves,
        wall_s=time.perf_counter() - started,
        faults=() if best is None else tuple(_faults(instance, nominal.engines, spread, found)),
    )


def _stages(instance: Instance, engines: EngineSet, spread: Spread, clock: Clock) -> RobustStages:
    """
    The search over the points that hold their limits when they are wrong.

    Where a role may mix engines, a plan of two is hurt less by one wrong engine than a plan of the better one alone, so
    no point dominates another across engines. An engine runs at one batch, so of its own points the fastest is enough,
    unless an end-to-end limit joins it with others.
    """
    dominance = instance.serving.engines_per_role == 1
    table = within(instance, spread.slowed(points_of(instance, engines, thin=dominance)))
    table = table if dominance else _fastest(table)
    return RobustStages(instance, Candidates(instance, engines, table, dominance), spread, clock)


def _fastest(table: PointTable) -> PointTable:
    """The table with one point for each engine that no end-to-end limit joins with others: that of highest rate."""
    keep = np.zeros(len(table), dtype=bool)
    for engine in table.engines:
        points = np.flatnonzero(table.engine == engine.index)
        joined = engine.workload.e2el_ms is not None and engine.curve.role != "colocated"
        if len(points):
            keep[points if joined else max(points, key=lambda p: int(table.rate[p]))] = True
    return table.subset(keep, table.dropped)


def strains_of(deployment: Deployment, spread: Spread) -> list[Strain]:
    """What the errors do to each engine of a plan."""
    found = []
    for a in deployment.assignments:
        error, workload, late = spread.error(a.engine), a.engine.workload, {}
        if a.role != "decode":
            late["TTFT"] = ((1 + error) * (a.point.ttft_ms or 0), workload.ttft_ms)
        if a.decodes:
            late["TPOT"] = ((1 + error) * a.point.latency_ms, workload.tpot_ms)
        found.append(Strain(a, error, late, deployment.planned(a) * spread.lost(a.engine)))
    return found


def _unmet(deployment: Deployment, spread: Spread) -> dict[str, Fraction]:
    """Workloads whose demand breaks in their own worst case, with what they still carry."""
    from solver.measure import demand_of
    from solver.robustness.worst import worst_of

    found = {}
    for workload in deployment.instance.workloads:
        if workload.requests_per_s is not None:
            carried = worst_of(demand_of(deployment.instance, workload), spread).of(deployment)
            if carried < workload.requests_per_s:
                found[workload.name] = carried
    return found


def _late(deployment: Deployment, spread: Spread) -> dict[str, Fraction]:
    """Workloads whose end-to-end limit breaks when their engines are wrong, with that time in ms."""
    found = {}
    for workload in deployment.instance.workloads:
        worst = _slowed_end_to_end(deployment, workload, spread)
        if workload.e2el_ms is not None and worst is not None and worst > workload.e2el_ms:
            found[workload.name] = worst
    return found


def _slowed_end_to_end(deployment: Deployment, workload: Workload, spread: Spread) -> Fraction | None:
    if not spread.budget:
        return end_to_end_ms(deployment, workload)
    steps, totals = workload.osl - 1, []
    for first, second, ttft in deployment.first_token_ms(workload):
        last = first if second is None and first.role == "colocated" else second
        decoding = Fraction(0) if last is None else steps * last.point.latency_ms * (1 + spread.error(last.engine))
        totals.append(ttft * (1 + spread.error(first.engine)) + decoding)
    return max(totals, default=None)


def _faults(instance: Instance, engines: EngineSet, spread: Spread, found: Found) -> list[str]:
    """The check by enumeration."""
    assert found.deployment is not None
    claimed = None if instance.is_minimised else found.value
    document = deployment_dict(found.deployment)
    return robust_faults(instance, engines, document, spread.error, spread.budget, claimed)
