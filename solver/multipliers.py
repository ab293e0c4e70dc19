"""Better multipliers: each bound names plans of single workloads, and those say where a lower bound may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from solver.clock import Clock
from solver.column import Column
from solver.dual_bound import DualBound, Multipliers, dual_bound
from solver.instance import Instance, Workload
from solver.measure import Measure
from solver.relaxation import Relaxation, short
from solver.resources import Resource

MOST_ROUNDS = 12
"""Bounds that are evaluated."""
FIRST_STEP = 0.03
"""Share by which a multiplier may move at first; wider after a better bound, narrower after a worse."""
LEAST_STEP = 1e-5
LONGEST_SHARE = 0.1
"""Part of the time that is left which the rounds may take."""

MOST_TIES = 4
"""Multipliers at which two plans tie that are tried in place of rounded ones."""
TIE_REACH = Fraction(1, 10**4)
"""Relative distance to a rounded multiplier within which a tie is looked for."""


@dataclass(frozen=True)
class Cut:
    """
    A plan of one workload: whatever the multipliers, the workload is worth at least as much alone.

    Parameters
    ----------
    workload
        Name of the workload.
    plan
        Replicas by place of the column.
    worth
        Its measure, before paying for what it shares.
    taken
        What it takes of each row.
    """

    workload: str
    plan: Mapping[int, int]
    worth: Fraction
    taken: tuple[Fraction, ...]


def best_bound(
    instance: Instance,
    columns: Sequence[Column],
    measure: Measure,
    rows: Sequence[Resource],
    start: Relaxation,
    most: Fraction,
    clock: Clock,
) -> tuple[DualBound, list[Cut]]:
    """
    The lowest bound of some rounds of cutting planes in a trust region (Kelley 1960), and the plans that were met.

    Every bound is exact, whatever the multipliers; the floats of the rounds only choose which to try. At the lowest
    bound two plans of a workload often tie, so that no rounded multiplier reaches it: last, exact ties are tried.

    Parameters
    ----------
    instance, columns, measure, rows
        What is bounded, and what is shared.
    start
        The relaxation: first multipliers.
    most
        As for :func:`solver.dual_bound.dual_bound`.
    clock
        Time.
    """
    best = dual_bound(instance, columns, measure, start.multipliers, most)
    scale = max((float(value) for value in measure.weights.values()), default=0.0) or 1.0
    cuts = _cuts(instance, columns, best, rows)
    step, until = FIRST_STEP, clock.until(LONGEST_SHARE)
    for _ in range(MOST_ROUNDS if start.multipliers else 0):
        if clock.now() > until or step < LEAST_STEP:
            break
        centre = {row: float(value) / scale for row, value in best.multipliers}
        found = _master(instance, rows, cuts, centre, step, scale)
        if found is None:
            break
        tried = tuple((row, short(value * scale)) for row, value in zip(rows, found, strict=True) if value > 0)
        bound = dual_bound(instance, columns, measure, tried, most)
        cuts += _cuts(instance, columns, bound, rows)
        step = min(2 * step, 10 * FIRST_STEP) if bound.value < best.value else step / 4
        best = min(best, bound, key=lambda b: b.value)
    for tied in _ties(best, cuts, rows):
        if clock.now() > until:
            break
        bound = dual_bound(instance, columns, measure, tied, most)
        cuts += _cuts(instance, columns, bound, rows)
        best = min(best, bound, key=lambda b: b.value)
    return best, cuts


def _cuts(instance: Instance, columns: Sequence[Column], bound: DualBound, rows: Sequence[Resource]) -> list[Cut]:
    """The plans that a bound met."""
    cuts = []
    for workload in instance.workloads:
        for plan in bound.alone[workload.name].plans:
            chosen = [(columns[place], count) for place, count in plan.items()]
            prices = bound.measure.prices
            paid = sum(n * c.gpus * prices.get(c.engine.pool.name, Fraction(0)) for c, n in chosen)
            worth = bound.measure.weights.get(workload.name, Fraction(0)) * _flow(workload, chosen) - paid
            taken = tuple(sum((n * row.use(c.engine) for c, n in chosen), Fraction(0)) for row in rows)
            cuts.append(Cut(workload.name, plan, worth, taken))
    return cuts


def _ties(best: DualBound, cuts: Sequence[Cut], rows: Sequence[Resource]) -> list[Multipliers]:
    """Where there is one multiplier: the nearest values at which two plans of a workload are worth the same."""
    if len(best.multipliers) != 1:
        return []
    row, now = best.multipliers[0]
    place = list(rows).index(row)
    found: set[Fraction] = set()
    for name in {cut.workload for cut in cuts}:
        mine = {(cut.worth, cut.taken[place]) for cut in cuts if cut.workload == name}
        for (worth, taken), (other, less) in combinations(mine, 2):
            if taken != less:
                found.add((worth - other) / (taken - less))
    near = sorted((tie for tie in found if abs(tie - now) <= TIE_REACH * now), key=lambda tie: (abs(tie - now), tie))
    return [((row, tie),) for tie in near[:MOST_TIES]]


def _flow(workload: Workload, chosen: Sequence[tuple[Column, int]]) -> Fraction:
    """The credited flow of a plan in one way."""
    carried: dict[str, Fraction] = {}
    for column, count in chosen:
        carried[column.role] = carried.get(column.role, Fraction(0)) + count * column.requests_per_s
    flow, cap = min(carried.values()), workload.max_requests_per_s
    return flow if cap is None else min(flow, cap)


def _master(
    instance: Instance,
    rows: Sequence[Resource],
    cuts: Sequence[Cut],
    centre: dict[Resource, float],
    step: float,
    scale: float,
) -> list[float] | None:
    """The multipliers near the centre at which the plans met so far allow the lowest bound."""
    from ortools.math_opt.python import mathopt

    model = mathopt.Model()
    widest = step * max(centre.values(), default=1.0)
    lambdas: list[Any] = []
    for row in rows:
        middle = centre.get(row, 0.0)
        reach = max(step * middle, widest * 1e-3)
        lambdas.append(model.add_variable(lb=max(0.0, middle - reach), ub=middle + reach))
        model.objective.set_linear_coefficient(lambdas[-1], float(row.limit))
    named = {cut.workload for cut in cuts}
    alone = {}
    for workload in instance.workloads:
        if workload.name in named:
            low = 0.0 if workload.requests_per_s is None else -math.inf
            alone[workload.name] = model.add_variable(lb=low)
            model.objective.set_linear_coefficient(alone[workload.name], 1.0)
    for cut in cuts:
        line = model.add_linear_constraint(lb=float(cut.worth) / scale)
        line.set_coefficient(alone[cut.workload], 1.0)
        for value, used in zip(lambdas, cut.taken, strict=True):
            if used:
                line.set_coefficient(value, float(used))
    model.objective.is_maximize = False
    result = mathopt.solve(model, mathopt.SolverType.GLOP)
    if result.termination.reason.name != "OPTIMAL":
        return None
    values = result.variable_values()
    return [values[variable] for variable in lambdas]
