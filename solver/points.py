"""Operating points: every engine at every admissible batch, as exact integers in numpy arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodels.operating_curve import OperatingCurve
from solver.engines import Engine, EngineSet
from solver.handover import exposed_ms, members, most_handed_over
from solver.instance import Instance, Pool, Workload
from solver.thinning import count_points, thinned

Integers = NDArray[Any]
_INT64 = 2**62
LARGEST_STEP = 10**6
"""Largest ``rate_step``; beyond, rates with long denominators stay rounded in the models."""


@dataclass(frozen=True)
class PointTable:
    """
    Points as parallel arrays, one entry a point; arrays fall back to Python integers where 64 bits are too few.

    Parameters
    ----------
    engines
        The engines.
    engine
        Index of each point's engine, ascending.
    batch
        Batch of each point.
    latency, ttft
        In units of 1/``time_scale`` ms; ``ttft`` is 0 for decode, and for prefill the least of ``late``.
    rate
        In units of 1/``rate_scale`` requests/s, before utilisation; no more than the KV hand-over lets through.
    time_scale, rate_scale
        The common denominators.
    rate_step
        The part of ``rate_scale`` that interpolation and the KV hand-over brought in; 1 for measured batches.
    dropped
        Reason to the number of points that limits or rules took out.
    late
        TTFT with the exposed hand-over, one array per arrival class of decode pools
        (:func:`solver.handover.arrivals`); one array, ``ttft`` itself, where there is one class only.
    """

    engines: tuple[Engine, ...]
    engine: NDArray[np.int64]
    batch: NDArray[np.int64]
    latency: Integers
    ttft: Integers
    rate: Integers
    time_scale: int
    rate_scale: int
    rate_step: int
    dropped: dict[str, int]
    late: tuple[Integers, ...]

    def __len__(self) -> int:
        return len(self.batch)

    def subset(self, mask: NDArray[np.bool_], dropped: dict[str, int]) -> PointTable:
        """The points where the mask holds."""
        return PointTable(
            self.engines,
            self.engine[mask],
            self.batch[mask],
            self.latency[mask],
            self.ttft[mask],
            self.rate[mask],
            self.time_scale,
            self.rate_scale,
            self.rate_step,
            dropped,
            tuple(late[mask] for late in self.late),
        )

    def latency_ms(self, point: int) -> Fraction:
        """Latency of a point in ms."""
        return Fraction(int(self.latency[point]), self.time_scale)

    def ttft_ms(self, point: int) -> Fraction:
        """TTFT of a point in ms."""
        return Fraction(int(self.ttft[point]), self.time_scale)

    def late_ms(self, point: int) -> tuple[Fraction, ...]:
        """TTFT with the exposed hand-over in ms, per arrival class."""
        return tuple(Fraction(int(late[point]), self.time_scale) for late in self.late)

    def requests_per_s(self, point: int) -> Fraction:
        """Request rate of a point, before utilisation."""
        return Fraction(int(self.rate[point]), self.rate_scale)


def points_of(instance: Instance, engines: EngineSet, thin: bool = False) -> PointTable:
    """
    Evaluates every curve at every admissible batch and drops what no deployment may use.

    What remains fits its pool alone, obeys ``allow`` and ``deny``, and meets the workload's own TTFT, TPOT and (for
    co-located points) end-to-end limits.

    Parameters
    ----------
    instance, engines
        The instance and its engines.
    thin
        Whether points of very large tables that dominance drops anyway may be left out from the start
        (:func:`solver.thinning.thinned`).
    """
    chosen = thinned(instance, engines.engines) if thin else None
    table = with_handover(instance, _evaluate(engines.engines, chosen))
    thinned_out = 0 if chosen is None else count_points(engines.engines) - len(table)
    return within(instance, table, {} if chosen is None else {"slower and no faster in rate than another": thinned_out})


def within(instance: Instance, table: PointTable, before: Mapping[str, int] | None = None) -> PointTable:
    """
    The points of a table that an instance lets a deployment use, as :func:`points_of` says.

    Parameters
    ----------
    instance
        The instance; workloads and pools of the table's engines are its own.
    table
        The points.
    before
        What was dropped before, by reason.
    """
    dropped: Counter[str] = Counter(before or {})
    keep = np.ones(len(table), dtype=bool)
    for reason, bad in (
        ("mode not allowed", _wrong_mode(instance, table)),
        ("does not fit the pool", _too_large(instance, table)),
        ("not allowed or denied", _forbidden(instance, table)),
        ("TTFT above its limit", _over(table, "ttft")),
        ("TPOT above its limit", _over(table, "tpot")),
        ("E2E above its limit", _over_e2e(table)),
        ("token gap unknown", _gap_unknown(table)),
        ("token gap above its limit", _over_gap(table)),
    ):
        if bad.any():
            dropped[reason] = int((bad & keep).sum())
            keep &= ~bad
    return table.subset(keep, {reason: count for reason, count in dropped.items() if count})


def _evaluate(every: tuple[Engine, ...], chosen: Mapping[int, NDArray[np.int64]] | None = None) -> PointTable:
    """The points of all engines; at the chosen batches only, where given."""
    engines = every if chosen is None else tuple(engine for engine in every if engine.index in chosen)
    segments = math.lcm(*(_segment_lcm(engine.curve) for engine in engines)) if engines else 1
    times = [v for e in engines for v in (*e.curve.latency_ms, *e.curve.ttft_ms)]
    rates = [v for e in engines for v in e.curve.requests_per_s]
    time_base, rate_base = (math.lcm(*(v.denominator for v in values)) if values else 1 for values in (times, rates))
    batches, latencies, ttfts, values = [], [], [], []
    for engine in engines:
        curve = engine.curve
        batch = np.fromiter(curve.admissible_batches(), dtype=np.int64) if chosen is None else chosen[engine.index]
        latency = _interpolated(curve, curve.latency_ms, batch, time_base, segments)
        batches.append(batch)
        latencies.append(latency)
        values.append(_interpolated(curve, curve.requests_per_s, batch, rate_base, segments))
        if curve.ttft_ms:
            ttfts.append(_interpolated(curve, curve.ttft_ms, batch, time_base, segments))
        else:
            ttfts.append(latency if curve.role == "prefill" else np.zeros(len(batch), dtype=np.int64))
    counts = [len(batch) for batch in batches]
    ttft = _joined(ttfts)
    return PointTable(
        engines=every,
        engine=np.repeat(np.array([engine.index for engine in engines], dtype=np.int64), counts),
        batch=np.concatenate(batches) if batches else np.zeros(0, dtype=np.int64),
        latency=_joined(latencies),
        ttft=ttft,
        rate=_joined(values),
        time_scale=time_base * segments,
        rate_scale=rate_base * segments,
        rate_step=segments,
        dropped={},
        late=(ttft,),
    )


def with_handover(instance: Instance, table: PointTable) -> PointTable:
    """The table with rates that the KV hand-over lets through, and its exposed time in TTFT."""
    if all(engine.kv is None for engine in table.engines):
        return table
    limits: dict[int, Fraction] = {}
    for engine in table.engines:
        most = most_handed_over(engine)
        if most is not None:
            limits[engine.index] = most / instance.utilization(engine.workload, engine.curve.role)
    rate, rate_scale = _capped(table, limits)
    pools = members(instance)
    exposed = [[_exposed(instance, table, point, pool) for point in range(len(table))] for pool in pools]
    fine = math.lcm(table.time_scale, *{value.denominator for values in exposed for value in values})
    factor = fine // table.time_scale
    latency, ttft = (values.astype(object) * factor for values in (table.latency, table.ttft))
    late = tuple(_plain(ttft + np.array([int(v * fine) for v in values], dtype=object)) for values in exposed)
    return replace(
        table,
        latency=_plain(latency),
        ttft=late[0] if len(late) == 1 else _plain(np.minimum.reduce([values.astype(object) for values in late])),
        rate=rate,
        time_scale=fine,
        rate_scale=rate_scale,
        rate_step=_step(table),
        late=late,
    )


def _step(table: PointTable) -> int:
    """``rate_step`` with what makes the limits of the hand-over terminating decimals, where that is not too much."""
    step = table.rate_step
    limits = {most for engine in table.engines if (most := most_handed_over(engine)) is not None}
    for limit in sorted(limits):
        odd = limit.denominator
        for prime in (2, 5):
            while odd % prime == 0:
                odd //= prime
        step = wider if (wider := math.lcm(step, odd)) <= LARGEST_STEP else step
    return step


def _capped(table: PointTable, limits: Mapping[int, Fraction]) -> tuple[Integers, int]:
    """Rates no higher than their engine's limit (requests/s), and the scale in which they are whole."""
    binding = {}
    for index, limit in limits.items():
        mine = table.rate[table.engine == index]
        if len(mine) and int(mine.max()) > limit * table.rate_scale:
            binding[index] = limit
    if not binding:
        return table.rate, table.rate_scale
    fine = math.lcm(table.rate_scale, *(limit.denominator for limit in binding.values()))
    rate = table.rate.astype(object) * (fine // table.rate_scale)
    for index, limit in binding.items():
        mask = table.engine == index
        rate[mask] = np.minimum(rate[mask], int(limit * fine))
    return _plain(rate), fine


def _exposed(instance: Instance, table: PointTable, point: int, to: Pool) -> Fraction:
    """The exposed hand-over of a prefill point, in ms; 0 for others."""
    engine = table.engines[table.engine[point]]
    if engine.kv is None or engine.curve.role != "prefill":
        return Fraction(0)
    return exposed_ms(instance, engine, int(table.batch[point]), table.latency_ms(point), to)


def _plain(values: Integers) -> Integers:
    """Python integers as 64-bit ones, where they fit with room to spare."""
    fits = not len(values) or max(abs(int(value)) for value in values) < _INT64
    return values.astype(np.int64) if fits else values


def _joined(parts: list[Integers]) -> Integers:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _segment_lcm(curve: OperatingCurve) -> int:
    """The common denominator of all interpolation weights of a curve."""
    if not curve.interpolate:
        return 1
    step = curve.batch_step if _aligned(curve) else 1
    return math.lcm(*((b - a) // step for a, b in pairwise(curve.batch)), 1)


def _aligned(curve: OperatingCurve) -> bool:
    return all(batch % curve.batch_step == 0 for batch in curve.batch)


def _interpolated(
    curve: OperatingCurve, values: Sequence[Fraction], batch: NDArray[np.int64], base: int, segments: int
) -> Integers:
    """Values at batches in units of 1/(base x segments), exactly."""
    whole = [value.numerator * (base // value.denominator) for value in values]
    step = curve.batch_step if _aligned(curve) else 1
    longest = max(curve.batch) // step
    kind: type = np.int64 if max(whole) * max(segments, longest) < _INT64 else object
    at: Integers = np.array(whole, dtype=kind)
    knots = np.array(curve.batch, dtype=np.int64)
    if not curve.interpolate or len(knots) == 1:
        kept: Integers = at[np.searchsorted(knots, batch)] * segments  # thinning may have left knots out
        return kept
    left = np.minimum(np.searchsorted(knots, batch, side="right") - 1, len(knots) - 2)
    length = ((knots[left + 1] - knots[left]) // step).astype(kind)
    offset: Integers = ((batch - knots[left]) // step).astype(kind)
    weighted: Integers = at[left] * (length - offset) + at[left + 1] * offset
    scaled: Integers = weighted * (segments // length)
    return scaled


def _roles(table: PointTable) -> NDArray[np.str_]:
    return np.array([engine.curve.role for engine in table.engines], dtype="U10")[table.engine]


def _per_engine(table: PointTable, values: list[bool]) -> NDArray[np.bool_]:
    return np.array(values, dtype=bool)[table.engine]


def _wrong_mode(instance: Instance, table: PointTable) -> NDArray[np.bool_]:
    allowed = {e.index: _role_wanted(instance, e) for e in table.engines}
    return _per_engine(table, [not allowed[e.index] for e in table.engines])


def _role_wanted(instance: Instance, engine: Engine) -> bool:
    return any(engine.curve.role in engine.workload.roles(mode) for mode in instance.serving.modes)


def _too_large(instance: Instance, table: PointTable) -> NDArray[np.bool_]:
    return _per_engine(table, [not instance.is_unlimited and e.most_replicas == 0 for e in table.engines])


def _forbidden(instance: Instance, table: PointTable) -> NDArray[np.bool_]:
    bad = np.zeros(len(table), dtype=bool)
    ruled = set(instance.serving.allow) | set(instance.serving.deny)
    for engine in table.engines:
        if engine.curve.role in ruled:
            for point in np.flatnonzero(table.engine == engine.index):
                bad[point] = not instance.serving.allows(engine.curve, int(table.batch[point]))
    return bad


def scaled_limit(limit_ms: Fraction, table: PointTable) -> int:
    """A limit in the table's time unit; a latency is within the limit exactly when its integer is not above this."""
    return math.floor(limit_ms * table.time_scale)


def _over(table: PointTable, what: str) -> NDArray[np.bool_]:
    bad = np.zeros(len(table), dtype=bool)
    roles = _roles(table)
    for workload in {engine.workload.name: engine.workload for engine in table.engines}.values():
        limit = workload.ttft_ms if what == "ttft" else workload.tpot_ms
        if limit is not None and (what == "ttft" or workload.osl > 1):
            values = table.ttft if what == "ttft" else table.latency
            judged = _of(table, workload) & (roles != ("decode" if what == "ttft" else "prefill"))
            bad |= judged & (values > scaled_limit(limit, table)).astype(bool)
    return bad


def _of(table: PointTable, workload: Workload) -> NDArray[np.bool_]:
    return _per_engine(table, [engine.workload.name == workload.name for engine in table.engines])


def _over_e2e(table: PointTable) -> NDArray[np.bool_]:
    """Co-located: TTFT + (OSL - 1) x TPOT in each point. Disaggregated: no point alone may break the limit."""
    bad = np.zeros(len(table), dtype=bool)
    roles = _roles(table)
    for workload in {engine.workload.name: engine.workload for engine in table.engines}.values():
        if workload.e2el_ms is not None:
            steps = workload.osl - 1
            decoding = table.latency.astype(object) * steps
            total = np.where(roles == "prefill", table.ttft, table.ttft.astype(object) + decoding)
            bad |= _of(table, workload) & (total > scaled_limit(workload.e2el_ms, table)).astype(bool)
    return bad


def _gaps_limited(engine: Engine) -> bool:
    """Whether the longest token gap of an engine is limited: it decodes, and the workload asks."""
    return engine.workload.itl_ms is not None and engine.curve.role != "prefill" and engine.workload.osl > 1


def _gap_unknown(table: PointTable) -> NDArray[np.bool_]:
    """Co-located engines without token gaps; decoding alone, a gap that is not known is TPOT."""
    unknown = [_gaps_limited(e) and e.curve.role == "colocated" and not e.curve.itl_ms for e in table.engines]
    return _per_engine(table, unknown)


def _over_gap(table: PointTable) -> NDArray[np.bool_]:
    bad = np.zeros(len(table), dtype=bool)
    for engine in table.engines:
        curve, limit = engine.curve, engine.workload.itl_ms
        gaps = curve.itl_ms or (curve.latency_ms if curve.role == "decode" else ())
        if limit is not None and _gaps_limited(engine) and gaps:
            mine = np.flatnonzero(table.engine == engine.index)
            base, segments = math.lcm(*(gap.denominator for gap in gaps)), _segment_lcm(curve)
            values = _interpolated(curve, gaps, table.batch[mine], base, segments)
            bad[mine] = (values > math.floor(limit * base * segments)).astype(bool)
    return bad
