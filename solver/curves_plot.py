"""Draws operating curves: latency and rate over batch, breakpoints, samples, and what the fit costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from costmodels.errors import Fault, InputError
from costmodels.operating_curve import ROLES, OperatingCurve, Role
from solver.curves_report import LATENCY_NAMES, ROLE_NAMES, Curves, Floats, Samples
from solver.engines import Engine
from solver.files import write_whole
from solver.picture import blank, rendered

STYLES = (
    *(("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"), ("#E69F00", "P")),
)
"""Okabe-Ito colours, which colour-blind readers tell apart, each with a marker of its own."""


def plot_curves(curves: Curves, path: Path) -> int:
    """
    Writes the plot: a row of panels a role.

    Parameters
    ----------
    curves
        The curves. Of more than six a role, those of the highest rate per GPU are drawn.
    path
        ``.png`` or ``.svg``.

    Returns
    -------
    int
        The number of curves drawn.

    Raises
    ------
    InputError
        When matplotlib is not installed, or there is no curve.
    """
    if not curves.chosen:
        raise InputError([Fault("--plot", "there is no curve to draw; the list says what was dropped, and why")])
    by_role = {role: [one for one in curves.chosen if one.curve.role == role] for role in ROLES}
    roles = [role for role in ROLES if by_role[role]]
    sampled = getattr(curves.model, "samples", None) is not None
    figure = blank(15 if sampled else 10.5, 4.6 * len(roles) + 0.6)
    panels = figure.subplots(len(roles), 3 if sampled else 2, squeeze=False)
    drawn = 0
    for row, role in zip(panels, roles, strict=True):
        shown = _fastest(by_role[role])
        drawn += len(shown)
        _role(row, role, shown, curves)
        kept = "" if len(shown) == len(by_role[role]) else f", the {len(shown)} of highest rate per GPU drawn"
        row[0].set_title(f"{ROLE_NAMES[role]}: {len(by_role[role])} curves{kept}", loc="left", fontsize=11)
    fitted = any(engine.curve.fit_error for engine in curves.chosen)
    kind = "; samples: dots" if sampled else "" if fitted else ", each as it was given"
    figure.suptitle(f"{curves.name}: operating curves (breakpoints: markers{kind})", fontsize=12)
    write_whole(path, rendered(figure, path.suffix[1:], dpi=130))
    return drawn


def _fastest(engines: Sequence[Engine]) -> list[Engine]:
    """At most as many as there are styles: the highest rates per GPU, in canonical order."""
    best = sorted(engines, key=lambda one: (-max(one.curve.requests_per_s) / one.curve.partition.gpus, one.index))
    return sorted(best[: len(STYLES)], key=lambda one: one.index)


def _role(row: Sequence[Any], role: Role, engines: Sequence[Engine], curves: Curves) -> None:
    latency, rate = row[0], row[1]
    for engine, (colour, marker) in zip(engines, STYLES, strict=False):
        curve = engine.curve
        batch = np.array(list(curve.admissible_batches()), dtype=float)
        style = {"color": colour, "marker": marker, "label": _legend(engine, engines)}
        samples = curves.samples(engine)
        measured = (None, None) if samples is None else (samples.latency_ms, samples.requests_per_s)
        for axes, values, dots in zip((latency, rate), (curve.latency_ms, curve.requests_per_s), measured, strict=True):
            _line(axes, curve, batch, values, style)
            if samples is not None and dots is not None:
                axes.plot(samples.batch, dots, ".", color=colour, markersize=3, alpha=0.6, zorder=1)
        if samples is not None and len(row) > 2:
            _error(row[2], curve, samples, style)
    largest = max(engine.curve.batch[-1] for engine in engines)
    for axes in row:
        if largest >= 16:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("batch: sequences of a micro-batch, over all attention-DP ranks")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
    latency.set_ylabel(f"{LATENCY_NAMES[role]}, ms")
    rate.set_ylabel("requests/s of a replica")
    if len(row) > 2:
        row[2].set_ylabel("fit error, % (latency: solid, rate: dashed)")
    latency.legend(frameon=False, fontsize=8)


def _legend(engine: Engine, engines: Sequence[Engine]) -> str:
    """The partition, and what else tells these engines apart."""
    curve = engine.curve
    parts = [f"#{engine.index}", curve.partition.label]
    if len({one.curve.chunk_tokens for one in engines}) > 1:
        parts.append(f"chunk {curve.chunk_tokens}")
    if len({one.pool.name for one in engines}) > 1:
        parts.append(engine.pool.name)
    if len({one.workload.name for one in engines}) > 1:
        parts.append(engine.workload.name)
    return " ".join(parts)


def _line(axes: Any, curve: OperatingCurve, batch: Floats, values: Sequence[Any], style: dict[str, str]) -> None:
    """A curve with its breakpoints; dotted where the batches between them are not admissible."""
    at = np.array(curve.batch, dtype=float)
    heights = np.array([float(value) for value in values])
    if curve.interpolate:
        axes.plot(batch, np.interp(batch, at, heights), color=style["color"], linewidth=1.2, zorder=2)
    else:
        axes.plot(at, heights, color=style["color"], linewidth=0.8, linestyle=":", zorder=2)
    axes.plot(at, heights, linestyle="", markersize=5, markerfacecolor="none", zorder=3, **style)


def _error(axes: Any, curve: OperatingCurve, samples: Samples, style: dict[str, str]) -> None:
    """By how much the curve is worse than its samples: latency above, rate below them; never less than 0."""
    at = np.array(curve.batch, dtype=float)
    latency = np.interp(samples.batch, at, np.array([float(value) for value in curve.latency_ms]))
    rate = np.interp(samples.batch, at, np.array([float(value) for value in curve.requests_per_s]))
    axes.plot(samples.batch, 100 * (latency / samples.latency_ms - 1), color=style["color"], linewidth=1)
    lost = 100 * (1 - rate / samples.requests_per_s)
    axes.plot(samples.batch, lost, color=style["color"], linewidth=1, linestyle="--")
