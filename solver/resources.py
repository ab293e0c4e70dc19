"""What the workloads of an instance share: rows over replicas that hold in every deployment, with their limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solver.engines import Engine
from solver.instance import Instance, Pool


@dataclass(frozen=True)
class Resource:
    """
    A row: sum over engines of use x replicas <= limit.

    Parameters
    ----------
    kind
        ``gpus``: GPUs of a pool (C3). ``groups``: stage groups of ``size`` in the domains of a pool (C4). ``domains``:
        whole domains taken by larger groups (C4). ``usd`` and ``watts``: budgets over all pools (C7).
    pool
        Name of the pool; empty for budgets.
    size
        GPUs of a group; 0 for other kinds.
    limit
        What there is.
    """

    kind: str
    pool: str
    size: int
    limit: Fraction

    @property
    def key(self) -> dict[str, Any]:
        """How a result names the row."""
        return {
            "row": self.kind,
            **({"pool": self.pool} if self.pool else {}),
            **({"size": self.size} if self.size else {}),
        }

    def use(self, engine: Engine) -> Fraction:
        """What one replica of an engine takes of it."""
        pool, partition = engine.pool, engine.curve.partition
        if self.kind in ("usd", "watts"):
            price = pool.usd_per_gpu_hour if self.kind == "usd" else pool.watts_per_gpu
            return (price or Fraction(0)) * partition.gpus
        if pool.name != self.pool:
            return Fraction(0)
        if self.kind == "gpus":
            return Fraction(partition.gpus)
        group, domain = partition.stage_group, pool.nvlink_domain_gpus
        whole = -(-group // domain) if group > domain else 0
        if self.kind == "domains":
            return Fraction(whole * partition.pp)
        blocks = whole * (domain // self.size) if whole else group // self.size
        return Fraction(blocks * partition.pp)


def resources_of(instance: Instance, engines: Iterable[Engine]) -> list[Resource]:
    """
    The rows that some engine takes from.

    A group of s' GPUs in a domain holds floor(s'/s) blocks of s GPUs, and a domain of D holds floor(D/s) of them, so
    the rows of groups hold for any sizes; for sizes that divide each other they are the nested family of C4.
    """
    every = list(engines)
    rows = [row for pool in instance.pools for row in _of_pool(pool, [e for e in every if e.pool.name == pool.name])]
    budget = instance.budget
    if not budget.count_idle:
        for kind, limit in (("usd", budget.usd_per_hour), ("watts", budget.watts)):
            rows += [] if limit is None else [Resource(kind, "", 0, limit)]
    return rows


def _of_pool(pool: Pool, engines: list[Engine]) -> list[Resource]:
    domain, sizes = pool.nvlink_domain_gpus, {engine.curve.partition.stage_group for engine in engines}
    rows = [Resource("gpus", pool.name, 0, Fraction(pool.gpus or 0))] if engines else []
    for size in sorted(size for size in sizes if 1 < size <= domain):
        slots = pool.full_domains * (domain // size) + pool.partial_domain_gpus // size
        rows.append(Resource("groups", pool.name, size, Fraction(slots)))
    if any(size > domain for size in sizes):
        rows.append(Resource("domains", pool.name, 0, Fraction(pool.full_domains)))
    return rows


def prices_of(
    engine: Engine, prices: Mapping[str, Fraction], multipliers: Iterable[tuple[Resource, Fraction]]
) -> Fraction:
    """What a replica of an engine costs: the measure's price of its GPUs, and the multipliers of what it takes."""
    own = prices.get(engine.pool.name, Fraction(0)) * engine.curve.partition.gpus
    return own + sum((value * row.use(engine) for row, value in multipliers), Fraction(0))
