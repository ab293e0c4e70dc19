"""Which figures there are, and who makes them."""

from __future__ import annotations

from collections.abc import Callable

from solver.study.bandwidth_figure import figure_12
from solver.study.bench import Bench
from solver.study.cpp_figure import figure_5
from solver.study.figure import Figure
from solver.study.frontier_figures import figure_1, figure_6, figure_7, figure_8, figure_11, figure_14
from solver.study.ratio_figures import figure_9, figure_10

FIGURES: dict[int, Callable[[Bench], Figure]] = {
    1: figure_1, 5: figure_5, 6: figure_6, 7: figure_7, 8: figure_8, 9: figure_9, 10: figure_10, 11: figure_11,
    12: figure_12, 14: figure_14,
}  # fmt: skip
"""Number in the paper to what makes it."""
