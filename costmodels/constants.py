"""
What serving engines reach of a GPU's figures: fitted constants, carried as data.

Two bases are fitted by :mod:`costmodels.calibration`: ``operators`` on tables that were put together from measured
operators, ``served`` on end-to-end measurements of whole servers; ``ideal`` is the plain roofline, without any fit.
A set belongs to dense models or to an MoE path, and to a GPU under a serving engine where there is data for it; else to
an engine on a GPU architecture, to an architecture, or to everything there is.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Literal

from costmodels.gpus import Gpu

Basis = Literal["served", "operators", "ideal"]
Path_ = Literal["dense", "shared", "dispatched"]
BASES: tuple[Basis, ...] = ("served", "operators", "ideal")
FILE = Path(__file__).parent / "data" / "constants.csv"
ANY = "*"

ARCHITECTURES = {
    "h20_sxm": "hopper", "h100_sxm": "hopper", "h200_sxm": "hopper", "h800_sxm": "hopper", "b200_sxm": "blackwell",
    "b300_sxm": "blackwell", "gb200": "blackwell", "gb300": "blackwell",
}  # fmt: skip
"""GPU -> architecture, where GPUs of it were fitted; others take what was fitted on all."""


@dataclass(frozen=True)
class Constants:
    """
    One set of fitted constants.

    Parameters
    ----------
    product_compute, product_memory
        Speed of products with weights against the measured kernels (:mod:`costmodels.kernels`).
    memory
        Fraction of the memory bandwidth at which norms and activations stream.
    attention_speed
        Speed of grouped-query attention against the measured kernels (:mod:`costmodels.kernels`).
    prefill_attention, decode_attention
        Fraction of the matrix peak that attention without a measured kernel reaches: prompts, and single queries.
    kv_memory
        Fraction of the memory bandwidth at which it reads the KV cache.
    latent_speed
        Speed of latent attention (MLA) against the measured kernels (:mod:`costmodels.kernels`).
    expert_compute, expert_memory
        Speed of grouped products over experts against the measured kernels (:mod:`costmodels.kernels`).
    collective
        Speed of collectives inside an NVLink domain against the measured kernels (:mod:`costmodels.kernels`).
    link
        Fraction of the bandwidth that they reach across domains.
    dispatch
        Speed of tokens sent to their experts and back against the measured kernels (:mod:`costmodels.kernels`).
    dispatch_link
        Fraction of the bandwidth across domains that they reach.
    spread
        How far the GPUs of a domain share what a collective brings across: ``gpus ** spread`` links at once.
    launch_ms
        Start of one operator, where no kernel says.
    crossing_ms
        What crossing domains adds to the start of a collective.
    routing_ms
        Small operators around the experts of one layer.
    attention_ms
        Small operators around the attention of the decodes of one layer.
    step_ms
        Scheduling, sampling and host work of one step.
    """

    product_compute: float = 1.0
    product_memory: float = 1.0
    memory: float = 1.0
    attention_speed: float = 1.0
    prefill_attention: float = 1.0
    decode_attention: float = 1.0
    kv_memory: float = 1.0
    latent_speed: float = 1.0
    expert_compute: float = 1.0
    expert_memory: float = 1.0
    collective: float = 1.0
    link: float = 1.0
    dispatch: float = 1.0
    dispatch_link: float = 1.0
    spread: float = 1.0
    launch_ms: float = 0.0
    crossing_ms: float = 0.0
    routing_ms: float = 0.0
    attention_ms: float = 0.0
    step_ms: float = 0.0


NAMES = tuple(field.name for field in fields(Constants))
IDEAL = Constants()
"""Everything at its data-sheet peak, nothing starts late: the plain roofline."""

Key = tuple[str, str, str, str, str]
"""Basis, MoE path, architecture, engine, GPU; ``*`` for any."""


@cache
def fitted() -> dict[Key, Constants]:
    """The carried sets by key."""
    with FILE.open(newline="") as file:
        return {
            (row["basis"], row["path"], row["architecture"], row["engine"], row["gpu"]): Constants(
                **{name: float(row[name]) for name in NAMES}
            )
            for row in csv.DictReader(file)
        }


def levels(path: str, gpu_name: str, engine: str | None) -> list[tuple[str, str, str, str]]:
    """Where constants of a path, or kernels of a format, are looked for, the nearest first."""
    architecture = ARCHITECTURES.get(gpu_name, ANY)
    found = []
    if architecture != ANY:
        if engine is not None:
            found += [(path, architecture, engine, gpu_name), (path, architecture, engine, ANY)]
        found.append((path, architecture, ANY, ANY))
    return [*found, (path, ANY, ANY, ANY), (ANY, ANY, ANY, ANY)]


def constants(basis: Basis, path: Path_, gpu: Gpu, engine: str | None) -> Constants:
    """
    The constants that apply.

    Parameters
    ----------
    basis
        ``served``, ``operators`` or ``ideal``.
    path
        How tokens meet experts: ``dispatched`` to whole experts, ``shared`` by all of a group, or not at all:
        ``dense``.
    gpu
        The GPU; an inline one may name a catalogue GPU to be calibrated as.
    engine
        Serving engine, None for a mean one.
    """
    if basis == "ideal":
        return IDEAL
    return _nearest(basis, path, gpu.calibrated_as or gpu.name, engine)


@cache
def _nearest(basis: Basis, path: Path_, gpu_name: str, engine: str | None) -> Constants:
    sets = fitted()
    return next(sets[basis, *key] for key in levels(path, gpu_name, engine) if (basis, *key) in sets)
