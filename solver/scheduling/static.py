"""The best plan that never changes: the optimum of one period in which every workload asks for its peak."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from solver.backends.base import Controls
from solver.scheduling.plan import Plan
from solver.scheduling.problem import Problem
from solver.scheduling.search import Found, Search


def peak_of(problem: Problem) -> Problem:
    """One period in which every workload asks for the most that it ever asks for."""
    rates: dict[str, tuple[Fraction, ...]] = {
        name: (max(series),) for name, series in problem.demand.requests_per_s.items()
    }
    demand = replace(problem.demand, requests_per_s=rates)
    return replace(problem, demand=demand, current=None, max_changes=None)


def static_of(problem: Problem, time_limit_s: float | None = None) -> tuple[Plan | None, Found]:
    """
    The plan that holds the same replicas in every period, at the least cost that meets every demand.

    Parameters
    ----------
    problem
        The problem; where demands may be missed, all periods are looked at, since the peak alone does not decide.
    time_limit_s
        Wall seconds, or None.

    Returns
    -------
    tuple
        The plan, None where none meets the peak; and what is proved of it.
    """
    fixed = replace(problem, current=None, max_changes=0) if problem.may_fall_short else peak_of(problem)
    found = Search(fixed, Controls(time_limit_s=time_limit_s)).run()
    if found.best is None:
        return None, found
    return repeated(problem, found.best.plan.held[0]), found


def repeated(problem: Problem, held: tuple[int, ...]) -> Plan:
    """The plan that holds the given replicas in every period."""
    return Plan.of(problem, [held] * problem.periods, {})


def alone(problem: Problem, period: int) -> Problem:
    """The problem of one period, as if nothing came before."""
    return replace(problem.only(period, period + 1, None), max_changes=None)


def most_served(problem: Problem, period: int) -> dict[str, Fraction]:
    """Requests/s of each workload that the fleet serves at best in a period that stands alone, weighed by tokens."""
    one = replace(alone(problem, period), kind="goodput", shortfall_price=None)
    found = Search(one, Controls(time_limit_s=20)).run()
    if found.best is None:
        return {}
    return {name: found.best.plan.services[0, name][1] for name in problem.demand.requests_per_s}
