"""A peer's own space, searched whole: identical replicas of one prefill and one decode engine, in its sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from solver.compare.cases import Case

Floats = npt.NDArray[np.float64]


def best_engines(rows: list[Mapping[str, Any]], limit: float, factor: float = 1.0) -> list[tuple[int, float]]:
    """For each partition with a row below the limit, its GPUs and its best rate (requests/s)."""
    best: dict[tuple[int, ...], tuple[int, float]] = {}
    for row in rows:
        key = tuple(int(row[name] or 1) for name in ("tp", "pp", "dp", "moe_tp", "moe_ep", "cp"))
        gpus = key[0] * key[1] * key[2] * key[5]
        if row["latency"] * factor < limit and row["seq/s"] > best.get(key, (0, 0.0))[1]:
            best[key] = (gpus, float(row["seq/s"]))
    return list(best.values())


def replicas(taken: Mapping[str, Any], case: Case, tpot: float) -> tuple[Floats, Floats]:
    """GPUs and requests/s of every replica that the space holds at a limit on the time a token (ms)."""
    space = taken["space"]
    prefill = best_engines(taken["prefill"], case.ttft_ms, space["ttft"])
    decode = best_engines(taken["decode"], tpot)
    counts = (np.array(space[f"{role}_num_worker_list"], dtype=float) for role in ("prefill", "decode"))
    many, most = np.meshgrid(*counts, indexing="ij")
    sizes = np.array(space["num_gpu_list"], dtype=float)
    gpus, rates = [np.empty(0)], [np.empty(0)]
    for p_gpus, p_rate in prefill:
        for d_gpus, d_rate in decode:
            total = many * p_gpus + most * d_gpus
            rate = np.minimum(many * p_rate * space["prefill"], most * d_rate * space["decode"])
            fits = np.isin(total, sizes) if sizes.size else np.ones(total.shape, dtype=bool)
            gpus.append(total[fits])
            rates.append(rate[fits])
    return np.concatenate(gpus), np.concatenate(rates)


def colocated(taken: Mapping[str, Any], case: Case, tpot: float) -> tuple[Floats, Floats]:
    """GPUs and requests/s (in the peer's count of tokens) of every co-located engine within the limits."""
    rows = [row for row in taken["agg"] if row["tpot"] <= tpot and row["ttft"] <= case.ttft_ms]
    gpus = np.array([row["num_total_gpus"] for row in rows], dtype=float)
    rates = np.array([row["tokens/s/gpu"] * row["num_total_gpus"] / case.osl for row in rows], dtype=float)
    return gpus, rates


def most_tokens(gpus: Floats, rates: Floats, case: Case) -> float:
    """The most tokens/s per GPU of the fleet by whole replicas; 0 where none fits."""
    if not gpus.size:
        return 0.0
    return float(np.max(np.floor(case.gpus / gpus) * rates)) * case.osl / case.gpus


def fewest_gpus(gpus: Floats, rates: Floats, load: float) -> int | None:
    """The fewest GPUs of whole replicas for a load in requests/s; None where there is no replica."""
    if not gpus.size:
        return None
    return math.floor(float(np.min(np.ceil(load / rates) * gpus)))
