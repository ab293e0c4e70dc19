"""Requirements of the JSON of an instance, switched off by editing it: shares nothing with the product."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from tests.oracles.enumerate import optimum
from tests.oracles.generate import _is_small, random_case
from tests.oracles.tables import exact, points_of

Json = dict[str, Any]
Rows = Sequence[Mapping[str, str]]
Name = tuple[str, str]
"""Name and place of a requirement, as the product calls them."""
MOST_GPUS = 18
"""GPUs of a pool beyond which plans are too many to list."""
LEAST = 0.0001
"""Requests/s below those of any point: a demand that only asks to be served."""


def switches(case: Json, enough: Mapping[str, int]) -> dict[Name, Callable[[Json], None]]:
    """Requirement to the edit that drops it; packing is dropped after inventory."""
    found: dict[Name, Callable[[Json], None]] = {}
    for number, workload in enumerate(case["workloads"]):
        for key, name in (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("e2el_ms", "E2E"), ("itl_ms", "ITL")):
            if key in (workload.get("sla") or {}):
                found[name, workload["name"]] = lambda d, n=number, k=key: d["workloads"][n]["sla"].pop(k)
        if workload.get("requests_per_s") is not None:
            found["demand", workload["name"]] = lambda d, n=number: d["workloads"][n].update(requests_per_s=LEAST)
        for key in ("backend", "precision"):
            if workload.get(key):
                found[key, workload["name"]] = lambda d, n=number, k=key: d["workloads"][n].pop(k)
    for number, pool in enumerate(case["pools"]):
        gpus = max(enough[pool["name"]], pool["gpus"])
        found["inventory", pool["name"]] = lambda d, n=number, g=gpus: d["pools"][n].update(gpus=g)
        if pool.get("memory_gib") is not None:
            found["memory", pool["name"]] = lambda d, n=number: d["pools"][n].pop("memory_gib")
    for key, name in (("usd_per_hour", "budget"), ("watts", "power")):
        if key in (case.get("budget") or {}):
            found[name, "the fleet"] = lambda d, k=key: d["budget"].pop(k)
    found |= rule_switches(case)
    for number, pool in enumerate(case["pools"]):
        if pool["nvlink_domain_gpus"] < pool["gpus"]:
            found["packing", pool["name"]] = lambda d, n=number: one_domain(d["pools"][n])
    return found


def one_domain(pool: Json) -> None:
    """All GPUs of a pool in one NVLink domain."""
    pool["nvlink_domain_gpus"] = max(pool["gpus"], pool["nvlink_domain_gpus"])


def rule_switches(case: Json) -> Iterator[tuple[Name, Callable[[Json], None]]]:
    """The serving rules."""
    serving = case["serving"]

    def popping(*keys: str) -> Callable[[Json], None]:
        return lambda d: [d["serving"].pop(key, None) for key in keys]

    for key in ("min_replicas", "max_replicas"):
        if serving.get(key):
            yield ("rules", key), popping(key)
    if serving.get("allow") or serving.get("deny"):
        yield ("rules", "allow and deny"), popping("allow", "deny")
    if serving.get("rate_match") == "decode_covers":
        yield ("rules", "decode_covers"), popping("rate_match", "tolerance")
    if len(serving["modes"]) == 1:
        yield ("rules", "modes"), lambda d: d["serving"].update(modes=["colocated", "disaggregated"])
    elif not serving["hybrid"]:
        yield ("rules", "hybrid"), lambda d: d["serving"].update(hybrid=True)
    if serving["engines_per_role"] != "unlimited":
        yield ("rules", "engines_per_role"), lambda d: d["serving"].update(engines_per_role="unlimited")


def dropped(case: Json, names: Sequence[Name], all_switches: Mapping[Name, Callable[[Json], None]]) -> Json:
    """The case without some requirements."""
    changed = copy.deepcopy(case)
    for name, edit in all_switches.items():
        if name in names:
            edit(changed)
    return changed


def enough(case: Json, rows: Rows) -> dict[str, int] | None:
    """GPUs per pool beyond which more change nothing: each role with its demand alone. None where they are too many."""
    free = copy.deepcopy(case)
    for pool in free["pools"]:
        pool["gpus"] = pool["nvlink_domain_gpus"] = 10**4
        pool.pop("memory_gib", None)
    for workload in free["workloads"]:
        for key in ("sla", "backend", "precision"):
            workload.pop(key, None)
    free["serving"].pop("allow", None)
    free["serving"].pop("deny", None)
    free["serving"]["modes"] = ["colocated", "disaggregated"]
    every = points_of(free, rows)
    covers = case["serving"].get("rate_match") == "decode_covers"
    found = []
    for number, pool in enumerate(case["pools"]):
        gpus = 0
        for index, workload in enumerate(case["workloads"]):
            demand = exact(workload.get("requests_per_s") or LEAST)
            for role in ("prefill", "decode", "colocated"):
                mine = [p for p in every if p.workload == index and p.role == role and p.pool == number]
                carried = demand
                if role == "decode" and covers:
                    carried += max((p.rate for p in every if p.workload == index and p.role == "prefill"), default=0)
                least = max([1, *least_replicas(case, workload["name"], role)])
                gpus += max((room(p, pool) * (math.ceil(carried / p.rate) + least) for p in mine), default=0)
        found.append(gpus)
    return None if max(found) > MOST_GPUS else {p["name"]: max(2, n) for p, n in zip(case["pools"], found)}


def room(point: Any, pool: Json) -> int:
    """GPUs that a replica takes where others of its size share its NVLink domains."""
    domain = pool["nvlink_domain_gpus"]
    share = -(-point.group // domain) * domain if point.group > domain else -(-domain // (domain // point.group))
    return point.stages * share


def least_replicas(case: Json, workload: str, role: str) -> Iterator[int]:
    """Entries of min_replicas that concern a role."""
    for key, value in (case["serving"].get("min_replicas") or {}).items():
        if key == role:
            yield value
        elif key == workload:
            yield from (count for each, count in value.items() if each == role)


def minimal_clashes(names: Sequence[Name], is_feasible: Callable[[frozenset[Name]], bool]) -> list[frozenset[Name]]:
    """Every minimal set of requirements that cannot be met, by looking at every subset, smallest first."""
    found: list[frozenset[Name]] = []
    for size in range(len(names) + 1):
        for some in combinations(names, size):
            kept = frozenset(some)
            if not is_feasible(kept) and not any(other <= kept for other in found):
                found.append(kept)
    return found


def minimal_corrections(names: Sequence[Name], is_feasible: Callable[[frozenset[Name]], bool]) -> list[frozenset[Name]]:
    """Every minimal set of requirements without which the others can be met."""
    everything, found = frozenset(names), []
    for size in range(len(names) + 1):
        for some in combinations(names, size):
            given_up = frozenset(some)
            if not any(other <= given_up for other in found) and is_feasible(everything - given_up):
                found.append(given_up)
    return found


def infeasible_case(seed: int, most: int = 8) -> tuple[Json, Rows, dict[str, int]] | None:
    """A random case made harder until it is infeasible; None where it is not, or too large to list."""
    case, rows = random_case(seed)
    case = copy.deepcopy(case)
    rng = random.Random(seed)
    case.get("budget", {}).pop("count_idle", None)
    case["serving"].pop("utilization", None)
    for workload in case["workloads"]:
        workload.pop("utilization", None)
        workload.pop("max_requests_per_s", None)
        for key in workload.get("sla") or {}:
            if rng.random() < 0.5:
                workload["sla"][key] = round(workload["sla"][key] * rng.choice([0.5, 0.8]), 3)
    for pool in case["pools"]:
        pool["gpus"] = max(1, pool["gpus"] // rng.choice([1, 2, 3]))
    if not case.get("budget"):
        case.pop("budget", None)
    gpus = enough(case, rows)
    if gpus is None or optimum(case, rows) is not None:
        return None
    all_switches = switches(case, gpus)
    free = dropped(case, list(all_switches), all_switches)
    return (case, rows, gpus) if 2 <= len(all_switches) <= most and _is_small(free, rows) else None
