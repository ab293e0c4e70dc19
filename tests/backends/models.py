"""Small models with known optima, and two that no back end closes in a second."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import pulp

from solver.formulation.milp import Milp, exact


@dataclass(frozen=True)
class Case:
    """
    A model and its answer.

    Parameters
    ----------
    build
        Makes the model anew.
    optimum
        Its optimum, None for infeasible.
    is_continuous
        Whether it has continuous variables without a grid, or variables without bounds.
    """

    build: Callable[[], Milp]
    optimum: Fraction | None
    is_continuous: bool = False

    @property
    def name(self) -> str:
        """The builder's name."""
        return self.build.__name__


def knapsack() -> Milp:
    """Takes a and c: 10 + 7 at weight 9."""
    problem = pulp.LpProblem("knapsack", pulp.LpMaximize)
    a, b, c = (problem.add_variable(name, 0, 1, pulp.LpInteger) for name in "abc")
    problem += 10 * a + 8 * b + 7 * c
    problem += 5 * a + 5 * b + 4 * c <= 9, "C3_weight"
    return Milp(problem)


def unbounded_knapsack() -> Milp:
    """No upper bounds: 7a + 10b under 3a + 4b <= 17 is best at (3, 2)."""
    problem = pulp.LpProblem("unbounded_knapsack", pulp.LpMaximize)
    a, b = (problem.add_variable(name, 0, None, pulp.LpInteger) for name in "ab")
    problem += 7 * a + 10 * b
    problem += 3 * a + 4 * b <= 17, "C3_weight"
    return Milp(problem)


def equalities() -> Milp:
    """3x + 5y = 47 with fewest pieces: (4, 7)."""
    problem = pulp.LpProblem("equalities", pulp.LpMinimize)
    x, y = (problem.add_variable(name, 0, 20, pulp.LpInteger) for name in "xy")
    problem += x + y
    problem += 3 * x + 5 * y == 47, "C1_sum"
    return Milp(problem)


def negative_bounds() -> Milp:
    """-2x + 3y with x + y >= -4 is best at (-7, 4)."""
    problem = pulp.LpProblem("negative_bounds", pulp.LpMaximize)
    x = problem.add_variable("x", -7, -2, pulp.LpInteger)
    y = problem.add_variable("y", -3, 4, pulp.LpInteger)
    problem += -2 * x + 3 * y
    problem += x + y >= -4, "C1_sum"
    return Milp(problem)


def objective_constant() -> Milp:
    """The constant 100.5 is part of the optimum."""
    problem = pulp.LpProblem("objective_constant", pulp.LpMinimize)
    x = problem.add_variable("x", 0, 9, pulp.LpInteger)
    problem += 3 * x + 100.5
    problem += 2 * x >= 5, "C1_least"
    return Milp(problem)


def constant_only() -> Milp:
    """An objective that is a number."""
    problem = pulp.LpProblem("constant_only", pulp.LpMinimize)
    x = problem.add_variable("x", 0, 9, pulp.LpInteger)
    problem += pulp.LpAffineExpression(constant=5)
    problem += 2 * x == 6, "C1_sum"
    return Milp(problem)


def no_objective() -> Milp:
    """Any solution is an optimum."""
    problem = pulp.LpProblem("no_objective", pulp.LpMaximize)
    x, y = (problem.add_variable(name, 0, 9, pulp.LpInteger) for name in "xy")
    problem += pulp.LpAffineExpression()
    problem += 4 * x - 3 * y == 5, "C1_sum"
    return Milp(problem)


def no_rows() -> Milp:
    """Bounds alone."""
    problem = pulp.LpProblem("no_rows", pulp.LpMaximize)
    x, y = (problem.add_variable(name, -2, 9, pulp.LpInteger) for name in "xy")
    problem += x - y
    return Milp(problem)


def fractional_bounds() -> Milp:
    """An integer between 0.3 and 2.7 is 1 or 2."""
    problem = pulp.LpProblem("fractional_bounds", pulp.LpMinimize)
    x = problem.add_variable("x", 0.3, 2.7, pulp.LpInteger)
    y = problem.add_variable("y", 0, 5, pulp.LpInteger)
    problem += x + y
    problem += x + y >= 1, "C1_least"
    return Milp(problem)


def large_coefficients() -> Milp:
    """Nine digits before the point, still under the 12 of an export."""
    problem = pulp.LpProblem("large_coefficients", pulp.LpMaximize)
    x, y = (problem.add_variable(name, 0, 6, pulp.LpInteger) for name in "xy")
    problem += 123456.789 * x + 98765.4321 * y
    problem += 1000000 * x + 777777 * y <= 6543210, "C3_weight"
    return Milp(problem)


def gridded() -> Milp:
    """A continuous variable whose optimum lies on multiples of 1/4."""
    problem = pulp.LpProblem("gridded", pulp.LpMaximize)
    x = problem.add_variable("x", 0, 10)
    n = problem.add_variable("n", 0, 3, pulp.LpInteger)
    problem += x
    problem += x <= 1.75 * n, "C1_rate"
    problem += 4 * n <= 11, "C3_gpus"
    return Milp(problem, grid={"x": Fraction(1, 4)})


def free_continuous() -> Milp:
    """A variable without bounds, at -3.5."""
    problem = pulp.LpProblem("free_continuous", pulp.LpMinimize)
    x = problem.add_variable("x")
    n = problem.add_variable("n", 0, 3, pulp.LpInteger)
    problem += x
    problem += 2 * x + n >= -5, "C1_sum"
    problem += 2 * n <= 5, "C3_gpus"
    return Milp(problem)


def parity() -> Milp:
    """Even = odd: infeasible although the relaxation is not."""
    problem = pulp.LpProblem("parity", pulp.LpMaximize)
    x, y = (problem.add_variable(name, 0, 5, pulp.LpInteger) for name in "xy")
    problem += x
    problem += 2 * x + 2 * y == 5, "C1_sum"
    return Milp(problem)


def contradiction() -> Milp:
    """Infeasible already in the relaxation."""
    problem = pulp.LpProblem("contradiction", pulp.LpMinimize)
    x = problem.add_variable("x", 0, 5, pulp.LpInteger)
    problem += x
    problem += 3 * x >= 16, "C1_least"
    return Milp(problem)


def empty_domain() -> Milp:
    """No integer lies between 0.3 and 0.7."""
    problem = pulp.LpProblem("empty_domain", pulp.LpMaximize)
    x = problem.add_variable("x", 0.3, 0.7, pulp.LpInteger)
    y = problem.add_variable("y", 0, 5, pulp.LpInteger)
    problem += x + y
    problem += x + y <= 4, "C1_most"
    return Milp(problem)


def crossed_bounds() -> Milp:
    """The lower bound is above the upper one."""
    problem = pulp.LpProblem("crossed_bounds", pulp.LpMaximize)
    x = problem.add_variable("x", 3, 2, pulp.LpInteger)
    y = problem.add_variable("y", 0, 5, pulp.LpInteger)
    problem += x + y
    problem += x + y <= 4, "C1_most"
    return Milp(problem)


CASES = [
    Case(knapsack, Fraction(17)),
    Case(unbounded_knapsack, Fraction(41), is_continuous=True),
    Case(equalities, Fraction(11)),
    Case(negative_bounds, Fraction(26)),
    Case(objective_constant, Fraction(219, 2)),
    Case(constant_only, Fraction(5)),
    Case(no_objective, Fraction(0)),
    Case(no_rows, Fraction(11)),
    Case(fractional_bounds, Fraction(1)),
    Case(large_coefficients, Fraction("790123.4523")),
    Case(gridded, Fraction(7, 2)),
    Case(free_continuous, Fraction(-7, 2), is_continuous=True),
    Case(parity, None),
    Case(contradiction, None),
    Case(empty_domain, None),
    Case(crossed_bounds, None),
]


def hard_knapsack(size: int = 100, rows: int = 20, seed: int = 1) -> Milp:
    """Many incumbents, a gap that stays open."""
    draw = random.Random(seed)
    problem = pulp.LpProblem("hard_knapsack", pulp.LpMaximize)
    x = [problem.add_variable(f"x{index:02}", 0, 3, pulp.LpInteger) for index in range(size)]
    problem += pulp.lpSum(draw.randint(50, 99) * v for v in x) + 7
    for row in range(rows):
        problem += pulp.lpSum(draw.randint(1, 99) * v for v in x) <= 100 * size // 3, f"C3_{row}"
    return Milp(problem)


def market_split(rows: int = 6, size: int = 50, seed: int = 3) -> Milp:
    """A first solution is out of reach: G. Cornuejols and M. Dawande, doi:10.1007/3-540-69346-7_22."""
    draw = random.Random(seed)
    problem = pulp.LpProblem("market_split", pulp.LpMaximize)
    x = [problem.add_variable(f"x{index:02}", 0, 1, pulp.LpInteger) for index in range(size)]
    problem += pulp.lpSum((index + 1) * v for index, v in enumerate(x))
    for row in range(rows):
        terms = [draw.randint(0, 99) for _ in x]
        problem += pulp.lpSum(c * v for c, v in zip(terms, x, strict=True)) == sum(terms) // 2, f"C1_{row}"
    return Milp(problem)


def objective_of(milp: Milp, values: dict[str, Fraction]) -> Fraction:
    """The objective, recomputed."""
    row = milp.problem.objective
    return sum((exact(value) * values[variable.name] for variable, value in row.items()), exact(row.constant))


def violation(milp: Milp, values: dict[str, Fraction]) -> Fraction:
    """The largest amount by which values break a bound, a row or integrality; 0 where they are feasible."""
    worst = Fraction(0)
    for variable in milp.problem.variables():
        value = values[variable.name]
        if variable.lowBound is not None:
            worst = max(worst, exact(variable.lowBound) - value)
        if variable.upBound is not None:
            worst = max(worst, value - exact(variable.upBound))
        if variable.cat == pulp.LpInteger:
            worst = max(worst, abs(value - round(value)))
    for row in milp.problem.constraints.values():
        total = sum((exact(value) * values[variable.name] for variable, value in row.items()), exact(row.constant))
        sides = {pulp.LpConstraintLE: total, pulp.LpConstraintGE: -total, pulp.LpConstraintEQ: abs(total)}
        worst = max(worst, sides[row.sense])
    return worst


def enumerate_optimum(milp: Milp) -> Fraction | None:
    """The optimum by trying every point of the grid; all variables need bounds."""
    best: Fraction | None = None
    variables = milp.problem.variables()
    for point in itertools.product(*(_steps(milp, variable) for variable in variables)):
        values = {variable.name: value for variable, value in zip(variables, point, strict=True)}
        if violation(milp, values) == 0:
            value = objective_of(milp, values)
            best = value if best is None else max(best, value) if milp.is_maximised else min(best, value)
    return best


def _steps(milp: Milp, variable: pulp.LpVariable) -> Iterator[Fraction]:
    step = milp.grid.get(variable.name, Fraction(1))
    first, last = math.ceil(exact(variable.lowBound) / step), math.floor(exact(variable.upBound) / step)
    return (index * step for index in range(first, last + 1))
