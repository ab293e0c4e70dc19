"""
The rows of request traces, as they stand in the file: time, lengths, prefix blocks.

* ``azure``: CSV of the Azure Public Dataset: ``TIMESTAMP,ContextTokens,GeneratedTokens``;
* ``mooncake``: JSON lines of the Mooncake traces: ``timestamp`` (ms), ``input_length``, ``output_length``, ``hash_ids``
  (one id per block of 512 prompt tokens);
* ``burstgpt``: CSV of the BurstGPT traces: ``Timestamp`` (s), ``Model``, ``Request tokens``, ``Response tokens``,
  ``Total tokens``, ``Log Type``, in newer files also ``Session ID`` and ``Elapsed time``. No response tokens mean, as
  its authors say, a failed request.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from costmodels.errors import Fault

RowFormat = Literal["azure", "mooncake", "burstgpt"]
AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MOONCAKE = ("timestamp", "input_length", "output_length", "hash_ids")
BURSTGPT = ("Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type")
BURSTGPT_NEWER = ("Session ID", "Elapsed time")
MOST_TOKENS = 10**7
MOST_BLOCKS = 10**5
BLOCK_TOKENS = 512
"""Prompt tokens of a block of a Mooncake trace."""


@dataclass(frozen=True, slots=True)
class Row:
    """
    One request of a trace.

    Parameters
    ----------
    line
        Where it stands in the file, from 1.
    time
        Its time, as written.
    isl, osl
        Input and output tokens; OSL 0 for a failed request of ``burstgpt``, where ISL may be 0 too.
    blocks
        Ids of the blocks of the prompt; None where the format has none.
    """

    line: int
    time: str
    isl: int
    osl: int
    blocks: tuple[int, ...] | None = None


def read_rows(path: Path, form: RowFormat, text: str, faults: list[Fault]) -> Iterator[Row]:
    """
    The rows of a trace that are right; for the others, faults with their lines.

    Parameters
    ----------
    path
        The file, to be named in faults.
    form
        Its format.
    text
        What it holds.
    faults
        Gets what is wrong.
    """
    return _READERS[form](path, text, faults)


def csv_rows(path: Path, text: str, header: tuple[str, ...], faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row of a CSV with exactly these columns."""
    lines = csv_lines(path, text, ",".join(header), faults)
    if lines and tuple(lines[0][1]) != header:
        faults.append(Fault(f"{path}:1", f"got the header {','.join(lines[0][1])[:80]}, must be {','.join(header)}"))
    elif lines:
        yield from full_rows(path, text, lines, faults)


def csv_lines(path: Path, text: str, header: str, faults: list[Fault]) -> list[tuple[int, list[str]]]:
    """Line number and cells of all rows, the header first; empty, and a fault, where there is no table."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        faults.append(Fault(f"{path}:{reader.line_num}", f"not a table of comma-separated values: {error}"))
        return []
    while lines and not any(lines[-1][1]):
        lines.pop()  # blank lines at the end
    if not lines:
        faults.append(Fault(str(path), f"the file is empty; expected the header {header} and a row a request"))
    return lines


def full_rows(
    path: Path, text: str, lines: list[tuple[int, list[str]]], faults: list[Fault]
) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header that have as many cells as it."""
    width = len(lines[0][1])
    for line, row in lines[1:]:
        if len(row) == width:
            yield line, row
        else:
            cut = line == lines[-1][0] and len(row) < width and text[-1] not in "\r\n"
            words = f"{len(row)} cells where the header has {width}"
            faults.append(Fault(f"{path}:{line}", f"{words}{CUT_OFF if cut else ''}"))


CUT_OFF = (
    "; the file ends within this line: it was cut off, fetch it again, or delete the line and know that more may miss"
)


def counts_of(
    where: str, cells: tuple[tuple[str, str], ...], faults: list[Fault], least: int = 1
) -> tuple[int, ...] | None:
    """Cells as counts; None, and faults, where one is none."""
    wrong = [(name, cell) for name, cell in cells if not _is_count(cell, least)]
    faults += [Fault(f"{where} {name}", f"got {cell[:60]!r}, must be {_count(least)}") for name, cell in wrong]
    return None if wrong else tuple(int(cell) for _, cell in cells)


def _count(least: int = 1) -> str:
    return f"a whole number from {least} to {MOST_TOKENS}"


def _is_count(cell: str, least: int) -> bool:
    digits = cell.isascii() and cell.isdigit() and len(cell) <= len(str(MOST_TOKENS))
    return digits and least <= int(cell) <= MOST_TOKENS


def _azure(path: Path, text: str, faults: list[Fault]) -> Iterator[Row]:
    for line, (time, prompt, answer) in csv_rows(path, text, AZURE, faults):
        lengths = counts_of(f"{path}:{line}", (("ContextTokens", prompt), ("GeneratedTokens", answer)), faults)
        if lengths:
            yield Row(line, time, lengths[0], lengths[1])


def _burstgpt(path: Path, text: str, faults: list[Fault]) -> Iterator[Row]:
    lines = csv_lines(path, text, ",".join(BURSTGPT), faults)
    header = lines[0][1] if lines else []
    known = {*BURSTGPT, *BURSTGPT_NEWER}
    if lines and (not set(BURSTGPT) <= set(header) or set(header) - known or len(set(header)) < len(header)):
        must = f"{','.join(BURSTGPT)}, and may have {' and '.join(BURSTGPT_NEWER)}"
        faults.append(Fault(f"{path}:1", f"got the header {','.join(header)[:120]}, must be {must}"))
    elif lines:
        time, prompt, answer = (header.index(name) for name in ("Timestamp", "Request tokens", "Response tokens"))
        for line, cells in full_rows(path, text, lines, faults):
            given = (("Request tokens", cells[prompt]), ("Response tokens", cells[answer]))
            lengths = counts_of(f"{path}:{line}", given, faults, least=0)
            if lengths and lengths[0] == 0 < lengths[1]:
                faults.append(Fault(f"{path}:{line} Request tokens", f"got '0' with an answer, must be {_count()}"))
            elif lengths:
                yield Row(line, cells[time], lengths[0], lengths[1])


def _mooncake(path: Path, text: str, faults: list[Fault]) -> Iterator[Row]:
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip():
            cut = number == len(lines) and text[-1] not in "\r\n" and not line.rstrip().endswith("}")
            row = _mooncake_line(f"{path}:{number}", number, line, CUT_OFF if cut else "", faults)
            if row:
                yield row


def _mooncake_line(where: str, number: int, line: str, cut: str, faults: list[Fault]) -> Row | None:
    try:
        request = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "a number or nesting beyond all use"
        faults.append(Fault(where, f"not JSON: {reason}; expected one object a line{cut}"))
        return None
    if not isinstance(request, dict):
        faults.append(Fault(where, f"got {line[:60]}, must be an object with input_length and output_length"))
        return None
    before = len(faults)
    faults += [
        Fault(f"{where} {name}"[:200], f"unknown key; allowed are {', '.join(MOONCAKE)}")
        for name in request
        if name not in MOONCAKE
    ]
    for name in ("input_length", "output_length"):
        value = request.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_TOKENS:
            got = f"got {_shown(value)}" if name in request else "is missing"
            faults.append(Fault(f"{where} {name}", f"{got}, must be {_count()}"))
    blocks = _blocks(where, request.get("hash_ids"), faults)
    if len(faults) > before:
        return None
    time = request.get("timestamp")
    return Row(number, "" if time is None else str(time), request["input_length"], request["output_length"], blocks)


def _blocks(where: str, ids: Any, faults: list[Fault]) -> tuple[int, ...] | None:
    if ids is None:
        return None
    if isinstance(ids, list) and len(ids) <= MOST_BLOCKS and all(type(each) is int for each in ids):
        return tuple(ids)
    must = f"a list of at most {MOST_BLOCKS} whole numbers, one per {BLOCK_TOKENS} tokens"
    faults.append(Fault(f"{where} hash_ids", f"got {_shown(ids)}, must be {must}"))
    return None


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:60]


_READERS: dict[RowFormat, Callable[[Path, str, list[Fault]], Iterator[Row]]] = {
    "azure": _azure,
    "mooncake": _mooncake,
    "burstgpt": _burstgpt,
}
