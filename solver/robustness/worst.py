"""The worst case of a plan over the uncertainty set, exactly and without enumerating it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from solver.deployment import Assignment, Deployment
from solver.handover import cuts_of
from solver.instance import Workload
from solver.measure import Measure, Side, Sides
from solver.robustness.spread import Spread

Place = tuple[int, int]
"""An engine in use: its index and batch."""


@dataclass(frozen=True)
class Case:
    """
    A worst case.

    Parameters
    ----------
    value
        The measure there.
    sides
        The roles that limit the flows there.
    hit
        The engines that are wrong there.
    """

    value: Fraction
    sides: Sides
    hit: frozenset[Place]


@dataclass(frozen=True)
class WorstMeasure(Measure):
    """
    A measure in the worst case: the least of weight x flow over the uncertainty set, minus price x GPUs.

    Parameters
    ----------
    spread
        The uncertainty set.

    Notes
    -----
    A flow is the least of what its sides let pass, and each side is a sum over engines. So the least over the set of
    the least over the sides is the least over the sides of the least over the set, and there the worst engines to be
    wrong are those whose loss is largest: sort and take as many as the budget allows. The combinations of sides are
    few (two or three a workload).
    """

    spread: Spread

    def of(self, deployment: Deployment) -> Fraction:
        """The exact worst case of a deployment."""
        return self.case(deployment).value

    def case(self, deployment: Deployment) -> Case:
        """The worst case with what makes it."""
        instance = deployment.instance
        spent = sum((self.prices[p.name] * deployment.gpus_in(p) for p in instance.pools if self.prices), Fraction(0))
        if not self.weights:
            return Case(-spent, (), frozenset())
        options = [_sides(deployment, workload) for workload in instance.workloads]
        cases = (self._case(deployment, sides) for sides in product(*options))
        worst = min(cases, key=lambda case: case.value)
        return Case(worst.value - spent, worst.sides, worst.hit)

    def _case(self, deployment: Deployment, sides: Sides) -> Case:
        value = Fraction(0)
        losses: list[tuple[Fraction, Place]] = []
        for name, side in sides:
            workload, weight = deployment.instance.workload(name), self.weights[name]
            if side is None:
                value += weight * (workload.max_requests_per_s or 0)
                continue
            for a in counted(deployment, workload, side):
                rate = weight * deployment.planned(a)
                value += rate
                losses.append((rate * self.spread.lost(a.engine), (a.engine.index, a.batch)))
        losses.sort(reverse=True)
        hit = losses[: self.spread.budget]
        return Case(value - sum((loss for loss, _ in hit), Fraction(0)), sides, frozenset(place for _, place in hit))


def _sides(deployment: Deployment, workload: Workload) -> list[tuple[str, Side]]:
    """What may limit the flow of a workload."""
    options: list[Side] = list(cuts_of(deployment.instance, workload))
    options += [None] if workload.max_requests_per_s is not None else []
    return [(workload.name, side) for side in options]


def counted(deployment: Deployment, workload: Workload, side: Side) -> list[Assignment]:
    """The engines of a workload that a side counts."""
    assert side is not None
    mine = (a for a in deployment.assignments if a.engine.workload.name == workload.name)
    return [a for a in mine if a.role == "colocated" or side.counts(a.role, a.engine.pool.name)]


def worst_of(measure: Measure, spread: Spread) -> WorstMeasure:
    """A measure in the worst case."""
    if isinstance(measure, WorstMeasure):
        return measure
    weights: Mapping[str, Fraction] = measure.weights
    return WorstMeasure(weights, measure.prices, spread)
