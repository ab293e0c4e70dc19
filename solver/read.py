"""Reads an instance file: strict, versioned, all faults at once."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from costmodels.operating_curve import ROLES, Role
from solver.instance import Budget, CostModelSpec, Instance, Pattern, Pool, Serving, Workload
from solver.kv_links import kv_link_faults, kv_links_of
from solver.read_survive import survive_faults, survive_of
from solver.read_workload import (
    collected,
    cost_model_faults,
    device_of,
    length_faults,
    lengths_of,
    options_of,
    shape_of,
)
from solver.schema import NotANumber, Object, faults_of, instance_schema

Json = Any
MOST_DIGITS = 1000
"""Digits beyond which a whole number is not read."""


def read_instance(path: Path) -> Instance:
    """
    Reads an instance file.

    Raises
    ------
    InputError
        With every fault: unreadable file, broken JSON, anything the schema forbids, contradictions between keys,
        traces and model files that cannot be read.
    """
    return instance_from(read_json(path), path.parent)


def read_json(path: Path) -> Json:
    """
    Reads JSON with decimals kept exact (``Decimal``); what is no number, and keys given twice, the schema refuses.

    Raises
    ------
    InputError
        When the file cannot be read or is not such JSON.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError([Fault(str(path), f"cannot be read: {error.strerror or error}")]) from None
    except UnicodeDecodeError as error:
        raise InputError([Fault(str(path), f"not UTF-8 text (byte {error.start}); save it as UTF-8")]) from None
    try:
        return json.loads(
            text, parse_float=_decimal, parse_int=_integer, parse_constant=NotANumber, object_pairs_hook=Object
        )
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}"
        raise InputError([Fault(place, f"not JSON: {error.msg} at column {error.colno}")]) from None
    except RecursionError:
        raise InputError([Fault(str(path), "nested too deeply to be an instance")]) from None


def _decimal(word: str) -> Decimal | NotANumber:
    try:
        return Decimal(word)
    except ArithmeticError:
        return NotANumber(word)


def _integer(word: str) -> int | NotANumber:
    return int(word) if len(word) <= MOST_DIGITS else NotANumber(word)


def instance_from(document: Json, folder: Path = Path()) -> Instance:
    """
    Builds an instance from parsed JSON (decimals as ``Decimal``).

    Parameters
    ----------
    document
        The JSON.
    folder
        Where paths of traces and model files start.

    Raises
    ------
    InputError
        With every fault against the schema, or, where there is none, every contradiction between keys, or, where
        there is none, every fault in the files that it names.
    """
    faults = faults_of(document, instance_schema()) or _contradictions(document)
    if faults:
        raise InputError(faults)
    spec = document.get("cost_model", {"kind": "roofline"})
    pools = [_pool(item, f"$.pools[{index}]", faults) for index, item in enumerate(document["pools"])]
    workloads = [
        _workload(item, spec, folder, f"$.workloads[{index}]", faults)
        for index, item in enumerate(document["workloads"])
    ]
    if faults:
        raise InputError(faults)
    return Instance(
        name=document["name"],
        pools=tuple(pools),
        workloads=tuple(workload for workload in workloads if workload is not None),
        serving=_serving(document.get("serving", {}), [item["name"] for item in document["workloads"]]),
        cost_model=_cost_model(spec),
        objective=document.get("objective", "throughput"),
        budget=_budget(document.get("budget", {})),
        description=document.get("description", ""),
        kv_links=kv_links_of(document.get("kv_links")),
    )


def _share(percent: Json) -> Fraction | None:
    exact = _exact(percent)
    return None if exact is None else exact / 100


def _exact(value: int | Decimal | None) -> Fraction | None:
    return None if value is None else Fraction(value)


def _pool(item: dict[str, Json], where: str, faults: list[Fault]) -> Pool:
    return Pool(
        name=item["name"],
        gpu=item["gpu"],
        gpus=None if item["gpus"] == "unlimited" else item["gpus"],
        nvlink_domain_gpus=item["nvlink_domain_gpus"],
        gpus_per_node=item.get("gpus_per_node"),
        usd_per_gpu_hour=_exact(item.get("usd_per_gpu_hour")),
        watts_per_gpu=_exact(item.get("watts_per_gpu")),
        memory_gib=_exact(item.get("memory_gib")),
        kv_gbps=_exact(item.get("kv_gbps")),
        device=collected(faults, f"{where}.device", lambda: device_of(item)),
    )


def _workload(
    item: dict[str, Json], spec: dict[str, Json], folder: Path, where: str, faults: list[Fault]
) -> Workload | None:
    shape = collected(faults, f"{where}.model", lambda: shape_of(item, folder))
    options = options_of(item, spec)
    lengths = collected(faults, f"{where}.traffic", lambda: lengths_of(item, options, folder))
    if lengths is None:
        return None
    traffic, stands_for = lengths
    isl, osl = traffic.isl, traffic.osl
    precision = item.get("precision")
    sla = item.get("sla", {})
    return Workload(
        name=item["name"],
        model=item["model"],
        isl=int(isl) if isl.denominator == 1 else isl,
        osl=int(osl) if osl.denominator == 1 else osl,
        precision={role: precision.get(role) if isinstance(precision, dict) else precision for role in ROLES},
        backend=item.get("backend"),
        ttft_ms=_exact(sla.get("ttft_ms")),
        tpot_ms=_exact(sla.get("tpot_ms")),
        e2el_ms=_exact(sla.get("e2el_ms")),
        requests_per_s=_exact(item.get("requests_per_s")),
        max_requests_per_s=_exact(item.get("max_requests_per_s")),
        weight=Fraction(item.get("weight", 1)),
        itl_ms=_exact(sla.get("itl_ms")),
        traffic=None if traffic.is_constant else traffic,
        stands_for=stands_for,
        options=options,
        shape=shape,
        utilization={role: Fraction(share) for role, share in item.get("utilization", {}).items()},
        tpot_percentile=_share(sla.get("tpot_percentile")),
    )


def _serving(item: dict[str, Json], workloads: list[str]) -> Serving:
    engines = item.get("engines_per_role", 1)
    utilization = item.get("utilization", {})
    return Serving(
        modes=tuple(item.get("modes", ("colocated", "disaggregated"))),
        hybrid=item.get("hybrid", False),
        engines_per_role=None if engines == "unlimited" else engines,
        utilization={role: Fraction(utilization.get(role, 1)) for role in ROLES},
        decode_covers=item.get("rate_match", "min") == "decode_covers",
        tolerance=Fraction(item.get("tolerance", Decimal("0.03"))),
        allow={role: _patterns(patterns) for role, patterns in item.get("allow", {}).items()},
        deny={role: _patterns(patterns) for role, patterns in item.get("deny", {}).items()},
        min_replicas=_bounds(item.get("min_replicas", {}), workloads),
        max_replicas=_bounds(item.get("max_replicas", {}), workloads),
        survive=survive_of(item.get("survive")),
    )


def _patterns(items: list[dict[str, Json]]) -> tuple[Pattern, ...]:
    def allowed(value: Json) -> frozenset[int | str] | tuple[int | None, int | None]:
        if isinstance(value, dict):
            return (value.get("min"), value.get("max"))
        return frozenset(value if isinstance(value, list) else [value])

    return tuple(Pattern({name: allowed(value) for name, value in item.items()}) for item in items)


def _bounds(item: dict[str, Json], workloads: list[str]) -> dict[tuple[str, Role], int]:
    bounds: dict[tuple[str, Role], int] = {}
    for key, value in item.items():
        if isinstance(value, int):
            role: Role = key  # type: ignore[assignment]
            bounds |= {(name, role): value for name in workloads if (name, role) not in bounds}
    for key, value in item.items():
        if isinstance(value, dict):
            bounds |= {(key, role): count for role, count in value.items()}
    return bounds


def _cost_model(item: dict[str, Json]) -> CostModelSpec:
    path = item.get("path", ())
    paths = (path,) if isinstance(path, str) else tuple(path)
    return CostModelSpec(
        kind=item["kind"],
        paths=paths,
        interpolate=item.get("interpolate", False),
        interpolate_lengths=item.get("interpolate_lengths", False),
        basis=item.get("basis", "served"),
        backend_version=item.get("backend_version"),
        cache=item.get("cache"),
    )


def _budget(item: dict[str, Json]) -> Budget:
    return Budget(_exact(item.get("usd_per_hour")), _exact(item.get("watts")), item.get("count_idle", False))


def _contradictions(document: dict[str, Json]) -> list[Fault]:
    """What no schema can say: keys that exclude or need each other."""
    return [
        *_names_twice(document),
        *_unlimited_faults(document),
        *_demand_faults(document),
        *_price_faults(document),
        *_serving_faults(document),
        *length_faults(document),
        *cost_model_faults(document),
        *kv_link_faults(document),
        *survive_faults(document),
    ]


def _names_twice(document: dict[str, Json]) -> list[Fault]:
    faults = []
    for key in ("pools", "workloads"):
        names = [item["name"] for item in document[key]]
        faults += [
            Fault(f"$.{key}[{index}].name", f"{name!r} is already the name of another entry; names must differ")
            for index, name in enumerate(names)
            if name in names[:index]
        ]
    return faults


def _unlimited_faults(document: dict[str, Json]) -> list[Fault]:
    unlimited = [pool["gpus"] == "unlimited" for pool in document["pools"]]
    if not any(unlimited):
        return []
    faults = []
    if not all(unlimited):
        where = f"$.pools[{unlimited.index(False)}].gpus"
        faults.append(Fault(where, 'is a number while another pool is "unlimited"; make all pools the same'))
    if (objective := document.get("objective", "throughput")) != "throughput_per_gpu":
        faults.append(Fault("$.objective", f'got {objective}, must be throughput_per_gpu where gpus are "unlimited"'))
    if document.get("budget"):
        faults.append(Fault("$.budget", 'has no meaning where gpus are "unlimited"; leave it out'))
    bounds = [key for key in ("min_replicas", "max_replicas") if document.get("serving", {}).get(key)]
    text = 'has no meaning where gpus are "unlimited" (replicas are real)'
    return faults + [Fault(f"$.serving.{key}", text) for key in bounds]


def _demand_faults(document: dict[str, Json]) -> list[Fault]:
    faults = []
    needs_demand = document.get("objective") in ("gpus", "cost")
    for index, workload in enumerate(document["workloads"]):
        demand, most = workload.get("requests_per_s"), workload.get("max_requests_per_s")
        where = f"$.workloads[{index}]"
        if needs_demand and demand is None:
            text = f"is missing; objective {document['objective']} needs a demand for every workload"
            faults.append(Fault(f"{where}.requests_per_s", text))
        if demand is not None and most is not None and demand > most:
            faults.append(Fault(f"{where}.max_requests_per_s", f"got {most}, must be at least the demand {demand}"))
    return faults


def _price_faults(document: dict[str, Json]) -> list[Fault]:
    budget = document.get("budget", {})
    needed = []
    if document.get("objective") == "cost":
        needed.append(("usd_per_gpu_hour", "objective cost"))
    elif "usd_per_hour" in budget:
        needed.append(("usd_per_gpu_hour", "budget.usd_per_hour"))
    if "watts" in budget:
        needed.append(("watts_per_gpu", "budget.watts"))
    idle = []
    if document.get("objective") == "cost" and budget.get("count_idle"):
        text = "true makes the cost of every plan the same; leave it out with objective cost"
        idle.append(Fault("$.budget.count_idle", text))
    return idle + [
        Fault(f"$.pools[{index}].{key}", f"is missing; {reason} needs it for every pool")
        for key, reason in needed
        for index, pool in enumerate(document["pools"])
        if key not in pool
    ]


def _serving_faults(document: dict[str, Json]) -> list[Fault]:
    serving = document.get("serving", {})
    faults = []
    names = {workload["name"] for workload in document["workloads"]}
    for key in ("min_replicas", "max_replicas"):
        for name, value in serving.get(key, {}).items():
            known, kind = (ROLES, "role") if isinstance(value, int) else (sorted(names), "workload")
            if name not in known:
                faults.append(Fault(f"$.serving.{key}.{name}", f"unknown {kind}; must be {' or '.join(known)}"))
    faults += _pattern_faults(serving)
    return faults or _bound_faults(serving, sorted(names))


def _pattern_faults(serving: dict[str, Json]) -> list[Fault]:
    return [
        Fault(f"$.serving.{key}.{role}[{index}].{name}", f"min {value['min']} is above max {value['max']}")
        for key in ("allow", "deny")
        for role, patterns in serving.get(key, {}).items()
        for index, pattern in enumerate(patterns)
        for name, value in pattern.items()
        if isinstance(value, dict) and value.get("min", 0) > value.get("max", 10**9)
    ]


def _bound_faults(serving: dict[str, Json], names: list[str]) -> list[Fault]:
    least = _bounds(serving.get("min_replicas", {}), names)
    most = _bounds(serving.get("max_replicas", {}), names)
    return [
        Fault(
            "$.serving.max_replicas", f"{role} of {name}: got {most[name, role]}, must be at least min_replicas {low}"
        )
        for (name, role), low in least.items()
        if (name, role) in most and most[name, role] < low
    ]
