"""What duality gives a search: a start, an exact bound, and columns that no better deployment can use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solver.assembly import assembled
from solver.backends.base import BackendError
from solver.clock import Clock, Stopped
from solver.column import Column
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.dual_bound import DualBound
from solver.formulation.points import most_flow
from solver.instance import Instance
from solver.measure import objective_of
from solver.multipliers import best_bound
from solver.optimise import WIDE
from solver.relaxation import NOUGHT, Relaxation, relaxation_of
from solver.resources import prices_of, resources_of
from solver.start import started
from solver.verify_dual import bound_again

LEAST_PARTS = 10
"""Workloads x pools from which duality is asked first; with large fleets, whenever there is more than one."""
BESIDE = 4
"""Columns of least price for each role of a way that the relaxation uses, which a start may use beside its own."""


@dataclass(frozen=True)
class Dual:
    """
    What is known before any search.

    Parameters
    ----------
    start
        A deployment that holds exactly, or None.
    value
        No deployment's measure is above it: evaluated twice, by separate code; None without a bound.
    certificate
        What the bound rests on, for the result file.
    excluded
        Engine and batch of points that no deployment uses which is at least as good as the start.
    """

    start: Deployment | None
    value: Fraction | None
    certificate: Mapping[str, Any] | None
    excluded: frozenset[tuple[int, int]]


def wants(instance: Instance, columns: Sequence[Column]) -> bool:
    """
    Whether duality is asked: where several workloads or pools make an instance large.

    Not for a ratio, for limits on the KV hand-over, which the check of the bound does not know, and for idle GPUs that
    cost: there the measure is not the objective.
    """
    parts = len(instance.workloads) * len(instance.pools)
    wide = any(column.most > WIDE for column in columns)
    large = parts >= LEAST_PARTS or (wide and parts > 1)
    return large and is_linear(instance)


def is_linear(instance: Instance) -> bool:
    """Whether the bound says something of the objective."""
    ratio = instance.objective == "throughput_per_gpu"
    return not (ratio or instance.limits_handover or instance.budget.count_idle or instance.is_unlimited)


def dual_of(instance: Instance, candidates: Candidates, clock: Clock, start: Deployment | None) -> Dual:
    """
    Bound, start and exclusions.

    Parameters
    ----------
    instance, candidates
        The instance and its points.
    clock
        Time.
    start
        A deployment known to hold, or None.
    """
    columns, measure = candidates.columns(), objective_of(instance)
    rows = resources_of(instance, (column.engine for column in columns))
    most = most_flow(instance, columns)
    try:
        relaxation = relaxation_of(instance, columns, measure, rows)
        if relaxation is None:
            return Dual(start, None, None, frozenset())
        bound, cuts = best_bound(instance, columns, measure, rows, relaxation, most, clock)
    except (BackendError, Stopped, KeyboardInterrupt) as reason:
        clock.stopped(reason)
        return Dual(start, None, None, frozenset())
    best, excluded = start, frozenset[tuple[int, int]]()
    put = _tried(lambda: assembled(instance, candidates.engine_set, columns, rows, cuts, clock), clock)
    best = max((d for d in (best, put) if d is not None), key=measure.of, default=None)
    if best is None:
        best = _tried(lambda: started(instance, candidates, clock, _likely(columns, relaxation, bound, 0)), clock)
    certificate = bound.as_dict()
    try:
        value = bound_again(instance, candidates.engine_set, certificate)
    except KeyboardInterrupt as reason:
        clock.stopped(reason)
        return Dual(best, None, None, frozenset())
    find = (
        lambda: started(instance, candidates, clock, _likely(columns, relaxation, bound, BESIDE)),
        lambda: started(instance, candidates, clock, candidates.without(excluded).columns()),
    )
    for attempt in find:
        excluded = frozenset() if best is None else _excluded(columns, bound, measure.of(best))
        if best is not None and measure.of(best) == value:
            break
        found = _tried(attempt, clock)
        best = max((d for d in (best, found) if d is not None), key=measure.of, default=None)
    if best is not None:
        excluded = _excluded(columns, bound, measure.of(best))
    return Dual(best, value, {**certificate, "value": str(value)}, excluded)


def _tried(attempt: Callable[[], Deployment | None], clock: Clock) -> Deployment | None:
    """A deployment, where one is found in time."""
    try:
        return attempt()
    except (BackendError, Stopped, KeyboardInterrupt) as reason:
        clock.stopped(reason)
        return None


def _likely(columns: Sequence[Column], relaxation: Relaxation, bound: DualBound, beside: int) -> tuple[Column, ...]:
    """The columns that the relaxation or the plans of the bound use, and the cheapest beside them."""
    used = {place for place, count in enumerate(relaxation.replicas) if count > NOUGHT}
    used |= {place for alone in bound.alone.values() for plan in alone.plans for place in plan}
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, column in enumerate(columns):
        joint = column.engine.joint if column.role != "colocated" else ()
        groups.setdefault((column.engine.workload.name, column.role, joint), []).append(place)

    def price(place: int) -> Fraction:
        column = columns[place]
        return prices_of(column.engine, bound.measure.prices, bound.multipliers) / column.requests_per_s

    kept = set(used)
    for group in groups.values():
        if used.intersection(group):
            kept |= set(sorted(group, key=price)[:beside])
    return tuple(columns[place] for place in sorted(kept))


def _excluded(columns: Sequence[Column], bound: DualBound, value: Fraction) -> frozenset[tuple[int, int]]:
    """The points with which the bound is below a value that is reached: not even as good a deployment uses them."""
    return frozenset(
        (column.engine.index, column.batch)
        for place, column in enumerate(columns)
        if bound.with_column(place, column.engine.workload.name) < value
    )
