"""How far predictions are from measurements: comparisons, groups of them, and the statistics of a group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from costmodels.measured import MeasuredRow, read_measured
from costmodels.operators import Array

QUANTITIES = ("tpot", "ttft", "prefill", "decode", "colocated")
"""``tpot``, ``ttft``: of measured rows. Then latencies of table rows by role; ``colocated`` is their TPOT."""

FLAGGED_ABOVE = 0.4
"""A group with a median absolute error above this is flagged: its predictions should not be relied on."""

Source = Literal["measured", "curves"]


class Predicted(Protocol):
    """What a closed-loop model predicts for one measured row."""

    @property
    def ttft_ms(self) -> float:
        """Mean time to first token in ms, the queueing of the closed loop included."""

    @property
    def tpot_ms(self) -> float:
        """Mean time per output token in ms."""


RowPredictor = Callable[[Sequence[MeasuredRow]], Sequence[Predicted | str]]
"""For each row a prediction, or why there is none."""


@dataclass(frozen=True)
class Comparison:
    """
    Predictions beside measurements of one kind.

    Parameters
    ----------
    mode
        ``agg`` or ``disagg`` of measured rows, ``curves`` of table rows.
    model, gpu, backend
        Whom they are of.
    quantity
        One of :data:`QUANTITIES`.
    relative
        Signed relative errors, predicted / measured - 1, one a row.
    """

    mode: str
    model: str
    gpu: str
    backend: str
    quantity: str
    relative: Array


TablePredictor = Callable[[Path], tuple[Iterable[Comparison], "Counter[str]"]]
"""Compares the rows of one table, mode ``curves``; with the number of rows that it does not price, by reason."""


@dataclass(frozen=True)
class Statistics:
    """
    The error of a set of rows; shares, 0.1 is 10 %.

    Parameters
    ----------
    n
        Rows.
    median_ape, mape
        Median and mean of the absolute relative error.
    bias, median_bias
        Mean and median of the signed relative error, predicted / measured - 1; below zero: predicted too fast.
    """

    n: int
    median_ape: float
    mape: float
    bias: float
    median_bias: float

    @classmethod
    def of(cls, relative: Array) -> Statistics:
        """The statistics of signed relative errors; at least one is needed."""
        size = np.abs(relative)
        means = float(size.mean()), float(relative.mean())
        return cls(len(relative), float(np.median(size)), means[0], means[1], float(np.median(relative)))

    @property
    def is_flagged(self) -> bool:
        """Whether the median error is above :data:`FLAGGED_ABOVE`."""
        return self.median_ape > FLAGGED_ABOVE


@dataclass(frozen=True)
class Skipped:
    """
    Rows that were not compared.

    Parameters
    ----------
    source
        ``measured`` or ``curves``.
    file
        The file's name.
    reason
        Why, in words.
    rows
        How many.
    unusable
        True: the row itself is incomplete or contradictory. False: the model cannot price it.
    """

    source: Source
    file: str
    reason: str
    rows: int
    unusable: bool


@dataclass
class Accuracy:
    """
    All comparisons of one evaluation.

    Attributes
    ----------
    comparisons
        By file, mode, model, GPU, backend and quantity.
    skipped
        What was not compared.
    compared
        Rows that were, by source.
    notes
        How rows were read where not as labelled, with their number.
    """

    comparisons: list[Comparison] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    compared: Counter[Source] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add_measured(self, path: Path, predict: RowPredictor) -> None:
        """
        Compares the rows of a file of measured rows.

        Raises
        ------
        InputError
            When the file is not in the format.
        """
        rows, unusable = read_measured(path)
        beside, missing = compare_rows(rows, predict)
        self._skip("measured", path, unusable, True)
        self._skip("measured", path, missing, False)
        self.notes.update(row.note for row in rows if row.note)
        self.comparisons += beside
        self.compared["measured"] += len(rows) - missing.total()

    def add_table(self, path: Path, predict: TablePredictor) -> None:
        """
        Compares the rows of a table of operating curves.

        Raises
        ------
        InputError
            When the file is not in the format.
        """
        beside, missing = predict(path)
        self._skip("curves", path, missing, False)
        kept = [one for one in beside if len(one.relative)]
        self.comparisons += kept
        self.compared["curves"] += sum(len(one.relative) for one in kept)

    def _skip(self, source: Source, path: Path, reasons: Counter[str], unusable: bool) -> None:
        self.skipped += [
            Skipped(source, path.name, reason, rows, unusable) for reason, rows in reasons.most_common() if rows
        ]

    def usable(self, source: Source) -> int:
        """Rows that say all that a prediction needs."""
        return self.compared[source] + sum(s.rows for s in self.skipped if s.source == source and not s.unusable)

    def total(self, source: Source) -> int:
        """All rows of the files."""
        return self.compared[source] + sum(s.rows for s in self.skipped if s.source == source)

    def pooled(self) -> dict[str, Statistics]:
        """Statistics over all rows, by quantity."""
        return self.grouped().get((), {})

    def grouped(self, *names: str) -> dict[tuple[str, ...], dict[str, Statistics]]:
        """
        Statistics of groups.

        Parameters
        ----------
        names
            Attributes of :class:`Comparison` that name a group: ``mode``, ``model``, ``gpu``, ``backend``.

        Returns
        -------
        dict
            Values of those attributes, sorted, to the statistics by quantity.
        """
        parts: dict[tuple[str, ...], dict[str, list[Array]]] = {}
        for one in self.comparisons:
            group = parts.setdefault(tuple(getattr(one, name) for name in names), {})
            group.setdefault(one.quantity, []).append(one.relative)
        return {
            key: {name: Statistics.of(np.concatenate(group[name])) for name in QUANTITIES if name in group}
            for key, group in sorted(parts.items())
        }


def compare_rows(rows: Sequence[MeasuredRow], predict: RowPredictor) -> tuple[list[Comparison], Counter[str]]:
    """
    Compares measured rows with predictions.

    Parameters
    ----------
    rows
        The rows.
    predict
        The model.

    Returns
    -------
    comparisons, missing
        One comparison a mode, model, GPU, backend and quantity; and the rows without a prediction, by reason.
    """
    errors: dict[tuple[str, str, str, str], tuple[list[float], list[float]]] = {}
    missing: Counter[str] = Counter()
    for row, answer in zip(rows, predict(rows), strict=True):
        if isinstance(answer, str):
            missing[answer] += 1
            continue
        tpot, ttft = answer.tpot_ms / row.tpot_ms - 1, answer.ttft_ms / row.ttft_ms - 1
        if not (np.isfinite(tpot) and np.isfinite(ttft)):
            missing["the prediction is not a finite number"] += 1
            continue
        group = errors.setdefault((row.mode, row.model, row.system, row.backend), ([], []))
        group[0].append(tpot)
        group[1].append(ttft)
    found = [
        Comparison(*key, quantity, np.array(relative))
        for key, group in errors.items()
        for quantity, relative in zip(("tpot", "ttft"), group, strict=True)
    ]
    return found, missing
