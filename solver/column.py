"""What dominance works with: latency limits, columns of the model, and footprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from costmodels.operating_curve import Role
from solver.engines import Engine


@dataclass(frozen=True)
class Limits:
    """
    Latency limits on top of the workloads' own.

    Parameters
    ----------
    tpot_ms
        Workload name to a limit on its slowest decode or co-located point, ms.
    ttft_ms
        Workload name to a limit on its slowest prefill or co-located point, ms.
    """

    tpot_ms: Mapping[str, Fraction]
    ttft_ms: Mapping[str, Fraction]


NO_LIMITS = Limits({}, {})


@dataclass(frozen=True)
class Column:
    """
    An operating point that the model may use.

    Parameters
    ----------
    engine, batch
        The point.
    latency_ms, ttft_ms
        Its latencies in ms; ``ttft_ms`` is 0 for decode.
    requests_per_s
        Rate of one replica times the role's utilisation.
    most
        Replicas that fit the pool when nothing else is there.
    late_ms
        Of a prefill point, per arrival class of decode pools (:func:`solver.handover.arrivals`): TTFT with the exposed
        hand-over in ms; None where that is above a limit, so that the two may not be joined. Empty where there is one
        class only: then it is ``ttft_ms``.
    """

    engine: Engine
    batch: int
    latency_ms: Fraction
    ttft_ms: Fraction
    requests_per_s: Fraction
    most: int
    late_ms: tuple[Fraction | None, ...] = ()

    @property
    def role(self) -> Role:
        """The role of the point."""
        return self.engine.curve.role

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.engine.curve.partition.gpus

    def late(self, arrival: int) -> Fraction | None:
        """TTFT when joined with decode pools of an arrival class; None where that is not allowed."""
        return self.late_ms[arrival] if self.late_ms else self.ttft_ms


@dataclass(frozen=True)
class Footprint:
    """
    Points that a plan can swap for each other: same workload, role, pool, GPUs, stage groups and partners.

    Parameters
    ----------
    engine
        One of the engines.
    points
        Places in the table, by ascending time; with dominance the rate rises with time.
    times
        TTFT of prefill points, TPOT of others, in units of the table.
    """

    engine: Engine
    points: tuple[int, ...]
    times: tuple[int, ...]

    @property
    def role(self) -> Role:
        """The role."""
        return self.engine.curve.role
