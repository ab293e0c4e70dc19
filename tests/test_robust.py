"""Robust plans: against every plan and every set of wrong engines of tiny instances, by hand, and when refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from instances import resolve
from solver import robust
from solver.result import deployment_dict
from solver.robustness.spread import spread_of
from solver.robustness.text import lines
from solver.verify_robust import robust_faults
from tests.oracles.enumerate import fits, replica_bound, role_choices, units_of, whole, within_budget
from tests.oracles.generate import random_case, write_case
from tests.oracles.tables import exact, points_of
from tests.test_against_oracles import has_contradicting_bounds

Instance = Mapping[str, Any]
Rows = Sequence[Mapping[str, str]]
Way = tuple[tuple[Any, int], ...]
ROLES = ("prefill", "decode", "colocated")
MOST_WAYS = 400


def ways_of(instance: Instance, rows: Rows, index: int) -> list[Way]:
    """Every way to serve a workload, limits aside: sets of (point in integers, replicas), prefill first."""
    serving, workload = instance.get("serving") or {}, instance["workloads"][index]
    points = points_of(instance, rows)
    units = units_of(instance, points)
    pools = [(pool["gpus"], pool["nvlink_domain_gpus"]) for pool in instance["pools"]]
    engines = serving.get("engines_per_role", 1)
    limit = float("inf") if engines == "unlimited" else engines
    choices: dict[str, list[Way]] = {}
    for role in ROLES:
        mine = [whole(point, units) for point in points if point.workload == index and point.role == role]
        low = replica_bound(serving.get("min_replicas"), workload["name"], role) or 0
        high = replica_bound(serving.get("max_replicas"), workload["name"], role) or 10**9
        some = role_choices(mine, pools, limit)
        choices[role] = [choice for choice in some if low <= sum(n for _, n in choice) <= high]
    colocated: list[Way] = choices["colocated"]
    alike = lambda one, other: {e.point.family for e, _ in one} == {e.point.family for e, _ in other}  # noqa: E731
    one_family = lambda choice: len({e.point.family for e, _ in choice}) == 1  # noqa: E731
    if exact(workload["osl"]) == 1:
        joined = [choice for choice in choices["prefill"] if one_family(choice)]
    else:
        both = product(choices["prefill"], choices["decode"])
        joined = [(*a, *b) for a, b in both if one_family(a) and alike(a, b)]
    both_modes = [(*a, *b) for a in colocated for b in joined] if serving.get("hybrid") else []
    none: list[Way] = [()] if workload.get("requests_per_s") is None else []
    return [*none, *colocated, *joined, *both_modes]


def flow(workload: Mapping[str, Any], way: Way, wrong: set[int], error: Fraction, scale: int) -> Fraction:
    """Credited requests/s where some engines are wrong."""
    capacity = dict.fromkeys(ROLES, Fraction(0))
    for each, replicas in way:
        factor = 1 + error if id(each) in wrong else Fraction(1)
        capacity[each.point.role] += Fraction(each.rate * replicas, scale) / factor
    roles = ["prefill"] if exact(workload["osl"]) == 1 else ["prefill", "decode"]
    total = min(capacity[role] for role in roles) + capacity["colocated"]
    most = workload.get("max_requests_per_s")
    return total if most is None else min(total, exact(most))


def keeps_limits(workload: Mapping[str, Any], way: Way, wrong: set[int], error: Fraction, time: int) -> bool:
    sla, osl = workload.get("sla") or {}, exact(workload["osl"])
    slow = lambda each, what: Fraction(what, time) * (1 + error if id(each) in wrong else 1)  # noqa: E731
    for each, _ in way:
        role = each.point.role
        if role != "decode" and sla.get("ttft_ms") is not None and slow(each, each.ttft) > exact(sla["ttft_ms"]):
            return False
        late = role != "prefill" and osl > 1 and sla.get("tpot_ms") is not None
        if late and slow(each, each.latency) > exact(sla["tpot_ms"]):
            return False
    if sla.get("e2el_ms") is not None:
        first = [(slow(e, e.ttft), e) for e, _ in way if e.point.role == "prefill"]
        second = [slow(e, e.latency) for e, _ in way if e.point.role == "decode"]
        alone = [slow(e, e.ttft) + (osl - 1) * slow(e, e.latency) for e, _ in way if e.point.role == "colocated"]
        totals = [a + (osl - 1) * b for a, _ in first for b in second] + (alone if osl > 1 else [])
        totals += [a for a, _ in first] if osl == 1 else []
        totals += [slow(e, e.ttft) for e, _ in way if e.point.role == "colocated"] if osl == 1 else []
        return all(total <= exact(sla["e2el_ms"]) for total in totals)
    return True


def every_plan(instance: Instance, rows: Rows) -> Iterator[tuple[list[Way], list[int]]]:
    """Every plan within inventory, packing and budget, limits aside."""
    pools = tuple((pool["gpus"], pool["nvlink_domain_gpus"]) for pool in instance["pools"])
    options = [ways_of(instance, rows, index) for index in range(len(instance["workloads"]))]
    for plan in product(*options):
        groups: list[dict[int, int]] = [{} for _ in pools]
        for each, replicas in (used for way in plan for used in way):
            here = groups[each.point.pool]
            here[each.point.group] = here.get(each.point.group, 0) + each.point.stages * replicas
        usage = tuple(tuple(sorted(here.items())) for here in groups)
        gpus = [sum(size * count for size, count in here) for here in usage]
        if any(gpus) and fits(usage, pools) and within_budget(instance, gpus):
            yield list(plan), gpus


def robust_optimum(instance: Instance, rows: Rows, error: Fraction, budget: int) -> Fraction | None:
    """The best objective in the worst case, over every plan and every set of at most ``budget`` engines."""
    units = units_of(instance, points_of(instance, rows))
    objective, best = instance.get("objective", "throughput"), None
    workloads = instance["workloads"]
    for plan, gpus in every_plan(instance, rows):
        used = [each for way in plan for each, _ in way]
        worst: Fraction | None = None
        for wrong in (set(map(id, some)) for n in range(min(budget, len(used)) + 1) for some in combinations(used, n)):
            flows = [flow(w, way, wrong, error, units.rate) for w, way in zip(workloads, plan)]
            kept = all(keeps_limits(w, way, wrong, error, units.time) for w, way in zip(workloads, plan))
            met = all(f >= exact(w.get("requests_per_s") or 0) for f, w in zip(flows, workloads))
            if not (kept and met):
                worst = None
                break
            value = sum(
                (f * exact(w["osl"]) * exact(w.get("weight", 1)) for f, w in zip(flows, workloads)), Fraction(0)
            )
            worst = value if worst is None else min(worst, value)
        if worst is None:
            continue
        if objective in ("gpus", "cost"):
            prices = [exact(pool["usd_per_gpu_hour"]) if objective == "cost" else 1 for pool in instance["pools"]]
            score = -sum((Fraction(p) * n for p, n in zip(prices, gpus)), Fraction(0))
        else:
            score = worst / sum(gpus) if objective == "throughput_per_gpu" else worst
        best = score if best is None else max(best, score)
    return None if best is None else abs(best)


def test_against_every_plan_and_every_set_of_wrong_engines(tmp_path: Path) -> None:
    compared, hurt = 0, 0
    for seed in range(160):
        instance, rows = random_case(seed)
        budget, error = (0, 1, 2, 3)[seed % 4], Fraction((5, 20, 50)[seed % 3], 100)
        if (instance.get("serving") or {}).get("rate_match") == "decode_covers":
            continue
        slas = [w.get("sla") or {} for w in instance["workloads"]]
        if any(sla.get("itl_ms") or (budget == 1 and sla.get("e2el_ms")) for sla in slas):
            continue
        if has_contradicting_bounds(instance):
            continue
        sizes = [len(ways_of(instance, rows, index)) for index in range(len(instance["workloads"]))]
        if sizes[0] * (sizes[1] if len(sizes) > 1 else 1) > MOST_WAYS:
            continue
        path = write_case(tmp_path / str(seed), instance, rows)
        found = robust(path, error=error, budget=budget)
        wanted = robust_optimum(instance, rows, error, budget)
        assert found.found.verdict == ("infeasible" if wanted is None else "optimal"), seed
        assert found.found.value == wanted, seed
        assert found.faults == (), seed
        compared += 1
        hurt += wanted is not None and wanted != found.nominal.objective
        if budget == 0:
            assert found.found.value == found.nominal.objective, seed
    assert (compared, hurt) > (15, 5), (compared, hurt)


def test_two_engines_by_hand() -> None:
    """
    13 requests/s from a dear GPU (10/s, 3.50 USD) and two cheap ones (2/s, 1 USD) survive 10 %; of 20 % 12.3/s are left

    A third cheap GPU makes it 6 + 10 - 10/6 = 14.3; only dear ones (7 USD) or only cheap ones (8 USD) cost more.
    """
    assert robust(resolve("tiny-cost"), error=Fraction(1, 10)).survives
    found = robust(resolve("tiny-cost"), error=Fraction(1, 5))
    assert not found.survives
    assert found.unmet == {"toy": Fraction(37, 3)}
    assert (found.nominal.objective, found.found.value) == (Fraction(11, 2), Fraction(13, 2))
    assert found.price == Fraction(2, 11)


@pytest.mark.parametrize("budget", [0, 1, 2])
def test_more_wrong_engines_are_never_better(budget: int) -> None:
    path = resolve("llama-70b-h100-h200-cost")
    less, more = (robust(path, error=Fraction(8, 100), budget=g) for g in (budget, budget + 1))
    assert less.found.value is not None
    assert more.found.value is not None
    assert less.found.value <= more.found.value


def test_the_check_by_enumeration_catches_what_is_wrong() -> None:
    """The nominal plan is no robust plan, and another value than the worst case is refuted."""
    found = robust(resolve("llama-70b-h100-h200-cost"), error=Fraction(1, 10), budget=1)
    plan, error = found.nominal.deployment, found.spread.error
    assert plan is not None
    faults = robust_faults(found.instance, found.engines, deployment_dict(plan), error, 1, None)
    assert any("are demanded" in fault for fault in faults)
    other = robust(resolve("llama-70b-h200-72"), error=Fraction(6, 100), budget=1)
    assert other.found.deployment is not None
    assert other.found.value is not None
    document = deployment_dict(other.found.deployment)
    wrong = robust_faults(other.instance, other.engines, document, other.spread.error, 1, other.found.value + 1)
    assert any("is claimed" in fault for fault in wrong)


def test_a_limit_that_an_error_breaks_changes_the_plan() -> None:
    """TPOT 27.72 ms of 30 holds 8 % and breaks at 9 %: then the robust plan decodes at a smaller batch."""
    kept = robust(resolve("llama-70b-h200-72"), error=Fraction(8, 100))
    broken = robust(resolve("llama-70b-h200-72"), error=Fraction(9, 100))
    assert kept.survives
    assert not broken.survives
    assert "BREAKS" in "\n".join(lines(broken))
    assert broken.found.deployment is not None
    tpot = broken.found.deployment.tpot_ms
    assert tpot is not None
    assert tpot * Fraction(109, 100) <= 30
    assert broken.price is not None
    assert broken.price > 0


def test_known_errors_are_used_and_said() -> None:
    found = robust(resolve("llama-70b-h100-64-roofline"))
    assert found.spread.source == "the largest recorded median of each role"
    assert all(0 < error < 1 for error in found.spread.errors.values())


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["robust", *arguments])


def test_files_and_exit_codes(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    assert run("tiny-cost", "--error", "5%", "-o", str(out)).exit_code == 0
    document = json.loads(out.read_text())
    assert document["format"] == "disagg-robust"
    assert document["status"] == "optimal"
    assert run("infeasible-tpot", "--error", "5%").exit_code == 3
    assert run("llama-70b-h200-72", "--error", "5%", "--time-limit", "0").exit_code == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("llama-70b-h200-72",), "say --error P%"),
        (("llama-70b-h200-72", "--error", "six"), "--error: got six"),
        (("llama-70b-h200-72", "--error", "101%"), "must be from 0% to 100%"),
        (("llama-70b-h200-72", "--error", "5%", "--error-decode", "x"), "--error-decode: got x"),
        (("llama-70b-h200-72", "--error", "1e999999999999"), "must be a share"),
        (("qwen3-32b-gb200-72-e2e", "--error", "5%"), "--budget must be 0, or 2 or more"),
        (("llama-70b-h200-gb200-handover", "--error", "5%"), "not covered by robust"),
        (("llama-70b-b200-64-decode-covers", "--error", "5%"), "decode_covers is not covered"),
        (("deepseek-v3-gb200-unlimited", "--error", "5%"), "unlimited"),
    ],
)
def test_what_is_not_covered_is_refused(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    result = run(*arguments, "-o", str(tmp_path / "r.json"))
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_error_for_each_role() -> None:
    spread = spread_of(
        robust(resolve("tiny-cost"), error=Fraction(0)).instance, 1, None, dict.fromkeys(ROLES, Fraction(1, 4))
    )  # type: ignore[arg-type]
    assert set(spread.errors.values()) == {Fraction(1, 4)}
