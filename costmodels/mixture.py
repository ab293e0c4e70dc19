"""The experts of one layer: router, exchanges, routed experts, and those that every token takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from costmodels.engine import Engine
from costmodels.formats import FORMATS
from costmodels.kernels import ExchangeKernel, names
from costmodels.operators import (
    HIDDEN_BYTES,
    Number,
    Operator,
    Work,
    all_reduce,
    dispatch,
    experts,
    gather,
    matmul,
    price,
    stream,
)

FFN_PASSES = 3
"""FFN-width reads and writes by the gated activation per token."""


@dataclass(frozen=True)
class ExpertWork:
    """
    The operators of the experts of one layer.

    Parameters
    ----------
    routed, shared
        Router, routed experts and their exchanges; the experts that every token takes.
    beside
        Whether these two run at once: in decode steps of engines that can.
    """

    routed: Work
    shared: Work
    beside: npt.NDArray[np.bool_]


def expert_work(engine: Engine, tokens: Number, prompt_tokens: Number) -> ExpertWork:
    """The operators of the experts of one layer, for all tokens of an attention rank, of which so many are prompts."""
    beside = np.asarray(prompt_tokens) == 0
    return ExpertWork(routed_ffn(engine, tokens, beside), shared_ffn(engine, tokens), beside & engine.overlaps)


def experts_ms(engine: Engine, work: ExpertWork) -> Number:
    """Time of the experts of one layer."""
    routed = price(engine.gpu, engine.constants, work.routed) + engine.constants.routing_ms
    if not work.shared:
        return routed
    shared = price(engine.gpu, engine.constants, work.shared)
    return np.where(work.beside, np.maximum(routed, shared), routed + shared)


def routed_ffn(engine: Engine, tokens: Number, decodes: npt.NDArray[np.bool_]) -> Work:
    """Router, dispatch, routed experts, combine of one layer; tokens per attention rank, and where all are decodes."""
    model, cut = engine.model, engine.partition
    rows = tokens * cut.attention_dp * (model.experts_per_token / cut.moe_ep)
    held, width = model.experts / cut.moe_ep, model.d_expert / cut.moe_tp
    found = [
        matmul(FORMATS["bfloat16"], tokens, model.d_model, model.experts),
        experts(engine.formats.moe, rows, held, engine.hot, model.d_model, width, engine.kernel),
        *exchanges(engine, tokens, decodes),
    ]
    return [(1, one) for one in found]


def shared_ffn(engine: Engine, tokens: Number) -> Work:
    """The experts of one layer that every token takes, as one gated FFN; nothing where there are none."""
    model = engine.model
    if not model.shared_experts:
        return []
    width = model.shared_experts * (model.d_shared or model.d_expert) / engine.partition.tp
    return [(1, one) for one in gated(engine, tokens, width)]


def exchanges(engine: Engine, tokens: Number, decodes: npt.NDArray[np.bool_]) -> list[Operator]:
    """
    What the GPUs of a stage exchange around the experts of one layer.

    Dispatched: tokens go to the GPUs of their experts and come back in bfloat16, each TP rank with its share; the
    all-reduce of the attention before is the reduce-scatter ahead of them and the all-gather behind them. Shared: an
    all-reduce without attention DP; with it an all-gather of all tokens and a reduce-scatter in bfloat16.
    """
    model, cut, domain = engine.model, engine.partition, engine.domain_gpus
    whole = tokens * model.d_model * HIDDEN_BYTES
    if engine.is_dispatched:
        among, own, kernel = engine.exchanged or cut.moe_ep, tokens / cut.tp, _exchange_kernel(engine, decodes)
        widths = (model.d_model * HIDDEN_BYTES * engine.sent_width, model.d_model * HIDDEN_BYTES)
        return [dispatch(domain, among, model.experts_per_token, own, width, kernel) for width in widths]
    if cut.attention_dp == 1:
        return [all_reduce(domain, cut.tp, whole)]
    back = gather(domain, cut.stage_group, whole * cut.attention_dp)
    return [gather(domain, cut.stage_group, whole * cut.attention_dp * engine.sent_width), back]


def _exchange_kernel(engine: Engine, decodes: npt.NDArray[np.bool_]) -> ExchangeKernel | None:
    """The kernel of each step."""
    if engine.exchange_kernels is None:
        return None
    many, few = engine.exchange_kernels
    if decodes.ndim == 0 or decodes.all() or not decodes.any():
        return few if decodes.all() else many
    return ExchangeKernel(
        *(np.where(decodes, getattr(few, name), getattr(many, name)) for name in names(ExchangeKernel))
    )


def gated(engine: Engine, tokens: Number, width: float) -> list[Operator]:
    """Two products into the width of a gated FFN, the activation, one product back."""
    weights, d_model = engine.formats.gemm, engine.model.d_model
    return [
        matmul(weights, tokens, d_model, 2 * width),
        matmul(weights, tokens, width, d_model),
        stream(FFN_PASSES * tokens * width * HIDDEN_BYTES, launches=1),
    ]
