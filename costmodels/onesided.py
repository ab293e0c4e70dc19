"""Exact one-sidedness: values as decimals of nine digits, interpolation and comparison in integers."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, log10

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Weights = tuple[Integers, Integers, Integers, Integers]

DIGITS = 9
"""Significant digits of a breakpoint's value."""
_SCALE_DIGITS = 12
"""Samples are compared as integers below ten to this power."""
WIDEST = 1e4
"""Largest ratio within a series that integers of that size serve."""
_POWERS = 10 ** np.arange(_SCALE_DIGITS + 1, dtype=np.int64)


def weights(batch: Integers, ends: Integers) -> Weights:
    """Per sample: the breakpoints left and right of it, and their integer weights."""
    right = np.clip(np.searchsorted(ends, np.arange(len(batch))), min(1, len(ends) - 1), len(ends) - 1)
    left = np.maximum(right - 1, 0)
    share = batch - batch[ends[left]]
    rest = np.maximum(batch[ends[right]] - batch, 0)
    return left, right, np.where(left == right, 1, rest), share


def one_sided(
    batch: Integers, series: Floats, shares: Weights, values: Floats, is_under: bool
) -> tuple[tuple[Fraction, ...], float]:
    """
    Rounds breakpoint values outwards to nine digits, checks in integers that the fit is on its side of every sample.

    A sample is a float64. Times a power of ten (below 10^12, so off by less than 10^-3) and moved outwards by 10^-3
    and to the next integer, it bounds the exact value. Products stay below 2^63: 10^12 x 2^21 x 2. The largest value is
    10^11 at least, so in a series of at most ``WIDEST`` a unit is 10^-7 of a sample or less.

    Parameters
    ----------
    batch, series
        The samples.
    shares
        Of :func:`weights`.
    values
        Values at the breakpoints.
    is_under
        True: the fit must not be under a sample; False: not over one.

    Returns
    -------
    tuple
        The rounded values, and the largest relative error.

    Raises
    ------
    ArithmeticError
        When it is on the wrong side.
    """
    exponent = _SCALE_DIGITS - 1 - floor(log10(max(float(values.max()), float(series.max()))))
    scaled, ends = _scaled(series, exponent), _scaled(values, exponent)
    unit = _POWERS[np.maximum(0, np.floor(np.log10(ends)).astype(np.int64) + 1 - DIGITS)]
    numbers = (np.ceil(ends / unit) if is_under else np.floor(ends / unit)).astype(np.int64) * unit
    left, right, left_weight, right_weight = shares
    width = left_weight + right_weight
    weighted = numbers[left] * left_weight + numbers[right] * right_weight
    bound = (np.floor(scaled + 1e-3) + 1 if is_under else np.ceil(scaled - 1e-3) - 1).astype(np.int64) * width
    wrong = weighted < bound if is_under else weighted > bound
    if bool(wrong.any()):
        raise ArithmeticError(f"the fit is on the wrong side of the sample at batch {int(batch[wrong.argmax()])}")
    ratio = weighted / (width * scaled)
    top, bottom = 10 ** max(0, -exponent), 10 ** max(0, exponent)
    rounded = tuple(Fraction(number * top, bottom) for number in numbers.tolist())
    return rounded, float(ratio.max() - 1 if is_under else 1 - ratio.min())


def one_sided_wide(
    batch: Integers, series: Floats, shares: Weights, values: Floats, is_under: bool
) -> tuple[tuple[Fraction, ...], float]:
    """As :func:`one_sided`, in fractions: slower, for series that span more than ``WIDEST``."""
    rounded = tuple(_nine_digits(value, is_under) for value in values.tolist())
    worst = Fraction(0)
    for place, (raw, left, right, low, high) in enumerate(
        zip(series.tolist(), *(part.tolist() for part in shares), strict=True)
    ):
        fitted = (rounded[left] * low + rounded[right] * high) / (low + high)
        error = fitted / Fraction(raw) - 1 if is_under else 1 - fitted / Fraction(raw)
        if error < 0:
            raise ArithmeticError(f"the fit is on the wrong side of the sample at batch {int(batch[place])}")
        worst = max(worst, error)
    return rounded, float(worst)


def _nine_digits(value: float, up: bool) -> Fraction:
    """The next decimal of nine significant digits at or above (below) a positive float, exactly."""
    unit = Fraction(10) ** (floor(log10(value)) + 1 - DIGITS)
    ratio = Fraction(value) / unit
    return (ceil(ratio) if up else floor(ratio)) * unit


def _scaled(values: Floats, exponent: int) -> Floats:
    return values * 10.0**exponent if exponent >= 0 else values / 10.0**-exponent
