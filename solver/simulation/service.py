"""What a replica does per batch, read off its operating curve in floats."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from costmodels.operating_curve import OperatingCurve
from solver.deployment import Assignment

KvClaim = Callable[[int, int], float]
"""Input and output tokens of a request to the KV cache that it claims, in tokens."""


@dataclass(frozen=True)
class Service:
    """
    One replica at its planned point.

    Parameters
    ----------
    batch
        Sequences of a batch (prefill), or in flight (decode, co-located: PP x batch).
    pp
        Pipeline stages.
    latency_s, ttft_s
        By number of sequences, from 0 to ``batch``: time of a batch or of a token; time of a mean prompt.
    occupied_s
        Prefill, by number of prompts: time after which a replica takes the next batch.
    prompt_tokens
        Co-located: prompt tokens that a mixed step has room for.
    kv_tokens
        KV cache of a replica in tokens, as far as the curve says that it is there.
    """

    batch: int
    pp: int
    latency_s: Sequence[float]
    ttft_s: Sequence[float]
    occupied_s: Sequence[float]
    prompt_tokens: int
    kv_tokens: float


def service_of(assignment: Assignment, curve: OperatingCurve) -> Service:
    """
    The service of an assignment.

    Between breakpoints of the curve latency and rate are linear, as in the plan; below the smallest breakpoint a batch
    takes as long as the smallest. A prefill replica that takes k prompts is occupied for k / rate(k).

    Parameters
    ----------
    assignment
        Engine and batch.
    curve
        Its curve, for mean prompts.
    """
    role, pp = curve.role, curve.partition.pp
    count = assignment.batch if role == "prefill" else assignment.batch * pp
    batches = [Fraction(n, 1 if role == "prefill" else pp) for n in range(count + 1)]
    latency = _read(curve, curve.latency_ms, batches)
    occupied: list[float] = []
    if role == "prefill":
        rates = _read(curve, curve.requests_per_s, batches)
        occupied = [max(n, curve.batch[0]) / rate for n, rate in enumerate(rates)]
    ttft = _read(curve, curve.ttft_ms, batches) if role == "colocated" else latency
    return Service(
        batch=count,
        pp=pp,
        latency_s=[each / 1000 for each in latency],
        ttft_s=[each / 1000 for each in ttft],
        occupied_s=occupied,
        prompt_tokens=curve.chunk_tokens,
        kv_tokens=curve.batch[-1] * pp * claimed(assignment),
    )


def _read(curve: OperatingCurve, values: Sequence[Fraction], batches: Sequence[Fraction]) -> list[float]:
    """Values of a curve at any batch up to the largest, in floats."""
    at = [float(each) for each in curve.batch]
    known = [float(each) for each in values]
    found = []
    for batch in map(float, batches):
        right = bisect_left(at, batch)
        if right == 0 or right == len(at):
            found.append(known[0] if right == 0 else known[-1])
        else:
            share = (batch - at[right - 1]) / (at[right] - at[right - 1])
            found.append(known[right - 1] + share * (known[right] - known[right - 1]))
    return found


def claimed(assignment: Assignment) -> float:
    """KV tokens that the plan counts for each sequence."""
    workload = assignment.engine.workload
    traffic, how = workload.lengths, workload.options.kv_reservation
    if how == "mean":
        return traffic.decode_context
    if how.startswith("p"):
        return float(traffic.total_at(Fraction(int(how[1:]), 100)))
    return float(max(isl + osl for isl, osl, _ in traffic.classes))


def claim_of(assignment: Assignment) -> KvClaim:
    """What a request claims: all its tokens, or their mean over its life where the plan counts so."""
    if assignment.engine.workload.options.kv_reservation == "mean":
        return lambda isl, osl: isl + osl / 2
    return lambda isl, osl: isl + osl
