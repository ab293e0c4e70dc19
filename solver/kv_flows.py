"""The KV cache that a deployment moves: from which pool to which, over which GPUs, and how late it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from solver.deployment import Assignment, Deployment
from solver.handover import BYTES_PER_GB, pool_flows
from solver.instance import Workload


@dataclass(frozen=True)
class KvFlow:
    """
    KV cache that goes from one pool to another, or stays inside one.

    Parameters
    ----------
    start, to
        Names of the pool that prefills and of the one that decodes.
    requests_per_s
        Requests handed over.
    gbps
        GB/s that they take.
    exposed_ms
        The longest part of a transfer between the two that does not overlap with computation, in ms.
    """

    start: str
    to: str
    requests_per_s: Fraction
    gbps: Fraction
    exposed_ms: Fraction


@dataclass(frozen=True)
class KvFlows:
    """
    The hand-over of one workload.

    Parameters
    ----------
    deployment, workload
        Of what.
    flows
        All flows, by pools. Of several ways to route the same requests, one.
    """

    deployment: Deployment
    workload: Workload
    flows: tuple[KvFlow, ...]

    @property
    def gbytes_per_request(self) -> Fraction:
        """KV cache of one request, in GB."""
        return self.deployment.kv_bytes_per_request(self.workload) / BYTES_PER_GB

    def passing(self, a: Assignment) -> Fraction:
        """Requests/s that the replicas of an assignment hand over or take in; engines of a pool share by capacity."""
        here = self.deployment.rates(self.workload, a.role)[a.engine.pool.name]
        through = (f for f in self.flows if (f.start if a.role == "prefill" else f.to) == a.engine.pool.name)
        return sum((f.requests_per_s for f in through), Fraction(0)) * self.deployment.planned(a) / here

    def is_slowed(self, a: Assignment) -> bool:
        """Whether the bandwidth of its GPUs, and not its speed, sets the rate of an assignment."""
        share = self.deployment.instance.utilization(self.workload, a.role)
        return self.deployment.planned(a) < a.point.requests_per_s * share * a.replicas

    def gbps_per_gpu(self, a: Assignment) -> Fraction | None:
        """GB/s of each GPU with a distinct shard; None where the assignment hands nothing over."""
        if a.engine.kv is None:
            return None
        return self.passing(a) * self.gbytes_per_request / (a.replicas * a.engine.kv.shards)


def kv_flows(deployment: Deployment, workload: Workload) -> KvFlows | None:
    """The hand-over of a workload; None where there is none, or nothing limits it."""
    size = deployment.kv_bytes_per_request(workload)
    prefill, decode = (deployment.rates(workload, role) for role in ("prefill", "decode"))
    if not (size and prefill and decode):
        return None
    late: dict[tuple[str, str], Fraction] = {}
    for a, b, ttft in deployment.first_token_ms(workload):
        if b is not None:
            pair = (a.engine.pool.name, b.engine.pool.name)
            late[pair] = max(late.get(pair, Fraction(0)), ttft - (a.point.ttft_ms or 0))
    found = [
        KvFlow(start, to, rate, rate * size / BYTES_PER_GB, late[start, to])
        for start, to, rate in pool_flows(deployment.instance, prefill, decode, size)
    ]
    return KvFlows(deployment, workload, tuple(sorted(found, key=lambda flow: (flow.start, flow.to))))
