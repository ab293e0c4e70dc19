"""
The ``piecewise`` formulation: the reference, as on a blackboard.

Each engine has a binary choice, an integer batch, and convex-combination weights on the breakpoints of its curve;
latency and rate are read off the weights. Rows that start with ``P_`` define the curve and the products of an engine,
all others are the families C1 to C8.

Rates are rounded up and latencies down, to 12 digits, so the model is a relaxation of the exact problem. (A row that
wants prefill capacity small, ``decode_covers``, sees it rounded up too: by 1e-12 of itself, far below the tolerance
of any back end that takes this model.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pulp

from solver.columns import NO_LIMITS, Column, Limits
from solver.engines import Engine
from solver.formulation import families
from solver.formulation.handover import c6_flows
from solver.formulation.milp import Milp
from solver.formulation.piecewise_curves import AdmissibleCurve, admissible_curves
from solver.formulation.piecewise_handover import c2_handover
from solver.formulation.plan_model import Assignment, PlanModel, whole_weights
from solver.formulation.points import add_flows, describe, most_flow, ways_over
from solver.formulation.scaling import Scaling, scaling_for, short_down, short_up
from solver.formulation.unit import Draft, Linear, Unit, grouped, total
from solver.instance import Instance, Workload


@dataclass(frozen=True)
class Choice:
    """An engine in the model: z (in use), t (batch = attention_dp x t), weights, and bits of the replica count."""

    curve: AdmissibleCurve
    used: pulp.LpVariable
    batch: pulp.LpVariable
    weights: tuple[pulp.LpVariable, ...]
    bits: tuple[pulp.LpVariable, ...]

    @property
    def engine(self) -> Engine:
        """The engine."""
        return self.curve.engine

    @property
    def role(self) -> str:
        """The engine's role."""
        return self.engine.curve.role

    @property
    def replicas(self) -> pulp.LpAffineExpression:
        """The number n of replicas: the sum of 2^j beta_j."""
        return total(2**j * bit for j, bit in enumerate(self.bits))

    def read_off(self, values: Sequence[float | int]) -> pulp.LpAffineExpression:
        """A quantity of the curve, from its values at the breakpoints: 0 where the engine is not in use."""
        return total(value * weight for value, weight in zip(values, self.weights, strict=True))

    def latency(self) -> pulp.LpAffineExpression:
        """TTFT of a prefill engine, TPOT of others, in ms."""
        return self.read_off([short_down(point.latency_ms) for point in self.curve.breakpoints])

    def assignment(self, values: Mapping[str, Fraction]) -> Assignment:
        """Engine, batch and replicas at a solution."""
        batch = self.engine.curve.batch_step * int(values.get(self.batch.name, 0))
        return self.engine, batch, sum(2**j * int(values.get(bit.name, 0)) for j, bit in enumerate(self.bits))


def build_piecewise(
    instance: Instance, engines: Sequence[Engine], limits: Limits = NO_LIMITS, *, must_serve: bool = False
) -> PlanModel:
    """
    Builds the reference model over engines; its weights are continuous, so it is for SCIP, HiGHS and CBC.

    Parameters
    ----------
    instance
        The instance.
    engines
        All engines, in canonical order.
    limits
        Latency limits on top of the workloads' own.
    must_serve
        Whether every workload must be served, or at least one.

    Raises
    ------
    ValueError
        When GPUs are unlimited: replicas in binary need a bound.
    """
    if instance.is_unlimited:
        raise ValueError("the piecewise formulation needs a number of GPUs in every pool; use points")
    curves = admissible_curves(instance, engines)
    points = tuple(point for curve in curves for point in curve.breakpoints)
    scaling = _scaling(instance, points)
    milp = Milp(pulp.LpProblem("piecewise", pulp.LpMaximize))
    choices = [_choice(milp, curve) for curve in curves]
    units = tuple(_unit(milp, choice, scaling) for choice in choices)
    ways, most = tuple(ways_over(instance, list(units), milp)), most_flow(instance, points)
    draft = Draft(instance, milp, scaling, units, ways, {}, must_serve, most)
    add_flows(draft, most)
    families.c1_rate_matching(draft)
    families.c2_modes(draft)
    for choice in choices:
        c2_latency(draft, choice, limits)
    if any(choice.engine.kv is not None for choice in choices):
        c2_handover(draft, choices, limits)
    else:
        c2_end_to_end(draft, choices)
    families.c3_inventory(draft)
    families.c4_nvlink_packing(draft)
    c5_homogeneity(draft, choices)
    c6_flows(draft)
    families.c7_budgets(draft)
    families.c8_demand(draft)

    def read(values: Mapping[str, Fraction]) -> list[Assignment]:
        found = (choice.assignment(values) for choice in choices)
        return [(engine, batch, replicas) for engine, batch, replicas in found if replicas]

    return PlanModel(draft, (), read)


def _scaling(instance: Instance, points: tuple[Column, ...]) -> Scaling:
    """Requests/s as they are; the grid is fine enough for rates, demands and caps, up to 12 digits."""
    weights = [int(weight) for weight in whole_weights(instance.workloads, weighted=True)[0].values()]
    asked = [rate for w in instance.workloads for rate in (w.requests_per_s, w.max_requests_per_s) if rate is not None]
    rates = [*(point.requests_per_s for point in points), *asked]
    together = sum((point.requests_per_s * point.most for point in points), Fraction(0))
    return scaling_for(rates, most_flow(instance, points), together, max(weights), 1, coarse=False)


def _choice(milp: Milp, curve: AdmissibleCurve) -> Choice:
    """
    The variables of an engine, and the batch read off the weights.

    sum of lambda_k = z, sum of y_s = z over segments, lambda_k <= y of the segments that meet in k: only neighbours
    have weight. attention_dp x t = sum of b_k lambda_k. Where only breakpoints are admissible, y is itself the weight.
    """
    number = curve.engine.index
    used = _binary(f"z{number}")
    milp.names[used.name] = f"in use: {describe(curve.engine)}"
    segments = [_binary(f"y{number}_{s}") for s in range(len(curve.segments))]
    weights = []
    for k in range(len(curve.breakpoints)):
        meeting = [segment for segment, ends in zip(segments, curve.segments, strict=True) if k in ends]
        if (k,) in curve.segments:
            weights.append(meeting[0])
        else:
            weights.append(pulp.LpVariable(f"a{number}_{k}", 0, 1))
            milp.problem.addConstraint(weights[-1] <= total(meeting), f"P_adjacent{k}_e{number}")
    milp.problem.addConstraint(total(segments) == used, f"P_segment_e{number}")
    if any(len(ends) > 1 for ends in curve.segments):
        milp.problem.addConstraint(total(weights) == used, f"P_weights_e{number}")
    step = curve.engine.curve.batch_step
    batch = pulp.LpVariable(f"t{number}", 0, curve.breakpoints[-1].batch // step, pulp.LpInteger)
    milp.names[batch.name] = f"batch / {step} of {describe(curve.engine)}"
    bits = tuple(_binary(f"b{number}_{j}") for j in range(curve.most.bit_length()))
    choice = Choice(curve, used, batch, tuple(weights), bits)
    read_off = choice.read_off([point.batch for point in curve.breakpoints])
    milp.problem.addConstraint(read_off == step * batch, f"P_batch_e{number}")
    return choice


def _binary(name: str) -> pulp.LpVariable:
    return pulp.LpVariable(name, 0, 1, pulp.LpInteger)


def _unit(milp: Milp, choice: Choice, scaling: Scaling) -> Unit:
    """
    Capacity = n x rate = sum of 2^j w_j with w_j = beta_j x rate.

    A product of a binary and a variable in [0, R] is exactly (McCormick, Mathematical Programming 10, 1976)
    w <= R beta, w <= rate, w >= rate - R (1 - beta), w >= 0.
    """
    number = choice.engine.index
    rates = [scaling.flow_up(point.requests_per_s) for point in choice.curve.breakpoints]
    highest = max(rates)
    rate = pulp.LpVariable(f"rate{number}", 0, highest)
    milp.names[rate.name] = f"requests/s of one replica of {describe(choice.engine)}"
    milp.problem.addConstraint(choice.read_off(rates) == rate, f"P_rate_e{number}")
    products = []
    for j, bit in enumerate(choice.bits):
        product = pulp.LpVariable(f"w{number}_{j}", 0, highest)
        milp.problem.addConstraint(product <= highest * bit, f"P_none{j}_e{number}")
        milp.problem.addConstraint(product <= rate, f"P_most{j}_e{number}")
        milp.problem.addConstraint(product >= rate + highest * bit - highest, f"P_least{j}_e{number}")
        products.append(product)
    capacity = total(2**j * product for j, product in enumerate(products))
    return Unit(choice.engine, choice.replicas, capacity, None, choice.curve.most)


def c2_latency(draft: Draft, choice: Choice, limits: Limits) -> None:
    """
    Latencies of an engine in use are within their limits.

    latency_e <= min(the workload's limit, the extra limit) x z_e: TTFT for prefill, TPOT for decode, both for
    co-located engines and there also TTFT + (OSL - 1) x TPOT <= E2E.
    """
    workload, number = choice.engine.workload, choice.engine.index
    points = choice.curve.breakpoints
    ttft = _tightest(workload.ttft_ms, limits.ttft_ms.get(workload.name))
    tpot = _tightest(workload.tpot_ms, limits.tpot_ms.get(workload.name))
    if choice.role != "decode" and ttft is not None:
        first = choice.read_off([short_down(point.ttft_ms) for point in points])
        draft.add(f"C2_ttft_e{number}", first <= short_up(ttft) * choice.used)
    if choice.role != "prefill" and tpot is not None:
        draft.add(f"C2_tpot_e{number}", choice.latency() <= short_up(tpot) * choice.used)
    if choice.role == "colocated" and workload.e2el_ms is not None:
        whole = choice.read_off([short_down(p.ttft_ms + (workload.osl - 1) * p.latency_ms) for p in points])
        draft.add(f"C2_e2e_e{number}", whole <= short_up(workload.e2el_ms) * choice.used)


def _tightest(*limits: Fraction | None) -> Fraction | None:
    return min((limit for limit in limits if limit is not None), default=None)


def c2_end_to_end(draft: Draft, choices: Sequence[Choice]) -> None:
    """
    TTFT + (OSL - 1) x TPOT <= E2E for every prefill and decode engine in use together.

    With levels T_p and T_d per way: T_p + (OSL - 1) T_d <= E2E, and T >= latency_e of each engine of the role. The
    usual big M (T >= latency_e - M (1 - z_e)) is 0: the weights, and with them latency_e, are 0 where z_e is 0.
    """
    for index, way in enumerate(draft.ways):
        workload = way.workload
        if way.mode != "disaggregated" or workload.e2el_ms is None:
            continue
        limit = short_up(workload.e2el_ms)
        levels = {role: pulp.LpVariable(f"T_{role}_m{index}", 0, limit) for role in workload.roles(way.mode)}
        spent = total(_steps(workload, role) * level for role, level in levels.items())
        draft.add(f"C2_e2e_m{index}", spent <= limit)
        mine = {unit.engine.index for unit in way.units}
        for choice in choices:
            if choice.engine.index in mine:
                row = choice.latency() <= levels[choice.engine.curve.role]
                draft.add(f"C2_level_e{choice.engine.index}_m{index}", row)


def _steps(workload: Workload, role: str) -> float | int:
    """How often a request waits for a role, on average; a mean that is no whole number is rounded down."""
    return 1 if role == "prefill" else short_down(Fraction(workload.osl - 1))


def c5_homogeneity(draft: Draft, choices: Sequence[Choice]) -> None:
    """
    n_e <= U_e z_e; z_e <= m of its way; at most ``engines_per_role`` engines per workload, pool and role.

    One point of an engine at most needs no row: an engine has one batch.
    """
    most = draft.instance.serving.engines_per_role
    used: dict[int, Linear] = {}
    for choice in choices:
        number = choice.engine.index
        used[number] = choice.used
        draft.add(f"C5_replicas_e{number}", choice.replicas <= choice.curve.most * choice.used)
    ways_of = {unit.engine.index for way in draft.ways for unit in way.units}
    for choice in choices:
        if choice.engine.index not in ways_of:
            choice.used.upBound = 0
    for index, way in enumerate(draft.ways):
        for (pool, role), units in grouped(way.units):
            for unit in units:
                draft.add(f"C5_e{unit.engine.index}_m{index}", used[unit.engine.index] <= way.used)
            if most is not None and len(units) > most:
                place = f"{role}_p{[p.name for p in draft.instance.pools].index(pool)}_m{index}"
                draft.add(f"C5_engines_{place}", total(used[unit.engine.index] for unit in units) <= most * way.used)
