"""Family C6: what links between pools let through. What a GPU sends and takes in is part of each point's rate."""

from __future__ import annotations

from fractions import Fraction

import pulp

from solver.formulation.unit import Draft, Way, total
from solver.handover import Cut, cuts, link_rates


def c6_handover(draft: Draft) -> None:
    """
    X_w <= prefill capacity that a cut counts + decode capacity that it counts + its links + co-located capacity.

    Egress of prefill GPUs and ingress of decode GPUs bound each replica by itself, so they are part of its rate:
    r_k = min(rate x utilization, kv_gbps x distinct shards / KV bytes of a request). A flow from prefill pools over
    links of limited capacity to decode pools is at most every cut that separates the two, and the least cut is
    reached (Ford and Fulkerson 1956); so one row a cut is exact, without a variable for any flow. The cuts through
    all prefill and through all decode engines are family C1. KV bytes depend on the way, hence so does what a link
    carries in requests/s.
    """
    for workload in draft.instance.workloads if draft.instance.kv_links is not None else ():
        number, ways = draft.number_of(workload), draft.ways_of(workload)
        colocated = [unit.capacity for way in ways for unit in way.of("colocated")]
        joined = [way for way in ways if way.mode == "disaggregated"]
        if workload.osl == 1 or not joined:
            continue
        for index, cut in enumerate(cuts(draft.instance)[2:]):
            passing = [
                unit.capacity
                for way in joined
                for unit in way.units
                if unit.role != "colocated" and cut.counts(unit.role, unit.engine.pool.name)
            ]
            links = [draft.scaling.flow_up(links_of(draft, way, cut)) * way.used for way in joined if cut.links]
            draft.add(f"C6_cut{index}_w{number}", draft.flow[workload.name] <= total(passing + links + colocated))
    _reaches(draft)


def _reaches(draft: Draft) -> None:
    """
    A way that is taken hands something over: every cut has room, the sum of n_k that it counts >= m.

    Only cuts without a link need a row.
    """
    closed = [(index, cut) for index, cut in enumerate(cuts(draft.instance)[2:]) if not cut.links]
    for number, way in enumerate(draft.ways):
        if way.mode == "disaggregated" and way.workload.osl > 1:
            for index, cut in closed:
                counted = [u.replicas for u in way.units if cut.counts(u.role, u.engine.pool.name)]
                draft.add(f"C6_reach{index}_m{number}", total(counted) >= way.used)


def links_of(draft: Draft, way: Way, cut: Cut | None) -> Fraction:
    """Requests/s that the links of a cut carry when a way is taken; no more than any flow can be."""
    kv = next((unit.engine.kv for unit in way.units if unit.engine.kv is not None), None)
    if cut is None or not cut.links or way.mode != "disaggregated" or kv is None:
        return Fraction(0)
    rates = link_rates(draft.instance, kv.bytes_per_request)
    return min(sum((rates[link] for link in cut.links), Fraction(0)), draft.most_flow)


def c6_flows(draft: Draft) -> None:
    """
    The same with flows as variables, for models that may hold continuous ones.

    f_ab requests/s go from pool a to pool b: sum over b of f_ab <= prefill capacity on a, sum over a of f_ab <= decode
    capacity on b, f_ab <= what the link carries, X_w <= sum of all f_ab + co-located capacity.
    """
    instance = draft.instance
    for workload in instance.workloads if instance.kv_links is not None else ():
        number, ways = draft.number_of(workload), draft.ways_of(workload)
        joined = [way for way in ways if way.mode == "disaggregated"]
        if workload.osl == 1 or not joined:
            continue
        names = [pool.name for pool in instance.pools]
        pairs = [(a, b) for a in names for b in names if a == b or (a, b) in (instance.kv_links or {})]
        flow = {pair: pulp.LpVariable(f"f{names.index(pair[0])}_{names.index(pair[1])}_w{number}", 0) for pair in pairs}
        for index, name in enumerate(names):
            for role, end in (("prefill", 0), ("decode", 1)):
                here = [u.capacity for way in joined for u in way.units if (u.role, u.engine.pool.name) == (role, name)]
                moved = total(variable for pair, variable in flow.items() if pair[end] == name)
                draft.add(f"C6_{role}_p{index}_w{number}", moved <= total(here))
        for a, b in instance.kv_links or {}:
            carried = [draft.scaling.flow_up(links_of(draft, way, Cut((), (), ((a, b),)))) * way.used for way in joined]
            draft.add(f"C6_link{names.index(a)}_{names.index(b)}_w{number}", flow[a, b] <= total(carried))
        colocated = total(unit.capacity for way in ways for unit in way.of("colocated"))
        draft.add(f"C6_joined_w{number}", draft.flow[workload.name] <= total(flow.values()) + colocated)
    _reaches(draft)
