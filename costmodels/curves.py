"""The ``curves`` cost model: measured tables, every row a breakpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from pathlib import Path

from costmodels.errors import Fault, InputError
from costmodels.operating_curve import CurveQuery, CurveSet, OperatingCurve, Role
from costmodels.partition import Partition
from costmodels.precision import fits
from costmodels.table import DEGREES, IDENTITY, Table, read_table

_NINE_DIGITS = Context(prec=9, rounding=ROUND_HALF_EVEN)
_LITTLE_TOLERANCE = Fraction(1, 5)


def derived_rate(role: str, pp: int, batch: int, latency_ms: str, osl: int) -> Fraction:
    """
    The request rate of a row that gives none, in requests/s of one replica.

    A replica holds ``pp`` micro-batches of ``batch`` sequences: pp x batch / latency for prefill,
    pp x batch / (latency x (OSL - 1)) for decode, rounded half to even to nine significant digits.

    Raises
    ------
    ValueError
        When a decode row has OSL 1: nothing is decoded, so there is no rate.
    """
    steps = 1 if role == "prefill" else osl - 1
    if steps < 1:
        raise ValueError("a decode row with osl 1 has no request rate")
    return Fraction(_NINE_DIGITS.divide(Decimal(1000 * pp * batch), Decimal(latency_ms) * steps))


@dataclass(frozen=True)
class CurveTables:
    """
    Measured operating curves.

    Parameters
    ----------
    tables
        The tables; a query may draw on any of them.
    interpolate
        Whether the batches between measured ones are admissible too.
    """

    tables: tuple[Table, ...]
    interpolate: bool = False

    name = "curves"
    known_error = "rows as given; their own error is that of whoever measured them"

    @classmethod
    def read(cls, paths: Sequence[Path], interpolate: bool = False) -> CurveTables:
        """
        Reads tables.

        Raises
        ------
        InputError
            With the faults of all tables.
        """
        tables: list[Table] = []
        faults: list[Fault] = []
        for path in paths:
            try:
                tables.append(read_table(path))
            except InputError as error:
                faults += error.faults
        faults = faults or _shared_engines(tables)
        if faults:
            raise InputError(faults)
        return cls(tuple(tables), interpolate)

    @property
    def description(self) -> str:
        """One line for the result."""
        names = ", ".join(table.path.name for table in self.tables)
        batches = "every admissible batch between the rows" if self.interpolate else "the batches of the rows"
        return f"curves {names} ({batches})"

    def curves(self, query: CurveQuery) -> CurveSet:
        """
        The engines that serve the query, with their curves.

        Raises
        ------
        InputError
            When rows contradict each other (a decode row with OSL 1 and no rate).
        """
        dropped: Counter[str] = Counter()
        curves: list[OperatingCurve] = []
        notes: list[str] = []
        for table in self.tables:
            found = _engines(table, query, dropped)
            curves += [_curve(table, key, rows, self.interpolate) for key, rows in sorted(found.items())]
        notes += _little_notes(curves, query.osl)
        notes += _copied_latency_notes(curves)
        return CurveSet(tuple(curves), dict(dropped), tuple(notes))

    def inventory(self) -> str:
        """What the tables hold, for the message when nothing matches."""
        lines = set()
        for table in self.tables:
            columns = (table.columns[name] for name in ("system", "model", "backend", "isl", "osl"))
            lines |= {(s, m, b, i, o) for s, m, b, i, o in zip(*columns, strict=True) if o}
        grouped: dict[tuple[str, str, str], list[str]] = {}
        for system, model, backend, isl, osl in sorted(lines, key=lambda x: (x[:3], int(x[3]), int(x[4]))):
            grouped.setdefault((system, model, backend), []).append(f"{isl}/{osl}")
        return "; ".join(f"{s} {m} {b} isl/osl {' '.join(pairs)}" for (s, m, b), pairs in grouped.items())


_Key = tuple[str, ...]


def _shared_engines(tables: list[Table]) -> list[Fault]:
    """An engine whose rows stand in two tables has two curves, and no one could say which was meant."""
    owner: dict[_Key, Table] = {}
    faults: dict[tuple[Path, Path], Fault] = {}
    for table in tables if len(tables) > 1 else ():
        columns = (table.columns[name] for name in (*IDENTITY, "chunk_tokens", "isl", "osl"))
        for key in set(zip(*columns, strict=True)):
            other = owner.setdefault(key, table)
            if other is not table:
                text = f"holds an engine that {other.path} holds too ({' '.join(key[:6])}); keep its rows in one table"
                faults.setdefault((table.path, other.path), Fault(str(table.path), text))
    return list(faults.values())


def _engines(table: Table, query: CurveQuery, dropped: Counter[str]) -> dict[_Key, list[int]]:
    """Row numbers of each engine that the query may use."""
    cells = table.columns
    isl, osl = str(query.isl), str(query.osl)
    engines: dict[_Key, list[int]] = {}
    columns = [cells[name] for name in (*IDENTITY, "chunk_tokens")]
    chosen = [
        row
        for row, (system, model, row_isl, row_osl) in enumerate(
            zip(cells["system"], cells["model"], cells["isl"], cells["osl"], strict=True)
        )
        if system == query.gpu and model == query.model and row_isl == isl and row_osl in ("", osl)
    ]
    for row in chosen:
        engines.setdefault(tuple(column[row] for column in columns), []).append(row)
    for key in list(engines):
        reason = _unusable(dict(zip((*IDENTITY, "chunk_tokens"), key, strict=True)), query)
        if reason:
            dropped[reason] += len(engines.pop(key))
    if query.memory_gib is not None:
        _drop_memory(table, query.memory_gib, engines, dropped)
    return engines


def _unusable(engine: dict[str, str], query: CurveQuery) -> str | None:
    """Why an engine cannot serve the query on this pool, or None."""
    role: Role = engine["phase"]  # type: ignore[assignment]
    if query.backend is not None and engine["backend"] != query.backend:
        return "other serving backend"
    if not fits(query.precision[role], engine["precision"]):
        return "other precision"
    group = _partition(engine).stage_group
    priced = int(engine["domain_gpus"])
    if group > query.domain_gpus and not (group > priced and priced <= query.domain_gpus):
        return f"stage group larger than the NVLink domain of {query.domain_gpus}"
    return None


def _drop_memory(table: Table, limit: Fraction, engines: dict[_Key, list[int]], dropped: Counter[str]) -> None:
    memory = table.columns["memory_gib"]
    for key, rows in list(engines.items()):
        fitting = [row for row in rows if not memory[row] or Fraction(memory[row]) <= limit]
        if len(fitting) < len(rows):
            dropped[f"memory above {float(limit):g} GiB"] += len(rows) - len(fitting)
        if fitting:
            engines[key] = fitting
        else:
            del engines[key]


def _partition(engine: dict[str, str]) -> Partition:
    return Partition(**{name: int(engine[name]) for name in DEGREES})


def _curve(table: Table, key: _Key, rows: list[int], interpolate: bool) -> OperatingCurve:
    engine = dict(zip((*IDENTITY, "chunk_tokens"), key, strict=True))
    cells = table.columns
    rows = sorted(rows, key=lambda row: int(cells["batch"][row]))
    role: Role = engine["phase"]  # type: ignore[assignment]
    memory = tuple(Fraction(cells["memory_gib"][row]) for row in rows if cells["memory_gib"][row])
    return OperatingCurve(
        role=role,
        system=engine["system"],
        backend=engine["backend"],
        backend_version=engine["backend_version"],
        model=engine["model"],
        precision=engine["precision"],
        partition=_partition(engine),
        domain_gpus=int(engine["domain_gpus"]),
        chunk_tokens=int(engine["chunk_tokens"]),
        batch=tuple(int(cells["batch"][row]) for row in rows),
        latency_ms=tuple(Fraction(cells["latency_ms"][row]) for row in rows),
        requests_per_s=tuple(_rate(table, role, int(engine["pp"]), row) for row in rows),
        ttft_ms=tuple(Fraction(cells["ttft_ms"][row]) for row in rows) if role == "colocated" else (),
        memory_gib=memory if len(memory) == len(rows) else (),
        interpolate=interpolate,
    )


def _rate(table: Table, role: Role, pp: int, row: int) -> Fraction:
    cells = table.columns
    if cells["requests_per_s"][row]:
        return Fraction(cells["requests_per_s"][row])
    try:
        return derived_rate(role, pp, int(cells["batch"][row]), cells["latency_ms"][row], int(cells["osl"][row] or 2))
    except ValueError as error:
        raise InputError([Fault(f"{table.path}:{row + 2} requests_per_s", f"{error}; give the rate")]) from None


def _little_notes(curves: Iterable[OperatingCurve], osl: int) -> list[str]:
    """Little's law on co-located rows: rate x time in system against sequences in flight, off by more than 20 %."""
    off = 0
    for curve in curves:
        if curve.role == "colocated":
            for batch, latency, ttft, rate in zip(
                curve.batch, curve.latency_ms, curve.ttft_ms, curve.requests_per_s, strict=True
            ):
                inside = rate * (ttft + (osl - 1) * latency) / 1000
                off += abs(inside / (batch * curve.partition.pp) - 1) > _LITTLE_TOLERANCE
    return [f"{off} co-located rows break Little's law by more than 20 %"] if off else []


def _copied_latency_notes(curves: Iterable[OperatingCurve]) -> list[str]:
    """Different co-located partitions with the very same latencies: a known fault of exports."""
    seen: dict[tuple[object, ...], set[Partition]] = {}
    for curve in curves:
        if curve.role == "colocated" and len(curve.batch) >= 3:
            steps = tuple(batch // curve.batch_step for batch in curve.batch)
            seen.setdefault((curve.chunk_tokens, steps, curve.latency_ms), set()).add(curve.partition)
    copies = sum(len(partitions) - 1 for partitions in seen.values())
    return [f"{copies} co-located partitions repeat the latencies of another one: check the export"] if copies else []
