"""Rows of operating-curve tables as counted steps, for the constants of the ``operators`` basis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from costmodels.constants import ARCHITECTURES
from costmodels.engine import Engine
from costmodels.formats import Formats, formats
from costmodels.gpus import GPUS
from costmodels.kernels import GENTLE, STEEP
from costmodels.models import Model, model
from costmodels.operating_curve import ROLES, Role
from costmodels.operators import Array
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.partition_space import fault
from costmodels.phases import Demand
from costmodels.table import read_table
from costmodels.traffic import Traffic

_KEY = (
    "system", "model", "backend", "phase", "precision", "tp", "pp", "attention_dp", "moe_tp", "moe_ep", "cp",
    "domain_gpus", "chunk_tokens", "isl", "osl",
)  # fmt: skip

NODE_GPUS = {"gb200": 4, "gb300": 4}
"""GPUs of a node, where not eight."""
LINKS_GBPS = {"b200_sxm": 100}
"""
Links that tables of a GPU were priced with, where the catalogue has others: aiconfigurator-core 0.12 gives a B200 links
of 800 Gbit/s, machines have 400 (:mod:`costmodels.gpus` names the sources). Said to fits and comparisons alone.
"""


@dataclass(frozen=True)
class TableSeries:
    """
    The rows of one engine at one traffic.

    Parameters
    ----------
    engine, demand
        What ran, and on what.
    batch
        Sequences per attention-DP rank.
    latency_ms
        Measured latencies.
    """

    engine: Engine
    demand: Demand
    batch: Array
    latency_ms: Array


def table_series(path: Path) -> tuple[list[TableSeries], Counter[str]]:
    """
    The series of a table, and the number of rows that the cost model does not price, by reason.

    Raises
    ------
    InputError
        When the table cannot be read or holds faults.
    """
    table = read_table(path)
    columns = table.columns
    points: dict[tuple[str, ...], list[tuple[int, float]]] = defaultdict(list)
    for index in range(len(table)):
        key = tuple(str(columns[name][index]) for name in _KEY)
        points[key].append((int(columns["batch"][index]), float(columns["latency_ms"][index])))
    found: list[TableSeries] = []
    skipped: Counter[str] = Counter()
    for key, rows in points.items():
        for answer in _series(dict(zip(_KEY, key, strict=True)), np.array(rows, dtype=float)):
            if isinstance(answer, str):
                skipped[answer] += len(rows)
            else:
                skipped["co-located batch at which sequences wait for room"] += len(rows) - len(answer.batch)
                found += [answer] if len(answer.batch) else []
    return found, +skipped


def _series(named: dict[str, str], rows: Array) -> Iterator[TableSeries | str]:
    """One series, or why it cannot be priced."""
    role: Role = next(role for role in ROLES if role == named["phase"])
    try:
        shape = model(named["model"])
        used = formats(named["precision"])
    except (ValueError, KeyError):
        yield f"unknown model or format: {named['model']}, {named['precision']}"
        return
    gpu = GPUS.get(named["system"])
    if gpu is None or named["cp"] != "1":
        yield "context parallelism" if gpu is not None else f"unknown GPU {named['system']}"
        return
    cut = Partition(*(int(named[name]) for name in ("tp", "pp", "attention_dp", "moe_tp", "moe_ep")))
    reason = used.missing(gpu) or fault(shape, cut)
    if reason is not None:
        yield reason
        return
    shape = replace(shape, dense_layers=0)  # the tables take every layer of a mixture of experts for one with experts
    if gpu.name in LINKS_GBPS:
        gpu = replace(gpu, link_gbps=LINKS_GBPS[gpu.name])
    engine = Engine(
        shape, gpu, used, cut, int(named["domain_gpus"]), named["backend"], "operators",
        dispatches=dispatches(named["backend"], gpu.name, shape, used, cut, role),
        exchanged=exchanged(named["backend"], gpu.name, cut.moe_ep), popularity=popularity(shape),
    )  # fmt: skip
    osl = int(named["osl"] or 1) if role != "prefill" else 1
    traffic = Traffic.constant(int(named["isl"]), osl)
    demand = Demand(role, traffic, EngineOptions(), int(named["chunk_tokens"]))
    batch = rows[:, 0] / cut.attention_dp
    keep = batch <= (demand.largest_busy_batch() if role == "colocated" else np.inf)
    yield TableSeries(engine, demand, batch[keep], rows[keep, 1])


def popularity(shape: Model) -> float:
    """
    With which power of its rank the popularity of an expert falls in the tables.

    They take the gentler power for DeepSeek's kin and for models with linear attention, the steeper one for others
    (aiconfigurator-core 0.12, model by model).
    """
    return GENTLE if shape.attention == "mla" or shape.linear_layers else STEEP


def exchanged(engine: str, gpu_name: str, ranks: int) -> int | None:
    """
    GPUs of the exchange that a table takes for that of so many ranks; None: all of them.

    Exchanges beyond a node were measured under SGLang on Hopper alone; elsewhere the tables take that of one node, as
    their source does (aiconfigurator-core 0.12 derives it from rows of one node).
    """
    if engine == "sglang" and ARCHITECTURES.get(gpu_name) == "hopper":
        return None
    return min(ranks, NODE_GPUS.get(gpu_name, 8))


def dispatches(engine: str, gpu_name: str, shape: Model, used: Formats, cut: Partition, role: Role) -> bool:
    """
    Whether a table prices whole experts with tokens sent to them and back; else the whole group shares all tokens.

    The tables do so where their source holds measured dispatches (found by listing its operators, aiconfigurator-core
    0.12): TensorRT-LLM with attention DP for experts as wide as DeepSeek's, and for the prompts of MiniMax; vLLM for
    these families; SGLang for FP8 weights of DeepSeek, on Blackwell beyond eight GPUs only.
    """
    wide, mini = shape.d_model == 7168, shape.d_model == 3072
    measured = cut.moe_ep >= NODE_GPUS.get(gpu_name, 8)
    if engine == "trtllm":
        return cut.attention_dp > 1 and measured and (wide or (mini and role == "prefill"))
    if engine == "vllm":
        return measured and (wide or mini)
    return wide and used.moe.math == "fp8" and (ARCHITECTURES.get(gpu_name) == "hopper" or cut.moe_ep > 8)
