"""The comment at the head of every file: what the plan promises, what it rests on, and which plan it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from solver import __version__
from solver.manifests.engines import TITLES, EngineName, context_of, is_priced, longest_of
from solver.manifests.nodes import Layout
from solver.manifests.plan import Group, Line, Plan

STATUS = {"optimal": "OPTIMAL, proved", "feasible": "feasible, NOT proved optimal"}


def header(
    plan: Plan, groups: tuple[Group, ...], engines: Mapping[str, EngineName], found: Mapping[str, Layout]
) -> list[str]:
    """
    The lines of the comment.

    Parameters
    ----------
    plan
        The plan.
    groups
        What the file is about.
    engines
        Group name to engine.
    found
        Line name to layout.
    """
    chosen = plan.chosen
    lines = [
        f"ratematch {__version__}: instance {plan.instance.name}, {chosen.label}{STATUS[chosen.status]}",
        f"instance hash {chosen.instance_hash}, plan hash {chosen.plan_hash}",
        f"plan: {_totals(plan)}",
        f"numbers are those of the cost model: {chosen.cost_model or 'not named in the file'}",
    ]
    lines += [f"workload {name} is served nothing by this plan" for name in plan.unserved]
    for group in groups:
        lines += _group_lines(group, engines[group.name], found)
    return lines


def _totals(plan: Plan) -> str:
    totals = plan.chosen.totals
    told = [
        f"{_number(totals['output_tokens_per_s'])} output tokens/s",
        f"{_number(totals['requests_per_s'])} requests/s",
    ]
    told += [f"TTFT {_number(totals['ttft_ms'])} ms"] if totals["ttft_ms"] is not None else []
    told += [f"TPOT {_number(totals['tpot_ms'])} ms"] if totals["tpot_ms"] is not None else []
    told.append(f"{plan.gpus} of {plan.instance.inventory_gpus} GPUs")
    return ", ".join(told)


def _number(value: Any) -> str:
    return f"{float(value):,.6g}"


def _group_lines(group: Group, engine: EngineName, found: Mapping[str, Layout]) -> list[str]:
    mode = "disaggregated" if group.is_disaggregated else "prompts only" if group.of_role("prefill") else "co-located"
    priced = group.lines[0].entry
    basis = f"priced for {TITLES[engine]} {priced.backend_version}"
    if not is_priced(group):
        basis = f"priced for no engine ({priced.backend}), {TITLES[engine]} chosen"
    lines = [f"{group.name}: {group.workload.model}, {mode}, up to {_number(group.requests_per_s)} requests/s; {basis}"]
    lines += [_line(line, group, found[line.name]) for line in group.lines]
    for role in dict.fromkeys(line.role for line in group.lines):
        if len({line.entry.requests_per_s.number for line in group.of_role(role)}) > 1:
            lines.append(
                f"  {role} servers differ: route by load, so that each gets requests in proportion to its rate"
            )
    if group.is_hybrid:
        lines.append(f"  this workload is served in both modes: send {group.name} {_share(group)} of its requests")
    if context_of(group.lines[0]) < longest_of(group.lines[0]):
        lines.append(f"  requests beyond the model's {context_of(group.lines[0])} tokens will be refused by the engine")
    return lines


def _line(line: Line, group: Group, layout: Layout) -> str:
    entry = line.entry
    used = group.row["utilization"].get(entry.role)
    latency = f"{'TTFT' if entry.role == 'prefill' else 'TPOT'} {_number(entry.latency_ms.number)} ms"
    pods = "" if layout.pods_per_replica == 1 else f" in {layout.pods_per_replica} pods of {layout.pod_gpus}"
    chunk = f", chunks of {entry.chunk_tokens} tokens" if 0 < entry.chunk_tokens < line.workload.lengths.isl else ""
    told = f"  {line.name}: {line.replicas} x {entry.partition.label} ({entry.partition.gpus} GPUs{pods}) on "
    told += (
        f"{line.pool.name}, batch {entry.batch}{chunk}, {latency}, {_number(entry.requests_per_s.number)} requests/s "
    )
    told += f"each, {entry.precision}"
    return told if used is None else f"{told}, role used {100 * float(used):.4g} %"


def _share(group: Group) -> str:
    rates = [group.row[f"{role}_requests_per_s"] for role in ("prefill", "decode", "colocated")]
    apart, together = min(float(rates[0]), float(rates[1])), float(rates[2])
    mine = apart if group.is_disaggregated else together
    return f"{100 * mine / (apart + together):.4g} %"
