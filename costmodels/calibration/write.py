"""Writes fitted constants as data, five significant digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from costmodels.calibration.files import write_rows
from costmodels.calibration.hierarchy import Level
from costmodels.closed_loop import FILE as CLOSED
from costmodels.closed_loop import TERMS, Fitted
from costmodels.constants import FILE as CONSTANTS
from costmodels.constants import NAMES
from costmodels.kernel_sets import KINDS, KernelSets, Key, file_of, names
from costmodels.kernels import Kernel
from costmodels.operators import Array


def write_kernels(kernels: KernelSets) -> list[Path]:
    """Writes the kernels whole; gives their paths."""
    for kind, kernel in KINDS.items():
        write_rows(file_of(kind), _kernel_rows(getattr(kernels, kind), names(kernel)))
    return [file_of(kind) for kind in KINDS]


def _kernel_rows(sets: Mapping[Key, Kernel], figures: tuple[str, ...]) -> list[list[str]]:
    rows = [["format", "architecture", "engine", "gpu", *figures]]
    return rows + [[*key, *(f"{getattr(one, name):.5g}" for name in figures)] for key, one in sorted(sets.items())]


def write(tables: dict[Level, Array], served: dict[Level, Array], closed: Fitted) -> list[Path]:
    """Writes both files whole; gives their paths."""
    rows = [["basis", "path", "architecture", "engine", "gpu", *NAMES]]
    for basis, sets in (("operators", tables), ("served", served)):
        rows += [[basis, *level, *(f"{value:.5g}" for value in np.exp(x))] for level, x in sorted(sets.items())]
    loops = [["quantity", "mode", "engine", "gpu", "version", "factor", *TERMS]]
    loops += [["ttft", *key, "", "", *(f"{value:.5g}" for value in weights)] for key, weights in closed.weights.items()]
    loops += [
        ["tpot", kind, engine, "", version, f"{factor:.5g}", *([""] * len(TERMS))]
        for (engine, version, kind), factor in sorted(closed.factors.items())
    ]
    write_rows(CONSTANTS, rows)
    write_rows(CLOSED, loops)
    return [CONSTANTS, CLOSED]
