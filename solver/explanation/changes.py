"""The nearest changes that make an instance feasible: one requirement alone, or those of a correction set together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from solver.explanation.probe import Probe
from solver.explanation.requirement import Change, Requirement
from solver.explanation.requirements import without
from solver.instance import Instance

BETWEEN = 3
"""Compromises that are looked for between the two ends of a pair."""

Changes = tuple[Change, ...]


@dataclass(frozen=True)
class Joint:
    """
    Requirements that must be changed together, and how.

    Parameters
    ----------
    correction
        The requirements: with all of them given up there is a plan, with fewer there is none.
    alternatives
        Ways to change them, of which none can be bettered: no requirement can be nearer to what was asked for unless
        another is farther. Proved.
    """

    correction: tuple[Requirement, ...]
    alternatives: tuple[Changes, ...]


def nearest_alone(instance: Instance, requirement: Requirement, probe: Probe) -> Change | None:
    """The nearest change of one requirement, all others kept; None where no level that is tried does."""
    nearest = requirement.nearest(instance, probe)
    return None if nearest is None else Change(requirement, nearest)


def nearest_together(instance: Instance, correction: Sequence[Requirement], probe: Probe) -> Joint:
    """
    The nearest changes of several requirements.

    Each goes first once: it is changed as little as it can be with the others given up, then the next one as little as
    it can be with that, and so on. Of a pair, compromises between those two ends are added.
    """
    found: dict[Changes, None] = {}
    for first in correction:
        others = [r for r in correction if r is not first]
        changes = _one_after_another(instance, [first, *others], probe)
        if changes is not None:
            found[_in_order(changes, correction)] = None
    if len(correction) == 2 and len(found) == 2:
        near, far = found
        found |= dict.fromkeys(_compromises(instance, near, far, probe))
    ordered = sorted(found, key=lambda changes: [abs(c.nearest - c.requirement.given) for c in changes])
    return Joint(tuple(correction), tuple(ordered))


def _one_after_another(instance: Instance, order: Sequence[Requirement], probe: Probe) -> Changes | None:
    changed, found = instance, []
    for index, requirement in enumerate(order):
        free = without(changed, order[index + 1 :], probe)
        change = nearest_alone(free, requirement, probe)
        if change is None:
            return None
        changed = requirement.at(changed, change.nearest)
        found.append(change)
    return tuple(found)


def _compromises(instance: Instance, near: Changes, far: Changes, probe: Probe) -> Iterator[Changes]:
    """
    Pairs between two ends: the first at most at some level, the second as near as that allows, the first nearer again.

    Such a pair cannot be bettered: a nearer second would need the first beyond the level, and with this second the
    first is as near as it can be. The levels are spaced evenly in proportion; a float guides them, nothing more.
    """
    one, other = near[0].requirement, near[1].requirement
    low, high = float(near[0].nearest), float(far[0].nearest)
    if not (one.has_levels and other.has_levels and low > 0 and high > 0):
        return
    for step in range(1, BETWEEN + 1):
        level = Fraction(f"{low * (high / low) ** (step / (BETWEEN + 1)):.6g}")
        if one.unit.startswith("GPUs"):
            level = Fraction(round(level))
        second = nearest_alone(one.at(instance, level), other, probe)
        first = None if second is None else nearest_alone(other.at(instance, second.nearest), one, probe)
        if first is not None and second is not None:
            yield first, second


def _in_order(changes: Changes, order: Sequence[Requirement]) -> Changes:
    return tuple(sorted(changes, key=lambda change: order.index(change.requirement)))
