"""Value functions along axes: against enumeration at every position that could matter, by hand, and when stopped."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from costmodels.errors import InputError
from instances import resolve
from solver import what_if
from solver.backends.base import Controls
from solver.engines import cost_model_of, engines_of
from solver.planner import solve
from solver.points import points_of, within
from solver.read import read_instance
from solver.whatif.ask import Ask
from solver.whatif.pieces import WhatIf
from solver.whatif.settle import Settler
from solver.whatif.text import lines
from solver.whatif.worth import worths
from tests.oracles import enumerate as plain
from tests.oracles.generate import random_case, write_case
from tests.oracles.tables import exact
from tests.oracles.tables import points_of as oracle_points

Instance = Mapping[str, Any]
Rows = Sequence[Mapping[str, str]]
SEEDS = range(1, 13)


def changed(instance: Instance, key: str, name: str, value: Fraction) -> dict[str, Any]:
    """The instance of the oracle at a position."""
    other = copy.deepcopy(dict(instance))
    if key in ("gpus", "price"):
        pool = next(pool for pool in other["pools"] if pool["name"] == name)
        pool["gpus" if key == "gpus" else "usd_per_gpu_hour"] = int(value) if key == "gpus" else value
    elif key == "usd_per_hour":
        other["budget"] = {**(other.get("budget") or {}), key: value}
    else:
        workload = next(workload for workload in other["workloads"] if workload["name"] == name)
        if key == "request_rate":
            workload["requests_per_s"] = value
        else:
            workload["sla"] = {**(workload.get("sla") or {}), key: value}
    return other


def assert_right(found: WhatIf, instance: Instance, rows: Rows, name: str, also: Sequence[Fraction], seed: int) -> None:
    """The value at both ends of every piece, inside, and at the given positions is what enumeration finds."""
    assert not found.missing and not found.faults, (seed, found.faults)
    asked = {p for p in also if found.ask.low <= p <= found.ask.high}
    for piece in found.pieces:
        asked |= {piece.low, piece.high, (piece.low + piece.high) / 2}
    if found.axis.key == "gpus":
        asked = {Fraction(n) for n in range(int(found.ask.low), int(found.ask.high) + 1)}
    for position in sorted(asked):
        piece = found.piece_at(position)
        assert piece is not None, (seed, position)
        wanted = plain.optimum(changed(instance, found.axis.key, name, position), rows)
        assert piece.at(position) == wanted, (seed, found.ask.text, position)
    for a, b in pairwise(found.pieces):
        assert (a.high, a.open_high) == (b.low, not b.open_low), "the pieces cover the range, each position once"
        assert (a.value, a.slope) != (b.value, b.slope), "a breakpoint is where something changes"


def drawn(seed: int, folder: Path) -> tuple[Instance, Rows, Path]:
    instance, rows = random_case(seed)
    return instance, rows, write_case(folder / str(seed), instance, rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_gpus_against_enumeration(seed: int, tmp_path: Path) -> None:
    instance, rows, path = drawn(seed, tmp_path)
    pool = instance["pools"][seed % len(instance["pools"])]
    if (instance.get("budget") or {}).get("count_idle"):
        with pytest.raises(InputError, match="count_idle"):
            what_if(path, f"gpus.{pool['name']}=1:4")
        return
    found = what_if(path, f"gpus.{pool['name']}=1:{pool['gpus'] + 2}")
    assert_right(found, instance, rows, pool["name"], (), seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("key", ["ttft_ms", "tpot_ms", "e2el_ms"])
def test_latencies_against_enumeration(key: str, seed: int, tmp_path: Path) -> None:
    instance, rows, path = drawn(seed, tmp_path)
    workload = instance["workloads"][seed % len(instance["workloads"])]
    points = [p for p in oracle_points(instance, rows) if instance["workloads"][p.workload] is workload]
    osl = exact(workload["osl"])
    levels = {
        "ttft_ms": {p.ttft for p in points if p.role != "decode"},
        "tpot_ms": {p.latency for p in points if p.role != "prefill"},
        "e2el_ms": {a.ttft + (osl - 1) * b.latency for a in points for b in points if b.role != "prefill"},
    }[key]
    found = what_if(path, f"{key}.{workload['name']}=1/2:{max([*levels, Fraction(9)]).__ceil__()}")
    some = random.Random(seed).sample(sorted(levels), min(len(levels), 12))
    just_below = [level - Fraction(1, 10**6) for level in some]
    assert_right(found, instance, rows, workload["name"], [*some, *just_below], seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_demand_against_enumeration(seed: int, tmp_path: Path) -> None:
    instance, rows, path = drawn(seed, tmp_path)
    workload = instance["workloads"][seed % len(instance["workloads"])]
    most = exact(workload["max_requests_per_s"]) if workload.get("max_requests_per_s") else Fraction(12)
    found = what_if(path, f"request_rate.{workload['name']}={most / 50}:{most}")
    beyond = [piece.high + Fraction(1, 10**7) for piece in found.pieces]
    assert_right(found, instance, rows, workload["name"], beyond, seed)


@pytest.mark.parametrize("seed", range(4, 22))
def test_prices_and_budgets_against_enumeration(seed: int, tmp_path: Path) -> None:
    instance, rows = random_case(seed)
    rng = random.Random(seed)
    pools = [{**pool, "usd_per_gpu_hour": rng.choice([1, 1.5, 2, 2.75])} for pool in instance["pools"]]
    budget = {} if seed % 3 else {"usd_per_hour": rng.choice([4, 6.5, 9])}
    instance = {**instance, "pools": pools, "budget": budget}
    if seed % 2 and all(w.get("requests_per_s") for w in instance["workloads"]):
        instance["objective"] = "cost"
    path, name = write_case(tmp_path, instance, rows), pools[0]["name"]
    if not budget and instance["objective"] != "cost":
        with pytest.raises(InputError, match="price changes nothing"):
            what_if(path, f"price.{name}=0:4")
    else:
        found = what_if(path, f"price.{name}=1/4:4")
        near = [piece.high + shift for piece in found.pieces for shift in (-Fraction(1, 999), Fraction(1, 999))]
        assert_right(found, instance, rows, name, near, seed)
    found = what_if(path, "usd_per_hour=0:12")
    grid = [Fraction(n, 4) for n in rng.sample(range(49), 12)]
    assert_right(found, instance, rows, "", grid, seed)


@pytest.mark.parametrize("key", ["gpus", "request_rate", "tpot_ms"])
def test_values_asked_for_are_those_of_the_whole_range(key: str) -> None:
    path = resolve("tiny-cost" if key == "request_rate" else "llama-70b-h200-72")
    whole, some = what_if(path, f"{key}=1:20"), what_if(path, f"{key}=1:20:3")
    assert [piece.low for piece in some.pieces] == [Fraction(n) for n in range(1, 21, 3)]
    for piece in some.pieces:
        there = whole.piece_at(piece.low)
        assert there is not None
        assert (piece.value, piece.status) == (there.at(piece.low), there.status)


def test_a_price_by_hand() -> None:
    """13 requests/s; a small GPU carries 2/s at 1 USD, a big one 10/s: with p for a big one, 7, 2 + p, or 2p USD."""
    found = what_if(resolve("tiny-cost"), "price.big=1/2:10")
    lines = [(p.low, p.high, p.value, p.slope) for p in found.pieces]
    half, two, five = Fraction(1, 2), Fraction(2), Fraction(5)
    assert lines == [(half, two, Fraction(1), two), (two, five, Fraction(4), 1), (five, 10, Fraction(7), 0)]
    assert found.breakpoints == [2, 5]
    one, further, less, before = worths(found)
    assert (one.gain, further.change, further.gain, further.slope) == (1, Fraction(3, 2), Fraction(3, 2), 0)
    assert (less.gain, before.change, before.slope) == (-1, Fraction(-3, 2), 2)


def test_a_demand_by_hand() -> None:
    """Small GPUs carry 2/s for 1 USD, big ones 10/s for 3.50: steps at 2, 4, 6, 10 (not 8: 4 USD), 12, 14, ..."""
    found = what_if(resolve("tiny-cost"), "request_rate=1:16")
    assert found.breakpoints == [2, 4, 6, 10, 12, 14]
    wanted = ["1", "2", "3", "7/2", "9/2", "11/2", "13/2"]
    assert [piece.value for piece in found.pieces] == [Fraction(value) for value in wanted]
    assert [piece.open_low for piece in found.pieces] == [False] + [True] * 6
    one, further, less = worths(found)  # one less, 12, is the next breakpoint itself
    assert (one.gain, further.change, further.beyond, further.gain) == (0, 1, True, 1)
    assert (less.change, less.gain) == (-1, -1)


def test_more_gpus_are_never_worse_and_marginal_worth_is_a_difference() -> None:
    found = what_if(resolve("llama-70b-h200-72"), "gpus=60:84")
    values = [piece.value or Fraction(0) for piece in found.pieces]
    assert values == sorted(values)
    more, less = (worth for worth in worths(found) if abs(worth.change) == 1)
    assert (
        more.gain
        == (found.piece_at(Fraction(73)) or found.pieces[0]).value - solve(resolve("llama-70b-h200-72")).objective
    )  # type: ignore[operator]
    assert less.gain is not None
    assert less.gain < 0
    text = "\n".join(lines(found))
    assert "1 GPU more: +1,549.9" in text


@pytest.mark.parametrize("name", ["llama-70b-h100-64-roofline", "qwen3-32b-gb200-72-e2e"])
def test_points_of_fewer_gpus_are_those_priced_anew(name: str) -> None:
    """The claim that the walk rests on: fewer GPUs take points away and change none."""
    path = resolve(name)
    instance = read_instance(path)
    model = cost_model_of(instance, path.parent)
    ask = Ask.read("gpus=3:64")
    from solver.clock import Clock
    from solver.whatif.axes import axis_of

    axis = axis_of(instance, ask)
    settler = Settler(axis, Fraction(64), model, Clock(Controls()), lambda _: None)
    for gpus in (3, 8, 21):
        small = axis.at(Fraction(gpus))
        fresh = points_of(small, engines_of(small, model))
        _, reused = settler.world(small)

        def rows(table: Any) -> set[tuple[object, ...]]:
            return {
                (*table.engines[table.engine[p]].key, table.batch[p], table.latency_ms(p), table.requests_per_s(p))
                for p in range(len(table))
            }

        assert rows(fresh) == rows(reused)
        assert len(within(small, fresh)) == len(fresh)


def test_lengths_are_priced_one_by_one() -> None:
    found = what_if(resolve("llama-70b-h100-64-roofline"), "osl=300,400")
    assert [piece.status for piece in found.pieces] == ["optimal", "optimal"]
    assert found.breakpoints == []
    refused = what_if(resolve("llama-70b-h200-72"), "isl=4500,4501")
    assert [piece.status for piece in refused.pieces] == ["optimal", "refused"]
    with pytest.raises(InputError, match="isl/osl 4502"):
        what_if(resolve("llama-70b-h200-72"), "isl=4501,4502")


def test_a_limit_keeps_what_is_proved_and_brackets_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some questions the interrupt comes; every stretch that is left has bounds, and they hold."""
    whole = what_if(resolve("llama-70b-h200-72"), "gpus=8:100")
    calls = 0
    settle = Settler.at

    def interrupted(self: Settler, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        return settle(self, *given)

    monkeypatch.setattr(Settler, "at", interrupted)
    found = what_if(resolve("llama-70b-h200-72"), "gpus=8:100")
    assert "stopped by a limit" in found.missing
    left = [piece for piece in found.pieces if piece.status == "unsettled"]
    assert left and len(left) < len(found.pieces)
    for gpus in range(8, 101):
        piece, there = found.piece_at(Fraction(gpus)), whole.piece_at(Fraction(gpus))
        assert piece is not None and there is not None and there.value is not None
        if piece.status == "unsettled":
            assert piece.lower is not None and piece.upper is not None
            assert piece.lower <= there.value <= piece.upper
        else:
            assert piece.value == there.value


def test_a_limit_on_a_price_brackets_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    settle = Settler.at

    def interrupted(self: Settler, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return settle(self, *given)

    monkeypatch.setattr(Settler, "at", interrupted)
    found = what_if(resolve("tiny-cost"), "price.big=1/2:10")
    assert [(piece.status, piece.lower, piece.upper) for piece in found.pieces] == [("unsettled", 1, 7)]
    assert found.missing


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["whatif", *arguments])


def test_no_time_at_all_is_said_and_exits_five() -> None:
    result = run("llama-70b-h200-72", "--vary", "gpus=8:576", "--time-limit", "0")
    assert result.exit_code == 5
    assert "not settled" in result.output


def test_files_and_exit_codes(tmp_path: Path) -> None:
    for name in ("w.json", "w.csv", "w.png"):
        option = "--plot" if name.endswith("png") else "-o"
        assert run("tiny-cost", "--vary", "price.big=1:5", option, str(tmp_path / name)).exit_code == 0
    document = json.loads((tmp_path / "w.json").read_text())
    assert document["format"] == "disagg-whatif"
    assert document["complete"] is True
    assert [piece["exact"]["value"] for piece in document["pieces"]] == ["2/1", "4/1"]
    assert (tmp_path / "w.csv").read_text().startswith("from,to,from_open,to_open,status,value,")
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")
    assert run("tiny-cost", "--vary", "request_rate=1000:2000").exit_code == 3


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("gpus", "KEY must be one of gpus"),
        ("cores=1:2", "KEY must be one of gpus"),
        ("price=1:2", "say which pool: price.small=... or price.big=..."),
        ("gpus.large=1:2", "unknown pool large; must be one of small, big"),
        ("tpot_ms.chat=1:2", "unknown workload chat"),
        ("gpus.small=1:2.5", "gpus must be whole"),
        ("gpus.small=0:4", "gpus must be positive"),
        ("gpus.small=9:4", "the range must rise: write 4:9"),
        ("gpus.small=1:4:0", "gpus must be positive"),
        ("gpus.small=1:4:1:2", "a range is A:B or A:B:STEP"),
        ("tpot_ms=0.001:1000:0.001", "at most 2000 values"),
        ("tpot_ms=nan:5", "'nan', must be a number"),
        ("tpot_ms=1e999999999:5", "must be a number"),
        ("tpot_ms=1/0,5", "must be a number"),
        ("tpot_ms=-3", "must be a number"),
        ("tpot_ms=", "must be a number"),
        ("gpus.small=99999999999", "must be at most 100000"),
        ("isl=1:4", "give a step"),
        ("watts.small=1:4", "leave .small out"),
    ],
)
def test_bad_questions_are_refused_and_nothing_is_written(vary: str, said: str, tmp_path: Path) -> None:
    result = run("tiny-cost", "--vary", vary, "-o", str(tmp_path / "w.json"))
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_axes_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    for name, vary, said in (
        ("deepseek-v3-gb200-unlimited", "gpus=1:8", "unlimited"),
        ("llama-70b-h200-72", "price=1:4", "price changes nothing"),
        ("llama-70b-h100-64-lognormal", "isl=100,200", "distribution"),
        ("tiny-packing", "usd_per_hour=1:2", "usd_per_gpu_hour"),
    ):
        result = run(name, "--vary", vary)
        assert (result.exit_code, said in result.output) == (2, True), (name, result.output)
    assert run("tiny-cost", "--vary", "price.big=1:2", "-o", str(tmp_path / "w.txt")).exit_code == 2
