"""The life of every replica: when it holds GPUs, where they stand, and how it began and ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from solver.scheduling.domains import Domains, Spot
from solver.scheduling.engine_column import EngineColumn
from solver.scheduling.plan import Plan

Began = Literal["running", "start", "switch", "migration"]
Ended = Literal["end", "stop", "switch", "migration"]


@dataclass(frozen=True)
class Leg:
    """
    A stretch of the life of a replica in one role and one place.

    Parameters
    ----------
    replica
        Number of the replica; a switch or a migration begins another leg of it.
    column
        Place of its column.
    first, ready, until
        It holds GPUs in the periods from ``first`` to ``until - 1``, and serves whole periods from ``ready`` on. What
        ran before and is gone at the beginning of period 0 has a leg without periods.
    began, ended
        How.
    spot
        The domains of its stage groups.
    """

    replica: int
    column: int
    first: int
    ready: int
    until: int
    began: Began
    ended: Ended
    spot: Spot


class Placer:
    """
    Walks through a plan and gives every replica a place.

    Parameters
    ----------
    plan
        The plan; it packs in each period.

    Notes
    -----
    Which replica of a column stops is free among those that have been up for long enough: one whose domain is emptiest
    goes first, so that whole domains become free. A start goes to the fullest domain that has room. Where all groups
    have one size, nothing ever has to move. Otherwise something may: what packs in each period need not have places
    that last (A, B, C, D of one GPU in two domains of two; then A and B beside a group of two, then all four once
    more, then A and C beside such a group). Each move is counted; the count is an upper bound on what is needed.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.columns: Sequence[EngineColumn] = plan.problem.columns
        self.domains = {pool.name: Domains(pool) for pool in plan.problem.fleet.instance.pools}
        self.running: dict[int, Leg] = {}
        self.done: list[Leg] = []
        self.migrations = 0
        self._next = 0

    def walk(self) -> tuple[tuple[Leg, ...], int] | None:
        """All legs and the number of migrations; None where no place was found for a replica."""
        problem = self.plan.problem
        first = problem.current if problem.current is not None else self.plan.held[0]
        if not self._place([(c, "running") for c, count in enumerate(first) for _ in range(count)], 0):
            return None
        for period in range(0 if problem.current is not None else 1, problem.periods):
            self._stop(period)
            self._switch(period)
            starts = self.plan.started[period]
            coming: list[tuple[int, Began]] = [(c, "start") for c, count in enumerate(starts) for _ in range(count)]
            if not self._place(coming, period):
                return None
        legs = [*self.done, *self.running.values()]
        return tuple(sorted(legs, key=lambda leg: (leg.first, leg.until, leg.column, leg.replica))), self.migrations

    def _leaving(self, period: int, column: int, count: int) -> list[Leg]:
        """Replicas of a column that go: up for long enough, and standing where the fewest others do."""
        pool = self.columns[column].engine.pool.name
        old = [
            leg
            for leg in self.running.values()
            if leg.column == column and (self._since(leg) <= period - self.columns[column].min_up)
        ]
        old.sort(key=lambda leg: (*self.domains[pool].crowd(leg.replica), leg.replica))
        return old[:count]

    def _since(self, leg: Leg) -> int:
        """The period in which the replica took its role; a migration does not count, what ran before is old."""
        if leg.began == "running":
            return -(10**9)
        if leg.began != "migration":
            return leg.first
        earlier = [other for other in self.done if other.replica == leg.replica and other.until == leg.first]
        return self._since(earlier[0])

    def _stop(self, period: int) -> None:
        for column, each in enumerate(self.columns):
            domains = self.domains[each.engine.pool.name]
            for _ in range(self.plan.stopped(period, column)):
                (leg,) = self._leaving(period, column, 1)
                domains.take(leg.replica)
                self._end(leg, period, "stop")

    def _end(self, leg: Leg, period: int, how: Ended) -> None:
        del self.running[leg.replica]
        self.done.append(replace(leg, until=period, ended=how))

    def _switch(self, period: int) -> None:
        for (when, pair), count in sorted(self.plan.switched.items()):
            if when == period:
                a, b = self.plan.problem.fleet.switches[pair]
                for leg in self._leaving(period, a, count):
                    self._end(leg, period, "switch")
                    self._begin(leg.replica, b, period, "switch")

    def _begin(self, number: int, column: int, period: int, began: Began) -> None:
        each = self.columns[column]
        lost = {"start": each.start_losses, "switch": each.switch_losses}.get(began, ())
        spot = tuple(self.domains[each.engine.pool.name].spots[number])
        last = self.plan.problem.periods
        self.running[number] = Leg(number, column, period, period + len(lost), last, began, "end", spot)

    def _place(self, coming: list[tuple[int, Began]], period: int) -> bool:
        """Puts new replicas into domains, the largest groups first, and notes who had to move for them."""
        order = sorted(coming, key=lambda item: (-self.columns[item[0]].engine.curve.partition.stage_group, item[0]))
        for column, began in order:
            domains = self.domains[self.columns[column].engine.pool.name]
            number, self._next = self._next, self._next + 1
            if not domains.put(number, self.columns[column]):
                return False
            self._begin(number, column, period, began)
        for domains in self.domains.values():
            for number in sorted(domains.moves()):
                self._moved(number, domains, period)
        return True

    def _moved(self, number: int, domains: Domains, period: int) -> None:
        leg, spot = self.running[number], tuple(domains.spots[number])
        if spot == leg.spot:
            return
        if leg.first == period:
            self.running[number] = replace(leg, spot=spot)
            return
        self.migrations += 1
        self._end(leg, period, "migration")
        self.running[number] = replace(leg, first=period, began="migration", ready=max(period, leg.ready), spot=spot)


def lives(plan: Plan) -> tuple[tuple[Leg, ...], int] | None:
    """
    Places a plan through time.

    Returns
    -------
    tuple or None
        The legs, and the number of migrations; None where no placement was found.
    """
    return Placer(plan).walk()
