"""
Which kernel applies where: sets of fitted kernels, carried as data.

A kernel belongs to a number format on a GPU under a serving engine where it was measured; a GPU that was not measured
takes that of the GPU of its architecture that is most like it. Where the engine was not measured on the architecture, a
kernel of all engines there applies, or of everything there is. :mod:`costmodels.calibration.kernels` fits them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from costmodels.constants import ANY, ARCHITECTURES, levels
from costmodels.gpus import GPUS, Gpu
from costmodels.kernels import (
    COARSE,
    OTHERS_FOR_SENT,
    SENT,
    CollectiveKernel,
    ExchangeKernel,
    ExpertKernel,
    Kernel,
    LatentKernel,
    ProductKernel,
    PromptKernel,
    QueryKernel,
)

_DATA = Path(__file__).parent / "data"
K = TypeVar("K", ProductKernel, ExpertKernel, PromptKernel, QueryKernel, LatentKernel, CollectiveKernel, ExchangeKernel)
Key = tuple[str, str, str, str]
"""Format, architecture, serving engine, GPU; ``*`` for any."""


def names(kind: type[Kernel]) -> tuple[str, ...]:
    """The figures of a kind of kernel."""
    return tuple(one.name for one in fields(kind))


@dataclass(frozen=True)
class KernelSets:
    """
    Kernels by key.

    Parameters
    ----------
    products, experts
        Of products with weights, by format; of experts, by format and an ending (``SENT``, ``COARSE``, ``FEW``).
    prompts, queries, latent
        Of attention: of prompts, by the formats of arithmetic and of the KV cache; of single queries, and latent, by
        the format of the cache.
    collective
        Of collectives, by ``GATHER``, ``REDUCE`` and ``REDUCE_MANY``.
    exchange
        Of tokens sent to experts, by ``PROMPTS`` and ``DECODES``.
    """

    products: Mapping[Key, ProductKernel]
    experts: Mapping[Key, ExpertKernel]
    prompts: Mapping[Key, PromptKernel]
    queries: Mapping[Key, QueryKernel]
    latent: Mapping[Key, LatentKernel]
    collective: Mapping[Key, CollectiveKernel]
    exchange: Mapping[Key, ExchangeKernel]
    _found: dict[tuple[Gpu, str | None], dict[tuple[str, str], Any]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def at(self, gpu: Gpu, engine: str | None) -> Callable[[str, str], Any]:
        """What gives the kernel of a kind and form that applies there (:func:`nearest`), looked for once."""
        found = self._found.setdefault((gpu, engine), {})

        def of(kind: str, form: str) -> Any:
            if (kind, form) not in found:
                found[kind, form] = nearest(getattr(self, kind), form, gpu, engine)
            return found[kind, form]

        return of


KINDS: dict[str, type[Kernel]] = {
    "products": ProductKernel, "experts": ExpertKernel, "prompts": PromptKernel, "queries": QueryKernel,
    "latent": LatentKernel, "collective": CollectiveKernel, "exchange": ExchangeKernel,
}  # fmt: skip
"""Field of :class:`KernelSets` -> kind of kernel."""


def file_of(kind: str) -> Path:
    """Where the kernels of a field of :class:`KernelSets` are carried."""
    return _DATA / f"kernels_{kind}.csv"


@cache
def carried() -> KernelSets:
    """The carried kernels."""
    sets: dict[str, Any] = {
        name: {key: kind(*values) for key, values in _read(file_of(name))} for name, kind in KINDS.items()
    }
    return KernelSets(**sets)


def _read(path: Path) -> list[tuple[Key, list[float]]]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [((row[0], row[1], row[2], row[3]), [float(value) for value in row[4:]]) for row in rows]


def chosen(where: npt.NDArray[np.bool_], one: K, other: K) -> K:
    """Figures of one kernel in some places, of another elsewhere."""
    if where.all() or not where.any():
        return one if where.all() else other
    return type(one)(*(np.where(where, getattr(one, name), getattr(other, name)) for name in names(type(one))))


def nearest(sets: Mapping[Key, K], form: str, gpu: Gpu, engine: str | None) -> K:
    """
    The kernel that applies.

    Parameters
    ----------
    sets
        Kernels by key.
    form
        Name of the measured form. With the ending :data:`~costmodels.kernels.SENT` it is without that where it was not
        measured under the engine on the architecture, unless the engine runs other kernels then; with
        :data:`~costmodels.kernels.COARSE` without where it was not measured. Of one that was not measured at all, any.
    gpu
        The GPU; an inline one may name a catalogue GPU to be calibrated as.
    engine
        Serving engine, None for a mean one.
    """
    name = gpu.calibrated_as or gpu.name
    own = any(key[0] == form and key[2] == engine and key[1] == ARCHITECTURES.get(name) for key in sets)
    if (form, ANY, ANY, ANY) not in sets or (engine not in OTHERS_FOR_SENT and not own):
        form = form.removesuffix(SENT)
    if (form, ANY, ANY, ANY) not in sets:
        form = form.removesuffix(COARSE)
    found = [key for key in levels(form, name, engine) if key in sets]
    if not found:
        return sets[min(key for key in sets if key[1:] == (ANY, ANY, ANY))]
    kernel, (_, where, served, there) = sets[found[0]], found[0]
    measured = [GPUS[key[3]] for key in sets if key[:2] == (form, where) and key[3] != ANY and served in (ANY, key[2])]
    if there != ANY or where == ANY or name in (one.name for one in measured):
        return kernel
    if served != ANY:
        alike = min(measured, key=lambda one: (kernel.unlike(one, gpu), one.name))
        return sets[form, where, served, alike.name].on_weaker_units(max(1.0, alike.bf16_tflops / gpu.bf16_tflops))
    strongest = max((one.bf16_tflops for one in measured), default=gpu.bf16_tflops)
    return kernel.on_weaker_units(max(1.0, strongest / gpu.bf16_tflops))
