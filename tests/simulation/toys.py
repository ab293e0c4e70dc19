"""Tiny instances whose curves are known by heart, and what runs them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from solver.deployment import Deployment
from solver.simulation.arrivals import Arrivals, of_process
from solver.simulation.ask import Asked, asked_of, solved
from solver.simulation.router import Policy
from solver.simulation.run import Simulation, run

HEADER = (
    "system,backend,backend_version,model,precision,phase,tp,pp,attention_dp,moe_tp,moe_ep,cp,gpus,domain_gpus,batch,"
    "chunk_tokens,isl,osl,latency_ms,ttft_ms,requests_per_s,memory_gib"
)


def row(phase: str, batch: int, latency: str, *, osl: str = "", ttft: str = "", rate: str = "", chunk: int = 0) -> str:
    """A row of an engine of one GPU, prompts of 100 tokens."""
    return f"toy,toy,1,toy,bf16,{phase},1,1,1,1,1,1,1,8,{batch},{chunk},100,{osl},{latency},{ttft},{rate},10"


def asked(folder: Path, rows: list[str], *, osl: int, gpus: int, **keys: Any) -> Asked:
    """An instance over some rows."""
    (folder / "toy.csv").write_text("\n".join([HEADER, *rows]) + "\n", "utf-8")
    sla = keys.pop("sla", {})
    document = {
        "format": "disagg-instance", "version": 1, "name": "toy",
        "pools": [{"name": "toy", "gpu": "toy", "gpus": gpus, "nvlink_domain_gpus": 8, "usd_per_gpu_hour": 1}],
        "workloads": [{"name": "toy", "model": "toy", "isl": 100, "osl": osl, "sla": sla, **keys.pop("workload", {})}],
        "cost_model": {"kind": "curves", "path": "toy.csv"},
        "objective": "throughput",
        **keys,
    }  # fmt: skip
    (folder / "toy.json").write_text(json.dumps(document), "utf-8")
    return asked_of(folder / "toy.json")


def plan(toy: Asked) -> Deployment:
    """Its optimum."""
    deployment = solved(toy).deployment
    assert deployment is not None
    return deployment


def stream(toy: Asked, rate: Fraction, count: int, seed: int = 0, poisson: bool = True) -> Arrivals:
    """Requests of its only workload."""
    return of_process(toy.instance, [rate], count=count, poisson=poisson, seed=seed)


def simulate(toy: Asked, deployment: Deployment, arrivals: Arrivals, policy: Policy = "least-loaded") -> Simulation:
    """A run whose checks hold."""
    found = run(toy.instance, deployment, toy.model, arrivals, policy)
    assert all(found.checks.values()), found.checks
    return found
