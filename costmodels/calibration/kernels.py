"""Fits kernels to measurements of them alone, per GPU and serving engine and for wider groups of these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from costmodels.attention import latent_decode, latent_prefill, prompt_attention, query_attention
from costmodels.calibration.kernel_rows import (
    AttentionRow,
    ExpertRow,
    LatentRow,
    ProductRow,
    attention_rows,
    expert_rows,
    latent_rows,
    product_rows,
)
from costmodels.calibration.least_squares import fit
from costmodels.calibration.operator_rows import OperatorRow, operator_rows
from costmodels.calibration.stack import Alone
from costmodels.constants import ANY, ARCHITECTURES, Constants
from costmodels.exchanges import all_reduce, dispatch, gather
from costmodels.formats import FORMATS
from costmodels.gpus import GPUS
from costmodels.kernel_sets import KINDS, KernelSets, Key, names
from costmodels.kernels import (
    GATHER,
    REDUCE,
    REDUCE_MANY,
    CollectiveKernel,
    ExchangeKernel,
    ExpertKernel,
    LatentKernel,
    ProductKernel,
    PromptKernel,
    QueryKernel,
)
from costmodels.models import Model
from costmodels.operators import HIDDEN_BYTES, Array, Operator, operator_ms
from costmodels.products import experts, matmul

SCALE = 0.05
"""Log error from which a row counts by its size."""
PULL = 0.01
"""Strength of the start values, against rows of mean weight one."""
MOST_ROWS = 2500
MOST_ALONE = 40
"""Rows of a kernel of a GPU that the fit of constants sees."""
FEWEST_SHAPES, POPULARITY = 3, ("skew", "steepness", "evening")
"""Shapes of experts from which a format tells these figures itself."""
KEPT, ROPE, KEY, VALUE = 512, 64, 192, 128
"""Sizes of DeepSeek's latent attention, which was measured."""
_FIGURES: dict[str, dict[str, tuple[float, float, float]]] = {
    "products": {
        "start_ms": (0.004, 0.0005, 0.1), "memory": (0.8, 0.2, 1.0), "compute": (0.6, 0.1, 1.0),
        "column": (1000.0, 1.0, 3e4), "depth": (100.0, 1.0, 5000.0), "filling": (1e6, 1e4, 3e7),
        "inputs": (0.6, 0.05, 3.0), "outputs": (0.6, 0.05, 2.0),
    },
    "experts": {
        "start_ms": (0.03, 0.002, 0.5), "memory": (0.8, 0.1, 1.0), "compute": (0.4, 0.02, 1.0),
        "rows": (0.6, 0.2, 1.0), "handling": (1500.0, 30.0, 3e4), "filling": (20.0, 1.0, 2000.0),
        "choice": (0.3, 0.001, 1.0), "width": (100.0, 1.0, 3000.0), "skew": (0.6, 0.01, 1.0),
        "steepness": (0.6, 0.05, 1.5), "evening": (0.3, 0.01, 1.0),
    },
    "prompts": {
        "start_ms": (0.018, 0.002, 0.2), "memory": (0.6, 0.05, 1.0), "compute": (0.8, 0.05, 1.5),
        "soft": (50.0, 0.1, 300.0), "lead": (1200.0, 1.0, 2e4), "filling": (1e4, 1e2, 1e6),
    },
    "queries": {
        "start_ms": (0.01, 0.002, 0.2), "tail_ms": (0.01, 0.0001, 0.2), "memory": (0.9, 0.05, 1.0),
        "compute": (0.3, 0.01, 1.5),
    },
    "latent": {
        "decode_start_ms": (0.012, 0.002, 0.1), "decode_memory": (0.6, 0.02, 1.0), "decode_compute": (0.6, 0.05, 2.0),
        "prompt_start_ms": (0.02, 0.002, 0.1), "prompt_memory": (0.4, 0.05, 1.0), "prompt_compute": (0.5, 0.05, 2.0),
    },
    "collective": {
        "start_ms": (0.006, 0.0005, 0.1), "steps": (0.3, 0.01, 1.0), "ramp_ms": (0.01, 1e-5, 0.3),
        "nvlink": (0.7, 0.1, 2.0), "own": (0.5, 0.1, 1.0),
    },
    "exchange": {"start_ms": (0.05, 0.005, 0.5), "token_us": (0.05, 0.001, 1.0), "nvlink": (0.5, 0.05, 1.0)},
}  # fmt: skip
"""Kind of kernel -> figure -> where its fit starts, its lowest and its highest value."""
_ALONE = Constants()
"""A kernel alone: nothing beside it."""
Row = TypeVar("Row", ProductRow, ExpertRow, AttentionRow, LatentRow, OperatorRow)


@dataclass(frozen=True)
class KernelRows:
    """
    Measurements of kernels.

    Parameters
    ----------
    products, experts, prompts, queries, latent, collective, exchange
        Of each kind of :class:`costmodels.kernels.KernelSets`.
    """

    products: Sequence[ProductRow]
    experts: Sequence[ExpertRow]
    prompts: Sequence[AttentionRow]
    queries: Sequence[AttentionRow]
    latent: Sequence[LatentRow]
    collective: Sequence[OperatorRow]
    exchange: Sequence[OperatorRow]

    def without_gpu(self, name: str) -> KernelRows:
        """All but those of a GPU."""
        kept: dict[str, Any] = {kind: [row for row in getattr(self, kind) if row.gpu != name] for kind in KINDS}
        return KernelRows(**kept)

    def without_model(self, shape: Model) -> KernelRows:
        """
        All but those that only a model's shape could have.

        Its experts, and tokens sent to them; its heads, on one GPU or cut over several; products into and out of its
        hidden size.
        """
        own = (shape.d_model, shape.d_expert, shape.experts)
        sent = (shape.d_model, shape.experts_per_token, shape.experts)
        is_latent = shape.attention == "mla"

        def is_own(row: AttentionRow) -> bool:
            group, size = shape.heads / shape.kv_heads, shape.d_head
            return not is_latent and row.size == size and row.heads == row.kv_heads * group

        return KernelRows(
            [row for row in self.products if shape.d_model not in (row.inputs, row.outputs)],
            [row for row in self.experts if (row.d_model, row.width, row.experts) != own],
            [row for row in self.prompts if not is_own(row)],
            [row for row in self.queries if not is_own(row)],
            [row for row in self.latent if not is_latent or row.heads != shape.heads],
            self.collective,
            [row for row in self.exchange if (row.d_model, row.copies, row.experts) != sent],
        )


def kernel_rows() -> KernelRows:
    """What the product carries."""
    rows, together = operator_rows(), (GATHER, REDUCE, REDUCE_MANY)
    collective = [row for row in rows if row.form in together]
    exchanged = [row for row in rows if row.form not in together]
    attention = attention_rows()
    prompts, queries = ([row for row in attention if row.decodes == decodes] for decodes in (0, 1))
    return KernelRows(product_rows(), expert_rows(), prompts, queries, latent_rows(), collective, exchanged)


def fit_kernels(rows: KernelRows) -> KernelSets:
    """
    The kernels at every level that there are rows for.

    Parameters
    ----------
    rows
        Measurements.
    """
    fitted: dict[str, Any] = {
        kind: {key: _fitted(kind, there) for key, there in _groups(getattr(rows, kind)).items()} for kind in KINDS
    }
    fitted["experts"] |= _lent_popularity(fitted["experts"], rows.experts)
    return KernelSets(**fitted)


def _lent_popularity(found: dict[Key, ExpertKernel], rows: Sequence[ExpertRow]) -> dict[Key, ExpertKernel]:
    """
    Kernels of formats that were measured for few shapes anew, with the popularity of other formats.

    How popularity evens out shows where the number of experts varies; it is the serving engine's, not the format's.
    """
    groups, lent = _groups(rows), {}
    shapes = {key: len({(row.d_model, row.width, row.experts) for row in there}) for key, there in groups.items()}
    for key, there in groups.items():
        form, _, engine, _ = key
        kin = [
            found[one] for one in found
            if one[1:] == key[1:] and shapes[one] >= FEWEST_SHAPES and (" " in one[0]) == (" " in form)
        ]  # fmt: skip
        if shapes[key] < FEWEST_SHAPES and engine != ANY and kin:
            known = {name: float(np.median([getattr(one, name) for one in kin])) for name in POPULARITY}
            lent[key] = _fitted("experts", there, known)
    return lent


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


def _fitted(kind: str, rows: Sequence[Any], known: Mapping[str, float] | None = None) -> Any:
    """One kernel, fitted to some rows; some figures may be known."""
    if len(rows) > MOST_ROWS:
        rows = [rows[i] for i in np.random.default_rng(0).choice(len(rows), MOST_ROWS, replace=False).tolist()]
    measured = np.log(np.array([row.latency_ms for row in rows]))
    times, kernel = times_of(kind, rows), KINDS[kind]

    def error(x: Array) -> Array:
        return np.asarray(np.log(times(kernel(*np.exp(x).tolist()))) - measured)

    spans = _FIGURES[kind] | {name: (value, value, value) for name, value in (known or {}).items()}
    start, lowest, highest = np.log(np.array([spans[name] for name in names(kernel)])).T
    weights = np.full(len(rows), 1 / len(rows))
    return kernel(*np.exp(fit(error, start, (lowest, highest), weights, PULL, SCALE, 30)).tolist())


def median_errors(kernels: KernelSets, rows: KernelRows) -> dict[Key, float]:
    """Median absolute error of each kernel of a GPU over its own measurements, as a share; kind by kind."""
    found: dict[Key, float] = {}
    for kind in KINDS:
        for key, there in _groups(getattr(rows, kind)).items():
            if key[3] != ANY:
                times = times_of(kind, there)(getattr(kernels, kind)[key])
                measured = np.array([row.latency_ms for row in there])
                found[(f"{kind} {key[0]}", *key[1:])] = float(np.median(np.abs(times / measured - 1)))
    return found


def alone(kernels: KernelSets, rows: KernelRows) -> list[Alone]:
    """Some of the measurements of each kernel of a GPU, as operators that it runs."""
    found = []
    for kind in KINDS:
        for key, there in _groups(getattr(rows, kind)).items():
            if key[3] == ANY:
                continue
            chosen = np.random.default_rng(0).choice(len(there), min(len(there), MOST_ALONE), replace=False)
            for row in (there[index] for index in np.sort(chosen).tolist()):
                operator = _OPERATORS[kind](Columns([row]), getattr(kernels, kind)[key])
                found.append(Alone(row.gpu, row.engine, operator, row.latency_ms))
    return found


def times_of(kind: str, rows: Sequence[Any]) -> Callable[[Any], Array]:
    """
    A function from a kernel to the times of rows in ms.

    Parameters
    ----------
    kind, rows
        Measurements of one kind.
    """
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.gpu, row.form, getattr(row, "decodes", None), getattr(row, "gpus", None)].append(index)
    columns = {key: Columns([rows[i] for i in chosen]) for key, chosen in groups.items()}

    def times(kernel: Any) -> Array:
        found = np.zeros(len(rows))
        for key, chosen in groups.items():
            found[chosen] = operator_ms(GPUS[key[0]], _ALONE, _OPERATORS[kind](columns[key], kernel))
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


def _product(at: Columns, kernel: ProductKernel) -> Operator:
    return matmul(FORMATS[at.form], at.tokens, at.inputs, at.outputs, kernel)


def _expert(at: Columns, kernel: ExpertKernel) -> Operator:
    form = next(one for one in FORMATS.values() if one.kernel == at.form.split(" ")[0])
    copies = at.tokens * at.experts_per_token / at.moe_ep
    held = at.experts / at.moe_ep
    hot = kernel.hot(at.moe_ep, held, at.experts_per_token, at.popularity)
    return experts(form, copies, held, hot, at.d_model, at.width / at.moe_tp, kernel)


def _prompts(at: Columns, kernel: PromptKernel) -> Operator:
    math, kept = at.form.split()
    tokens = at.sequences * at.context
    bytes_of_token = 2 * at.kv_heads * at.size * (1 if kept == "fp8" else HIDDEN_BYTES)
    pairs, read = tokens * at.context / 2, tokens * bytes_of_token
    return prompt_attention("fp8" if math == "fp8" else "bf16", at.heads, at.size, pairs, tokens, read, kernel)


def _queries(at: Columns, kernel: QueryKernel) -> Operator:
    read = at.sequences * at.context
    bytes_of_token = 2 * at.kv_heads * at.size * (1 if at.form == "fp8" else HIDDEN_BYTES)
    return query_attention("bf16", at.heads, at.size, read, 1.0, read * bytes_of_token, kernel)


def _collective(at: Columns, kernel: CollectiveKernel) -> Operator:
    gpus, size = int(at.gpus[0]), at.tokens * at.width
    return (gather if at.form == GATHER else all_reduce)(gpus, gpus, size, kernel)


def _exchange(at: Columns, kernel: ExchangeKernel) -> Operator:
    gpus = int(at.gpus[0])  # of a GPU one node was measured
    return dispatch(gpus, gpus, at.copies, at.tokens, at.d_model * at.width, kernel)


def _latent(at: Columns, kernel: LatentKernel) -> Operator:
    kv_bytes = (KEPT + ROPE) * (1 if at.form == "fp8" else 2)
    tokens = at.sequences * at.context
    if at.decodes:
        return latent_decode(at.heads, KEPT, ROPE, tokens, 1.0, kv_bytes, kernel)
    return latent_prefill(at.heads, KEY, VALUE, tokens * at.context / 2, tokens, tokens, kernel)


_OPERATORS: dict[str, Callable[[Columns, Any], Operator]] = {
    "products": _product, "experts": _expert, "prompts": _prompts, "queries": _queries, "latent": _latent,
    "collective": _collective, "exchange": _exchange,
}  # fmt: skip
"""Kind of kernel -> the operator of rows of one GPU and format, given as columns, that it runs."""
