"""Frontiers compared: what one yields over another at the same interactivity."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from solver.study.figure import Row

USER, GPU = "tokens_per_s_per_user", "tokens_per_s_per_gpu"
USEFUL = 0.25
"""A frontier is looked at down to this share of its peak: beyond, both sides of a ratio are next to nothing."""


def best_at(rows: Sequence[Row], interactivity: float) -> float:
    """Most tokens/s/GPU at this interactivity or more; 0 beyond the frontier. Rows by ascending interactivity."""
    index = bisect_left([row[USER] for row in rows], interactivity * (1 - 1e-12))
    return max((float(row[GPU]) for row in rows[index:]), default=0.0)


@dataclass(frozen=True)
class Gain:
    """
    What one frontier yields over another, over the useful range of the first.

    Parameters
    ----------
    rows
        Interactivity and ratio of tokens/s/GPU; from the loosest to the tightest.
    """

    rows: tuple[tuple[float, float], ...]

    @property
    def largest(self) -> float:
        """The largest ratio."""
        return max(ratio for _, ratio in self.rows)

    @property
    def smallest(self) -> float:
        """The smallest ratio."""
        return min(ratio for _, ratio in self.rows)

    @property
    def peak_at(self) -> float:
        """Interactivity of the largest ratio."""
        return max(self.rows, key=lambda row: row[1])[0]

    @property
    def mean(self) -> float:
        """Geometric mean over the logarithm of interactivity."""
        if len(self.rows) == 1:
            return self.rows[0][1]
        area = sum(
            (log(x1) - log(x0)) * (log(y0) + log(y1)) / 2
            for (x0, y0), (x1, y1) in zip(self.rows, self.rows[1:], strict=False)
        )
        return exp(area / (log(self.rows[-1][0]) - log(self.rows[0][0])))

    @property
    def halves(self) -> tuple[float, float]:
        """Geometric means of the loose and of the tight half, on a logarithmic axis."""
        middle = (len(self.rows) + 1) // 2
        return Gain(self.rows[:middle]).mean, Gain(self.rows[middle - 1 :]).mean

    def share_of(self, interactivity: float) -> float:
        """Where an interactivity lies between both ends, on a logarithmic axis: 0 loosest, 1 tightest."""
        low, high = self.rows[0][0], self.rows[-1][0]
        return (log(interactivity) - log(low)) / (log(high) - log(low)) if high > low else 0.0


def gain(over: Sequence[Row], base: Sequence[Row], useful: float = USEFUL) -> Gain:
    """
    The ratio of two frontiers at 64 interactivities, evenly spread over the logarithm.

    Parameters
    ----------
    over, base
        The frontiers, by ascending interactivity.
    useful
        Share of the peak of the first down to which it is looked at. Where the second does not reach, the range ends.
    """
    peak = max(float(row[GPU]) for row in over)
    reach = max(float(row[USER]) for row in over if float(row[GPU]) >= useful * peak)
    low, high = float(over[0][USER]), min(reach, float(base[-1][USER]))
    steps = [low * (high / low) ** (i / 63) for i in range(64)] if high > low else [low]
    return Gain(tuple((x, best_at(over, x) / best_at(base, x)) for x in steps))


def gain_rows(over: Sequence[Row], base: Sequence[Row]) -> list[Row]:
    """The ratio as rows of a series, over the whole range that both reach."""
    return [{USER: x, "gain": ratio} for x, ratio in gain(over, base, 0.02).rows]
