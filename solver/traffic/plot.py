"""Draws a trace: rate over time, lengths, and gaps between arrivals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from solver.files import write_whole
from solver.picture import blank, rendered
from solver.traffic.statistics import Statistics
from solver.traffic.times import seconds_text

BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#888888"
"""Okabe-Ito colours, which colour-blind readers tell apart."""


def plot_trace(found: Statistics, path: Path) -> None:
    """
    Writes the plot.

    Parameters
    ----------
    found
        The statistics.
    path
        ``.png`` or ``.svg``.

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    figure = blank(11, 7.4)
    grid = figure.add_gridspec(2, 2)
    figure.suptitle(f"{found.requests.name}: {len(found.requests):,} requests")
    _rates(figure.add_subplot(grid[0, :]), found)
    _lengths(figure.add_subplot(grid[1, 0]), found)
    _gaps(figure.add_subplot(grid[1, 1]), found)
    write_whole(path, rendered(figure, path.suffix[1:], dpi=110))


def _rates(axes: Any, found: Statistics) -> None:
    rates, period = [float(rate) for rate in found.rates], float(found.period_s)
    borders = [i * period / 60 for i in range(len(rates) + 1)]
    axes.stairs(rates, borders, color=BLUE, linewidth=1.6, fill=True, alpha=0.25)
    axes.stairs(rates, borders, color=BLUE, linewidth=1.6)
    mean = sum(rates) / len(rates)
    axes.axhline(mean, color=RED, linestyle="--", label=f"mean {mean:.3g}/s, peak/mean {found.peak_to_mean:.3g}")
    axes.set(xlabel="minutes", ylabel="requests/s", ylim=(0, None), xlim=(0, borders[-1]))
    axes.set_title(f"rate by periods of {seconds_text(found.period_s)}", fontsize=10)
    axes.legend(frameon=False)


def _lengths(axes: Any, found: Statistics) -> None:
    import numpy as np

    for name, tokens, color, style in (
        ("ISL", found.requests.isl, BLUE, "-"),
        ("OSL", found.requests.osl, GREEN, "--"),
    ):
        ordered = np.sort(tokens)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        axes.step(
            ordered, share, where="post", color=color, linestyle=style, label=f"{name}, mean {tokens.mean():,.0f}"
        )
    axes.set(xscale="log", xlabel="tokens", ylabel="share of requests not longer", ylim=(0, 1.02))
    axes.set_title("lengths", fontsize=10)
    axes.legend(frameon=False, loc="lower right")


def _gaps(axes: Any, found: Statistics) -> None:
    import numpy as np

    gaps = np.sort(np.diff(found.requests.arrival_s))
    axes.set_title("gaps between arrivals", fontsize=10)
    if not len(gaps) or gaps[-1] <= 0:
        return
    above = 1 - np.arange(len(gaps)) / len(gaps)
    axes.step(gaps, above, where="post", color=BLUE, label="trace")
    at = np.linspace(0, gaps.mean() * np.log(len(gaps)) * 1.2, 200)
    axes.plot(at, np.exp(-at / gaps.mean()), color=GREY, linestyle="--", label="Poisson stream of the same mean")
    axes.set(yscale="log", xlabel="seconds", ylabel="share of gaps longer", ylim=(0.5 / len(gaps), 1.5))
    axes.legend(frameon=False)
