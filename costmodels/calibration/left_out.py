"""What the fit says of models, GPUs and rows that it has not seen, and what the plain roofline says of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from costmodels.calibration.hierarchy import Level
from costmodels.calibration.kernels import KernelRows, alone, fit_kernels, kernel_rows
from costmodels.calibration.other_models import OTHER_MODELS
from costmodels.calibration.served import fit_served, stacked, times_ms
from costmodels.calibration.table_rows import TableSeries, table_series
from costmodels.calibration.tables import TableRow, drawn, fit_tables
from costmodels.calibration.tables import stacked as stacked_rows
from costmodels.closed_loop import TERMS, Fitted, Loop, loop_of, means_ms
from costmodels.constants import ANY, IDEAL, NAMES, levels
from costmodels.engine import Engine
from costmodels.kernel_sets import KernelSets
from costmodels.measured import read_measured
from costmodels.operators import Array
from costmodels.unseen import Label, Unseen, summarised

FIT_ROWS = 1500
"""Rows of a table that a fit sees at most."""
FOLDS = 3
"""Parts of the measured rows, each predicted from the others."""
WAYS = ("models", "gpus", "rows", "nothing", "everything")
"""What is left out; ``everything``: the plain roofline."""
_TINY = 1e-9
_PLAIN: dict[Level, Array] = {
    (ANY, ANY, ANY, ANY): np.log(np.maximum(_TINY, np.array([getattr(IDEAL, name) for name in NAMES])))
}
_SERVICE = tuple(float(name == "prompt") for name in TERMS)
"""TTFT of the plain roofline: the prompt's own prefill."""

Constants = dict[Level, Array]
Operators = tuple[KernelSets, Constants]


@dataclass(frozen=True)
class Predicted:
    """
    Predictions of what was left out.

    Parameters
    ----------
    rows, errors
        Which rows of tables, and their relative errors.
    loops, tpot, ttft
        Which measured rows, and their TPOT and TTFT in ms.
    """

    rows: list[int]
    errors: Array
    loops: list[int]
    tpot: Array
    ttft: Array


@dataclass(frozen=True)
class Seen:
    """
    What a fit sees.

    Parameters
    ----------
    tables, others
        Rows of tables, and of models without one.
    loops
        Measured rows.
    kernels
        Measurements of kernels.
    """

    tables: list[TableRow]
    others: list[TableRow]
    loops: list[Loop]
    kernels: KernelRows

    def without(self, what: str, name: str) -> Seen:
        """All but a model's or a GPU's: its rows, and the measurements of kernels that only it has."""
        engines = (*(one.series.engine for one in (*self.tables, *self.others)), *(one.decode for one in self.loops))
        kernels = self.kernels
        if what == "gpus":
            kernels = kernels.without_gpu(name)
        elif (own := next((one for one in engines if _name(one, what) == name), None)) is not None:
            kernels = kernels.without_model(own.model)
        return Seen(
            [one for one in self.tables if _name(one.series.engine, what) != name],
            [one for one in self.others if _name(one.series.engine, what) != name],
            [one for one in self.loops if _name(one.decode, what) != name],
            kernels,
        )  # fmt: skip


def seen(curves: Sequence[Path], measured: Path) -> Seen:
    """Everything there is: tables and measured rows as given, the rest as the product carries it."""
    kernels = kernel_rows()
    known = {(row.gpu, row.engine, row.form) for row in kernels.products}
    others = [row for row in _table_rows([OTHER_MODELS]) if _products_of(row) in known]
    return Seen(_table_rows(curves, FIT_ROWS), others, _loops(measured), kernels)


def _products_of(row: TableRow) -> tuple[str, str, str]:
    """GPU, serving engine and format of a row's products."""
    engine = row.series.engine
    return engine.gpu.name, str(engine.serving), engine.formats.gemm.product


def whole_fit(curves: Sequence[Path], measured: Path) -> tuple[KernelSets, Constants, Constants, Fitted]:
    """The fits to everything there is: kernels, operators, served, and the closed loop."""
    all_ = seen(curves, measured)
    kernels, tables = fit_operators(all_)
    return (kernels, tables, *fit_served([_looped(one, kernels) for one in all_.loops], tables))


def fit_operators(all_: Seen) -> Operators:
    """Kernels and operators, which measured rows have no part in."""
    kernels = fit_kernels(all_.kernels)
    rows = [*_run_by(all_.tables, kernels), *_run_by(all_.others, kernels)]
    return kernels, fit_tables(rows, alone(kernels, all_.kernels))


def left_out(curves: Sequence[Path], measured: Path, what: str) -> Iterator[Unseen]:
    """
    Predicts each model, GPU or third of the measured rows by a fit without it; yields the errors by group and pooled.

    Parameters
    ----------
    curves, measured
        Tables, and a file of measured rows.
    what
        One of :data:`WAYS`. A model is left out with all its checkpoints, and with the measured kernels of its shape.
    """
    whole = seen(curves, measured)
    operators = fit_operators(whole) if what in ("rows", "nothing") else None
    return joined(whole, what, [one_left_out(whole, what, name, operators) for name in names_of(whole, what)])


def names_of(whole: Seen, what: str) -> list[str]:
    """What is left out, one after another."""
    names = {_part(loop, what) for loop in whole.loops}
    if what != "rows":
        names |= {_name(row.series.engine, what) for row in whole.tables}
    return sorted(names)


def one_left_out(whole: Seen, what: str, name: str, operators: Operators | None = None) -> Predicted:
    """
    Predicts one of them by a fit without it.

    Parameters
    ----------
    whole
        All there is.
    what, name
        One of :data:`WAYS`, and which of :func:`names_of`.
    operators
        The fit of operators to all there is, where that stays; None: it is fitted here.
    """
    mine = [i for i, row in enumerate(whole.tables) if what != "rows" and _name(row.series.engine, what) == name]
    own = [i for i, loop in enumerate(whole.loops) if _part(loop, what) == name]
    there, here = [whole.tables[i] for i in mine], [whole.loops[i] for i in own]
    if what == "everything":
        there, here = [_plain_row(one) for one in there], [_plain_loop(one) for one in here]
        tables, served = _PLAIN, _PLAIN
        closed = Fitted({(mode, ANY, ANY): _SERVICE for mode in ("agg", "disagg")}, {})
    else:
        left = whole if what in ("rows", "nothing") else whole.without(what, name)
        others = [one for one in left.loops if what != "rows" or _part(one, what) != name]
        kernels, tables = operators or fit_operators(left)
        served, closed = fit_served([_looped(one, kernels) for one in others], tables)
        there, here = _run_by(there, kernels), [_looped(one, kernels) for one in here]
    errors = _table_errors(there, tables) if there else np.zeros(0)
    tpot, ttft = predicted(here, served, closed) if here else (np.zeros(0), np.zeros(0))
    return Predicted(mine, errors, own, tpot, ttft)


def joined(whole: Seen, what: str, parts: Sequence[Predicted]) -> Iterator[Unseen]:
    """The errors of all that was left out, by group and pooled."""
    rows, loops = whole.tables, whole.loops
    errors, tpot, ttft = np.zeros(len(rows)), np.zeros(len(loops)), np.zeros(len(loops))
    for one in parts:
        errors[one.rows] = one.errors
        tpot[one.loops], ttft[one.loops] = one.tpot, one.ttft
    if what != "rows":
        yield from summarised(what, _table_labels(rows), errors)
    for quantity, values in (("tpot", tpot), ("ttft", ttft)):
        measured_ms = np.array([getattr(loop.row, f"{quantity}_ms") for loop in loops])
        labels = [(quantity, "", loop.row.model, loop.row.system, loop.row.backend) for loop in loops]
        yield from summarised(what, labels, values / measured_ms - 1)


def _engine(engine: Engine, kernels: KernelSets) -> Engine:
    """An engine whose experts, latent attention and exchanges run by given kernels."""
    return replace(engine, other_kernels=engine.kernels_of(kernels))


def _run_by(rows: Sequence[TableRow], kernels: KernelSets) -> list[TableRow]:
    series = {id(row.series): row.series for row in rows}
    moved = {key: replace(one, engine=_engine(one.engine, kernels)) for key, one in series.items()}
    return [replace(row, series=moved[id(row.series)]) for row in rows]


def _looped(loop: Loop, kernels: KernelSets) -> Loop:
    return replace(loop, decode=_engine(loop.decode, kernels), prefill=_engine(loop.prefill, kernels))


def _plain_row(row: TableRow) -> TableRow:
    return replace(row, series=replace(row.series, engine=replace(row.series.engine, basis="ideal")))


def _plain_loop(loop: Loop) -> Loop:
    return replace(loop, decode=replace(loop.decode, basis="ideal"), prefill=replace(loop.prefill, basis="ideal"))


def predicted(loops: Sequence[Loop], constants: Constants, closed: Fitted) -> tuple[Array, Array]:
    """TPOT and TTFT in ms with given fits."""
    times = np.zeros((len(loops), 4))
    by_level = defaultdict(list)
    for index, loop in enumerate(loops):
        by_level[_nearest(constants, loop.decode)].append(index)
    for level, chosen in by_level.items():
        times[chosen] = times_ms(stacked([loops[i] for i in chosen]), constants[level])
    return means_ms(loops, times, closed)


def _table_rows(curves: Sequence[Path], most: int | None = None) -> list[TableRow]:
    series: list[list[TableSeries]] = [table_series(path)[0] for path in curves]
    return [row for index, table in enumerate(series) for row in drawn(table, most, index)]


def _loops(measured: Path) -> list[Loop]:
    rows, _ = read_measured(measured)
    return [loop for loop in map(loop_of, rows) if isinstance(loop, Loop)]


def _name(engine: Engine, what: str) -> str:
    """What is left out together: all checkpoints of a model's shape, a GPU, or nothing in particular."""
    shape = engine.model
    name = f"{shape.layers} x {shape.d_model}, {shape.experts} experts"
    return {"models": name, "gpus": engine.gpu.name}.get(what, "")


def _part(loop: Loop, what: str) -> str:
    """As :func:`_name`, of measured rows; of rows all repeats of one run."""
    if what == "rows":
        return str(hash((round(loop.row.tpot_ms, 6), round(loop.row.ttft_ms, 6))) % FOLDS)
    return _name(loop.decode, what)


def _nearest(constants: Constants, engine: Engine) -> Level:
    return next(key for key in levels(engine.path, engine.gpu.name, engine.serving) if key in constants)


def _table_errors(rows: Sequence[TableRow], constants: Constants) -> Array:
    """Relative errors of rows of tables."""
    errors = np.zeros(len(rows))
    by_level = defaultdict(list)
    for index, row in enumerate(rows):
        by_level[_nearest(constants, row.series.engine)].append(index)
    for level, chosen in by_level.items():
        values = dict(zip(NAMES, np.exp(constants[level]).tolist(), strict=True))
        measured = np.array([rows[i].series.latency_ms[rows[i].index] for i in chosen])
        errors[chosen] = stacked_rows([rows[i] for i in chosen]).times_ms(values) / measured - 1
    return errors


def _table_labels(rows: Sequence[TableRow]) -> list[Label]:
    found: list[Label] = []
    for row in rows:
        engine = row.series.engine
        kind = "moe" if engine.model.is_moe else "dense"
        found.append((row.series.demand.role, kind, engine.model.name, engine.gpu.name, str(engine.serving)))
    return found
