"""End-to-end times of a workload: sums of a TTFT and decode steps, too many to list and yet searched exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from solver.instance import Workload
from solver.points import Integers, PointTable

FEW = 2000
"""Sums that are listed; of more only as many are looked at, and then those between two of them."""


def of_role(table: PointTable, name: str, *, only: str = "", but: str = "") -> NDArray[np.bool_]:
    """Which points are of a workload, and of one role only or not of a role."""
    wanted = [
        e.workload.name == name and e.curve.role != but and (not only or e.curve.role == only) for e in table.engines
    ]
    chosen: NDArray[np.bool_] = np.array(wanted, dtype=bool)[table.engine]
    return chosen


@dataclass(frozen=True)
class Sums:
    """
    End-to-end times, as whole numbers of a unit.

    Parameters
    ----------
    unit
        The unit in ms.
    alone
        Of co-located points, ascending.
    first, rest
        TTFT of prefill points, and (OSL - 1) x TPOT of decode points, ascending; end to end is a sum of both.
    """

    unit: Fraction
    alone: list[int]
    first: list[int]
    rest: Integers

    @classmethod
    def of(cls, table: PointTable, workload: Workload) -> Sums:
        """Those of a workload."""
        steps = Fraction(workload.osl - 1)
        below, above = steps.denominator, steps.numerator

        def distinct(array: Integers, role: str) -> list[int]:
            found: list[int] = np.unique(array[of_role(table, workload.name, only=role)]).tolist()
            return found

        both = of_role(table, workload.name, only="colocated")
        pairs = zip(table.ttft[both].tolist(), table.latency[both].tolist(), strict=True)
        first = {value * below for late in table.late for value in distinct(late, "prefill")}
        rest = [value * above for value in distinct(table.latency, "decode")] if above else [0]
        return cls(
            Fraction(1, table.time_scale * below),
            sorted({ttft * below + each * above for ttft, each in pairs}),
            sorted(first),
            np.array(rest, dtype=object if rest and rest[-1] > 2**61 else np.int64),
        )

    def first_that_does(self, above: Fraction, does: Callable[[Fraction], bool]) -> Fraction | None:
        """
        The smallest time above a limit that does, in ms, None where the largest does not; larger ones do as well.

        Of many times an even sample is bisected, then those between the two neighbours, until all are listed.
        """
        low = math.floor(above / self.unit)
        high = max(
            [*self.alone[-1:], *(self.first[-1] + int(last) for last in self.rest[-1:] if self.first)], default=low
        )
        if high <= low or not does(high * self.unit):
            return None
        while True:
            times, are_all = self._between(low, high)
            left, right = 0, len(times) - 1
            while left < right:
                middle = (left + right) // 2
                if does(times[middle] * self.unit):
                    right = middle
                else:
                    left = middle + 1
            low, high = times[left - 1] if left else low, times[left]
            if are_all:
                return high * self.unit

    def _between(self, low: int, high: int) -> tuple[list[int], bool]:
        """Times in (low, high], ascending, ``high`` among them, and whether these are all."""
        starts = [int(np.searchsorted(self.rest, low - a, side="right")) for a in self.first]
        ends = [int(np.searchsorted(self.rest, high - a, side="right")) for a in self.first]
        alone = [value for value in self.alone if low < value <= high]
        count = sum(ends) - sum(starts) + len(alone)
        step = -(-count // FEW) or 1
        found, seen = {high, *alone[::step]}, 0
        for a, start, end in zip(self.first, starts, ends, strict=True):
            found.update(a + int(value) for value in self.rest[start + -seen % step : end : step])
            seen += end - start
        return sorted(found), step == 1
