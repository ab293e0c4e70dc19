"""The ``curves`` cost model: measured tables, every row a breakpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from pathlib import Path
from statistics import median

from costmodels.errors import Fault, InputError
from costmodels.interpolate import (
    Measured,
    Point,
    contexts_of,
    decode_points,
    left_out_errors,
    prefill_points,
    prompts_of,
)
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
    interpolate_lengths
        Whether constant lengths between measured ones are served too; distributed lengths always are.
    """

    tables: tuple[Table, ...]
    interpolate: bool = False
    interpolate_lengths: bool = False
    _answers: dict[Hashable, CurveSet] = field(default_factory=dict, repr=False, compare=False)

    name = "curves"
    counted = "rows"
    known_error = "rows as given; their own error is that of whoever measured them"

    @classmethod
    def read(cls, paths: Sequence[Path], interpolate: bool = False, interpolate_lengths: bool = False) -> CurveTables:
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
        return cls(tuple(tables), interpolate, interpolate_lengths)

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
            When rows contradict each other (a decode row with OSL 1 and no rate), or lengths that are interpolated lie
            outside the measured ones.
        """
        place = (query.gpu, query.domain_gpus, query.memory_gib, query.backend, *sorted(query.precision.items()))
        key = (*place, query.model, query.isl, query.osl, query.traffic, query.options)
        if key not in self._answers:  # many workloads and pools ask the same
            self._answers[key] = self._curves(query)
        return self._answers[key]

    def _curves(self, query: CurveQuery) -> CurveSet:
        dropped: Counter[str] = Counter()
        curves: list[OperatingCurve] = []
        notes: list[str] = []
        exact: set[str] = set()
        if query.lengths.is_constant:
            for table in self.tables:
                chosen = _rows(table, query)
                exact |= {table.columns["phase"][row] for row in chosen}
                found = _engines(table, query, chosen, dropped)
                curves += [_curve(table, key, rows, self.interpolate) for key, rows in sorted(found.items())]
        if not query.lengths.is_constant or self.interpolate_lengths:
            curves += self._between(query, exact, dropped, notes)
        notes += _little_notes(curves, query.osl)
        notes += _copied_latency_notes(curves)
        return CurveSet(tuple(curves), dict(dropped), tuple(notes))

    def _between(
        self, query: CurveQuery, exact: set[str], dropped: Counter[str], notes: list[str]
    ) -> list[OperatingCurve]:
        """Curves of the roles without rows of the very lengths: interpolated over the lengths that there are."""
        curves: list[OperatingCurve] = []
        for role in ("prefill", "decode"):
            if role in exact or (role == "decode" and query.lengths.osl == 1):
                continue
            errors: list[float] = []
            measured: list[Measured] = []
            for table in self.tables:
                rows = _rows(table, query, role)
                for key, mine in sorted(_engines(table, query, rows, dropped, by_lengths=False).items()):
                    here = [_measured(table, role, row) for row in mine]
                    points = _points_between(query, role, here, dropped)
                    if points:
                        curves.append(_curve_between(key, points, self.interpolate))
                    errors += left_out_errors(here)
                    measured += here
            if measured and not any(curve.role == role for curve in curves):
                raise InputError([_outside(query, role, measured)])
            if errors:
                notes.append(_interpolation_note(role, errors))
        if "colocated" not in exact:
            count = sum(len(_rows(table, query, "colocated")) for table in self.tables)
            if count:
                dropped["co-located rows of other lengths (they are not interpolated)"] += count
        return curves

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


def _rows(table: Table, query: CurveQuery, role: str | None = None) -> list[int]:
    """Numbers of the rows of a GPU type and model: of the very lengths asked for, or of a role at any lengths."""
    if (query.gpu, query.model) not in table.pairs:
        return []
    cells = table.columns
    isl, osl = str(query.isl), str(query.osl)
    wanted = zip(cells["system"], cells["model"], cells["phase"], cells["isl"], cells["osl"], strict=True)
    return [
        row
        for row, (system, model, phase, row_isl, row_osl) in enumerate(wanted)
        if system == query.gpu
        and model == query.model
        and (phase == role if role else row_isl == isl and row_osl in ("", osl))
    ]


def _engines(
    table: Table, query: CurveQuery, rows: list[int], dropped: Counter[str], by_lengths: bool = True
) -> dict[_Key, list[int]]:
    """Of some rows those that the query may use, by engine; memory is judged here where lengths are as asked for."""
    engines: dict[_Key, list[int]] = {}
    columns = [table.columns[name] for name in (*IDENTITY, "chunk_tokens")]
    for row in rows:
        engines.setdefault(tuple(column[row] for column in columns), []).append(row)
    for key in list(engines):
        reason = _unusable(dict(zip((*IDENTITY, "chunk_tokens"), key, strict=True)), query)
        if reason:
            dropped[reason] += len(engines.pop(key))
    if query.memory_gib is not None and by_lengths:
        _drop_memory(table, query.memory_gib, engines, dropped)
    return engines


def _unusable(engine: dict[str, str], query: CurveQuery) -> str | None:
    """Why an engine cannot serve the query on this pool, or None."""
    role: Role = engine["phase"]  # type: ignore[assignment]
    if query.backend is not None and engine["backend"] != query.backend:
        return "other serving backend"
    if not fits(query.precision.get(role), engine["precision"]):
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


def _partition(engine: Mapping[str, str]) -> Partition:
    return Partition(**{name: int(engine[name]) for name in DEGREES})


def _curve(table: Table, key: _Key, rows: list[int], interpolate: bool) -> OperatingCurve:
    engine = dict(zip((*IDENTITY, "chunk_tokens"), key, strict=True))
    cells = table.columns
    rows = sorted(rows, key=lambda row: int(cells["batch"][row]))
    role: Role = engine["phase"]  # type: ignore[assignment]
    return replace(
        _without_points(engine, interpolate),
        batch=tuple(int(cells["batch"][row]) for row in rows),
        latency_ms=tuple(Fraction(cells["latency_ms"][row]) for row in rows),
        requests_per_s=tuple(_rate(table, role, int(engine["pp"]), row) for row in rows),
        ttft_ms=tuple(Fraction(cells["ttft_ms"][row]) for row in rows) if role == "colocated" else (),
        memory_gib=_all_or_none([Fraction(text) if (text := cells["memory_gib"][row]) else None for row in rows]),
    )


def _without_points(engine: Mapping[str, str], interpolate: bool) -> OperatingCurve:
    """The curve of an engine, still empty."""
    return OperatingCurve(
        role=engine["phase"],  # type: ignore[arg-type]
        system=engine["system"],
        backend=engine["backend"],
        backend_version=engine["backend_version"],
        model=engine["model"],
        precision=engine["precision"],
        partition=_partition(engine),
        domain_gpus=int(engine["domain_gpus"]),
        chunk_tokens=int(engine["chunk_tokens"]),
        batch=(),
        latency_ms=(),
        requests_per_s=(),
        interpolate=interpolate,
    )


def _all_or_none(values: list[Fraction | None]) -> tuple[Fraction, ...]:
    """The values, or nothing where one is missing."""
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else ()


def _measured(table: Table, role: Role, row: int) -> Measured:
    cells = {name: column[row] for name, column in table.columns.items()}
    return Measured(
        batch=int(cells["batch"]),
        isl=int(cells["isl"]),
        osl=int(cells["osl"] or 0),
        latency_ms=Fraction(cells["latency_ms"]),
        requests_per_s=_rate(table, role, int(cells["pp"]), row),
        memory_gib=Fraction(cells["memory_gib"]) if cells["memory_gib"] else None,
    )


def _points_between(query: CurveQuery, role: Role, rows: list[Measured], dropped: Counter[str]) -> list[Point]:
    """The batches that were measured on both sides of the lengths asked for, and fit the memory."""
    if role == "prefill":
        points = prefill_points(rows, query.lengths, query.options.ttft_percentile)
    else:
        points = decode_points(rows, query.lengths)
    missing = len({row.batch for row in rows}) - len(points)
    if missing:
        dropped["lengths not measured on both sides"] += missing
    limit = query.memory_gib
    if limit is None:
        return points
    fitting = [point for point in points if point.memory_gib is None or point.memory_gib <= limit]
    if len(fitting) < len(points):
        dropped[f"memory above {float(limit):g} GiB"] += len(points) - len(fitting)
    return fitting


def _curve_between(key: _Key, points: list[Point], interpolate: bool) -> OperatingCurve:
    return replace(
        _without_points(dict(zip((*IDENTITY, "chunk_tokens"), key, strict=True)), interpolate),
        batch=tuple(point.batch for point in points),
        latency_ms=tuple(point.latency_ms for point in points),
        requests_per_s=tuple(point.requests_per_s for point in points),
        memory_gib=_all_or_none([point.memory_gib for point in points]),
    )


def _outside(query: CurveQuery, role: str, rows: list[Measured]) -> Fault:
    """No batch of any engine was measured on both sides of what is asked for."""
    if role == "prefill":
        prompts = prompts_of(query.lengths)
        asked = f"prompts of {prompts[0][0]} to {prompts[-1][0]} tokens"
        if query.options.ttft_percentile is not None:
            asked += f", {query.lengths.isl_at(query.options.ttft_percentile)} at the percentile of the TTFT"
        there = "ISL " + ", ".join(map(str, sorted({row.isl for row in rows})))
    else:
        asked = f"a mean context (ISL + OSL/2, over all steps) of {float(contexts_of(query.lengths)[0]):.6g} tokens"
        there = "isl/osl " + ", ".join(f"{isl}/{osl}" for isl, osl in sorted({(row.isl, row.osl) for row in rows}))
    text = f"{asked} of {query.model} on {query.gpu}: no engine was measured on both sides, and nothing is extrapolated"
    way = "stay between them, with min_tokens and max_tokens (of a trace: min_isl, max_isl) if need be"
    return Fault("$.workloads[].isl", f"{text}; {role} rows there are for {there}; {way}")


def _interpolation_note(role: str, errors: list[float]) -> str:
    over = "ISL" if role == "prefill" else "mean context"
    return (
        f"{role} latencies are interpolated over {over}; each inner measured ISL left out and predicted from the "
        f"others is off by {median(errors):.1%} (median of {len(errors)} rows), at most {max(errors):.0%}"
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
