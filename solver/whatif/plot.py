"""Draws a value function along its axis: steps or lines, the instance's own point, what is infeasible or unsettled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from solver.files import write_whole
from solver.picture import blank, rendered
from solver.report import UNITS
from solver.whatif.pieces import Piece, WhatIf

COLOUR, OWN, SHADE = "#0072B2", "#D55E00", "0.85"


def plot_what_if(found: WhatIf, path: Path) -> None:
    """
    Writes the picture as ``.png`` or ``.svg``.

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    figure = blank(8, 5)
    axes = figure.add_subplot()
    for label, pieces in _grouped(found).items():
        _draw(axes, label, pieces, bool(found.ask.values) or not found.axis.looser)
    own = found.axis.own
    here = None if own is None else found.piece_at(own)
    if own is not None and here is not None and here.status == "optimal":
        label = f"the instance: {float(own):g}"
        axes.plot([float(own)], [float(here.at(own) or 0)], "D", color=OWN, markersize=7, label=label, zorder=3)
    axes.set_xlabel(f"{found.axis.label} ({found.axis.unit})")
    axes.set_ylabel(UNITS[found.instance.objective])
    if found.ask.high > found.ask.low:
        axes.set_xlim(float(found.ask.low), float(found.ask.high))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    what = "exact at the values marked" if found.ask.values else f"exact, {len(found.breakpoints)} breakpoints"
    axes.set_title(f"{found.instance.name}: {what}{', incomplete' if found.missing else ''}")
    axes.legend(frameon=False)
    write_whole(path, rendered(figure, path.suffix[1:], dpi=150))


def _grouped(found: WhatIf) -> dict[str, list[Piece]]:
    """Pieces by what is to be said of them in the legend."""
    groups: dict[str, list[Piece]] = {}
    names = {"optimal": "optimal value, proved", "infeasible": "infeasible, proved", "unsettled": "not settled"}
    for piece in found.pieces:
        groups.setdefault(names.get(piece.status, piece.status), []).append(piece)
    return groups


def _draw(axes: Any, label: str, pieces: list[Piece], dots: bool) -> None:
    for number, piece in enumerate(pieces):
        name = label if number == 0 else None
        xs = [float(piece.low), float(piece.high)]
        if piece.value is not None:
            ys = [float(piece.value), float(piece.at(piece.high) or 0)]
            style = "o" if dots or xs[0] == xs[1] else "-"
            axes.plot(xs, ys, style, color=COLOUR, linewidth=1.8, markersize=4, label=name)
        elif piece.lower is not None and piece.upper is not None:
            low, high = float(piece.lower), float(piece.upper)
            axes.fill_between(xs, [low, low], [high, high], color=SHADE, label=name)
        else:
            width = max(xs[1], xs[0] + 1e-9)
            hatch = "//" if piece.status == "infeasible" else ".."
            axes.axvspan(xs[0], width, facecolor="none", edgecolor=SHADE, hatch=hatch, label=name)
