"""Pictures of the figures."""

from __future__ import annotations

import io
import textwrap
from typing import Any

from costmodels.errors import Fault, InputError
from solver.study.figure import Axes, Figure, Series
from solver.study.piggyback import PANEL

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe-Ito colours, which colour-blind readers tell apart; dashes and markers differ as well."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GAIN = Axes(
    "tokens_per_s_per_user", "gain", "interactivity: output tokens/s per user", "ratio of output tokens/s per GPU", True
)
RATE = Axes("pp", "tokens_per_s_per_gpu", "pipeline stages", "prompt tokens/s per GPU", True)
CHUNK = Axes("chunk_tokens", "over_whole", "prompt tokens per chunk", "rate over that with whole prompts", True)
TICKS = {
    "tokens_per_s_per_user": (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000),
    "pp": (1, 2, 4, 8, 16, 32), "chunk_tokens": (128, 256, 512, 1024, 2048),
}  # fmt: skip
"""Marks of logarithmic axes."""
FEW = 12
"""Series of up to this many points show each of them."""


def draw(figure: Figure) -> bytes:
    """
    Draws a figure, a panel for each group of its series; measured points are hollow.

    Parameters
    ----------
    figure
        The figure.

    Returns
    -------
    bytes
        A PNG picture.

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Picture
    except ImportError:
        raise InputError([Fault("--plot", "needs matplotlib: pip install 'ratematch[plot]'")]) from None
    panels = _panels(figure)
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    picture = Picture(figsize=(6.4 * columns, 4.3 * rows + 0.8), layout="constrained")
    FigureCanvasAgg(picture)
    picture.suptitle(f"Figure {figure.number}. {figure.title}", fontsize=12)
    for place, (title, axes, series) in enumerate(panels):
        plot = picture.add_subplot(rows, columns, place + 1)
        _panel(plot, axes, series)
        plot.set_title(title, fontsize=10)
    picture.supxlabel("\n".join(textwrap.wrap(" ".join(figure.notes), 105 * columns)), fontsize=7, color="0.35")
    out = io.BytesIO()
    picture.savefig(out, format="png", dpi=110)
    return out.getvalue()


def _panels(figure: Figure) -> list[tuple[str, Axes, list[Series]]]:
    """Title, axes and series of each panel; gains are drawn as what they are, figure 5 with its rates beside it."""
    groups = {panel: [s for s in figure.series if s.panel == panel] for panel in figure.panels()}
    if figure.number == 5:
        ours, others = groups[""], groups["measured"]
        rated = [s for s in [*ours, *others] if "tokens_per_s_per_gpu" in s.rows[0]]
        return [("time to first token", figure.axes, [*ours, *others]), ("batches that do not overlap", RATE, rated)]
    return [(panel, _axes(figure, panel), group) for panel, group in groups.items()]


def _axes(figure: Figure, panel: str) -> Axes:
    if panel.startswith("gain"):
        return GAIN
    return CHUNK if panel == PANEL else figure.axes


def _panel(plot: Any, axes: Axes, series: list[Series]) -> None:
    for index, each in enumerate(series):
        points = [row for row in each.rows if row.get(axes.x) is not None and row.get(axes.y) is not None]
        x, y = [float(row[axes.x]) for row in points], [float(row[axes.y]) for row in points]
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        if each.source:
            plot.plot(x, y, linestyle="none", marker=marker, markerfacecolor="none", color="black", label=each.name)
            continue
        shown = marker if len(points) <= FEW else None
        plot.plot(
            x, y, color=colour, linestyle=DASHES[index % len(DASHES)], linewidth=1.6, marker=shown, label=each.name
        )
    for scale, values, logarithmic in (("x", axes.x, axes.log_x), ("y", axes.y, axes.log_y)):
        if logarithmic:
            getattr(plot, f"set_{scale}scale")("log", base=2 if values == "pp" else 10)
        else:
            plot.set_ylim(bottom=0) if scale == "y" else plot.set_xlim(left=0)
    if axes.log_x:
        low, high = plot.get_xlim()
        ticks = [tick for tick in TICKS[axes.x] if low <= tick <= high]
        plot.set_xticks(ticks, [str(tick) for tick in ticks])
        plot.set_xticks([], minor=True)
    plot.set_xlabel(axes.x_label)
    plot.set_ylabel(axes.y_label)
    plot.grid(alpha=0.25, which="both")
    plot.legend(frameon=False, fontsize=8)
