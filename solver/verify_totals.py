"""The objective and the totals of a deployment, recomputed exactly for the verifier."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from typing import Literal

from solver.verify_plan import Plan, usd_per_hour, watts


def objective_of(plan: Plan) -> Fraction | None:
    """
    The objective, exactly.

    Returns
    -------
    Fraction or None
        Weighted output tokens/s, the same per GPU used, GPUs used, or USD/hour; None where that is not defined: no GPU
        in use, or a price missing.
    """
    kind, gpus = plan.instance.objective, _gpus_used(plan)
    if kind == "gpus":
        return gpus
    if kind == "cost":
        return usd_per_hour(plan)
    if kind == "throughput":
        return _weighted_tokens(plan)
    return _weighted_tokens(plan) / gpus if gpus else None


def _gpus_used(plan: Plan) -> Fraction:
    return sum((plan.gpus_used(pool) for pool in plan.instance.pools), Fraction(0))


def _weighted_tokens(plan: Plan) -> Fraction:
    """Sum of weight x X x OSL."""
    return sum((s.workload.weight * s.workload.osl * plan.credited(s) for s in plan.served), Fraction(0))


def slowest(plan: Plan, what: Literal["tpot", "ttft"], names: Collection[str] | None = None) -> Fraction | None:
    """
    The slowest TPOT (decode and co-located points in use) or TTFT (prefill and co-located ones), in ms.

    ``names`` limits it to some workloads.
    """
    chosen = [served for served in plan.served if names is None or served.workload.name in names]
    if what == "tpot":
        decoding = [u for served in chosen if served.workload.osl > 1 for u in served.used if u.role != "prefill"]
        return max((u.point.latency_ms for u in decoding), default=None)
    return max((ttft for served in chosen for *_, ttft in plan.first_tokens(served)), default=None)


def totals_of(plan: Plan) -> dict[str, Fraction | None]:
    """All totals, exactly."""
    tokens = sum((served.workload.osl * plan.credited(served) for served in plan.served), Fraction(0))
    tpot, used, usd = slowest(plan, "tpot"), _gpus_used(plan), usd_per_hour(plan)
    gpus = used if plan.instance.objective == "throughput_per_gpu" else Fraction(plan.instance.inventory_gpus)
    return {
        "requests_per_s": sum((plan.credited(served) for served in plan.served), Fraction(0)),
        "output_tokens_per_s": tokens,
        "tokens_per_s_per_gpu": _weighted_tokens(plan) / gpus if gpus else None,
        "tokens_per_s_per_user": 1000 / tpot if tpot else None,
        "ttft_ms": slowest(plan, "ttft"),
        "tpot_ms": tpot,
        "gpus_used": used,
        "usd_per_hour": usd,
        "usd_per_million_output_tokens": usd * 10**6 / (3600 * tokens) if usd is not None and tokens else None,
        "watts": watts(plan),
    }
