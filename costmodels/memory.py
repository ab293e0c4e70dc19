"""Memory per GPU: weights, KV cache, activations, and the largest batch that fits."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from costmodels.formats import Formats
from costmodels.models import Model
from costmodels.partition import Partition

GIB = 2**30
RUNTIME_RESERVE_GIB = Fraction(4)
"""Kept free on every GPU, in GiB: CUDA context and graphs, communication buffers, fragmentation, and the part of the
data-sheet memory that the driver keeps (at most 1.5 GiB). The built-in tables of an 8B model on one H100 show 3.5 GiB
beside weights and KV cache."""
ACTIVATION_BYTES = 2
"""Activations are bfloat16."""
LIVE_HIDDEN = 6
"""Hidden-size buffers alive at once per token: residual, normed input, query/key/value (3), attention output."""
LIVE_FFN = 3
"""FFN-width buffers alive at once per token: gate, up, and their product."""


@dataclass(frozen=True)
class Footprint:
    """
    Memory of one engine per GPU, linear in the batch: ``fixed_bytes + batch_per_rank * sequence_bytes``.

    Parameters
    ----------
    fixed_bytes
        Weights, reserve, and activations that do not grow with the batch.
    sequence_bytes
        What one more sequence per attention rank takes: KV cache (of all micro-batches in flight) and activations.
    """

    fixed_bytes: int
    sequence_bytes: int

    def bytes(self, batch_per_rank: int) -> int:
        """Memory in bytes per GPU at a batch per attention rank."""
        return self.fixed_bytes + batch_per_rank * self.sequence_bytes

    def largest_batch(self, memory_gib: Fraction) -> int:
        """The largest batch per attention rank that fits in the given GiB per GPU, exactly; 0 where none does."""
        free = int(memory_gib * GIB) - self.fixed_bytes
        return max(0, free // self.sequence_bytes)


def stage_layers(model: Model, partition: Partition) -> int:
    """Layers of the fullest pipeline stage."""
    return -(-model.layers // partition.pp)


def weight_bytes(model: Model, formats: Formats, partition: Partition) -> int:
    """
    Weights on the fullest GPU in bytes.

    Attention and dense FFN are cut over TP and repeated over attention DP; MLA's down-projections and the router are
    repeated everywhere; with more TP ranks than KV heads the KV projections are repeated. Experts are cut over EP and
    MoE-TP. Router, embedding and head are bfloat16. With pipeline stages the fullest one holds layers with experts as
    far as there are any, and the embedding or the head.

    Parameters
    ----------
    model, formats, partition
        What is loaded, in which formats, and how it is cut.
    """
    tp = partition.tp
    if model.attention == "mla":
        repeated = model.d_model * (model.q_lora_rank + model.kv_lora_rank + model.qk_rope)
        attention = repeated - (repeated - model.attention_parameters) // tp
    else:
        attention = 2 * model.d_model * model.d_head * (-(-model.heads // tp) + _kv_heads(model, tp))
    dense = -(-model.dense_ffn_parameters // tp)
    shared = -(-model.shared_experts * model.expert_parameters // tp)
    routed = -(-model.experts * model.expert_parameters // (partition.moe_tp * partition.moe_ep))
    vocabulary = -(-model.head_parameters // tp)
    layers, moe_layers, tables = model.layers, model.moe_layers, 1 if model.tied else 2
    if partition.pp > 1:
        layers, tables = stage_layers(model, partition), 1
        moe_layers = min(layers, model.moe_layers)
    gemm_bits = (layers * attention + (layers - moe_layers) * dense + moe_layers * shared) * formats.gemm.bits
    other_bits = moe_layers * (routed * formats.moe.bits + model.router_parameters * 16) + tables * vocabulary * 16
    return ceil((gemm_bits + other_bits) / 8)


def _kv_heads(model: Model, tp: int) -> int:
    """KV heads on one TP rank; beyond as many ranks as heads they are repeated."""
    return max(1, -(-model.kv_heads // tp))


def kv_bytes_per_token_layer(model: Model, formats: Formats, tp: int) -> int:
    """
    KV cache of one token in one layer on one GPU, in bytes.

    GQA: keys and values of ``max(1, kv_heads / tp)`` heads (beyond ``kv_heads`` ranks they are repeated). MLA: the
    latent and the rotary key, repeated on every TP rank.

    Parameters
    ----------
    model, formats, tp
        The model, its formats, and the tensor parallelism of the attention.
    """
    if model.attention == "mla":
        return ceil((model.kv_lora_rank + model.qk_rope) * formats.kv.bits / 8)
    return ceil(2 * _kv_heads(model, tp) * model.d_head * formats.kv.bits / 8)


def kv_bytes_per_sequence(model: Model, formats: Formats, partition: Partition, tokens: int) -> int:
    """KV cache that one sequence of ``tokens`` takes on the fullest GPU, in bytes; windowed layers keep the window."""
    layers = stage_layers(model, partition)
    windowed = min(model.windowed_layers, layers // 2)
    kept = (layers - windowed) * tokens + windowed * min(tokens, model.window)
    return kv_bytes_per_token_layer(model, formats, partition.tp) * kept


def activation_bytes_per_token(model: Model, partition: Partition) -> int:
    """Activations of one token of an attention rank on one GPU, in bytes; experts are evenly loaded."""
    wide = -(-LIVE_FFN * model.d_ff // partition.tp)
    if model.is_moe:
        row = model.d_model + -(-LIVE_FFN * model.d_expert // partition.moe_tp)
        wide = max(wide, -(-partition.attention_dp * model.experts_per_token * row // partition.moe_ep))
    return ACTIVATION_BYTES * (LIVE_HIDDEN * model.d_model + wide)


def footprint(
    model: Model, formats: Formats, partition: Partition, reserved: int, step_tokens: int, chunk_tokens: int = 0
) -> Footprint:
    """
    Memory of an engine with full reservation, so that no sequence is ever evicted.

    Parameters
    ----------
    model, formats, partition
        The engine.
    reserved
        Tokens reserved per sequence: ISL + OSL (prefill: ISL).
    step_tokens
        Tokens of one sequence in one step: ISL for prefill, 1 for decode and co-located.
    chunk_tokens
        Prompt tokens per mixed step of a co-located engine, 0 elsewhere.
    """
    per_token = activation_bytes_per_token(model, partition)
    logits = 4 * -(-model.vocab // partition.tp)
    fixed = weight_bytes(model, formats, partition) + int(RUNTIME_RESERVE_GIB * GIB) + chunk_tokens * per_token
    kv_cache = partition.pp * kv_bytes_per_sequence(model, formats, partition, reserved)
    return Footprint(fixed, kv_cache + step_tokens * per_token + logits)
