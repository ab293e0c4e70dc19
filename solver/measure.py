"""What a stage optimises, evaluated exactly and written as rows without flow variables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import pulp

from solver.deployment import Deployment
from solver.formulation.handover import links_of
from solver.formulation.plan_model import PlanModel, whole_weights
from solver.formulation.scaling import FLOAT_DIGITS, LEAST_DECIMALS, WIDEST, number, short_down, short_up
from solver.formulation.unit import Linear, total
from solver.handover import Cut, cuts_of
from solver.instance import Instance, Workload

Side = Cut | None
Sides = tuple[tuple[str, Side], ...]
"""For each workload the cut through roles and links that limits its flow; None where ``max_requests_per_s`` does."""


@dataclass(frozen=True)
class Measure:
    """
    A linear measure of deployments, to be maximised: sum of weight x flow - sum of price x GPUs used.

    Parameters
    ----------
    weights
        Workload name to the weight of one request/s.
    prices
        Pool name to the price of one GPU used.
    """

    weights: Mapping[str, Fraction]
    prices: Mapping[str, Fraction]

    def of(self, deployment: Deployment) -> Fraction:
        """The exact value of a deployment."""
        instance = deployment.instance
        gain = sum((self.weights[w.name] * deployment.flow(w) for w in instance.workloads if self.weights), Fraction(0))
        return gain - sum(
            (self.prices[p.name] * deployment.gpus_in(p) for p in instance.pools if self.prices), Fraction(0)
        )

    def objective(self, model: PlanModel) -> pulp.LpAffineExpression:
        """The measure over the model's flow variables, in model units, rounded up."""
        unit, step = model.scaling.unit, model.scaling.flow_step / 1000
        gain = total(
            number(self.weights[name]) * flow for name, flow in model.draft.flow.items() if self.weights.get(name)
        )
        terms = []
        for item in model.draft.units if self.prices else ():
            price = self.prices[item.engine.pool.name] * item.engine.curve.partition.gpus * unit
            is_coarse = bool(self.weights) and model.scaling.flow_step > model.scaling.step
            rounded = math.floor(price / step) * step if is_coarse else price
            terms.append(short_down(rounded) * item.replicas)
        return gain - total(terms)


def throughput(instance: Instance) -> tuple[Measure, Fraction]:
    """Weighted output tokens/s in whole weights, and the tokens/s that one unit of the measure is worth."""
    weights, worth = whole_weights(instance.workloads, weighted=True)
    return Measure(weights, {}), worth


def tokens(instance: Instance) -> Measure:
    """Output tokens/s without the workloads' weights."""
    return Measure(whole_weights(instance.workloads, weighted=False)[0], {})


def fewest_gpus(instance: Instance) -> Measure:
    """Minus the GPUs used."""
    return Measure({}, {pool.name: Fraction(1) for pool in instance.pools})


def least_cost(instance: Instance) -> Measure:
    """Minus the USD/hour of the GPUs used."""
    return Measure({}, {pool.name: pool.usd_per_gpu_hour or Fraction(0) for pool in instance.pools})


def per_gpu(deployment: Deployment) -> Measure:
    """Weighted flow minus what the deployment's own GPUs yield on average: 0 for it, more for a better ratio."""
    weights = throughput(deployment.instance)[0]
    ratio = weights.of(deployment) / deployment.gpus_used
    return Measure(weights.weights, {pool.name: ratio for pool in deployment.instance.pools})


def objective_of(instance: Instance, best: Deployment | None = None) -> Measure:
    """
    What the instance's objective maximises.

    A ratio is no linear measure: it is that of ``best`` that is to be beaten, or without one the flow alone.
    """
    match instance.objective:
        case "gpus":
            return fewest_gpus(instance)
        case "cost":
            return least_cost(instance)
        case "throughput_per_gpu" if best is not None:
            return per_gpu(best)
        case _:
            return throughput(instance)[0]


def demand_of(instance: Instance, workload: Workload) -> Measure:
    """The flow of one workload."""
    return Measure({w.name: Fraction(w is workload) for w in instance.workloads}, {})


@dataclass(frozen=True)
class Floor:
    """
    A requirement: measure >= value, or > value.

    Parameters
    ----------
    measure, value
        See above; the value in units of the measure.
    strict
        Whether equality is not enough.
    """

    measure: Measure
    value: Fraction
    strict: bool = False

    def holds(self, deployment: Deployment) -> bool:
        """Whether a deployment meets it, exactly."""
        value = self.measure.of(deployment)
        return value > self.value if self.strict else value >= self.value


def bottlenecks(deployment: Deployment) -> Sides:
    """The role that limits each workload's flow in a deployment."""
    return tuple((w.name, _bottleneck(deployment, w)) for w in deployment.instance.workloads)


def _bottleneck(deployment: Deployment, workload: Workload) -> Side:
    cap = workload.max_requests_per_s
    if cap is not None and deployment.flow(workload) == cap:
        return None
    return deployment.narrowest(workload)


def order(sides: Sides) -> list[tuple[object, ...]]:
    """A sort key: by workload, decode before prefill, roles before links, the cap last."""
    return [(name, 1) if cut is None else (name, 0, cut.links, cut.prefill, cut.decode) for name, cut in sides]


def all_sides(instance: Instance, most: int = 8) -> list[Sides]:
    """Every combination of limiting roles, or none where there are more than ``most``."""
    combinations: list[Sides] = [()]
    for workload in instance.workloads:
        options: list[Side] = list(cuts_of(instance, workload))
        options += [None] if workload.max_requests_per_s is not None else []
        combinations = [(*head, (workload.name, side)) for head in combinations for side in options]
        if len(combinations) > most:
            return []
    return combinations


def floor_row(model: PlanModel, floor: Floor, sides: Sides) -> pulp.LpConstraint:
    """
    A row over replicas that every deployment meeting the floor satisfies.

    X_w <= capacity of the limiting role + capacity of co-located engines, whichever role that is; so
    sum of weight_w x (those capacities) - sum of price x GPUs >= value is implied for every choice of roles, and the
    floor holds exactly when it is true for all of them. Coefficients are rounded up, the value down.
    """
    measure, scaling = floor.measure, model.scaling
    limit = dict(sides)
    constant = Fraction(0)
    if measure.weights:
        for workload in model.instance.workloads:
            if limit[workload.name] is None:
                constant += measure.weights[workload.name] * (workload.max_requests_per_s or 0)
    worths = net_worth(model, measure, sides)
    step = _step_of(model, worths, floor.value - constant)
    terms = []
    for unit, worth in zip(model.draft.units, worths, strict=True):
        if worth:
            steps = math.ceil(worth * scaling.unit / step)
            terms.append(short_up(steps * step, FLOAT_DIGITS) * unit.replicas)
    terms += _over_links(model, measure, sides)
    least = math.floor((floor.value - constant) * scaling.unit / step) + (1 if floor.strict else 0)
    return total(terms) >= short_down(least * step, FLOAT_DIGITS)


def _step_of(model: PlanModel, worths: list[Fraction], value: Fraction) -> Fraction:
    """
    The grid of a row: the model's fine one, or a finer one where large fleets made that coarse and the row has room.

    The fine grid leaves room for all workloads with the largest weight; a row with fewer needs less.
    """
    scaling = model.scaling
    if scaling.decimals >= LEAST_DECIMALS or model.draft.instance.kv_links is not None:
        return scaling.step
    units = zip(model.draft.units, worths, strict=True)
    widest = max(sum((abs(worth) * unit.most for unit, worth in units), Fraction(0)), abs(value)) * scaling.unit
    room = math.floor(math.log10(WIDEST / widest)) if widest else 0
    return Fraction(10) ** -max(scaling.decimals, min(room, LEAST_DECIMALS))


def _over_links(model: PlanModel, measure: Measure, sides: Sides) -> list[Linear]:
    """What the links of the cuts let through, for each way that is taken; rounded up."""
    limit, terms = dict(sides), []
    for way in model.draft.ways if measure.weights else ():
        rate = links_of(model.draft, way, limit[way.workload.name])
        if rate:
            worth = measure.weights[way.workload.name] * rate
            steps = math.ceil(worth * model.scaling.unit / model.scaling.step)
            terms.append(short_up(steps * model.scaling.step, FLOAT_DIGITS) * way.used)
    return terms


def net_worth(model: PlanModel, measure: Measure, sides: Sides) -> list[Fraction]:
    """
    What a replica of each unit adds to a measure when the given roles limit the flows: gain minus price, exactly.

    Positive: more replicas help. Negative: fewer do; that may be so for a unit that limits a flow, where its rate is
    worth less than its GPUs cost.
    """
    limit = dict(sides)
    worths = []
    for unit in model.draft.units:
        name = unit.engine.workload.name
        side = limit[name] if measure.weights else None
        counts = side is not None and (unit.role == "colocated" or side.counts(unit.role, unit.engine.pool.name))
        gain = measure.weights[name] * (unit.rate or 0) if counts else Fraction(0)
        price = measure.prices.get(unit.engine.pool.name, Fraction(0)) * unit.engine.curve.partition.gpus
        worths.append(gain - price)
    return worths
