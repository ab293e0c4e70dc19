"""The import itself: files in, one checked table and a report out."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from costmodels.errors import Fault, InputError
from costmodels.imports.engine import Given, asked_faults
from costmodels.imports.reading import Reading
from costmodels.imports.registry import FORMATS
from costmodels.imports.rows import Row, contents, curve_notes, length_note, table_text, without_repeats
from costmodels.table import read_table

MOST_FAULTS = 20
LARGEST_COUNT = 999_999_999
"""The largest whole number that a table takes."""


@dataclass(frozen=True)
class Imported:
    """
    A table made of other tools' files.

    Parameters
    ----------
    text
        The table, accepted by :func:`costmodels.table.read_table`.
    report
        Lines that say what it holds, what was dropped and why, and what to know about it.
    """

    text: str
    report: tuple[str, ...]

    def content(self, path: Path) -> bytes:
        """The bytes for a file of that name: gzip for ``.gz``, the same bytes for the same table."""
        data = self.text.encode()
        return gzip.compress(data, mtime=0) if path.suffix == ".gz" else data


def check_output(path: Path) -> None:
    """
    Says early that the table could not be read under that name.

    Raises
    ------
    InputError
        When the name does not end in ``.csv`` or ``.csv.gz``.
    """
    if not path.name.endswith((".csv", ".csv.gz")):
        raise InputError([Fault("--output", f"got {path.name}, must end in .csv or .csv.gz")])


def convert(name: str, paths: Sequence[Path], given: Given) -> Imported:
    """
    Reads the files of one format.

    Parameters
    ----------
    name
        A key of :data:`costmodels.imports.registry.FORMATS`.
    paths
        The files.
    given
        What the user says; it stands in for what the files lack.

    Raises
    ------
    InputError
        With all faults of all files, and an option for each thing that must be asked for.
    """
    if name not in FORMATS:
        raise InputError([Fault("FORMAT", f"got {name}, must be one of {', '.join(FORMATS)}")])
    reading = Reading()
    read = FORMATS[name].reader()
    rows = [row for path in paths for row in read(path, given, reading)]
    faults = [Fault(where, text) for where, text in asked_faults(reading)] + reading.faults
    rows = _whole(rows, reading, faults)
    if faults:
        raise InputError(faults[:MOST_FAULTS] + _rest(faults))
    text = table_text(rows)
    _accepted(text)
    return Imported(text, tuple(_report(rows, reading)))


def _whole(rows: list[Row], reading: Reading, faults: list[Fault]) -> list[Row]:
    """The rows without repeats; a fault where none is left, or one cannot be written."""
    known = len(reading.faults)
    kept = without_repeats(rows, reading)
    faults += reading.faults[known:]
    for row in kept:
        if max(row.batch, row.isl, row.osl or 0) > LARGEST_COUNT:
            text = (
                f"batch {row.batch:.3g}, isl {row.isl:.3g}, osl {row.osl or 0:.3g}: no more than {LARGEST_COUNT:,} each"
            )
            faults.append(Fault(row.where, f"{text}; check the file"))
        for value in row.measures:
            if value is not None and not 1e-9 <= value <= 1e12:
                faults.append(Fault(row.where, f"{value!r} is outside of 1e-9 to 1e12; check the units of the file"))
    if not kept and not faults:
        why = "; ".join(f"{count} {reason}" for reason, count in reading.dropped.items()) or "the files hold none"
        faults.append(Fault("files", f"no usable measurement: {why}"))
    return kept


def _rest(faults: list[Fault]) -> list[Fault]:
    more = len(faults) - MOST_FAULTS
    return [Fault("files", f"and {more} more faults")] if more > 0 else []


def _accepted(text: str) -> None:
    """The table goes through the reader that will read it; what it refuses is never written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "imported.csv"
        path.write_text(text, "utf-8")
        read_table(path)


def _report(rows: list[Row], reading: Reading) -> list[str]:
    lines = [f"{len(rows)} row{'s' if len(rows) > 1 else ''}:", *contents(rows)]
    if reading.dropped:
        lines.append(f"{sum(reading.dropped.values())} measurements dropped:")
        lines += [f"{count:>5} {reason}" for reason, count in sorted(reading.dropped.items())]
    notes = [f"{text} ({count})" if count > 1 else text for text, count in sorted(reading.notes.items())]
    notes += curve_notes(rows) + length_note(rows)
    if reading.unread:
        fields = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(reading.unread.items()))
        notes.append(f"fields that the importer does not know, not used: {fields}")
    return lines + [f"note: {text}" for text in notes]
