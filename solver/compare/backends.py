"""The same first stage by every formulation and back end, with and without dominance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import instances
from solver.backends.base import BackendError, Controls
from solver.backends.cpsat import CpSat
from solver.backends.registry import available, backend
from solver.claim import FLOAT_TOLERANCE, Claim, claim_of
from solver.clock import Clock
from solver.columns import Candidates
from solver.compare.machine import median_s
from solver.engines import cost_model_of, engines_of
from solver.instance import Instance
from solver.points import points_of
from solver.read import read_instance
from solver.stages import Staged, Stages

NAMES = ("llama-70b-h200-72", "deepseek-v3-gb200-144", "four-models-h100-h200-cost")
"""A dense model, a mixture of experts, and four workloads on two pools."""
EXACT = "cp-sat"


def backends(
    names: tuple[str, ...], repeats: int, limit_s: float, say: Callable[[str], object]
) -> list[dict[str, Any]]:
    """
    Times one solve of the first stage, building included, for each instance, formulation, back end and reduction.

    Parameters
    ----------
    names
        Built-in instances.
    repeats
        Runs, whose median is shown; what takes longer than a second is run once.
    limit_s
        Seconds a solve. A run that it stops is shown as "> limit" with its gap.
    say
        Called with each line.
    """
    rows = []
    for name in names:
        say(
            f"\n{name}: one solve of the first stage, model building included; ratio to cp-sat on points with dominance"
        )
        say(f"{'formulation':<12}{'dominance':<11}{'columns':>8}  {'back end':<10}{'ms':>12}{'ratio':>9}  outcome")
        base: float | None = None
        for row in _runs(name, repeats, limit_s):
            closed = row["outcome"] in ("same optimum", "infeasible")
            if closed and base is None and row["backend"] == EXACT:
                base = row["median_ms"]
            row["ratio"] = row["median_ms"] / base if closed and base else None
            rows.append(row)
            say(_line(row, limit_s))
    return rows


def _runs(name: str, repeats: int, limit_s: float) -> Iterator[dict[str, Any]]:
    path = instances.path(name)
    instance = read_instance(path)
    engines = engines_of(instance, cost_model_of(instance, path.parent))
    best: Fraction | None = None
    for formulation, dominance in (("points", True), ("points", False), ("piecewise", True)):
        candidates = Candidates(instance, engines, points_of(instance, engines), dominance)
        shared = {"instance": name, "formulation": formulation, "dominance": dominance and formulation == "points"}
        shared["columns"] = len(candidates.columns()) if formulation == "points" else len(engines.engines)
        if formulation == "points":
            row, value = exact(instance, candidates, repeats, limit_s)
            best = value if best is None else best
            yield {**shared, **row}
        for word, reason in available():
            if word != EXACT and reason is None:
                yield {**shared, **claimed(word, formulation, instance, candidates, best, repeats, limit_s)}


def exact(
    instance: Instance, candidates: Candidates, repeats: int, limit_s: float
) -> tuple[dict[str, Any], Fraction | None]:
    """CP-SAT with the exact step: time and outcome, and the optimum."""

    def run() -> Staged:
        return Stages(instance, candidates, CpSat(), Clock(Controls(time_limit_s=limit_s))).run(last="objective")

    spent, times, staged = _repeated(run, repeats)
    verdict = staged.objective.verdict
    words = {"optimal": "same optimum", "infeasible": "infeasible"}
    gap = _gap(staged.value, staged.bound)
    row = {"backend": EXACT, "median_ms": 1000 * spent, "runs_ms": [1000 * t for t in times], "gap": gap}
    return {**row, "outcome": words.get(verdict, "stopped")}, staged.value


def claimed(
    word: str,
    formulation: str,
    instance: Instance,
    candidates: Candidates,
    best: Fraction | None,
    repeats: int,
    limit_s: float,
) -> dict[str, Any]:
    """Another back end's own first stage: time, and whether it ends at the proved optimum."""

    def run() -> Claim:
        return claim_of(backend(word), formulation, instance, candidates, Clock(Controls(time_limit_s=limit_s)))

    try:
        spent, times, claim = _repeated(run, repeats)
    except BackendError as error:
        return {"backend": word, "median_ms": 0.0, "runs_ms": [], "gap": None, "outcome": f"failed: {error}"}
    record = claim.records[0]
    value, bound = record.get("objective"), record.get("bound")
    outcome, gap = "stopped", None
    if record["status"] == "optimal" and isinstance(value, float) and best is not None:
        near = abs(value - float(best)) <= FLOAT_TOLERANCE * abs(float(best))
        outcome = "same optimum" if near else f"OTHER OPTIMUM {value:.9g}"
    elif isinstance(value, float) and isinstance(bound, float):
        gap = _gap(value, bound)
    return {
        "backend": word,
        "median_ms": 1000 * spent,
        "runs_ms": [1000 * t for t in times],
        "gap": gap,
        "outcome": outcome,
    }


def _repeated(run: Callable[[], Any], repeats: int) -> tuple[float, list[float], Any]:
    spent, times, value = median_s(run, 1)
    return (spent, times, value) if spent > 1 or repeats < 2 else median_s(run, repeats)


def _gap(value: Fraction | float | None, bound: Fraction | float | None) -> float | None:
    return abs(float(bound) - float(value)) / abs(float(value)) if value and bound is not None else None


def _line(row: dict[str, Any], limit_s: float) -> str:
    closed = row["ratio"] is not None
    spent = f"{row['median_ms']:.1f}"
    if row["outcome"] == "stopped":
        spent = f"> {1000 * limit_s:.0f}"
    gap = f", gap {row['gap']:.2e}" if row["outcome"] == "stopped" and row["gap"] is not None else ""
    ratio = f"{row['ratio']:.1f}" if closed else "-"
    dominance = "yes" if row["dominance"] else "no"
    left = f"{row['formulation']:<12}{dominance:<11}{row['columns']:>8}  {row['backend']:<10}"
    return f"{left}{spent:>12}{ratio:>9}  {row['outcome']}{gap}"
