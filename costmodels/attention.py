"""Attention as operators: grouped-query and latent, of prompts and of single queries."""

from __future__ import annotations

import numpy as np

from costmodels.gpus import MathKind
from costmodels.kernels import LatentKernel, PromptKernel, QueryKernel
from costmodels.operators import HIDDEN_BYTES, Measured, Number, Operator


def prompt_attention(
    math: MathKind,
    heads: Number,
    size: Number,
    pairs: Number,
    queries: Number,
    kv_read: Number,
    kernel: PromptKernel | None,
) -> Operator:
    """
    Grouped-query attention of prompts.

    Parameters
    ----------
    math
        Units that do the arithmetic.
    heads, size
        Query heads on one GPU, and values of each.
    pairs, queries, kv_read
        Query-key pairs, queries, and bytes of keys and values that are read.
    kernel
        How it runs; None: the plain roofline.
    """
    if kernel is None:
        return Operator("prefill_attention", math, 4 * heads * size * pairs, kv_read, launches=0.5)
    flops = 4 * heads * (size + kernel.soft) * (pairs + queries * (kernel.lead / 2))
    flops = flops * (1 + kernel.filling / np.maximum(1.0, queries * heads))
    moved = kv_read + 2 * queries * heads * size * HIDDEN_BYTES
    how = Measured(kernel.start_ms, kernel.memory, kernel.compute)
    return Operator("prefill_attention", math, flops, np.where(np.asarray(queries) > 0, moved, 0.0), measured=how)


def query_attention(
    math: MathKind,
    heads: Number,
    size: Number,
    read: Number,
    queries: Number,
    kv_read: Number,
    kernel: QueryKernel | None,
) -> Operator:
    """
    Grouped-query attention of single queries.

    Parameters
    ----------
    math
        Units that do the arithmetic in the plain roofline.
    heads, size
        Query heads on one GPU, and values of each.
    read, queries, kv_read
        Tokens read, summed over sequences; queries of each sequence; bytes of their keys and values.
    kernel
        How it runs; None: the plain roofline.
    """
    flops = 4 * heads * size * read * queries
    if kernel is None:
        return Operator("decode_attention", math, flops, kv_read, launches=0.5)
    how = Measured(kernel.start_ms, kernel.memory, kernel.compute, kernel.tail_ms)
    return Operator("decode_attention", "bf16", flops, kv_read, launches=0.5, measured=how)


def latent_decode(
    heads: Number, kept: int, rope: int, read: Number, queries: Number, kv_bytes: Number, kernel: LatentKernel | None
) -> Operator:
    """
    Absorbed latent attention of single queries.

    Parameters
    ----------
    heads
        Query heads on one GPU.
    kept, rope
        Values of a token's compressed keys and values, and of its rotary key.
    read
        Tokens read, summed over sequences.
    queries
        Queries of each sequence.
    kv_bytes
        Bytes of a token's cache.
    kernel
        How it runs; None: the plain roofline.
    """
    each = 2 * (2 * kept + rope) * read * queries
    if kernel is None:
        return Operator("latent_decode", "bf16", each * heads, read * kv_bytes, launches=0.5)
    how = Measured(kernel.decode_start_ms, kernel.decode_memory, kernel.decode_compute)
    return Operator("latent_decode", "bf16", each * heads, read * kv_bytes, launches=0.5, measured=how)


def latent_prefill(
    heads: Number, key: int, value: int, pairs: Number, tokens: Number, context: Number, kernel: LatentKernel | None
) -> Operator:
    """
    Latent attention of prompts, projected up.

    Parameters
    ----------
    heads
        Query heads on one GPU.
    key, value
        Sizes of a key and of a value.
    pairs, tokens, context
        Query-key pairs, queries, and tokens whose keys and values are read.
    kernel
        How it runs; None: the plain roofline.
    """
    flops, moved = 2 * heads * (key + value) * pairs, heads * (key + value) * HIDDEN_BYTES * (tokens + context)
    if kernel is None:
        return Operator("latent_prefill", "bf16", flops, moved, launches=0.5)
    how = Measured(kernel.prompt_start_ms, kernel.prompt_memory, kernel.prompt_compute)
    return Operator("latent_prefill", "bf16", flops, moved, launches=0.5, measured=how)
