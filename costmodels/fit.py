"""
One-sided piecewise-linear fits of dense samples, with few breakpoints and a proved error.

A fit is a continuous piecewise-linear function whose breakpoints are a subset of the sampled batches; the values there
are free. A series that must never be under its samples (latency) lies in the corridor ``S <= f <= (1 + e) S`` at every
sample, one that must never be over (rate) in ``(1 - e) R <= f <= R``. All series of a curve share breakpoints.

Method: a cone of slopes is kept from a fixed starting value and narrowed sample by sample; where it empties, a segment
ends. Two passes differ in what comes next: *restart* puts a breakpoint on each of the last sample passed and the next
one, with a fresh starting value; *connect* goes on from the breakpoint just set. The one with fewer breakpoints stays.
The passes look at the first 64 samples and then at every 3 %, with a part of the tolerance kept free for the samples
between; every fit is checked at all samples, and where that fails the passes look at all of them.

Proved:

1. One-sided at every sample: checked on the rounded values, in floats with more to spare than floats can be off
   (:mod:`costmodels.onesided`), of series that span much in fractions; else ``ArithmeticError``.
2. The error at every sample is at most the returned one, and that is at most the tolerance e; checked likewise.
3. At most ``2 m`` breakpoints, m being the fewest straight lines (not even connected) that cover the samples within
   the tolerance t, ``(1 + t)^2 = (1 + 0.9 e) / (1 + 0.05 e)`` (t is about 0.42 e; 10^-6 is kept for rounding). Lines
   that cover all samples cover those looked at. *Restart* starts a line at the geometric mean of ``(1 + 0.05 e) S``
   and ``(1 + 0.9 e) S``, the corridor that it keeps. Any line within t over samples a..z, scaled to pass through that
   value at a, stays in the corridor: so the cone from a reaches z as well, and from a later a it reaches no less. By
   induction the pass is never behind the best cover, and pays two breakpoints a line. A rate is the mirror image with
   ``(1 - t)^2 = (1 - 0.9 e) / (1 - 0.05 e)``. Every fit of two samples or more within e has at least ``m' + 1``
   breakpoints, m' being the fewest lines within e; whether fewer than ours would do is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from costmodels.cones import Corridor, best_knots
from costmodels.decimals import Decimals
from costmodels.onesided import Flat, Floats, Integers, errors, rounded, segments

TOLERANCE = Fraction(1, 100)
"""Default largest relative error."""
MOST_SPAN = 1e8
"""Largest ratio of values in a series: beyond it floats lose the digits that the tolerance is about."""
_MARGIN = 4e-7
"""Relative part of the corridor kept free for rounding: nine digits are 10^-8 of the fit at every sample."""

SPARSE = 32
"""Breakpoints are looked for at all of the first samples, twice as many, and then a part of 1 in so many further on."""
SPARED = (0.05, 0.1)
"""Parts of the tolerance that are kept free for the samples between those: near the samples, and far from them."""
_BATCHES = "batches must increase strictly, at most 2^21, and there must be one"
_VALUES = "every series needs one positive finite value per batch"


@dataclass(frozen=True)
class Samples:
    """
    The dense samples of one curve.

    Parameters
    ----------
    batch
        Sampled batches, strictly increasing.
    never_under
        Positive series that the fit must not fall below, such as latencies in ms.
    never_over
        Positive series that the fit must not exceed, such as rates in requests/s.
    """

    batch: Integers
    never_under: tuple[Floats, ...]
    never_over: tuple[Floats, ...] = ()


@dataclass(frozen=True)
class Fit:
    """
    A one-sided fit.

    Parameters
    ----------
    batch
        Breakpoints.
    never_under, never_over
        Values at the breakpoints, decimals of at most nine significant digits.
    error
        Largest relative error at a sample, rounded up to a multiple of 1e-9.
    """

    batch: tuple[int, ...]
    never_under: tuple[Decimals, ...]
    never_over: tuple[Decimals, ...]
    error: Fraction


def fit(samples: Samples, tolerance: Fraction = TOLERANCE) -> Fit:
    """Fits one curve; see :func:`fit_many`."""
    return fit_many([samples], tolerance)[0]


def fit_many(many: Sequence[Samples], tolerance: Fraction = TOLERANCE) -> list[Fit]:
    """
    Fits many curves at once: the passes run over the samples, vectorised over the curves.

    Parameters
    ----------
    many
        The curves.
    tolerance
        Largest relative error allowed, between 1e-5 and 1/2.

    Raises
    ------
    ValueError
        When a sample is not positive and finite, a series spans too much, or batches do not increase.
    ArithmeticError
        When a fit is not one-sided: an internal fault.
    """
    if not Fraction(1, 10**5) <= tolerance <= Fraction(1, 2):
        raise ValueError(f"tolerance must lie in [1e-5, 0.5], got {float(tolerance)}")
    shapes: dict[tuple[int, int], list[int]] = {}
    for index, samples in enumerate(many):
        shapes.setdefault((len(samples.never_under), len(samples.never_over)), []).append(index)
    fits: list[Fit | None] = [None] * len(many)
    for (under, _), indices in shapes.items():
        order = sorted(indices, key=lambda index: -len(many[index].batch))
        for index, done in zip(order, _fit_alike([many[index] for index in order], under, tolerance), strict=True):
            fits[index] = done
    return [done for done in fits if done is not None]


def _fit_alike(many: list[Samples], under: int, tolerance: Fraction) -> list[Fit]:
    """Fits curves with the same numbers of series: to some of the samples, and where that does not hold, to all."""
    flat = _flat(many)
    found = _fitted(flat, *_thinned(flat), under, tolerance, SPARED)
    again = [index for index, one in enumerate(found) if one is None]
    if again:
        flat = _flat([many[index] for index in again])
        dense = _fitted(flat, np.arange(flat.count), flat.lengths, under, tolerance, (0.0, 0.0))
        for index, one in zip(again, dense, strict=True):
            found[index] = one
    if None in found:
        batch = many[found.index(None)].batch
        raise ArithmeticError(f"no fit to batches {batch[0]} to {batch[-1]} is on its side within the tolerance")
    return [one for one in found if one is not None]


def _thinned(flat: Flat) -> tuple[Integers, Integers]:
    """Samples to look for breakpoints at, the first and the last of each curve among them; and how many of each."""
    grid = [0]
    while grid[-1] < flat.lengths.max():
        grid.append(grid[-1] + max(1, grid[-1] // SPARSE))
    places = np.array(grid)
    counts = np.searchsorted(places, flat.lengths - 1) + 1
    ends = np.cumsum(counts)
    kept = places[np.arange(ends[-1]) - np.repeat(ends - counts, counts)] + np.repeat(flat.first, counts)
    kept[ends - 1] = flat.first + flat.lengths - 1
    return kept, counts


def _fitted(
    flat: Flat, kept: Integers, counts: Integers, under: int, tolerance: Fraction, spared: tuple[float, float]
) -> list[Fit | None]:
    """
    Fits with breakpoints among the kept samples, ``counts`` of each curve; checked at all samples.

    None where a fit is on the wrong side of a sample, or not within the tolerance.
    """
    thin = Flat(counts, np.cumsum(counts) - counts, flat.batch[kept], flat.series[:, kept])
    knots = best_knots(thin, _corridor(len(flat.series), under, float(tolerance), spared))
    of = segments(flat, knots.counts, kept[np.repeat(thin.first, knots.counts) + knots.sample])
    worst, right = np.zeros(len(counts)), np.ones(len(counts), dtype=bool)
    columns: list[list[Decimals]] = []
    for row in range(len(flat.series)):
        values = rounded(knots.value[row], of, row < under)
        error, sure = errors(flat, row, of, values, row < under)
        worst, right = np.maximum(worst, error), right & sure
        columns.append(values.decimals(of.counts))
    # errors are off by less than 10^-11, so that is added before rounding up
    parts = np.ceil((worst + 1e-11) * 1e9).astype(np.int64)
    right &= parts <= int(tolerance * 10**9)
    batch = flat.batch[of.knot].astype(np.int64).tolist()
    fits: list[Fit | None] = []
    for curve, (first, count, part) in enumerate(
        zip(of.first.tolist(), of.counts.tolist(), parts.tolist(), strict=True)
    ):
        series = tuple(column[curve] for column in columns)
        one = Fit(tuple(batch[first : first + count]), series[:under], series[under:], Fraction(part, 10**9))
        fits.append(one if right[curve] else None)
    return fits


def _flat(many: list[Samples]) -> Flat:
    """All curves one after another, checked."""
    lengths = np.array([len(samples.batch) for samples in many])
    if lengths.min() == 0:
        raise ValueError(_BATCHES)
    first = np.cumsum(lengths) - lengths
    batch = np.concatenate([samples.batch for samples in many]).astype(np.float64)
    rises = np.diff(batch) > 0
    rises[first[1:] - 1] = True
    if not bool(rises.all()) or batch.max() > 2**21:
        raise ValueError(_BATCHES)
    each = [(*samples.never_under, *samples.never_over) for samples in many]
    if any(len(one) != length for row, length in zip(each, lengths.tolist(), strict=True) for one in row):
        raise ValueError(_VALUES)
    series = np.empty((len(each[0]), len(batch)))
    for row, values in enumerate(zip(*each, strict=True)):
        np.concatenate(values, out=series[row])
    if not (series.min() > 0 and np.isfinite(series.max())):
        raise ValueError(_VALUES)
    flat = Flat(lengths, first, batch, series)
    if bool((flat.spans > MOST_SPAN).any()):
        raise ValueError(f"a series spans more than {MOST_SPAN:g} between its smallest and largest value")
    return flat


def _corridor(series: int, under: int, tolerance: float, spared: tuple[float, float]) -> Corridor:
    """The factors of each series; parts of the tolerance may be kept free near the samples and far from them."""
    is_under = np.arange(series)[:, None] < under
    near, far = tolerance * spared[0] + _MARGIN, tolerance * (1 - spared[1])
    low = np.where(is_under, 1 + near, (1 - far) * (1 + _MARGIN))
    high = np.where(is_under, (1 + far) * (1 - _MARGIN), 1 - near)
    return Corridor(low, high, np.sqrt(low * high))
