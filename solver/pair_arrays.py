"""Pairs of points of one pool as parallel arrays of integers, and the balanced plans that fit the pool."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solver.columns import Footprint
from solver.formulation.packing import is_chain
from solver.instance import Instance
from solver.points import PointTable

Integers = NDArray[Any]
"""64-bit integers, or Python ones where products do not fit."""
Usage = tuple[int, int, int]
"""Of one level of room: what there is, what a replica of the first takes, what one of its mate takes."""

WIDEST = 2**61
MOST_GPUS = 2**40
"""Minus the GPUs of a plan is its worth where the fewest are wanted; 0 stays free for no plan."""
NEAR = 1e-12
"""Relative difference below which quotients in floats are compared again in integers; their own error is 4e-16."""


@dataclass(frozen=True)
class Selected:
    """
    A balanced plan.

    Parameters
    ----------
    point, replicas
        The decode or co-located point, by its place in the table.
    mate, mate_replicas
        The prefill point; no replicas beside a co-located one.
    flow
        Credited requests/s in the common unit.
    gpus
        GPUs used.
    is_exact
        Whether the room of its pair is exact, so that the plan fits.
    """

    point: int
    replicas: int
    mate: int
    mate_replicas: int
    flow: int
    gpus: int
    is_exact: bool


@dataclass(frozen=True)
class _Pair:
    """What all points of two footprints have in common: room, GPUs of a replica, most replicas."""

    start: int
    second: Footprint
    levels: tuple[Usage, ...]
    gpus: tuple[int, int]
    most: tuple[int, int]
    is_exact: bool


class PairArrays:
    """
    Every decode point with its prefill point, and every co-located point, of one workload on one pool.

    Parameters
    ----------
    instance, table
        The instance and its points.
    pairs
        Decode or co-located footprint, prefill footprint or None, and the prefill point beside each decode point
        (-1: none).
    factors
        Role to the common units per unit of rate in the table.
    cap
        Most that is credited, in common units; None for no cap.
    is_coupled
        Whether an end-to-end limit couples prefill and decode.

    Notes
    -----
    :class:`solver.pairs.Pairs` says what a balanced plan is and why no other is needed.
    """

    def __init__(
        self,
        instance: Instance,
        table: PointTable,
        pairs: Iterable[tuple[Footprint, Footprint | None, Integers]],
        factors: Mapping[str, int],
        cap: int | None,
        is_coupled: bool,
    ) -> None:
        self._instance = instance
        self._cap = cap
        self._is_coupled = is_coupled
        self._pairs: list[_Pair] = []
        rates, mates, points, beside, latencies, numbers = [], [], [], [], [], []
        size = 0
        for second, mate, others in pairs:
            kept = np.array(second.points, dtype=np.int64)
            other = others if mate is not None else np.full(len(kept), -1, dtype=np.int64)
            if mate is not None and self._is_coupled:
                kept, other = kept[other >= 0], other[other >= 0]
            pair = self._pair(size, second, mate)
            if not len(kept) or not pair.most[0] or (mate is not None and not pair.most[1]):
                continue
            rates.append(_times(table.rate[kept], factors[second.role]))
            mates.append(_times(table.rate[other], factors["prefill"]) if mate else np.zeros(len(kept), dtype=np.int64))
            points.append(kept)
            beside.append(other)
            latencies.append(table.latency[kept])
            numbers.append(np.full(len(kept), len(self._pairs), dtype=np.int64))
            self._pairs.append(pair)
            size += len(kept)
        self._point, self._mate_point, self._number = _joined(points), _joined(beside), _joined(numbers)
        self.latency = _joined(latencies)
        self._rate, self._mate = self._whole(_joined(rates), _joined(mates))
        self._constants()

    def _whole(self, *each: Integers) -> list[Integers]:
        """Arrays whose products with replicas are exact; a flow of one must be comparable with all of them."""
        most = max((max(pair.most) for pair in self._pairs), default=1)
        largest = max((int(values.max()) for values in each if len(values)), default=0)
        return [values.astype(np.int64 if largest * (most + 1) < WIDEST else object) for values in each]

    def _constants(self) -> None:
        """Levels, GPUs and bounds of each pair as arrays."""
        deepest = max((len(pair.levels) for pair in self._pairs), default=0)
        rows = [(*pair.levels, *[(0, 0, 0)] * (deepest - len(pair.levels))) for pair in self._pairs]
        self._levels = np.array(rows, dtype=np.int64).reshape(len(rows), deepest, 3).transpose(1, 2, 0)
        self._is_inexact = np.array([not pair.is_exact for pair in self._pairs], dtype=np.int64)
        self._gpus = np.array([pair.gpus for pair in self._pairs], dtype=np.int64).reshape(-1, 2).T
        self._most = np.array([pair.most for pair in self._pairs], dtype=np.int64).reshape(-1, 2).T

    def _pair(self, start: int, second: Footprint, mate: Footprint | None) -> _Pair:
        pool, gpus = self._instance.pools[0], gpus_allowed(self._instance)
        both = [second, *([] if mate is None else [mate])]
        shapes = [(f.engine.curve.partition.stage_group, f.engine.curve.partition.pp) for f in both]
        size = [stage * pp for stage, pp in shapes]
        domain = pool.nvlink_domain_gpus
        small = sorted({stage for stage, _ in shapes if stage <= domain})
        rooms = [(gpus, size)]
        for level in small:
            slots = pool.full_domains * (domain // level) + pool.partial_domain_gpus // level
            rooms.append((slots, [pp * _slots(stage, level, domain) for stage, pp in shapes]))
        if any(stage > domain for stage, _ in shapes):
            rooms.append((pool.full_domains, [pp * -(-s // domain) if s > domain else 0 for s, pp in shapes]))
        kept = [room for i, room in enumerate(rooms) if i == 0 or not _implied(room, rooms[0])]
        most = [min(f.engine.most_replicas, gpus // g, self._bound(f)) for f, g in zip(both, size, strict=True)]
        levels = tuple((room, used[0], used[1] if mate else 0) for room, used in kept)
        each = (size[0], size[1] if mate else 0)
        return _Pair(start, second, levels, each, (most[0], most[1] if mate else 0), is_chain(small))

    def _bound(self, footprint: Footprint) -> int:
        key = (footprint.engine.workload.name, footprint.role)
        return self._instance.serving.max_replicas.get(key, footprint.engine.most_replicas)

    @property
    def is_narrow(self) -> bool:
        """Whether all flows are 64-bit integers."""
        return self._rate.dtype == np.int64 and self._mate.dtype == np.int64

    def every(self) -> tuple[Integers, Integers, Integers]:
        """Place, GPUs and credited flow of every balanced plan that fits."""
        place, replicas, mates = self._balanced(np.arange(len(self.latency)))
        return place, self._used(place, replicas, mates), self._flow(place, replicas, mates)

    def active(self, within: int | None) -> Integers:
        """Places of the points that can be best within a latency: the last of each pair, or all where time counts."""
        if self._is_coupled:
            return np.flatnonzero(self._mask(within))
        places = []
        for pair in self._pairs:
            times = pair.second.times
            count = len(times) if within is None else bisect_right(times, within)
            if count:
                places.append(pair.start + count - 1)
        return np.array(places, dtype=np.int64)

    def _mask(self, within: int | None) -> NDArray[np.bool_]:
        return np.ones(len(self.latency), dtype=bool) if within is None else (self.latency <= within).astype(bool)

    def largest_flow(self, at: Integers, gpus: int | None = None) -> Integers:
        """The largest credited flow at each place, with no more than so many GPUs; 0 where nothing fits."""
        first = self._rate[at] * self._largest(at, 0, gpus)
        flow: Integers = np.maximum(first, self._mate[at] * self._largest(at, 1, gpus))
        return flow if self._cap is None else np.minimum(flow, self._cap)

    def fewest_gpus(self, at: Integers, flow: int) -> Integers:
        """``MOST_GPUS`` minus the fewest GPUs that carry a flow at each place; 0 where nothing does."""
        fits, gpus, *_ = self._carrying(at, flow)
        return np.where(fits, MOST_GPUS - gpus, 0)

    def fewest(self, at: Integers, flow: int) -> Selected | None:
        """The plan with the fewest GPUs that carries a flow at any of some places."""
        fits, gpus, replicas, mates = self._carrying(at, flow)
        if not fits.any():
            return None
        cost = 2 * gpus + self._is_inexact[self._number[at]]
        best = int(np.where(fits, cost, WIDEST).argmin())
        return self._selected(int(at[best]), int(replicas[best]), int(mates[best]))

    def most_flow(self, at: Integers, gpus: int, demand: int) -> Selected | None:
        """The plan with the largest flow, at least the demand, within so many GPUs; of equal ones the smallest."""
        flows = self.largest_flow(at, gpus)
        most = max(map(int, flows), default=0)
        return self.fewest(at, most) if most and most >= demand else None

    def best_ratio(self, at: Integers, demand: int) -> Selected | None:
        """The plan with the largest quotient of credited flow and GPUs; of equal ones that with the largest flow."""
        place, replicas, mates = self._balanced(at)
        if not len(place):
            return None
        number = self._number[place]
        flow = self._flow(place, replicas, mates)
        gpus = self._used(place, replicas, mates)
        ratio = np.where((flow >= demand).astype(bool), flow.astype(float) / gpus.astype(float), 0.0)
        best = ratio.max()
        near = np.flatnonzero(ratio >= best * (1 - NEAR)).tolist()
        if not best:
            return None

        def key(i: int) -> tuple[Any, ...]:
            exact = self._pairs[int(number[i])].is_exact
            return Fraction(int(flow[i]), int(gpus[i])), int(flow[i]), exact, -int(self.latency[place[i]]), -i

        chosen = max(near, key=key)
        return self._selected(int(place[chosen]), int(replicas[chosen]), int(mates[chosen]))

    def running_best(self, values: Integers) -> Integers:
        """The largest value so far."""
        return np.maximum.accumulate(values) if len(values) else values

    def _balanced(self, at: Integers) -> tuple[Integers, Integers, Integers]:
        """Place, replicas and replicas of the mate of every balanced plan at some places."""
        first, second = (self._enumerated(at, side) for side in (0, 1))
        place, replicas, mates = (np.concatenate(columns) for columns in zip(first, second, strict=True))
        return place, replicas, mates

    def _used(self, place: Integers, replicas: Integers, mates: Integers) -> Integers:
        number = self._number[place]
        used: Integers = replicas * self._gpus[0][number] + mates * self._gpus[1][number]
        return used

    def _enumerated(self, at: Integers, side: int) -> tuple[Integers, Integers, Integers]:
        """Every balanced plan at some places whose first (side 0) or mate (side 1) sets the flow."""
        most = self._largest(at, side, None).astype(np.int64)
        place = np.repeat(at, most)
        ends = np.cumsum(most)
        count = np.arange(len(place), dtype=np.int64) - np.repeat(ends - most, most) + 1
        other = self._other(place, side, count).astype(np.int64)
        return (place, count, other) if side == 0 else (place, other, count)

    def _other(self, at: Integers, side: int, count: Integers) -> Integers:
        """Replicas that the other side needs to carry what ``count`` replicas of one side do; 0 beside co-located."""
        mine, others = (self._rate[at], self._mate[at]) if side == 0 else (self._mate[at], self._rate[at])
        needed = -(-mine * count // np.maximum(others, 1))
        most = self._most[1 - side][self._number[at]] + 1
        clipped: Integers = np.minimum(np.where((others > 0).astype(bool), needed, 0), most)
        return clipped

    def _largest(self, at: Integers, side: int, gpus: int | None) -> Integers:
        """The most replicas of one side whose balanced plan fits, by bisection."""
        number = self._number[at]
        low, high = np.zeros(len(at), dtype=np.int64), self._most[side][number]
        while (low < high).any():
            middle = (low + high + 1) // 2
            other = self._other(at, side, middle).astype(np.int64)
            fits = self._fits(number, middle, other, gpus) if side == 0 else self._fits(number, other, middle, gpus)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
        return low

    def _fits(self, number: Integers, first: Integers, mate: Integers, gpus: int | None) -> NDArray[np.bool_]:
        fits: NDArray[np.bool_] = (first <= self._most[0][number]) & (mate <= self._most[1][number])
        for room, mine, others in self._levels:
            fits &= mine[number] * first + others[number] * mate <= room[number]
        if gpus is not None:
            fits &= self._gpus[0][number] * first + self._gpus[1][number] * mate <= gpus
        return fits

    def _carrying(self, at: Integers, flow: int) -> tuple[NDArray[np.bool_], Integers, Integers, Integers]:
        """Whether a flow can be carried at each place, and with how many GPUs and replicas of each side."""
        number, rate, mate = self._number[at], self._rate[at], self._mate[at]
        first = np.minimum(-(-flow // rate), self._most[0][number] + 1).astype(np.int64)
        second = -(-flow // np.maximum(mate, 1))
        second = np.where((mate > 0).astype(bool), np.minimum(second, self._most[1][number] + 1), 0).astype(np.int64)
        gpus = first * self._gpus[0][number] + second * self._gpus[1][number]
        return self._fits(number, first, second, None), gpus, first, second

    def _flow(self, at: Integers, first: Integers, mates: Integers) -> Integers:
        carried = self._rate[at] * first
        joined = np.minimum(carried, self._mate[at] * mates)
        flow = np.where((self._mate[at] > 0).astype(bool), joined, carried)
        return flow if self._cap is None else np.minimum(flow, self._cap)

    def _selected(self, at: int, replicas: int, mates: int) -> Selected:
        pair = self._pairs[int(self._number[at])]
        flow, carried = int(self._rate[at]) * replicas, int(self._mate[at]) * mates
        flow = min(flow, carried) if carried else flow
        flow = flow if self._cap is None else min(flow, self._cap)
        gpus = replicas * pair.gpus[0] + mates * pair.gpus[1]
        mate = int(self._mate_point[at])
        return Selected(int(self._point[at]), replicas, mate, mates, flow, gpus, pair.is_exact)


def gpus_allowed(instance: Instance) -> int:
    """GPUs of the one pool that inventory and budget let be used."""
    pool, budget = instance.pools[0], instance.budget
    gpus = pool.gpus or 0
    for limit, each in ((budget.usd_per_hour, pool.usd_per_gpu_hour), (budget.watts, pool.watts_per_gpu)):
        if limit is not None and each:
            gpus = min(gpus, int(limit / each))
    return gpus


def _slots(stage: int, level: int, domain: int) -> int:
    """Slots of ``level`` GPUs that a stage group takes from its domains."""
    return -(-stage // domain) * (domain // level) if stage > domain else stage // level


def _implied(room: tuple[int, list[int]], gpus: tuple[int, list[int]]) -> bool:
    """Whether a level of room always holds where that of the GPUs does."""
    return all(used * gpus[0] <= each * room[0] for used, each in zip(room[1], gpus[1], strict=True))


def _times(values: Integers, factor: int) -> Integers:
    """Exact products, in 64 bits where they fit."""
    fits = not len(values) or int(values.max()) * factor < WIDEST
    return values * factor if fits else values.astype(object) * factor


def _joined(parts: list[Integers]) -> Integers:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
