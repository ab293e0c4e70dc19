"""A built model together with the measures that stages optimise, and the way back to a plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import pulp

from solver.engines import Engine
from solver.formulation.milp import Milp
from solver.formulation.scaling import Scaling
from solver.formulation.unit import Draft
from solver.instance import Instance, Workload

Assignment = tuple[Engine, int, int]
"""Engine, batch, replicas."""


@dataclass(frozen=True)
class PlanModel:
    """
    A model of an instance.

    Parameters
    ----------
    draft
        Units, ways, flows and the MILP itself.
    batches
        Batch of each unit (``points``); empty where batches are variables (``piecewise``).
    read
        Turns variable values into assignments.
    """

    draft: Draft
    batches: tuple[int, ...]
    read: Callable[[Mapping[str, Fraction]], list[Assignment]]

    @property
    def milp(self) -> Milp:
        """The model."""
        return self.draft.milp

    @property
    def instance(self) -> Instance:
        """The instance."""
        return self.draft.instance

    @property
    def scaling(self) -> Scaling:
        """Units of flows."""
        return self.draft.scaling

    def maximise(self, expression: pulp.LpAffineExpression) -> None:
        """Sets the objective."""
        self.milp.problem.sense = pulp.LpMaximize
        self.milp.problem.setObjective(expression)


def whole_weights(workloads: tuple[Workload, ...], weighted: bool) -> tuple[dict[str, Fraction], Fraction]:
    """
    Objective weights as coprime whole numbers.

    Parameters
    ----------
    workloads
        The workloads.
    weighted
        Whether the workloads' weights count besides their output tokens.

    Returns
    -------
    tuple
        Workload name to whole weight, and the tokens/s that one unit of (whole weight x requests/s) is worth.
    """
    raw = {w.name: w.osl * (w.weight if weighted else Fraction(1)) for w in workloads}
    denominator = math.lcm(*(value.denominator for value in raw.values()))
    divisor = math.gcd(*(int(value * denominator) for value in raw.values()))
    worth = Fraction(divisor, denominator)
    return {name: value / worth for name, value in raw.items()}, worth
