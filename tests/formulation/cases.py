"""Hand-made engines, and both formulations run on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from costmodels.operating_curve import OperatingCurve, Role
from costmodels.partition import Partition
from solver.backends.base import Controls
from solver.backends.registry import backend
from solver.clock import Clock
from solver.columns import NO_LIMITS, Candidates, Column, Limits
from solver.deployment import Deployment
from solver.engines import Engine, EngineSet, cost_model_of, engines_of
from solver.formulation.piecewise import build_piecewise
from solver.instance import Instance, Pool, Workload
from solver.measure import Measure, fewest_gpus, least_cost, throughput
from solver.points import PointTable, points_of
from solver.read import read_instance
from solver.stages import Staged, Stages
from tests.oracles.generate import write_case

TIME_LIMIT_S = 60.0

POOL = Pool("pool", "gpu_a", 8, 8, usd_per_gpu_hour=Fraction(5, 2), watts_per_gpu=Fraction(700))
CHAT = Workload("chat", "org/model", isl=100, osl=11)


def curve(
    role: Role,
    batch: Sequence[int],
    latency_ms: Sequence[int | str],
    requests_per_s: Sequence[int | str],
    *,
    ttft_ms: Sequence[int | str] = (),
    backend: str = "trtllm",
    interpolate: bool = False,
    **degrees: int,
) -> OperatingCurve:
    """An operating curve with everything that does not matter filled in."""
    return OperatingCurve(
        role=role,
        system="gpu_a",
        backend=backend,
        backend_version="1.0",
        model="org/model",
        precision="gemm:fp8 kv:fp8",
        partition=Partition(**degrees),
        domain_gpus=8,
        chunk_tokens=100 if role == "colocated" else 0,
        batch=tuple(batch),
        latency_ms=tuple(map(Fraction, latency_ms)),
        requests_per_s=tuple(map(Fraction, requests_per_s)),
        ttft_ms=tuple(map(Fraction, ttft_ms)) or (tuple(map(Fraction, latency_ms)) if role == "prefill" else ()),
        interpolate=interpolate,
    )


def engine_set(engines: Iterable[tuple[Workload, Pool, OperatingCurve]]) -> EngineSet:
    """Engines in the order given."""
    numbered = tuple(Engine(index, *item) for index, item in enumerate(engines))
    return EngineSet(numbered, {}, (), "by hand", "none")


def all_columns(instance: Instance, engines: EngineSet) -> tuple[Column, ...]:
    """Every point of every engine, in the order of the engines."""
    columns = []
    for engine in engines.engines:
        role = engine.curve.role
        bound = instance.serving.max_replicas.get((engine.workload.name, role), engine.most_replicas)
        for batch in engine.curve.admissible_batches():
            point = engine.curve.at(batch)
            rate = point.requests_per_s * instance.serving.utilization[role]
            most = min(engine.most_replicas, bound)
            columns.append(Column(engine, batch, point.latency_ms, point.ttft_ms or Fraction(0), rate, most))
    return tuple(columns)


def load(folder: Path, case: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> tuple[Instance, EngineSet]:
    """
    A generated case through its files.

    Raises
    ------
    InputError
        When the reader refuses it.
    """
    path = write_case(folder, case, rows)
    instance = read_instance(path)
    return instance, engines_of(instance, cost_model_of(instance, folder))


def measure_of(instance: Instance) -> Measure:
    """What the objective maximises."""
    match instance.objective:
        case "throughput":
            return throughput(instance)[0]
        case "gpus":
            return fewest_gpus(instance)
        case "cost":
            return least_cost(instance)
    raise ValueError(f"{instance.objective} is no linear measure")


def by_points(
    instance: Instance, engines: EngineSet, limits: Limits = NO_LIMITS, must_serve: bool = False
) -> tuple[Staged, PointTable]:
    """The optimum of the points formulation through CP-SAT, and all points that are admissible by themselves."""
    table = points_of(instance, engines)
    clock = Clock(Controls(time_limit_s=TIME_LIMIT_S))
    stages = Stages(instance, Candidates(instance, engines, table), backend("cp-sat"), clock, must_serve)
    return stages.run(limits, last="objective"), table


def by_piecewise(
    instance: Instance, engines: EngineSet, limits: Limits = NO_LIMITS, must_serve: bool = False, name: str = "scip"
) -> Deployment | None:
    """The plan of the piecewise formulation through a float back end; None where it calls the model infeasible."""
    model = build_piecewise(instance, engines.engines, limits, must_serve=must_serve)
    model.maximise(measure_of(instance).objective(model))
    model.milp.check_digits()
    answer = backend(name).solve(model.milp, Controls(time_limit_s=TIME_LIMIT_S))
    assert answer.status in ("optimal", "infeasible"), answer
    return None if answer.values is None else Deployment.of(instance, model.read(answer.values))
