"""The page: its numbers are those of the deployments, its text is escaped, it loads nothing, it says why not."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import instances
from costmodels.errors import InputError
from solver.backends.base import Controls
from solver.page.document import document
from solver.page.report import Report, report_of
from solver.planner import Options
from solver.read import read_instance

EVERY_KIND = [
    *("tiny-cost", "tiny-prompts-only", "tiny-unserved", "tiny-wide-groups", "tiny-cap", "infeasible-memory"),
    *("infeasible-by-a-hair", "deepseek-v3-gb200-unlimited"),
]


@cache
def reported(name: str, at: Fraction | None = None, limit: float | None = None) -> Report:
    return report_of(instances.path(name), Options(controls=Controls(time_limit_s=limit)), at)


def payload(page: str) -> dict[str, Any]:
    """What the scripts of a page read."""
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.S)
    assert found
    told: dict[str, Any] = json.loads(found[1])
    return told


def is_near(told: float, exact: Fraction | int) -> bool:
    """Whether a number of the page is the exact one, to the digits that it shows."""
    return abs(Fraction(told) - exact) <= Fraction(6, 10**7) * abs(exact)


def test_numbers_are_those_of_the_frontier() -> None:
    report = reported("two-models-b200-64-e2e")
    page = payload(document(report, ""))
    assert report.frontier is not None
    own = [page["points"][index] for index in page["series"][0]["points"]]
    assert len(own) == len(report.frontier.points) > 5
    for told, point in zip(own, report.frontier.points, strict=True):
        d = point.deployment
        assert point.tokens_per_s_per_user is not None
        assert is_near(told["user"], point.tokens_per_s_per_user)
        assert is_near(told["y"], d.tokens_per_s_per_gpu)
        assert (told["gpus"], told["packing"] >= 0) == (d.gpus_used, True)
        found = {(index, batch, replicas) for index, batch, replicas, *_ in told["uses"]}
        assert found == {(a.engine.index, a.batch, a.replicas) for a in d.assignments}
        for index, batch, _, _, latency, _ in told["uses"]:
            curve = page["curves"][str(index)]
            assert curve["latency"][curve["batch"].index(batch)] == latency
    assert {series["name"] for series in page["series"]} == {"own", "colocated", "disaggregated", "hybrid"}


def test_the_optimum_comes_first_and_is_that_of_the_result() -> None:
    report = reported("llama-70b-h200-72")
    text = document(report, "")
    page = payload(text)
    assert report.result is not None
    assert report.result.objective is not None
    assert page["chosen"] == page["optimum"]
    assert is_near(page["points"][page["chosen"]]["value"], report.result.objective)
    for words in (report.result.proof, report.result.feasibility, report.engines.known_error, "904.107"):
        assert html.escape(words) in text


@pytest.mark.parametrize("at", ["88", "36.07", "1", "163.8"])
def test_at_chooses_the_best_that_is_fast_enough(at: str) -> None:
    report = reported("llama-70b-h200-72", Fraction(at))
    page = payload(document(report, ""))
    assert report.frontier is not None
    fast = [p for p in report.frontier.points if (p.tokens_per_s_per_user or 0) >= Fraction(at)]
    best = max(fast, key=lambda p: p.value)
    chosen = page["points"][page["chosen"]]
    assert is_near(chosen["value"], best.value)
    assert chosen["user"] >= float(at)


def test_at_beyond_the_frontier_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"--at: got 164 tokens/s/user, but the frontier ends at 163\.881"):
        reported("llama-70b-h200-72", Fraction(164))


@pytest.mark.parametrize("name", EVERY_KIND)
def test_every_kind_of_instance_has_a_page(name: str) -> None:
    report = reported(name)
    page = document(report, "")
    payload(page)
    assert f"<h1>{name}</h1>" in page
    assert report.missing == ()


def test_an_infeasible_instance_says_why() -> None:
    report = reported("infeasible-ttft")
    page = document(report, "")
    assert "Infeasible, and that is proved" in page
    assert html.escape("TTFT of chat: 50 -> 335.342 ms") in page
    assert 'id="frontier-figure"' not in page
    curves = payload(page)["curves"].values()
    assert min(min(curve["latency"]) for curve in curves if curve["limit"] == 50) > 0


def test_a_limit_is_said() -> None:
    report = reported("llama-70b-h200-72", limit=0.0)
    page = document(report, "")
    assert report.status == "unknown"
    assert "Nothing found within the limits" in page
    assert "a limit or an interrupt came first" in page


def test_everything_is_escaped() -> None:
    evil = "</script><script>alert(1)</script>\"'<img src=x onerror=alert(2)>&amp;"
    path = instances.path("tiny-tie")
    instance = read_instance(path)
    renamed = {"name": evil, "description": evil, "workloads": tuple(replace(w, name=evil) for w in instance.workloads)}
    report = reported("tiny-tie")
    assert report.frontier is not None
    bad = replace(
        report, instance=replace(instance, **renamed), frontier=replace(report.frontier, missing=evil), result=None
    )
    page = document(bad, evil)
    assert evil not in page
    assert "<img" not in page
    assert page.count("<script") == 2
    assert payload(page)["name"] == evil


def test_nothing_can_be_loaded() -> None:
    page = document(reported("tiny-packing"), "")
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0])
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    styles = re.findall(r"<style>(.*?)</style>", page, re.S)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (*scripts, *styles)]
    assert policy.startswith("default-src 'none'; ")
    assert re.findall(r"sha256-([^']*)", policy) == hashes
    assert len(hashes) == 2
    assert set(re.findall(r"https?://[^\s\"']+", page)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r"<(?:link|img|iframe|object)|\bsrc=|\bstyle=|\bon\w+=|@import|url\((?!#)", page) == []


def test_the_document_for_machines_holds_results_and_frontiers() -> None:
    told = reported("tiny-cost").as_dict()
    assert (told["format"], told["version"]) == ("disagg-report", 1)
    assert told["result"]["format"] == "disagg-result"
    assert told["frontier"]["format"] == "disagg-frontier"
    assert set(told["envelopes"]) == {"colocated", "disaggregated", "hybrid"}


def test_scripts_and_style_are_in_the_package() -> None:
    from solver.page.document import FOLDER, SCRIPTS

    assert sorted(file.name for file in Path(FOLDER).glob("*.js")) == sorted(SCRIPTS)
