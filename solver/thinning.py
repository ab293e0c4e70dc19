"""Very many points: which of them are not beaten inside their footprint, before any table is made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solver.engines import Engine
from solver.instance import Instance

LEAST = 200_000
"""Points from which thinning pays; smaller tables keep every point."""
SAMPLE = 8
"""Every so many batches are looked at first."""
BINS = 16_384
"""Slices of time, for each of which one rate to beat is remembered."""
CHUNK = 2**18
"""Points that are evaluated at once: as many as a processor's cache holds."""
WIDEST = 2**61

Integers = NDArray[Any]
Key = tuple[object, ...]


@dataclass(frozen=True)
class _Grid:
    """Curves of one footprint with the same breakpoints, as integers in its units."""

    engines: tuple[Engine, ...]
    batches: NDArray[np.int64]
    left: NDArray[np.int64]
    length: NDArray[np.int64]
    offset: NDArray[np.int64]
    segments: int
    times: NDArray[np.int64]
    rates: NDArray[np.int64]

    def at(self, knots: NDArray[np.int64], chosen: slice | NDArray[np.int64]) -> NDArray[np.int64]:
        """Values of some curves (rows) at some batches (columns), exactly."""
        left, length, offset = self.left[chosen], self.length[chosen], self.offset[chosen]
        factor = self.segments // length
        values: NDArray[np.int64] = knots[:, left] * ((length - offset) * factor)
        if knots.shape[1] > 1:
            values += knots[:, np.minimum(left + 1, knots.shape[1] - 1)] * (offset * factor)
        return values


def thinned(instance: Instance, engines: Sequence[Engine]) -> dict[int, NDArray[np.int64]] | None:
    """
    Engine index to the batches that may be needed; None where all are, or are too few to look.

    A point goes if another of its footprint takes strictly less time and has no less rate: rule 1 of dominance
    (:class:`solver.columns.Candidates`), so what is left has the same optima at all limits. One batch in ``SAMPLE`` is
    evaluated first; of these the best rate before each slice of time is what every point in that slice has to beat.
    What is left after that is sorted exactly by :class:`solver.columns.Candidates`, as ever.

    Kept whole are engines whose points are not judged by time and rate alone: co-located ones, those that rules,
    token gaps or the KV hand-over concern, and all under ``decode_covers``.
    """
    serving = instance.serving
    if serving.decode_covers or instance.limits_handover or count_points(engines) < LEAST:
        return None
    kept: dict[int, NDArray[np.int64]] = {}
    groups: dict[Key, list[Engine]] = {}
    for engine in engines:
        curve = engine.curve
        ruled = bool(serving.allow.get(curve.role) or serving.deny.get(curve.role))
        if curve.role == "colocated" or curve.ttft_ms or ruled or engine.workload.itl_ms is not None:
            kept[engine.index] = np.fromiter(curve.admissible_batches(), dtype=np.int64)
        else:
            partition = curve.partition
            key = (engine.workload.name, curve.role, engine.pool.name, partition.gpus, partition.pp, engine.joint)
            groups.setdefault(key, []).append(engine)
    for members in groups.values():
        grids = _grids(members)
        if grids is None:
            kept |= {e.index: np.fromiter(e.curve.admissible_batches(), dtype=np.int64) for e in members}
        else:
            kept.update(_unbeaten(grids))
    return kept


def count_points(engines: Sequence[Engine]) -> int:
    """Admissible batches of all engines."""
    return sum(map(_size, engines))


def _size(engine: Engine) -> int:
    curve, step = engine.curve, engine.curve.batch_step
    return curve.batch[-1] // step - (curve.batch[0] - 1) // step if curve.interpolate else len(curve.batch)


def _grids(members: list[Engine]) -> list[_Grid] | None:
    """The curves of a footprint by breakpoints, in common units; None where 64 bits are too few."""
    by_batches: dict[Key, list[Engine]] = {}
    for engine in members:
        curve = engine.curve
        by_batches.setdefault((curve.batch, curve.batch_step, curve.interpolate), []).append(engine)
    segments = math.lcm(*(_segments(some[0]) for some in by_batches.values()))
    time_unit = math.lcm(*(v.denominator for e in members for v in e.curve.latency_ms))
    rate_unit = math.lcm(*(v.denominator for e in members for v in e.curve.requests_per_s))
    whole = {
        e.index: (_whole(e.curve.latency_ms, time_unit), _whole(e.curve.requests_per_s, rate_unit)) for e in members
    }
    if max(max(max(times), max(rates)) for times, rates in whole.values()) * segments >= WIDEST:
        return None
    return [_grid(some, segments, [whole[engine.index] for engine in some]) for some in by_batches.values()]


def _segments(engine: Engine) -> int:
    """The common denominator of the interpolation weights of a curve."""
    curve = engine.curve
    return math.lcm(*(b - a for a, b in pairwise(curve.batch)), 1) if curve.interpolate else 1


def _grid(some: list[Engine], segments: int, whole: list[tuple[list[int], list[int]]]) -> _Grid:
    curve = some[0].curve
    batches = np.fromiter(curve.admissible_batches(), dtype=np.int64)
    knots = np.array(curve.batch, dtype=np.int64)
    left = np.searchsorted(knots, batches, side="right") - 1
    last = left == len(knots) - 1
    right = np.minimum(left + 1, len(knots) - 1)
    length = np.where(last | (not curve.interpolate), 1, knots[right] - knots[left])
    offset = np.where(last | (not curve.interpolate), 0, batches - knots[left])
    times = np.array([times for times, _ in whole], dtype=np.int64)
    rates = np.array([rates for _, rates in whole], dtype=np.int64)
    return _Grid(tuple(some), batches, left, length, offset, segments, times, rates)


def _whole(values: Sequence[Fraction], unit: int) -> list[int]:
    return [value.numerator * (unit // value.denominator) for value in values]


def _unbeaten(grids: list[_Grid]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(engine index, batches) that the sample does not beat."""
    samples = [
        (grid.at(grid.times, slice(0, None, SAMPLE)), grid.at(grid.rates, slice(0, None, SAMPLE))) for grid in grids
    ]
    first = min(int(times.min()) for times, _ in samples)
    width = (max(int(times.max()) for times, _ in samples) - first) // BINS + 1
    to_beat = np.full(BINS + 2, -1, dtype=np.int64)
    for times, rates in samples:
        np.maximum.at(to_beat, (times.ravel() - first) // width + 1, rates.ravel())
    to_beat = np.maximum.accumulate(to_beat)
    for grid in grids:
        step = max(1, CHUNK // len(grid.batches))
        for start in range(0, len(grid.engines), step):
            rows = slice(start, start + step)
            times = grid.at(grid.times[rows], slice(None))
            slices = np.clip((times - first) // width, 0, BINS + 1)
            row, column = np.nonzero(grid.at(grid.rates[rows], slice(None)) > to_beat[slices])
            ends = np.searchsorted(row, np.arange(len(times) + 1))
            for i in np.unique(row).tolist():
                yield grid.engines[start + i].index, grid.batches[column[ends[i] : ends[i + 1]]]
