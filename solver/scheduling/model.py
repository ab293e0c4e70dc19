"""The model over all periods: replicas held, started, switched and serving, as integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import pulp

from solver.formulation.milp import Milp
from solver.formulation.scaling import short_down
from solver.scheduling.draft import ScheduleModel, arrivals, happened_before, held_before, pasts, stops, total
from solver.scheduling.problem import Problem
from solver.scheduling.resources import budgets, inventory, limits
from solver.scheduling.service import serve


def build(problem: Problem, floors: Mapping[int, Fraction] | None = None) -> ScheduleModel:
    """
    Builds the model.

    For each period t and column j: n replicas held, s started, and for each pair that can switch x switched, all at the
    beginning of t; u = 1 where j is the engine that serves its workload, role and pool.

    * departures: n(t-1) + s + x in - x out - n >= 0, which are the stops;
    * up: s and x in of the last U periods <= n;
    * ready: n minus what starts and switches of the last periods lose >= N u, N = ceil(demand / rate);
    * C3, C4, C7 of n in every period;
    * floors: what is held in a period costs at least what the period would cost alone.

    Parameters
    ----------
    problem
        What is to be scheduled.
    floors
        Period to a proved lower bound on the cost of what is held in it, where one is known.
    """
    problem_ = pulp.LpProblem("schedule", pulp.LpMinimize)
    model = ScheduleModel(problem, Milp(problem_), _unit(problem))
    _variables(model)
    for period in range(problem.periods):
        for place in range(len(problem.columns)):
            _changes(model, period, place)
        for workload in problem.fleet.instance.workloads:
            if problem.demand.of(workload.name, period):
                serve(model, period, workload)
        for index, pool in enumerate(problem.fleet.instance.pools):
            inventory(model, period, index, pool)
        budgets(model, period)
        limits(model, period)
    for period, floor in (floors or {}).items():
        held = total(
            int(problem.holding(column) / model.unit) * model.held[period, j]
            for j, column in enumerate(problem.columns)
        )
        model.add(f"B_floor_t{period}", held >= math.ceil(floor / model.unit))
    _objective(model)
    return model


def _unit(problem: Problem) -> Fraction:
    """The greatest unit of which all costs of integers are whole multiples."""
    costs = [f(c) for c in problem.columns for f in (problem.holding, problem.starting, problem.switching)]
    costs = [cost for cost in costs if cost]
    if not costs:
        return max(problem.missing(w) for w in problem.fleet.instance.workloads)
    whole = math.lcm(*(cost.denominator for cost in costs))
    return Fraction(math.gcd(*(int(cost * whole) for cost in costs)), whole)


def _variables(model: ScheduleModel) -> None:
    problem = model.problem
    changes = range(0 if problem.current is not None else 1, problem.periods)
    for t in range(problem.periods):
        for j, column in enumerate(problem.columns):
            model.held[t, j] = pulp.LpVariable(f"n{t}_{j}", 0, column.most, pulp.LpInteger)
    for t in changes:
        for j, column in enumerate(problem.columns):
            model.started[t, j] = pulp.LpVariable(f"s{t}_{j}", 0, column.most, pulp.LpInteger)
        for p, (a, b) in enumerate(problem.fleet.switches):
            most = min(problem.columns[a].most, problem.columns[b].most)
            model.switched[t, p] = pulp.LpVariable(f"x{t}_{p}", 0, most, pulp.LpInteger)


def _changes(model: ScheduleModel, period: int, place: int) -> None:
    column, held = model.problem.columns[place], model.held[period, place]
    if held_before(model, period, place) is None:
        return
    model.add(f"T1_stops_t{period}_{place}", stops(model, period, place) >= 0)
    recent = [v for k in range(min(column.min_up, period + 1)) for v in arrivals(model, period - k, place)]
    young = sum(happened_before(past, column.min_up - period - 1, place) for past in pasts(model.problem))
    if recent or young:
        model.add(f"T2_up_t{period}_{place}", total(recent) + young <= held)


def _objective(model: ScheduleModel) -> None:
    problem, unit = model.problem, model.unit
    terms = [
        int(problem.holding(problem.columns[j]) / unit) * variable
        for (_, j), variable in model.held.items()
        if problem.kind != "goodput"
    ]
    for (_, j), variable in model.started.items():
        if cost := problem.starting(problem.columns[j]):
            terms.append(int(cost / unit) * variable)
    for (_, p), variable in model.switched.items():
        if cost := problem.switching(problem.columns[problem.fleet.switches[p][1]]):
            terms.append(int(cost / unit) * variable)
    weights = {w.name: problem.missing(w) for w in problem.fleet.instance.workloads}
    terms += [short_down(weights[name] / unit) * variable for (_, name), variable in model.missed.items()]
    model.milp.problem.setObjective(total(terms))
