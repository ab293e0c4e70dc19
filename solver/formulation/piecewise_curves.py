"""The part of an operating curve that the rules admit: breakpoints, and segments between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from solver.columns import Column
from solver.engines import Engine
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
                curves.append(_joined(engine, most, [_range(instance.serving, engine, most, *ends) for ends in ranges]))
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
    if not curve.interpolate:
        return [(batch, batch) for batch in allowed]
    breaks = [i for i, (one, other) in enumerate(pairwise(allowed), start=1) if other - one != step]
    starts, ends = [0, *breaks], [*breaks, len(allowed)]
    return [(allowed[start], allowed[end - 1]) for start, end in zip(starts, ends, strict=True) if start < end]


def _range(serving: Serving, engine: Engine, most: int, first: int, last: int) -> list[Column]:
    """The curve's breakpoints strictly inside a range, and the curve evaluated at its ends."""
    curve = engine.curve
    share = serving.utilization[curve.role]

    def column(batch: int, latency: Fraction, ttft: Fraction | None, rate: Fraction) -> Column:
        return Column(engine, batch, latency, ttft or Fraction(0), rate * share, most)

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
    return [end(first), *inner, end(last)]


def _joined(engine: Engine, most: int, ranges: list[list[Column]]) -> AdmissibleCurve:
    breakpoints: list[Column] = []
    segments: list[tuple[int, ...]] = []
    for columns in ranges:
        start = len(breakpoints)
        breakpoints += columns
        indices = range(start, len(breakpoints))
        segments += pairwise(indices) if len(columns) > 1 else [(start,)]
    return AdmissibleCurve(engine, tuple(breakpoints), tuple(segments), most)
