"""Constants from the general to the particular: each level is fitted starting from the one above it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from costmodels.constants import ANY, ARCHITECTURES, NAMES
from costmodels.operators import Array

Mask = npt.NDArray[np.bool_]
Level = tuple[str, str, str, str]
"""MoE path, architecture, engine, GPU; ``*`` for any."""

_MS = {
    "launch_ms": (5e-4, 0.02), "crossing_ms": (1e-3, 0.3), "routing_ms": (1e-3, 0.3), "attention_ms": (1e-4, 0.1),
    "step_ms": (1e-3, 8.0),
}  # fmt: skip
_LOWEST = {"memory": 0.3, "link": 0.1, "dispatch_link": 0.1}
_FREE = {
    "product_compute": (0.3, 2.0), "product_memory": (0.3, 1.5), "expert_compute": (0.3, 2.0),
    "expert_memory": (0.3, 1.5), "latent_speed": (0.3, 4.0), "attention_speed": (0.3, 2.0), "spread": (0.001, 1.0),
    "collective": (0.3, 2.0), "dispatch": (0.3, 2.0),
}  # fmt: skip
_BOUNDS = {**{name: (lowest, 1.0) for name, lowest in _LOWEST.items()}, **_FREE, **_MS}
"""Lowest and highest values; the others are fractions of a figure of the GPU, from 3 % to all of it."""

START = {
    "product_compute": 1.0, "product_memory": 1.0, "memory": 0.85, "prefill_attention": 0.6, "decode_attention": 0.3,
    "kv_memory": 0.8, "latent_speed": 1.0, "attention_speed": 1.0, "expert_compute": 1.0, "expert_memory": 1.0,
    "collective": 1.0, "link": 0.5, "dispatch": 1.0, "dispatch_link": 0.6, "spread": 0.3, "launch_ms": 0.004,
    "crossing_ms": 0.05, "routing_ms": 0.01, "attention_ms": 0.004, "step_ms": 0.05,
}  # fmt: skip
"""Where the topmost level starts: round numbers of the size that kernels are known to reach."""


SPEEDS = (
    "product_compute", "product_memory", "expert_compute", "expert_memory", "latent_speed", "attention_speed",
    "collective", "dispatch",
)  # fmt: skip
"""Speeds against kernels that were measured alone: a level is pulled to 1, not to the level above."""


def bounds() -> tuple[Array, Array]:
    """Lowest and highest logarithms of all constants."""
    both = np.log(np.array([_BOUNDS.get(name, (0.03, 1.0)) for name in NAMES]))
    return both[:, 0], both[:, 1]


def levels_of(paths: list[str], gpus: list[str], engines: list[str]) -> list[tuple[Level, Level | None, Mask]]:
    """
    All levels that have rows, parents first: the level, its parent, and its rows.

    Parameters
    ----------
    paths, gpus, engines
        Per row.
    """
    architectures = [ARCHITECTURES.get(name, ANY) for name in gpus]
    chains = [
        [
            (ANY, ANY, ANY, ANY), (path, ANY, ANY, ANY), (path, where, ANY, ANY), (path, where, engine, ANY),
            (path, where, engine, gpu),
        ]
        for path, where, engine, gpu in zip(paths, architectures, engines, gpus, strict=True)
    ]  # fmt: skip
    found: list[tuple[Level, Level | None, Mask]] = []
    for depth in range(5):
        for level in sorted({chain[depth] for chain in chains}):
            rows = np.array([chain[depth] == level for chain in chains])
            parent = next(chain[depth - 1] for chain in chains if chain[depth] == level) if depth else None
            if level != parent:
                found.append((level, parent, rows))
    return found


def climb(
    levels: list[tuple[Level, Level | None, Mask]],
    prior_of: Callable[[Level, Level | None, dict[Level, Array]], Array],
    fit_level: Callable[[Level, Mask, Array], Array],
) -> dict[Level, Array]:
    """Fits level after level; gives the logarithms of the constants by level."""
    found: dict[Level, Array] = {}
    for level, parent, rows in levels:
        found[level] = fit_level(level, rows, prior_of(level, parent, found))
    return found
