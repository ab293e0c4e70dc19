"""What a worker does: one task, one record. It runs in a process of this machine or in a worker of a cluster."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodels.errors import Fault, InputError
from solver.sweep.cells import Record, Task, record_of
from solver.sweep.program import program

if TYPE_CHECKING:
    from costmodels.operating_curve import CurveQuery, CurveSet
    from solver.deployment import Deployment
    from solver.engines import CostModel
    from solver.frontier import Frontier, FrontierPoint

MOST_MODELS, MOST_QUERIES = 16, 64
"""Cost models and priced queries that a worker remembers."""


@dataclass
class Remembering:
    """
    A cost model, asked once for each query; a query has one answer.

    Parameters
    ----------
    model
        The cost model.
    """

    model: CostModel
    _known: OrderedDict[str, CurveSet] = field(default_factory=OrderedDict)

    def __getattr__(self, name: str) -> Any:
        """Everything but prices is as the model has it."""
        return getattr(self.model, name)

    def curves(self, query: CurveQuery) -> CurveSet:
        """The engines of a query."""
        key = repr(query)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.model.curves(query)
            if len(self._known) > MOST_QUERIES:
                self._known.popitem(last=False)
        return found


class Bench:
    """
    What a worker has at hand.

    Attributes
    ----------
    tables
        Hash to name and content of tables of curves.
    models
        Cost models that were loaded.
    """

    def __init__(self) -> None:
        self.tables: dict[str, tuple[str, bytes]] = {}
        self.models: OrderedDict[str, Remembering] = OrderedDict()

    def model(self, task: Task) -> CostModel:
        """
        The cost model of a task.

        Raises
        ------
        InputError
            When a table cannot be read or holds faults.
        """
        spec = task.instance.cost_model
        key = repr((spec, task.tables, task.folder if spec.kind == "silicon" else ""))
        found = self.models.get(key)
        if found is None:
            found = self.models[key] = Remembering(self._loaded(task))
            if len(self.models) > MOST_MODELS:
                self.models.popitem(last=False)
        return found

    def _loaded(self, task: Task) -> CostModel:
        from solver.engines import cost_model_of

        instance, folder = task.instance, Path(task.folder)
        if not task.tables:
            return cost_model_of(instance, folder)
        spool = Path(tempfile.mkdtemp(prefix="ratematch-"))
        try:
            paths = [self._spooled(spool, known) or str(folder / path) for known, path in _pairs(task)]
            there = replace(instance, cost_model=replace(instance.cost_model, paths=tuple(paths)))
            return cost_model_of(there, folder)
        except InputError as error:
            raise InputError(_named(fault, paths, task) for fault in error.faults) from None
        finally:
            shutil.rmtree(spool, ignore_errors=True)

    def _spooled(self, spool: Path, known: str) -> str | None:
        """A table that was sent, as a file of its own name; None where it was not."""
        if known not in self.tables:
            return None
        name, content = self.tables[known]
        (spool / known).mkdir(exist_ok=True)
        file = spool / known / name
        file.write_bytes(content)
        return str(file)


def _pairs(task: Task) -> list[tuple[str, str]]:
    return list(zip(task.tables, task.instance.cost_model.paths, strict=True))


def _named(fault: Fault, paths: list[str], task: Task) -> Fault:
    """A fault of a table, under the name that the instance has for it."""
    where = fault.where
    for spooled, name in zip(paths, task.instance.cost_model.paths, strict=True):
        where = where.replace(spooled, name)
    return Fault(where, fault.text)


BENCH = Bench()


def lay_out(tables: Mapping[str, tuple[str, bytes]]) -> None:
    """Takes tables that tasks will refer to."""
    BENCH.tables.update(tables)


def run_task(task: Task) -> Record:
    """
    Traces the frontier of a cell.

    Returns its record; nothing is raised for what is wrong with a cell. Status ``complete``, ``infeasible`` (proved),
    ``bad_input``, ``stopped`` (by the limit; the points until then are there), ``refuted`` (the independent verifier
    disagrees: our fault), ``failed`` (an error of ours, memory), or ``refused``: nothing was done, because this worker
    has another program than the one that asks.
    """
    if task.program != program():
        text = f"a worker on {platform.node()} has another version of ratematch or OR-Tools; install the same"
        return record_of(task.key, "refused", text)
    started = time.perf_counter()
    try:
        record = _traced(task)
    except InputError as error:
        record = record_of(task.key, "bad_input", "; ".join(map(str, error.faults)))
    except Exception as error:
        record = record_of(task.key, "failed", f"internal error, our fault: {type(error).__name__}: {error}")
    record["wall_s"] = round(time.perf_counter() - started, 6)
    record["time_limit_s"] = task.tracing.time_limit_s
    return record


def _traced(task: Task) -> Record:
    from solver.backends.conflict import load_ortools_first

    load_ortools_first()
    from solver.backends.base import Controls
    from solver.clock import Clock
    from solver.columns import Candidates
    from solver.engines import engines_of
    from solver.frontier import sweep_of, swept
    from solver.points import points_of
    from solver.verifier import verify_frontier

    instance, how = task.instance, task.tracing
    try:
        swept(instance, how.workloads)
    except ValueError as error:
        raise InputError([Fault("$.frontier.workloads", str(error))]) from None
    if instance.is_unlimited and len(instance.workloads) > 1:
        raise InputError([Fault("$.workloads", 'a frontier with "unlimited" GPUs takes one workload')])
    engines = engines_of(instance, BENCH.model(task))
    candidates = Candidates(instance, engines, points_of(instance, engines))
    clock = Clock(Controls(time_limit_s=how.time_limit_s))
    sweep = sweep_of(instance, engines, candidates, clock, how.workloads, how.allow_unserved)
    found = sweep.at(how.at) if how.at else sweep.trace(None, how.min_step)
    return _record(task, found, verify_frontier(instance, engines, found.as_dict()).faults)


def _record(task: Task, found: Frontier, faults: tuple[str, ...]) -> Record:
    document = found.as_dict()
    if faults:
        status, message = "refuted", "; ".join(faults)
    elif found.missing:
        status, message = "stopped", found.missing
    elif not found.points:
        status, message = "infeasible", "no deployment serves this within the limits, and that is proved"
    else:
        status, message = "complete", ""
    points = [_point(*each) for each in zip(found.points, document["points"], strict=True)]
    points += [{"infeasible": True, "requested_tokens_per_s_per_user": float(value)} for value in found.infeasible]
    return {
        **record_of(task.key, status, message),
        "instance_hash": document["instance_hash"],
        "points": points,
        "solves": found.solves,
    }


def _point(point: FrontierPoint, document: Mapping[str, Any]) -> dict[str, Any]:
    totals = document["totals"]
    numbers = ("tokens_per_s_per_gpu", "requests_per_s", "output_tokens_per_s", "usd_per_hour", "ttft_ms")
    used = totals["gpus_used"]
    return {
        "tokens_per_s_per_user": document["tokens_per_s_per_user"],
        **{name: totals[name] for name in numbers},
        "gpus_used": None if used is None else float(used),
        "tpot_ms": None if point.tpot_ms is None else float(point.tpot_ms),
        "tpot_ms_exact": _exact(point.tpot_ms),
        "mode": document["mode"],
        "deployment": deployment_text(point.deployment),
        "objective": document["objective"],
        "objective_exact": document["exact"]["objective"],
        "requested_tokens_per_s_per_user": document["requested_tokens_per_s_per_user"],
        "proof": document["proof"],
    }


def _exact(value: Fraction | None) -> str | None:
    return None if value is None else f"{value.numerator}/{value.denominator}"


def deployment_text(deployment: Deployment) -> str:
    """A deployment on one line; workloads and pools are named where there are several."""
    instance = deployment.instance
    parts = []
    for a in deployment.assignments:
        whose = f"{a.engine.workload.name}: " if len(instance.workloads) > 1 else ""
        where = f" on {a.engine.pool.name}" if len(instance.pools) > 1 else ""
        parts.append(f"{whose}{a.role} {a.replicas} x {a.engine.curve.partition.label} batch {a.batch}{where}")
    return "; ".join(parts)


def fingerprint(tables: Mapping[str, object]) -> str:
    """A name for a set of tables."""
    return hashlib.sha256("".join(sorted(tables)).encode()).hexdigest()[:16]
