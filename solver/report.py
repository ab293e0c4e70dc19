"""What a planner reads: a result in plain lines."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from costmodels.operating_curve import ROLES
from solver.deployment import Assignment, Deployment
from solver.engines import EngineSet
from solver.frontier import Frontier, FrontierPoint
from solver.instance import Workload
from solver.kv_flows import KvFlows, kv_flows
from solver.result import Result
from solver.slack import end_to_end_ms, slacks

UNITS = {
    "throughput": "weighted output tokens/s",
    "throughput_per_gpu": "weighted output tokens/s per GPU used",
    "gpus": "GPUs",
    "cost": "USD/hour",
}


def report(result: Result) -> str:
    """The result as text, one fact a line."""
    lines = [headline(result)]
    if result.deployment is not None:
        for workload in result.instance.workloads:
            lines += ["", *_workload(result.deployment, workload)]
        lines += ["", *_totals(result.deployment), *survive_lines(result), "", *_slack(result.deployment)]
    elif result.status == "infeasible":
        lines += ["", *_infeasible(result)]
    lines += ["", *_proof(result), *cost_model_lines(result.engines)]
    return "\n".join(lines)


def headline(result: Result) -> str:
    """The instance and its answer in one line."""
    return f"{result.instance.name}: {_answer(result)}"


def _answer(result: Result) -> str:
    if result.objective is None:
        words = {"infeasible": "INFEASIBLE, and that is proved", "unknown": "UNKNOWN: nothing found within the limits"}
        return words.get(result.status, result.status)
    unit = UNITS[result.instance.objective]
    return f"{result.status.upper()} {number(result.objective)} {unit}"


def number(value: Fraction | float | None, digits: int = 6) -> str:
    """A number as people write it, with thousands separators."""
    if value is None:
        return "-"
    shown = float(value)
    if shown == int(shown) and abs(shown) < 10**9:
        return f"{int(shown):,}"
    text = f"{shown:,.{max(0, digits - len(str(int(abs(shown)))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _workload(deployment: Deployment, workload: Workload) -> Iterator[str]:
    mode = deployment.mode(workload)
    traffic = f"ISL {number(workload.isl)}, OSL {number(workload.osl)}"
    if workload.traffic is not None:
        traffic = f"mean {traffic}; {workload.traffic.description}"
    if mode == "none":
        yield f"{workload.name} ({workload.model}, {traffic}): not served"
        return
    name = {"colocated": "co-located", "hybrid": "hybrid (co-located and disaggregated)"}.get(mode, mode)
    yield f"{workload.name} ({workload.model}, {traffic}): {name}"
    where = f"  {'role':<11}{'pool':<12}{'partition':<20}"
    yield f"{where}{'batch':>6}{'replicas':>10}{'GPUs':>8}{'latency':>20}{'requests/s':>14}"
    for role in ("prefill", "decode", "colocated"):
        for a in deployment.of_role(workload, role):
            yield _assignment(deployment, a)
    yield from _flows(deployment, workload)


def _assignment(deployment: Deployment, a: Assignment) -> str:
    name = "TTFT" if a.role == "prefill" else "TPOT"
    latency = f"{name} {number(a.point.latency_ms)} ms"
    rate = deployment.planned(a)
    chunk = f" chunk {a.engine.curve.chunk_tokens}" if a.engine.curve.chunk_tokens else ""
    role = "co-located" if a.role == "colocated" else a.role
    label = a.engine.curve.partition.label + chunk
    place = (
        f"  {role:<11}{a.engine.pool.name:<12}{label:<20}{a.batch:>6}{number(a.replicas, 4):>10}{number(a.gpus, 4):>8}"
    )
    return f"{place}{latency:>20}{number(rate):>14}   {a.engine.curve.backend} {a.engine.curve.precision}"


def _flows(deployment: Deployment, workload: Workload) -> Iterator[str]:
    prefill, decode = deployment.capacity(workload, "prefill"), deployment.capacity(workload, "decode")
    flow = deployment.flow(workload)
    mine = [a for a in deployment.assignments if a.engine.workload.name == workload.name]
    tpot = max((a.point.latency_ms for a in mine if a.decodes), default=None)
    ttft = max((ms for *_, ms in deployment.first_token_ms(workload)), default=None)
    user = "" if tpot is None else f", TPOT {number(tpot)} ms = {number(1000 / tpot)} tokens/s/user"
    yield f"  {number(flow)} requests/s, {number(flow * workload.osl)} output tokens/s; TTFT {number(ttft)} ms{user}"
    total = end_to_end_ms(deployment, workload)
    yield f"  end to end {number(total)} ms"
    if prefill and decode:
        context = sum(a.gpus for a in deployment.of_role(workload, "prefill"))
        generation = sum(a.gpus for a in deployment.of_role(workload, "decode"))
        flows = f"prefill {number(prefill)}, decode {number(decode)} requests/s (ratio {number(prefill / decode, 4)})"
        gpus = f"{number(context)}:{number(generation)} = {number(Fraction(context) / generation, 4)}"
        yield f"  flows: {flows}; ctx:gen GPUs {gpus}"
    kv = kv_flows(deployment, workload)
    yield from () if kv is None else kv_lines(kv)


def kv_lines(kv: KvFlows) -> Iterator[str]:
    """The KV hand-over: GB per request, what GPUs and links carry, what is late, and which engines it slows down."""
    yield f"  KV hand-over: {number(kv.gbytes_per_request)} GB a request"
    for flow in kv.flows:
        where = f"{flow.start} to {flow.to}" if flow.start != flow.to else f"inside {flow.start}"
        yield f"    {where}: {number(flow.gbps)} GB/s, {number(flow.exposed_ms)} ms exposed in TTFT"
    for role, word in (("prefill", "egress"), ("decode", "ingress")):
        for a in kv.deployment.of_role(kv.workload, role):  # type: ignore[arg-type]
            limit = a.engine.pool.kv_gbps
            of = "" if limit is None else f" of {number(limit)}"
            slowed = ", slowed down by it" if kv.is_slowed(a) else ""
            place = f"{role} {a.engine.curve.partition.label} on {a.engine.pool.name}"
            yield f"    {place}: {word} {number(kv.gbps_per_gpu(a))}{of} GB/s per GPU{slowed}"


def _totals(deployment: Deployment) -> Iterator[str]:
    instance = deployment.instance
    owned = "unlimited" if instance.is_unlimited else f"{instance.inventory_gpus}"
    per = "GPU used" if instance.objective == "throughput_per_gpu" else "GPU of the inventory"
    if instance.is_unlimited:
        rate = deployment.weighted_tokens_per_s / deployment.gpus_used
        yield f"per GPU used: {number(rate)} tokens/s (replicas are real numbers, for one GPU in all)"
    else:
        rate = deployment.tokens_per_s_per_gpu
        yield f"total: {number(deployment.gpus_used)} of {owned} GPUs, {number(rate)} tokens/s per {per}"
    usd, tokens = deployment.usd_per_hour, deployment.output_tokens_per_s
    if usd is not None and tokens and not instance.is_unlimited:
        yield f"cost: {number(usd)} USD/hour, {number(usd * 10**6 / (tokens * 3600), 4)} USD per million output tokens"
    elif usd is None:
        yield "cost: not known (a pool has no usd_per_gpu_hour)"
    if deployment.watts is not None and deployment.watts and not instance.is_unlimited:
        yield f"power: {number(deployment.watts)} W"
    yield from _utilization(deployment)


def _utilization(deployment: Deployment) -> Iterator[str]:
    """What is planned with of the modelled rates; workloads with shares of their own one by one."""
    instance = deployment.instance
    own = [w for w in instance.workloads if w.utilization]
    if not own and all(value == 1 for value in instance.serving.utilization.values()):
        yield "utilization 1: no queueing headroom, TTFT is bare service time"
        return
    if len(own) < len(instance.workloads):
        shares = ", ".join(f"{role} {float(value):g}" for role, value in instance.serving.utilization.items())
        yield f"utilization: {shares}"
    for workload in own:
        shares = ", ".join(f"{role} {float(instance.utilization(workload, role)):g}" for role in ROLES)
        yield f"utilization of {workload.name}: {shares}"


def _slack(deployment: Deployment) -> Iterator[str]:
    yield "what binds (slack of each family):"
    for slack in slacks(deployment):
        mark = "  <- binds" if slack.left == 0 else ""
        room = f"{number(slack.left):>12} of {number(slack.limit)} {slack.unit}"
        yield f"  {slack.family:<19}{slack.where:<30}{room}{mark}"


def survive_lines(result: Result) -> Iterator[str]:
    """What it costs to keep the demand after a loss, and where the replicas stand."""
    survive = result.instance.serving.survive
    if survive is None or result.deployment is None:
        return
    unit, plain, value = UNITS[result.instance.objective], result.unprotected, result.objective
    lost = f"{survive.lost} {survive.kind if survive.lost > 1 else survive.kind.removesuffix('s')}"
    cost = ""
    if plain and value is not None:
        more = abs(value - plain)
        share = number(more / plain * 100, 4)
        cost = f"; without it {number(plain)} {unit}, so it costs {number(more)} ({share} %)"
    yield f"survives any loss of {lost}{cost}"
    standing: dict[str, list[int]] = {}
    for block in result.deployment.blocks:
        parts = []
        for engine, batch, count in block.replicas:
            a = next(a for a in result.deployment.assignments if (a.engine.index, a.batch) == (engine, batch))
            parts.append(f"{count} x {a.engine.workload.name} {a.role} {a.engine.curve.partition.label}")
        standing.setdefault(f"{block.pool}: {', '.join(parts)}", []).append(block.index)
    for what, blocks in standing.items():
        yield f"  {len(blocks)} {survive.kind} of {what}"


def _infeasible(result: Result) -> Iterator[str]:
    if result.reasons:
        yield "what would make it feasible, each change alone, nearest limit:"
    for reason in result.reasons:
        yield f"  {reason['text']}"
    if result.run.dropped:
        yield "dropped: " + ", ".join(f"{count} {reason}" for reason, count in result.run.dropped.items())


def _proof(result: Result) -> Iterator[str]:
    run = result.run
    gap = "" if result.gap is None else f", gap {result.gap:.3g}"
    bound = "" if result.bound is None else f", bound {number(result.bound)}{gap}"
    yield f"proof: {result.proof}{bound}; feasibility: {result.feasibility}"
    for claim in run.claims:
        spent = f"{claim.get('wall_s', '-')} s"
        yield f"claim: {claim['backend']} ({claim['formulation']}) said {claim['status']} in {spent}"
    ties = f", ties settled through {result.proved[-1]}" if len(result.proved) > 1 else ""
    yield (
        f"run: {run.points} points, {run.columns} columns, {run.solves} solves, {run.wall_s:.3f} s, "
        f"{f'{run.backend} {run.backend_version}'.strip()}, {run.formulation}{ties}"
    )


def cost_model_lines(engines: EngineSet) -> Iterator[str]:
    """The cost model and what is known of its error."""
    yield f"cost model: {engines.cost_model}"
    fit = max((engine.curve.fit_error for engine in engines.engines), default=Fraction(0))
    worst = f"; curves fitted one-sidedly, at most {float(fit):.2%} worse than the samples" if fit else ""
    yield f"its error: {engines.known_error.rstrip('.')}{worst}"
    if engines.dropped:
        most_first = sorted(engines.dropped.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in most_first)
        out = sum(engines.dropped.values())
        yield f"{out + engines.kept:,} {engines.counted} considered, {out:,} dropped: {reasons}"
    for note in engines.notes:
        if note != engines.known_error:
            yield f"note: {note}"


def frontier_lines(frontier: Frontier) -> Iterator[str]:
    """A frontier as a table."""
    yield f"{frontier.instance.name}: {len(frontier.points)} points, each proved optimal and verified exactly"
    asked = f"{'asked':>9}" if frontier.requested else ""
    cost = f"{'USD/hour':>12}" if frontier.instance.objective == "cost" else ""
    numbers = f"{'tokens/s/user':>14}{'tokens/s/GPU':>14}{'requests/s':>12}{'GPUs':>8}{cost}"
    yield f"{asked}{numbers}  {'mode':<14}deployment"
    for point in frontier.points:
        yield frontier_line(point)
    for value in frontier.infeasible:
        yield f"{number(value):>9}{'-':>14}{'-':>14}{'-':>12}{'-':>8}  infeasible, and that is proved"
    if frontier.missing:
        yield f"NOT COMPLETE: {frontier.missing}"
    points = max(1, len(frontier.points))
    per_point = 1000 * frontier.wall_s / points
    bounded = sum(point.is_final for point in frontier.points)
    by = f"{bounded} points by bounds in integers, others by {frontier.backend}" if bounded else frontier.backend
    yield f"proof: {by}, {frontier.solves} solves, {frontier.wall_s:.3f} s ({per_point:.2f} ms a point)"
    yield from cost_model_lines(frontier.engines)


def frontier_line(point: FrontierPoint) -> str:
    """One point of a frontier."""
    d = point.deployment
    parts = [f"{a.role} {number(a.replicas)}x[{a.engine.curve.partition.label} b{a.batch}]" for a in d.assignments]
    user, per_gpu = number(point.tokens_per_s_per_user), number(d.tokens_per_s_per_gpu)
    asked = "" if point.requested is None else f"{number(point.requested):>9}"
    rates = f"{asked}{user:>14}{per_gpu:>14}{number(d.requests_per_s):>12}{number(d.gpus_used):>8}"
    rates += f"{number(point.value):>12}" if d.instance.objective == "cost" else ""
    return f"{rates}  {point.mode:<14}{' '.join(parts)}"
