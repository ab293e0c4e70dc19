"""The verdict: OPTIMAL is ours to say, after the independent verifier and the proof agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from solver.dual_bound import PROOF
from solver.engines import EngineSet
from solver.instance import Instance
from solver.result import Result, Run, Status
from solver.stages import Staged
from solver.verifier import verify

MULTIPLIERS = "bound proved by multipliers"
"""How the proof of an optimum starts that meets a dual bound."""


def judged(
    instance: Instance, engines: EngineSet, staged: Staged, run: Run, reasons: tuple[Mapping[str, object], ...] = ()
) -> Result:
    """
    Turns the outcome of the stages into a result, verified independently.

    A deployment that the verifier refutes is reported as ``unknown`` with the refutation: it is a fault of ours.
    """
    status: Status = staged.objective.verdict
    result = Result(
        instance=instance,
        engines=engines,
        status=status,
        deployment=staged.deployment,
        objective=staged.value,
        bound=staged.bound,
        proof=_proof(staged, run),
        feasibility="nothing to verify",
        proved=staged.proved,
        run=run,
        reasons=reasons,
        dual=staged.dual,
    )
    return result if staged.deployment is None else verified(result)


def verified(result: Result) -> Result:
    """The result with the verifier's word in it; ``optimal`` only where it agrees."""
    draft = replace(result, feasibility="verified exactly")
    checked = verify(result.instance, result.engines, draft.as_dict())
    if checked.ok:
        return draft
    return replace(result, status="unknown", feasibility="REFUTED: " + "; ".join(checked.faults[:5]))


def _proof(staged: Staged, run: Run) -> str:
    if staged.objective.verdict not in ("optimal", "infeasible"):
        stopped = "the gap asked for was reached" if run.parameters.get("gap") else "a limit or an interrupt came first"
        return f"not proved: {stopped}"
    if staged.objective.model_hash == "limit":
        return "bound proved by comparing all pairs of points in rational arithmetic"
    if staged.objective.model_hash == PROOF:
        return f"{MULTIPLIERS} of what workloads share, evaluated twice in rational arithmetic"
    what = "infeasibility" if staged.objective.verdict == "infeasible" else "bound"
    by = f"cp-sat {run.backend_version}" if run.backend == "cp-sat" else "cp-sat"
    revoked = [claim for claim in run.claims if claim.get("revoked")]
    note = f"; the claim of {run.backend} was wrong and is revoked" if revoked else ""
    return f"{what} proved by {by} on model {staged.objective.model_hash}{note}"
