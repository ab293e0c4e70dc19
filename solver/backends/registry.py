"""The back ends by name; nothing of them is imported before one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from solver.backends.base import Backend


def _maker(module: str, name: str, *arguments: str) -> Callable[[], Backend]:
    def make() -> Backend:
        made: Backend = getattr(import_module(f"solver.backends.{module}"), name)(*arguments)
        return made

    return make


BACKENDS: dict[str, Callable[[], Backend]] = {
    "cp-sat": _maker("cpsat", "CpSat"),
    "scip": _maker("mathopt", "MathOpt", "scip"),
    "highs": _maker("mathopt", "MathOpt", "highs"),
    "cbc": _maker("cbc", "Cbc"),
    "gurobi": _maker("pulp_solvers", "PulpSolver", "gurobi"),
    "cplex": _maker("pulp_solvers", "PulpSolver", "cplex"),
    "xpress": _maker("pulp_solvers", "PulpSolver", "xpress"),
    "copt": _maker("pulp_solvers", "PulpSolver", "copt"),
    "mosek": _maker("pulp_solvers", "PulpSolver", "mosek"),
}
"""Name to a function that makes the back end."""


def backend(name: str) -> Backend:
    """
    The back end of that name, available here or not.

    Raises
    ------
    ValueError
        When no back end has that name.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {name!r}")
    return BACKENDS[name]()


def available() -> list[tuple[str, str | None]]:
    """Every back end's name, with the reason why it cannot run here, or None when it can."""
    return [(name, make().unavailable()) for name, make in BACKENDS.items()]
