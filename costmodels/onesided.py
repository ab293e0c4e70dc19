"""Values as decimals of nine digits, and the check that a fit is on its side of every sample."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from costmodels.decimals import Decimals

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

DIGITS = 9
"""Significant digits of a breakpoint's value."""
WIDEST = 1e4
"""Largest ratio within a series that is checked in floats."""
_SURE = 1e-9
"""
In floats a fit must be this part of a sample on its side. The float of a fit over a sample is off by less than
``3 u (1.5 WIDEST) + 5 u``, u = 2^-53: three roundings of a difference of breakpoints (which are at most 1.5 times the
largest sample), and those of its sum, of the breakpoints and of the quotient. That is below 10^-11.
"""
_BLOCK = 2**14
"""Samples looked at together: few enough to stay in the cache of a core."""
POWERS = 10 ** np.arange(19, dtype=np.int64)
"""Powers of ten that 64 bits hold."""
_TENS = [10**places for places in range(400)]


@dataclass(frozen=True)
class Flat:
    """
    The samples of many curves, one curve after another.

    Parameters
    ----------
    lengths, first
        Samples of each curve, and the place of its first.
    batch
        Batches, whole numbers, shape (samples,).
    series
        Values, shape (series, samples).
    """

    lengths: Integers
    first: Integers
    batch: Floats
    series: Floats

    @property
    def count(self) -> int:
        """Samples of all curves."""
        return len(self.batch)

    @cached_property
    def spans(self) -> Floats:
        """Largest over smallest sample of each series of each curve, shape (series, curves)."""
        highest = np.maximum.reduceat(self.series, self.first, axis=1)
        return np.asarray(highest / np.minimum.reduceat(self.series, self.first, axis=1))


@dataclass(frozen=True)
class Segments:
    """
    Segments between the breakpoints of many curves; the last breakpoint of a curve is a segment of its own.

    Parameters
    ----------
    counts, first
        Breakpoints of each curve, and the number of its first.
    knot
        The sample that each breakpoint is at.
    samples
        Samples of each segment, from its breakpoint to before the next one.
    width
        Batches from each breakpoint to the next one; 1 at the last.
    last
        The last breakpoint of each curve.
    """

    counts: Integers
    first: Integers
    knot: Integers
    samples: Integers
    width: Floats
    last: Integers


def segments(flat: Flat, counts: Integers, knot: Integers) -> Segments:
    """
    The segments of fits.

    Parameters
    ----------
    flat
        The samples.
    counts, knot
        Breakpoints of each curve, and which of all samples they are; first and last sample of a curve are among them.
    """
    ends = np.cumsum(counts)
    width = np.diff(flat.batch[knot], append=0.0)
    width[ends - 1] = 1.0
    return Segments(counts, ends - counts, knot, np.diff(knot, append=flat.count), width, ends - 1)


@dataclass(frozen=True)
class Rounded:
    """
    Breakpoint values of nine digits.

    Parameters
    ----------
    number
        Values times ten to the power of ``places``.
    places
        Of each curve: decimal places, below 0 where only tens, hundreds, ... are left.
    """

    number: Integers
    places: Integers

    def decimals(self, counts: Integers) -> list[Decimals]:
        """The values of each curve, exactly."""
        numbers, found, first = self.number.tolist(), [], 0
        for count, places in zip(counts.tolist(), self.places.tolist(), strict=True):
            part = numbers[first : first + count]
            first += count
            found.append(Decimals(part, _TENS[places]) if places >= 0 else Decimals([n * 10**-places for n in part], 1))
        return found


def rounded(values: Floats, of: Segments, is_under: bool) -> Rounded:
    """
    Rounds breakpoint values outwards to nine digits.

    Numbers stay below 2^63: of nine digits, and in a series that spans 10^8 at most.

    Parameters
    ----------
    values
        Values at the breakpoints, positive.
    of
        The breakpoints.
    is_under
        True: upwards, the fits must not be under a sample; False: downwards.
    """
    places = DIGITS - 1 - np.floor(np.log10(values)).astype(np.int64)
    scaled = values * 10.0 ** np.maximum(0, places) / 10.0 ** np.maximum(0, -places)
    digits = (np.ceil(scaled) if is_under else np.floor(scaled)).astype(np.int64)
    common = np.maximum.reduceat(places, of.first)
    return Rounded(digits * POWERS[np.repeat(common, of.counts) - places], common)


def errors(flat: Flat, row: int, of: Segments, fit: Rounded, is_under: bool) -> tuple[Floats, Flags]:
    """
    Checks that fits are on their side of every sample.

    Series that span more than ``WIDEST`` are checked in fractions: slower.

    Parameters
    ----------
    flat, row
        The samples, and which of their series.
    of, fit
        Breakpoints, and the values there.
    is_under
        True: the fits must not be under a sample; False: not over one.

    Returns
    -------
    tuple
        Of each curve the largest relative error, off by less than 10^-11; and whether it is on its side for sure.
    """
    places = np.repeat(fit.places, of.counts)
    value = fit.number / 10.0 ** np.maximum(0, places) * 10.0 ** np.maximum(0, -places)
    slope = np.diff(value, append=0.0) / of.width
    slope[of.last] = 0.0
    least, most = np.empty(len(flat.lengths)), np.empty(len(flat.lengths))
    for curves in _blocks(flat):
        knots = slice(int(of.first[curves.start]), int(of.last[curves.stop - 1]) + 1)
        begin, many = int(of.knot[knots.start]), of.samples[knots]
        part = slice(begin, begin + int(many.sum()))
        ratio = flat.batch[part] - np.repeat(flat.batch[of.knot[knots]], many)
        ratio *= np.repeat(slope[knots], many)
        ratio += np.repeat(value[knots], many)
        ratio /= flat.series[row, part]
        first = flat.first[curves] - begin
        least[curves], most[curves] = np.minimum.reduceat(ratio, first), np.maximum.reduceat(ratio, first)
    wide = flat.spans[row] > WIDEST
    sure = least >= 1 + _SURE if is_under else most <= 1 - _SURE
    worst = most - 1 if is_under else 1 - least
    exact = fit.decimals(of.counts) if wide.any() else []
    for curve in np.flatnonzero(wide).tolist():
        least_error, most_error = _in_fractions(flat, row, of, curve, exact[curve], 1 if is_under else -1)
        sure[curve], worst[curve] = least_error >= 0, float(most_error)
    return worst, sure


def _blocks(flat: Flat) -> list[slice]:
    """Runs of curves with so many samples."""
    found, start = [], 0
    ends = flat.first + flat.lengths
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(ends, flat.first[start] + _BLOCK, side="right")))
        found.append(slice(start, stop))
        start = stop
    return found


def _in_fractions(
    flat: Flat, row: int, of: Segments, curve: int, fit: Decimals, sign: int
) -> tuple[Fraction, Fraction]:
    """Smallest and largest error of one curve."""
    knots = slice(int(of.first[curve]), int(of.last[curve]) + 1)
    found = []
    ends = zip(of.knot[knots].tolist(), of.samples[knots].tolist(), of.width[knots].tolist(), strict=True)
    for number, (knot, samples, width) in enumerate(ends):
        left, right = fit[number], fit[min(number + 1, len(fit) - 1)]
        for place in range(knot, knot + samples):
            share = Fraction(int(flat.batch[place] - flat.batch[knot]), int(width))
            at = left + (right - left) * share
            found.append(sign * (at / Fraction(float(flat.series[row, place])) - 1))
    return min(found), max(found)
