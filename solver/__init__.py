"""
Provably optimal deployment planning for LLM inference.

``solve`` answers an instance, ``trace`` draws its exact frontier, ``verify`` checks a result independently::

    from solver import solve
    result = solve("instance.json")
    print(result.status, result.objective)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from costmodels.errors import Fault, InputError
    from solver.backends.base import BackendError, Controls
    from solver.deployment import Deployment
    from solver.frontier import Frontier
    from solver.instance import Instance
    from solver.planner import Options, solve, trace
    from solver.read import read_instance
    from solver.result import Result
    from solver.scheduling.demand import read_demand
    from solver.scheduling.schedule import schedule
    from solver.verifier import verify, verify_frontier

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOME = {
    "BackendError": "solver.backends.base",
    "Controls": "solver.backends.base",
    "Deployment": "solver.deployment",
    "Fault": "costmodels.errors",
    "Frontier": "solver.frontier",
    "InputError": "costmodels.errors",
    "Instance": "solver.instance",
    "Options": "solver.planner",
    "Result": "solver.result",
    "read_demand": "solver.scheduling.demand",
    "read_instance": "solver.read",
    "schedule": "solver.scheduling.schedule",
    "solve": "solver.planner",
    "trace": "solver.planner",
    "verify": "solver.verifier",
    "verify_frontier": "solver.verifier",
}
__all__ = [
    "BackendError",
    "Controls",
    "Deployment",
    "Fault",
    "Frontier",
    "InputError",
    "Instance",
    "Options",
    "Result",
    "read_demand",
    "read_instance",
    "schedule",
    "solve",
    "trace",
    "verify",
    "verify_frontier",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that ``import solver`` is instant."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from solver.backends.conflict import load_ortools_first

    load_ortools_first()
    return getattr(import_module(_HOME[name]), name)
