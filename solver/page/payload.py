"""The numbers of a page, for its scripts to draw."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from solver.frontier import Frontier
from solver.page.curves import curves_dict, fastest
from solver.page.picked import Picked, engine_dict, short
from solver.page.report import Report, fast_enough
from solver.plot import Y_LABELS

NAMES = {"colocated": "co-located", "disaggregated": "disaggregated", "hybrid": "hybrid"}


def payload_of(report: Report) -> dict[str, Any]:
    """
    What the scripts of a page read.

    ``points`` are deployments; ``series`` say which of them make a frontier, the instance's own first; ``chosen`` is
    the point that is shown first, None where there is none; ``curves`` are those of the engines in use.
    """
    picked = Picked()
    optimum = None if report.result is None else picked.result(report.result)
    series = [] if report.frontier is None else [_series("own", report.frontier, picked)]
    series += [
        _series(one.name, one.frontier, picked, one.is_allowed)
        for one in report.envelopes
        if one.frontier is not None and one.frontier.points
    ]
    instance = report.instance
    every = {engine.index: engine for engine in report.engines.engines}
    used = sorted(picked.used) or fastest(report.engines.engines)
    limits = {w.tpot_ms for w in instance.workloads if w.osl > 1}
    limit = limits.pop() if len(limits) == 1 else None
    return {
        "name": instance.name,
        "least": instance.is_minimised,
        "yLabel": Y_LABELS[instance.objective],
        "inventory": None if instance.is_unlimited else instance.inventory_gpus,
        "workloads": [w.name for w in instance.workloads],
        "tpotLimit": short(limit),
        "series": series,
        "optimum": optimum,
        "chosen": _chosen(report, optimum, series),
        "points": picked.points,
        "engines": {str(index): engine_dict(every[index]) for index in used},
        "packings": picked.packings,
        "curves": curves_dict(instance, report.engines, used),
    }


def _series(name: str, frontier: Frontier, picked: Picked, allowed: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "label": "this instance" if name == "own" else NAMES[name],
        "allowed": allowed,
        "missing": frontier.missing,
        "points": picked.frontier(frontier.points),
    }


def _chosen(report: Report, optimum: int | None, series: list[dict[str, Any]]) -> int | None:
    """The point that is shown first: what was asked for, else the optimum, else the best of the frontier."""
    own: list[int] = series[0]["points"] if series else []
    if report.at is not None and report.frontier is not None and own:
        return own[fast_enough(report.frontier, Fraction(report.at))]
    return optimum if optimum is not None else own[0] if own else None


def as_json(payload: dict[str, Any]) -> str:
    """The payload as JSON that may stand inside of an HTML script element."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
