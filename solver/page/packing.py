"""The packing picture: which engine's stage groups stand in which NVLink domain."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from solver.deployment import Deployment
from solver.instance import Pool
from solver.placement import Placement, placements

Group = tuple[int, int, int]
"""Index of an engine, GPUs of one of its stage groups that stand in the domain, number of such groups there."""


@dataclass(frozen=True)
class Box:
    """
    Domains that are filled alike.

    Parameters
    ----------
    domains
        How many.
    gpus
        GPUs of each.
    groups
        What stands in each; the rest of its GPUs are idle.
    spans
        Domains that one stage group takes; more than 1 where groups are larger than a domain.
    """

    domains: int
    gpus: int
    groups: tuple[Group, ...]
    spans: int = 1

    @property
    def idle_gpus(self) -> int:
        """GPUs of each domain that nothing uses."""
        return self.gpus - sum(size * number for _, size, number in self.groups)


@dataclass(frozen=True)
class PackedPool:
    """
    The domains of a pool.

    Parameters
    ----------
    pool
        Its name.
    domain_gpus
        GPUs of a whole domain.
    boxes
        All its domains, idle ones included, fullest first; their numbers add up to the domains of the pool.
    """

    pool: str
    domain_gpus: int
    boxes: tuple[Box, ...]


def packed(deployment: Deployment) -> tuple[PackedPool, ...]:
    """
    The packing of every pool of a deployment, engine by engine; empty where GPUs are unlimited.

    A placement says how many groups of which size stand in a domain. Groups of one size are interchangeable there, so
    the engines are dealt out in canonical order.
    """
    if deployment.instance.is_unlimited:
        return ()
    placed = {placement.pool: placement for placement in placements(deployment)}
    return tuple(_pool(deployment, pool, placed.get(pool.name)) for pool in deployment.instance.pools)


def _pool(deployment: Deployment, pool: Pool, placement: Placement | None) -> PackedPool:
    waiting: dict[int, list[list[int]]] = {}
    boxes: list[Box] = []
    for a in deployment.assignments:
        partition = a.engine.curve.partition
        if a.engine.pool.name != pool.name:
            continue
        count = partition.pp * int(a.replicas)
        if partition.stage_group > pool.nvlink_domain_gpus:
            boxes += _wide(a.engine.index, partition.stage_group, count, pool.nvlink_domain_gpus)
        else:
            waiting.setdefault(partition.stage_group, []).append([a.engine.index, count])
    for (gpus, groups), count in placement.domains if placement else ():
        filled = Counter(_dealt(groups, waiting) for _ in range(count))
        boxes += [Box(number, gpus, inside) for inside, number in filled.items()]
    boxes += _idle(pool, boxes)
    ordered = sorted(boxes, key=lambda box: (-box.gpus, not box.groups, box.idle_gpus))
    return PackedPool(pool.name, pool.nvlink_domain_gpus, tuple(ordered))


def _wide(engine: int, size: int, count: int, domain: int) -> list[Box]:
    """Groups larger than a domain: whole domains, the last of each perhaps not full."""
    full, rest = divmod(size, domain)
    spans = full + (rest > 0)
    boxes = [Box(count * full, domain, ((engine, domain, 1),), spans)]
    return boxes + ([Box(count, domain, ((engine, rest, 1),), spans)] if rest else [])


def _dealt(groups: tuple[tuple[int, int], ...], waiting: dict[int, list[list[int]]]) -> tuple[Group, ...]:
    """The groups of one domain, taken from the engines that wait for a place."""
    found: list[Group] = []
    for size, number in groups:
        left = number
        while left:
            engine, there = waiting[size][0]
            taken = min(left, there)
            found.append((engine, size, taken))
            waiting[size][0][1] -= taken
            left -= taken
            if not waiting[size][0][1]:
                waiting[size].pop(0)
    return tuple(found)


def _idle(pool: Pool, boxes: list[Box]) -> list[Box]:
    """The domains in which nothing stands."""
    used = Counter[bool]()
    for box in boxes:
        used[box.gpus == pool.nvlink_domain_gpus] += box.domains
    whole, partial = pool.full_domains - used[True], (1 if pool.partial_domain_gpus else 0) - used[False]
    idle = [Box(whole, pool.nvlink_domain_gpus, ())] if whole else []
    return idle + ([Box(partial, pool.partial_domain_gpus, ())] if partial else [])
