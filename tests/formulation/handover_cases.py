"""Hand-made instances with a limited KV hand-over (C6), and their models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from costmodels.kv import HandedOver
from costmodels.operating_curve import OperatingCurve
from solver.columns import Candidates
from solver.engines import Engine, EngineSet
from solver.formulation.piecewise import build_piecewise
from solver.formulation.plan_model import PlanModel
from solver.formulation.points import build_points
from solver.instance import Instance, Pool, Workload
from solver.measure import throughput
from solver.points import points_of
from tests.formulation.cases import CHAT, POOL, curve

REQUEST = HandedOver(Fraction(10**9), 10, 1)
"""1 GB a request, ten layers, on one GPU of a replica."""
PREFILL = curve("prefill", (1, 2), (100, 180), (10, "11.5"))
DECODE = curve("decode", (4, 8), (20, 25), (20, 32), tp=2)
COLOCATED = curve("colocated", (2,), (30,), (4,), ttft_ms=(150,))
EAST = replace(POOL, name="east", kv_gbps=Fraction(8))
WEST = replace(POOL, name="west", kv_gbps=Fraction(40))


def engines_on(offers: Iterable[tuple[Workload, Pool, OperatingCurve]], shards: int = 1) -> EngineSet:
    """Engines in the order given; prefill and decode hand over 1 GB a request over some GPUs."""
    kv = replace(REQUEST, shards=shards)
    numbered = tuple(
        Engine(index, *offer, None if offer[2].role == "colocated" else kv) for index, offer in enumerate(offers)
    )
    return EngineSet(numbered, {}, (), "by hand", "none")


LINKS = {("east", "west"): Fraction(12), ("west", "east"): Fraction(6)}


def two_pools(links: Iterable[tuple[str, str]] = LINKS, **limits: Fraction) -> tuple[Instance, EngineSet]:
    """Prefill in east and west, decode in east and west, co-located in west; links of 12 and 6 GB/s."""
    workload = replace(CHAT, **limits)  # type: ignore[arg-type]
    instance = Instance("golden", (EAST, WEST), (workload,), kv_links={pair: LINKS[pair] for pair in links})
    curves = [(EAST, PREFILL), (WEST, PREFILL), (EAST, DECODE), (WEST, DECODE), (WEST, COLOCATED)]
    return instance, engines_on((workload, pool, item) for pool, item in curves)


def points_model(links: Iterable[tuple[str, str]] = LINKS, **limits: Fraction) -> PlanModel:
    """The points model over all points of both pools."""
    instance, engines = two_pools(links, **limits)
    columns = Candidates(instance, engines, points_of(instance, engines), dominance=False).columns()
    made = build_points(instance, columns)
    made.maximise(throughput(instance)[0].objective(made))
    return made


def piecewise_model(**limits: Fraction) -> PlanModel:
    """The piecewise model over both pools."""
    instance, engines = two_pools(**limits)
    made = build_piecewise(instance, engines.engines)
    made.maximise(throughput(instance)[0].objective(made))
    return made
