"""
Malformed instance and curve files, each made by one named mutation of a good one.

A mutation says which places a message must name. Levels:

text
    The file is no JSON that could be an instance.
schema
    The JSON Schema refuses it too.
stricter
    We refuse it, a plain JSON Schema cannot (decimal places, whole numbers written as 4.0).
contradiction
    Each key is fine, together they are not.
curves
    The fault is in the table, or in how the instance and its table meet.
good
    Odd, but fine: it must be accepted.
"""

from __future__ import annotations

import copy
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER = (
    "system,backend,backend_version,model,precision,phase,tp,pp,attention_dp,moe_tp,moe_ep,cp,gpus,domain_gpus,"
    "batch,chunk_tokens,isl,osl,latency_ms,ttft_ms,requests_per_s,memory_gib"
)
COLUMNS = HEADER.split(",")
ROWS = (
    "toy,trtllm,1.0,org/toy,gemm:fp8 kv:fp8,prefill,2,1,1,1,1,1,2,8,1,0,100,,50,,20,30",
    "toy,trtllm,1.0,org/toy,gemm:fp8 kv:fp8,decode,1,1,2,1,1,1,2,8,4,0,100,11,10,,40,30",
    "toy,trtllm,1.0,org/toy,gemm:fp8 kv:fp8,decode,1,1,2,1,1,1,2,8,8,0,100,11,12.5,,64,31.5",
    "toy,trtllm,1.0,org/toy,gemm:fp8 kv:fp8,colocated,1,1,1,1,1,1,1,8,4,100,100,11,20,80,14,40",
)
"""Lines 2 to 5 of the good table."""
GOOD_TABLE = "\n".join([HEADER, *ROWS, ""]).encode()


@dataclass(frozen=True)
class Raw:
    """JSON text that goes into a file as it is."""

    text: str


@dataclass(frozen=True)
class Mutation:
    """
    A file or two, and what must be said about them.

    Parameters
    ----------
    name
        What was done.
    level
        See the module.
    expected
        For each fault a place; every one must stand in some line of the message. ``{instance}`` and ``{table}`` stand
        for the paths as given.
    instance
        The instance file, or None for none.
    table
        The curve file that the instance names; None writes none.
    table_name
        Its name.
    """

    name: str
    level: str
    expected: tuple[str, ...]
    instance: bytes | None
    table: bytes | None = GOOD_TABLE
    table_name: str = "curves.csv"

    def write(self, folder: Path) -> Path:
        """Writes the files; returns the path of the instance."""
        if self.instance is not None:
            (folder / "instance.json").write_bytes(self.instance)
        if self.table is not None:
            (folder / self.table_name).write_bytes(self.table)
        return folder / "instance.json"


def good() -> dict[str, Any]:
    """An instance with every optional key that today has a meaning; it is feasible."""
    return {
        "format": "disagg-instance",
        "version": 1,
        "name": "good",
        "description": "A good instance",
        "pools": [
            {
                "name": "pool",
                "gpu": "toy",
                "gpus": 8,
                "nvlink_domain_gpus": 8,
                "gpus_per_node": 8,
                "usd_per_gpu_hour": 3.1,
                "watts_per_gpu": 700,
                "memory_gib": 80.5,
            }
        ],
        "workloads": [
            {
                "name": "chat",
                "model": "org/toy",
                "precision": {"prefill": "fp8", "decode": "fp8", "colocated": "fp8"},
                "backend": "trtllm",
                "isl": 100,
                "osl": 11,
                "lengths": "distribution",
                "prefix_hit_rate": 0,
                "sla": {
                    "ttft_ms": 1000,
                    "tpot_ms": 50.5,
                    "e2el_ms": 2000,
                    "itl_ms": 50.5,
                    "ttft_percentile": 95,
                    "tpot_percentile": 99,
                },
                "requests_per_s": 1.5,
                "max_requests_per_s": 1000,
                "weight": 2,
                "utilization": {"decode": 0.95},
            }
        ],
        "serving": {
            "modes": ["colocated", "disaggregated"],
            "hybrid": False,
            "engines_per_role": 2,
            "utilization": {"prefill": 0.9, "decode": 1, "colocated": 0.8},
            "rate_match": "decode_covers",
            "tolerance": 0.5,
            "allow": {"prefill": [{"tp": [1, 2], "batch": {"min": 1, "max": 8}, "backend": "trtllm"}]},
            "deny": {"decode": [{"gpus": 4, "backend": ["vllm"]}]},
            "min_replicas": {"prefill": 1},
            "max_replicas": {"chat": {"decode": 4}},
        },
        "cost_model": {"kind": "curves", "path": "curves.csv", "interpolate": False, "interpolate_lengths": False},
        "objective": "throughput",
        "budget": {"usd_per_hour": 1000, "watts": 100000, "count_idle": False},
    }


TEXT, WHOLE, NUMBER, FLAG, LIST, OBJECT = "text", "whole number", "number", "flag", "list", "object"

KINDS: dict[str, tuple[str, ...]] = {
    "$": (OBJECT,),
    "$.format": (TEXT,),
    "$.version": (WHOLE,),
    "$.name": (TEXT,),
    "$.description": (TEXT,),
    "$.pools": (LIST,),
    "$.pools[0]": (OBJECT,),
    "$.pools[0].name": (TEXT,),
    "$.pools[0].gpu": (TEXT,),
    "$.pools[0].gpus": (WHOLE,),
    "$.pools[0].nvlink_domain_gpus": (WHOLE,),
    "$.pools[0].gpus_per_node": (WHOLE,),
    "$.pools[0].usd_per_gpu_hour": (NUMBER,),
    "$.pools[0].watts_per_gpu": (NUMBER,),
    "$.pools[0].memory_gib": (NUMBER,),
    "$.workloads": (LIST,),
    "$.workloads[0]": (OBJECT,),
    "$.workloads[0].name": (TEXT,),
    "$.workloads[0].model": (TEXT,),
    "$.workloads[0].precision": (TEXT, OBJECT, "null"),
    "$.workloads[0].precision.decode": (TEXT,),
    "$.workloads[0].backend": (TEXT, "null"),
    "$.workloads[0].isl": (WHOLE, OBJECT),
    "$.workloads[0].osl": (WHOLE, OBJECT),
    "$.workloads[0].sla": (OBJECT,),
    "$.workloads[0].sla.ttft_ms": (NUMBER, "null"),
    "$.workloads[0].sla.tpot_ms": (NUMBER, "null"),
    "$.workloads[0].sla.e2el_ms": (NUMBER, "null"),
    "$.workloads[0].sla.itl_ms": (NUMBER, "null"),
    "$.workloads[0].sla.ttft_percentile": (NUMBER, "null"),
    "$.workloads[0].sla.tpot_percentile": (NUMBER, "null"),
    "$.workloads[0].lengths": (TEXT,),
    "$.workloads[0].prefix_hit_rate": (NUMBER,),
    "$.workloads[0].utilization": (OBJECT,),
    "$.workloads[0].utilization.decode": (NUMBER,),
    "$.workloads[0].requests_per_s": (NUMBER, "null"),
    "$.workloads[0].max_requests_per_s": (NUMBER, "null"),
    "$.workloads[0].weight": (NUMBER,),
    "$.serving": (OBJECT,),
    "$.serving.modes": (LIST,),
    "$.serving.modes[1]": (TEXT,),
    "$.serving.hybrid": (FLAG,),
    "$.serving.engines_per_role": (WHOLE,),
    "$.serving.utilization": (OBJECT,),
    "$.serving.utilization.prefill": (NUMBER,),
    "$.serving.rate_match": (TEXT,),
    "$.serving.tolerance": (NUMBER,),
    "$.serving.allow": (OBJECT,),
    "$.serving.allow.prefill": (LIST,),
    "$.serving.allow.prefill[0]": (OBJECT,),
    "$.serving.allow.prefill[0].batch": (WHOLE, LIST, OBJECT),
    "$.serving.allow.prefill[0].batch.min": (WHOLE,),
    "$.serving.allow.prefill[0].tp": (WHOLE, LIST, OBJECT),
    "$.serving.allow.prefill[0].backend": (TEXT, LIST),
    "$.serving.deny": (OBJECT,),
    "$.serving.deny.decode": (LIST,),
    "$.serving.deny.decode[0].backend[0]": (TEXT,),
    "$.serving.min_replicas": (OBJECT,),
    "$.serving.min_replicas.prefill": (WHOLE, OBJECT),
    "$.serving.max_replicas.chat.decode": (WHOLE,),
    "$.cost_model": (OBJECT,),
    "$.cost_model.kind": (TEXT,),
    "$.cost_model.path": (TEXT, LIST),
    "$.cost_model.interpolate": (FLAG,),
    "$.cost_model.interpolate_lengths": (FLAG,),
    "$.objective": (TEXT,),
    "$.budget": (OBJECT,),
    "$.budget.usd_per_hour": (NUMBER,),
    "$.budget.watts": (NUMBER,),
    "$.budget.count_idle": (FLAG,),
}
"""Every key, by a path that the good instance has, and what may stand there."""

SAMPLES: dict[str, Any] = {
    TEXT: "8",
    WHOLE: 7,
    NUMBER: 7.25,
    FLAG: True,
    LIST: [[1]],
    OBJECT: {"b": 1},
    "null": None,
}

REQUIRED = {
    "$": ("format", "version", "name", "pools", "workloads"),
    "$.pools[0]": ("name", "gpu", "gpus", "nvlink_domain_gpus"),
    "$.workloads[0]": ("name", "model", "isl", "osl"),
    "$.cost_model": ("kind", "path"),
}

CHOICES = (
    "$.format",
    "$.workloads[0].lengths",
    "$.serving.modes[1]",
    "$.serving.rate_match",
    "$.objective",
    "$.cost_model.kind",
)

LEAST: dict[str, tuple[float, bool]] = {
    "$.pools[0].gpus": (1, True),
    "$.pools[0].nvlink_domain_gpus": (1, True),
    "$.pools[0].gpus_per_node": (1, True),
    "$.pools[0].usd_per_gpu_hour": (0, True),
    "$.pools[0].watts_per_gpu": (0, True),
    "$.pools[0].memory_gib": (0, False),
    "$.workloads[0].isl": (1, True),
    "$.workloads[0].osl": (1, True),
    "$.workloads[0].sla.ttft_ms": (0, False),
    "$.workloads[0].sla.tpot_ms": (0, False),
    "$.workloads[0].sla.e2el_ms": (0, False),
    "$.workloads[0].sla.itl_ms": (0, False),
    "$.workloads[0].sla.ttft_percentile": (0, False),
    "$.workloads[0].sla.tpot_percentile": (0, False),
    "$.workloads[0].prefix_hit_rate": (0, True),
    "$.workloads[0].utilization.decode": (0, False),
    "$.workloads[0].requests_per_s": (0, False),
    "$.workloads[0].max_requests_per_s": (0, False),
    "$.workloads[0].weight": (0, False),
    "$.serving.engines_per_role": (1, True),
    "$.serving.utilization.prefill": (0, False),
    "$.serving.tolerance": (0, True),
    "$.serving.min_replicas.prefill": (0, True),
    "$.serving.max_replicas.chat.decode": (0, True),
    "$.serving.allow.prefill[0].batch.min": (0, True),
    "$.budget.usd_per_hour": (0, True),
    "$.budget.watts": (0, True),
}
"""Numbers by path: their least value, and whether it is itself allowed."""


def steps(path: str) -> list[str | int]:
    """``$.pools[0].gpus`` as keys and indices."""
    return [int(index) if index else key for key, index in re.findall(r"\.([A-Za-z_]\w*)|\[(\d+)\]", path)]


def changed(document: Any, path: str, value: Any) -> Any:
    """A copy with another value at a path."""
    if path == "$":
        return value
    made = copy.deepcopy(document)
    *before, last = steps(path)
    place = made
    for step in before:
        place = place[step]
    place[last] = value
    return made


def without(document: Any, path: str) -> Any:
    """A copy without the key at a path."""
    made = copy.deepcopy(document)
    *before, last = steps(path)
    place = made
    for step in before:
        place = place[step]
    del place[last]
    return made


def encoded(document: Any) -> bytes:
    """JSON text; a :class:`Raw` inside goes in as it is."""
    raws: list[str] = []

    def mark(value: Any) -> str:
        raws.append(value.text)
        return f"@raw{len(raws) - 1}@"

    text = json.dumps(document, default=mark, indent=1)
    for index, raw in enumerate(raws):
        text = text.replace(f'"@raw{index}@"', raw)
    return text.encode("utf-8", "surrogatepass")


def changes(*pairs: tuple[str, Any]) -> dict[str, Any]:
    """The good instance with several changes."""
    document: Any = good()
    for path, value in pairs:
        document = changed(document, path, value)
    return document


def _of(name: str, level: str, expected: str, document: Any) -> Mutation:
    return Mutation(name, level, (expected,), encoded(document))


def wrong_types() -> Iterator[Mutation]:
    """At every key each type that does not belong there; true and false are no numbers."""
    for path, kinds in KINDS.items():
        for kind, sample in SAMPLES.items():
            if kind in kinds or (kind == WHOLE and NUMBER in kinds):
                continue
            # An object where a key is missing, or a discriminator that is no text.
            expected = f"{path}.b" if path in REQUIRED and kind == OBJECT else path
            yield _of(f"{kind} at {path}", "schema", f"{expected}: ", changed(good(), path, sample))


def missing_keys() -> Iterator[Mutation]:
    """Without each required key."""
    for place, names in REQUIRED.items():
        for name in names:
            yield _of(f"no {place}.{name}", "schema", f"{place}.{name}: ", without(good(), f"{place}.{name}"))


def unknown_keys() -> Iterator[Mutation]:
    """A key that does not exist, in every object."""
    for path, kinds in KINDS.items():
        here: Any = good()
        for step in steps(path):
            here = here[step]
        if OBJECT in kinds and isinstance(here, dict) and path not in ("$.serving.min_replicas",):
            for name in ("gpu_count", "Format"):
                yield _of(f"{name} in {path}", "schema", f"{path}.{name}: ", changed(good(), path, {**here, name: 1}))


def wrong_choices() -> Iterator[Mutation]:
    """Words outside a list of words."""
    for path in CHOICES:
        for word in ("", "Throughput", "disagg instance", "roofline "):
            yield _of(f"{word!r} at {path}", "schema", f"{path}: ", changed(good(), path, word))
    for path, kinds in KINDS.items():
        if kinds[0] == TEXT and path not in CHOICES:
            yield _of(f"empty text at {path}", "schema", f"{path}: ", changed(good(), path, ""))
    for version in (0, 2, -1):
        yield _of(f"version {version}", "schema", "$.version: ", changes(("$.version", version)))
    for path in ("$.pools[0].gpus", "$.serving.engines_per_role"):
        yield _of(f"limitless at {path}", "schema", f"{path}: ", changed(good(), path, "limitless"))


def wrong_numbers() -> Iterator[Mutation]:
    """Numbers that are too small, too large, or none."""
    for path, (least, included) in LEAST.items():
        whole = WHOLE in KINDS[path]
        below = least - 1 if included else least
        values: dict[str, Any] = {
            "below the least": below,
            "-1": -1,
            "1e400": Raw("1e400"),
            "1e30": Raw("1" + "0" * 30),
        }
        if whole:
            values["1.5"] = 1.5
        for label, value in values.items():
            yield _of(f"{label} at {path}", "schema", f"{path}: ", changed(good(), path, value))
        if whole:
            yield _of(f"8.0 at {path}", "stricter", f"{path}: ", changed(good(), path, Raw("8.0")))
        else:
            yield _of(f"1e-400 at {path}", "stricter", f"{path}: ", changed(good(), path, Raw("1e-400")))
            digits = Raw("0.5" + "0" * 20 + "1")
            yield _of(f"22 decimal places at {path}", "stricter", f"{path}: ", changed(good(), path, digits))
    for path in ("$.serving.utilization.prefill", "$.workloads[0].utilization.decode"):
        yield _of(f"1.01 at {path}", "schema", f"{path}: ", changed(good(), path, 1.01))


def no_numbers() -> Iterator[Mutation]:
    """What some JSON writers leave where a number should be; JSON has no such words."""
    for path in ("$.pools[0].gpus", "$.workloads[0].sla.tpot_ms", "$.budget.watts"):
        for word in ("NaN", "Infinity", "-Infinity"):
            yield _of(f"{word} at {path}", "text", f"{path}: ", changed(good(), path, Raw(word)))
        for label, text in (("5000 digits", "9" * 5000), ("an exponent of 30 digits", "1e" + "9" * 30)):
            yield _of(f"{label} at {path}", "text", f"{path}: ", changed(good(), path, Raw(text)))
    for text in ("nan", "0x10", "+8", "08", ".5", "8.", "1_000", "1,000", "eight", "'8'", "--8", "1e"):
        yield _of(f"{text} as a number", "text", "{instance}:", changes(("$.pools[0].gpus", Raw(text))))


def wrong_lists() -> Iterator[Mutation]:
    """Empty lists, entries twice."""
    for path in ("$.pools", "$.workloads", "$.serving.modes", "$.cost_model.path", "$.serving.allow.prefill"):
        yield _of(f"empty list at {path}", "schema", f"{path}: ", changed(good(), path, []))
    yield _of("empty list in a pattern", "schema", "$.serving.allow.prefill[0].tp: ",
              changes(("$.serving.allow.prefill[0].tp", [])))  # fmt: skip
    yield _of("a mode twice", "schema", "$.serving.modes: ", changes(("$.serving.modes", ["colocated"] * 2)))
    yield _of("a table twice", "schema", "$.cost_model.path: ", changes(("$.cost_model.path", ["curves.csv"] * 2)))
    pools = [{**good()["pools"][0], "name": f"pool{index}"} for index in range(1001)]
    yield _of("1001 pools", "schema", "$.pools: ", changes(("$.pools", pools)))


def contradictions() -> Iterator[Mutation]:
    """Keys that exclude or need each other."""
    one = good()["pools"][0]
    chat = good()["workloads"][0]
    bare = without(without(without(good(), "$.budget"), "$.serving.min_replicas"), "$.serving.max_replicas")
    limit = changed(changed(bare, "$.pools[0].gpus", "unlimited"), "$.objective", "throughput_per_gpu")
    level = "contradiction"
    yield _of("pool names twice", level, "$.pools[1].name: ", changes(("$.pools", [one, one])))
    yield _of("workload names twice", level, "$.workloads[1].name: ", changes(("$.workloads", [chat, chat])))
    for objective in ("throughput", "cost", "gpus"):
        document = changed(limit, "$.objective", objective)
        yield _of(f"unlimited with {objective}", level, "$.objective: ", document)
    yield _of("unlimited without an objective", level, "$.objective: ", without(limit, "$.objective"))
    yield _of("unlimited with a budget", level, "$.budget: ", changed(limit, "$.budget", {"usd_per_hour": 1}))
    for key in ("min_replicas", "max_replicas"):
        document = changed(limit, f"$.serving.{key}", {"prefill": 1})
        yield _of(f"unlimited with {key}", level, f"$.serving.{key}: ", document)
    mixed = changed(limit, "$.pools", [limit["pools"][0], {**one, "name": "other"}])
    yield _of("one pool unlimited, one not", level, "$.pools[1].gpus: ", mixed)
    for objective in ("gpus", "cost"):
        for label, demand in (("no", "missing"), ("null", None)):
            document = changes(("$.objective", objective), ("$.workloads[0].requests_per_s", demand))
            if demand is not None:
                document = without(document, "$.workloads[0].requests_per_s")
            yield _of(f"{objective} with {label} demand", level, "$.workloads[0].requests_per_s: ", document)
    free = without(good(), "$.pools[0].usd_per_gpu_hour")
    unwatched = without(good(), "$.pools[0].watts_per_gpu")
    where = "$.pools[0].usd_per_gpu_hour: "
    yield _of("cost without price", level, where, changed(without(free, "$.budget"), "$.objective", "cost"))
    yield _of("USD budget without price", level, where, free)
    yield _of("watts budget without power", level, "$.pools[0].watts_per_gpu: ", unwatched)
    idle = changes(("$.objective", "cost"), ("$.budget.count_idle", True))
    yield _of("cost that counts idle GPUs", level, "$.budget.count_idle: ", idle)
    low = changes(("$.workloads[0].max_requests_per_s", 1))
    yield _of("most requests below the demand", level, "$.workloads[0].max_requests_per_s: ", low)
    for key in ("min_replicas", "max_replicas"):
        for name, value in (("chit", {"decode": 1}), ("chat", 1), ("prefil", 1)):
            document = changed(good(), f"$.serving.{key}", {name: value})
            yield _of(f"{key} of {name} {value}", level, f"$.serving.{key}.{name}: ", document)
    least = changes(("$.serving.min_replicas", {"decode": 5}))
    yield _of("least replicas above the most", level, "$.serving.max_replicas: ", least)
    span = changes(("$.serving.allow.prefill[0].batch", {"min": 8, "max": 4}))
    yield _of("an empty range", level, "$.serving.allow.prefill[0].batch: ", span)


LENGTHS: tuple[tuple[str, Any, str, str], ...] = (
    ("schema", "4500", "$.workloads[0].isl: ", "a text"),
    ("schema", {"mean": 0, "std": 5}, "$.workloads[0].isl.mean: ", "a mean of 0"),
    ("schema", {"mean": 100, "std": 0}, "$.workloads[0].isl.std: ", "a deviation of 0"),
    ("schema", {"mean": 100, "std": -5}, "$.workloads[0].isl.std: ", "a negative deviation"),
    ("schema", {"mean": "100", "std": 5}, "$.workloads[0].isl.mean: ", "a mean that is a text"),
    ("schema", {"mean": 100, "sd": 5}, "$.workloads[0].isl.sd: ", "a key of another name"),
    ("schema", {"p50": 100}, "$.workloads[0].isl.p50: ", "a median"),
    ("schema", {"histogram": []}, "$.workloads[0].isl.histogram: ", "no bins"),
    ("schema", {"histogram": [[100]]}, "$.workloads[0].isl.histogram[0]: ", "a bin without weight"),
    ("schema", {"histogram": [[100, 1, 2]]}, "$.workloads[0].isl.histogram[0]: ", "a bin of three numbers"),
    ("schema", {"histogram": [[100, 0]]}, "$.workloads[0].isl.histogram[0][1]: ", "a weight of 0"),
    ("schema", {"histogram": [[100, -1]]}, "$.workloads[0].isl.histogram[0][1]: ", "a negative weight"),
    ("schema", {"histogram": [100, 200]}, "$.workloads[0].isl.histogram[0]: ", "bins that are numbers"),
    ("schema", {"histogram": {"100": 1}}, "$.workloads[0].isl.histogram: ", "bins by name"),
    ("schema", {"mean": 100, "std": 5, "max_tokens": 0}, "$.workloads[0].isl.max_tokens: ", "a limit of 0"),
    ("contradiction", {}, "$.workloads[0].isl: ", "an empty object"),
    ("contradiction", {"max_tokens": 100}, "$.workloads[0].isl: ", "a limit alone"),
    ("contradiction", {"mean": 100}, "$.workloads[0].isl.std: ", "a mean alone"),
    ("contradiction", {"std": 100}, "$.workloads[0].isl.mean: ", "a deviation alone"),
    ("contradiction", {"mean": 9, "std": 9, "histogram": [[9, 1]]}, "$.workloads[0].isl.mean: ", "two descriptions"),
    ("contradiction", {"histogram": [[100.5, 1]]}, "$.workloads[0].isl.histogram[0][0]: ", "half a token"),
    ("contradiction", {"histogram": [[1e9, 1]]}, "$.workloads[0].isl.histogram[0][0]: ", "a billion tokens"),
    ("contradiction", {"histogram": [[9, 1], [9, 2]]}, "$.workloads[0].isl.histogram[1][0]: ", "a bin twice"),
    ("contradiction", {"mean": 9, "std": 9, "min_tokens": 8, "max_tokens": 7}, "$.workloads[0].isl.max_tokens: ",
     "limits the wrong way round"),
)  # fmt: skip
"""What is no length: level, value, place, name."""


def lengths() -> Iterator[Mutation]:
    """Lengths that say nothing, or two things; traffic besides lengths."""
    for level, value, place, name in LENGTHS:
        yield _of(f"isl: {name}", level, place, changes(("$.workloads[0].isl", value)))
        yield _of(f"osl: {name}", level, place.replace("isl", "osl"), changes(("$.workloads[0].osl", value)))
    bins = [[tokens, 1] for tokens in range(1, 41)]
    many = changes(("$.workloads[0].isl", {"histogram": bins}), ("$.workloads[0].osl", {"histogram": bins}))
    yield _of("isl: 1600 pairs of lengths", "contradiction", "$.workloads[0].isl: ", many)
    workload = good()["workloads"][0]
    trace = {"trace": "curves.csv", "format": "azure"}
    bare = without(without(workload, "$.isl"), "$.osl")
    both = {**bare, "isl": 100, "traffic": trace}
    yield _of("traffic: besides isl", "contradiction", "$.workloads[0].isl: ", changes(("$.workloads[0]", both)))
    for name, value, place in (
        ("without a file", {"format": "azure"}, "trace"),
        ("without a format", {"trace": "curves.csv"}, "format"),
        ("of an unknown format", {**trace, "format": "vllm"}, "format"),
        ("with an unknown key", {**trace, "max_tokens": 9}, "max_tokens"),
        ("with a limit of 0", {**trace, "max_osl": 0}, "max_osl"),
        ("with a limit that is a text", {**trace, "min_isl": "9"}, "min_isl"),
        ("with half a token", {**trace, "min_osl": 0.5}, "min_osl"),
    ):
        document = changes(("$.workloads[0]", {**bare, "traffic": value}))
        yield _of(f"traffic: {name}", "schema", f"$.workloads[0].traffic.{place}: ", document)
    wrong = {**bare, "traffic": {**trace, "min_isl": 9, "max_isl": 8}}
    place = "$.workloads[0].traffic.max_isl: "
    yield _of("traffic: limits the wrong way round", "contradiction", place, changes(("$.workloads[0]", wrong)))
    for how in ("p50", "p50_power_of_two"):
        document = changes(("$.workloads[0].lengths", how))
        yield _of(f"{how} of one length", "contradiction", "$.workloads[0].lengths: ", document)


def _roofline(**options: Any) -> dict[str, Any]:
    return changes(("$.cost_model", {"kind": "roofline", **options}))


def engine_options() -> Iterator[Mutation]:
    """Options of engines and cost models: out of range, or where nothing can price them."""
    for key, value in (
        ("kv_reservation", "half"),
        ("kv_reservation", "p49"),
        ("kv_reservation", "p100"),
        ("kv_reservation", 0.5),
        ("pp_efficiency", "meassured"),
        ("pp_efficiency", 0.9),
        ("expert_imbalance", 0.9),
        ("expert_imbalance", "even"),
        ("cache_up_projection", 1),
        ("basis", "measured"),
        ("basis", None),
    ):
        yield _of(f"{key} {value}", "schema", f"$.cost_model.{key}: ", _roofline(**{key: value}))
        in_curves = changed(good(), "$.cost_model", {**good()["cost_model"], key: value})
        yield _of(f"{key} {value} with curves", "schema", f"$.cost_model.{key}: ", in_curves)
    for name, value in (("2", 1.01), ("2", 0), ("2", "most")):
        place = f"$.cost_model.pp_efficiency.{name}: "
        yield _of(f"pp_efficiency of {value}", "schema", place, _roofline(pp_efficiency={name: value}))
    for name in ("1", "0", "two", "2.0", "02", "10000", ""):
        place = f"$.cost_model.pp_efficiency.{name}: "
        yield _of(f"pp_efficiency at {name!r}", "contradiction", place, _roofline(pp_efficiency={name: 0.9}))
    chat = good()["workloads"][0]
    speculative = {"draft_tokens": 3, "accepted_tokens": 2.5}
    for key, value in (("prefix_hit_rate", 0.5), ("speculative", speculative)):
        document = changes(("$.workloads[0]", {**chat, key: value}))
        yield _of(f"{key} with curves", "contradiction", f"$.workloads[0].{key}: ", document)
    more = changed(_roofline(), "$.workloads[0]", {**chat, "speculative": {**speculative, "accepted_tokens": 4.5}})
    place = "$.workloads[0].speculative.accepted_tokens: "
    yield _of("more tokens accepted than drafted", "contradiction", place, more)
    for key, value in (("draft_tokens", 0), ("draft_tokens", 2.5), ("accepted_tokens", 0.5), ("accepted_tokens", "2")):
        document = changed(_roofline(), "$.workloads[0]", {**chat, "speculative": {**speculative, key: value}})
        yield _of(f"{key} {value}", "schema", f"$.workloads[0].speculative.{key}: ", document)
        document = changed(_roofline(), "$.workloads[0]", {**chat, "speculative": without(speculative, f"$.{key}")})
        yield _of(f"{value} without {key}", "schema", f"$.workloads[0].speculative.{key}: ", document)
    yield _of("a hit rate of 1", "schema", "$.workloads[0].prefix_hit_rate: ",
              changes(("$.workloads[0].prefix_hit_rate", 1)))  # fmt: skip
    yield _of("a percentile of 101", "schema", "$.workloads[0].sla.ttft_percentile: ",
              changes(("$.workloads[0].sla.ttft_percentile", 101)))  # fmt: skip
    for key in ("backend_version", "cache"):
        document = changes(("$.cost_model", {"kind": "silicon", key: ""}))
        yield _of(f"an empty {key}", "schema", f"$.cost_model.{key}: ", document)
    missing = changes(("$.cost_model", {"kind": "roofline"}), ("$.workloads[0].model", "no/such/config.json"))
    yield _of("a model file that is not there", "curves", "$.workloads[0].model: ", missing)


DEVICE = {
    "bf16_tflops": 500, "fp8_tflops": 1000, "fp4_tflops": None, "memory_gib": 96, "memory_gbps": 4000,
    "nvlink_gbps": 400, "link_gbps": 50, "like": "h100_sxm", "source": "data sheet",
}  # fmt: skip


def devices() -> Iterator[Mutation]:
    """GPUs described in the instance."""
    pool = good()["pools"][0]

    def with_device(device: Any) -> dict[str, Any]:
        return changed(_roofline(), "$.pools[0]", {**pool, "device": device})

    yield _of("device with curves", "contradiction", "$.pools[0].device: ",
              changes(("$.pools[0]", {**pool, "device": DEVICE})))  # fmt: skip
    yield _of("device like nothing", "curves", "$.pools[0].device: ", with_device({**DEVICE, "like": "h1000"}))
    yield _of("device by name", "schema", "$.pools[0].device: ", with_device("h100"))
    yield _of("device with a price", "schema", "$.pools[0].device.usd: ", with_device({**DEVICE, "usd": 1}))
    for key, value in DEVICE.items():
        if key not in ("fp8_tflops", "fp4_tflops", "like"):
            place = f"$.pools[0].device.{key}: "
            yield _of(f"device without {key}", "schema", place, with_device(without(DEVICE, f"$.{key}")))
        wrong: tuple[Any, ...] = ("", 5) if isinstance(value, str) else (0, -1, "many", True)
        for other in wrong:
            yield _of(f"device with {key} {other!r}", "schema", f"$.pools[0].device.{key}: ",
                      with_device({**DEVICE, key: other}))  # fmt: skip


def handover() -> Iterator[Mutation]:
    """The KV hand-over: bandwidth of GPUs, links between pools, models of unknown shape."""
    for value in (0, -1, 1_000_001, "25", None, True):
        yield _of(f"kv_gbps {value}", "schema", "$.pools[0].kv_gbps: ", changed(good(), "$.pools[0].kv_gbps", value))
    link = {"from": "pool", "to": "other", "gbps": 25}
    for key, value in (("from", 1), ("to", ""), ("gbps", 0), ("both_ways", "yes")):
        document = changed(good(), "$.kv_links", [{**link, key: value}])
        yield _of(f"link with {key} {value}", "schema", f"$.kv_links[0].{key}: ", document)
    for key in ("from", "to", "gbps"):
        document = changed(good(), "$.kv_links", [{name: value for name, value in link.items() if name != key}])
        yield _of(f"link without {key}", "schema", f"$.kv_links[0].{key}: ", document)
    wide = changed(good(), "$.kv_links", [{**link, "width": 1}])
    yield _of("link with width", "schema", "$.kv_links[0].width: ", wide)
    yield _of("kv_links as an object", "schema", "$.kv_links: ", changed(good(), "$.kv_links", {"pool": "other"}))
    level, pools = "contradiction", [good()["pools"][0], {**good()["pools"][0], "name": "other"}]
    two = changed(good(), "$.pools", pools)
    for label, items, where in (
        ("to nowhere", [{**link, "to": "none"}], "$.kv_links[0].to: "),
        ("from nowhere", [{**link, "from": "none"}], "$.kv_links[0].from: "),
        ("to the pool itself", [{**link, "to": "pool"}], "$.kv_links[0].to: "),
        ("twice", [link, link], "$.kv_links[1]: "),
        ("back twice", [{**link, "both_ways": True}, {"from": "other", "to": "pool", "gbps": 1}], "$.kv_links[1]: "),
    ):
        yield _of(f"a link {label}", level, where, changed(two, "$.kv_links", items))
    chat = good()["workloads"][0]
    both = changed(changed(two, "$.kv_links", [link]), "$.workloads", [chat, {**chat, "name": "batch"}])
    yield _of("links and two workloads", level, "$.kv_links: ", both)
    six = changed(good(), "$.pools", [{**pools[0], "name": f"pool{index}"} for index in range(6)])
    yield _of("links and six pools", level, "$.kv_links: ", changed(six, "$.kv_links", []))
    bare = without(without(without(good(), "$.budget"), "$.serving.min_replicas"), "$.serving.max_replicas")
    limit = changed(changed(bare, "$.pools[0].gpus", "unlimited"), "$.objective", "throughput_per_gpu")
    yield _of("links and unlimited GPUs", level, "$.kv_links: ", changed(limit, "$.kv_links", []))
    unknown = changed(good(), "$.pools[0].kv_gbps", 25)
    yield _of("kv_gbps for an unknown model", "curves", "$.workloads[0].model: ", unknown)


def survival() -> Iterator[Mutation]:
    """A loss to survive: what it may be, and what it is not covered with."""
    at = "$.serving.survive"
    for kind in ("nodes", "domains"):
        for value in (0, -1, 101, 1.5, "1", None, True):
            document = changed(good(), at, {kind: value})
            yield _of(f"survive {kind} {value}", "schema", f"{at}.{kind}: ", document)
    yield _of("survive gpus", "schema", f"{at}.gpus: ", changed(good(), at, {"gpus": 1}))
    yield _of("survive as a number", "schema", f"{at}: ", changed(good(), at, 1))
    level, plain = "contradiction", changed(good(), "$.serving.rate_match", "min")
    yield _of("survive nothing", level, f"{at}: ", changed(plain, at, {}))
    yield _of("survive both", level, f"{at}: ", changed(plain, at, {"nodes": 1, "domains": 1}))
    yield _of("survive and decode_covers", level, f"{at}: ", changed(good(), at, {"nodes": 1}))
    ready = changed(plain, at, {"nodes": 1})
    where = "$.pools[0].gpus_per_node"
    yield _of("survive without nodes", level, f"{where}: ", without(ready, where))
    yield _of("survive with odd nodes", level, f"{where}: ", changed(ready, where, 3))
    yield _of("survive and a ratio", level, f"{at}: ", changed(ready, "$.objective", "throughput_per_gpu"))
    yield _of("survive and a hand-over", level, f"{at}: ", changed(ready, "$.pools[0].kv_gbps", 25))
    yield _of("survive no demand", level, f"{at}: ", without(ready, "$.workloads[0].requests_per_s"))


def texts() -> Iterator[Mutation]:
    """Files that are no JSON, or in no encoding that we read."""
    plain = encoded(good())
    accented = encoded(changes(("$.name", "qualité"))).replace(b"\\u00e9", "é".encode("latin-1"))
    files = {
        "an empty file": b"",
        "white space": b" \n\t\n",
        "prose": b"pools: 8 x H100\n",
        "YAML": b"format: disagg-instance\nversion: 1\n",
        "latin-1": accented,
        "UTF-16 with a mark": plain.decode().encode("utf-16"),
        "UTF-16 without a mark": plain.decode().encode("utf-16-le"),
        "UTF-32": plain.decode().encode("utf-32"),
        "a trailing comma": plain.replace(b'"version": 1', b'"version": 1,,', 1),
        "a trailing comma at the end": plain.rstrip().removesuffix(b"}") + b",}",
        "a comment": b"// an instance\n" + plain,
        "single quotes": plain.replace(b'"', b"'"),
        "half a file": plain[: len(plain) // 2],
        "two documents": plain + plain,
        "a line break in a text": plain.replace(b'"good"', b'"go\nod"'),
        "a bad escape": plain.replace(b'"good"', b'"go\\xod"'),
        "a NUL byte": plain.replace(b'"good"', b'"go\0od"'),
        "binary": bytes(range(256)),
        "gzip": gzip.compress(plain),
        "an unclosed list of 100000": b"[" * 100_000,
        "a list in a list, 100000 deep": b"[" * 100_000 + b"]" * 100_000,
        "an object in an object, 100000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    }
    for name, content in files.items():
        yield Mutation(name, "text", ("{instance}",), content)
    for path in ("$.name", "$.pools[0].gpus", "$.workloads[0].sla.ttft_ms", "$.cost_model.path"):
        key = str(steps(path)[-1])
        twice = re.sub(rf'("{key}": [^,\n}}]+)', r"\1, \1", plain.decode(), count=1).encode()
        yield Mutation(f"{path} twice", "text", (f"{path}: is given twice",), twice)
    yield Mutation("no file", "text", ("instance.json",), None)
    for depth in (300, 900):
        deep = Raw("[" * depth + "]" * depth)
        yield _of(f"a list in a list, {depth} deep, for a name", "schema", "$.name: ", changes(("$.name", deep)))


def odd_names() -> Iterator[Mutation]:
    """Texts that no terminal and no file system takes."""
    level = "stricter"
    yield _of("half a character as name", level, "$.name", changes(("$.name", Raw('"\\ud800"'))))
    yield _of("half a character as path", level, "$.cost_model.path", changes(("$.cost_model.path", Raw('"\\ud800"'))))
    yield _of("NUL in the path", level, "$.cost_model.path", changes(("$.cost_model.path", "a\0b.csv")))
    yield Mutation("a path of 10000 letters", "curves", ("cannot be read",),
                   encoded(changes(("$.cost_model.path", "a" * 10000))))  # fmt: skip


def instance_mutations() -> list[Mutation]:
    """All mutations of the instance file."""
    makers = (wrong_types, missing_keys, unknown_keys, wrong_choices, wrong_numbers, no_numbers, wrong_lists)
    more = (contradictions, handover, survival, lengths, engine_options, devices, texts, odd_names)
    return [mutation for maker in (*makers, *more) for mutation in maker()]


def cell(line: int, **cells: str) -> bytes:
    """The good table with other cells in a line (2 to 5)."""
    rows = [row.split(",") for row in ROWS]
    for name, value in cells.items():
        rows[line - 2][COLUMNS.index(name)] = value
    return "\n".join([HEADER, *(",".join(row) for row in rows), ""]).encode()


def _table(name: str, expected: str | tuple[str, ...], table: bytes | None, table_name: str = "curves.csv") -> Mutation:
    places = (expected,) if isinstance(expected, str) else expected
    return Mutation(
        f"table: {name}", "curves", places, encoded(changes(("$.cost_model.path", table_name))), table, table_name
    )


WHOLE_COLUMNS = ("tp", "pp", "attention_dp", "moe_tp", "moe_ep", "cp", "gpus", "domain_gpus", "batch", "isl")
DECIMAL_COLUMNS = ("latency_ms", "ttft_ms", "requests_per_s", "memory_gib")
BLANKABLE = ("ttft_ms", "requests_per_s", "memory_gib")


def table_cells() -> Iterator[Mutation]:
    """Every column with what does not belong there."""
    bad = ("nan", "inf", "-1", "1_000", "1e400", "abc", "1,5", "0x8", "٣", "1 ", "+1", "1e-400")
    for name in (*WHOLE_COLUMNS, "osl", "chunk_tokens"):
        for value in (*bad, "2.0", "1e1", "", "0"):
            if (name, value) == ("chunk_tokens", "0"):
                continue
            quoted = f'"{value}"' if "," in value else value
            line = 3 if name != "chunk_tokens" else 5
            yield _table(f"{value!r} as {name}", f"{{table}}:{line} ", cell(line, **{name: quoted}))
    for name in DECIMAL_COLUMNS:
        for value in (*bad, "0", "0.0"):
            quoted = f'"{value}"' if "," in value else value
            yield _table(f"{value!r} as {name}", f"{{table}}:5 {name}", cell(5, **{name: quoted}))
        if name not in BLANKABLE:
            yield _table(f"empty {name}", f"{{table}}:5 {name}", cell(5, **{name: ""}))
    for name in ("system", "backend", "backend_version", "model", "precision", "phase"):
        yield _table(f"empty {name}", f"{{table}}:4 {name}", cell(4, **{name: ""}))
        yield _table(f"{name} with a space before", f"{{table}}:4 {name}", cell(4, **{name: " x"}))
    for phase in ("Prefill", "mixed", "colocated "):
        yield _table(f"phase {phase!r}", "{table}:2 phase", cell(2, phase=phase))


def table_rules() -> Iterator[Mutation]:
    """Rows whose cells contradict each other."""
    yield _table("gpus is no product", "{table}:2 gpus", cell(2, gpus="4"))
    yield _table("gpus is no product, cp", "{table}:3 gpus", cell(3, cp="2"))
    yield _table("experts over the wrong number of GPUs", "{table}:3 ", cell(3, moe_tp="3"))
    yield _table("batch no multiple of attention_dp", "{table}:3 batch", cell(3, batch="5"))
    yield _table("a row twice", "{table}:4 batch", cell(4, batch="4"))
    yield _table("co-located without a rate", "{table}:5 ", cell(5, requests_per_s=""))
    yield _table("co-located without ttft", "{table}:5 ", cell(5, ttft_ms=""))
    yield _table("co-located without osl", "{table}:5 ", cell(5, osl=""))
    yield _table("co-located without chunk", "{table}:5 chunk_tokens", cell(5, chunk_tokens="0"))
    yield _table("decode with chunk", "{table}:3 chunk_tokens", cell(3, chunk_tokens="100"))
    yield _table("osl in prefill", "{table}:2 ", cell(2, osl="11"))
    yield _table("decode without osl", "{table}:3 ", cell(3, osl=""))
    yield Mutation(
        "decode with osl 1 and no rate",
        "curves",
        ("{table}:3 requests_per_s",),
        encoded(changes(("$.workloads[0].osl", 1), ("$.workloads[0].backend", None))),
        cell(3, osl="1", requests_per_s=""),
    )


def table_files() -> Iterator[Mutation]:
    """Tables that are no tables."""
    lines = GOOD_TABLE.decode().splitlines()
    packed = gzip.compress(GOOD_TABLE)
    table = "{table}"
    yield _table("an empty file", table, b"")
    yield _table("a blank", table, b" ")
    yield _table("a header alone", table, HEADER.encode() + b"\n")
    yield _table("rows without a header", f"{table}:1", "\n".join(lines[1:]).encode())
    yield _table("a NUL byte", table, GOOD_TABLE.replace(b"org/toy", b"org\0toy", 1))
    yield _table("UTF-16", table, GOOD_TABLE.decode().encode("utf-16"))
    yield _table("latin-1", table, GOOD_TABLE.replace(b"org/toy", "org/toyé".encode("latin-1"), 1))
    yield _table("semicolons", f"{table}:1", GOOD_TABLE.replace(b",", b";"))
    yield _table("tabs", f"{table}:1", GOOD_TABLE.replace(b",", b"\t"))
    yield _table("half a gzip file", table, packed[: len(packed) // 2], "curves.csv.gz")
    yield _table("a gzip file of ten bytes", table, packed[:10], "curves.csv.gz")
    yield _table("a gzip file with a wrong sum", table, packed[:-8] + b"\0" * 8, "curves.csv.gz")
    yield _table("a gzip file with damage", table, packed[:40] + b"\xff" * 20 + packed[60:], "curves.csv.gz")
    yield _table("plain text named .gz", table, GOOD_TABLE, "curves.csv.gz")
    yield _table("binary", table, bytes(range(1, 256)) * 4)
    yield _table("no such table", table, None)
    yield _table("a cell of 200000 letters", f"{table}:3", cell(3, precision="x" * 200_000 + " y:\t"))
    for name in COLUMNS:
        without_it = [",".join(c for i, c in enumerate(row.split(",")) if i != COLUMNS.index(name)) for row in lines]
        yield _table(f"no column {name}", f"{table}:1 {name}", "\n".join(without_it).encode())
    yield _table(
        "an unknown column",
        f"{table}:1 'tokens'",
        "\n".join([f"{HEADER},tokens", *(f"{row},1" for row in lines[1:])]).encode(),
    )
    yield _table(
        "a column twice", f"{table}:1 tp", "\n".join([f"{HEADER},tp", *(f"{row},1" for row in lines[1:])]).encode()
    )
    yield _table("columns in capitals", f"{table}:1 'TP'", GOOD_TABLE.replace(HEADER.encode(), HEADER.upper().encode()))
    yield _table("a short row", f"{table}:4", "\n".join([*lines[:3], lines[3].rsplit(",", 1)[0], lines[4]]).encode())
    yield _table("a long row", f"{table}:4", "\n".join([*lines[:3], lines[3] + ",", lines[4]]).encode())
    yield _table("an open quote", f"{table}:4", "\n".join([*lines[:3], '"' + lines[3], lines[4]]).encode())


AZURE = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
MOONCAKE = b'{"timestamp": 0, "input_length": 40160, "output_length": 6, "hash_ids": [0, 1]}\n'
HISTOGRAM = b"isl,osl,requests\n100,10,3\n"
TRACES: tuple[tuple[str, str, bytes | None, str], ...] = (
    ("azure", "no file", None, "trace"),
    ("azure", "an empty file", b"", "trace"),
    ("azure", "a header alone", AZURE.splitlines()[0], "trace"),
    ("azure", "another header", AZURE.replace(b"Context", b"Prompt"), "trace:1"),
    ("azure", "no header", AZURE.splitlines()[1], "trace:1"),
    ("azure", "a negative length", AZURE.replace(b"374", b"-374"), "trace:2 ContextTokens"),
    ("azure", "a length of 0", AZURE.replace(b",44", b",0"), "trace:2 GeneratedTokens"),
    ("azure", "a length that is a word", AZURE.replace(b",44", b",many"), "trace:2 GeneratedTokens"),
    ("azure", "half a token", AZURE.replace(b",44", b",44.5"), "trace:2 GeneratedTokens"),
    ("azure", "nan", AZURE.replace(b",44", b",nan"), "trace:2 GeneratedTokens"),
    ("azure", "no length", AZURE.replace(b",44", b","), "trace:2 GeneratedTokens"),
    ("azure", "a length of 30 digits", AZURE.replace(b"374", b"9" * 30), "trace:2 ContextTokens"),
    ("azure", "a cell too few", AZURE.replace(b",44", b""), "trace:2"),
    ("azure", "a blank line between", AZURE.replace(b"\n", b"\n\n", 1), "trace:2"),
    ("azure", "JSON lines", MOONCAKE, "trace:1"),
    ("azure", "broken gzip", b"\x1f\x8b" + AZURE, "trace"),
    ("azure", "latin-1", AZURE + "é".encode("latin-1"), "trace"),
    ("mooncake", "an empty file", b"\n", "trace"),
    ("mooncake", "a table", AZURE, "trace:1"),
    ("mooncake", "a list", b"[1, 2]\n", "trace:1"),
    ("mooncake", "half a line", MOONCAKE[:40], "trace:1"),
    ("mooncake", "no output_length", MOONCAKE.replace(b"output", b"decode"), "trace:1 output_length"),
    ("mooncake", "an unknown key", MOONCAKE.replace(b"timestamp", b"time"), "trace:1 time"),
    ("mooncake", "a negative length", MOONCAKE * 2 + MOONCAKE.replace(b": 6", b": -6"), "trace:3 output_length"),
    ("mooncake", "a length of 0", MOONCAKE.replace(b": 6", b": 0"), "trace:1 output_length"),
    ("mooncake", "a length as text", MOONCAKE.replace(b": 6", b': "6"'), "trace:1 output_length"),
    ("mooncake", "a length of true", MOONCAKE.replace(b": 6", b": true"), "trace:1 output_length"),
    ("mooncake", "NaN", MOONCAKE.replace(b": 6", b": NaN"), "trace:1 output_length"),
    ("mooncake", "half a token", MOONCAKE.replace(b": 6", b": 6.5"), "trace:1 output_length"),
    ("histogram", "a header alone", b"isl,osl,requests\n", "trace"),
    ("histogram", "another order", HISTOGRAM.replace(b"isl,osl", b"osl,isl"), "trace:1"),
    ("histogram", "no requests", HISTOGRAM.replace(b",3", b",0"), "trace:2 requests"),
    ("histogram", "a pair twice", HISTOGRAM + b"100,10,4\n", "trace:3"),
    ("histogram", "a negative length", HISTOGRAM.replace(b"100", b"-100"), "trace:2 isl"),
    ("histogram", "too many requests", HISTOGRAM + b"100,11,9999999\n", "trace"),
)
"""Traces that cannot be read: format, name, content, place."""


def traces() -> Iterator[Mutation]:
    """Faults in a trace, with its line."""
    bare = without(without(good()["workloads"][0], "$.isl"), "$.osl")
    for form, name, content, place in TRACES:
        workload = {**bare, "traffic": {"trace": "trace", "format": form}}
        document = encoded(changes(("$.workloads[0]", workload)))
        yield Mutation(f"trace: {form}, {name}", "curves", (place,), document, content, "trace")


def table_matches() -> Iterator[Mutation]:
    """Tables in which nothing fits: the message lists what is there."""
    there = ("$.workloads[0]", "toy", "org/toy", "100/11")
    for path, value in {
        "$.pools[0].gpu": "h100",
        "$.workloads[0].model": "org/other",
        "$.workloads[0].isl": 101,
    }.items():
        yield Mutation(f"no row for {path} {value}", "curves", there, encoded(changes((path, value))))


def table_mutations() -> list[Mutation]:
    """All mutations of the table."""
    makers = (table_cells, table_rules, table_files, traces, table_matches)
    return [mutation for maker in makers for mutation in maker()]


def good_files() -> list[Mutation]:
    """Odd files that are fine."""
    plain = encoded(good())
    mark = b"\xef\xbb\xbf"
    backwards = ",".join(reversed(COLUMNS)), *(",".join(reversed(row.split(","))) for row in ROWS)
    listed = encoded(changes(("$.cost_model.path", ["curves.csv"])))
    packed = encoded(changes(("$.cost_model.path", "curves.csv.gz")))
    spaced = encoded(changes(("$.workloads[0].sla.ttft_ms", Raw("1e3")), ("$.pools[0].usd_per_gpu_hour", Raw("-0.0"))))
    return [
        Mutation("the good instance", "good", (), plain),
        Mutation("instance with a byte order mark", "good", (), mark + plain),
        Mutation("instance with Windows line ends", "good", (), plain.replace(b"\n", b"\r\n")),
        Mutation("instance on one line", "good", (), plain.replace(b"\n", b"")),
        Mutation("exponents and a negative zero", "good", (), spaced),
        Mutation("a list of one table", "good", (), listed),
        Mutation("table with a byte order mark", "good", (), plain, mark + GOOD_TABLE),
        Mutation("table with Windows line ends", "good", (), plain, GOOD_TABLE.replace(b"\n", b"\r\n")),
        Mutation("table without a last line break", "good", (), plain, GOOD_TABLE.rstrip()),
        Mutation("columns in another order", "good", (), plain, "\n".join([*backwards, ""]).encode()),
        Mutation("a gzip table", "good", (), packed, gzip.compress(GOOD_TABLE), "curves.csv.gz"),
        Mutation("a gzip table not named so", "good", (), plain, gzip.compress(GOOD_TABLE)),
        Mutation("quoted cells", "good", (), plain, GOOD_TABLE.replace(b"org/toy", b'"org/toy"')),
    ]
