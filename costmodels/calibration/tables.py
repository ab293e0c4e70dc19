"""Fits the ``operators`` basis to tables of operating curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from costmodels.calibration.hierarchy import SPEEDS, START, Level, Mask, bounds, climb, levels_of
from costmodels.calibration.least_squares import fit
from costmodels.calibration.stack import Alone, Counted, Stack
from costmodels.calibration.table_rows import TableSeries
from costmodels.constants import ANY, ARCHITECTURES, NAMES
from costmodels.layers import work_of
from costmodels.mixture import sent
from costmodels.operators import Array
from costmodels.phases import step_of

PULL = 0.03
"""Strength of the level above, per row of a level."""
SCALE = 0.05
"""Log error from which a row counts by its size."""
ALONE = 0.5
"""Weight of all operators that were measured alone, against all rows of a level."""
MOST_ROWS = 3000
"""Rows of a level that are looked at, evenly drawn."""
CLOSER = {
    **dict.fromkeys(SPEEDS, (0.75, 4 / 3)),
    **dict.fromkeys(("product_compute", "product_memory", "attention_speed"), (0.95, 1.05)),
    "collective": (0.9, 1.1), "routing_ms": (1e-3, 0.05), "memory": (0.8, 0.8), "launch_ms": (0.003, 0.003),
}  # fmt: skip
"""
Bounds of constants of tables: kernels that were measured alone are met within a third, products and attention within a
twentieth, collectives within a tenth, and a few small operators take no longer than a kernel of experts. What a fit
asks beyond that, another operator owes. Norms and activations were not measured: the tables take 3 us and four fifths
of the memory bandwidth for each.
"""
_FROM_START = np.isin(NAMES, SPEEDS)


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


def fit_tables(rows: Sequence[TableRow], alone: Sequence[Alone] = ()) -> dict[Level, Array]:
    """
    The logarithms of the constants by level.

    Parameters
    ----------
    rows
        Rows of all tables.
    alone
        Operators that were measured alone: they take part where experts are.
    """
    engines = [row.series.engine for row in rows]
    levels = levels_of(
        [engine.path for engine in engines],
        [engine.gpu.name for engine in engines],
        [str(engine.serving) for engine in engines],
    )
    measured = np.log(np.array([row.series.latency_ms[row.index] for row in rows]))
    weights = _weights(rows)
    span = _span()

    def fit_level(level: Level, mask: Mask, prior: Array) -> Array:
        where = np.flatnonzero(mask)
        if len(where) > MOST_ROWS:
            where = np.sort(np.random.default_rng(0).choice(where, MOST_ROWS, replace=False))
        known = [one for one in alone if _is_of(one, level)]
        stack = Stack([*_steps([rows[index] for index in where.tolist()]), *(one.step for one in known)])
        there = np.concatenate([measured[where], np.log(np.array([one.step_ms for one in known]))])

        def error(x: Array) -> Array:
            values = dict(zip(NAMES, np.exp(x).tolist(), strict=True))
            return np.asarray(np.log(stack.times_ms(values)) - there)

        both = np.concatenate([weights[where] / len(where), np.full(len(known), ALONE / max(1, len(known)))])
        return fit(error, prior, span, both, PULL, SCALE)

    def prior_of(_level: Level, parent: Level | None, found: dict[Level, Array]) -> Array:
        start = np.log(np.array([START[name] for name in NAMES]))
        return start if parent is None else np.where(_FROM_START, start, found[parent])

    return climb(levels, prior_of, fit_level)


def _span() -> tuple[Array, Array]:
    """Bounds of the constants, closer where the operators were measured alone."""
    lowest, highest = bounds()
    for name, (low, high) in CLOSER.items():
        lowest[NAMES.index(name)], highest[NAMES.index(name)] = np.log(low), np.log(high)
    return lowest, highest


def _is_of(one: Alone, level: Level) -> bool:
    """Whether an operator alone is of a level of mixtures of experts."""
    path, where, engine, gpu = level
    there = where in (ANY, ARCHITECTURES[one.gpu]) and engine in (ANY, one.engine) and gpu in (ANY, one.gpu)
    return path != "dense" and there


def stacked(rows: Sequence[TableRow]) -> Stack:
    """The steps behind the rows, those between pipeline stages included."""
    return Stack(_steps(rows))


def _steps(rows: Sequence[TableRow]) -> list[Counted]:
    """Counted steps: one for rows of one series that follow one another."""
    steps = []
    for _, group in groupby(rows, key=lambda row: id(row.series)):
        together = list(group)
        engine, demand = together[0].series.engine, together[0].series.demand
        step = step_of(engine, demand, together[0].series.batch[[row.index for row in together]])
        work = work_of(engine, step)
        pp = engine.partition.pp
        if pp > 1:
            hop = sent(engine, engine.partition.gpus > engine.domain_gpus, step.tokens)
            work = replace(work, head=[*work.head, (pp if demand.role == "decode" else pp - 1, hop)])
        steps.append((engine.gpu, work, len(together), engine.model.moe_layers))
    return steps


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
