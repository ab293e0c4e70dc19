"""The model over all periods: replicas held, started, switched and serving, as integers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeAlias

import pulp

from solver.formulation.milp import Milp
from solver.formulation.scaling import short_down, short_up
from solver.instance import Pool, Workload
from solver.scheduling.plan import Plan
from solver.scheduling.problem import Problem

Linear: TypeAlias = Any


@dataclass
class ScheduleModel:
    """
    The model, while and after it is built.

    Parameters
    ----------
    problem
        What is to be scheduled.
    milp
        The model; every coefficient rounded, if at all, so that it relaxes.
    unit
        Units of the objective of the problem in one unit of the model's.
    held, started
        Variable of each (period, column).
    switched
        Variable of each (period, place in ``switches``).
    missed
        Requests/s not served, of each (period, workload).
    """

    problem: Problem
    milp: Milp
    unit: Fraction
    held: dict[tuple[int, int], Linear] = field(default_factory=dict)
    started: dict[tuple[int, int], Linear] = field(default_factory=dict)
    switched: dict[tuple[int, int], Linear] = field(default_factory=dict)
    serving: dict[tuple[int, int], Linear] = field(default_factory=dict)
    chosen: dict[tuple[int, int], Linear] = field(default_factory=dict)
    missed: dict[tuple[int, str], Linear] = field(default_factory=dict)

    @property
    def constant(self) -> Fraction:
        """What the objective of the problem adds to ``unit`` times that of the model."""
        return self.problem.asked if self.problem.is_maximised else Fraction(0)

    def add(self, name: str, row: Linear) -> None:
        """Adds a row; one without variables is left out where it holds, else it makes the model infeasible."""
        self.milp.problem.addConstraint(row, name)

    def plan(self, values: dict[str, Fraction]) -> Plan:
        """The plan of a solution."""
        held = [
            [int(values.get(self.held[t, j].name, 0)) for j in range(len(self.problem.columns))]
            for t in range(self.problem.periods)
        ]
        switched = {
            (t, p): int(values.get(variable.name, 0))
            for (t, p), variable in self.switched.items()
            if values.get(variable.name, 0)
        }
        return Plan.of(self.problem, held, switched)


def total(terms: Iterable[Any]) -> pulp.LpAffineExpression:
    """A sum, of whatever there is."""
    return pulp.lpSum(terms)


def build(problem: Problem) -> ScheduleModel:
    """
    Builds the model.

    For each period t and column j: n replicas held, s started, and for each pair that can switch x switched, all at the
    beginning of t; u = 1 where j is the engine that serves its workload, role and pool.

    * departures: n(t-1) + s + x in - x out - n >= 0, which are the stops;
    * up: s and x in of the last U periods <= n;
    * ready: n minus what starts and switches of the last periods lose >= N u, N = ceil(demand / rate);
    * C3, C4, C7 of n in every period.
    """
    problem_ = pulp.LpProblem("schedule", pulp.LpMinimize)
    model = ScheduleModel(problem, Milp(problem_), _unit(problem))
    _variables(model)
    for period in range(problem.periods):
        for place in range(len(problem.columns)):
            _changes(model, period, place)
        for workload in problem.fleet.instance.workloads:
            if problem.demand.of(workload.name, period):
                _served(model, period, workload)
        for index, pool in enumerate(problem.fleet.instance.pools):
            _inventory(model, period, index, pool)
        _budgets(model, period)
        _limits(model, period)
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


def _in(model: ScheduleModel, period: int, place: int) -> list[Linear]:
    pairs = enumerate(model.problem.fleet.switches)
    return [model.switched[period, p] for p, (_, b) in pairs if b == place and (period, p) in model.switched]


def _out(model: ScheduleModel, period: int, place: int) -> list[Linear]:
    pairs = enumerate(model.problem.fleet.switches)
    return [model.switched[period, p] for p, (a, _) in pairs if a == place and (period, p) in model.switched]


def _arrivals(model: ScheduleModel, period: int, place: int) -> list[Linear]:
    started = [model.started[period, place]] if (period, place) in model.started else []
    return started + _in(model, period, place)


def _before(model: ScheduleModel, period: int, place: int) -> Linear:
    if period:
        return model.held[period - 1, place]
    return model.problem.current[place] if model.problem.current is not None else None


def _stops(model: ScheduleModel, period: int, place: int) -> Linear:
    """The replicas of a column that stop at the beginning of a period."""
    before = _before(model, period, place)
    arriving = total(_arrivals(model, period, place))
    return before + arriving - total(_out(model, period, place)) - model.held[period, place]


def _changes(model: ScheduleModel, period: int, place: int) -> None:
    column, held = model.problem.columns[place], model.held[period, place]
    if _before(model, period, place) is None:
        return
    model.add(f"T1_stops_t{period}_{place}", _stops(model, period, place) >= 0)
    recent = [v for k in range(min(column.min_up, period + 1)) for v in _arrivals(model, period - k, place)]
    young = sum(before(past, column.min_up - period - 1, place) for past in _pasts(model.problem))
    if recent or young:
        model.add(f"T2_up_t{period}_{place}", total(recent) + young <= held)


def _pasts(problem: Problem) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    return problem.past_starts, problem.past_switches


def before(past: tuple[tuple[int, ...], ...], periods: int, place: int) -> int:
    """What happened to a column in the last periods before the first."""
    return sum(row[place] for row in past[: max(0, periods)])


def _lost(model: ScheduleModel, period: int, place: int) -> tuple[list[tuple[Fraction, Linear]], bool]:
    """What recent changes take of the replicas held, and whether it is whole replicas."""
    column, terms = model.problem.columns[place], list[tuple[Fraction, Linear]]()
    for past, lost in zip(_pasts(model.problem), (column.start_losses, column.switch_losses), strict=True):
        terms += [
            (loss, past[k][place]) for k, loss in enumerate(lost[period + 1 :]) if k < len(past) and past[k][place]
        ]
    for k, loss in enumerate(column.start_losses):
        if (period - k, place) in model.started:
            terms.append((loss, model.started[period - k, place]))
    for k, loss in enumerate(column.switch_losses):
        terms += [(loss, variable) for variable in (_in(model, period - k, place) if period >= k else [])]
    return terms, all(loss == 1 for loss, _ in terms)


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


def _served(model: ScheduleModel, period: int, workload: Workload) -> None:
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
    for index, (way, places) in enumerate(sorted(allowed.items())):
        used: Linear = 1
        if len(allowed) > 1:
            used = pulp.LpVariable(f"m{period}_w{number}_{index}", 0, 1, pulp.LpInteger)
            taken.append(used)
        for role in roles[way]:
            mine = [p for p in places if problem.columns[p].role == role]
            _role(model, period, workload, f"t{period}_w{number}_{index}_{role}", used, mine)
    if taken:
        model.add(f"C2_way_t{period}_w{number}", total(taken) == 1)
    elif not allowed and not problem.may_fall_short:
        model.add(f"C8_t{period}_w{number}", total([]) >= 1)


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
    least = problem.fleet.instance.serving.min_replicas.get((column.engine.workload.name, column.role))
    if least is not None and problem.fleet.instance.serving.engines_per_role == 1:
        model.add(f"C7_least_{name}_{place}", serving >= least * choice)
    _ready(model, period, place, f"{name}_{place}", serving, None)
    return serving


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
            model.add(f"C5_{name}_{number}", total(model.chosen[period, p] for p in mine) <= most * used)
    served = total(rate * variable for rate, variable in terms)
    missed = model.missed[period, workload.name] if problem.may_fall_short else 0
    model.add(f"C8_{name}", served + missed >= short_down(demand) * used)
    least = problem.fleet.instance.serving.min_replicas.get((workload.name, problem.columns[places[0]].role))
    if least is not None and not problem.may_fall_short:
        model.add(f"C7_least_{name}", total(variable for _, variable in terms) >= least * used)


def _inventory(model: ScheduleModel, period: int, index: int, pool: Pool) -> None:
    """C3 and C4: GPUs, and stage groups in NVLink domains; exact for sizes that divide each other, else relaxed."""
    here = [(j, c) for j, c in enumerate(model.problem.columns) if c.engine.pool.name == pool.name]
    if not here:
        return
    model.add(f"C3_t{period}_p{index}", total(c.gpus * model.held[period, j] for j, c in here) <= (pool.gpus or 0))
    domain, parts = pool.nvlink_domain_gpus, {j: c.engine.curve.partition for j, c in here}
    large = total(
        -(-p.stage_group // domain) * p.pp * model.held[period, j] for j, p in parts.items() if p.stage_group > domain
    )
    if large:
        model.add(f"C4_domains_t{period}_p{index}", large <= pool.full_domains)
    small = {j: p for j, p in parts.items() if p.stage_group <= domain}
    for size in sorted({p.stage_group for p in small.values()}):
        slots = pool.full_domains * (domain // size) + pool.partial_domain_gpus // size
        if size > 1 or large or slots != pool.gpus:
            groups = total(
                (p.stage_group // size) * p.pp * model.held[period, j]
                for j, p in small.items()
                if p.stage_group >= size
            )
            model.add(f"C4_s{size}_t{period}_p{index}", groups + (domain // size) * large <= slots)


def _budgets(model: ScheduleModel, period: int) -> None:
    """C7: dollars and watts of the GPUs held."""
    instance = model.problem.fleet.instance
    for name, limit, each in (
        ("usd", instance.budget.usd_per_hour, "usd_per_gpu_hour"),
        ("watts", instance.budget.watts, "watts_per_gpu"),
    ):
        if limit is not None:
            counted = instance.budget.count_idle
            spent = total(
                short_down(c.gpus * getattr(c.engine.pool, each)) * model.held[period, j]
                for j, c in enumerate(model.problem.columns)
                if not counted
            )
            idle = sum((p.gpus or 0) * getattr(p, each) for p in instance.pools) if counted else Fraction(0)
            model.add(f"C7_{name}_t{period}", spent <= short_up(limit - idle))


def _limits(model: ScheduleModel, period: int) -> None:
    """C7: the most replicas of a role; and the most changes at the beginning of a period."""
    problem, bounds = model.problem, model.problem.fleet.instance.serving.max_replicas
    for number, ((workload, role), most) in enumerate(sorted(bounds.items())):
        mine = problem.fleet.of(workload, role)
        if len(mine) > 1:
            model.add(f"C7_most{number}_t{period}", total(model.held[period, j] for j in mine) <= most)
    if problem.max_changes is not None and _before(model, period, 0) is not None:
        places = range(len(problem.columns))
        starts = total(model.started[period, j] for j in places)
        switched = total(v for (t, _), v in model.switched.items() if t == period)
        stops = total(_stops(model, period, j) for j in places)
        model.add(f"T4_changes_t{period}", starts + switched + stops <= problem.max_changes)


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


def is_chain(sizes: Iterable[int]) -> bool:
    """Whether each size divides the next larger one."""
    return all(b % a == 0 for a, b in pairwise(sorted(sizes)))
