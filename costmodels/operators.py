"""
The operators of a step, before and after pricing: the roofline proper.

An operator is counted first (arithmetic, memory traffic, bytes over links, starts) and priced afterwards with the
figures of a GPU (:mod:`costmodels.gpus`) and constants (:mod:`costmodels.constants`). Counting knows no time, pricing
knows no model: so constants can be fitted to measurements. All numbers may be arrays of one shape; times are in ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from costmodels.constants import Constants
from costmodels.formats import Format
from costmodels.gpus import Gpu, MathKind
from costmodels.kernels import ExchangeKernel, ExpertKernel, LatentKernel

Array = npt.NDArray[np.float64]
Number = float | Array
Kind = Literal[
    "matmul", "experts", "prefill_attention", "decode_attention", "latent_prefill", "latent_decode", "stream",
    "collective", "all_reduce", "dispatch",
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
    """

    start_ms: float
    memory: float
    compute: float

    @property
    def most(self) -> float:
        """Fraction of the peak that no speed exceeds: all of it, or what was measured in a narrower format."""
        return max(1.0, self.compute)


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
    launches
        Kernels started.
    over_nvlink, over_link
        Bytes that one GPU receives inside its NVLink domain, and over the slower link beyond it.
    around
        Bytes of its own domain that a ring sends over that link and back, besides.
    sharing
        GPUs of a domain that could share the bytes over the link and pass them on over NVLink.
    starts, crossings
        Collectives begun, and those among them that leave the domain.
    handled_ms
        Of dispatches that were measured: the start, and the handling of tokens.
    measured
        Of kinds whose kernels were measured: how they run; None: the plain roofline.
    """

    kind: Kind
    math: MathKind = "bf16"
    flops: Number = 0.0
    moved: Number = 0.0
    launches: float = 0.0
    over_nvlink: Number = 0.0
    over_link: Number = 0.0
    around: Number = 0.0
    sharing: float = 1.0
    starts: float = 0.0
    crossings: float = 0.0
    handled_ms: Number = 0.0
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
        case "collective" | "all_reduce":
            shared = operator.sharing**constants.spread
            speed = constants.reduce if operator.kind == "all_reduce" else 1.0
            return _exchange_ms(gpu, constants, operator, constants.nvlink * speed, constants.link * shared * speed)
        case "dispatch":
            inside = operator.over_nvlink / (gpu.nvlink_gbps * BYTES_PER_MS) + operator.handled_ms
            across = operator.over_link / (gpu.link_gbps * BYTES_PER_MS * constants.dispatch_link)
            return inside / constants.dispatch + across + operator.crossings * constants.crossing_ms
        case "stream":
            return memory_ms(gpu, operator.moved, constants.memory) + operator.launches * constants.launch_ms
        case "experts":
            return _measured_ms(gpu, operator, constants.expert_memory, constants.expert_compute)
        case "latent_prefill":
            run = _measured_ms(gpu, operator, constants.latent_speed, constants.latent_speed)
            return run + operator.launches * constants.launch_ms
        case "latent_decode":
            run = _measured_ms(gpu, operator, constants.latent_speed, constants.latent_speed)
            return run + operator.launches * (constants.launch_ms + 2 * constants.attention_ms)
        case "matmul":
            compute = compute_ms(gpu, operator.math, operator.flops, _fraction(constants, operator.math))
            start = constants.launch_ms + (constants.quantise_ms if operator.math != "bf16" else 0.0)
            return np.maximum(compute, memory_ms(gpu, operator.moved, constants.memory)) + operator.launches * start
        case "prefill_attention":
            reached, start = constants.prefill_attention, constants.launch_ms
        case "decode_attention":
            reached, start = constants.decode_attention, constants.launch_ms + 2 * constants.attention_ms
    compute = compute_ms(gpu, operator.math, operator.flops, reached)
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
    streamed = memory_ms(gpu, operator.moved, min(1.0, how.memory * memory))
    busy = compute_ms(gpu, operator.math, operator.flops, min(how.most, how.compute * compute))
    begun: Number = np.where(np.asarray(operator.moved) > 0, how.start_ms, 0.0)
    run: Number = np.sqrt(streamed * streamed + busy * busy) + begun
    return run


def memory_ms(gpu: Gpu, moved: Number, reached: float) -> Number:
    """Time to move bytes through the GPU's memory at a fraction of its bandwidth."""
    return moved / (gpu.memory_gbps * BYTES_PER_MS * reached)


def compute_ms(gpu: Gpu, kind: MathKind, flops: Number, reached: float) -> Number:
    """Time of ``flops`` operations on one kind of matrix units, at a fraction of their peak."""
    peak = gpu.tflops(kind)
    if peak is None:
        raise ValueError(f"{gpu.name} has no {kind} units")
    return flops / (peak * FLOPS_PER_MS * reached)


def _fraction(constants: Constants, kind: MathKind) -> float:
    return {"bf16": constants.bf16, "fp8": constants.fp8, "fp4": constants.fp4}[kind]


def _exchange_ms(gpu: Gpu, constants: Constants, operator: Operator, nvlink: float, link: float) -> Number:
    """Both ways one after the other, each with its getting up to speed, and the starts."""
    inside = operator.over_nvlink / (gpu.nvlink_gbps * BYTES_PER_MS * nvlink)
    across = (operator.over_link + constants.ring * operator.around) / (gpu.link_gbps * BYTES_PER_MS * link)
    ramps = operator.starts * (np.sqrt(constants.ramp_ms * inside) + np.sqrt(constants.ramp_ms * across)) * 2
    return (
        inside
        + across
        + ramps
        + (operator.starts * constants.collective_ms + operator.crossings * constants.crossing_ms)
    )


def matmul(weights: Format, rows: Number, inputs: float, outputs: float) -> Operator:
    """
    One product of activations with a weight matrix.

    Parameters
    ----------
    weights
        Format of the weights.
    rows
        Tokens.
    inputs, outputs
        Shape of the weights.
    """
    moved = inputs * outputs * weights.bytes + rows * (inputs + outputs) * HIDDEN_BYTES
    return Operator("matmul", weights.math, 2 * rows * inputs * outputs, moved, 1)


def experts(
    weights: Format,
    rows: Number,
    held: Number,
    hot: Number,
    d_model: Number,
    width: Number,
    kernel: ExpertKernel | None,
) -> Operator:
    """
    The gated FFNs of the experts of the fullest GPU: two products into their width, the activation, one product back.

    Only experts that a token chose are read. Plain roofline: chosen independently and evenly. As measured: popularity
    varies, so that of ``held`` experts with ``rows`` copies together ``rows * held / (rows + held)`` are read.

    Parameters
    ----------
    weights
        Format of the weights.
    rows
        Token copies that reach a mean GPU.
    held, hot
        Experts of one GPU, load of the fullest rank over the mean.
    d_model, width
        Hidden size, width of one expert's FFN on one GPU.
    kernel
        How the products run; None: the plain roofline.
    """  # fmt: skip
    rows = rows * hot
    one, passed = 3 * d_model * width, rows * ((2 * d_model + 3 * width) * HIDDEN_BYTES)
    flops = 2 * rows * one
    if kernel is None:
        chosen = held * -np.expm1(-rows / held) * (one * weights.bytes)
        return Operator("experts", weights.math, flops, chosen + passed, 1)
    narrow = 1 + kernel.width / width
    read = rows * held / (rows + held) * (one * weights.bytes * narrow) + passed * (kernel.memory / kernel.rows)
    how = Measured(kernel.start_ms, kernel.memory, kernel.compute)
    return Operator("experts", weights.math, flops * narrow, read, 1, measured=how)


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
        return Operator("latent_decode", "bf16", each * heads, read * kv_bytes, 0.5)
    how = Measured(kernel.decode_start_ms, kernel.decode_memory, kernel.decode_compute)
    return Operator("latent_decode", "bf16", each * heads, read * kv_bytes, 0.5, measured=how)


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
        return Operator("latent_prefill", "bf16", flops, moved, 0.5)
    how = Measured(kernel.prompt_start_ms, kernel.prompt_memory, kernel.prompt_compute)
    return Operator("latent_prefill", "bf16", flops, moved, 0.5, measured=how)


def stream(moved: Number, launches: float) -> Operator:
    """Norms, activations, rotary embedding and the like: bytes moved by a number of launches."""
    return Operator("stream", moved=moved, launches=launches)


def gather(domain: int, group: int, total_bytes: Number) -> Operator:
    """
    All-gather (or reduce-scatter): every GPU ends with ``total_bytes``, each held a ``1/group`` part before.

    Every part passes NVLink once; those of other domains come over the slower link before, which the GPUs of a domain
    may share. A ring through all GPUs sends the parts of a domain over that link too, once around. So a larger domain
    is never slower, whatever the constants.

    Parameters
    ----------
    domain
        GPUs of an NVLink domain.
    group
        GPUs that take part.
    total_bytes
        Bytes of the whole.
    """
    if group == 1:
        return Operator("collective")
    inside = min(domain, group)
    over_link = total_bytes * (1 - inside / group)
    over_nvlink = total_bytes * ((group - 1) / group)
    around = total_bytes * ((inside - 1) / group if group > domain else 0.0)
    return Operator(
        "collective", over_nvlink=over_nvlink, over_link=over_link, around=around, sharing=inside, starts=1,
        crossings=float(group > domain),
    )  # fmt: skip


def all_reduce(domain: int, group: int, total_bytes: Number) -> Operator:
    """All-reduce of ``total_bytes``: a reduce-scatter and an all-gather under one start."""
    half = gather(domain, group, total_bytes)
    both = {name: 2 * getattr(half, name) for name in ("over_nvlink", "over_link", "around")}
    return replace(half, kind="all_reduce", **both)


def dispatch(
    domain: int, group: int, copies: Number, tokens: Number, token_bytes: Number, kernel: ExchangeKernel | None
) -> Operator:
    """
    Tokens to the GPUs of their experts, or back: an all-to-all.

    A token crosses once to each domain that it is wanted in and is forwarded there; it goes to each GPU once.

    Parameters
    ----------
    domain, group
        GPUs of an NVLink domain, GPUs that hold experts.
    copies
        Experts of a token, chosen independently.
    tokens, token_bytes
        Tokens that one GPU starts with, and bytes of each.
    kernel
        How it runs inside a domain; None: the plain roofline.
    """
    if group == 1:
        return Operator("dispatch")
    inside = min(domain, group)
    domains = group / inside
    gpus = group * (1 - (1 - 1 / group) ** copies)
    over_link = tokens * (token_bytes * (domains - 1) * (1 - (1 - 1 / domains) ** copies))
    over_nvlink = tokens * (token_bytes * gpus * (group - 1) / group)
    handled: Number = 0.0
    if kernel is not None:
        over_nvlink, handled = over_nvlink / kernel.nvlink, kernel.start_ms + tokens * (kernel.token_us / 1000)
    return Operator(
        "dispatch", over_nvlink=over_nvlink, over_link=over_link, crossings=float(group > domain), handled_ms=handled
    )


def send(crosses: bool, sent_bytes: Number) -> Operator:
    """Point to point, between pipeline stages."""
    over_link = sent_bytes if crosses else sent_bytes * 0.0
    return Operator("collective", over_nvlink=sent_bytes, over_link=over_link, starts=1, crossings=float(crosses))
