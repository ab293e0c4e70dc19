"""Schedules against enumeration, by hand, and by the laws of the problem."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from solver.backends.base import Controls
from solver.scheduling.lives import lives
from solver.scheduling.plan import Plan
from solver.scheduling.problem import Problem
from solver.scheduling.report import lines
from solver.scheduling.rules import Rules
from solver.scheduling.schedule import solved
from solver.scheduling.search import Search, floors_of
from solver.scheduling.shortage import Shortage
from solver.scheduling.static import static_of
from tests.oracles import schedule as oracle
from tests.schedule_cases import (
    demand,
    draw,
    draw_two_pools,
    instance_of,
    oracle_case,
    problem,
    row,
    with_least,
)

QUICK = Controls(time_limit_s=20)


def value(given: Problem) -> Fraction | None:
    """The optimum, proved; None where nothing meets the demand."""
    found = Search(given, QUICK).run()
    if found.best is None:
        assert found.is_infeasible
        return None
    assert found.bound is not None
    close = abs(found.bound - found.best.value) <= abs(found.best.value) / 10**8
    assert found.best.value == found.bound or (given.may_fall_short and close)
    return found.best.value


def expected(given: Problem) -> Fraction | None:
    """The optimum by enumeration."""
    best = oracle.best(oracle_case(given))
    return given.asked - best if given.is_maximised and best is not None else best


@pytest.mark.parametrize("block", range(6))
def test_against_enumeration(block: int, tmp_path: Path) -> None:
    for seed in range(block * 20, block * 20 + 20):
        given = draw(seed, tmp_path)
        right, found = expected(given), Search(given, QUICK).run()
        if right is None:
            assert found.best is None and found.is_infeasible, seed
            continue
        assert found.best is not None and found.bound is not None, seed
        assert found.best.value == right, seed
        if given.is_maximised:
            assert found.bound >= right, seed
        else:
            assert found.bound <= right, seed
        assert abs(found.bound - right) <= abs(right) / 10**8, seed
        if not given.may_fall_short:
            assert found.bound == right, seed


def test_two_pools_against_enumeration(tmp_path: Path) -> None:
    divided = 0
    for seed in range(24):
        given = draw_two_pools(seed, tmp_path)
        right, found = expected(given), Search(given, QUICK).run()
        if right is None:
            assert found.best is None and found.is_infeasible, seed
            continue
        assert found.best is not None and found.best.value == right == found.bound, seed
        floored = Search(given, QUICK, None, floors_of(given, None)).run()
        assert floored.best is not None and floored.best.value == right == floored.bound, seed
        pools = {given.columns[j].engine.pool.name for j, count in enumerate(found.best.plan.held[0]) if count}
        divided += len(pools) == 2
    assert divided


def test_least_replicas_against_enumeration(tmp_path: Path) -> None:
    """They hold for a role over all pools, and only where the workload is served."""
    outcomes = []
    for seed in range(500_000, 500_040):
        given = with_least(draw_two_pools(seed, tmp_path) if seed % 2 else draw(seed, tmp_path), seed)
        if len(given.columns) > 3:
            continue
        right, found = expected(given), solved(given, QUICK)
        outcomes.append(found.status)
        assert found.value == right, seed
        if right is not None:
            assert found.bound is not None and found.feasibility == "verified exactly", seed
            assert (found.bound >= right) if given.is_maximised else (found.bound <= right), seed
    assert outcomes.count("optimal") > 15 and outcomes.count("infeasible") > 3


@pytest.mark.parametrize("seed", range(200, 224))
def test_laws(seed: int, tmp_path: Path) -> None:
    """Changes that cost nothing never raise the cost; more GPUs neither; static is above, periods alone are below."""
    given = draw(seed, tmp_path)
    given = replace(given, kind="gpu-hours", shortfall_price=None, current=None, max_changes=None)
    best = value(given)
    alone = [value(given.only(t, t + 1, None)) for t in range(given.periods)]
    static, _ = static_of(given, 20)
    if best is None:
        assert static is None
        return
    assert all(each is not None for each in alone)
    assert sum(each for each in alone if each is not None) <= best
    if static is not None:
        assert best <= static.value
    free = Rules(cold_start_s=Fraction(0), min_up_s=Fraction(0), switch_s=None)
    columns = tuple(replace(c, start_losses=(), switch_losses=(), min_up=1) for c in given.columns)
    dropped = value(replace(given, fleet=replace(given.fleet, rules=free, columns=columns)))
    assert dropped is not None and dropped <= best
    assert dropped == sum(each for each in alone if each is not None)
    pool = replace(given.fleet.instance.pools[0], gpus=given.fleet.instance.pools[0].gpus + 1)
    larger = replace(given.fleet.instance, pools=(pool,))
    columns = tuple(replace(c, engine=replace(c.engine, pool=pool), most=pool.gpus // c.gpus) for c in given.columns)
    more = value(replace(given, fleet=replace(given.fleet, instance=larger, columns=columns)))
    assert more is not None and more <= best


@pytest.mark.parametrize("seed", range(300, 312))
def test_dominance_changes_nothing(seed: int, tmp_path: Path) -> None:
    from solver.engines import cost_model_of
    from solver.points import points_of
    from solver.scheduling.fleet import fleet_of

    given = draw(seed, tmp_path)
    given = replace(given, current=None)
    fleet = given.fleet
    assert cost_model_of(fleet.instance, tmp_path)
    table = points_of(fleet.instance, fleet.engines)
    counted = given.max_changes is not None
    every = fleet_of(
        fleet.instance, fleet.engines, table, fleet.rules, fleet.period_s, counted=counted, dominance=False
    )
    assert len(every.columns) >= len(fleet.columns)
    assert value(given) == value(replace(given, fleet=every))


def test_a_start_takes_its_lead_time(tmp_path: Path) -> None:
    """By hand: 1, 2, 1 requests/s, a replica does 1; a start takes 60 s of a minute, so it begins early."""
    instance = instance_of(tmp_path, [row("colocated", 1, 1)], 4)
    rules = Rules(cold_start_s=Fraction(60), min_up_s=Fraction(0), switch_s=None)
    given = problem(tmp_path, instance, demand(instance, 1, 2, 1), rules)
    found = Search(given, QUICK).run()
    assert found.best is not None and found.bound == found.best.value == Fraction(5, 60)
    assert [row_[0] for row_ in found.best.plan.held] == [2, 2, 1]  # running from the start costs what a start would
    given = replace(given, current=(1,))
    found = Search(given, QUICK).run()
    assert found.best is not None and found.best.plan.started == ((1,), (0,), (0,))
    assert found.best.value == Fraction(5, 60)


def test_minimum_time_up_holds_a_replica(tmp_path: Path) -> None:
    """By hand: what starts stays three periods; but where an old replica runs beside it, that one may go instead."""
    instance = instance_of(tmp_path, [row("colocated", 1, 1)], 4)
    rules = Rules(cold_start_s=Fraction(0), min_up_s=Fraction(180), switch_s=None)
    given = replace(problem(tmp_path, instance, demand(instance, 0, 1, 0, 0, 0), rules), current=(0,))
    assert value(given) == Fraction(3, 60)
    given = replace(problem(tmp_path, instance, demand(instance, 1, 2, 1, 1, 1), rules), current=(1,))
    assert value(given) == Fraction(6, 60)


def test_roles_switch_where_gpus_are_short(tmp_path: Path) -> None:
    """By hand: 3 GPUs; prefill 1 and decode 2, then the other way round: one replica must change its role."""
    rows = [row("prefill", 1, 2), row("decode", 1, 1), row("decode", 1, 3, batch=2)]
    instance = instance_of(tmp_path, rows[:2], 3)
    rules = Rules(cold_start_s=Fraction(120), min_up_s=Fraction(0), switch_s=Fraction(60))
    given = problem(tmp_path, instance, demand(instance, 2, 0, 1, 2), rules)
    assert len(given.fleet.switches) == 2
    found = Search(given, QUICK).run()
    assert found.best is not None and found.best.value == found.bound
    assert found.best.value == expected(given)
    assert sum(found.best.plan.switched.values()) <= 2


def test_nothing_meets_the_demand(tmp_path: Path) -> None:
    instance = instance_of(tmp_path, [row("colocated", 1, 1)], 4, domain=4)
    given = problem(tmp_path, instance, demand(instance, 1, 7, 1))
    answer = solved(given, QUICK)
    assert answer.status == "infeasible" and answer.shortage is not None
    assert (answer.shortage.period, answer.shortage.demand, answer.shortage.served) == (1, 7, 4)
    assert answer.shortage.gpus == 8
    priced = solved(replace(given, shortfall_price=Fraction(1)), QUICK)
    assert priced.status == "optimal" and priced.value == Fraction(1 + 4 + 1, 60) + 3 * 60


def test_changes_that_come_too_late(tmp_path: Path) -> None:
    instance = instance_of(tmp_path, [row("colocated", 1, 1)], 4)
    rules = Rules(cold_start_s=Fraction(120), min_up_s=Fraction(0), switch_s=None)
    given = replace(problem(tmp_path, instance, demand(instance, 1, 3, 1), rules), current=(1,))
    answer = solved(given, QUICK)
    assert answer.status == "infeasible" and answer.shortage is not None and not answer.shortage.is_alone
    assert (answer.shortage.period, answer.shortage.served) == (1, 1)


def test_a_place_for_every_replica(tmp_path: Path) -> None:
    """Groups of 1, 2 and 4 in two domains of 4: what packs in each period may have to move, and is counted."""
    rows = [row("colocated", 1, 1), row("colocated", 2, "2.5"), row("colocated", 4, 6)]
    instance = instance_of(tmp_path, rows, 8, domain=4, serving={"engines_per_role": "unlimited"})
    given = problem(tmp_path, instance, demand(instance, 1, 1, 1, 1))
    gpus = [column.gpus for column in given.columns]
    one, two, four = gpus.index(1), gpus.index(2), gpus.index(4)

    def held(**counts: int) -> tuple[int, ...]:
        row_ = [0] * len(gpus)
        row_[one], row_[two], row_[four] = counts.get("one", 0), counts.get("two", 0), counts.get("four", 0)
        return tuple(row_)

    steady = Plan.of(given, [held(one=4, two=2), held(one=4, four=1), held(one=4, two=2), held(two=2, four=1)], {})
    placed = lives(steady)
    assert placed is not None and placed[1] == 0
    torn = Plan.of(given, [held(two=3, one=2), held(two=1, one=2), held(two=1, one=1, four=1), held(two=2, four=1)], {})
    placed = lives(torn)
    assert placed is not None
    for legs in (placed[0],):
        for period in range(4):
            load = [0, 0]
            for leg in legs:
                if leg.first <= period < leg.until:
                    for place in leg.spot:
                        load[place] += gpus[leg.column]
            assert max(load) <= 4


def test_the_limit_keeps_what_was_found(tmp_path: Path) -> None:
    given = draw(3, tmp_path)
    given = replace(given, kind="gpu-hours", shortfall_price=Fraction(1), current=None)
    plan, _ = static_of(given, 20)
    assert plan is not None
    found = Search(given, Controls(time_limit_s=0.0), plan).run()
    assert found.best is not None and found.is_stopped


def test_ctrl_c_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(draw(3, tmp_path), kind="gpu-hours", shortfall_price=Fraction(1), current=None)
    plan, _ = static_of(given, 20)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    search = Search(given, QUICK, plan)
    monkeypatch.setattr(search.tree, "start", interrupted)
    found = search.run()
    assert found.best is not None and found.is_interrupted
    assert found.bound is not None and found.bound < found.best.value  # nothing was proved


def test_ctrl_c_within_the_search_loses_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(draw(5, tmp_path), kind="gpu-hours", shortfall_price=Fraction(1, 10), current=None)
    right = value(given)
    search = Search(given, QUICK, static_of(given, 20)[0])
    visit, seen = search.tree._visit, []

    def sometimes(*words: object) -> object:
        seen.append(words)
        relaxed = visit(*words)  # type: ignore[arg-type]
        if len(seen) == 1:
            raise KeyboardInterrupt
        return relaxed

    monkeypatch.setattr(search.tree, "_visit", sometimes)
    found = search.run()
    assert found.is_interrupted and found.bound is not None and right is not None and found.bound <= right


def test_the_reactive_policy_follows_with_a_lag(tmp_path: Path) -> None:
    """By hand: a start of 120 s takes two minutes; what was started last stops first."""
    from solver.scheduling.policies import reactive

    instance = instance_of(tmp_path, [row("colocated", 1, 1)], 4)
    rules = Rules(cold_start_s=Fraction(120), min_up_s=Fraction(0), switch_s=None)
    given = problem(tmp_path, instance, demand(instance, 1, 3, 2, 2, 2, 2), rules)
    static, _ = static_of(given, 20)
    assert static is not None
    plan = reactive(given, static)
    assert [row_[0] for row_ in plan.held] == [1, 1, 3, 2, 2, 2]
    assert [plan.ready(t, 0) for t in range(6)] == [1, 1, 1, 1, 2, 2]
    assert [plan.shortfall(t, "toy") for t in range(6)] == [0, 2, 1, 1, 0, 0]
    far = problem(tmp_path, instance, demand(instance, 1, 9, 1), rules, shortfall_price=Fraction(1))
    assert max(row_[0] for row_ in reactive(far, Plan.of(far, [(4,)] * 3, {})).held) == 4


@pytest.mark.parametrize(("gpus", "domain"), [(16, 8), (14, 4), (12, 6), (9, 3)])
def test_whatever_packs_gets_places(gpus: int, domain: int, tmp_path: Path) -> None:
    """Sizes 1, 2 and 4 (or 1 and 3), drawn so that each period packs: no domain overflows, no replica is lost."""
    import random

    from tests.oracles.packing import packs

    sizes = (1, 3) if domain % 2 else (1, 2, 4)
    rows = [row("colocated", size, size + Fraction(size, 10)) for size in sizes]
    instance = instance_of(tmp_path, rows, gpus, domain=domain, serving={"engines_per_role": "unlimited"})
    given = problem(tmp_path, instance, demand(instance, *[1] * 12))
    widths = [column.gpus for column in given.columns]
    rng, moved = random.Random(gpus), 0
    capacities = [domain] * (gpus // domain) + ([gpus % domain] if gpus % domain else [])
    for _ in range(40):
        held = []
        while len(held) < 12:
            counts = [rng.randint(0, gpus // width) for width in widths]
            groups = {width: count for width, count in zip(widths, counts) if count}
            if packs(groups, gpus // domain, domain, gpus % domain):
                held.append(counts)
        placed = lives(Plan.of(given, held, {}))
        assert placed is not None
        moved += placed[1]
        for period, counts in enumerate(held):
            load = [0] * len(capacities)
            alive = [leg for leg in placed[0] if leg.first <= period < leg.until]
            for leg in alive:
                for place in leg.spot:
                    load[place] += widths[leg.column]
            assert all(used <= room for used, room in zip(load, capacities))
            assert [sum(leg.column == j for leg in alive) for j in range(len(widths))] == counts
    assert moved == 0  # with these draws the choice of what stops is enough


def test_what_has_no_lasting_place_is_moved_and_charged(tmp_path: Path) -> None:
    """The example of :class:`solver.scheduling.lives.Placer`: packs in each period, and yet one replica must move."""
    from solver.points import points_of
    from solver.scheduling.fleet import fleet_of
    from solver.scheduling.search import candidate_of

    rows = [row("colocated", 1, 1, chunk=100 * k) for k in (1, 2, 3, 4)] + [row("colocated", 2, 2)]
    instance = instance_of(tmp_path, rows, 4, domain=2, serving={"engines_per_role": "unlimited"})
    rules = Rules(cold_start_s=Fraction(30), min_up_s=Fraction(0), switch_s=None, warming="share")
    given = problem(tmp_path, instance, demand(instance, 1, 1, 1, 1), rules)
    fleet = given.fleet
    table = points_of(fleet.instance, fleet.engines)
    every = fleet_of(fleet.instance, fleet.engines, table, rules, fleet.period_s, dominance=False)
    given = replace(given, fleet=every)
    assert [column.gpus for column in every.columns] == [1, 1, 1, 1, 2]
    held = [(1, 1, 1, 1, 0), (1, 1, 0, 0, 1), (1, 1, 1, 1, 0), (1, 0, 1, 0, 1)]
    found = candidate_of(Plan.of(given, held, {}))
    assert found is not None and found.migrations == 1
    assert found.value == Fraction(16, 60) + Fraction(30, 3600)  # a cold start of 30 s on one GPU beside what is held
    fixed = candidate_of(Plan.of(given, held[:2] + held[1:2] * 2, {}))
    assert fixed is not None and fixed.migrations == 0


def test_at_most_is_said_of_one_workload_only() -> None:
    short = Shortage(0, "chat", Fraction(5), Fraction(1), 1, True, 8, "toy", "by hand")
    assert "serves at most 1" in short.lines(Fraction(60))[0]
    shared = replace(short, is_shared=True).lines(Fraction(60))[0]
    assert "at most" not in shared and "most output tokens in all, it serves 1" in shared


def test_the_static_plan_is_called_the_best_where_that_is_proved(tmp_path: Path) -> None:
    toy = instance_of(tmp_path, [row("colocated", 1, 2)], 4)
    given = problem(tmp_path, toy, demand(toy, 1, 5))
    answer = solved(given, QUICK)
    assert answer.is_static_proved and any("the best static plan" in line for line in lines(answer))
    told = lines(replace(answer, is_static_proved=False))
    assert any("not proved the best" in line for line in told)
