"""All requirements of an instance, and the instance without some of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from solver.explanation.enough import MOST_GPUS, enough_gpus, owned_as_used
from solver.explanation.fleet import Inventory, Memory, Packing, pool_requirements, with_pool
from solver.explanation.latency import Latency, latencies
from solver.explanation.probe import Probe
from solver.explanation.requirement import Requirement
from solver.explanation.rules import habits, rules
from solver.explanation.spending import spendings
from solver.explanation.traffic import Wish, demands, wishes
from solver.instance import Instance


def requirements_of(instance: Instance) -> tuple[Requirement, ...]:
    """Every requirement that can be given up: latency limits, demands, pools, budgets, rules, wishes."""
    return (
        *latencies(instance),
        *demands(instance),
        *pool_requirements(instance),
        *spendings(instance),
        *rules(instance),
        *habits(instance),
        *wishes(instance),
    )


def without(instance: Instance, given_up: Collection[Requirement], probe: Probe) -> Instance:
    """
    An instance without some of its requirements: whatever met them all still does.

    Pools whose inventory is given up get as many GPUs as any plan needs; one domain is made of a pool last.

    Raises
    ------
    Stopped
        When a limit came first.
    """
    probe.clock.remaining()
    changed = instance
    for requirement in given_up:
        if not isinstance(requirement, Inventory | Packing):
            changed = requirement.dropped(changed)
    grown = frozenset(r.where for r in given_up if isinstance(r, Inventory))
    whole = [r for r in given_up if isinstance(r, Packing)]
    changed = owned_as_used(changed, grown)
    for name in grown:
        changed = with_pool(changed, name, gpus=_endless(name, probe))
    for packing in whole:
        changed = packing.dropped(changed)
    return changed


def _endless(name: str, probe: Probe) -> int:
    """
    GPUs of a pool that are enough whatever else is given up, in part or whole.

    So all filters of points are lifted, and what asks for more GPUs stays as given: demands, ``min_replicas``,
    ``decode_covers``, headroom, the hand-over. NVLink domains are as given, and whole. Twice that: curves fitted anew
    to other memory or domains differ by their fit error, a percent or two. A power of two.
    """
    if name not in probe.endless:
        instance = probe.instance
        free, packings = instance, []
        for requirement in requirements_of(instance):
            if isinstance(requirement, Packing):
                packings.append(requirement)
            elif isinstance(requirement, Latency | Memory | Wish) or requirement.where in ("modes", "allow and deny"):
                free = requirement.dropped(free)
        for pool in instance.pools:
            free = with_pool(free, pool.name, gpus=MOST_GPUS)
        whole = free
        for packing in packings:
            whole = packing.dropped(whole)
        domain = instance.pool(name).nvlink_domain_gpus
        most = instance.pool(name).gpus or 0
        for some in (free, whole) if packings else (free,):
            pool = replace(some.pool(name), nvlink_domain_gpus=domain)
            most = max(most, 2 * enough_gpus(some, pool, probe.engines(some)))
        probe.endless[name] = min(MOST_GPUS, 2 ** (most - 1).bit_length())
    return probe.endless[name]


def unbounded(probe: Probe) -> list[str]:
    """Pools of which a million GPUs may not be all that a plan could need, of those that were imagined larger."""
    return [name for name, gpus in probe.endless.items() if gpus >= MOST_GPUS]
