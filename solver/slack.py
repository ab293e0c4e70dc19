"""How much room each constraint family has left in a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from solver.deployment import Deployment
from solver.instance import Pool, Workload
from solver.kv_flows import kv_flows


@dataclass(frozen=True)
class Slack:
    """
    Room left in one constraint.

    Parameters
    ----------
    family
        The family, such as ``C3 inventory``.
    where
        Pool or workload, and what is limited.
    left, limit
        What is left, and the limit itself, in ``unit``; ``left`` 0 means that it binds.
    unit
        ms, GPUs, requests/s, USD/hour, W, replicas.
    """

    family: str
    where: str
    left: Fraction
    limit: Fraction
    unit: str

    def as_dict(self) -> dict[str, object]:
        """For the result file."""
        names = {"family": self.family, "where": self.where}
        return {**names, "left": float(self.left), "limit": float(self.limit), "unit": self.unit}


def slacks(deployment: Deployment) -> list[Slack]:
    """The slack of every constraint that the instance has, by family."""
    instance = deployment.instance
    found: list[Slack] = []
    for workload in instance.workloads:
        if deployment.is_served(workload):
            found += _rates(deployment, workload) + _latencies(deployment, workload) + _demand(deployment, workload)
            found += _handover(deployment, workload)
    if not instance.is_unlimited:
        for pool in instance.pools:
            free = (pool.gpus or 0) - deployment.gpus_in(pool)
            found.append(Slack("C3 inventory", pool.name, Fraction(free), Fraction(pool.gpus or 0), "GPUs"))
            found += _domains(deployment, pool)
    found += _budget(deployment)
    return sorted(found, key=lambda slack: slack.family)


def _rates(deployment: Deployment, workload: Workload) -> list[Slack]:
    if deployment.mode(workload) not in ("disaggregated", "hybrid") or workload.osl == 1:
        return []
    prefill, decode = deployment.capacity(workload, "prefill"), deployment.capacity(workload, "decode")
    flow = min(prefill, decode)
    return [
        Slack("C1 rate matching", f"{workload.name} prefill", prefill - flow, flow, "requests/s"),
        Slack("C1 rate matching", f"{workload.name} decode", decode - flow, flow, "requests/s"),
    ]


def _latencies(deployment: Deployment, workload: Workload) -> list[Slack]:
    mine = [a for a in deployment.assignments if a.engine.workload.name == workload.name]
    first = [ttft for *_, ttft in deployment.first_token_ms(workload)]
    each = [a.point.latency_ms for a in mine if a.decodes]
    found = []
    if workload.ttft_ms is not None and first:
        found.append(Slack("C2 SLA", f"{workload.name} TTFT", workload.ttft_ms - max(first), workload.ttft_ms, "ms"))
    if workload.tpot_ms is not None and each:
        found.append(Slack("C2 SLA", f"{workload.name} TPOT", workload.tpot_ms - max(each), workload.tpot_ms, "ms"))
    gaps = [a.point.latency_ms if a.point.itl_ms is None else a.point.itl_ms for a in mine if a.decodes]
    if workload.itl_ms is not None and gaps:
        found.append(Slack("C2 SLA", f"{workload.name} ITL", workload.itl_ms - max(gaps), workload.itl_ms, "ms"))
    worst = end_to_end_ms(deployment, workload)
    if workload.e2el_ms is not None and worst is not None:
        found.append(Slack("C2 SLA", f"{workload.name} E2E", workload.e2el_ms - worst, workload.e2el_ms, "ms"))
    return found


def end_to_end_ms(deployment: Deployment, workload: Workload) -> Fraction | None:
    """The worst TTFT + (OSL - 1) x TPOT of requests of a workload, in ms."""
    steps = workload.osl - 1
    totals = []
    for a, b, ttft in deployment.first_token_ms(workload):
        last = a if b is None and a.role == "colocated" else b
        totals.append(ttft if last is None else ttft + steps * last.point.latency_ms)
    return max(totals, default=None)


def _handover(deployment: Deployment, workload: Workload) -> list[Slack]:
    """GB/s left on the GPUs that send and take in KV cache, and on the links between pools."""
    kv = kv_flows(deployment, workload)
    if kv is None:
        return []
    found = []
    for a in (*deployment.of_role(workload, "prefill"), *deployment.of_role(workload, "decode")):
        limit, used = a.engine.pool.kv_gbps, kv.gbps_per_gpu(a)
        if limit is not None and used is not None:
            where = f"{workload.name} {'egress' if a.role == 'prefill' else 'ingress'} {a.engine.pool.name}"
            found.append(Slack("C6 KV hand-over", where, limit - used, limit, "GB/s per GPU"))
    moved = {(flow.start, flow.to): flow.gbps for flow in kv.flows}
    for pair, limit in (deployment.instance.kv_links or {}).items():
        where = f"{pair[0]} to {pair[1]}"
        found.append(Slack("C6 KV hand-over", where, limit - moved.get(pair, Fraction(0)), limit, "GB/s"))
    return found


def _demand(deployment: Deployment, workload: Workload) -> list[Slack]:
    flow, found = deployment.flow(workload), []
    if workload.requests_per_s is not None:
        left = flow - workload.requests_per_s
        found.append(Slack("C8 demand", workload.name, left, workload.requests_per_s, "requests/s"))
    if workload.max_requests_per_s is not None:
        left = workload.max_requests_per_s - flow
        found.append(Slack("C8 demand", f"{workload.name} cap", left, workload.max_requests_per_s, "requests/s"))
    return found


def _domains(deployment: Deployment, pool: Pool) -> list[Slack]:
    """NVLink slots for the largest stage group in use."""
    groups: dict[int, int] = {}
    for a in deployment.assignments:
        if a.engine.pool.name == pool.name:
            partition = a.engine.curve.partition
            groups[partition.stage_group] = groups.get(partition.stage_group, 0) + partition.pp * int(a.replicas)
    if not groups or max(groups) == 1:
        return []
    size, domain = max(groups), pool.nvlink_domain_gpus
    if size > domain:
        slots = pool.full_domains // -(-size // domain)
    else:
        slots = pool.full_domains * (domain // size) + pool.partial_domain_gpus // size
    where = f"{pool.name} groups of {size} GPUs"
    return [Slack("C4 NVLink packing", where, Fraction(slots - groups[size]), Fraction(slots), "groups")]


def _budget(deployment: Deployment) -> list[Slack]:
    budget, found = deployment.instance.budget, []
    if budget.usd_per_hour is not None and deployment.usd_per_hour is not None:
        left = budget.usd_per_hour - deployment.usd_per_hour
        found.append(Slack("C7 budget", "USD per hour", left, budget.usd_per_hour, "USD/hour"))
    if budget.watts is not None and deployment.watts is not None:
        found.append(Slack("C7 budget", "power", budget.watts - deployment.watts, budget.watts, "W"))
    serving = deployment.instance.serving
    for (name, role), most in serving.max_replicas.items():
        used = sum(a.replicas for a in deployment.of_role(deployment.instance.workload(name), role))
        found.append(Slack("C7 replicas", f"{name} {role}", Fraction(most - used), Fraction(most), "replicas"))
    return found
