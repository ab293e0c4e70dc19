"""What a user types about a trace, read exactly."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from costmodels.errors import Fault, InputError
from costmodels.trace_rows import RowFormat
from solver.traffic.requests import Requests, read_requests
from solver.traffic.statistics import Statistics, statistics_of
from solver.traffic.times import seconds_of


def scale_of(text: str, option: str) -> Fraction:
    """
    A scale such as ``2``, ``0.5`` or ``1/3``.

    Raises
    ------
    InputError
        When it is no number, or not above 0.
    """
    try:
        scale = Fraction(text) if len(text) <= 40 else Fraction(0)
    except (ValueError, ZeroDivisionError):
        scale = Fraction(0)
    if not 0 < scale <= 10**6:
        raise InputError([Fault(option, f"got {text[:40]!r}, must be a number above 0, to 1,000,000")])
    return scale


def requests_of(
    path: Path, form: RowFormat | None = None, rate_scale: str = "1", time_scale: str = "1", seed: int = 0
) -> Requests:
    """Reads and scales a trace, from the words of a user; see :func:`solver.traffic.requests.read_requests`."""
    scales = [scale_of(rate_scale, "--rate-scale"), scale_of(time_scale, "--time-scale")]
    return read_requests(path, form=form, rate_scale=scales[0], time_scale=scales[1], seed=seed)


def described(path: Path, period: str, **read: object) -> Statistics:
    """The statistics of a trace, from the words of a user."""
    period_s = seconds_of(period)
    return statistics_of(requests_of(path, **read), period_s)  # type: ignore[arg-type]
