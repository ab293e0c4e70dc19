"""What back ends need of a PuLP problem without touching it: a copy, and values as exact numbers."""

from __future__ import annotations

from fractions import Fraction

import pulp

from solver.formulation.milp import Milp


def clone(problem: pulp.LpProblem) -> pulp.LpProblem:
    """A copy that shares nothing: PuLP's solvers write values, handles and dummy variables into what they solve."""
    copy = pulp.LpProblem(problem.name, problem.sense)
    variables = {v.name: copy.add_variable(v.name, v.lowBound, v.upBound, v.cat) for v in problem.variables()}
    terms = [(variables[v.name], value) for v, value in problem.objective.items()]
    copy.setObjective(pulp.LpAffineExpression(terms, constant=problem.objective.constant))
    for name, row in problem.constraints.items():
        left = pulp.LpAffineExpression([(variables[v.name], value) for v, value in row.items()])
        copy.addConstraint(pulp.LpConstraint(left, row.sense, rhs=-row.constant), name)
    return copy


def rounded(milp: Milp, values: dict[str, float]) -> dict[str, Fraction]:
    """A solver's floats as exact numbers: integers to the nearest one, others as their shortest decimal."""
    return {
        variable.name: Fraction(round(values[variable.name]))
        if variable.cat == pulp.LpInteger
        else Fraction(repr(float(values[variable.name])))
        for variable in milp.problem.variables()
    }


def objective_is_bounded(milp: Milp) -> bool:
    """Whether every variable of the objective has both bounds; then "infeasible or unbounded" means infeasible."""
    return all(None not in (variable.lowBound, variable.upBound) for variable in milp.problem.objective)


def crossed(milp: Milp) -> str | None:
    """Name of a variable whose lower bound is above its upper bound, or None."""
    for variable in milp.problem.variables():
        if None not in (variable.lowBound, variable.upBound) and variable.lowBound > variable.upBound:
            return str(variable.name)
    return None


def holds(milp: Milp, values: dict[str, Fraction], tolerance: Fraction) -> bool:
    """Whether values meet every bound and row up to a tolerance, relative to the size of the row's terms."""
    for variable in milp.problem.variables():
        value = values[variable.name]
        slack = tolerance * max(Fraction(1), abs(value))
        if variable.lowBound is not None and value < Fraction(variable.lowBound) - slack:
            return False
        if variable.upBound is not None and value > Fraction(variable.upBound) + slack:
            return False
    for row in milp.problem.constraints.values():
        terms = [Fraction(value) * values[variable.name] for variable, value in row.items()]
        total = sum(terms, Fraction(row.constant))
        size: Fraction = max(Fraction(1), abs(Fraction(row.constant)), *(abs(term) for term in terms))
        slack = tolerance * size
        too_much, too_little = total > slack, total < -slack
        if (too_much and row.sense != pulp.LpConstraintGE) or (too_little and row.sense != pulp.LpConstraintLE):
            return False
    return True
