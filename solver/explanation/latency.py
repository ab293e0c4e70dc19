"""Latency limits of a workload as requirements, and the levels that its latencies can take."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from solver.explanation.probe import Probe
from solver.explanation.requirement import Requirement, first_that_does
from solver.instance import Instance, Workload
from solver.points import Integers, PointTable, points_of

KEYS = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2el_ms": "E2E", "itl_ms": "ITL"}
MOST_SUMS = 300
"""Values of each side of which sums are formed at first, where end to end is a sum of many with many."""


@dataclass(frozen=True)
class Latency(Requirement):
    """
    A latency limit of a workload.

    Parameters
    ----------
    key
        The limit's field: ``ttft_ms``, ``tpot_ms``, ``e2el_ms``, ``itl_ms``.
    """

    key: str

    def dropped(self, instance: Instance) -> Instance:
        """Without the limit."""
        return with_workload(instance, self.where, **{self.key: None})

    def at(self, instance: Instance, level: Fraction, /) -> Instance:
        """With another limit."""
        return with_workload(instance, self.where, **{self.key: level})

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """The smallest limit that does: some point's latency, found by bisection over all of them."""
        free = self.dropped(instance)
        if probe.find(free) is None:
            return None
        table = points_of(free, probe.engines(free))
        if self.key != "e2el_ms":
            levels = _levels(table, self.where, self.key, self.given)
            return first_that_does(levels, lambda level: self.at(instance, level), probe)
        sums = _Sums.of(table, free.workload(self.where))
        some = sums.between(self.given, None)
        near = first_that_does(some, lambda level: self.at(instance, level), probe)
        if near is None:
            return None
        below = max((value for value in some if value < near), default=self.given)
        return first_that_does(sums.between(below, near), lambda level: self.at(instance, level), probe)


def latencies(instance: Instance) -> Iterator[Latency]:
    """The latency limits of an instance."""
    for workload in instance.workloads:
        for key, name in KEYS.items():
            given: Fraction | None = getattr(workload, key)
            if given is not None:
                yield Latency(name, workload.name, given, "ms", key)


def with_workload(instance: Instance, name: str, **changes: object) -> Instance:
    """The instance with some fields of a workload changed."""
    workloads = (replace(w, **changes) if w.name == name else w for w in instance.workloads)  # type: ignore[arg-type]
    return replace(instance, workloads=tuple(workloads))


def best_reachable(instance: Instance, probe: Probe) -> Iterator[tuple[str, str, Fraction | None]]:
    """TTFT and TPOT, workload, and the best that any point reaches without latency limits, in ms."""
    free = instance
    for workload in instance.workloads:
        free = with_workload(free, workload.name, **dict.fromkeys(KEYS))
    table = points_of(free, probe.engines(free))
    for workload in instance.workloads:
        for name, values, but in (("TTFT", table.ttft, "decode"), ("TPOT", table.latency, "prefill")):
            mine = _of(table, workload.name, but)
            best = None if not mine.any() else Fraction(int(values[mine].min()), table.time_scale)
            yield name, workload.name, best


def _of(table: PointTable, name: str, but: str, only: str = "") -> np.ndarray:
    """Which points are of a workload and not of a role, or of one role only."""
    wanted = [
        e.workload.name == name and e.curve.role != but and (not only or e.curve.role == only) for e in table.engines
    ]
    chosen: np.ndarray = np.array(wanted, dtype=bool)[table.engine]
    return chosen


def _levels(table: PointTable, name: str, key: str, above: Fraction) -> list[Fraction]:
    """The latencies of a workload's points beyond a limit, ascending, in ms."""
    if key == "itl_ms":
        return sorted(gap for gap in _gaps(table, name) if gap > above)
    arrays = table.late if key == "ttft_ms" else (table.latency,)
    mine = _of(table, name, "decode" if key == "ttft_ms" else "prefill")
    values: set[int] = set()
    for array in arrays:
        values.update(np.unique(array[mine]).tolist())
    least = math.floor(above * table.time_scale)
    return [Fraction(value, table.time_scale) for value in sorted(values) if value > least]


def _gaps(table: PointTable, name: str) -> Iterator[Fraction]:
    """The longest token gaps of decode and co-located points, where known or limited."""
    for point in np.flatnonzero(_of(table, name, "prefill")):
        engine = table.engines[table.engine[point]]
        if engine.curve.itl_ms:
            yield engine.curve.at(int(table.batch[point])).itl_ms or Fraction(0)
        elif engine.curve.role == "decode":
            yield table.latency_ms(int(point))


@dataclass(frozen=True)
class _Sums:
    """
    Every end-to-end time of a workload: of co-located points alone, of others a sum of one of each side; in ms.

    Parameters
    ----------
    alone
        Of co-located points.
    first, rest
        TTFT of prefill points, and (OSL - 1) x TPOT of decode points, ascending.
    """

    alone: list[Fraction]
    first: list[Fraction]
    rest: list[Fraction]

    @classmethod
    def of(cls, table: PointTable, workload: Workload) -> _Sums:
        """Those of a workload."""
        steps, scale = workload.osl - 1, table.time_scale

        def values(array: Integers, role: str) -> list[int]:
            found: list[int] = np.unique(array[_of(table, workload.name, "", role)]).tolist()
            return found

        both = _of(table, workload.name, "", "colocated")
        alone = {
            Fraction(int(ttft), scale) + steps * Fraction(int(each), scale)
            for ttft, each in zip(table.ttft[both], table.latency[both], strict=True)
        }
        first = {value for late in table.late for value in values(late, "prefill")}
        rest = [steps * Fraction(value, scale) for value in values(table.latency, "decode")]
        return cls(sorted(alone), [Fraction(value, scale) for value in sorted(first)], rest if steps else [Fraction(0)])

    def between(self, above: Fraction, most: Fraction | None) -> list[Fraction]:
        """Times in (above, most], ascending: all; without ``most``, of many only some, the largest among them."""
        firsts, rest = self.first, self.rest
        if most is None:
            firsts, rest = _some(firsts), _some(rest)
            most = max([*self.alone, *(a + b for a in firsts[-1:] for b in rest[-1:])], default=above)
        found = {value for value in self.alone if above < value <= most}
        for a in firsts:
            found.update(a + b for b in rest[bisect_right(rest, above - a) : bisect_right(rest, most - a)])
        return sorted(found)


def _some(values: list[Fraction]) -> list[Fraction]:
    step = -(-len(values) // MOST_SUMS) or 1
    return values[::-1][::step][::-1]
