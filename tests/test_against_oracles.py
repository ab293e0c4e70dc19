"""
Solve and frontier against answers that share no code with them.

Tiny random instances against plain enumeration; one pool and one workload at real size against the combinatorial
sweep. Every comparison is between rationals, never within a tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from costmodels.errors import InputError
from solver.frontier import Frontier
from solver.planner import Options, solve, trace
from solver.result import Result
from tests.oracles import enumerate as plain
from tests.oracles import sweep
from tests.oracles.generate import random_case, write_case
from tests.oracles.tables import exact, points_of, read_case, read_rows

ROOT = Path(__file__).parent.parent
CURVES = ROOT / "instances" / "curves"
SEEDS, CHUNK = 1050, 25
CHUNKS = [range(first, first + CHUNK) for first in range(0, SEEDS, CHUNK)]
HANDOVER_CHUNKS = [range(first, first + 20) for first in range(0, 100, 20)]
SWEEP_CHUNKS = [range(first, first + 25) for first in range(0, 100, 25)]

Case = tuple[Mapping[str, Any], Sequence[Mapping[str, str]], Path]
drawn = cache(random_case)


def first_and_last(seeds: range) -> str:
    """The name of a chunk of seeds."""
    return f"{seeds[0]}-{seeds[-1]}"


def has_contradicting_bounds(instance: Mapping[str, Any]) -> bool:
    """Whether a role needs more replicas than it may have: refused by us, a role out of use for the oracle."""
    serving = instance["serving"]
    for workload in instance["workloads"]:
        for role in ("prefill", "decode", "colocated"):
            low = plain.replica_bound(serving.get("min_replicas"), workload["name"], role)
            high = plain.replica_bound(serving.get("max_replicas"), workload["name"], role)
            if low is not None and high is not None and low > high:
                return True
    return False


def cases(seeds: range, folder: Path, handover: bool = False) -> list[tuple[int, Case]]:
    """The random cases of a chunk, written to files; those whose file is refused are asserted to be, and left out."""
    found: list[tuple[int, Case]] = []
    for seed in seeds:
        instance, rows = drawn(seed, handover=True) if handover else drawn(seed)
        path = write_case(folder / str(seed), instance, rows)
        if has_contradicting_bounds(instance):
            with pytest.raises(InputError, match=r"\$\.serving\.max_replicas"):
                solve(path)
        else:
            found.append((seed, (instance, rows, path)))
    return found


def stages(result: Result) -> tuple[Fraction | None, Fraction, Fraction | int] | None:
    """Objective, tokens/s and GPUs used of a result."""
    if result.deployment is None:
        return None
    return result.objective, result.deployment.output_tokens_per_s, result.deployment.gpus_used


def assert_sound(result: Result, feasible: bool, seed: object) -> None:
    """The verdict is proved, and the deployment passed the independent verifier."""
    assert result.status == ("optimal" if feasible else "infeasible"), seed
    assert result.feasibility == ("verified exactly" if feasible else "nothing to verify"), seed
    assert (result.deployment is not None) == feasible, seed
    assert result.bound == result.objective, seed


def frontier_points(frontier: Frontier, instance: Mapping[str, Any]) -> list[tuple[Fraction, Fraction]]:
    """(TPOT, y) as the oracles count them: a throughput is per GPU of the inventory, no TPOT is 0."""
    inventory = sum(pool["gpus"] for pool in instance["pools"])
    divisor = inventory if instance.get("objective", "throughput") == "throughput" else 1
    return [(point.tpot_ms or Fraction(0), point.value / divisor) for point in frontier.points]


def assert_complete(frontier: Frontier, seed: object) -> None:
    """Nothing is missing, every point passed the verifier, and points come by ascending interactivity."""
    assert frontier.missing == "", seed
    assert frontier.faults == (), seed
    limits = [point.tpot_ms or Fraction(0) for point in frontier.points]
    assert limits == sorted(limits, reverse=True), seed


def same_frontier(frontier: Frontier, instance: Mapping[str, Any], wanted: list[tuple[Fraction, Fraction]]) -> bool:
    """Whether a frontier is the oracle's, exactly."""
    return sorted(frontier_points(frontier, instance)) == sorted(wanted)


@pytest.mark.parametrize("seeds", CHUNKS, ids=first_and_last)
def test_optimum_is_that_of_enumeration(seeds: range, tmp_path: Path) -> None:
    for seed, (instance, rows, path) in cases(seeds, tmp_path):
        wanted = plain.optimum_stages(instance, rows)

        settled = solve(path)
        assert_sound(settled, wanted is not None, seed)
        assert stages(settled) == wanted, seed

        quick = solve(path, Options(tiebreak=False, dominance=False))
        assert_sound(quick, wanted is not None, seed)
        assert quick.objective == (None if wanted is None else wanted[0]), seed

        if seed % 5 == 0:
            all_points = solve(path, Options(dominance=False))
            assert_sound(all_points, wanted is not None, seed)
            assert stages(all_points) == wanted, seed
            loose = solve(path, Options(tiebreak=False))
            assert_sound(loose, wanted is not None, seed)
            assert loose.objective == quick.objective, seed


@pytest.mark.parametrize("seeds", CHUNKS, ids=first_and_last)
def test_frontier_is_that_of_enumeration(seeds: range, tmp_path: Path) -> None:
    for seed, (instance, rows, path) in cases(seeds, tmp_path):
        found = trace(path)
        assert_complete(found, seed)
        assert same_frontier(found, instance, plain.frontier(instance, rows)), seed

        if seed % 5 == 0:
            all_points = trace(path, Options(dominance=False))
            assert_complete(all_points, seed)
            assert frontier_points(all_points, instance) == frontier_points(found, instance), seed


@pytest.mark.parametrize("seeds", CHUNKS[::4], ids=first_and_last)
def test_frontier_with_workloads_left_out_is_that_of_enumeration(seeds: range, tmp_path: Path) -> None:
    for seed, (instance, rows, path) in cases(seeds, tmp_path):
        if len(instance["workloads"]) > 1:
            found = trace(path, allow_unserved=True)
            assert_complete(found, seed)
            assert same_frontier(found, instance, plain.frontier(instance, rows, allow_unserved=True)), seed


@pytest.mark.parametrize("seeds", HANDOVER_CHUNKS, ids=first_and_last)
def test_a_limited_handover_is_that_of_enumeration(seeds: range, tmp_path: Path) -> None:
    for seed, (instance, rows, path) in cases(seeds, tmp_path, handover=True):
        wanted = plain.optimum_stages(instance, rows)
        settled = solve(path)
        assert_sound(settled, wanted is not None, seed)
        assert stages(settled) == wanted, seed

        quick = solve(path, Options(tiebreak=False, dominance=False))
        assert_sound(quick, wanted is not None, seed)
        assert quick.objective == settled.objective, seed

        if seed % 3 == 0:
            found = trace(path)
            assert_complete(found, seed)
            assert same_frontier(found, instance, plain.frontier(instance, rows)), seed


def test_the_random_handovers_exercise_every_rule() -> None:
    """Bandwidth and links that cost something, links of all kinds, TTFT that depends on the pool that decodes."""
    drawings = [drawn(seed, handover=True) for seed in range(60)]
    costly = late = 0
    for instance, rows in drawings:
        free = {**instance, "pools": [{**pool, "kv_gbps": 10**6} for pool in instance["pools"]]}
        free.pop("kv_links", None)
        costly += plain.optimum(instance, rows) != plain.optimum(free, rows)
        late += any(len(set(point.late)) > 1 for point in points_of(instance, rows))
    links = [instance["kv_links"] for instance, _ in drawings if "kv_links" in instance]
    assert costly >= 12
    assert late >= 12
    assert {len(given) for given in links} == {0, 1, 2}
    assert any(link.get("both_ways") for given in links for link in given)
    assert {instance["objective"] for instance, _ in drawings} == {"throughput", "throughput_per_gpu", "gpus", "cost"}


def test_the_random_cases_exercise_every_rule() -> None:
    """Without this the tests above could pass on cases that all look alike."""
    instances = [drawn(seed)[0] for seed in range(0, SEEDS, 7)]
    serving = [instance["serving"] for instance in instances]
    assert {instance["objective"] for instance in instances} == {"throughput", "throughput_per_gpu", "gpus", "cost"}
    assert {len(instance["pools"]) for instance in instances} == {1, 2}
    assert {len(instance["workloads"]) for instance in instances} == {1, 2}
    assert {instance["cost_model"]["interpolate"] for instance in instances} == {False, True}
    for key in ("allow", "deny", "min_replicas", "max_replicas", "utilization", "tolerance"):
        assert sum(key in rules for rules in serving) >= 5, key
    assert sum(rules["hybrid"] for rules in serving) >= 10
    assert {str(rules["engines_per_role"]) for rules in serving} == {"1", "2", "unlimited"}
    assert sum("budget" in instance for instance in instances) >= 5
    slas = [workload.get("sla", {}) for instance in instances for workload in instance["workloads"]]
    assert all(sum(limit in sla for sla in slas) >= 20 for limit in ("ttft_ms", "tpot_ms", "e2el_ms"))
    assert sum("itl_ms" in sla for sla in slas) >= 5
    assert sum("utilization" in workload for instance in instances for workload in instance["workloads"]) >= 5
    refused = [seed for seed in range(SEEDS) if has_contradicting_bounds(drawn(seed)[0])]
    assert len(refused) < SEEDS / 25


@pytest.mark.parametrize("seeds", SWEEP_CHUNKS, ids=first_and_last)
def test_frontier_of_one_pool_is_that_of_the_sweep(seeds: range, tmp_path: Path) -> None:
    compared = 0
    for seed in seeds:
        instance, rows = random_case(seed, sweepable=True)
        try:
            wanted = sweep.frontier(instance, rows)
        except ValueError:
            continue
        found = trace(write_case(tmp_path / str(seed), instance, rows))
        assert_complete(found, seed)
        assert same_frontier(found, instance, wanted), seed
        compared += 1
    assert compared > len(seeds) / 2


def real(
    table: str,
    gpus: int,
    domain: int,
    model: str,
    isl: int,
    osl: int,
    sla: Mapping[str, float],
    interpolate: bool = False,
    **serving: Any,
) -> dict[str, Any]:
    """An instance of one pool and one workload over a shipped table."""
    return {
        "format": "disagg-instance",
        "version": 1,
        "name": table,
        "pools": [{"name": "pool", "gpu": table.split("__")[0], "gpus": gpus, "nvlink_domain_gpus": domain}],
        "workloads": [{"name": "chat", "model": model, "isl": isl, "osl": osl, "sla": dict(sla)}],
        "serving": serving,
        "cost_model": {"kind": "curves", "path": str(CURVES / table), "interpolate": interpolate},
        "objective": "throughput",
    }


QWEN = ("h100_sxm__trtllm__Qwen--Qwen3-32B-FP8.csv.gz", 72, 8, "Qwen/Qwen3-32B-FP8", 4500, 750)
DEEPSEEK = ("gb200__trtllm__deepseek-ai--DeepSeek-V3.csv.gz", 144, 72, "deepseek-ai/DeepSeek-V3", 4500, 750)
LLAMA = (
    "h200_sxm__trtllm__nvidia--Llama-3.1-70B-Instruct-FP8.csv.gz",
    72,
    8,
    "nvidia/Llama-3.1-70B-Instruct-FP8",
    4500,
    750,
)
REAL: dict[str, tuple[int, dict[str, Any]]] = {
    "qwen3-32b": (15, real(*QWEN, {"ttft_ms": 2000})),
    "qwen3-32b-odd-inventory": (10, real(*QWEN[:1], 67, *QWEN[2:], {"ttft_ms": 2000})),
    "qwen3-32b-no-sla": (15, real(*QWEN, {})),
    "qwen3-32b-unlimited-engines": (15, real(*QWEN, {"ttft_ms": 2000}, engines_per_role="unlimited")),
    "qwen3-32b-disaggregated": (5, real(*QWEN, {"ttft_ms": 2000}, modes=["disaggregated"])),
    "qwen3-32b-interpolated": (140, real(*QWEN, {"ttft_ms": 2000}, interpolate=True)),
    "deepseek-v3": (20, real(*DEEPSEEK, {"ttft_ms": 2000})),
    "deepseek-v3-colocated": (10, real(*DEEPSEEK, {"ttft_ms": 3000}, modes=["colocated"])),
    "deepseek-v3-interpolated": (140, real(*DEEPSEEK, {"ttft_ms": 3000, "tpot_ms": 30}, interpolate=True)),
    "llama-70b": (10, real(*LLAMA, {"ttft_ms": 2000})),
    "llama-70b-interpolated": (200, real(*LLAMA, {"ttft_ms": 2000}, interpolate=True)),
}
"""Name to the fewest points that make the comparison worth its time, and the instance."""


@pytest.mark.parametrize("name", REAL)
def test_frontier_of_a_real_table_is_that_of_the_sweep(name: str, tmp_path: Path) -> None:
    least, instance = REAL[name]
    path = tmp_path / "instance.json"
    path.write_text(json.dumps(instance), encoding="utf-8")
    wanted = sweep.frontier(instance, read_rows(instance["cost_model"]["path"]))

    found = trace(path)

    assert len(wanted) >= least
    assert_complete(found, name)
    assert same_frontier(found, instance, wanted)


SWEPT = (
    "llama-8b-h100-8",
    "gpt-oss-120b-h200-16",
    "qwen3-32b-b200-32",
    "llama-70b-h100-vllm-64",
    "deepseek-v3-h200-64",
)


@pytest.mark.parametrize("name", SWEPT)
def test_optimum_of_a_built_in_instance_is_the_top_of_the_sweep(name: str) -> None:
    path = ROOT / "instances" / f"{name}.json"
    instance, rows = read_case(path)
    top = max(value for _, value in sweep.frontier(instance, rows))

    result = solve(path, Options(tiebreak=False))

    assert_sound(result, True, name)
    assert result.objective == top * exact(instance["pools"][0]["gpus"])
