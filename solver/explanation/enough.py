"""How many GPUs are enough: as many as any plan needs, so that having more changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

from costmodels.operating_curve import ROLES, Role
from solver.engines import EngineSet
from solver.instance import Instance, Pool, Workload
from solver.points import PointTable, points_of

MOST_GPUS = 10**6
"""Pools are not imagined larger than this."""


def enough_gpus(instance: Instance, pool: Pool, engines: EngineSet) -> int:
    """
    A number of GPUs of a pool with which an instance is feasible if it is feasible with any number of them.

    Parameters
    ----------
    instance
        The instance; the pool has ``MOST_GPUS`` in it.
    pool
        The pool.
    engines
        The engines of the instance.

    Notes
    -----
    Take a plan and remove replicas while each workload keeps its demand d, its ``min_replicas`` and a replica in each
    role: nothing else can break, but for ``decode_covers``, of which below. What a workload still runs in a role on the
    pool either serves less than d + r together, r the rate of one of its points, so that it has no more than
    (d + largest r) x (most GPUs per requests/s) GPUs, or is no more than the least number of replicas. With
    ``decode_covers`` decode engines must, besides, carry what the prefill engines left can yield: d is that, where it
    is more. GPUs of a pool are filled at least by half where groups are placed first-fit by falling size (two domains
    half empty would have been one; a group over several domains fills more than half of them), apart from one domain.
    """
    table = points_of(instance, engines)
    gpus = 0
    for workload in instance.workloads:
        demand = workload.requests_per_s or Fraction(0)
        carried = demand
        for role in ROLES:
            mine = _rates(instance, table, workload, role)
            fastest = max((max(table.engines[e].curve.requests_per_s) for e in mine), default=Fraction(0))
            least = max(1, instance.serving.min_replicas.get((workload.name, role), 1))
            if role == "prefill" and instance.serving.decode_covers:
                carried = max(demand + fastest, least * fastest)
            here = [(engine, rate) for engine, rate in mine.items() if table.engines[engine].pool.name == pool.name]
            gpus += _volume(table, here, carried if role == "decode" else demand, fastest, least)
    return min(MOST_GPUS, 2 * gpus + pool.nvlink_domain_gpus)


def _rates(instance: Instance, table: PointTable, workload: Workload, role: Role) -> dict[int, Fraction]:
    """Position of an engine to its least planned rate, of the engines of a role of a workload."""
    found: dict[int, Fraction] = {}
    for position, engine in enumerate(table.engines):
        if engine.workload.name == workload.name and engine.curve.role == role:
            rates = table.rate[table.engine == engine.index]
            if len(rates):
                share = instance.utilization(workload, role)
                found[position] = Fraction(int(rates.min()), table.rate_scale) * share
    return found


def _volume(
    table: PointTable, rates: list[tuple[int, Fraction]], demand: Fraction, fastest: Fraction, least: int
) -> int:
    """GPUs that a role needs at most on a pool."""
    gpus = {position: table.engines[position].curve.partition.gpus for position, _ in rates}
    if not gpus:
        return 0
    per_rate = max(gpus[position] / rate for position, rate in rates)
    return max(least * max(gpus.values()), math.ceil(per_rate * (demand + fastest)) if demand else 0)


def affordable(instance: Instance, name: str) -> int:
    """The most GPUs that a pool may have: where idle GPUs count, a budget bounds them."""
    most, budget = MOST_GPUS, instance.budget
    for limit, key in ((budget.usd_per_hour, "usd_per_gpu_hour"), (budget.watts, "watts_per_gpu")):
        price: Fraction = getattr(instance.pool(name), key) or Fraction(0)
        if budget.count_idle and limit is not None and price:
            others = sum(
                ((getattr(p, key) or 0) * (p.gpus or 0) for p in instance.pools if p.name != name), Fraction(0)
            )
            most = min(most, int((limit - others) // price))
    return most


def owned_as_used(instance: Instance, grown: frozenset[str]) -> Instance:
    """
    An instance in which some pools are imagined larger, so that of them only the GPUs used can count as owned.

    Where idle GPUs count, the other pools cost what they cost: that is taken off the budget, and they are free.
    """
    budget = instance.budget
    if not budget.count_idle or not grown:
        return instance
    changed = replace(instance, budget=replace(budget, count_idle=False))
    for limit, key in (("usd_per_hour", "usd_per_gpu_hour"), ("watts", "watts_per_gpu")):
        given: Fraction | None = getattr(budget, limit)
        if given is not None:
            fixed = sum(
                ((getattr(p, key) or 0) * (p.gpus or 0) for p in instance.pools if p.name not in grown), given * 0
            )
            changed = replace(changed, budget=replace(changed.budget, **_one(limit, given - fixed)))
            pools = (p if p.name in grown else replace(p, **_one(key, Fraction(0))) for p in changed.pools)
            changed = replace(changed, pools=tuple(pools))
    return changed


def _one(key: str, value: Fraction) -> dict[str, Any]:
    return {key: value}
