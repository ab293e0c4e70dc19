"""
Every plan of a tiny instance: which is best, and which are not dominated.

Written to be obviously right. Rates and latencies are multiplied by a common denominator once, so that the loops
below work on plain integers; nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import floor
from typing import Any, NamedTuple

from tests.oracles import kv
from tests.oracles.packing import packs
from tests.oracles.tables import Instance, Point, Row, common_denominator, exact, points_of

Usage = tuple[tuple[tuple[int, int], ...], ...]
"""Per pool, the stage groups of a plan: ((size, count), ...) ascending."""


class WholePoint(NamedTuple):
    """A point with its rate, latency, TTFT and TTFT per decode pool in integer units."""

    point: Point
    rate: int
    latency: int
    ttft: int
    late: tuple[int, ...]


class Choice(NamedTuple):
    """
    What one role of one workload runs: its stage groups, capacity, slowest TPOT, families and replicas; per pool its
    capacity, the slowest TPOT there (None where nothing runs), and its latest TTFT when that pool decodes.
    """

    usage: Usage
    capacity: int
    tpot: int
    families: frozenset[tuple[str, str]]
    replicas: int
    capacities: tuple[int, ...]
    tpots: tuple[int | None, ...]
    late: tuple[int, ...]


class Total(NamedTuple):
    """What is left of a plan once its workloads are put together (integers in the units of :class:`Units`)."""

    gpus: tuple[int, ...]
    tpot: int
    all_served: bool


class Units(NamedTuple):
    """Integers per request/s, per ms and per weighted token/s."""

    rate: int
    time: int
    weight: int


@lru_cache(maxsize=200_000)
def together(one: Usage, other: Usage) -> Usage:
    """The stage groups of two parts of a plan."""
    merged = []
    for mine, theirs in zip(one, other):
        counts = dict(mine)
        for size, count in theirs:
            counts[size] = counts.get(size, 0) + count
        merged.append(tuple(sorted(counts.items())))
    return tuple(merged)


def gpus_of(usage: Usage) -> tuple[int, ...]:
    """GPUs used per pool."""
    return tuple(sum(size * count for size, count in groups) for groups in usage)


@lru_cache(maxsize=200_000)
def fits(usage: Usage, pools: tuple[tuple[int, int], ...]) -> bool:
    """C3 and C4 for pools given as (gpus, NVLink domain)."""
    for groups, used, (gpus, domain) in zip(usage, gpus_of(usage), pools):
        if used > gpus or not packs(dict(groups), gpus // domain, domain, gpus % domain):
            return False
    return True


def role_choices(
    points: Sequence[WholePoint], pools: Sequence[tuple[int, int]], limit: float
) -> list[tuple[tuple[WholePoint, int], ...]]:
    """C5: every non-empty set of (point, replicas) with at most ``limit`` engines a pool, one point an engine."""
    choices: list[tuple[tuple[WholePoint, int], ...]] = [()]
    for pool, (gpus, _) in enumerate(pools):
        engines: dict[tuple[str, ...], list[WholePoint]] = {}
        for each in points:
            if each.point.pool == pool:
                engines.setdefault(each.point.engine, []).append(each)
        here: list[tuple[tuple[WholePoint, int], ...]] = [()]
        for its_points in engines.values():
            for chosen in list(here):
                free = gpus - sum(each.point.gpus * replicas for each, replicas in chosen)
                if len(chosen) < limit:
                    for each in its_points:
                        for replicas in range(1, free // each.point.gpus + 1):
                            here.append((*chosen, (each, replicas)))
        choices = [one + other for one in choices for other in here]
    return [choice for choice in choices if choice]


def whole(point: Point, units: Units) -> WholePoint:
    """A point in integers; the units are common denominators, so nothing is lost."""
    rate, latency, ttft = point.rate * units.rate, point.latency * units.time, point.ttft * units.time
    late = [each * units.time for each in point.late]
    assert {number.denominator for number in (rate, latency, ttft, *late)} == {1}
    return WholePoint(point, rate.numerator, latency.numerator, ttft.numerator, tuple(each.numerator for each in late))


def summary(choice: Sequence[tuple[WholePoint, int]], pools: int) -> Choice:
    """A set of (point, replicas) as the numbers that the rest of the plan needs of it."""
    groups: list[dict[int, int]] = [{} for _ in range(pools)]
    for (point, *_), replicas in choice:
        counts = groups[point.pool]
        counts[point.group] = counts.get(point.group, 0) + point.stages * replicas
    return Choice(
        usage=tuple(tuple(sorted(counts.items())) for counts in groups),
        capacity=sum(each.rate * replicas for each, replicas in choice),
        tpot=max(0 if each.point.role == "prefill" else each.latency for each, _ in choice),
        families=frozenset(each.point.family for each, _ in choice),
        replicas=sum(replicas for _, replicas in choice),
        capacities=tuple(sum(e.rate * n for e, n in choice if e.point.pool == pool) for pool in range(pools)),
        tpots=tuple(max((e.latency for e, _ in choice if e.point.pool == p), default=None) for p in range(pools)),
        late=tuple(max(each.late[pool] for each, _ in choice) for pool in range(pools)),
    )


def replica_bound(table: Mapping[str, Any] | None, workload: str, role: str) -> int | None:
    """C7: the entry of min_replicas or max_replicas, which is by role or by workload and role."""
    if not table:
        return None
    by_role = table.get(workload) if any(isinstance(value, Mapping) for value in table.values()) else table
    return (by_role or {}).get(role)


def workload_plans(
    instance: Instance, index: int, points: Sequence[Point], units: Units
) -> dict[tuple[Usage, int, bool], int]:
    """
    Every way to serve one workload: (stage groups, slowest TPOT, served) to the most requests/s credited.

    Everything outside the workload (C3, C4, budgets, other workloads) sees only the stage groups, every objective
    wants more of the credited rate, and the frontier sees the slowest TPOT: so the best rate of each key is enough.
    """
    workload, serving = instance["workloads"][index], instance.get("serving") or {}
    osl, sla = exact(workload["osl"]), workload.get("sla") or {}
    pools = tuple((pool["gpus"], pool["nvlink_domain_gpus"]) for pool in instance["pools"])
    engines = serving.get("engines_per_role", 1)
    limit = float("inf") if engines == "unlimited" else engines

    choices: dict[str, list[Choice]] = {}
    for role in ("prefill", "decode", "colocated"):
        low = replica_bound(serving.get("min_replicas"), workload["name"], role)
        high = replica_bound(serving.get("max_replicas"), workload["name"], role)
        mine = [whole(point, units) for point in points if point.workload == index and point.role == role]
        found = {summary(choice, len(pools)) for choice in role_choices(mine, pools, limit)}
        choices[role] = [
            choice
            for choice in found
            if (low is None or choice.replicas >= low)
            and (high is None or choice.replicas <= high)
            and (role == "colocated" or len(choice.families) == 1)
            and fits(choice.usage, pools)
        ]

    colocated = [(choice.usage, choice.capacity, choice.tpot) for choice in choices["colocated"]]
    disaggregated = []
    if osl == 1:
        disaggregated = [(choice.usage, choice.capacity, 0) for choice in choices["prefill"]]
        colocated = [(usage, capacity, 0) for usage, capacity, _ in colocated]
    else:
        e2el = None if sla.get("e2el_ms") is None else floor(exact(sla["e2el_ms"]) * units.time)
        first = None if sla.get("ttft_ms") is None else floor(exact(sla["ttft_ms"]) * units.time)
        links = {
            kv_format: {
                pair: int(rate * units.rate) for pair, rate in kv.link_rates(instance, workload, kv_format).items()
            }
            for kv_format in {point.family[1] for point in points}
        }
        covers = serving.get("rate_match", "min") == "decode_covers"
        slack = 1 + exact(serving.get("tolerance", "0.03"))
        for prefill, decode in product(choices["prefill"], choices["decode"]):
            if prefill.families != decode.families:
                continue
            ways_through = [(late, tpot) for late, tpot in zip(prefill.late, decode.tpots) if tpot is not None]
            if e2el is not None and any(late + (osl - 1) * tpot > e2el for late, tpot in ways_through):
                continue
            if first is not None and any(late > first for late, _ in ways_through):
                continue
            if covers and prefill.capacity * slack.denominator > decode.capacity * slack.numerator:
                continue
            usage = together(prefill.usage, decode.usage)
            if fits(usage, pools):
                joined = min(prefill.capacity, decode.capacity)
                if instance.get("kv_links") is not None:
                    (family,) = prefill.families
                    joined = kv.carried(prefill.capacities, decode.capacities, links[family[1]])
                    if not joined:
                        continue  # served would be nobody
                disaggregated.append((usage, joined, decode.tpot))
    ways = colocated + disaggregated
    if serving.get("hybrid", False):
        for one, other in product(set(colocated), set(disaggregated)):
            usage = together(one[0], other[0])
            if fits(usage, pools):
                ways.append((usage, one[1] + other[1], max(one[2], other[2])))

    demand, ceiling = workload.get("requests_per_s"), workload.get("max_requests_per_s")
    plans: dict[tuple[Usage, int, bool], int] = {}
    if demand is None:
        plans[((),) * len(pools), 0, False] = 0
    for usage, rate, tpot in ways:
        if demand is not None and rate < exact(demand) * units.rate:
            continue
        credited = rate if ceiling is None else min(rate, int(exact(ceiling) * units.rate))
        key = (usage, tpot, True)
        plans[key] = max(plans.get(key, 0), credited)
    return plans


def within_budget(instance: Instance, gpus: Sequence[int]) -> bool:
    """C7: price and power of the GPUs used, or of the whole inventory with ``count_idle``."""
    budget, pools = instance.get("budget") or {}, instance["pools"]
    counted = [pool["gpus"] for pool in pools] if budget.get("count_idle", False) else gpus
    for limit, each in (("usd_per_hour", "usd_per_gpu_hour"), ("watts", "watts_per_gpu")):
        if budget.get(limit) is not None:
            spent = sum(exact(pool[each]) * number for pool, number in zip(pools, counted))
            if spent > exact(budget[limit]):
                return False
    return True


def units_of(instance: Instance, points: Sequence[Point]) -> Units:
    """Units in which every rate, time and weight of an instance is whole."""
    workloads = instance["workloads"]
    asked = [workload.get(key) for workload in workloads for key in ("requests_per_s", "max_requests_per_s")]
    formats = {point.family[1] for point in points}
    links = [
        rate
        for each in workloads
        for kv_format in formats
        for rate in kv.link_rates(instance, each, kv_format).values()
    ]
    sizes = [exact(workload[key]) for workload in workloads for key in ("weight", "osl") if key in workload]
    return Units(
        rate=common_denominator(
            [*(point.rate for point in points), *links, *(exact(a) for a in asked if a is not None)]
        ),
        time=common_denominator([time for point in points for time in (point.latency, *point.late)]),
        weight=common_denominator(sizes) ** 2,
    )


def all_totals(instance: Instance, rows: Sequence[Row]) -> tuple[dict[Total, tuple[int, int]], Units]:
    """
    Every feasible plan, summed up: to each :class:`Total` the best (weighted tokens/s, tokens/s).

    Fewest GPUs and least cost depend on the GPUs alone, so there the weighted tokens/s count as 0 and the best
    tokens/s stay; with throughput objectives more weighted tokens/s go before more tokens/s.
    """
    workloads, objective = instance["workloads"], instance.get("objective", "throughput")
    if objective in ("gpus", "cost") and any(workload.get("requests_per_s") is None for workload in workloads):
        raise ValueError(f"objective {objective} needs a demand for every workload")
    points = points_of(instance, rows)
    osls = [exact(workload["osl"]) for workload in workloads]
    weights = [exact(workload.get("weight", 1)) for workload in workloads]
    units = units_of(instance, points)
    pools = tuple((pool["gpus"], pool["nvlink_domain_gpus"]) for pool in instance["pools"])
    plain = [int(osl * units.weight) for osl in osls]
    weighted = [int(osl * weight * units.weight) for osl, weight in zip(osls, weights)]
    if objective in ("gpus", "cost"):
        weighted = [0] * len(workloads)

    empty: Usage = ((),) * len(pools)
    partial: dict[tuple[Usage, int, bool, bool], tuple[int, int]] = {(empty, 0, False, True): (0, 0)}
    for index in range(len(workloads)):
        grown: dict[tuple[Usage, int, bool, bool], tuple[int, int]] = {}
        plans = workload_plans(instance, index, points, units)
        for (usage, tpot, some, every), (value, tokens) in partial.items():
            for (more, slowest, served), rate in plans.items():
                both = together(usage, more)
                if fits(both, pools):
                    key = (both, max(tpot, slowest), some or served, every and served)
                    score = (value + rate * weighted[index], tokens + rate * plain[index])
                    grown[key] = max(grown.get(key, score), score)
        partial = grown

    totals: dict[Total, tuple[int, int]] = {}
    for (usage, tpot, some, every), score in partial.items():
        gpus = gpus_of(usage)
        if some and within_budget(instance, gpus):
            total = Total(gpus, tpot, every)
            totals[total] = max(totals.get(total, score), score)
    return totals, units


def objective_value(instance: Instance, total: Total, weighted_tokens: Fraction) -> Fraction:
    """The number that the objective asks for: weighted tokens/s, the same per GPU used, GPUs or USD/hour."""
    objective = instance.get("objective", "throughput")
    if objective == "throughput":
        return weighted_tokens
    if objective == "throughput_per_gpu":
        return weighted_tokens / sum(total.gpus)
    if objective == "gpus":
        return Fraction(sum(total.gpus))
    if objective == "cost":
        pools = instance["pools"]
        return sum((exact(pool["usd_per_gpu_hour"]) * n for pool, n in zip(pools, total.gpus)), Fraction(0))
    raise ValueError(f"unknown objective {objective}")


def minimised(instance: Instance) -> bool:
    """Whether a smaller objective is better."""
    return instance.get("objective", "throughput") in ("gpus", "cost")


def optimum_stages(instance: Instance, rows: Sequence[Row]) -> tuple[Fraction, Fraction, int] | None:
    """
    The first three stages of the lexicographic optimum.

    Returns
    -------
    tuple or None
        Objective, total (unweighted, credited) output tokens/s, GPUs used; None where no plan is feasible.
    """
    totals, units = all_totals(instance, rows)
    sign = -1 if minimised(instance) else 1
    scale = units.rate * units.weight
    ranked = [
        (sign * objective_value(instance, total, Fraction(value, scale)), tokens, -sum(total.gpus))
        for total, (value, tokens) in totals.items()
    ]
    if not ranked:
        return None
    value, tokens, gpus = max(ranked)
    return sign * value, Fraction(tokens, scale), -gpus


def optimum(instance: Instance, rows: Sequence[Row]) -> Fraction | None:
    """
    The best objective, or None where no plan is feasible.

    Weighted output tokens/s for ``throughput`` (not yet divided by the inventory), weighted tokens/s per GPU used for
    ``throughput_per_gpu``, GPUs for ``gpus``, USD/hour for ``cost``.
    """
    stages = optimum_stages(instance, rows)
    return None if stages is None else stages[0]


def frontier(
    instance: Instance, rows: Sequence[Row], *, allow_unserved: bool = False
) -> list[tuple[Fraction, Fraction]]:
    """
    All non-dominated (TPOT in ms of the slowest point used, y), ascending in TPOT.

    y is the objective, for ``throughput`` divided by the GPUs in the inventory. A plan without any TPOT (every
    workload that it serves has OSL 1) counts as TPOT 0.

    Parameters
    ----------
    allow_unserved
        Let workloads without demand go unserved, as long as one is served.
    """
    totals, units = all_totals(instance, rows)
    sign = -1 if minimised(instance) else 1
    inventory = sum(pool["gpus"] for pool in instance["pools"])
    divisor = inventory if instance.get("objective", "throughput") == "throughput" else 1
    reached = []
    for total, (value, _) in totals.items():
        if total.all_served or allow_unserved:
            y = objective_value(instance, total, Fraction(value, units.rate * units.weight)) / divisor
            reached.append((total.tpot, -sign * y))
    points: list[tuple[Fraction, Fraction]] = []
    for tpot, badness in sorted(reached):
        if not points or badness < -sign * points[-1][1]:
            points.append((Fraction(tpot, units.time), -sign * badness))
    return points
