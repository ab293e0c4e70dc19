"""The KV hand-over (C6), by first principles: bytes of a prompt, GPUs that send them, layers one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

GB = 10**9


class Shape(NamedTuple):
    """
    What of a model decides its KV cache, from its config.json.

    ``values`` a token leaves in a layer, KV ``heads`` (1 where TP ranks repeat what they hold), ``window`` and how many
    layers are ``windowed``.
    """

    layers: int
    values: int
    heads: int
    windowed: int = 0
    window: int = 0


SHAPES = {
    "meta-llama/Meta-Llama-3.1-8B": Shape(32, 2 * 8 * 128, 8),
    "Qwen/Qwen3-235B-A22B": Shape(94, 2 * 4 * 128, 4),
    "openai/gpt-oss-120b": Shape(36, 2 * 8 * 64, 8, 18, 128),
    "deepseek-ai/DeepSeek-V3": Shape(61, 512 + 64, 1),
}
VALUE_BYTES = {"fp8": 1, "bfloat16": 2, "": 2}


def is_limited(instance: Mapping[str, Any]) -> bool:
    """Whether anything limits the hand-over."""
    return instance.get("kv_links") is not None or any("kv_gbps" in pool for pool in instance["pools"])


def request_bytes(workload: Mapping[str, Any], kv_format: str) -> int:
    """KV cache of one prompt: layer by layer."""
    shape, isl = SHAPES[workload["model"]], int(workload["isl"])
    kept = [min(isl, shape.window) if layer < shape.windowed else isl for layer in range(shape.layers)]
    return sum(kept) * shape.values * VALUE_BYTES[kv_format]


def links_of(instance: Mapping[str, Any]) -> dict[tuple[str, str], Fraction]:
    """GB/s of each link, by names."""
    found: dict[tuple[str, str], Fraction] = {}
    for link in instance.get("kv_links") or ():
        found[link["from"], link["to"]] = Fraction(str(link["gbps"]))
        if link.get("both_ways"):
            found[link["to"], link["from"]] = Fraction(str(link["gbps"]))
    return found


def link_rates(instance: Mapping[str, Any], workload: Mapping[str, Any], kv_format: str) -> dict[Any, Fraction]:
    """Requests/s that each link carries, by positions of the pools."""
    names = [pool["name"] for pool in instance["pools"]]
    if instance.get("kv_links") is None:
        return {}
    size = request_bytes(workload, kv_format)
    return {(names.index(a), names.index(b)): gbps * GB / size for (a, b), gbps in links_of(instance).items()}


class Sent:
    """What one replica sends, or takes in."""

    def __init__(
        self,
        instance: Mapping[str, Any],
        workload: Mapping[str, Any],
        pool: Mapping[str, Any],
        row: Mapping[str, str],
        kv_format: str,
    ) -> None:
        self.instance, self.pool = instance, pool
        self.shape = SHAPES[workload["model"]]
        self.bytes = request_bytes(workload, kv_format)
        ranks = [
            (stage, rank, part, head % self.shape.heads)
            for stage in range(int(row["pp"]))
            for rank in range(int(row["attention_dp"]))
            for part in range(int(row["cp"]))
            for head in range(int(row["tp"]))
        ]
        self.gpus = len(set(ranks))

    @property
    def requests_per_s(self) -> Fraction | None:
        """What the bandwidth of its GPUs is enough for; None without a limit."""
        if "kv_gbps" not in self.pool:
            return None
        return Fraction(str(self.pool["kv_gbps"])) * GB * self.gpus / self.bytes

    def exposed_ms(self, batch: int, latency: Fraction, to: Mapping[str, Any]) -> Fraction:
        """Layer by layer: each is sent when it is computed and the one before has left."""
        speeds = [Fraction(str(each["kv_gbps"])) * self.gpus for each in (self.pool, to) if "kv_gbps" in each]
        if to is not self.pool and self.instance.get("kv_links") is not None:
            link = links_of(self.instance).get((self.pool["name"], to["name"]))
            if link is None:
                return Fraction(0)
            speeds.append(link)
        if not speeds:
            return Fraction(0)
        layers = self.shape.layers
        each_ms = Fraction(batch * self.bytes, layers) / (min(speeds) * GB) * 1000
        left = Fraction(0)
        for layer in range(1, layers + 1):
            left = max(left, latency * layer / layers) + each_ms
        return left - latency


def carried(prefill: Sequence[int], decode: Sequence[int], links: Mapping[tuple[int, int], int]) -> int:
    """The most that goes from prefill to decode pools, by augmenting paths; inside a pool nothing limits."""
    number = len(prefill)
    free: dict[tuple[Any, Any], int] = {}
    for index in range(number):
        free["s", ("p", index)] = prefill[index]
        free[("d", index), "t"] = decode[index]
        free[("p", index), ("d", index)] = sum(prefill)
    for (a, b), rate in links.items():
        free[("p", a), ("d", b)] = rate
    for a, b in list(free):
        free.setdefault((b, a), 0)
    total = 0
    while True:
        parent: dict[Any, Any] = {"s": None}
        reached = ["s"]
        for node in reached:
            for (a, b), room in free.items():
                if a == node and room > 0 and b not in parent:
                    parent[b] = a
                    reached.append(b)
        if "t" not in parent:
            return total
        path, node = [], "t"
        while parent[node] is not None:
            path.append((parent[node], node))
            node = parent[node]
        step = min(free[edge] for edge in path)
        for a, b in path:
            free[a, b] -= step
            free[b, a] += step
        total += step
