"""Columns of the model: the operating points that an optimal deployment can need at given latency limits."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from copy import copy
from fractions import Fraction
from functools import cached_property

import numpy as np

from costmodels.operating_curve import Role
from solver.column import NO_LIMITS, Column, Footprint, Limits
from solver.deployment import Deployment
from solver.engines import Engine, EngineSet
from solver.instance import Instance, Workload
from solver.points import Integers, PointTable, scaled_limit

__all__ = ["NO_LIMITS", "Candidates", "Column", "Footprint", "Limits"]


class Candidates:
    """
    All points of an instance, ready to be reduced to columns at any limits.

    Parameters
    ----------
    instance
        The instance.
    engines
        Its engines.
    table
        Its points.
    dominance
        False keeps every point within the limits, so that the effect of dominance can be measured.

    Notes
    -----
    Why a dominated point is never needed: take a plan that uses it and move its replicas to the dominating point.
    GPUs, stage groups and partners stay or shrink, capacity stays or grows, no limit is broken, so the plan stays
    feasible and its objective does not fall. Where more prefill capacity can hurt (``decode_covers``), prefill points
    are only merged when their rates are equal, and across engines only where a plan may use no more than one engine:
    two equal engines at different batches are more than one engine at one of them.
    """

    def __init__(self, instance: Instance, engines: EngineSet, table: PointTable, dominance: bool = True) -> None:
        self.instance = instance
        self.engine_set = engines
        self.table = table
        self.dominance = dominance
        self._excluded: frozenset[tuple[int, int]] = frozenset()
        self.footprints = [self._reduced(engine, points) for engine, points in self._groups()]
        self._columns: dict[tuple[int, Fraction | None], Column] = {}
        self._by_key = {self._footprint_key(footprint.engine): footprint for footprint in self.footprints}

    def without(self, excluded: frozenset[tuple[int, int]]) -> Candidates:
        """The same without some points (engine and batch) that are proved to be of no use."""
        other = copy(self)
        other._excluded = self._excluded | excluded
        return other

    def tpot_levels(self) -> list[Fraction]:
        """The distinct TPOT of all decode and co-located points, ascending, in ms."""
        return [Fraction(value, self.table.time_scale) for value in self._tpot_levels]

    def tpot_below(self, used: Fraction, min_step: Fraction = Fraction(0)) -> Fraction | None:
        """The largest of these levels strictly below a TPOT in ms, or, with a step, at most TPOT / (1 + step)."""
        levels, most = self._tpot_levels, used * self.table.time_scale / (1 + min_step)
        index = bisect_left(levels, math.ceil(most))
        if min_step and index < len(levels) and levels[index] == most:
            return Fraction(levels[index], self.table.time_scale)
        return Fraction(levels[index - 1], self.table.time_scale) if index else None

    @cached_property
    def _tpot_levels(self) -> list[int]:
        return self._whole_levels(self.table.latency, "prefill", least_osl=2)

    def ttft_levels(self) -> list[Fraction]:
        """The distinct TTFT of all prefill and co-located points, ascending, in ms."""
        levels = {level for late in self.table.late for level in self._levels(late, "decode")}
        return sorted(levels)

    def columns(self, limits: Limits = NO_LIMITS) -> tuple[Column, ...]:
        """The columns at the given limits, in canonical order: of two that could serve alike, the better first."""
        chosen = [point for footprint in self.footprints for point in self._within(footprint, limits)]
        if self.dominance:
            chosen = self._undominated(chosen, limits)
        table = self.table
        chosen.sort(key=lambda p: self._canonical(table.engines[table.engine[p]], p))
        columns = (self._column(point, limits) for point in chosen)
        return tuple(c for c in columns if (c.engine.index, c.batch) not in self._excluded)

    def tightened(self, deployment: Deployment, limits: Limits) -> Deployment | None:
        """
        The same replicas, each at the best point of its footprint within the limits; None where one has none left.

        GPUs, stage groups and partners stay, so what can break is a demand, which is checked; instances in which a plan
        may mix engines, or in which end-to-end limits or ``decode_covers`` couple points, get None.
        """
        serving = self.instance.serving
        coupled = any(workload.e2el_ms is not None for workload in self.instance.workloads)
        if coupled or self._has_arrivals or serving.decode_covers or serving.engines_per_role != 1:
            return None
        chosen = []
        for a in deployment.assignments:
            footprint = self._by_key[self._footprint_key(a.engine)]
            points = self._within(footprint, limits)
            if not points:
                return None
            engine = self.table.engines[self.table.engine[points[-1]]]
            chosen.append((engine, int(self.table.batch[points[-1]]), int(a.replicas)))
        found = Deployment.of(self.instance, chosen)
        demands = ((w, w.requests_per_s) for w in self.instance.workloads if w.requests_per_s is not None)
        return found if all(found.flow(workload) >= demand for workload, demand in demands) else None

    def _canonical(self, engine: Engine, point: int) -> tuple[object, ...]:
        table, partition = self.table, engine.curve.partition
        place = (engine.workload.name, engine.curve.role, engine.pool.name)
        shape = (partition.gpus, partition.stage_group, engine.joint)
        speed = (-int(table.rate[point]), int(table.latency[point]), int(table.ttft[point]))
        return (*place, *shape, *speed, engine.index, int(table.batch[point]))

    def _levels(self, values: Integers, but: str, least_osl: int = 1) -> list[Fraction]:
        return [Fraction(value, self.table.time_scale) for value in self._whole_levels(values, but, least_osl)]

    def _whole_levels(self, values: Integers, but: str, least_osl: int = 1) -> list[int]:
        """Distinct values of the points of other roles, ascending, in units of the table."""
        engines = self.table.engines
        wanted = np.array([e.curve.role != but and e.workload.osl >= least_osl for e in engines], dtype=bool)
        if not len(self.table):
            return []
        found: list[int] = np.unique(values[wanted[self.table.engine]]).tolist()
        return found

    def _groups(self) -> Iterator[tuple[Engine, list[int]]]:
        members: dict[tuple[object, ...], tuple[Engine, list[int]]] = {}
        starts = np.searchsorted(self.table.engine, np.arange(len(self.table.engines) + 1))
        for engine in self.table.engines:
            points = range(int(starts[engine.index]), int(starts[engine.index + 1]))
            if points:
                members.setdefault(self._footprint_key(engine), (engine, []))[1].extend(points)
        yield from members.values()

    def _footprint_key(self, engine: Engine) -> tuple[object, ...]:
        partition, role = engine.curve.partition, engine.curve.role
        partners = engine.joint if role != "colocated" else ()
        return (engine.workload.name, role, engine.pool.name, partition.gpus, partition.pp, partners)

    def _reduced(self, engine: Engine, points: list[int]) -> Footprint:
        """The points of a footprint by ascending time, without those that an earlier one beats in rate."""
        table = self.table
        if self._has_arrivals and engine.curve.role == "prefill":
            return self._reduced_late(engine, points)
        index = np.array(points)
        time = (table.ttft if engine.curve.role == "prefill" else table.latency)[index]
        rate = table.rate[index]
        order = np.lexsort((table.batch[index], table.engine[index], _keys(-rate), _keys(time)))
        index, rate, time = index[order], rate[order], time[order]
        if self.dominance and self._rate_only_helps(engine.curve.role):
            best = np.maximum.accumulate(rate)
            keep = np.append(True, rate[1:] > best[:-1])
            index, time = index[keep], time[keep]
        elif self.dominance:
            first = self._first_of_equal(index, rate)
            index, time = index[first], time[first]
        return Footprint(engine, tuple(map(int, index)), tuple(map(int, time)))

    def _reduced_late(self, engine: Engine, points: list[int]) -> Footprint:
        """As :meth:`_reduced` where prefill points have several TTFT: without those that another beats in them all."""
        table = self.table
        ordered = sorted(points, key=lambda p: (int(table.ttft[p]), -int(table.rate[p]), int(table.batch[p])))
        helps, alone = self._rate_only_helps("prefill"), self.instance.serving.engines_per_role == 1
        kept: list[int] = []
        for point in ordered if self.dominance else ():
            rate, mine = int(table.rate[point]), int(table.engine[point])
            rivals = (
                other
                for other in kept
                if (helps and int(table.rate[other]) >= rate)
                or (int(table.rate[other]) == rate and (alone or int(table.engine[other]) == mine))
            )
            if not any(all(late[other] <= late[point] for late in table.late) for other in rivals):
                kept.append(point)
        kept = kept if self.dominance else ordered
        return Footprint(engine, tuple(kept), tuple(int(table.ttft[point]) for point in kept))

    @property
    def _has_arrivals(self) -> bool:
        """Whether TTFT depends on the pool that decodes."""
        return len(self.table.late) > 1

    def _first_of_equal(self, index: np.ndarray, rate: np.ndarray) -> list[int]:
        """Positions of the first point of each rate; of each rate and engine where several engines may be mixed."""
        alone = self.instance.serving.engines_per_role == 1
        seen: dict[tuple[int, int], int] = {}
        for position, (point, value) in enumerate(zip(index, rate, strict=True)):
            seen.setdefault((0 if alone else int(self.table.engine[point]), int(value)), position)
        return list(seen.values())

    def _rate_only_helps(self, role: Role) -> bool:
        return not (self.instance.serving.decode_covers and role == "prefill")

    def _within(self, footprint: Footprint, limits: Limits) -> tuple[int, ...]:
        """The points of a footprint that the limits leave, reduced to the best where time counts no more."""
        name, role = footprint.engine.workload.name, footprint.role
        tpot, ttft = limits.tpot_ms.get(name), limits.ttft_ms.get(name)
        if footprint.engine.workload.osl == 1:
            tpot = None
        if role == "colocated" and ttft is not None:
            return self._colocated_within(footprint, tpot, ttft)
        limit = ttft if role == "prefill" else tpot
        if limit is None:
            points = footprint.points
        else:
            points = footprint.points[: bisect_right(footprint.times, scaled_limit(limit, self.table))]
        return self._fastest(points) if self._only_best(footprint, limits) else points

    def _fastest(self, points: tuple[int, ...]) -> tuple[int, ...]:
        """The point of highest rate: the last, where the points are a staircase."""
        return (max(points, key=lambda p: int(self.table.rate[p])),) if points and self._has_arrivals else points[-1:]

    def _only_best(self, footprint: Footprint, limits: Limits) -> bool:
        coupled = self._is_coupled(footprint.engine, limits)
        return self.dominance and self._rate_only_helps(footprint.role) and not coupled

    def _is_coupled(self, engine: Engine, limits: Limits) -> bool:
        """Whether an end-to-end limit couples prefill and decode: not where their own limits already imply it."""
        workload, role = engine.workload, engine.curve.role
        if self._has_arrivals and role == "prefill" and self._ttft_limit(workload, limits) is not None:
            return True
        if workload.e2el_ms is None or role == "colocated":
            return False
        ttft, tpot = limits.ttft_ms.get(workload.name), limits.tpot_ms.get(workload.name)
        if workload.osl == 1 or ttft is None or tpot is None:
            return True
        return ttft + (workload.osl - 1) * tpot > workload.e2el_ms

    def _ttft_limit(self, workload: Workload, limits: Limits) -> Fraction | None:
        """The tighter of the workload's TTFT limit and the extra one."""
        given = (workload.ttft_ms, limits.ttft_ms.get(workload.name))
        return min((limit for limit in given if limit is not None), default=None)

    def _colocated_within(self, footprint: Footprint, tpot: Fraction | None, ttft: Fraction) -> tuple[int, ...]:
        """With a TTFT limit the staircase over TPOT may have lost points: look at all of them again."""
        table = self.table
        key = self._footprint_key(footprint.engine)
        members = [engine.index for engine in table.engines if self._footprint_key(engine) == key]
        mask = np.isin(table.engine, members) & (table.ttft <= scaled_limit(ttft, table)).astype(bool)
        if tpot is not None:
            mask &= (table.latency <= scaled_limit(tpot, table)).astype(bool)
        points = [int(point) for point in np.flatnonzero(mask)]
        if not points:
            return ()
        reduced = self._reduced(footprint.engine, points).points
        return reduced[-1:] if self.dominance else reduced

    def _undominated(self, points: list[int], limits: Limits) -> list[int]:
        """Drops points that another footprint beats: no more GPUs, groups that fit in theirs, no less rate."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for point in points:
            engine = self.table.engines[self.table.engine[point]]
            partners = engine.joint if engine.curve.role != "colocated" else ()
            groups.setdefault((engine.workload.name, engine.curve.role, engine.pool.name, partners), []).append(point)
        kept: list[int] = []
        for members in groups.values():
            role = self.table.engines[self.table.engine[members[0]]].curve.role
            kept += self._best_of(members, limits) if self._rate_only_helps(role) else members
        return kept

    def _best_of(self, points: list[int], limits: Limits) -> list[int]:
        ordered = sorted(points, key=lambda p: self._canonical(self.table.engines[self.table.engine[p]], p))
        kept: list[int] = []
        for point in ordered:
            if not any(self._beats(other, point, limits) for other in kept):
                kept.append(point)
        return kept

    def _beats(self, a: int, b: int, limits: Limits) -> bool:
        """Whether copies of point a take the place of a replica at point b, at no loss."""
        table = self.table
        first, second = table.engines[table.engine[a]], table.engines[table.engine[b]]
        slower = table.latency[a] > table.latency[b] or any(late[a] > late[b] for late in table.late)
        if slower and self._is_coupled(first, limits):
            return False
        copies: int | Fraction
        if self.instance.is_unlimited:
            copies = Fraction(second.curve.partition.gpus, first.curve.partition.gpus)
        else:
            copies = self._copies(first, second)
        return bool(copies > 0 and copies * int(table.rate[a]) >= int(table.rate[b]))

    def _copies(self, a: Engine, b: Engine) -> int:
        """How many replicas of a take the place of one of b, where the number of replicas may be bounded."""
        copies = copies_inside(a, b)
        bounded = (a.workload.name, a.curve.role) in self.instance.serving.max_replicas
        return min(copies, 1) if bounded else copies

    def _column(self, point: int, limits: Limits) -> Column:
        table = self.table
        engine = table.engines[table.engine[point]]
        is_late = self._has_arrivals and engine.curve.role == "prefill"
        limit = self._ttft_limit(engine.workload, limits) if is_late else None
        if (point, limit) in self._columns:
            return self._columns[point, limit]
        late = (ms if limit is None or ms <= limit else None for ms in table.late_ms(point)) if is_late else ()
        serving = self.instance.serving
        most = engine.most_replicas
        bound = serving.max_replicas.get((engine.workload.name, engine.curve.role))
        column = Column(
            engine=engine,
            batch=int(table.batch[point]),
            latency_ms=table.latency_ms(point),
            ttft_ms=table.ttft_ms(point),
            requests_per_s=table.requests_per_s(point) * self.instance.utilization(engine.workload, engine.curve.role),
            most=most if bound is None else min(most, bound),
            late_ms=tuple(late),
        )
        self._columns[point, limit] = column
        return column


def _keys(values: np.ndarray) -> np.ndarray:
    """Sort keys: integers beyond 64 bits become ranks, since lexsort wants plain numbers."""
    if values.dtype != object:
        return values
    return np.unique(values, return_inverse=True)[1]


def copies_inside(a: Engine, b: Engine) -> int:
    """How many replicas of a fit into the GPUs and the stage groups of one replica of b."""
    inner, outer = a.curve.partition, b.curve.partition
    domain = a.pool.nvlink_domain_gpus
    if inner.stage_group <= domain < outer.stage_group:
        slots = -(-outer.stage_group // domain) * (domain // inner.stage_group)
    elif domain < inner.stage_group:
        slots = -(-outer.stage_group // domain) // -(-inner.stage_group // domain)
    else:
        slots = outer.stage_group // inner.stage_group
    return min(slots * outer.pp // inner.pp, outer.gpus // inner.gpus)
