"""Memory per GPU: weights, KV cache, activations, and the largest batch that fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil

from costmodels.formats import Formats
from costmodels.models import Model
from costmodels.partition import Partition

GIB = 2**30
RUNTIME_RESERVE_GIB = Fraction(4)
"""Kept free on every GPU, in GiB: CUDA context and graphs, communication buffers, fragmentation, and the part of the
data-sheet memory that the driver keeps (at most 1.5 GiB). The built-in tables of an 8B model on one H100 show 3.5 GiB
beside weights and KV cache."""
_RESERVE_BYTES = int(RUNTIME_RESERVE_GIB * GIB)
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
        free = memory_gib.numerator * GIB // memory_gib.denominator - self.fixed_bytes
        return max(0, free // self.sequence_bytes)


def stage_layers(model: Model, partition: Partition) -> int:
    """Layers of the fullest pipeline stage."""
    return -(-model.layers // partition.pp)


@lru_cache(maxsize=4096)
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
    attention, linear = _attention_weights(model, tp), -(-model.linear_parameters // tp)
    dense = -(-model.dense_ffn_parameters // tp)
    shared = -(-model.shared_parameters // tp)
    routed = -(-model.experts * model.expert_parameters // (partition.moe_tp * partition.moe_ep))
    vocabulary = -(-model.head_parameters // tp)
    layers, moe_layers, tables = model.layers, model.moe_layers, 1 if model.tied else 2
    if partition.pp > 1:
        layers, tables = stage_layers(model, partition), 1
        moe_layers = min(layers, model.moe_layers)
    mixed = _mixed_layers(model, layers, attention, linear)
    gemm_bits = (mixed + (layers - moe_layers) * dense + moe_layers * shared) * formats.gemm.bits
    other_bits = moe_layers * (routed * formats.moe.bits + model.router_parameters * 16) + tables * vocabulary * 16
    return ceil((gemm_bits + other_bits) / 8)


def _attention_weights(model: Model, tp: int) -> int:
    """Weights of one softmax attention layer on one GPU."""
    if model.attention == "mla":
        repeated = model.d_model * (model.q_lora_rank + model.kv_lora_rank + model.qk_rope) + model.indexer_parameters
        return repeated - (repeated - model.attention_parameters) // tp
    query = -(-model.heads // tp)
    gate = query if model.gated_attention else 0
    return model.d_model * model.d_head * (2 * query + gate + 2 * _kv_heads(model, tp))


def _mixed_layers(model: Model, layers: int, attention: int, linear: int) -> int:
    """Attention weights of ``layers`` layers; of a part of the model, the heavier kind as far as there is any."""
    softmax = model.layers - model.linear_layers
    heavy, most = (attention, softmax) if attention >= linear else (linear, model.linear_layers)
    first = min(layers, most)
    return first * heavy + (layers - first) * min(attention, linear)


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
        return _bytes(model.kv_lora_rank + model.qk_rope, formats.kv.bits)
    return _bytes(2 * _kv_heads(model, tp) * model.d_head, formats.kv.bits)


def _bytes(values: int, bits: Fraction) -> int:
    """Whole bytes of some values."""
    return -(-values * bits.numerator // (8 * bits.denominator))


def kv_bytes_per_sequence(model: Model, formats: Formats, partition: Partition, tokens: int) -> int:
    """
    KV cache that one sequence of ``tokens`` takes on the fullest GPU, in bytes.

    Windowed layers keep the window, linear layers a state of fixed size; sparse attention adds its index keys, a byte
    each value. A pipeline stage holds its layers in the mean mix, rounded up to whole layers of full attention.
    """
    layers = stage_layers(model, partition)
    windowed, linear = (kind * layers // model.layers for kind in (model.windowed_layers, model.linear_layers))
    kept = (layers - windowed - linear) * tokens + windowed * min(tokens, model.window)
    per_token = kv_bytes_per_token_layer(model, formats, partition.tp) + (model.index_dim if model.sparse_top_k else 0)
    return per_token * kept + linear * state_bytes(model, partition.tp)


def state_bytes(model: Model, tp: int) -> int:
    """Recurrent state of one sequence in one linear layer on one GPU, in bytes: 32-bit floats."""
    return 4 * -(-model.linear_value_heads // tp) * model.linear_key_dim * model.linear_value_dim


def activation_bytes_per_token(model: Model, partition: Partition) -> int:
    """Activations of one token of an attention rank on one GPU, in bytes; experts are evenly loaded."""
    wide = -(-LIVE_FFN * model.d_ff // partition.tp)
    if model.is_moe:
        row = model.d_model + -(-LIVE_FFN * model.d_expert // partition.moe_tp)
        wide = max(wide, -(-partition.attention_dp * model.experts_per_token * row // partition.moe_ep))
    return ACTIVATION_BYTES * (LIVE_HIDDEN * model.d_model + wide)


def footprint(
    model: Model, formats: Formats, partition: Partition, reserved: int, step_tokens: int, chunk_tokens: int = 0,
    steps: int = 1, drafting: bool = False,
) -> Footprint:  # fmt: skip
    """
    Memory of an engine that keeps ``reserved`` tokens of KV cache free for each sequence.

    Parameters
    ----------
    model, formats, partition
        The engine.
    reserved
        Tokens reserved per sequence, such as ISL + OSL (prefill: ISL).
    step_tokens
        Tokens of one sequence in one step: ISL for prefill, 1 for decode and co-located.
    chunk_tokens
        Prompt tokens per mixed step of a co-located engine, 0 elsewhere.
    steps
        Chunks of one prompt that flow through pipeline stages. A batch leaves its KV cache at the first stage until its
        last chunk has passed the last one: ``1 + ceil((pp - 1) / steps)`` batches are in flight, ``pp`` of whole ones.
    drafting
        Whether the layers for multi-token prediction are loaded, on the fullest stage.
    """
    per_token = activation_bytes_per_token(model, partition)
    logits = 4 * -(-model.vocab // partition.tp)
    fixed = weight_bytes(model, formats, partition) + _RESERVE_BYTES + chunk_tokens * per_token
    kv_cache = kv_bytes_per_sequence(model, formats, partition, reserved)
    if drafting and model.mtp_layers:
        longer, stage = replace(model, layers=model.layers + model.mtp_layers), replace(partition, pp=1)
        fixed += weight_bytes(longer, formats, stage) - weight_bytes(model, formats, stage)
        kv_cache += kv_bytes_per_sequence(longer, formats, stage, reserved)
        kv_cache -= kv_bytes_per_sequence(model, formats, stage, reserved)
    in_flight = 1 - (1 - partition.pp) // steps
    return Footprint(fixed, in_flight * kv_cache + step_tokens * per_token + logits)
