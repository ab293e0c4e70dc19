"""All requirements of an instance, and the instance without some of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction

from solver.explanation.enough import MOST_GPUS, enough_gpus, owned_as_used
from solver.explanation.fleet import Inventory, Packing, pool_requirements, with_pool
from solver.explanation.latency import latencies
from solver.explanation.probe import Probe
from solver.explanation.requirement import Requirement
from solver.explanation.rules import habits, rules
from solver.explanation.spending import spendings
from solver.explanation.traffic import demands, wishes
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

    Pools whose inventory is given up get as many GPUs as any plan needs, a power of two, so that equal ones are priced
    once; one domain is made of a pool last.

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
    if grown:
        changed = _grown(changed, grown, whole, probe)
    for packing in whole:
        changed = packing.dropped(changed)
    return changed


def _grown(instance: Instance, names: Collection[str], whole: Collection[Packing], probe: Probe) -> Instance:
    """With enough GPUs in some pools."""
    large = instance
    for name in names:
        large = with_pool(large, name, gpus=MOST_GPUS)
    for packing in whole:
        large = packing.dropped(large)
    engines = probe.engines(large)
    changed = instance
    for name in names:
        pool = large.pool(name)
        if pool.nvlink_domain_gpus == MOST_GPUS:
            pool = replace(pool, nvlink_domain_gpus=1)  # one domain, whatever its size: volume counts
        enough = max(enough_gpus(large, pool, engines), instance.pool(name).gpus or 0)
        changed = with_pool(changed, name, gpus=min(MOST_GPUS, 2 ** (enough - 1).bit_length()))
    return changed


def unbounded(instance: Instance, requirements: Collection[Requirement], probe: Probe) -> list[str]:
    """Pools of which a million GPUs may not be all that a plan could need; said where they are given up."""
    some = [r for r in requirements if isinstance(r, Inventory)]
    free = without(instance, requirements, probe)
    return [r.where for r in some if Fraction(free.pool(r.where).gpus or 0) >= MOST_GPUS]
