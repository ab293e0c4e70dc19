"""What another back end or formulation claims, before the exact step proves or refutes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from solver.backends.base import Answer, Backend, BackendError
from solver.clock import Clock, Stopped
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.formulation.plan_model import PlanModel
from solver.formulation.points import build_points
from solver.hint import holds
from solver.instance import Instance
from solver.measure import objective_of, per_gpu, throughput

MOST_RATIO_STEPS = 30
FLOAT_TOLERANCE = 1e-6
"""Relative tolerance to which claims of float back ends are held."""


@dataclass(frozen=True)
class Claim:
    """
    A back end's answer to the first stage.

    Parameters
    ----------
    deployment
        Its deployment, where it holds exactly; None otherwise.
    records
        What was claimed, for the result file.
    """

    deployment: Deployment | None
    records: tuple[Mapping[str, object], ...]

    def judged(self, value: Fraction | None, instance: Instance) -> tuple[Mapping[str, object], ...]:
        """
        The records for the result file, with ``revoked`` where the proved optimum contradicts the claim.

        Parameters
        ----------
        value
            The objective that was proved, None where the instance is infeasible.
        instance
            The instance.
        """
        return tuple({**record, "revoked": _contradicted(record, value, instance)} for record in self.records)


def _contradicted(record: Mapping[str, object], value: Fraction | None, instance: Instance) -> bool:
    """Whether a claim of infeasibility, of an optimum or of a bound is wrong, beyond a float's tolerance."""
    if value is None:
        return record["status"] in ("optimal", "feasible") and bool(record.get("holds_exactly"))
    if record["status"] == "infeasible":
        return True
    sign = -1 if instance.is_minimised else 1
    room = abs(float(value)) * FLOAT_TOLERANCE
    bound, objective = record.get("bound"), record.get("objective")
    below = isinstance(bound, float) and sign * bound < sign * float(value) - room
    worse = isinstance(objective, float) and sign * objective < sign * float(value) - room
    return below or (record["status"] == "optimal" and worse)


def claim_of(first: Backend, formulation: str, instance: Instance, candidates: Candidates, clock: Clock) -> Claim:
    """
    Asks a back end for the first stage; nothing where CP-SAT solves ``points``, which the exact step does itself.

    Raises
    ------
    BackendError
        When the back end is not available, fails, or cannot hold the formulation.
    """
    reason = first.unavailable()
    if reason:
        raise BackendError(f"back end {first.name} is unavailable: {reason}")
    if formulation == "points" and "exact" in first.capabilities:
        return Claim(None, ())
    if formulation == "piecewise" and "continuous" not in first.capabilities:
        raise BackendError(f"{first.name} knows integers only; the piecewise formulation needs scip, highs or cbc")
    build = builder_of(formulation, instance, candidates)
    try:
        deployment, answer, model, value = _best(first, build, instance, clock)
    except Stopped:
        return Claim(None, ({"backend": first.name, "formulation": formulation, "status": "unknown"},))
    feasible = deployment is not None and holds(deployment, candidates.engine_set)
    record: dict[str, object] = {
        "backend": first.name,
        "formulation": formulation,
        "status": answer.status,
        "raw_status": answer.raw_status,
        "objective": None if value is None else float(value),
        "bound": _bound(answer, model, instance),
        "wall_s": round(answer.wall_s, 6),
        "holds_exactly": feasible,
        "model": model.milp.digest(),
        "variables": len(model.milp.problem.variables()),
        "rows": len(model.milp.problem.constraints),
    }
    return Claim(deployment if feasible else None, (record,))


def _bound(answer: Answer, model: PlanModel, instance: Instance) -> float | None:
    """The claimed bound in the unit of the instance's objective; None for ratios, whose models bound a difference."""
    if answer.bound is None or instance.objective == "throughput_per_gpu":
        return None
    bound = answer.bound / model.scaling.unit
    return float(bound * throughput(instance)[1] if instance.objective == "throughput" else -bound)


def builder_of(formulation: str, instance: Instance, candidates: Candidates) -> Callable[[], PlanModel]:
    """What builds a fresh fine model of the first stage, in the given formulation."""
    if formulation == "points":
        columns = candidates.columns()
        return lambda: build_points(instance, columns, segments=candidates.table.rate_step)
    from solver.formulation.piecewise import build_piecewise

    return lambda: build_piecewise(instance, candidates.table.engines)


def _best(
    first: Backend, build: Callable[[], PlanModel], instance: Instance, clock: Clock
) -> tuple[Deployment | None, Answer, PlanModel, Fraction | None]:
    """The back end's deployment, its last answer, the model of that answer, and the exact value of the deployment."""
    measure = objective_of(instance)
    best: Deployment | None = None
    for _ in range(MOST_RATIO_STEPS):
        model = build()
        model.maximise(measure.objective(model))
        clock.solves += 1
        answer = first.solve(model.milp, clock.remaining())
        found = None if answer.values is None else Deployment.of(instance, model.read(answer.values))
        if found is None or not found.assignments:
            break
        if instance.objective != "throughput_per_gpu":
            return found, answer, model, found.objective
        if best is not None and found.objective <= best.objective:
            break
        best = found
        measure = per_gpu(best)
    return best, answer, model, None if best is None else best.objective
