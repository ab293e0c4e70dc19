"""Robust plans: against every plan and every set of wrong engines of tiny instances, by hand, and when refused."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import combinations
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
from tests.oracles.enumerate import units_of
from tests.oracles.generate import random_case, write_case
from tests.oracles.plans import ROLES, Instance, Rows, every_plan, flow, keeps_limits, ways_of
from tests.oracles.tables import exact, points_of
from tests.test_against_oracles import has_contradicting_bounds

MOST_WAYS = 400


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
    for seed in range(80):
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
    assert compared > 8, compared
    assert hurt > 2, "in some the errors matter"


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
