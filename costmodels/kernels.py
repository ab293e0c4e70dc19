"""
Kernels that were measured alone: what they reach of a GPU's figures, carried as data.

Two kinds decide mixtures of experts: grouped products over experts, and latent attention (MLA). A kernel belongs to a
number format on a GPU under a serving engine where it was measured; else to the format under the engine on an
architecture, on an architecture, or anywhere. :mod:`costmodels.calibration.kernels` fits them.
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

from costmodels.constants import ANY, levels
from costmodels.gpus import GPUS, Gpu

Number = float | npt.NDArray[np.float64]
_DATA = Path(__file__).parent / "data"
MOST_OF_A_PEAK = 0.9
"""What kernels reach at most of matrix units that are weak beside the rest of the GPU (H20: 15 % of an H100's)."""
EXPERTS_FILE, LATENT_FILE = _DATA / "expert_kernels.csv", _DATA / "latent_kernels.csv"


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


def _more(fraction: float, times: float) -> float:
    """The fraction of a weaker peak that is reached: as many operations a second, up to :data:`MOST_OF_A_PEAK`."""
    return max(fraction, min(MOST_OF_A_PEAK, fraction * times))


Kernel = ExpertKernel | LatentKernel
K = TypeVar("K", ExpertKernel, LatentKernel)
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
        Name of the measured format (:attr:`costmodels.formats.Format.kernel`); of one that was not measured, any.
    gpu
        The GPU; an inline one may name a catalogue GPU to be calibrated as.
    engine
        Serving engine, None for a mean one.
    """
    name = gpu.calibrated_as or gpu.name
    found = [key for key in levels(form, name, engine) if key in sets]
    if not found:
        return sets[min(key for key in sets if key[1:] == (ANY, ANY, ANY))]
    kernel, where = sets[found[0]], found[0][1]
    if where == ANY or found[0][3] != ANY:
        return kernel
    measured = {key[3] for key in sets if key[:2] == (form, where) and key[3] != ANY}
    strongest = max((GPUS[one].bf16_tflops for one in measured), default=gpu.bf16_tflops)
    return kernel.on_weaker_units(max(1.0, strongest / gpu.bf16_tflops))
