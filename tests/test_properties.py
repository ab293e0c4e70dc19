"""Laws that every optimum and every frontier obeys, whatever the numbers are."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from costmodels.errors import InputError
from solver.backends.base import Controls
from solver.planner import Options, solve, trace
from solver.read import read_json
from solver.result import Result, to_json
from tests.oracles.generate import random_case, write_case
from tests.oracles.tables import row_rate

Instance = dict[str, Any]
Rows = list[dict[str, str]]
Case = tuple[Instance, Rows]

FIRST = 5000
"""The seeds start here, so that these are other cases than those held against the oracles."""
QUICK = Options(tiebreak=False)
MINIMISED = ("gpus", "cost")


@cache
def _drawn(seed: int) -> Case:
    return random_case(seed)


def drawn(seed: int) -> Case:
    """A random case that may be changed in place."""
    return copy.deepcopy(_drawn(FIRST + seed))


def chunks(count: int, size: int) -> list[range]:
    """Seeds in chunks."""
    return [range(first, first + size) for first in range(0, count, size)]


def named(seeds: range) -> str:
    """The name of a chunk of seeds."""
    return f"{seeds[0]}-{seeds[-1]}"


def solved(folder: Path, case: Case, options: Options = QUICK) -> Result | None:
    """The result of a case; None where its replica bounds contradict each other."""
    try:
        return solve(write_case(folder, *case), options)
    except InputError as error:
        if any(fault.where != "$.serving.max_replicas" for fault in error.faults):
            raise
        return None


def plan(result: Result) -> set[tuple[object, ...]]:
    """The deployment as a set."""
    if result.deployment is None:
        return set()
    return {
        (
            a.engine.workload.name,
            a.engine.pool.name,
            a.role,
            a.engine.curve.partition,
            a.engine.curve.precision,
            a.engine.curve.backend,
            a.engine.curve.backend_version,
            a.engine.curve.domain_gpus,
            a.engine.curve.chunk_tokens,
            a.batch,
            a.replicas,
        )
        for a in result.deployment.assignments
    }


def is_no_worse(objective: str, after: Fraction | None, before: Fraction | None) -> bool:
    """Whether an optimum is at least as good as another; None is infeasible."""
    if before is None:
        return True
    if after is None:
        return False
    return after <= before if objective in MINIMISED else after >= before


def loosened_sla(instance: Instance, rng: random.Random) -> None:
    limited = [(w, key) for w in instance["workloads"] for key in w.get("sla", {})]
    for workload, key in rng.sample(limited, min(len(limited), 2)):
        workload["sla"][key] = round(workload["sla"][key] * rng.choice([1.01, 1.5, 3]), 6)


def dropped_sla(instance: Instance, rng: random.Random) -> None:
    limited = [(w, key) for w in instance["workloads"] for key in w.get("sla", {})]
    if limited:
        workload, key = rng.choice(limited)
        del workload["sla"][key]


def one_more_gpu(instance: Instance, rng: random.Random) -> None:
    """One GPU, or a whole domain, at the same domain size."""
    if instance.get("budget", {}).get("count_idle"):
        return
    pool = rng.choice(instance["pools"])
    pool["gpus"] += rng.choice([1, pool["nvlink_domain_gpus"]])


def another_pool(instance: Instance, rng: random.Random) -> None:
    if not instance.get("budget", {}).get("count_idle"):
        instance["pools"].append({**instance["pools"][0], "name": "spare"})


def more_budget(instance: Instance, rng: random.Random) -> None:
    if "budget" in instance:
        key = rng.choice(["usd_per_hour", "watts"])
        if key in instance["budget"]:
            instance["budget"][key] = round(instance["budget"][key] * 1.4, 4)


def freer_rules(instance: Instance, rng: random.Random) -> None:
    serving = instance["serving"]
    rules = ["hybrid", "modes", "engines_per_role", "allow", "deny", "min_replicas", "max_replicas"]
    for chosen in rng.sample(rules, 4):
        if chosen == "hybrid":
            serving["hybrid"] = True
        elif chosen == "modes":
            serving["modes"] = ["colocated", "disaggregated"]
        elif chosen == "engines_per_role":
            serving["engines_per_role"] = {1: 2, 2: "unlimited"}.get(serving["engines_per_role"], "unlimited")
        else:
            serving.pop(chosen, None)


def less_demand(instance: Instance, rng: random.Random) -> None:
    for workload in instance["workloads"]:
        if workload.get("requests_per_s"):
            workload["requests_per_s"] = float(Decimal(str(workload["requests_per_s"])) / 2)


def higher_ceiling(instance: Instance, rng: random.Random) -> None:
    for workload in instance["workloads"]:
        if workload.get("max_requests_per_s"):
            workload["max_requests_per_s"] = float(Decimal(str(workload["max_requests_per_s"])) * 3)


RELAXATIONS: list[Callable[[Instance, random.Random], None]] = [
    loosened_sla,
    dropped_sla,
    one_more_gpu,
    another_pool,
    more_budget,
    freer_rules,
    less_demand,
    higher_ceiling,
]


@pytest.mark.parametrize("relax", RELAXATIONS)
def test_relaxing_never_makes_the_optimum_worse(
    relax: Callable[[Instance, random.Random], None], tmp_path: Path
) -> None:
    better = 0
    for seed in range(90 if relax is freer_rules else 45):
        instance, rows = drawn(seed)
        before = solved(tmp_path / "before", (instance, rows))
        changed = copy.deepcopy(instance)
        relax(changed, random.Random(seed))
        if before is None or changed == instance:
            continue
        after = solved(tmp_path / "after", (changed, rows))
        assert after is not None
        assert is_no_worse(instance["objective"], after.objective, before.objective), (seed, relax.__name__)
        better += after.objective != before.objective
    assert better > 0, "the relaxation never mattered: the test says nothing"


def test_merging_domains_never_hurts_groups_that_fit_one(tmp_path: Path) -> None:
    """Domains of 3 against domains of 6; a group beyond 3 is left out, for it takes whole domains."""
    better = compared = 0
    for seed in range(70):
        instance, rows = drawn(seed)
        narrow = [{**row, "domain_gpus": "3"} for row in rows if int(row["gpus"]) // int(row["pp"]) <= 3]
        instance.pop("budget", None)
        results = []
        for domain in (3, 6):
            for pool in instance["pools"]:
                pool.update(gpus=12, nvlink_domain_gpus=domain)
            try:
                results.append(solved(tmp_path / str(domain), (instance, narrow)))
            except InputError:
                break
        if len(results) == 2 and results[0] is not None and results[1] is not None:
            before, after = results[0].objective, results[1].objective
            assert is_no_worse(instance["objective"], after, before), seed
            compared += 1
            better += after != before
    assert compared > 30
    assert better > 0


def costly(count: int) -> Iterator[tuple[int, Case]]:
    """Cases with the objective cost."""
    found = 0
    for seed in range(10_000):
        if _drawn(FIRST + seed)[0]["objective"] == "cost":
            found += 1
            yield seed, drawn(seed)
        if found == count:
            return


def test_a_higher_price_never_lowers_the_cost(tmp_path: Path) -> None:
    higher = 0
    for seed, (instance, rows) in costly(30):
        instance.pop("budget", None)
        before = solved(tmp_path / "before", (instance, rows))
        pool = instance["pools"][seed % len(instance["pools"])]
        pool["usd_per_gpu_hour"] = float(Decimal(str(pool["usd_per_gpu_hour"])) + Decimal("0.7"))
        after = solved(tmp_path / "after", (instance, rows))
        assert before is not None
        assert after is not None
        assert before.status == after.status
        if before.objective is not None and after.objective is not None:
            assert after.objective >= before.objective, seed
            higher += after.objective > before.objective
    assert higher > 5


def test_scaling_all_prices_scales_the_cost_and_changes_no_plan(tmp_path: Path) -> None:
    compared = 0
    for seed, (instance, rows) in costly(20):
        before = solved(tmp_path / "before", (instance, rows), Options())
        for pool in instance["pools"]:
            pool["usd_per_gpu_hour"] = float(Decimal(str(pool["usd_per_gpu_hour"])) * Decimal("2.5"))
        if "usd_per_hour" in instance.get("budget", {}):
            instance["budget"]["usd_per_hour"] = float(
                Decimal(str(instance["budget"]["usd_per_hour"])) * Decimal("2.5")
            )
        after = solved(tmp_path / "after", (instance, rows), Options())
        if before is None or after is None or before.objective is None:
            continue
        assert after.objective == before.objective * Fraction(5, 2), seed
        assert plan(after) == plan(before), seed
        compared += 1
    assert compared > 8


@pytest.mark.parametrize("seeds", chunks(60, 15), ids=named)
def test_the_order_in_the_files_changes_nothing(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        instance, rows = drawn(seed)
        before = solved(tmp_path / "before", (instance, rows), Options())
        instance["pools"].reverse()
        instance["workloads"].reverse()
        instance["serving"]["modes"].reverse()
        for patterns in [*instance["serving"].get("allow", {}).values(), *instance["serving"].get("deny", {}).values()]:
            patterns.reverse()
        random.Random(seed).shuffle(rows)
        after = solved(tmp_path / "after", (dict(reversed(instance.items())), rows), Options())
        if before is None or after is None:
            assert before is after
            continue
        assert (after.status, after.objective) == (before.status, before.objective), seed
        assert plan(after) == plan(before), seed


def test_an_engine_given_twice_under_another_version_changes_no_value(tmp_path: Path) -> None:
    """One engine per role: a copy can only replace. (With two, the copy may run at a batch of its own.)"""
    compared = 0
    for seed in range(60):
        instance, rows = drawn(seed)
        instance["serving"]["engines_per_role"] = 1
        before = solved(tmp_path / "before", (instance, rows), Options())
        twins = [{**row, "backend_version": f"{row['backend_version']}-twin"} for row in rows]
        after = solved(tmp_path / "after", (instance, rows + twins), Options())
        if before is None or after is None:
            continue
        assert (after.status, after.objective) == (before.status, before.objective), seed
        if before.deployment is not None and after.deployment is not None:
            assert after.deployment.output_tokens_per_s == before.deployment.output_tokens_per_s, seed
            assert after.deployment.gpus_used == before.deployment.gpus_used, seed
            compared += 1
    assert compared > 30


def scaled_text(number: Fraction | str, factor: Fraction) -> str:
    """A decimal number times a factor, as a decimal."""
    value = Fraction(number) * factor
    text = format(Decimal(value.numerator) / Decimal(value.denominator), "f")
    assert Fraction(text) == value
    return text


def drawn_with_rates(seed: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """A random case in which every row states its rate, so that latencies and rates can be scaled apart."""
    instance, rows = drawn(seed)
    for row in rows:
        row["requests_per_s"] = scaled_text(row_rate(row), Fraction(1))
    return instance, rows


def test_scaling_all_rates_scales_the_throughput_and_changes_no_plan(tmp_path: Path) -> None:
    compared = 0
    for seed in range(60):
        instance, rows = drawn_with_rates(seed)
        before = solved(tmp_path / "before", (instance, rows), Options())
        for row in rows:
            row["requests_per_s"] = scaled_text(row["requests_per_s"], Fraction(5, 2))
        for workload in instance["workloads"]:
            for key in ("requests_per_s", "max_requests_per_s"):
                if workload.get(key):
                    workload[key] = float(Decimal(str(workload[key])) * Decimal("2.5"))
        after = solved(tmp_path / "after", (instance, rows), Options())
        if before is None or after is None or before.objective is None:
            assert (before is None) == (after is None)
            continue
        factor = 1 if instance["objective"] in MINIMISED else Fraction(5, 2)
        assert after.objective == before.objective * factor, seed
        assert plan(after) == plan(before), seed
        compared += 1
    assert compared > 30


def test_scaling_all_latencies_and_limits_scales_the_latencies_and_changes_no_plan(tmp_path: Path) -> None:
    compared = 0
    for seed in range(60):
        instance, rows = drawn_with_rates(seed)
        before = solved(tmp_path / "before", (instance, rows), Options())
        for row in rows:
            for key in ("latency_ms", "ttft_ms"):
                row[key] = row[key] and scaled_text(row[key], Fraction(1, 4))
        for workload in instance["workloads"]:
            for key, limit in workload.get("sla", {}).items():
                workload["sla"][key] = float(Decimal(str(limit)) / 4)
        after = solved(tmp_path / "after", (instance, rows), Options())
        if before is None or after is None or before.deployment is None:
            continue
        assert after.objective == before.objective, seed
        assert plan(after) == plan(before), seed
        assert after.deployment is not None
        assert (after.deployment.ttft_ms or 0) * 4 == (before.deployment.ttft_ms or 0), seed
        compared += 1
    assert compared > 30


def test_doubling_every_weight_doubles_the_throughput(tmp_path: Path) -> None:
    for seed in range(40):
        instance, rows = drawn(seed)
        if instance["objective"] in MINIMISED:
            continue
        before = solved(tmp_path / "before", (instance, rows), Options())
        for workload in instance["workloads"]:
            workload["weight"] = 2 * workload.get("weight", 1)
        after = solved(tmp_path / "after", (instance, rows), Options())
        if before is not None and after is not None and before.objective is not None:
            assert after.objective == 2 * before.objective, seed
            assert plan(after) == plan(before), seed


def assert_claims_hold(result: Result, wanted: Result, seed: int) -> None:
    """A back end that claims an optimum has the optimum, and no bound is on the wrong side of it."""
    assert result.status == wanted.status, seed
    assert result.objective == wanted.objective, seed
    value = None if wanted.objective is None else float(wanted.objective)
    minimised = wanted.instance.objective in MINIMISED
    assert result.run.claims, seed
    for claim in result.run.claims:
        if value is None:
            assert claim["status"] in ("infeasible", "unknown"), (seed, claim)
        elif claim["status"] == "optimal" and claim["objective"] is not None:
            assert claim["holds_exactly"], (seed, claim)
            assert claim["objective"] == pytest.approx(value, rel=1e-6), (seed, claim)
        elif claim["objective"] is not None and claim["holds_exactly"]:
            found = float(str(claim["objective"]))
            assert found >= value * (1 - 1e-9) if minimised else found <= value * (1 + 1e-9), (seed, claim)
        if value is not None:
            assert claim["status"] != "infeasible", (seed, claim)


@pytest.mark.parametrize("backend", ["scip", "highs", "cbc"])
@pytest.mark.parametrize("seeds", chunks(60, 20), ids=named)
def test_back_ends_agree(backend: str, seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        wanted = solved(tmp_path / "cp-sat", drawn(seed))
        if wanted is not None:
            found = solved(tmp_path / backend, drawn(seed), Options(backend=backend, tiebreak=False))
            assert found is not None
            assert_claims_hold(found, wanted, seed)


@pytest.mark.parametrize("seeds", chunks(60, 15), ids=named)
def test_formulations_agree(seeds: range, tmp_path: Path) -> None:
    pytest.importorskip("solver.formulation.piecewise", reason="the piecewise formulation is not there yet")
    other = Options(backend="scip", formulation="piecewise", tiebreak=False)
    for seed in seeds:
        wanted = solved(tmp_path / "points", drawn(seed))
        if wanted is not None:
            found = solved(tmp_path / "piecewise", drawn(seed), other)
            assert found is not None
            assert_claims_hold(found, wanted, seed)


def answer(result: Result) -> dict[str, Any]:
    """The result file without what an earlier answer or the clock may change."""
    document = json.loads(to_json(result.as_dict()))
    del document["run"]
    del document["proof"]
    return document


@pytest.mark.parametrize("seeds", chunks(40, 20), ids=named)
def test_a_result_survives_writing_and_reading(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        result = solved(tmp_path, drawn(seed), Options())
        if result is None:
            continue
        document = result.as_dict()
        (tmp_path / "result.json").write_text(to_json(document), encoding="utf-8")
        assert json.loads((tmp_path / "result.json").read_text("utf-8")) == document
        strict = read_json(tmp_path / "result.json")
        assert json.loads(json.dumps(strict, default=float)) == document
        exact = strict["exact"]["objective"]
        assert (None if exact is None else Fraction(exact)) == result.objective


@pytest.mark.parametrize("seeds", chunks(40, 20), ids=named)
def test_a_hint_leads_to_the_same_optimum(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        case = drawn(seed)
        result = solved(tmp_path, case, Options())
        loose = solved(tmp_path, case, QUICK)
        if result is None or loose is None:
            continue
        for first in (result, loose):
            (tmp_path / "result.json").write_text(to_json(first.as_dict()), encoding="utf-8")
            again = solved(tmp_path, case, Options(hint=read_json(tmp_path / "result.json")))
            assert again is not None
            assert answer(again) == answer(result), seed


def test_the_hint_of_another_instance_does_no_harm(tmp_path: Path) -> None:
    hints = [result.as_dict() for seed in range(100, 106) if (result := solved(tmp_path, drawn(seed))) is not None]
    assert any(hint["deployment"] for hint in hints)
    for seed in range(12):
        result = solved(tmp_path, drawn(seed), Options())
        if result is not None:
            for hint in hints:
                again = solved(tmp_path, drawn(seed), Options(hint=hint))
                assert again is not None
                assert answer(again) == answer(result), seed


def without_times(value: Any) -> Any:
    """A document without wall times."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key != "wall_s"}
    return [without_times(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("backend", ["cp-sat", "scip"])
def test_the_same_seed_gives_the_same_document(backend: str, tmp_path: Path) -> None:
    for seed in range(25):
        options = Options(backend=backend, controls=Controls(seed=seed))
        one, two = (solved(tmp_path, drawn(seed), options) for _ in range(2))
        if one is not None and two is not None:
            assert without_times(one.as_dict()) == without_times(two.as_dict()), seed


def test_another_seed_gives_the_same_deployment(tmp_path: Path) -> None:
    for seed in range(25):
        results = [solved(tmp_path, drawn(seed), Options(controls=Controls(seed=each))) for each in (0, 1, 77)]
        if all(results):
            answers = [answer(result) for result in results if result is not None]
            assert answers[0] == answers[1] == answers[2], seed


@pytest.mark.parametrize("seeds", chunks(80, 20), ids=named)
def test_a_frontier_trades_one_for_the_other(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        path = write_case(tmp_path, *drawn(seed))
        try:
            frontier = trace(path)
        except InputError:
            continue
        sign = -1 if frontier.instance.objective in MINIMISED else 1
        for slower, faster in pairwise(frontier.points):
            assert slower.tpot_ms is not None
            assert faster.tpot_ms is None or faster.tpot_ms < slower.tpot_ms, seed
            assert sign * faster.value < sign * slower.value, seed
        for point in frontier.points:
            assert point.deployment.objective == point.value, seed
            assert point.deployment.tpot_ms == point.tpot_ms, seed


@pytest.mark.parametrize("seeds", chunks(60, 20), ids=named)
def test_requested_interactivities_are_points_of_the_frontier(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        path = write_case(tmp_path, *drawn(seed))
        try:
            whole = trace(path)
        except InputError:
            continue
        reached = [point for point in whole.points if point.tokens_per_s_per_user is not None]
        if len(reached) < len(whole.points) or not reached:
            continue
        exactly = [point.tokens_per_s_per_user or Fraction(1) for point in reached]
        between = [rate * Fraction(99, 100) for rate in exactly]
        beyond = exactly[-1] * 2
        found = trace(path, at=[*exactly, *between, beyond])
        assert [p.requested for p in found.points] == [*exactly, *between], seed
        for point in found.points:
            fitting = [p.value for p in reached if (p.tokens_per_s_per_user or 0) >= (point.requested or 0)]
            best = min(fitting) if whole.instance.objective in MINIMISED else max(fitting)
            assert point.value == best, seed
            assert (point.tokens_per_s_per_user or 0) >= (point.requested or 0), seed
        assert found.missing == "", seed
        assert found.infeasible == (beyond,), seed


def test_a_thinned_frontier_keeps_its_promise(tmp_path: Path) -> None:
    """Every point left out has at most (1 + step) times the interactivity of a kept point that is no worse."""
    step, thinned = Fraction(1, 4), 0
    for seed in range(60):
        path = write_case(tmp_path, *drawn(seed))
        try:
            whole = trace(path)
        except InputError:
            continue
        few = trace(path, min_step=step)
        sign = -1 if whole.instance.objective in MINIMISED else 1
        assert few.missing == "", seed
        for kept in few.points:
            same = [p.tpot_ms or Fraction(0) for p in whole.points if p.value == kept.value]
            assert len(same) == 1, seed
            assert same[0] <= (kept.tpot_ms or Fraction(0)), seed
        for point in whole.points:
            tpot = point.tpot_ms or Fraction(0)
            near = [p for p in few.points if (p.tpot_ms or Fraction(0)) <= tpot * (1 + step)]
            assert any(sign * p.value >= sign * point.value for p in near), seed
        thinned += len(few.points) < len(whole.points)
    assert thinned > 0


def test_progress_tells_every_point_once(tmp_path: Path) -> None:
    for seed in range(20):
        path = write_case(tmp_path, *drawn(seed))
        told: list[Any] = []
        try:
            frontier = trace(path, progress=told.append)
        except InputError:
            continue
        assert tuple(told) == frontier.points, seed
