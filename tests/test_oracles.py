"""The oracles against each other, against laws that any optimum obeys, and against examples worked by hand."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.oracles import sweep
from tests.oracles.enumerate import frontier, gpus_of, optimum, optimum_stages, replica_bound, within_budget
from tests.oracles.generate import HEADER, random_case, write_case
from tests.oracles.packing import packs
from tests.oracles.tables import ROLES, Point, exact, nine_digits, points_of, precision_fits, read_case, read_rows

drawn = cache(random_case)
"""Random cases by seed, drawn once for all tests; nobody changes them in place."""
CURVES = Path(__file__).parent.parent / "instances" / "curves"


def row(phase: str, **fields: Any) -> dict[str, str]:
    """A curve row with everything that a test does not care about filled in."""
    osl = {"prefill": ""}.get(phase, "11")
    known: dict[str, Any] = {
        "system": "gpu",
        "backend": "trtllm",
        "backend_version": "1",
        "model": "m",
        "precision": "gemm:fp8 moe:fp8 kv:fp8 fmha:fp8",
        "phase": phase,
        **dict.fromkeys(("tp", "pp", "attention_dp", "moe_tp", "moe_ep", "cp", "batch"), 1),
        "domain_gpus": 8,
        "chunk_tokens": 100 if phase == "colocated" else 0,
        "isl": 100,
        "osl": osl,
        "latency_ms": 100 if phase == "prefill" else 10,
        "ttft_ms": 200 if phase == "colocated" else "",
        "requests_per_s": "",
        "memory_gib": "",
    }
    known.update(fields)
    known["gpus"] = fields.get("gpus", known["tp"] * known["pp"] * known["attention_dp"] * known["cp"])
    return {name: str(known[name]) for name in HEADER}


def instance(gpus: int = 8, domain: int = 8, osl: int = 11, **fields: Any) -> dict[str, Any]:
    """One pool and one workload; the fields override whole keys of the instance."""
    return {
        "pools": [{"name": "pool", "gpu": "gpu", "gpus": gpus, "nvlink_domain_gpus": domain}],
        "workloads": [{"name": "chat", "model": "m", "isl": 100, "osl": osl}],
        "cost_model": {"kind": "curves", "path": "curves.csv"},
        "objective": "throughput",
        **fields,
    }


def plans(points: Sequence[Point], pools: Sequence[Mapping[str, Any]]) -> Iterator[dict[Point, int]]:
    """Every vector of replicas over all the points of an instance that fits the GPU counts of its pools."""
    if not points:
        yield {}
        return
    first = points[0]
    for plan in plans(points[1:], pools):
        used = sum(point.gpus * count for point, count in plan.items() if point.pool == first.pool)
        for count in range((pools[first.pool]["gpus"] - used) // first.gpus + 1):
            yield {**plan, first: count} if count else plan


def judged(case: Mapping[str, Any], plan: Mapping[Point, int]) -> tuple[Fraction, Fraction, int, Fraction, bool] | None:
    """
    Checks one whole plan family by family, as a verifier would.

    Returns (objective, tokens/s, GPUs, slowest TPOT, all served), or None where the plan breaks the contract.
    """
    serving, pools = case.get("serving") or {}, case["pools"]
    for index, pool in enumerate(pools):
        groups: dict[int, int] = {}
        for point, count in plan.items():
            if point.pool == index:
                groups[point.group] = groups.get(point.group, 0) + point.stages * count
        domain = pool["nvlink_domain_gpus"]
        if not packs(groups, pool["gpus"] // domain, domain, pool["gpus"] % domain):
            return None
    gpus = [sum(point.gpus * n for point, n in plan.items() if point.pool == index) for index in range(len(pools))]
    if not plan or not within_budget(case, gpus):
        return None

    engines: dict[tuple[Any, ...], set[Any]] = {}
    for point in plan:
        engines.setdefault((point.workload, point.pool, point.role), set()).add(point.engine)
        if sum(1 for other in plan if other[:4] == point[:4]) > 1:
            return None
    most = serving.get("engines_per_role", 1)
    if most != "unlimited" and any(len(found) > most for found in engines.values()):
        return None

    weighted = tokens = tpot = Fraction(0)
    all_served = True
    for index, workload in enumerate(case["workloads"]):
        osl, name = exact(workload["osl"]), workload["name"]
        mine = {role: {p: n for p, n in plan.items() if (p.workload, p.role) == (index, role)} for role in ROLES}
        flow = {role: sum((p.rate * n for p, n in used.items()), Fraction(0)) for role, used in mine.items()}
        for role, used in mine.items():
            low = replica_bound(serving.get("min_replicas"), name, role)
            high = replica_bound(serving.get("max_replicas"), name, role)
            if used and (sum(used.values()) < (low or 0) or sum(used.values()) > (high or 10**9)):
                return None
        if osl > 1 and bool(mine["prefill"]) != bool(mine["decode"]):
            return None
        if mine["colocated"] and mine["prefill"] and not serving.get("hybrid", False):
            return None
        if len({point.family for role in ("prefill", "decode") for point in mine[role]}) > 1:
            return None
        limit = (workload.get("sla") or {}).get("e2el_ms")
        for one in mine["prefill"]:
            for other in mine["decode"]:
                if limit is not None and one.latency + (osl - 1) * other.latency > exact(limit):
                    return None
        covers_from = (1 + exact(serving.get("tolerance", 0.03))) * flow["decode"]
        if serving.get("rate_match") == "decode_covers" and osl > 1 and flow["prefill"] > covers_from:
            return None
        rate = flow["colocated"] + (flow["prefill"] if osl == 1 else min(flow["prefill"], flow["decode"]))
        if workload.get("requests_per_s") is not None and rate < exact(workload["requests_per_s"]):
            return None
        if workload.get("max_requests_per_s") is not None:
            rate = min(rate, exact(workload["max_requests_per_s"]))
        weighted += exact(workload.get("weight", 1)) * osl * rate
        tokens += osl * rate
        all_served = all_served and any(mine.values())
        if osl > 1:
            tpot = max([tpot, *(p.latency for role in ("decode", "colocated") for p in mine[role])])
    value = {
        "throughput": lambda: weighted,
        "throughput_per_gpu": lambda: weighted / sum(gpus),
        "gpus": lambda: Fraction(sum(gpus)),
        "cost": lambda: sum(exact(pool["usd_per_gpu_hour"]) * n for pool, n in zip(pools, gpus)) + Fraction(0),
    }[case["objective"]]()
    return value, tokens, sum(gpus), tpot, all_served


@pytest.mark.parametrize("block", range(6))
def test_enumeration_equals_judging_every_replica_vector(block: int) -> None:
    """Composed role by role or as one vector of replicas checked at the end: the same optimum, the same frontier."""
    compared = 0
    for seed in range(block * 40, block * 40 + 40):
        case, rows = drawn(seed)
        points = points_of(case, rows)
        if len(points) > 13 or sum(pool["gpus"] for pool in case["pools"]) * len(points) > 90:
            continue
        compared += 1
        sign = -1 if case["objective"] in ("gpus", "cost") else 1
        found = [each for plan in plans(points, case["pools"]) if (each := judged(case, plan)) is not None]
        best = max(((sign * value, tokens, -gpus) for value, tokens, gpus, *_ in found), default=None)
        stages = optimum_stages(case, rows)
        assert (stages and (sign * stages[0], stages[1], -stages[2])) == best, seed
        divisor = sum(pool["gpus"] for pool in case["pools"]) if case["objective"] == "throughput" else 1
        for allow_unserved in (False, True):
            reached = [(each[3], sign * each[0] / divisor) for each in found if each[4] or allow_unserved]
            kept: list[tuple[Fraction, Fraction]] = []
            for tpot, y in sorted(set(reached), key=lambda pair: (pair[0], -pair[1])):
                if not kept or y > kept[-1][1]:
                    kept.append((tpot, y))
            expected = [(tpot, sign * y) for tpot, y in kept]
            assert frontier(case, rows, allow_unserved=allow_unserved) == expected, seed
    assert compared >= 8


@pytest.mark.parametrize("block", range(4))
def test_sweep_equals_enumeration(block: int) -> None:
    """On one pool and one workload both give the same exact frontier."""
    compared = 0
    for seed in range(block * 100, block * 100 + 100):
        case, rows = random_case(seed, sweepable=True)
        try:
            swept = sweep.frontier(case, rows)
        except ValueError:
            assert case["serving"]["hybrid"] or case["serving"]["engines_per_role"] == "unlimited"
            continue
        assert swept == frontier(case, rows), seed
        compared += 1
    assert compared >= 70


@pytest.mark.parametrize("modes", [["colocated", "disaggregated"], ["disaggregated"]])
@pytest.mark.parametrize("domain", [8, 20, 36])
def test_sweep_equals_trying_all_pairs_of_counts_on_a_measured_table(domain: int, modes: list[str]) -> None:
    """40 GPUs of a real table: all pairs of points and counts, packed by search, at a few TPOT limits."""
    path = CURVES / "gb200__trtllm__deepseek-ai--DeepSeek-V3.csv.gz"
    if not path.exists():
        pytest.skip("curves not installed")
    case, rows = real_case(path, gpus=40, domain=domain, isl=4500, osl=750, ttft_ms=4000, modes=modes)
    rows = [each for each in rows if int(each["tp"]) * int(each["attention_dp"]) >= 4]
    swept = sweep.frontier(case, rows)
    points = points_of(case, rows)
    room = (40 // domain, domain, 40 % domain)
    for limit in {tpot for tpot, _ in swept[:: max(1, len(swept) // 6)]} | {swept[-1][0] + 100}:
        kinds: dict[tuple[Any, ...], Fraction] = {}
        for point in points:
            if point.role == "prefill" or point.latency <= limit:
                kind = (point.role, point.family, point.group, point.stages)
                kinds[kind] = max(kinds.get(kind, Fraction(0)), point.rate)
        best = Fraction(0)
        for (role, family, group, stages), rate in kinds.items():
            for count in range(1, 40 // (group * stages) + 1):
                if role == "colocated" and packs({group: count * stages}, *room):
                    best = max(best, rate * count)
                for (other, its_family, its_group, its_stages), its_rate in kinds.items():
                    if (role, other) != ("prefill", "decode") or family != its_family:
                        continue
                    for its_count in range(1, 40 // (its_group * its_stages) + 1):
                        value = min(rate * count, its_rate * its_count)
                        if value > best:
                            groups = {group: count * stages}
                            groups[its_group] = groups.get(its_group, 0) + its_count * its_stages
                            best = value if packs(groups, *room) else best
        assert max(y for tpot, y in swept if tpot <= limit) == best * 750 / 40


def real_case(
    path: Path,
    *,
    gpus: int,
    domain: int,
    isl: int,
    osl: int,
    ttft_ms: int,
    modes: Sequence[str],
    interpolate: bool = False,
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """An instance over a measured table."""
    rows = read_rows(path)
    case = instance(gpus, domain, osl, serving={"modes": list(modes)})
    case["pools"][0]["gpu"] = rows[0]["system"]
    case["workloads"][0].update(model=rows[0]["model"], isl=isl, sla={"ttft_ms": ttft_ms})
    case["cost_model"]["interpolate"] = interpolate
    return case, rows


@pytest.mark.parametrize("interpolate", [False, True])
def test_sweep_of_a_measured_table_obeys_the_laws(interpolate: bool) -> None:
    """A longer TTFT, more batches, more kinds of engines and both modes never lower the frontier."""
    path = CURVES / "h100_sxm__trtllm__Qwen--Qwen3-32B-FP8.csv.gz"
    if not path.exists():
        pytest.skip("curves not installed")
    both = ["colocated", "disaggregated"]

    def traced(ttft_ms: int = 2000, interpolate: bool = interpolate, engines: Any = 1) -> list[Any]:
        case, rows = real_case(
            path, gpus=72, domain=8, isl=4500, osl=750, ttft_ms=ttft_ms, modes=both, interpolate=interpolate
        )
        case["serving"]["engines_per_role"] = engines
        return sweep.frontier(case, rows)

    base = traced()
    assert len(base) > 15
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(base))
    assert covers(traced(ttft_ms=4000), base)
    assert covers(traced(engines="unlimited"), base)
    assert covers(traced(interpolate=True), base)


def covers(upper: Sequence[tuple[Fraction, Fraction]], lower: Sequence[tuple[Fraction, Fraction]]) -> bool:
    """Whether every (TPOT, y) of one frontier is reached or beaten by another (y maximised)."""
    return all(any(tpot <= limit and y >= least for tpot, y in upper) for limit, least in lower)


def test_optimum_is_the_loose_end_of_the_frontier() -> None:
    """With one workload the best y of the frontier is the optimum."""
    for seed in range(150):
        case, rows = drawn(seed)
        if len(case["workloads"]) == 1:
            best, points = optimum(case, rows), frontier(case, rows)
            assert (best is None) == (not points)
            if points and best is not None:
                inventory = sum(pool["gpus"] for pool in case["pools"])
                assert points[-1][1] == (best / inventory if case["objective"] == "throughput" else best)


@pytest.mark.parametrize(
    "loosen",
    ["hybrid", "engines", "sla", "budget", "ceiling", "demand", "modes", "rate_match", "deny", "bounds", "domain"],
)
def test_loosening_never_worsens_the_optimum(loosen: str) -> None:
    """Monotonicity: without a restriction the optimum is at least as good, and sometimes better."""
    better = 0
    seeds = range(560, 760) if loosen == "hybrid" else range(200)  # being hybrid pays in three of a thousand cases
    for seed in seeds:
        case, rows = drawn(seed)
        loose = copy.deepcopy(case)
        serving = loose["serving"]
        if loosen == "hybrid":
            serving["hybrid"] = True
        elif loosen == "engines":
            if serving["engines_per_role"] != 1:
                continue
            serving["engines_per_role"] = 2
        elif loosen == "modes":
            serving["modes"] = ["colocated", "disaggregated"]
        elif loosen == "budget":
            loose.pop("budget", None)
        elif loosen in ("rate_match", "deny", "bounds"):
            for key in {"deny": ["deny", "allow"], "bounds": ["min_replicas", "max_replicas"]}.get(loosen, [loosen]):
                serving.pop(key, None)
        elif loosen == "domain":
            groups = [int(each["gpus"]) // int(each["pp"]) for each in rows]
            if any(group > pool["nvlink_domain_gpus"] for group in groups for pool in loose["pools"]):
                continue
            for pool in loose["pools"]:
                pool["nvlink_domain_gpus"] *= pool["gpus"]
        for workload in loose["workloads"]:
            if loosen == "sla":
                workload.pop("sla", None)
            if loosen == "ceiling":
                workload.pop("max_requests_per_s", None)
            if loosen == "demand" and workload.get("requests_per_s"):
                workload["requests_per_s"] /= 2
        if len(points_of(loose, rows)) > 24 or loose == case:
            continue
        before, after = optimum(case, rows), optimum(loose, rows)
        if before is not None:
            assert after is not None
            assert after <= before if case["objective"] in ("gpus", "cost") else after >= before
        better += before != after
    assert better >= 1


def test_packing_alone_changes_optima() -> None:
    """The random cases reach instances where counting GPUs is wrong."""
    changed = 0
    for seed in range(240):
        case, rows = drawn(seed)
        if any(pool["nvlink_domain_gpus"] < pool["gpus"] for pool in case["pools"]):
            loose = copy.deepcopy(case)
            usable = [
                r for r in rows if all(int(r["gpus"]) <= p["nvlink_domain_gpus"] * int(r["pp"]) for p in case["pools"])
            ]
            for pool in loose["pools"]:
                pool["nvlink_domain_gpus"] = pool["gpus"]
            changed += optimum(case, usable) != optimum(loose, usable)
    assert changed >= 3


def test_units_do_not_matter() -> None:
    """Twice the weight is twice the objective; all times ten times longer leave the frontier's y alone."""
    for seed in range(120):
        case, rows = drawn(seed)
        if case["objective"] not in ("throughput", "throughput_per_gpu"):
            continue
        heavy = copy.deepcopy(case)
        for workload in heavy["workloads"]:
            workload["weight"] = workload.get("weight", 1) * 2
        one, two = optimum(case, rows), optimum(heavy, rows)
        assert two == (one and one * 2)
        if any(each["requests_per_s"] == "" for each in rows):
            continue
        slow, slow_rows = copy.deepcopy(case), copy.deepcopy(rows)
        for workload in slow["workloads"]:
            for name in workload.get("sla") or {}:
                workload["sla"][name] = exact(workload["sla"][name]) * 10
        for each in slow_rows:
            for name in ("latency_ms", "ttft_ms"):
                each[name] = each[name] and str(float(exact(each[name]) * 10))
        assert frontier(slow, slow_rows) == [(tpot * 10, y) for tpot, y in frontier(case, rows)], seed


def test_random_cases_are_reproducible_and_survive_the_files(tmp_path: Path) -> None:
    """Same seed, same case; what is read back from the written files has the same answers."""
    for seed in range(40):
        case, rows = drawn(seed)
        assert (case, rows) == drawn(seed)
        read, its_rows = read_case(write_case(tmp_path / str(seed), case, rows))
        assert its_rows == rows
        assert optimum_stages(read, its_rows) == optimum_stages(case, rows)
        assert frontier(read, its_rows) == frontier(case, rows)


def test_random_cases_cover_the_contract() -> None:
    """Every feature appears, most cases are feasible and some frontiers have several points."""
    cases = [drawn(seed) for seed in range(250)]
    found = [frontier(case, rows) for case, rows in cases]
    feasible = sum(optimum(case, rows) is not None for case, rows in cases)
    assert 0.6 * len(cases) < feasible < len(cases)
    assert sum(len(points) >= 3 for points in found) >= 10
    text = "".join(str(case) for case, _ in cases)
    for word in (
        "e2el_ms",
        "decode_covers",
        "unlimited",
        "budget",
        "max_requests_per_s",
        "deny",
        "count_idle",
        "pool1",
    ):
        assert word in text
    assert {case["objective"] for case, _ in cases} == {"throughput", "throughput_per_gpu", "gpus", "cost"}
    groups = {int(each["gpus"]) // int(each["pp"]) for _, rows in cases for each in rows}
    assert {1, 2, 3, 4, 6, 8} <= groups


def nested(counts: Mapping[int, int], full: int, domain: int, partial: int) -> bool:
    """C4 as the nested family states it for group sizes that divide each other."""
    return all(
        sum(size // level * count for size, count in counts.items() if size >= level)
        <= full * (domain // level) + partial // level
        for level in counts
    )


def test_packing_equals_the_nested_family_for_powers_of_two() -> None:
    """Search and inequalities agree on divisible sizes, for domains of any size and a partial one."""
    rng = random.Random(1)
    yes = 0
    for _ in range(4000):
        domain = rng.choice([4, 8, 20, 36, 72])
        full, partial = rng.randint(0, 3), rng.randint(0, domain - 1)
        sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= domain]
        counts = {size: rng.randint(0, max(1, domain * 2 // size)) for size in rng.sample(sizes, rng.randint(1, 3))}
        assert packs(counts, full, domain, partial) == nested(counts, full, domain, partial)
        yes += packs(counts, full, domain, partial)
    assert 400 < yes < 3600


def test_packing_by_hand() -> None:
    """Volume is not enough, odd sizes need a search, oversize groups take whole full domains."""
    assert packs({16: 8}, 2, 72)
    assert not packs({16: 9}, 2, 72)
    assert packs({3: 2, 2: 1}, 1, 8)
    assert not packs({3: 3}, 1, 8, 2)
    assert packs({3: 3}, 1, 8, 3)
    assert packs({3: 2, 2: 3}, 2, 6)
    assert packs({4: 2, 3: 2, 2: 3}, 2, 10)
    assert packs({4: 2, 3: 4}, 2, 10)
    assert not packs({7: 2, 4: 1}, 2, 10)
    assert packs({12: 1, 8: 1}, 3, 8)
    assert not packs({12: 1, 8: 2}, 3, 8)
    assert not packs({12: 1}, 1, 8, 7)
    assert packs({}, 0, 8, 3)
    assert packs({2: 1}, 0, 8, 3)


def test_missing_rates_are_rounded_half_even_at_nine_digits() -> None:
    """2000/3 and ties in both directions."""
    assert nine_digits(Fraction(2000, 3)) == Fraction("666.666667")
    assert nine_digits(Fraction("1.000000005")) == 1
    assert nine_digits(Fraction("1.000000015")) == Fraction("1.00000002")
    assert nine_digits(Fraction("0.000999999999996")) == Fraction("0.001")
    assert nine_digits(Fraction(123456789012)) == 123456789000
    rows = [row("prefill", batch=2, pp=2, latency_ms=3), row("decode", batch=4, pp=1, latency_ms=7)]
    rates = {point.role: point.rate for point in points_of(instance(), rows)}
    assert rates == {"prefill": Fraction("1333.33333"), "decode": Fraction("57.1428571")}


def test_precision_labels() -> None:
    """A label looks at the experts, else at the dense layers; anything else must be the whole string."""
    assert precision_fits("fp8", "gemm:bfloat16 moe:fp8_block kv:fp8")
    assert not precision_fits("bf16", "gemm:bfloat16 moe:fp8_block kv:fp8")
    assert precision_fits("bf16", "gemm:float16 kv:fp8")
    assert precision_fits("mxfp4", "gemm:bfloat16 moe:w4a16_mxfp4 kv:bfloat16")
    assert precision_fits("gemm:fp8 kv:fp8", "gemm:fp8 kv:fp8")
    assert not precision_fits("gemm:fp8", "gemm:fp8 kv:fp8")
    assert precision_fits(None, "whatever")


def test_domain_rule() -> None:
    """A group inside the domain, or one priced across domains no larger than the pool's."""
    case = instance(gpus=32, domain=8)
    usable = {
        (tp, priced): bool(points_of(case, [row("prefill", tp=tp, domain_gpus=priced)]))
        for tp, priced in [(8, 72), (8, 4), (16, 8), (16, 4), (16, 72), (16, 16)]
    }
    assert usable == {(8, 72): True, (8, 4): True, (16, 8): True, (16, 4): True, (16, 72): False, (16, 16): False}


def test_interpolation_by_hand() -> None:
    """Multiples of attention_dp between the rows, latency and rate linear, the missing rate rounded before."""
    case = instance(cost_model={"kind": "curves", "interpolate": True})
    degrees = {"attention_dp": 2, "moe_ep": 2}
    rows = [
        row("decode", batch=2, latency_ms=10, requests_per_s="1", **degrees),
        row("decode", batch=8, latency_ms="12.5", requests_per_s="2", **degrees),
    ]
    found = [(point.batch, point.latency, point.rate) for point in points_of(case, rows)]
    third = Fraction(1, 3)
    assert found == [
        (2, 10, 1),
        (4, 10 + Fraction("2.5") * third, 1 + third),
        (6, 10 + Fraction("2.5") * 2 * third, 1 + 2 * third),
        (8, Fraction("12.5"), 2),
    ]


def test_rate_matching_by_hand() -> None:
    """Eight GPUs, prefill 10/s on one GPU, decode 4/s on one GPU: 2 + 6 give min(20, 24) = 20/s, 220 tokens/s."""
    rows = [row("prefill", requests_per_s="10"), row("decode", requests_per_s="4")]
    assert optimum_stages(instance(), rows) == (220, 220, 7)
    assert frontier(instance(), rows) == [(10, Fraction(220, 8))]
    assert sweep.frontier(instance(), rows) == [(10, Fraction(220, 8))]
    covered = instance(serving={"rate_match": "decode_covers", "tolerance": 0})
    assert optimum(covered, rows) == 220
    per_gpu = instance(objective="throughput_per_gpu")
    assert optimum_stages(per_gpu, rows) == (Fraction(220, 7), 220, 7)


def test_decode_covers_by_hand() -> None:
    """Prefill 10/s against decode 9.7/s: within 3.1 % but not within the default 3 %."""
    rows = [row("prefill", requests_per_s="10"), row("decode", requests_per_s="9.7")]
    case = instance(gpus=2, serving={"rate_match": "decode_covers"})
    assert optimum(case, rows) is None
    case["serving"]["tolerance"] = 0.031
    assert optimum(case, rows) == Fraction("106.7")
    default = instance(gpus=2, serving={"rate_match": "decode_covers"})
    rows = [row("prefill", requests_per_s="10.3"), row("decode", requests_per_s="10")]
    assert optimum(default, rows) == 110
    rows[0]["requests_per_s"] = "10.3000001"
    assert optimum(default, rows) is None


def test_equal_to_the_limit_is_feasible_and_a_hair_more_is_not() -> None:
    """TTFT, TPOT and E2E: 100 + 10 x 10 = 200 ms."""
    rows = [row("prefill"), row("decode")]
    for name, limit in (("ttft_ms", 100), ("tpot_ms", 10), ("e2el_ms", 200)):
        case = instance()
        case["workloads"][0]["sla"] = {name: limit}
        assert optimum(case, rows) is not None
        case["workloads"][0]["sla"] = {name: Fraction(limit) - Fraction(1, 10**9)}
        assert optimum(case, rows) is None


def test_families_do_not_mix() -> None:
    """Prefill on one backend or KV format cannot hand over to another."""
    rows = [row("prefill"), row("decode", backend="vllm")]
    assert optimum(instance(), rows) is None
    rows = [row("prefill"), row("decode", precision="gemm:fp8 moe:fp8 kv:bfloat16 fmha:fp8")]
    assert optimum(instance(), rows) is None
    rows = [row("prefill"), row("decode", precision="gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16")]
    assert optimum(instance(), rows) is not None


def test_output_of_length_one_needs_prefill_only() -> None:
    """Eight prefill GPUs at 10/s; no TPOT, so the frontier is the one point at TPOT 0."""
    case = instance(osl=1)
    case["workloads"][0]["sla"] = {"tpot_ms": 1}
    assert optimum_stages(case, [row("prefill", requests_per_s="10")]) == (80, 80, 8)
    assert frontier(case, [row("prefill", requests_per_s="10")]) == [(0, 10)]


def test_hybrid_uses_what_rate_matching_leaves() -> None:
    """Three GPUs: 1 + 1 disaggregated give 10/s and leave one idle, which gives 3/s more where modes may mix."""
    rows = [row("prefill", requests_per_s="10"), row("decode", requests_per_s="10")]
    rows.append(row("colocated", requests_per_s="3", latency_ms=20))
    assert optimum_stages(instance(gpus=3), rows) == (110, 110, 2)
    mixed = instance(gpus=3, serving={"hybrid": True})
    assert optimum_stages(mixed, rows) == (143, 143, 3)
    assert frontier(mixed, rows) == [(10, Fraction(110, 3)), (20, Fraction(143, 3))]
    assert sweep.frontier(mixed, rows) == frontier(mixed, rows)


def test_fleet_of_two_gpu_types_at_the_least_cost() -> None:
    """
    Prices of Melange's example: A10G 1.01 and A100 3.67 USD/hour; one A100 and three A10G cost 6.70.

    Melange lets one GPU serve several request sizes in parts, which replicas of a workload cannot; here one request
    size of 26/s on A10G (2/s) and A100 (20/s): 20 + 3 x 2 just meets it, two A100 cost 7.34, thirteen A10G 13.13.
    """
    case = instance(objective="cost")
    case["pools"] = [
        {"name": "a10g", "gpu": "A10G", "gpus": 14, "nvlink_domain_gpus": 1, "usd_per_gpu_hour": 1.01},
        {"name": "a100", "gpu": "A100", "gpus": 4, "nvlink_domain_gpus": 1, "usd_per_gpu_hour": 3.67},
    ]
    case["workloads"][0]["requests_per_s"] = 26
    rows = [row("colocated", system="A10G", requests_per_s="2"), row("colocated", system="A100", requests_per_s="20")]
    assert optimum_stages(case, rows) == (Fraction("6.70"), 286, 4)
    case["workloads"][0]["requests_per_s"] = 26.001
    assert optimum(case, rows) == Fraction("7.34")


def test_budget_counts_idle_gpus_of_an_owned_fleet() -> None:
    """Eight GPUs at 2 USD/hour: five of them for 10 USD, or none at all where idle ones count."""
    rows = [row("colocated", requests_per_s="1")]
    case = instance(budget={"usd_per_hour": 10})
    case["pools"][0]["usd_per_gpu_hour"] = 2
    assert optimum_stages(case, rows) == (55, 55, 5)
    case["budget"]["count_idle"] = True
    assert optimum(case, rows) is None
    case["budget"]["usd_per_hour"] = 16
    assert optimum(case, rows) == 88


def test_demand_and_ceiling() -> None:
    """Credit stops at the ceiling, and the fewest GPUs then decide; a demand out of reach is infeasible."""
    rows = [row("colocated", requests_per_s="1")]
    case = instance()
    case["workloads"][0]["max_requests_per_s"] = 2.5
    assert optimum_stages(case, rows) == (Fraction("27.5"), Fraction("27.5"), 3)
    case["workloads"][0]["requests_per_s"] = 8
    case["workloads"][0]["max_requests_per_s"] = None
    assert optimum(case, rows) == 88
    case["workloads"][0]["requests_per_s"] = 8.5
    assert optimum(case, rows) is None


def test_sweep_refuses_what_it_does_not_cover() -> None:
    """A wrong answer would be worse than none."""
    for fields in ({"objective": "gpus"}, {"budget": {"watts": 1}}, {"serving": {"engines_per_role": 2}}, {"osl": 1}):
        with pytest.raises(ValueError):
            sweep.table(instance(**fields), [])


def test_gpus_of_counts_stage_groups() -> None:
    """Two groups of 4 and one of 8 in the first pool, none in the second."""
    assert gpus_of((((4, 2), (8, 1)), ())) == (16, 0)
