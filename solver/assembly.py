"""A deployment put together from plans of single workloads: one plan each, chosen by a float back end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pulp

from solver.backends.base import BackendError
from solver.backends.registry import backend
from solver.clock import Clock
from solver.column import Column
from solver.deployment import Deployment
from solver.engines import EngineSet
from solver.formulation.milp import Milp
from solver.formulation.unit import total
from solver.hint import holds
from solver.instance import Instance
from solver.multipliers import Cut
from solver.resources import Resource
from solver.start import FINDER

LONGEST_S = 5.0
"""Seconds that the choice may take; a twentieth of the time limit where that is less."""


def assembled(
    instance: Instance,
    engines: EngineSet,
    columns: Sequence[Column],
    rows: Sequence[Resource],
    cuts: Sequence[Cut],
    clock: Clock,
) -> Deployment | None:
    """
    The best choice of plans, one of each workload, that together fit the rows; None where none is found that holds.

    Parameters
    ----------
    instance, engines
        The instance and its engines.
    columns, rows, cuts
        What plans may use, what they share, and the plans.
    clock
        Time.

    Raises
    ------
    solver.clock.Stopped
        When no time is left.
    """
    different = list({(cut.workload, tuple(sorted(cut.plan.items()))): cut for cut in cuts}.values())
    chosen = _choice(instance, rows, different, clock)
    if not chosen:
        return None
    plan = [(columns[place].engine, columns[place].batch, n) for cut in chosen for place, n in cut.plan.items()]
    found = Deployment.of(instance, plan)
    return found if holds(found, engines) else None


def _choice(instance: Instance, rows: Sequence[Resource], cuts: Sequence[Cut], clock: Clock) -> list[Cut]:
    """The plans chosen."""
    problem = pulp.LpProblem("assembly", pulp.LpMaximize)
    taken = [pulp.LpVariable(f"z{number}", 0, 1, pulp.LpInteger) for number in range(len(cuts))]
    scale = max((abs(float(cut.worth)) for cut in cuts), default=0.0) or 1.0
    problem.setObjective(total(float(cut.worth) / scale * z for cut, z in zip(cuts, taken, strict=True)))
    for number, workload in enumerate(instance.workloads):
        mine = total(z for cut, z in zip(cuts, taken, strict=True) if cut.workload == workload.name)
        if workload.requests_per_s is not None and not mine:
            return []
        problem.addConstraint(mine == 1 if workload.requests_per_s is not None else mine <= 1, f"w{number}")
    for place, row in enumerate(rows):
        used = total(float(cut.taken[place]) * z for cut, z in zip(cuts, taken, strict=True) if cut.taken[place])
        problem.addConstraint(used <= float(row.limit), f"r{place}")
    left = clock.remaining()
    longest = LONGEST_S if left.time_limit_s is None else min(LONGEST_S, left.time_limit_s / 20)
    try:
        clock.solves += 1
        answer = backend(FINDER).solve(Milp(problem), replace(left, time_limit_s=longest))
    except BackendError:
        return []
    values = answer.values or {}
    return [cut for cut, z in zip(cuts, taken, strict=True) if values.get(z.name)]
