"""What the checks of the trends share: what is judged, and small arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from solver.study.figure import Figure, Row
from solver.study.gains import USER, Gain, gain

Figures = Mapping[int, Figure]
"""Number in the paper to figure."""
Judged = Iterator[tuple[str, Any, Any, bool]]
"""Quantity, what the paper shows, what we get, and whether it holds."""
Check = Callable[[Figures], Judged]
LEVEL = 1.2
"""Frontiers that stay within this factor of each other nearly coincide."""
SMALL = 1.15
"""A mean gain up to this is called none."""


def gain_of(figure: Figure, panel: str) -> Gain:
    """The gain of disaggregated over co-located in a panel."""
    return gain(figure.of("disaggregated", panel).rows, figure.of("co-located", panel).rows)


def rounded(values: Sequence[float]) -> list[float]:
    """Three significant digits."""
    return [float(f"{value:.3g}") for value in values]


def falls(values: Sequence[float], slack: float = 0.0) -> bool:
    """Whether no value is above the one before, up to a share of it."""
    return all(b <= a * (1 + slack) for a, b in pairwise(values))


def at(rows: Sequence[Row], interactivity: float) -> Row:
    """The loosest point that is at least as fast; the fastest one where none is."""
    return next((row for row in rows if float(row[USER]) >= interactivity), rows[-1])


def near(ours: float, theirs: float, factor: float = 2.0) -> tuple[float, bool]:
    """Our number, rounded, and whether it is within a factor of theirs."""
    return float(f"{ours:.3g}"), theirs / factor <= ours <= theirs * factor
