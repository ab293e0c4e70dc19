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

from costmodels.onesided import WIDEST, Floats, Integers, one_sided, one_sided_wide, weights

TOLERANCE = Fraction(1, 100)
"""Default largest relative error."""
MOST_SPAN = 1e8
"""Largest ratio of values in a series: beyond it floats lose the digits that the tolerance is about."""
_MARGIN = 4e-7
"""
Relative part of the corridor kept free for rounding: a unit of the integer check is 10^-7 of a sample at most, and nine
digits are 10^-8 of the fit at every sample.
"""


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
    for samples in many:
        _check(samples)
    fits: list[Fit | None] = [None] * len(many)
    shapes: dict[tuple[int, int], list[int]] = {}
    for index, samples in enumerate(many):
        shapes.setdefault((len(samples.never_under), len(samples.never_over)), []).append(index)
    for (under, _), indices in shapes.items():
        order = sorted(indices, key=lambda index: -len(many[index].batch))
        found = _passes([many[index] for index in order], under, float(tolerance))
        for index, (knots, values) in zip(order, found, strict=True):
            fits[index] = _rounded(many[index], knots, values, tolerance)
    return [done for done in fits if done is not None]


def _check(samples: Samples) -> None:
    if len(samples.batch) == 0 or bool(np.any(np.diff(samples.batch) <= 0)) or int(samples.batch[-1]) > 2**21:
        raise ValueError("batches must increase strictly, at most 2^21, and there must be one")
    for series in (*samples.never_under, *samples.never_over):
        if len(series) != len(samples.batch) or not bool(np.all(np.isfinite(series) & (series > 0))):
            raise ValueError("every series needs one positive finite value per batch")
        if float(series.max()) > MOST_SPAN * float(series.min()):
            raise ValueError(f"a series spans more than {MOST_SPAN:g} between its smallest and largest value")


def _passes(many: list[Samples], under: int, tolerance: float) -> list[tuple[list[int], list[Floats]]]:
    """Both passes over curves sorted by falling length; per curve sample numbers and values of its breakpoints."""
    lengths = np.array([len(samples.batch) for samples in many])
    count, longest = len(many), int(lengths[0])
    series = len(many[0].never_under) + len(many[0].never_over)
    batch = np.ones((longest, count))
    value = np.ones((longest, count, series))
    for column, samples in enumerate(many):
        batch[: lengths[column], column] = samples.batch
        for row, one in enumerate((*samples.never_under, *samples.never_over)):
            value[: lengths[column], column, row] = one
    is_under = np.arange(series) < under
    low_factor = np.where(is_under, 1 + _MARGIN, (1 - tolerance) * (1 + _MARGIN))
    high_factor = np.where(is_under, (1 + tolerance) * (1 - _MARGIN), 1 - _MARGIN)
    start_factor = np.where(is_under, (1 + tolerance) ** 0.5, (1 - tolerance) ** 0.5)
    alive = np.searchsorted(-lengths, -np.arange(longest), side="left")  # curves longer than k samples
    best: list[tuple[list[int], list[Floats]]] | None = None
    for connect in (True, False):
        pass_knots = _cone_pass(batch, value, alive, (low_factor, high_factor, start_factor), connect)
        if best is None:
            best = pass_knots
        else:
            best = [a if len(a[0]) <= len(b[0]) else b for a, b in zip(best, pass_knots, strict=True)]
    return best or []


def _cone_pass(
    batch: Floats, value: Floats, alive: Integers, factors: tuple[Floats, ...], connect: bool
) -> list[tuple[list[int], list[Floats]]]:
    """One pass: the cone of slopes of each curve, advanced by one sample at a time."""
    low_factor, high_factor, start_factor = factors
    longest, count, _ = value.shape
    knots: list[list[int]] = [[0] for _ in range(count)]
    start = value[0] * start_factor
    values: list[list[Floats]] = [[start[column].copy()] for column in range(count)]
    origin = batch[0].copy()
    floor = np.full_like(start, -np.inf)
    roof = np.full_like(start, np.inf)

    def close(columns: Integers, sample: int) -> Floats:
        """Ends the running segment of some curves at a sample, as near to its starting factor as the cone allows."""
        run = (batch[sample, columns] - origin[columns])[:, None]
        wish = value[sample, columns] * start_factor
        alone = run[:, 0] == 0
        run[alone] = 1.0
        slope = np.clip((wish - start[columns]) / run, floor[columns], roof[columns])
        end: Floats = np.where(alone[:, None], start[columns], start[columns] + slope * run)
        for place, column in enumerate(columns):
            if not alone[place]:
                knots[column].append(sample)
                values[column].append(end[place])
        return end

    for sample in range(1, longest):
        now = int(alive[sample])
        before = int(alive[sample - 1])
        if now < before:
            close(np.arange(now, before), sample - 1)
        low, high = value[sample, :now] * low_factor, value[sample, :now] * high_factor
        run = (batch[sample, :now] - origin[:now])[:, None]
        new_floor = np.maximum(floor[:now], (low - start[:now]) / run)
        new_roof = np.minimum(roof[:now], (high - start[:now]) / run)
        stuck = np.flatnonzero((new_floor > new_roof).any(axis=1))
        if len(stuck):
            end = close(stuck, sample - 1)
            if connect:
                start[stuck], origin[stuck] = end, batch[sample - 1, stuck]
                step = (batch[sample, stuck] - origin[stuck])[:, None]
                new_floor[stuck], new_roof[stuck] = (low[stuck] - end) / step, (high[stuck] - end) / step
            else:
                start[stuck], origin[stuck] = value[sample, stuck] * start_factor, batch[sample, stuck]
                new_floor[stuck], new_roof[stuck] = -np.inf, np.inf
                for column in stuck:
                    knots[column].append(sample)
                    values[column].append(start[column].copy())
        floor[:now], roof[:now] = new_floor, new_roof
    close(np.arange(int(alive[longest - 1])), longest - 1)
    return list(zip(knots, values, strict=True))


def _rounded(samples: Samples, knots: list[int], values: list[Floats], tolerance: Fraction) -> Fit:
    """Rounds a fit outwards to nine digits, and checks it exactly."""
    under = len(samples.never_under)
    ends = np.array(knots)
    columns = np.array(values)
    shares = weights(samples.batch, ends)
    worst = 0.0
    done: list[tuple[Fraction, ...]] = []
    for row, series in enumerate((*samples.never_under, *samples.never_over)):
        checked = one_sided if float(series.max()) <= WIDEST * float(series.min()) else one_sided_wide
        numbers, error_here = checked(samples.batch, series, shares, columns[:, row], row < under)
        worst = max(worst, error_here)
        done.append(numbers)
    error = Fraction(-(-(ceil(worst * 1e12) + 1) // 1000), 10**9)
    if error > tolerance:
        raise ArithmeticError(f"fit error {float(error)} is above the tolerance {float(tolerance)}")
    return Fit(tuple(samples.batch[ends].tolist()), tuple(done[:under]), tuple(done[under:]), error)
