"""Columns of a schedule: an engine at the batch of its best rate, with what it takes to start or switch it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from costmodels.formats import formats
from costmodels.memory import weight_bytes
from costmodels.models import model
from costmodels.operating_curve import Role
from costmodels.precision import components
from solver.engines import Engine
from solver.scheduling.rules import Rules

Losses = tuple[Fraction, ...]
"""Share of each period, from the one of the start on, in which a replica holds its GPUs and serves nothing."""


@dataclass(frozen=True)
class EngineColumn:
    """
    An engine that a schedule may use.

    Parameters
    ----------
    engine, batch
        The operating point: of all batches within the limits that of the highest rate. A batch changes without a
        restart, so one column stands for all batches of an engine.
    requests_per_s
        Rate of one replica times the role's utilisation.
    most
        Replicas that fit the pool when nothing else is there.
    cold_start_s
        Seconds of a cold start.
    start_losses, switch_losses
        What a start, and a switch to this engine, lose.
    min_up
        Periods for which a started replica stays.
    """

    engine: Engine
    batch: int
    requests_per_s: Fraction
    most: int
    cold_start_s: Fraction
    start_losses: Losses
    switch_losses: Losses
    min_up: int

    @property
    def role(self) -> Role:
        """The role."""
        return self.engine.curve.role

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.engine.curve.partition.gpus

    @property
    def warms_in_parts(self) -> bool:
        """Whether a replica that starts or switches in ever counts for a part of a period."""
        return any(loss != 1 for loss in (*self.start_losses, *self.switch_losses))

    @property
    def way(self) -> tuple[str, ...]:
        """What the engines of one way to serve a workload agree in; empty for co-located engines."""
        return () if self.role == "colocated" else self.engine.joint

    @property
    def group(self) -> tuple[object, ...]:
        """Workload, role, pool and way: columns that can stand in for each other."""
        return (self.engine.workload.name, self.role, self.engine.pool.name, self.way)

    def switches_to(self, other: EngineColumn) -> bool:
        """Whether a replica can become one of ``other`` where it stands: another role, the same weights."""
        a, b = self.engine, other.engine
        same = (a.workload.name, a.pool.name, a.joint) == (b.workload.name, b.pool.name, b.joint)
        alike = a.curve.partition == b.curve.partition and _weights(a) == _weights(b)
        return same and alike and self.role != other.role


def _weights(engine: Engine) -> tuple[str | None, str | None]:
    parts = components(engine.curve.precision)
    return parts.get("gemm"), parts.get("moe", parts.get("gemm"))


def cold_start_s(engine: Engine, rules: Rules) -> Fraction | None:
    """Seconds from nothing to the first request; None where the weights of the model are not known."""
    if rules.cold_start_s is not None:
        return rules.cold_start_s
    try:
        shape = engine.workload.shape or model(engine.workload.model)
        weights = weight_bytes(shape, formats(engine.curve.precision), engine.curve.partition)
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    return Fraction(weights) / (rules.load_gbps * 10**9) + rules.init_s


def losses(lead_s: Fraction, period_s: Fraction, rules: Rules) -> Losses:
    """What a lead time takes of the periods from a change on: whole periods, or shares of them."""
    lead = lead_s / period_s
    if rules.warming == "whole":
        return (Fraction(1),) * math.ceil(lead)
    return tuple(min(Fraction(1), lead - k) for k in range(math.ceil(lead)))
