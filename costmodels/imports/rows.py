"""Measured rows, and the table that they become."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import pairwise

from costmodels.errors import Fault
from costmodels.imports.engine import DEGREES, NAMES, Engine, Role
from costmodels.imports.reading import Reading
from costmodels.table import HEADER

_NINE_DIGITS = Context(prec=9, rounding=ROUND_HALF_EVEN)
_SMALLEST, _LARGEST = 1e-9, 1e12


@dataclass(frozen=True)
class Row:
    """
    One measured operating point.

    Parameters
    ----------
    engine, role
        What was measured.
    batch
        Sequences of one micro-batch over all attention-DP ranks.
    chunk_tokens
        Prompt tokens per mixed step of a co-located engine; 0 elsewhere.
    isl, osl
        Tokens of a request; ``osl`` is None for prefill.
    latency_ms
        TTFT for prefill, TPOT for decode and co-located.
    ttft_ms
        Of a co-located row.
    requests_per_s
        Of one replica; None where the table may derive it.
    where
        File and path.
    date
        When it was measured, in a form that sorts; empty where the file does not say.
    """

    engine: Engine
    role: Role
    batch: int
    chunk_tokens: int
    isl: int
    osl: int | None
    latency_ms: float
    ttft_ms: float | None
    requests_per_s: float | None
    where: str
    date: str = ""

    @property
    def curve(self) -> tuple[object, ...]:
        """What the rows of one curve have in common."""
        return self.engine, self.role, self.chunk_tokens, self.isl, self.osl or 0

    @property
    def measures(self) -> tuple[float | None, ...]:
        """The measured values."""
        return self.latency_ms, self.ttft_ms, self.requests_per_s


def decimal_text(value: float) -> str:
    """
    A number as the table takes it: nine significant digits, at most fifteen decimals, no exponent.

    Raises
    ------
    ValueError
        When the number is outside of what a table can hold (1e-9 to 1e12).
    """
    if not _SMALLEST <= value <= _LARGEST:
        raise ValueError(f"{value!r} is outside of 1e-9 to 1e12")
    text = format(_NINE_DIGITS.create_decimal(repr(value)).quantize(Decimal("1e-15"), context=Context(prec=40)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def table_text(rows: Iterable[Row]) -> str:
    """The table, rows sorted by curve and batch; every cell is in the form of :mod:`costmodels.table`."""
    lines = [",".join(HEADER)]
    for row in sorted(rows, key=lambda row: (row.curve, row.batch)):
        engine = row.engine
        cells = {
            **{name: getattr(engine, name) for name in (*NAMES, *DEGREES, "gpus", "domain_gpus")},
            "phase": row.role,
            "batch": row.batch,
            "chunk_tokens": row.chunk_tokens,
            "isl": row.isl,
            "osl": "" if row.osl is None else row.osl,
            "latency_ms": decimal_text(row.latency_ms),
            "ttft_ms": "" if row.ttft_ms is None else decimal_text(row.ttft_ms),
            "requests_per_s": "" if row.requests_per_s is None else decimal_text(row.requests_per_s),
            "memory_gib": "",
        }
        lines.append(",".join(_cell(str(cells[name])) for name in HEADER))
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"') else text


def without_repeats(rows: list[Row], reading: Reading) -> list[Row]:
    """
    One row per engine and batch.

    Exact repeats (the same file twice) are dropped and counted. Of runs with different dates the latest stays, and the
    others are counted. Anything else is a fault: nobody could say which one is meant.

    Parameters
    ----------
    rows
        All rows, in the order of the files.
    reading
        Where counts and faults go.
    """
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        group = groups[(*row.curve, row.batch)]
        if any(row.measures == other.measures for other in group):
            reading.dropped["an exact repeat of another measurement"] += 1
        else:
            group.append(row)
    kept = []
    for group in groups.values():
        dates = {row.date for row in group}
        if len(group) > 1 and len(dates) == len(group) and "" not in dates:
            reading.dropped["a later run of the same engine and batch is there"] += len(group) - 1
        elif len(group) > 1:
            others = ", ".join(row.where for row in group[1:4])
            text = f"same engine, lengths and batch {group[0].batch} as {others}, but other values; import one of them"
            reading.faults.append(Fault(group[0].where, text))
        kept.append(max(group, key=lambda row: row.date))
    return kept


def curve_notes(rows: Iterable[Row]) -> list[str]:
    """Curves in which latency or rate falls with batch; they are kept as measured."""
    curves: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        curves[row.curve].append(row)
    notes = []
    for points in curves.values():
        points.sort(key=lambda row: row.batch)
        steps = list(pairwise(points))
        falls = [f"{a.batch} to {b.batch}" for a, b in steps if b.latency_ms < a.latency_ms]
        sinks = [f"{a.batch} to {b.batch}" for a, b in steps if (b.requests_per_s or 0) < (a.requests_per_s or 0)]
        for what, where in (("latency", falls), ("rate", sinks)):
            if where:
                lengths = f"isl {points[0].isl}" + (f" osl {points[0].osl}" if points[0].osl else "")
                name = f"{points[0].role} {points[0].engine.partition} {lengths}"
                notes.append(f"not monotone, kept as measured: {what} falls with batch in {name}: {_listed(where)}")
    return notes


def length_note(rows: Iterable[Row]) -> list[str]:
    """Lengths that differ a little from run to run split a curve; names the options that join it."""
    pairs: dict[Engine, set[tuple[int, int]]] = defaultdict(set)
    for row in rows:
        if row.role == "colocated":
            pairs[row.engine].add((row.isl, row.osl or 0))
    notes = []
    for group in (group for lengths in pairs.values() for group in _near(sorted(lengths)) if len(group) > 1):
        isls, osls = (sorted(values) for values in zip(*group, strict=True))
        listed = _listed([f"{isl}/{osl}" for isl, osl in group])
        joined = f"--isl {isls[len(isls) // 2]} --osl {osls[len(osls) // 2]}"
        notes.append(
            f"{len(group)} nearly equal ISL/OSL ({listed}) make as many curves of an engine; {joined} makes one"
        )
    return notes


def _near(lengths: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Sorted pairs of lengths in groups that one label within 4 % could stand for."""
    groups: list[list[tuple[int, int]]] = []
    for isl, osl in lengths:
        home = next((g for g in groups if isl <= 1.04 * g[0][0] and abs(osl / g[0][1] - 1) <= 0.04), None)
        if home is None:
            groups.append([(isl, osl)])
        else:
            home.append((isl, osl))
    return groups


def _listed(words: list[str]) -> str:
    return ", ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "")


def contents(rows: Iterable[Row]) -> list[str]:
    """What a table holds, one line per role and engine."""
    found: Counter[tuple[str, str]] = Counter()
    lengths: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        key = row.role, str(row.engine)
        found[key] += 1
        lengths[key].add(f"{row.isl}/{row.osl}" if row.osl else str(row.isl))
    order = sorted(found, key=lambda key: (("prefill", "decode", "colocated").index(key[0]), key[1]))
    return [
        f"{found[key]:>5} {key[0]:<9} {key[1]}, isl{'/osl' if key[0] != 'prefill' else ''} "
        f"{_listed(sorted(lengths[key], key=lambda t: [int(n) for n in t.split('/')]))}"
        for key in order
    ]
