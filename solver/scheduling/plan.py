"""A plan through all periods, evaluated exactly from its integers: who is held and serves, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from solver.instance import Workload
from solver.scheduling.problem import Kind, Problem

Service = tuple[tuple[str, ...], dict[int, int]]
"""The way in which a workload is served, and the replicas of each column that serve it."""


@dataclass(frozen=True)
class Plan:
    """
    Replicas through the periods.

    Parameters
    ----------
    problem
        What is scheduled.
    held
        For each period the replicas of each column that hold GPUs.
    started
        For each period the cold starts of each column at its beginning.
    switched
        (period, place in ``switches``) to the replicas that switch at its beginning.
    """

    problem: Problem
    held: tuple[tuple[int, ...], ...]
    started: tuple[tuple[int, ...], ...]
    switched: Mapping[tuple[int, int], int]

    @classmethod
    def of(cls, problem: Problem, held: Sequence[Sequence[int]], switched: Mapping[tuple[int, int], int]) -> Plan:
        """The plan with the fewest starts: what is held and does not switch in was there, or is started."""
        moved = {key: count for key, count in switched.items() if count}
        started = []
        for period, now in enumerate(held):
            before = held[period - 1] if period else problem.current
            gained = [0] * len(now)
            if before is not None:
                gained = [n - b for n, b in zip(now, before, strict=True)]
                for (when, pair), count in moved.items():
                    if when == period:
                        a, b = problem.fleet.switches[pair]
                        gained[a] += count
                        gained[b] -= count
            started.append(tuple(max(0, gain) for gain in gained))
        return cls(problem, tuple(tuple(row) for row in held), tuple(started), moved)

    def arrived(self, period: int, place: int) -> int:
        """Replicas of a column that start or switch in at the beginning of a period."""
        pairs = enumerate(self.problem.fleet.switches)
        return self.started[period][place] + sum(self.switched.get((period, p), 0) for p, (_, b) in pairs if b == place)

    def left(self, period: int, place: int) -> int:
        """Replicas of a column that switch to another at the beginning of a period."""
        pairs = enumerate(self.problem.fleet.switches)
        return sum(self.switched.get((period, p), 0) for p, (a, _) in pairs if a == place)

    def before(self, period: int, place: int) -> int | None:
        """Replicas of a column held before a period; None where that is free."""
        if period:
            return self.held[period - 1][place]
        return None if self.problem.current is None else self.problem.current[place]

    def stopped(self, period: int, place: int) -> int:
        """Replicas of a column that stop at the beginning of a period."""
        before = self.before(period, place)
        if before is None:
            return 0
        return before + self.arrived(period, place) - self.left(period, place) - self.held[period][place]

    def changes(self, period: int) -> int:
        """Starts, stops and switches at the beginning of a period."""
        places = range(len(self.problem.columns))
        switched = sum(count for (when, _), count in self.switched.items() if when == period)
        return sum(self.started[period]) + switched + sum(self.stopped(period, place) for place in places)

    def ready(self, period: int, place: int) -> Fraction:
        """Replicas of a column that can serve through a period, those that start counted as the rules say."""
        lost = (count * loss for count, loss in self._late(period, place))
        return self.held[period][place] - sum(lost, Fraction(0))

    def _late(self, period: int, place: int) -> list[tuple[int, Fraction]]:
        """Replicas that started or switched in of late, and what each still loses in a period."""
        problem, column = self.problem, self.problem.columns[place]
        found = []
        for k, loss in enumerate(column.start_losses):
            if k <= period:
                found.append((self.started[period - k][place], loss))
            elif k - period <= len(problem.past_starts):
                found.append((problem.past_starts[k - period - 1][place], loss))
        for k, loss in enumerate(column.switch_losses):
            if k <= period:
                found.append((self.arrived(period - k, place) - self.started[period - k][place], loss))
            elif k - period <= len(problem.past_switches):
                found.append((problem.past_switches[k - period - 1][place], loss))
        return found

    @cached_property
    def services(self) -> dict[tuple[int, str], tuple[Service, Fraction]]:
        """(period, workload) to the best way to serve it with what is ready, and the requests/s that it serves."""
        found = {}
        for period in range(self.problem.periods):
            for workload in self.problem.fleet.instance.workloads:
                found[period, workload.name] = self._service(period, workload)
        return found

    def _service(self, period: int, workload: Workload) -> tuple[Service, Fraction]:
        demand, problem = self.problem.demand.of(workload.name, period), self.problem
        best: tuple[Service, Fraction] = (((), {}), Fraction(0))
        if not demand:
            return best
        ways = sorted({problem.columns[p].way for p in problem.fleet.of(workload.name)})
        for way in ways:
            if ("colocated" if way == () else "disaggregated") not in problem.fleet.instance.serving.modes:
                continue
            chosen: dict[int, int] = {}
            rates = []
            for role in ("colocated",) if way == () else workload.roles("disaggregated"):
                mine = [p for p in problem.fleet.of(workload.name, role) if problem.columns[p].way == way]
                some, rate = self._role(period, demand, mine)
                chosen |= some
                rates.append(rate)
            if min(rates) > best[1]:
                best = ((way, chosen), min(rates))
        return best[0], min(best[1], demand)

    def _role(self, period: int, demand: Fraction, places: list[int]) -> tuple[dict[int, int], Fraction]:
        """The engines of a role that serve the most, ``engines_per_role`` in a pool, and the replicas needed."""
        columns = self.problem.columns
        rates = {p: self.ready(period, p) * columns[p].requests_per_s for p in places}
        engines, least = self._engines(period, {p: rate for p, rate in rates.items() if rate > 0})
        chosen, total = dict[int, int](), Fraction(0)
        for place in engines:
            missing = -(-max(Fraction(0), demand - total) // columns[place].requests_per_s)
            count = min(self._whole(period, place), max(int(missing), least - sum(chosen.values())))
            if count > 0:
                chosen[place] = count
                total += rates[place]
        return chosen, total

    def _engines(self, period: int, rates: Mapping[int, Fraction]) -> tuple[list[int], int]:
        """
        The engines of the highest rate in all whose ready replicas are as many as ``min_replicas`` asks for.

        None where no choice has so many. All numbers of replicas, up to those asked for, are carried from engine to
        engine with the best choice of each.

        Returns
        -------
        tuple
            Places of the columns, the fastest of a pool first; and the fewest replicas of the role.
        """
        columns, serving = self.problem.columns, self.problem.fleet.instance.serving
        if not rates:
            return [], 0
        name, role = (column := columns[min(rates)]).engine.workload.name, column.role
        least, most = serving.min_replicas.get((name, role), 0), serving.engines_per_role
        by_pool: dict[str, list[int]] = {}
        for place in sorted(rates, key=lambda p: -rates[p]):
            by_pool.setdefault(columns[place].engine.pool.name, []).append(place)
        best: dict[int, tuple[Fraction, tuple[int, ...]]] = {0: (Fraction(0), ())}
        for mine in by_pool.values():
            here = {(replicas, 0): found for replicas, found in best.items()}
            for place in mine:
                for (replicas, engines), (rate, places) in list(here.items()):
                    if most is None or engines < most:
                        key = min(least, replicas + self._whole(period, place)), engines + 1
                        if key not in here or here[key][0] < rate + rates[place]:
                            here[key] = rate + rates[place], (*places, place)
            best = {}
            for (replicas, _), found in here.items():
                if replicas not in best or best[replicas][0] < found[0]:
                    best[replicas] = found
        return list(best.get(least, (Fraction(0), ()))[1]), least

    def _whole(self, period: int, place: int) -> int:
        """Replicas of a column that serve through at least a part of a period."""
        return self.held[period][place] - sum(count for count, loss in self._late(period, place) if loss == 1)

    def shortfall(self, period: int, workload: str) -> Fraction:
        """Requests/s of a workload that are not served in a period."""
        return self.problem.demand.of(workload, period) - self.services[period, workload][1]

    def gpus(self, period: int) -> int:
        """GPUs held in a period."""
        return sum(n * c.gpus for n, c in zip(self.held[period], self.problem.columns, strict=True))

    @cached_property
    def gpu_hours(self) -> Fraction:
        """GPU-hours held."""
        return self.problem.hours * sum(self.gpus(period) for period in range(self.problem.periods))

    @cached_property
    def changes_in_all(self) -> int:
        """Starts, stops and switches in all periods."""
        return sum(self.changes(period) for period in range(self.problem.periods))

    @cached_property
    def served_share(self) -> Fraction:
        """Share of all requests that is served within the SLA, at the mean rates."""
        asked = sum((sum(rates) for rates in self.problem.demand.requests_per_s.values()), Fraction(0))
        missed = sum((self.shortfall(t, w) for t, w in self.services), Fraction(0))
        return 1 - missed / asked

    def spent(self, kind: Kind) -> Fraction:
        """What is spent in the unit of an objective, without what a shortfall costs."""
        problem = replace(self.problem, kind=kind)
        held = sum(
            (n * problem.holding(c) for row in self.held for n, c in zip(row, problem.columns, strict=True)),
            Fraction(0),
        )
        starts = sum(
            (n * problem.starting(c) for row in self.started for n, c in zip(row, problem.columns, strict=True)),
            Fraction(0),
        )
        pairs = problem.fleet.switches
        return (
            held
            + starts
            + sum(
                (n * problem.switching(problem.columns[pairs[p][1]]) for (_, p), n in self.switched.items()),
                Fraction(0),
            )
        )

    @cached_property
    def value(self) -> Fraction:
        """The objective."""
        workloads = {w.name: w for w in self.problem.fleet.instance.workloads}
        missed = sum((self.shortfall(t, w) * self.problem.missing(workloads[w]) for t, w in self.services), Fraction(0))
        if self.problem.is_maximised:
            return self.problem.asked - missed
        return self.spent(self.problem.kind) + missed
