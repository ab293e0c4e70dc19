"""
llm-d benchmark report, version 0.2 (JSON, or YAML where PyYAML is installed): one run; units stand beside the values.

Tools differ in what they call time per output token and inter-token latency. The report may carry both: taken is the
one that, with TTFT, adds up to the latency of a request.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from costmodels.errors import Fault
from costmodels.imports.engine import Given, Role, backend_of, system_of, version_of
from costmodels.imports.reading import RATE_PER_S, TIME_MS, TOKENS, Node, Reading, content, json_of
from costmodels.imports.rows import Row
from costmodels.imports.runs import Run, roles_of, row_of

LATENCY = {
    *("time_to_first_token", "time_per_output_token", "inter_token_latency", "request_latency"),
    "normalized_time_per_output_token",
}
ROLES: dict[str, Role] = {
    **dict.fromkeys(("replica", "aggregated", "aggregate", "both"), "colocated"),
    "prefill": "prefill",
    "decode": "decode",
}


def read(path: Path, given: Given, reading: Reading) -> list[Row]:
    """
    The rows of one report: one for co-located engines or a single role, two for a disaggregated stack.

    Parameters
    ----------
    path
        ``*.json``, ``*.yaml`` or ``*.yml``.
    given
        The command line.
    reading
        Where faults, notes and counts go.
    """
    root = _yaml(path, reading) if path.suffix in (".yaml", ".yml") else json_of(path, reading)
    if root is None:
        return []
    if not isinstance(root.value, dict) or not str(root.value.get("version", "")).startswith("0.2"):
        got = root.value.get("version") if isinstance(root.value, dict) else None
        root.fault(f"got {got!r}, must be 0.2 or 0.2.x: the layout of other versions differs", "version")
        return []
    root.count_unread({"version", "run", "scenario", "results"})
    engines = _engines(root)
    run = _run(root)
    if run is None or not engines:
        return []
    return _rows(run, engines, given)


def _yaml(path: Path, reading: Reading) -> Node | None:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        text = "YAML needs the package PyYAML: pip install pyyaml, or give the report as JSON"
        reading.faults.append(Fault(str(path), text))
        return None
    document = content(path, reading)
    if document is None:
        return None
    try:
        return Node(str(path), "$", yaml.safe_load(document), reading)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reading.faults.append(Fault(str(path), f"not YAML: {' '.join(str(error).split())}"))
        return None


def _engines(root: Node) -> dict[Role, tuple[dict[str, Any], int]]:
    """Role -> what the report says of its engine, and replicas. Empty with a fault where that is not clear."""
    scenario = root.child("scenario")
    found: dict[Role, tuple[dict[str, Any], int]] = {}
    for component in scenario.elements("stack") if scenario else []:
        part = component.child("standardized")
        if part is None or part.value.get("kind") != "inference_engine":
            continue
        name = part.text("role") or ""
        if name not in ROLES:
            part.fault(f"got {name!r}, must be one of {', '.join(ROLES)}", "role")
        elif ROLES[name] in found:
            part.fault(f"a second engine of role {name}: the run mixes engines, and no row can stand for both", "role")
        else:
            found[ROLES[name]] = _engine(part), part.whole("replicas", required=False) or 1
    if scenario and not found and not root.reading.faults:
        scenario.fault("no component of kind inference_engine", "stack")
    return found


def _engine(part: Node) -> dict[str, Any]:
    accelerator, model = part.child("accelerator"), part.child("model")
    parallel = accelerator.child("parallelism", required=False) if accelerator else None
    degrees = {k: parallel.whole(k, required=False) for k in ("tp", "pp", "dp", "ep")} if parallel else {}
    tool = (part.text("tool", required=False) or "").lower()
    said: dict[str, Any] = {
        "system": system_of(accelerator.text("model") if accelerator else None),
        "model": model.text("name") if model else None,
        "backend": backend_of(tool) if tool in ("vllm", "sglang", "trtllm", "tensorrt-llm") else None,
        "backend_version": version_of(part.text("tool_version", required=False)),
        "tp": degrees.get("tp"),
        "pp": degrees.get("pp"),
    }
    if (degrees.get("dp") or 1) > 1:
        said["attention_dp"] = degrees["dp"]
    if (degrees.get("ep") or 1) > 1:
        ranks = (degrees.get("tp") or 1) * (degrees.get("dp") or 1)
        said |= {"moe_ep": degrees["ep"], "moe_tp": max(1, ranks // (degrees["ep"] or 1))}
    return said


def _rows(run: Run, engines: dict[Role, tuple[dict[str, Any], int]], given: Given) -> list[Row]:
    if set(engines) == {"prefill", "decode"}:
        (prefill, left), (decode, right) = engines["prefill"], engines["decode"]
        return roles_of(run, given, prefill, decode, (left, right))
    if len(engines) > 1:
        run.at.fault("co-located and other engines in one stack: no row can stand for both", "scenario.stack")
        return []
    ((role, (said, replicas)),) = engines.items()
    replicas = replicas if given.replicas == 1 else given.replicas
    row = row_of(replace(run, said=said, role=role), replace(given, replicas=replicas))
    return [row] if row else []


def _run(root: Node) -> Run | None:
    results = root.child("results")
    performance = results.child("request_performance") if results else None
    aggregate = performance.child("aggregate") if performance else None
    parts = [aggregate.child(name) if aggregate else None for name in ("latency", "requests", "throughput")]
    latency, requests, throughput = parts
    if latency is None or requests is None or throughput is None:
        return None
    latency.count_unread(LATENCY, prefix="latency.")
    total = requests.whole("total", zero=True)
    failed = requests.whole("failures", required=False, zero=True) or 0
    cut = requests.whole("incomplete", required=False, zero=True) or 0
    ttft_ms, rate = _mean(latency, "time_to_first_token", TIME_MS), _mean(throughput, "request_rate", RATE_PER_S)
    isl, osl = _mean(requests, "input_length", TOKENS), _mean(requests, "output_length", TOKENS)
    if total is None or ttft_ms is None or rate is None or isl is None or osl is None:
        return None
    e2el_ms = _mean(latency, "request_latency", TIME_MS, required=False)
    return Run(
        at=root,
        said={},
        isl=isl,
        osl=osl,
        ttft_ms=ttft_ms,
        tpot_ms=_tpot(latency, ttft_ms, osl, e2el_ms),
        e2el_ms=e2el_ms,
        requests_per_s=rate,
        concurrency=_concurrency(root),
        completed=max(0, total - failed - cut),
        failed=failed,
        incomplete=cut,
        spread=max(_spread(requests, "input_length"), _spread(requests, "output_length")),
    )


def _mean(parent: Node, name: str, units: dict[str, float], required: bool = True) -> float | None:
    statistics = parent.child(name, required)
    return statistics.measured("mean", "units", units) if statistics else None


def _spread(parent: Node, name: str) -> float:
    statistics = parent.child(name, required=False)
    mean = statistics.number("mean", required=False) if statistics else None
    deviation = statistics.number("stddev", required=False, zero=True) if statistics else None
    return deviation / mean if mean and deviation else 0.0


def _tpot(latency: Node, ttft_ms: float, osl: float, e2el_ms: float | None) -> float | None:
    names = ("time_per_output_token", "inter_token_latency")
    known = {name: _mean(latency, name, TIME_MS, required=False) for name in names}
    candidates = {name: value for name, value in known.items() if value is not None}
    if not candidates:
        latency.fault("missing; needed is this or inter_token_latency", "time_per_output_token")
        return None
    if e2el_ms is None or osl <= 1 or len(candidates) == 1:
        return next(iter(candidates.values()))
    name, value = min(candidates.items(), key=lambda item: abs(ttft_ms + (osl - 1) * item[1] - e2el_ms))
    latency.reading.notes[f"TPOT is {name}, which adds up best with TTFT to the latency of a request"] += 1
    return value


def _concurrency(root: Node) -> float | None:
    """Requests kept in flight; None of an open-loop run (a rate, or a concurrency without end)."""
    at: Node | None = root.child("scenario")
    for name in ("load", "standardized"):
        at = at.child(name, required=False) if at else None
    if at is None or at.value.get("concurrency") in (None, math.inf) or at.has("rate_qps"):
        return None
    return at.whole("concurrency")
