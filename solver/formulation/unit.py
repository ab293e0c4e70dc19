"""What the constraint families see of a formulation: units with replicas and capacity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

import pulp

from costmodels.operating_curve import Role
from solver.engines import Engine
from solver.formulation.milp import Milp
from solver.formulation.scaling import Scaling
from solver.instance import Instance, Mode, Workload

Linear: TypeAlias = Any
"""A variable or an expression of PuLP, which carries no types."""


@dataclass(frozen=True)
class Unit:
    """
    A thing that may be replicated: an operating point (``points``) or an engine (``piecewise``).

    Parameters
    ----------
    engine
        The engine.
    replicas
        Its number of replicas, an expression.
    capacity
        Request rate of all replicas in model units, on the grid of flows, rounded up.
    rate
        Request rate of one replica in requests/s where it is a number; None where it depends on the batch variable.
    most
        Upper bound on replicas.
    """

    engine: Engine
    replicas: Linear
    capacity: Linear
    rate: Fraction | None
    most: int

    @property
    def role(self) -> Role:
        """The role."""
        return self.engine.curve.role


@dataclass(frozen=True)
class Way:
    """
    A way to serve a workload: a mode, and for disaggregation what the joined engines agree in.

    Parameters
    ----------
    workload, mode
        Whom, and how.
    joint
        Serving backend and KV format of disaggregated engines; empty for co-located.
    used
        Binary: the way is taken.
    units
        The units that it may use.
    """

    workload: Workload
    mode: Mode
    joint: tuple[str, ...]
    used: pulp.LpVariable
    units: tuple[Unit, ...]

    def of(self, role: Role) -> list[Unit]:
        """Its units of a role."""
        return [unit for unit in self.units if unit.role == role]


@dataclass
class Draft:
    """
    A model in the making: what every constraint family reads and extends.

    Parameters
    ----------
    instance
        The instance.
    milp
        The model.
    scaling
        Units of flows.
    units
        All units, in canonical order.
    ways
        All ways to serve.
    flow
        Workload name to its credited requests/s in model units (a variable).
    must_serve
        Whether every workload must be served, or at least one.
    most_flow
        An upper bound on the requests/s of any workload.
    """

    instance: Instance
    milp: Milp
    scaling: Scaling
    units: tuple[Unit, ...]
    ways: tuple[Way, ...]
    flow: dict[str, pulp.LpVariable] = field(default_factory=dict)
    must_serve: bool = False
    most_flow: Fraction = Fraction(0)

    def add(self, name: str, row: pulp.LpConstraint) -> None:
        """Adds a named row."""
        self.milp.problem.addConstraint(row, name)

    def ways_of(self, workload: Workload) -> list[Way]:
        """The ways to serve a workload."""
        return [way for way in self.ways if way.workload is workload]

    def number_of(self, workload: Workload) -> int:
        """The number that names a workload in rows."""
        return self.instance.workloads.index(workload)


def total(terms: Iterable[Linear | float | int]) -> pulp.LpAffineExpression:
    """The sum of expressions, empty or not."""
    return pulp.lpSum(terms)


def grouped(units: Iterable[Unit]) -> Iterator[tuple[tuple[str, Role], list[Unit]]]:
    """Units by (pool, role), in order of first appearance."""
    groups: dict[tuple[str, Role], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.engine.pool.name, unit.role), []).append(unit)
    yield from groups.items()
