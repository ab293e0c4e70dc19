"""The instance: pools, workloads, serving rules. Immutable, exact, and free of any solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from costmodels.constants import Basis
from costmodels.gpus import Gpu
from costmodels.models import Model
from costmodels.operating_curve import ROLES, OperatingCurve, Role
from costmodels.options import EngineOptions
from costmodels.traffic import Traffic

Mode = Literal["colocated", "disaggregated"]
Objective = Literal["throughput", "throughput_per_gpu", "gpus", "cost"]
MODES: tuple[Mode, ...] = ("colocated", "disaggregated")
MODE_ROLES: dict[Mode, tuple[Role, ...]] = {"colocated": ("colocated",), "disaggregated": ("prefill", "decode")}


@dataclass(frozen=True)
class Pool:
    """
    GPUs of one kind.

    Parameters
    ----------
    name
        Unique name.
    gpu
        GPU type.
    gpus
        How many; None for unlimited.
    nvlink_domain_gpus
        GPUs of an NVLink domain. The last domain of a pool may be partial.
    gpus_per_node
        GPUs of a node, or None.
    usd_per_gpu_hour, watts_per_gpu
        Price (USD/hour) and power (W) of one GPU, or None.
    memory_gib
        Usable memory per GPU in GiB, or None.
    kv_gbps
        KV hand-over bandwidth of one GPU in GB/s, each of egress and ingress; None for no limit.
    device
        Figures of the GPU; None: as the cost model has them.
    """

    name: str
    gpu: str
    gpus: int | None
    nvlink_domain_gpus: int
    gpus_per_node: int | None = None
    usd_per_gpu_hour: Fraction | None = None
    watts_per_gpu: Fraction | None = None
    memory_gib: Fraction | None = None
    kv_gbps: Fraction | None = None
    device: Gpu | None = None

    @property
    def full_domains(self) -> int:
        """Whole NVLink domains of the pool."""
        return (self.gpus or 0) // self.nvlink_domain_gpus

    @property
    def partial_domain_gpus(self) -> int:
        """GPUs of the last, partial domain; 0 where there is none."""
        return (self.gpus or 0) % self.nvlink_domain_gpus


@dataclass(frozen=True)
class Workload:
    """
    A model, its traffic and its SLA.

    Parameters
    ----------
    name
        Unique name.
    model
        Model name.
    isl, osl
        Input and output tokens per request; the exact means where lengths differ.
    precision
        Per role a label, an exact string, or None for any.
    backend
        Serving engine, or None for any.
    ttft_ms, tpot_ms, e2el_ms, itl_ms
        Latency limits in ms, or None; a latency equal to its limit is feasible. ``itl_ms`` is the longest gap between
        two tokens.
    requests_per_s
        Demand that must be met, or None.
    max_requests_per_s
        Rate beyond which nothing is credited, or None.
    weight
        Weight of the output tokens in the objective.
    traffic
        Lengths of the requests where they differ, with ``isl`` and ``osl`` for means; None: they are constant.
    stands_for
        The distribution whose constant P50 ``isl`` and ``osl`` are; None where they are no such shortcut.
    options
        What is asked of the engines.
    shape
        Shape of the model; None: as the cost model has it.
    utilization
        Per role, the share of the modelled rate that is planned with, where it is not that of the serving rules.
    tpot_percentile
        Share of the requests (0 to 1) that must meet ``tpot_ms`` in a simulation, or None; it changes no plan, so it is
        no part of ``repr`` and of the hash of an instance.
    """

    name: str
    model: str
    isl: int | Fraction
    osl: int | Fraction
    precision: dict[Role, str | None] = field(default_factory=lambda: dict.fromkeys(ROLES))
    backend: str | None = None
    ttft_ms: Fraction | None = None
    tpot_ms: Fraction | None = None
    e2el_ms: Fraction | None = None
    requests_per_s: Fraction | None = None
    max_requests_per_s: Fraction | None = None
    weight: Fraction = Fraction(1)
    itl_ms: Fraction | None = None
    traffic: Traffic | None = None
    stands_for: Traffic | None = None
    options: EngineOptions = field(default_factory=EngineOptions)
    shape: Model | None = None
    utilization: dict[Role, Fraction] = field(default_factory=dict)
    tpot_percentile: Fraction | None = field(default=None, repr=False)

    @property
    def lengths(self) -> Traffic:
        """Lengths of the requests, constant or not."""
        return self.traffic or Traffic.constant(int(self.isl), int(self.osl))

    def roles(self, mode: Mode) -> tuple[Role, ...]:
        """The roles that a mode needs; with one output token the prefill has done all the work."""
        return ("prefill",) if mode == "disaggregated" and self.osl == 1 else MODE_ROLES[mode]


@dataclass(frozen=True)
class Pattern:
    """
    Selects operating points; a point matches when every given field fits.

    Parameters
    ----------
    fields
        Field name to the allowed values (a set of integers or names) or to an inclusive range ``(min, max)``.
    """

    fields: dict[str, frozenset[int | str] | tuple[int | None, int | None]]

    def matches(self, curve: OperatingCurve, batch: int) -> bool:
        """Whether the engine at this batch is selected."""
        return all(_fits(allowed, _value(name, curve, batch)) for name, allowed in self.fields.items())


def _value(name: str, curve: OperatingCurve, batch: int) -> int | str:
    if name == "batch":
        return batch
    owner = curve if name in ("chunk_tokens", "backend") else curve.partition
    value: int | str = getattr(owner, name)
    return value


def _fits(allowed: frozenset[int | str] | tuple[int | None, int | None], value: int | str) -> bool:
    if isinstance(allowed, frozenset):
        return value in allowed
    low, high = allowed
    assert isinstance(value, int)
    return (low is None or value >= low) and (high is None or value <= high)


@dataclass(frozen=True)
class Survive:
    """
    A loss after which every demand is still met.

    Parameters
    ----------
    kind
        ``nodes`` or ``domains``: what is lost as a whole.
    lost
        How many of them, anywhere in the fleet.
    """

    kind: Literal["nodes", "domains"]
    lost: int

    def block_gpus(self, pool: Pool) -> int:
        """GPUs of what is lost as a whole in a pool."""
        return pool.nvlink_domain_gpus if self.kind == "domains" else pool.gpus_per_node or pool.nvlink_domain_gpus


@dataclass(frozen=True)
class Serving:
    """
    How workloads may be served.

    Parameters
    ----------
    modes
        Allowed modes.
    hybrid
        Whether one workload may be served in both modes at once.
    engines_per_role
        Different engines per workload, pool and role; None for any number.
    utilization
        Per role, the share of the modelled rate that is planned with; a workload may have its own.
    decode_covers
        Whether prefill capacity may exceed decode capacity by no more than ``tolerance``.
    tolerance
        See ``decode_covers``.
    allow, deny
        Per role, patterns of points. No ``allow`` patterns: all are allowed.
    min_replicas, max_replicas
        (workload, role) to a bound on replicas over all pools.
    survive
        A loss after which every demand is still met, or None.
    """

    modes: tuple[Mode, ...] = MODES
    hybrid: bool = False
    engines_per_role: int | None = 1
    utilization: dict[Role, Fraction] = field(default_factory=lambda: dict.fromkeys(ROLES, Fraction(1)))
    decode_covers: bool = False
    tolerance: Fraction = Fraction(3, 100)
    allow: dict[Role, tuple[Pattern, ...]] = field(default_factory=dict)
    deny: dict[Role, tuple[Pattern, ...]] = field(default_factory=dict)
    min_replicas: dict[tuple[str, Role], int] = field(default_factory=dict)
    max_replicas: dict[tuple[str, Role], int] = field(default_factory=dict)
    survive: Survive | None = field(default=None, repr=False)  # hashes of instances without it stay as they were

    def allows(self, curve: OperatingCurve, batch: int) -> bool:
        """Whether the rules let an engine run at a batch."""
        allow, deny = self.allow.get(curve.role, ()), self.deny.get(curve.role, ())
        if allow and not any(pattern.matches(curve, batch) for pattern in allow):
            return False
        return not any(pattern.matches(curve, batch) for pattern in deny)


@dataclass(frozen=True)
class Budget:
    """
    Limits on the GPUs used.

    Parameters
    ----------
    usd_per_hour, watts
        The limits, or None.
    count_idle
        Whether idle GPUs count, in the budget and in the cost.
    """

    usd_per_hour: Fraction | None = None
    watts: Fraction | None = None
    count_idle: bool = False


@dataclass(frozen=True)
class CostModelSpec:
    """
    Where latencies and rates come from.

    Parameters
    ----------
    kind
        ``roofline``, ``curves`` or ``silicon``.
    paths
        Tables, as written in the instance.
    interpolate
        Whether batches between rows are admissible.
    interpolate_lengths
        Whether constant lengths between those of the rows are served; distributed ones always are.
    basis
        ``roofline``: what its constants were fitted to, see :mod:`costmodels.constants`.
    backend_version, cache
        ``silicon``: version of the operator data, and the folder that keeps priced engines; None: its defaults.
    """

    kind: str = "roofline"
    paths: tuple[str, ...] = ()
    interpolate: bool = False
    interpolate_lengths: bool = False
    basis: Basis = "served"
    backend_version: str | None = None
    cache: str | None = None


@dataclass(frozen=True)
class Instance:
    """
    One planning problem.

    Parameters
    ----------
    name
        Its name.
    pools, workloads
        What there is and what is asked.
    serving, cost_model, objective, budget
        How it may be served, priced, judged and limited.
    description
        A sentence for people.
    kv_links
        (prefill pool, decode pool) to the capacity of the link in GB/s; None where nothing limits the hand-over
        between pools.
    """

    name: str
    pools: tuple[Pool, ...]
    workloads: tuple[Workload, ...]
    serving: Serving = field(default_factory=Serving)
    cost_model: CostModelSpec = field(default_factory=CostModelSpec)
    objective: Objective = "throughput"
    budget: Budget = field(default_factory=Budget)
    description: str = ""
    kv_links: Mapping[tuple[str, str], Fraction] | None = None

    @property
    def limits_handover(self) -> bool:
        """Whether family C6 limits the KV hand-over anywhere."""
        return self.kv_links is not None or any(pool.kv_gbps is not None for pool in self.pools)

    @property
    def is_unlimited(self) -> bool:
        """Whether replicas are real numbers and the answer is the limit."""
        return self.pools[0].gpus is None

    @property
    def is_minimised(self) -> bool:
        """Whether less of the objective is better."""
        return self.objective in ("gpus", "cost")

    @property
    def inventory_gpus(self) -> int:
        """GPUs of all pools; GPUs of all types count one each."""
        return sum(pool.gpus or 0 for pool in self.pools)

    def utilization(self, workload: Workload, role: Role) -> Fraction:
        """The share of the modelled rate of a role of a workload that is planned with."""
        return workload.utilization.get(role, self.serving.utilization[role])

    def pool(self, name: str) -> Pool:
        """The pool of that name."""
        return next(pool for pool in self.pools if pool.name == name)

    def workload(self, name: str) -> Workload:
        """The workload of that name."""
        return next(workload for workload in self.workloads if workload.name == name)
