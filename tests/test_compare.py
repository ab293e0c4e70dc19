"""The comparisons: what was priced becomes the same numbers, the peer's space is searched whole, limits are shown."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import math
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from solver.compare import own_space
from solver.compare.against import Outcome, PeerError, against, least, peer_answer, percent, ratios, traced, value_at
from solver.compare.backends import backends
from solver.compare.cases import CASES, Case, cases_of
from solver.compare.run import as_csv, compare, summary
from solver.compare.table import cell, decimal, write_instance, write_table
from solver.planner import solve

CASE = Case("toy 12", "toy", "toy", 12, 100, 11, 1000, ("10", "20", "35"), "20", (15, 40), "toy", "1")


def engine(tp: int, batch: int, latency: float, rate: float) -> dict[str, Any]:
    """A priced row in the peer's words."""
    return {
        "tp": tp, "pp": 1, "dp": 1, "moe_tp": 1, "moe_ep": 1, "cp": 1, "gemm": "fp8", "moe": "fp8", "kvcache": "fp8",
        "fmha": "fp8", "global_bs": batch, "memory": 10.0, "seq/s": rate, "latency": latency,
    }  # fmt: skip


def both(tp: int, batch: int, tpot: float, ttft: float, rate: float) -> dict[str, Any]:
    """A co-located row in the peer's words, which counts OSL - 1 tokens a request."""
    row = engine(tp, batch, tpot, rate)
    return {**row, "tpot": tpot, "ttft": ttft, "tokens/s/gpu": rate * 10 / tp, "num_total_gpus": tp, "ctx_tokens": 100}


TAKEN: dict[str, Any] = {
    "prefill": [engine(1, 1, 100, 10.0), engine(2, 1, 60, 16.5)],
    "decode": [engine(1, 2, 9.5, 7.3), engine(1, 4, 18.0, 11.1), engine(2, 8, 14.0, 25.7), engine(4, 32, 33.0, 90.1)],
    "agg": [both(1, 2, 17.0, 200, 5.1), both(4, 40, 30.0, 300, 60.0)],
    "space": {
        "num_gpu_list": [1, 2, 4, 8], "prefill_num_worker_list": [1, 2, 3, 4, 5, 6],
        "decode_num_worker_list": [1, 2, 3, 4, 5, 6], "prefill": 0.9, "decode": 0.92, "ttft": 1.8,
    },
}  # fmt: skip


def by_loops(tpot: float) -> list[tuple[int, float]]:
    """The peer's space by plain loops: (GPUs, requests/s) of every replica."""
    found = []
    for p, d in itertools.product(TAKEN["prefill"], TAKEN["decode"]):
        for many, most in itertools.product(range(1, 7), repeat=2):
            gpus = many * p["tp"] + most * d["tp"]
            if 1.8 * p["latency"] < CASE.ttft_ms and d["latency"] < tpot and gpus in (1, 2, 4, 8):
                found.append((gpus, min(0.9 * many * p["seq/s"], 0.92 * most * d["seq/s"])))
    return found


@pytest.mark.parametrize("tpot", [5.0, 10.0, 18.0, 20.0, 35.0])
def test_own_space_is_searched_whole(tpot: float) -> None:
    gpus, rates = own_space.replicas(TAKEN, CASE, tpot)
    loops = by_loops(tpot)
    most = max((12 // g * r for g, r in loops), default=0.0) * 11 / 12
    assert own_space.most_tokens(gpus, rates, CASE) == pytest.approx(most)
    for load in (3, 15, 40):
        few = min((math.ceil(load / r) * g for g, r in loops), default=None)
        assert own_space.fewest_gpus(gpus, rates, load) == few


def test_a_latency_at_the_limit_is_out_for_the_peer() -> None:
    """Its comparison is strict: 18.0 ms is not below 18 ms; by hand 1 prefill and 1 decode replica of 9.5 ms remain."""
    assert own_space.best_engines(TAKEN["decode"], 18.0) == [(1, 7.3), (2, 25.7)]
    assert own_space.best_engines(TAKEN["decode"], 18.001) == [(1, 11.1), (2, 25.7)]


def test_one_engine_a_role_by_hand(tmp_path: Path) -> None:
    """The solver on the same rows: every pair of engines and counts by loops, rates scaled as the peer scales."""
    write_table(CASE, TAKEN, tmp_path / "curves.csv")
    write_instance(CASE, "curves.csv", tmp_path / "i.json", TAKEN["space"], tpot="20", modes=("disaggregated",))
    most = Fraction(0)
    for p, d in itertools.product(TAKEN["prefill"], TAKEN["decode"]):
        for many, much in itertools.product(range(13), repeat=2):
            if many * p["tp"] + much * d["tp"] <= 12 and d["latency"] < 20:
                rates = (Fraction(str(p["seq/s"])) * many * 9 / 10, Fraction(str(d["seq/s"])) * much * 92 / 100)
                most = max(most, *[min(rates)])
    result = solve(tmp_path / "i.json")
    assert result.status == "optimal"
    assert result.objective == most * 11


def test_the_solver_is_never_below_the_peers_space(tmp_path: Path) -> None:
    write_table(CASE, TAKEN, tmp_path / "curves.csv")
    write_instance(CASE, "curves.csv", tmp_path / "f.json", TAKEN["space"])
    frontier, times = traced(tmp_path / "f.json", 1, 60)
    assert times["points"] == len(frontier.points) > 1
    for tpot in CASE.tpots_ms:
        own = max(
            own_space.most_tokens(*own_space.replicas(TAKEN, CASE, float(tpot)), CASE),
            own_space.most_tokens(*own_space.colocated(TAKEN, CASE, float(tpot)), CASE),
        )
        assert value_at(frontier, Fraction(tpot), CASE.gpus) >= own * (1 - 1e-9)  # rates have nine decimals


def test_colocated_rows_are_scored_as_the_peer_scores(tmp_path: Path) -> None:
    """Its tokens/s/GPU, not its requests/s: 5.1/s x 10 tokens are 51, which is 51/11 requests/s at 11 tokens."""
    write_table(CASE, TAKEN, tmp_path / "curves.csv")
    with (tmp_path / "curves.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] == "colocated"]
    assert rows[0]["requests_per_s"] == f"{51 / 11:.9f}".rstrip("0")
    assert {row["latency_ms"] for row in rows} == {"17", "30"}


def test_a_factor_on_the_first_token_is_in_the_latency(tmp_path: Path) -> None:
    write_table(CASE, TAKEN, tmp_path / "curves.csv")
    with (tmp_path / "curves.csv").open(newline="") as file:
        latencies = [row["latency_ms"] for row in csv.DictReader(file) if row["phase"] == "prefill"]
    assert latencies == ["180", "108"]
    assert cell(decimal(0.1) * decimal(3)) == "0.3"


def test_words_of_gains() -> None:
    assert percent(110.0, 100.0) == "+10.0%"
    assert percent(99.99, 100.0) == "+0.0%"
    assert percent(5.0, 0.0) == "only"
    assert percent(None, 100.0) == "-"
    assert least([None, 3, 2]) == 2
    assert least([None]) is None


def test_what_a_limit_stopped_is_in_no_ratio() -> None:
    times = {"peer_search_s": 6.0, "peer_pricing_s": 1.0, "peer_loaded_s": 7.0}
    times |= {name: {"frontier_s": 2.0, "read_s": 0.5} for name in ("one_best", "mixed_best")}
    assert ratios(times, {}) == {
        "search one_best": 3.0, "pricing and search one_best": 2.0, "search mixed_best": 3.0,
        "pricing and search mixed_best": 2.0,
    }  # fmt: skip
    assert set(ratios(times, {"mixed_best": "> 1 s"})) == {"search one_best", "pricing and search one_best"}


def test_summary_counts_what_is_worse() -> None:
    row = {f"{who}_{what}": 100.0 for who in ("peer", "own", "one", "mixed") for what in ("disagg", "best")}
    rows = [{**row, "own_disagg": 120.0}, {**row, "own_disagg": 90.0}, {**row, "peer_disagg": 0.0}]
    loads = [{"peer_best": 12, "one_best": 10, "mixed_best": 8}, {"peer_best": 8, "one_best": 8, "mixed_best": None}]
    lines = summary([Outcome(CASE, rows, loads, {"ratios": {"search": 4.0}}, {})])
    own = next(line for line in lines if line.startswith("disaggregated, its own"))
    assert re.split(r" {2,}", own)[1:] == ["2", "5.0", "5.0", "20.0", "20.0", "1", "1"]
    assert "more in 1 of 2, mean +10.0 %, most +20.0 %; fewer in 0" in lines[-3]
    assert "more in 1 of 1, mean +50.0 %" in lines[-2]
    assert lines[-1] == "time, aic/solver, search: 4.0 to 4.0, median 4.0"


def test_back_ends_agree_and_a_limit_is_shown() -> None:
    lines: list[str] = []
    rows = backends(("tiny-rate-match",), 1, 60, lines.append)
    assert {row["backend"] for row in rows} >= {"cp-sat", "scip", "highs", "cbc"}
    assert {row["outcome"] for row in rows} == {"same optimum"}
    assert {row["formulation"] for row in rows} == {"points", "piecewise"}
    lines.clear()
    rows = backends(("llama-70b-h200-72",), 1, 0.001, lines.append)
    assert any(row["outcome"] == "stopped" and row["ratio"] is None for row in rows)
    assert any("> 1 " in line and "stopped" in line for line in lines)
    assert as_csv(rows).splitlines()[0].startswith("instance,formulation,dominance,columns,backend")


def test_without_the_peer_a_line_says_how_to_get_it(tmp_path: Path) -> None:
    if importlib.util.find_spec("aiconfigurator"):
        pytest.skip("aiconfigurator is installed")
    with pytest.raises(PeerError, match="No module named 'aiconfigurator'"):
        peer_answer(CASE, sys.executable, tmp_path, 1)
    lines: list[str] = []
    compare((CASE,), python=sys.executable, folder=tmp_path, limit_s=5, repeats=1, peer_only=True, say=lines.append)
    assert "pip install 'aiconfigurator>=0.12,<0.13'" in lines[-1]
    assert (tmp_path / "printed.txt").read_text().splitlines() == "\n".join(lines).splitlines()


def test_a_missing_interpreter_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="no-such-python"):
        peer_answer(CASE, str(tmp_path / "no-such-python"), tmp_path, 1)


def test_cases() -> None:
    assert len(CASES) >= 6
    assert len({(case.model, case.system, case.gpus) for case in CASES}) == len(CASES)
    assert cases_of(()) == CASES
    assert cases_of(("qwen3-32b-h100-72",))[0].gpus == 72
    with pytest.raises(ValueError, match="no case nonsense; the cases are llama-8b-h100-8"):
        cases_of(("nonsense",))


def test_the_command_refuses_what_it_does_not_know() -> None:
    runner = CliRunner()
    wrong = runner.invoke(main, ["bench", "--compare", "nonsense"])
    assert wrong.exit_code == 2
    assert "no case nonsense" in wrong.output
    both_ = runner.invoke(main, ["bench", "--compare", "--record"])
    assert both_.exit_code == 2
    assert "give one of them" in both_.output


@pytest.mark.skipif(not importlib.util.find_spec("aiconfigurator"), reason="aiconfigurator is not installed")
def test_a_real_case(tmp_path: Path) -> None:
    case = CASES[0]
    outcome = against(case, sys.executable, tmp_path, 1, 60, lambda line: None)
    for row in outcome.sweep:
        assert row["own_best"] >= row["peer_best"] * 0.9999  # its rounding to three decimals
        assert row["mixed_best"] >= row["one_best"] >= row["own_best"] * 0.9999
