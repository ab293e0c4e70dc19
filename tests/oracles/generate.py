"""Random tiny instances that exercise every family of the contract, deterministic per seed."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.oracles.enumerate import optimum, units_of, workload_plans
from tests.oracles.limit_handover import limit_handover
from tests.oracles.tables import DEGREES, ROLES, Point, points_of

IDENTITY: tuple[str, ...] = (
    "system",
    "backend",
    "backend_version",
    "model",
    "precision",
    "phase",
    *DEGREES,
    "gpus",
    "domain_gpus",
)
IDENTITY += ("batch", "chunk_tokens", "isl", "osl")
HEADER = (*IDENTITY, "latency_ms", "ttft_ms", "requests_per_s", "memory_gib")

PRECISIONS = (
    "gemm:fp8 moe:fp8 kv:fp8 fmha:fp8",
    "gemm:fp8_block moe:fp8_block kv:fp8 fmha:bfloat16",
    "gemm:fp8_block moe:fp8_block kv:bfloat16 fmha:bfloat16",
    "gemm:bfloat16 kv:bfloat16 fmha:bfloat16",
    "gemm:bfloat16 moe:nvfp4 kv:fp8 fmha:bfloat16",
    "gemm:bfloat16 moe:w4a16_mxfp4 kv:bfloat16 fmha:bfloat16",
)
DENSE: tuple[tuple[int, int, int], ...] = (
    (1, 1, 1),
    (1, 1, 1),
    (2, 1, 1),
    (2, 1, 1),
    (3, 1, 1),
    (4, 1, 1),
    (6, 1, 1),
    (8, 1, 1),
    (1, 2, 1),
    (2, 2, 1),
)
DENSE += ((1, 3, 1), (3, 2, 1), (1, 1, 2), (1, 4, 1), (12, 1, 1))
"""(tp, pp, cp)."""
EXPERTS = ((1, 1), (1, 1), (2, 1), (1, 2), (1, 2), (3, 1), (1, 3), (2, 2), (1, 4), (1, 6), (4, 1))
"""(tp, attention_dp)."""

THEMES: dict[str, dict[str, tuple[int, int]]] = {
    "any": {},
    "hybrid": {"prefill": (2, 4), "decode": (2, 4), "colocated": (1, 1)},
    "mixed": {"prefill": (2, 4), "decode": (2, 4), "colocated": (2, 4)},
}
"""Least and most GPUs of a replica per role: sizes that leave GPUs over, for the other mode or a second engine."""

MAX_CHOICES = 3_000
"""Most (point, replicas) sets of one role of a workload."""
MAX_PAIRS = 12_000
"""Most (prefill set, decode set) pairs of a workload, hybrid combinations included."""
MAX_PLANS = 30_000
"""Most pairs of plans of two workloads."""
INFEASIBLE_KEPT = 0.2
"""Share of the infeasible draws that are kept."""


def random_case(
    seed: int, *, sweepable: bool = False, handover: bool = False
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """
    A random tiny instance and its curve rows; the same seed gives the same case.

    Parameters
    ----------
    seed
        Any integer.
    sweepable
        One pool, one workload and nothing that :mod:`tests.oracles.sweep` refuses (but for group sizes that do not
        divide each other, which it refuses together with unlimited engines or hybrid serving).
    handover
        A limited KV hand-over (C6): bandwidth of GPUs, links between pools, models whose KV cache is known.

    Returns
    -------
    tuple
        Instance (plain JSON values, decimals as floats with few digits) and rows (strings, as read from the CSV).
    """
    attempt = 0
    while True:
        rng = random.Random(seed * 1_000 + attempt)
        instance, rows = _draw(rng, sweepable)
        attempt += 1
        if handover:
            if len(instance["pools"]) == 1 and rng.random() < 0.6:
                continue
            limit_handover(rng, instance, rows)
        if not _is_small(instance, rows):
            continue
        if rng.random() < INFEASIBLE_KEPT or optimum(instance, rows) is not None:
            return instance, rows


def write_case(directory: Path | str, instance: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> Path:
    """Writes ``instance.json`` and the ``curves.csv`` that it names; returns the path of the instance."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    model = {"kind": "curves", "path": "curves.csv", "interpolate": instance["cost_model"].get("interpolate", False)}
    path = folder / "instance.json"
    path.write_text(json.dumps({**instance, "cost_model": model}, indent=2) + "\n", encoding="utf-8")
    with open(folder / "curves.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _decimal(rng: random.Random, low: float, high: float, digits: int) -> float:
    """A number with at most the given digits after the point; its float prints as that decimal."""
    scale = int(10**digits)
    return rng.randint(round(low * scale), round(high * scale)) / scale


def _draw(rng: random.Random, sweepable: bool) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """One case, of any size."""
    pools = _pools(rng, sweepable)
    theme = rng.choices(list(THEMES), [60, 20, 20])[0]
    favourite = rng.choice(PRECISIONS[:4])
    workloads = _workloads(rng, favourite, sweepable)
    rows = _rows(rng, pools, workloads, favourite, THEMES[theme])
    serving = _serving(rng, workloads, sweepable)
    if theme == "hybrid":
        serving.update(hybrid=True, modes=["colocated", "disaggregated"])
    elif theme == "mixed" and serving["engines_per_role"] == 1:
        serving["engines_per_role"] = "unlimited" if sweepable else 2
    instance: dict[str, Any] = {
        "format": "disagg-instance",
        "version": 1,
        "name": f"random-{rng.randrange(10**6)}",
        "pools": pools,
        "workloads": workloads,
        "serving": serving,
        "cost_model": {"kind": "curves", "path": "curves.csv", "interpolate": rng.random() < 0.3},
        "objective": "throughput",
    }
    if not sweepable:
        instance["objective"] = rng.choices(["throughput", "throughput_per_gpu", "gpus", "cost"], [45, 25, 14, 16])[0]
    _limits(rng, instance, rows, sweepable)
    _demands(rng, instance, rows, sweepable)
    if not sweepable:
        _budget(rng, instance)
        _own_rules(rng, instance, rows)
    return instance, rows


def _own_rules(rng: random.Random, instance: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> None:
    """Utilization of single workloads, and limits on the longest token gap."""
    for workload in instance["workloads"]:
        if rng.random() < 0.15:
            roles = rng.sample(ROLES, rng.choice([1, 2, 3]))
            workload["utilization"] = {role: rng.choice([1.0, 0.9, 0.7]) for role in roles}
        mine = [row for row in rows if row["model"] == workload["model"] and row["osl"] == str(workload["osl"])]
        if rng.random() < 0.06 and mine:
            gaps = sorted(float(row["latency_ms"]) for row in mine)
            workload.setdefault("sla", {})["itl_ms"] = _near_top(rng, gaps)


def _pools(rng: random.Random, sweepable: bool) -> list[dict[str, Any]]:
    """One or two pools, sometimes of the same GPU."""
    pools = []
    for index in range(1 if sweepable or rng.random() < 0.55 else 2):
        gpus = rng.choice([2, 3, 4, 5, 5, 6, 7, 7, 8, 9, 10, 11, 12])
        if sweepable:
            gpus = rng.choice([3, 4, 6, 8, 8, 10, 12, 14, 18, 20])
        pools.append(
            {
                "name": f"pool{index}",
                "gpu": "gpu_a" if index == 0 or rng.random() < 0.3 else "gpu_b",
                "gpus": gpus,
                "nvlink_domain_gpus": rng.choice([1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 8, 8, 9, 10, 12]),
                "usd_per_gpu_hour": _decimal(rng, 0.5, 6, rng.choice([0, 1, 2])) or 0.5,
                "watts_per_gpu": rng.choice([300, 450.5, 700, 1000]),
            }
        )
        if rng.random() < 0.2:
            pools[-1]["memory_gib"] = rng.choice([40, 60.5, 80])
    return pools


def _workloads(rng: random.Random, favourite: str, sweepable: bool) -> list[dict[str, Any]]:
    """One or two workloads, sometimes of the same model; SLAs and demands come later."""
    workloads: list[dict[str, Any]] = []
    for index in range(1 if sweepable or rng.random() < 0.6 else 2):
        same = index == 1 and rng.random() < 0.4
        osl = rng.choice([1, 2, 2, 3, 5, 5, 11, 11, 51, 51, 101])
        workload: dict[str, Any] = {
            "name": ("chat", "batch")[index],
            "model": workloads[0]["model"] if same else rng.choice(["org/dense-a", "org/moe-a", "org/dense-b"]),
            "isl": rng.choice([100, 200]),
            "osl": max(osl, 2) if sweepable else osl,
        }
        if rng.random() < 0.4:
            workload["weight"] = rng.choice([0.5, 1, 2, 3, 1.25])
        label = "bf16" if "gemm:bfloat16" in favourite else "fp8"
        kind = rng.random()
        if kind < 0.35:
            workload["precision"] = label
        elif kind < 0.4:
            workload["precision"] = rng.choice(["bf16", "nvfp4", "mxfp4"])
        elif kind < 0.48:
            workload["precision"] = favourite
        elif kind < 0.55:
            workload["precision"] = {role: label for role in ROLES if rng.random() < 0.8}
        if rng.random() < 0.15:
            workload["backend"] = "trtllm"
        workloads.append(workload)
    return workloads


def _partition(rng: random.Random, model: str, gpus: int, least: int, most: int) -> dict[str, int]:
    """A partition of ``least`` to ``most`` GPUs that the pool has (one time in twelve of any size)."""
    while True:
        if "moe" in model:
            tp, attention_dp = rng.choice(EXPERTS)
            pp, cp = rng.choice([1, 1, 1, 2]), rng.choice([1, 1, 1, 1, 2])
            width = tp * attention_dp * cp
            moe_tp = rng.choice([degree for degree in range(1, width + 1) if width % degree == 0])
            moe_ep = width // moe_tp
        else:
            tp, pp, cp = rng.choice(DENSE)
            attention_dp = moe_tp = moe_ep = 1
        if least <= tp * pp * attention_dp * cp <= min(gpus, most) or rng.random() < 0.08:
            return {"tp": tp, "pp": pp, "attention_dp": attention_dp, "moe_tp": moe_tp, "moe_ep": moe_ep, "cp": cp}


def _rows(
    rng: random.Random,
    pools: Sequence[Mapping[str, Any]],
    workloads: Sequence[Mapping[str, Any]],
    favourite: str,
    sizes: Mapping[str, tuple[int, int]],
) -> list[dict[str, str]]:
    """Engines for every GPU, workload and role, with strays that belong to nothing."""
    systems = {pool["gpu"]: pool for pool in pools}
    engines: list[list[dict[str, str]]] = []
    seen: set[tuple[Any, ...]] = set()
    decimals = rng.choice([0, 1, 3])
    for system, pool in systems.items():
        for workload in workloads:
            for role in ROLES:
                if role != "prefill" and workload["osl"] == 1:
                    continue
                key = (system, workload["model"], workload["isl"], workload["osl"] if role != "prefill" else "", role)
                if key in seen:
                    continue
                seen.add(key)
                for _ in range(rng.choice([1, 2, 2, 3, 3]) if role != "colocated" else rng.choice([0, 1, 2, 2])):
                    degrees = _partition(rng, workload["model"], pool["gpus"], *sizes.get(role, (1, 99)))
                    engines.append(_engine(rng, role, system, pool, workload, degrees, favourite, decimals))
    for rows in list(engines):
        if rng.random() < 0.12:
            twin = [dict(row) for row in rows]
            for row in twin:
                row["backend_version"] = "9.9"
            engines.append(twin)
    if rng.random() < 0.2:
        stray = [dict(row) for row in rng.choice(engines)]
        for row in stray:
            field = rng.choice(["model", "system", "isl"])
            row[field] = {"model": "org/other", "system": "gpu_z", "isl": "77"}[field]
        engines.append(stray)
    unique: dict[tuple[str, ...], dict[str, str]] = {}
    for rows in engines:
        for row in rows:
            unique.setdefault(tuple(row[field] for field in IDENTITY), row)
    rows = list(unique.values())
    if rng.random() < 0.2:
        rng.shuffle(rows)
    return rows


def _engine(
    rng: random.Random,
    role: str,
    system: str,
    pool: Mapping[str, Any],
    workload: Mapping[str, Any],
    degrees: Mapping[str, int],
    favourite: str,
    decimals: int,
) -> list[dict[str, str]]:
    """The rows of one engine: latency mostly grows with batch, now and then it does not."""
    gpus = degrees["tp"] * degrees["pp"] * degrees["attention_dp"] * degrees["cp"]
    isl, osl, pp = workload["isl"], workload["osl"], degrees["pp"]
    multiples = rng.choice([[1], [1, 2], [1, 3], [2, 4], [1, 2, 4], [2, 3, 6], [1, 2, 4, 6]])
    latency = _decimal(rng, 100, 900, 0) if role == "prefill" else _decimal(rng, 4, 40, 0)
    ttft, memory = _decimal(rng, 150, 900, 0), _decimal(rng, 20, 60, 0)
    wants_memory, rate_left_out = rng.random() < 0.8, role != "colocated" and rng.random() < 0.25
    common = {
        "system": system,
        "backend": rng.choice(["trtllm"] * 5 + ["vllm"]),
        "backend_version": rng.choice(["1.0", "1.0", "1.1"]),
        "model": workload["model"],
        "precision": favourite if rng.random() < 0.8 else rng.choice(PRECISIONS),
        "phase": role,
        **{name: str(degree) for name, degree in degrees.items()},
        "gpus": str(gpus),
        "domain_gpus": str(rng.choice([pool["nvlink_domain_gpus"]] * 4 + [1, 2, 8])),
        "chunk_tokens": str(rng.choice([isl, isl // 2])) if role == "colocated" else "0",
        "isl": str(isl),
        "osl": "" if role == "prefill" else str(osl),
    }
    rows = []
    for multiple in multiples:
        batch = multiple * degrees["attention_dp"]
        seconds = latency / 1000 if role == "prefill" else latency * (osl - 1) / 1000
        if role == "colocated":
            seconds += ttft / 1000
        factor = rng.choice([0.4, 0.6, 0.6, 0.8]) if role == "colocated" else rng.choice([0.9, 1, 1, 1.1])
        rate = max(0.001, round(pp * batch / seconds * factor, rng.choice([decimals, 3])))
        rows.append(
            {
                **common,
                "batch": str(batch),
                "latency_ms": f"{latency:.{rng.choice([3, 5])}f}",
                "ttft_ms": {"prefill": f"{latency:.4f}", "decode": "", "colocated": f"{ttft:.4f}"}[role],
                "requests_per_s": "" if rate_left_out and rng.random() < 0.8 else f"{rate:.9g}",
                "memory_gib": f"{memory:.3f}" if wants_memory else "",
            }
        )
        growth = rng.choice([1, 1.25, 1.5, 1.5, 2, 2, 0.9])
        latency = round(latency * growth, rng.choice([0, 1]))
        ttft, memory = round(ttft * rng.choice([1, 1.5, 2])), memory + rng.choice([0, 0, 5, 20])
    return [{field: row[field] for field in HEADER} for row in rows]


def _serving(rng: random.Random, workloads: Sequence[Mapping[str, Any]], sweepable: bool) -> dict[str, Any]:
    """Modes, engines per role, utilization, rate matching, replica bounds, allow and deny."""
    serving: dict[str, Any] = {
        "modes": rng.choice([["colocated", "disaggregated"]] * 4 + [["disaggregated"]] * 2 + [["colocated"]]),
        "hybrid": rng.random() < 0.4,
        "engines_per_role": rng.choice([1, 1, "unlimited"] if sweepable else [1, 1, 2, 2, "unlimited"]),
    }
    if serving["hybrid"] and rng.random() < 0.8:
        serving["modes"] = ["colocated", "disaggregated"]
    if rng.random() < 0.3:
        serving["utilization"] = {role: rng.choice([1.0, 0.9, 0.75, 0.8]) for role in ROLES}
    if rng.random() < 0.2:
        serving["allow"] = {rng.choice(ROLES): [_pattern(rng) for _ in range(rng.choice([1, 2]))]}
    if rng.random() < 0.15:
        serving["deny"] = {role: [_pattern(rng)] for role in rng.sample(ROLES, rng.choice([1, 2]))}
    if sweepable:
        return serving
    if rng.random() < 0.3:
        serving["rate_match"] = "decode_covers"
        if rng.random() < 0.6:
            serving["tolerance"] = rng.choice([0, 0.1, 0.25, 0.5, 1])
    for key, highest in (("min_replicas", 3), ("max_replicas", 3)):
        if rng.random() < 0.15:
            bounds = {role: rng.randint(1, highest) for role in rng.sample(ROLES, rng.choice([1, 2]))}
            by_workload = rng.random() < 0.5
            serving[key] = {rng.choice(workloads)["name"]: bounds} if by_workload else bounds
    if "min_replicas" in serving and "max_replicas" in serving:
        del serving["min_replicas"]  # bounds that contradict each other are refused when reading
    return serving


def _pattern(rng: random.Random) -> dict[str, Any]:
    """An allow or deny pattern over one or two fields."""
    drawn = {
        "tp": rng.choice([1, 2, [1, 2], [2, 3, 4], {"max": 2}]),
        "gpus": rng.choice([{"max": 4}, {"min": 2}, {"min": 2, "max": 4}, [1, 2, 4]]),
        "batch": rng.choice([{"max": 3}, {"min": 2}, [1, 2, 4], 2]),
        "pp": rng.choice([1, [1, 2], {"min": 2}]),
        "attention_dp": rng.choice([1, {"max": 2}]),
        "moe_ep": rng.choice([1, {"min": 1, "max": 3}]),
        "chunk_tokens": rng.choice([0, {"max": 100}, {"min": 60}]),
        "backend": rng.choice(["trtllm", ["trtllm", "vllm"], "vllm"]),
    }
    return {field: drawn[field] for field in rng.sample(list(drawn), rng.choice([1, 1, 2]))}


def _limits(
    rng: random.Random, instance: Mapping[str, Any], rows: Sequence[Mapping[str, str]], sweepable: bool
) -> None:
    """SLAs, often exactly at the latency of some row, so that equality counts."""
    for workload in instance["workloads"]:
        mine = [row for row in rows if row["model"] == workload["model"] and row["isl"] == str(workload["isl"])]
        ttfts = sorted(float(row["ttft_ms"]) for row in mine if row["ttft_ms"])
        tpots = sorted(float(row["latency_ms"]) for row in mine if row["osl"] == str(workload["osl"])) or [10.0]
        sla: dict[str, float] = {}
        if rng.random() < 0.6 and ttfts:
            sla["ttft_ms"] = _near_top(rng, ttfts)
        if rng.random() < 0.6:
            sla["tpot_ms"] = _near_top(rng, tpots)
        if rng.random() < 0.4 and not sweepable and ttfts:
            whole = rng.choice(ttfts) + (workload["osl"] - 1) * rng.choice(tpots)
            sla["e2el_ms"] = round(whole, 6) if rng.random() < 0.8 else round(whole * 0.8, 1)
        if sla or rng.random() < 0.5:
            workload["sla"] = sla


def _near_top(rng: random.Random, values: Sequence[float]) -> float:
    """A value of an ascending list, more often a high one, sometimes a little more than it."""
    value = max(rng.choice(values) for _ in range(rng.choice([1, 2, 4])))
    return value if rng.random() < 0.7 else round(value + rng.choice([0.5, 10]), 6)


def _demands(
    rng: random.Random, instance: Mapping[str, Any], rows: Sequence[Mapping[str, str]], sweepable: bool
) -> None:
    """Demands and ceilings, often a whole multiple of the rate of a point."""
    by_workload: dict[int, list[Point]] = {}
    for point in points_of(instance, rows):
        by_workload.setdefault(point.workload, []).append(point)
    needed = instance["objective"] in ("gpus", "cost")
    for index, workload in enumerate(instance["workloads"]):
        rates = sorted(float(point.rate) for point in by_workload.get(index, [])) or [1.0]
        digits = rng.choice([1, 3, 6])
        demand = max(0.001, round(rng.choice(rates[: 1 + len(rates) // 2]) * rng.choice([0.5, 1, 1, 2, 3]), digits))
        if needed or rng.random() < 0.2:
            workload["requests_per_s"] = demand
        elif rng.random() < 0.2:
            workload["requests_per_s"] = None
        if rng.random() < 0.25:
            ceiling = round(rng.choice(rates) * rng.choice([0.75, 1, 2, 2, 3]), digits)
            least = workload.get("requests_per_s") or 0.001
            workload["max_requests_per_s"] = max(ceiling, least)


def _budget(rng: random.Random, instance: dict[str, Any]) -> None:
    """Budgets in USD/hour or watts; prices and powers that nothing needs are sometimes left out."""
    budget: dict[str, Any] = {}
    pools = instance["pools"]
    if rng.random() < 0.25:
        for limit, each in (("usd_per_hour", "usd_per_gpu_hour"), ("watts", "watts_per_gpu")):
            if rng.random() < 0.6:
                everything = sum(pool["gpus"] * pool[each] for pool in pools)
                budget[limit] = round(everything * rng.choice([0.3, 0.5, 0.75, 1]), 4)
        if budget and instance["objective"] != "cost" and rng.random() < 0.25:
            budget["count_idle"] = True
    if budget:
        instance["budget"] = budget
    if "usd_per_hour" not in budget and instance["objective"] != "cost" and rng.random() < 0.4:
        for pool in pools:
            del pool["usd_per_gpu_hour"]
    if "watts" not in budget and rng.random() < 0.4:
        for pool in pools:
            del pool["watts_per_gpu"]


def _count_choices(points: Sequence[Point], pools: Sequence[Mapping[str, Any]], limit: float) -> int:
    """How many sets of (point, replicas) one role has, without listing them."""
    total = 1
    for index, pool in enumerate(pools):
        engines: dict[tuple[str, ...], list[Point]] = {}
        for point in points:
            if point.pool == index:
                engines.setdefault(point.engine, []).append(point)
        ways = {(0, 0): 1}
        for its_points in engines.values():
            for (used, number), many in list(ways.items()):
                if number < limit:
                    for point in its_points:
                        for gpus in range(used + point.gpus, pool["gpus"] + 1, point.gpus):
                            ways[gpus, number + 1] = ways.get((gpus, number + 1), 0) + many
        total *= sum(ways.values())
    return total - 1


def _is_small(instance: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> bool:
    """Whether enumeration takes well under a second."""
    points, serving = points_of(instance, rows), instance["serving"]
    limit = float("inf") if serving["engines_per_role"] == "unlimited" else serving["engines_per_role"]
    for index, workload in enumerate(instance["workloads"]):
        counts = {}
        for role in ROLES:
            mine = [point for point in points if point.workload == index and point.role == role]
            counts[role] = _count_choices(mine, instance["pools"], limit)
        pairs = counts["prefill"] * (counts["decode"] if workload["osl"] > 1 else 1)
        both = (1 + counts["colocated"]) * (1 + pairs) if serving["hybrid"] else counts["colocated"] + pairs
        if both > MAX_PAIRS or max(counts.values()) > MAX_CHOICES:
            return False
    if len(instance["workloads"]) == 1:
        return True
    units = units_of(instance, points)._replace(weight=1)
    product = 1
    for index in range(len(instance["workloads"])):
        product *= max(1, len(workload_plans(instance, index, points, units)))
    return product <= MAX_PLANS
