"""What a peer priced, as operating curves and instances: the same numbers for the solver."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from costmodels.table import HEADER
from solver.compare.cases import Case, milliseconds
from solver.files import write_whole

STRICT_MS = Fraction(1, 10**9)
"""The peer wants latencies below the limit, the solver at most the limit: the limit is lowered by this much."""


def decimal(value: float | str) -> Decimal:
    """A number as the decimal that prints it."""
    return Decimal(str(value))


def cell(value: Decimal) -> str:
    """A decimal with at most nine places, as tables take it: of a millisecond that is a picosecond."""
    return f"{round(value, 9).normalize():f}"


def write_table(case: Case, taken: Mapping[str, Any], path: Path) -> int:
    """
    Writes priced rows as operating curves; the factor on the first token is in the latency of prefill rows.

    Co-located rows get the rate that the peer's own tokens/s/GPU means at OSL tokens a request (it counts OSL - 1).

    Returns
    -------
    int
        The number of rows.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    rows = [_row(case, row, role, taken["space"]) for role in ("prefill", "decode") for row in taken[role]]
    rows += [_colocated(case, row) for row in taken["agg"]]
    writer.writerows(rows)
    write_whole(path, text.getvalue())
    return len(rows)


def _shared(case: Case, row: Mapping[str, Any]) -> dict[str, Any]:
    gpus = int(row["tp"] * row["pp"] * row["dp"] * (row["cp"] or 1))
    return {
        "system": case.system, "backend": case.backend, "backend_version": case.version, "model": case.model,
        "precision": f"gemm:{row['gemm']} moe:{row['moe']} kv:{row['kvcache']} fmha:{row['fmha']}",
        "tp": row["tp"], "pp": row["pp"], "attention_dp": row["dp"], "moe_tp": row["moe_tp"], "moe_ep": row["moe_ep"],
        "cp": row["cp"] or 1, "gpus": gpus, "domain_gpus": max(gpus // row["pp"], 1), "batch": row["global_bs"],
        "chunk_tokens": 0, "isl": case.isl, "osl": case.osl, "memory_gib": cell(decimal(row["memory"])),
    }  # fmt: skip


def _row(case: Case, row: Mapping[str, Any], role: str, space: Mapping[str, Any]) -> dict[str, Any]:
    factor = decimal(space["ttft"]) if role == "prefill" else Decimal(1)
    return {
        **_shared(case, row),
        "phase": role,
        "osl": case.osl if role == "decode" else "",
        "latency_ms": cell(decimal(row["latency"]) * factor),
        "requests_per_s": cell(decimal(row["seq/s"])),
    }


def _colocated(case: Case, row: Mapping[str, Any]) -> dict[str, Any]:
    rate = decimal(row["tokens/s/gpu"]) * int(row["num_total_gpus"]) / case.osl
    return {
        **_shared(case, row),
        "phase": "colocated",
        "chunk_tokens": row["ctx_tokens"],
        "latency_ms": cell(decimal(row["tpot"])),
        "ttft_ms": cell(decimal(row["ttft"])),
        "requests_per_s": cell(rate),
    }


def write_instance(
    case: Case,
    table: str,
    path: Path,
    space: Mapping[str, Any],
    *,
    tpot: str | None = None,
    engines: int | str = 1,
    modes: tuple[str, ...] = ("colocated", "disaggregated"),
    load: int | None = None,
    gpus: int | None = None,
) -> None:
    """
    Writes the instance that asks the same question.

    One NVLink domain holds the whole fleet, since the peer packs none; rates are scaled as the peer scales them.

    Parameters
    ----------
    case, space
        The case, and the factors of the peer.
    table
        Operating curves, relative to the instance.
    path
        Where to write.
    tpot
        Limit on the time a token, ms; none for a frontier.
    engines
        Different engines a role, or ``unlimited``.
    modes
        How workloads may be served.
    load
        Requests/s to be served with the fewest GPUs; None for the most tokens/s.
    gpus
        GPUs of the fleet; those of the case by default.
    """
    count = case.gpus if gpus is None else gpus
    sla: dict[str, Any] = {"ttft_ms": case.ttft_ms}
    if tpot is not None:
        limit = milliseconds(tpot) - STRICT_MS
        sla["tpot_ms"] = float(limit)
    workload = {"name": "chat", "model": case.model, "isl": case.isl, "osl": case.osl, "sla": sla}
    if load is not None:
        workload["requests_per_s"] = load
    document = {
        "format": "disagg-instance", "version": 1, "name": path.stem,
        "description": f"{case.name}, as aiconfigurator was asked.",
        "pools": [{"name": "pool", "gpu": case.system, "gpus": count, "nvlink_domain_gpus": count}],
        "workloads": [workload],
        "serving": {
            "modes": list(modes), "engines_per_role": engines,
            "utilization": {"prefill": space["prefill"], "decode": space["decode"]},
        },
        "cost_model": {"kind": "curves", "path": table},
        "objective": "throughput" if load is None else "gpus",
    }  # fmt: skip
    write_whole(path, json.dumps(document, indent=1) + "\n")
