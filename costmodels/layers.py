"""One step of one engine, layer by layer: which operators run, and on how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from costmodels.constants import Basis, Constants, constants, with_imbalance
from costmodels.formats import FORMATS, Formats
from costmodels.gpus import Gpu, MathKind
from costmodels.memory import kv_bytes_per_token_layer
from costmodels.models import Model
from costmodels.operators import (
    HIDDEN_BYTES,
    Array,
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
from costmodels.partition import Partition

NORM_PASSES = 6
"""Hidden-size reads and writes by norms and residual additions per layer and token."""
FFN_PASSES = 3
"""FFN-width reads and writes by the gated activation per token."""
STATE_BYTES = 4
"""The recurrent state of linear attention is kept in 32-bit floats."""


@dataclass(frozen=True)
class Engine:
    """
    What is priced.

    Parameters
    ----------
    model, gpu, formats, partition
        The engine.
    domain_gpus
        GPUs of an NVLink domain.
    serving
        Serving engine (``trtllm``, ``sglang``, ``vllm``), None for a mean one: which constants apply.
    basis
        See :mod:`costmodels.constants`.
    imbalance
        Load of the fullest expert-parallel rank over the mean, None: as fitted.
    """

    model: Model
    gpu: Gpu
    formats: Formats
    partition: Partition
    domain_gpus: int
    serving: str | None = None
    basis: Basis = "served"
    imbalance: float | None = None

    @property
    def is_dispatched(self) -> bool:
        """
        Whether tokens are sent to whole experts and back, instead of being shared by the whole group.

        So with attention DP and whole experts. The operator tables price SGLang so without attention DP as well; as it
        is served by default, it then shares.
        """
        cut = self.partition
        whole = self.model.is_moe and cut.moe_tp == 1 and cut.moe_ep > 1
        everywhere = self.serving == "sglang" and self.basis == "operators"
        return whole and (cut.attention_dp > 1 or everywhere)

    @cached_property
    def constants(self) -> Constants:
        """The constants that apply."""
        found = constants(self.basis, "dispatched" if self.is_dispatched else "shared", self.gpu, self.serving)
        return found if self.imbalance is None else with_imbalance(found, self.partition.moe_ep, self.imbalance)


@dataclass(frozen=True)
class Step:
    """
    Work of one attention-DP rank in one step; numbers or arrays of one shape.

    Parameters
    ----------
    prompt_tokens
        Prompt tokens processed.
    prompt_pairs
        Query-key pairs of those under the causal mask, summed over sequences.
    prompt_context
        Tokens whose KV those queries read, summed over sequences (earlier chunks included).
    projected
        Tokens whose MLA keys and values are projected up for them.
    windowed_pairs
        As ``prompt_pairs``, where a query reaches only so many tokens back (sliding window, sparse attention).
    decodes
        Sequences that generate.
    queries
        Tokens that each of them has in the step: 1, and the drafts of speculative decoding.
    context
        Their mean context in tokens.
    heads_out
        Rows for which logits are computed.
    """

    prompt_tokens: Number
    prompt_pairs: Number
    prompt_context: Number
    projected: Number
    windowed_pairs: Number
    decodes: Number
    queries: Number
    context: Number
    heads_out: Number

    @property
    def tokens(self) -> Number:
        """Tokens that pass through the layers."""
        return self.prompt_tokens + self.decodes * self.queries


@dataclass(frozen=True)
class StepTime:
    """
    Times of one step in ms, over all layers of the model.

    Parameters
    ----------
    total
        All layers and the head.
    layer
        A mean layer.
    """

    total: Array
    layer: Array

    def part(self, start: int, stop: int) -> StepTime:
        """The times of some of the batches."""
        return StepTime(self.total[start:stop], self.layer[start:stop])


def step_times(engine: Engine, steps: Sequence[Step]) -> list[StepTime]:
    """Prices steps of one engine together, each over its own batches: arrays of few long ones are faster."""
    ends = np.cumsum([np.size(step.tokens) for step in steps]).tolist()
    spans = list(zip([0, *ends], ends, strict=False))
    whole = np.empty((len(fields(Step)), ends[-1]))
    for step, (start, stop) in zip(steps, spans, strict=True):
        for row, one in enumerate(fields(Step)):
            whole[row, start:stop] = getattr(step, one.name)
    time = step_time(engine, Step(*whole))
    return [time.part(start, stop) for start, stop in spans]


def step_time(engine: Engine, step: Step) -> StepTime:
    """Prices one step as if all layers ran one after another on one stage group; PP has no part in it."""
    layers = price(engine.gpu, engine.constants, layers_work(engine, step))
    layers = layers + engine.model.moe_layers * engine.constants.routing_ms
    head = price(engine.gpu, engine.constants, head_work(engine, step.heads_out)) + engine.constants.step_ms
    return StepTime(np.asarray(layers + head), np.asarray(layers / engine.model.layers))


def layers_work(engine: Engine, step: Step) -> Work:
    """The operators of all layers."""
    model = engine.model
    work = attention_work(engine, step)
    dense_layers = model.layers - model.moe_layers
    if dense_layers:
        work += [(dense_layers, one) for one in dense_ffn(engine, step.tokens, model.d_ff)]
    if model.is_moe:
        work += [(model.moe_layers, one) for one in moe_ffn(engine, step.tokens)]
    return work


def attention_work(engine: Engine, step: Step) -> list[tuple[float, Operator]]:
    """Projections, attention cores by kind of layer, output projection, norms, all-reduce over TP."""
    model, tp, tokens = engine.model, engine.partition.tp, step.tokens
    reduced = all_reduce(engine.domain_gpus, tp, tokens * model.d_model * HIDDEN_BYTES)
    norms = stream(NORM_PASSES * tokens * model.d_model * HIDDEN_BYTES, launches=2)
    work: list[tuple[float, Operator]] = [(model.layers, norms), (model.layers, reduced)]
    softmax_layers = model.layers - model.linear_layers
    work += [(softmax_layers, one) for one in projections(engine, step)]
    work += cores(engine, step)
    if model.linear_layers:
        work += [(model.linear_layers, one) for one in linear_attention(engine, step)]
    return work


def projections(engine: Engine, step: Step) -> list[Operator]:
    """The matrix products around a softmax attention."""
    model, tp, tokens, gemm = engine.model, engine.partition.tp, step.tokens, engine.formats.gemm
    heads = model.heads / tp
    if model.attention == "mla":
        query = heads * (model.qk_nope + model.qk_rope)
        down = model.q_lora_rank + model.kv_lora_rank + model.qk_rope
        # keys and values of a prompt are projected up, again for each chunk; a decode is multiplied into the query, and
        # so is a prompt where each query picks its own keys
        up_rows = tokens if model.sparse_top_k else step.projected + step.decodes * step.queries
        found = [
            matmul(gemm, tokens, model.d_model, down),
            matmul(gemm, tokens, model.q_lora_rank or model.d_model, query),
            matmul(gemm, up_rows, model.kv_lora_rank, heads * (model.qk_nope + model.d_value)),
            matmul(gemm, tokens, heads * model.d_value, model.d_model),
        ]
        if model.sparse_top_k:
            found.append(matmul(FORMATS["bfloat16"], tokens, model.q_lora_rank, model.index_heads * model.index_dim))
            found.append(matmul(FORMATS["bfloat16"], tokens, model.d_model, model.index_dim + model.index_heads))
        return found
    kv_heads = max(1.0, model.kv_heads / tp)
    wide = heads * (2 if model.gated_attention else 1) + 2 * kv_heads
    return [
        matmul(gemm, tokens, model.d_model, wide * model.d_head),
        matmul(gemm, tokens, heads * model.d_head, model.d_model),
    ]


def cores(engine: Engine, step: Step) -> list[tuple[float, Operator]]:
    """Attention of the prompts and of the decodes of a step, by kind of layer."""
    model, heads = engine.model, engine.model.heads / engine.partition.tp
    kind = engine.formats.fmha.math
    kv_bytes = kv_bytes_per_token_layer(model, engine.formats, engine.partition.tp)
    if model.attention == "mla":
        decode_width = 2 * model.kv_lora_rank + model.qk_rope
        prompt_width = decode_width if model.sparse_top_k else model.qk_nope + model.qk_rope + model.d_value
    else:
        prompt_width = decode_width = 2 * model.d_head
    reach = float(model.window or model.sparse_top_k)
    short = np.minimum(step.context, reach)
    limited = model.layers - model.linear_layers if model.sparse_top_k else model.windowed_layers
    full = model.layers - model.linear_layers - limited
    work: list[tuple[float, Operator]] = []
    for layers, pairs, context in ((full, step.prompt_pairs, step.context), (limited, step.windowed_pairs, short)):
        if not layers:
            continue
        keys = step.prompt_context * kv_bytes
        work.append((layers, Operator("prefill_attention", kind, 2 * heads * prompt_width * pairs, keys, 0.5)))
        read = step.decodes * context
        flops = 2 * heads * decode_width * read * step.queries
        work.append((layers, Operator("decode_attention", kind, flops, read * kv_bytes, 0.5)))
    if model.sparse_top_k:
        work += [(limited, one) for one in indexer(engine, step)]
    return work


def indexer(engine: Engine, step: Step) -> list[Operator]:
    """Scores of all earlier tokens that sparse attention picks the best from, in 8 bits where the GPU can."""
    model = engine.model
    kind: MathKind = "bf16" if engine.gpu.fp8_tflops is None else "fp8"
    flops, read = 2 * model.index_heads * model.index_dim, step.decodes * step.context
    prompts, decodes = flops * step.prompt_pairs, flops * read * step.queries
    return [
        Operator("prefill_attention", kind, prompts, step.prompt_context * model.index_dim, 1),
        Operator("decode_attention", kind, decodes, read * model.index_dim, 1),
    ]


def linear_attention(engine: Engine, step: Step) -> list[Operator]:
    """Gated linear attention: projections, short convolution, recurrent state."""
    model, tp, tokens, gemm = engine.model, engine.partition.tp, step.tokens, engine.formats.gemm
    keys, values = model.linear_key_heads * model.linear_key_dim, model.linear_value_heads * model.linear_value_dim
    state = model.linear_value_heads / tp * model.linear_key_dim * model.linear_value_dim
    passed = step.decodes * 2 * state * STATE_BYTES + tokens * (2 * keys + 2 * values) / tp * HIDDEN_BYTES * 2
    return [
        matmul(gemm, tokens, model.d_model, (2 * keys + 2 * values) / tp),
        matmul(gemm, tokens, values / tp, model.d_model),
        Operator("prefill_attention", "bf16", 8 * step.prompt_tokens * state, 0.0, 1),
        stream(passed, launches=2),
    ]


def dense_ffn(engine: Engine, tokens: Number, width: float) -> list[Operator]:
    """A gated FFN cut over TP, with its all-reduce."""
    reduce_bytes = tokens * engine.model.d_model * HIDDEN_BYTES
    reduced = all_reduce(engine.domain_gpus, engine.partition.tp, reduce_bytes)
    return [*gated(engine, tokens, width / engine.partition.tp), reduced]


def gated(engine: Engine, tokens: Number, width: float) -> list[Operator]:
    """Two products into the width of a gated FFN, the activation, one product back."""
    weights, d_model = engine.formats.gemm, engine.model.d_model
    return [
        matmul(weights, tokens, d_model, 2 * width),
        matmul(weights, tokens, width, d_model),
        stream(FFN_PASSES * tokens * width * HIDDEN_BYTES, launches=1),
    ]


def moe_ffn(engine: Engine, tokens: Number) -> list[Operator]:
    """Router, dispatch, routed experts, shared experts, combine; tokens per attention rank."""
    model, cut = engine.model, engine.partition
    group_tokens = tokens * cut.attention_dp
    rows = group_tokens * (model.experts_per_token / cut.moe_ep)
    held = model.experts / cut.moe_ep
    width = model.d_expert / cut.moe_tp
    weights = engine.formats.moe
    found = [
        matmul(FORMATS["bfloat16"], tokens, model.d_model, model.experts),
        experts(weights, rows, held, cut.moe_ep, model.d_model, 2 * width, width),
        experts(weights, rows, held, cut.moe_ep, width, model.d_model, width),
        stream(FFN_PASSES * rows * width * HIDDEN_BYTES, launches=0),
        *exchanges(engine, tokens),
    ]
    if model.shared_experts:
        found += gated(engine, tokens, model.shared_experts * (model.d_shared or model.d_expert) / cut.tp)
    return found


def exchanges(engine: Engine, tokens: Number) -> list[Operator]:
    """
    What the GPUs of a stage exchange around the experts of one layer.

    Dispatched: tokens go to the GPUs of their experts in the width of the expert's arithmetic and come back in
    bfloat16, each TP rank with its share. Shared: an all-reduce without attention DP; with it an all-gather of all
    tokens and a reduce-scatter, in bfloat16.
    """
    model, cut, domain = engine.model, engine.partition, engine.domain_gpus
    whole = tokens * model.d_model * HIDDEN_BYTES
    if engine.is_dispatched:
        moe = engine.formats.moe
        narrow = 1.0 if moe.math == "bf16" else moe.bytes / HIDDEN_BYTES
        there = dispatch(domain, cut.moe_ep, model.experts_per_token, whole / cut.tp * narrow)
        back = dispatch(domain, cut.moe_ep, model.experts_per_token, whole / cut.tp)
        return [there, back, gather(domain, cut.tp, whole)]
    if cut.attention_dp == 1:
        return [all_reduce(domain, cut.tp, whole)]
    both = gather(domain, cut.stage_group, whole * cut.attention_dp)
    return [both, both]


def head_work(engine: Engine, rows: Number) -> Work:
    """The output head for the rows that need logits."""
    width = engine.model.vocab / engine.partition.tp
    return [(1, matmul(FORMATS["bfloat16"], rows, engine.model.d_model, width))]
