"""
Kernels that were measured alone: what they reach of a GPU's figures.

Products with weights, attention and collectives decide dense models; mixtures of experts also grouped products over
experts, tokens sent to them, and latent attention (MLA). :mod:`costmodels.kernel_sets` says where each applies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import ClassVar, Self, get_args

import numpy as np
import numpy.typing as npt

from costmodels.gpus import Gpu, MathKind

Number = float | npt.NDArray[np.float64]
MOST_OF_A_PEAK = 0.9
"""What kernels reach at most of matrix units that are weak beside the rest of the GPU (H20: 15 % of an H100's)."""
SENT = " sent"
"""Added to the name of a format where tokens were sent to whole experts, and lie one expert after another."""
OTHERS_FOR_SENT = ("sglang",)
"""Engines that run other kernels of experts then."""
TILE_ROWS = 128
"""Rows of the tiles that products are cut into: fewer take as long."""
STATIC = "_static"
"""End of the names of formats whose scales are known before."""
COARSE, FINE_FROM = " coarse", 4
"""Added where a token takes fewer experts than that: few and wide ones, whose products are those of dense models."""
FEW, MOST_FEW, MOST_EXPERTS = " few", 128, 256
"""Added where steps of so many tokens at most run a kernel of their own, of models with so many experts at most."""
GENTLE, STEEP = 1.01, 1.2
"""Powers of popularity that were measured: an expert's falls with that power of its rank."""
GATHER, REDUCE, REDUCE_MANY = "gather", "all_reduce", "all_reduce of 8"
"""Forms of collectives: all-gather or reduce-scatter, and all-reduce; of :data:`MANY` GPUs switches add."""
MANY = 8
PROMPTS, DECODES = "prompts", "decodes"
"""Forms of exchanges: of many tokens, and of few as fast as can be."""


@dataclass(frozen=True)
class Computing:
    """What kernels that compute have in common."""

    OF_UNITS: ClassVar[tuple[str, ...]] = ("compute",)
    """Figures that are fractions of the matrix peak."""

    def on_weaker_units(self, times: float) -> Self:
        """As it runs on a GPU of the same architecture whose matrix units are that many times weaker."""
        return replace(self, **{name: _more(float(getattr(self, name)), times) for name in self.OF_UNITS})

    @staticmethod
    def unlike(one: Gpu, other: Gpu) -> float:
        """How far two GPUs' matrix peaks and memory bandwidths differ."""
        peaks = ((one.tflops(math), other.tflops(math)) for math in get_args(MathKind))
        return _apart(*peaks, (one.memory_gbps, other.memory_gbps))


class Exchanging:
    """What kernels that exchange have in common."""

    @staticmethod
    def unlike(one: Gpu, other: Gpu) -> float:
        """How far two GPUs' nodes and NVLink bandwidths differ."""
        return _apart((one.gpus_per_node, other.gpus_per_node), (one.nvlink_gbps, other.nvlink_gbps))

    def on_weaker_units(self, _times: float) -> Self:
        """As it runs on a GPU of the same architecture whose matrix units are weaker: the same."""
        return self


@dataclass(frozen=True)
class ProductKernel(Computing):
    """
    One product of activations with a weight matrix.

    Parameters
    ----------
    start_ms
        Starts of the kernels, the conversion of the inputs among them.
    memory, compute
        Fraction of the memory bandwidth at which weights stream, and of the matrix peak.
    column
        Outputs up to which weights stream no faster the more there are: a unit reads its columns by itself.
    depth
        Inputs at which a product takes twice as long as its operations say: tiles are begun and ended.
    filling
        Values of the result at which it does: too few tiles for all units.
    inputs, outputs
        Fraction of the memory bandwidth at which activations stream in (and are converted), and out.
    """

    start_ms: float
    memory: float
    compute: float
    column: float
    depth: float
    filling: float
    inputs: float
    outputs: float


@dataclass(frozen=True)
class ExpertKernel(Computing):
    """
    Both products of a layer's experts, with the activation between them, on the fullest rank.

    Parameters
    ----------
    start_ms
        Sorting of tokens by expert, starts of the kernels, and the sum over a token's experts.
    memory, compute
        Fraction of the memory bandwidth at which weights stream, and of the matrix peak.
    rows
        Fraction of the memory bandwidth at which the tokens' own values stream.
    handling
        Operations on each of these values, besides the products.
    filling
        Rows that each chosen expert's tokens are padded by: tiles are whole.
    choice
        Tokens choose ``rows * held / (rows + choice * held)`` of the held experts, at most all.
    width
        FFN width at which an expert takes twice as long as its weights and operations say: narrow ones fill tiles
        badly.
    skew, steepness, evening
        Popularity of experts: the fullest of n expert-parallel ranks that hold h experts each carries
        ``1 + (n ** s - 1) / h ** evening`` times the mean; many experts on a rank even out. ``s`` is ``skew`` where
        popularity falls with the power :data:`GENTLE` of the rank, and grows by ``steepness`` a power.
    """

    start_ms: Number
    memory: Number
    compute: Number
    rows: Number
    handling: Number
    filling: Number
    choice: Number
    width: Number
    skew: Number
    steepness: Number
    evening: Number

    def hot(self, ranks: Number, held: Number, copies: Number, popularity: Number) -> Number:
        """
        Load of the fullest expert-parallel rank over the mean.

        Parameters
        ----------
        ranks, held
            Ranks, and experts of each.
        copies
            Experts of a token: a rank gets at most one copy of a token for each expert that it holds.
        popularity
            With which power of its rank the popularity of an expert falls.
        """
        most = np.maximum(1.0, ranks * np.minimum(1.0, held / copies))
        skew = self.skew + self.steepness * (popularity - GENTLE)
        fullest: Number = np.minimum(most, 1 + (ranks**skew - 1) / held**self.evening)
        return fullest


@dataclass(frozen=True)
class PromptKernel(Computing):
    """
    Grouped-query attention of prompts.

    Parameters
    ----------
    start_ms
        Start.
    memory, compute
        Fraction of the memory bandwidth, and of the matrix peak.
    soft
        Head size that the exponentials of scores are worth.
    lead
        Keys that each query seems to have more: tiles are whole, and cut across the causal mask.
    filling
        Queries of all heads at which it takes twice as long: too few tiles for all units.
    """

    start_ms: float
    memory: float
    compute: float
    soft: float
    lead: float
    filling: float


@dataclass(frozen=True)
class QueryKernel(Computing):
    """
    Grouped-query attention of single queries.

    Parameters
    ----------
    start_ms, tail_ms
        Start, and what units wait for the last of them where there is much to read.
    memory, compute
        Fraction of the memory bandwidth, and of the matrix peak in bfloat16.
    """

    start_ms: float
    tail_ms: float
    memory: float
    compute: float


@dataclass(frozen=True)
class LatentKernel(Computing):
    """
    Latent attention: of single queries (absorbed), and of prompts (projected up).

    Parameters
    ----------
    decode_start_ms, prompt_start_ms
        Start.
    decode_memory, prompt_memory
        Fraction of the memory bandwidth.
    decode_compute, prompt_compute
        Fraction of the matrix peak in bfloat16; above 1 where a kernel multiplies in FP8.
    """

    OF_UNITS = ("decode_compute", "prompt_compute")

    decode_start_ms: float
    decode_memory: float
    decode_compute: float
    prompt_start_ms: float
    prompt_memory: float
    prompt_compute: float


@dataclass(frozen=True)
class CollectiveKernel(Exchanging):
    """
    A collective of the GPUs of an NVLink domain.

    Parameters
    ----------
    start_ms, steps
        Start of a collective of :data:`MANY` GPUs, and with which power of their number it grows.
    ramp_ms
        Getting up to speed (:attr:`costmodels.operators.Operator.ramp_ms`).
    nvlink
        Fraction of the NVLink bandwidth; more than one where switches add.
    own
        Which part of the bytes that a GPU has already counts as if they came over NVLink.
    """

    start_ms: float
    steps: float
    ramp_ms: float
    nvlink: float
    own: float

    def begun_ms(self, group: int) -> float:
        """Start of a collective of so many GPUs."""
        return float(self.start_ms * (group / MANY) ** self.steps)


@dataclass(frozen=True)
class ExchangeKernel(Exchanging):
    """
    Tokens sent to the GPUs of their experts, or back, inside an NVLink domain.

    Parameters
    ----------
    start_ms
        Start, and waiting for all.
    token_us
        Handling of a token that a GPU sends, whatever its width.
    nvlink
        Fraction of the NVLink bandwidth.
    """

    start_ms: Number
    token_us: Number
    nvlink: Number


def _apart(*pairs: tuple[float | None, float | None]) -> float:
    """How far figures of two GPUs differ."""
    return sum(abs(log((first or 1.0) / (second or 1.0))) for first, second in pairs)


def _more(fraction: float, times: float) -> float:
    """The fraction of a weaker peak that is reached: as many operations a second, up to :data:`MOST_OF_A_PEAK`."""
    return max(fraction, min(MOST_OF_A_PEAK, fraction * times))


Kernel = ProductKernel | ExpertKernel | PromptKernel | QueryKernel | LatentKernel | CollectiveKernel | ExchangeKernel
