"""SCIP and HiGHS through OR-Tools MathOpt: floats, so what they prove holds up to their tolerances."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import importlib.metadata
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Literal

import pulp

from solver.backends.base import Answer, BackendError, Capability, Controls, Status
from solver.backends.clone import crossed, objective_is_bounded, rounded
from solver.backends.conflict import conflict
from solver.backends.interruptible import interruptible
from solver.formulation.milp import Milp

CLOSE = 1e-9
"""Relative difference up to which two floats of a solver count as the same number."""

NOISE = {
    "scip": (2, (b"SCIPcatchEvent does not support", b"Error <-9> in function call")),
    "highs": (1, (b"HighsMipSolverData::transformNewIntegerFeasibleSolution",)),
}
"""What the libraries write past every setting: the file descriptor, and words of the lines."""


class MathOpt:
    """
    A solver behind MathOpt.

    Parameters
    ----------
    name
        The solver. Both run with one thread: HiGHS refuses a number, SCIP fails with two on what presolve leaves open.
    """

    def __init__(self, name: Literal["scip", "highs"]) -> None:
        self.name = name
        capabilities: set[Capability] = {"continuous", "dual_bound", "hint", "seed"}
        if name == "scip":
            capabilities |= {"interrupt", "memory_limit"}
        self.capabilities: frozenset[Capability] = frozenset(capabilities)

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None."""
        try:
            import ortools  # noqa: F401
        except ImportError as error:
            return f"ortools is not installed ({error})"
        return conflict()

    def version(self) -> str:
        """OR-Tools' version; it fixes the solver's."""
        return f"OR-Tools {importlib.metadata.version('ortools')}"

    def solve(self, milp: Milp, controls: Controls, hint: dict[str, Fraction] | None = None) -> Answer:
        """
        Solves a model.

        On Ctrl-C, SCIP stops and hands over what it has; HiGHS cannot be stopped, it is left behind in its thread
        (it ends with the process).

        Raises
        ------
        BackendError
            When MathOpt fails, or when the model is unbounded.
        KeyboardInterrupt
            When the user interrupts and nothing was found yet, or on HiGHS.
        """
        start = time.perf_counter()
        if reason := self.unavailable():
            raise BackendError(f"{self.name}: {reason}")
        from ortools.math_opt.python import mathopt
        from ortools.util.python.solve_interrupter import SolveInterrupter

        if name := crossed(milp):
            return Answer("infeasible", None, None, f"bounds of {name} cross", time.perf_counter() - start)
        model, variables = _translate(milp, mathopt)
        interrupter = SolveInterrupter()
        arguments = {
            "params": _parameters(self.name, controls, mathopt),
            "model_params": _hints(milp, variables, hint or {}, mathopt),
            "interrupter": interrupter,
            "msg_cb": _lines_to(controls),
        }
        solver = mathopt.SolverType.GSCIP if self.name == "scip" else mathopt.SolverType.HIGHS
        stop = interrupter.interrupt if "interrupt" in self.capabilities else None
        try:
            with _without_noise(*NOISE[self.name]):
                result, interrupted = interruptible(lambda: mathopt.solve(model, solver, **arguments), stop)
        except Exception as error:
            raise BackendError(f"{self.name}: {_reason(error)}") from error
        status = self._status(milp, result)
        if interrupted and status == "unknown":
            raise KeyboardInterrupt
        values = None
        if status in ("optimal", "feasible"):
            found = result.variable_values()
            values = rounded(milp, {name: found[variable] for name, variable in variables.items()})
        dual = result.termination.objective_bounds.dual_bound
        bound = Fraction(repr(float(dual))) if math.isfinite(dual) and status != "infeasible" else None
        raw = result.termination.reason.name + (", interrupted" if interrupted else "")
        return Answer(status, values, bound, raw, time.perf_counter() - start)

    def _status(self, milp: Milp, result: Any) -> Status:
        reason, bounds = result.termination.reason.name, result.termination.objective_bounds
        if reason == "OPTIMAL":
            meet = math.isclose(bounds.primal_bound, bounds.dual_bound, rel_tol=CLOSE, abs_tol=CLOSE)
            return "optimal" if meet else "feasible"
        if reason == "INFEASIBLE" or (reason == "INFEASIBLE_OR_UNBOUNDED" and objective_is_bounded(milp)):
            return "infeasible"
        if reason in ("UNBOUNDED", "INFEASIBLE_OR_UNBOUNDED"):
            raise BackendError(f"{self.name}: the model is unbounded or infeasible ({reason}); bound every variable")
        if reason in ("OTHER_ERROR", "NUMERICAL_ERROR", "IMPRECISE") and not result.has_primal_feasible_solution():
            raise BackendError(f"{self.name} failed: {reason} {result.termination.detail}")
        return "feasible" if result.has_primal_feasible_solution() else "unknown"


def _translate(milp: Milp, mathopt: Any) -> tuple[Any, dict[str, Any]]:
    model = mathopt.Model()
    variables: dict[str, Any] = {}
    for variable in milp.problem.variables():
        low = -math.inf if variable.lowBound is None else float(variable.lowBound)
        high = math.inf if variable.upBound is None else float(variable.upBound)
        variables[variable.name] = model.add_variable(lb=low, ub=high, is_integer=variable.cat == pulp.LpInteger)
    for row in milp.problem.constraints.values():
        right = -float(row.constant)
        low = -math.inf if row.sense == pulp.LpConstraintLE else right
        high = math.inf if row.sense == pulp.LpConstraintGE else right
        target = model.add_linear_constraint(lb=low, ub=high)
        for variable, value in row.items():
            target.set_coefficient(variables[variable.name], float(value))
    model.objective.is_maximize = milp.is_maximised
    model.objective.offset = float(milp.problem.objective.constant)
    for variable, value in milp.problem.objective.items():
        model.objective.set_linear_coefficient(variables[variable.name], float(value))
    return model, variables


def _parameters(name: str, controls: Controls, mathopt: Any) -> Any:
    """Gaps to the controls' (MathOpt's own would be 1e-4), the limit, the seed; no threads, MathOpt refuses them."""
    parameters = mathopt.SolveParameters(
        relative_gap_tolerance=controls.gap, absolute_gap_tolerance=0.0, random_seed=controls.seed
    )
    if controls.time_limit_s is not None:
        parameters.time_limit = datetime.timedelta(seconds=max(controls.time_limit_s, 0.0))
    if name == "highs":
        parameters.presolve = mathopt.Emphasis.OFF  # its presolve called 16.2 optimal where 37.389 is
        parameters.highs.string_options["parallel"] = "off"
    elif controls.memory_limit_mb is not None:
        parameters.gscip.real_params["limits/memory"] = float(controls.memory_limit_mb)
    return parameters


def _hints(milp: Milp, variables: dict[str, Any], hint: dict[str, Fraction], mathopt: Any) -> Any:
    """The hint inside the bounds: HiGHS fails on a value outside."""
    values = {}
    for variable in milp.problem.variables():
        if variable.name in hint:
            low = -math.inf if variable.lowBound is None else float(variable.lowBound)
            high = math.inf if variable.upBound is None else float(variable.upBound)
            values[variables[variable.name]] = min(max(float(hint[variable.name]), low), high)
    return mathopt.ModelSolveParameters(solution_hints=[mathopt.SolutionHint(variable_values=values)] if values else [])


def _lines_to(controls: Controls) -> Any:
    log = controls.log
    return None if log is None else lambda lines: [log(line) for line in lines]


def _reason(error: Exception) -> str:
    """The wheel's own error path dies on ``canonical_code``; what MathOpt wanted to say hangs on the error below it."""
    below = error.__context__
    if isinstance(error, AttributeError) and "canonical_code" in str(error) and below is not None:
        return f"MathOpt refused the model or a parameter: {below}"
    return f"MathOpt failed: {error}"


@contextmanager
def _without_noise(descriptor: int, words: tuple[bytes, ...]) -> Iterator[None]:
    """Holds back what is written to a file descriptor; at the end passes on all but the lines with those words."""
    try:
        saved = os.dup(descriptor)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), descriptor)
        try:
            yield
        finally:
            _flush_c()
            os.dup2(saved, descriptor)
            os.close(saved)
            held.seek(0)
            for line in held:
                if not any(word in line for word in words):
                    os.write(descriptor, line)


def _flush_c() -> None:
    """Empties the C library's own buffers, which Python does not see."""
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).fflush(None)
