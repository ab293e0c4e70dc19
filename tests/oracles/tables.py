"""From an instance and the rows of a curves CSV to the operating points that a plan may use, in exact rationals."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import lcm
from pathlib import Path
from typing import Any, NamedTuple

from tests.oracles import kv

Instance = Mapping[str, Any]
Row = Mapping[str, str]

ROLES = ("prefill", "decode", "colocated")
DEGREES = ("tp", "pp", "attention_dp", "moe_tp", "moe_ep", "cp")
FORMATS = {
    "bf16": {"bfloat16", "float16"},
    "fp8": {"fp8", "fp8_block", "fp8_static"},
    "nvfp4": {"nvfp4"},
    "mxfp4": {"mxfp4", "w4a16_mxfp4", "w4a8_mxfp4_mxfp8", "w4a8_mxfp4_fp8"},
    "int4": {"int4", "int4_wo", "w4a16", "w4afp8"},
}


class Point(NamedTuple):
    """
    One engine at one batch, allowed by everything that concerns this point alone.

    ``latency`` is TTFT for prefill and TPOT otherwise, ``ttft`` is 0 for decode (both ms); ``rate`` is requests/s of
    one replica after utilization, and no more than it can hand over; ``family`` is (backend, KV format); a replica has
    ``stages`` groups of ``group`` GPUs; ``late`` is ``ttft`` with the exposed hand-over to each of the pools.
    """

    workload: int
    pool: int
    role: str
    engine: tuple[str, ...]
    batch: int
    gpus: int
    group: int
    stages: int
    latency: Fraction
    ttft: Fraction
    rate: Fraction
    family: tuple[str, str]
    late: tuple[Fraction, ...]


def exact(number: Any) -> Fraction:
    """The rational that the decimal text of a number says; a float stands for its shortest decimal text."""
    return number if isinstance(number, Fraction) else Fraction(str(number))


def common_denominator(numbers: Iterable[Fraction]) -> int:
    """The least integer that makes all the numbers integers."""
    return lcm(*{number.denominator for number in numbers}, 1)


def read_case(instance_path: Path | str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """An instance file, decimals read exactly, and the rows of the curves CSV that it names."""
    path = Path(instance_path)
    instance = json.loads(path.read_text(encoding="utf-8"), parse_float=Fraction)
    return instance, read_rows(path.parent / instance["cost_model"]["path"])


def read_rows(path: Path | str) -> list[dict[str, str]]:
    """The rows of a curves file, .csv or .csv.gz."""
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def nine_digits(value: Fraction) -> Fraction:
    """A positive number rounded half to even at nine significant digits."""
    exponent = 0
    while value * Fraction(10) ** exponent >= 10**9:
        exponent -= 1
    while value * Fraction(10) ** exponent < 10**8:
        exponent += 1
    return round(value * Fraction(10) ** exponent) / Fraction(10) ** exponent


def precision_component(precision: str, name: str) -> str | None:
    """The format behind ``name:`` in a precision string, or None."""
    for word in precision.split():
        if word.startswith(name + ":"):
            return word[len(name) + 1 :]
    return None


def precision_fits(wanted: str | None, precision: str) -> bool:
    """Whether a row's precision string is what a workload asks for: any, a label, or exactly this string."""
    if wanted is None or wanted == precision:
        return True
    weights = precision_component(precision, "moe") or precision_component(precision, "gemm")
    return weights in FORMATS.get(wanted, ())


def row_belongs(row: Row, pool: Mapping[str, Any], workload: Mapping[str, Any]) -> bool:
    """Whether a row describes this workload on this pool, memory and NVLink domain included."""
    role = row["phase"]
    if row["system"] != pool["gpu"] or row["model"] != workload["model"]:
        return False
    if exact(row["isl"]) != exact(workload["isl"]):
        return False
    if role != "prefill" and exact(row["osl"]) != exact(workload["osl"]):
        return False
    if workload.get("backend") is not None and row["backend"] != workload["backend"]:
        return False
    wanted = workload.get("precision")
    if isinstance(wanted, Mapping):
        wanted = wanted.get(role)
    if not precision_fits(wanted, row["precision"]):
        return False
    memory = pool.get("memory_gib")
    if memory is not None and row["memory_gib"] != "" and exact(row["memory_gib"]) > exact(memory):
        return False
    group, domain = int(row["gpus"]) // int(row["pp"]), pool["nvlink_domain_gpus"]
    priced = int(row["domain_gpus"])
    return group <= domain or (group > priced and priced <= domain)


def row_rate(row: Row) -> Fraction:
    """Requests/s of one replica: as the row says, or from batch and latency where it is empty."""
    if row["requests_per_s"] != "":
        return exact(row["requests_per_s"])
    in_flight = int(row["pp"]) * int(row["batch"])
    if row["phase"] == "prefill":
        return nine_digits(in_flight * 1000 / exact(row["latency_ms"]))
    if row["phase"] == "decode":
        return nine_digits(in_flight * 1000 / (exact(row["latency_ms"]) * (exact(row["osl"]) - 1)))
    raise ValueError("a co-located row needs requests_per_s")


def matches(pattern: Mapping[str, Any], row: Row, batch: int) -> bool:
    """Whether a point (its row's fields, its own batch) matches an allow or deny pattern in every field."""
    for field, wanted in pattern.items():
        value: Any = row["backend"] if field == "backend" else batch if field == "batch" else int(row[field])
        if isinstance(wanted, Mapping):
            if ("min" in wanted and value < wanted["min"]) or ("max" in wanted and value > wanted["max"]):
                return False
        elif isinstance(wanted, list):
            if value not in wanted:
                return False
        elif value != wanted:
            return False
    return True


def engine_of(row: Row) -> tuple[str, ...]:
    """What tells one engine of a workload, role and pool from another."""
    names = (*DEGREES, "domain_gpus", "chunk_tokens", "precision", "backend", "backend_version")
    return tuple(row[name] for name in names)


def curve(rows: Sequence[Row], interpolate: bool) -> list[tuple[int, Fraction, Fraction, Fraction]]:
    """The (batch, latency, ttft, rate) that the rows of one engine admit, ascending in batch."""
    known = []
    for row in rows:
        latency = exact(row["latency_ms"])
        ttft = {"prefill": latency, "decode": Fraction(0)}.get(row["phase"])
        known.append((int(row["batch"]), latency, exact(row["ttft_ms"]) if ttft is None else ttft, row_rate(row)))
    known.sort()
    if not interpolate:
        return known
    step = int(rows[0]["attention_dp"])
    admitted: dict[int, tuple[int, Fraction, Fraction, Fraction]] = {}
    if len(known) == 1:
        known = known * 2
    for left, right in pairwise(known):
        gap = right[0] - left[0]
        for batch in range(-(-left[0] // step) * step, right[0] + 1, step):
            share = Fraction(batch - left[0], gap or 1)
            latency, ttft, rate = (left[i] + (right[i] - left[i]) * share for i in (1, 2, 3))
            admitted[batch] = (batch, latency, ttft, rate)
    return [admitted[batch] for batch in sorted(admitted)]


def within_limits(point: Point, workload: Mapping[str, Any]) -> bool:
    """
    C2 for one point: TTFT, TPOT, ITL and, where one point holds the whole request, E2E. Equal to the limit is within.

    Tables hold no token gaps: that of a decode point is its TPOT, that of a co-located one is unknown, hence refused.
    """
    sla, osl = workload.get("sla") or {}, exact(workload["osl"])
    limits = {name: exact(value) for name, value in sla.items() if value is not None}
    ttft, tpot, e2el, gap = (limits.get(name) for name in ("ttft_ms", "tpot_ms", "e2el_ms", "itl_ms"))
    if gap is not None and point.role != "prefill" and osl > 1 and (point.role == "colocated" or point.latency > gap):
        return False
    if ttft is not None and point.role != "decode" and point.ttft > ttft:
        return False
    if tpot is not None and point.role != "prefill" and osl > 1 and point.latency > tpot:
        return False
    whole = point.role == "colocated" or (point.role == "prefill" and osl == 1)
    request_ms = point.ttft + (osl - 1) * (point.latency if point.role == "colocated" else 0)
    return e2el is None or not whole or request_ms <= e2el


def points_of(instance: Instance, rows: Sequence[Row]) -> list[Point]:
    """Every operating point that the instance allows by itself: rows, C2, serving.modes, allow and deny."""
    serving = instance.get("serving") or {}
    modes = serving.get("modes", ["colocated", "disaggregated"])
    general = serving.get("utilization") or {}
    allow, deny = serving.get("allow") or {}, serving.get("deny") or {}
    interpolate = bool(instance["cost_model"].get("interpolate", False))
    points = []
    for w, workload in enumerate(instance["workloads"]):
        shares = {**general, **(workload.get("utilization") or {})}
        utilization = {role: exact(shares.get(role, 1)) for role in ROLES}
        for p, pool in enumerate(instance["pools"]):
            engines: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
            for row in rows:
                mode = "colocated" if row["phase"] == "colocated" else "disaggregated"
                needed = row["phase"] != "decode" or exact(workload["osl"]) > 1
                if mode in modes and needed and row_belongs(row, pool, workload):
                    engines.setdefault((row["phase"], engine_of(row)), []).append(row)
            for (role, engine), its_rows in engines.items():
                row = its_rows[0]
                gpus, stages = int(row["gpus"]), int(row["pp"])
                family = (row["backend"], precision_component(row["precision"], "kv") or "")
                for batch, latency, ttft, rate in curve(its_rows, interpolate):
                    allowed = role not in allow or any(matches(pattern, row, batch) for pattern in allow[role])
                    denied = any(matches(pattern, row, batch) for pattern in deny.get(role, ()))
                    planned, late = rate * utilization[role], [ttft] * len(instance["pools"])
                    if kv.is_limited(instance) and role != "colocated" and exact(workload["osl"]) > 1:
                        sent = kv.Sent(instance, workload, pool, row, family[1])
                        planned = min(planned, sent.requests_per_s or planned)
                        if role == "prefill":
                            late = [ttft + sent.exposed_ms(batch, latency, other) for other in instance["pools"]]
                    point = Point(
                        workload=w,
                        pool=p,
                        role=role,
                        engine=engine,
                        batch=batch,
                        gpus=gpus,
                        group=gpus // stages,
                        stages=stages,
                        latency=latency,
                        ttft=ttft,
                        rate=planned,
                        family=family,
                        late=tuple(late),
                    )
                    if allowed and not denied and within_limits(point, workload):
                        points.append(point)
    return points
