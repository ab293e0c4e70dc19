"""Fits kernels to measurements of them alone, per GPU and serving engine and for wider groups of these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from costmodels.calibration.kernel_rows import ExpertRow, LatentRow, expert_rows, latent_rows
from costmodels.calibration.least_squares import fit
from costmodels.calibration.operator_rows import OperatorRow, operator_rows
from costmodels.calibration.stack import Alone
from costmodels.constants import ANY, ARCHITECTURES, Constants
from costmodels.formats import FORMATS
from costmodels.gpus import GPUS
from costmodels.kernels import SENT, ExchangeKernel, ExpertKernel, Key, LatentKernel, names
from costmodels.models import Model
from costmodels.operators import Array, Operator, dispatch, experts, latent_decode, latent_prefill, operator_ms

SCALE = 0.05
"""Log error from which a row counts by its size."""
PULL = 0.01
"""Strength of the start values, against rows of mean weight one."""
MOST_ROWS = 2500
MOST_ALONE = 40
"""Rows of a kernel of a GPU that the fit of constants sees."""
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
_EXCHANGE = {"start_ms": (0.05, 0.005, 0.5), "token_us": (0.05, 0.001, 1.0), "nvlink": (0.5, 0.05, 1.0)}
_ALONE = Constants()
"""A kernel alone: nothing beside it."""
Row = TypeVar("Row", ExpertRow, LatentRow, OperatorRow)


@dataclass(frozen=True)
class Kernels:
    """
    Fitted kernels by format, architecture, serving engine and GPU.

    Parameters
    ----------
    experts, latent, exchange
        Of experts, of latent attention, of tokens sent to experts.
    """

    experts: dict[Key, ExpertKernel]
    latent: dict[Key, LatentKernel]
    exchange: dict[Key, ExchangeKernel]


@dataclass(frozen=True)
class KernelRows:
    """
    Measurements of kernels.

    Parameters
    ----------
    experts, latent, exchange
        Of each kind.
    """

    experts: Sequence[ExpertRow]
    latent: Sequence[LatentRow]
    exchange: Sequence[OperatorRow]

    def without_gpu(self, name: str) -> KernelRows:
        """All but those of a GPU."""
        return KernelRows(
            [row for row in self.experts if row.gpu != name],
            [row for row in self.latent if row.gpu != name],
            [row for row in self.exchange if row.gpu != name],
        )

    def without_model(self, shape: Model) -> KernelRows:
        """All but those that only a model's shape could have: of its experts; all its heads on one GPU; its tokens."""
        own = (shape.d_model, shape.d_expert, shape.experts)
        sent = (shape.d_model, shape.experts_per_token, shape.experts)
        return KernelRows(
            [row for row in self.experts if (row.d_model, row.width, row.experts) != own],
            [row for row in self.latent if shape.attention != "mla" or row.heads != shape.heads],
            [row for row in self.exchange if (row.inputs, row.copies, row.experts) != sent],
        )


def kernel_rows() -> KernelRows:
    """What the product carries."""
    return KernelRows(expert_rows(), latent_rows(), [row for row in operator_rows() if row.kind == "exchange"])


def fit_kernels(rows: KernelRows) -> Kernels:
    """
    The kernels at every level that there are rows for.

    Parameters
    ----------
    rows
        Measurements.
    """
    return Kernels(
        {key: _fitted(ExpertKernel, _EXPERTS, there, _expert) for key, there in _groups(rows.experts).items()},
        {key: _fitted(LatentKernel, _LATENT, there, _latent) for key, there in _groups(rows.latent).items()},
        {key: _fitted(ExchangeKernel, _EXCHANGE, there, _exchange) for key, there in _groups(rows.exchange).items()},
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


def median_errors(kernels: Kernels, rows: KernelRows) -> dict[Key, float]:
    """Median absolute error of each kernel of a GPU over its own measurements, as a share; kind by kind."""
    found: dict[Key, float] = {}
    for name, sets, groups, of in (
        ("experts", kernels.experts, _groups(rows.experts), _expert),
        ("latent", kernels.latent, _groups(rows.latent), _latent),
        ("exchange", kernels.exchange, _groups(rows.exchange), _exchange),
    ):
        for key, there in groups.items():
            if key[3] != ANY:
                times = _priced(there, of)(sets[key])
                measured = np.array([row.latency_ms for row in there])
                found[(f"{name} {key[0]}", *key[1:])] = float(np.median(np.abs(times / measured - 1)))
    return found


def alone(kernels: Kernels, rows: KernelRows) -> list[Alone]:
    """Some of the measurements of each kernel of a GPU, as operators that it runs."""
    return [
        *_alone(kernels.experts, _groups(rows.experts), _expert),
        *_alone(kernels.latent, _groups(rows.latent), _latent),
        *_alone(kernels.exchange, _groups(rows.exchange), _exchange),
    ]


def _alone(sets: Any, groups: dict[Key, list[Row]], of: Callable[[Any, Any], Operator]) -> Iterator[Alone]:
    for key, rows in groups.items():
        if key[3] != ANY:
            chosen = np.random.default_rng(0).choice(len(rows), min(len(rows), MOST_ALONE), replace=False)
            for row in (rows[index] for index in np.sort(chosen).tolist()):
                yield Alone(row.gpu, row.engine, of(Columns([row]), sets[key]), row.latency_ms)


def expert_times(rows: Sequence[ExpertRow]) -> Callable[[ExpertKernel], Array]:
    """A function from a kernel to the times of rows in ms."""
    return _priced(rows, _expert)


def exchange_times(rows: Sequence[OperatorRow]) -> Callable[[ExchangeKernel], Array]:
    """A function from a kernel to the times of rows in ms."""
    return _priced(rows, _exchange)


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
    form = next(one for one in FORMATS.values() if one.kernel == at.form.removesuffix(SENT))
    copies = at.tokens * at.experts_per_token / at.moe_ep
    held = at.experts / at.moe_ep
    hot = kernel.hot(at.moe_ep, held, at.experts_per_token)
    return experts(form, copies, held, hot, at.d_model, at.width / at.moe_tp, kernel)


def _exchange(at: Columns, kernel: ExchangeKernel) -> Operator:
    gpus = int(at.gpus[0])  # of a GPU one node was measured
    return dispatch(gpus, gpus, at.copies, at.tokens, at.inputs * at.width, kernel)


def _latent(at: Columns, kernel: LatentKernel) -> Operator:
    kv_bytes = (KEPT + ROPE) * (1 if at.form == "fp8" else 2)
    tokens = at.sequences * at.context
    if at.decodes:
        return latent_decode(at.heads, KEPT, ROPE, tokens, 1.0, kv_bytes, kernel)
    return latent_prefill(at.heads, KEY, VALUE, tokens * at.context / 2, tokens, tokens, kernel)
