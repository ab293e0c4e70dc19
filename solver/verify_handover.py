"""The KV hand-over, recomputed for the verifier: every engine, every GPU that sends or takes in, every link."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from solver.engines import Engine
from solver.instance import Instance, Pool

BYTES = 10**9
"""Bytes of a GB."""


@dataclass(frozen=True)
class Sender:
    """Replicas of one engine: what they compute (requests/s, planned) and how many there are. Receivers alike."""

    engine: Engine
    replicas: Fraction
    requests_per_s: Fraction


def gpu_limit(side: Sender) -> Fraction | None:
    """Requests/s whose KV cache the GPUs with distinct shards move; None where nothing limits that."""
    kv, speed = side.engine.kv, side.engine.pool.kv_gbps
    if kv is None or speed is None:
        return None
    gpus = side.replicas * kv.shards
    return gpus * speed * BYTES / kv.bytes_per_request


def joined(instance: Instance, prefill: Sequence[Sender], decode: Sequence[Sender]) -> Fraction:
    """
    Requests/s that go from prefill engines to decode engines: a maximum flow.

    Each engine is a node behind two limits, what it computes and what its GPUs move; pools are joined by links, or
    without limit where the instance has none.
    """
    import networkx

    edges: list[tuple[object, object, Fraction | None]] = []
    for number, side in enumerate(prefill):
        edges.append(("start", ("computes", number), side.requests_per_s))
        edges.append((("computes", number), ("out", side.engine.pool.name), gpu_limit(side)))
    for number, side in enumerate(decode):
        edges.append((("takes", number), "end", side.requests_per_s))
        edges.append((("in", side.engine.pool.name), ("takes", number), gpu_limit(side)))
    size = next((side.engine.kv.bytes_per_request for side in prefill if side.engine.kv is not None), None)
    for a in instance.pools:
        for b in instance.pools:
            speed = link_gbps(instance, a, b)
            if speed is None or size is None:
                edges.append((("out", a.name), ("in", b.name), None))
            elif speed:
                edges.append((("out", a.name), ("in", b.name), speed * BYTES / size))
    scale = math.lcm(*(limit.denominator for *_, limit in edges if limit is not None))
    graph = networkx.DiGraph()
    graph.add_nodes_from(["start", "end"])
    for start, to, limit in edges:
        graph.add_edge(start, to, **({} if limit is None else {"capacity": int(limit * scale)}))
    return Fraction(int(networkx.maximum_flow_value(graph, "start", "end")), scale)


def link_gbps(instance: Instance, a: Pool, b: Pool) -> Fraction | None:
    """GB/s from one pool to another: None without a limit, 0 without a link."""
    if instance.kv_links is None or a.name == b.name:
        return None
    return instance.kv_links.get((a.name, b.name), Fraction(0))


def exposed_ms(instance: Instance, engine: Engine, batch: int, latency_ms: Fraction, to: Pool) -> Fraction:
    """
    How much later than computed the KV cache of a prefill batch is there, in ms.

    Layer i of L is computed at i/L of the latency and needs 1/L of the transfer time; it is sent when the layer before
    has been. What ends last is either the first layer and then all transfers without a gap, or the last layer alone.
    """
    link = link_gbps(instance, engine.pool, to)
    if engine.kv is None or link == 0:
        return Fraction(0)
    speeds = [] if link is None else [link]
    speeds += [pool.kv_gbps * engine.kv.shards for pool in (engine.pool, to) if pool.kv_gbps is not None]
    if not speeds:
        return Fraction(0)
    per_layer_ms = batch * engine.kv.bytes_per_request / engine.kv.layers / (min(speeds) * BYTES) * 1000
    computed = latency_ms / engine.kv.layers
    ends = max(computed + engine.kv.layers * per_layer_ms, engine.kv.layers * computed + per_layer_ms)
    return ends - latency_ms
