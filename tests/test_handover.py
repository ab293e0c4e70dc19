"""
The KV hand-over (C6) on small instances whose answers are found by hand.

A request of 1000 tokens on Llama-3.1-8B with an fp8 cache is 32 layers x 1000 tokens x 2 x 8 heads x 128 values =
65.536 MB: a GPU that moves 0.65536 GB/s moves ten of them a second.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from costmodels.errors import InputError
from solver.engines import cost_model_of, engines_of
from solver.handover import cuts
from solver.instance import Instance, Pool
from solver.planner import Options, solve, trace
from solver.read import read_instance
from solver.report import report
from solver.result import Result
from solver.verifier import verify
from tests.formulation.cases import by_piecewise
from tests.oracles.generate import HEADER
from tests.oracles.kv import carried

TEN = 0.65536
"""GB/s of one GPU that hands over ten requests a second."""
Json = dict[str, Any]


def row(phase: str, tp: int, batch: int, latency: str, rate: str, gpu: str = "gpu_a") -> str:
    """A line of a table: trtllm, fp8, nothing but tensor parallelism."""
    osl = {"prefill": ""}.get(phase, "3")
    first = {"prefill": latency, "decode": "", "colocated": "150"}[phase]
    chunk = "1000" if phase == "colocated" else "0"
    fixed = f"{gpu},trtllm,1.0,meta-llama/Meta-Llama-3.1-8B,gemm:fp8 kv:fp8,{phase},{tp},1,1,1,1,1,{tp},8"
    return f"{fixed},{batch},{chunk},1000,{osl},{latency},{first},{rate},"


ROWS = (
    row("prefill", 2, 1, "100", "50"),
    row("decode", 1, 32, "20", "30"),
    row("colocated", 1, 4, "25", "3"),
    row("prefill", 2, 1, "100", "50", "gpu_b"),
    row("decode", 1, 32, "20", "30", "gpu_b"),
)


def pool(name: str = "pool", gpus: int = 8, gpu: str = "gpu_a", **more: Any) -> Json:
    """A pool of one NVLink domain."""
    return {"name": name, "gpu": gpu, "gpus": gpus, "nvlink_domain_gpus": 8, **more}


def instance(*pools: Json, sla: Mapping[str, float] | None = None, **more: Any) -> Json:
    """One workload, three output tokens, disaggregated."""
    workload = {"name": "chat", "model": "meta-llama/Meta-Llama-3.1-8B", "isl": 1000, "osl": 3, "sla": dict(sla or {})}
    return {
        "format": "disagg-instance",
        "version": 1,
        "name": "handover",
        "pools": list(pools),
        "workloads": [workload | more.pop("workload", {})],
        "serving": {"modes": ["disaggregated"], **more.pop("serving", {})},
        "cost_model": {"kind": "curves", "path": "curves.csv"},
        **more,
    }


def written(folder: Path, document: Json, rows: tuple[str, ...] = ROWS) -> Path:
    """The instance and its table as files."""
    (folder / "curves.csv").write_text("\n".join([",".join(HEADER), *rows, ""]), encoding="utf-8")
    path = folder / "instance.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def requests_per_s(result: Result) -> Fraction:
    """The flow of a result that is proved and verified."""
    assert (result.status, result.feasibility) == ("optimal", "verified exactly"), result.feasibility
    assert result.deployment is not None
    return result.deployment.requests_per_s


def used(result: Result, role: str) -> dict[str, int]:
    """Pool to replicas of a role."""
    assert result.deployment is not None
    mine = [a for a in result.deployment.assignments if a.role == role]
    return {a.engine.pool.name: int(a.replicas) for a in mine}


def test_gpus_hand_over_no_more_than_their_bandwidth(tmp_path: Path) -> None:
    """Free: 2 prefill replicas of 50 and 4 decode of 30 make 100. Limited: 20 (two shards) and 10 make 40."""
    free = solve(written(tmp_path, instance(pool())))
    assert requests_per_s(free) == 100
    assert "kv_flows" not in json.dumps(free.as_dict())

    tight = solve(written(tmp_path, instance(pool(kv_gbps=TEN))))

    assert requests_per_s(tight) == 40
    assert (used(tight, "prefill"), used(tight, "decode")) == ({"pool": 2}, {"pool": 4})
    part = tight.as_dict()["deployment"]["workloads"][0]
    assert part["kv_gbytes_per_request"] == 0.065536
    assert part["prefill"][0]["kv_gbps_per_gpu"] == part["decode"][0]["kv_gbps_per_gpu"] == TEN
    assert [flow["exact"]["requests_per_s"] for flow in part["kv_flows"]] == ["40/1"]
    assert "egress 0.65536 of 0.65536 GB/s per GPU, slowed down by it" in report(tight)
    binding = [slack for slack in tight.as_dict()["slack"] if slack["family"] == "C6 KV hand-over"]
    assert [(slack["left"], slack["limit"], slack["unit"]) for slack in binding] == [(0, TEN, "GB/s per GPU")] * 2


def test_ranks_that_repeat_kv_heads_do_not_count(tmp_path: Path) -> None:
    """Sixteen ranks, eight heads: eight shards, 80 requests/s and not 160."""
    rows = (row("prefill", 16, 1, "100", "500"), row("decode", 1, 32, "20", "30"))
    fleet = {**pool(gpus=32, kv_gbps=TEN), "nvlink_domain_gpus": 32}
    assert requests_per_s(solve(written(tmp_path, instance(fleet), rows))) == 80


def test_utilization_keeps_headroom_of_engines_not_of_links(tmp_path: Path) -> None:
    """Planned with half the speed, a decode replica does 15, and the bandwidth still allows 10."""
    half = {"utilization": {"prefill": 1, "decode": 0.5}}
    assert requests_per_s(solve(written(tmp_path, instance(pool(kv_gbps=TEN), serving=half)))) == 40


@pytest.mark.parametrize(("limit", "feasible"), [(101.5625, True), (101.562499, False)])
def test_the_last_layer_is_late(limit: float, feasible: bool, tmp_path: Path) -> None:
    """50 ms of transfer in 32 parts beside 100 ms of computation: the last part, 1.5625 ms, is exposed."""
    result = solve(written(tmp_path, instance(pool(kv_gbps=TEN), sla={"ttft_ms": limit})))
    assert (result.status == "optimal") == feasible
    if result.deployment is not None:
        assert result.deployment.ttft_ms == Fraction("101.5625")


@pytest.mark.parametrize(("limit", "feasible"), [(243.125, True), (243.12, False)])
def test_a_slow_transfer_is_late_as_a_whole(limit: float, feasible: bool, tmp_path: Path) -> None:
    """At a quarter of the speed 200 ms, of which 96.875 ms overlap; after TTFT come two tokens of 20 ms."""
    result = solve(written(tmp_path, instance(pool(kv_gbps=TEN / 4), sla={"e2el_ms": limit})))
    assert (result.status == "optimal") == feasible
    if result.deployment is not None:
        assert result.deployment.ttft_ms == Fraction("203.125")


def test_the_slower_pool_sets_the_time_of_a_transfer(tmp_path: Path) -> None:
    """East prefills for west (100 ms at half the speed) or itself (50 ms): a limit between the two keeps west out."""
    pools = (pool("east", kv_gbps=TEN), pool("west", gpu="gpu_b", kv_gbps=TEN / 2))
    rows = ROWS[:2] + ROWS[4:]
    loose = solve(written(tmp_path, instance(*pools, sla={"ttft_ms": 103.125}), rows))
    assert (requests_per_s(loose), used(loose, "decode")) == (60, {"east": 2, "west": 8})
    tight = solve(written(tmp_path, instance(*pools, sla={"ttft_ms": 103.1249}), rows))
    assert (requests_per_s(tight), set(used(tight, "decode"))) == (40, {"east"})


def test_a_slower_batch_may_reach_a_pool_that_the_fastest_does_not(tmp_path: Path) -> None:
    """
    Four sequences together are faster, and in time in east (50 ms), but not in west (400 ms): a plan of one prefill
    replica of 15 and a decode replica in east, or two of 10 that hand over to west.
    """
    pools = (pool("east", gpus=4, kv_gbps=4 * TEN), pool("west", gpu="gpu_b", kv_gbps=TEN / 2))
    rows = (row("prefill", 2, 1, "100", "10"), row("prefill", 2, 4, "100", "15"), ROWS[1], ROWS[4])
    found = solve(written(tmp_path, instance(*pools, sla={"ttft_ms": 103.125}), rows))
    assert (requests_per_s(found), used(found, "prefill"), used(found, "decode")) == (20, {"east": 2}, {"west": 4})
    alone = solve(written(tmp_path, instance(pools[0], sla={"ttft_ms": 103.125}), rows))
    assert requests_per_s(alone) == 15


def test_links_carry_no_more_than_they_can(tmp_path: Path) -> None:
    """Prefill in east only (3 x 50), decode in west only: what 2.62144 GB/s carry, 40 requests/s, and back nothing."""
    pools = (pool("east"), pool("west", gpu="gpu_b"))
    rows = (ROWS[0], ROWS[4])
    link = {"from": "east", "to": "west", "gbps": 4 * TEN}
    found = solve(written(tmp_path, instance(*pools, kv_links=[link]), rows))
    assert requests_per_s(found) == 40
    assert (used(found, "prefill"), used(found, "decode")) == ({"east": 1}, {"west": 2})
    assert "inside" not in report(found)
    slack = [s for s in found.as_dict()["slack"] if s["where"] == "east to west"]
    assert [(s["left"], s["limit"]) for s in slack] == [(0, 4 * TEN)]

    back = {**link, "from": "west", "to": "east"}
    assert solve(written(tmp_path, instance(*pools, kv_links=[back]), rows)).status == "infeasible"
    both = solve(written(tmp_path, instance(*pools, kv_links=[{**back, "both_ways": True}]), rows))
    assert requests_per_s(both) == 40


def test_a_link_slows_a_transfer_too(tmp_path: Path) -> None:
    """65.536 MB over 0.16384 GB/s take 400 ms, 303.125 of them after the 100 ms of computation."""
    pools = (pool("east"), pool("west", gpu="gpu_b"))
    document = instance(*pools, kv_links=[{"from": "east", "to": "west", "gbps": TEN / 4}])
    found = solve(written(tmp_path, document, (ROWS[0], ROWS[4])))
    assert found.deployment is not None
    assert found.deployment.ttft_ms == Fraction("403.125")


def test_flows_may_split_over_links_and_pools(tmp_path: Path) -> None:
    """East computes 50 for both pools: 20 leave over the link, east itself decodes the other 30."""
    pools = (pool("east", gpus=3), pool("west", gpus=4, gpu="gpu_b"))
    link = {"from": "east", "to": "west", "gbps": 2 * TEN}
    found = solve(written(tmp_path, instance(*pools, kv_links=[link]), (ROWS[0], ROWS[1], ROWS[4])))
    assert requests_per_s(found) == 50
    assert (used(found, "decode"), used(found, "prefill")) == ({"east": 1, "west": 1}, {"east": 1})
    flows = found.as_dict()["deployment"]["workloads"][0]["kv_flows"]
    told = {(flow["from"], flow["to"]): flow["exact"]["requests_per_s"] for flow in flows}
    assert told == {("east", "east"): "30/1", ("east", "west"): "20/1"}


def test_the_real_valued_limit_is_capped_too(tmp_path: Path) -> None:
    """Per request/s 2/20 + 1/10 GPUs: 5 requests/s, 15 tokens/s per GPU; free 2/50 + 1/30: 40.9."""
    fleet = {**pool(), "gpus": "unlimited"}
    free = solve(written(tmp_path, instance(fleet, objective="throughput_per_gpu")))
    tight = solve(written(tmp_path, instance({**fleet, "kv_gbps": TEN}, objective="throughput_per_gpu")))
    assert (free.objective, tight.objective) == (Fraction(450, 11), 15)
    assert tight.feasibility == "verified exactly"
    late = instance({**fleet, "kv_gbps": TEN}, objective="throughput_per_gpu", sla={"ttft_ms": 101})
    assert solve(written(tmp_path, late)).status == "infeasible"


@pytest.mark.parametrize(("limit", "value"), [(103.125, 10), (103.1249, Fraction(60, 7))])
def test_the_real_valued_limit_joins_only_what_is_in_time(limit: float, value: Fraction, tmp_path: Path) -> None:
    """East prefills 20 on two GPUs; west decodes 5 a GPU, 3.125 ms late, and east 4: 3 / (2/20 + 1/5), or 1/4."""
    pools = ({**pool("east", kv_gbps=TEN), "gpus": "unlimited"}, pool("west", gpu="gpu_b", kv_gbps=TEN / 2))
    rows = (ROWS[0], row("decode", 1, 32, "20", "4"), ROWS[4])
    document = instance(pools[0], {**pools[1], "gpus": "unlimited"}, sla={"ttft_ms": limit})
    found = solve(written(tmp_path, {**document, "objective": "throughput_per_gpu"}, rows))
    assert (found.objective, found.feasibility) == (value, "verified exactly")


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_least_cut_is_the_largest_flow(number: int) -> None:
    """Max-flow min-cut on random capacities, the flow found by augmenting paths."""
    rng = random.Random(number)
    names = "abcd"[:number]
    pools = tuple(Pool(name, "gpu_a", 8, 8) for name in names)
    for _ in range(100):
        prefill, decode = ([rng.choice([0, 0, 3, 7, 20]) for _ in names] for _ in range(2))
        links = {(a, b): rng.choice([1, 2, 5]) for a in range(number) for b in range(number) if a != b}
        links = {pair: rate for pair, rate in links.items() if rng.random() < 0.5}
        rates = {(names[a], names[b]): Fraction(rate) for (a, b), rate in links.items()}
        known = Instance("random", pools, (), kv_links=rates)
        given = [{name: Fraction(rate) for name, rate in zip(names, side)} for side in (prefill, decode)]
        assert min(cut.capacity(*given, rates) for cut in cuts(known)) == carried(prefill, decode, links)


def test_cuts_and_flows_agree_on_three_pools(tmp_path: Path) -> None:
    """The points formulation has a row for each cut, the piecewise one the flows themselves."""
    rng = random.Random(3)
    speeds: list[float] = [0.5, 1, 2, 4]
    seen: set[Fraction | None] = set()
    rows = tuple(line.replace("gpu_a", gpu) for gpu in ("gpu_a", "gpu_b", "gpu_c") for line in ROWS[:2])
    for number in range(12):
        pools = [
            pool(gpu, gpus=rng.choice([2, 3, 4]), gpu=gpu, kv_gbps=TEN * rng.choice(speeds))
            for gpu in ("gpu_a", "gpu_b", "gpu_c")
        ]
        pairs = [(a["name"], b["name"]) for a in pools for b in pools if a is not b and rng.random() < 0.5]
        links = [{"from": a, "to": b, "gbps": TEN * rng.choice(speeds)} for a, b in pairs]
        folder = tmp_path / str(number)
        folder.mkdir()
        path = written(folder, instance(*pools, kv_links=links), rows)
        value = solve(path, Options(tiebreak=False)).objective
        known = read_instance(path)
        other = by_piecewise(known, engines_of(known, cost_model_of(known, folder)))
        assert (None if other is None else other.objective) == value
        seen.add(value)
    assert len(seen) > 5


def test_colocated_engines_hand_nothing_over(tmp_path: Path) -> None:
    """With almost no bandwidth eight co-located GPUs of 3 requests/s are left."""
    both = {"modes": ["colocated", "disaggregated"]}
    assert requests_per_s(solve(written(tmp_path, instance(pool(kv_gbps=0.001), serving=both)))) == 24


def test_every_point_of_a_frontier_is_verified_with_its_flows(tmp_path: Path) -> None:
    rows = (*ROWS, row("decode", 1, 8, "10", "12"))
    found = trace(written(tmp_path, instance(pool(kv_gbps=TEN)), rows))
    assert found.faults == ()
    assert [(point.tpot_ms, point.value) for point in found.points] == [(10, 120)], "10 a second at either batch"


def test_what_is_infeasible_names_the_nearest_bandwidth(tmp_path: Path) -> None:
    """45 requests/s with 2 prefill and 4 decode replicas need 1.125 times the bandwidth; to three digits 1.13."""
    document = instance(pool(kv_gbps=TEN), workload={"requests_per_s": 45})
    found = solve(written(tmp_path, document))
    reasons = {reason["requirement"]: reason for reason in found.reasons if "nearest" in reason}
    assert Fraction(reasons["kv_gbps"]["exact"]["nearest"]) == Fraction(str(TEN)) * Fraction(113, 100)
    changed = instance(pool(kv_gbps=float(Fraction(str(TEN)) * Fraction(113, 100))), workload={"requests_per_s": 45})
    assert solve(written(tmp_path, changed)).status == "optimal"


def test_what_is_infeasible_names_the_links(tmp_path: Path) -> None:
    document = instance(pool("east"), pool("west", gpu="gpu_b"), kv_links=[])
    found = solve(written(tmp_path, document, (ROWS[0], ROWS[4])))
    assert found.status == "infeasible"
    assert "kv_links" in {reason["requirement"] for reason in found.reasons}


def test_an_unknown_model_is_named_with_what_is_known(tmp_path: Path) -> None:
    rows = tuple(line.replace("meta-llama/Meta-Llama-3.1-8B", "org/own") for line in ROWS)
    document = instance(pool(kv_gbps=TEN), workload={"model": "org/own"})
    with pytest.raises(InputError, match=r"\$\.workloads\[0\]\.model: .*'org/own'.*meta-llama/Meta-Llama-3.1-8B"):
        solve(written(tmp_path, document, rows))
    free = {**document, "pools": [pool()]}
    assert solve(written(tmp_path, free, rows)).status == "optimal"


def test_all_formulations_and_reductions_agree(tmp_path: Path) -> None:
    pools = (pool("east", kv_gbps=TEN), pool("west", gpu="gpu_b", kv_gbps=TEN / 2))
    document = instance(*pools, sla={"ttft_ms": 103}, kv_links=[{"from": "east", "to": "west", "gbps": 1.3}])
    path = written(tmp_path, document)
    values = {solve(path, Options(dominance=dominance)).objective for dominance in (True, False)}
    for formulation in ("points", "piecewise"):
        found = solve(path, Options(backend="scip", formulation=formulation))
        (claim,) = found.run.claims
        assert (claim["status"], claim["holds_exactly"], claim["revoked"]) == ("optimal", True, False)
        values.add(found.objective)
        assert claim["objective"] == float(found.objective or 0)
    assert len(values) == 1


SPLIT = instance(
    pool("east", gpus=3, kv_gbps=2 * TEN),
    pool("west", gpus=4, gpu="gpu_b"),
    sla={"ttft_ms": 104},
    kv_links=[{"from": "east", "to": "west", "gbps": 2 * TEN}],
)


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    """A right answer, with a flow inside a pool and one over a link."""
    path = written(tmp_path_factory.mktemp("split"), SPLIT, (ROWS[0], ROWS[1], ROWS[4]))
    found = solve(path)
    assert requests_per_s(found) == 40
    return path, found.as_dict()


def faults(path: Path, document: Json) -> tuple[str, ...]:
    """What the verifier says."""
    known = read_instance(path)
    return verify(known, engines_of(known, cost_model_of(known, path.parent)), document).faults


def flow(start: str, to: str, rate: int) -> Json:
    """A stated flow."""
    shown = {"requests_per_s": float(rate), "gbps": 0.0, "exposed_ms": 0.0}
    return {"from": start, "to": to, **shown, "exact": {"requests_per_s": f"{rate}/1"}}


def test_the_verifier_takes_the_right_answer(answer: tuple[Path, Json]) -> None:
    path, document = answer
    assert faults(path, document) == ()
    part = document["deployment"]["workloads"][0]
    told = {(item["from"], item["to"]): item["exact"]["requests_per_s"] for item in part["kv_flows"]}
    assert told == {("east", "east"): "20/1", ("east", "west"): "20/1"}


def with_flows(*stated: tuple[str, str, int]) -> Callable[[Json], None]:
    """States other flows."""

    def change(document: Json) -> None:
        document["deployment"]["workloads"][0]["kv_flows"] = [flow(*each) for each in stated]

    return change


def drop_flows(document: Json) -> None:
    """States none."""
    del document["deployment"]["workloads"][0]["kv_flows"]


def free_rate(document: Json) -> None:
    """States what the prefill engines could do without a limit."""
    part = document["deployment"]["workloads"][0]
    part["prefill_requests_per_s"], part["exact"]["prefill_requests_per_s"] = 50.0, "50/1"


def bare_ttft(document: Json) -> None:
    """States TTFT without the exposed part."""
    document["totals"]["ttft_ms"], document["totals"]["exact"]["ttft_ms"] = 100.0, "100/1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_flows(("east", "west", 40)), "C6 KV hand-over: .*8192/3125 GB/s from east to west, the link has 4096"),
        (with_flows(("east", "east", 40)), "C6 KV hand-over: .*40 requests/s at decode of east, 20 fit"),
        (with_flows(("east", "east", 20)), "C6 KV hand-over: .*20 requests/s in all, 40 are joined"),
        (with_flows(("west", "east", 40)), "C6 KV hand-over: .*40 requests/s at prefill of west, 0 fit"),
        (with_flows(("east", "east", 20), ("east", "north", 20)), "C6 KV hand-over: .*unknown pool north"),
        (with_flows(("east", "east", 10), ("east", "east", 10)), "C6 KV hand-over: .*other pools than the rest"),
        (with_flows(("east", "east", 0), ("east", "west", 20)), "C6 KV hand-over: .*must be positive"),
        (drop_flows, "C6 KV hand-over: .*0 requests/s in all, 40 are joined"),
        (free_rate, "C1 rate matching: .*prefill_requests_per_s.*40"),
        (bare_ttft, "totals: .*ttft_ms"),
    ],
)
def test_the_verifier_refutes(change: Callable[[Json], None], words: str, answer: tuple[Path, Json]) -> None:
    path, document = answer
    changed = copy.deepcopy(document)
    change(changed)
    found = faults(path, changed)
    assert any(re.search(words, fault) for fault in found), found


def test_the_verifier_judges_late_transfers(answer: tuple[Path, Json], tmp_path: Path) -> None:
    """The same answer under a TTFT limit that computing meets and the transfer to west does not."""
    _, document = answer
    tight = {**SPLIT, "workloads": [{**SPLIT["workloads"][0], "sla": {"ttft_ms": 101}}]}
    path = written(tmp_path, tight, (ROWS[0], ROWS[1], ROWS[4]))
    assert any(fault.startswith("C2 SLA: ") and "TTFT" in fault for fault in faults(path, document))


def test_flows_where_nothing_limits_them_are_refuted(tmp_path: Path) -> None:
    path = written(tmp_path, instance(pool()))
    document = solve(path).as_dict()
    part = document["deployment"]["workloads"][0]
    part["kv_flows"] = [flow("pool", "pool", 100)]
    assert any("nothing limits the hand-over" in fault for fault in faults(path, document))
