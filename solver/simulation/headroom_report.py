"""The search for headroom as lines and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from costmodels.operating_curve import ROLES
from solver.deployment import Deployment
from solver.report import number
from solver.result import exact_text
from solver.simulation.headroom import Headroom, Step
from solver.simulation.verdicts import Verdict

_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2el": "end to end"}


def lines(found: Headroom) -> list[str]:
    """What a planner reads."""
    instance = found.plain.result.instance
    told = [f"{instance.name}: headroom for {found.arrivals}"]
    told.append(
        f"  {found.replications} replications a step, the same random numbers in every step; a limit is met where the "
        f"95 % interval of the share of requests within it is not below the wanted share"
    )
    told += ["", "mean-value plan:", *_plan(found.plain), *(_verdict(each) for each in found.plain.verdicts)]
    if found.plain.passes:
        return [*told, "it meets its limits without headroom"]
    heads = f"{'prefill':>9}{'decode':>8}{'co-located':>12}{'mode':>15}{'GPUs':>7}{'requests/s':>12}{'USD/hour':>10}"
    told += ["", "utilization at most, the plan that is best under it, and the share of requests within limits:", heads]
    told += [row(step) for step in found.steps]
    if not found.is_complete:
        told += ["", "interrupted: larger caps may pass as well, or none; the same command starts anew"]
    if found.best is None and not found.is_complete:
        return told
    if found.best is None:
        return [*told, "", "no step of the grid meets the limits: see above by how much the last one fails"]
    caps = ", ".join(f'"{role}": {float(found.best.caps[role]):g}' for role in ROLES)
    told += ["", "plan with headroom:", *_plan(found.best), *(_verdict(each) for each in found.best.verdicts)]
    told += _cost(found.plain, found.best)
    told.append(
        f'  in the instance: "serving": {{"utilization": {{{caps}}}}}; with any of them higher by 0.05 a limit fails'
    )
    return told


def _plan(step: Step) -> Iterator[str]:
    deployment = step.result.deployment
    if deployment is None:
        yield f"  none: {step.result.status}"
        return
    for a in deployment.assignments:
        name = f"{a.engine.workload.name} {a.role}"
        yield f"  {name:<22}{a.replicas} x {a.engine.curve.partition.label} on {a.engine.pool.name}, batch {a.batch}"
    yield f"  {step.result.status}: {_worth(deployment)}"


def _worth(deployment: Deployment) -> str:
    usd = "" if deployment.usd_per_hour is None else f", {number(deployment.usd_per_hour)} USD/hour"
    return (
        f"{number(deployment.gpus_used)} GPUs{usd}, {number(deployment.requests_per_s)} requests/s, "
        f"{number(deployment.output_tokens_per_s)} output tokens/s"
    )


def _verdict(each: Verdict) -> str:
    word = "met" if each.passes else "FAILS"
    within = f"{each.share:.2%} [{max(0.0, each.low):.2%}, {min(1.0, each.high):.2%}] within {each.limit_ms:,.6g} ms"
    at = f"P{each.wanted * 100:g} is {each.percentile_ms:,.1f} ms"
    return f"  {each.workload} {_NAMES[each.limit]}: {within}, wanted {each.wanted:.4g}: {word}; {at}"


def row(step: Step) -> str:
    """One step in a line."""
    caps = (
        f"{float(step.caps['prefill']):>9.2f}{float(step.caps['decode']):>8.2f}{float(step.caps['colocated']):>12.2f}"
    )
    deployment = step.result.deployment
    if deployment is None:
        return f"{caps}  no plan: {step.result.status}"
    usd = "-" if deployment.usd_per_hour is None else number(deployment.usd_per_hour)
    said = ", ".join(f"{_NAMES[each.limit]} {each.share:.2%}" for each in step.verdicts)
    modes = {deployment.mode(workload) for workload in deployment.instance.workloads} - {"none"}
    mode = modes.pop() if len(modes) == 1 else "mixed"
    worth = f"{mode:>15}{number(deployment.gpus_used):>7}{number(deployment.requests_per_s):>12}{usd:>10}"
    return f"{caps}{worth}  {said}{'  <- meets all' if step.passes else ''}"


def _cost(plain: Step, best: Step) -> list[str]:
    before, after = plain.result.deployment, best.result.deployment
    if before is None or after is None:
        return []
    told = [f"{float(after.gpus_used / before.gpus_used - 1):+.1%} GPUs"]
    told.append(f"{float(after.output_tokens_per_s / before.output_tokens_per_s - 1):+.1%} output tokens/s planned for")
    if before.usd_per_hour and after.usd_per_hour:
        told.append(f"{float(after.usd_per_hour / before.usd_per_hour - 1):+.1%} USD/hour")
        per_token = (after.usd_per_hour / after.output_tokens_per_s) / (
            before.usd_per_hour / before.output_tokens_per_s
        )
        told.append(f"{float(per_token - 1):+.1%} USD per token")
    return [f"  headroom costs: {', '.join(told)}"]


def document(found: Headroom) -> dict[str, Any]:
    """The file, version 1."""
    return {
        "format": "disagg-headroom",
        "version": 1,
        "instance": found.plain.result.instance.name,
        "arrivals": found.arrivals,
        "percentile": float(found.percentile),
        "replications": found.replications,
        "steps": [_step(step) for step in found.steps],
        "complete": found.is_complete,
        "best": None if found.best is None else found.steps.index(found.best),
    }


def _step(step: Step) -> dict[str, Any]:
    deployment = step.result.deployment
    return {
        "utilization": {role: float(share) for role, share in step.caps.items()},
        "passes": step.passes,
        "verdicts": [each.as_dict() for each in step.verdicts],
        "result": {**step.result.as_dict(), "run": None},
        "gpus_used": None if deployment is None else exact_text(deployment.gpus_used),
    }
