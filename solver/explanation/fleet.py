"""What the pools are, as requirements: GPUs, NVLink domains, memory, KV hand-over bandwidth, links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from costmodels.gpus import GPUS
from solver.explanation.enough import MOST_GPUS, affordable, enough_gpus
from solver.explanation.probe import Probe
from solver.explanation.requirement import Requirement, first_that_does
from solver.instance import Instance

DOMAINS = (2, 4, 8, 16, 32, 36, 64, 72, 144, 256, 384, 576)
"""Sizes of NVLink domains that are tried."""
MOST_GIB = 4096
"""Memory of a GPU in GiB where memory is given up: no engine takes as much."""


def with_pool(instance: Instance, name: str, **changes: object) -> Instance:
    """The instance with some fields of a pool changed."""
    pools = (replace(p, **changes) if p.name == name else p for p in instance.pools)  # type: ignore[arg-type]
    return replace(instance, pools=tuple(pools))


@dataclass(frozen=True)
class Inventory(Requirement):
    """
    The GPUs of a pool. Given up, it has as many as any plan needs (:mod:`solver.explanation.enough`).

    Parameters
    ----------
    gpus_per_node, domain_gpus
        GPUs of a node, or None, and of an NVLink domain.
    """

    gpus_per_node: int | None
    domain_gpus: int

    @property
    def tried(self) -> str:
        """How far better plans are looked for."""
        return f"up to {self._twice} GPUs"

    @property
    def _twice(self) -> int:
        return 2 * int(self.given) + self.domain_gpus

    def note(self, level: Fraction, /) -> str:
        """How many nodes that is."""
        per = self.gpus_per_node or 1
        count = -(-int(level) // per)
        return f"{count} node{'' if count == 1 else 's'} of {per}" if per > 1 else ""

    def dropped(self, instance: Instance) -> Instance:
        """With as many as a pool may have; ``requirements.without`` takes no more than needed."""
        return self.at(instance, Fraction(MOST_GPUS))

    def at(self, instance: Instance, level: Fraction, /) -> Instance:
        """With another number of GPUs."""
        return with_pool(instance, self.where, gpus=int(level))

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """The fewest GPUs that do, by bisection; fewer than given only where idle ones are over the budget."""
        given, most = int(self.given), affordable(instance, self.where)
        if most < given:
            return Fraction(most) if most > 0 and probe.find(self.at(instance, Fraction(most))) else None
        most = min(most, self.most(instance, probe))
        low, high = given, given
        while probe.find(self.at(instance, Fraction(high))) is None:
            if high >= most:
                return None
            low, high = high, min(most, high * 4)
        while high - low > 1:
            middle = (low + high) // 2
            if probe.find(self.at(instance, Fraction(middle))) is None:
                low = middle
            else:
                high = middle
        return Fraction(high)

    def most(self, instance: Instance, probe: Probe) -> int:
        """The most GPUs that are tried: enough for any plan; for a better one, twice those given and a domain."""
        if probe.floor is not None:
            return self._twice
        large = self.dropped(instance)
        return max(int(self.given), enough_gpus(large, large.pool(self.where), probe.engines(large)))


@dataclass(frozen=True)
class Packing(Requirement):
    """The size of a pool's NVLink domains. Given up, the whole pool is one domain, and is priced as one."""

    @property
    def tried(self) -> str:
        """Not every size is tried."""
        return "of the sizes tried"

    def note(self, level: Fraction, /) -> str:
        """Not every size is tried."""
        sizes = [str(size) for size in DOMAINS if self.given < size < level]
        return f"{', '.join(sizes)} tried too" if sizes else "no size between was tried"

    def dropped(self, instance: Instance) -> Instance:
        """The pool as one domain."""
        pool = instance.pool(self.where)
        return with_pool(instance, self.where, nvlink_domain_gpus=max(pool.nvlink_domain_gpus, pool.gpus or 0))

    def at(self, instance: Instance, level: Fraction, /) -> Instance:
        """Domains of another size."""
        return with_pool(instance, self.where, nvlink_domain_gpus=int(level))

    def levels(self, instance: Instance) -> list[Fraction]:
        """The larger sizes that are tried: those of ``DOMAINS``, and the whole pool."""
        whole = instance.pool(self.where).gpus or 0
        return [Fraction(size) for size in (*(d for d in DOMAINS if self.given < d < whole), whole)]

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """The first of the sizes that does, all smaller ones tried: a larger domain may pack worse."""
        for level in self.levels(instance):
            if probe.find(self.at(instance, level)) is not None:
                return level
        return None


@dataclass(frozen=True)
class Memory(Requirement):
    """The usable memory of a pool's GPUs."""

    def dropped(self, instance: Instance) -> Instance:
        """No limit."""
        free = None if instance.cost_model.kind == "curves" else Fraction(MOST_GIB)
        return with_pool(instance, self.where, memory_gib=free)

    def at(self, instance: Instance, level: Fraction, /) -> Instance:
        """Another memory in GiB."""
        return with_pool(instance, self.where, memory_gib=level)

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """The least memory that does: of a table some row's, of models the next whole GiB."""
        if instance.cost_model.kind == "curves":
            engines = probe.engines(self.dropped(instance)).engines
            found = {m for e in engines if e.pool.name == self.where for m in e.curve.memory_gib}
            levels = sorted(level for level in found if level > self.given)
        else:
            levels = [Fraction(level) for level in range(int(self.given) + 1, MOST_GIB + 1)]
        return first_that_does(levels, lambda level: self.at(instance, level), probe)


@dataclass(frozen=True)
class Bandwidth(Requirement):
    """C6: the KV hand-over bandwidth of a pool's GPUs."""

    def note(self, _: Fraction, /) -> str:
        """Levels are rounded."""
        return "three digits, rounded up"

    def dropped(self, instance: Instance) -> Instance:
        """No limit."""
        return with_pool(instance, self.where, kv_gbps=None)

    def at(self, instance: Instance, level: Fraction, /) -> Instance:
        """Another bandwidth in GB/s."""
        return with_pool(instance, self.where, kv_gbps=level)

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """The least bandwidth that does, to three digits upwards."""
        if probe.find(self.dropped(instance)) is None:
            return None
        for exponent in range(9):
            low, high = self.given * 10**exponent, self.given * 10 ** (exponent + 1)
            levels = [low + (high - low) * step / 900 for step in range(1, 901)]
            nearest = first_that_does(levels, lambda level: self.at(instance, level), probe)
            if nearest is not None:
                return nearest
        return None


@dataclass(frozen=True)
class Links(Requirement):
    """C6: the links between pools, all together: without them the hand-over between pools is free."""

    @property
    def has_levels(self) -> bool:
        """They limit or they do not."""
        return False

    def dropped(self, instance: Instance) -> Instance:
        """No limit."""
        return replace(instance, kv_links=None)

    def at(self, instance: Instance, _: Fraction, /) -> Instance:
        """There is but one other level: none."""
        return self.dropped(instance)

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """No links that limit, where that does."""
        return None if probe.find(self.dropped(instance)) is None else Fraction(0)


def pool_requirements(instance: Instance) -> Iterator[Requirement]:
    """GPUs, NVLink domains, memory and bandwidth of each pool, and the links."""
    for pool in instance.pools:
        if pool.gpus is not None:
            yield Inventory(
                "inventory", pool.name, Fraction(pool.gpus), "GPUs", pool.gpus_per_node, pool.nvlink_domain_gpus
            )
            if pool.nvlink_domain_gpus < pool.gpus:
                yield Packing("packing", pool.name, Fraction(pool.nvlink_domain_gpus), "GPUs in an NVLink domain")
        memory_gib = _memory_gib(instance, pool.name)
        if memory_gib is not None:
            yield Memory("memory", pool.name, memory_gib, "GiB per GPU")
        if pool.kv_gbps is not None:
            yield Bandwidth("kv_gbps", pool.name, pool.kv_gbps, "GB/s per GPU")
    if instance.kv_links is not None:
        yield Links("kv_links", "the fleet", Fraction(len(instance.kv_links)), "links that limit")


def _memory_gib(instance: Instance, name: str) -> Fraction | None:
    """The memory that limits a pool: as given, or that of its GPU where the roofline prices it."""
    pool = instance.pool(name)
    if pool.memory_gib is not None or instance.cost_model.kind != "roofline":
        return pool.memory_gib
    device = pool.device or GPUS.get(pool.gpu)
    return None if device is None else Fraction(device.memory_gib)
