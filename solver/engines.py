"""Engines: what the cost model offers each workload on each pool."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from costmodels.errors import Fault, InputError
from costmodels.operating_curve import CurveQuery, CurveSet, OperatingCurve
from costmodels.precision import kv_format
from solver.instance import Instance, Pool, Workload


class CostModel(Protocol):
    """Prices engines. Pure: the same query gives the same curves."""

    name: str
    known_error: str

    @property
    def description(self) -> str:
        """One line for the result."""

    def curves(self, query: CurveQuery) -> CurveSet:
        """The engines that serve a query, with their curves."""


def cost_model_of(instance: Instance, folder: Path) -> CostModel:
    """
    Loads the instance's cost model.

    Parameters
    ----------
    instance
        The instance.
    folder
        Where relative paths start: the folder of the instance file.

    Raises
    ------
    InputError
        When a table cannot be read or holds faults.
    """
    spec = instance.cost_model
    if spec.kind == "curves":
        from costmodels.curves import CurveTables

        return CurveTables.read([folder / path for path in spec.paths], spec.interpolate)
    from costmodels.roofline import Roofline

    return Roofline()


@dataclass(frozen=True)
class Engine:
    """
    One replica shape that may serve one workload on one pool.

    Parameters
    ----------
    index
        Its number, in canonical order.
    workload, pool
        Whom it serves, and where.
    curve
        Its operating curve.
    """

    index: int
    workload: Workload
    pool: Pool
    curve: OperatingCurve

    @cached_property
    def joint(self) -> tuple[str, str]:
        """What prefill and decode engines of one deployment must agree in: serving backend and KV format."""
        return (self.curve.backend, kv_format(self.curve.precision))

    @property
    def key(self) -> tuple[object, ...]:
        """Canonical order, independent of the order in any file."""
        curve = self.curve
        versions = (curve.backend, curve.backend_version, curve.precision, curve.domain_gpus, curve.chunk_tokens)
        return (self.workload.name, curve.role, self.pool.name, curve.partition, *versions)

    @property
    def most_replicas(self) -> int:
        """Replicas that fit when the pool holds nothing else: inventory and NVLink domains."""
        pool, partition = self.pool, self.curve.partition
        if pool.gpus is None:
            return 0
        size, domain = partition.stage_group, pool.nvlink_domain_gpus
        if size > domain:
            groups = pool.full_domains // -(-size // domain)
        else:
            groups = pool.full_domains * (domain // size) + pool.partial_domain_gpus // size
        return min(groups // partition.pp, pool.gpus // partition.gpus)


@dataclass(frozen=True)
class EngineSet:
    """
    All engines of an instance.

    Parameters
    ----------
    engines
        In canonical order.
    dropped
        Reason to the number of rows or partitions that were considered and dropped.
    notes
        What a planner should know about the numbers.
    cost_model, known_error
        Which cost model, in words, and what is known of its error.
    """

    engines: tuple[Engine, ...]
    dropped: dict[str, int]
    notes: tuple[str, ...]
    cost_model: str
    known_error: str

    def digest(self) -> str:
        """SHA-256 over all curves, 16 hexadecimal digits."""
        lines = (f"{engine.key} {engine.curve!r}" for engine in self.engines)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def engines_of(instance: Instance, model: CostModel) -> EngineSet:
    """
    Asks the cost model for every workload on every pool.

    Raises
    ------
    InputError
        When nothing matches a workload on any pool; the message lists what there is.
    """
    dropped: Counter[str] = Counter()
    notes: dict[str, None] = {}
    found: list[tuple[Workload, Pool, OperatingCurve]] = []
    faults: list[Fault] = []
    for index, workload in enumerate(instance.workloads):
        before = len(found)
        considered = 0
        for pool in instance.pools:
            answer = model.curves(_query(workload, pool))
            dropped.update(answer.dropped)
            notes |= dict.fromkeys(answer.notes)
            considered += len(answer.curves) + sum(answer.dropped.values())
            found += [(workload, pool, curve) for curve in answer.curves]
        if len(found) == before and not considered:
            faults.append(_nothing_matches(index, workload, instance, model))
    if faults:
        raise InputError(faults)
    unsorted = (Engine(0, workload, pool, curve) for workload, pool, curve in found)
    ordered = sorted(unsorted, key=lambda engine: engine.key)
    engines = tuple(Engine(i, e.workload, e.pool, e.curve) for i, e in enumerate(ordered))
    return EngineSet(engines, dict(dropped), tuple(notes), model.description, model.known_error)


def _query(workload: Workload, pool: Pool) -> CurveQuery:
    return CurveQuery(
        gpu=pool.gpu,
        domain_gpus=pool.nvlink_domain_gpus,
        gpus_per_node=pool.gpus_per_node,
        pool_gpus=pool.gpus,
        memory_gib=pool.memory_gib,
        model=workload.model,
        isl=workload.isl,
        osl=workload.osl,
        backend=workload.backend,
        precision=workload.precision,
    )


def _nothing_matches(index: int, workload: Workload, instance: Instance, model: CostModel) -> Fault:
    gpus = ", ".join(sorted({pool.gpu for pool in instance.pools}))
    wanted = f"{workload.model} with isl/osl {workload.isl}/{workload.osl} on {gpus}"
    inventory = getattr(model, "inventory", None)
    there = f"; there is: {inventory()}" if inventory else ""
    return Fault(f"$.workloads[{index}]", f"the cost model has nothing for {wanted}{there}")
