"""Where frontiers of the study come from: built-in instances, priced once, traced exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

import instances
from costmodels.constants import Basis
from costmodels.operating_curve import CurveQuery, CurveSet
from costmodels.partition_space import LARGEST_REPLICA_GPUS
from costmodels.roofline import Roofline
from solver.backends.base import Controls
from solver.clock import Clock
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.engines import EngineSet, engines_of
from solver.frontier import Frontier, FrontierPoint, sweep_of
from solver.instance import MODES, Instance, Mode
from solver.points import points_of
from solver.read import read_instance
from solver.study.chunks import chunked
from solver.study.figure import Row
from solver.verifier import verify_frontier

Chunks = Literal["any", "whole", "cut"] | int


@dataclass(frozen=True)
class Case:
    """
    A built-in instance with what a figure varies.

    Parameters
    ----------
    name
        Name of the instance, without ``paper/``.
    modes
        Allowed modes.
    chunks
        Co-located engines: any, those that take whole prompts, those that cut them (piggybacking), or those that cut
        them into chunks of that many tokens.
    domain_gpus
        GPUs of an NVLink domain.
    gpus
        GPUs of the fleet; None: no limit, replicas are real numbers.
    ttft_ms
        Another limit on the first token in ms; None: that of the instance.
    decode_precision
        Another exact precision of decode engines; None: that of the instance.
    """

    name: str
    modes: tuple[Mode, ...] = MODES
    chunks: Chunks = "any"
    domain_gpus: int = 72
    gpus: int | None = None
    ttft_ms: int | None = None
    decode_precision: str | None = None


@dataclass
class Counts:
    """
    What a study took.

    Parameters
    ----------
    design_points
        Operating points priced: engines at every admissible batch.
    solves
        Optima proved: a model solved, or all pairs of points compared.
    """

    design_points: int = 0
    solves: int = 0


@dataclass
class Remembered:
    """
    The embedded cost model, asked once for each query, with chunks of several sizes beside the one of its own.

    Parameters
    ----------
    basis
        What its constants were fitted to.
    counts
        Where the points that it prices are counted.
    """

    basis: Basis
    counts: Counts
    known: dict[str, CurveSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Takes name and statement of error from the cost model."""
        self.model = Roofline(self.basis)
        self.name, self.known_error, self.description = self.model.name, self.model.known_error, self.model.description

    def curves(self, query: CurveQuery) -> CurveSet:
        """The engines of a query; fleets that hold the largest replica have the same ones."""
        if query.pool_gpus is not None and query.pool_gpus >= LARGEST_REPLICA_GPUS:
            query = replace(query, pool_gpus=None)
        key = repr(query)
        if key not in self.known:
            found = self.model.curves(query)
            more = chunked(query, self.basis, found.curves)
            self.known[key] = replace(found, curves=(*found.curves, *more))
            self.counts.design_points += sum(
                len(range(curve.batch[0], curve.batch[-1] + 1, curve.batch_step)) for curve in self.known[key].curves
            )
        return self.known[key]


class Bench:
    """
    Traces cases.

    Parameters
    ----------
    basis
        Basis of the roofline.
    tick
        Called after every proved point.
    """

    def __init__(self, basis: Basis = "served", tick: Callable[[], object] = lambda: None) -> None:
        self.basis = basis
        self.tick = tick
        self.counts = Counts()
        self.model = Remembered(basis, self.counts)
        self._engines: dict[tuple[object, ...], tuple[Instance, EngineSet]] = {}
        self._frontiers: dict[Case, Frontier] = {}

    def instance(self, case: Case) -> Instance:
        """The instance of a case."""
        instance = read_instance(instances.path(f"paper/{case.name}"))
        pool = replace(instance.pools[0], nvlink_domain_gpus=case.domain_gpus, gpus=case.gpus)
        workload = instance.workloads[0]
        if case.ttft_ms is not None:
            workload = replace(workload, ttft_ms=Fraction(case.ttft_ms))
        if case.decode_precision is not None:
            workload = replace(workload, precision={**workload.precision, "decode": case.decode_precision})
        objective = instance.objective if case.gpus is None else "throughput"
        cost_model = replace(instance.cost_model, basis=self.basis)
        return replace(
            instance, pools=(pool,), workloads=(workload,), objective=objective, cost_model=cost_model,
        )  # fmt: skip

    def engines(self, case: Case) -> tuple[Instance, EngineSet]:
        """The instance of a case and its engines; priced once for cases that differ in modes and chunks alone."""
        key = (case.name, case.domain_gpus, case.gpus, case.ttft_ms, case.decode_precision)
        if key not in self._engines:
            instance = self.instance(case)
            self._engines[key] = (instance, engines_of(instance, self.model))
        instance, engines = self._engines[key]
        serving = replace(instance.serving, modes=case.modes)
        return replace(instance, serving=serving), of_modes(engines, instance, case.modes, case)

    def candidates(self, case: Case) -> Candidates:
        """The operating points of a case."""
        instance, engines = self.engines(case)
        return Candidates(instance, engines, points_of(instance, engines))

    def frontier(self, case: Case, at: tuple[Fraction, ...] = ()) -> Frontier:
        """
        The exact frontier of a case, checked by the verifier.

        Parameters
        ----------
        case
            The case.
        at
            Interactivities (tokens/s/user) to answer, instead of the whole frontier.

        Raises
        ------
        KeyboardInterrupt
            When the user interrupts.
        RuntimeError
            When the verifier refutes a point: our fault.
        """
        if case in self._frontiers and not at:
            return self._frontiers[case]
        found = traced(*self.engines(case), at=at, tick=self.tick)
        self.counts.solves += max(found.solves, len(found.points))
        if not at:
            self._frontiers[case] = found
        return found


def traced(
    instance: Instance,
    engines: EngineSet,
    *,
    at: tuple[Fraction, ...] = (),
    tick: Callable[[], object] = lambda: None,
) -> Frontier:
    """
    The exact frontier of an instance, checked by the verifier.

    Parameters
    ----------
    instance, engines
        The instance and its engines.
    at
        Interactivities (tokens/s/user) to answer, instead of the whole frontier.
    tick
        Called after every proved point.

    Raises
    ------
    KeyboardInterrupt
        When the user interrupts: a sweep ends early then, and half a frontier must not pass for a whole one.
    RuntimeError
        When the verifier refutes a point: our fault.
    """
    clock = Clock(Controls())
    candidates = Candidates(instance, engines, points_of(instance, engines))
    sweep = sweep_of(instance, engines, candidates, clock)

    def ticked(_point: FrontierPoint) -> None:
        tick()

    found = sweep.at(at, ticked) if at else sweep.trace(ticked)
    if clock.interrupted:
        raise KeyboardInterrupt
    faults = verify_frontier(instance, engines, found.as_dict()).faults
    if faults:
        raise RuntimeError(f"{instance.name}: {faults[0]}")
    return found


def of_modes(engines: EngineSet, instance: Instance, modes: tuple[Mode, ...], case: Case | None = None) -> EngineSet:
    """The engines of modes, and of the chunks of a case, numbered anew."""
    roles = {role for mode in modes for workload in instance.workloads for role in workload.roles(mode)}
    kept = [
        e
        for e in engines.engines
        if e.curve.role in roles
        and (case is None or _has_chunks(e.curve.role, e.curve.chunk_tokens, e.workload.isl, case))
    ]
    return replace(engines, engines=tuple(replace(engine, index=index) for index, engine in enumerate(kept)))


def _has_chunks(role: str, chunk_tokens: int, isl: int | Fraction, case: Case) -> bool:
    """Whether an engine cuts prompts as the case asks; of other roles any."""
    if case.chunks == "any" or role != "colocated":
        return True
    return (
        chunk_tokens == case.chunks if isinstance(case.chunks, int) else (case.chunks == "cut") == (chunk_tokens < isl)
    )


def rows_of(frontier: Frontier) -> list[Row]:
    """The points of a frontier: what is gained, and with which engines."""
    return [_row(point.deployment) for point in frontier.points]


def _row(deployment: Deployment) -> Row:
    row: Row = {
        "tokens_per_s_per_user": float(deployment.tokens_per_s_per_user or 0),
        "tokens_per_s_per_gpu": float(deployment.tokens_per_s_per_gpu),
        "mode": deployment.mode(deployment.instance.workloads[0]),
        "ttft_ms": float(deployment.ttft_ms or 0),
    }
    gpus = {"prefill": 0.0, "decode": 0.0}
    for a in deployment.assignments:
        role, cut = a.role, a.engine.curve.partition
        gpus[role] = gpus.get(role, 0.0) + float(a.gpus)
        row |= {f"{role}_partition": cut.label, f"{role}_batch": a.batch, f"{role}_gpus": gpus[role]}
        row |= {f"{role}_tp": cut.tp, f"{role}_dp": cut.attention_dp, f"{role}_stage_group": cut.stage_group}
        if role == "colocated":
            row["chunk_tokens"] = a.engine.curve.chunk_tokens
    if gpus["prefill"] and gpus["decode"]:
        row["ctx_gen"] = gpus["prefill"] / gpus["decode"]
    return row
