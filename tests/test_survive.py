"""Plans that survive a loss: against every plan, placement and loss of tiny instances; and the verifier on them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from costmodels.errors import InputError
from instances import resolve
from solver.engines import cost_model_of, engines_of
from solver.planner import solve, trace
from solver.read import instance_from, read_json
from solver.result import Result
from solver.survival.model import MOST_LOSSES
from solver.verifier import verify
from tests.oracles.enumerate import units_of
from tests.oracles.generate import random_case, write_case
from tests.oracles.plans import Instance, Rows, every_plan, flow, keeps_limits, ways_of
from tests.oracles.tables import exact, points_of
from tests.test_against_oracles import has_contradicting_bounds

MOST_WAYS = 400
Replica = tuple[int, Any]


def blocks_of(instance: Instance, kind: str) -> list[tuple[int, int]]:
    """(Pool, GPUs) of every block."""
    found = []
    for index, pool in enumerate(instance["pools"]):
        size = pool["gpus_per_node"] if kind == "nodes" else pool["nvlink_domain_gpus"]
        full, rest = divmod(pool["gpus"], size)
        found += [(index, size)] * full + ([(index, rest)] if rest else [])
    return found


def placements(replicas: list[Replica], blocks: list[tuple[int, int]]) -> Iterator[list[int]]:
    """Every way to stand replicas in blocks, equal replicas and equal empty blocks counted once."""
    room = [gpus for _, gpus in blocks]
    chosen: list[int] = []

    def stand(number: int) -> Iterator[list[int]]:
        if number == len(replicas):
            yield list(chosen)
            return
        _, each = replicas[number]
        tried: set[tuple[int, int]] = set()
        least = chosen[-1] if number and replicas[number - 1][1] is each else 0
        for b, (pool, gpus) in enumerate(blocks):
            untouched = room[b] == gpus
            if b < least or pool != each.point.pool or room[b] < each.point.gpus or (untouched and blocks[b] in tried):
                continue
            if untouched:
                tried.add(blocks[b])
            room[b] -= each.point.gpus
            chosen.append(b)
            yield from stand(number + 1)
            chosen.pop()
            room[b] += each.point.gpus

    yield from stand(0)


def survives(instance: Instance, plan: Any, kind: str, lost: int, scale: int) -> bool:
    """Whether some placement keeps every demand after every loss."""
    blocks = blocks_of(instance, kind)
    replicas = [(w, each) for w, way in enumerate(plan) for each, count in way for _ in range(count)]
    for where in placements(replicas, blocks):
        kept = True
        for gone in combinations(range(len(blocks)), min(lost, len(blocks))):
            left = [r for r, b in zip(replicas, where) if b not in gone]
            for number, workload in enumerate(instance["workloads"]):
                if workload.get("requests_per_s") is None:
                    continue
                way = tuple((each, 1) for w, each in left if w == number)
                bare = {**workload, "max_requests_per_s": None}
                kept &= flow(bare, way, set(), Fraction(0), scale) >= exact(workload["requests_per_s"])
        if kept:
            return True
    return False


def optimum(instance: Instance, rows: Rows, kind: str, lost: int) -> Fraction | None:
    """The best objective of a plan that survives, by enumeration."""
    units, workloads = units_of(instance, points_of(instance, rows)), instance["workloads"]
    scored = []
    for plan, gpus in every_plan(instance, rows):
        flows = [flow(w, way, set(), Fraction(0), units.rate) for w, way in zip(workloads, plan)]
        kept = all(keeps_limits(w, way, set(), Fraction(0), units.time) for w, way in zip(workloads, plan))
        if not kept or any(f < exact(w.get("requests_per_s") or 0) for f, w in zip(flows, workloads)):
            continue
        if instance["objective"] in ("gpus", "cost"):
            prices = [exact(p["usd_per_gpu_hour"]) if instance["objective"] == "cost" else 1 for p in instance["pools"]]
            score = -sum((Fraction(p) * n for p, n in zip(prices, gpus)), Fraction(0))
        else:
            score = sum(
                (f * exact(w["osl"]) * exact(w.get("weight", 1)) for f, w in zip(flows, workloads)), Fraction(0)
            )
        scored.append((score, len(scored), plan))
    for score, _, plan in sorted(scored, key=lambda item: item[:2], reverse=True):
        if survives(instance, plan, kind, lost, units.rate):
            return abs(score)
    return None


def drawn(seed: int) -> tuple[dict[str, Any], Rows, str, int] | None:
    """A random instance that has to survive a loss; None where it is not covered, or too large to enumerate."""
    rng = random.Random(seed)
    instance, rows = random_case(seed)
    instance = copy.deepcopy(dict(instance))
    kind, lost = rng.choice([("nodes", 1), ("nodes", 2), ("domains", 1)])
    serving = instance.setdefault("serving", {})
    if serving.get("rate_match") == "decode_covers" or has_contradicting_bounds(instance):
        return None
    if instance.get("objective") == "throughput_per_gpu":
        instance["objective"] = "throughput"
    for pool in instance["pools"]:
        domain = pool["nvlink_domain_gpus"]
        pool["gpus_per_node"] = rng.choice([size for size in range(1, domain + 1) if domain % size == 0])
    first = instance["workloads"][0]
    demand = exact(first.get("requests_per_s") or 2) / rng.choice([1, 2, 4])
    first["requests_per_s"] = round(float(demand), 3) or 0.001
    if any((w.get("sla") or {}).get("itl_ms") for w in instance["workloads"]):
        return None
    serving["survive"] = {kind: lost}
    sizes = [len(ways_of(instance, rows, index)) for index in range(len(instance["workloads"]))]
    if sizes[0] * (sizes[1] if len(sizes) > 1 else 1) > MOST_WAYS:
        return None
    return instance, rows, kind, lost


@pytest.mark.parametrize("most", [MOST_LOSSES, 0], ids=["losses one by one", "largest losses bounded"])
def test_against_every_plan_placement_and_loss(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.survival.model.MOST_LOSSES", most)
    compared = feasible = dearer = 0
    for seed in range(60 if most else 45):
        case = drawn(seed)
        if case is None:
            continue
        instance, rows, kind, lost = case
        result = solve(write_case(tmp_path / str(seed), instance, rows))
        wanted = optimum(instance, rows, kind, lost)
        assert result.status == ("infeasible" if wanted is None else "optimal"), seed
        assert result.objective == wanted, seed
        assert result.feasibility in ("verified exactly", "nothing to verify"), seed
        compared += 1
        feasible += wanted is not None
        dearer += wanted is not None and result.unprotected != wanted
    assert compared > 4, compared
    assert feasible > 2, feasible
    assert dearer > 0 or not most


@pytest.fixture(scope="module")
def real() -> Result:
    """The fewest GPUs for a chat on eight nodes, any one of which may be lost."""
    return solve(instance_with("llama-8b-h200-64-fewest-gpus", {"nodes": 1}))


def instance_with(name: str, survive: dict[str, int], **changes: object) -> Any:
    path = resolve(name)
    document = read_json(path)
    document["serving"] = {**document.get("serving", {}), "survive": survive}
    document["cost_model"]["path"] = str(path.parent / document["cost_model"]["path"])
    return instance_from({**document, **changes}, path.parent)


def test_a_node_of_eight(real: Result) -> None:
    assert (real.status, real.objective, real.unprotected) == ("optimal", 43, 37)
    assert real.deployment is not None
    assert all(sum(n for *_, n in block.replicas) for block in real.deployment.blocks)
    assert solve(instance_with("llama-8b-h200-64-fewest-gpus", {"domains": 1})).objective == 43


def faults_of(result: Result, document: dict[str, Any]) -> str:
    folder = resolve("llama-8b-h200-64-fewest-gpus").parent
    engines = engines_of(result.instance, cost_model_of(result.instance, folder))
    return "\n".join(verify(result.instance, engines, document).faults)


def test_the_verifier_catches_every_kind_of_fault(real: Result) -> None:
    good = json.loads(json.dumps(real.as_dict()))
    assert faults_of(real, good) == ""

    def changed(change: Any) -> str:
        document = copy.deepcopy(good)
        change(document["deployment"]["blocks"])
        return faults_of(real, document)

    def packed(blocks: list[Any]) -> None:
        """All decode replicas together in as few nodes as possible: the loss of one is then too large."""
        roles: list[dict[str, Any]] = []
        for block in blocks:
            roles += [{**r, "replicas": 1} for r in block["replicas"] for _ in range(r["replicas"])]
        roles.sort(key=lambda r: r["role"])
        size = {"decode": 2, "prefill": 1}
        fresh: list[dict[str, Any]] = []
        for role in roles:
            if not fresh or sum(size[r["role"]] for r in fresh[-1]["replicas"]) + size[role["role"]] > 8:
                fresh.append({"pool": "h200", "block": len(fresh), "gpus": 8, "replicas": []})
            fresh[-1]["replicas"].append(role)
        blocks[:] = fresh

    assert "after a loss of 1 nodes" in changed(packed)
    assert "stand in blocks" in changed(lambda blocks: blocks.pop())
    assert "no such block" in changed(lambda blocks: blocks[0].update(block=99))
    assert "no such block" in changed(lambda blocks: blocks[0].update(gpus=9))
    assert "unknown pool" in changed(lambda blocks: blocks[0].update(pool="other"))
    assert "no entry" in changed(lambda blocks: blocks[0]["replicas"][0].update(entry=7))
    assert "in a block of 8" in changed(lambda blocks: blocks[0]["replicas"][0].update(replicas=9))
    assert "C9 survive" in changed(lambda blocks: blocks.clear())


def test_other_commands_refuse_it(tmp_path: Path) -> None:
    instance = instance_with("llama-8b-h200-64-fewest-gpus", {"nodes": 1})
    with pytest.raises(InputError, match="not by frontier"):
        trace(instance)
    path = resolve("llama-8b-h200-64-fewest-gpus")
    document = json.loads(path.read_text())
    document["serving"] = {"survive": {"nodes": 1}}
    document["cost_model"]["path"] = str(path.parent / document["cost_model"]["path"])
    file = tmp_path / "survive.json"
    file.write_text(json.dumps(document))
    others = (
        ("whatif", str(file), "--vary", "gpus=8:64"),
        ("robust", str(file), "--error", "5%"),
        ("explain", str(file)),
    )
    for command in others:
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        assert "$.serving.survive: is covered by solve and verify" in result.output


def test_results_are_written_and_too_large_a_loss_names_the_largest(tmp_path: Path) -> None:
    document = json.loads(resolve("tiny-cost").read_text())
    document["cost_model"]["path"] = str(resolve("tiny-cost").parent / document["cost_model"]["path"])
    for pool in document["pools"]:
        pool |= {"gpus": 8, "nvlink_domain_gpus": 4, "gpus_per_node": 4}
    found = {}
    for lost in (1, 2, 3, 4):
        document["serving"] = {"survive": {"nodes": lost}}
        (tmp_path / "i.json").write_text(json.dumps(document))
        done = CliRunner().invoke(main, ["solve", str(tmp_path / "i.json"), "-o", str(tmp_path / "r.json")])
        found[lost] = json.loads((tmp_path / "r.json").read_text())
        assert done.exit_code == {"optimal": 0, "infeasible": 3}[found[lost]["status"]]
    most = max(lost for lost in found if found[lost]["status"] == "optimal")
    assert most < 4
    assert [found[4]["infeasibility"][0][key] for key in ("given", "nearest")] == [4, most]


@pytest.mark.parametrize(
    ("survive", "changes", "said"),
    [
        ({}, {}, "give either nodes or domains"),
        ({"nodes": 1, "domains": 1}, {}, "give either nodes or domains"),
        ({"nodes": 0}, {}, "at least 1"),
        ({"gpus": 1}, {}, "unknown key"),
        ({"nodes": 1}, {"objective": "throughput_per_gpu"}, "not covered together with objective"),
        ({"nodes": 1}, {"node": None}, "is missing; survive.nodes needs it"),
        ({"nodes": 1}, {"node": 16}, "nodes that divide the NVLink domain"),
        ({"nodes": 1}, {"demand": None}, "needs a demand to keep"),
        ({"nodes": 1}, {"rate_match": "decode_covers"}, "rate_match decode_covers"),
    ],
)
def test_what_is_not_covered_is_refused(survive: dict[str, int], changes: dict[str, Any], said: str) -> None:
    document = json.loads(resolve("llama-8b-h200-64-fewest-gpus").read_text(), parse_float=Decimal)
    document["serving"] = {"survive": survive, "rate_match": changes.pop("rate_match", "min")}
    node, demand = changes.pop("node", 8), changes.pop("demand", 430)
    document["pools"][0] |= {"gpus_per_node": node}
    if node is None:
        del document["pools"][0]["gpus_per_node"]
    document["workloads"][0]["requests_per_s"] = demand
    if demand is None:
        document["objective"] = "throughput"
    with pytest.raises(InputError, match=said):
        instance_from({**document, **changes})
