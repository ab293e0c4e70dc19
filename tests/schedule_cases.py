"""Tiny scheduling problems, drawn at random, and the same for the oracle."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from solver.read import instance_from
from solver.scheduling.demand import Demand, demand_of
from solver.scheduling.problem import Problem
from solver.scheduling.rules import Rules
from solver.scheduling.schedule import problem_of
from tests.oracles import schedule as oracle

HEAD = (
    "system,backend,backend_version,model,precision,phase,tp,pp,attention_dp,moe_tp,moe_ep,cp,gpus,domain_gpus,batch,"
    "chunk_tokens,isl,osl,latency_ms,ttft_ms,requests_per_s,memory_gib"
)


def row(role: str, tp: int, rate: Fraction | float | str, batch: int = 1, chunk: int = 100) -> str:
    """One measured point."""
    osl, chunk, ttft = {"prefill": ("", 0, ""), "decode": ("11", 0, "")}.get(role, ("11", chunk, 100))
    return f"toy,toy,1,toy,bf16,{role},{tp},1,1,1,{tp},1,{tp},72,{batch},{chunk},100,{osl},10,{ttft},{float(rate)},"


def instance_of(folder: Path, rows: list[str], gpus: int, domain: int = 72, **more: Any) -> Any:
    """An instance over such points."""
    (folder / "toy.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    document = {
        "format": "disagg-instance",
        "version": 1,
        "name": "toy",
        "pools": [
            {
                "name": "toy",
                "gpu": "toy",
                "gpus": gpus,
                "nvlink_domain_gpus": domain,
                "usd_per_gpu_hour": 2,
                "watts_per_gpu": 500,
            }
        ],
        "workloads": [{"name": "toy", "model": "toy", "isl": 100, "osl": 11}],
        "cost_model": {"kind": "curves", "path": "toy.csv"},
        **more,
    }
    return instance_from(document, folder)


def demand(instance: Any, *rates: Any, period_s: int = 60) -> Demand:
    """Rates of the only workload."""
    return demand_of(instance, "rates", Fraction(period_s), {None: tuple(Fraction(str(rate)) for rate in rates)})


def problem(folder: Path, instance: Any, rates: Demand, rules: Rules | None = None, **more: Any) -> Problem:
    """The problem, with every engine kept."""
    return problem_of(
        instance, rates, rules=rules or Rules(cold_start_s=Fraction(0), min_up_s=Fraction(0)), folder=folder, **more
    )


def oracle_case(given: Problem) -> oracle.Case:
    """The same for the oracle."""
    workload = given.fleet.instance.workloads[0]
    pools = [pool.name for pool in given.fleet.instance.pools]
    engines = tuple(
        oracle.Engine(
            role=c.role,
            gpus=c.gpus,
            rate=c.requests_per_s,
            holding=given.holding(c),
            starting=given.starting(c),
            start_losses=c.start_losses,
            switch_losses=c.switch_losses,
            min_up=c.min_up,
            pool=pools.index(c.engine.pool.name),
        )
        for c in given.columns
    )
    return oracle.Case(
        engines=engines,
        switches=given.fleet.switches,
        gpus=tuple(pool.gpus or 0 for pool in given.fleet.instance.pools),
        demand=given.demand.requests_per_s[workload.name],
        price=given.missing(workload) if given.may_fall_short else None,
        current=given.current,
        max_changes=given.max_changes,
        switching=given.switching(given.columns[given.fleet.switches[0][1]]) if given.fleet.switches else Fraction(0),
        least=tuple((role, least) for (_, role), least in given.fleet.instance.serving.min_replicas.items()),
    )


def with_least(given: Problem, seed: int) -> Problem:
    """The problem with a least number of replicas for one role or more."""
    rng = random.Random(seed)
    roles = sorted({column.role for column in given.columns})
    least = {("toy", role): rng.randint(1, 3) for role in rng.sample(roles, rng.randint(1, len(roles)))}
    serving = replace(given.fleet.instance.serving, min_replicas=least)
    instance = replace(given.fleet.instance, serving=serving)
    return replace(given, fleet=replace(given.fleet, instance=instance))


def draw(seed: int, folder: Path) -> Problem:
    """A random tiny problem: some engines, three or four periods, transitions of all kinds."""
    rng = random.Random(seed)
    kind = rng.choice(("joined", "joined", "colocated", "both"))
    rows = []
    if kind != "colocated":
        tp = rng.choice((1, 2))
        rows += [
            row("prefill", tp, Fraction(rng.randint(8, 40), 10)),
            row("decode", tp, Fraction(rng.randint(8, 40), 10)),
        ]
        if rng.random() < 0.4:
            rows.append(row(rng.choice(("prefill", "decode")), 3 - tp, Fraction(rng.randint(8, 60), 10)))
    if kind != "joined":
        rows.append(row("colocated", 1, Fraction(rng.randint(5, 30), 10)))
        if kind == "colocated":
            rows.append(row("colocated", 2, Fraction(rng.randint(10, 70), 10)))
    gpus = rng.randint(2, 4) if kind != "both" else rng.randint(2, 3)
    instance = instance_of(folder, rows, gpus)
    rates = demand(instance, *(Fraction(rng.randint(0, 45), 10) for _ in range(rng.randint(2, 4))))
    if not any(rates.requests_per_s["toy"]):
        rates = demand(instance, 1, 2)
    rules = Rules(
        cold_start_s=Fraction(rng.choice((0, 30, 60, 90))),
        min_up_s=Fraction(rng.choice((0, 60, 120, 180))),
        switch_s=rng.choice((None, Fraction(0), Fraction(20), Fraction(60))),
        start_usd_per_gpu=Fraction(rng.choice((0, 0, 1)), 50),
        switch_usd_per_gpu=Fraction(rng.choice((0, 0, 1)), 100),
        warming=rng.choice(("whole", "share")),
    )
    objective = rng.choice(("gpu-hours", "usd", "usd", "goodput", "energy"))
    price = Fraction(rng.randint(1, 40), 1000) if objective != "goodput" and rng.random() < 0.4 else None
    changes = rng.choice((None, None, None, 0, 1, 2))
    found = problem(folder, instance, rates, rules, kind=objective, shortfall_price=price, max_changes=changes)
    if rng.random() < 0.4 and len(found.columns) > 0:
        counts, left = [], gpus
        for column in found.columns:
            count = rng.randint(0, min(2, left // column.gpus))
            counts.append(count)
            left -= count * column.gpus
        found = replace(found, current=tuple(counts))
    return found


def draw_two_pools(seed: int, folder: Path) -> Problem:
    """A random tiny problem on two pools, between which a role may be divided."""
    rng = random.Random(seed)
    rows = [row("prefill", 1, Fraction(rng.randint(8, 30), 10)), row("decode", 1, Fraction(rng.randint(8, 30), 10))]
    rows += [row(rng.choice(("prefill", "decode")), 1, Fraction(rng.randint(8, 30), 10)).replace("toy", "other", 1)]
    rows += [row("colocated", 1, Fraction(rng.randint(5, 20), 10)).replace("toy", "other", 1)] * rng.randint(0, 1)
    pools = [
        {"name": name, "gpu": name, "gpus": gpus, "nvlink_domain_gpus": 72, "usd_per_gpu_hour": price}
        for name, gpus, price in (("toy", rng.randint(1, 3), 2), ("other", rng.randint(1, 2), 3))
    ]
    instance = instance_of(folder, rows, 1, pools=pools)
    rates = demand(instance, *(Fraction(rng.randint(1, 40), 10) for _ in range(rng.randint(2, 3))))
    rules = Rules(
        cold_start_s=Fraction(rng.choice((0, 30, 60))), min_up_s=Fraction(rng.choice((0, 120))), switch_s=None
    )
    price = Fraction(rng.randint(1, 40), 1000) if rng.random() < 0.4 else None
    return problem(folder, instance, rates, rules, kind="usd", shortfall_price=price)
