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


def bench(names: Sequence[str], *, record: bool, time_limit_s: float, say: Callable[[str], object]) -> bool:
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

    Raises
    ------
    InputError
        When a name is unknown.
    """
    known = instances.names()
    unknown = [name for name in names if name not in (*known, FRONTIERS)]
    if unknown:
        raise InputError([Fault(name, "unknown built-in instance; `instances` lists them") for name in unknown])
    expected = recorded()
    found: dict[str, Recorded] = {}
    good = True
    say(f"{'instance':<38}{'status':<12}{'objective':>18}{'recorded':>18}{'points':>8}{'cols':>6}{'s':>9}  verdict")
    for name in [name for name in names or known if name != FRONTIERS]:
        started = time.perf_counter()
        path = instances.path(name)
        result = solve(path, Options(controls=Controls(time_limit_s=time_limit_s)))
        spent = time.perf_counter() - started
        old = expected.get(name)
        verdict = "recorded" if record else _verdict(result, old)
        good &= verdict in ("same", "recorded")
        say(_line(name, result, old, spent, verdict))
        if record:
            found[name] = _record(name, path, result, old, time_limit_s)
            say(f"    proved by {found[name].proved_by}")
    if found:
        _write({**expected, **found})
    if not names or FRONTIERS in names:
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
