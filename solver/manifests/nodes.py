"""
Pods and nodes: how replicas are cut into pods, and on which GPUs of which node each pod stands.

The solver packs stage groups into NVLink domains (C4); it knows no nodes. Here a node is a third level: a pod stands on
one node, a stage group in one NVLink domain (or in whole domains, where it is larger), and no GPU is given twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from costmodels.errors import Fault, InputError
from costmodels.gpus import GPUS
from solver.instance import Pool
from solver.manifests.plan import Line, Plan
from solver.verify_document import Domains

UNKNOWN_NODE_GPUS = 8
"""GPUs of a node where neither the instance nor the catalogue says; less where the NVLink domain is smaller."""
MOST_TRIES = 256
"""Combinations of pod sizes that are tried."""


@dataclass(frozen=True)
class Pod:
    """GPUs of one node that a pod takes: the node's number in its pool, and the GPUs' numbers in the node."""

    node: int
    gpus: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """
    How a line stands.

    Parameters
    ----------
    line
        The line.
    gpus_per_node
        GPUs of a node of its pool.
    pod_gpus
        GPUs of each pod.
    replicas
        Per replica its pods, in rank order: the ranks of a stage follow each other, stage after stage.
    """

    line: Line
    gpus_per_node: int
    pod_gpus: int
    replicas: tuple[tuple[Pod, ...], ...]

    @property
    def pods_per_replica(self) -> int:
        """Pods of a replica."""
        return self.line.entry.partition.gpus // self.pod_gpus

    @property
    def pods_per_stage(self) -> int:
        """Pods of a stage group; 1 where a pod holds whole groups."""
        return max(1, self.line.entry.partition.stage_group // self.pod_gpus)

    @property
    def gpus(self) -> int:
        """GPUs of all pods."""
        return sum(len(pod.gpus) for pods in self.replicas for pod in pods)

    @property
    def is_bound_to_domain(self) -> bool:
        """Whether several pods must share an NVLink domain: a stage group of several pods that fits into one."""
        return self.pods_per_stage > 1 and self.line.entry.partition.stage_group <= self.line.pool.nvlink_domain_gpus

    @property
    def is_in_one_domain(self) -> bool:
        """Whether each replica stands in one NVLink domain."""
        return all(len({pod.node // self.nodes_per_domain for pod in pods}) == 1 for pods in self.replicas)

    @property
    def nodes_per_domain(self) -> int:
        """Nodes of an NVLink domain."""
        return max(1, -(-self.line.pool.nvlink_domain_gpus // self.gpus_per_node))


def gpus_per_node(pool: Pool) -> int:
    """GPUs of a node: as the instance has it, else as the catalogue has it, else 8 or the NVLink domain."""
    if pool.gpus_per_node is not None:
        return pool.gpus_per_node
    known = pool.device or GPUS.get(pool.gpu)
    return known.gpus_per_node if known else min(UNKNOWN_NODE_GPUS, pool.nvlink_domain_gpus)


def layouts(plan: Plan) -> dict[str, Layout]:
    """
    Packs all lines of a plan: line name to its layout.

    Raises
    ------
    InputError
        When the pods of a pool do not fit its nodes in any way that is tried.
    """
    found: dict[str, Layout] = {}
    faults = []
    for index, pool in enumerate(plan.instance.pools):
        lines = [line for line in plan.lines if line.pool.name == pool.name]
        packed = _packed(pool, lines, plan.chosen.placement.get(pool.name, ()))
        if packed is None:
            sizes = ", ".join(f"{line.replicas} x {line.entry.partition.label}" for line in lines)
            text = f"{sizes} fit the NVLink domains, not the nodes of {gpus_per_node(pool)} GPUs; is that number right?"
            faults.append(Fault(f"$.pools[{index}].gpus_per_node", text))
        else:
            found |= {layout.line.name: layout for layout in packed}
    if faults:
        raise InputError(faults)
    _assert_counted(plan, found)
    return found


def _assert_counted(plan: Plan, found: dict[str, Layout]) -> None:
    """Every GPU of the plan stands in a pod, none twice, and no pool has fewer than its pods take."""
    assert sum(layout.gpus for layout in found.values()) == plan.gpus, "GPUs of the pods differ from those of the plan"
    for pool in plan.instance.pools:
        mine = [layout for layout in found.values() if layout.line.pool.name == pool.name]
        taken = Counter((pod.node, gpu) for each in mine for pods in each.replicas for pod in pods for gpu in pod.gpus)
        assert all(count == 1 for count in taken.values()), "a GPU stands in two pods"
        assert len(taken) <= (pool.gpus or 0), "more GPUs than the pool has"


def pod_sizes(line: Line, node: int) -> Iterator[int]:
    """
    GPUs per pod that a line may be cut into, largest first.

    A pod holds whole stage groups, or a stage group is cut into equal pods.
    """
    cut = line.entry.partition
    group = cut.stage_group
    whole = [group * stages for stages in range(cut.pp, 0, -1) if cut.pp % stages == 0]
    parts = [size for size in range(group - 1, 0, -1) if group % size == 0]
    yield from (size for size in (*whole, *parts) if size <= node)


def _packed(pool: Pool, lines: Sequence[Line], placed: Sequence[Domains]) -> list[Layout] | None:
    """
    The first combination of pod sizes that fits: the largest pods, else smaller ones of some lines.

    Groups go into the first domain with room, which is exact where sizes divide each other; else where the file's
    placement has them. Last of all come pods of one GPU, which fit wherever the placement is right.
    """
    node = gpus_per_node(pool)
    choices = [list(pod_sizes(line, node)) for line in lines]
    orders = sorted(product(*(range(len(sizes)) for sizes in choices)), key=lambda picks: (sum(picks), picks))
    for picks in dict.fromkeys([*orders[:MOST_TRIES], orders[-1]]):
        sizes = [choice[pick] for choice, pick in zip(choices, picks, strict=True)]
        for quotas in ({}, _quotas(pool, placed)):
            layout = _Floor(pool, node, quotas).place(lines, sizes)
            if layout is not None:
                return layout
    return None


def _quotas(pool: Pool, placed: Sequence[Domains]) -> dict[int, Counter[int]]:
    """Domain number to the stage groups that the file's placement puts there; a partial domain is the last."""
    quotas: dict[int, Counter[int]] = {}
    for told in placed:
        full = told.gpus == pool.nvlink_domain_gpus
        first = len(quotas) if full else pool.full_domains
        quotas |= {first + number: Counter(told.groups) for number in range(told.domains)}
    return quotas


class _Floor:
    """
    The GPUs of a pool by cells: the GPUs that share both a node and an NVLink domain.

    Parameters
    ----------
    pool
        The pool.
    node
        GPUs of a node.
    quotas
        Domain to the groups that may stand there; empty: any.
    """

    def __init__(self, pool: Pool, node: int, quotas: Mapping[int, Counter[int]]) -> None:
        self.quotas = {domain: Counter(groups) for domain, groups in quotas.items()}
        self.node, self.domain = node, pool.nvlink_domain_gpus
        self.free: dict[tuple[int, int], list[int]] = {}
        self.whole: dict[int, int] = {}
        nodes: dict[object, int] = {}
        filled: Counter[int] = Counter()
        for gpu in range(pool.gpus or 0):
            domain = gpu // self.domain
            host = (domain, gpu % self.domain // node) if self.domain >= node else gpu // node
            number = nodes.setdefault(host, len(nodes))
            self.free.setdefault((domain, number), []).append(filled[number])
            filled[number] += 1
            self.whole[domain] = self.whole.get(domain, 0) + 1

    def place(self, lines: Sequence[Line], sizes: Sequence[int]) -> list[Layout] | None:
        """Places all replicas, what needs the largest room first; None where something does not fit."""
        room = [max(line.entry.partition.stage_group, size) for line, size in zip(lines, sizes, strict=True)]
        found: dict[int, Layout] = {}
        for index in sorted(range(len(lines)), key=lambda i: (-room[i], i)):
            line, size = lines[index], sizes[index]
            replicas = []
            for _ in range(line.replicas):
                pods = self._replica(line, size)
                if pods is None:
                    return None
                replicas.append(pods)
            found[index] = Layout(line, self.node, size, tuple(replicas))
        return [found[index] for index in range(len(lines))]

    def _replica(self, line: Line, size: int) -> tuple[Pod, ...] | None:
        cut = line.entry.partition
        group = cut.stage_group
        pods: list[Pod] = []
        for _ in range(cut.gpus // max(size, group)):
            found = self._groups(group, size // group) if size >= group else self._parts(group, size)
            if found is None:
                return None
            pods += found
        return tuple(pods)

    def _groups(self, group: int, count: int) -> list[Pod] | None:
        """One pod with ``count`` whole groups on one node, each in one domain or, where larger, in whole ones."""
        for number in dict.fromkeys(number for _, number in self.free):
            cells = [cell for cell in self.free if cell[1] == number]
            taken = self._wide(cells, group, count) if group > self.domain else self._narrow(cells, group, count)
            if taken is not None:
                return [Pod(number, tuple(taken))]
        return None

    def _narrow(self, cells: Sequence[tuple[int, int]], group: int, count: int) -> list[int] | None:
        if sum(min(len(self.free[cell]) // group, self._room(cell[0], group)) for cell in cells) < count:
            return None
        taken: list[int] = []
        for cell in cells:
            while len(taken) < group * count and len(self.free[cell]) >= group and self._room(cell[0], group):
                taken += self._take(cell, group)
                self._settle(cell[0], group)
        return taken

    def _room(self, domain: int, group: int) -> int:
        """How many more groups of a size the quotas let into a domain."""
        return self.quotas.get(domain, Counter())[group] if self.quotas else len(self.whole) * self.domain

    def _settle(self, domain: int, group: int) -> None:
        if self.quotas:
            self.quotas[domain][group] -= 1

    def _wide(self, cells: Sequence[tuple[int, int]], group: int, count: int) -> list[int] | None:
        """Groups larger than a domain: each takes whole domains of this node."""
        each = -(-group // self.domain)
        unused = [c for c in cells if len(self.free[c]) == self.domain and c[0] not in self.quotas]
        if len(unused) < each * count:
            return None
        taken: list[int] = []
        for start in range(0, each * count, each):
            gpus = [gpu for cell in unused[start : start + each] for gpu in self._take(cell, self.domain)]
            taken += gpus[:group]
        return taken

    def _parts(self, group: int, size: int) -> list[Pod] | None:
        """A group cut into pods of ``size``: in one domain, or in whole ones."""
        if group <= self.domain:
            for domain in self.whole:
                cells = [cell for cell in self.free if cell[0] == domain]
                fitting = sum(len(self.free[cell]) // size for cell in cells)
                if fitting >= group // size and self._room(domain, group):
                    self._settle(domain, group)
                    return self._cut(cells, group, size)
            return None
        unused = [
            domain
            for domain, gpus in self.whole.items()
            if gpus == self.domain
            and domain not in self.quotas
            and sum(len(self.free[cell]) for cell in self.free if cell[0] == domain) == gpus
        ][: -(-group // self.domain)]
        cells = [cell for cell in self.free if cell[0] in unused]
        if len(unused) < -(-group // self.domain) or sum(len(self.free[c]) // size for c in cells) < group // size:
            return None
        pods = self._cut(cells, group, size)
        for cell in cells:
            self.free[cell] = []
        return pods

    def _cut(self, cells: Sequence[tuple[int, int]], group: int, size: int) -> list[Pod]:
        pods: list[Pod] = []
        for cell in cells:
            while len(pods) < group // size and len(self.free[cell]) >= size:
                pods.append(Pod(cell[1], tuple(self._take(cell, size))))
        return pods

    def _take(self, cell: tuple[int, int], count: int) -> list[int]:
        taken, self.free[cell] = self.free[cell][:count], self.free[cell][count:]
        return taken
