"""
Minimal clashing sets and minimal correction sets, smallest first, each proved.

A set of requirements *clashes* when no plan meets all of them, whatever the others. A superset of a clashing set
clashes, a subset of one that can be met can be met. So (the duality of hitting sets): a set clashes exactly when it
shares a member with every *correction*, a set that must be given up together. The loop asks for the smallest set that
hits every known correction and holds no known clash; it is judged by the exact search. If it clashes, it is minimal,
for every part of it misses a correction; else it is grown until nothing can be added, and what is left out is a new
minimal correction. When there is no such set left, all minimal clashing sets are known, and proved to be all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import pulp

from solver.backends.cpsat import CpSat
from solver.clock import Clock, Stopped
from solver.formulation.milp import Milp
from solver.formulation.unit import total

MOST_CLASHES = 40
"""Minimal clashing sets after which the enumeration stops."""
MOST_CORRECTIONS = 200
"""Minimal correction sets after which it stops."""

Set = frozenset[int]
"""Numbers of requirements."""


@dataclass(frozen=True)
class Clashes:
    """
    What was found.

    Parameters
    ----------
    clashing
        Minimal clashing sets, smallest first; each is proved to clash, and to be minimal.
    corrections
        Minimal correction sets, smallest first; without each there is a plan, without less there is none.
    missing
        Why there may be more of either; empty where these are all.
    """

    clashing: tuple[Set, ...]
    corrections: tuple[Set, ...]
    missing: str = ""


class Enumeration:
    """
    Enumerates clashes of requirements, or of groups of them.

    Parameters
    ----------
    count
        Number of requirements.
    can_be_met
        Whether there is a plan that meets some requirements, proved; raises ``Stopped`` where a limit comes first.
    clock
        Time and controls.
    """

    def __init__(self, count: int, can_be_met: Callable[[Set], bool], clock: Clock) -> None:
        self.everything = frozenset(range(count))
        self._can_be_met = can_be_met
        self._clock = clock
        self._met: list[Set] = []
        self._unmet: list[Set] = []

    def meets(self, kept: Set) -> bool:
        """Whether some requirements can be met together; asked only where earlier answers do not imply it."""
        if any(kept <= other for other in self._met):
            return True
        if any(other <= kept for other in self._unmet):
            return False
        answer = self._can_be_met(kept)
        (self._met if answer else self._unmet).append(kept)
        return answer

    def run(self, groups: Collection[Set] | None = None) -> Clashes:
        """
        All minimal sets, or those before a limit.

        Parameters
        ----------
        groups
            Requirements that are switched together; None: each by itself. The sets found hold numbers of groups.
        """
        units = tuple(groups or (frozenset([number]) for number in sorted(self.everything)))
        clashing: list[Set] = []
        corrections: list[Set] = []
        try:
            missing = self._search(units, clashing, corrections)
            if not missing:
                corrections = list(self._transversals(len(units), clashing))
                missing = self._too_many(corrections)
        except (Stopped, KeyboardInterrupt) as reason:
            self._clock.stopped(reason)
            missing = "a limit came first; the sets shown are proved, there may be more"
        return Clashes(tuple(sorted(clashing, key=_order)), tuple(sorted(corrections, key=_order)), missing)

    def _search(self, units: tuple[Set, ...], clashing: list[Set], corrections: list[Set]) -> str:
        """Fills both lists; says why it stopped where that was early."""
        while (chosen := self._smallest(len(units), corrections, clashing)) is not None:
            if self.meets(_joined(units, chosen)):
                corrections.append(self._left_out(units, chosen))
            else:
                clashing.append(chosen)
            if len(clashing) >= MOST_CLASHES:
                return f"stopped after {MOST_CLASHES} clashing sets, the smallest; the sets shown are proved"
            if message := self._too_many(corrections):
                return message
        return ""

    def _too_many(self, corrections: list[Set]) -> str:
        is_full = len(corrections) >= MOST_CORRECTIONS
        return f"stopped after {MOST_CORRECTIONS} correction sets; the sets shown are proved" if is_full else ""

    def _left_out(self, units: tuple[Set, ...], chosen: Set) -> Set:
        """What cannot be added any more to units that can be met, added one by one."""
        kept = set(chosen)
        for unit in range(len(units)):
            if unit not in kept and self.meets(_joined(units, {*kept, unit})):
                kept.add(unit)
        return frozenset(range(len(units))) - kept

    def _transversals(self, count: int, clashing: list[Set]) -> Iterable[Set]:
        """The minimal sets that hit every clash, smallest first: all minimal corrections."""
        found: list[Set] = []
        while len(found) < MOST_CORRECTIONS and (chosen := self._smallest(count, clashing, found)) is not None:
            found.append(chosen)
            yield chosen

    def _smallest(self, count: int, hit: Collection[Set], avoid: Collection[Set]) -> Set | None:
        """
        The smallest set of units that shares a member with each of some sets and contains none of others, by CP-SAT.

        Of several the first: members with small numbers weigh less.
        """
        problem = pulp.LpProblem("smallest", pulp.LpMinimize)
        taken = [pulp.LpVariable(f"x{unit}", 0, 1, pulp.LpInteger) for unit in range(count)]
        problem.setObjective(total((count**2 + unit) * variable for unit, variable in enumerate(taken)))
        for number, members in enumerate(hit):
            problem.addConstraint(total(taken[unit] for unit in members) >= 1, f"hit{number}")
        for number, members in enumerate(avoid):
            if not members:
                return None
            problem.addConstraint(total(taken[unit] for unit in members) <= len(members) - 1, f"avoid{number}")
        answer = CpSat().solve(Milp(problem), self._clock.remaining())
        if answer.status == "infeasible":
            return None
        if answer.status != "optimal" or answer.values is None:
            raise Stopped
        return frozenset(unit for unit in range(count) if answer.values.get(f"x{unit}"))


def _joined(units: tuple[Set, ...], chosen: Collection[int]) -> Set:
    return frozenset(number for unit in chosen for number in units[unit])


def _order(members: Set) -> tuple[int, list[int]]:
    return len(members), sorted(members)
