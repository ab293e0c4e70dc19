"""A first deployment for wide instances: found by a float back end, kept only if it holds exactly."""

from __future__ import annotations

from dataclasses import replace

from solver.backends.base import BackendError, Controls
from solver.backends.registry import backend
from solver.clock import Clock, Stopped
from solver.column import Column
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.formulation.points import build_points
from solver.hint import holds
from solver.instance import Instance
from solver.measure import objective_of
from solver.optimise import WIDE

FINDER = "scip"
"""Stops at a limit or an interrupt, and keeps to a memory limit."""
GAP = 1e-6
"""Relative gap at which the finder stops."""
MARGIN = 1e-5
"""Share by which demands are raised for the finder, whose rows hold within a tolerance only."""
LONGEST_S = 15.0
"""Seconds that the finder may take; a quarter of the time limit where that is less."""


def start_of(instance: Instance, candidates: Candidates, clock: Clock) -> Deployment | None:
    """
    A good deployment of an instance in which a point may have thousands of replicas and parts compete for GPUs.

    CP-SAT alone takes long to find any there. Nothing rests on the answer: it is a start for the exact search, whose
    bound is CP-SAT's. None where the instance is small or has one workload on one pool, where the objective is a ratio,
    or where nothing was found that the independent verifier calls feasible.
    """
    columns = candidates.columns()
    is_wide = max((column.most for column in columns), default=0) > WIDE
    parts = len(instance.workloads) * len(instance.pools)
    if not is_wide or parts == 1 or instance.objective == "throughput_per_gpu":
        return None
    return started(instance, candidates, clock, columns)


def started(instance: Instance, candidates: Candidates, clock: Clock, columns: tuple[Column, ...]) -> Deployment | None:
    """
    The finder's deployment over some columns; None where it has none that the independent verifier calls feasible.

    Parameters
    ----------
    instance, candidates, clock
        As for :func:`start_of`.
    columns
        What the deployment may use.
    """
    model = build_points(instance, columns, segments=candidates.table.rate_step, floats=True)
    model.maximise(objective_of(instance).objective(model))
    for name, row in model.milp.problem.constraints.items():
        if name.startswith("C8_demand"):
            row.constant *= 1 + MARGIN
    try:
        clock.solves += 1
        answer = backend(FINDER).solve(model.milp, _controls(clock))
        found = None if answer.values is None else Deployment.of(instance, model.read(answer.values))
    except (BackendError, Stopped, KeyboardInterrupt) as reason:
        clock.stopped(reason)
        return None
    return found if found is not None and found.assignments and holds(found, candidates.engine_set) else None


def _controls(clock: Clock) -> Controls:
    left = clock.remaining()
    limit = LONGEST_S if left.time_limit_s is None else min(LONGEST_S, left.time_limit_s / 4)
    return replace(left, time_limit_s=limit, gap=max(left.gap, GAP))
