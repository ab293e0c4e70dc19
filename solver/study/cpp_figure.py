"""Figure 5: chunked pipeline parallelism, a long prompt cut into chunks that flow through the stages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from costmodels.constants import Basis
from costmodels.engine import Engine
from costmodels.formats import exact, formats
from costmodels.gpus import gpu
from costmodels.models import Model, model
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.phases import Demand, steady, turns_of
from costmodels.traffic import Traffic
from solver.instance import Workload
from solver.study.bench import Bench, Case
from solver.study.figure import Axes, Figure, Row, Series
from solver.study.paper_numbers import PAPER_FTL, measured

GPUS, DEEPEST = 64, 32
STAGES = (1, 2, 4, 8, 16, DEEPEST)
CHUNKS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
FTL_PANEL, RATE_PANEL = "time to first token", "prompt tokens/s per GPU over that of one stage"
CHUNK_PANEL, H20_PANEL = (
    "32 stages: what the size of a chunk does",
    "pipelines measured: DeepSeek-V3.1 on H20, 128K tokens",
)
MODELLED, CACHED = "as modelled", "up-projected KV kept"
EVEN, NO_FILL = "kept, chunks of equal time", "as modelled, filling of the pipeline left out"
BARE_CHUNKS = "chunks at no cost: 32 n / (n + 31)"
STAGE_LABEL = "pipeline stages (EP x PP = 64 GPUs)"
CPP = Axes("pp", "ftl_s", STAGE_LABEL, "first token, s", True, True)
AXES = {
    RATE_PANEL: Axes("pp", "relative_rate", STAGE_LABEL, "over one stage", True, y_from=0.5),
    CHUNK_PANEL: Axes(
        "chunk_tokens", "ftl_ratio", "prompt tokens per chunk", "first token with 1 over 32 stages", True
    ),
    H20_PANEL: Axes(
        "pp", "efficiency", "pipeline stages of 8 GPUs (TP 8)", "tokens/s per GPU over one stage", True, y_from=0.5
    ),
}
H20_MODELLED = "as modelled, chunks of 4096"
H20_CHUNK, H20_TOKENS = 4096, 131072
Variant = Callable[[Row], float]
"""The first token in s of a priced row."""


def figure_5(bench: Bench) -> Figure:
    """Time to the first token and rate of 64 GPUs, from expert parallelism alone to 32 stages."""
    instance = bench.instance(Case("r1-256k-prefill"))
    workload, domain = instance.workloads[0], instance.pools[0].nvlink_domain_gpus
    plain, kept = ({pp: _chunks(workload, bench.basis, domain, pp, keep) for pp in STAGES} for keep in (False, True))
    bench.counts.design_points += 2 * sum(len(rows) for rows in plain.values())
    variants: dict[str, tuple[dict[int, list[Row]], Variant]] = {
        MODELLED: (plain, lambda row: float(row["ftl_s"])),
        CACHED: (kept, lambda row: float(row["ftl_s"])),
        EVEN: (kept, lambda row: float(row["bare_s"]) * (1 + (row["pp"] - 1) / row["chunks"])),
        NO_FILL: (plain, lambda row: float(row["bare_s"])),
    }
    series, by_chunk = [], []
    for name, (priced, first_token) in variants.items():
        rows = [_best(rows, first_token) for rows in priced.values()]
        series.append(Series(name, rows, FTL_PANEL))
        ratios = [
            {"chunk_tokens": row["chunk_tokens"], "ftl_ratio": rows[0]["ftl_s"] / first_token(row)}
            for row in priced[DEEPEST] if name != NO_FILL
        ]  # fmt: skip
        by_chunk += [Series(name, ratios, CHUNK_PANEL)] if ratios else []
    isl = int(workload.isl)
    bare = [
        {"chunk_tokens": c, "ftl_ratio": DEEPEST / (1 + (DEEPEST - 1) * c / isl)} for c in CHUNKS if c <= isl // DEEPEST
    ]
    paper = [{"pp": pp, "ftl_s": ftl, "relative_rate": 91.5 / ftl / pp} for pp, ftl in PAPER_FTL.items()]
    series += [
        Series("paper", paper, FTL_PANEL, "read off the figure"),
        *_rates(series[0], series[2]), Series("paper", paper, RATE_PANEL, "read off the figure"),
        *by_chunk, Series(BARE_CHUNKS, bare, CHUNK_PANEL),
        Series(H20_MODELLED, _h20(bench.basis), H20_PANEL), measured("CPP on H20", H20_PANEL),
        measured("Qwen3-235B-A22B, TP 4 a stage", H20_PANEL),
    ]  # fmt: skip
    notes = [
        "One prompt of 256K tokens per attention-DP rank: batch = EP = 64 / PP. No limit on the first token.",
        "At each depth the chunk, of 128 to 131072 tokens, with the earliest first token; whole prompts at PP 1.",
        "Not overlapped: batch x ISL / (FTL x 64), batches one after the other; pipelined: stages always busy.",
    ]
    title = "DeepSeek-R1 prefill, 256K tokens, 64 GPUs: chunked pipeline parallelism"
    return Figure(5, title, CPP, series, notes, AXES)


def _rates(plain: Series, even: Series) -> list[Series]:
    """The rate over that of one stage, of batches that do not overlap and of full pipelines."""
    found = []
    for said, column in (("not overlapped", "tokens_per_s_per_gpu"), ("pipelined", "pipelined_tokens_per_s_per_gpu")):
        for series in (plain, even):
            base = float(series.rows[0][column])
            rows = [{"pp": row["pp"], "relative_rate": float(row[column]) / base} for row in series.rows]
            found.append(Series(f"{series.name}, {said}", rows, RATE_PANEL))
    return found


def _best(rows: list[Row], first_token: Variant) -> Row:
    """The chunk with the earliest first token, and the rate of batches that do not overlap."""
    row = min(rows, key=first_token)
    ftl = first_token(row)
    return {**row, "ftl_s": ftl, "tokens_per_s_per_gpu": row["batch"] * row["isl"] / (ftl * GPUS)}


def _chunks(workload: Workload, basis: Basis, domain_gpus: int, pp: int, keep: bool) -> list[Row]:
    """A depth with every size of chunks; whole prompts without stages."""
    ranks, isl = GPUS // pp, int(workload.isl)
    shape, device = model(workload.model), gpu("gb200")
    used = formats(exact(workload.precision["prefill"], shape, device))
    cut = Partition(tp=1, pp=pp, attention_dp=ranks, moe_tp=1, moe_ep=ranks)
    engine = Engine(shape, device, used, cut, domain_gpus, None, basis, None)
    tp_bytes, cpp_bytes = communication(shape, isl, pp)
    rows = []
    for chunk in [chunk for chunk in CHUNKS if chunk <= isl // pp] if pp > 1 else [0]:
        ftl, rate = _priced(engine, workload.lengths, chunk, EngineOptions(cache_up_projection=keep))
        rows.append({
            "pp": pp, "ep": ranks, "batch": ranks, "isl": isl, "chunk_tokens": chunk,
            "chunks": isl // chunk if chunk else 1, "ftl_s": ftl, "bare_s": ranks / rate if pp > 1 else ftl,
            "pipelined_tokens_per_s_per_gpu": rate * isl / GPUS, "tp_bytes": tp_bytes, "cpp_bytes": cpp_bytes,
        })  # fmt: skip
    return rows


def _priced(engine: Engine, traffic: Traffic, chunk_tokens: int, options: EngineOptions) -> tuple[float, float]:
    """First token in s, and requests/s of a full pipeline, with one prompt per attention rank."""
    demand = Demand("prefill", traffic, options, chunk_tokens)
    state = steady(engine, demand, turns_of(engine, demand, np.array([1.0])))
    return float(state.latency_ms[0]) / 1000, float(state.requests_per_s[0])


def _h20(basis: Basis) -> list[Row]:
    """The pipelines that were measured on H20, as modelled."""
    shape, device = model("deepseek-ai/DeepSeek-V3.1"), gpu("h20_sxm")
    used, traffic = formats(exact("fp8", shape, device)), Traffic.constant(H20_TOKENS, 1)
    rows: list[Row] = []
    for pp in (1, 2, 4, 8):
        engine = Engine(shape, device, used, Partition(tp=8, pp=pp, moe_tp=8), 8, "sglang", basis, None)
        ftl, rate = _priced(engine, traffic, H20_CHUNK if pp > 1 else 0, EngineOptions())
        per_gpu = rate * H20_TOKENS / (8 * pp)
        first = float(rows[0]["tokens_per_s_per_gpu"]) if rows else per_gpu
        rows.append({"pp": pp, "ftl_s": ftl, "tokens_per_s_per_gpu": per_gpu, "efficiency": per_gpu / first})
    return rows


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
