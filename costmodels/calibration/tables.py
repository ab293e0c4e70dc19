"""Fits the ``operators`` basis to tables of operating curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from costmodels.calibration.hierarchy import START, Level, Mask, bounds, climb, levels_of
from costmodels.calibration.least_squares import fit
from costmodels.calibration.stack import Stack
from costmodels.calibration.table_rows import TableSeries
from costmodels.constants import NAMES
from costmodels.layers import work_of
from costmodels.operators import HIDDEN_BYTES, Array, send
from costmodels.phases import step_of

PULL = 0.03
"""Strength of the level above, per row of a level."""
SCALE = 0.05
"""Log error from which a row counts by its size."""
MOST_ROWS = 3000
"""Rows of a level that are looked at, evenly drawn."""


@dataclass(frozen=True)
class TableRow:
    """
    One row of one series.

    Parameters
    ----------
    series
        The series.
    index
        Which of its batches.
    """

    series: TableSeries
    index: int


def drawn(series: Sequence[TableSeries], most: int | None, seed: int = 0) -> list[TableRow]:
    """At most so many rows of prefill and decode series, drawn evenly (all where there are no more)."""
    rows = [TableRow(one, index) for one in series if one.demand.role != "colocated" for index in range(len(one.batch))]
    if most is None or len(rows) <= most:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), most, replace=False)
    return [rows[index] for index in np.sort(chosen)]


def fit_tables(rows: Sequence[TableRow]) -> dict[Level, Array]:
    """
    The logarithms of the constants by level.

    Parameters
    ----------
    rows
        Rows of all tables.
    """
    engines = [row.series.engine for row in rows]
    levels = levels_of(
        [engine.path for engine in engines],
        [engine.gpu.name for engine in engines],
        [str(engine.serving) for engine in engines],
    )
    measured = np.log(np.array([row.series.latency_ms[row.index] for row in rows]))
    weights = _weights(rows)
    span = bounds()

    def fit_level(_level: Level, mask: Mask, prior: Array) -> Array:
        where = np.flatnonzero(mask)
        if len(where) > MOST_ROWS:
            where = np.sort(np.random.default_rng(0).choice(where, MOST_ROWS, replace=False))
        stack = stacked([rows[index] for index in where.tolist()])

        def error(x: Array) -> Array:
            values = dict(zip(NAMES, np.exp(x).tolist(), strict=True))
            return np.asarray(np.log(stack.times_ms(values)) - measured[where])

        return fit(error, prior, span, weights[where] / len(where), PULL, SCALE)

    def prior_of(_level: Level, parent: Level | None, found: dict[Level, Array]) -> Array:
        return np.log(np.array([START[name] for name in NAMES])) if parent is None else found[parent]

    return climb(levels, prior_of, fit_level)


def stacked(rows: Sequence[TableRow]) -> Stack:
    """The steps behind the rows, those between pipeline stages included."""
    steps = []
    for row in rows:
        engine, demand = row.series.engine, row.series.demand
        batch = row.series.batch[row.index : row.index + 1]
        step = step_of(engine, demand, batch)
        work = work_of(engine, step)
        pp = engine.partition.pp
        if pp > 1:
            hop = send(engine.partition.gpus > engine.domain_gpus, step.tokens * engine.model.d_model * HIDDEN_BYTES)
            work = replace(work, head=[*work.head, (pp if demand.role == "decode" else pp - 1, hop)])
        steps.append((engine.gpu, work, 1, engine.model.moe_layers))
    return Stack(steps)


def _weights(rows: Sequence[TableRow]) -> Array:
    """Weights of rows: groups count by less than their number of rows, so that large tables do not drown small ones."""
    keys = [
        (row.series.engine.gpu.name, row.series.engine.serving, row.series.engine.model.name, row.series.demand.role,
         row.series.engine.partition.stage_group > row.series.engine.domain_gpus)
        for row in rows
    ]  # fmt: skip
    counts = Counter(keys)
    weights = np.array([counts[key] ** -0.7 for key in keys])
    return np.asarray(weights / weights.mean())
