"""Reads what an instance says of one workload or device beyond plain numbers: lengths, engine options, shapes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from costmodels.errors import Fault, InputError
from costmodels.gpus import Gpu
from costmodels.lengths import (
    MOST_CLASSES,
    Marginal,
    clipped,
    constant,
    histogram,
    independent,
    log_normal,
    log_normal_at,
    p50,
    within,
)
from costmodels.models import Model
from costmodels.options import EngineOptions
from costmodels.trace_rows import MOST_TOKENS
from costmodels.traces import read_trace
from costmodels.traffic import Traffic

Json = Any
T = TypeVar("T")
SIDES = ("isl", "osl")
MEASURED_PP_EFFICIENCY: tuple[tuple[int, Fraction], ...] = (
    (2, Fraction(88, 100)),
    (4, Fraction(82, 100)),
    (8, Fraction(74, 100)),
)
"""Chunked pipelines on H20, DeepSeek-V3.1, 128K prompts, over one stage: LMSYS blog, 2026-01-15."""


def lengths_of(item: dict[str, Json], options: EngineOptions, folder: Path) -> tuple[Traffic, Traffic | None]:
    """
    The lengths of a workload's requests, and, where they are the P50 shortcut, the distribution that they stand for.

    Raises
    ------
    InputError
        When a trace cannot be read.
    """
    traffic = _distribution(item, folder)
    if traffic.is_constant:
        return traffic, None
    how = item.get("lengths", "distribution")
    if how == "distribution" and options.ttft_percentile is None and not options.kv_reservation.startswith("p"):
        return traffic, None
    source = _distribution(item, folder, whole=True) if "traffic" in item else traffic
    traffic = _marked(traffic, source, item, options)
    return (traffic, None) if how == "distribution" else (p50(source, how == "p50_power_of_two"), traffic)


def _marked(traffic: Traffic, source: Traffic, item: dict[str, Json], options: EngineOptions) -> Traffic:
    """Traffic with the percentiles that are asked for, from what its classes were made of."""
    isl: tuple[tuple[Fraction, int], ...] = ()
    total: tuple[tuple[Fraction, int], ...] = ()
    if options.ttft_percentile is not None:
        isl = ((options.ttft_percentile, _prompt_at(source, item, options.ttft_percentile)),)
    if options.kv_reservation.startswith("p"):
        share = Fraction(int(options.kv_reservation[1:]), 100)
        total = ((share, source.total_at(share)),)
    return replace(traffic, isl_marks=isl, total_marks=total)


def _prompt_at(source: Traffic, item: dict[str, Json], percentile: Fraction) -> int:
    value = item.get("isl")
    if not isinstance(value, dict) or "mean" not in value or percentile == 1:
        return source.isl_at(percentile)
    tokens = log_normal_at(Fraction(value["mean"]), Fraction(value["std"]), percentile)
    return within(tokens, value.get("min_tokens"), value.get("max_tokens"))


def _distribution(item: dict[str, Json], folder: Path, whole: bool = False) -> Traffic:
    if "traffic" in item:
        trace = item["traffic"]
        isl, osl = ((trace.get(f"min_{side}"), trace.get(f"max_{side}")) for side in SIDES)
        return read_trace(folder / trace["trace"], trace["format"], isl, osl, whole)
    words = ", ".join(f"{side.upper()} {_words(item[side])}" for side in SIDES)
    return independent(_marginal(item["isl"]), _marginal(item["osl"]), words)


def _marginal(value: Json) -> Marginal:
    if isinstance(value, int):
        return constant(value)
    if "histogram" in value:
        found = histogram((int(tokens), Fraction(weight)) for tokens, weight in value["histogram"])
    else:
        found = log_normal(Fraction(value["mean"]), Fraction(value["std"]))
    return clipped(found, value.get("min_tokens"), value.get("max_tokens"))


def _words(value: Json) -> str:
    if isinstance(value, int):
        return str(value)
    if "histogram" in value:
        words = f"histogram of {len(value['histogram'])} lengths"
    else:
        words = f"log-normal {value['mean']} +- {value['std']}"
    limits = [f"at {'least' if key == 'min_tokens' else 'most'} {value[key]}" for key in LIMITS if key in value]
    return " ".join([words, *limits])


LIMITS = ("min_tokens", "max_tokens")


def length_faults(document: dict[str, Json]) -> list[Fault]:
    """What is wrong with lengths and engine options beyond the schema."""
    kind = document.get("cost_model", {"kind": "roofline"})["kind"]
    faults: list[Fault] = []
    for index, item in enumerate(document["workloads"]):
        where = f"$.workloads[{index}]"
        if "traffic" in item:
            faults += [
                Fault(f"{where}.{side}", "is given besides traffic; keep one of them") for side in SIDES if side in item
            ]
            faults += _range_faults(
                f"{where}.traffic", item["traffic"], (("min_isl", "max_isl"), ("min_osl", "max_osl"))
            )
        else:
            faults += [fault for side in SIDES for fault in _side_faults(f"{where}.{side}", item[side])]
            faults += [] if faults else _number_of_classes(where, item)
        if item.get("lengths", "distribution") != "distribution" and not _is_distributed(item):
            text = f"got {item['lengths']}, has no meaning where isl and osl are numbers; leave it out"
            faults.append(Fault(f"{where}.lengths", text))
        faults += _option_faults(where, item, kind)
    return faults


def _is_distributed(item: dict[str, Json]) -> bool:
    return "traffic" in item or any(isinstance(item[side], dict) for side in SIDES)


def _side_faults(where: str, value: Json) -> list[Fault]:
    """Of one side that is given as an object: mean with std, or a histogram."""
    if isinstance(value, int):
        return []
    faults = _range_faults(where, value, (LIMITS,))
    by_moments = [key for key in ("mean", "std") if key in value]
    if "histogram" in value:
        faults += [Fault(f"{where}.{key}", "is given besides histogram; keep one of them") for key in by_moments]
        return faults + _histogram_faults(where, value["histogram"])
    if not by_moments:
        return [*faults, Fault(where, "must have mean and std, or histogram")]
    missing = [key for key in ("mean", "std") if key not in value]
    text = "is missing; a log-normal distribution needs mean and std (for one length give a number)"
    return faults + [Fault(f"{where}.{key}", text) for key in missing]


def _histogram_faults(where: str, entries: list[list[int | Decimal]]) -> list[Fault]:
    faults, seen = [], set()
    for index, (tokens, _) in enumerate(entries):
        place = f"{where}.histogram[{index}][0]"
        if not isinstance(tokens, int) or not 1 <= tokens <= MOST_TOKENS:
            faults.append(Fault(place, f"got {tokens}, must be a whole number of tokens from 1 to {MOST_TOKENS}"))
        elif tokens in seen:
            faults.append(Fault(place, f"got {tokens} a second time; add the weights up"))
        seen.add(tokens)
    return faults


def _range_faults(where: str, value: dict[str, Json], pairs: tuple[tuple[str, ...], ...]) -> list[Fault]:
    return [
        Fault(f"{where}.{high}", f"got {value[high]}, must be at least {low}, {value[low]}")
        for low, high in pairs
        if low in value and high in value and value[high] < value[low]
    ]


def _number_of_classes(where: str, item: dict[str, Json]) -> list[Fault]:
    isl, osl = (len(_marginal(item[side])) for side in SIDES)
    if isl * osl <= MOST_CLASSES:
        return []
    text = f"{isl} input x {osl} output lengths are more than {MOST_CLASSES} pairs; give fewer bins"
    return [Fault(f"{where}.isl", text)]


def _option_faults(where: str, item: dict[str, Json], kind: str) -> list[Fault]:
    faults = []
    if kind != "roofline":
        text = f"only the roofline can price it, cost_model is {kind}; leave it out"
        faults += [Fault(f"{where}.{key}", text) for key in ("prefix_hit_rate", "speculative") if item.get(key)]
    speculative = item.get("speculative")
    if speculative and speculative["accepted_tokens"] > speculative["draft_tokens"] + 1:
        most = f"draft_tokens + 1 = {speculative['draft_tokens'] + 1}"
        text = f"got {speculative['accepted_tokens']}, must be at most {most}"
        faults.append(Fault(f"{where}.speculative.accepted_tokens", text))
    return faults


def cost_model_faults(document: dict[str, Json]) -> list[Fault]:
    """What is wrong with options of the cost model and with devices beyond the schema."""
    spec = document.get("cost_model", {"kind": "roofline"})
    faults = []
    efficiency = spec.get("pp_efficiency", {})
    for key in efficiency if isinstance(efficiency, dict) else ():
        if not (re.fullmatch("[1-9][0-9]{0,3}", key) and key != "1"):
            text = "unknown key; must be a number of pipeline stages from 2 to 9999"
            faults.append(Fault(f"$.cost_model.pp_efficiency.{key}", text))
    if spec["kind"] != "roofline":
        text = f"only the roofline can price it, cost_model is {spec['kind']}; leave it out"
        faults += [
            Fault(f"$.pools[{index}].device", text) for index, pool in enumerate(document["pools"]) if "device" in pool
        ]
    return faults


def options_of(item: dict[str, Json], spec: dict[str, Json]) -> EngineOptions:
    """What a workload and the cost model ask of the engines."""
    percentile = item.get("sla", {}).get("ttft_percentile")
    speculative = item.get("speculative", {})
    efficiency = spec.get("pp_efficiency", {})
    stages = MEASURED_PP_EFFICIENCY
    if efficiency != "measured":
        stages = tuple(sorted((int(pp), Fraction(share)) for pp, share in efficiency.items()))
    imbalance = spec.get("expert_imbalance")
    return EngineOptions(
        kv_reservation=spec.get("kv_reservation", "full"),
        prefix_hit_rate=Fraction(item.get("prefix_hit_rate", 0)),
        draft_tokens=speculative.get("draft_tokens", 0),
        accepted_tokens=Fraction(speculative.get("accepted_tokens", 1)),
        ttft_percentile=None if percentile is None else Fraction(percentile) / 100,
        pp_efficiency=stages,
        expert_imbalance=None if imbalance is None else Fraction(imbalance),
        cache_up_projection=spec.get("cache_up_projection", False),
    )


def shape_of(item: dict[str, Json], folder: Path) -> Model | None:
    """
    The shape of a model that is given as a file; None where it is given by name.

    Raises
    ------
    ValueError
        When the file cannot be read or is no such configuration.
    """
    name = item["model"]
    if not name.endswith(".json") and not (folder / name / "config.json").is_file():
        return None
    from costmodels.models import model

    return model(name, folder)


def device_of(pool: dict[str, Json]) -> Gpu | None:
    """
    The GPU or NPU that a pool describes; None where it names one.

    Raises
    ------
    ValueError
        When the figures contradict each other.
    """
    if "device" not in pool:
        return None
    from costmodels.gpus import gpu_from_figures

    domain, node = pool["nvlink_domain_gpus"], pool.get("gpus_per_node", pool["nvlink_domain_gpus"])
    return gpu_from_figures(pool["gpu"], {**pool["device"], "nvlink_domain_gpus": domain, "gpus_per_node": node})


def collected(faults: list[Fault], where: str, read: Callable[[], T]) -> T | None:
    """What ``read`` gives; its faults are collected instead of raised."""
    try:
        return read()
    except InputError as error:
        faults += error.faults
    except ValueError as error:
        faults.append(Fault(where, str(error)))
    return None
