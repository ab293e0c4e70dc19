"""Linear relaxations by OR-Tools' GLOP: values and multipliers as floats, hints for exact bounds."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solver.backends.base import BackendError
from solver.backends.mathopt import _translate
from solver.formulation.milp import Milp


@dataclass(frozen=True)
class Relaxed:
    """
    What the relaxation says; nothing of it is exact.

    Parameters
    ----------
    feasible
        Whether a solution was found.
    value
        The objective; None without a solution.
    values
        Variable name to value.
    multipliers
        Row name to multiplier; where there is no solution, multipliers that show it.
    """

    feasible: bool
    value: float | None
    values: Mapping[str, float]
    multipliers: Mapping[str, float]


class Relaxation:
    """
    The linear relaxation of a model, solved again and again under other bounds.

    Parameters
    ----------
    milp
        The model; minimised.
    """

    def __init__(self, milp: Milp) -> None:
        from ortools.math_opt.python import mathopt

        self._mathopt = mathopt
        self._milp = milp
        self._elastic: tuple[Any, dict[str, Any], dict[str, Any], Any] | None = None
        self._model, self._variables = _translate(milp, mathopt)
        for variable in self._variables.values():
            variable.integer = False
        rows = milp.problem.constraints
        self._rows = dict(zip(rows, self._model.linear_constraints(), strict=True))
        self._solver = mathopt.IncrementalSolver(self._model, mathopt.SolverType.GLOP)

    def bound(self, name: str, low: Fraction | int, high: Fraction | int) -> None:
        """Sets the bounds of a variable."""
        variable = self._variables[name]
        variable.lower_bound, variable.upper_bound = float(low), float(high)

    def solve(self, time_limit_s: float | None = None) -> Relaxed:
        """
        Solves it, from where the last solve ended.

        Raises
        ------
        BackendError
            When GLOP and HiGHS fail.
        """
        result = self._run(self._solver, self._model, time_limit_s)
        if not result.has_primal_feasible_solution():
            reason = result.termination.reason.name
            return Relaxed(False, None, {}, self._why() if reason.startswith("INFEASIBLE") else {})
        values = result.variable_values()
        duals = result.dual_values() if result.has_dual_feasible_solution() else {}
        return Relaxed(
            True,
            result.objective_value(),
            {name: values[variable] for name, variable in self._variables.items()},
            {name: duals[row] for name, row in self._rows.items()} if duals else {},
        )

    def _run(self, solver: Any, model: Any, time_limit_s: float | None) -> Any:
        """The answer of GLOP; where it breaks off (ABNORMAL, which MathOpt turns into an error), that of HiGHS."""
        parameters = self._mathopt.SolveParameters()
        if time_limit_s is not None:
            parameters.time_limit = datetime.timedelta(seconds=max(time_limit_s, 0.0))
        try:
            return solver.solve(params=parameters)
        except Exception:
            try:
                return self._mathopt.solve(model, self._mathopt.SolverType.HIGHS, params=parameters)
            except Exception as error:
                raise BackendError(f"glop and highs failed on a relaxation: {error}") from error

    def _why(self) -> dict[str, float]:
        """
        Multipliers that show that there is no solution.

        MathOpt hands out no ray of GLOP. The multipliers of the least total violation of the rows are one: a second
        model lets every row be broken at a cost of 1 a unit.
        """
        if self._elastic is None:
            self._elastic = _elastic(self._milp, self._mathopt)
        model, variables, rows, solver = self._elastic
        for name, variable in self._variables.items():
            variables[name].lower_bound, variables[name].upper_bound = variable.lower_bound, variable.upper_bound
        result = self._run(solver, model, None)
        if not result.has_dual_feasible_solution():
            return {}
        duals = result.dual_values()
        return {name: duals[row] for name, row in rows.items()}


def _elastic(milp: Milp, mathopt: Any) -> tuple[Any, dict[str, Any], dict[str, Any], Any]:
    """A model of the total violation of the rows of another: its variables, its rows, and what solves it."""
    model, variables = _translate(milp, mathopt)
    for variable in variables.values():
        variable.integer = False
        model.objective.set_linear_coefficient(variable, 0.0)
    rows = dict(zip(milp.problem.constraints, model.linear_constraints(), strict=True))
    for name, row in milp.problem.constraints.items():
        for sign in (1, -1):
            if row.sense != -sign:
                broken = model.add_variable(lb=0.0)
                rows[name].set_coefficient(broken, float(sign))
                model.objective.set_linear_coefficient(broken, 1.0)
    return model, variables, rows, mathopt.IncrementalSolver(model, mathopt.SolverType.GLOP)
