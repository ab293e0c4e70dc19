"""Commercial solvers that PuLP reaches through their Python packages, for who has one."""

from __future__ import annotations

import importlib
import importlib.metadata
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pulp

from solver.backends.base import Answer, BackendError, Capability, Controls, Status
from solver.backends.clone import clone, crossed, holds, objective_is_bounded, rounded
from solver.formulation.milp import Milp

TOLERANCE = Fraction(1, 10**5)
"""How far a solution without an optimality claim may miss a row and still count as found."""

NEAR_LIMIT = 0.95
"""Share of the time limit from which on "optimal" and "infeasible" are not believed: PuLP maps limits to either."""


@dataclass(frozen=True)
class _Kind:
    """PuLP's class, the package behind it, and how our controls are said to it."""

    pulp_name: str
    package: str
    options: Callable[[Controls], dict[str, Any]]


def _gurobi(controls: Controls) -> dict[str, Any]:
    """An environment of its own: the default one writes every parameter to the terminal."""
    exact = {"MIPGap": controls.gap, "MIPGapAbs": 0, "manageEnv": True}
    return {"Threads": controls.threads, "Seed": controls.seed, **exact} | _limit(controls)


def _cplex(controls: Controls) -> dict[str, Any]:
    exact = {"mip.tolerances.absmipgap": 0.0, "randomseed": controls.seed}
    return {"gapRel": controls.gap, "threads": controls.threads, **exact} | _limit(controls)


def _xpress(controls: Controls) -> dict[str, Any]:
    """PuLP drops Xpress' time limit and cuts fractions off numbers; texts in ``options`` pass through whole."""
    options = [("MIPRELSTOP", str(float(controls.gap))), ("MIPABSSTOP", "0.0")]
    options += [("THREADS", str(controls.threads)), ("RANDOMSEED", str(controls.seed))]
    if controls.time_limit_s is not None:
        options.append(("TIMELIMIT", str(float(_limit(controls)["timeLimit"]))))
    return {"options": options}


def _copt(controls: Controls) -> dict[str, Any]:
    return {"RelGap": controls.gap, "AbsGap": 0, "Threads": controls.threads} | _limit(controls)


def _mosek(controls: Controls) -> dict[str, Any]:
    mosek = importlib.import_module("mosek")

    options = {"MSK_DPAR_MIO_TOL_REL_GAP": controls.gap, "MSK_DPAR_MIO_TOL_ABS_GAP": 0.0}
    counts = {"MSK_IPAR_NUM_THREADS": controls.threads, "MSK_IPAR_MIO_SEED": controls.seed}
    return {"options": options | counts, "sol_type": mosek.soltype.itg} | _limit(controls)


def _limit(controls: Controls) -> dict[str, float]:
    """The time limit; zero would mean none to PuLP."""
    return {} if controls.time_limit_s is None else {"timeLimit": max(controls.time_limit_s, 0.01)}


KINDS = {
    "gurobi": _Kind("GUROBI", "gurobipy", _gurobi),
    "cplex": _Kind("CPLEX_PY", "cplex", _cplex),
    "xpress": _Kind("XPRESS_PY", "xpress", _xpress),
    "copt": _Kind("COPT", "coptpy", _copt),
    "mosek": _Kind("MOSEK", "mosek", _mosek),
}
"""Not the command-line classes: PuLP takes any file that Gurobi writes for optimal, none from CPLEX for infeasible."""


class PulpSolver:
    """
    A commercial solver behind PuLP, which returns no dual bound and no log.

    Parameters
    ----------
    name
        One of ``KINDS``.
    """

    capabilities: frozenset[Capability] = frozenset({"continuous", "hint", "seed", "threads"})

    def __init__(self, name: str) -> None:
        self.name = name
        self._kind = KINDS[name]

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None."""
        try:
            importlib.metadata.version(self._kind.package)
        except importlib.metadata.PackageNotFoundError:
            return f"the Python package {self._kind.package} is not installed"
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                usable = bool(pulp.getSolver(self._kind.pulp_name, msg=False).available())
            except Exception as error:
                return _line(f"{type(error).__name__}: {error}")
        return None if usable else _line("; ".join(str(warning.message) for warning in said) or "PuLP cannot use it")

    def version(self) -> str:
        """PuLP's and the solver's package version."""
        return f"{self._kind.package} {importlib.metadata.version(self._kind.package)} through PuLP {pulp.VERSION}"

    def solve(self, milp: Milp, controls: Controls, hint: dict[str, Fraction] | None = None) -> Answer:
        """
        Solves a model.

        Raises
        ------
        BackendError
            When the solver cannot be used, fails, or calls the model unbounded.
        """
        start = time.perf_counter()
        if reason := self.unavailable():
            raise BackendError(f"{self.name}: {reason}")
        if name := crossed(milp):
            return Answer("infeasible", None, None, f"bounds of {name} cross", time.perf_counter() - start)
        problem = clone(milp.problem)
        warm = {"warmStart": True} if hint and self.name != "mosek" else {}
        for variable in problem.variables():
            if hint and variable.name in hint:
                variable.varValue = float(hint[variable.name])
        try:
            solver = pulp.getSolver(self._kind.pulp_name, msg=False, **self._kind.options(controls), **warm)
            problem.solve(solver)
            getattr(solver, "close", lambda: None)()
        except Exception as error:  # whatever a vendor's package raises
            raise BackendError(_line(f"{self.name} failed: {error}")) from error
        wall_s = time.perf_counter() - start
        late = controls.time_limit_s is not None and wall_s >= NEAR_LIMIT * controls.time_limit_s
        values = _values(milp, problem)
        status = _status(milp, problem, values, late)
        raw = f"{pulp.LpSolution[problem.sol_status]} ({pulp.LpStatus[problem.status]})"
        return Answer(status, values if status in ("optimal", "feasible") else None, None, raw, wall_s)


def _values(milp: Milp, problem: pulp.LpProblem) -> dict[str, Fraction] | None:
    """The values that PuLP wrote, or a hint that it left in place; None where one is missing."""
    found = {variable.name: variable.varValue for variable in problem.variables() if variable.name != "__dummy"}
    return None if None in found.values() else rounded(milp, found)


def _status(milp: Milp, problem: pulp.LpProblem, values: dict[str, Fraction] | None, late: bool) -> Status:
    """
    The claim in ``sol_status``, where it can be true.

    PuLP maps a limit to "No Solution Exists" (Gurobi, Xpress, COPT: every status that it does not know, CPLEX: a limit
    without a solution), so infeasible must stand in ``status`` too and come before the time limit.
    """
    claims = (problem.sol_status, problem.status)
    if claims == (pulp.LpSolutionUnbounded, pulp.LpStatusUnbounded):
        raise BackendError("the model is unbounded; bound every variable")
    if claims == (pulp.LpSolutionInfeasible, pulp.LpStatusInfeasible) and not late and objective_is_bounded(milp):
        return "infeasible"
    if values is None or not holds(milp, values, TOLERANCE):
        return "unknown"
    return "optimal" if claims == (pulp.LpSolutionOptimal, pulp.LpStatusOptimal) and not late else "feasible"


def _line(text: str) -> str:
    return " ".join(text.split())
