"""The model over all periods while it is built: its variables, and what changes at the beginning of a period."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

import pulp

from solver.formulation.milp import Milp
from solver.scheduling.plan import Plan
from solver.scheduling.problem import Problem

Linear: TypeAlias = Any
"""A variable or an expression of PuLP, which carries no types."""


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


def switched_in(model: ScheduleModel, period: int, place: int) -> list[Linear]:
    """Variables of the replicas that switch to a column at the beginning of a period."""
    pairs = enumerate(model.problem.fleet.switches)
    return [model.switched[period, p] for p, (_, b) in pairs if b == place and (period, p) in model.switched]


def switched_out(model: ScheduleModel, period: int, place: int) -> list[Linear]:
    """Variables of the replicas that switch from a column at the beginning of a period."""
    pairs = enumerate(model.problem.fleet.switches)
    return [model.switched[period, p] for p, (a, _) in pairs if a == place and (period, p) in model.switched]


def arrivals(model: ScheduleModel, period: int, place: int) -> list[Linear]:
    """Variables of the replicas that start or switch in at the beginning of a period."""
    started = [model.started[period, place]] if (period, place) in model.started else []
    return started + switched_in(model, period, place)


def held_before(model: ScheduleModel, period: int, place: int) -> Linear:
    """What was held before a period, a variable or a number; None where that is free."""
    if period:
        return model.held[period - 1, place]
    return model.problem.current[place] if model.problem.current is not None else None


def stops(model: ScheduleModel, period: int, place: int) -> Linear:
    """The replicas of a column that stop at the beginning of a period."""
    before = held_before(model, period, place)
    arriving = total(arrivals(model, period, place))
    return before + arriving - total(switched_out(model, period, place)) - model.held[period, place]


def pasts(problem: Problem) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """What started and what switched in before the first period, the latest first."""
    return problem.past_starts, problem.past_switches


def happened_before(past: tuple[tuple[int, ...], ...], periods: int, place: int) -> int:
    """What happened to a column in the last periods before the first."""
    return sum(row[place] for row in past[: max(0, periods)])
