"""Units and rounding: how exact rationals become coefficients that files and integers can hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from functools import lru_cache

from solver.formulation.milp import MOST_DIGITS

WIDEST = 2**59
"""Room for the sum of all terms of a row, in grid steps."""
FLOAT_DIGITS = 15
"""Decimal digits that a float always keeps: enough for rows that never leave the process."""
LEAST_DECIMALS = 9
"""Decimal places of the fine grid where there is room: ratios need them even where all rates are whole."""
COARSE_STEPS = 20_000
"""Grid steps that a flow has in a coarse model: enough to find the plan, few enough to search quickly."""
MOST_COARSE_STEPS = 10**12
"""The same for the largest fleets, see :func:`coarse_steps`."""


@dataclass(frozen=True)
class Scaling:
    """
    How request rates are written in a model.

    Rates are in units of 1/``unit`` requests/s and multiples of 10^-``decimals`` of that, with at most 12 significant
    digits. What does not fit is rounded in the direction that relaxes the model: the model's optimum is then a bound,
    and the exact step (:mod:`solver.optimise`) closes what rounding opened.

    Parameters
    ----------
    unit
        Units per request/s.
    decimals
        Decimal places of the fine grid, on which rows without flow variables are written.
    flow_decimals
        Decimal places of the grid of flows; may be negative. In a coarse model it is much coarser than ``decimals``.
    """

    unit: int
    decimals: int
    flow_decimals: int

    @property
    def step(self) -> Fraction:
        """The fine grid, in units."""
        return Fraction(10) ** -self.decimals

    @property
    def flow_step(self) -> Fraction:
        """The grid of flows, in units."""
        return Fraction(10) ** -self.flow_decimals

    def flow_up(self, requests_per_s: Fraction) -> float | int:
        """A rate on the grid of flows, not below the rate."""
        return short_up(math.ceil(requests_per_s * self.unit / self.flow_step) * self.flow_step)

    def flow_down(self, requests_per_s: Fraction) -> float | int:
        """A rate on the grid of flows, not above the rate."""
        return short_down(math.floor(requests_per_s * self.unit / self.flow_step) * self.flow_step)

    def up(self, requests_per_s: Fraction) -> float | int:
        """A rate on the fine grid, not below the rate."""
        return short_up(math.ceil(requests_per_s * self.unit / self.step) * self.step)

    def down(self, requests_per_s: Fraction) -> float | int:
        """A rate on the fine grid, not above the rate."""
        return short_down(math.floor(requests_per_s * self.unit / self.step) * self.step)


def number(value: Fraction) -> float | int:
    """A rational with few digits as PuLP wants it: an int where whole, else the float of the same decimal."""
    return int(value) if value.denominator == 1 else float(value)


def short_down(value: Fraction, digits: int = MOST_DIGITS) -> float | int:
    """The value, or the nearest number below it with so many significant digits."""
    return _short(value, ROUND_FLOOR, digits)


def short_up(value: Fraction, digits: int = MOST_DIGITS) -> float | int:
    """The value, or the nearest number above it with so many significant digits."""
    return _short(value, ROUND_CEILING, digits)


def _short(value: Fraction, rounding: str, digits: int) -> float | int:
    context = Context(prec=digits, rounding=rounding)
    return number(Fraction(context.divide(Decimal(value.numerator), Decimal(value.denominator))))


def coarse_steps(replicas: int) -> int:
    """
    Grid steps of a flow when so many replicas may carry it.

    The rate of each replica is rounded up by less than a step, the flow of N replicas by less than N steps. One replica
    more or less is 1/N of the flow, so with N^2 steps rounding hides no replica. Up to 141 replicas that is fewer than
    ``COARSE_STEPS``, which then stays.
    """
    return max(COARSE_STEPS, min(replicas * replicas, MOST_COARSE_STEPS))


def scaling_for(
    rates: Sequence[Fraction],
    most: Fraction,
    total: Fraction,
    widest: int,
    segments: int,
    coarse: bool,
    replicas: int = 0,
) -> Scaling:
    """
    The finest grid that 64-bit integers hold, in a unit in which the rates have few digits.

    Parameters
    ----------
    rates
        The rates that will be coefficients or limits, in requests/s.
    most
        An upper bound on any flow, in requests/s.
    total
        The sum of all terms that a row may have, in requests/s.
    widest
        Largest whole weight that an objective puts on a flow.
    segments
        Common denominator that interpolation brought into the rates.
    coarse
        Whether flows get a coarse grid (for back ends that know integers only).
    replicas
        Most replicas that one rate may have; a coarse grid resolves them.
    """
    unit = segments if 1 < segments <= 10**6 and any(_digits(rate) > MOST_DIGITS for rate in rates) else 1
    units = most * unit
    room = math.floor(math.log10(WIDEST / (max(1, widest) * max(total, most) * unit))) if units else 0
    needed = max((_decimals(rate * unit) for rate in rates), default=0)
    fine = max(0, min(room, max(needed, LEAST_DECIMALS)))
    if not coarse:
        return Scaling(unit, fine, fine)
    return Scaling(unit, fine, min(fine, math.floor(math.log10(coarse_steps(replicas) / units))) if units else 0)


@lru_cache(maxsize=2**16)
def _digits(value: Fraction) -> int:
    """Significant decimal digits of a rational; many where it does not terminate."""
    return len(str(int(value * 10 ** _decimals(value))).strip("0"))


@lru_cache(maxsize=2**16)
def _decimals(value: Fraction) -> int:
    """Decimal places of a rational, 18 at most."""
    return next((places for places in range(18) if 10**places % value.denominator == 0), 18)
