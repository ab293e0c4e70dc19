"""Tiny instances, each of which shows one constraint family; the first word of a name is the family's function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from costmodels.operating_curve import OperatingCurve
from solver.engines import EngineSet
from solver.formulation.piecewise import build_piecewise
from solver.formulation.plan_model import PlanModel
from solver.formulation.points import build_points
from solver.instance import Budget, Instance, Pattern, Pool, Serving, Workload
from solver.measure import throughput
from tests.formulation.cases import CHAT, POOL, all_columns, curve, engine_set
from tests.formulation.handover_cases import piecewise_model, points_model

Maker = Callable[[], PlanModel]

PREFILL = curve("prefill", (1, 2), (100, 180), (10, "11.5"))
DECODE = curve("decode", (4, 8), (20, 25), (20, 32), tp=2)
COLOCATED = curve("colocated", (2,), (30,), (4,), ttft_ms=(150,))


def one_point(role: str, batch: int = 1, **degrees: Any) -> OperatingCurve:
    """An engine with one point, at round numbers."""
    latency, rate = {"prefill": (100, 10), "decode": (20, 16), "colocated": (30, 4)}[role]
    ttft = (150,) if role == "colocated" else ()
    return curve(role, (batch,), (latency,), (rate,), ttft_ms=ttft, **degrees)  # type: ignore[arg-type]


def model(
    curves: Iterable[OperatingCurve] = (PREFILL, DECODE, COLOCATED),
    workload: Workload = CHAT,
    pool: Pool = POOL,
    must_serve: bool = False,
    budget: Budget | None = None,
    **serving: Any,
) -> PlanModel:
    """The points model of one workload on one pool, throughput as its objective."""
    instance = Instance("golden", (pool,), (workload,), Serving(**serving), budget=budget or Budget())
    return points(instance, engine_set((workload, pool, item) for item in curves), must_serve)


def points(instance: Instance, engines: EngineSet, must_serve: bool = False) -> PlanModel:
    """The points model over all points, in exact digits."""
    made = build_points(instance, all_columns(instance, engines), must_serve=must_serve)
    made.maximise(throughput(instance)[0].objective(made))
    return made


def rate_matching() -> PlanModel:
    """Two workloads, the second with one output token; prefill is planned at 90 %."""
    once = replace(CHAT, name="once", osl=1, weight=Fraction(3))
    utilization = {"prefill": Fraction(9, 10), "decode": Fraction(1), "colocated": Fraction(1)}
    instance = Instance("golden", (POOL,), (CHAT, once), Serving(hybrid=True, utilization=utilization))  # type: ignore[arg-type]
    shapes = [(CHAT, POOL, item) for item in (PREFILL, DECODE, COLOCATED)]
    return points(instance, engine_set([*shapes, (once, POOL, one_point("prefill"))]))


def two_joints(**serving: Any) -> PlanModel:
    """Two serving backends, whose engines do not join."""
    others = (one_point("prefill", backend="vllm"), one_point("decode", backend="vllm"))
    return model([PREFILL, DECODE, COLOCATED, *others], **serving)


def end_to_end() -> PlanModel:
    """E2E 400 ms at 11 tokens: TPOT 30 goes with TTFT 100 (exactly), TPOT 22 with 180 (exactly), TPOT 35 with none."""
    prefill = curve("prefill", (1, 2), (100, 180), (10, 11))
    decode = curve("decode", (4, 8, 16), (22, 30, 35), (18, 26, 45))
    return model([prefill, decode], replace(CHAT, e2el_ms=Fraction(400)))


def two_pools() -> PlanModel:
    """Prefill on either pool."""
    second = Pool("second", "gpu_a", 6, 8)
    instance = Instance("golden", (POOL, second), (CHAT,))
    shapes = [(CHAT, POOL, one_point("prefill", tp=2)), (CHAT, second, one_point("prefill", tp=4))]
    return points(instance, engine_set([*shapes, (CHAT, POOL, one_point("decode", tp=3))]))


def packing(sizes: Iterable[tuple[int, int]], gpus: int, domain: int) -> PlanModel:
    """Decode engines of given (stage group, stages) beside a prefill on one GPU's multiple."""
    decode = [one_point("decode", tp=size, pp=pp) for size, pp in sizes]
    return model([one_point("prefill", tp=decode[0].partition.tp), *decode], pool=Pool("pool", "gpu_a", gpus, domain))


def replica_bounds() -> PlanModel:
    """Two to three prefill replicas, at most five decode replicas."""
    least, most = {("chat", "prefill"): 2}, {("chat", "prefill"): 3, ("chat", "decode"): 5}
    return model(modes=("disaggregated",), min_replicas=least, max_replicas=most)


def money(usd: str | None, watts: str | None, idle: bool) -> PlanModel:
    """A budget that eight GPUs at 2.5 USD/hour and 700 W exceed."""
    budget = Budget(None if usd is None else Fraction(usd), None if watts is None else Fraction(watts), idle)
    return model(budget=budget)


def blackboard() -> PlanModel:
    """The whole piecewise model: an interpolated curve cut in two, an interpolated one with steps, a measured one."""
    prefill = curve("prefill", (1, 4, 8), (100, 220, 500), (10, 16, "16.5"), interpolate=True)
    decode = curve("decode", (2, 8), (20, 26), (20, 50), interpolate=True, attention_dp=2, moe_ep=2)
    measured = curve("colocated", (1, 3), (25, 30), (2, 5), ttft_ms=(150, 170))
    limits = {"ttft_ms": Fraction(300), "tpot_ms": Fraction(28), "e2el_ms": Fraction(480)}
    workload = replace(CHAT, **limits, max_requests_per_s=Fraction(70))  # type: ignore[arg-type]
    serving = Serving(deny={"prefill": (Pattern({"batch": (5, 6)}),)}, max_replicas={("chat", "colocated"): 2})
    instance = Instance("golden", (replace(POOL, gpus=6),), (workload,), serving)
    engines = engine_set((workload, instance.pools[0], item) for item in (prefill, decode, measured))
    made = build_piecewise(instance, engines.engines)
    made.maximise(throughput(instance)[0].objective(made))
    return made


def two_engines(most: int | None) -> PlanModel:
    """Three decode engines, of which some number may be used together."""
    decode = [one_point("decode"), one_point("decode", batch=2, tp=2), DECODE]
    return model([one_point("prefill"), *decode], engines_per_role=most)


def demanding() -> Workload:
    """A demand, and a cap on what is credited."""
    return replace(CHAT, requests_per_s=Fraction("12.5"), max_requests_per_s=Fraction(40))


FAMILIES: dict[str, tuple[str, Maker]] = {
    "c1_rate_matching": ("C1_", rate_matching),
    "c1_rate_matching-covers": ("C1_covers", lambda: model(decode_covers=True)),
    "c2_modes": ("C2_", two_joints),
    "c2_modes-hybrid": ("C2_", lambda: two_joints(hybrid=True)),
    "c2_end_to_end": ("C2_", end_to_end),
    "c3_inventory": ("C3_", two_pools),
    "c4_nvlink_packing-nested": ("C4_", lambda: packing([(1, 1), (2, 2), (8, 1)], 20, 8)),
    "c4_nvlink_packing-large": ("C4_", lambda: packing([(2, 1), (12, 1), (8, 2)], 28, 8)),
    "c4_nvlink_packing-patterns": ("C4_", lambda: packing([(4, 1), (6, 1)], 25, 10)),
    "c5_homogeneity": ("C5_", model),
    "c5_homogeneity-engines": ("C5_", lambda: two_engines(2)),
    "c5_homogeneity-unlimited": ("C5_", lambda: two_engines(None)),
    "c6_handover": ("C6_", points_model),
    "c6_handover-capacity": ("C1_", points_model),
    "c6_handover-late": ("C2_", lambda: points_model(ttft_ms=Fraction(230), e2el_ms=Fraction(440))),
    "c6_handover-one-way": ("C6_", lambda: points_model(links=(("east", "west"),))),
    "c6_handover-flows": ("C6_", piecewise_model),
    "c6_handover-levels": ("C2_", lambda: piecewise_model(ttft_ms=Fraction(230), e2el_ms=Fraction(440))),
    "c7_budgets": ("C7_", lambda: money("12.5", "3000", False)),
    "c7_budgets-idle": ("C7_", lambda: money("12.5", None, True)),
    "c7_budgets-replicas": ("C7_", replica_bounds),
    "c8_demand": ("C8_", lambda: model(workload=demanding())),
    "c8_demand-served": ("C8_", lambda: model(must_serve=True)),
}
"""Name of the golden file to the prefix of its rows and the model."""

MODELS: dict[str, Maker] = {**{name: make for name, (_, make) in FAMILIES.items()}, "piecewise": blackboard}
