"""Which partitions are considered for a model, and why others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from costmodels.models import Model
from costmodels.partition import Partition

NARROWEST_EXPERT = 128
"""Experts are not cut narrower than this: kernels and block scales work on tiles of 128."""
LARGEST_REPLICA_GPUS = 64
"""Replicas of more GPUs are not considered."""


def powers_of_two(limit: int) -> Iterator[int]:
    """Yields 1, 2, 4, ... up to and including the limit."""
    power = 1
    while power <= limit:
        yield power
        power *= 2


def fault(model: Model, cut: Partition) -> str | None:
    """Why a model cannot be cut so, or None."""
    if model.heads % cut.tp:
        return "heads % tp"
    if model.attention == "gqa" and model.kv_heads % cut.tp and cut.tp % model.kv_heads:
        return "kv_heads % tp"
    if model.vocab % cut.tp:
        return "vocab % tp"
    if model.d_ff % cut.tp:
        return "d_ff % tp"
    if cut.pp > model.layers:
        return "pp > layers"
    if not model.is_moe:
        return None
    if model.experts % cut.moe_ep:
        return "experts % ep"
    if model.d_expert % cut.moe_tp:
        return "d_expert % moe_tp"
    if model.d_expert // cut.moe_tp < NARROWEST_EXPERT:
        return "expert width per GPU < 128"
    if (model.shared_experts * model.d_expert) % cut.tp:
        return "shared experts % tp"
    return None


def partitions(model: Model, pool_gpus: int | None) -> tuple[list[Partition], Counter[str]]:
    """
    All partitions with degrees that are powers of two.

    Dense: TP x PP. MoE: TP x attention DP x PP, the experts over the same GPUs of a stage, in every split into MoE-TP
    x EP; TEP (TP attention, EP experts) and DP+EP among them. Stages need not be even: the fullest one is priced.

    Parameters
    ----------
    model
        The model.
    pool_gpus
        GPUs of the pool, None for unlimited.

    Returns
    -------
    tuple
        The partitions, and the count of those left out by reason.
    """
    limit = min(LARGEST_REPLICA_GPUS, LARGEST_REPLICA_GPUS if pool_gpus is None else pool_gpus)
    kept: list[Partition] = []
    dropped: Counter[str] = Counter()
    for cut in _candidates(model, limit):
        reason = fault(model, cut)
        if reason is None:
            kept.append(cut)
        else:
            dropped[reason] += 1
    return kept, dropped


def _candidates(model: Model, limit: int) -> Iterator[Partition]:
    for pp in powers_of_two(limit):
        for tp in powers_of_two(limit // pp):
            if not model.is_moe:
                yield Partition(tp=tp, pp=pp)
                continue
            for attention_dp in powers_of_two(limit // (pp * tp)):
                group = tp * attention_dp
                for moe_ep in powers_of_two(group):
                    yield Partition(tp=tp, pp=pp, attention_dp=attention_dp, moe_tp=group // moe_ep, moe_ep=moe_ep)
