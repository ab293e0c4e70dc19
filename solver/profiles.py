"""Several workloads, or both modes of one, on one pool: GPUs divided among balanced pairs, in integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from solver.balanced import arrays_of, common_unit, one_pool
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.formulation.packing import is_chain
from solver.formulation.plan_model import whole_weights
from solver.instance import Instance, Mode, Pool, Workload
from solver.pair_arrays import NEAR, WIDEST, Integers, PairArrays, Selected, gpus_allowed
from solver.points import scaled_limit

PROOF = "divided GPUs"
"""Names the proof of :class:`Profiles` in the points of a frontier."""
MOST_GPUS = 2048
"""Largest pool: the division of GPUs takes time and memory with its square."""
MOST_CELLS = 4 * 10**6
"""Most (point, GPUs) pairs of a table of flows."""


@dataclass(frozen=True)
class Part:
    """
    What one way to serve a workload carries, by latency and GPUs.

    Parameters
    ----------
    arrays
        Its pairs of points.
    late
        Latencies, ascending, in units of the table.
    flows
        At each latency the largest flow with at most 0, 1, 2, ... GPUs.
    """

    arrays: PairArrays
    late: Integers
    flows: Integers

    @classmethod
    def of(cls, arrays: PairArrays, gpus: int) -> Part | None:
        """The part of some pairs; None where the numbers are too wide or too many for a table."""
        count = len(arrays.latency)
        if count * (gpus + 1) > MOST_CELLS or not arrays.is_narrow:
            return None
        flows = np.zeros((count, gpus + 1), dtype=np.int64)
        place, used, flow = arrays.every()
        np.maximum.at(flows, (place, used), flow)
        order = np.argsort(arrays.latency, kind="stable")
        flows = flows[order]
        np.maximum.accumulate(flows, axis=1, out=flows)
        np.maximum.accumulate(flows, axis=0, out=flows)
        return cls(arrays, arrays.latency[order], flows)

    def within(self, limit: int | None) -> Integers:
        """The flows at a limit."""
        count = len(self.late) if limit is None else int(np.searchsorted(self.late, limit, side="right"))
        return self.flows[count - 1] if count else np.zeros(self.flows.shape[1], dtype=np.int64)


@dataclass(frozen=True)
class Share:
    """
    A workload at a limit.

    Parameters
    ----------
    least
        The fewest GPUs with which it counts.
    flows
        Credited flow with ``least``, ``least + 1``, ... GPUs.
    """

    least: int
    flows: Integers


class Profiles:
    """
    The best deployment at TPOT limits of an instance with one pool.

    Parameters
    ----------
    instance, candidates
        The instance and its points, with dominance; :meth:`covers` must hold.
    names
        The workloads that a limit binds.
    must_serve
        Whether every workload must be served.

    Notes
    -----
    Call *part* a workload in one mode (or in all its modes, where it may take only one). Of each part only balanced
    plans can be needed (:class:`solver.pairs.Pairs`: dropping replicas changes no flow and takes GPUs and groups away
    from nobody). Let T(g) be the largest flow of a part among its balanced plans with at most g GPUs. Parts share
    nothing but GPUs and domains. Every plan uses g_1, g_2, ... GPUs for its parts, their sum is at most G, and the
    part i carries at most T_i(g_i); so no plan is worth more than the best division of G,

        max over g_1 + g_2 + ... <= G of the sum of a_w min(cap_w, sum of T_i(g_i) over the parts of w),

    where workloads that must be served, or have a demand, get as many GPUs as that takes. The division is found by
    maximising over all of them, and the fewest GPUs with the same worth likewise. What one part alone may not pack is
    left out of T already; whether the parts fit together is checked by the nested family of C4, exact for group sizes
    that divide one another. Where they do not fit the worth is a bound only, and a solver decides.
    """

    def __init__(self, instance: Instance, candidates: Candidates, names: Collection[str], must_serve: bool) -> None:
        self._instance, self._candidates = instance, candidates
        self._names, self._must_serve = names, must_serve
        self._unit = common_unit(instance, candidates)
        self._gpus = gpus_allowed(instance)
        both = instance.serving.hybrid and len(instance.serving.modes) > 1
        groups: list[tuple[Mode, ...]] = [(m,) for m in instance.serving.modes] if both else [instance.serving.modes]
        self._parts: list[list[Part]] = []
        self.is_ready = True
        for workload in instance.workloads:
            found = [Part.of(arrays_of(instance, candidates, workload, m, self._unit), self._gpus) for m in groups]
            self._parts.append([part for part in found if part is not None])
            self.is_ready &= all(part is not None for part in found)
        self._worth, self._base = self._weights() if self.is_ready else ([1], 1)
        largest = sum(int(part.flows.max(initial=0)) for parts in self._parts for part in parts)
        self._kind: type = np.int64 if largest * max(self._worth) < WIDEST else object

    @staticmethod
    def covers(instance: Instance, candidates: Candidates) -> bool:
        """Whether an instance has the form that the proof asks for."""
        return one_pool(instance, candidates) and (instance.pools[0].gpus or 0) <= MOST_GPUS

    def best(self, limit: Fraction | None, tightest: bool = False) -> Deployment | bool:
        """
        The best deployment at a TPOT limit: by objective, then tokens/s, then fewest GPUs.

        Parameters and answer as for :meth:`solver.pairs.Pairs.best`. A deployment that is the best at a limit is so at
        its own TPOT too, so nothing is searched where ``tightest`` asks for it.
        """
        del tightest
        within = None if limit is None else scaled_limit(limit, self._candidates.table)
        limits = [within if w.name in self._names else None for w in self._instance.workloads]
        shares = [self._share(i, limits[i]) for i in range(len(limits))]
        found = [share for share in shares if share is not None]
        room = self._gpus - sum(share.least for share in found)
        if len(found) < len(shares) or room < 0:
            return False
        if self._instance.is_minimised:
            given = [0] * len(found)
        else:
            divided = self._divided([w * share.flows for w, share in zip(self._worth, found, strict=True)], room)
            if divided is None:
                return False
            given = divided
        return self._deployed([share.least + more for share, more in zip(found, given, strict=True)], limits)

    def _weights(self) -> tuple[list[int], int]:
        """What a unit of flow of each workload is worth: base x objective + tokens/s, and the base."""
        first = whole_weights(self._instance.workloads, weighted=True)[0]
        if len({w.weight for w in self._instance.workloads}) == 1:
            return [int(first[w.name]) for w in self._instance.workloads], 1
        second = whole_weights(self._instance.workloads, weighted=False)[0]
        largest = [sum(int(part.flows.max(initial=0)) for part in parts) for parts in self._parts]
        base = 1 + sum(int(second[w.name]) * flow for w, flow in zip(self._instance.workloads, largest, strict=True))
        return [int(first[w.name]) * base + int(second[w.name]) for w in self._instance.workloads], base

    def _share(self, number: int, limit: int | None) -> Share | None:
        """A workload at a limit; None where it must be served and cannot be."""
        workload, parts = self._instance.workloads[number], self._parts[number]
        flows = parts[0].within(limit)
        for part in parts[1:]:
            flows = _together(flows, part.within(limit))
        flows = self._credited(workload, flows)
        demand = int((workload.requests_per_s or 0) * self._unit)
        needed = max(demand, 1) if demand or self._must_serve else 0
        least = int(np.searchsorted(flows, needed, side="left"))
        return None if least == len(flows) else Share(least, flows[least:].astype(self._kind))

    def _credited(self, workload: Workload, flows: Integers) -> Integers:
        cap = workload.max_requests_per_s
        return flows if cap is None else np.minimum(flows, int(cap * self._unit))

    def _divided(self, worths: list[Integers], room: int) -> list[int] | None:
        """GPUs beyond the least for each workload, in the best division; None where nothing is worth anything."""
        size = room + 1
        sums = [_padded(worths[0], size)]
        for worth in worths[1:]:
            sums.append(_together(sums[-1], _padded(worth, size)))
        whole = sums[-1]
        if not int(whole[-1]):
            return None
        if self._instance.objective == "throughput_per_gpu":
            total = _best_ratio(whole, self._base, self._gpus - room)
        else:
            total = int(np.searchsorted(whole, whole[-1], side="left"))
        given = []
        for before, worth in zip(reversed(sums[:-1]), reversed(worths[1:]), strict=True):
            mine = _padded(worth, size)
            value = _together(before, mine)[total]
            left = next(i for i in range(total + 1) if before[i] + mine[total - i] == value)
            given.append(total - left)
            total = left
        return [total, *reversed(given)]

    def _deployed(self, gpus: list[int], limits: list[int | None]) -> Deployment | bool:
        """The deployment of a division; True where it does not fit or is not what was computed."""
        table, chosen = self._candidates.table, []
        flows: list[int] = []
        for number, count in enumerate(gpus):
            mine = self._selected(number, count, limits[number])
            chosen += [item for item in mine if item.flow]
            flows.append(sum(item.flow for item in mine))
        plan = [(item.point, item.replicas) for item in chosen] + [(i.mate, i.mate_replicas) for i in chosen]
        engines = [(table.engines[table.engine[point]], int(table.batch[point]), n) for point, n in plan if n]
        found = Deployment.of(self._instance, engines)
        told = [Fraction(flow, self._unit) for flow in flows]
        same = all(
            found.flow(w) == (flow if w.max_requests_per_s is None else min(flow, w.max_requests_per_s))
            for w, flow in zip(self._instance.workloads, told, strict=True)
        )
        return found if same and found.gpus_used == sum(gpus) and fits(found, self._instance.pools[0]) else True

    def _selected(self, number: int, gpus: int, limit: int | None) -> list[Selected]:
        """The plans of the parts of a workload that carry the most with so many GPUs, and with the fewest of them."""
        parts = self._parts[number]
        tables = [part.within(limit) for part in parts]
        shares = [gpus]
        if len(parts) == 2:
            most = tables[0][: gpus + 1] + tables[1][: gpus + 1][::-1]
            most = self._credited(self._instance.workloads[number], most)
            first = int(most.argmax())
            shares = [first, gpus - first]
        found = [part.arrays.most_flow(part.arrays.active(limit), n, 1) for part, n in zip(parts, shares, strict=True)]
        return [item for item in found if item is not None]


def _padded(values: Integers, size: int) -> Integers:
    """The first so many values; the last one again beyond them."""
    return values[:size] if len(values) >= size else np.append(values, np.repeat(values[-1:], size - len(values)))


def _together(first: Integers, second: Integers) -> Integers:
    """For 0, 1, 2, ... GPUs the largest sum of both when they divide them."""
    size = len(first)
    best: Integers = first + second[0]
    for given in range(1, size):
        np.maximum(best[given:], first[: size - given] + second[given], out=best[given:])
    return best


def _best_ratio(worths: Integers, base: int, spent: int) -> int:
    """GPUs beyond those spent at which objective over GPUs is largest; then tokens/s, then the fewest."""
    gpus = np.arange(len(worths)) + spent
    gpus[0] = max(gpus[0], 1)
    values = worths // base
    ratio = values.astype(float) / gpus
    near = np.flatnonzero(ratio >= ratio.max() * (1 - NEAR)).tolist()
    best: int = max(near, key=lambda i: (Fraction(int(values[i]), int(gpus[i])), worths[i] % base, worths[i], -i))
    return best


def fits(deployment: Deployment, pool: Pool) -> bool:
    """Whether the groups on a pool pack, by the nested family; False where their sizes do not divide one another."""
    domain, groups = pool.nvlink_domain_gpus, Counter[int]()
    for a in deployment.assignments:
        if a.engine.pool.name == pool.name:
            groups[a.engine.curve.partition.stage_group] += a.engine.curve.partition.pp * int(a.replicas)
    small = sorted(size for size in groups if size <= domain)
    taken = sum(-(-size // domain) * count for size, count in groups.items() if size > domain)
    if not is_chain(small) or taken > pool.full_domains or deployment.gpus_in(pool) > (pool.gpus or 0):
        return False
    for level in small:
        slots = pool.full_domains * (domain // level) + pool.partial_domain_gpus // level
        filled = sum(size // level * groups[size] for size in small if size >= level) + taken * (domain // level)
        if filled > slots:
            return False
    return True
