"""One step of one engine, layer by layer: which operators run, and on how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodels.formats import FORMATS, Formats
from costmodels.gpus import Gpu
from costmodels.memory import kv_bytes_per_token_layer
from costmodels.models import Model
from costmodels.operators import (
    HIDDEN_BYTES,
    LAUNCH_MS,
    Array,
    Number,
    all_reduce_ms,
    all_to_all_ms,
    attention_ms,
    elementwise_ms,
    experts_ms,
    gather_ms,
    matmul_ms,
    routing_ms,
)
from costmodels.partition import Partition

NORM_PASSES = 6
"""Hidden-size reads and writes by norms and residual additions per layer and token."""
FFN_PASSES = 3
"""FFN-width reads and writes by the gated activation per token."""


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
    """

    model: Model
    gpu: Gpu
    formats: Formats
    partition: Partition
    domain_gpus: int


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
    windowed_pairs
        As ``prompt_pairs``, in a sliding-window layer.
    decodes
        Sequences that generate a token.
    context
        Their mean context in tokens.
    heads_out
        Sequences for which logits are computed.
    """

    prompt_tokens: Number
    prompt_pairs: Number
    prompt_context: Number
    windowed_pairs: Number
    decodes: Number
    context: float
    heads_out: Number

    @property
    def tokens(self) -> Number:
        """Tokens that pass through the layers."""
        return self.prompt_tokens + self.decodes


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

    def first(self, count: int) -> StepTime:
        """The times of the first batches only."""
        return StepTime(self.total[:count], self.layer[:count])


def step_time(engine: Engine, step: Step) -> StepTime:
    """Prices one step as if all layers ran one after another on one stage group; PP has no part in it."""
    model = engine.model
    dense_layers = model.layers - model.moe_layers
    layers = model.layers * attention_layer_ms(engine, step)
    if dense_layers:
        layers = layers + dense_layers * dense_ffn_ms(engine, step.tokens, model.d_ff)
    if model.is_moe:
        layers = layers + model.moe_layers * moe_ffn_ms(engine, step.tokens)
    return StepTime(np.asarray(layers + head_ms(engine, step.heads_out)), np.asarray(layers / model.layers))


def attention_layer_ms(engine: Engine, step: Step) -> Number:
    """Projections, attention core (mean over full and windowed layers), output projection, all-reduce over TP."""
    model, gpu, tp, tokens = engine.model, engine.gpu, engine.partition.tp, step.tokens
    gemm, heads = engine.formats.gemm, model.heads / tp
    if model.attention == "mla":
        down = model.q_lora_rank + model.kv_lora_rank + model.qk_rope
        time = matmul_ms(gpu, gemm, tokens, model.d_model, down)
        time = time + matmul_ms(gpu, gemm, tokens, model.q_lora_rank, heads * (model.qk_nope + model.qk_rope))
        # keys and values of a prompt are projected up (again for each chunk); a decode is multiplied into the query
        up_rows = step.prompt_context + step.decodes
        time = time + matmul_ms(gpu, gemm, up_rows, model.kv_lora_rank, heads * (model.qk_nope + model.d_value))
        out = heads * model.d_value
    else:
        kv_heads = max(1.0, model.kv_heads / tp)
        time = matmul_ms(gpu, gemm, tokens, model.d_model, (heads + 2 * kv_heads) * model.d_head)
        out = heads * model.d_head
    time = time + _core_ms(engine, step) + matmul_ms(gpu, gemm, tokens, out, model.d_model)
    norms = elementwise_ms(gpu, NORM_PASSES * tokens * model.d_model * HIDDEN_BYTES, launches=3)
    return time + norms + all_reduce_ms(gpu, engine.domain_gpus, tp, tokens * model.d_model * HIDDEN_BYTES)


def _core_ms(engine: Engine, step: Step) -> Number:
    """Attention of the prompts and of the decodes of a step, mean over the kinds of layers."""
    model, gpu = engine.model, engine.gpu
    heads, kind = model.heads / engine.partition.tp, engine.formats.fmha.math
    kv_bytes = kv_bytes_per_token_layer(model, engine.formats, engine.partition.tp)
    if model.attention == "mla":
        prompt_width = model.qk_nope + model.qk_rope + model.d_value
        decode_width = 2 * model.kv_lora_rank + model.qk_rope
    else:
        prompt_width = decode_width = 2 * model.d_head
    windowed = model.windowed_layers / model.layers
    time: Number = LAUNCH_MS
    for share, pairs, context in (
        (1 - windowed, step.prompt_pairs, step.context),
        (windowed, step.windowed_pairs, min(step.context, float(model.window))),
    ):
        if share:
            prompt = attention_ms(gpu, kind, 2 * heads * prompt_width * pairs, step.prompt_context * kv_bytes)
            read = step.decodes * context
            time = time + share * (prompt + attention_ms(gpu, kind, 2 * heads * decode_width * read, read * kv_bytes))
    return time


def dense_ffn_ms(engine: Engine, tokens: Number, width: float) -> Number:
    """A gated FFN cut over TP, with its all-reduce."""
    reduce_bytes = tokens * engine.model.d_model * HIDDEN_BYTES
    reduce = all_reduce_ms(engine.gpu, engine.domain_gpus, engine.partition.tp, reduce_bytes)
    return _ffn_ms(engine, tokens, width / engine.partition.tp) + reduce


def _ffn_ms(engine: Engine, tokens: Number, width: float) -> Number:
    gpu, weights, d_model = engine.gpu, engine.formats.gemm, engine.model.d_model
    products = matmul_ms(gpu, weights, tokens, d_model, 2 * width) + matmul_ms(gpu, weights, tokens, width, d_model)
    return products + elementwise_ms(gpu, FFN_PASSES * tokens * width * HIDDEN_BYTES, launches=1)


def moe_ffn_ms(engine: Engine, tokens: Number) -> Number:
    """Router, dispatch, routed experts, shared experts, combine; tokens per attention rank, experts evenly loaded."""
    model, gpu, cut = engine.model, engine.gpu, engine.partition
    group_tokens = tokens * cut.attention_dp
    rows = group_tokens * (model.experts_per_token / cut.moe_ep)
    untouched = np.power(1 - model.experts_per_token / model.experts, group_tokens)
    loaded = model.experts / cut.moe_ep * (1 - untouched)
    width = model.d_expert / cut.moe_tp
    weights = engine.formats.moe
    time = matmul_ms(gpu, FORMATS["bfloat16"], tokens, model.d_model, model.experts) + routing_ms()
    time = time + experts_ms(gpu, weights, rows, loaded, model.d_model, 2 * width)
    time = time + experts_ms(gpu, weights, rows, loaded, width, model.d_model)
    time = time + elementwise_ms(gpu, FFN_PASSES * rows * width * HIDDEN_BYTES, launches=0)
    if model.shared_experts:
        time = time + _ffn_ms(engine, tokens, model.shared_experts * model.d_expert / cut.tp)
    return time + exchange_ms(engine, tokens)


def exchange_ms(engine: Engine, tokens: Number) -> Number:
    """
    What the GPUs of a stage exchange around the experts of one layer.

    Without attention DP every TP rank has all tokens: one all-reduce. With it and whole experts (MoE-TP 1): tokens go
    to the GPUs of their experts and back, once to each GPU. With it and cut experts: an all-gather of all tokens and a
    reduce-scatter. Tokens travel in the width of the expert's arithmetic, and come back in bfloat16.
    """
    model, gpu, cut, domain = engine.model, engine.gpu, engine.partition, engine.domain_gpus
    hidden = tokens * model.d_model
    if cut.attention_dp == 1:
        return all_reduce_ms(gpu, domain, cut.tp, hidden * HIDDEN_BYTES)
    sent_width = 2 if engine.formats.moe.math == "bf16" else 1
    if cut.moe_tp == 1:
        copies = cut.moe_ep * (1 - (1 - 1 / cut.moe_ep) ** model.experts_per_token)
        sent = hidden / cut.tp * copies
        there = all_to_all_ms(gpu, domain, cut.moe_ep, sent * sent_width)
        back = all_to_all_ms(gpu, domain, cut.moe_ep, sent * HIDDEN_BYTES)
    else:
        there = gather_ms(gpu, domain, cut.stage_group, hidden * cut.attention_dp * sent_width)
        back = gather_ms(gpu, domain, cut.stage_group, hidden * cut.attention_dp * HIDDEN_BYTES)
    return there + back + gather_ms(gpu, domain, cut.tp, hidden * HIDDEN_BYTES)


def head_ms(engine: Engine, sequences: Number) -> Number:
    """The output head for the sequences that need logits."""
    width = engine.model.vocab / engine.partition.tp
    return matmul_ms(engine.gpu, FORMATS["bfloat16"], sequences, engine.model.d_model, width) + LAUNCH_MS
