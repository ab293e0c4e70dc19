"""Links between pools for the KV hand-over, as an instance file gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from costmodels.errors import Fault

Json = Any
MOST_POOLS = 5
"""Pools that an instance with links may have: there are 3^pools cuts through them."""


def kv_links_of(items: Sequence[Mapping[str, Json]] | None) -> dict[tuple[str, str], Fraction] | None:
    """(prefill pool, decode pool) to GB/s; None where the instance has no ``kv_links``."""
    if items is None:
        return None
    return {pair: Fraction(item["gbps"]) for item in items for pair in _pairs(item)}


def _pairs(item: Mapping[str, Json]) -> list[tuple[str, str]]:
    there, back = (item["from"], item["to"]), (item["to"], item["from"])
    return [there, back] if item.get("both_ways", False) else [there]


def kv_link_faults(document: Mapping[str, Json]) -> list[Fault]:
    """What is wrong with ``kv_links`` beyond the schema: names, links twice, and what they do not go together with."""
    items = document.get("kv_links")
    if items is None:
        return []
    pools = [pool["name"] for pool in document["pools"]]
    faults, seen = [], set()
    for index, item in enumerate(items):
        where = f"$.kv_links[{index}]"
        faults += [
            Fault(f"{where}.{key}", f"got {item[key]!r}, must be a pool: {', '.join(pools)}")
            for key in ("from", "to")
            if item[key] not in pools
        ]
        if item["from"] == item["to"]:
            faults.append(Fault(f"{where}.to", "is the pool itself; inside a pool kv_gbps limits the hand-over"))
        for pair in _pairs(item):
            if pair in seen:
                faults.append(Fault(where, f"the link from {pair[0]} to {pair[1]} is given already; keep one"))
            seen.add(pair)
    return faults + _refused(document, pools)


def _refused(document: Mapping[str, Json], pools: Sequence[str]) -> list[Fault]:
    faults = []
    if any(pool["gpus"] == "unlimited" for pool in document["pools"]):
        text = 'has no meaning where gpus are "unlimited" (a link of any size is too small); kv_gbps is per GPU and has'
        faults.append(Fault("$.kv_links", text))
    if len(document["workloads"]) > 1:
        text = "takes one workload in this version (several would share the links); plan them apart, or leave it out"
        faults.append(Fault("$.kv_links", text))
    if len(pools) > MOST_POOLS:
        text = f"takes at most {MOST_POOLS} pools, there are {len(pools)}; leave it out, kv_gbps takes any number"
        faults.append(Fault("$.kv_links", text))
    return faults
