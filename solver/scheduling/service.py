"""C1, C5 and C8 of a period: one way to serve a workload, one engine a role, and enough replicas that are ready."""

from __future__ import annotations

import math
from fractions import Fraction

import pulp

from costmodels.operating_curve import Role
from solver.formulation.scaling import short_down, short_up
from solver.instance import Workload
from solver.scheduling.draft import Linear, ScheduleModel, pasts, switched_in, total
from solver.scheduling.problem import Problem


def serve(model: ScheduleModel, period: int, workload: Workload) -> None:
    """C1, C5 and C8: one way to serve a workload in a period, and in it enough replicas of one engine in each role."""
    problem, name = model.problem, workload.name
    number = [w.name for w in problem.fleet.instance.workloads].index(name)
    columns = problem.fleet.of(name)
    ways: dict[tuple[str, ...], list[int]] = {}
    for place in columns:
        ways.setdefault(problem.columns[place].way, []).append(place)
    roles = {way: ("colocated",) if way == () else workload.roles("disaggregated") for way in ways}
    allowed = {
        way: places
        for way, places in ways.items()
        if ("colocated" if way == () else "disaggregated") in problem.fleet.instance.serving.modes
        and all(any(problem.columns[p].role == role for p in places) for role in roles[way])
    }
    if problem.may_fall_short:
        most = problem.demand.of(name, period)
        model.missed[period, name] = pulp.LpVariable(f"z{period}_w{number}", 0, short_up(most))
    taken = []
    rests = problem.may_fall_short and any(_least(problem, name, r) for way in allowed for r in roles[way])
    for index, (way, places) in enumerate(sorted(allowed.items())):
        used: Linear = 1
        if len(allowed) > 1 or rests:
            used = pulp.LpVariable(f"m{period}_w{number}_{index}", 0, 1, pulp.LpInteger)
            taken.append(used)
        for role in roles[way]:
            mine = [p for p in places if problem.columns[p].role == role]
            _role(model, period, workload, f"t{period}_w{number}_{index}_{role}", used, mine)
    if taken:
        model.add(f"C2_way_t{period}_w{number}", total(taken) <= 1 if rests else total(taken) == 1)
    if rests or (problem.may_fall_short and not allowed):  # served by nobody, all is missed
        asked = short_down(problem.demand.of(name, period))
        model.add(f"C8_none_t{period}_w{number}", model.missed[period, name] + asked * total(taken) >= asked)
    elif not allowed:
        model.add(f"C8_t{period}_w{number}", total([]) >= 1)


def _least(problem: Problem, workload: str, role: Role) -> int:
    """The fewest replicas of a role that serve where the workload is served, over all pools."""
    return problem.fleet.instance.serving.min_replicas.get((workload, role), 0)


def _role(model: ScheduleModel, period: int, workload: Workload, name: str, used: Linear, places: list[int]) -> None:
    """One role of one way; with one engine to choose in all, its replicas are bounded directly."""
    problem = model.problem
    pools = {problem.columns[p].engine.pool.name for p in places}
    alone = problem.fleet.instance.serving.engines_per_role == 1 and len(pools) == 1
    if len(places) == 1 or alone:
        one = [
            p
            for p in places
            if problem.may_fall_short or problem.needed(problem.columns[p], period) <= problem.columns[p].most
        ]
        _one_engine(model, period, workload, name, used, one)
    else:
        _several_engines(model, period, workload, name, used, places)


def _one_engine(
    model: ScheduleModel, period: int, workload: Workload, name: str, used: Linear, places: list[int]
) -> None:
    """Sum of u = m, ready replicas >= N u; where a demand may be missed, z >= demand u - rate y and its rounding."""
    problem, demand = model.problem, model.problem.demand.of(workload.name, period)
    for place in places:
        if len(places) > 1:
            model.chosen[period, place] = pulp.LpVariable(f"u{period}_{place}", 0, 1, pulp.LpInteger)
        else:
            model.chosen[period, place] = used
    model.add(f"C5_{name}", total(model.chosen[period, p] for p in places) == used) if len(places) != 1 else None
    if not problem.may_fall_short:
        for place in places:
            column = problem.columns[place]
            needed = problem.needed(column, period) * model.chosen[period, place]
            _ready(model, period, place, f"{name}_{place}", needed, demand / column.requests_per_s)
        return
    rows: list[Linear] = []
    rounded: list[Linear] = []
    for place in places:
        column, choice = problem.columns[place], model.chosen[period, place]
        serving = _serving(model, period, place, name, choice)
        needed, rate = problem.needed(column, period), column.requests_per_s
        rows.append(short_down(demand) * choice - short_up(rate) * serving)
        last = max(Fraction(0), demand - rate * (needed - 1))
        if not column.warms_in_parts:
            rounded.append(short_down(last * needed) * choice - short_up(last) * serving)
    _at_least(model, period, workload, name, used, places)
    missed = model.missed[period, workload.name]
    model.add(f"C8_{name}", missed >= total(rows))
    if rounded:
        model.add(f"C8_{name}_rounded", missed >= total(rounded))


def _serving(model: ScheduleModel, period: int, place: int, name: str, choice: Linear) -> Linear:
    """y: replicas that serve, at most N u and at most those that are ready."""
    problem, column = model.problem, model.problem.columns[place]
    most = min(column.most, problem.needed(column, period))
    kind = pulp.LpContinuous if column.warms_in_parts else pulp.LpInteger
    serving = pulp.LpVariable(f"y{period}_{place}", 0, most, kind)
    model.serving[period, place] = serving
    if not isinstance(choice, int):
        model.add(f"C5_{name}_{place}", serving <= most * choice)
    _ready(model, period, place, f"{name}_{place}", serving, None)
    return serving


def _at_least(
    model: ScheduleModel, period: int, workload: Workload, name: str, used: Linear, places: list[int]
) -> None:
    """C7: replicas of all engines of a role that serve, whole ones that are ready, >= ``min_replicas`` of the role."""
    problem = model.problem
    if not places or not (least := _least(problem, workload.name, problem.columns[places[0]].role)):
        return
    counted = []
    for place in places:
        column, replicas = problem.columns[place], model.serving[period, place]
        if column.warms_in_parts:  # those that serve a part of the period count, too
            most, choice = column.most, model.chosen[period, place]
            replicas = pulp.LpVariable(f"k{period}_{place}", 0, most, pulp.LpInteger)
            if not isinstance(choice, int):
                model.add(f"C7_chosen_{name}_{place}", replicas <= most * choice)
            terms, _ = _lost(model, period, place)
            whole = model.held[period, place] - total(variable for loss, variable in terms if loss == 1)
            model.add(f"T3_{name}_{place}_counted", whole >= replicas)
        counted.append(replicas)
    model.add(f"C7_least_{name}", total(counted) >= least * used)


def _several_engines(
    model: ScheduleModel, period: int, workload: Workload, name: str, used: Linear, places: list[int]
) -> None:
    """Rates of all engines that serve add up to the demand; at most ``engines_per_role`` of them in a pool."""
    problem, most = model.problem, model.problem.fleet.instance.serving.engines_per_role
    demand, terms = model.problem.demand.of(workload.name, period), list[Linear]()
    by_pool: dict[str, list[int]] = {}
    for place in places:
        by_pool.setdefault(problem.columns[place].engine.pool.name, []).append(place)
    for number, mine in enumerate(by_pool.values()):
        free = most is None or len(mine) <= most
        for place in mine:
            choice = used if free else pulp.LpVariable(f"u{period}_{place}", 0, 1, pulp.LpInteger)
            model.chosen[period, place] = choice
            rate = short_up(problem.columns[place].requests_per_s)
            terms.append((rate, _serving(model, period, place, name, choice)))
        if not free:
            model.add(f"C5_{name}_pool{number}", total(model.chosen[period, p] for p in mine) <= most * used)
    served = total(rate * variable for rate, variable in terms)
    missed = model.missed[period, workload.name] if problem.may_fall_short else 0
    model.add(f"C8_{name}", served + missed >= short_down(demand) * used)
    _at_least(model, period, workload, name, used, places)


def _ready(model: ScheduleModel, period: int, place: int, name: str, needed: Linear, share: Fraction | None) -> None:
    """
    Replicas that serve <= replicas that are ready.

    Where starting replicas count for a part of a period, ``needed`` bounds whole replicas, and ``share``, the exact
    number of replicas that the demand takes, bounds the parts: share x u <= n - losses.
    """
    held = model.held[period, place]
    terms, whole = _lost(model, period, place)
    if whole:
        model.add(f"T3_{name}", held - total(variable for _, variable in terms) >= needed)
        return
    scale = math.lcm(*(loss.denominator for loss, _ in terms))
    lost = total(int(loss * scale) * variable for loss, variable in terms)
    model.add(f"T3_{name}", held - total(v for loss, v in terms if loss == 1) >= (needed if share is not None else 0))
    if share is None:
        model.add(f"T3_{name}_parts", scale * held - lost >= scale * needed)
    else:
        switch = model.chosen.get((period, place), 1)
        model.add(f"T3_{name}_parts", scale * held - lost >= short_down(share * scale) * switch)


def _lost(model: ScheduleModel, period: int, place: int) -> tuple[list[tuple[Fraction, Linear]], bool]:
    """What recent changes take of the replicas held, and whether it is whole replicas."""
    column, terms = model.problem.columns[place], list[tuple[Fraction, Linear]]()
    for past, lost in zip(pasts(model.problem), (column.start_losses, column.switch_losses), strict=True):
        terms += [
            (loss, past[k][place]) for k, loss in enumerate(lost[period + 1 :]) if k < len(past) and past[k][place]
        ]
    for k, loss in enumerate(column.start_losses):
        if (period - k, place) in model.started:
            terms.append((loss, model.started[period - k, place]))
    for k, loss in enumerate(column.switch_losses):
        terms += [(loss, variable) for variable in (switched_in(model, period - k, place) if period >= k else [])]
    return terms, all(loss == 1 for loss, _ in terms)
