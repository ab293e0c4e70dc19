"""Rates per period, counted from a trace, exactly."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nextafter
from typing import TYPE_CHECKING

from costmodels.errors import Fault, InputError

if TYPE_CHECKING:
    from solver.traffic.requests import Requests

MOST_PERIODS = 10**5


def periods_of(requests: Requests, period_s: Fraction) -> tuple[tuple[int, ...], Fraction]:
    """
    Exact counts of arrivals per period, and the part of the last period that the trace covers.

    Parameters
    ----------
    requests
        The trace.
    period_s
        Length of a period in seconds. An arrival at the border of two belongs to the later.

    Raises
    ------
    InputError
        When the period is not above 0, or there are more than 100,000.
    """
    import numpy as np

    if period_s <= 0:
        raise InputError([Fault("--period", f"got {period_s} s, must be above 0")])
    last = Fraction(round(requests.duration_s * 10**9), 10**9)
    count = int(last // period_s) + 1
    if count > MOST_PERIODS:
        words = f"got {float(period_s):g} s, which makes {count} periods of the trace, at most {MOST_PERIODS}"
        words += "; give a longer one"
        raise InputError([Fault("--period", words)])
    borders = np.array([_float_not_below(period_s * i) for i in range(1, count)])
    counts = np.diff(np.searchsorted(requests.arrival_s, borders, side="left"), prepend=0, append=len(requests))
    return tuple(counts.tolist()), (last - (count - 1) * period_s) / period_s


def _float_not_below(number: Fraction) -> float:
    near = float(number)
    return near if Fraction(near) >= number else nextafter(near, inf)


def rates_per_period(requests: Requests, period_s: Fraction) -> tuple[Fraction, ...]:
    """
    Requests per second of each period of a trace, exactly: the count by the length.

    The trace ends with its last arrival, within a period. Where it covers at least half of that period, its rate is
    that of the covered part (without the last arrival, which ends it); where less, the period is left out
    (:func:`last_period` says which).

    Parameters
    ----------
    requests
        The trace.
    period_s
        Length of a period in seconds.

    Raises
    ------
    InputError
        When the period is not above 0, or there are more than 100,000.
    """
    counts, covered = periods_of(requests, Fraction(period_s))
    rates = [Fraction(count) / period_s for count in counts]
    if len(rates) > 1 and covered * 2 < 1:
        return tuple(rates[:-1])
    if covered > 0:
        rates[-1] = Fraction(counts[-1] - 1) / (covered * period_s)
    return tuple(rates)


def last_period(requests: Requests, period_s: Fraction) -> str:
    """What :func:`rates_per_period` does with the last period, in words."""
    counts, covered = periods_of(requests, Fraction(period_s))
    share = f"the trace covers {float(covered):.0%} of period {len(counts)}, {counts[-1]} requests"
    if len(counts) > 1 and covered * 2 < 1:
        return f"{share}: left out"
    return f"{share}: its rate is that of the covered part"
