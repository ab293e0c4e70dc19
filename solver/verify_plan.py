"""A deployment as the verifier sees it: every name looked up in instance and engines, every sum taken exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from costmodels.operating_curve import OperatingPoint, Role
from solver.engines import Engine, EngineSet
from solver.instance import Instance, Pool, Workload
from solver.verify_document import Answer, BlockLine, Domains, Entry, Service
from solver.verify_handover import Sender, exposed_ms, gpu_limit, joined


@dataclass(frozen=True)
class Used:
    """An entry of the document with the engine that it names and that engine's operating point."""

    entry: Entry
    engine: Engine
    point: OperatingPoint
    pool: Pool

    @property
    def role(self) -> Role:
        """The role of the entry."""
        return self.entry.role

    @property
    def gpus(self) -> Fraction:
        """GPUs of all replicas."""
        return self.engine.curve.partition.gpus * self.entry.replicas

    @property
    def requests_per_s(self) -> Fraction:
        """Rate of all replicas, before utilisation."""
        return self.point.requests_per_s * self.entry.replicas


@dataclass(frozen=True)
class Served:
    """How one workload of the instance is served."""

    workload: Workload
    service: Service
    used: tuple[Used, ...]

    def of(self, *roles: Role) -> list[Used]:
        """What is used in the given roles."""
        return [used for used in self.used if used.role in roles]


@dataclass(frozen=True)
class Plan:
    """A deployment with every name in it looked up; ``placement`` is None where the document has none."""

    instance: Instance
    served: tuple[Served, ...]
    placement: Mapping[str, tuple[Domains, ...]] | None
    blocks: tuple[BlockLine, ...] = ()

    def of_pool(self, pool: Pool) -> list[Used]:
        """What is used on a pool."""
        return [used for served in self.served for used in served.used if used.pool.name == pool.name]

    def gpus_used(self, pool: Pool) -> Fraction:
        """GPUs used on a pool."""
        return sum((used.gpus for used in self.of_pool(pool)), Fraction(0))

    def capacity(self, served: Served, role: Role) -> Fraction:
        """
        Requests/s that a role of a workload is planned to carry: the sum over its engines of utilization x rate x
        replicas, or of what their GPUs hand over or take in, where that is less.
        """
        total = Fraction(0)
        for sender in self._senders(served, role):
            limit = gpu_limit(sender)
            total += sender.requests_per_s if limit is None else min(sender.requests_per_s, limit)
        return total

    def _senders(self, served: Served, role: Role) -> list[Sender]:
        share = self.instance.utilization(served.workload, role)
        return [Sender(used.engine, used.entry.replicas, share * used.requests_per_s) for used in served.of(role)]

    def carried(self, served: Served) -> Fraction:
        """X = X_dis + X_col."""
        return self.joined(served) + self.capacity(served, "colocated")

    def joined(self, served: Served) -> Fraction:
        """X_dis: the least capacity of the roles that it needs, or what is handed over where that is less."""
        needed = served.workload.roles("disaggregated")
        if not self.instance.limits_handover or "decode" not in needed:
            return min(self.capacity(served, role) for role in needed)
        return joined(self.instance, self._senders(served, "prefill"), self._senders(served, "decode"))

    def first_tokens(self, served: Served) -> Iterator[tuple[Used, Used | None, Fraction]]:
        """
        TTFT in ms of every way that a request may take: each prefill engine with each decode engine in use, the exposed
        hand-over included, and each co-located engine.
        """
        for used in served.of("prefill", "colocated"):
            ttft, latency = used.point.ttft_ms or Fraction(0), used.point.latency_ms
            seconds = served.of("decode") if used.role == "prefill" else []
            for second in seconds:
                late = exposed_ms(self.instance, used.engine, used.entry.batch, latency, second.pool)
                yield used, second, ttft + late
            if not seconds:
                yield used, None, ttft

    def credited(self, served: Served) -> Fraction:
        """Requests/s that count: X, capped at ``max_requests_per_s``; without a scale there is nothing to cap."""
        carried, most = self.carried(served), served.workload.max_requests_per_s
        return carried if most is None or self.instance.is_unlimited else min(carried, most)


def usd_per_hour(plan: Plan) -> Fraction | None:
    """USD per hour of the GPUs that count; None where a pool that counts has no price."""
    return _spent(plan, lambda pool: pool.usd_per_gpu_hour)


def watts(plan: Plan) -> Fraction | None:
    """Power of the GPUs that count; None where a pool that counts has none given."""
    return _spent(plan, lambda pool: pool.watts_per_gpu)


def _spent(plan: Plan, each: Callable[[Pool], Fraction | None]) -> Fraction | None:
    total = Fraction(0)
    for pool in plan.instance.pools:
        gpus = Fraction(pool.gpus or 0) if plan.instance.budget.count_idle else plan.gpus_used(pool)
        rate = each(pool)
        if gpus and rate is None:
            return None
        total += gpus * (rate or 0)
    return total


def looked_up(instance: Instance, engines: EngineSet, answer: Answer, faults: list[str]) -> Plan:
    """
    Looks up workloads, pools, engines and operating points; what is not found becomes a fault and is left out.

    Parameters
    ----------
    instance, engines
        What there is.
    answer
        The deployment as read.
    faults
        Where faults are collected.
    """
    offered = {_name(engine): engine for engine in engines.engines}
    services: dict[str, Service] = {}
    twice = [s for s in answer.services if services.setdefault(s.workload, s) is not s]
    faults += [f"{service.where}: workload {service.workload} a second time" for service in twice]
    known = {workload.name for workload in instance.workloads}
    faults += [f"{services[name].where}: unknown workload {name}" for name in services if name not in known]
    faults += [f"workload {w.name} is missing" for w in instance.workloads if w.name not in services]
    served = []
    for workload in instance.workloads:
        if workload.name in services:
            service = services[workload.name]
            found = (_used(instance, offered, workload, entry, faults) for entry in service.entries)
            served.append(Served(workload, service, tuple(used for used in found if used)))
    return Plan(instance, tuple(served), answer.placement, answer.blocks)


def _name(engine: Engine) -> tuple[object, ...]:
    curve = engine.curve
    versions = (curve.backend, curve.backend_version, curve.precision, curve.domain_gpus, curve.chunk_tokens)
    return (engine.workload.name, curve.role, engine.pool.name, curve.partition, *versions)


def _used(
    instance: Instance,
    offered: Mapping[tuple[object, ...], Engine],
    workload: Workload,
    entry: Entry,
    faults: list[str],
) -> Used | None:
    versions = (entry.backend, entry.backend_version, entry.precision, entry.domain_gpus, entry.chunk_tokens)
    engine = offered.get((workload.name, entry.role, entry.pool, entry.partition, *versions))
    pool = next((pool for pool in instance.pools if pool.name == entry.pool), None)
    if engine is None or pool is None:
        what = f"{entry.role} engine {entry.partition.label}, {', '.join(map(str, versions))}"
        faults.append(f"{entry.where}: no {what} for workload {workload.name} on pool {entry.pool}")
        return None
    if not engine.curve.is_admissible(entry.batch):
        faults.append(f"{entry.where}: batch {entry.batch} is not admissible on {engine.curve.partition.label}")
        return None
    return Used(entry, engine, engine.curve.at(entry.batch), pool)
