"""The ``verify`` command: a file against its instance, and the bound proved again another way."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from solver.backends.base import Controls
from solver.backends.cpsat import CpSat
from solver.backends.registry import backend as backend_of
from solver.claim import claim_of
from solver.clock import Clock
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.engines import EngineSet, cost_model_of, engines_of
from solver.frontier import Sweep
from solver.hint import deployment_from
from solver.instance import Instance
from solver.limit import limit_at
from solver.points import points_of
from solver.read import read_instance, read_json
from solver.result import exact_text, instance_hash
from solver.stages import Stages
from solver.verdict import MULTIPLIERS
from solver.verifier import verify, verify_frontier
from solver.verify_dual import BadCertificate, bound_again, certified
from solver.verify_schedule import verify_schedule

FLOAT_TOLERANCE = 1e-6
"""Relative tolerance for the bound of a float back end; its proofs hold to such a tolerance only."""


CHECKS = {"disagg-result": verify, "disagg-frontier": verify_frontier, "disagg-schedule": verify_schedule}
"""Format of a file to its verifier."""


@dataclass(frozen=True)
class Outcome:
    """
    What a check found.

    Parameters
    ----------
    ok
        Whether everything holds.
    lines
        The findings in words.
    faults, checked
        What is wrong, and the families that were checked.
    """

    ok: bool
    lines: tuple[str, ...]
    faults: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()

    def as_dict(self, file: Path) -> dict[str, Any]:
        """The outcome as a document, version 1."""
        proofs = [line.removeprefix("rebound: ") for line in self.lines if line.startswith("rebound: ")]
        found = {"ok": self.ok, "faults": list(self.faults), "checked": list(self.checked), "rebound": proofs}
        return {"format": "disagg-check", "version": 1, "file": str(file), **found}


def check_file(
    instance_file: Path, file: Path, *, rebound: bool = False, backend: str = "scip", time_limit_s: float | None = None
) -> Outcome:
    """
    Verifies a result, frontier or schedule file, independently of what wrote it.

    Parameters
    ----------
    instance_file, file
        The instance, and the result, frontier or schedule.
    rebound
        Whether to prove again that nothing better exists: without dominance in exact arithmetic, and by another back
        end.
    backend
        The other back end.
    time_limit_s
        Seconds for each of the two proofs; 60 by default.

    Raises
    ------
    InputError
        When a file cannot be read or is of another kind.
    """
    instance = read_instance(instance_file)
    document = read_json(file)
    kind = document.get("format") if isinstance(document, dict) else None
    if kind not in CHECKS or document.get("version") != 1:
        text = f"got format {kind!r}, must be {', '.join(CHECKS)}, version 1"
        raise InputError([Fault(f"{file} $.format", text)])
    engines = engines_of(instance, cost_model_of(instance, instance_file.parent))
    if rebound and kind == "disagg-schedule":
        raise InputError([Fault("--rebound", "is for results and frontiers; schedule again proves a schedule again")])
    checked = CHECKS[kind](instance, engines, document)
    faults = list(checked.faults)
    if document.get("instance_hash") != instance_hash(instance, engines):
        faults.append("document: instance_hash: the instance or its curves are not those that this file answers")
    lines_of_bound = _dual_again(instance, engines, document, faults)
    lines = [f"{file.name}: {'verified exactly' if not faults else 'REFUTED'}"]
    lines += [f"  {fault}" for fault in faults]
    lines += [f"checked: {', '.join(checked.checked)}"] if checked.checked else []
    lines += lines_of_bound
    if not faults and not rebound and kind != "disagg-schedule":
        lines.append("feasibility and totals are checked; --rebound proves again that nothing better exists")
    if rebound and not faults:
        again = _rebound(instance, engines, document, backend, time_limit_s or 60.0)
        return Outcome(again.ok, (*lines, *again.lines), (), tuple(checked.checked))
    return Outcome(not faults, tuple(lines), tuple(faults), tuple(checked.checked))


def _dual_again(instance: Instance, engines: EngineSet, document: Mapping[str, Any], faults: list[str]) -> list[str]:
    """Evaluates the certificate of a dual bound again, where there is one."""
    certificate = document.get("dual_bound")
    if document["format"] != "disagg-result":
        return []
    if certificate is None:
        if str(document.get("proof")).startswith(MULTIPLIERS):
            faults.append("dual_bound: is missing, and the proof rests on it")
        return []
    try:
        bound = certified(instance, engines, certificate)
        stated = Fraction(document["exact"]["bound"])
        if Fraction(certificate["value"]) < bound_again(instance, engines, certificate):
            faults.append(f"dual_bound: the multipliers prove {float(bound):.12g} only, not what is stated")
        if document["proof"].startswith(MULTIPLIERS):
            tighter = stated > bound if instance.is_minimised else stated < bound
            faults += ["dual_bound: the stated bound is tighter than what the multipliers prove"] if tighter else []
    except (BadCertificate, KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        faults.append(f"dual_bound: {error}")
        return []
    return [f"dual bound: {float(bound):.12g} follows from the multipliers (evaluated again)"]


def _rebound(
    instance: Instance, engines: EngineSet, document: Mapping[str, Any], backend: str, limit: float
) -> Outcome:
    if document["format"] == "disagg-frontier":
        return _frontier_again(instance, engines, document, limit)
    if document["status"] == "unknown":
        return Outcome(True, ("rebound: nothing to prove again, the status is unknown",))
    if instance.is_unlimited:
        return _limit_again(instance, engines, document)
    if document["status"] == "feasible":
        return _bound_again(instance, engines, document, limit)
    deployment = deployment_from(document, instance, engines)
    exact = _without_dominance(instance, engines, deployment, limit)
    other = _other_backend(instance, engines, deployment, backend, limit)
    refuted = [line for ok, line in (exact, other) if ok is False]
    proved = [line for ok, line in (exact, other) if ok]
    lines = [line for _, line in (exact, other)]
    if not refuted and not proved:
        lines.append("rebound: neither proof closed within its limit; raise --time-limit")
    return Outcome(bool(proved) and not refuted, tuple(lines))


def _without_dominance(
    instance: Instance, engines: EngineSet, deployment: Deployment | None, limit: float
) -> tuple[bool | None, str]:
    """Nothing better exists among all points, in integers; None where the limit came first."""
    started = time.perf_counter()
    candidates = Candidates(instance, engines, points_of(instance, engines), dominance=False)
    clock = Clock(Controls(time_limit_s=limit))
    staged = Stages(instance, candidates, CpSat(), clock).run(last="objective", start=deployment)
    spent = f"{time.perf_counter() - started:.2f} s, {staged.columns} columns"
    name = "rebound: cp-sat, points without dominance"
    if staged.objective.verdict == "infeasible" and deployment is None:
        return True, f"{name}: infeasibility proved again ({spent})"
    if deployment is None and staged.deployment is not None:
        return False, f"{name}: REFUTED, a plan exists ({spent})"
    if staged.objective.verdict != "optimal" or staged.deployment is None:
        better = staged.deployment is not None and deployment is not None and _better(staged.deployment, deployment)
        return (
            (False, f"{name}: REFUTED, a better plan exists")
            if better
            else (None, f"{name}: > {limit:g} s, not closed")
        )
    if deployment is None or staged.value != deployment.objective:
        return False, f"{name}: REFUTED, {float(staged.value or 0):.9g} is reached ({spent})"
    return True, f"{name}: bound proved again on model {staged.objective.model_hash} ({spent})"


def _better(a: Deployment, b: Deployment) -> bool:
    return a.objective < b.objective if a.instance.is_minimised else a.objective > b.objective


def _other_backend(
    instance: Instance, engines: EngineSet, deployment: Deployment | None, backend: str, limit: float
) -> tuple[bool | None, str]:
    """Another back end's own optimum, evaluated exactly, must be the same."""
    first = backend_of(backend)
    name = f"rebound: {backend}, points with dominance"
    candidates = Candidates(instance, engines, points_of(instance, engines))
    claim = claim_of(first, "points", instance, candidates, Clock(Controls(time_limit_s=limit)))
    if not claim.records:
        return None, f"{name}: the same as the first proof, nothing new"
    record = claim.records[0]
    if record["status"] == "infeasible":
        return (deployment is None), f"{name}: claims infeasibility ({record['wall_s']} s)"
    if record["status"] not in ("optimal", "feasible") or claim.deployment is None:
        return None, f"{name}: > {limit:g} s, not closed"
    if deployment is None or _better(claim.deployment, deployment):
        return False, f"{name}: REFUTED by a plan of {float(claim.deployment.objective):.9g}"
    same = claim.deployment.objective == deployment.objective
    closed = record["status"] == "optimal" and same
    word = "same optimum, by its own proof" if closed else "no better plan found, not closed"
    return (True if closed else None), f"{name}: {word} ({record['wall_s']} s)"


def _bound_again(instance: Instance, engines: EngineSet, document: Mapping[str, Any], limit: float) -> Outcome:
    """A result that is not proved: its bound must not be on the wrong side of what is reachable."""
    claimed = document["exact"]["bound"]
    if claimed is None:
        return Outcome(True, ("rebound: nothing to prove again, there is no bound",))
    candidates = Candidates(instance, engines, points_of(instance, engines))
    stages = Stages(instance, candidates, CpSat(), Clock(Controls(time_limit_s=limit)))
    value = stages.run(last="objective", start=deployment_from(document, instance, engines)).value
    least = instance.is_minimised
    wrong = value is not None and (value < Fraction(claimed) if least else value > Fraction(claimed))
    word = f"REFUTED, {float(value or 0):.9g} is reached" if wrong else "not contradicted"
    return Outcome(not wrong, (f"rebound: bound {float(Fraction(claimed)):.9g}: {word}",))


def _frontier_again(instance: Instance, engines: EngineSet, document: Mapping[str, Any], limit: float) -> Outcome:
    """Traces the frontier again among all points, presolved, and compares point by point."""
    name = "rebound: cp-sat with presolve, points without dominance"
    candidates = Candidates(instance, engines, points_of(instance, engines), dominance=False)
    clock = Clock(Controls(time_limit_s=limit))
    stages = Stages(instance, candidates, CpSat(presolve=True), clock)
    sweep = Sweep(
        instance, engines, candidates, stages, document.get("workloads") or (), document.get("allow_unserved", False)
    )
    asked = [
        Fraction(str(point["requested_tokens_per_s_per_user"])) for point in document["points"] if document["requested"]
    ]
    again = sweep.at(asked) if document["requested"] else sweep.trace()
    told = [(point["exact"]["objective"], _tpot_of(point, document["workloads"])) for point in document["points"]]
    found = [(exact_text(p.value), None if document["requested"] else exact_text(p.tpot_ms)) for p in again.points]
    told = [(value, None if document["requested"] else tpot) for value, tpot in told]
    if again.missing:
        agree = found == told[: len(found)]
        word = f"> {limit:g} s, {len(found)} of {len(told)} points proved again" if agree else "REFUTED"
        return Outcome(agree and bool(found), (f"{name}: {word}",))
    if found != told:
        only = [pair for pair in found if pair not in told] + [pair for pair in told if pair not in found]
        return Outcome(
            False, (f"{name}: REFUTED, {len(found)} points instead of {len(told)}; first difference {only[:1]}",)
        )
    return Outcome(True, (f"{name}: all {len(told)} points proved again ({again.wall_s:.2f} s)",))


def _tpot_of(point: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The slowest TPOT in use among some workloads, from the entries of a point."""
    entries = [
        entry
        for part in point["deployment"]["workloads"]
        if part["workload"] in names
        for role in ("decode", "colocated")
        for entry in part[role]
    ]
    return exact_text(max((Fraction(entry["exact"]["latency_ms"]) for entry in entries), default=None))


def _limit_again(instance: Instance, engines: EngineSet, document: Mapping[str, Any]) -> Outcome:
    every = Candidates(instance, engines, points_of(instance, engines), dominance=False)
    value = limit_at(instance, every).value
    claimed = document["exact"]["objective"]
    same = (None if claimed is None else Fraction(claimed)) == value
    word = "proved again" if same else f"REFUTED, the limit is {value}"
    return Outcome(same, (f"rebound: rational comparison of all pairs without dominance: {word}",))
