"""
One-sided piecewise-linear fits of dense samples, with few breakpoints and a proved error.

A fit is a continuous piecewise-linear function whose breakpoints are a subset of the sampled batches; the values there
are free. A series that must never be under its samples (latency) lies in the corridor ``S <= f <= (1 + e) S`` at every
sample, one that must never be over (rate) in ``(1 - e) R <= f <= R``. All series of a curve share breakpoints.

Method: a cone of slopes is kept from a fixed starting value and narrowed sample by sample; where it empties, a segment
ends. Two passes differ in what comes next: *restart* puts a breakpoint on each of the last sample passed and the next
one, with a fresh starting value; *connect* goes on from the breakpoint just set. The one with fewer breakpoints stays.

Proved:

1. Exactly one-sided at every sample: checked in integer arithmetic on the rounded values, else ``ArithmeticError``.
2. The error at every sample is at most the returned one, and that is at most the tolerance.
3. At most ``2 m`` breakpoints, m being the fewest straight lines (not even connected) that cover the samples within
   the tolerance t, ``(1 + t)^2 = 1 + e`` (t is about e/2; of e, 10^-6 is kept for rounding). *Restart* starts a line
   at ``(1 + t) S``. Any line within t over samples a..z, scaled to pass through that value at a, is scaled by a factor
   in [1, 1 + t], hence stays within e: so the cone from a reaches z as well, and from a later a it reaches no less. By
   induction the pass is never behind the best cover, and pays two breakpoints a line. A rate is the mirror image with
   ``(1 - t)^2 = 1 - e``. Every fit of two samples or more within t has at least ``m + 1`` breakpoints, wherever they
   are; whether fewer than ours would do within e itself is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from costmodels.cones import Corridor, best_knots
from costmodels.onesided import Flat, Floats, Integers, one_sided, weights

TOLERANCE = Fraction(1, 100)
"""Default largest relative error."""
MOST_SPAN = 1e8
"""Largest ratio of values in a series: beyond it floats lose the digits that the tolerance is about."""
_MARGIN = 4e-7
"""
Relative part of the corridor kept free for rounding: a unit of the integer check is 10^-7 of a sample at most, and nine
digits are 10^-8 of the fit at every sample.
"""

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
    never_under: tuple[tuple[Fraction, ...], ...]
    never_over: tuple[tuple[Fraction, ...], ...]
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
    """Fits curves with the same numbers of series, sorted by falling length."""
    flat = _flat(many)
    knots = best_knots(_corridor(many, under, float(tolerance)))
    shares = weights(flat, knots.counts, knots.sample)
    worst = np.zeros(len(many))
    columns: list[list[Fraction]] = []
    for row in range(len(flat.series)):
        numbers, errors = one_sided(flat, row, shares, knots.value[row], row < under)
        worst = np.maximum(worst, errors)
        columns.append(numbers)
    batch = flat.batch[shares.knot].tolist()
    fits, first = [], 0
    for count, most in zip(knots.counts.tolist(), worst.tolist(), strict=True):
        part = slice(first, first := first + count)
        error = Fraction(-(-(ceil(most * 1e12) + 1) // 1000), 10**9)
        if error > tolerance:
            raise ArithmeticError(f"fit error {float(error)} is above the tolerance {float(tolerance)}")
        series = tuple(tuple(column[part]) for column in columns)
        fits.append(Fit(tuple(batch[part]), series[:under], series[under:], error))
    return fits


def _flat(many: list[Samples]) -> Flat:
    """All curves one after another, checked."""
    lengths = np.array([len(samples.batch) for samples in many])
    if lengths.min() == 0:
        raise ValueError(_BATCHES)
    first = np.cumsum(lengths) - lengths
    batch = np.concatenate([samples.batch for samples in many])
    rises = np.diff(batch) > 0
    rises[first[1:] - 1] = True
    if not bool(rises.all()) or int(batch.max()) > 2**21:
        raise ValueError(_BATCHES)
    series = []
    for row in range(len(many[0].never_under) + len(many[0].never_over)):
        parts = [(*samples.never_under, *samples.never_over)[row] for samples in many]
        value = np.concatenate(parts)
        if any(len(part) != len(samples.batch) for part, samples in zip(parts, many, strict=True)):
            raise ValueError(_VALUES)
        if not bool(np.all(np.isfinite(value) & (value > 0))):
            raise ValueError(_VALUES)
        series.append(value)
    flat = Flat(lengths, first, batch, series)
    for row in range(len(series)):
        if bool((flat.highest(row) > MOST_SPAN * flat.lowest(row)).any()):
            raise ValueError(f"a series spans more than {MOST_SPAN:g} between its smallest and largest value")
    return flat


def _corridor(many: list[Samples], under: int, tolerance: float) -> Corridor:
    """The samples side by side, and the factors of each series."""
    lengths = np.array([len(samples.batch) for samples in many])
    count, longest = len(many), int(lengths[0])
    series = len(many[0].never_under) + len(many[0].never_over)
    batch = np.ones((longest, count))
    value = np.ones((longest, series, count))
    for column, samples in enumerate(many):
        batch[: lengths[column], column] = samples.batch
        for row, one in enumerate((*samples.never_under, *samples.never_over)):
            value[: lengths[column], row, column] = one
    is_under = np.arange(series)[:, None] < under
    return Corridor(
        lengths, batch, value,
        low=np.where(is_under, 1 + _MARGIN, (1 - tolerance) * (1 + _MARGIN)),
        high=np.where(is_under, (1 + tolerance) * (1 - _MARGIN), 1 - _MARGIN),
        start=np.where(is_under, (1 + tolerance) ** 0.5, (1 - tolerance) ** 0.5),
    )  # fmt: skip
