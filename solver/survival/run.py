"""The walk of an instance that has to survive a loss: points, model, proof, plan with its blocks, verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from costmodels.errors import Fault, InputError
from solver.backends.cpsat import CpSat
from solver.clock import Clock, Stopped
from solver.columns import Candidates
from solver.engines import EngineSet
from solver.formulation.milp import Milp
from solver.instance import Instance, Survive
from solver.measure import throughput
from solver.optimise import Optimum
from solver.points import PointTable, points_of
from solver.result import Result, Run
from solver.stages import Staged
from solver.survival.model import SurvivalModel
from solver.verdict import judged

if TYPE_CHECKING:
    from solver.planner import Options


def without_survive(instance: Instance) -> Instance:
    """The instance with no loss to survive."""
    return replace(instance, serving=replace(instance.serving, survive=None))


def refuse_survive(instance: Instance, command: str) -> None:
    """
    Says that a command does not cover ``serving.survive``.

    Raises
    ------
    InputError
        When the instance has it.
    """
    if instance.serving.survive is not None:
        raise InputError(
            [Fault("$.serving.survive", f"is covered by solve and verify, not by {command}; leave it out")]
        )


def surviving(
    instance: Instance, engines: EngineSet, survive: Survive, bare: Result, options: Options, started: float
) -> Result:
    """
    The best plan that keeps every demand after the loss.

    Parameters
    ----------
    instance, engines
        The instance and its engines.
    survive
        The loss.
    bare
        The answer without it.
    options
        How to solve.
    started
        When the clock started.
    """
    table, dropped = _inside(instance, survive, points_of(instance, engines, thin=options.dominance))
    candidates = Candidates(instance, engines, table, options.dominance)
    clock = Clock(options.controls, started)
    model = SurvivalModel(instance, survive, candidates.columns())
    found, solved = _optimum(model, clock), CpSat()
    staged = _staged(model, found)
    run = Run(
        backend=solved.name,
        backend_version=solved.version(),
        formulation="points",
        dominance=options.dominance,
        tiebreak=options.tiebreak,
        parameters={name: value for name, value in vars(options.controls).items() if name not in ("log", "watch")},
        points=len(table),
        columns=len(model.columns),
        dropped={**engines.dropped, **table.dropped, **dropped},
        solves=clock.solves + bare.run.solves,
        wall_s=round(time.perf_counter() - started, 6),
        model_hash=found.model_hash,
        quantum=float(Fraction(1, model.scale)),
    )
    reasons = _reasons(instance, engines, survive, bare, options) if found.verdict == "infeasible" else ()
    result = judged(instance, engines, staged, run, reasons)
    return replace(result, unprotected=bare.objective if bare.status == "optimal" else None)


def _reasons(
    instance: Instance, engines: EngineSet, survive: Survive, bare: Result, options: Options
) -> tuple[Mapping[str, object], ...]:
    """Why nothing survives: there is no plan even without a loss, or the largest loss after which demands are met."""
    if bare.status != "optimal":
        return bare.reasons
    most, too_many = 0, survive.lost
    while too_many - most > 1:
        less = replace(survive, lost=(most + too_many) // 2)
        fewer = replace(instance, serving=replace(instance.serving, survive=less))
        unasked = replace(bare, status="unknown")
        try:
            status = surviving(fewer, engines, less, unasked, options, time.perf_counter()).status
        except InputError:  # more cases than the model takes
            return ()
        if status == "infeasible":
            too_many = less.lost
        elif status in ("optimal", "feasible"):
            most = less.lost
        else:
            return ()
    text = f"survive.{survive.kind}: {survive.lost} -> {most or 'none: leave it out'}"
    return ({"requirement": "survive", "given": survive.lost, "nearest": most, "unit": survive.kind, "text": text},)


def _inside(instance: Instance, survive: Survive, table: PointTable) -> tuple[PointTable, dict[str, int]]:
    """The points whose replicas fit into a block, and how many do not."""
    fits = [
        e.curve.partition.gpus <= min(survive.block_gpus(e.pool), instance.pool(e.pool.name).gpus or 0)
        for e in table.engines
    ]
    keep = np.array(fits, dtype=bool)[table.engine] if len(table) else np.zeros(0, dtype=bool)
    out = int((~keep).sum())
    return table.subset(keep, table.dropped), {f"larger than one of the {survive.kind}": out} if out else {}


def _staged(model: SurvivalModel, found: Optimum) -> Staged:
    if found.deployment is None:
        return Staged(found, None, None, None, (), len(model.columns))
    proved = ("objective",) if found.verdict == "optimal" else ()
    return Staged(found, found.deployment, found.deployment.objective, found.bound, proved, len(model.columns))


def _optimum(model: SurvivalModel, clock: Clock) -> Optimum:
    """The best plan; the bound counts as proved when a second run, differently set, finds nothing better."""
    instance, milp = model.instance, model.milp
    if instance.is_minimised:
        prices = {p.name: Fraction(1) if instance.objective == "gpus" else p.usd_per_gpu_hour for p in instance.pools}
        spent, scale = model.spent({name: price or Fraction(0) for name, price in prices.items()})
        goal, unit = -spent, Fraction(1, scale)
    else:
        goal, unit = model.tokens, throughput(instance)[1] / model.scale
    model.problem.setObjective(goal)
    try:
        clock.solves += 1
        answer = CpSat().solve(milp, clock.remaining())
        clock.interrupted |= answer.raw_status.endswith("interrupted")
        if answer.status == "infeasible":
            return _agreed(Optimum("infeasible", None, None, None, milp), milp, clock)
        if answer.values is None:
            return Optimum("unknown", None, None, None, milp)
        plan = model.read(answer.values)
        bound = None if answer.bound is None else abs(answer.bound * unit)
        if answer.status != "optimal" or answer.bound is None:
            return Optimum("feasible", plan, plan.objective, bound, milp)
        model.add("E_better", goal >= int(answer.bound) + 1)
        return _agreed(Optimum("optimal", plan, plan.objective, plan.objective, milp), milp, clock)
    except (Stopped, KeyboardInterrupt) as reason:
        clock.stopped(reason)
        return Optimum("unknown", None, None, None, milp)


def _agreed(found: Optimum, milp: Milp, clock: Clock) -> Optimum:
    """The outcome, if a run with the presolve finds nothing either; else what is left of it without that proof."""
    try:
        clock.solves += 1
        second = CpSat(presolve=True).solve(milp, clock.remaining())
    except (Stopped, KeyboardInterrupt) as reason:
        clock.stopped(reason)
        second = None
    if second is not None and second.status == "infeasible":
        return found
    return replace(found, verdict="unknown" if found.deployment is None else "feasible", bound=None)
