"""A deployment: which engines run at which batch, how often; it computes its own worth from the instance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from costmodels.operating_curve import OperatingPoint, Role
from solver.engines import Engine
from solver.handover import Cut, Rates, cuts_of, exposed_ms, link_rates, planned_rate
from solver.instance import Instance, Pool, Workload


@dataclass(frozen=True)
class Assignment:
    """
    Replicas of one engine at one batch.

    Parameters
    ----------
    engine, batch
        The operating point.
    replicas
        How many; a fraction only where GPUs are unlimited.
    """

    engine: Engine
    batch: int
    replicas: int | Fraction

    @property
    def role(self) -> Role:
        """The role."""
        return self.engine.curve.role

    @property
    def decodes(self) -> bool:
        """Whether output tokens after the first come from here; with one output token there is no TPOT."""
        return self.role != "prefill" and self.engine.workload.osl > 1

    @property
    def gpus(self) -> int | Fraction:
        """GPUs of all replicas."""
        return self.engine.curve.partition.gpus * self.replicas

    @cached_property
    def point(self) -> OperatingPoint:
        """The operating point, exactly."""
        return self.engine.curve.at(self.batch)


@dataclass(frozen=True)
class Block:
    """
    A node or an NVLink domain that may be lost as a whole, and what stands in it.

    Parameters
    ----------
    pool, index
        Its pool, and its number there; full ones first, those of one domain one after the other.
    gpus
        Its GPUs.
    replicas
        (Engine index, batch, replicas that stand wholly in it).
    """

    pool: str
    index: int
    gpus: int
    replicas: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Deployment:
    """
    An answer to an instance.

    Parameters
    ----------
    instance
        The instance.
    assignments
        What runs, in canonical order.
    blocks
        Where replicas stand, where the demand has to survive a loss.
    """

    instance: Instance
    assignments: tuple[Assignment, ...]
    blocks: tuple[Block, ...] = ()

    @classmethod
    def of(cls, instance: Instance, chosen: Iterable[tuple[Engine, int, int]]) -> Deployment:
        """A deployment from (engine, batch, replicas)."""
        ordered = sorted(chosen, key=lambda item: (item[0].index, item[1]))
        return cls(instance, tuple(Assignment(*item) for item in ordered))

    def of_role(self, workload: Workload, role: Role) -> list[Assignment]:
        """What serves a role of a workload."""
        return [a for a in self.assignments if a.engine.workload.name == workload.name and a.role == role]

    @cached_property
    def _capacities(self) -> dict[tuple[str, Role], Fraction]:
        total: dict[tuple[str, Role], Fraction] = {}
        for a in self.assignments:
            key = (a.engine.workload.name, a.role)
            total[key] = total.get(key, Fraction(0)) + self.planned(a)
        return total

    def planned(self, a: Assignment) -> Fraction:
        """Requests/s that all replicas of an assignment are planned to carry: utilization and KV hand-over included."""
        return planned_rate(self.instance, a.engine, a.point.requests_per_s) * a.replicas

    def capacity(self, workload: Workload, role: Role) -> Fraction:
        """Requests/s that a role of a workload can do, utilisation included."""
        return self._capacities.get((workload.name, role), Fraction(0))

    def flow(self, workload: Workload) -> Fraction:
        """Credited requests/s: min(prefill, decode) + co-located, at most ``max_requests_per_s``."""
        flow = self.joined(workload) + self.capacity(workload, "colocated")
        return flow if workload.max_requests_per_s is None else min(flow, workload.max_requests_per_s)

    def joined(self, workload: Workload) -> Fraction:
        """Requests/s that prefill and decode engines can do together: the least cut of the hand-over."""
        roles = workload.roles("disaggregated")
        if self.instance.kv_links is None or len(roles) == 1:
            return min(self.capacity(workload, role) for role in roles)
        return self.through(workload, self.narrowest(workload))

    def narrowest(self, workload: Workload) -> Cut:
        """The first of the cuts that let the least pass."""
        return self._narrowest[workload.name]

    @cached_property
    def _narrowest(self) -> dict[str, Cut]:
        return {
            workload.name: min(cuts_of(self.instance, workload), key=lambda cut: self.through(workload, cut))
            for workload in self.instance.workloads
        }

    def through(self, workload: Workload, cut: Cut) -> Fraction:
        """Requests/s of a workload that a cut through the hand-over lets pass."""
        prefill, decode, links = self._ends[workload.name]
        return cut.capacity(prefill, decode, links) if prefill and (decode or workload.osl == 1) else Fraction(0)

    @cached_property
    def _ends(self) -> dict[str, tuple[Rates, Rates, Mapping[tuple[str, str], Fraction]]]:
        """Per workload what its prefill and its decode engines can do on each pool, and what each link carries."""
        return {
            workload.name: (
                self.rates(workload, "prefill"),
                self.rates(workload, "decode"),
                link_rates(self.instance, self.kv_bytes_per_request(workload) or Fraction(1)),
            )
            for workload in self.instance.workloads
        }

    def rates(self, workload: Workload, role: Role) -> dict[str, Fraction]:
        """Pool name to the requests/s that a role of a workload can do there."""
        found: dict[str, Fraction] = {}
        for a in self.of_role(workload, role):
            found[a.engine.pool.name] = found.get(a.engine.pool.name, Fraction(0)) + self.planned(a)
        return found

    def kv_bytes_per_request(self, workload: Workload) -> Fraction:
        """KV cache of one request that is handed over, in bytes; 0 where nothing limits the hand-over."""
        used = [a.engine.kv for a in self.of_role(workload, "prefill")]
        return next((kv.bytes_per_request for kv in used if kv is not None), Fraction(0))

    def first_token_ms(self, workload: Workload) -> list[tuple[Assignment, Assignment | None, Fraction]]:
        """
        TTFT of every way that a request of a workload may take, in ms.

        Each prefill engine with each decode engine in use, the exposed hand-over included; each co-located engine.
        """
        found: list[tuple[Assignment, Assignment | None, Fraction]] = []
        for a in self.of_role(workload, "prefill"):
            ttft, latency = a.point.ttft_ms or Fraction(0), a.point.latency_ms
            seconds = self.of_role(workload, "decode")
            for b in seconds:
                exposed = exposed_ms(self.instance, a.engine, a.batch, latency, b.engine.pool)
                found.append((a, b, ttft + exposed))
            found += [] if seconds else [(a, None, ttft)]
        return found + [(a, None, a.point.ttft_ms or Fraction(0)) for a in self.of_role(workload, "colocated")]

    def is_served(self, workload: Workload) -> bool:
        """Whether anything serves the workload."""
        return any(a.engine.workload.name == workload.name for a in self.assignments)

    @cached_property
    def requests_per_s(self) -> Fraction:
        """Requests/s of all workloads."""
        return sum((self.flow(workload) for workload in self.instance.workloads), Fraction(0))

    @cached_property
    def output_tokens_per_s(self) -> Fraction:
        """Output tokens/s of all workloads; the prefill yields the first token of each request."""
        return sum((w.osl * self.flow(w) for w in self.instance.workloads), Fraction(0))

    @cached_property
    def weighted_tokens_per_s(self) -> Fraction:
        """Output tokens/s, weighted by the workloads' weights."""
        return sum((w.weight * w.osl * self.flow(w) for w in self.instance.workloads), Fraction(0))

    @cached_property
    def gpus_used(self) -> int | Fraction:
        """GPUs that replicas use."""
        return sum((a.gpus for a in self.assignments), 0)

    def gpus_in(self, pool: Pool) -> int | Fraction:
        """GPUs used in a pool."""
        return sum((a.gpus for a in self.assignments if a.engine.pool.name == pool.name), 0)

    @cached_property
    def usd_per_hour(self) -> Fraction | None:
        """USD/hour of the GPUs used (or of all, where idle ones count); None where a price is missing."""
        return self._spent("usd_per_gpu_hour")

    @cached_property
    def watts(self) -> Fraction | None:
        """Watts of the GPUs used (or of all, where idle ones count); None where a power is missing."""
        return self._spent("watts_per_gpu")

    def _spent(self, rate: str) -> Fraction | None:
        total = Fraction(0)
        for pool in self.instance.pools:
            count = (pool.gpus or 0) if self.instance.budget.count_idle else self.gpus_in(pool)
            price: Fraction | None = getattr(pool, rate)
            if count and price is None:
                return None
            total += count * (price or 0)
        return total

    @cached_property
    def tpot_ms(self) -> Fraction | None:
        """TPOT in ms of the slowest decode or co-located point used; None where nothing decodes."""
        return max((a.point.latency_ms for a in self.assignments if a.decodes), default=None)

    @cached_property
    def ttft_ms(self) -> Fraction | None:
        """TTFT in ms of the slowest prefill or co-located point used."""
        return max((t for w in self.instance.workloads for *_, t in self.first_token_ms(w)), default=None)

    @property
    def tokens_per_s_per_user(self) -> Fraction | None:
        """Interactivity: 1000 / TPOT."""
        return None if self.tpot_ms is None else 1000 / self.tpot_ms

    @cached_property
    def objective(self) -> Fraction:
        """The value of the instance's objective."""
        match self.instance.objective:
            case "throughput":
                return self.weighted_tokens_per_s
            case "throughput_per_gpu":
                return self.weighted_tokens_per_s / self.gpus_used
            case "gpus":
                return Fraction(self.gpus_used)
            case "cost":
                return self.usd_per_hour or Fraction(0)

    @property
    def tokens_per_s_per_gpu(self) -> Fraction:
        """Weighted output tokens/s per GPU of the inventory; per GPU used where that is the objective."""
        if self.instance.objective == "throughput_per_gpu":
            return self.weighted_tokens_per_s / self.gpus_used
        return self.weighted_tokens_per_s / self.instance.inventory_gpus

    def mode(self, workload: Workload) -> str:
        """How a workload is served: colocated, disaggregated, hybrid or none."""
        roles = {a.role for a in self.assignments if a.engine.workload.name == workload.name}
        if not roles:
            return "none"
        if "colocated" in roles:
            return "hybrid" if len(roles) > 1 else "colocated"
        return "disaggregated"
