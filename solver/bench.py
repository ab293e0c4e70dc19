"""The regression set: every built-in instance against its recorded optimum, and the frontiers of the study."""

from __future__ import annotations

import csv
import datetime
import io
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import instances
from costmodels.errors import Fault, InputError
from solver.backends.base import Controls
from solver.check import check_file
from solver.files import write_whole
from solver.planner import Options, solve
from solver.result import Result, exact_text, to_json
from solver.study.record import FRONTIERS, frontiers

FIELDS = ("name", "status", "objective_kind", "objective", "exact_objective", "proved_by", "oracle", "date")


@dataclass(frozen=True)
class Recorded:
    """
    A recorded optimum.

    Parameters
    ----------
    name, status, objective_kind
        Instance, its status and its objective.
    objective
        Exact value, None where infeasible.
    proved_by
        The proofs behind it.
    oracle
        The independent oracle that agrees, where one applies.
    date
        When it was recorded.
    """

    name: str
    status: str
    objective_kind: str
    objective: Fraction | None
    proved_by: str
    oracle: str
    date: str


def recorded() -> dict[str, Recorded]:
    """The recorded optima by instance name."""
    file = Path(instances.__file__).with_name("optima.csv")
    if not file.exists():
        return {}
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {
        row["name"]: Recorded(
            row["name"],
            row["status"],
            row["objective_kind"],
            Fraction(row["exact_objective"]) if row["exact_objective"] else None,
            row["proved_by"],
            row["oracle"],
            row["date"],
        )
        for row in rows
    }


Say = Callable[[str], object]
Row = dict[str, Any]


def bench(
    names: Sequence[str],
    *,
    record: bool,
    time_limit_s: float,
    say: Say,
    progress: Callable[[float, str], object] | None = None,
    rows: list[Row] | None = None,
) -> bool:
    """
    Solves instances and compares status and optimum with what is recorded; then the frontiers of the study.

    Parameters
    ----------
    names
        Built-in names, ``paper/frontiers`` for the study; all where empty.
    record
        Whether to prove every optimum a second time and write the record.
    time_limit_s
        Seconds a solve.
    say
        Called with each line of the table.
    progress
        Called with the share that is done, and what comes next.
    rows
        Collects what was found of each instance, for machines.

    Raises
    ------
    InputError
        When a name is unknown.
    """
    chosen = _chosen(names)
    expected = recorded()
    found: dict[str, Recorded] = {}
    good = True
    say(f"{'instance':<38}{'status':<12}{'objective':>18}{'recorded':>18}{'points':>8}{'cols':>6}{'s':>9}  verdict")
    for done, name in enumerate(chosen):
        if progress is not None:
            progress(done / len(chosen), f"{done} of {len(chosen)} instances, {name}")
        started = time.perf_counter()
        path = instances.path(name)
        result = solve(path, Options(controls=Controls(time_limit_s=time_limit_s)))
        spent = time.perf_counter() - started
        old = expected.get(name)
        verdict = "recorded" if record else _verdict(result, old)
        good &= verdict in ("same", "recorded")
        say(_line(name, result, old, spent, verdict))
        if rows is not None:
            rows.append(_row(name, result, old, spent, verdict))
        if record:
            found[name] = _record(name, path, result, old, time_limit_s)
            say(f"    proved by {found[name].proved_by}")
    if found:
        _write({**expected, **found})
    if not names or FRONTIERS in names:
        if progress is not None:
            progress(1.0, "the frontiers of the study")
        good &= frontiers(record, say)
    return good


def _verdict(result: Result, old: Recorded | None) -> str:
    if old is None:
        return "NOT RECORDED"
    if result.status != old.status:
        return f"DEVIATES: status {result.status}, recorded {old.status}"
    if result.objective != old.objective:
        return f"DEVIATES by {float((result.objective or 0) - (old.objective or 0)):.9g}"
    return "same"


def _chosen(names: Sequence[str]) -> list[str]:
    """The instances of the given names, all without; the study apart."""
    known = instances.names()
    unknown = [name for name in names if name not in (*known, FRONTIERS)]
    if unknown:
        raise InputError([Fault(name, "unknown built-in instance; `instances` lists them") for name in unknown])
    return [name for name in names or known if name != FRONTIERS]


def document(good: bool, rows: list[Row], lines: Sequence[str]) -> Row:
    """What a run of :func:`bench` found, as a document, version 1; the lines of the study are as they were said."""
    study = [line for line in lines if line.startswith(FRONTIERS)]
    return {"format": "disagg-bench", "version": 1, "ok": good, "instances": rows, "study": study}


def _row(name: str, result: Result, old: Recorded | None, spent: float, verdict: str) -> Row:
    recorded = None if old is None else exact_text(old.objective)
    return {
        "instance": name,
        "status": result.status,
        "objective": None if result.objective is None else float(result.objective),
        "exact": {"objective": exact_text(result.objective), "recorded": recorded},
        "points": result.run.points,
        "columns": result.run.columns,
        "wall_s": round(spent, 6),
        "verdict": verdict,
        "as_recorded": verdict in ("same", "recorded"),
    }


def _line(name: str, result: Result, old: Recorded | None, spent: float, verdict: str) -> str:
    now, before = (_number(value) for value in (result.objective, old.objective if old else None))
    sizes = f"{result.run.points:>8}{result.run.columns:>6}{spent:>9.3f}"
    return f"{name:<38}{result.status:<12}{now:>18}{before:>18}{sizes}  {verdict}"


def _number(value: Fraction | None) -> str:
    return "-" if value is None else f"{float(value):.9g}"


def _record(name: str, path: Path, result: Result, old: Recorded | None, time_limit_s: float) -> Recorded:
    """A record, with the proofs that a second and third run gave."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        write_whole(file, to_json(result.as_dict()))
        again = check_file(path, file, rebound=True, time_limit_s=time_limit_s)
    if not again.ok:
        raise RuntimeError(f"{name}: the optimum could not be proved again: {'; '.join(again.lines)}")
    proofs = [result.proof.split(" proved by ")[-1]]
    lines = [line.removeprefix("rebound: ") for line in again.lines if line.startswith("rebound: ")]
    proofs += [re.sub(r" \([0-9.]+ s.*\)", "", line) for line in lines]
    same = old is not None and old.objective == result.objective and old.status == result.status
    today = datetime.date.today().isoformat()
    kind = result.instance.objective
    oracle = old.oracle if old is not None and same else ""
    return Recorded(name, result.status, kind, result.objective, " | ".join(proofs), oracle, today)


def _write(found: dict[str, Recorded]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for name in sorted(found):
        r = found[name]
        value = "" if r.objective is None else f"{float(r.objective):.12g}"
        exact = exact_text(r.objective) or ""
        writer.writerow([r.name, r.status, r.objective_kind, value, exact, r.proved_by, r.oracle, r.date])
    write_whole(Path(instances.__file__).with_name("optima.csv"), text.getvalue())
