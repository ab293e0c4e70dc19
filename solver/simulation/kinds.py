"""What runs: engines at their batches, and the replicas of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from costmodels.operating_curve import OperatingCurve, Role
from solver.deployment import Assignment
from solver.handover import planned_rate
from solver.instance import Instance
from solver.simulation.colocated import ColocatedReplica
from solver.simulation.decode import DecodeReplica
from solver.simulation.prefill import PrefillReplica
from solver.simulation.service import Service, service_of

AnyReplica = PrefillReplica | DecodeReplica | ColocatedReplica


@dataclass(frozen=True, eq=False)
class Kind:
    """
    An engine at its batch, ready to be run.

    Parameters
    ----------
    assignment
        Engine and batch.
    service
        What a replica does.
    work
        Work of every prompt on it, by the number of the request; empty for decode.
    weight
        Planned requests/s of one replica.
    """

    assignment: Assignment
    service: Service
    work: Sequence[float]
    weight: float

    @property
    def role(self) -> Role:
        """Its role."""
        return self.assignment.role


def kind_of(instance: Instance, assignment: Assignment, curve: OperatingCurve, work: Sequence[float]) -> Kind:
    """A kind from an assignment, its curve for mean prompts, and the work of all prompts on it."""
    weight = planned_rate(instance, assignment.engine, assignment.point.requests_per_s)
    return Kind(assignment, service_of(assignment, curve), work, float(weight))


@dataclass(eq=False)
class Running:
    """
    A replica that runs, or ran.

    Parameters
    ----------
    kind, replica
        What it is.
    opened_s, closed_s
        From when to when requests came to it.
    """

    kind: Kind
    replica: AnyReplica
    opened_s: float
    closed_s: float = inf
