"""Draws a frontier for papers: interactivity against the objective, by mode, with its envelopes where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solver.files import write_whole
from solver.frontier import Frontier, FrontierPoint
from solver.picture import blank, rendered

if TYPE_CHECKING:
    from solver.page.envelopes import Envelope

COLOURS = {"disaggregated": "#0072B2", "colocated": "#D55E00", "hybrid": "#009E73", "mixed": "#CC79A7"}
"""Okabe-Ito colours, which colour-blind readers tell apart; markers differ as well."""
MARKERS = {"disaggregated": "o", "colocated": "s", "hybrid": "^", "mixed": "D"}
NAMES = {"colocated": "co-located"}
Y_LABELS = {
    "throughput": "output tokens/s per GPU of the inventory",
    "throughput_per_gpu": "output tokens/s per GPU used",
    "gpus": "GPUs used",
    "cost": "USD per hour",
}
FONTS = {"svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 10}
"""Text stays text in SVG, so that papers set it in their own font."""
WITHIN = ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"]


def plot_frontier(frontier: Frontier, path: Path, envelopes: Sequence[Envelope] = ()) -> None:
    """
    Writes the plot.

    Parameters
    ----------
    frontier
        The frontier.
    path
        ``.png`` or ``.svg``; :mod:`solver.page` writes ``.html``.
    envelopes
        Frontiers with the modes forced, to draw beside it; those that the instance does not allow are dashed.

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    figure = blank(7.2, 4.4)
    import matplotlib

    with matplotlib.rc_context({**FONTS, "font.sans-serif": WITHIN}):
        _draw(figure.add_subplot(), frontier, envelopes)
        picture = rendered(figure, path.suffix[1:], dpi=200)
    write_whole(path, picture)


def _draw(axes: Any, frontier: Frontier, envelopes: Sequence[Envelope]) -> None:
    own = drawn(frontier)
    if envelopes:
        _steps(axes, own, color="0.82", linewidth=6, label="this instance", zorder=1)
    else:
        _steps(axes, own, color="0.6", linewidth=1, zorder=1)
    for one in envelopes:
        if one.frontier is not None and one.frontier.points:
            label = NAMES.get(one.name, one.name) + ("" if one.is_allowed else ", if it were allowed")
            style = "-" if one.is_allowed else "--"
            _steps(
                axes,
                drawn(one.frontier),
                color=COLOURS[one.name],
                linewidth=1.3,
                linestyle=style,
                label=label,
                zorder=2,
            )
    for mode, colour in COLOURS.items():
        chosen = [point for point in own if point.mode == mode]
        if chosen:
            at_x, at_y = [_user(point) for point in chosen], [height(point) for point in chosen]
            name = None if envelopes else NAMES.get(mode, mode)
            axes.scatter(
                at_x, at_y, color=colour, marker=MARKERS[mode], s=20 if len(own) <= 150 else 8, label=name, zorder=3
            )
    axes.set_xlabel("interactivity: output tokens/s per user (1000 / TPOT in ms)")
    axes.set_ylabel(Y_LABELS[frontier.instance.objective])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    status = "exact frontier" if not frontier.missing else "part of the exact frontier"
    axes.set_title(f"{frontier.instance.name}: {status}, {len(frontier.points)} deployments", fontsize=10, loc="left")
    if own:
        axes.legend(frameon=False)


def drawn(frontier: Frontier) -> list[FrontierPoint]:
    """The points that have an interactivity."""
    return [point for point in frontier.points if point.tokens_per_s_per_user is not None]


def height(point: FrontierPoint) -> float:
    """What a point is drawn over: the objective where it is minimised, else tokens/s per GPU."""
    d = point.deployment
    return float(point.value if d.instance.is_minimised else d.tokens_per_s_per_gpu)


def _user(point: FrontierPoint) -> float:
    return float(point.tokens_per_s_per_user or 0)


def _steps(axes: Any, points: Sequence[FrontierPoint], **style: Any) -> None:
    """What a user can have at least: the value of a point holds for every interactivity below it."""
    if points:
        xs, ys = [0.0, *map(_user, points)], [height(points[0]), *map(height, points)]
        axes.step(xs, ys, where="pre", **style)
