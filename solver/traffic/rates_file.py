"""Rates per period, read from a file."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from costmodels.errors import Fault, InputError
from costmodels.table import text_of
from costmodels.trace_rows import csv_lines, full_rows
from solver.traffic.rates import MOST_PERIODS
from solver.traffic.requests import shortened
from solver.traffic.scale import check_scale
from solver.traffic.times import NS_PER_S, Clock, iso_text, number_ns

MOST_RATE = 10**9
HEADERS = (("start_s", "requests_per_s"), ("time", "requests_per_s"))


@dataclass(frozen=True)
class Rates:
    """
    Requests per second, period by period.

    Parameters
    ----------
    name
        What to call them in reports.
    period_s
        Length of every period in seconds.
    workloads
        Names of the workloads; one None where the file names none.
    requests_per_s
        Per workload the rate of each period.
    start
        ISO 8601 time of the first period; None where the file counts from 0.
    notes
        What is to be known; a line each.
    """

    name: str
    period_s: Fraction
    workloads: tuple[str | None, ...]
    requests_per_s: tuple[tuple[Fraction, ...], ...]
    start: str | None = None
    notes: tuple[str, ...] = ()


def read_rates(path: Path | str, *, rate_scale: Fraction = Fraction(1), time_scale: Fraction = Fraction(1)) -> Rates:
    """
    Reads rates per period: CSV ``start_s,requests_per_s`` or ``time,requests_per_s`` (ISO 8601), plain or gzip.

    A third column ``workload`` may name the workload of a row. Periods follow one another at equal distance; the last
    is as long as the others.

    Parameters
    ----------
    path
        The file.
    rate_scale
        Rates are multiplied by this.
    time_scale
        Lengths of periods are multiplied by this; rates stay.

    Raises
    ------
    InputError
        When the file cannot be read or a line of it is wrong; at most 20 faults are listed.
    """
    path = Path(path)
    faults = [*check_scale("--rate-scale", rate_scale), *check_scale("--time-scale", time_scale)]
    text = text_of(path)
    lines = csv_lines(path, text, "start_s,requests_per_s", faults)
    header = tuple(lines[0][1]) if lines else ()
    if (lines and header[:2] not in HEADERS) or header[2:] not in ((), ("workload",)):
        must = "start_s,requests_per_s or time,requests_per_s, and may have a third column workload"
        faults.append(Fault(f"{path}:1", f"got the header {','.join(header)[:80]}, must be {must}"))
    if faults:
        raise InputError(faults)
    table = _Table(path, header[0])
    for line, cells in full_rows(path, text, lines, faults):
        table.add(line, cells, faults)
    period_ns = table.period(faults)
    if faults:
        raise InputError(shortened(str(path), faults))
    starts = sorted(table.lines)
    given = list(table.lines)
    late = [table.lines[b] for a, b in pairwise(given) if b < a]
    notes = (f"{len(late)} periods before the one above sorted, the first in line {late[0]}",) if late else ()
    rates = [tuple(of[start] * rate_scale for start in starts) for of in table.series.values()]
    return Rates(
        name=path.name.removesuffix(".gz").rsplit(".", 1)[0],
        period_s=Fraction(period_ns, NS_PER_S) * time_scale,
        workloads=tuple(table.series),
        requests_per_s=tuple(rates),
        start=iso_text(starts[0], True in table.zones) if header[0] == "time" else None,
        notes=notes,
    )


class _Table:
    """The rows of a file of rates, as they come."""

    def __init__(self, path: Path, time: str) -> None:
        self.path, self.time, self.clock = path, time, Clock()
        self.series: dict[str | None, dict[int, Fraction]] = {}
        self.lines: dict[int, int] = {}
        self.zones: dict[bool, int] = {}

    def add(self, line: int, cells: list[str], faults: list[Fault]) -> None:
        """One row."""
        where = f"{self.path}:{line}"
        start, rate = self._start(line, cells[0], faults), _rate(f"{where} requests_per_s", cells[1], faults)
        if start is None or rate is None:
            return
        of = self.series.setdefault(cells[2] if len(cells) > 2 else None, {})
        if start in of:
            faults.append(Fault(f"{where} {self.time}", "this period is given twice; keep one"))
        of[start] = rate
        self.lines.setdefault(start, line)

    def _start(self, line: int, cell: str, faults: list[Fault]) -> int | None:
        where = f"{self.path}:{line} {self.time}"
        if self.time == "start_s":
            ns = number_ns(cell, Fraction(1))
            if ns is None:
                faults.append(Fault(where, f"got {cell[:60]!r}, must be a number of seconds, at least 0"))
            return ns
        time = self.clock.iso(cell)
        if time is None:
            faults.append(Fault(where, f"got {cell[:60]!r}, must be a date and time such as 2024-05-10T00:05:00Z"))
            return None
        self.zones.setdefault(time[1], line)
        return time[0]

    def period(self, faults: list[Fault]) -> int:
        """The distance of the periods; faults where it differs, or a workload lacks a period."""
        if len(self.zones) == 2:
            words = f"has an offset from UTC, line {self.zones[False]} has none; write it everywhere"
            faults.append(Fault(f"{self.path}:{self.zones[True]} time", words))
        return 0 if faults else _period(self.path, self.series, self.lines, faults)


def _rate(where: str, cell: str, faults: list[Fault]) -> Fraction | None:
    try:
        rate = Fraction(cell) if len(cell) <= 40 and "/" not in cell and "e" not in cell.lower() else None
    except ValueError:
        rate = None
    if rate is None or not 0 <= rate <= MOST_RATE:
        faults.append(Fault(where, f"got {cell[:60]!r}, must be a plain number from 0 to {MOST_RATE}"))
        return None
    return rate


def _period(
    path: Path, series: dict[str | None, dict[int, Fraction]], lines: dict[int, int], faults: list[Fault]
) -> int:
    """The distance of the periods; faults where it differs, or a workload lacks a period."""
    starts = sorted(lines)
    if not 2 <= len(starts) <= MOST_PERIODS:
        words = f"holds {len(starts)} periods, must be 2 to {MOST_PERIODS}: their length is the distance of two"
        faults.append(Fault(str(path), words))
        return 0
    steps = [b - a for a, b in pairwise(starts)]
    period = min(steps)
    for start, step in zip(starts[1:], steps, strict=True):
        if step % period:
            words = f"starts {step / NS_PER_S:g} s after the one before, others {period / NS_PER_S:g} s; make all equal"
            faults.append(Fault(f"{path}:{lines[start]}", words))
        elif step != period:
            words = (
                f"{step // period - 1} periods are missing before this one; write them, with rate 0 where nothing came"
            )
            faults.append(Fault(f"{path}:{lines[start]}", words))
    for name, of in series.items():
        missing = [start for start in starts if start not in of]
        if missing:
            words = (
                f"workload {name} has no rate for {len(missing)} periods, the first that of this line; write 0 or more"
            )
            faults.append(Fault(f"{path}:{lines[missing[0]]} workload", words))
    return period
