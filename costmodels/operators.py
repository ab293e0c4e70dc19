"""
The operators of a step, before and after pricing: the roofline proper.

An operator is counted first (arithmetic, memory traffic, bytes over links, starts) and priced afterwards with the
figures of a GPU (:mod:`costmodels.gpus`) and constants (:mod:`costmodels.constants`). Counting knows no time, pricing
knows no model: so constants can be fitted to measurements. All numbers may be arrays of one shape; times are in ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from costmodels.constants import Constants
from costmodels.gpus import Gpu, MathKind

Array = npt.NDArray[np.float64]
Number = float | Array
Kind = Literal[
    "matmul", "experts", "prefill_attention", "decode_attention", "latent_prefill", "latent_decode", "stream",
    "collective", "dispatch",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

HIDDEN_BYTES = 2
"""Hidden states are bfloat16."""
FLOPS_PER_MS = 1e9
"""Operations per ms of one TFLOP/s."""
BYTES_PER_MS = 1e6
"""Bytes per ms of one GB/s."""


@dataclass(frozen=True)
class Measured:
    """
    How a kernel runs that was measured alone.

    Parameters
    ----------
    start_ms
        Its start.
    memory, compute
        Fractions of the GPU's memory bandwidth and matrix peak.
    tail_ms
        What is waited for the last unit where there is much to do.
    """

    start_ms: Number
    memory: Number
    compute: Number
    tail_ms: float = 0.0

    @property
    def most(self) -> Number:
        """Fraction of the peak that no speed exceeds: all of it, or what was measured in a narrower format."""
        return np.maximum(1.0, self.compute)


@dataclass(frozen=True)
class Operator:
    """
    What one operator of a layer does on the fullest GPU.

    Parameters
    ----------
    kind
        Which constants price it.
    math
        Units that do the arithmetic.
    flops
        Operations.
    moved
        Bytes through the GPU's memory.
    passed
        Bytes of activations of a measured product, as if they streamed at the whole bandwidth.
    launches
        Kernels started.
    over_nvlink, over_link
        Bytes that one GPU receives inside its NVLink domain, and over the slower link beyond it.
    sharing
        GPUs of a domain that could share the bytes over the link and pass them on over NVLink.
    crossings
        Collectives that leave the domain.
    handled_ms
        Of exchanges that were measured: the start, and the handling of tokens.
    ramp_ms
        What a measured collective needs to get up to speed: with t at full speed it takes ``t + 2 sqrt(ramp_ms * t)``,
        as where the message is cut into the best number of pieces that follow one another.
    measured
        Of kinds whose kernels were measured: how they run; None: the plain roofline.
    """

    kind: Kind
    math: MathKind = "bf16"
    flops: Number = 0.0
    moved: Number = 0.0
    passed: Number = 0.0
    launches: float = 0.0
    over_nvlink: Number = 0.0
    over_link: Number = 0.0
    sharing: float = 1.0
    crossings: float = 0.0
    handled_ms: Number = 0.0
    ramp_ms: float = 0.0
    measured: Measured | None = None


Work = Sequence[tuple[float, Operator]]
"""Operators of a step, each with how often it runs."""


def price(gpu: Gpu, constants: Constants, work: Work) -> Number:
    """
    Time of operators one after another.

    Raises
    ------
    ValueError
        When the GPU has no units for the arithmetic of one.
    """
    total: Number = 0.0
    for times, operator in work:
        total = total + times * operator_ms(gpu, constants, operator)
    return total


def operator_ms(gpu: Gpu, constants: Constants, operator: Operator) -> Number:
    """Time of one operator: the longer of arithmetic and memory traffic, or its transfers; and its start."""
    match operator.kind:
        case "collective":
            return _collective_ms(gpu, constants, operator)
        case "dispatch":
            inside = operator.over_nvlink / (gpu.nvlink_gbps * BYTES_PER_MS) + operator.handled_ms
            across = operator.over_link / (gpu.link_gbps * BYTES_PER_MS * constants.dispatch_link)
            return inside / constants.dispatch + across + operator.crossings * constants.crossing_ms
        case "stream":
            return memory_ms(gpu, operator.moved, constants.memory) + operator.launches * constants.launch_ms
        case "experts":
            return _measured_ms(gpu, operator, constants.expert_memory, constants.expert_compute)
        case "latent_prefill":
            return _measured_ms(gpu, operator, constants.latent_speed, constants.latent_speed)
        case "latent_decode":
            run = _measured_ms(gpu, operator, constants.latent_speed, constants.latent_speed)
            return run + operator.launches * 2 * constants.attention_ms
        case "matmul":
            run = _measured_ms(gpu, operator, constants.product_memory, constants.product_compute)
            return run + memory_ms(gpu, operator.passed, constants.product_memory)
        case "prefill_attention" | "decode_attention":
            return _attention_ms(gpu, constants, operator)


def _attention_ms(gpu: Gpu, constants: Constants, operator: Operator) -> Number:
    """Time of attention that is not latent: as measured, or the longer of arithmetic and memory traffic."""
    decodes = operator.kind == "decode_attention"
    around = 2 * constants.attention_ms if decodes else 0.0
    if operator.measured is not None:
        run = _measured_ms(gpu, operator, constants.attention_speed, constants.attention_speed)
        return run + operator.launches * around
    reached = constants.decode_attention if decodes else constants.prefill_attention
    compute = compute_ms(gpu, operator.math, operator.flops, reached)
    start = constants.launch_ms + around
    return np.maximum(compute, memory_ms(gpu, operator.moved, constants.kv_memory)) + operator.launches * start


def _measured_ms(gpu: Gpu, operator: Operator, memory: float, compute: float) -> Number:
    """
    Time of a measured kernel, at some speed against the measurement, but never faster than the data sheet.

    Memory traffic and arithmetic add like the sides of a right angle: parts of a kernel wait for one, parts for the
    other. In the plain roofline the longer counts.
    """
    how = operator.measured
    if how is None:
        return np.maximum(memory_ms(gpu, operator.moved, 1.0), compute_ms(gpu, operator.math, operator.flops, 1.0))
    streamed = memory_ms(gpu, operator.moved, np.minimum(1.0, how.memory * memory))
    busy = compute_ms(gpu, operator.math, operator.flops, np.minimum(how.most, how.compute * compute))
    begun: Number = np.where(np.asarray(operator.moved) > 0, how.start_ms, 0.0)
    run = np.sqrt(streamed * streamed + busy * busy)
    if how.tail_ms:
        run = run + how.tail_ms * run / (run + how.tail_ms)
    whole: Number = run + begun
    return whole


def memory_ms(gpu: Gpu, moved: Number, reached: Number) -> Number:
    """Time to move bytes through the GPU's memory at a fraction of its bandwidth."""
    return moved / (gpu.memory_gbps * BYTES_PER_MS * reached)


def compute_ms(gpu: Gpu, kind: MathKind, flops: Number, reached: Number) -> Number:
    """Time of ``flops`` operations on one kind of matrix units, at a fraction of their peak."""
    peak = gpu.tflops(kind)
    if peak is None:
        raise ValueError(f"{gpu.name} has no {kind} units")
    return flops / (peak * FLOPS_PER_MS * reached)


def _collective_ms(gpu: Gpu, constants: Constants, operator: Operator) -> Number:
    """Inside the domain and across, one after the other, each with its getting up to speed, and the starts."""
    inside = operator.over_nvlink / (gpu.nvlink_gbps * BYTES_PER_MS)
    across = operator.over_link / (gpu.link_gbps * BYTES_PER_MS * constants.link * operator.sharing**constants.spread)
    inside = inside + 2 * np.sqrt(operator.ramp_ms * inside) + operator.handled_ms
    across = across + 2 * np.sqrt(operator.ramp_ms * across) + operator.crossings * constants.crossing_ms
    whole: Number = inside / constants.collective + across
    return whole


def stream(moved: Number, launches: float) -> Operator:
    """Norms, activations, rotary embedding and the like: bytes moved by a number of launches."""
    return Operator("stream", moved=moved, launches=launches)
