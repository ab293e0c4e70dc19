"""What the fit says of models, GPUs and rows that it has not seen, and what the plain roofline says of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from costmodels.calibration.hierarchy import Level
from costmodels.calibration.served import fit_served, stacked, times_ms
from costmodels.calibration.table_rows import TableSeries, table_series
from costmodels.calibration.tables import TableRow, drawn, fit_tables
from costmodels.calibration.tables import stacked as stacked_rows
from costmodels.closed_loop import TERMS, Fitted, Loop, loop_of, means_ms
from costmodels.constants import ANY, IDEAL, NAMES, levels
from costmodels.layers import Engine
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


def whole_fit(curves: Sequence[Path], measured: Path) -> tuple[Constants, Constants, Fitted]:
    """The fits to everything there is: operators, served, and the closed loop."""
    tables = fit_tables(_table_rows(curves))
    served, closed = fit_served(_loops(measured), tables)
    return tables, served, closed


def left_out(curves: Sequence[Path], measured: Path, what: str) -> Iterator[Unseen]:
    """
    Predicts each model, GPU or third of the measured rows by a fit without it; yields the errors by group and pooled.

    Parameters
    ----------
    curves, measured
        Tables, and a file of measured rows.
    what
        One of :data:`WAYS`. The rows of a model are predicted without its rows, but from tables that may hold it: only
        tables of a GPU are left out with its rows.
    """
    rows, loops = _table_rows(curves), _loops(measured)
    whole = _PLAIN if what == "everything" else fit_tables(rows)
    without: dict[str, Constants] = {}
    if what in ("models", "gpus"):
        names = [_name(row.series.engine, what) for row in rows]
        for name in sorted(set(names)):
            without[name] = fit_tables([row for row, own in zip(rows, names, strict=True) if own != name])
    if what != "rows":
        errors = np.zeros(len(rows))
        for name, chosen in _parts([_name(row.series.engine, what) for row in rows]).items():
            errors[chosen] = _table_errors([rows[i] for i in chosen], without.get(name, whole))
        yield from summarised(what, _table_labels(rows), errors)
    tpot, ttft = np.zeros(len(loops)), np.zeros(len(loops))
    for key, chosen in _parts([_part(loop, what) for loop in loops]).items():
        seen = loops if what == "nothing" else [loop for loop in loops if _part(loop, what) != key]
        if what == "everything":
            fitted = (_PLAIN, Fitted({(mode, ANY, ANY): _SERVICE for mode in ("agg", "disagg")}, {}))
        else:
            fitted = fit_served(seen, without.get(key, whole))
        tpot[chosen], ttft[chosen] = predicted([loops[i] for i in chosen], *fitted)
    for quantity, values in (("tpot", tpot), ("ttft", ttft)):
        measured_ms = np.array([getattr(loop.row, f"{quantity}_ms") for loop in loops])
        labels = [(quantity, "", loop.row.model, loop.row.system, loop.row.backend) for loop in loops]
        yield from summarised(what, labels, values / measured_ms - 1)


def predicted(loops: Sequence[Loop], constants: Constants, closed: Fitted) -> tuple[Array, Array]:
    """TPOT and TTFT in ms with given fits."""
    times = np.zeros((len(loops), 4))
    by_level = defaultdict(list)
    for index, loop in enumerate(loops):
        by_level[_nearest(constants, loop.decode)].append(index)
    for level, chosen in by_level.items():
        times[chosen] = times_ms(stacked([loops[i] for i in chosen]), constants[level])
    return means_ms(loops, times, closed)


def _table_rows(curves: Sequence[Path]) -> list[TableRow]:
    series: list[list[TableSeries]] = [table_series(path)[0] for path in curves]
    return [row for index, table in enumerate(series) for row in drawn(table, FIT_ROWS, index)]


def _loops(measured: Path) -> list[Loop]:
    rows, _ = read_measured(measured)
    return [loop for loop in map(loop_of, rows) if isinstance(loop, Loop)]


def _name(engine: Engine, what: str) -> str:
    """What is left out together: a model's checkpoints of one table, a GPU, or nothing in particular."""
    return {"models": engine.model.name, "gpus": engine.gpu.name}.get(what, "")


def _part(loop: Loop, what: str) -> str:
    """As :func:`_name`, of measured rows; of models all checkpoints of one shape, of rows all repeats of one run."""
    if what == "models":
        return f"{loop.decode.model.layers} x {loop.decode.model.d_model}"
    if what == "rows":
        return str(hash((round(loop.row.tpot_ms, 6), round(loop.row.ttft_ms, 6))) % FOLDS)
    return loop.row.system if what == "gpus" else ""


def _parts(names: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        found[name].append(index)
    return dict(sorted(found.items()))


def _nearest(constants: Constants, engine: Engine) -> Level:
    path = "dispatched" if engine.is_dispatched else "shared"
    return next(key for key in levels(path, engine.gpu.name, engine.serving) if key in constants)


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
