"""Fits kernels to measurements of them alone, per GPU and serving engine and for wider groups of these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from costmodels.calibration.kernel_rows import ExpertRow, LatentRow
from costmodels.calibration.least_squares import fit
from costmodels.constants import ANY, ARCHITECTURES, Constants
from costmodels.formats import FORMATS
from costmodels.gpus import GPUS
from costmodels.kernels import ExpertKernel, Key, LatentKernel, names
from costmodels.models import Model
from costmodels.operators import Array, Operator, experts, latent_decode, latent_prefill, operator_ms

SCALE = 0.05
"""Log error from which a row counts by its size."""
PULL = 0.01
"""Strength of the start values, against rows of mean weight one."""
MOST_ROWS = 2500
KEPT, ROPE, KEY, VALUE = 512, 64, 192, 128
"""Sizes of DeepSeek's latent attention, which was measured."""
_EXPERTS = {
    "start_ms": (0.03, 0.002, 0.5), "memory": (0.8, 0.1, 1.0), "compute": (0.4, 0.02, 1.0), "rows": (0.3, 0.05, 1.0),
    "width": (100.0, 1.0, 3000.0), "skew": (0.6, 0.01, 1.0), "evening": (0.3, 0.01, 1.0),
}  # fmt: skip
_LATENT = {
    "decode_start_ms": (0.012, 0.002, 0.1), "decode_memory": (0.6, 0.02, 1.0), "decode_compute": (0.6, 0.05, 2.0),
    "prompt_start_ms": (0.02, 0.002, 0.1), "prompt_memory": (0.4, 0.05, 1.0),
    "prompt_compute": (0.5, 0.05, 2.0),
}  # fmt: skip
"""Figure -> where its fit starts, its lowest and its highest value."""
_ALONE = Constants()
"""A kernel alone: nothing beside it."""
Row = TypeVar("Row", ExpertRow, LatentRow)


@dataclass(frozen=True)
class Kernels:
    """
    Fitted kernels by format, architecture, serving engine and GPU.

    Parameters
    ----------
    experts, latent
        Of experts, of latent attention.
    """

    experts: dict[Key, ExpertKernel]
    latent: dict[Key, LatentKernel]


def fit_kernels(expert_rows: Sequence[ExpertRow], latent_rows: Sequence[LatentRow]) -> Kernels:
    """
    The kernels at every level that there are rows for.

    Parameters
    ----------
    expert_rows, latent_rows
        Measurements.
    """
    return Kernels(
        {key: _fitted(ExpertKernel, _EXPERTS, rows, _expert) for key, rows in _groups(expert_rows).items()},
        {key: _fitted(LatentKernel, _LATENT, rows, _latent) for key, rows in _groups(latent_rows).items()},
    )


def without_model(
    shape: Model, expert_rows: Sequence[ExpertRow], latent_rows: Sequence[LatentRow]
) -> tuple[list[ExpertRow], list[LatentRow]]:
    """The measurements without those that only a model's shape could have: its experts; all its heads on one GPU."""
    own = (shape.d_model, shape.d_expert, shape.experts)
    return (
        [row for row in expert_rows if (row.d_model, row.width, row.experts) != own],
        [row for row in latent_rows if shape.attention != "mla" or row.heads != shape.heads],
    )


def _groups(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    groups: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        where = ARCHITECTURES.get(row.gpu, ANY)
        for key in (
            (row.form, where, row.engine, row.gpu), (row.form, where, row.engine, ANY), (row.form, where, ANY, ANY),
            (row.form, ANY, ANY, ANY),
        ):  # fmt: skip
            groups[key].append(row)
    return dict(sorted(groups.items()))


def _fitted(
    kind: Any, figures: dict[str, tuple[float, float, float]], rows: Sequence[Any], of: Callable[[Any, Any], Operator]
) -> Any:
    """One kernel, fitted to some rows."""
    if len(rows) > MOST_ROWS:
        rows = [rows[i] for i in np.random.default_rng(0).choice(len(rows), MOST_ROWS, replace=False).tolist()]
    measured = np.log(np.array([row.latency_ms for row in rows]))
    times = _priced(rows, of)

    def error(x: Array) -> Array:
        return np.asarray(np.log(times(kind(*np.exp(x).tolist()))) - measured)

    start, lowest, highest = np.log(np.array([figures[name] for name in names(kind)])).T
    weights = np.full(len(rows), 1 / len(rows))
    return kind(*np.exp(fit(error, start, (lowest, highest), weights, PULL, SCALE, 30)).tolist())


def median_errors(
    kernels: Kernels, expert_rows: Sequence[ExpertRow], latent_rows: Sequence[LatentRow]
) -> dict[Key, float]:
    """Median absolute error of each kernel of a GPU over its own measurements, as a share; experts, then attention."""
    found: dict[Key, float] = {}
    for name, sets, groups, of in (
        ("experts", kernels.experts, _groups(expert_rows), _expert),
        ("latent", kernels.latent, _groups(latent_rows), _latent),
    ):
        for key, rows in groups.items():
            if key[3] != ANY:
                times = _priced(rows, of)(sets[key])
                measured = np.array([row.latency_ms for row in rows])
                found[(f"{name} {key[0]}", *key[1:])] = float(np.median(np.abs(times / measured - 1)))
    return found


def expert_times(rows: Sequence[ExpertRow]) -> Callable[[ExpertKernel], Array]:
    """A function from a kernel to the times of rows in ms."""
    return _priced(rows, _expert)


def latent_times(rows: Sequence[LatentRow]) -> Callable[[LatentKernel], Array]:
    """A function from a kernel to the times of rows in ms."""
    return _priced(rows, _latent)


def _priced(rows: Sequence[Any], of: Callable[[Any, Any], Operator]) -> Callable[[Any], Array]:
    """
    A function from a kernel to the times of rows in ms.

    Parameters
    ----------
    rows
        Measurements of one kind.
    of
        The operator of rows of one GPU and format, given as columns, run by a kernel.
    """
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.gpu, row.form, getattr(row, "decodes", None)].append(index)
    columns = {key: Columns([rows[i] for i in chosen]) for key, chosen in groups.items()}

    def times(kernel: Any) -> Array:
        found = np.zeros(len(rows))
        for key, chosen in groups.items():
            found[chosen] = operator_ms(GPUS[key[0]], _ALONE, of(columns[key], kernel))
        return found

    return times


class Columns:
    """Rows of one GPU, format and phase as one array a field."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.form: str = rows[0].form
        self.decodes: bool = bool(getattr(rows[0], "decodes", 0))
        self.rows = rows

    def __getattr__(self, name: str) -> Array:
        values = np.array([float(getattr(row, name)) for row in self.rows])
        setattr(self, name, values)
        return values


def _expert(at: Columns, kernel: ExpertKernel) -> Operator:
    form = next(one for one in FORMATS.values() if one.kernel == at.form)
    copies = at.tokens * at.experts_per_token / at.moe_ep
    held = at.experts / at.moe_ep
    hot = kernel.hot(at.moe_ep, held, at.experts_per_token)
    return experts(form, copies, held, hot, at.d_model, at.width / at.moe_tp, kernel)


def _latent(at: Columns, kernel: LatentKernel) -> Operator:
    kv_bytes = (KEPT + ROPE) * (1 if at.form == "fp8" else 2)
    tokens = at.sequences * at.context
    if at.decodes:
        return latent_decode(at.heads, KEPT, ROPE, tokens, 1.0, kv_bytes, kernel)
    return latent_prefill(at.heads, KEY, VALUE, tokens * at.context / 2, tokens, tokens, kernel)
