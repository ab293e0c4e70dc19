"""
Readers of request traces: what lengths requests had. Times and prefixes in a trace are not used.

* ``azure``: CSV of the Azure Public Dataset (2023): ``TIMESTAMP,ContextTokens,GeneratedTokens``;
* ``mooncake``: JSON lines of the Mooncake traces: ``timestamp``, ``input_length``, ``output_length``, ``hash_ids``;
* ``histogram``: CSV ``isl,osl,requests``, the way a trace is carried in a small file.

Each may be compressed with gzip.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from costmodels.errors import Fault, InputError
from costmodels.lengths import MOST_CLASSES, of_requests, within
from costmodels.table import text_of
from costmodels.traffic import Traffic

Format = Literal["azure", "mooncake", "histogram"]
FORMATS: tuple[Format, ...] = ("azure", "mooncake", "histogram")
AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
HISTOGRAM = ("isl", "osl", "requests")
MOONCAKE = ("timestamp", "input_length", "output_length", "hash_ids")
MOST_TOKENS = 10**7
MOST_REQUESTS = 10**7
MOST_FAULTS = 20

Request = tuple[int, int, int]
"""Input tokens, output tokens, how many requests."""
Limits = tuple[int | None, int | None]
"""Least and most tokens; None: no limit."""


def read_trace(
    path: Path, form: Format, isl: Limits = (None, None), osl: Limits = (None, None), whole: bool = False
) -> Traffic:
    """
    The lengths of the requests of a trace.

    Parameters
    ----------
    path
        The file, plain or gzip.
    form
        One of :data:`FORMATS`.
    isl, osl
        Lengths outside these limits count as the nearest of the two.
    whole
        Whether every different pair of lengths is a class, however many there are.

    Raises
    ------
    InputError
        When the file cannot be read, has no request, or a line of it is wrong; at most 20 faults are listed.
    """
    faults: list[Fault] = []
    requests: Counter[tuple[int, int]] = Counter()
    for prompt, answer, count in _READERS[form](path, text_of(path), faults):
        requests[within(prompt, *isl), within(answer, *osl)] += count
    if not faults and not requests:
        faults.append(Fault(str(path), f"holds no request; expected one a line, in the format {form}"))
    if not faults and requests.total() > MOST_REQUESTS:
        faults.append(Fault(str(path), f"holds {requests.total()} requests, at most {MOST_REQUESTS}; take a sample"))
    if len(faults) > MOST_FAULTS:
        faults = [*faults[:MOST_FAULTS], Fault(str(path), f"and {len(faults) - MOST_FAULTS} more faults of this kind")]
    if faults:
        raise InputError(faults)
    words = f"{form} trace {path.name}{_limits('ISL', isl)}{_limits('OSL', osl)}"
    return of_requests(requests, words, MOST_REQUESTS if whole else MOST_CLASSES)


def _limits(name: str, limits: Limits) -> str:
    least, most = limits
    low = "" if least is None else f", {name} at least {least}"
    return low + ("" if most is None else f", {name} at most {most}")


def _azure(path: Path, text: str, faults: list[Fault]) -> Iterator[Request]:
    for line, (_, prompt, answer) in _rows(path, text, AZURE, faults):
        lengths = _cells(f"{path}:{line}", (("ContextTokens", prompt), ("GeneratedTokens", answer)), faults)
        if lengths:
            yield lengths[0], lengths[1], 1


def _histogram(path: Path, text: str, faults: list[Fault]) -> Iterator[Request]:
    first: dict[tuple[int, int], int] = {}
    for line, cells in _rows(path, text, HISTOGRAM, faults):
        numbers = _cells(f"{path}:{line}", tuple(zip(HISTOGRAM, cells, strict=True)), faults)
        if numbers:
            prompt, answer, count = numbers
            if first.setdefault((prompt, answer), line) != line:
                twice = f"same lengths as line {first[prompt, answer]}; keep one row"
                faults.append(Fault(f"{path}:{line} isl", twice))
            yield prompt, answer, count


def _rows(path: Path, text: str, header: tuple[str, ...], faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row of a CSV with exactly these columns."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        faults.append(Fault(f"{path}:{reader.line_num}", f"not a table of comma-separated values: {error}"))
        return
    while lines and not any(lines[-1][1]):
        lines.pop()  # blank lines at the end
    if not lines:
        faults.append(
            Fault(str(path), f"the file is empty; expected the header {','.join(header)} and a row a request")
        )
    elif tuple(lines[0][1]) != header:
        faults.append(Fault(f"{path}:1", f"got the header {','.join(lines[0][1])[:80]}, must be {','.join(header)}"))
    else:
        for line, row in lines[1:]:
            if len(row) == len(header):
                yield line, row
            else:
                faults.append(Fault(f"{path}:{line}", f"{len(row)} cells where the header has {len(header)}"))


def _cells(where: str, cells: tuple[tuple[str, str], ...], faults: list[Fault]) -> tuple[int, ...] | None:
    """Cells as counts; None, and faults, where one is none."""
    wrong = [(name, cell) for name, cell in cells if not _is_count(cell)]
    faults += [Fault(f"{where} {name}", f"got {cell[:60]!r}, must be {_COUNT}") for name, cell in wrong]
    return None if wrong else tuple(int(cell) for _, cell in cells)


_COUNT = f"a whole number from 1 to {MOST_TOKENS}"


def _is_count(cell: str) -> bool:
    return cell.isascii() and cell.isdigit() and len(cell) <= len(str(MOST_TOKENS)) and 1 <= int(cell) <= MOST_TOKENS


def _mooncake(path: Path, text: str, faults: list[Fault]) -> Iterator[Request]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            lengths = _mooncake_line(f"{path}:{number}", line, faults)
            if lengths:
                yield lengths


def _mooncake_line(where: str, line: str, faults: list[Fault]) -> Request | None:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "a number or nesting beyond all use"
        faults.append(Fault(where, f"not JSON: {reason}; expected one object a line"))
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
            got = f"got {json.dumps(value)[:60]}" if name in request else "is missing"
            faults.append(Fault(f"{where} {name}", f"{got}, must be {_COUNT}"))
    return None if len(faults) > before else (request["input_length"], request["output_length"], 1)


_READERS: dict[Format, Callable[[Path, str, list[Fault]], Iterator[Request]]] = {
    "azure": _azure,
    "mooncake": _mooncake,
    "histogram": _histogram,
}
