"""A deployment as a network of replicas, and the requests that pass through it."""

from __future__ import annotations

from collections.abc import Sequence

from solver.deployment import Deployment
from solver.instance import Instance
from solver.kv_flows import kv_flows
from solver.simulation.colocated import ColocatedReplica
from solver.simulation.decode import DecodeReplica
from solver.simulation.handover import Channel, Handover, Sender, way_of
from solver.simulation.job import Job
from solver.simulation.kinds import AnyReplica, Kind, Running
from solver.simulation.loop import Loop
from solver.simulation.prefill import PrefillReplica
from solver.simulation.router import Policy, Router
from solver.simulation.service import claim_of


class Turns:
    """Takes turns among names, as often as their shares say, spread evenly."""

    def __init__(self, shares: dict[str, float]) -> None:
        self._shares = {name: share for name, share in shares.items() if share > 0}
        self._credit = dict.fromkeys(self._shares, 0.0)

    def next(self) -> str:
        """Whose turn it is."""
        if len(self._shares) == 1:
            return next(iter(self._shares))
        for name, share in self._shares.items():
            self._credit[name] += share
        chosen = max(self._credit, key=self._credit.__getitem__)
        self._credit[chosen] -= sum(self._shares.values())
        return chosen


class Branch:
    """
    What serves one workload.

    Parameters
    ----------
    network
        The network it belongs to.
    number
        Number of the workload.
    policy
        How requests find a replica.
    """

    def __init__(self, network: Network, number: int, policy: Policy) -> None:
        self._network, self._number = network, number
        self._prefill: Router[PrefillReplica] = Router(policy, self._to_prefill)
        self._colocated: Router[ColocatedReplica] = Router(policy, self._to_colocated)
        self._decode: dict[str, Router[DecodeReplica]] = {}
        self._policy: Policy = "least-loaded" if policy == "central" else policy
        self._ends: dict[int, Sender] = {}
        self._ways: dict[int, Channel] = {}
        self._kinds: dict[int, Kind] = {}
        self.modes = Turns({"prefill": 1.0})
        self.pools: dict[str, Turns] = {}

    def arrive(self, job: Job) -> None:
        """A request comes."""
        router = self._colocated if self.modes.next() == "colocated" else self._prefill
        if not router.can_take(job) or not self._can_decode(job):
            self._network.reject(job)
        else:
            router.add(job)

    def _can_decode(self, job: Job) -> bool:
        routers = self._decode.values()
        return job.osl == 1 or not routers or any(router.can_take(job) for router in routers)

    def open(self, kind: Kind) -> Running:
        """A new replica of a kind."""
        network, engine = self._network, kind.assignment.engine
        number, pool, claim = len(network.replicas), engine.pool.name, claim_of(kind.assignment)
        since = network.loop.now
        self._kinds[number] = kind
        made: AnyReplica
        if kind.role == "prefill":
            made = PrefillReplica(network.loop, number, pool, kind.service, network.horizon_s, self._ready)
            made.refill = self._prefill.pull
            self._ends[number] = network.handover.sender(engine)
            self._prefill.open(made, kind.weight)
        elif kind.role == "decode":
            made = DecodeReplica(network.loop, number, pool, kind.service, claim, network.finish)
            self._ways[number] = way_of(engine)
            self._decode_router(pool).open(made, kind.weight)
        else:
            made = ColocatedReplica(network.loop, number, pool, kind.service, claim, network.finish)
            made.refill = self._colocated.pull
            self._colocated.open(made, kind.weight)
        running = Running(kind, made, since)
        network.replicas.append(running)
        return running

    def close(self, running: Running) -> None:
        """A replica finishes what it has and takes no more."""
        replica = running.replica
        running.closed_s = self._network.loop.now
        if isinstance(replica, PrefillReplica):
            self._prefill.close(replica)
        elif isinstance(replica, DecodeReplica):
            self._decode_router(replica.pool).close(replica)
        else:
            self._colocated.close(replica)

    def _decode_router(self, pool: str) -> Router[DecodeReplica]:
        name = pool if self._network.instance.kv_links is not None else ""
        if name not in self._decode:
            self._decode[name] = Router(self._policy, self._to_decode)
        return self._decode[name]

    def _to_prefill(self, replica: PrefillReplica, job: Job) -> None:
        job.work = self._kinds[replica.number].work[job.index]
        replica.add(job)

    def _to_colocated(self, replica: ColocatedReplica, job: Job) -> None:
        job.role = "colocated"
        job.work = self._kinds[replica.number].work[job.index]
        replica.add(job)

    def _ready(self, replica: PrefillReplica, jobs: list[Job], begun: float) -> None:
        """Prompts are done: their KV caches go to decode replicas."""
        now = self._network.loop.now
        for job in jobs:
            job.first, job.begun = now, begun
            if job.osl == 1:
                job.end = now
                self._network.finish(job)
            else:
                job.role = "decode"
                job.sender = self._ends[replica.number]
                turns = self.pools.get(replica.pool)
                self._decode_router(turns.next() if turns else "").add(job)

    def _to_decode(self, replica: DecodeReplica, job: Job) -> None:
        network = self._network
        way, ready = self._ways[replica.number], network.loop.now
        assert job.sender is not None
        job.first = network.handover.send(job, job.sender, way, replica.pool, job.begun, ready)
        replica.expect()
        if job.first > ready:
            network.loop.at(job.first, replica.add, job)
        else:
            replica.add(job)


class Network:
    """
    All replicas of a deployment.

    Parameters
    ----------
    instance
        The instance.
    policy
        How requests find a replica.
    horizon_s
        Until when replicas are watched for how busy they are.

    Attributes
    ----------
    replicas
        Every replica that there ever was.
    finished, rejected
        Requests that are done, and that no replica can hold.
    inside
        Requests that are here now.
    request_s
        Sum over time of their number: request-seconds.
    """

    def __init__(self, instance: Instance, policy: Policy, horizon_s: float) -> None:
        self.instance, self.horizon_s = instance, horizon_s
        self.loop = Loop()
        self.handover = Handover(instance)
        self.replicas: list[Running] = []
        self.branches = [Branch(self, number, policy) for number in range(len(instance.workloads))]
        self.finished: list[Job] = []
        self.rejected: list[Job] = []
        self.inside, self.request_s, self._changed = 0, 0.0, 0.0

    def deploy(self, deployment: Deployment, kinds: Sequence[Kind]) -> None:
        """Opens all replicas of a plan, and sends requests along the flows that it has."""
        for number, workload in enumerate(self.instance.workloads):
            branch = self.branches[number]
            shares = {"prefill": deployment.joined(workload), "colocated": deployment.capacity(workload, "colocated")}
            if any(shares.values()):
                branch.modes = Turns({name: float(share) for name, share in shares.items()})
            if self.instance.kv_links is not None and shares["prefill"]:
                handed = kv_flows(deployment, workload)
                flows = () if handed is None else handed.flows
                for start in {flow.start for flow in flows}:
                    to = {flow.to: float(flow.requests_per_s) for flow in flows if flow.start == start}
                    branch.pools[start] = Turns(to)
        for kind in kinds:
            number = self.instance.workloads.index(kind.assignment.engine.workload)
            for _ in range(int(kind.assignment.replicas)):
                self.branches[number].open(kind)

    def enter(self, job: Job) -> None:
        """A request comes."""
        self._count(1)
        self.branches[job.workload].arrive(job)

    def finish(self, job: Job) -> None:
        """A request is done."""
        self._count(-1)
        self.finished.append(job)

    def reject(self, job: Job) -> None:
        """A request that no replica can hold goes at once."""
        self._count(-1)
        self.rejected.append(job)

    def _count(self, change: int) -> None:
        now = self.loop.now
        self.request_s += self.inside * (now - self._changed)
        self.inside, self._changed = self.inside + change, now
