"""
Kernels that were measured alone: what they reach of a GPU's figures, carried as data.

Three kinds decide mixtures of experts: grouped products over experts, tokens sent to them, and latent attention (MLA).
A kernel belongs to a number format on a GPU under a serving engine where it was measured; else to the format under the
engine on an architecture, on an architecture, or anywhere. :mod:`costmodels.calibration.kernels` fits them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from costmodels.constants import ANY, ARCHITECTURES, levels
from costmodels.gpus import GPUS, Gpu

Number = float | npt.NDArray[np.float64]
_DATA = Path(__file__).parent / "data"
MOST_OF_A_PEAK = 0.9
"""What kernels reach at most of matrix units that are weak beside the rest of the GPU (H20: 15 % of an H100's)."""
SENT = " sent"
"""Added to the name of a format where tokens were sent to whole experts, and lie one expert after another."""
OTHERS_FOR_SENT = ("sglang",)
"""Engines that run other kernels of experts then."""
EXPERTS_FILE, LATENT_FILE = _DATA / "expert_kernels.csv", _DATA / "latent_kernels.csv"
EXCHANGE_FILE = _DATA / "exchange_kernels.csv"
PROMPTS, DECODES = "prompts", "decodes"
"""Forms of exchanges: of many tokens, and of few as fast as can be."""


@dataclass(frozen=True)
class ExpertKernel:
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
    width
        FFN width at which an expert takes twice as long as its weights and operations say: narrow ones fill tiles
        badly.
    skew, evening
        Popularity of experts: the fullest of n expert-parallel ranks that hold h experts each carries
        ``1 + (n ** skew - 1) / h ** evening`` times the mean; many experts on a rank even out.
    """

    start_ms: float
    memory: float
    compute: float
    rows: float
    width: float
    skew: float
    evening: float

    def on_weaker_units(self, times: float) -> ExpertKernel:
        """As it runs on a GPU of the same architecture whose matrix units are that many times weaker."""
        return replace(self, compute=_more(self.compute, times))

    def hot(self, ranks: Number, held: Number, copies: Number) -> Number:
        """
        Load of the fullest expert-parallel rank over the mean.

        Parameters
        ----------
        ranks, held
            Ranks, and experts of each.
        copies
            Experts of a token: a rank gets at most one copy of a token for each expert that it holds.
        """
        most = np.maximum(1.0, ranks * np.minimum(1.0, held / copies))
        fullest: Number = np.minimum(most, 1 + (ranks**self.skew - 1) / held**self.evening)
        return fullest


@dataclass(frozen=True)
class LatentKernel:
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

    decode_start_ms: float
    decode_memory: float
    decode_compute: float
    prompt_start_ms: float
    prompt_memory: float
    prompt_compute: float

    def on_weaker_units(self, times: float) -> LatentKernel:
        """As it runs on a GPU of the same architecture whose matrix units are that many times weaker."""
        decode, prompt = _more(self.decode_compute, times), _more(self.prompt_compute, times)
        return replace(self, decode_compute=decode, prompt_compute=prompt)


@dataclass(frozen=True)
class ExchangeKernel:
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

    def on_weaker_units(self, _times: float) -> ExchangeKernel:
        """As it runs on a GPU of the same architecture whose matrix units are weaker: the same."""
        return self


def _more(fraction: float, times: float) -> float:
    """The fraction of a weaker peak that is reached: as many operations a second, up to :data:`MOST_OF_A_PEAK`."""
    return max(fraction, min(MOST_OF_A_PEAK, fraction * times))


Kernel = ExpertKernel | LatentKernel | ExchangeKernel
K = TypeVar("K", ExpertKernel, LatentKernel, ExchangeKernel)
Key = tuple[str, str, str, str]
"""Format, architecture, serving engine, GPU; ``*`` for any."""


def names(kind: type[Kernel]) -> tuple[str, ...]:
    """The figures of a kind of kernel."""
    return tuple(field.name for field in fields(kind))


@cache
def expert_kernels() -> dict[Key, ExpertKernel]:
    """The carried kernels of experts by key."""
    return {key: ExpertKernel(*values) for key, values in _read(EXPERTS_FILE)}


@cache
def latent_kernels() -> dict[Key, LatentKernel]:
    """The carried kernels of latent attention by key."""
    return {key: LatentKernel(*values) for key, values in _read(LATENT_FILE)}


@cache
def exchange_kernels() -> dict[Key, ExchangeKernel]:
    """The carried kernels of exchanges by key; their form is a phase."""
    return {key: ExchangeKernel(*values) for key, values in _read(EXCHANGE_FILE)}


def _read(path: Path) -> list[tuple[Key, list[float]]]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [((row[0], row[1], row[2], row[3]), [float(value) for value in row[4:]]) for row in rows]


def nearest(sets: Mapping[Key, K], form: str, gpu: Gpu, engine: str | None) -> K:
    """
    The kernel that applies.

    Parameters
    ----------
    sets
        Kernels by key.
    form
        Name of the measured format (:attr:`costmodels.formats.Format.kernel`), and :data:`SENT` where tokens were sent
        to experts: without that where it was not measured under the engine on the architecture, unless the engine runs
        other kernels then. Of one that was not measured at all, any.
    gpu
        The GPU; an inline one may name a catalogue GPU to be calibrated as.
    engine
        Serving engine, None for a mean one.
    """
    name = gpu.calibrated_as or gpu.name
    own = any(key[0] == form and key[2] == engine and key[1] == ARCHITECTURES.get(name) for key in sets)
    if (form, ANY, ANY, ANY) not in sets or (engine not in OTHERS_FOR_SENT and not own):
        form = form.removesuffix(SENT)
    found = [key for key in levels(form, name, engine) if key in sets]
    if not found:
        return sets[min(key for key in sets if key[1:] == (ANY, ANY, ANY))]
    kernel, where = sets[found[0]], found[0][1]
    measured = {key[3] for key in sets if key[:2] == (form, where) and key[3] != ANY}
    if where == ANY or name in measured:
        return kernel
    strongest = max((GPUS[one].bf16_tflops for one in measured), default=gpu.bf16_tflops)
    return kernel.on_weaker_units(max(1.0, strongest / gpu.bf16_tflops))
