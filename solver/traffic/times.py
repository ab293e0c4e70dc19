"""Points in time as traces write them, read exactly, in nanoseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from costmodels.errors import Fault, InputError

NS_PER_S = 10**9
MOST_S = 10**10
"""Largest number of seconds in a trace, some three centuries."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,12}))?)?(Z|[+-]\d\d:?\d\d)?")
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,15})?")


class Clock:
    """Reads times of one file, and remembers what it need not compute again."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str, str, str], int] = {}

    def iso(self, text: str) -> tuple[int, bool] | None:
        """
        An ISO 8601 date and time.

        Returns
        -------
        tuple[int, bool] | None
            Nanoseconds since 1970 (UTC, or by the clock on the wall where there is no offset), and whether there is an
            offset; None where the text is no date and time. Digits beyond the nanosecond are cut off.
        """
        found = _ISO.fullmatch(text.strip())
        if not found:
            return None
        day, minute, second, fraction, offset = found.groups(default="")
        key = (day, minute, second, offset)
        if key not in self._seconds:
            try:
                when = datetime.fromisoformat(f"{day}T{minute}:{second or '00'}{offset}")
                since = (when if offset else when.replace(tzinfo=UTC)) - _EPOCH
            except (ValueError, OverflowError):
                return None
            self._seconds[key] = since // timedelta(seconds=1)
        return self._seconds[key] * NS_PER_S + int((fraction + "000000000")[:9]), bool(offset)


def number_ns(text: str, unit: Fraction) -> int | None:
    """
    A time counted from a start, in nanoseconds; None where the text is no such number.

    Parameters
    ----------
    text
        A decimal number, at least 0.
    unit
        Seconds of the unit it is in.
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    seconds = Fraction(text) * unit
    return round(seconds * NS_PER_S) if seconds <= MOST_S else None


def iso_text(ns: int, has_offset: bool) -> str:
    """A date and time for people, to the second."""
    when = _EPOCH + timedelta(seconds=ns // NS_PER_S)
    return f"{when:%Y-%m-%dT%H:%M:%S}{'Z' if has_offset else ''}"


def seconds_of(text: str, option: str = "--period") -> Fraction:
    """
    A length of time such as ``90``, ``90s``, ``5m``, ``1h`` or ``1.5h``, in seconds.

    Raises
    ------
    InputError
        When it is no such length, or not above 0.
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*(s|m|min|h|d)?", text.strip())
    seconds = Fraction(found[1]) * _SECONDS[found[2] or "s"] if found else Fraction(0)
    if seconds <= 0:
        raise InputError([Fault(option, f"got {text!r}, must be a time above 0 such as 30s, 5m or 1h")])
    return seconds


_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def seconds_text(seconds: Fraction | int) -> str:
    """A length of time for people: 90 s, 5 min, 1 h."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{float(seconds):g} s"
