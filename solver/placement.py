"""Where stage groups stand: a packing of a deployment into NVLink domains."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from solver.deployment import Deployment
from solver.formulation.packing import is_chain
from solver.instance import Pool

Domain = tuple[int, tuple[tuple[int, int], ...]]
"""Capacity of a domain in GPUs, and (group size, count) standing in it."""


@dataclass(frozen=True)
class Placement:
    """
    A packing of one pool.

    Parameters
    ----------
    pool
        The pool.
    domains
        Each used domain to the number of domains filled that way. Groups larger than a domain are not listed: they
        take whole domains.
    """

    pool: str
    domains: tuple[tuple[Domain, int], ...]

    def as_list(self) -> list[dict[str, object]]:
        """For the result file."""
        return [
            {"domains": count, "gpus": gpus, "groups": {str(size): number for size, number in groups}}
            for (gpus, groups), count in self.domains
        ]


def placements(deployment: Deployment) -> list[Placement]:
    """
    Packs every pool of a deployment whose groups are known to fit.

    First fit in descending size is exact when sizes divide each other; other sizes are packed by a search over the
    patterns of a domain, fullest first.
    """
    return [_place(deployment, pool) for pool in deployment.instance.pools if deployment.gpus_in(pool)]


def _standing(deployment: Deployment, pool: Pool) -> Placement:
    """The packing of a pool whose replicas stand in given blocks, by NVLink domain."""
    partitions = {a.engine.index: a.engine.curve.partition for a in deployment.assignments}
    domains: dict[int, Counter[int]] = {}
    survive = deployment.instance.serving.survive
    assert survive is not None
    size = survive.block_gpus(pool)
    for block in deployment.blocks:
        if block.pool == pool.name:
            here = domains.setdefault(block.index * size // pool.nvlink_domain_gpus, Counter())
            for engine, _, count in block.replicas:
                here[partitions[engine].stage_group] += partitions[engine].pp * count
    counted: Counter[Domain] = Counter()
    for number, groups in domains.items():
        gpus = pool.nvlink_domain_gpus if number < pool.full_domains else pool.partial_domain_gpus
        counted[gpus, tuple(sorted(groups.items(), reverse=True))] += 1
    return Placement(pool.name, tuple(sorted(counted.items(), reverse=True)))


def _place(deployment: Deployment, pool: Pool) -> Placement:
    if deployment.blocks:
        return _standing(deployment, pool)
    groups: Counter[int] = Counter()
    whole = 0
    for a in deployment.assignments:
        if a.engine.pool.name == pool.name:
            partition = a.engine.curve.partition
            count = partition.pp * int(a.replicas)
            if partition.stage_group > pool.nvlink_domain_gpus:
                whole += count * -(-partition.stage_group // pool.nvlink_domain_gpus)
            else:
                groups[partition.stage_group] += count
    capacities = [pool.nvlink_domain_gpus] * (pool.full_domains - whole)
    capacities += [pool.partial_domain_gpus] if pool.partial_domain_gpus else []
    chosen = _first_fit(groups, capacities)
    if chosen is None:
        chosen = None if is_chain(groups) else _search(groups, capacities)
    if chosen is None:
        raise ValueError(f"the stage groups on pool {pool.name} do not fit its NVLink domains")
    counted = Counter(
        (gpus, tuple(sorted(c.items(), reverse=True))) for gpus, c in zip(capacities, chosen, strict=True) if c
    )
    return Placement(pool.name, tuple(sorted(counted.items(), reverse=True)))


def packed(groups: Counter[int], pool: Pool) -> list[Counter[int]] | None:
    """
    What stands in each domain of a pool that groups larger than a domain leave; None where the groups do not fit.

    Parameters
    ----------
    groups
        Size to count of the stage groups.
    pool
        The pool.
    """
    domain = pool.nvlink_domain_gpus
    whole = sum(-(-size // domain) * count for size, count in groups.items() if size > domain)
    small = Counter({size: count for size, count in groups.items() if size <= domain})
    if whole > pool.full_domains:
        return None
    capacities = [domain] * (pool.full_domains - whole)
    capacities += [pool.partial_domain_gpus] if pool.partial_domain_gpus else []
    chosen = _first_fit(small, capacities)
    return chosen if chosen is not None or is_chain(small) else _search(small, capacities)


def _first_fit(groups: Counter[int], capacities: list[int]) -> list[Counter[int]] | None:
    """Largest groups first, each into the first domains with room; the partial domain, last, gets what is left."""
    free = list(capacities)
    placed: list[Counter[int]] = [Counter() for _ in capacities]
    for size in sorted(groups, reverse=True):
        left = groups[size]
        for index, room in enumerate(free):
            fitting = min(left, room // size)
            if fitting:
                placed[index][size] += fitting
                free[index] -= fitting * size
                left -= fitting
        if left:
            return None
    return placed


def _search(groups: Counter[int], capacities: list[int]) -> list[Counter[int]] | None:
    """Depth-first over fillings of one domain after the other, remembering what was left where it failed."""
    sizes = sorted(groups, reverse=True)
    failed: set[tuple[int, tuple[int, ...]]] = set()

    def fill(index: int, left: tuple[int, ...]) -> list[Counter[int]] | None:
        if not any(left):
            return [Counter() for _ in capacities[index:]]
        if index == len(capacities) or (index, left) in failed:
            return None
        if sum(size * count for size, count in zip(sizes, left, strict=True)) <= sum(capacities[index:]):
            for pattern in _patterns(sizes, left, capacities[index]):
                rest = fill(index + 1, tuple(a - b for a, b in zip(left, pattern, strict=True)))
                if rest is not None:
                    return [Counter({s: c for s, c in zip(sizes, pattern, strict=True) if c}), *rest]
        failed.add((index, left))
        return None

    return fill(0, tuple(groups[size] for size in sizes))


def _patterns(sizes: list[int], left: tuple[int, ...], room: int) -> list[tuple[int, ...]]:
    """The maximal fillings of a domain, fullest first."""
    found: list[tuple[int, ...]] = []

    def extend(index: int, chosen: tuple[int, ...], free: int) -> None:
        if index == len(sizes):
            if all(free < size or chosen[i] == left[i] for i, size in enumerate(sizes)):
                found.append(chosen)
            return
        for count in range(min(left[index], free // sizes[index]), -1, -1):
            extend(index + 1, (*chosen, count), free - count * sizes[index])

    extend(0, (), room)
    return sorted(found, key=lambda p: -sum(s * c for s, c in zip(sizes, p, strict=True)))
