"""The verifier: valid documents of every kind pass, and each single lie is found in the family that it breaks."""

from __future__ import annotations

import ast
import copy
import itertools
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import solver.verifier as verify_module
from costmodels.operating_curve import ROLES, OperatingCurve, Role
from costmodels.partition import Partition
from solver.engines import Engine, EngineSet
from solver.instance import Budget, Instance, Pattern, Pool, Serving, Workload
from solver.verifier import Verification, verify, verify_frontier
from solver.verify_packing import packs
from tests.oracles.packing import packs as oracle_packs

Json = Any
Pick = tuple[Role, Engine, int, int | Fraction]
F = Fraction
ONE = Partition()


def curve(role: Role, partition: Partition = ONE, **changes: Any) -> OperatingCurve:
    """Two breakpoints, batch 1 and 9 ranks; 20 to 40 ms decode, 100 to 300 ms prefill."""
    dp = partition.attention_dp
    latency = {"prefill": (F(100), F(300)), "decode": (F(20), F(40)), "colocated": (F(25), F(50))}[role]
    rate = {"prefill": (F(8), F(20)), "decode": (F(3), F(10)), "colocated": (F(1), F(7, 3))}[role]
    values: dict[str, Any] = {
        "role": role,
        "system": "h200_sxm",
        "backend": "trtllm",
        "backend_version": "1.0",
        "model": "m",
        "precision": "gemm:fp8 kv:fp8",
        "partition": partition,
        "domain_gpus": 8,
        "chunk_tokens": 512 if role == "colocated" else 0,
        "batch": (dp, 9 * dp),
        "latency_ms": latency,
        "requests_per_s": rate,
        "ttft_ms": (F(150), F(400)) if role == "colocated" else (),
        "interpolate": True,
    }
    return OperatingCurve(**(values | changes))


POOL = Pool("h200", "h200_sxm", 24, 8, usd_per_gpu_hour=F("3.1"), watts_per_gpu=F(700), memory_gib=F(140))
CHAT = Workload("chat", "m", 1000, 101, ttft_ms=F(400), tpot_ms=F(40))
TP4, TP2, DP4 = Partition(tp=4, moe_tp=4), Partition(tp=2, moe_tp=2), Partition(attention_dp=4, moe_ep=4)


def engine_set(*offers: tuple[Workload, Pool, OperatingCurve]) -> EngineSet:
    engines = tuple(Engine(index, *offer) for index, offer in enumerate(offers))
    return EngineSet(engines, {}, (), "by hand", "none")


def num(value: Fraction | int | None) -> float | None:
    return None if value is None else float(value)


def ratio(value: Fraction | int | None) -> str | None:
    return None if value is None else f"{F(value).numerator}/{F(value).denominator}"


def entry(engine: Engine, batch: int, replicas: int | Fraction, is_real: bool) -> Json:
    point, partition = engine.curve.at(batch), engine.curve.partition
    exact = {"latency_ms": point.latency_ms, "ttft_ms": point.ttft_ms, "requests_per_s": point.requests_per_s}
    return {
        "pool": engine.pool.name,
        "partition": {
            name: getattr(partition, name) for name in ("tp", "pp", "attention_dp", "moe_tp", "moe_ep", "cp")
        },
        "precision": engine.curve.precision,
        "backend": engine.curve.backend,
        "backend_version": engine.curve.backend_version,
        "domain_gpus": engine.curve.domain_gpus,
        "chunk_tokens": engine.curve.chunk_tokens,
        "batch": batch,
        "replicas": ratio(replicas) if is_real else replicas,
        "gpus": ratio(replicas * partition.gpus) if is_real else replicas * partition.gpus,
        **{name: num(value) for name, value in exact.items()},
        "exact": {name: ratio(value) for name, value in exact.items()},
    }


def service(instance: Instance, workload: Workload, mode: str, picks: list[Pick]) -> tuple[Json, Fraction]:
    """One workload's part of the document, and its credited requests/s."""
    caps = {
        role: instance.serving.utilization[role]
        * sum((F(n) * e.curve.at(b).requests_per_s for r, e, b, n in picks if r == role), F(0))
        for role in ROLES
    }
    carried = min(caps[role] for role in workload.roles("disaggregated")) + caps["colocated"]
    most = workload.max_requests_per_s
    credited = carried if most is None or instance.is_unlimited else min(carried, most)
    used = {role for role, *_ in picks}
    rates: dict[str, Fraction | None] = {"requests_per_s": credited}
    rates |= {f"{role}_requests_per_s": caps[role] if role in used else None for role in ROLES}
    part: Json = {
        "workload": workload.name,
        "mode": mode,
        "exact": {name: ratio(value) for name, value in rates.items()},
    }
    part |= {role: [entry(e, b, n, instance.is_unlimited) for r, e, b, n in picks if r == role] for role in ROLES}
    part |= {name: num(value) for name, value in rates.items()}
    return part, credited


def document(instance: Instance, answers: dict[str, tuple[str, list[Pick]]], placement: Json = None) -> Json:
    """A valid result, written down from the definitions."""
    parts, weighted, tokens, requests = [], F(0), F(0), F(0)
    for workload in instance.workloads:
        part, credited = service(instance, workload, *answers[workload.name])
        parts.append(part)
        requests += credited
        tokens += credited * workload.osl
        weighted += credited * workload.osl * workload.weight
    picks = [pick for _, some in answers.values() for pick in some]
    gpus = {pool.name: F(0) for pool in instance.pools}
    for _, engine, _, replicas in picks:
        gpus[engine.pool.name] += replicas * engine.curve.partition.gpus
    used = sum(gpus.values(), F(0))
    counted = {p.name: F(p.gpus or 0) for p in instance.pools} if instance.budget.count_idle else gpus

    def spent(attribute: str) -> Fraction | None:
        each = {pool.name: getattr(pool, attribute) for pool in instance.pools}
        if any(each[name] is None and number for name, number in counted.items()):
            return None
        return sum(((each[name] or 0) * number for name, number in counted.items()), F(0))

    usd = spent("usd_per_gpu_hour")
    tpot = max((e.curve.at(b).latency_ms for role, e, b, _ in picks if role != "prefill"), default=None)
    ttft = max((t for _, e, b, _ in picks if (t := e.curve.at(b).ttft_ms) is not None), default=None)
    per_used = weighted / used if used else None
    objective = {"throughput": weighted, "throughput_per_gpu": per_used, "gpus": used, "cost": usd}[instance.objective]
    by_used = instance.objective == "throughput_per_gpu"
    totals = {
        "requests_per_s": requests,
        "output_tokens_per_s": tokens,
        "tokens_per_s_per_gpu": per_used if by_used else weighted / instance.inventory_gpus,
        "tokens_per_s_per_user": 1000 / tpot if tpot is not None else None,
        "ttft_ms": ttft,
        "tpot_ms": tpot,
        "gpus_used": used,
        "usd_per_hour": usd,
        "usd_per_million_output_tokens": usd / (tokens * 3600 / 10**6) if usd is not None and tokens else None,
        "watts": spent("watts_per_gpu"),
    }
    deployment = {"workloads": parts} | ({} if placement is None else {"placement": placement})
    return {
        "format": "disagg-result",
        "version": 1,
        "instance": instance.name,
        "instance_hash": "0123",
        "status": "optimal",
        "objective_kind": instance.objective,
        "objective": num(objective),
        "bound": num(objective),
        "gap": 0.0,
        "exact": {"objective": ratio(objective), "bound": ratio(objective)},
        "feasibility": "verified exactly",
        "proof": "proved by hand",
        "wall_time_s": 0.1,
        "deployment": deployment,
        "totals": {name: num(value) for name, value in totals.items()}
        | {"exact": {name: ratio(value) for name, value in totals.items()}},
    }


class Case:
    """An instance with engines by name, and a valid answer that mutations start from."""

    def __init__(
        self,
        engines: dict[str, tuple[Workload, Pool, OperatingCurve]],
        answers: dict[str, tuple[str, list[tuple[str, int, int | Fraction]]]],
        placement: Json = None,
        **instance: Any,
    ) -> None:
        self.engines = engine_set(*engines.values())
        self.by_name = dict(zip(engines, self.engines.engines, strict=True))
        pools = tuple({pool.name: pool for _, pool, _ in engines.values()}.values())
        workloads = tuple({workload.name: workload for workload, _, _ in engines.values()}.values())
        self.instance = Instance("case", **({"pools": pools, "workloads": workloads} | instance))
        self.answers = {
            name: (mode, [(self.by_name[e].curve.role, self.by_name[e], b, n) for e, b, n in picks])
            for name, (mode, picks) in answers.items()
        }
        self.document = document(self.instance, self.answers, placement)

    def verify(self, document: Json = None, instance: Instance | None = None) -> Verification:
        return verify(instance or self.instance, self.engines, self.document if document is None else document)

    def changed(self, **changes: Any) -> Verification:
        """The same deployment, written down anew for an instance with other rules."""
        instance = replace(self.instance, **changes)
        return self.verify(document(instance, self.answers), instance)


DISAGGREGATED: dict[str, tuple[str, list[tuple[str, int, int | Fraction]]]] = {
    "chat": ("disaggregated", [("prefill", 3, 2), ("decode", 20, 3)])
}
OFFERS = {
    "prefill": (CHAT, POOL, curve("prefill", TP2)),
    "prefill4": (CHAT, POOL, curve("prefill", TP4)),
    "decode": (CHAT, POOL, curve("decode", DP4)),
    "decode4": (CHAT, POOL, curve("decode", TP4)),
    "decode_kv": (CHAT, POOL, curve("decode", TP2, precision="gemm:fp8 kv:bfloat16")),
    "decode_vllm": (CHAT, POOL, curve("decode", TP2, backend="vllm")),
    "colocated": (CHAT, POOL, curve("colocated", TP4)),
    "colocated_long": (CHAT, POOL, curve("colocated", TP4, chunk_tokens=2048)),
}


def base(**instance: Any) -> Case:
    return Case(OFFERS, DISAGGREGATED, **instance)


def of(*picks: tuple[str, int, int | Fraction], mode: str = "disaggregated", **instance: Any) -> Case:
    return Case(OFFERS, {"chat": (mode, list(picks))}, **instance)


def with_workload(
    workload: Workload, *picks: tuple[str, int, int | Fraction], mode: str = "disaggregated", **rest: Any
) -> Case:
    offers = {name: (workload, pool, curve) for name, (_, pool, curve) in OFFERS.items()}
    return Case(offers, {workload.name: (mode, list(picks))}, **rest)


def with_pool(pool: Pool, *picks: tuple[str, int, int | Fraction], mode: str = "disaggregated", **rest: Any) -> Case:
    offers = {name: (workload, pool, curve) for name, (workload, _, curve) in OFFERS.items()}
    return Case(offers, {"chat": (mode, list(picks))}, **rest)


def families(verification: Verification) -> set[str]:
    return {fault.split(":", 1)[0] for fault in verification.faults}


def grouped(sizes: dict[int, int], gpus: int, domain: int, placement: Json = None) -> Case:
    """Co-located engines of the given stage group sizes on one pool."""
    pool = replace(POOL, gpus=gpus, nvlink_domain_gpus=domain)
    workload = replace(CHAT, ttft_ms=None, tpot_ms=None)
    offers = {
        f"g{s}": (workload, pool, curve("colocated", Partition(tp=s, moe_tp=s), domain_gpus=domain)) for s in sizes
    }
    answers: Any = {"chat": ("colocated", [(f"g{size}", 1, count) for size, count in sizes.items()])}
    return Case(offers, answers, placement, serving=Serving(engines_per_role=None))


# ----------------------------------------------------------------------------------------------- valid documents


def two_pools() -> Case:
    far = Pool("far", "b200_sxm", 20, 72, usd_per_gpu_hour=None)
    other = Workload(
        "code", "m", 10, 11, weight=F("0.5"), e2el_ms=F(100 + 10 * 20), precision=dict.fromkeys(ROLES, "fp8")
    )
    offers = {
        "p": (CHAT, POOL, curve("prefill", TP2)),
        "d": (CHAT, far, curve("decode", TP4, system="b200_sxm", domain_gpus=72)),
        "d2": (CHAT, POOL, curve("decode", TP4)),
        "op": (other, far, curve("prefill", system="b200_sxm", domain_gpus=72)),
        "od": (other, POOL, curve("decode")),
    }
    return Case(
        offers,
        {
            "chat": ("disaggregated", [("p", 2, 3), ("d", 9, 4), ("d2", 1, 1)]),
            "code": ("disaggregated", [("op", 1, 2), ("od", 1, 5)]),
        },
    )


def one_token() -> Case:
    workload = replace(CHAT, osl=1, e2el_ms=F(100))
    return with_workload(workload, ("prefill", 1, 3))


def unlimited(scale: Fraction | int = 1) -> Case:
    pool = Pool("h200", "h200_sxm", None, 8)
    return with_pool(
        pool, ("prefill", 3, F(1, 7) * scale), ("decode", 20, F(3, 11) * scale), objective="throughput_per_gpu"
    )


def whole_domains() -> Case:
    """Groups of 16 GPUs in domains of 8: priced for the slower link, two whole domains each."""
    pool = replace(POOL, gpus=44)
    offers = {
        "big": (CHAT, pool, curve("decode", Partition(tp=16, moe_tp=16))),
        "small": (CHAT, pool, curve("prefill", TP4)),
    }
    placement = {"h200": [{"domains": 1, "gpus": 8, "groups": {"4": 2}}, {"domains": 1, "gpus": 4, "groups": {"4": 1}}]}
    return Case(offers, {"chat": ("disaggregated", [("big", 1, 2), ("small", 1, 3)])}, placement)


def pipelined() -> Case:
    """PP 3 x TP 4: three groups of 4 in two domains of 6, and one of 4 alone."""
    pool = replace(POOL, gpus=22, nvlink_domain_gpus=6)
    offers = {"c": (CHAT, pool, curve("colocated", Partition(tp=4, pp=3, moe_tp=4), domain_gpus=6))}
    placement = {"h200": [{"domains": 3, "gpus": 6, "groups": {"4": 1}}, {"domains": 1, "gpus": 4, "groups": {}}]}
    return Case(offers, {"chat": ("colocated", [("c", 1, 1)])}, placement)


VALID: dict[str, Callable[[], Case]] = {
    "disaggregated": base,
    "colocated": lambda: of(("colocated", 3, 2), mode="colocated"),
    "hybrid": lambda: of(
        ("prefill", 3, 2), ("decode", 20, 3), ("colocated", 2, 1), mode="hybrid", serving=Serving(hybrid=True)
    ),
    "several engines": lambda: of(
        ("prefill", 3, 2), ("prefill4", 3, 1), ("decode", 20, 3), serving=Serving(engines_per_role=2)
    ),
    "two pools": two_pools,
    "one token": one_token,
    "unlimited": unlimited,
    "unlimited at another scale": lambda: unlimited(F(10**6, 3)),
    "no scale to demand": lambda: with_workload(
        replace(CHAT, requests_per_s=F(10**6)),
        ("prefill", 1, F(1)),
        ("decode", 4, F(1)),
        pools=(replace(POOL, gpus=None),),
        objective="throughput_per_gpu",
    ),
    "utilization": lambda: base(
        serving=Serving(utilization={"prefill": F("0.7"), "decode": F("0.9"), "colocated": F(1)})
    ),
    "throughput per GPU": lambda: base(objective="throughput_per_gpu"),
    "gpus": lambda: with_workload(
        replace(CHAT, requests_per_s=F(22)), ("prefill", 3, 2), ("decode", 20, 4), objective="gpus"
    ),
    "cost": lambda: with_workload(
        replace(CHAT, requests_per_s=F(1)), ("prefill", 3, 2), ("decode", 20, 3), objective="cost"
    ),
    "cost of an owned fleet": lambda: base(objective="cost", budget=Budget(F("74.4"), F(16800), count_idle=True)),
    "capped credit": lambda: with_workload(
        replace(CHAT, max_requests_per_s=F("1.7")), ("prefill", 3, 2), ("decode", 20, 3)
    ),
    "decode covers": lambda: of(("prefill", 1, 1), ("decode", 4, 3), serving=Serving(decode_covers=True)),
    "limits met exactly": lambda: with_workload(
        replace(CHAT, ttft_ms=F(150), tpot_ms=F(30), e2el_ms=F(3150)), ("prefill", 3, 1), ("decode", 20, 1)
    ),
    "budget met exactly": lambda: base(budget=Budget(F("49.6"), F(11200))),
    "no price": lambda: with_pool(
        replace(POOL, usd_per_gpu_hour=None, watts_per_gpu=None), ("prefill", 3, 2), ("decode", 20, 3)
    ),
    "whole domains": whole_domains,
    "pipelined": pipelined,
    "nine 16-GPU groups in three domains": lambda: grouped({16: 9}, 216, 72),
    "groups of 4 and 6": lambda: grouped({4: 3, 6: 2}, 24, 12),
    "groups of 4 and 6, first fit fails": lambda: grouped({6: 4, 4: 4}, 40, 20),
    "groups of 4 and 6, placed": lambda: grouped(
        {4: 3, 6: 2},
        24,
        12,
        {"h200": [{"domains": 1, "gpus": 12, "groups": {"6": 2}}, {"domains": 1, "gpus": 12, "groups": {"4": 3}}]},
    ),
    "replica bounds": lambda: base(
        serving=Serving(
            min_replicas={("chat", "colocated"): 5, ("chat", "prefill"): 2}, max_replicas={("chat", "decode"): 3}
        )
    ),
}


@pytest.mark.parametrize("name", VALID)
def test_valid_documents_pass(name: str) -> None:
    case = VALID[name]()
    verification = case.verify()
    assert verification.faults == ()
    assert verification.ok
    assert ratio(verification.objective) == case.document["exact"]["objective"]


@pytest.mark.parametrize("name", VALID)
def test_valid_documents_pass_through_json(name: str) -> None:
    case = VALID[name]()
    text = json.dumps(case.document)
    assert case.verify(json.loads(text)).faults == ()
    assert case.verify(json.loads(text, parse_float=Decimal)).faults == ()


def test_it_shares_no_code_with_what_it_checks() -> None:
    allowed = re.compile(r"costmodels\.|networkx$|solver\.(instance|engines|verif(ier|y\w*))$")
    for file in Path(verify_module.__file__).parent.glob("verify*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            ours = [name for name in names if name and name.split(".")[0] not in sys.stdlib_module_names]
            assert all(allowed.match(name) for name in ours), (file, ours)


def test_families_checked() -> None:
    words = [family.split()[0] for family in base().verify().checked]
    assert {f"C{number}" for number in range(1, 10)} | {"objective", "totals", "proof", "mode"} <= set(words)
    skipped = {family for family in base().verify().checked if family not in unlimited().verify().checked}
    assert skipped == {"C3 inventory", "C4 NVLink packing", "C7 replicas", "C7 budget", "C9 survive"}


def test_a_workload_without_demand_may_go_unserved() -> None:
    idle = replace(CHAT, name="idle")
    case = Case(OFFERS | {"idle": (idle, POOL, curve("decode", TP2))}, DISAGGREGATED | {"idle": ("none", [])})
    assert case.verify().faults == ()


@pytest.mark.parametrize("status", ["infeasible", "unknown"])
def test_no_deployment(status: str) -> None:
    empty = base().document | {"status": status, "deployment": None, "totals": None, "objective": None, "gap": None}
    empty |= {"exact": {"objective": None, "bound": None}, "bound": None}
    verification = base().verify(empty)
    assert verification.faults == ()
    assert verification.objective is None
    assert families(base().verify(base().document | {"status": status})) == {"document"}
    assert families(base().verify(empty | {"exact": {"objective": "1/1", "bound": None}})) == {"document"}
    del empty["deployment"]
    assert families(base().verify(empty)) == {"document"}


def test_feasible_needs_no_bound() -> None:
    doc = base().document | {"status": "feasible", "bound": None, "gap": None}
    doc["exact"] |= {"bound": None}
    assert base().verify(doc).ok


# ---------------------------------------------------------------------- single lies in a document that was right


def path(*keys: str | int) -> Callable[[Json, Any], None]:
    """A function that sets a place of the document; a callable value gets the old one."""

    def put(doc: Json, value: Any) -> None:
        *way, last = keys
        for key in way:
            doc = doc[key]
        doc[last] = value(doc[last]) if callable(value) else value

    return put


CHAT_AT = ("deployment", "workloads", 0)
PREFILL, DECODE = (*CHAT_AT, "prefill", 0), (*CHAT_AT, "decode", 0)


def shift(amount: str) -> Callable[[str], str]:
    return lambda text: ratio(F(text) + F(amount)) or ""


def one_more(entry: Json) -> Json:
    return entry | {"replicas": entry["replicas"] + 1}


LIES: list[tuple[str, tuple[str | int, ...], Any, str]] = [
    ("format", ("format",), "disagg-instance", "document"),
    ("version", ("version",), 2, "document"),
    ("version as text", ("version",), "1", "document"),
    ("another instance", ("instance",), "other", "document"),
    ("no hash", ("instance_hash",), None, "document"),
    ("unknown status", ("status",), "solved", "document"),
    ("status is a list", ("status",), ["optimal"], "document"),
    ("another objective", ("objective_kind",), "gpus", "document"),
    ("unknown objective", ("objective_kind",), "happiness", "document"),
    ("no deployment", ("deployment",), None, "document"),
    ("deployment is text", ("deployment",), "all of it", "document"),
    ("no totals", ("totals",), None, "document"),
    ("objective is text", ("objective",), "123", "document"),
    ("objective is true", ("objective",), True, "document"),
    ("objective is infinite", ("objective",), float("inf"), "document"),
    ("objective is not a number", ("objective",), Decimal("NaN"), "document"),
    ("objective is absurd", ("objective",), Decimal("1e999999999"), "document"),
    ("exact objective as float", ("exact", "objective"), 2020.0, "document"),
    ("exact objective over zero", ("exact", "objective"), "1/0", "document"),
    ("exact objective in words", ("exact", "objective"), "one half", "document"),
    ("exact objective endless", ("exact", "objective"), "9" * 10000, "document"),
    ("workloads is an object", ("deployment", "workloads"), {}, "document"),
    ("workload is a number", ("deployment", "workloads", 0), 7, "document"),
    ("unknown mode", (*CHAT_AT, "mode"), "monolithic", "document"),
    ("entry is null", PREFILL, None, "document"),
    ("batch is a float", (*PREFILL, "batch"), 3.0, "document"),
    ("batch is true", (*PREFILL, "batch"), True, "document"),
    ("batch zero", (*PREFILL, "batch"), 0, "document"),
    ("replicas zero", (*PREFILL, "replicas"), 0, "document"),
    ("replicas negative", (*PREFILL, "replicas"), -2, "document"),
    ("replicas a fraction", (*PREFILL, "replicas"), "3/2", "document"),
    ("partition is a label", (*PREFILL, "partition"), "tp2", "document"),
    ("degree is text", (*PREFILL, "partition", "tp"), "2", "document"),
    ("latency is text", (*PREFILL, "latency_ms"), "150", "document"),
    ("placement is a list", ("deployment", "placement"), [], "document"),
    (
        "placement of odd sizes",
        ("deployment", "placement"),
        {"h200": [{"domains": 1, "gpus": 8, "groups": {"x": 1}}]},
        "document",
    ),
    ("unknown workload", (*CHAT_AT, "workload"), "chatter", "engine"),
    ("workload twice", ("deployment", "workloads"), lambda items: items * 2, "engine"),
    ("workload missing", ("deployment", "workloads"), [], "engine"),
    ("unknown pool", (*PREFILL, "pool"), "h100", "engine"),
    ("unknown partition", (*PREFILL, "partition", "tp"), 3, "engine"),
    ("unknown precision", (*PREFILL, "precision"), "fp4", "engine"),
    ("unknown backend", (*PREFILL, "backend"), "sglang", "engine"),
    ("unknown version", (*PREFILL, "backend_version"), "1.1", "engine"),
    ("another domain", (*PREFILL, "domain_gpus"), 72, "engine"),
    ("another chunk", (*PREFILL, "chunk_tokens"), 512, "engine"),
    ("batch between ranks", (*DECODE, "batch"), 21, "engine"),
    ("batch beyond the curve", (*DECODE, "batch"), 40, "engine"),
    ("batch another than priced", (*DECODE, "batch"), 24, "engine"),
    ("latency by 1e-9", (*DECODE, "exact", "latency_ms"), shift("0.000000001"), "engine"),
    ("latency rounded by 1e-7", (*DECODE, "latency_ms"), lambda value: value + 1e-7, "engine"),
    ("latency null", (*DECODE, "latency_ms"), None, "engine"),
    ("ttft by 1e-9", (*PREFILL, "exact", "ttft_ms"), shift("-0.000000001"), "engine"),
    ("ttft of a decode", (*DECODE, "ttft_ms"), 30.0, "engine"),
    ("exact ttft of a decode", (*DECODE, "exact", "ttft_ms"), "30/1", "engine"),
    ("rate by 1e-12", (*PREFILL, "exact", "requests_per_s"), shift("0.000000000001"), "engine"),
    ("exact rate missing", (*PREFILL, "exact"), {"latency_ms": "150/1", "ttft_ms": "150/1"}, "engine"),
    ("GPUs of an entry", (*PREFILL, "gpus"), 5, "engine"),
    ("one replica too many", PREFILL, one_more, "engine"),
    ("one replica too many, rates", PREFILL, one_more, "C1 rate matching"),
    ("mode colocated", (*CHAT_AT, "mode"), "colocated", "mode"),
    ("mode hybrid", (*CHAT_AT, "mode"), "hybrid", "mode"),
    ("mode none", (*CHAT_AT, "mode"), "none", "mode"),
    ("no decode", (*CHAT_AT, "decode"), [], "mode"),
    ("nothing at all", CHAT_AT, lambda part: part | {"prefill": [], "decode": []}, "C8 demand"),
    ("rate of the workload", (*CHAT_AT, "exact", "requests_per_s"), shift("1/1000000000000"), "C1 rate matching"),
    ("rounded rate of the workload", (*CHAT_AT, "requests_per_s"), lambda x: x * 1.00001, "C1 rate matching"),
    ("prefill flow", (*CHAT_AT, "exact", "prefill_requests_per_s"), shift("1/7"), "C1 rate matching"),
    ("decode flow null", (*CHAT_AT, "decode_requests_per_s"), None, "C1 rate matching"),
    ("flow of an unused role", (*CHAT_AT, "colocated_requests_per_s"), 0.0, "C1 rate matching"),
    ("duplicate entry", (*CHAT_AT, "decode"), lambda items: items * 2, "C5 homogeneity"),
    ("objective by 1e-12", ("exact", "objective"), shift("1/1000000000000"), "objective"),
    ("objective null", ("exact", "objective"), None, "objective"),
    ("rounded objective", ("objective",), lambda x: x + 0.001, "objective"),
    ("bound above", ("exact", "bound"), shift("1/1000000000000"), "proof"),
    ("bound below", ("exact", "bound"), shift("-1"), "proof"),
    ("bound null", ("exact", "bound"), None, "proof"),
    ("rounded bound", ("bound",), lambda x: x * 1.0001, "proof"),
    ("gap", ("gap",), 0.01, "proof"),
    ("gap negative", ("gap",), -0.01, "proof"),
    ("gap null", ("gap",), None, "proof"),
    *(
        (f"total {name}", ("totals", name), lambda x: x + 1.0, "totals")
        for name in base().document["totals"]
        if name != "exact"
    ),
    *(
        (f"exact total {name}", ("totals", "exact", name), shift("1/10000000000"), "totals")
        for name in base().document["totals"]["exact"]
    ),
    ("total null", ("totals", "watts"), None, "totals"),
]


@pytest.mark.parametrize(("where", "value", "family"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_a_lie_is_found(where: tuple[str | int, ...], value: Any, family: str) -> None:
    case = base()
    path(*where)(case.document, value)
    assert family in families(case.verify())


def test_a_small_lie_is_all_that_is_found() -> None:
    """A fault that changes no other number is reported alone, with place and numbers."""
    case = base()
    path(*DECODE, "exact", "latency_ms")(case.document, shift("1/1000000000"))
    (fault,) = case.verify().faults
    assert fault.startswith("engine: $.deployment.workloads[0].decode[0].latency_ms:")
    assert "30000000001/1000000000" in fault and " 30 recomputed" in fault


def keys_of(node: Json, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, child in items for place in ((*way, key), *keys_of(child, (*way, key)))]


OPTIONAL = ("wall_time_s",)


@pytest.mark.parametrize("where", keys_of(base().document), ids=lambda where: ".".join(map(str, where)))
def test_a_missing_key_is_a_fault(where: tuple[str | int, ...]) -> None:
    case = base()
    node = case.document
    for key in where[:-1]:
        node = node[key]
    is_null = node[where[-1]] is None
    del node[where[-1]]
    optional = where[-1] in OPTIONAL or (where[:2] == ("totals", "exact") and len(where) == 3)
    assert case.verify().ok == (optional or (is_null and where[-2] == "exact"))


@pytest.mark.parametrize("where", keys_of(base().document), ids=lambda where: ".".join(map(str, where)))
def test_no_value_makes_it_raise(where: tuple[str | int, ...]) -> None:
    values: tuple[Any, ...] = (
        None,
        True,
        -1,
        0,
        10**4000,
        1e308,
        float("nan"),
        Decimal("sNaN"),
        "",
        "x",
        "-1/3",
        "9/0",
        [],
        {},
        [[]],
        {"": 0},
        object(),
    )
    for value in values:
        case = base()
        path(*where)(case.document, value)
        verification = case.verify()
        assert isinstance(verification.faults, tuple)


@pytest.mark.parametrize("doc", [None, 3, "text", [], {}, {"status": "infeasible"}, {"status": {}}])
def test_what_is_no_result_is_a_fault(doc: Json) -> None:
    assert families(verify(base().instance, base().engines, doc)) == {"document"}
    assert families(verify_frontier(base().instance, base().engines, doc)) == {"document"}


# --------------------------------------------------------------- consistent documents that break a single family


SERVED = (("prefill", 3, 2), ("decode", 20, 3))
DENY_TP2: dict[Role, tuple[Pattern, ...]] = {"prefill": (Pattern({"tp": frozenset([2])}),)}
ALLOW_SMALL: dict[Role, tuple[Pattern, ...]] = {"decode": (Pattern({"batch": (None, 16)}),)}

BROKEN: dict[str, tuple[Callable[[], Verification], str]] = {
    "inventory": (lambda: of(("prefill", 3, 5), ("decode", 20, 4)).verify(), "C3 inventory"),
    "nine 16-GPU groups in two domains of 72": (lambda: grouped({16: 9}, 144, 72).verify(), "C4 NVLink packing"),
    "no room in the partial domain": (lambda: grouped({8: 3}, 28, 12).verify(), "C4 NVLink packing"),
    "4 and 6 in domains of 9": (lambda: grouped({4: 3, 6: 2}, 27, 9).verify(), "C4 NVLink packing"),
    "a group larger than all domains": (lambda: grouped({16: 1}, 16, 12).verify(), "C4 NVLink packing"),
    "priced inside a domain": (
        lambda: grouped({16: 1}, 24, 8).changed(pools=(replace(POOL, nvlink_domain_gpus=4),)),
        "C4 NVLink pricing",
    ),
    "TTFT": (lambda: with_workload(replace(CHAT, ttft_ms=F("149.999999999")), *SERVED).verify(), "C2 SLA"),
    "TPOT": (lambda: with_workload(replace(CHAT, tpot_ms=F("29.999999999")), *SERVED).verify(), "C2 SLA"),
    "co-located TTFT": (
        lambda: with_workload(replace(CHAT, ttft_ms=F(149)), ("colocated", 1, 1), mode="colocated").verify(),
        "C2 SLA",
    ),
    "co-located TPOT": (
        lambda: with_workload(replace(CHAT, tpot_ms=F(24)), ("colocated", 1, 1), mode="colocated").verify(),
        "C2 SLA",
    ),
    "end to end of a pair": (lambda: with_workload(replace(CHAT, e2el_ms=F("3149.9")), *SERVED).verify(), "C2 SLA"),
    "end to end of the slower of two": (
        lambda: with_workload(
            replace(CHAT, e2el_ms=F(3150)), *SERVED, ("prefill4", 4, 1), serving=Serving(engines_per_role=2)
        ).verify(),
        "C2 SLA",
    ),
    "end to end of a co-located point": (
        lambda: with_workload(replace(CHAT, e2el_ms=F(2649)), ("colocated", 1, 1), mode="colocated").verify(),
        "C2 SLA",
    ),
    "end to end of one token": (
        lambda: with_workload(replace(CHAT, osl=1, e2el_ms=F(99)), ("prefill", 1, 3)).verify(),
        "C2 SLA",
    ),
    "decode of one token": (lambda: with_workload(replace(CHAT, osl=1), *SERVED).verify(), "mode"),
    "KV format": (lambda: of(("prefill", 3, 1), ("decode_kv", 3, 2)).verify(), "C6 KV hand-over"),
    "backend": (lambda: of(("prefill", 3, 1), ("decode_vllm", 3, 2)).verify(), "C6 KV hand-over"),
    "two decode engines that disagree": (
        lambda: of(*SERVED, ("decode_kv", 1, 1), serving=Serving(engines_per_role=2)).verify(),
        "C6 KV hand-over",
    ),
    "two engines": (lambda: of(*SERVED, ("decode4", 1, 1)).verify(), "C5 homogeneity"),
    "two chunk sizes are two engines": (
        lambda: of(("colocated", 1, 1), ("colocated_long", 1, 1), mode="colocated").verify(),
        "C5 homogeneity",
    ),
    "one engine at two batches": (
        lambda: of(*SERVED, ("decode", 4, 1), serving=Serving(engines_per_role=None)).verify(),
        "C5 homogeneity",
    ),
    "hybrid not allowed": (lambda: of(*SERVED, ("colocated", 1, 1), mode="hybrid").verify(), "mode"),
    "mode not allowed": (lambda: base(serving=Serving(modes=("colocated",))).verify(), "mode"),
    "denied": (lambda: base(serving=Serving(deny=DENY_TP2)).verify(), "C7 allowed points"),
    "not allowed": (lambda: base(serving=Serving(allow=ALLOW_SMALL)).verify(), "C7 allowed points"),
    "too few replicas": (lambda: base(serving=Serving(min_replicas={("chat", "prefill"): 3})).verify(), "C7 replicas"),
    "too many replicas": (lambda: base(serving=Serving(max_replicas={("chat", "decode"): 2})).verify(), "C7 replicas"),
    "cost budget": (lambda: base(budget=Budget(usd_per_hour=F("49.59"))).verify(), "C7 budget"),
    "power budget": (lambda: base(budget=Budget(watts=F(11199))).verify(), "C7 budget"),
    "budget of an owned fleet": (lambda: base(budget=Budget(F("74.3"), count_idle=True)).verify(), "C7 budget"),
    "budget without a price": (
        lambda: with_pool(replace(POOL, watts_per_gpu=None), *SERVED, budget=Budget(watts=F(10**9))).verify(),
        "C7 budget",
    ),
    "demand": (lambda: with_workload(replace(CHAT, requests_per_s=F("19.500001")), *SERVED).verify(), "C8 demand"),
    "demand without utilization": (
        lambda: with_workload(
            replace(CHAT, requests_per_s=F(19)),
            *SERVED,
            serving=Serving(utilization={"prefill": F(1), "decode": F("0.9"), "colocated": F(1)}),
        ).verify(),
        "C8 demand",
    ),
    "decode does not cover": (
        lambda: base(serving=Serving(decode_covers=True, tolerance=F(0))).verify(),
        "C1 rate matching",
    ),
    "another model": (lambda: base(workloads=(replace(CHAT, model="n"),)).verify(), "engine"),
    "another GPU": (lambda: base(pools=(replace(POOL, gpu="h100"),)).verify(), "engine"),
    "another backend": (lambda: base(workloads=(replace(CHAT, backend="sglang"),)).verify(), "engine"),
    "another precision": (
        lambda: base(workloads=(replace(CHAT, precision=dict.fromkeys(ROLES, "bf16")),)).verify(),
        "engine",
    ),
}


ALSO = {"inventory": {"C4 NVLink packing"}, "decode of one token": {"totals"}}
"""What exceeds the inventory does not fit its domains either; with one output token there is no TPOT to report."""


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_family_is_found_and_no_other(name: str) -> None:
    verify_it, family = BROKEN[name]
    assert families(verify_it()) == {family} | ALSO.get(name, set())


def test_memory() -> None:
    heavy = curve("decode", DP4, memory_gib=(F(100), F(200)))
    case = Case(OFFERS | {"decode": (CHAT, POOL, heavy)}, DISAGGREGATED)
    assert families(case.verify()) == {"C7 allowed points"}
    assert case.changed(pools=(replace(POOL, memory_gib=F(150)),)).ok


# ------------------------------------------------------------------------------------------------------- packing


PLACED = VALID["groups of 4 and 6, placed"]
LINES = ("deployment", "placement", "h200")

PLACEMENT_LIES: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "unknown pool": (("deployment", "placement"), lambda placement: placement | {"mars": []}),
    "pool left out": (("deployment", "placement"), {}),
    "a line left out": (LINES, lambda lines: lines[:1]),
    "a line twice": (LINES, lambda lines: lines + lines[:1]),
    "a group left out": ((*LINES, 1, "groups", "4"), 2),
    "a group too many": ((*LINES, 0, "groups", "6"), 3),
    "an unused size": ((*LINES, 0, "groups"), {"6": 2, "5": 1}),
    "domains that are not there": ((*LINES, 0, "domains"), 2),
    "a larger domain": ((*LINES, 0, "gpus"), 16),
    "a smaller domain": ((*LINES, 0, "gpus"), 11),
    "an empty domain too many": (LINES, lambda lines: [*lines, {"domains": 1, "gpus": 12, "groups": {}}]),
}


@pytest.mark.parametrize("name", PLACEMENT_LIES)
def test_a_lie_in_a_placement_is_found(name: str) -> None:
    where, value = PLACEMENT_LIES[name]
    case = PLACED()
    path(*where)(case.document, value)
    assert families(case.verify()) == {"C4 NVLink packing"}


def test_overfull_domain_in_a_placement() -> None:
    lines = [
        {"domains": 1, "gpus": 12, "groups": {"6": 1, "4": 2}},
        {"domains": 1, "gpus": 12, "groups": {"6": 1, "4": 1}},
    ]
    case = grouped({4: 3, 6: 2}, 24, 12, {"h200": lines})
    assert families(case.verify()) == {"C4 NVLink packing"}


def test_domains_of_large_groups_are_not_there_for_a_placement() -> None:
    case = whole_domains()
    path(*LINES)(
        case.document, [{"domains": 2, "gpus": 8, "groups": {"4": 1}}, {"domains": 1, "gpus": 4, "groups": {"4": 1}}]
    )
    assert families(case.verify()) == {"C4 NVLink packing"}


@pytest.mark.parametrize("seed", range(4))
def test_packing_agrees_with_the_oracle(seed: int) -> None:
    rng = random.Random(seed)
    answers: Counter[bool] = Counter()
    for _ in range(1000):
        domain = rng.choice([4, 6, 8, 9, 10, 12, 16, 20, 36, 72])
        full, partial = rng.randint(0, 4), rng.randrange(domain)
        sizes = rng.choice([(1, 2, 4, 8, 16), (2, 3, 4, 6), (4, 6), (3, 5, 7, 11), (12, 16, 24), (6, 10, 15)])
        room = full * domain + partial
        groups = {size: rng.randint(0, max(1, room // size)) for size in rng.sample(sizes, min(3, len(sizes)))}
        if sum(size * count for size, count in groups.items()) > room + 2:
            continue
        expected = oracle_packs(groups, full, domain, partial)
        answers[expected] += 1
        assert packs(groups, full, domain, partial) is expected, (groups, full, domain, partial)
    assert min(answers.values()) > 50


def test_large_pools_pack_fast() -> None:
    assert packs({1: 3, 2: 5, 64: 15_600}, 15_625, 64, 0) is True
    assert packs({64: 15_626}, 15_625, 64, 0) is False
    assert packs({4: 18 * 40, 6: 12 * 60}, 100, 72, 0) is True


# ------------------------------------------------------------------------------------------------------ frontiers


def frontier_point(case: Case, limit: float | None = None) -> Json:
    return {name: case.document[name] for name in ("objective", "exact", "deployment", "totals")} | {"limit_ms": limit}


def frontier(*points: Json, **more: Any) -> Json:
    return {"format": "disagg-frontier", "version": 1, "points": list(points), **more}


def slow() -> Case:
    return of(("prefill", 3, 2), ("decode", 20, 3))


def fast() -> Case:
    return of(("prefill", 3, 2), ("decode", 8, 3))


def check_frontier(*points: Json, **more: Any) -> Verification:
    return verify_frontier(base().instance, base().engines, frontier(*points, **more))


def test_a_frontier_passes_in_either_direction() -> None:
    points = [frontier_point(slow(), None), frontier_point(fast(), 29.9)]
    assert check_frontier(*points).faults == ()
    assert check_frontier(*reversed(points)).faults == ()
    assert check_frontier().faults == ()


def test_a_frontier_point_with_its_proof() -> None:
    proof = {"status": "optimal", "bound": slow().document["bound"], "gap": 0.0}
    assert check_frontier(frontier_point(slow()) | proof).ok
    assert families(check_frontier(frontier_point(slow()) | proof | {"gap": 0.5})) == {"proof"}
    assert families(check_frontier(frontier_point(slow()) | proof | {"status": "infeasible"})) == {"document"}


def test_a_frontier_with_too_slow_a_point() -> None:
    assert families(check_frontier(frontier_point(slow(), 29.999))) == {"C2 SLA"}
    assert check_frontier(frontier_point(slow(), 29.999), workloads=[]).ok
    assert families(check_frontier(frontier_point(slow(), 29.999), workloads=["who"])) == {"document", "C2 SLA"}


def test_a_frontier_with_dominated_points() -> None:
    worse = of(("prefill", 3, 1), ("decode", 20, 1))
    assert families(check_frontier(frontier_point(worse), frontier_point(fast()))) == {"frontier"}
    equal = of(("prefill", 3, 2), ("decode4", 2, 6))
    assert families(check_frontier(frontier_point(slow()), frontier_point(slow()))) == {"frontier"}
    assert not check_frontier(frontier_point(slow()), frontier_point(equal)).ok


def test_a_frontier_out_of_order() -> None:
    medium = of(("prefill", 3, 2), ("decode", 12, 3))
    points = [frontier_point(case) for case in (slow(), medium, fast())]
    for order in itertools.permutations(points):
        straight = list(order) in (points, points[::-1])
        assert families(check_frontier(*order)) == (set() if straight else {"frontier"})


def test_a_frontier_of_cost_is_minimised() -> None:
    cheap, dear = (of(("prefill", 1, 1), ("decode", b, n), objective="cost") for b, n in ((20, 1), (4, 3)))
    points = [frontier_point(cheap), frontier_point(dear)]
    assert verify_frontier(cheap.instance, cheap.engines, frontier(*points)).ok
    fast_and_cheap = of(("prefill", 1, 1), ("decode", 4, 1), objective="cost")
    points = [frontier_point(cheap), frontier_point(fast_and_cheap)]
    assert families(verify_frontier(cheap.instance, cheap.engines, frontier(*points))) == {"frontier"}


def test_a_frontier_point_is_checked_like_a_result() -> None:
    point = copy.deepcopy(frontier_point(slow()))
    path("exact", "objective")(point, shift("1/1000000000000"))
    (fault,) = check_frontier(frontier_point(fast()), point).faults
    assert fault.startswith("objective: $.points[1].objective")
    crowded = frontier_point(of(("prefill", 3, 5), ("decode", 20, 4)))
    assert any("C3 inventory: $.points[0]: pool h200" in fault for fault in check_frontier(crowded).faults)
    for key in ("limit_ms", "deployment", "totals", "exact", "objective"):
        broken = frontier_point(slow())
        del broken[key]
        assert "document" in families(check_frontier(broken))


def test_a_frontier_serves_every_workload() -> None:
    idle = replace(CHAT, name="idle")
    offers = OFFERS | {"idle": (idle, POOL, curve("decode", TP2))}
    case = Case(offers, DISAGGREGATED | {"idle": ("none", [])})
    point = frontier_point(case)
    assert families(verify_frontier(case.instance, case.engines, frontier(point))) == {"C8 demand"}
    assert verify_frontier(case.instance, case.engines, frontier(point, allow_unserved=True)).ok
    assert not verify_frontier(case.instance, case.engines, frontier(point, allow_unserved="yes")).ok
