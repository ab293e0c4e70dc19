"""CP-SAT (OR-Tools): integer arithmetic throughout, so its proofs carry no tolerance."""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import pulp

from solver.backends.base import Answer, BackendError, Capability, Controls, Status
from solver.backends.conflict import conflict
from solver.backends.interruptible import interruptible
from solver.formulation.milp import Milp, exact

WIDEST = 2**61
"""Largest sum of |coefficient| x |value| that a row may reach; CP-SAT refuses models near 2^63."""


STATUSES: dict[str, Status] = {"OPTIMAL": "optimal", "FEASIBLE": "feasible", "INFEASIBLE": "infeasible"}


ONE = Fraction(1)
SMALL = 400
"""Variables up to which a model is solved without presolve, which then costs more than it saves."""


class CpSat:
    """
    OR-Tools' CP-SAT.

    Parameters
    ----------
    presolve
        Whether models are presolved; None leaves it to their size.

    Notes
    -----
    The presolve of 9.15.6755 declares some feasible models of ours infeasible (tests/backends/data/cpsat_presolve.json;
    or-tools issue 5293). Small models are solved without it, the others without the step that fails, and a proof that
    stands in a result is made both ways (:class:`solver.optimise.Search`).
    """

    def __init__(self, presolve: bool | None = None) -> None:
        self._presolve = presolve
        self._checked = False

    name = "cp-sat"
    capabilities: frozenset[Capability] = frozenset(
        {"dual_bound", "exact", "hint", "interrupt", "memory_limit", "seed", "threads"}
    )

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None."""
        try:
            import ortools  # noqa: F401
        except ImportError as error:
            return f"ortools is not installed ({error})"
        return conflict()

    def version(self) -> str:
        """OR-Tools' version."""
        return f"OR-Tools {importlib.metadata.version('ortools')}"

    def solve(self, milp: Milp, controls: Controls, hint: dict[str, Fraction] | None = None) -> Answer:
        """
        Solves a model whose continuous variables all have a grid.

        Raises
        ------
        BackendError
            When the model has a variable without bounds or grid, or a row too wide for 64-bit integers.
        KeyboardInterrupt
            When the user interrupts and nothing was found yet.
        """
        start = time.perf_counter()
        if not self._checked and (reason := self.unavailable()):
            raise BackendError(f"cp-sat: {reason}")
        self._checked = True
        from ortools.sat.python import cp_model

        model, variables, steps, unit = _translate(milp, cp_model)
        if hint:
            for name, value in hint.items():
                if name in variables:
                    model.add_hint(variables[name], round(value / steps[name]))
        solver = cp_model.CpSolver()
        _configure(solver, controls)
        solver.parameters.cp_model_presolve = len(variables) > SMALL if self._presolve is None else self._presolve
        seen = None if controls.watch is None else _watched(cp_model, solver, controls.watch)
        code, interrupted = interruptible(lambda: solver.solve(model, seen), solver.stop_search)
        raw = solver.status_name(code)
        if raw == "MODEL_INVALID":
            raise BackendError(f"CP-SAT refused the model: {model.validate()}")
        status = STATUSES.get(raw, "unknown")
        if interrupted and status == "unknown":
            raise KeyboardInterrupt
        values = None
        if status in ("optimal", "feasible"):
            values = {name: Fraction(solver.value(variable)) for name, variable in variables.items()}
            values |= {name: values[name] * step for name, step in steps.items() if step is not ONE}
        has_bound = status in ("optimal", "feasible") or (status == "unknown" and _has_bound(solver))
        bound = _bound(solver, milp, unit) if has_bound else None
        if status == "optimal" and values is not None:
            bound = _value(milp, values)
            if controls.gap > 0:
                status, bound = _within_gap(solver, milp, unit, bound)
        raw += ", interrupted" if interrupted else ""
        return Answer(status, values, bound, raw, time.perf_counter() - start)


def _watched(cp_model: Any, solver: Any, watch: Callable[[float], None]) -> Any:
    """A callback that tells the gap at every better plan and every better bound."""

    class Seen(cp_model.CpSolverSolutionCallback):  # type: ignore[misc]
        best: float | None = None

        def on_solution_callback(self) -> None:
            self.best = self.objective_value
            self.tell(self.best_objective_bound)

        def tell(self, bound: float) -> None:
            if self.best:
                watch(abs(bound - self.best) / abs(self.best))

    seen = Seen()
    solver.best_bound_callback = seen.tell
    return seen


def _within_gap(solver: Any, milp: Milp, unit: Fraction, value: Fraction) -> tuple[Status, Fraction | None]:
    """CP-SAT calls a solution inside the gap OPTIMAL; that is a claim about the gap only."""
    bound = _bound(solver, milp, unit)
    return ("optimal", value) if bound == value else ("feasible", bound)


def _translate(milp: Milp, cp_model: Any) -> tuple[Any, dict[str, Any], dict[str, Fraction], Fraction]:
    model = _bare_model(cp_model)
    variables: dict[str, Any] = {}
    steps: dict[str, Fraction] = {}
    reach: dict[str, int] = {}
    for variable in milp.problem.variables():
        step = ONE if variable.cat == pulp.LpInteger else milp.grid.get(variable.name)
        if step is None or variable.lowBound is None or variable.upBound is None:
            raise BackendError(f"CP-SAT needs integers and bounds; {variable.name} has none (use scip, highs or cbc)")
        low, high = _first_above(variable.lowBound, step), _last_below(variable.upBound, step)
        reach[variable.name] = max(abs(low), abs(high))
        if reach[variable.name] > WIDEST:
            raise BackendError(f"the bounds of {variable.name} are too wide for 64-bit integers")
        variables[variable.name] = model.new_int_var(min(low, high), max(low, high), variable.name)
        if low > high:
            model.add_bool_or([])
        steps[variable.name] = step
    for name, row in milp.problem.constraints.items():
        integers, scale = _integers(row, steps, reach, name)
        names, coefficients = list(integers), list(integers.values())
        left = cp_model.LinearExpr.weighted_sum([variables[n] for n in names], coefficients)
        above, below = _ratio(row.constant)
        above, below = -above * scale.numerator, below * scale.denominator
        if row.sense == pulp.LpConstraintLE:
            model.add(left <= above // below)
        elif row.sense == pulp.LpConstraintGE:
            model.add(left >= -(-above // below))
        elif above % below == 0:
            model.add(left == above // below)
        else:
            model.add_bool_or([])
    integers, scale = _integers(milp.problem.objective, steps, reach, "objective")
    if integers:
        total = cp_model.LinearExpr.weighted_sum([variables[n] for n in integers], list(integers.values()))
        (model.maximize if milp.is_maximised else model.minimize)(total)
    return model, variables, steps, 1 / scale


@lru_cache(maxsize=1)
def _bare_class(cp_model: Any) -> Any:
    """CpModel without the half millisecond that its aliases for old method names cost each model."""
    return type("BareCpModel", (cp_model.CpModel,), {"_add_pre_pep8_methods": lambda _: None})


def _bare_model(cp_model: Any) -> Any:
    return _bare_class(cp_model)()


def _integers(
    row: pulp.LpAffineExpression, steps: dict[str, Fraction], reach: dict[str, int], name: str
) -> tuple[dict[str, int], Fraction]:
    """A row in integers: coefficients per step of each variable, and the factor that made them whole."""
    terms: dict[str, tuple[int, int]] = {}
    for variable, value in row.items():
        if value:
            above, below = _ratio(value)
            if (step := steps[variable.name]) is not ONE:
                above, below = above * step.numerator, below * step.denominator
            terms[variable.name] = (above, below)
    denominator = math.lcm(*(below for _, below in terms.values()))
    whole = {variable: above * (denominator // below) for variable, (above, below) in terms.items()}
    divisor = math.gcd(*whole.values()) or 1
    scale = Fraction(denominator, divisor)
    integers = {variable: value // divisor for variable, value in whole.items()}
    width = sum(abs(value) * max(reach[variable], 1) for variable, value in integers.items())
    above, below = _ratio(row.constant)
    if width * below * scale.denominator + abs(above) * scale.numerator > WIDEST * below * scale.denominator:
        raise BackendError(f"row {name} is too wide for 64-bit integers; a coarser grid is needed")
    return integers, scale


def _first_above(bound: float, step: Fraction) -> int:
    above, below = _ratio(bound)
    return -(-above * step.denominator // (below * step.numerator))


def _last_below(bound: float, step: Fraction) -> int:
    above, below = _ratio(bound)
    return above * step.denominator // (below * step.numerator)


@lru_cache(maxsize=2**16)
def _ratio(value: float) -> tuple[int, int]:
    return exact(value).as_integer_ratio()


def _configure(solver: Any, controls: Controls) -> None:
    parameters = solver.parameters
    parameters.num_workers = controls.threads
    parameters.random_seed = controls.seed
    parameters.relative_gap_limit = controls.gap
    parameters.absolute_gap_limit = 0.0
    parameters.catch_sigint_signal = False
    parameters.presolve_inclusion_work_limit = 0  # the step that makes feasible models infeasible
    if controls.time_limit_s is not None:
        parameters.max_time_in_seconds = max(controls.time_limit_s, 0.0)
    if controls.memory_limit_mb is not None:
        parameters.max_memory_in_mb = controls.memory_limit_mb
    if controls.log is not None:
        parameters.log_search_progress = True
        parameters.log_to_stdout = False
        log = controls.log
        solver.log_callback = lambda text: [log(line) for line in text.splitlines()]


def _has_bound(solver: Any) -> bool:
    """Stopped before its first bound, CP-SAT says 0, which for a maximum is below every plan."""
    return int(solver.response_proto.inner_objective_lower_bound) != 0


def _bound(solver: Any, milp: Milp, unit: Fraction) -> Fraction:
    """The dual bound from the integer field of the response; the float one loses digits beyond 2^53."""
    inner = int(solver.response_proto.inner_objective_lower_bound)
    return (-inner if milp.is_maximised else inner) * unit + exact(milp.problem.objective.constant)


def _value(milp: Milp, values: dict[str, Fraction]) -> Fraction:
    row = milp.problem.objective
    return sum((exact(c) * values[v.name] for v, c in row.items()), exact(row.constant))
