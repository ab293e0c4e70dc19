"""The walk: instance, engines, points, columns, model, back end, deployment, verifier, result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from solver.backends.base import Backend, Controls
from solver.backends.cpsat import CpSat
from solver.backends.registry import backend
from solver.claim import Claim, claim_of
from solver.clock import Clock
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.diagnose import reasons_for
from solver.dual import Dual, dual_of, wants
from solver.engines import CostModel, EngineSet, cost_model_of, engines_of
from solver.frontier import Frontier, FrontierPoint, sweep_of, swept
from solver.hint import hinted
from solver.instance import Instance
from solver.limit import limit_of
from solver.load import load_instance
from solver.points import points_of
from solver.result import Result, Run
from solver.stages import Staged, Stages
from solver.start import start_of
from solver.survival.run import refuse_survive, surviving, without_survive
from solver.verdict import judged
from solver.verifier import verify_frontier

SETTLED = ("optimal", "infeasible")


@dataclass(frozen=True)
class Options:
    """
    How to solve.

    Parameters
    ----------
    backend
        Name of the back end that is asked first; CP-SAT proves its answer.
    formulation
        ``points`` or ``piecewise``.
    dominance
        Whether dominated points are dropped before building.
    tiebreak
        Whether equal optima are settled lexicographically.
    controls
        Threads, seed, limits.
    hint
        An earlier result (parsed JSON) to start from, or None.
    incremental
        Whether points of a frontier may be proved by bounds, without a model; not without dominance.
    dual
        Whether large instances are bounded by multipliers of what workloads share, before CP-SAT is asked.
    """

    backend: str = "cp-sat"
    formulation: str = "points"
    dominance: bool = True
    tiebreak: bool = True
    controls: Controls = field(default_factory=Controls)
    hint: Mapping[str, Any] | None = None
    incremental: bool = True
    dual: bool = True


def solve(
    what: Instance | str | Path,
    options: Options | None = None,
    *,
    folder: Path | None = None,
    cost_model: CostModel | None = None,
) -> Result:
    """
    The best deployment of an instance, with its proof.

    Parameters
    ----------
    what
        An instance, the path of an instance file, or the name of a built-in instance.
    options
        How to solve.
    folder
        Where relative paths in the instance start; the folder of the file where one is given, else this folder.
    cost_model
        What prices the engines; None: what the instance names.

    Raises
    ------
    costmodels.errors.InputError
        When instance or tables have faults.
    solver.backends.base.BackendError
        When the back end is not available or fails.
    """
    started = time.perf_counter()
    options = options or Options()
    instance, folder = load_instance(what, folder)
    model = cost_model or cost_model_of(instance, folder)
    engines = engines_of(instance, model)
    if instance.is_unlimited:
        return limit_of(instance, engines, options, started)
    if (survive := instance.serving.survive) is not None:
        bare = solve(without_survive(instance), options, folder=folder, cost_model=model)
        return surviving(instance, engines, survive, bare, options, started)
    table = points_of(instance, engines, thin=options.dominance)
    candidates = Candidates(instance, engines, table, options.dominance)
    clock = Clock(options.controls)
    first = backend(options.backend)
    claim = claim_of(first, options.formulation, instance, candidates, clock)
    start = claim.deployment or hinted(options.hint, instance, engines)
    dual = _dual(instance, candidates, options, clock, start)
    kept, known = candidates.without(dual.excluded), dual.value
    stages = Stages(instance, kept, CpSat(), clock, second=CpSat(presolve=True), known=known)
    staged = stages.run(last="canonical" if options.tiebreak else "objective", start=dual.start)
    reasons = reasons_for(stages, model) if staged.objective.verdict == "infeasible" else ()
    run = _run(options, first, claim, staged, stages, engines, started)
    return judged(instance, engines, replace(staged, dual=dual.certificate), run, reasons)


def _dual(instance: Instance, candidates: Candidates, options: Options, clock: Clock, start: Deployment | None) -> Dual:
    """What is known before the search: from duality where the instance is large, else a start at most."""
    if options.dual and wants(instance, candidates.columns()):
        return dual_of(instance, candidates, clock, start)
    return Dual(start or start_of(instance, candidates, clock), None, None, frozenset())


def _run(
    options: Options,
    first: Backend,
    claim: Claim,
    staged: Staged,
    stages: Stages,
    engines: EngineSet,
    started: float,
) -> Run:
    table = stages.candidates.table
    return Run(
        backend=first.name,
        backend_version=first.version(),
        formulation=options.formulation,
        dominance=options.dominance,
        tiebreak=options.tiebreak,
        parameters=parameters(options.controls),
        points=len(table),
        columns=staged.columns,
        dropped={**engines.dropped, **table.dropped},
        solves=stages.clock.solves,
        wall_s=round(time.perf_counter() - started, 6),
        model_hash=staged.objective.model_hash,
        quantum=float(stages.quantum()),
        claims=claim.judged(staged.value, stages.instance) if staged.objective.verdict in SETTLED else claim.records,
    )


def parameters(controls: Controls) -> dict[str, object]:
    """Run controls for the record."""
    return {name: value for name, value in vars(controls).items() if name not in ("log", "watch")}


def trace(
    what: Instance | str | Path,
    options: Options | None = None,
    *,
    folder: Path | None = None,
    cost_model: CostModel | None = None,
    workloads: Sequence[str] = (),
    allow_unserved: bool = False,
    at: Sequence[Fraction] = (),
    min_step: Fraction = Fraction(0),
    progress: Callable[[FrontierPoint], None] | None = None,
    reached: Callable[[float], None] | None = None,
) -> Frontier:
    """
    The exact frontier of an instance.

    Parameters
    ----------
    what, options, folder, cost_model
        As for :func:`solve`; back end, formulation and hint are not used: every point is proved by CP-SAT, or by a
        bound where ``options.incremental`` lets it.
    workloads
        Names of the workloads whose TPOT is swept; all by default.
    allow_unserved
        Whether some workloads may end with nothing.
    at
        Interactivities (tokens/s/user) to answer, instead of the whole frontier.
    min_step
        Smallest relative step between interactivities; 0 finds every point.
    progress
        Called with every proved point.
    reached
        Called with the share of the way that is done, from 0 to 1.

    Raises
    ------
    costmodels.errors.InputError
        When instance or tables have faults.
    ValueError
        When a workload name is unknown or an interactivity is not positive.
    """
    options = options or Options()
    instance, folder = load_instance(what, folder)
    swept(instance, workloads)
    refuse_survive(instance, "frontier")
    if instance.is_unlimited and len(instance.workloads) > 1:
        text = (
            'a frontier with "unlimited" GPUs takes one workload: the others vanish in the limit; give numbers of GPUs'
        )
        raise InputError([Fault("$.workloads", text)])
    if any(interactivity <= 0 for interactivity in at):
        raise ValueError("interactivities must be positive numbers of tokens/s/user")
    engines = engines_of(instance, cost_model or cost_model_of(instance, folder))
    table = points_of(instance, engines, thin=options.dominance)
    candidates = Candidates(instance, engines, table, options.dominance)
    clock = Clock(options.controls)
    sweep = sweep_of(instance, engines, candidates, clock, workloads, allow_unserved, options.incremental, reached)
    frontier = sweep.at(at, progress) if at else sweep.trace(progress, min_step)
    return replace(frontier, faults=verify_frontier(instance, engines, frontier.as_dict()).faults)
