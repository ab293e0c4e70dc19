"""The two formulations agree: plans, evaluated exactly from batches and replicas, have equal objectives."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pulp
import pytest

from costmodels.curves import CurveTables
from costmodels.errors import InputError
from solver.backends.base import Controls
from solver.backends.registry import backend
from solver.columns import Candidates, Column, Limits
from solver.deployment import Deployment
from solver.engines import EngineSet, engines_of
from solver.formulation.piecewise import build_piecewise
from solver.formulation.piecewise_curves import AdmissibleCurve, admissible_curves
from solver.instance import Instance, Objective, Pattern, Pool, Serving, Workload
from solver.points import PointTable
from tests.formulation.cases import CHAT, POOL, by_piecewise, by_points, curve, engine_set, load
from tests.oracles.enumerate import optimum
from tests.oracles.generate import random_case

CURVES = Path(__file__).parent.parent.parent / "instances" / "curves"
LLAMA = "h200_sxm__trtllm__nvidia--Llama-3.1-70B-Instruct-FP8.csv.gz"
MODEL = "nvidia/Llama-3.1-70B-Instruct-FP8"

BLOCK = 25
SEEDS: dict[str, int] = {"scip": 6, "highs": 2, "cbc": 2}
"""Blocks of seeds per back end."""


def drawn(seed: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """A random case; the ratio objective, which is no linear one, becomes throughput."""
    case, rows = random_case(seed)
    if case["objective"] == "throughput_per_gpu":
        case["objective"] = "throughput"
    return case, rows


def loaded(folder: Path, cases: Iterator[tuple[int, dict[str, Any], list[dict[str, str]]]]) -> Iterator[Any]:
    """The cases that the reader takes (it refuses contradictions that enumeration shrugs off)."""
    for seed, case, rows in cases:
        try:
            yield seed, case, rows, *load(folder / str(seed), case, rows)
        except InputError:
            continue


def assert_admissible(plan: Deployment, table: PointTable, seed: int) -> None:
    """Each assignment is one of the points that obey limits and rules by themselves."""
    points = set(zip(table.engine.tolist(), table.batch.tolist(), strict=True))
    assert {(item.engine.index, item.batch) for item in plan.assignments} <= points, f"seed {seed}"


@pytest.mark.parametrize(("name", "block"), [(name, block) for name, count in SEEDS.items() for block in range(count)])
def test_piecewise_equals_points_and_enumeration(name: str, block: int, tmp_path: Path) -> None:
    """Throughput, GPUs and cost on random tiny instances that use every family."""
    start = 1000 * list(SEEDS).index(name) + BLOCK * block
    cases = ((seed, *drawn(seed)) for seed in range(start, start + BLOCK))
    compared = 0
    for seed, case, rows, instance, engines in loaded(tmp_path, cases):
        staged, table = by_points(instance, engines)
        plan = by_piecewise(instance, engines, name=name)
        value = None if plan is None else plan.objective
        assert value == staged.value == optimum(case, rows), f"seed {seed}, {instance.objective}"
        if plan is not None:
            assert_admissible(plan, table, seed)
        compared += 1
    assert compared > BLOCK // 2


def limited(seed: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """A random case with a limited KV hand-over; no latency limit is closer to a latency than a float can tell."""
    case, rows = random_case(seed, handover=True)
    if case["objective"] == "throughput_per_gpu":
        case["objective"] = "throughput"
    for workload in case["workloads"]:
        sla = workload.get("sla", {})
        sla.update({key: round(sla[key], 2) or 0.01 for key in ("ttft_ms", "e2el_ms") if key in sla})
    return case, rows


@pytest.mark.parametrize("block", range(2))
def test_a_limited_handover_is_the_same_in_both_formulations(block: int, tmp_path: Path) -> None:
    """Rates bent by the hand-over, exposed time as two lines, flows as variables."""
    drawings = ((seed, *limited(seed)) for seed in range(BLOCK * block, BLOCK * (block + 1)))
    for seed, case, rows, instance, engines in loaded(tmp_path, drawings):
        plan = by_piecewise(instance, engines)
        value = None if plan is None else plan.objective
        assert value == by_points(instance, engines)[0].value == optimum(case, rows), f"seed {seed}"


def test_cases_cover_the_objectives() -> None:
    """The blocks above hold every objective, infeasible cases and interpolated curves."""
    drawings = [drawn(seed) for seed in range(BLOCK * SEEDS["scip"])]
    assert any(optimum(case, rows) is None for case, rows in drawings)
    cases = [case for case, _ in drawings]
    assert min(Counter(case["objective"] for case in cases).values()) >= 10
    assert sum(case["cost_model"]["interpolate"] for case in cases) >= 20


def spread(seed: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """A random case with interpolated curves and gaps between the measured batches."""
    case, rows = drawn(seed)
    rng = random.Random(seed)
    case["cost_model"]["interpolate"] = True
    factor = rng.choice([1, 3, 5])
    for row in rows if factor > 1 else ():
        step = int(row["attention_dp"])
        row["batch"] = str(factor * int(row["batch"]) + rng.choice([0, step]))
    return case, rows


def random_limits(rng: random.Random, instance: Instance, engines: EngineSet, table: PointTable) -> Limits:
    """Limits exactly at latencies that occur, for some workloads."""
    candidates = Candidates(instance, engines, table)
    tpot, ttft = candidates.tpot_levels(), candidates.ttft_levels()
    names = [workload.name for workload in instance.workloads]
    return Limits(
        {name: rng.choice(tpot) for name in names if tpot and rng.random() < 0.7},
        {name: rng.choice(ttft) for name in names if ttft and rng.random() < 0.4},
    )


@pytest.mark.parametrize("block", range(4))
def test_interpolated_curves_and_extra_limits(block: int, tmp_path: Path) -> None:
    """Batches between the breakpoints, gaps cut by allow and deny, limits of a sweep, every workload to be served."""
    cases = ((seed, *spread(seed)) for seed in range(5000 + BLOCK * block, 5000 + BLOCK * (block + 1)))
    for seed, _, _, instance, engines in loaded(tmp_path, cases):
        rng = random.Random(seed)
        _, table = by_points(instance, engines)
        limits, must_serve = random_limits(rng, instance, engines, table), rng.random() < 0.4
        staged, _ = by_points(instance, engines, limits, must_serve)
        plan = by_piecewise(instance, engines, limits, must_serve)
        assert (None if plan is None else plan.objective) == staged.value, f"seed {seed}"
        if plan is not None:
            assert_admissible(plan, table, seed)


@cache
def measured() -> CurveTables:
    """A real table."""
    return CurveTables.read([CURVES / LLAMA], interpolate=True)


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize("objective", ["throughput", "gpus", "cost"])
def test_measured_table(objective: Objective, interpolate: bool) -> None:
    """A dense 70B model on one node of 8 H200."""
    demand = None if objective == "throughput" else Fraction(2)
    limits = {"ttft_ms": Fraction(2000), "tpot_ms": Fraction(50), "requests_per_s": demand}
    chat = Workload("chat", MODEL, isl=4500, osl=750, **limits)  # type: ignore[arg-type]
    pool = Pool("h200", "h200_sxm", 8, 8, usd_per_gpu_hour=Fraction(31, 10))
    instance = Instance("llama", (pool,), (chat,), objective=objective)
    engines = engines_of(instance, replace(measured(), interpolate=interpolate))
    staged, _ = by_points(instance, engines)
    plan = by_piecewise(instance, engines, name="highs")
    assert plan is not None
    assert plan.objective == staged.value


def admitted(part: AdmissibleCurve) -> dict[int, tuple[Fraction, ...]]:
    """Batch to (latency, TTFT, rate) of everything that breakpoints and segments let an engine do."""
    found: dict[int, tuple[Fraction, ...]] = {}
    step = part.engine.curve.batch_step
    for ends in part.segments:
        left, right = part.breakpoints[ends[0]], part.breakpoints[ends[-1]]
        for batch in range(-(-left.batch // step) * step, right.batch + 1, step):
            share = Fraction(batch - left.batch, max(1, right.batch - left.batch))
            values = zip(_values(left), _values(right), strict=True)
            found[batch] = tuple(one + (other - one) * share for one, other in values)
    return found


def _values(point: Column) -> tuple[Fraction, ...]:
    return point.latency_ms, point.ttft_ms, point.requests_per_s


RULES: Sequence[tuple[dict[Any, Any], dict[Any, Any]]] = (
    ({}, {}),
    ({}, {"prefill": (Pattern({"batch": (7, 9)}), Pattern({"batch": frozenset({14})}))}),
    ({"prefill": (Pattern({"batch": frozenset({2, 8, 10, 12, 30})}),)}, {}),
    ({"prefill": (Pattern({"batch": (None, 11)}),)}, {"prefill": (Pattern({"batch": (4, 4)}),)}),
)


@pytest.mark.parametrize(("allow", "deny"), RULES)
@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize("batch", [(1, 5, 12, 31), (2, 6, 12, 30), (8,)])
def test_rules_cut_curves_exactly(
    batch: tuple[int, ...], interpolate: bool, allow: dict[Any, Any], deny: dict[Any, Any]
) -> None:
    """What is left of a curve is its allowed batches, at the values that the curve itself has there."""
    values = [100 + 7 * b for b in batch], [Fraction(b, 3) for b in batch]
    shape = curve("prefill", batch, *values, interpolate=interpolate, attention_dp=2)  # type: ignore[arg-type]
    serving = Serving(allow=allow, deny=deny)
    instance = Instance("cut", (POOL,), (CHAT,), serving)
    allowed = [b for b in shape.admissible_batches() if serving.allows(shape, b)]
    wanted = {}
    for b in allowed:
        point = shape.at(b)
        wanted[b] = (point.latency_ms, point.latency_ms, point.requests_per_s)
    parts = admissible_curves(instance, engine_set([(CHAT, POOL, shape)]).engines)
    if interpolate or all(b % 2 == 0 for b in batch):
        assert (admitted(parts[0]) if parts else {}) == wanted
    else:
        assert [point.batch for part in parts for point in part.breakpoints] == allowed


def test_capacity_is_replicas_times_rate() -> None:
    """With batch and replicas fixed, the weights, the segments and the products leave nothing free."""
    shape = curve("prefill", (2, 6, 12), (100, 150, 400), (3, 4, 10), interpolate=True, attention_dp=2)
    alone = replace(CHAT, osl=1)
    instance = Instance("one", (replace(POOL, gpus=14),), (alone,))
    engines = engine_set([(alone, instance.pools[0], shape)])
    for batch in shape.admissible_batches():
        for replicas in (1, 3, 6):
            seen = []
            for sense in (pulp.LpMaximize, pulp.LpMinimize):
                model = build_piecewise(instance, engines.engines)
                model.milp.problem.sense = sense
                model.milp.problem.setObjective(model.draft.units[0].capacity)
                variables = model.milp.problem.variablesDict()
                fixed = {"t0": batch // 2, **{f"b0_{j}": replicas >> j & 1 for j in range(3)}}
                for name, value in fixed.items():
                    variables[name].lowBound = variables[name].upBound = value
                answer = backend("highs").solve(model.milp, Controls())
                assert answer.values is not None
                assert model.read(answer.values) == [(engines.engines[0], batch, replicas)]
                seen.append(float(answer.bound or 0))
            assert seen == pytest.approx([float(replicas * shape.at(batch).requests_per_s)] * 2)


def test_unlimited_gpus_are_refused() -> None:
    """Replicas in binary need a bound."""
    instance = Instance("endless", (replace(POOL, gpus=None),), (CHAT,), objective="throughput_per_gpu")
    with pytest.raises(ValueError, match="number of GPUs"):
        build_piecewise(instance, ())


def test_caps_and_demands_keep_their_digits() -> None:
    """Whole rates do not round a cap of 2.25 to 3, nor a demand of 1.125 to 1."""
    chat = replace(CHAT, requests_per_s=Fraction("1.125"), max_requests_per_s=Fraction("2.25"))
    instance = Instance("capped", (POOL,), (chat,), Serving(modes=("colocated",)))
    engines = engine_set([(chat, POOL, curve("colocated", (1,), (20,), (3,), ttft_ms=(100,)))])
    model = build_piecewise(instance, engines.engines)
    assert model.draft.flow["chat"].upBound == 2.25
    assert -model.milp.problem.constraints["C8_demand_w0"].constant == 1.125
    plan = by_piecewise(instance, engines)
    assert plan is not None
    assert plan.objective == Fraction("2.25") * 11


def test_engines_without_partners_stay_unused() -> None:
    """A decode engine of another serving backend than every prefill engine would only spoil the evaluation."""
    shapes = [curve("prefill", (1,), (100,), (3,)), curve("decode", (4,), (20,), (3,))]
    orphan = curve("decode", (4,), (10,), (9,), backend="vllm")
    instance = Instance("orphan", (POOL,), (CHAT,))
    model = build_piecewise(instance, engine_set((CHAT, POOL, shape) for shape in [*shapes, orphan]).engines)
    assert [model.milp.problem.variablesDict()[f"z{number}"].upBound for number in range(3)] == [1, 1, 0]
