"""Every plan of a tiny instance, one by one, for questions that need more of a plan than its sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

from tests.oracles.enumerate import fits, replica_bound, role_choices, units_of, whole, within_budget
from tests.oracles.tables import exact, points_of

Instance = Mapping[str, Any]
Rows = Sequence[Mapping[str, str]]
Way = tuple[tuple[Any, int], ...]
ROLES = ("prefill", "decode", "colocated")


def ways_of(instance: Instance, rows: Rows, index: int) -> list[Way]:
    """Every way to serve a workload, limits aside: sets of (point in integers, replicas), prefill first."""
    serving, workload = instance.get("serving") or {}, instance["workloads"][index]
    points = points_of(instance, rows)
    units = units_of(instance, points)
    pools = [(pool["gpus"], pool["nvlink_domain_gpus"]) for pool in instance["pools"]]
    engines = serving.get("engines_per_role", 1)
    limit = float("inf") if engines == "unlimited" else engines
    choices: dict[str, list[Way]] = {}
    for role in ROLES:
        mine = [whole(point, units) for point in points if point.workload == index and point.role == role]
        low = replica_bound(serving.get("min_replicas"), workload["name"], role) or 0
        high = replica_bound(serving.get("max_replicas"), workload["name"], role) or 10**9
        some = role_choices(mine, pools, limit)
        choices[role] = [choice for choice in some if low <= sum(n for _, n in choice) <= high]
    colocated: list[Way] = choices["colocated"]
    alike = lambda one, other: {e.point.family for e, _ in one} == {e.point.family for e, _ in other}  # noqa: E731
    one_family = lambda choice: len({e.point.family for e, _ in choice}) == 1  # noqa: E731
    if exact(workload["osl"]) == 1:
        joined = [choice for choice in choices["prefill"] if one_family(choice)]
    else:
        both = product(choices["prefill"], choices["decode"])
        joined = [(*a, *b) for a, b in both if one_family(a) and alike(a, b)]
    both_modes = [(*a, *b) for a in colocated for b in joined] if serving.get("hybrid") else []
    none: list[Way] = [()] if workload.get("requests_per_s") is None else []
    return [*none, *colocated, *joined, *both_modes]


def flow(workload: Mapping[str, Any], way: Way, wrong: set[int], error: Fraction, scale: int) -> Fraction:
    """Credited requests/s where some engines are wrong."""
    capacity = dict.fromkeys(ROLES, Fraction(0))
    for each, replicas in way:
        factor = 1 + error if id(each) in wrong else Fraction(1)
        capacity[each.point.role] += Fraction(each.rate * replicas, scale) / factor
    roles = ["prefill"] if exact(workload["osl"]) == 1 else ["prefill", "decode"]
    total = min(capacity[role] for role in roles) + capacity["colocated"]
    most = workload.get("max_requests_per_s")
    return total if most is None else min(total, exact(most))


def keeps_limits(workload: Mapping[str, Any], way: Way, wrong: set[int], error: Fraction, time: int) -> bool:
    sla, osl = workload.get("sla") or {}, exact(workload["osl"])
    slow = lambda each, what: Fraction(what, time) * (1 + error if id(each) in wrong else 1)  # noqa: E731
    for each, _ in way:
        role = each.point.role
        if role != "decode" and sla.get("ttft_ms") is not None and slow(each, each.ttft) > exact(sla["ttft_ms"]):
            return False
        late = role != "prefill" and osl > 1 and sla.get("tpot_ms") is not None
        if late and slow(each, each.latency) > exact(sla["tpot_ms"]):
            return False
    if sla.get("e2el_ms") is not None:
        first = [(slow(e, e.ttft), e) for e, _ in way if e.point.role == "prefill"]
        second = [slow(e, e.latency) for e, _ in way if e.point.role == "decode"]
        alone = [slow(e, e.ttft) + (osl - 1) * slow(e, e.latency) for e, _ in way if e.point.role == "colocated"]
        totals = [a + (osl - 1) * b for a, _ in first for b in second] + (alone if osl > 1 else [])
        totals += [a for a, _ in first] if osl == 1 else []
        totals += [slow(e, e.ttft) for e, _ in way if e.point.role == "colocated"] if osl == 1 else []
        return all(total <= exact(sla["e2el_ms"]) for total in totals)
    return True


def every_plan(instance: Instance, rows: Rows) -> Iterator[tuple[list[Way], list[int]]]:
    """Every plan within inventory, packing and budget, limits aside."""
    pools = tuple((pool["gpus"], pool["nvlink_domain_gpus"]) for pool in instance["pools"])
    options = [ways_of(instance, rows, index) for index in range(len(instance["workloads"]))]
    for plan in product(*options):
        groups: list[dict[int, int]] = [{} for _ in pools]
        for each, replicas in (used for way in plan for used in way):
            here = groups[each.point.pool]
            here[each.point.group] = here.get(each.point.group, 0) + each.point.stages * replicas
        usage = tuple(tuple(sorted(here.items())) for here in groups)
        gpus = [sum(size * count for size, count in here) for here in usage]
        if any(gpus) and fits(usage, pools) and within_budget(instance, gpus):
            yield list(plan), gpus
