"""One step of one engine, layer by layer: which operators run, and on how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodels.attention import latent_decode, latent_prefill, prompt_attention, query_attention
from costmodels.engine import Engine
from costmodels.gpus import MathKind
from costmodels.memory import kv_bytes_per_token_layer
from costmodels.mixture import ExpertWork, collective, expert_work, experts_ms, gated, product, wide_product
from costmodels.operators import HIDDEN_BYTES, Array, Number, Operator, Work, price, stream

NORM_PASSES = 8
"""Hidden-size reads and writes by norms and residual additions per layer and token."""
STATE_BYTES = 4
"""The recurrent state of linear attention is kept in 32-bit floats."""


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


@dataclass(frozen=True)
class StepWork:
    """
    The operators of a step.

    Parameters
    ----------
    layers
        Of all layers, without those of experts.
    head
        Of the output head.
    experts
        Of the experts of one layer; None in dense models.
    """

    layers: Work
    head: Work
    experts: ExpertWork | None = None


def work_of(engine: Engine, step: Step) -> StepWork:
    """The operators of a step."""
    experts = expert_work(engine, step.tokens, step.prompt_tokens) if engine.model.is_moe else None
    return StepWork(layers_work(engine, step), head_work(engine, step.heads_out), experts)


def step_time(engine: Engine, step: Step) -> StepTime:
    """Prices one step as if all layers ran one after another on one stage group; PP has no part in it."""
    gpu, reached, work = engine.gpu, engine.constants, work_of(engine, step)
    layers = price(gpu, reached, work.layers)
    if work.experts is not None:
        layers = layers + engine.model.moe_layers * experts_ms(engine, work.experts)
    head = price(gpu, reached, work.head) + reached.step_ms
    return StepTime(np.asarray(layers + head), np.asarray(layers / engine.model.layers))


def layers_work(engine: Engine, step: Step) -> Work:
    """The operators of all layers, without those of experts."""
    model = engine.model
    work = attention_work(engine, step)
    dense_layers = model.layers - model.moe_layers
    if dense_layers:
        work += [(dense_layers * times, one) for times, one in dense_ffn(engine, step.tokens, model.d_ff)]
    return work


def attention_work(engine: Engine, step: Step) -> list[tuple[float, Operator]]:
    """Projections, attention cores by kind of layer, output projection, norms, all-reduce over TP."""
    model, tp, tokens = engine.model, engine.partition.tp, step.tokens
    times, reduced = collective(engine, True, tp, tokens * model.d_model * HIDDEN_BYTES)
    norms = stream(NORM_PASSES * tokens * model.d_model * HIDDEN_BYTES, launches=2)
    work: list[tuple[float, Operator]] = [(model.layers, norms), (model.layers * times, reduced)]
    softmax_layers = model.layers - model.linear_layers
    work += [(softmax_layers, one) for one in projections(engine, step)]
    work += cores(engine, step)
    if model.linear_layers:
        work += [(model.linear_layers, one) for one in linear_attention(engine, step)]
    return work


def projections(engine: Engine, step: Step) -> list[Operator]:
    """The matrix products around a softmax attention."""
    model, tp, tokens = engine.model, engine.partition.tp, step.tokens
    heads = model.heads / tp
    if model.attention == "mla":
        query = heads * (model.qk_nope + model.qk_rope)
        down = model.q_lora_rank + model.kv_lora_rank + model.qk_rope
        # keys and values of a prompt are projected up, again for each chunk; a decode is multiplied into the query, and
        # so is a prompt where each query picks its own keys
        up_rows = tokens if model.sparse_top_k else step.projected + step.decodes * step.queries
        found = [
            product(engine, tokens, model.d_model, down),
            product(engine, tokens, model.q_lora_rank or model.d_model, query),
            product(engine, up_rows, model.kv_lora_rank, heads * (model.qk_nope + model.d_value)),
            product(engine, tokens, heads * model.d_value, model.d_model),
        ]
        if model.sparse_top_k:
            found.append(wide_product(engine, tokens, model.q_lora_rank, model.index_heads * model.index_dim))
            found.append(wide_product(engine, tokens, model.d_model, model.index_dim + model.index_heads))
        return found
    kv_heads = max(1.0, model.kv_heads / tp)
    wide = heads * (2 if model.gated_attention else 1) + 2 * kv_heads
    return [
        product(engine, tokens, model.d_model, wide * model.d_head),
        product(engine, tokens, heads * model.d_head, model.d_model),
    ]


def cores(engine: Engine, step: Step) -> list[tuple[float, Operator]]:
    """Attention of the prompts and of the decodes of a step, by kind of layer."""
    model = engine.model
    reach = float(model.window or model.sparse_top_k)
    short = np.minimum(step.context, reach)
    limited = model.layers - model.linear_layers if model.sparse_top_k else model.windowed_layers
    full = model.layers - model.linear_layers - limited
    core = latent_core if model.attention == "mla" else plain_core
    work: list[tuple[float, Operator]] = []
    for layers, pairs, context in ((full, step.prompt_pairs, step.context), (limited, step.windowed_pairs, short)):
        if layers:
            work += [(layers, one) for one in core(engine, step, pairs, context)]
    if model.sparse_top_k:
        work += [(limited, one) for one in indexer(engine, step)]
    return work


def plain_core(engine: Engine, step: Step, pairs: Number, context: Number) -> list[Operator]:
    """Grouped-query attention of a layer: of prompts with so many query-key pairs, of decodes at a mean context."""
    model, kind = engine.model, engine.formats.fmha.math
    shape = (kind, model.heads / engine.partition.tp, model.d_head)
    kv_bytes = kv_bytes_per_token_layer(model, engine.formats, engine.partition.tp)
    kept, read = step.prompt_context * kv_bytes, step.decodes * context
    return [
        prompt_attention(*shape, pairs, step.prompt_tokens, kept, engine.kernels.prompts),
        query_attention(*shape, read, step.queries, read * kv_bytes, engine.kernels.queries),
    ]


def latent_core(engine: Engine, step: Step, pairs: Number, context: Number) -> list[Operator]:
    """As :func:`plain_core`, of latent attention; where each query picks its own keys, prompts are absorbed too."""
    model, heads = engine.model, engine.model.heads / engine.partition.tp
    kernel = engine.kernels.latent
    kv_bytes = kv_bytes_per_token_layer(model, engine.formats, engine.partition.tp)
    read = step.decodes * context
    decode = latent_decode(heads, model.kv_lora_rank, model.qk_rope, read, step.queries, kv_bytes, kernel)
    if model.sparse_top_k:
        flops = 2 * heads * (2 * model.kv_lora_rank + model.qk_rope) * pairs
        keys = step.prompt_context * kv_bytes
        return [Operator("prefill_attention", engine.formats.fmha.math, flops, keys, launches=0.5), decode]
    key = model.qk_nope + model.qk_rope
    return [
        latent_prefill(heads, key, model.d_value, pairs, step.prompt_tokens, step.prompt_context, kernel), decode
    ]  # fmt: skip


def indexer(engine: Engine, step: Step) -> list[Operator]:
    """Scores of all earlier tokens that sparse attention picks the best from, in 8 bits where the GPU can."""
    model = engine.model
    kind: MathKind = "bf16" if engine.gpu.fp8_tflops is None else "fp8"
    flops, read = 2 * model.index_heads * model.index_dim, step.decodes * step.context
    prompts, decodes = flops * step.prompt_pairs, flops * read * step.queries
    return [
        Operator("prefill_attention", kind, prompts, step.prompt_context * model.index_dim, launches=1),
        Operator("decode_attention", kind, decodes, read * model.index_dim, launches=1),
    ]


def linear_attention(engine: Engine, step: Step) -> list[Operator]:
    """Gated linear attention: projections, short convolution, recurrent state."""
    model, tp, tokens = engine.model, engine.partition.tp, step.tokens
    keys, values = model.linear_key_heads * model.linear_key_dim, model.linear_value_heads * model.linear_value_dim
    state = model.linear_value_heads / tp * model.linear_key_dim * model.linear_value_dim
    passed = step.decodes * 2 * state * STATE_BYTES + tokens * (2 * keys + 2 * values) / tp * HIDDEN_BYTES * 2
    return [
        product(engine, tokens, model.d_model, (2 * keys + 2 * values) / tp),
        product(engine, tokens, values / tp, model.d_model),
        Operator("prefill_attention", "bf16", 8 * step.prompt_tokens * state, 0.0, launches=1),
        stream(passed, launches=2),
    ]


def dense_ffn(engine: Engine, tokens: Number, width: float) -> Work:
    """A gated FFN cut over TP, with its all-reduce."""
    reduce_bytes = tokens * engine.model.d_model * HIDDEN_BYTES
    reduced = collective(engine, True, engine.partition.tp, reduce_bytes)
    return [*((1.0, one) for one in gated(engine, tokens, width / engine.partition.tp)), reduced]


def head_work(engine: Engine, rows: Number) -> Work:
    """The output head for the rows that need logits."""
    width = engine.model.vocab / engine.partition.tp
    return [(1, wide_product(engine, rows, engine.model.d_model, width))]
