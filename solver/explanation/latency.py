"""Latency limits of a workload as requirements, and the levels that its latencies can take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from solver.explanation.probe import Probe
from solver.explanation.requirement import Requirement, first_that_does
from solver.explanation.sums import Sums, of_role
from solver.instance import Instance
from solver.points import PointTable, points_of

KEYS = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2el_ms": "E2E", "itl_ms": "ITL"}


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
        sums = Sums.of(table, free.workload(self.where))
        return sums.first_that_does(self.given, lambda level: probe.find(self.at(instance, level)) is not None)


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
            mine = of_role(table, workload.name, but=but)
            best = None if not mine.any() else Fraction(int(values[mine].min()), table.time_scale)
            yield name, workload.name, best


def _levels(table: PointTable, name: str, key: str, above: Fraction) -> list[Fraction]:
    """The latencies of a workload's points beyond a limit, ascending, in ms."""
    if key == "itl_ms":
        return sorted(gap for gap in _gaps(table, name) if gap > above)
    arrays = table.late if key == "ttft_ms" else (table.latency,)
    mine = of_role(table, name, but="decode" if key == "ttft_ms" else "prefill")
    values: set[int] = set()
    for array in arrays:
        values.update(np.unique(array[mine]).tolist())
    least = math.floor(above * table.time_scale)
    return [Fraction(value, table.time_scale) for value in sorted(values) if value > least]


def _gaps(table: PointTable, name: str) -> Iterator[Fraction]:
    """The longest token gaps of decode and co-located points, where known or limited."""
    for point in np.flatnonzero(of_role(table, name, but="prefill")):
        engine = table.engines[table.engine[point]]
        if engine.curve.itl_ms:
            yield engine.curve.at(int(table.batch[point])).itl_ms or Fraction(0)
        elif engine.curve.role == "decode":
            yield table.latency_ms(int(point))
