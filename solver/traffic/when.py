"""When the rows of a trace arrived, on one clock."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from costmodels.errors import Fault
from costmodels.trace_rows import Row, RowFormat
from solver.traffic.times import NS_PER_S, Clock, number_ns

_UNITS: dict[RowFormat, tuple[str, Fraction]] = {
    "mooncake": ("timestamp", Fraction(1, 1000)),
    "burstgpt": ("Timestamp", Fraction(1)),
}
_HOUR_NS, _MINUTE_NS = 3600 * NS_PER_S, 60 * NS_PER_S


@dataclass(frozen=True)
class Times:
    """
    Times of rows, in the order of the file.

    Parameters
    ----------
    ns
        Nanoseconds, from 1970 or from the start of the trace.
    is_dated
        Whether they are dates.
    has_offset
        Whether they have an offset from UTC.
    notes
        What was converted.
    """

    ns: list[int]
    is_dated: bool = False
    has_offset: bool = False
    notes: tuple[str, ...] = ()


def times_of(path: Path, form: RowFormat, rows: list[Row], faults: list[Fault]) -> Times:
    """
    The times of rows.

    Parameters
    ----------
    path
        The file, to be named in faults.
    form
        Its format.
    rows
        Its rows.
    faults
        Gets what is wrong: times that cannot be read, some with an offset from UTC and some without, and a clock
        without offset that goes back by an hour, as at the end of summer time.
    """
    if form == "azure":
        return _dates(path, rows, faults)
    name, unit = _UNITS[form]
    found: list[int] = []
    for row in rows:
        ns = number_ns(row.time, unit)
        if ns is None:
            got = f"got {row.time[:60]!r}" if row.time else "is missing"
            must = f"a number of {'seconds' if unit == 1 else 'milliseconds'}, at least 0"
            faults.append(Fault(f"{path}:{row.line} {name}", f"{got}, must be {must}"))
        found.append(ns or 0)
    return Times(found)


def _dates(path: Path, rows: list[Row], faults: list[Fault]) -> Times:
    clock, found = Clock(), list[int]()
    first: dict[bool, int] = {}
    offsets: dict[str, int] = {}
    for row in rows:
        time = clock.iso(row.time)
        if time is None:
            must = "a date and time such as 2023-11-16 18:15:46.6805900, or with an offset such as +01:00"
            faults.append(Fault(f"{path}:{row.line} TIMESTAMP", f"got {row.time[:60]!r}, must be {must}"))
            found.append(0)
            continue
        found.append(time[0])
        first.setdefault(time[1], row.line)
        if time[1]:
            offset = "+00:00" if row.time.strip().endswith("Z") else row.time.strip()[-6:]
            offsets.setdefault(offset, row.line)
    if len(first) == 2:
        words = (
            f"has an offset from UTC, line {first[False]} has none; which is meant cannot be told: write it everywhere"
        )
        faults.append(Fault(f"{path}:{first[True]} TIMESTAMP", words))
    if not faults and False in first:
        faults += _clocks_put_back(path, rows, found)
    notes: tuple[str, ...] = ()
    if len(offsets) > 1:
        where = ", ".join(f"{offset} (first in line {line})" for offset, line in list(offsets.items())[:5])
        notes = (f"{len(offsets)} offsets from UTC converted to it: {where}",)
    return Times(found, is_dated=True, has_offset=True in first, notes=notes)


def _clocks_put_back(path: Path, rows: list[Row], ns: list[int]) -> list[Fault]:
    """One step back by an hour in else ascending times."""
    back = [i for i in range(1, len(ns)) if ns[i] < ns[i - 1]]
    if len(back) == 1 and abs(ns[back[0] - 1] - ns[back[0]] - _HOUR_NS) < _MINUTE_NS:
        words = "goes back by an hour after the line before, as clocks do at the end of summer time; write times in UTC"
        return [Fault(f"{path}:{rows[back[0]].line} TIMESTAMP", f"{words}, or with an offset")]
    return []
