"""The KV hand-over of an instance: what it lets a replica do, what it adds to TTFT, and what links let through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product

from solver.engines import Engine
from solver.instance import Instance, Pool, Workload

BYTES_PER_GB = 10**9
Rates = Mapping[str, Fraction]
"""Pool name to requests/s."""


def most_handed_over(engine: Engine) -> Fraction | None:
    """
    Requests/s whose KV one replica can send (prefill) or take in (decode); None where nothing limits that.

    The GPUs of a replica that hold distinct shards each move ``kv_gbps``.
    """
    if engine.kv is None or engine.pool.kv_gbps is None:
        return None
    return engine.pool.kv_gbps * BYTES_PER_GB * engine.kv.shards / engine.kv.bytes_per_request


def planned_rate(instance: Instance, engine: Engine, requests_per_s: Fraction) -> Fraction:
    """Requests/s that one replica is planned to carry: its rate times utilization, or what it can hand over."""
    rate = requests_per_s * instance.utilization(engine.workload, engine.curve.role)
    most = most_handed_over(engine)
    return rate if most is None else min(rate, most)


def exposed_ms(instance: Instance, engine: Engine, batch: int, latency_ms: Fraction, to: Pool) -> Fraction:
    """
    The part of the hand-over of one prefill batch that does not overlap with its computation, in ms.

    Of L layers one after the other is computed in latency/L and sent in T/L, T being the time of the whole transfer:
    the last layer arrives at latency + max(T/L, T - latency x (L-1)/L). T goes at the lower of both pools' ``kv_gbps``
    on each GPU with a distinct shard, and no faster than the link.

    Parameters
    ----------
    instance
        The instance.
    engine, batch, latency_ms
        The prefill point.
    to
        The pool of the decode engine. Where it cannot be reached nothing is sent, and nothing is exposed.
    """
    return max(exposed_parts(instance, engine, batch, latency_ms, to))


def exposed_parts(
    instance: Instance, engine: Engine, batch: int, latency_ms: Fraction, to: Pool
) -> tuple[Fraction, ...]:
    """The two numbers whose maximum is :func:`exposed_ms`, each linear in batch and latency; one 0 without a limit."""
    gbps = _gbps(instance, engine, to)
    if engine.kv is None or gbps is None:
        return (Fraction(0),)
    whole = batch * engine.kv.bytes_per_request * 1000 / (gbps * BYTES_PER_GB)
    layers = engine.kv.layers
    return whole / layers, whole - latency_ms * (layers - 1) / layers


def _gbps(instance: Instance, engine: Engine, to: Pool) -> Fraction | None:
    """The speed of a transfer from one replica; None where nothing limits it, or where there is none."""
    if engine.kv is None or not _is_reached(instance, engine.pool, to):
        return None
    speeds = [pool.kv_gbps * engine.kv.shards for pool in (engine.pool, to) if pool.kv_gbps is not None]
    link = (instance.kv_links or {}).get((engine.pool.name, to.name))
    return min([*speeds, *([] if link is None else [link])], default=None)


def _is_reached(instance: Instance, start: Pool, to: Pool) -> bool:
    return instance.kv_links is None or start.name == to.name or (start.name, to.name) in instance.kv_links


def arrivals(instance: Instance) -> dict[str, int]:
    """
    Pool name to the number of its *arrival class*: decode pools that every prefill pool reaches equally fast.

    The exposed time of a prefill point is the same for all pools of a class. Without limits there is one class.
    """
    numbers: dict[tuple[object, ...], int] = {}
    found = {}
    for pool in instance.pools:
        key = tuple(_pair_speed(instance, start, pool) for start in instance.pools)
        found[pool.name] = numbers.setdefault(key, len(numbers))
    return found


def _pair_speed(instance: Instance, start: Pool, to: Pool) -> tuple[Fraction | None, Fraction | None] | None:
    """What makes the speed of a transfer between two pools: GB/s per GPU, GB/s of the link."""
    if not _is_reached(instance, start, to):
        return None
    speeds = [pool.kv_gbps for pool in (start, to) if pool.kv_gbps is not None]
    return min(speeds, default=None), (instance.kv_links or {}).get((start.name, to.name))


def members(instance: Instance) -> list[Pool]:
    """One pool of each arrival class, in the order of the classes."""
    classes = arrivals(instance)
    return [next(p for p in instance.pools if classes[p.name] == number) for number in range(max(classes.values()) + 1)]


@dataclass(frozen=True)
class Cut:
    """
    A cut through the hand-over: what a disaggregated flow must pass, whatever way it takes.

    Parameters
    ----------
    prefill, decode
        Names of the pools whose prefill (decode) engines the cut counts.
    links
        The links that it counts.
    """

    prefill: tuple[str, ...]
    decode: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()

    def counts(self, role: str, pool: str) -> bool:
        """Whether engines of a role on a pool are counted."""
        return pool in (self.prefill if role == "prefill" else self.decode if role == "decode" else ())

    def capacity(self, prefill: Rates, decode: Rates, links: Mapping[tuple[str, str], Fraction]) -> Fraction:
        """Requests/s that pass the cut, given what each pool and each link can do."""
        parts = [prefill.get(name, Fraction(0)) for name in self.prefill]
        parts += [decode.get(name, Fraction(0)) for name in self.decode]
        return sum([*parts, *(links[link] for link in self.links)], Fraction(0))


def cuts(instance: Instance) -> tuple[Cut, ...]:
    """
    The cuts of which the least is the most that can be handed over (max-flow min-cut); all prefill and all decode
    capacity are the first two, and without ``kv_links`` the only ones.
    """
    names = tuple(pool.name for pool in instance.pools)
    ends = (Cut(names, ()), Cut((), names))
    if instance.kv_links is None:
        return ends
    return (*ends, *_inner_cuts(names, tuple(sorted(instance.kv_links))))


def cuts_of(instance: Instance, workload: Workload) -> tuple[Cut, ...]:
    """The cuts that a disaggregated flow of a workload must pass; with one output token that is the prefill alone."""
    return cuts(instance)[:1] if len(workload.roles("disaggregated")) == 1 else cuts(instance)


@lru_cache(maxsize=64)
def _inner_cuts(names: tuple[str, ...], links: tuple[tuple[str, str], ...]) -> tuple[Cut, ...]:
    """
    The cuts between the ends: of each pool they count the prefill engines, or the decode engines, or both.

    One that counts all engines of a role is implied by that end.
    """
    found = (_cut(names, links, choice) for choice in product(("prefill", "decode", "both"), repeat=len(names)))
    return tuple(cut for cut in found if names not in (cut.prefill, cut.decode))


def _cut(names: tuple[str, ...], links: tuple[tuple[str, str], ...], choice: tuple[str, ...]) -> Cut:
    prefill = tuple(name for name, counted in zip(names, choice, strict=True) if counted != "decode")
    decode = tuple(name for name, counted in zip(names, choice, strict=True) if counted != "prefill")
    crossing = tuple((a, b) for a, b in links if a not in prefill and b not in decode)
    return Cut(prefill, decode, crossing)


def link_rates(instance: Instance, bytes_per_request: Fraction) -> dict[tuple[str, str], Fraction]:
    """What each link carries, in requests/s."""
    return {pair: gbps * BYTES_PER_GB / bytes_per_request for pair, gbps in (instance.kv_links or {}).items()}


def pool_flows(
    instance: Instance, prefill: Rates, decode: Rates, bytes_per_request: Fraction
) -> Iterator[tuple[str, str, Fraction]]:
    """
    A largest hand-over: (prefill pool, decode pool, requests/s), by a maximum flow in integers.

    Parameters
    ----------
    instance
        The instance.
    prefill, decode
        What the engines of a role can do on each pool.
    bytes_per_request
        KV cache of one request.
    """
    import math

    import networkx

    links = link_rates(instance, bytes_per_request)
    scale = math.lcm(*(rate.denominator for rate in (*prefill.values(), *decode.values(), *links.values())))
    graph = networkx.DiGraph()
    for name, rate in prefill.items():
        graph.add_edge("source", ("prefill", name), capacity=int(rate * scale))
    for name, rate in decode.items():
        graph.add_edge(("decode", name), "sink", capacity=int(rate * scale))
    for start in prefill:
        for to in decode:
            if instance.kv_links is None or start == to:
                graph.add_edge(("prefill", start), ("decode", to))
            elif (start, to) in links:
                graph.add_edge(("prefill", start), ("decode", to), capacity=int(links[start, to] * scale))
    if "source" not in graph or "sink" not in graph:
        return
    _, flow = networkx.maximum_flow(graph, "source", "sink")
    for start in prefill:
        for (_, to), units in flow[("prefill", start)].items():
            if units:
                yield start, to, Fraction(units, scale)
