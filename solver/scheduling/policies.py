"""What people run today, and what a plan without foresight would do: policies to compare a schedule with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from solver.backends.base import Controls
from solver.instance import Workload
from solver.scheduling.demand import Demand
from solver.scheduling.plan import Plan
from solver.scheduling.problem import Problem
from solver.scheduling.search import Search

Forecast = Callable[[Sequence[Fraction], int], Fraction]
"""What is expected some periods ahead (0 for the one that begins) of a rate whose past is known."""
LOOKAHEAD = 12
"""Periods that a rolling plan looks ahead."""
MEMORY = 3
"""Periods of a moving average."""
TIMES_DEARER = 20
"""How many times what serving it costs at most a missed request costs in a policy that may miss some."""
WINDOW_LIMIT_S = 10.0
WINDOW_GAP = 1e-3


@dataclass(frozen=True)
class Policy:
    """
    A policy and what it would have done.

    Parameters
    ----------
    name
        In words.
    plan
        What it held in each period; demands may be missed.
    """

    name: str
    plan: Plan


def soft(problem: Problem) -> Problem:
    """The problem in which demands may be missed, at a price well above what serving them costs."""
    if problem.may_fall_short:
        return problem
    costs = [problem.holding(c) / (c.requests_per_s * problem.demand.period_s) for c in problem.columns]
    return replace(problem, shortfall_price=TIMES_DEARER * max(costs))


@dataclass(frozen=True)
class Followed(Plan):
    """
    A plan that was not planned: what stops is what was started last, ready or not.

    Parameters
    ----------
    serving
        For each period and column the replicas that are ready, those on their way counted as the rules say.
    """

    serving: tuple[tuple[Fraction, ...], ...] = ()

    def ready(self, period: int, place: int) -> Fraction:
        """Replicas of a column that can serve through a period."""
        return self.serving[period][place]

    def _whole(self, period: int, place: int) -> int:
        return math.ceil(self.serving[period][place])


def reactive(problem: Problem, static: Plan) -> Plan:
    """
    Per pool ceil(rate / rate of a replica), of the rate of the period before; in proportion where that is too much.

    The engines are those of the static plan, which serve the peak; what is seen in one period is acted on at the
    beginning of the next, and a start takes its lead time. Where the GPUs of a pool do not do, every count is scaled
    down by the same factor, at least one replica each. What was started last stops first. No minimum time up holds it.
    """
    places = [j for j, count in enumerate(static.held[0]) if count]
    rows = [_target(problem, places, max(0, period - 1)) for period in range(problem.periods)]
    plan = Plan.of(soft(replace(problem, current=None)), rows, {})
    columns = [_followed(problem, j, [row[j] for row in rows]) for j in range(len(problem.columns))]
    serving = tuple(tuple(column[t] for column in columns) for t in range(problem.periods))
    return Followed(plan.problem, plan.held, plan.started, plan.switched, serving)


def _followed(problem: Problem, place: int, held: list[int]) -> list[Fraction]:
    """Ready replicas of one column in each period where the youngest stop first."""
    losses, found = problem.columns[place].start_losses, list[Fraction]()
    old, young = held[0], list[int]()  # young: started in this period, the one before, ...
    for count in held:
        now = old + sum(young)
        young.insert(0, max(0, count - now))
        excess = max(0, now - count)
        for age, several in enumerate(young):
            gone = min(excess, several)
            young[age], excess = several - gone, excess - gone
        old -= excess
        found.append(old + sum((n * (1 - loss) for n, loss in zip(young, losses, strict=False)), Fraction(0)))
        while len(young) >= max(1, len(losses)):
            old += young.pop()
    return found


def _target(problem: Problem, places: list[int], seen: int) -> list[int]:
    wanted = [0] * len(problem.columns)
    for j in places:
        column = problem.columns[j]
        rate = problem.demand.of(column.engine.workload.name, seen)
        wanted[j] = max(1, math.ceil(rate / column.requests_per_s))
    for pool in problem.fleet.instance.pools:
        mine = [j for j in places if problem.columns[j].engine.pool.name == pool.name]
        total = sum(wanted[j] * problem.columns[j].gpus for j in mine)
        if total > (pool.gpus or 0):
            for j in mine:
                wanted[j] = max(1, wanted[j] * (pool.gpus or 0) // total)
    return wanted


def last_value(past: Sequence[Fraction], _: int) -> Fraction:
    """What was seen last goes on."""
    return past[-1]


def moving_average(past: Sequence[Fraction], _: int) -> Fraction:
    """The mean of the last periods goes on."""
    recent = past[-MEMORY:]
    return sum(recent, Fraction(0)) / len(recent)


def rolling(problem: Problem, forecast: Forecast | None, progress: Callable[[int], None] | None = None) -> Plan:
    """
    Plans the next periods at the beginning of each, and does the first step of that plan.

    Parameters
    ----------
    problem
        The problem.
    forecast
        What is expected of a rate whose past is known; None: what comes, for as far as the plan looks ahead. In period
        0 every forecast sees that period.
    progress
        Called with each period that is planned.
    """
    problem = soft(replace(problem, max_changes=problem.max_changes))
    held: list[tuple[int, ...]] = []
    starts: list[tuple[int, ...]] = []
    arrived: list[tuple[int, ...]] = []
    switched: dict[tuple[int, int], int] = {}
    for period in range(problem.periods):
        if progress:
            progress(period)
        window = replace(
            problem,
            demand=_expected(problem.demand, period, forecast),
            current=held[-1] if held else problem.current,
            past_starts=tuple(reversed(starts)),
            past_switches=tuple(reversed(arrived)),
        )
        found = Search(window, Controls(time_limit_s=WINDOW_LIMIT_S, gap=WINDOW_GAP)).run()
        if found.is_interrupted:
            raise KeyboardInterrupt
        if found.best is None:  # nothing in time: what is there stays
            held.append(held[-1])
            starts.append((0,) * len(held[-1]))
            arrived.append((0,) * len(held[-1]))
            continue
        plan = found.best.plan
        held.append(plan.held[0])
        starts.append(plan.started[0])
        arrived.append(tuple(plan.arrived(0, j) - plan.started[0][j] for j in range(len(problem.columns))))
        switched |= {(period, p): count for (when, p), count in plan.switched.items() if when == 0}
    return Plan.of(problem, held, switched)


def _expected(demand: Demand, period: int, forecast: Forecast | None) -> Demand:
    last = min(demand.periods, period + LOOKAHEAD)
    if forecast is None:
        return demand.only(period, last)
    rates = {}
    for name, series in demand.requests_per_s.items():
        past = series[: max(1, period)]
        rates[name] = tuple(forecast(past, ahead) for ahead in range(last - period))
    return replace(demand, requests_per_s=rates)


def ratio(plan: Plan, period: int, workload: Workload) -> Fraction | None:
    """GPUs held for prefill to those held for decode; None where one of them is missing."""
    gpus = {
        role: sum(
            plan.held[period][j] * plan.problem.columns[j].gpus for j in plan.problem.fleet.of(workload.name, role)
        )
        for role in ("prefill", "decode")
    }
    return Fraction(gpus["prefill"], gpus["decode"]) if gpus["prefill"] and gpus["decode"] else None
