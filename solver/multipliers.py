"""Better multipliers: each bound names plans of single workloads, and those say where a lower bound may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from solver.column import Column
from solver.dual_bound import DualBound, dual_bound
from solver.instance import Instance, Workload
from solver.measure import Measure
from solver.optimise import Clock
from solver.relaxation import Relaxation, short
from solver.resources import Resource

MOST_ROUNDS = 16
"""Bounds that are evaluated."""
FIRST_STEP = 0.03
"""Share by which a multiplier may move at first; wider after a better bound, narrower after a worse."""
LEAST_STEP = 1e-6
LONGEST_SHARE = 0.2
"""Part of the time that is left which the rounds may take."""

Cut = tuple[str, float, list[float]]
"""Workload, worth of a plan before paying, and what the plan takes of each row."""


def best_bound(
    instance: Instance,
    columns: Sequence[Column],
    measure: Measure,
    rows: Sequence[Resource],
    start: Relaxation,
    most: Fraction,
    clock: Clock,
) -> DualBound:
    """
    The lowest bound of some rounds of cutting planes in a trust region (Kelley 1960).

    Every bound is exact, whatever the multipliers; the floats of the rounds only choose which to try.

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
    cuts = _cuts(instance, columns, best, rows, scale)
    step, until = FIRST_STEP, clock.until(LONGEST_SHARE)
    for _ in range(MOST_ROUNDS if start.multipliers else 0):
        if clock.now() > until or step < LEAST_STEP:
            break
        centre = {row: float(value) / scale for row, value in best.multipliers}
        found = _master(instance, rows, cuts, centre, step)
        if found is None:
            break
        tried = tuple((row, short(value * scale)) for row, value in zip(rows, found, strict=True) if value > 0)
        bound = dual_bound(instance, columns, measure, tried, most)
        cuts += _cuts(instance, columns, bound, rows, scale)
        step = min(2 * step, 10 * FIRST_STEP) if bound.value < best.value else step / 4
        best = min(best, bound, key=lambda b: b.value)
    return best


def _cuts(
    instance: Instance, columns: Sequence[Column], bound: DualBound, rows: Sequence[Resource], scale: float
) -> list[Cut]:
    """The plans that a bound met, as cuts."""
    cuts = []
    for workload in instance.workloads:
        plan = bound.alone[workload.name].plan
        if plan:
            chosen = [(columns[place], count) for place, count in plan.items()]
            prices = bound.measure.prices
            paid = sum(n * c.gpus * prices.get(c.engine.pool.name, Fraction(0)) for c, n in chosen)
            worth = bound.measure.weights.get(workload.name, Fraction(0)) * _flow(workload, chosen) - paid
            taken = [float(sum(n * row.use(c.engine) for c, n in chosen)) for row in rows]
            cuts.append((workload.name, float(worth) / scale, taken))
    return cuts


def _flow(workload: Workload, chosen: Sequence[tuple[Column, int]]) -> Fraction:
    """The credited flow of a plan in one way."""
    carried: dict[str, Fraction] = {}
    for column, count in chosen:
        carried[column.role] = carried.get(column.role, Fraction(0)) + count * column.requests_per_s
    flow, cap = min(carried.values()), workload.max_requests_per_s
    return flow if cap is None else min(flow, cap)


def _master(
    instance: Instance, rows: Sequence[Resource], cuts: Sequence[Cut], centre: dict[Resource, float], step: float
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
    named = {name for name, _, _ in cuts}
    alone = {}
    for workload in instance.workloads:
        if workload.name in named:
            low = 0.0 if workload.requests_per_s is None else -math.inf
            alone[workload.name] = model.add_variable(lb=low)
            model.objective.set_linear_coefficient(alone[workload.name], 1.0)
    for name, worth, taken in cuts:
        cut = model.add_linear_constraint(lb=worth)
        cut.set_coefficient(alone[name], 1.0)
        for value, used in zip(lambdas, taken, strict=True):
            if used:
                cut.set_coefficient(value, used)
    model.objective.is_maximize = False
    result = mathopt.solve(model, mathopt.SolverType.GLOP)
    if result.termination.reason.name != "OPTIMAL":
        return None
    values = result.variable_values()
    return [values[variable] for variable in lambdas]
