"""Large fleets: what is done differently for them finds the same optima as the plain path, and as exact bounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import instances
from costmodels.errors import InputError
from solver import optimise, start, thinning
from solver.backends.base import Controls
from solver.clock import Clock
from solver.columns import Candidates
from solver.engines import cost_model_of, engines_of
from solver.formulation.scaling import COARSE_STEPS, MOST_COARSE_STEPS, coarse_steps
from solver.instance import Instance
from solver.planner import Options, solve, trace
from solver.points import points_of
from solver.read import read_instance
from tests.oracles.generate import random_case, write_case

FIRST = 91_000
QUICK = Options(tiebreak=False)
FOLDER = instances.path("llama-70b-h200-72").parent
SEVERAL = ("two-models-h200-96", "four-models-h100-h200-cost")


def enlarged(name: str, factor: int) -> Instance:
    """A built-in instance with so many times its GPUs, demands and caps."""
    instance = read_instance(instances.path(name))
    pools = tuple(replace(pool, gpus=factor * (pool.gpus or 0)) for pool in instance.pools)
    workloads = []
    for w in instance.workloads:
        least, most = (rate and factor * rate for rate in (w.requests_per_s, w.max_requests_per_s))
        workloads.append(replace(w, requests_per_s=least, max_requests_per_s=most))
    return replace(instance, pools=pools, workloads=tuple(workloads))


def test_the_wide_path_finds_the_optima_of_the_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for seed in range(FIRST, FIRST + 15):
        path = write_case(tmp_path / str(seed), *random_case(seed))
        try:
            plain = solve(path, QUICK)
        except InputError:
            continue  # contradicting bounds on replicas
        with monkeypatch.context() as patched:
            patched.setattr(optimise, "WIDE", 0)
            patched.setattr(start, "WIDE", 0)
            wide = solve(path, QUICK)
        assert (wide.status, wide.objective, wide.bound) == (plain.status, plain.objective, plain.bound), seed
        found.append(wide.status)
    assert found.count("optimal") > 5


@pytest.mark.parametrize(("name", "factor"), [("llama-70b-h200-72", 100), ("qwen3-32b-h100-72", 20)])
def test_a_large_fleet_is_solved_to_the_top_of_its_frontier(name: str, factor: int) -> None:
    """The frontier is proved by comparing pairs of points in integers, without a model."""
    instance = enlarged(name, factor)
    frontier = trace(instance, folder=FOLDER)
    assert frontier.solves == 0
    result = solve(instance, Options(tiebreak=False, controls=Controls(time_limit_s=60)), folder=FOLDER)
    assert result.status == "optimal"
    assert frontier.points[0].deployment.objective == result.objective == result.bound


@pytest.mark.parametrize("name", SEVERAL)
def test_a_start_holds_and_is_near_the_bound(name: str) -> None:
    instance = enlarged(name, 100)
    engines = engines_of(instance, cost_model_of(instance, FOLDER))
    candidates = Candidates(instance, engines, points_of(instance, engines, thin=True))
    found = start.start_of(instance, candidates, Clock(Controls(time_limit_s=20)))
    assert found is not None
    result = solve(instance, Options(tiebreak=False, controls=Controls(time_limit_s=4)), folder=FOLDER)
    assert result.status in ("optimal", "feasible")
    assert result.objective is not None and result.bound is not None and result.gap is not None
    sign = -1 if instance.is_minimised else 1
    assert sign * found.objective <= sign * result.bound  # no deployment beats a proved bound
    assert sign * result.objective <= sign * result.bound
    assert result.gap < 0.01


def test_small_instances_get_no_start() -> None:
    instance = read_instance(instances.path("two-models-h200-96"))
    engines = engines_of(instance, cost_model_of(instance, FOLDER))
    clock = Clock(Controls())
    assert start.start_of(instance, Candidates(instance, engines, points_of(instance, engines)), clock) is None
    assert clock.solves == 0


def test_the_grid_grows_with_the_square_of_the_replicas() -> None:
    assert coarse_steps(0) == coarse_steps(141) == COARSE_STEPS
    assert coarse_steps(131_072) == 131_072**2
    assert coarse_steps(10**9) == MOST_COARSE_STEPS


def test_thinning_leaves_out_rows_of_a_table_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves that are not interpolated, of which thinning keeps some batches: the same columns as from all points."""
    instance = read_instance(instances.path("llama-70b-h200-72"))
    engines = engines_of(instance, cost_model_of(instance, FOLDER))
    every = points_of(instance, engines)
    monkeypatch.setattr(thinning, "LEAST", 0)
    fewer = points_of(instance, engines, thin=True)
    assert len(fewer) < len(every)

    def shown(table: object) -> list[tuple[int, int, Fraction, Fraction]]:
        columns = Candidates(instance, engines, table).columns()  # type: ignore[arg-type]
        return [(c.engine.index, c.batch, c.latency_ms, c.requests_per_s) for c in columns]

    assert shown(fewer) == shown(every) != []


HASH = """
import sys
from pathlib import Path
from solver.engines import cost_model_of, engines_of
from solver.read import read_instance
from solver.result import instance_hash
path = Path(sys.argv[1])
instance = read_instance(path)
print(instance_hash(instance, engines_of(instance, cost_model_of(instance, path.parent))), repr(instance.serving.allow))
"""


def test_the_hash_of_an_instance_is_the_same_in_every_process(tmp_path: Path) -> None:
    document = json.loads(instances.path("llama-70b-h200-72").read_text("utf-8"))
    document["cost_model"]["path"] = str(FOLDER / document["cost_model"]["path"])
    document["serving"] = {"allow": {"decode": [{"backend": ["trtllm", "vllm", "sglang", "other"], "tp": [8, 1, 4]}]}}
    file = tmp_path / "several.json"
    file.write_text(json.dumps(document), "utf-8")
    told = []
    for seed in ("0", "1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", HASH, str(file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        told.append(done.stdout.strip().split(" ", 1))
    assert len({representation for _, representation in told}) > 1  # the sets themselves do change their order
    assert len({digest for digest, _ in told}) == 1
