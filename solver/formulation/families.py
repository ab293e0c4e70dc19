"""The constraint families C1 to C8: one function each, the inequality in its docstring."""

from __future__ import annotations

from fractions import Fraction

import pulp

from solver.formulation.milp import exact
from solver.formulation.packing import c4_nvlink_packing
from solver.formulation.scaling import short_down, short_up
from solver.formulation.unit import Draft, Unit, total

__all__ = ["c1_rate_matching", "c2_modes", "c3_inventory", "c4_nvlink_packing", "c7_budgets", "c8_demand"]


def c1_rate_matching(draft: Draft) -> None:
    """
    Flow is limited by every role it passes.

    X_w = min(prefill, decode) + co-located, so X_w <= (sum of r_k n_k over prefill) + (over co-located), and
    X_w <= (over decode) + (over co-located); no variable for the flow of one mode is needed.
    With ``decode_covers``: prefill capacity <= (1 + tolerance) x decode capacity.
    """
    for workload in draft.instance.workloads:
        number, ways = draft.number_of(workload), draft.ways_of(workload)
        colocated = [unit.capacity for way in ways for unit in way.of("colocated")]
        joined = [way for way in ways if way.mode == "disaggregated"]
        for role in workload.roles("disaggregated") if joined else ("colocated",):
            passing = [unit.capacity for way in joined for unit in way.of(role)]
            draft.add(f"C1_{role}_w{number}", draft.flow[workload.name] <= total(passing + colocated))
    if draft.instance.serving.decode_covers:
        _decode_covers(draft)


def _decode_covers(draft: Draft) -> None:
    slack = 1 + draft.instance.serving.tolerance
    for index, way in enumerate(draft.ways):
        if way.mode == "disaggregated" and way.workload.osl > 1:
            prefill = total(_covered(draft, unit, Fraction(1), up=False) for unit in way.of("prefill"))
            decode = total(_covered(draft, unit, slack, up=True) for unit in way.of("decode"))
            draft.add(f"C1_covers_m{index}", prefill <= decode)


def _covered(draft: Draft, unit: Unit, factor: Fraction, up: bool) -> pulp.LpAffineExpression:
    if unit.rate is None:
        return total(short_up(exact(value) * factor) * variable for variable, value in unit.capacity.items())
    coefficient = draft.scaling.up(unit.rate * factor) if up else draft.scaling.down(unit.rate * factor)
    return coefficient * unit.replicas


def c2_modes(draft: Draft) -> None:
    """
    A workload is served in one way, and a way that is taken has a replica in each role.

    sum over ways m <= 1 (hybrid: at most one co-located and one disaggregated); sum over each role n_k >= m.
    Latency limits need no row: a point above its limit has no variable. A limit that couples prefill and decode (E2E)
    is the formulation's own.
    """
    for workload in draft.instance.workloads:
        number, ways = draft.number_of(workload), draft.ways_of(workload)
        if draft.instance.serving.hybrid:
            joined = [way.used for way in ways if way.mode == "disaggregated"]
            if len(joined) > 1:
                draft.add(f"C2_mode_w{number}", total(joined) <= 1)
        elif len(ways) > 1:
            draft.add(f"C2_mode_w{number}", total(way.used for way in ways) <= 1)
    for index, way in enumerate(draft.ways):
        for role in way.workload.roles(way.mode):
            replicas = total(unit.replicas for unit in way.of(role))
            draft.add(f"C2_{role}_m{index}", replicas >= way.used)


def c3_inventory(draft: Draft) -> None:
    """Sum of g_e n_k <= gpus_h for every pool h."""
    for index, pool in enumerate(draft.instance.pools):
        here = [unit for unit in draft.units if unit.engine.pool is pool]
        if here:
            used = total(unit.engine.curve.partition.gpus * unit.replicas for unit in here)
            draft.add(f"C3_gpus_p{index}", used <= pool.gpus)


def c7_budgets(draft: Draft) -> None:
    """
    Cost per hour and power of the GPUs used are within the budget; replicas are within their bounds.

    sum of usd_h g_e n_k <= budget, sum of watts_h g_e n_k <= budget (a constant where idle GPUs count);
    min m <= sum of n_k <= max over the pools, for each workload and role.
    """
    budget = draft.instance.budget
    for name, limit, price in (
        ("usd", budget.usd_per_hour, "usd_per_gpu_hour"),
        ("watts", budget.watts, "watts_per_gpu"),
    ):
        if limit is not None and budget.count_idle:
            if _idle(draft, price) > limit:
                draft.add(f"C7_{name}", total(way.used for way in draft.ways) <= 0)
        elif limit is not None:
            draft.add(f"C7_{name}", spent(draft, price) <= short_up(limit))
    serving = draft.instance.serving
    for index, way in enumerate(draft.ways):
        for role in way.workload.roles(way.mode):
            replicas = total(unit.replicas for unit in way.of(role))
            least = serving.min_replicas.get((way.workload.name, role), 0)
            most = serving.max_replicas.get((way.workload.name, role))
            if least > 1:
                draft.add(f"C7_min_{role}_m{index}", replicas >= least * way.used)
            if most is not None:
                draft.add(f"C7_max_{role}_m{index}", replicas <= most)


def _idle(draft: Draft, price: str) -> Fraction:
    idle = Fraction(0)
    for pool in draft.instance.pools:
        idle += (getattr(pool, price) or 0) * (pool.gpus or 0)
    return idle


def spent(draft: Draft, price: str) -> pulp.LpAffineExpression:
    """Cost per hour or power of the GPUs used; coefficients rounded down to 12 digits."""
    return total(
        short_down(getattr(unit.engine.pool, price) * unit.engine.curve.partition.gpus) * unit.replicas
        for unit in draft.units
    )


def c8_demand(draft: Draft) -> None:
    """
    X_w >= requests_per_s where there is a demand; at least one workload is served, or all where asked.

    The cap ``max_requests_per_s`` is the upper bound of X_w.
    """
    served = []
    for workload in draft.instance.workloads:
        number, ways = draft.number_of(workload), draft.ways_of(workload)
        if workload.requests_per_s is not None:
            draft.add(
                f"C8_demand_w{number}", draft.flow[workload.name] >= draft.scaling.flow_down(workload.requests_per_s)
            )
        if workload.requests_per_s is not None or draft.must_serve:
            draft.add(f"C8_served_w{number}", total(way.used for way in ways) >= 1)
        served += [way.used for way in ways]
    draft.add("C8_any", total(served) >= 1)
