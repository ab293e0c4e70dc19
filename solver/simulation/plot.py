"""Draws the course of a run: arrivals, latencies and the share of requests within limits."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from solver.files import write_whole
from solver.instance import Workload
from solver.picture import blank, rendered
from solver.simulation.course import Course, course_of
from solver.simulation.run import Simulation
from solver.traffic.times import seconds_text

BLUE, RED, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#888888"
"""Okabe-Ito colours, which colour-blind readers tell apart."""


def plot_course(found: Simulation, period_s: Fraction, path: Path) -> None:
    """
    Writes the plot, a column a workload.

    Parameters
    ----------
    found
        The run.
    period_s
        Length of the periods that are drawn.
    path
        ``.png`` or ``.svg``.

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    shown = [(w, t) for w, t in zip(found.instance.workloads, found.times, strict=True) if len(t.ttft)]
    figure = blank(9.5 * max(1, len(shown)), 8.6)
    figure.suptitle(f"{found.instance.name}: {found.arrivals.description}", fontsize=11)
    panels = figure.subplots(4, max(1, len(shown)), sharex="col", squeeze=False, height_ratios=[2, 3, 3, 2])
    for column, (workload, times) in enumerate(shown):
        _column([row[column] for row in panels], workload, course_of(workload, times, period_s))
    write_whole(path, rendered(figure, path.suffix[1:], dpi=110))


def _column(panels: Sequence[Any], workload: Workload, course: Course) -> None:
    rates, first, token, share = panels
    minutes = course.period_s / 60
    borders = [i * minutes for i in range(len(course.requests_per_s) + 1)]
    rates.stairs(course.requests_per_s, borders, color=BLUE, fill=True, alpha=0.25)
    rates.stairs(course.requests_per_s, borders, color=BLUE)
    rates.set(ylabel="requests/s", ylim=(0, None))
    length = seconds_text(Fraction(course.period_s).limit_denominator(1000))
    rates.set_title(f"{workload.name}, by {length} of arrival", fontsize=10)
    _latency(first, borders, workload.ttft_ms, {"P95": course.ttft_p95_ms, "P50": course.ttft_p50_ms}, "TTFT, ms")
    _latency(token, borders, workload.tpot_ms, {"P95": course.tpot_p95_ms}, "TPOT, ms")
    share.stairs([_nan(each) * 100 for each in course.within], borders, color=PURPLE, linewidth=1.6)
    share.set(ylabel="% within\nall limits", ylim=(0, 103), xlabel="minutes", xlim=(0, borders[-1]))


def _latency(
    axes: Any, borders: list[float], limit: Fraction | None, series: dict[str, tuple[float | None, ...]], label: str
) -> None:
    for (name, values), color, style in zip(series.items(), (BLUE, GREEN), ("-", "--"), strict=False):
        drawn = [_nan(value) for value in values]
        axes.stairs(drawn, borders, color=color, linestyle=style, linewidth=1.6, label=name, baseline=None)
    if limit is not None:
        axes.axhline(float(limit), color=RED, linestyle=":", label=f"limit {float(limit):,.6g} ms")
    axes.set(ylabel=label, yscale="log")
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 0.97), borderaxespad=0.2, fontsize=9)


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
