"""Exact one-sidedness: values as decimals of nine digits, interpolation and comparison in integers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, log10

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DIGITS = 9
"""Significant digits of a breakpoint's value."""
_SCALE_DIGITS = 12
"""Samples are compared as integers below ten to this power."""
WIDEST = 1e4
"""Largest ratio within a series that integers of that size serve."""
_POWERS = 10 ** np.arange(_SCALE_DIGITS + 1, dtype=np.int64)
_BLOCK = 2**14
"""Samples looked at together: few enough to stay in the cache of a core."""


@dataclass(frozen=True)
class Flat:
    """
    The samples of many curves, one curve after another.

    Parameters
    ----------
    lengths, first
        Samples of each curve, and the place of its first.
    batch
        Batches.
    series
        Values, each of the shape of ``batch``.
    """

    lengths: Integers
    first: Integers
    batch: Integers
    series: list[Floats]

    def highest(self, row: int) -> Floats:
        """Largest sample of each curve."""
        return np.asarray(np.maximum.reduceat(self.series[row], self.first))

    def lowest(self, row: int) -> Floats:
        """Smallest sample of each curve."""
        return np.asarray(np.minimum.reduceat(self.series[row], self.first))


@dataclass(frozen=True)
class Shares:
    """
    How samples lie between breakpoints.

    Parameters
    ----------
    counts, first
        Breakpoints of each curve, and the number of its first.
    knot
        The sample that each breakpoint is at.
    left, right
        The breakpoints on both sides of each sample.
    left_weight, right_weight
        Their integer weights.
    """

    counts: Integers
    first: Integers
    knot: Integers
    left: Integers
    right: Integers
    left_weight: Integers
    right_weight: Integers


def weights(flat: Flat, counts: Integers, sample: Integers) -> Shares:
    """
    Places samples between breakpoints.

    Parameters
    ----------
    flat
        The samples.
    counts, sample
        Breakpoints of each curve, and which of its samples they are; the first and the last sample are among them.
    """
    first = np.cumsum(counts) - counts
    knot = sample + np.repeat(flat.first, counts)
    right = np.repeat(np.arange(len(knot)), np.diff(knot, prepend=-1))
    several = counts > 1
    right[flat.first[several]] += 1
    left = right - 1
    alone = flat.first[~several]
    left[alone] = right[alone]
    share = flat.batch - flat.batch[knot[left]]
    rest = flat.batch[knot[right]] - flat.batch
    rest[alone] = 1
    return Shares(counts, first, knot, left, right, rest, share)


def one_sided(flat: Flat, row: int, shares: Shares, values: Floats, is_under: bool) -> tuple[list[Fraction], Floats]:
    """
    Rounds breakpoint values outwards to nine digits; checks in integers that fits are on their side of every sample.

    A sample is a float64. Times a power of ten (below 10^12, so off by less than 10^-3) and moved outwards by 10^-3
    and to the next integer, it bounds the exact value. Products stay below 2^63: 10^12 x 2^21 x 2. The largest value is
    10^11 at least, so in a series of at most ``WIDEST`` a unit is 10^-7 of a sample or less. Series that span more are
    checked in fractions: slower.

    Parameters
    ----------
    flat, row
        The samples, and which of their series.
    shares
        Of :func:`weights`.
    values
        Values at the breakpoints.
    is_under
        True: the fits must not be under a sample; False: not over one.

    Returns
    -------
    tuple
        The rounded values, and the largest relative error of each curve.

    Raises
    ------
    ArithmeticError
        When one is on the wrong side.
    """
    highest = flat.highest(row)
    wide = highest > WIDEST * flat.lowest(row)
    tops = np.maximum(highest, np.maximum.reduceat(values, shares.first)).tolist()
    exponents = [_SCALE_DIGITS - 1 - floor(log10(top)) for top in tops]
    up = np.array([10.0 ** max(0, exponent) for exponent in exponents])
    down = np.array([10.0 ** max(0, -exponent) for exponent in exponents])
    ends = values * np.repeat(up, shares.counts) / np.repeat(down, shares.counts)
    unit = _POWERS[np.maximum(0, np.floor(np.log10(ends)).astype(np.int64) + 1 - DIGITS)]
    numbers = (np.ceil(ends / unit) if is_under else np.floor(ends / unit)).astype(np.int64) * unit
    worst = np.empty(len(flat.lengths))
    for curves, samples in _blocks(flat):
        lengths = flat.lengths[curves]
        scaled = flat.series[row][samples] * np.repeat(up[curves], lengths) / np.repeat(down[curves], lengths)
        weighted, width = _weighted(shares, samples, numbers)
        bound = (np.floor(scaled + 1e-3) + 1 if is_under else np.ceil(scaled - 1e-3) - 1).astype(np.int64) * width
        wrong = weighted < bound if is_under else weighted > bound
        if bool(wrong.any()) and bool((wrong := wrong & ~np.repeat(wide[curves], lengths)).any()):
            raise _wrong_side(int(flat.batch[samples][wrong.argmax()]))
        ratio = weighted / (width * scaled)
        begins = flat.first[curves] - samples.start
        worst[curves] = np.maximum.reduceat(ratio, begins) - 1 if is_under else 1 - np.minimum.reduceat(ratio, begins)
    bottoms = np.repeat(np.arange(len(exponents)), shares.counts).tolist()
    scales = [(10 ** max(0, -exponent), 10 ** max(0, exponent)) for exponent in exponents]
    rounded = [
        Fraction(number * scales[curve][0], scales[curve][1])
        for number, curve in zip(numbers.tolist(), bottoms, strict=True)
    ]
    for curve in np.flatnonzero(wide).tolist():
        worst[curve] = _in_fractions(flat, row, shares, values, is_under, curve, rounded)
    return rounded, worst


def _blocks(flat: Flat) -> list[tuple[slice, slice]]:
    """Runs of curves with so many samples, and their samples."""
    found, start = [], 0
    ends = flat.first + flat.lengths
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(ends, flat.first[start] + _BLOCK, side="right")))
        found.append((slice(start, stop), slice(int(flat.first[start]), int(ends[stop - 1]))))
        start = stop
    return found


def _weighted(shares: Shares, samples: slice, numbers: Integers) -> tuple[Integers, Integers]:
    """The fits at the samples, times the width of the segment; and that width."""
    low, high = shares.left_weight[samples], shares.right_weight[samples]
    return numbers[shares.left[samples]] * low + numbers[shares.right[samples]] * high, low + high


def _in_fractions(
    flat: Flat, row: int, shares: Shares, values: Floats, is_under: bool, curve: int, rounded: list[Fraction]
) -> float:
    """Rounds and checks one curve in fractions, puts its values into ``rounded``; gives its largest error."""
    knots = slice(int(shares.first[curve]), int(shares.first[curve] + shares.counts[curve]))
    rounded[knots] = [_nine_digits(value, is_under) for value in values[knots].tolist()]
    worst = Fraction(0)
    begin = int(flat.first[curve])
    for place in range(begin, begin + int(flat.lengths[curve])):
        low, high = int(shares.left_weight[place]), int(shares.right_weight[place])
        fitted = (rounded[shares.left[place]] * low + rounded[shares.right[place]] * high) / (low + high)
        raw = Fraction(float(flat.series[row][place]))
        error = fitted / raw - 1 if is_under else 1 - fitted / raw
        if error < 0:
            raise _wrong_side(int(flat.batch[place]))
        worst = max(worst, error)
    return float(worst)


def _wrong_side(batch: int) -> ArithmeticError:
    return ArithmeticError(f"the fit is on the wrong side of the sample at batch {batch}")


def _nine_digits(value: float, up: bool) -> Fraction:
    """The next decimal of nine significant digits at or above (below) a positive float, exactly."""
    unit = Fraction(10) ** (floor(log10(value)) + 1 - DIGITS)
    ratio = Fraction(value) / unit
    return (ceil(ratio) if up else floor(ratio)) * unit
