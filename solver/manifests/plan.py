"""What is to be served: the lines of a deployment with their names, grouped as requests are routed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from costmodels.models import MODELS, Model
from costmodels.operating_curve import ROLES, Role
from solver.instance import Instance, Pool, Workload
from solver.manifests.chosen import Chosen
from solver.verify_document import Entry, Service

LONGEST_NAME = 36
"""Characters of a workload's or instance's name: Kubernetes allows 63, roles, indices and hashes are appended."""


@dataclass(frozen=True)
class Line:
    """
    One line of the deployment: replicas of one engine at one batch.

    Parameters
    ----------
    name
        Its name, unique in the export and fit for Kubernetes.
    workload, pool
        Whom it serves, and where.
    entry
        What the file says of it.
    model_path
        Where the engine finds the weights: a path, or a name on the Hugging Face hub.
    is_path_given
        Whether the user named it.
    """

    name: str
    workload: Workload
    pool: Pool
    entry: Entry
    model_path: str
    is_path_given: bool

    @property
    def role(self) -> Role:
        """Prefill, decode or co-located."""
        return self.entry.role

    @property
    def replicas(self) -> int:
        """How many; verified to be whole."""
        return int(self.entry.replicas)

    @property
    def shape(self) -> Model | None:
        """The model's shape; None where nobody knows it."""
        return self.workload.shape or MODELS.get(self.workload.model)

    @property
    def weights_claim(self) -> str:
        """Name of the volume claim with the weights, where their path is one of a file system."""
        return f"{dns_name(self.workload.name)}-weights"

    @property
    def is_moe(self) -> bool:
        """Whether there are experts to cut: the partition says so, or the shape of the model does."""
        cut = self.entry.partition
        return cut.moe_tp * cut.moe_ep > 1 or (self.shape is not None and self.shape.is_moe)


@dataclass(frozen=True)
class Group:
    """
    Lines behind one router.

    Parameters
    ----------
    name
        Its name.
    workload
        Whose requests they are.
    lines
        All co-located, or prefill and decode.
    row
        What the file says of the workload.
    is_hybrid
        Whether the workload has another group, of the other mode.
    """

    name: str
    workload: Workload
    lines: tuple[Line, ...]
    row: Mapping[str, Any]
    is_hybrid: bool = False

    def of_role(self, role: Role) -> tuple[Line, ...]:
        """The lines of a role."""
        return tuple(line for line in self.lines if line.role == role)

    @property
    def is_disaggregated(self) -> bool:
        """Whether prompts and answers are served apart; with one output token there is nothing to decode."""
        return bool(self.of_role("prefill")) and bool(self.of_role("decode"))

    @property
    def requests_per_s(self) -> float:
        """Requests/s that the group can serve, utilization included."""
        return float(min(self.row[f"{role}_requests_per_s"] for role in {line.role for line in self.lines}))


@dataclass(frozen=True)
class Plan:
    """
    All that is to be served.

    Parameters
    ----------
    name
        The instance's name, fit for Kubernetes.
    instance
        The instance.
    chosen
        The deployment as the file has it.
    groups
        By workload.
    unserved
        Workloads that the deployment gives nothing.
    hosts
        Pool to the name that its nodes begin with.
    """

    name: str
    instance: Instance
    chosen: Chosen
    groups: tuple[Group, ...]
    unserved: tuple[str, ...]
    hosts: Mapping[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines."""
        return tuple(line for group in self.groups for line in group.lines)

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return sum(int(line.entry.gpus) for line in self.lines)


def dns_name(text: str) -> str:
    """A text as a Kubernetes name: lower case, digits and hyphens, beginning with a letter."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = name if name[:1].isalpha() else f"w-{name}".rstrip("-")
    return name[:LONGEST_NAME].rstrip("-")


def _unique(names: Iterable[str]) -> list[str]:
    """The names, those that were there before with a number behind them."""
    taken: set[str] = set()
    told = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate)
        told.append(candidate)
    return told


def plan_of(chosen: Chosen, instance: Instance, model_paths: Mapping[str, str]) -> Plan:
    """
    Names what a deployment serves.

    Parameters
    ----------
    chosen
        The deployment.
    instance
        Its instance.
    model_paths
        Workload to path of its weights; the model's own name where there is none.
    """
    names = _unique(dns_name(service.workload) for service in chosen.services)
    pool_names = _unique(dns_name(pool.name) for pool in instance.pools)
    hosts = {pool.name: name for pool, name in zip(instance.pools, pool_names, strict=True)}
    groups: list[Group] = []
    for name, service, row in zip(names, chosen.services, chosen.rows, strict=True):
        groups += _groups(name, service, row, instance, model_paths)
    unserved = tuple(service.workload for service in chosen.services if not service.entries)
    told = _unique(group.name for group in groups)
    named = tuple(replace(group, name=name) for group, name in zip(groups, told, strict=True))
    return Plan(dns_name(instance.name), instance, chosen, named, unserved, hosts)


def _groups(
    name: str, service: Service, row: Mapping[str, Any], instance: Instance, model_paths: Mapping[str, str]
) -> list[Group]:
    """The disaggregated and the co-located group of a workload, as far as there are any."""
    workload = instance.workload(service.workload)
    path = model_paths.get(workload.name)
    lines = []
    for role in ROLES:
        for number, entry in enumerate((entry for entry in service.entries if entry.role == role), start=1):
            told = f"{name}-{role}{'' if number == 1 else f'-{number}'}"
            pool = instance.pool(entry.pool)
            lines.append(Line(told, workload, pool, entry, path or workload.model, path is not None))
    apart = tuple(line for line in lines if line.role != "colocated")
    together = tuple(line for line in lines if line.role == "colocated")
    is_hybrid = bool(apart and together)
    parts = ((name, apart), (f"{name}-colocated" if is_hybrid else name, together))
    return [Group(told, workload, some, row, is_hybrid) for told, some in parts if some]
