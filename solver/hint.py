"""Warm starts: an earlier result as a deployment of this instance, if it still holds."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from costmodels.errors import Fault, InputError
from costmodels.partition import Partition
from solver.deployment import Deployment
from solver.engines import Engine, EngineSet
from solver.instance import Instance
from solver.result import Result, Run
from solver.verdict import verified

_IDENTITY = ("precision", "backend", "backend_version", "domain_gpus", "chunk_tokens")


def hinted(document: Mapping[str, Any] | None, instance: Instance, engines: EngineSet) -> Deployment | None:
    """
    The deployment of an earlier result, or None where it does not hold for this instance.

    Raises
    ------
    InputError
        When the document is no result file.
    """
    if document is None:
        return None
    kind = document.get("format") if isinstance(document, Mapping) else document
    if kind != "disagg-result":
        raise InputError([Fault("$.format", f"got {kind!r}, must be disagg-result (a hint is a result file)")])
    deployment = deployment_from(document, instance, engines)
    return deployment if deployment is not None and holds(deployment, engines) else None


def deployment_from(document: Mapping[str, Any], instance: Instance, engines: EngineSet) -> Deployment | None:
    """The deployment that a result names, or None where an engine is not there (any more)."""
    known = {(e.workload.name, e.curve.role, e.pool.name, e.curve.partition, *_identity(e)): e for e in engines.engines}
    chosen: list[tuple[Engine, int, int]] = []
    try:
        for part in (document.get("deployment") or {"workloads": []})["workloads"]:
            for role in ("prefill", "decode", "colocated"):
                for entry in part[role]:
                    key = (part["workload"], role, entry["pool"], Partition(**entry["partition"]))
                    engine = known[(*key, *(entry[name] for name in _IDENTITY))]
                    chosen.append((engine, int(entry["batch"]), int(entry["replicas"])))
        return Deployment.of(instance, chosen) if chosen else None
    except (KeyError, TypeError, ValueError):
        return None


def _identity(engine: Engine) -> tuple[object, ...]:
    return tuple(getattr(engine.curve, name) for name in _IDENTITY)


def holds(deployment: Deployment, engines: EngineSet) -> bool:
    """Whether the independent verifier finds the deployment feasible."""
    try:
        value: Fraction = deployment.objective
        run = Run("", "", "", True, True, {}, 0, 0, {}, 0, 0.0)
        draft = Result(deployment.instance, engines, "feasible", deployment, value, None, "", "", (), run)
        return verified(draft).status == "feasible"
    except ValueError:
        return False
