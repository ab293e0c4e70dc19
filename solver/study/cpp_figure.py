"""Figure 5: chunked pipeline parallelism, a long prompt cut into chunks that flow through the stages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costmodels.constants import Basis
from costmodels.formats import exact, formats
from costmodels.gpus import gpu
from costmodels.layers import Engine
from costmodels.models import Model, model
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.phases import Demand, steady, turns_of
from solver.instance import Workload
from solver.study.bench import Bench, Case
from solver.study.figure import Axes, Figure, Row, Series
from solver.study.paper_numbers import PAPER_FTL, measured

CPP = Axes("pp", "ftl_s", "pipeline stages (EP x PP = 64 GPUs)", "first token, s", True, True)
GPUS = 64
STAGES = (1, 2, 4, 8, 16, 32)
CHUNKS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
MODELLED, CACHED, NO_FILL = "as modelled", "up-projected KV kept", "as modelled, filling of the pipeline left out"


def figure_5(bench: Bench) -> Figure:
    """Time to the first token and rate of 64 GPUs, from expert parallelism alone to 32 stages."""
    instance = bench.instance(Case("r1-256k-prefill"))
    workload, domain = instance.workloads[0], instance.pools[0].nvlink_domain_gpus
    plain = [_row(workload, bench.basis, domain, pp) for pp in STAGES]
    kept = replace(workload, options=EngineOptions(cache_up_projection=True))
    cached = [_row(kept, bench.basis, domain, pp) for pp in STAGES]
    unfilled = [_row(workload, bench.basis, domain, pp, filled=False) for pp in STAGES]
    bench.counts.design_points += 3 * len(STAGES) * len(CHUNKS)
    series = [
        Series(MODELLED, plain), Series(CACHED, cached), Series(NO_FILL, unfilled),
        Series("paper", [{"pp": pp, "ftl_s": ftl} for pp, ftl in PAPER_FTL.items()], "", "read off the figure"),
        measured("CPP on H20", "measured"),
    ]  # fmt: skip
    notes = [
        "One prompt of 256K tokens per attention-DP rank: batch = EP = 64 / PP. No limit on the first token.",
        "Chunk: of 512 to 131072 tokens the one with the earliest first token; whole prompts where PP is 1.",
        "tokens_per_s_per_gpu = batch x ISL / (FTL x 64), batches do not overlap; pipelined_: a full pipeline.",
    ]
    return Figure(5, "DeepSeek-R1 prefill, 256K tokens, 64 GPUs: chunked pipeline parallelism", CPP, series, notes)


def _row(workload: Workload, basis: Basis, domain_gpus: int, pp: int, filled: bool = True) -> Row:
    """The chunk with the earliest first token at a depth; without filling, the stages count as full from the start."""
    isl = int(workload.isl)
    chunks = [chunk for chunk in CHUNKS if chunk <= isl // pp] if pp > 1 else [0]
    rows = [_priced(workload, basis, domain_gpus, pp, chunk) for chunk in chunks]
    if not filled:
        rows = [{**row, "ftl_s": row["ftl_s"] - row["fill_s"], "fill_s": 0.0} for row in rows]
        rows = [{**row, "tokens_per_s_per_gpu": row["pipelined_tokens_per_s_per_gpu"]} for row in rows]
    return min(rows, key=lambda row: float(row["ftl_s"]))


def _priced(workload: Workload, basis: Basis, domain_gpus: int, pp: int, chunk_tokens: int) -> Row:
    ranks, isl = GPUS // pp, int(workload.isl)
    shape, device = model(workload.model), gpu("gb200")
    used = formats(exact(workload.precision["prefill"], shape, device))
    cut = Partition(tp=1, pp=pp, attention_dp=ranks, moe_tp=1, moe_ep=ranks)
    engine = Engine(shape, device, used, cut, domain_gpus, None, basis, None)
    demand = Demand("prefill", workload.lengths, workload.options, chunk_tokens)
    state = steady(engine, demand, turns_of(engine, demand, np.array([1.0])))
    ftl, rate = float(state.latency_ms[0]) / 1000, float(state.requests_per_s[0])
    tp_bytes, cpp_bytes = communication(shape, isl, pp)
    return {
        "pp": pp, "ep": ranks, "batch": ranks, "isl": isl, "chunk_tokens": chunk_tokens, "ftl_s": ftl,
        "fill_s": ftl - ranks / rate if pp > 1 else 0.0, "tokens_per_s_per_gpu": ranks * isl / (ftl * GPUS),
        "pipelined_tokens_per_s_per_gpu": rate * isl / GPUS, "tp_bytes": tp_bytes, "cpp_bytes": cpp_bytes,
    }  # fmt: skip


def communication(shape: Model, isl: int, pp: int, value_bytes: int = 2) -> tuple[int, int]:
    """
    Bytes of activations that a prompt sends: tensor parallelism (two exchanges a layer), and pipeline stages.

    Parameters
    ----------
    shape
        The model.
    isl
        Tokens of the prompt.
    pp
        Pipeline stages; each but the last sends its output once.
    value_bytes
        Bytes of an activation.
    """
    return 2 * isl * shape.d_model * shape.layers * value_bytes, isl * shape.d_model * (pp - 1) * value_bytes
