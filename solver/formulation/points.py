"""The ``points`` formulation: one integer variable for the replicas of each operating point."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from fractions import Fraction

import pulp

from costmodels.operating_curve import Role
from solver.columns import Column
from solver.engines import Engine
from solver.formulation import families
from solver.formulation.handover import c6_handover
from solver.formulation.milp import Milp
from solver.formulation.plan_model import Assignment, PlanModel, whole_weights
from solver.formulation.scaling import Scaling, scaling_for
from solver.formulation.unit import Draft, Unit, Way, grouped, total
from solver.handover import arrivals
from solver.instance import Instance, Mode


def build_points(
    instance: Instance,
    columns: tuple[Column, ...],
    *,
    segments: int = 1,
    must_serve: bool = False,
    coarse: bool = False,
    reach: Fraction = Fraction(0),
    floats: bool = False,
) -> PlanModel:
    """
    Builds the model over the given columns.

    Parameters
    ----------
    instance
        The instance.
    columns
        The points that may be used, in canonical order.
    segments
        Common denominator that interpolation brought into the rates.
    must_serve
        Whether every workload must be served, or at least one.
    coarse
        Whether flows get a coarse grid, for back ends that know integers only; rows that must be exact are then
        added without flow variables (:mod:`solver.optimise`).
    reach
        Largest right side, in requests/s, that such rows will have.
    floats
        Whether only a float back end reads the model, so that its rows need not fit 64-bit integers.
    """
    rates = [column.requests_per_s for column in columns]
    rates += [rate for w in instance.workloads for rate in (w.requests_per_s, w.max_requests_per_s) if rate is not None]
    most = most_flow(instance, columns)
    together = reach + sum((column.requests_per_s * column.most for column in columns), Fraction(0))
    if instance.kv_links is not None:  # rows may count what links carry, once for each way
        together += most * len({column.engine.joint for column in columns})
    weights = [int(weight) for weight in whole_weights(instance.workloads, weighted=True)[0].values()]
    replicas = max((column.most for column in columns), default=0)
    together, widest = (most, 1) if floats else (together, max(weights))
    scaling = scaling_for(rates, most, together, widest, segments, coarse, replicas)
    draft = _draft(instance, columns, scaling, most, must_serve)
    families.c1_rate_matching(draft)
    families.c2_modes(draft)
    c2_end_to_end(draft, columns)
    families.c3_inventory(draft)
    families.c4_nvlink_packing(draft)
    c5_homogeneity(draft)
    c6_handover(draft)
    families.c7_budgets(draft)
    families.c8_demand(draft)

    def read(values: Mapping[str, Fraction]) -> list[Assignment]:
        pairs = zip(columns, draft.units, strict=True)
        counts = ((column, int(values.get(unit.replicas.name, Fraction(0)))) for column, unit in pairs)
        return [(column.engine, column.batch, count) for column, count in counts if count]

    return PlanModel(draft, tuple(column.batch for column in columns), read)


def most_flow(instance: Instance, columns: tuple[Column, ...]) -> Fraction:
    """An upper bound on the requests/s of any workload: every pool at the best rate per GPU."""
    best: dict[tuple[str, str, Role], Fraction] = {}
    for column in columns:
        key = (column.engine.workload.name, column.engine.pool.name, column.role)
        best[key] = max(best.get(key, Fraction(0)), column.requests_per_s / column.gpus)
    pools = {pool.name: pool.gpus or 0 for pool in instance.pools}
    flows: dict[str, Fraction] = {}
    for (workload, pool, _), rate in best.items():
        flows[workload] = flows.get(workload, Fraction(0)) + rate * pools[pool]
    return max(flows.values(), default=Fraction(0))


def _draft(
    instance: Instance, columns: tuple[Column, ...], scaling: Scaling, most: Fraction, must_serve: bool
) -> Draft:
    problem = pulp.LpProblem("points", pulp.LpMaximize)
    problem.setObjective(total([]))
    milp = Milp(problem)
    units = []
    for index, column in enumerate(columns):
        name = f"n{index}"
        replicas = pulp.LpVariable(name, 0, column.most, pulp.LpInteger)
        milp.names[name] = f"replicas of {describe(column.engine)} at batch {column.batch}"
        capacity = scaling.flow_up(column.requests_per_s) * replicas
        units.append(Unit(column.engine, replicas, capacity, column.requests_per_s, column.most))
    draft = Draft(instance, milp, scaling, tuple(units), tuple(ways_over(instance, units, milp)), {}, must_serve, most)
    add_flows(draft, most)
    return draft


def describe(engine: Engine) -> str:
    """An engine in words, for name maps."""
    curve = engine.curve
    chunk = f" chunk {curve.chunk_tokens}" if curve.chunk_tokens else ""
    place = f"{engine.workload.name} on {engine.pool.name}"
    return f"{curve.role} {curve.partition.label}{chunk} {curve.backend} {curve.precision} for {place}"


def ways_over(instance: Instance, units: list[Unit], milp: Milp) -> list[Way]:
    """All ways to serve each workload for which every role has a unit."""
    ways: list[Way] = []
    for workload in instance.workloads:
        mine = [unit for unit in units if unit.engine.workload is workload]
        for mode in instance.serving.modes:
            for joint in joints(mine, mode):
                roles = workload.roles(mode)
                chosen = [u for u in mine if u.role in roles and (not joint or u.engine.joint == joint)]
                if all(any(unit.role == role for unit in chosen) for role in roles):
                    used = pulp.LpVariable(f"m{len(ways)}", 0, 1, pulp.LpInteger)
                    milp.names[used.name] = f"{workload.name} {mode} {' '.join(joint)}".strip()
                    ways.append(Way(workload, mode, joint, used, tuple(chosen)))
    return ways


def joints(units: list[Unit], mode: Mode) -> list[tuple[str, ...]]:
    """What the engines of a disaggregated deployment may agree in; one empty entry for co-located."""
    if mode == "colocated":
        return [()]
    return sorted({unit.engine.joint for unit in units if unit.role == "prefill"})


def add_flows(draft: Draft, most: Fraction) -> None:
    """Adds X_w for every workload, bounded by what the pools could ever do and by ``max_requests_per_s``."""
    for workload in draft.instance.workloads:
        cap = most if workload.max_requests_per_s is None else min(most, workload.max_requests_per_s)
        name = f"X_w{draft.number_of(workload)}"
        draft.flow[workload.name] = pulp.LpVariable(name, 0, draft.scaling.flow_up(cap))
        draft.milp.grid[name] = draft.scaling.flow_step
        draft.milp.names[name] = f"{workload.name}: requests/s x {draft.scaling.unit}"


def c2_end_to_end(draft: Draft, columns: tuple[Column, ...]) -> None:
    """
    TTFT + (OSL - 1) x TPOT <= E2E for every prefill and decode point in use together.

    TTFT contains the exposed hand-over, so it depends on the pool that decodes: the rows stand once for each arrival
    class of decode pools. Where there are several classes, the TTFT limit couples prefill points and pools too.

    One binary s_j for each TTFT level j of the prefill points, in ascending order: s_j = 1 lets prefill points of level
    j run, and s_0 = m >= s_1 >= s_2 ... A prefill point of level j needs s_j; a decode point that leaves enough time
    for level q but not for level q + 1 needs s_(q+1) = 0: n_k <= U_k (m - s_(q+1)).
    """
    classes = arrivals(draft.instance)
    for index, way in enumerate(draft.ways):
        if way.mode != "disaggregated" or way.workload.osl == 1:
            continue
        inside = {id(unit) for unit in way.units}
        mine = [(c, u) for c, u in zip(columns, draft.units, strict=True) if id(u) in inside]
        by_arrival: dict[int, list[tuple[Column, Unit]]] = {}
        for column, unit in mine:
            if column.role == "decode":
                by_arrival.setdefault(classes[column.engine.pool.name], []).append((column, unit))
        first = [(column, unit) for column, unit in mine if column.role == "prefill"]
        for arrival, decode in sorted(by_arrival.items()):
            _end_to_end(draft, way, f"m{index}" + (f"_a{arrival}" if arrival else ""), arrival, first, decode)


def _end_to_end(
    draft: Draft,
    way: Way,
    place: str,
    arrival: int,
    prefill: list[tuple[Column, Unit]],
    decode: list[tuple[Column, Unit]],
) -> None:
    """The rows of :func:`c2_end_to_end` for the decode pools of one arrival class."""
    limit, steps = way.workload.e2el_ms, way.workload.osl - 1
    known = [column.late(arrival) for column, _ in prefill]
    late: list[Fraction | float] = [math.inf if ms is None else ms for ms in known]
    latest = max((ms for ms in known if ms is not None), default=Fraction(-1))
    left = [latest if limit is None else limit - steps * column.latency_ms for column, _ in decode]
    if max(late) <= min(left):
        return  # no two points break it
    levels = sorted(set(late))
    allowed = [way.used]
    for level in range(1, len(levels)):
        allowed.append(pulp.LpVariable(f"s{level}_{place}", 0, 1, pulp.LpInteger))
        draft.add(f"C2_level{level}_{place}", allowed[level] <= allowed[level - 1])
    for (_, unit), first in zip(prefill, late, strict=True):
        level = bisect_left(levels, first)
        draft.add(f"C2_e2e_{unit.replicas.name}_{place}", unit.replicas <= unit.most * allowed[level])
    for (_, unit), most in zip(decode, left, strict=True):
        name, first_late = f"C2_e2e_{unit.replicas.name}_{place}", bisect_right(levels, most)
        if first_late == 0:
            draft.add(name, unit.replicas <= 0)
        elif first_late < len(levels):
            draft.add(name, unit.replicas <= unit.most * (way.used - allowed[first_late]))


def c5_homogeneity(draft: Draft) -> None:
    """
    n_k <= U_k m where its way is taken; at most one point of an engine, at most ``engines_per_role`` engines per
    workload, pool and role.

    The choice needs binaries, n_k <= U_k u_k and sum of u_k <= E m, only where there is more to choose from than may
    be chosen.
    """
    most = draft.instance.serving.engines_per_role
    chosen: dict[str, pulp.LpVariable] = {}
    for index, way in enumerate(draft.ways):
        for (pool, role), units in grouped(way.units):
            engines = {unit.engine.index for unit in units}
            number = next(i for i, p in enumerate(draft.instance.pools) if p.name == pool)
            place = f"{role}_p{number}_m{index}"
            if len(engines) == len(units) and (most is None or len(engines) <= most):
                for unit in units:
                    draft.add(f"C5_{unit.replicas.name}_m{index}", unit.replicas <= unit.most * way.used)
                continue
            for unit in units:
                name = unit.replicas.name
                chosen[name] = pulp.LpVariable(f"u_{name}_m{index}", 0, 1, pulp.LpInteger)
                draft.add(f"C5_{name}_m{index}", unit.replicas <= unit.most * chosen[name])
            if most is not None and len(units) > 0:
                draft.add(f"C5_engines_{place}", total(chosen[u.replicas.name] for u in units) <= most * way.used)
            _one_point_each(draft, units, chosen, place, way, most)
    _unused(draft)


def _one_point_each(
    draft: Draft, units: list[Unit], chosen: dict[str, pulp.LpVariable], place: str, way: Way, most: int | None
) -> None:
    if most == 1:
        return  # one point in all
    points: dict[int, list[pulp.LpVariable]] = {}
    for unit in units:
        points.setdefault(unit.engine.index, []).append(chosen[unit.replicas.name])
    for engine, binaries in points.items():
        if len(binaries) > 1 or most is None:
            draft.add(f"C5_point_e{engine}_{place}", total(binaries) <= way.used)


def _unused(draft: Draft) -> None:
    """A unit that no way can use (its partners are missing) stays at zero."""
    usable = {unit.replicas.name for way in draft.ways for unit in way.units}
    for unit in draft.units:
        if unit.replicas.name not in usable:
            unit.replicas.upBound = 0
