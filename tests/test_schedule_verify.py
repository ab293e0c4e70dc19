"""The verifier of schedules: accepts what is right, and refutes every change to it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from solver.backends.base import Controls
from solver.result import to_json
from solver.scheduling.document import as_dict
from solver.scheduling.rules import Rules
from solver.scheduling.schedule import Schedule, solved
from solver.verify_schedule import verify_schedule
from tests.schedule_cases import demand, draw, instance_of, problem, row

Document = dict[str, Any]


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Schedule:
    """A schedule with starts, stops and switches."""
    folder = tmp_path_factory.mktemp("toy")
    rows = [row("prefill", 1, 2), row("decode", 1, 3), row("colocated", 2, "2.5")]
    instance = instance_of(folder, rows, 6, domain=4, serving={"min_replicas": {"toy": {"prefill": 1}}})
    rules = Rules(
        cold_start_s=Fraction(60), min_up_s=Fraction(120), switch_s=Fraction(0), start_usd_per_gpu=Fraction(1, 100)
    )
    rates = demand(instance, 0, 2, 5, 6, 1, 3, 0, 2)
    given = problem(folder, instance, rates, rules, kind="usd", max_changes=6)
    found = solved(replace(given, current=(0,) * len(given.columns)), Controls(time_limit_s=20))
    assert found.status == "optimal"
    return found


def verdict(answer: Schedule, document: object) -> tuple[str, ...]:
    fleet = answer.problem.fleet
    return verify_schedule(fleet.instance, fleet.engines, document).faults


def test_what_is_right_is_accepted(answer: Schedule) -> None:
    document = json.loads(to_json(as_dict(answer)))
    assert verdict(answer, document) == ()


@pytest.mark.parametrize("block", range(4))
def test_random_schedules_are_accepted(block: int, tmp_path: Path) -> None:
    for seed in range(400 + 6 * block, 406 + 6 * block):
        found = solved(draw(seed, tmp_path), Controls(time_limit_s=20))
        assert not found.feasibility.startswith("REFUTED"), (seed, found.feasibility)
        assert verdict(found, json.loads(to_json(as_dict(found)))) == (), seed


def first(document: Document, began: str) -> Document:
    return next(leg for leg in document["replicas"] if leg["began"] == began)


def plus(text: str) -> str:
    value = Fraction(text) + Fraction(1, 1000)
    return f"{value.numerator}/{value.denominator}"


def held(document: Document) -> None:
    counts = document["plan"][1]["held"]
    counts[next(iter(counts))] += 1


def stay(document: Document) -> None:
    next(leg for leg in document["replicas"] if leg["ends"] == "stop")["until"] += 1


def less(document: Document) -> None:
    period = next(p for p in document["plan"] if p["workloads"][0]["serving"])
    serving = period["workloads"][0]["serving"]
    serving[next(iter(serving))] += 40


def exact(key: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["exact"][key] = plus(document["exact"][key])

    return change


def told(key: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place = document["plan"][1]["workloads"][0]
        place[key] = plus(place[key])

    return change


def column(key: str, value: object) -> Callable[[Document], None]:
    return lambda document: document["columns"][0].__setitem__(key, value)


CHANGES: dict[str, Callable[[Document], None]] = {
    "objective": exact("objective"),
    "bound below what is reached": exact("bound"),
    "held": held,
    "a replica stays longer": stay,
    "more serve than are ready": less,
    "demand": told("demand"),
    "served": told("served"),
    "shortfall": told("shortfall"),
    "no start": lambda d: d["plan"][first(d, "start")["from"]]["starts"].clear(),
    "ready too early": lambda d: first(d, "start").__setitem__("ready", first(d, "start")["from"]),
    "a start that was there": lambda d: first(d, "start").__setitem__("began", "running"),
    "another column": lambda d: d["replicas"][0].__setitem__(
        "column", (d["replicas"][0]["column"] + 1) % len(d["columns"])
    ),
    "a domain that is not there": lambda d: d["replicas"][0].__setitem__("domains", [7]),
    "two domains for one group": lambda d: d["replicas"][0].__setitem__("domains", [0, 1]),
    "all in one domain": lambda d: [leg.__setitem__("domains", [1]) for leg in d["replicas"]],
    "a replica is missing": lambda d: d["replicas"].pop(),
    "a replica twice": lambda d: d["replicas"].append(copy.deepcopy(d["replicas"][-1])),
    "batch": column("batch", 2),
    "rate": column("planned_requests_per_s", "9/1"),
    "cold start": column("cold_start_s", "1/1"),
    "lead": column("lead_periods", 0),
    "partition": lambda d: d["columns"][0]["partition"].__setitem__("tp", 7),
    "shorter time up": lambda d: d["rules"].__setitem__("min_up_s", "1200/1"),
    "dearer starts": lambda d: d["rules"].__setitem__("start_usd_per_gpu", "5/1"),
    "slower starts": lambda d: d["rules"].__setitem__("cold_start_s", "120/1"),
    "fewer changes": lambda d: d.__setitem__("max_changes", 0),
    "another kind": lambda d: d.__setitem__("objective_kind", "energy"),
    "longer periods": lambda d: d.__setitem__("period_s", "120/1"),
    "more demand": lambda d: d["demand"]["toy"].__setitem__(1, "50/1"),
    "GPU-hours": lambda d: d["totals"]["exact"].__setitem__("gpu_hours", "1/1"),
    "changes": lambda d: d["totals"].__setitem__("changes", 0),
    "mode": lambda d: d["plan"][1]["workloads"][0].__setitem__("mode", "none"),
    "infeasible with a plan": lambda d: d.__setitem__("status", "infeasible"),
    "a period less": lambda d: d["plan"].pop(),
    "GPUs": lambda d: d["plan"][0].__setitem__("gpus", 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_refuted(name: str, answer: Schedule) -> None:
    document = json.loads(to_json(as_dict(answer)))
    CHANGES[name](document)
    assert verdict(answer, document) != ()


def test_nothing_makes_it_raise(answer: Schedule) -> None:
    document = json.loads(to_json(as_dict(answer)))
    for key in document:
        for value in (None, 3, "x", [], {}, [None], {"a": 1}, -1, True, 10**30):
            verdict(answer, {**document, key: value})
    for wrong in (None, [], 3, {}):
        assert verdict(answer, wrong) != ()
    for key in document["replicas"][0]:
        for value in (None, "x", -1, 10**12, [], ["x"]):
            broken = copy.deepcopy(document)
            broken["replicas"][0][key] = value
            assert verdict(answer, broken) != (), (key, value)
