"""The result: what was found, what was proved, and with what; and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

from costmodels.operating_curve import ROLES, Role
from solver.deployment import Assignment, Block, Deployment
from solver.engines import EngineSet
from solver.instance import Instance, Pattern, Workload
from solver.kv_flows import KvFlows, kv_flows
from solver.placement import placements
from solver.rows import Row, deployment_rows
from solver.slack import slacks

Status = Literal["optimal", "feasible", "infeasible", "unknown"]


@dataclass(frozen=True)
class Run:
    """
    How an answer was computed; recorded in every result.

    Parameters
    ----------
    backend, backend_version
        The back end asked for.
    formulation
        ``points`` or ``piecewise``.
    dominance, tiebreak
        Whether dominated points were dropped, and ties broken.
    parameters
        Threads, seed, limits.
    points, columns
        Operating points within the limits, and columns of the model after dominance.
    dropped
        Reason to the number of rows or points dropped before.
    solves
        Models solved.
    wall_s
        Wall seconds from instance to answer.
    model_hash
        Hash of the model whose optimum or infeasibility is the proof.
    quantum
        Step of the flow grid of that model, in requests/s; rows that must be exact do not depend on it.
    claims
        What back ends claimed before the exact step.
    """

    backend: str
    backend_version: str
    formulation: str
    dominance: bool
    tiebreak: bool
    parameters: Mapping[str, object]
    points: int
    columns: int
    dropped: Mapping[str, int]
    solves: int
    wall_s: float
    model_hash: str = ""
    quantum: float | None = None
    claims: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class Result:
    """
    The answer to an instance.

    Parameters
    ----------
    instance
        The instance.
    engines
        Its engines and curves.
    status
        ``optimal``: feasibility verified exactly, bound proved, and both equal. ``feasible``: verified, not proved.
        ``infeasible``: proved that nothing serves. ``unknown``: a limit came before any answer.
    deployment
        The deployment, or None.
    objective, bound
        In the objective's unit; None where there is none.
    proof
        Who proved the bound, on which model.
    feasibility
        What the verifier said.
    proved
        Lexicographic stages that were proved.
    run
        How it was computed.
    reasons
        Why an instance is infeasible, one finding each.
    unprotected
        The objective of the best plan that need not survive a loss, where one is asked for.
    dual
        The certificate of a dual bound, where one was computed.
    """

    instance: Instance
    engines: EngineSet
    status: Status
    deployment: Deployment | None
    objective: Fraction | None
    bound: Fraction | None
    proof: str
    feasibility: str
    proved: tuple[str, ...]
    run: Run
    reasons: tuple[Mapping[str, object], ...] = field(default=())
    unprotected: Fraction | None = None
    dual: Mapping[str, Any] | None = None

    @property
    def gap(self) -> float | None:
        """|bound - objective| / |objective|; None without both."""
        if self.objective is None or self.bound is None:
            return None
        return float(abs(self.bound - self.objective) / abs(self.objective)) if self.objective else 0.0

    def rows(self) -> list[Row]:
        """One flat row for each line of the deployment, for a data frame; none without a deployment."""
        return [] if self.deployment is None else deployment_rows(self.deployment)

    def as_dict(self) -> dict[str, Any]:
        """The result file, version 1."""
        return {
            "format": "disagg-result",
            "version": 1,
            "instance": self.instance.name,
            "instance_hash": instance_hash(self.instance, self.engines),
            "status": self.status,
            "objective_kind": self.instance.objective,
            "objective": _float(self.objective),
            "bound": _float(self.bound),
            "gap": self.gap,
            "exact": {"objective": exact_text(self.objective), "bound": exact_text(self.bound)},
            "feasibility": self.feasibility,
            "proof": self.proof,
            "proved_stages": list(self.proved),
            "cost_model": {
                "description": self.engines.cost_model,
                "known_error": self.engines.known_error,
                "fit_error": float(max((e.curve.fit_error for e in self.engines.engines), default=Fraction(0))),
                "notes": list(self.engines.notes),
            },
            "planned_utilization": {role: float(share) for role, share in self.instance.serving.utilization.items()},
            "run": _run_dict(self.run),
            "deployment": None if self.deployment is None else deployment_dict(self.deployment),
            "totals": None if self.deployment is None else totals_dict(self.deployment),
            "slack": [] if self.deployment is None else [slack.as_dict() for slack in slacks(self.deployment)],
            "infeasibility": [dict(reason) for reason in self.reasons],
            **({} if self.unprotected is None else {"objective_without_survive": exact_text(self.unprotected)}),
            **({} if self.dual is None else {"dual_bound": dict(self.dual)}),
        }


def _run_dict(run: Run) -> dict[str, Any]:
    return {**vars(run), "parameters": dict(run.parameters), "dropped": dict(run.dropped), "claims": list(run.claims)}


def instance_hash(instance: Instance, engines: EngineSet) -> str:
    """SHA-256 of instance and curves, 16 hexadecimal digits; the same in every process."""
    serving = instance.serving
    allow, deny = (
        {role: tuple(map(_ordered, some)) for role, some in p.items()} for p in (serving.allow, serving.deny)
    )
    ordered = replace(instance, serving=replace(serving, allow=allow, deny=deny))
    survive = "" if serving.survive is None else f"{serving.survive!r}\n"
    return hashlib.sha256(f"{ordered!r}\n{survive}{engines.digest()}".encode()).hexdigest()[:16]


class _Ordered(frozenset[int | str]):
    """A set that is written in ascending order; a plain one of names is written in the order of their hashes."""

    def __repr__(self) -> str:
        members = sorted(self, key=lambda member: (isinstance(member, str), member))
        return f"frozenset({{{', '.join(map(repr, members))}}})" if members else "frozenset()"


def _ordered(pattern: Pattern) -> Pattern:
    fields = pattern.fields.items()
    return Pattern({name: _Ordered(some) if isinstance(some, frozenset) else some for name, some in fields})


def _float(value: Fraction | int | None) -> float | None:
    return None if value is None else float(value)


def exact_text(value: Fraction | int | None) -> str | None:
    """A rational as ``num/den``."""
    if value is None:
        return None
    value = Fraction(value)
    return f"{value.numerator}/{value.denominator}"


def with_exact(values: Mapping[str, Fraction | int | None]) -> dict[str, Any]:
    """Floats, and beside them the same values exactly."""
    floats: dict[str, Any] = {name: _float(value) for name, value in values.items()}
    return {**floats, "exact": {name: exact_text(value) for name, value in values.items()}}


def deployment_dict(deployment: Deployment) -> dict[str, Any]:
    """The deployment part of a result."""
    document: dict[str, Any] = {"workloads": [_workload_dict(deployment, w) for w in deployment.instance.workloads]}
    if not deployment.instance.is_unlimited:
        document["placement"] = {p.pool: p.as_list() for p in placements(deployment)}
    if deployment.blocks:
        document["blocks"] = [_block_dict(deployment, block) for block in deployment.blocks]
    return document


def _block_dict(deployment: Deployment, block: Block) -> dict[str, Any]:
    """A node or domain that may be lost, and the replicas that stand in it."""
    standing = []
    for index, batch, count in block.replicas:
        a = next(a for a in deployment.assignments if (a.engine.index, a.batch) == (index, batch))
        entry = deployment.of_role(a.engine.workload, a.role).index(a)
        standing.append({"workload": a.engine.workload.name, "role": a.role, "entry": entry, "replicas": count})
    return {"pool": block.pool, "block": block.index, "gpus": block.gpus, "replicas": standing}


def _workload_dict(deployment: Deployment, workload: Workload) -> dict[str, Any]:
    kv = kv_flows(deployment, workload)
    roles: dict[str, Any] = {
        role: [_entry(a, kv) for a in deployment.of_role(workload, role)] for role in ("prefill", "decode", "colocated")
    }
    flows: dict[str, Fraction | int | None] = {"requests_per_s": deployment.flow(workload)}
    for role in ("prefill", "decode", "colocated"):
        flows[f"{role}_requests_per_s"] = deployment.capacity(workload, role) if roles[role] else None
    prefill, decode = flows["prefill_requests_per_s"], flows["decode_requests_per_s"]
    context = sum((a.gpus for a in deployment.of_role(workload, "prefill")), 0)
    generation = sum((a.gpus for a in deployment.of_role(workload, "decode")), 0)
    return {
        "workload": workload.name,
        "mode": deployment.mode(workload),
        "planned_utilization": {role: float(deployment.instance.utilization(workload, role)) for role in ROLES},
        **roles,
        **with_exact(flows),
        "utilization": {
            role: float(_passing(deployment, workload, role) / capacity)
            for role in ROLES
            if (capacity := deployment.capacity(workload, role))
        },
        "flow_ratio": float(prefill / decode) if prefill and decode else None,
        "ctx_gen_gpu_ratio": float(Fraction(context) / generation) if context and generation else None,
        **({} if kv is None else _kv_dict(kv)),
    }


def _kv_dict(kv: KvFlows) -> dict[str, Any]:
    """The KV hand-over of a workload: GB of a request, and what goes from pool to pool."""
    flows = [
        {
            "from": flow.start,
            "to": flow.to,
            **with_exact({"requests_per_s": flow.requests_per_s, "gbps": flow.gbps, "exposed_ms": flow.exposed_ms}),
        }
        for flow in kv.flows
    ]
    return {"kv_gbytes_per_request": float(kv.gbytes_per_request), "kv_flows": flows}


def _passing(deployment: Deployment, workload: Workload, role: Role) -> Fraction:
    """Requests/s that pass a role: co-located engines are filled first where a cap leaves room."""
    colocated = min(deployment.capacity(workload, "colocated"), deployment.flow(workload))
    return colocated if role == "colocated" else deployment.flow(workload) - colocated


def _entry(a: Assignment, kv: KvFlows | None = None) -> dict[str, Any]:
    curve = a.engine.curve
    whole = isinstance(a.replicas, int)
    moved = None if kv is None else kv.gbps_per_gpu(a)
    return {
        "pool": a.engine.pool.name,
        "partition": vars(curve.partition),
        "precision": curve.precision,
        "backend": curve.backend,
        "backend_version": curve.backend_version,
        "domain_gpus": curve.domain_gpus,
        "chunk_tokens": curve.chunk_tokens,
        "batch": a.batch,
        "replicas": a.replicas if whole else exact_text(a.replicas),
        "gpus": a.gpus if whole else exact_text(a.gpus),
        **with_exact(
            {
                "latency_ms": a.point.latency_ms,
                "ttft_ms": a.point.ttft_ms,
                "requests_per_s": a.point.requests_per_s,
            }
        ),
        **({} if moved is None else {"kv_gbps_per_gpu": float(moved)}),
    }


def totals_dict(deployment: Deployment) -> dict[str, Any]:
    """The totals part of a result."""
    usd, tokens_per_s = deployment.usd_per_hour, deployment.output_tokens_per_s
    values: dict[str, Fraction | int | None] = {
        "requests_per_s": deployment.requests_per_s,
        "output_tokens_per_s": tokens_per_s,
        "tokens_per_s_per_gpu": deployment.tokens_per_s_per_gpu,
        "tokens_per_s_per_user": deployment.tokens_per_s_per_user,
        "ttft_ms": deployment.ttft_ms,
        "tpot_ms": deployment.tpot_ms,
        "gpus_used": deployment.gpus_used,
        "usd_per_hour": usd,
        "usd_per_million_output_tokens": None
        if usd is None or not tokens_per_s
        else usd * 10**6 / (tokens_per_s * 3600),
        "watts": deployment.watts,
    }
    document = with_exact(values)
    if isinstance(deployment.gpus_used, int):
        document["gpus_used"] = deployment.gpus_used
    return document


def to_json(document: Mapping[str, Any]) -> str:
    """A document as JSON text, keys in order, ending in a line break."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
