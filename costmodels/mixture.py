"""The experts of one layer: router, exchanges, routed experts, and those that every token takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from costmodels.engine import Engine
from costmodels.exchanges import all_reduce, dispatch, gather, send
from costmodels.formats import FORMATS
from costmodels.kernel_sets import chosen
from costmodels.kernels import MANY, MOST_FEW, ExchangeKernel, ExpertKernel
from costmodels.operators import HIDDEN_BYTES, Number, Operator, Work, price, stream
from costmodels.products import experts, matmul

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
    together = tokens * cut.attention_dp
    rows = together * (model.experts_per_token / cut.moe_ep)
    held, width = model.experts / cut.moe_ep, model.d_expert / cut.moe_tp
    router = wide_product(engine, tokens, model.d_model, model.experts)
    kernel, hot = _expert_kernel(engine, np.asarray(together) <= MOST_FEW)
    own = experts(engine.formats.moe, rows, held, hot, model.d_model, width, kernel)
    return [(1, router), (1, own), *exchanges(engine, tokens, decodes)]


def _expert_kernel(engine: Engine, few: npt.NDArray[np.bool_]) -> tuple[ExpertKernel | None, Number]:
    """The kernel of each step, and the load of the fullest rank."""
    run = engine.kernels
    if run.few_experts is None or run.experts is None:
        return run.experts, engine.hot(run.experts)
    hot = np.where(few, engine.hot(run.few_experts), engine.hot(run.experts))
    return chosen(few, run.few_experts, run.experts), hot


def shared_ffn(engine: Engine, tokens: Number) -> Work:
    """The experts of one layer that every token takes, as one gated FFN; nothing where there are none."""
    model = engine.model
    if not model.shared_experts:
        return []
    width = model.shared_experts * (model.d_shared or model.d_expert) / engine.partition.tp
    return [(1, one) for one in gated(engine, tokens, width)]


def exchanges(engine: Engine, tokens: Number, decodes: npt.NDArray[np.bool_]) -> Work:
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
        return [(1, dispatch(domain, among, model.experts_per_token, own, width, kernel)) for width in widths]
    if cut.attention_dp == 1:
        return [collective(engine, True, cut.tp, whole)]
    parts = (whole * cut.attention_dp * engine.sent_width, whole * cut.attention_dp)
    return [collective(engine, False, cut.stage_group, part) for part in parts]


def collective(engine: Engine, reduces: bool, group: int, total_bytes: Number) -> tuple[float, Operator]:
    """
    An all-reduce, or an all-gather or reduce-scatter, of some GPUs, and how often it counts.

    In the ``operators`` basis as the tables extrapolate: those of one node were measured; beyond it the whole, starts
    included, takes as much longer as a ring does, and as the links between domains are slower than NVLink. So
    aiconfigurator-core 0.12 (found by dividing its latencies).

    Parameters
    ----------
    engine
        The engine.
    reduces
        Whether it is an all-reduce.
    group, total_bytes
        GPUs that take part, and bytes of the whole.
    """
    gpu, domain, run = engine.gpu, engine.domain_gpus, engine.kernels
    node = max(2, min(gpu.gpus_per_node, domain))
    measured, longer = (domain, group), 1.0
    if engine.basis == "operators" and group > node:
        measured, longer = (node, node), (1 - 1 / group) / (1 - 1 / node)
        longer *= gpu.nvlink_gbps / gpu.link_gbps if group > domain else 1.0
    if not reduces:
        return longer, gather(*measured, total_bytes, run.gather)
    return longer, all_reduce(*measured, total_bytes, run.reduce_many if measured[1] >= MANY else run.reduce)


def sent(engine: Engine, crosses: bool, tokens: Number) -> Operator:
    """Hidden states of tokens from one pipeline stage to the next."""
    return send(crosses, tokens * engine.model.d_model * HIDDEN_BYTES, engine.kernels.gather)


def _exchange_kernel(engine: Engine, decodes: npt.NDArray[np.bool_]) -> ExchangeKernel | None:
    """The kernel of each step."""
    many, few = engine.kernels.many, engine.kernels.few
    return None if many is None or few is None else chosen(decodes, few, many)


def gated(engine: Engine, tokens: Number, width: float) -> list[Operator]:
    """Two products into the width of a gated FFN, the activation, one product back."""
    d_model = engine.model.d_model
    return [
        product(engine, tokens, d_model, 2 * width),
        product(engine, tokens, width, d_model),
        stream(FFN_PASSES * tokens * width * HIDDEN_BYTES, launches=1),
    ]


def product(engine: Engine, rows: Number, inputs: Number, outputs: Number) -> Operator:
    """A product with weights in the engine's format."""
    return matmul(engine.formats.gemm, rows, inputs, outputs, engine.kernels.products)


def wide_product(engine: Engine, rows: Number, inputs: Number, outputs: Number) -> Operator:
    """A product with weights in bfloat16 whatever the engine's format: router, output head, indexer."""
    return matmul(FORMATS["bfloat16"], rows, inputs, outputs, engine.kernels.wide)
