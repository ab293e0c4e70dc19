"""
Times of the primitive operators: the roofline proper. All times in ms, all functions vectorised and pure.

The constants are one set for all GPUs and models. They were chosen by coordinate search for the smallest median error
against the built-in tables (prefill and decode, dense and MoE, stage groups inside one NVLink domain), then rounded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from costmodels.formats import Format
from costmodels.gpus import Gpu, MathKind

Array = npt.NDArray[np.float64]
Number = float | Array

COMPUTE_EFFICIENCY: dict[MathKind, float] = {"bf16": 0.75, "fp8": 0.56, "fp4": 0.37}
"""Achievable fraction of the matrix peak in a large matrix product; the narrower the format, the less of its peak."""
ATTENTION_EFFICIENCY = 0.38
"""Achievable fraction of the matrix peak in attention (softmax interleaved with two products)."""
MEMORY_EFFICIENCY = 0.86
"""Achievable fraction of the memory bandwidth."""
EXPERT_COMPUTE_EFFICIENCY = 0.31
"""What a grouped product over experts reaches of ``COMPUTE_EFFICIENCY``: uneven groups, padded tiles."""
EXPERT_MEMORY_EFFICIENCY = 0.77
"""What it reaches of ``MEMORY_EFFICIENCY``."""
ROUTING_LAUNCHES = 12
"""Launches around the experts of one layer: top-k, sort, permutation, activation, weighting, sum."""
LINK_EFFICIENCY = 0.53
"""Achievable fraction of NVLink and network bandwidth."""
LAUNCH_MS = 0.0045
"""Start of one operator under CUDA graphs."""
COLLECTIVE_MS = 0.006
"""Start and synchronisation of one collective inside an NVLink domain."""
NETWORK_MS = 0.015
"""What a collective that crosses domains takes beyond that."""
HIDDEN_BYTES = 2
"""Hidden states are bfloat16."""

_FLOPS_PER_MS = 1e9  # of one TFLOP/s
_BYTES_PER_MS = 1e6  # of one GB/s


def memory_ms(gpu: Gpu, moved: Number) -> Number:
    """Time to move bytes through the GPU's memory."""
    return moved / (gpu.memory_gbps * _BYTES_PER_MS * MEMORY_EFFICIENCY)


def compute_ms(gpu: Gpu, kind: MathKind, flops: Number, efficiency: float | None = None) -> Number:
    """Time of ``flops`` operations on one kind of matrix units; the GPU must have them."""
    peak = gpu.tflops(kind)
    if peak is None:
        raise ValueError(f"{gpu.name} has no {kind} units")
    return flops / (peak * _FLOPS_PER_MS * (COMPUTE_EFFICIENCY[kind] if efficiency is None else efficiency))


def matmul_ms(gpu: Gpu, weights: Format, rows: Number, inputs: float, outputs: float) -> Number:
    """
    One product of activations with a weight matrix.

    Parameters
    ----------
    gpu, weights
        The GPU, the format of the weights.
    rows
        Tokens.
    inputs, outputs
        Shape of the weights.
    """
    moved = inputs * outputs * weights.bytes + rows * (inputs + outputs) * HIDDEN_BYTES
    compute = compute_ms(gpu, weights.math, 2 * rows * inputs * outputs)
    return np.maximum(compute, memory_ms(gpu, moved)) + LAUNCH_MS


def experts_ms(gpu: Gpu, weights: Format, rows: Number, loaded: Number, inputs: float, outputs: float) -> Number:
    """
    A grouped product over the experts of one GPU.

    Parameters
    ----------
    gpu, weights
        The GPU, the format of the weights.
    rows
        Token copies that reach this GPU.
    loaded
        Experts of this GPU that at least one of them chose (expected).
    inputs, outputs
        Shape of one expert's weights.
    """
    moved = loaded * inputs * outputs * weights.bytes + rows * (inputs + outputs) * HIDDEN_BYTES
    compute = compute_ms(gpu, weights.math, 2 * rows * inputs * outputs)
    memory = memory_ms(gpu, moved) / EXPERT_MEMORY_EFFICIENCY
    return np.maximum(compute / EXPERT_COMPUTE_EFFICIENCY, memory) + LAUNCH_MS


def attention_ms(gpu: Gpu, kind: MathKind, flops: Number, moved: Number) -> Number:
    """One attention core: ``flops`` operations over ``moved`` bytes of KV cache, without its launch."""
    return np.maximum(compute_ms(gpu, kind, flops, ATTENTION_EFFICIENCY), memory_ms(gpu, moved))


def routing_ms() -> float:
    """The small operators around the experts of one layer."""
    return ROUTING_LAUNCHES * LAUNCH_MS


def elementwise_ms(gpu: Gpu, moved: Number, launches: int) -> Number:
    """Norms, activations, rotary embedding and the like: bytes moved by a number of launches."""
    return memory_ms(gpu, moved) + launches * LAUNCH_MS


def gather_ms(gpu: Gpu, domain: int, group: int, total_bytes: Number) -> Number:
    """
    All-gather (or reduce-scatter): every GPU ends with ``total_bytes``, each held a ``1/group`` part before.

    Hierarchical: the parts of other domains come over the slower link, spread over the GPUs of the domain; the rest
    over NVLink. The time never grows with the domain, since the link is not faster than NVLink.

    Parameters
    ----------
    gpu, domain
        The GPU, GPUs of an NVLink domain.
    group
        GPUs that take part.
    total_bytes
        Bytes of the whole.
    """
    if group == 1:
        return total_bytes * 0.0
    inside = min(domain, group)
    over_link = total_bytes * (1 - inside / group) / inside
    over_nvlink = total_bytes * (inside - 1) / inside
    return _link_ms(gpu, over_nvlink, over_link) + _start_ms(domain, group)


def all_reduce_ms(gpu: Gpu, domain: int, group: int, total_bytes: Number) -> Number:
    """All-reduce of ``total_bytes``: a reduce-scatter and an all-gather under one start."""
    if group == 1:
        return total_bytes * 0.0
    return 2 * gather_ms(gpu, domain, group, total_bytes) - _start_ms(domain, group)


def all_to_all_ms(gpu: Gpu, domain: int, group: int, sent_bytes: Number) -> Number:
    """
    All-to-all in which every GPU sends ``sent_bytes`` in total, evenly to all of the group (its own part is free).

    Parameters
    ----------
    gpu, domain, group
        The GPU, GPUs of an NVLink domain, GPUs that take part.
    sent_bytes
        Bytes that one GPU addresses to the group.
    """
    if group == 1:
        return sent_bytes * 0.0
    inside = min(domain, group)
    over_nvlink, over_link = sent_bytes * (inside - 1) / group, sent_bytes * (group - inside) / group
    return _link_ms(gpu, over_nvlink, over_link) + _start_ms(domain, group)


def send_ms(gpu: Gpu, crosses: bool, sent_bytes: Number) -> Number:
    """Point to point, between pipeline stages."""
    over_link = sent_bytes if crosses else sent_bytes * 0.0
    return _link_ms(gpu, sent_bytes - over_link, over_link) + COLLECTIVE_MS + (NETWORK_MS if crosses else 0.0)


def _link_ms(gpu: Gpu, over_nvlink: Number, over_link: Number) -> Number:
    return (over_nvlink / gpu.nvlink_gbps + over_link / gpu.link_gbps) / (_BYTES_PER_MS * LINK_EFFICIENCY)


def _start_ms(domain: int, group: int) -> float:
    return COLLECTIVE_MS + (NETWORK_MS if group > domain else 0.0)
