"""Nearest changes against the oracle, level by level; and cases worked by hand."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solver.backends.base import Controls
from solver.clock import Clock
from solver.engines import cost_model_of
from solver.explanation.enough import MOST_GPUS, enough_gpus
from solver.explanation.explain import explain
from solver.explanation.explanation import Infeasibility
from solver.explanation.fleet import with_pool
from solver.explanation.probe import Probe
from solver.explanation.report import explanation_lines
from solver.explanation.requirement import Change
from solver.explanation.requirements import requirements_of, without
from solver.explanation.sums import Sums
from solver.read import read_instance
from tests.explanation.switches import Json, Rows, dropped, infeasible_case, switches
from tests.oracles.enumerate import optimum
from tests.oracles.generate import HEADER, write_case
from tests.oracles.tables import exact, points_of

SEEDS = (50, 133, 189, 212, 454, 463, 580)
HAIR = Fraction(1, 10**9)


def edited(case: Json, change: Change, level: Fraction) -> Json:
    """The case with another level of a requirement."""
    name, where = change.requirement.name, change.requirement.where
    changed = copy.deepcopy(case)
    workload = next((w for w in changed["workloads"] if w["name"] == where), {})
    pool = next((p for p in changed["pools"] if p["name"] == where), {})
    keys = {"TTFT": "ttft_ms", "TPOT": "tpot_ms", "E2E": "e2el_ms", "ITL": "itl_ms"}
    if name in keys:
        workload["sla"][keys[name]] = level
    elif name == "demand":
        workload["requests_per_s"] = level
    elif name in ("inventory", "packing"):
        pool["gpus" if name == "inventory" else "nvlink_domain_gpus"] = int(level)
    elif name == "memory":
        pool["memory_gib"] = level
    elif name in ("budget", "power"):
        changed["budget"]["usd_per_hour" if name == "budget" else "watts"] = level
    else:
        lift(changed, name, where)
    return changed


def lift(case: Json, name: str, where: str) -> None:
    """A rule or wish lifted."""
    serving = case["serving"]
    lifted = {
        "modes": {"modes": ["colocated", "disaggregated"]},
        "hybrid": {"hybrid": True},
        "engines_per_role": {"engines_per_role": "unlimited"},
        "decode_covers": {"rate_match": "min"},
        "min_replicas": {"min_replicas": {}},
        "max_replicas": {"max_replicas": {}},
        "allow and deny": {"allow": {}, "deny": {}},
    }
    if name == "rules":
        serving.update(lifted[where])
    else:
        next(w for w in case["workloads"] if w["name"] == where).pop(name)


def nearer(case: Json, rows: Rows, change: Change) -> list[Fraction]:
    """Every level nearer to what was asked for than a change, the farthest last; of those without steps, a hair."""
    r, nearest = change.requirement, change.nearest
    free = copy.deepcopy(case)
    for workload in free["workloads"]:
        workload.pop("sla", None)
    for pool in free["pools"]:
        pool["gpus"] = max(pool["gpus"], 40)
        pool.pop("memory_gib", None)
    points = points_of(free, rows)
    if r.name in ("TTFT", "TPOT", "ITL", "E2E"):
        single = {t for p in points for t in (p.latency, p.ttft)}
        sums = {p.ttft + (exact(w["osl"]) - 1) * q.latency for w in case["workloads"] for p in points for q in points}
        return sorted(v for v in single | sums if r.given < v < nearest)
    if r.name == "inventory":
        return [Fraction(n) for n in range(int(r.given) + 1, int(nearest))]
    if r.name == "memory":
        return sorted({m for row in rows if row["memory_gib"] and r.given < (m := exact(row["memory_gib"])) < nearest})
    if r.name == "demand":
        return [nearest + HAIR]
    if r.name in ("budget", "power"):
        return [nearest - HAIR]
    return []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_change_alone_does_and_no_smaller_one(seed: int, tmp_path: Path) -> None:
    drawn = infeasible_case(seed, most=10)
    assert drawn is not None
    case, rows, _ = drawn
    found = explain(write_case(tmp_path, case, rows)).infeasibility
    assert found is not None
    assert {c.requirement for c in found.alone} == {some[0] for some in found.corrections if len(some) == 1}
    for change in found.alone:
        assert optimum(edited(case, change, change.nearest), rows) is not None, change.text
        for level in nearer(case, rows, change):
            assert optimum(edited(case, change, level), rows) is None, (change.text, level)


PAIRED = (85, 189, 286, 332, 440)


@pytest.mark.parametrize("seed", PAIRED)
def test_no_pair_of_changes_can_be_bettered(seed: int, tmp_path: Path) -> None:
    drawn = infeasible_case(seed, most=10)
    assert drawn is not None
    case, rows, enough = drawn
    found = explain(write_case(tmp_path, case, rows)).infeasibility
    assert found is not None
    pairs = [changes for joint in found.together for changes in joint.alternatives if len(changes) == 2]
    assert pairs
    for joint in found.together:
        for place, r in enumerate(joint.correction):
            ends = [changes[place] for changes in joint.alternatives]
            end = min(ends, key=lambda change: abs(change.nearest - change.requirement.given))
            others = [(other.name, other.where) for other in joint.correction if other is not r]
            for level in nearer(case, rows, end)[-1:]:
                free = dropped(case, others, switches(case, enough))
                assert optimum(edited(free, end, level), rows) is None, end.text
    for one, other in pairs:
        both = edited(edited(case, one, one.nearest), other, other.nearest)
        assert optimum(both, rows) is not None
        for this, that in ((one, other), (other, one)):
            for level in nearer(case, rows, this)[-1:]:
                assert optimum(edited(edited(case, that, that.nearest), this, level), rows) is None, this.text


# by hand: a prefill engine of one GPU (100 ms, 10/s), decode engines of one GPU (10 ms, 4/s) and of two (5 ms, 6/s)


def row(phase: str, tp: int, latency: str, rate: str, memory: str = "", backend: str = "trtllm") -> str:
    """A line of a table: one batch, nothing but tensor parallelism."""
    ttft = {"prefill": latency, "decode": "", "colocated": "300"}[phase]
    osl, chunk = ("", "0") if phase == "prefill" else ("11", "100" if phase == "colocated" else "0")
    engine = f"gpu_a,{backend},1.0,org/a,kv:fp8,{phase},{tp},1,1,1,1,1,{tp},8,1,{chunk},100,{osl}"
    return f"{engine},{latency},{ttft},{rate},{memory}"


ROWS = (row("prefill", 1, "100", "10"), row("decode", 1, "10", "4"), row("decode", 2, "5", "6"))


def written(folder: Path, sla: Mapping[str, Any], lines: Sequence[str] = ROWS, **more: Any) -> Path:
    """One workload on eight GPUs."""
    workload = {"name": "chat", "model": "org/a", "isl": 100, "osl": 11, "sla": dict(sla), **more.pop("workload", {})}
    pool = {"name": "gpus", "gpu": "gpu_a", "gpus": 8, "nvlink_domain_gpus": 8, **more.pop("pool", {})}
    document = {
        "format": "disagg-instance", "version": 1, "name": "hand", "pools": [pool], "workloads": [workload],
        "serving": {"modes": ["disaggregated"]}, "cost_model": {"kind": "curves", "path": "curves.csv"}, **more,
    }  # fmt: skip
    (folder / "curves.csv").write_text("\n".join([",".join(HEADER), *lines, ""]), encoding="utf-8")
    (folder / "instance.json").write_text(json.dumps(document), encoding="utf-8")
    return folder / "instance.json"


def why(path: Path) -> Infeasibility:
    """The explanation of an infeasible instance, complete."""
    found = explain(path)
    assert found.is_complete, found.missing
    assert found.infeasibility is not None
    return found.infeasibility


def labels(sets: Sequence[Sequence[Any]]) -> list[list[str]]:
    """Sets by label."""
    return [[r.label for r in some] for some in sets]


def test_two_clashes_by_hand(tmp_path: Path) -> None:
    """
    TTFT 50 ms is out of reach. TPOT 5 ms takes the engine of two GPUs: 30 requests/s need 3 + 2 x 5 = 13 GPUs, 8 do 18.

    Without the TPOT limit 8 GPUs do 20 requests/s (2 prefill, 5 or 6 decode), so 30 clash with the GPUs alone.
    """
    found = why(written(tmp_path, {"ttft_ms": 50, "tpot_ms": 5}, workload={"requests_per_s": 30}))
    assert labels(found.clashes) == [["TTFT of chat"], ["demand of chat", "inventory of gpus"]]
    assert labels(found.corrections) == [["TTFT of chat", "demand of chat"], ["TTFT of chat", "inventory of gpus"]]
    assert found.alone == ()
    texts = [[[c.text for c in changes] for changes in joint.alternatives] for joint in found.together]
    assert texts == [
        [["TTFT of chat: 50 -> 100 ms", "demand of chat: 30 -> 18 requests/s"]],
        [["TTFT of chat: 50 -> 100 ms", "inventory of gpus: 8 -> 13 GPUs"]],
    ]


def test_a_pair_is_a_trade(tmp_path: Path) -> None:
    """20.5 requests/s at 4 ms a token: 5 ms takes 3 + 8 GPUs, 10 ms 3 + 6; 8 GPUs do 18 at 5 ms and 20 at 10 ms."""
    found = why(written(tmp_path, {"tpot_ms": 4}, workload={"requests_per_s": 20.5}))
    assert labels(found.clashes) == [["TPOT of chat"], ["demand of chat", "inventory of gpus"]]
    trades = {tuple(c.nearest for c in changes) for joint in found.together for changes in joint.alternatives}
    assert {(5, 11), (10, 9), (5, 18), (10, 20)} == trades


def test_packing_clashes_with_the_inventory(tmp_path: Path) -> None:
    """Engines of three GPUs in domains of four: 12 GPUs hold three of them, one domain would hold four."""
    pool = {"gpus": 12, "nvlink_domain_gpus": 4, "gpus_per_node": 4}
    lines = (row("colocated", 3, "10", "1"),)
    path = written(tmp_path, {}, lines, pool=pool, serving={}, workload={"requests_per_s": 4})
    found = why(path)
    assert labels(found.clashes) == [["demand of chat", "inventory of gpus", "packing of gpus"]]
    assert [c.full_text for c in found.alone] == [
        "demand of chat: 4 -> 3 requests/s",
        "inventory of gpus: 12 -> 15 GPUs (4 nodes of 4)",
        "packing of gpus: 4 -> 12 GPUs in an NVLink domain (8 tried too)",
    ]


def test_memory_and_wishes(tmp_path: Path) -> None:
    """The engine wished for takes 70 GiB, there are 40; the other engine takes 50."""
    lines = (row("colocated", 1, "10", "1", "70"), row("colocated", 1, "10", "1", "50", "vllm"))
    path = written(tmp_path, {}, lines, pool={"memory_gib": 40}, serving={}, workload={"backend": "trtllm"})
    found = why(path)
    assert labels(found.clashes) == [["memory of gpus"]]
    assert [c.text for c in found.alone] == ["memory of gpus: 40 -> 70 GiB per GPU"]
    wider = written(tmp_path, {}, lines, pool={"memory_gib": 60}, serving={}, workload={"backend": "trtllm"})
    assert labels(why(wider).clashes) == [["memory of gpus", "backend of chat"]]


def test_idle_gpus_over_the_budget(tmp_path: Path) -> None:
    """Eight GPUs at 2 USD/hour are 16, the budget is 9: four can be kept, or 16 be paid; whatever runs on them."""
    pool = {"usd_per_gpu_hour": 2}
    budget = {"usd_per_hour": 9, "count_idle": True}
    lines = (row("colocated", 1, "10", "1"),)
    found = why(written(tmp_path, {}, lines, pool=pool, serving={}, budget=budget))
    assert labels(found.clashes) == [["inventory of gpus", "budget of the fleet"]]
    assert [c.text for c in found.alone] == ["inventory of gpus: 8 -> 4 GPUs", "budget of the fleet: 9 -> 16 USD/hour"]


def test_nothing_can_be_given_up(tmp_path: Path) -> None:
    """Prefill and decode of two serving engines cannot be joined: no requirement is at fault."""
    lines = (row("prefill", 1, "100", "10"), row("decode", 1, "10", "4", backend="vllm"))
    path = written(tmp_path, {"ttft_ms": 500}, lines, serving={})
    found = why(path)
    assert (found.clashes, found.corrections, found.alone) == (((),), (), ())
    assert any("even with every requirement given up" in line for line in explanation_lines(explain(path)))


def test_a_demand_given_up_is_still_served(tmp_path: Path) -> None:
    """Two workloads; one has no engine within its TPOT: not to serve it at all is no answer."""
    workload = {"name": "chat", "model": "org/a", "isl": 100, "osl": 11}
    both = [workload | {"requests_per_s": 1}, workload | {"name": "fast", "requests_per_s": 1, "sla": {"tpot_ms": 1}}]
    found = why(written(tmp_path, {}, workloads=both))
    assert labels(found.clashes) == [["TPOT of fast"]]
    assert [c.text for c in found.alone] == ["TPOT of fast: 1 -> 5 ms"]


def test_families_come_first_where_there_are_several(tmp_path: Path) -> None:
    """9 requests/s take 1 + 3 GPUs, 12 take 2 + 3: nine, and there are eight."""
    workload = {"name": "chat", "model": "org/a", "isl": 100, "osl": 11}
    both = [workload | {"requests_per_s": 9}, workload | {"name": "batch", "requests_per_s": 12}]
    found = why(written(tmp_path, {}, workloads=both))
    assert found.families == (("demand", "inventory"),)
    assert labels(found.clashes) == [["demand of chat", "demand of batch", "inventory of gpus"]]
    assert [c.nearest for c in found.alone] == [8, 10, 9]


@pytest.mark.parametrize("seed", range(4))
def test_enough_gpus_are_enough(seed: int, tmp_path: Path) -> None:
    """Four times as many change nothing, whatever is kept."""
    drawn = next(found for start in range(seed * 40, seed * 40 + 400) if (found := infeasible_case(start, most=10)))
    path = write_case(tmp_path, drawn[0], drawn[1])
    instance = read_instance(path)
    probe = Probe(instance, cost_model_of(instance, tmp_path), Clock(Controls()))
    requirements = requirements_of(instance)
    for kept in requirements:
        free = without(instance, [r for r in requirements if r not in (kept,) and r.name != "packing"], probe)
        for pool in free.pools:
            large = with_pool(free, pool.name, gpus=MOST_GPUS)
            least = enough_gpus(large, large.pool(pool.name), probe.engines(large))
            some = with_pool(free, pool.name, gpus=least)
            more = with_pool(free, pool.name, gpus=4 * least)
            assert (probe.find(some) is None) == (probe.find(more) is None), (seed, kept.label)


def test_an_inventory_given_up_is_enough_for_every_level(tmp_path: Path) -> None:
    """No engine decodes in 4 ms. At 5 ms, 100 requests/s take 10 GPUs of prefill and 2 x 200 of decode."""
    lines = (row("prefill", 1, "100", "10"), row("decode", 2, "5", "0.5"))
    found = why(written(tmp_path, {"tpot_ms": 4}, lines, workload={"requests_per_s": 100}))
    trades = {tuple(c.nearest for c in changes) for joint in found.together for changes in joint.alternatives}
    assert (5, 410) in trades


@pytest.mark.parametrize("seed", range(60))
def test_end_to_end_times_are_searched_exactly(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest time that does, of all that there are, although only three are looked at in each round."""
    monkeypatch.setattr("solver.explanation.sums.FEW", 3)
    rng = random.Random(seed)
    alone, first, rest = (sorted(rng.sample(range(1, 400), rng.randint(0, 12))) for _ in range(3))
    sums = Sums(Fraction(1, 7), alone, first, np.array(rest, dtype=np.int64))
    every = sorted({*alone, *(a + b for a in first for b in rest)})
    above = Fraction(rng.randint(0, 300), 7)
    least = Fraction(rng.randint(0, 700), 7)
    wanted = [time for value in every if (time := Fraction(value, 7)) > above and time >= least]
    assert sums.first_that_does(above, lambda time: time >= least) == (wanted[0] if wanted else None)
