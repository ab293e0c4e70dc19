"""Operating curves as the page draws them: breakpoints, what the fit cost, and the recorded error of the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from costmodels.known_errors import KnownError, nearest
from costmodels.operating_curve import ROLES, Role
from solver.engines import Engine, EngineSet
from solver.instance import Instance
from solver.page.picked import short

MEASURED: dict[Role, str] = {"prefill": "ttft", "decode": "tpot", "colocated": "tpot"}
TABLED: dict[Role, str] = {"prefill": "prefill", "decode": "decode", "colocated": "tpot"}
"""Quantity that says how far the latency of a role is off, against measured servers, and against tables."""


def curves_dict(instance: Instance, engines: EngineSet, indices: Iterable[int]) -> dict[str, Any]:
    """The curves of some engines, by their index."""
    every = {engine.index: engine for engine in engines.engines}
    return {str(index): _curve(instance, every[index]) for index in sorted(set(indices))}


def _curve(instance: Instance, engine: Engine) -> dict[str, Any]:
    curve, workload = engine.curve, engine.workload
    limit = workload.ttft_ms if curve.role == "prefill" else workload.tpot_ms
    known = known_error_of(instance, engine)
    return {
        "batch": list(curve.batch),
        "latency": [short(value) for value in curve.latency_ms],
        "ttft": [short(value) for value in curve.ttft_ms] if curve.role == "colocated" else [],
        "ttftLimit": short(workload.ttft_ms),
        "rate": [short(value) for value in curve.requests_per_s],
        "between": curve.interpolate,
        "fit": short(curve.fit_error),
        "limit": short(limit),
        "known": None if known is None else short(known.median_ape),
        "knownText": "" if known is None else str(known),
    }


def known_error_of(instance: Instance, engine: Engine) -> KnownError | None:
    """The recorded error of an engine's latencies; None where the rows are a table's, or nothing is recorded."""
    spec = instance.cost_model
    if spec.kind != "roofline" or spec.basis == "ideal":
        return None
    quantity = (MEASURED if spec.basis == "served" else TABLED)[engine.curve.role]
    device = engine.pool.device
    gpu = engine.pool.gpu if device is None else device.calibrated_as or device.name
    return nearest(quantity, engine.workload.model, gpu, engine.workload.backend)


def fastest(engines: Sequence[Engine]) -> list[int]:
    """For each workload and role the engine of the lowest latency, to hold a limit against."""
    best: dict[tuple[str, Role], Engine] = {}
    for engine in engines:
        key = (engine.workload.name, engine.curve.role)
        if key not in best or min(engine.curve.latency_ms) < min(best[key].curve.latency_ms):
            best[key] = engine
    return [best[key].index for key in sorted(best, key=lambda key: (key[0], ROLES.index(key[1])))]
