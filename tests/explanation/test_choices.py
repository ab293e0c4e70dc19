"""What binds a plan, and the runners-up, against the oracle."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path

import pytest

from costmodels.partition import Partition
from solver.explanation.counterfactuals import PARTITIONS, family_of
from solver.explanation.explain import explain
from solver.explanation.explanation import Choice
from solver.explanation.probe import Outcome
from tests.explanation.switches import Json, Rows, dropped, switches
from tests.explanation.test_changes import edited
from tests.oracles.enumerate import optimum
from tests.oracles.generate import random_case, write_case

SEEDS = (2, 3, 11, 19, 23, 31, 42, 57, 64, 78)


def chosen(folder: Path, case: Json, rows: Rows) -> Choice:
    """The explanation of a feasible instance, complete."""
    found = explain(write_case(folder, case, rows))
    assert found.is_complete, found.missing
    assert found.choice is not None
    return found.choice


def value(outcome: Outcome | None) -> Fraction | None:
    """The optimum of an outcome, None where there is no plan."""
    if outcome is None:
        return None
    assert outcome.status in ("optimal", "infeasible")
    return outcome.value


def feasible_case(seed: int) -> tuple[Json, Rows]:
    """A random case with a plan, in which idle GPUs cost nothing."""
    while True:
        case, rows = random_case(seed)
        case = copy.deepcopy(case)
        case.get("budget", {}).pop("count_idle", None)
        case["serving"].pop("utilization", None)
        for workload in case["workloads"]:
            workload.pop("utilization", None)
        if optimum(case, rows) is not None:
            return case, rows
        seed += 1000


def forbidding(case: Json, role: str, families: list[str]) -> Json:
    """The case without some families of partitions in a role, by rules of its own."""
    patterns = {
        "PP": {"pp": {"min": 2}},
        "CP": {"pp": 1, "cp": {"min": 2}},
        "attention DP": {"pp": 1, "cp": 1, "attention_dp": {"min": 2}},
        "TEP": {"pp": 1, "cp": 1, "attention_dp": 1, "moe_ep": {"min": 2}},
        "TP": {"pp": 1, "cp": 1, "attention_dp": 1, "moe_ep": 1},
    }
    changed = copy.deepcopy(case)
    deny = changed["serving"].setdefault("deny", {})
    deny[role] = [*deny.get(role, []), *(patterns[family] for family in families)]
    return changed


@pytest.mark.parametrize("seed", SEEDS)
def test_runners_up_are_the_optima_of_changed_instances(seed: int, tmp_path: Path) -> None:
    case, rows = feasible_case(seed)
    choice = chosen(tmp_path, case, rows)
    assert choice.best.value == optimum(case, rows)
    kinds = set()
    for one in choice.counterfactuals:
        changed = copy.deepcopy(case)
        if one.kind == "mode":
            both = ["colocated", "disaggregated"]
            only = {"co-located only": both[:1], "disaggregated only": both[1:], "hybrid allowed": both}[one.what]
            changed["serving"].update(modes=only, hybrid=one.what == "hybrid allowed")
        elif one.kind == "pool":
            changed["pools"] = [p for p in case["pools"] if one.what != f"without {p['name']}"]
        else:
            role, _, families = one.what.partition(": ")
            family = families.removeprefix("no ").removesuffix(" only")
            others = [other for other in PARTITIONS if other != family]
            role = "colocated" if role == "co-located" else role
            changed = forbidding(case, role, [family] if families.startswith("no ") else others)
        assert value(one.outcome) == optimum(changed, rows), one.what
        if one.is_chosen:
            assert value(one.outcome) == choice.best.value
        kinds.add(one.kind)
    assert {"mode", "partition"} <= kinds


@pytest.mark.parametrize("seed", SEEDS)
def test_what_binds_is_what_changes_the_optimum(seed: int, tmp_path: Path) -> None:
    case, rows = feasible_case(seed)
    choice = chosen(tmp_path, case, rows)
    best = choice.best.value
    assert best is not None
    sign = -1 if case["objective"] in ("gpus", "cost") else 1
    every = switches(case, {pool["name"]: pool["gpus"] for pool in case["pools"]})
    assert {(b.requirement.name, b.requirement.where) for b in choice.bindings} == set(every)
    for b in choice.bindings:
        r, name = b.requirement, (b.requirement.name, b.requirement.where)
        if r.name == "inventory":
            if b.step is not None:
                grown = [optimum(edited(case, b.step, b.step.nearest - less), rows) for less in (0, 1)]
                assert value(b.at_step) == grown[0]
                assert grown[1] == best, r.label
            continue
        free = optimum(dropped(case, [name], every), rows)
        assert free is not None
        assert b.binds == (sign * free > sign * best), r.label
        if b.step is None:
            continue
        assert value(b.removed) == free, r.label
        if r.name == "demand":
            hair = optimum(edited(case, b.step, b.step.nearest + Fraction(1, 10**9)), rows)
            assert hair == best
        if r.has_levels:
            stepped = optimum(edited(case, b.step, b.step.nearest), rows)
            assert value(b.at_step) == stepped
            assert stepped is not None
            assert sign * stepped > sign * best


def test_every_partition_is_of_one_family() -> None:
    """The patterns by which families are forbidden agree with their names."""
    seen = set()
    for tp, pp, dp, ep, cp in ((1, 1, 1, 1, 1), (4, 1, 1, 1, 1), (4, 1, 1, 4, 1), (1, 1, 4, 4, 1), (2, 1, 2, 1, 1),
                               (2, 4, 1, 1, 1), (1, 2, 2, 2, 1), (1, 1, 1, 1, 2), (2, 2, 1, 1, 2)):  # fmt: skip
        partition = Partition(tp=tp, pp=pp, attention_dp=dp, moe_ep=ep, cp=cp)
        fields = {"tp": tp, "pp": pp, "attention_dp": dp, "moe_ep": ep, "cp": cp}
        fitting = [name for name, pattern in PARTITIONS.items() if all(
            fields[key] in allowed if isinstance(allowed, frozenset) else fields[key] >= (allowed[0] or 0)
            for key, allowed in pattern.fields.items()
        )]  # fmt: skip
        assert fitting == [family_of(partition)]
        seen.add(fitting[0])
    assert seen == set(PARTITIONS)
