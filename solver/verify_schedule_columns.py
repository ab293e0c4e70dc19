"""The columns of a schedule file, looked up among the engines of the instance and priced anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from costmodels.formats import formats
from costmodels.memory import weight_bytes
from costmodels.models import model
from costmodels.operating_curve import OperatingPoint
from costmodels.precision import components
from solver.engines import Engine, EngineSet
from solver.instance import Instance
from solver.verify_numbers import exact_of, show
from solver.verify_schedule_document import Claims


@dataclass(frozen=True)
class Priced:
    """A column: its engine and point, planned requests/s, and in periods what a start and a switch lose, and min up."""

    engine: Engine
    point: OperatingPoint
    rate: Fraction
    cold_start_s: Fraction
    start: tuple[Fraction, ...]
    switch: tuple[Fraction, ...]
    min_up: int

    @property
    def role(self) -> str:
        """The role."""
        return self.engine.curve.role

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.engine.curve.partition.gpus


def priced_columns(instance: Instance, engines: EngineSet, claims: Claims, faults: list[str]) -> list[Priced]:
    """Looks up every column; what is not found, or stated wrongly, becomes a fault."""
    offered = {_name(engine): engine for engine in engines.engines}
    found = []
    for number, stated in enumerate(claims.columns):
        where = f"$.columns[{number}]"
        key = _key(stated)
        engine = None if key is None else offered.get(key)
        batch = stated.get("batch")
        if engine is None or not isinstance(batch, int) or not engine.curve.is_admissible(batch):
            faults.append(f"{where}: no such engine of the instance, or no admissible batch")
            continue
        priced = _priced(instance, engine, batch, claims)
        if priced is None:
            faults.append(f"{where}: its cold start is not known")
            continue
        found.append(priced)
        faults += [f"{where}: {text}" for text in (*_stated_wrongly(stated, priced), *_breaks(instance, priced))]
    return found


def _name(engine: Engine) -> tuple[object, ...]:
    curve = engine.curve
    part = tuple(sorted(vars(curve.partition).items()))
    named = (curve.precision, curve.backend, curve.backend_version, curve.domain_gpus, curve.chunk_tokens)
    return (engine.workload.name, curve.role, engine.pool.name, part, *named)


def _key(stated: Mapping[str, Any]) -> tuple[object, ...] | None:
    try:
        part = tuple(sorted(stated["partition"].items()))
        named = tuple(stated[k] for k in ("precision", "backend", "backend_version", "domain_gpus", "chunk_tokens"))
        key = (stated["workload"], stated["role"], stated["pool"], part, *named)
        hash(key)
    except (KeyError, TypeError, AttributeError):
        return None
    return key


def _priced(instance: Instance, engine: Engine, batch: int, claims: Claims) -> Priced | None:
    point = engine.curve.at(batch)
    rate = point.requests_per_s * instance.utilization(engine.workload, engine.curve.role)
    cold = claims.rules["cold_start_s"]
    if cold is None:
        try:
            shape = engine.workload.shape or model(engine.workload.model)
            weights = weight_bytes(shape, formats(engine.curve.precision), engine.curve.partition)
        except (KeyError, ValueError, ZeroDivisionError):
            return None
        cold = Fraction(weights, 10**9) / (claims.rules["load_gbps"] or 1) + (claims.rules["init_s"] or 0)
    start, switch = _lost(cold, claims), _lost(claims.rules["switch_s"] or Fraction(0), claims)
    up = -((-(claims.rules["min_up_s"] or Fraction(0))) // claims.period_s)
    return Priced(engine, point, rate, cold, start, switch, max(1, int(up), len(start), len(switch)))


def _lost(seconds: Fraction, claims: Claims) -> tuple[Fraction, ...]:
    """The share of each period from a change on in which nothing is served."""
    found = []
    while seconds > 0:
        found.append(Fraction(1) if claims.warming == "whole" else min(Fraction(1), seconds / claims.period_s))
        seconds -= claims.period_s
    return tuple(found)


def _stated_wrongly(stated: Mapping[str, Any], priced: Priced) -> Iterator[str]:
    exact = stated.get("exact")
    exact = exact if isinstance(exact, Mapping) else {}
    pairs: list[tuple[str, object, Fraction | int | None]] = [
        ("gpus", exact_of(stated.get("gpus")), priced.gpus),
        ("latency_ms", exact_of(exact.get("latency_ms")), priced.point.latency_ms),
        ("ttft_ms", exact_of(exact.get("ttft_ms")), priced.point.ttft_ms),
        ("requests_per_s", exact_of(exact.get("requests_per_s")), priced.point.requests_per_s),
        ("planned_requests_per_s", exact_of(stated.get("planned_requests_per_s")), priced.rate),
        ("cold_start_s", exact_of(stated.get("cold_start_s")), priced.cold_start_s),
        ("lead_periods", exact_of(stated.get("lead_periods")), len(priced.start)),
        ("min_up_periods", exact_of(stated.get("min_up_periods")), priced.min_up),
    ]
    for name, told, right in pairs:
        if told != right:
            yield f"{name} {told} stated, {show(right)} recomputed"


def _breaks(instance: Instance, priced: Priced) -> Iterator[str]:
    """C2, C4 pricing and C7 of one replica: latency limits, domains, memory, allowed points."""
    engine, point, workload = priced.engine, priced.point, priced.engine.workload
    pool, curve = engine.pool, engine.curve
    tpot = None if priced.role == "prefill" or workload.osl == 1 else point.latency_ms
    for name, value, limit in (("TTFT", point.ttft_ms, workload.ttft_ms), ("TPOT", tpot, workload.tpot_ms)):
        if value is not None and limit is not None and value > limit:
            yield f"{name} {show(value)} ms above its limit {show(limit)} ms"
    if workload.itl_ms is not None and tpot is not None:
        gap = point.itl_ms if point.itl_ms is not None or priced.role != "decode" else point.latency_ms
        if gap is None or gap > workload.itl_ms:
            yield f"longest token gap above its limit {show(workload.itl_ms)} ms, or not known"
    whole = (point.ttft_ms or 0) + (workload.osl - 1) * point.latency_ms
    if workload.e2el_ms is not None and priced.role == "colocated" and whole > workload.e2el_ms:
        yield f"end to end above its limit {show(workload.e2el_ms)} ms"
    group = curve.partition.stage_group
    if (
        group > pool.nvlink_domain_gpus
        and not curve.domain_gpus < group
        and curve.domain_gpus <= pool.nvlink_domain_gpus
    ):
        yield f"stage group of {group} GPUs is not priced for domains of {pool.nvlink_domain_gpus}"
    if point.memory_gib is not None and pool.memory_gib is not None and point.memory_gib > pool.memory_gib:
        yield f"{show(point.memory_gib)} GiB per GPU above {show(pool.memory_gib)} GiB"
    if not instance.serving.allows(curve, point.batch):
        yield f"{curve.partition.label} at batch {point.batch} is not allowed, or denied"


def may_switch(a: Priced, b: Priced) -> bool:
    """Whether a replica of one column can become one of another where it stands: same weights, another role."""
    x, y = a.engine, b.engine
    return (
        (x.workload.name, x.pool.name, x.joint) == (y.workload.name, y.pool.name, y.joint)
        and x.curve.partition == y.curve.partition
        and _weights(x) == _weights(y)
        and a.role != b.role
    )


def _weights(engine: Engine) -> tuple[str | None, str | None]:
    parts = components(engine.curve.precision)
    return parts.get("gemm"), parts.get("moe", parts.get("gemm"))
