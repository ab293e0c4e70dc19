"""The columns of an instance that an optimal schedule can need, and which of them can switch into each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from costmodels.errors import Fault, InputError
from solver.columns import copies_inside
from solver.engines import Engine, EngineSet
from solver.instance import Instance
from solver.points import PointTable
from solver.scheduling.engine_column import EngineColumn, Losses, cold_start_s, losses
from solver.scheduling.rules import Rules


@dataclass(frozen=True)
class Fleet:
    """
    What a schedule chooses from.

    Parameters
    ----------
    instance, engines
        The instance and its engines.
    rules
        What changes take.
    period_s
        Seconds of a period.
    columns
        The columns, in canonical order.
    switches
        Pairs of places in ``columns``: a replica of the first can become one of the second.
    """

    instance: Instance
    engines: EngineSet
    rules: Rules
    period_s: Fraction
    columns: tuple[EngineColumn, ...]
    switches: tuple[tuple[int, int], ...]

    def only(self, places: list[int]) -> Fleet:
        """The fleet with some of its columns, and no switches."""
        return replace(self, columns=tuple(self.columns[j] for j in places), switches=())

    def of(self, workload: str, role: str | None = None) -> list[int]:
        """Places of the columns of a workload, of one role or of all."""
        return [
            place
            for place, column in enumerate(self.columns)
            if column.engine.workload.name == workload and role in (None, column.role)
        ]


def fleet_of(
    instance: Instance,
    engines: EngineSet,
    table: PointTable,
    rules: Rules,
    period_s: Fraction,
    *,
    kept: Iterable[Engine] = (),
    counted: bool = False,
    dominance: bool = True,
) -> Fleet:
    """
    Reduces the points of an instance to the columns of a schedule.

    Parameters
    ----------
    instance, engines, table
        The instance, its engines, and their points within the limits.
    rules, period_s
        What changes take, and the seconds of a period.
    kept
        Engines that stay, whatever beats them: those that run already.
    counted
        Whether the number of changes is limited, so that one change may not become two.
    dominance
        False keeps every engine, to measure the effect.

    Raises
    ------
    InputError
        When the cold start of an engine is not known.
    """
    _check(instance)
    best = list(_best_points(table))
    every = [_column(instance, engine, point, table, rules, period_s) for engine, point in best]
    unknown = sorted({engine.workload.model for (engine, _), c in zip(best, every, strict=True) if c is None})
    if unknown:
        text = f"is not known: the weights of {', '.join(unknown)} are not; give cold_start_s in --rules"
        raise InputError([Fault("cold start", text)])
    columns = [column for column in every if column is not None]
    pairs = _pairs(columns) if _switching_helps(columns, rules, counted) else []
    if dominance:
        columns = _undominated(instance, columns, pairs, {id(engine) for engine in kept}, counted)
    columns.sort(key=lambda c: (*c.group[:3], c.gpus, -c.requests_per_s, c.engine.index))
    place = {id(column): index for index, column in enumerate(columns)}
    switches = sorted((place[id(a)], place[id(b)]) for a, b in pairs if id(a) in place and id(b) in place)
    reached = {b for _, b in switches}
    final = [c if j in reached else replace(c, switch_losses=()) for j, c in enumerate(columns)]
    return Fleet(instance, engines, rules, period_s, tuple(final), tuple(switches))


def _check(instance: Instance) -> None:
    """Refuses what is not planned through time, with a way out."""
    faults, serving = [], instance.serving
    if instance.is_unlimited:
        faults.append(Fault("$.pools", "unlimited GPUs have no schedule; give numbers of GPUs"))
    if instance.limits_handover:
        faults.append(
            Fault("$.pools", "a limited KV hand-over is not planned through time; leave kv_gbps, kv_links out")
        )
    if serving.decode_covers:
        faults.append(Fault("$.serving.rate_match", "decode_covers is not planned through time; set it to min"))
    if serving.hybrid:
        faults.append(Fault("$.serving.hybrid", "is not planned through time; set it to false"))
    if serving.survive is not None:
        faults.append(Fault("$.serving.survive", "is not planned through time; leave it out"))
    for index, w in enumerate(instance.workloads):
        joined = "disaggregated" in serving.modes and w.osl != 1 and w.e2el_ms is not None
        if joined and (
            w.ttft_ms is None or w.tpot_ms is None or w.ttft_ms + (w.osl - 1) * w.tpot_ms > (w.e2el_ms or 0)
        ):
            text = "couples prefill and decode; give ttft_ms and tpot_ms that imply it, or serve colocated only"
            faults.append(Fault(f"$.workloads[{index}].sla.e2el_ms", text))
    if faults:
        raise InputError(faults)


def _best_points(table: PointTable) -> Iterator[tuple[Engine, int]]:
    """Yields each engine with its point of the highest rate; of equal ones that of the least latency."""
    starts = np.searchsorted(table.engine, np.arange(len(table.engines) + 1))
    for engine in table.engines:
        points = range(int(starts[engine.index]), int(starts[engine.index + 1]))
        if points:
            yield engine, max(points, key=lambda p: (int(table.rate[p]), -int(table.latency[p]), -int(table.batch[p])))


def _column(
    instance: Instance, engine: Engine, point: int, table: PointTable, rules: Rules, period_s: Fraction
) -> EngineColumn | None:
    """The column of an engine; None where its cold start is not known."""
    cold = cold_start_s(engine, rules)
    if cold is None:
        return None
    workload, role, most = engine.workload, engine.curve.role, engine.most_replicas
    bound = instance.serving.max_replicas.get((workload.name, role))
    started = losses(cold, period_s, rules)
    switched = () if rules.switch_s is None else losses(rules.switch_s, period_s, rules)
    return EngineColumn(
        engine=engine,
        batch=int(table.batch[point]),
        requests_per_s=table.requests_per_s(point) * instance.utilization(workload, role),
        most=most if bound is None else min(most, bound),
        cold_start_s=cold,
        start_losses=started,
        switch_losses=switched,
        min_up=max(1, len(started), len(switched), math.ceil(rules.min_up_s / period_s)),
    )


def _switching_helps(columns: list[EngineColumn], rules: Rules, counted: bool) -> bool:
    """Whether a switch is ever better than a stop and a cold start in the same place."""
    if rules.switch_s is None:
        return False
    faster = any(_sooner(c.switch_losses, c.start_losses) for c in columns)
    return faster or counted or rules.switch_usd_per_gpu < rules.start_usd_per_gpu


def _sooner(a: Losses, b: Losses) -> bool:
    """Whether a lead time loses less than another in any period."""
    return sum(a) < sum(b)


def _pairs(columns: list[EngineColumn]) -> list[tuple[EngineColumn, EngineColumn]]:
    alike: dict[tuple[object, ...], list[EngineColumn]] = {}
    for column in columns:
        key = (column.engine.workload.name, column.engine.pool.name, column.engine.curve.partition)
        alike.setdefault(key, []).append(column)
    return [(a, b) for group in alike.values() for a in group for b in group if a.switches_to(b)]


def _undominated(
    instance: Instance,
    columns: list[EngineColumn],
    pairs: list[tuple[EngineColumn, EngineColumn]],
    kept: set[int],
    counted: bool,
) -> list[EngineColumn]:
    """
    Drops families of columns that another beats.

    A family is what switches into each other, a single column where nothing switches. Family B is not needed where for
    one number k each of its columns is beaten by k replicas of a column of family A: give every replica of B to k of A,
    through its whole life. GPUs and stage groups stay or shrink, capacity stays or grows, lead times and the least time
    up stay or shrink, switches stay switches; so the schedule stays feasible and costs no more.
    """
    families = _families(columns, pairs)
    families.sort(key=lambda f: (min(c.gpus for c in f), -max(c.requests_per_s for c in f), f[0].engine.index))
    found: list[list[EngineColumn]] = []
    for family in families:
        needed = any(id(column.engine) in kept for column in family)
        if needed or not any(_covers(instance, other, family, counted) for other in found):
            found.append(family)
    return [column for family in found for column in family]


def _families(columns: list[EngineColumn], pairs: list[tuple[EngineColumn, EngineColumn]]) -> list[list[EngineColumn]]:
    parent = {id(column): id(column) for column in columns}

    def root(key: int) -> int:
        while parent[key] != key:
            key = parent[key]
        return key

    for a, b in pairs:
        parent[root(id(a))] = root(id(b))
    families: dict[int, list[EngineColumn]] = {}
    for column in columns:
        families.setdefault(root(id(column)), []).append(column)
    return list(families.values())


def _covers(instance: Instance, a: list[EngineColumn], b: list[EngineColumn], counted: bool) -> bool:
    """Whether k replicas of columns of family ``a`` take the place of one of family ``b``, for one k and all of it."""
    first, second = a[0].engine, b[0].engine
    if first.pool.name != second.pool.name or first.workload.name != second.workload.name:
        return False
    bounded = any((c.engine.workload.name, c.role) in instance.serving.max_replicas for c in (*a, *b))
    most = copies_inside(first, second)
    copies = min(most, 1) if bounded or counted else most
    return copies > 0 and all(any(_beats(x, y, copies) for x in a) for y in b)


def _beats(a: EngineColumn, b: EngineColumn, copies: int) -> bool:
    quick = _no_later(a.start_losses, b.start_losses) and _no_later(a.switch_losses, b.switch_losses)
    return a.group == b.group and copies * a.requests_per_s >= b.requests_per_s and quick and a.min_up <= b.min_up


def _no_later(a: Losses, b: Losses) -> bool:
    return len(a) <= len(b) and all(x <= y for x, y in zip(a, b, strict=False))
