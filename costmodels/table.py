"""Reads a table of operating points (CSV, plain or gzip) and checks every cell of it."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from costmodels.errors import Fault, InputError

HEADER = (
    *("system", "backend", "backend_version", "model", "precision", "phase"),
    *("tp", "pp", "attention_dp", "moe_tp", "moe_ep", "cp", "gpus", "domain_gpus"),
    *("batch", "chunk_tokens", "isl", "osl", "latency_ms", "ttft_ms", "requests_per_s", "memory_gib"),
)
DEGREES = ("tp", "pp", "attention_dp", "moe_tp", "moe_ep", "cp")
IDENTITY = ("system", "backend", "backend_version", "model", "precision", "phase", *DEGREES, "domain_gpus")
"""The columns that, with chunk_tokens, isl and osl, name one engine."""

MOST_FAULTS = 20
_INTEGER = re.compile(r"[1-9][0-9]{0,8}")
_DECIMAL = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,15})?(?:[eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True)
class Table:
    """
    A checked table, column by column, as text.

    Parameters
    ----------
    path
        The file it came from.
    columns
        Column name to the cells of all rows; every numeric cell is well formed.
    """

    path: Path
    columns: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.columns["batch"])

    @cached_property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """The (GPU type, model) of its rows."""
        return frozenset(zip(self.columns["system"], self.columns["model"], strict=True))


def read_table(path: Path) -> Table:
    """
    Reads and checks a table.

    Parameters
    ----------
    path
        A ``.csv`` or ``.csv.gz`` file with the columns of :data:`HEADER`, in any order.

    Raises
    ------
    InputError
        When the file cannot be read, or a cell is wrong; at most 20 faults are listed and the rest counted.
    """
    reader = csv.reader(io.StringIO(text_of(path), newline=""), strict=False)
    try:
        lines = list(reader)
    except csv.Error as error:
        where = f"{path}:{reader.line_num}"
        raise InputError([Fault(where, f"not a table of comma-separated values: {error}")]) from None
    if not lines:
        raise InputError([Fault(str(path), "the file is empty; expected a header line and one row a point")])
    while lines and not lines[-1]:
        lines.pop()  # blank lines at the end
    if not lines:
        raise InputError([Fault(str(path), "the file holds blank lines only")])
    header, rows = lines[0], lines[1:]
    _check_header(path, header)
    if not rows:
        raise InputError([Fault(str(path), "no rows below the header; expected one row a measured point")])
    ragged = [(i, len(row)) for i, row in enumerate(rows, 2) if len(row) != len(header)]
    if ragged:
        raise InputError(
            _shorten(
                [Fault(f"{path}:{line}", f"{cells} cells where the header has {len(header)}") for line, cells in ragged]
            )
        )
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    table = Table(path, columns)
    faults = _faults(table)
    if faults:
        raise InputError(_shorten(sorted(faults, key=_line_of)))
    return table


def text_of(path: Path) -> str:
    """
    The text of a file, plain or gzip.

    Raises
    ------
    InputError
        When it cannot be read, is broken gzip, is not UTF-8, or holds NUL bytes.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError([Fault(str(path), f"cannot be read: {error.strerror or error}")]) from None
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError([Fault(str(path), f"broken gzip file ({error}); copy it again")]) from None
    elif path.suffix == ".gz":
        raise InputError([Fault(str(path), "named .gz but not a gzip file; rename or compress it")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError([Fault(str(path), f"not UTF-8 text (byte {error.start}); save it as UTF-8")]) from None
    if "\0" in text:
        raise InputError([Fault(str(path), "contains NUL bytes; expected CSV text")])
    return text


def _check_header(path: Path, header: list[str]) -> None:
    faults = [
        Fault(f"{path}:1 {name}", "column given twice; keep one")
        for name, count in Counter(header).items()
        if count > 1
    ]
    unknown = [name for name in header if name not in HEADER]
    missing = [name for name in HEADER if name not in header]
    faults += [Fault(f"{path}:1 {name!r}", f"unknown column; allowed are {','.join(HEADER)}") for name in unknown]
    faults += [
        Fault(f"{path}:1 {name}", "column is missing; add it (cells may be empty where allowed)") for name in missing
    ]
    if faults:
        raise InputError(_shorten(faults))


def _line_of(fault: Fault) -> int:
    found = re.search(r":(\d+)(?: |$)", fault.where)
    return int(found.group(1)) if found else 0


def _shorten(faults: list[Fault]) -> list[Fault]:
    if len(faults) <= MOST_FAULTS:
        return faults
    rest = len(faults) - MOST_FAULTS
    return [*faults[:MOST_FAULTS], Fault(faults[0].where.split(":")[0], f"and {rest} more faults of this kind")]


def _is_count(cell: str) -> bool:
    return bool(_INTEGER.fullmatch(cell))


def _is_positive(cell: str) -> bool:
    return bool(_DECIMAL.fullmatch(cell)) and 1e-9 <= float(cell) <= 1e12


def _is_name(cell: str) -> bool:
    return bool(cell) and cell == cell.strip() and cell.isprintable()


_COUNT = (_is_count, "a whole number of at least 1")
_POSITIVE = (_is_positive, "a decimal number from 1e-9 to 1e12")
_CHECKS: dict[str, tuple[Callable[[str], bool], str]] = {
    **dict.fromkeys(("system", "backend", "backend_version", "model", "precision"), (_is_name, "a name")),
    "phase": (lambda cell: cell in ("prefill", "decode", "colocated"), "prefill, decode or colocated"),
    **dict.fromkeys((*DEGREES, "gpus", "domain_gpus", "batch", "isl"), _COUNT),
    "chunk_tokens": (lambda cell: cell == "0" or _is_count(cell), "0 or a number of tokens"),
    "osl": (lambda cell: cell == "" or _is_count(cell), "a whole number of at least 1, empty for prefill"),
    "latency_ms": _POSITIVE,
    "ttft_ms": (lambda cell: cell == "" or _is_positive(cell), "empty or a decimal number from 1e-9 to 1e12"),
    "requests_per_s": (lambda cell: cell == "" or _is_positive(cell), "empty or a decimal number from 1e-9 to 1e12"),
    "memory_gib": (lambda cell: cell == "" or _is_positive(cell), "empty or a decimal number from 1e-9 to 1e12"),
}


def _faults(table: Table) -> list[Fault]:
    faults: list[Fault] = []
    for name, (check, allowed) in _CHECKS.items():
        cells = table.columns[name]
        wrong = {cell for cell in set(cells) if not check(cell)}
        if wrong:
            faults += [
                Fault(f"{table.path}:{line} {name}", f"got {cell!r}, must be {allowed}")
                for line, cell in enumerate(cells, 2)
                if cell in wrong
            ]
    return faults or _cross_faults(table)


def _cross_faults(table: Table) -> list[Fault]:
    """Checks between cells: distinct combinations only, so that long tables stay quick."""
    faults = _wrong_rows(table, ("gpus", *DEGREES), "gpus", _partition_fault)
    faults += _wrong_rows(table, ("batch", "attention_dp"), "batch", _batch_fault)
    faults += _wrong_rows(table, ("phase", "chunk_tokens"), "chunk_tokens", _chunk_fault)
    empty = {
        name: ["" if cell == "" else "x" for cell in table.columns[name]]
        for name in ("osl", "ttft_ms", "requests_per_s")
    }
    blanks = Table(table.path, {**table.columns, **empty})
    return faults + _wrong_rows(blanks, ("phase", *empty), "phase", _blank_fault) + _duplicates(table)


def _wrong_rows(table: Table, names: Iterable[str], where: str, check: Callable[..., str | None]) -> list[Fault]:
    combinations = list(zip(*(table.columns[name] for name in names), strict=True))
    wrong = {cells: text for cells in set(combinations) if (text := check(*cells))}
    if not wrong:
        return []
    return [
        Fault(f"{table.path}:{line} {where}", wrong[cells])
        for line, cells in enumerate(combinations, 2)
        if cells in wrong
    ]


def _partition_fault(gpus: str, *degrees: str) -> str | None:
    tp, pp, attention_dp, moe_tp, moe_ep, cp = map(int, degrees)
    needed = tp * pp * attention_dp * cp
    if int(gpus) != needed:
        return f"got {gpus}, must be tp x pp x attention_dp x cp = {needed}"
    if cp == 1 and moe_tp * moe_ep not in (1, tp * attention_dp):
        allowed = f"tp x attention_dp = {tp * attention_dp} (1 for dense models)"
        return f"moe_tp x moe_ep = {moe_tp * moe_ep}, must equal {allowed}"
    return None


def _batch_fault(batch: str, attention_dp: str) -> str | None:
    if int(batch) % int(attention_dp):
        return f"got {batch}, must be a multiple of attention_dp = {attention_dp} (the batch counts all ranks)"
    return None


def _chunk_fault(phase: str, chunk_tokens: str) -> str | None:
    if phase != "prefill" and (phase == "colocated") == (chunk_tokens == "0"):
        return f"got {chunk_tokens} in a {phase} row, must be 0 for decode, at least 1 for co-located"
    return None


def _blank_fault(phase: str, osl: str, ttft_ms: str, requests_per_s: str) -> str | None:
    if phase == "prefill" and osl:
        return "osl must be empty in a prefill row"
    if phase != "prefill" and not osl:
        return f"osl must be given in a {phase} row"
    if phase == "colocated" and not ttft_ms:
        return "ttft_ms must be given in a co-located row"
    if phase == "colocated" and not requests_per_s:
        return "requests_per_s must be given in a co-located row (it cannot be derived)"
    return None


def _duplicates(table: Table) -> list[Fault]:
    names = (*IDENTITY, "chunk_tokens", "isl", "osl", "batch")
    keys = list(zip(*(table.columns[name] for name in names), strict=True))
    if len(set(keys)) == len(keys):
        return []
    first: dict[tuple[str, ...], int] = {}
    faults = []
    for line, key in enumerate(keys, 2):
        if key in first:
            faults.append(
                Fault(f"{table.path}:{line} batch", f"same engine and batch as line {first[key]}; keep one row")
            )
        else:
            first[key] = line
    return faults
