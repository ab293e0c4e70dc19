"""Instances for the bounds of a frontier: random tiny ones of the form that they cover, and large synthetic ones."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from costmodels.errors import InputError
from costmodels.operating_curve import OperatingCurve, Role
from costmodels.partition import Partition
from solver.engines import Engine, EngineSet, cost_model_of, engines_of
from solver.instance import CostModelSpec, Instance, Pool, Workload
from solver.read import read_instance
from tests.oracles.generate import random_case, write_case

UNCOVERED = ("rate_match", "tolerance", "min_replicas")
Problem = tuple[Instance, EngineSet]


@cache
def _drawn(seed: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    return random_case(seed)


def covered(seeds: range, several: bool, folder: Path) -> Iterator[tuple[int, Problem]]:
    """
    Random cases on one pool without the rules that no bound covers.

    Parameters
    ----------
    seeds
        Seeds of :func:`tests.oracles.generate.random_case`; those on two pools or without a decode are left out.
    several
        Two workloads, or both modes of one at once; else one workload in one mode.
    folder
        Where the files go.
    """
    for seed in seeds:
        instance, rows = copy.deepcopy(_drawn(seed))
        workloads, serving = instance["workloads"], instance["serving"]
        if len(instance["pools"]) > 1 or any(workload["osl"] == 1 for workload in workloads):
            continue
        if not several and len(workloads) > 1:
            continue
        serving.update(engines_per_role=1, hybrid=several and (len(workloads) == 1 or seed % 2 == 0))
        if several:
            serving["modes"] = ["colocated", "disaggregated"]
        for key in UNCOVERED:
            serving.pop(key, None)
        instance.get("budget", {}).pop("count_idle", None)
        problem = loaded(instance, rows, folder / str(seed))
        if problem is not None:
            yield seed, problem


def on_two_pools(seeds: range, folder: Path) -> Iterator[tuple[int, Problem]]:
    """Random cases of one workload on two pools without the rules that no bound covers there, for throughput."""
    for seed in seeds:
        instance, rows = copy.deepcopy(_drawn(seed))
        workloads, serving = instance["workloads"], instance["serving"]
        if len(instance["pools"]) != 2 or len(workloads) > 1 or workloads[0]["osl"] == 1:
            continue
        for key in (*UNCOVERED, "max_replicas"):
            serving.pop(key, None)
        serving.update(engines_per_role=1, hybrid=False)
        if seed % 3:
            serving["modes"] = ["disaggregated"]
        instance.pop("budget", None)
        workloads[0].get("sla", {}).pop("e2el_ms", None)
        instance["objective"] = "throughput"
        problem = loaded(instance, rows, folder / str(seed))
        if problem is not None:
            yield seed, problem


def anything(seeds: range, folder: Path) -> Iterator[tuple[int, Problem]]:
    """Random cases as they come, whatever rules they have."""
    for seed in seeds:
        problem = loaded(*_drawn(seed), folder / str(seed))
        if problem is not None:
            yield seed, problem


def loaded(instance: dict[str, Any], rows: list[dict[str, str]], folder: Path) -> Problem | None:
    """The instance and its engines; None where the file is refused (contradicting bounds)."""
    path = write_case(folder, instance, rows)
    try:
        read = read_instance(path)
    except InputError:
        return None
    return read, engines_of(read, cost_model_of(read, path.parent))


def synthetic(engines: int, gpus: int, seed: int = 7, e2el_ms: int | None = None) -> Problem:
    """Many engines with 1,024 batch sizes each: half prefill, half decode, of 24 footprints, drawn at random."""
    rng = random.Random(seed)
    pool = Pool("pool", "h200_sxm", gpus, 8, usd_per_gpu_hour=Fraction(3))
    limit = None if e2el_ms is None else Fraction(e2el_ms)
    workload = Workload("chat", "m", 4500, 750, ttft_ms=Fraction(4000), tpot_ms=Fraction(100), e2el_ms=limit)
    instance = Instance("synthetic", (pool,), (workload,), cost_model=CostModelSpec("curves", ("none",), True))
    made = tuple(Engine(index, workload, pool, _curve(rng, index)) for index in range(engines))
    return instance, EngineSet(made, {}, (), "synthetic", "none")


def _curve(rng: random.Random, index: int) -> OperatingCurve:
    role: Role = "decode" if index % 2 else "prefill"
    partition = Partition(tp=rng.choice([1, 2, 4, 8]), pp=rng.choice([1, 1, 2, 4]))
    luck, knots = rng.uniform(0.7, 1.3), tuple(2**k for k in range(11))
    if role == "decode":
        base = (20 / partition.tp + 3) * luck
        latency = [_decimal(base * (1 + batch / 200 * rng.uniform(0.95, 1.05)), 3) for batch in knots]
        rate = [partition.pp * batch * 1000 / (749 * ms) for batch, ms in zip(knots, latency, strict=True)]
    else:
        base = (900 / partition.tp + 20) * luck
        latency = [_decimal(base * batch**0.95, 3) for batch in knots]
        rate = [partition.pp * batch * 1000 / ms for batch, ms in zip(knots, latency, strict=True)]
    rounded = tuple(_decimal(float(value), 6) for value in rate)
    version = f"1.{index}"
    curve = OperatingCurve(role, "h200_sxm", "trtllm", version, "m", "kv:fp8", partition, 8, 0, knots, (), rounded)
    return replace(curve, latency_ms=tuple(latency), interpolate=True)


def _decimal(value: float, digits: int) -> Fraction:
    return Fraction(str(round(value, digits)))
