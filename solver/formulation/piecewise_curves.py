"""The part of an operating curve that the rules admit: breakpoints, and segments between them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from costmodels.operating_curve import OperatingCurve
from solver.columns import Column
from solver.engines import Engine
from solver.handover import most_handed_over
from solver.instance import Instance, Serving


@dataclass(frozen=True)
class AdmissibleCurve:
    """
    What an engine may be operated at.

    Parameters
    ----------
    engine
        The engine.
    breakpoints
        By ascending batch; inside an interpolated range a breakpoint need not be an admissible batch itself.
    segments
        Indices of two neighbouring breakpoints between which every multiple of ``attention_dp`` is admissible, or of
        one breakpoint that is admissible by itself. No breakpoint belongs to segments of both kinds.
    most
        Upper bound on replicas.
    """

    engine: Engine
    breakpoints: tuple[Column, ...]
    segments: tuple[tuple[int, ...], ...]
    most: int


def admissible_curves(instance: Instance, engines: Iterable[Engine]) -> list[AdmissibleCurve]:
    """The curves of all engines that have a role to play, fit their pool and keep a batch under allow and deny."""
    wanted = {(w.name, role) for w in instance.workloads for mode in instance.serving.modes for role in w.roles(mode)}
    curves = []
    for engine in engines:
        most = _most_replicas(instance.serving, engine)
        if most and (engine.workload.name, engine.curve.role) in wanted:
            ranges = _ranges(instance.serving, engine)
            if ranges:
                share = instance.utilization(engine.workload, engine.curve.role)
                curves.append(_joined(engine, most, [_range(share, engine, most, *ends) for ends in ranges]))
    return curves


def _most_replicas(serving: Serving, engine: Engine) -> int:
    bound = serving.max_replicas.get((engine.workload.name, engine.curve.role))
    return engine.most_replicas if bound is None else min(engine.most_replicas, bound)


def _ranges(serving: Serving, engine: Engine) -> list[tuple[int, int]]:
    """First and last batch of each maximal run of allowed batches."""
    curve, step = engine.curve, engine.curve.batch_step
    batches = list(curve.admissible_batches())
    ruled = curve.role in serving.allow or curve.role in serving.deny
    allowed = [batch for batch in batches if serving.allows(curve, batch)] if ruled else batches
    allowed = [batch for batch in allowed if _within_gap(engine, batch)]
    if not curve.interpolate:
        return [(batch, batch) for batch in allowed]
    breaks = [i for i, (one, other) in enumerate(pairwise(allowed), start=1) if other - one != step]
    starts, ends = [0, *breaks], [*breaks, len(allowed)]
    return [(allowed[start], allowed[end - 1]) for start, end in zip(starts, ends, strict=True) if start < end]


def _within_gap(engine: Engine, batch: int) -> bool:
    """C2: the longest gap between two tokens is within its limit; decoding alone, a gap that is not known is TPOT."""
    limit, role = engine.workload.itl_ms, engine.curve.role
    if limit is None or role == "prefill" or engine.workload.osl == 1:
        return True
    point = engine.curve.at(batch)
    gap = point.latency_ms if point.itl_ms is None and role == "decode" else point.itl_ms
    return gap is not None and gap <= limit


def _range(share: Fraction, engine: Engine, most: int, first: int, last: int) -> list[Column]:
    """The curve's breakpoints strictly inside a range, and the curve evaluated at its ends; of rates a share."""
    curve, limit = engine.curve, most_handed_over(engine)

    def column(batch: int, latency: Fraction, ttft: Fraction | None, rate: Fraction) -> Column:
        planned = rate * share if limit is None else min(rate * share, limit)
        return Column(engine, batch, latency, ttft or Fraction(0), planned, most)

    def end(batch: int) -> Column:
        point = curve.at(batch)
        return column(batch, point.latency_ms, point.ttft_ms, point.requests_per_s)

    if first == last:
        return [end(first)]
    inner = []
    for index, batch in enumerate(curve.batch):
        if first < batch < last:
            latency = curve.latency_ms[index]
            ttft = curve.ttft_ms[index] if curve.ttft_ms else (latency if curve.role == "prefill" else None)
            inner.append(column(batch, latency, ttft, curve.requests_per_s[index]))
    columns = [end(first), *inner, end(last)]
    bends = () if limit is None else _bends(engine, columns, limit / share)
    return sorted([*columns, *(end(batch) for batch in bends)], key=lambda item: item.batch)


def _bends(engine: Engine, columns: list[Column], limit: Fraction) -> Iterator[int]:
    """
    Admissible batches beside those where the rate crosses what is handed over.

    With them as breakpoints min(rate, limit) is linear between any two, at all admissible batches: there is none
    between the two beside a crossing.
    """
    step = engine.curve.batch_step
    for a, b in pairwise(columns):
        low, high = (_rate(engine.curve, column.batch) for column in (a, b))
        if (low - limit) * (high - limit) < 0:
            crossing = a.batch + (limit - low) / (high - low) * (b.batch - a.batch)
            before = math.floor(crossing / step) * step
            yield from (batch for batch in (before, before + step) if a.batch < batch < b.batch)


def _rate(curve: OperatingCurve, batch: int) -> Fraction:
    """The rate at a batch between two breakpoints, admissible or not."""
    right = min(max(bisect_left(curve.batch, batch), 1), len(curve.batch) - 1)
    left = right - 1 if len(curve.batch) > 1 else right
    start, end = curve.batch[left], curve.batch[right]
    if start == end:
        return curve.requests_per_s[right]
    low, high = curve.requests_per_s[left], curve.requests_per_s[right]
    return low + (high - low) * Fraction(batch - start, end - start)


def _joined(engine: Engine, most: int, ranges: list[list[Column]]) -> AdmissibleCurve:
    breakpoints: list[Column] = []
    segments: list[tuple[int, ...]] = []
    for columns in ranges:
        start = len(breakpoints)
        breakpoints += columns
        indices = range(start, len(breakpoints))
        segments += pairwise(indices) if len(columns) > 1 else [(start,)]
    return AdmissibleCurve(engine, tuple(breakpoints), tuple(segments), most)
