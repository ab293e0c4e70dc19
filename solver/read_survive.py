"""Reads ``serving.survive``, and says where it cannot be answered."""

from __future__ import annotations

from typing import Any

from costmodels.errors import Fault
from solver.instance import Survive

WHERE = "$.serving.survive"


def survive_of(item: dict[str, Any] | None) -> Survive | None:
    """The loss that is to be survived; None where none is."""
    if item is None:
        return None
    return Survive("nodes", item["nodes"]) if "nodes" in item else Survive("domains", item["domains"])


def survive_faults(document: dict[str, Any]) -> list[Fault]:
    """What contradicts a loss that is to be survived, or is not covered together with it."""
    item = document.get("serving", {}).get("survive")
    if item is None:
        return []
    faults = []
    if len(item) != 1:
        faults.append(Fault(WHERE, "give either nodes or domains"))
    if not any(workload.get("requests_per_s") is not None for workload in document["workloads"]):
        faults.append(Fault(WHERE, "needs a demand to keep: give requests_per_s to a workload"))
    for index, pool in enumerate(document["pools"]):
        where, node, domain = f"$.pools[{index}]", pool.get("gpus_per_node"), pool["nvlink_domain_gpus"]
        if "nodes" in item and node is None:
            faults.append(Fault(f"{where}.gpus_per_node", "is missing; survive.nodes needs it for every pool"))
        elif "nodes" in item and domain % node:
            text = f"got {node}, survive.nodes needs nodes that divide the NVLink domain of {domain}; or use domains"
            faults.append(Fault(f"{where}.gpus_per_node", text))
    uncovered = [
        (any(pool["gpus"] == "unlimited" for pool in document["pools"]), 'gpus "unlimited"'),
        (document.get("objective") == "throughput_per_gpu", "objective throughput_per_gpu"),
        (document.get("serving", {}).get("rate_match") == "decode_covers", "rate_match decode_covers"),
        ("kv_links" in document or any("kv_gbps" in pool for pool in document["pools"]), "a limited KV hand-over"),
    ]
    return faults + [Fault(WHERE, f"is not covered together with {what}") for is_so, what in uncovered if is_so]
