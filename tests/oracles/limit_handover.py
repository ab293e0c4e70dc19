"""A limited KV hand-over (C6) for random tiny instances."""

from __future__ import annotations

import random
from typing import Any

from tests.oracles.tables import points_of


def limit_handover(rng: random.Random, instance: dict[str, Any], rows: list[dict[str, str]]) -> None:
    """
    Adds C6 to a case: limits that bind at its rates, and latency limits on or near what the hand-over makes of TTFT.

    Parameters
    ----------
    rng
        Where chance comes from.
    instance, rows
        The case; changed in place, models to some whose KV cache is known.
    """
    names = {
        "org/dense-a": rng.choice(["meta-llama/Meta-Llama-3.1-8B", "openai/gpt-oss-120b"]),
        "org/dense-b": "Qwen/Qwen3-235B-A22B",
        "org/moe-a": "deepseek-ai/DeepSeek-V3",
    }
    for item in (*instance["workloads"], *rows):
        item["model"] = names.get(item["model"], item["model"])
    pools = instance["pools"]
    if not instance["serving"]["hybrid"]:
        instance["serving"]["modes"] = rng.choice([["disaggregated"]] * 3 + [["colocated", "disaggregated"]])
    for workload in instance["workloads"]:
        workload.pop("precision", None)
    with_links = len(pools) > 1 and len(instance["workloads"]) == 1 and rng.random() < 0.6
    for pool in pools:
        if rng.random() < (0.6 if with_links else 0.85):
            pool["kv_gbps"] = rng.choice([0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.5])
    if with_links:
        pairs = [(0, 1)] if rng.random() < 0.5 else [(1, 0)]
        pairs = rng.choice([pairs, pairs, pairs, [(0, 1), (1, 0)], [(0, 1), (1, 0)], []])
        first, second = pools if rng.random() < 0.5 else reversed(pools)
        if first["gpu"] != second["gpu"] and rng.random() < 0.6:  # one prefills, the other decodes
            apart = {("prefill", second["gpu"]), ("decode", first["gpu"])}
            rows[:] = [row for row in rows if (row["phase"], row["system"]) not in apart] or rows
        speeds = [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 1]
        instance["kv_links"] = [
            {"from": pools[a]["name"], "to": pools[b]["name"], "gbps": rng.choice(speeds)} for a, b in pairs
        ]
        if len(pairs) == 1 and rng.random() < 0.3:
            instance["kv_links"][0]["both_ways"] = True
    elif not any("kv_gbps" in pool for pool in pools):
        pools[0]["kv_gbps"] = 0.05
    points = [point for point in points_of(instance, rows) if point.role == "prefill"]
    for index, workload in enumerate(instance["workloads"]):
        late = sorted({ms for point in points if point.workload == index for ms in point.late})
        for key in ("ttft_ms", "e2el_ms"):
            if late and rng.random() < 0.5:
                sla = workload.setdefault("sla", {})
                steps = 0 if key == "ttft_ms" else rng.choice([5, 20, 40]) * (workload["osl"] - 1)
                nearest = rng.choice(late) + steps
                sla[key] = float(round(nearest, rng.choice([0, 6, 12])) or 1)
