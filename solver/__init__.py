"""
Provably optimal deployment planning for LLM inference.

``solve`` answers an instance, ``trace`` draws its exact frontier, ``explain`` says why, ``verify`` checks a result
independently::

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
    from solver.explanation.explain import explain
    from solver.explanation.explanation import Explanation
    from solver.frontier import Frontier
    from solver.instance import Instance
    from solver.load import build_instance, load_instance
    from solver.manifests.export import export_deployment
    from solver.planner import Options, solve, trace
    from solver.read import read_instance
    from solver.result import Result
    from solver.robustness.run import Robust, robust
    from solver.scheduling.demand import read_demand
    from solver.scheduling.schedule import schedule
    from solver.simulation.api import simulate
    from solver.traffic.requests import read_requests
    from solver.verifier import verify, verify_frontier
    from solver.whatif.pieces import WhatIf
    from solver.whatif.run import what_if

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOME = {
    "BackendError": "solver.backends.base",
    "Controls": "solver.backends.base",
    "Deployment": "solver.deployment",
    "Explanation": "solver.explanation.explanation",
    "Fault": "costmodels.errors",
    "Frontier": "solver.frontier",
    "InputError": "costmodels.errors",
    "Instance": "solver.instance",
    "Options": "solver.planner",
    "Result": "solver.result",
    "Robust": "solver.robustness.run",
    "WhatIf": "solver.whatif.pieces",
    "build_instance": "solver.load",
    "explain": "solver.explanation.explain",
    "export_deployment": "solver.manifests.export",
    "load_instance": "solver.load",
    "read_demand": "solver.scheduling.demand",
    "read_instance": "solver.read",
    "read_requests": "solver.traffic.requests",
    "robust": "solver.robustness.run",
    "schedule": "solver.scheduling.schedule",
    "simulate": "solver.simulation.api",
    "solve": "solver.planner",
    "trace": "solver.planner",
    "verify": "solver.verifier",
    "verify_frontier": "solver.verifier",
    "what_if": "solver.whatif.run",
}
__all__ = [
    "BackendError",
    "Controls",
    "Deployment",
    "Explanation",
    "Fault",
    "Frontier",
    "InputError",
    "Instance",
    "Options",
    "Result",
    "Robust",
    "WhatIf",
    "build_instance",
    "explain",
    "export_deployment",
    "load_instance",
    "read_demand",
    "read_instance",
    "read_requests",
    "robust",
    "schedule",
    "simulate",
    "solve",
    "trace",
    "verify",
    "verify_frontier",
    "what_if",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that ``import solver`` is instant."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from solver.backends.conflict import load_ortools_first

    load_ortools_first()
    return getattr(import_module(_HOME[name]), name)
