"""Figure 12: the bandwidth that the KV hand-over takes."""

from __future__ import annotations

from fractions import Fraction

from costmodels.formats import FORMATS
from costmodels.kv import distinct_shards, kv_bytes_per_request
from costmodels.models import model
from costmodels.precision import kv_format
from solver.deployment import Assignment, Deployment
from solver.study.bench import Bench, Case
from solver.study.figure import Axes, Figure, Row, Series
from solver.study.gains import USER
from solver.study.paper_numbers import KV_GBPS, TIGHT

BANDWIDTH = Axes(USER, "gbps_per_gpu", "interactivity: output tokens/s per user", "KV hand-over, GB/s per GPU")
TRAFFIC = {"16384/2048": "r1-16k-2k", "1M/2048": "r1-1m-2k", "16384/16384": "r1-16k-16k", "2048/2048": "r1-2k-2k"}


def figure_12(bench: Bench) -> Figure:
    """The larger of egress per prefill GPU and ingress per decode GPU, along the frontier."""
    series = []
    for label, name in TRAFFIC.items():
        frontier = bench.frontier(Case(name, ("disaggregated",)))
        rows = [_row(point.deployment) for point in frontier.points]
        series.append(
            Series(label, rows, "lengths of the paper" if label in ("16384/2048", "1M/2048") else "other lengths")
        )
    for label, (least, most) in KV_GBPS.items():
        rows = [{USER: series[0].rows[0][USER], "gbps_per_gpu": most.value}, {USER: TIGHT, "gbps_per_gpu": least.value}]
        series.append(Series(f"paper: {label}", rows, series[0].panel, "read off figure 12"))
    notes = [
        "Paper: largest and smallest value, at our loosest point and at 100 tokens/s per user; its axis is not known.",
        "Prefill at its pipelined rate. Only GPUs with a KV shard of their own send and take. KV cache in FP8.",
        "1M/2048 without a limit on the first token; the model is configured for 163840 tokens.",
    ]
    return Figure(12, "DeepSeek-R1: KV hand-over per GPU", BANDWIDTH, series, notes)


def _row(deployment: Deployment) -> Row:
    rates = {a.role: gbps(a, deployment) for a in deployment.assignments}
    return {
        USER: float(deployment.tokens_per_s_per_user or 0),
        "gbps_per_gpu": float(max(rates.values())),
        "egress_gbps": float(rates["prefill"]),
        "ingress_gbps": float(rates["decode"]),
    }


def gbps(a: Assignment, deployment: Deployment) -> Fraction:
    """GB/s of one GPU of a replica that holds a KV shard of its own, at the replica's full rate."""
    workload, curve = a.engine.workload, a.engine.curve
    shape = model(workload.model)
    bits = FORMATS[kv_format(curve.precision) or "bfloat16"].bits
    size = kv_bytes_per_request(shape, bits, workload.lengths)
    rate = a.point.requests_per_s * deployment.instance.utilization(workload, a.role)
    return size * rate / distinct_shards(shape, curve.partition) / 10**9
