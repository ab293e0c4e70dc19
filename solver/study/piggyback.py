"""What the size of the chunks does to piggybacking: one engine of each kind of attention, priced chunk by chunk."""

from __future__ import annotations

import numpy as np

from costmodels.engine import Engine
from costmodels.formats import exact, formats
from costmodels.gpus import gpu
from costmodels.models import model
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.phases import Demand, steady, turns_of
from solver.instance import Workload
from solver.study.bench import Bench, Case
from solver.study.figure import Row, Series

PANEL = "chunk size, one engine at 96 sequences per attention rank"
CHUNKS = (128, 256, 512, 1024, 2048, 4096, 8192)
BATCH = 96.0
MLA, MLA_KEPT, GQA = "DeepSeek-R1 (MLA), dp8 ep8", "the same, up-projected KV kept", "Llama 3.1 70B (GQA), tp2"


def chunk_series(bench: Bench) -> list[Series]:
    """Rate with chunks over that with whole prompts, by chunk size."""
    r1, llama = (bench.instance(Case(name)).workloads[0] for name in ("r1-16k-2k", "llama-70b-16k-2k"))
    wide = Partition(tp=1, attention_dp=8, moe_ep=8)
    asked = ((MLA, r1, wide, False), (MLA_KEPT, r1, wide, True), (GQA, llama, Partition(tp=2), False))
    bench.counts.design_points += len(asked) * (1 + len(CHUNKS))
    return [Series(name, _rows(bench, workload, cut, kept), PANEL) for name, workload, cut, kept in asked]


def _rows(bench: Bench, workload: Workload, cut: Partition, kept: bool) -> list[Row]:
    shape, device = model(workload.model), gpu("gb200")
    engine = Engine(shape, device, formats(exact(workload.precision["colocated"], shape, device)), cut, 72, None,
                    bench.basis)  # fmt: skip
    options = EngineOptions(cache_up_projection=kept)

    def rate(chunk: int) -> float:
        demand = Demand("colocated", workload.lengths, options, chunk)
        return float(steady(engine, demand, turns_of(engine, demand, np.array([BATCH]))).requests_per_s[0])

    whole = rate(int(workload.isl) + 1)
    return [{"chunk_tokens": chunk, "over_whole": rate(chunk) / whole} for chunk in CHUNKS]
