"""The linear relaxation in floats: multipliers of what workloads share, and which columns it uses. It guides only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solver.backends.base import BackendError
from solver.backends.conflict import conflict
from solver.column import Column
from solver.instance import Instance, Workload
from solver.measure import Measure
from solver.resources import Resource

DIGITS = 6
"""Significant decimal digits of a multiplier; any non-negative number gives a bound."""
NOUGHT = 1e-9
"""Replicas, or share of the largest multiplier, below which a float counts as zero."""


@dataclass(frozen=True)
class Relaxation:
    """
    Where the relaxation ended.

    Parameters
    ----------
    multipliers
        Every row with a multiplier above zero.
    replicas
        Replicas of each column, floats.
    """

    multipliers: tuple[tuple[Resource, Fraction], ...]
    replicas: tuple[float, ...]


def relaxation_of(
    instance: Instance, columns: Sequence[Column], measure: Measure, rows: Sequence[Resource]
) -> Relaxation | None:
    """
    Solves the relaxation with GLOP; None where it has no optimum.

    Flows are divided among the ways to serve a workload; the choice of one way, of engines, and whole replicas are left
    out. What is maximised is the measure.

    Raises
    ------
    solver.backends.base.BackendError
        When OR-Tools is not available.
    """
    if reason := conflict():
        raise BackendError(f"glop: {reason}")
    from ortools.math_opt.python import mathopt

    model = mathopt.Model()
    scale = max((float(value) for value in measure.weights.values()), default=0.0) or 1.0
    replicas = [model.add_variable(lb=0.0, ub=float(column.most)) for column in columns]
    for column, variable in zip(columns, replicas, strict=True):
        price = float(measure.prices.get(column.engine.pool.name, Fraction(0))) * column.gpus
        model.objective.set_linear_coefficient(variable, -price / scale)
    shared = []
    for row in rows:
        shared.append(model.add_linear_constraint(ub=float(row.limit)))
        for column, variable in zip(columns, replicas, strict=True):
            if used := row.use(column.engine):
                shared[-1].set_coefficient(variable, float(used))
    for workload in instance.workloads:
        mine = [(c, v) for c, v in zip(columns, replicas, strict=True) if c.engine.workload.name == workload.name]
        flow = _add_flow(model, workload, mine)
        model.objective.set_linear_coefficient(flow, float(measure.weights.get(workload.name, Fraction(0))) / scale)
    model.objective.is_maximize = True
    result = mathopt.solve(model, mathopt.SolverType.GLOP)
    if result.termination.reason.name != "OPTIMAL":
        return None
    duals, values = result.dual_values(), result.variable_values()
    found = [scale * max(0.0, duals[row]) for row in shared]
    least = NOUGHT * max(found, default=0.0)
    pairs = zip(rows, found, strict=True)
    kept = tuple((row, short(value)) for row, value in pairs if value > least)
    return Relaxation(kept, tuple(values[variable] for variable in replicas))


def _add_flow(model: Any, workload: Workload, mine: list[tuple[Column, Any]]) -> Any:
    """X_w <= sum over ways of the way's flow, each at most the capacity of its roles."""
    least, most = workload.requests_per_s, workload.max_requests_per_s
    flow = model.add_variable(lb=float(least or 0), ub=math.inf if most is None else float(most))
    total = model.add_linear_constraint(ub=0.0)
    total.set_coefficient(flow, 1.0)
    for column, variable in mine:
        if column.role == "colocated":
            total.set_coefficient(variable, -float(column.requests_per_s))
    for joint in sorted({column.engine.joint for column, _ in mine if column.role == "prefill"}):
        part = model.add_variable(lb=0.0)
        total.set_coefficient(part, -1.0)
        for role in workload.roles("disaggregated"):
            row = model.add_linear_constraint(ub=0.0)
            row.set_coefficient(part, 1.0)
            for column, variable in mine:
                if column.role == role and column.engine.joint == joint:
                    row.set_coefficient(variable, -float(column.requests_per_s))
    return flow


def short(value: float) -> Fraction:
    """A float as a rational of few decimal digits."""
    return Fraction(f"{value:.{DIGITS - 1}e}")
