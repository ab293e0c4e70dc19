"""Bounds from multipliers: against enumeration, against each other, and what `solve` makes of them."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
import instances
from costmodels.errors import InputError
from solver import planner
from solver.backends.base import Controls
from solver.check import check_file
from solver.columns import Candidates
from solver.cover import Cover, Item
from solver.dual import is_linear
from solver.dual_bound import dual_bound
from solver.engines import EngineSet, cost_model_of, engines_of
from solver.formulation.points import most_flow
from solver.instance import Instance
from solver.measure import objective_of
from solver.planner import Options, solve
from solver.points import points_of
from solver.read import read_instance
from solver.resources import resources_of
from solver.result import Result, to_json
from solver.verify_dual import BadCertificate, bound_again, certified, cheapest
from tests.oracles import enumerate as plain
from tests.oracles.generate import random_case, write_case
from tests.test_wide import FOLDER

FIRST = 310_000
QUICK = Options(tiebreak=False, controls=Controls(time_limit_s=60))


def brute(items: list[Item], flow: int, alone: bool) -> int | None:
    """The least price by trying all counts."""
    best: int | None = None
    for counts in itertools.product(*(range(item.most + 1) for item in items)):
        pools = [item.pool for count, item in zip(counts, items, strict=True) if count]
        carried = sum(count * item.rate for count, item in zip(counts, items, strict=True))
        if pools and carried >= flow and not (alone and len(set(pools)) < len(pools)):
            price = sum(count * item.price for count, item in zip(counts, items, strict=True))
            best = price if best is None else min(best, price)
    return best


def test_the_least_price_of_a_flow_is_that_of_trying_all() -> None:
    found = 0
    for seed in range(500):
        rng = random.Random(seed)
        many = rng.randint(1, 4)
        items = [
            Item(i, rng.randint(0, 30), rng.randint(1, 20), rng.choice("abc"), rng.randint(1, 5)) for i in range(many)
        ]
        alone, flow = rng.random() < 0.5, rng.randint(0, 60)
        wanted = brute(items, flow, alone)
        if wanted is not None:
            found += 1
            cover = Cover(items, alone)
            price, plan = cover.plan(flow)
            assert price == cheapest(items, flow, alone, 4000) == wanted, seed
            assert sum(items[i].price * n for i, n in plan.items()) == wanted, seed
            assert sum(items[i].rate * n for i, n in plan.items()) >= flow, seed
    assert found > 250


def test_a_search_that_is_stopped_gives_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.cover.MOST_NODES", (3, 3))
    weaker = 0
    for seed in range(60):
        rng = random.Random(seed)
        items = [Item(i, rng.randint(1, 30), rng.randint(1, 20), "abcd"[i], 3) for i in range(4)]
        flow = rng.randint(10, 40)
        wanted = brute(items, flow, True)
        assert wanted is None or Cover(items, True).price(flow) <= wanted
        assert wanted is None or cheapest(items, flow, True, 2) <= wanted
        weaker += wanted is not None and Cover(items, True).price(flow) < wanted
    assert weaker


def test_few_labels_never_make_a_price_too_high() -> None:
    for seed in (228, 355, 566, 626, *range(1000, 1300)):
        rng = random.Random(seed)
        many, high = rng.randint(3, 5), rng.choice((6, 12, 30))
        low = high // 2
        items = [
            Item(i, rng.randint(low, high), rng.randint(low, high), rng.choice("abcdef"), rng.randint(2, 4))
            for i in range(many)
        ]
        flow = rng.randint(high, high * 8)
        wanted = brute(items, flow, False)
        for most in (3, 4, 6, 10, 15) if wanted is not None else ():
            assert cheapest(items, flow, False, most) <= wanted, (seed, most)


def parts_of(path: Path) -> tuple[Instance, EngineSet, Candidates]:
    """An instance file with its engines and points."""
    instance = read_instance(path)
    engines = engines_of(instance, cost_model_of(instance, path.parent))
    return instance, engines, Candidates(instance, engines, points_of(instance, engines))


def test_any_multipliers_bound_what_enumeration_finds(tmp_path: Path) -> None:
    """Both evaluations, at random multipliers; the bound with a column, where the optimum is known to use it."""
    bounded = tight = 0
    for seed in range(FIRST, FIRST + 30):
        document, rows = random_case(seed)
        path = write_case(tmp_path / str(seed), document, rows)
        best = plain.optimum(document, rows)
        try:
            instance, engines, candidates = parts_of(path)
        except InputError:
            continue
        if best is None or not is_linear(instance):
            continue
        result = solve(path, Options(tiebreak=False, dual=False))
        assert result.deployment is not None
        columns, measure = candidates.columns(), objective_of(instance)
        value, most = measure.of(result.deployment), most_flow(instance, columns)
        used = {(a.engine.index, a.batch) for a in result.deployment.assignments}
        shared, rng = resources_of(instance, (column.engine for column in columns)), random.Random(seed)
        for size in (0, 1, 50):
            multipliers = tuple((row, Fraction(rng.randint(0, 40) * size, 7)) for row in shared)
            bound = dual_bound(instance, columns, measure, multipliers, most)
            assert bound.value >= value, seed
            certificate = bound.as_dict()
            assert bound_again(instance, engines, certificate) >= value, seed
            low = {name: str(Fraction(text) - 100) for name, text in certificate["workloads"].items()}
            assert bound_again(instance, engines, {**certificate, "workloads": low}) >= value, seed
            sign = -1 if instance.is_minimised else 1
            assert sign * certified(instance, engines, certificate) >= sign * best, seed
            for place, column in enumerate(columns):
                if (column.engine.index, column.batch) in used:
                    assert bound.with_column(place, column.engine.workload.name) >= value, seed
            tight += bound.value == value
            bounded += 1
    assert bounded > 30
    assert tight


def compared(seeds: range, folder: Path) -> list[str]:
    """Solves random instances with and without duality; the statuses, and how many proofs are its own."""
    found = []
    for seed in seeds:
        document, rows = random_case(seed)
        path = write_case(folder / str(seed), document, rows)
        try:
            plainly = solve(path, replace(QUICK, dual=False))
        except InputError:
            continue
        result = solve(path, QUICK)
        told = (result.status, result.objective, result.bound)
        assert told == (plainly.status, plainly.objective, plainly.bound), seed
        best = plain.optimum(document, rows)
        assert result.objective == best, seed
        found.append("dual" if "multipliers" in result.proof else result.status)
    return found


def large(instance: Instance, columns: object) -> bool:
    """Whether duality could be asked, whatever the size."""
    return is_linear(instance)


def test_duality_changes_no_optimum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "wants", large)
    found = compared(range(FIRST, FIRST + 40), tmp_path)
    assert found.count("dual") >= 5
    assert found.count("optimal") >= 5


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large fleet for four models at the least cost: a built-in instance with 100 times its GPUs and demands."""
    document = json.loads(instances.path("four-models-h100-h200-cost").read_text("utf-8"))
    document["cost_model"]["path"] = [str(FOLDER / p) for p in document["cost_model"]["path"]]
    for pool in document["pools"]:
        pool["gpus"] *= 100
    for workload in document["workloads"]:
        workload["requests_per_s"] *= 100
    file = tmp_path_factory.mktemp("dual") / "large.json"
    file.write_text(json.dumps(document), "utf-8")
    return file


@pytest.fixture(scope="module")
def closed(path: Path) -> Result:
    """Its optimum."""
    return solve(path, QUICK)


def test_a_large_fleet_is_proved_by_multipliers(closed: Result) -> None:
    assert closed.status == "optimal"
    assert closed.proof.startswith("bound proved by multipliers")
    assert closed.feasibility == "verified exactly"


def test_verify_evaluates_the_bound_again(closed: Result, path: Path, tmp_path: Path) -> None:
    document = json.loads(to_json(closed.as_dict()))
    file = tmp_path / "result.json"
    file.write_text(json.dumps(document), "utf-8")
    outcome = check_file(path, file)
    assert outcome.ok, outcome.lines
    assert any("follows from the multipliers" in line for line in outcome.lines)
    certificate = document["dual_bound"]
    row = {"row": "gpus", "pool": document["deployment"]["workloads"][0]["decode"][0]["pool"]}
    for wrong in (
        {"multipliers": [{**row, "multiplier": "-1"}]},
        {"multipliers": [{**row, "multiplier": "1"}]},
        {"value": "-7000"},
    ):
        file.write_text(json.dumps({**document, "dual_bound": {**certificate, **wrong}}), "utf-8")
        outcome = check_file(path, file)
        assert not outcome.ok, wrong
        assert any("dual_bound" in line for line in outcome.lines), wrong
    bare = {key: value for key, value in document.items() if key != "dual_bound"}
    for broken in (bare, {**document, "dual_bound": {**certificate, "value": "1/0"}}):
        file.write_text(json.dumps(broken), "utf-8")
        outcome = check_file(path, file)
        assert not outcome.ok and any("dual_bound" in line for line in outcome.lines)


def test_a_certificate_is_read_carefully(closed: Result) -> None:
    assert closed.dual is not None
    bad_row = {"row": "none", "pool": "h100", "multiplier": "1"}
    certificate = closed.dual
    for broken in (
        *({}, {"weights": 1}, {**certificate, "workloads": {"x": "1"}}, {**certificate, "multipliers": 3}),
        {**certificate, "multipliers": [bad_row]},
    ):
        with pytest.raises(BadCertificate):
            bound_again(closed.instance, closed.engines, broken)
    with pytest.raises(BadCertificate, match="prices"):
        certified(closed.instance, closed.engines, {**certificate, "prices": {}})


@pytest.mark.parametrize("weight", ["0", "-1", "-11"])
def test_a_certificate_of_another_measure_proves_nothing(weight: str) -> None:
    """Of minus the throughput every number is a bound that looks as tight as one likes."""
    result = solve("tiny-rate-match", Options(dual=False))
    name = result.instance.workloads[0].name
    forged = {"weights": {name: weight}, "prices": {}, "multipliers": [], "workloads": {name: "0"}, "value": "0"}
    with pytest.raises(BadCertificate, match="weights"):
        certified(result.instance, result.engines, forged)


def test_an_interrupt_while_the_bound_is_checked_keeps_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> Fraction:
        raise KeyboardInterrupt

    monkeypatch.setattr(planner, "wants", large)
    monkeypatch.setattr("solver.dual.bound_again", interrupt)
    result = solve("two-models-h200-96", QUICK)
    assert (result.status, result.feasibility) == ("feasible", "verified exactly")


def test_duality_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "wants", large)
    arguments = ["solve", "two-models-h200-96", "--no-tiebreak", "--time-limit", "30"]
    monkeypatch.setattr(planner, "dual_of", lambda *_: pytest.fail("asked all the same"))
    assert CliRunner().invoke(cli.main, [*arguments, "--no-dual"]).exit_code == 0
