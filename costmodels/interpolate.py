"""
Measured rows at lengths that were not measured: straight lines between measured ones, never beyond them.

At one batch of one engine, prefill latency, service time and memory are taken as piecewise linear in ISL, and what is
asked for is their mean over the prompts: exactly the mean over the classes of the traffic. Decode latency and the
service time of a step are piecewise linear in the mean context, ISL + OSL/2 (of distributed lengths: over all steps, so
that long answers count longer); memory in ISL + OSL, which is what the rows reserve.

A batch counts only where every length that it needs lies between measured ones. The result is rounded to nine
significant digits, times and memory up, rates down.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from costmodels.traffic import Traffic

DIGITS = 9
Share = tuple[Fraction, Fraction]
"""A length, or a context, and its share."""


@dataclass(frozen=True)
class Measured:
    """
    One row of a prefill or decode engine.

    Parameters
    ----------
    batch, isl, osl
        Batch, input and output tokens; ``osl`` 0 for prefill.
    latency_ms, requests_per_s
        As in the row; the rate of one replica.
    memory_gib
        GiB per GPU, None where the row has none.
    """

    batch: int
    isl: int
    osl: int
    latency_ms: Fraction
    requests_per_s: Fraction
    memory_gib: Fraction | None

    @property
    def context(self) -> Fraction:
        """Mean context of a generated token; the ISL of a prefill row."""
        return self.isl + Fraction(self.osl, 2)


@dataclass(frozen=True)
class Point:
    """An interpolated row; latency as in :class:`Measured`."""

    batch: int
    latency_ms: Fraction
    requests_per_s: Fraction
    memory_gib: Fraction | None


def prefill_points(rows: Iterable[Measured], traffic: Traffic, percentile: Fraction | None = None) -> list[Point]:
    """
    The batches of a prefill engine at distributed prompts.

    Parameters
    ----------
    rows
        All rows of the engine.
    traffic
        The lengths.
    percentile
        None: the latency is the mean over the prompts. Else that of a batch of prompts of this percentile (0 to 1).
    """
    prompts = prompts_of(traffic)
    points = []
    for batch, at in _by_batch(rows, lambda row: Fraction(row.isl)):
        means = expectation(tuple(at), prompts)
        shown = means
        if percentile is not None:
            shown = expectation(tuple(at), ((Fraction(traffic.isl_at(percentile)), Fraction(1)),))
        if means is None or shown is None:
            continue
        seconds = _mean(means, (1 / row.requests_per_s for row in at.values()))
        latency = _mean(shown, (row.latency_ms for row in at.values()))
        memory = _memory(means, list(at.values()))
        points.append(Point(batch, _rounded(latency, up=True), _rounded(1 / seconds, up=False), memory))
    return points


def decode_points(rows: Iterable[Measured], traffic: Traffic) -> list[Point]:
    """The batches of a decode engine at the mean context of the traffic; rows of one output token say nothing."""
    steps = traffic.osl - 1
    context, total = contexts_of(traffic)
    points = []
    rows = [row for row in rows if row.osl > 1]
    reserved = dict(_by_batch(rows, lambda row: Fraction(row.isl + row.osl)))
    for batch, at in _by_batch(rows, lambda row: row.context):
        means = expectation(tuple(at), ((context, Fraction(1)),))
        held = expectation(tuple(reserved[batch]), ((total, Fraction(1)),))
        if means is not None and held is not None:
            latency = _mean(means, (row.latency_ms for row in at.values()))
            step_s = _mean(means, (1 / (row.requests_per_s * (row.osl - 1)) for row in at.values()))
            memory = _memory(held, list(reserved[batch].values()))
            points.append(Point(batch, _rounded(latency, up=True), _rounded(1 / (step_s * steps), up=False), memory))
    return points


def prompts_of(traffic: Traffic) -> tuple[Share, ...]:
    """Input lengths with their shares, ascending."""
    shares: dict[Fraction, Fraction] = defaultdict(Fraction)
    for isl, _, share in traffic.classes:
        shares[Fraction(isl)] += share
    return tuple(sorted(shares.items()))


def contexts_of(traffic: Traffic) -> tuple[Fraction, Fraction]:
    """Means over all decode steps: of ISL + OSL/2 and of ISL + OSL; at least one answer has two tokens."""
    steps = [(share * (osl - 1), isl, osl) for isl, osl, share in traffic.classes]
    total = sum((weight for weight, _, _ in steps), Fraction(0))
    context = sum((weight * (isl + Fraction(osl, 2)) for weight, isl, osl in steps), Fraction(0))
    return context / total, sum((weight * (isl + osl) for weight, isl, osl in steps), Fraction(0)) / total


@lru_cache(maxsize=4096)
def expectation(nodes: tuple[Fraction, ...], at: tuple[Share, ...]) -> tuple[Fraction, ...] | None:
    """
    Weights of the nodes in the mean of any function that is linear between them.

    Parameters
    ----------
    nodes
        Ascending.
    at
        Places with shares that sum to 1.

    Returns
    -------
    tuple or None
        One weight a node; None where a place lies outside the nodes.
    """
    weights = [Fraction(0)] * len(nodes)
    for place, share in at:
        if not nodes[0] <= place <= nodes[-1]:
            return None
        left = bisect_right(nodes, place) - 1
        if nodes[left] == place:
            weights[left] += share
        else:
            part = share * (place - nodes[left]) / (nodes[left + 1] - nodes[left])
            weights[left + 1] += part
            weights[left] += share - part
    return tuple(weights)


def _by_batch(
    rows: Iterable[Measured], coordinate: Callable[[Measured], Fraction]
) -> list[tuple[int, dict[Fraction, Measured]]]:
    """Per batch, ascending: the rows by their coordinate, ascending; of two at one place the slower."""
    found: dict[int, dict[Fraction, Measured]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: (row.batch, coordinate(row), row.latency_ms, row.isl)):
        found[row.batch][coordinate(row)] = row
    return list(found.items())


def _mean(weights: Sequence[Fraction], values: Iterable[Fraction]) -> Fraction:
    return sum((weight * value for weight, value in zip(weights, values, strict=True) if weight), Fraction(0))


def _memory(weights: Sequence[Fraction], rows: Sequence[Measured]) -> Fraction | None:
    known = [row.memory_gib for row in rows if row.memory_gib is not None]
    return _rounded(_mean(weights, known), up=True) if len(known) == len(rows) else None


def _rounded(value: Fraction, up: bool) -> Fraction:
    """A positive number with nine significant digits."""
    shift = DIGITS - len(str(int(value)))
    while value * Fraction(10) ** shift < 10 ** (DIGITS - 1):
        shift += 1  # numbers below 1
    scaled = value * Fraction(10) ** shift
    whole = -(-scaled.numerator // scaled.denominator) if up else scaled.numerator // scaled.denominator
    return whole / Fraction(10) ** shift


def left_out_errors(rows: Iterable[Measured]) -> list[float]:
    """
    Relative errors of interpolated latencies of one engine, where a measured ISL is left out and predicted.

    All rows of that ISL are left out together, at every batch, wherever shorter and longer ones were measured.
    """
    errors = []
    for _, at in _by_batch(rows, lambda row: row.context):
        for isl in {row.isl for row in at.values()}:
            rest = {place: row for place, row in at.items() if row.isl != isl}
            for place, row in at.items():
                weights = expectation(tuple(rest), ((place, Fraction(1)),)) if row.isl == isl and rest else None
                if weights is not None:
                    predicted = _mean(weights, (other.latency_ms for other in rest.values()))
                    errors.append(abs(float(predicted / row.latency_ms) - 1))
    return errors
