"""The operating curve: latency and request rate of one engine, piecewise linear in batch, exactly."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from costmodels.gpus import Gpu
from costmodels.models import Model
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.traffic import Traffic

Role = Literal["prefill", "decode", "colocated"]
ROLES: tuple[Role, ...] = ("prefill", "decode", "colocated")


@dataclass(frozen=True)
class OperatingPoint:
    """
    One admissible batch of an engine.

    Parameters
    ----------
    batch
        Sequences of one micro-batch over all attention-DP ranks.
    latency_ms
        TTFT of a prefill point, TPOT of a decode or co-located point, in ms.
    ttft_ms
        TTFT of a prefill or co-located point in ms; None for decode.
    requests_per_s
        Completed requests per second of one replica.
    memory_gib
        Memory per GPU in GiB; None where unknown.
    itl_ms
        Longest gap between two tokens in ms; None where unknown.
    """

    batch: int
    latency_ms: Fraction
    ttft_ms: Fraction | None
    requests_per_s: Fraction
    memory_gib: Fraction | None
    itl_ms: Fraction | None = None


@dataclass(frozen=True)
class OperatingCurve:
    """
    An engine's curve: breakpoints, and straight lines between them.

    Parameters
    ----------
    role
        ``prefill``, ``decode`` or ``colocated``.
    system
        GPU type.
    backend, backend_version
        Serving engine and its version.
    model
        Model name.
    precision
        The exact precision string.
    partition
        The partition of one replica.
    domain_gpus
        The NVLink domain that the latencies were priced at.
    chunk_tokens
        Prompt tokens per mixed step of a co-located engine, or of a chunk in a prefill pipeline; 0 elsewhere.
    batch
        Breakpoints, strictly increasing.
    latency_ms, requests_per_s
        Values at the breakpoints; positive. Exact: a tuple of Fractions or :class:`costmodels.decimals.Decimals`.
    ttft_ms
        Values at the breakpoints; empty for decode.
    memory_gib
        Values at the breakpoints in GiB per GPU; empty where unknown.
    interpolate
        False: only the breakpoints are admissible. True: every multiple of ``attention_dp`` between the first
        and the last breakpoint is.
    fit_error
        Largest relative amount by which the curve was made worse than the samples behind it; 0 for measured rows.
    itl_ms
        Longest gap between two tokens of a sequence in ms at the breakpoints; empty where unknown (then the latency is
        all that is known of it).
    """

    role: Role
    system: str
    backend: str
    backend_version: str
    model: str
    precision: str
    partition: Partition
    domain_gpus: int
    chunk_tokens: int
    batch: tuple[int, ...]
    latency_ms: Sequence[Fraction]
    requests_per_s: Sequence[Fraction]
    ttft_ms: Sequence[Fraction] = ()
    memory_gib: Sequence[Fraction] = ()
    interpolate: bool = False
    fit_error: Fraction = Fraction(0)
    itl_ms: Sequence[Fraction] = ()

    @property
    def batch_step(self) -> int:
        """Admissible batches are multiples of this: the fullest attention-DP rank sets the latency."""
        return self.partition.attention_dp

    def admissible_batches(self) -> Iterator[int]:
        """Yields the batches at which the curve may be operated, ascending."""
        if not self.interpolate:
            yield from self.batch
            return
        step = self.batch_step
        first = -(-self.batch[0] // step) * step
        yield from range(first, self.batch[-1] + 1, step)

    def is_admissible(self, batch: int) -> bool:
        """Whether the engine may run at the given batch."""
        if not self.interpolate:
            index = bisect_left(self.batch, batch)
            return index < len(self.batch) and self.batch[index] == batch
        return self.batch[0] <= batch <= self.batch[-1] and batch % self.batch_step == 0

    def at(self, batch: int) -> OperatingPoint:
        """
        The operating point at a batch, in exact arithmetic.

        Raises
        ------
        ValueError
            When the batch is not admissible.
        """
        if not self.is_admissible(batch):
            raise ValueError(f"batch {batch} is not admissible on {self.role} {self.partition.label}")
        right = bisect_left(self.batch, batch)
        left = right if self.batch[right] == batch else right - 1
        share = (
            Fraction(batch - self.batch[left], self.batch[right] - self.batch[left]) if left < right else Fraction(0)
        )

        def value(values: Sequence[Fraction]) -> Fraction:
            return values[left] + (values[right] - values[left]) * share

        latency = value(self.latency_ms)
        ttft = value(self.ttft_ms) if self.ttft_ms else (latency if self.role == "prefill" else None)
        memory = value(self.memory_gib) if self.memory_gib else None
        itl = value(self.itl_ms) if self.itl_ms else None
        return OperatingPoint(batch, latency, ttft, value(self.requests_per_s), memory, itl)


@dataclass(frozen=True, kw_only=True)
class CurveQuery:
    """
    What one workload asks of one pool.

    Parameters
    ----------
    gpu
        GPU type of the pool.
    domain_gpus
        GPUs of an NVLink domain of the pool.
    model
        Model name.
    isl, osl
        Input and output tokens.
    pool_gpus
        GPUs of the pool; None for unlimited.
    gpus_per_node
        GPUs of a node, None where not given.
    memory_gib
        Usable memory per GPU in GiB; None: as the cost model knows it.
    backend
        Serving engine, None for any.
    precision
        Per role: a label, an exact string, or None for any; any where a role is missing.
    traffic
        Lengths of the requests; None: constant ``isl`` and ``osl``. Where given, those are its means, rounded.
    device
        Figures of the GPU, None: as the catalogue of the cost model has them.
    shape
        Shape of the model, None: as the catalogue of the cost model has it.
    options
        What else is asked of the engines.
    """

    gpu: str
    domain_gpus: int
    model: str
    isl: int
    osl: int
    pool_gpus: int | None = None
    gpus_per_node: int | None = None
    memory_gib: Fraction | None = None
    backend: str | None = None
    precision: dict[Role, str | None] = field(default_factory=dict)
    traffic: Traffic | None = None
    device: Gpu | None = None
    shape: Model | None = None
    options: EngineOptions = field(default_factory=EngineOptions)

    @property
    def lengths(self) -> Traffic:
        """The traffic, constant where none is given."""
        return self.traffic or Traffic.constant(self.isl, self.osl)


@dataclass(frozen=True)
class CurveSet:
    """
    What a cost model answers.

    Parameters
    ----------
    curves
        One per engine.
    dropped
        Reason -> count of partitions or rows that were considered and dropped.
    notes
        Things a planner should know of these numbers, one sentence each.
    """

    curves: tuple[OperatingCurve, ...]
    dropped: dict[str, int]
    notes: tuple[str, ...] = ()
