"""Engines: what the cost model offers each workload on each pool."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from costmodels.errors import Fault, InputError
from costmodels.kv import HandedOver
from costmodels.operating_curve import CurveQuery, CurveSet, OperatingCurve
from costmodels.precision import kv_format
from solver.instance import Instance, Pool, Workload
from solver.kv_shapes import KvShapes, kv_model_faults
from solver.shortcut import shortcut_note


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

        paths = [folder / path for path in spec.paths]
        return CurveTables.read(paths, spec.interpolate, spec.interpolate_lengths)
    if spec.kind == "silicon":
        from costmodels.silicon import Silicon

        return Silicon(spec.backend_version, None if spec.cache is None else folder / spec.cache)
    from costmodels.roofline import Roofline

    return Roofline(spec.basis)


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
    kv
        What a replica hands over or takes in; None where nothing limits that.
    """

    index: int
    workload: Workload
    pool: Pool
    curve: OperatingCurve
    kv: HandedOver | None = None

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
    counted
        What is counted in ``dropped``: ``partitions`` (each for each role), or ``rows`` of tables.
    """

    engines: tuple[Engine, ...]
    dropped: dict[str, int]
    notes: tuple[str, ...]
    cost_model: str
    known_error: str
    counted: str = "partitions"

    @property
    def kept(self) -> int:
        """How many of what is counted were not dropped."""
        return sum(len(engine.curve.batch) for engine in self.engines) if self.counted == "rows" else len(self.engines)

    def digest(self) -> str:
        """SHA-256 over all curves, 16 hexadecimal digits."""
        lines = (f"{e.key} {e.curve!r}{'' if e.kv is None else f' {e.kv!r}'}" for e in self.engines)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def engines_of(instance: Instance, model: CostModel) -> EngineSet:
    """
    Asks the cost model for every workload on every pool.

    Raises
    ------
    InputError
        When the cost model cannot price a workload on a pool, or nothing matches a workload on any pool; the message
        lists what there is.
    """
    dropped: Counter[str] = Counter()
    notes: dict[str, None] = {}
    found: list[tuple[Workload, Pool, OperatingCurve]] = []
    faults = kv_model_faults(instance)
    for index, workload in enumerate(instance.workloads):
        before = len(found)
        considered = 0
        for pool in instance.pools:
            try:
                answer = _answer(model, workload, pool)
            except InputError as error:
                faults += _placed(error, index)
                considered += 1
                continue
            dropped.update(answer.dropped)
            notes |= dict.fromkeys(answer.notes)
            considered += len(answer.curves) + sum(answer.dropped.values())
            found += [(workload, pool, curve) for curve in answer.curves]
        if len(found) == before and not considered:
            faults.append(_nothing_matches(index, workload, instance, model))
    if faults:
        raise InputError(dict.fromkeys(faults))
    unsorted = (Engine(0, workload, pool, curve) for workload, pool, curve in found)
    ordered = sorted(unsorted, key=lambda engine: engine.key)
    shapes = KvShapes(instance)
    engines = tuple(
        Engine(i, e.workload, e.pool, e.curve, shapes.of(e.workload, e.curve)) for i, e in enumerate(ordered)
    )
    counted = getattr(model, "counted", "partitions")
    return EngineSet(engines, dict(dropped), tuple(notes), model.description, model.known_error, counted)


def _answer(model: CostModel, workload: Workload, pool: Pool) -> CurveSet:
    """The engines of a workload on a pool; where its lengths are a shortcut, with a note on the error of that."""
    answer = model.curves(query_of(workload, pool))
    if workload.stands_for is None:
        return answer
    where, full = f"{workload.name} on {pool.name}", workload.stands_for
    try:
        compared = model.curves(query_of(replace(workload, isl=full.isl, osl=full.osl, traffic=full), pool))
    except InputError as error:
        said = f"the distribution cannot be priced: {error.faults[0].text}"
        note = f"{where}: the error of the constant P50 {workload.isl}/{workload.osl} is not known, {said}"
    else:
        note = shortcut_note(where, answer, compared, workload.lengths, full)
    return replace(answer, notes=(*answer.notes, note))


def _placed(error: InputError, index: int) -> list[Fault]:
    """Faults of a query with the number of the workload in their places."""
    return [Fault(fault.where.replace("$.workloads[]", f"$.workloads[{index}]"), fault.text) for fault in error.faults]


def query_of(workload: Workload, pool: Pool) -> CurveQuery:
    """What a workload asks of a pool."""
    return CurveQuery(
        gpu=pool.gpu,
        domain_gpus=pool.nvlink_domain_gpus,
        gpus_per_node=pool.gpus_per_node,
        pool_gpus=pool.gpus,
        memory_gib=pool.memory_gib,
        model=workload.model,
        isl=round(workload.isl),
        osl=round(workload.osl),
        backend=workload.backend,
        precision=workload.precision,
        traffic=workload.traffic,
        device=pool.device,
        shape=workload.shape,
        options=workload.options,
    )


def _nothing_matches(index: int, workload: Workload, instance: Instance, model: CostModel) -> Fault:
    gpus = ", ".join(sorted({pool.gpu for pool in instance.pools}))
    wanted = f"{workload.model} with isl/osl {float(workload.isl):.6g}/{float(workload.osl):.6g} on {gpus}"
    inventory = getattr(model, "inventory", None)
    there = f"; there is: {inventory()}" if inventory else ""
    return Fault(f"$.workloads[{index}]", f"the cost model has nothing for {wanted}{there}")
