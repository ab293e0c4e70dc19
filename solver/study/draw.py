"""Pictures of the figures."""

from __future__ import annotations

import io
import textwrap
from typing import Any

from solver.picture import blank, rendered
from solver.study.figure import Axes, Figure, Series
from solver.study.silicon import PREFIX

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe-Ito colours, which colour-blind readers tell apart; dashes and markers differ as well."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TICKS = {
    "tokens_per_s_per_user": (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000),
    "pp": (1, 2, 4, 8, 16, 32), "chunk_tokens": tuple(2**power for power in range(7, 18)),
}  # fmt: skip
"""Marks of logarithmic axes."""
FEW = 12
"""Series of up to this many points show each of them."""
CROWDED = 10
"""Legends of more series than this have two columns."""


def draw(figure: Figure) -> bytes:
    """
    Draws a figure, a panel for each group of its series; what others measured is hollow, silicon crosses.

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
    panels = _panels(figure)
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    picture = blank(6.4 * columns, 4.3 * rows + 0.8)
    picture.suptitle(f"Figure {figure.number}. {figure.title}", fontsize=12)
    for place, (title, axes, series) in enumerate(panels):
        alone = place + 1 == len(panels) and place % columns == 0  # the last panel of an odd number takes the row
        plot = picture.add_subplot(rows, columns, (place + 1, place + columns) if alone else place + 1)
        _panel(plot, axes, series)
        plot.set_title(title, fontsize=10)
    picture.supxlabel("\n".join(textwrap.wrap(" ".join(figure.notes), 105 * columns)), fontsize=7, color="0.35")
    return _small(io.BytesIO(rendered(picture, "png", dpi=110)))


def _small(png: io.BytesIO) -> bytes:
    """The picture with a palette, a third of the size."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(png).convert("RGB").quantize(224, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        out, format="png", optimize=True
    )
    return out.getvalue()


def _panels(figure: Figure) -> list[tuple[str, Axes, list[Series]]]:
    """Title, axes and series of each panel."""
    groups = {panel: [s for s in figure.series if s.panel == panel] for panel in figure.panels()}
    return [(panel, figure.panel_axes.get(panel, figure.axes), group) for panel, group in groups.items()]


def _panel(plot: Any, axes: Axes, series: list[Series]) -> None:
    ours = [each.name for each in series if not each.source]
    others = [each.name for each in series if each.source and not each.name.startswith(PREFIX)]
    for each in series:
        points = [row for row in each.rows if row.get(axes.x) is not None and row.get(axes.y) is not None]
        x, y = [float(row[axes.x]) for row in points], [float(row[axes.y]) for row in points]
        plot.plot(x, y, label=each.name, **_style(each, len(points), ours, others))
    _scales(plot, axes)
    plot.set_xlabel(axes.x_label)
    plot.set_ylabel(axes.y_label)
    plot.grid(alpha=0.25, which="both")
    plot.legend(frameon=False, fontsize=7.5, ncols=2 if len(series) > CROWDED else 1)


def _style(series: Series, points: int, ours: list[str], others: list[str]) -> dict[str, Any]:
    """
    Ours: lines, with markers where points are few. Silicon: crosses in the colour of its line. Others: hollow, those of
    the paper in the colour of their line.
    """
    if series.name.startswith(PREFIX):
        index = ours.index(series.name.removeprefix(PREFIX))
        colour = COLOURS[index % len(COLOURS)]
        return {"color": colour, "linestyle": ":", "linewidth": 0.8, "marker": "x+1234"[index % 6], "markersize": 4,
                "markevery": max(1, points // 25)}  # fmt: skip
    if series.source:
        said = series.name.removeprefix("paper: ")
        colour = COLOURS[ours.index(said) % len(COLOURS)] if said in ours else "black"
        marker = MARKERS[others.index(series.name) % len(MARKERS)]
        return {"color": colour, "linestyle": "none", "marker": marker, "markerfacecolor": "none", "markersize": 7}
    index = ours.index(series.name)
    shown = MARKERS[index % len(MARKERS)] if points <= FEW else None
    return {
        "color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)], "linewidth": 1.6,
        "marker": shown, "markersize": 5,
    }  # fmt: skip


def _scales(plot: Any, axes: Axes) -> None:
    for scale, values, logarithmic in (("x", axes.x, axes.log_x), ("y", axes.y, axes.log_y)):
        if logarithmic:
            getattr(plot, f"set_{scale}scale")("log", base=2 if values == "pp" else 10)
        else:
            plot.set_ylim(bottom=axes.y_from) if scale == "y" else plot.set_xlim(left=0)
    if axes.log_x:
        low, high = plot.get_xlim()
        ticks = [tick for tick in TICKS[axes.x] if low <= tick <= high]
        plot.set_xticks(ticks, [str(tick) for tick in ticks])
        plot.set_xticks([], minor=True)
