"""Draws a frontier: interactivity against the objective, by mode."""

from __future__ import annotations

import html
import io
from pathlib import Path

from costmodels.errors import Fault, InputError
from solver.files import write_whole
from solver.frontier import Frontier

COLOURS = {"disaggregated": "#0072B2", "colocated": "#D55E00", "hybrid": "#009E73", "mixed": "#CC79A7"}
"""Okabe-Ito colours, which colour-blind readers tell apart; markers differ as well."""
MARKERS = {"disaggregated": "o", "colocated": "s", "hybrid": "^", "mixed": "D"}
Y_LABELS = {
    "throughput": "output tokens/s per GPU of the inventory",
    "throughput_per_gpu": "output tokens/s per GPU used",
    "gpus": "GPUs used",
    "cost": "USD per hour",
}


def plot_frontier(frontier: Frontier, path: Path) -> None:
    """
    Writes the plot.

    Parameters
    ----------
    frontier
        The frontier.
    path
        ``.png``, ``.svg`` or ``.html`` (a page with the picture and the table).

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    kind = "svg" if path.suffix == ".html" else path.suffix[1:]
    picture = _picture(frontier, kind)
    write_whole(path, _page(frontier, picture.decode()) if path.suffix == ".html" else picture)


def _picture(frontier: Frontier, kind: str) -> bytes:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError([Fault("--plot", "needs matplotlib: pip install 'ratematch[plot]'")]) from None
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = [point for point in frontier.points if point.tokens_per_s_per_user is not None]
    xs = [float(point.tokens_per_s_per_user or 0) for point in points]
    ys = [_height(frontier, index) for index, point in enumerate(frontier.points) if point in points]
    if xs:
        axes.step(xs, ys, where="pre", color="0.6", linewidth=1, zorder=1)
    for mode, colour in COLOURS.items():
        chosen = [i for i, point in enumerate(points) if point.mode == mode]
        if chosen:
            label = {"colocated": "co-located"}.get(mode, mode)
            at_x, at_y = [xs[i] for i in chosen], [ys[i] for i in chosen]
            axes.scatter(at_x, at_y, color=colour, marker=MARKERS[mode], s=22, label=label, zorder=2)
    axes.set_xlabel("interactivity: output tokens/s per user (1000 / TPOT in ms)")
    axes.set_ylabel(Y_LABELS[frontier.instance.objective])
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    status = "exact frontier" if not frontier.missing else "part of the exact frontier"
    axes.set_title(f"{frontier.instance.name}: {status}, {len(frontier.points)} deployments")
    if points:
        axes.legend(frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format=kind, dpi=150)
    return out.getvalue()


def _height(frontier: Frontier, index: int) -> float:
    point = frontier.points[index]
    if frontier.instance.is_minimised:
        return float(point.value)
    return float(point.deployment.tokens_per_s_per_gpu)


def _page(frontier: Frontier, svg: str) -> str:
    rows = frontier.as_csv().splitlines()
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row.split(",")) for row in rows]
    table = "".join(f"<tr>{line}</tr>" for line in cells)
    name = html.escape(frontier.instance.name)
    style = "body{font:14px sans-serif;margin:2em}td{padding:2px 8px;border-bottom:1px solid #ddd;white-space:nowrap}"
    picture = svg[svg.index("<svg") :]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{style}</style>'
        f"<h1>{name}</h1>{picture}<table>{table}</table></html>\n"
    )
