"""The KV hand-over: from a prefill replica over links to a decode replica, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import inf

from solver.engines import Engine
from solver.handover import BYTES_PER_GB
from solver.instance import Instance
from solver.simulation.job import Job


@dataclass
class Channel:
    """
    What KV caches pass one after the other: the way out of a replica, the way into one, or a link.

    Parameters
    ----------
    bytes_per_s
        Its speed; infinite where nothing limits it.
    gpu_bytes_per_s
        Speed of one of its GPUs.
    free
        When it is free again, in seconds.
    """

    bytes_per_s: float = inf
    gpu_bytes_per_s: float = inf
    free: float = 0.0


@dataclass
class Sender:
    """
    The sending end of one prefill replica.

    Parameters
    ----------
    pool
        Its pool.
    out
        Its way out.
    shards
        GPUs that hold distinct shards.
    bytes_per_token
        KV cache per prompt token over all layers.
    layers
        Layers of the model; 0 where nothing limits the hand-over.
    batch, tail_s
        The batch that is sent, by when it was begun, and the time that its last layers take.
    """

    pool: str
    out: Channel
    shards: int = 1
    bytes_per_token: float = 0.0
    layers: int = 0
    batch: float = -1.0
    tail_s: float = 0.0


class Handover:
    """
    Transfers of an instance.

    Of L layers one after the other is computed, and sent as soon as the first is there; the last arrives its own
    sending time after the computation at the earliest. A transfer goes at the least of the speeds on its way and waits
    for those before it: out of the prefill replica, over the link between two pools, into the decode replica.

    Parameters
    ----------
    instance
        The instance.
    """

    def __init__(self, instance: Instance) -> None:
        links = instance.kv_links or {}
        self._links = {pair: Channel(float(gbps * BYTES_PER_GB)) for pair, gbps in links.items()}

    def sender(self, engine: Engine) -> Sender:
        """The sending end of a new replica of a prefill engine."""
        if engine.kv is None:
            return Sender(engine.pool.name, Channel())
        per_token = engine.kv.bytes_per_request / Fraction(engine.workload.lengths.isl)
        return Sender(engine.pool.name, way_of(engine), engine.kv.shards, float(per_token), engine.kv.layers)

    def send(self, job: Job, sender: Sender, into: Channel, pool: str, begun: float, ready: float) -> float:
        """
        When the KV cache of a request has arrived.

        Parameters
        ----------
        job
            The request.
        sender
            Where it was computed.
        into, pool
            The way into the decode replica, and the pool of that.
        begun, ready
            When its batch was begun, and when the first token was there.
        """
        link = self._links.get((sender.pool, pool)) if sender.pool != pool else None
        ways = (sender.out, into) if link is None else (sender.out, into, link)
        speed = min(sender.out.bytes_per_s, into.gpu_bytes_per_s * sender.shards, link.bytes_per_s if link else inf)
        if not sender.layers or (speed == inf and into.bytes_per_s == inf):
            return ready
        size = sender.bytes_per_token * job.isl
        start = max(begun + (ready - begun) / sender.layers, *(way.free for way in ways))
        for way in ways:
            way.free = start + size / way.bytes_per_s
        seconds = size / speed
        sender.tail_s = (sender.tail_s if sender.batch == begun else 0.0) + seconds / sender.layers
        sender.batch = begun
        return max(start + seconds, ready + sender.tail_s)


def way_of(engine: Engine) -> Channel:
    """The way out of, or into, a new replica of an engine."""
    if engine.kv is None or engine.pool.kv_gbps is None:
        return Channel()
    gpu = float(engine.pool.kv_gbps * BYTES_PER_GB)
    return Channel(gpu * engine.kv.shards, gpu)
