"""Points of the page: each a deployment with the numbers that the page shows of it."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from costmodels.operating_curve import ROLES
from solver.deployment import Assignment, Deployment
from solver.engines import Engine
from solver.frontier import FrontierPoint
from solver.frontier_points import proof_text
from solver.instance import Workload
from solver.page.packing import PackedPool, packed
from solver.result import Result
from solver.slack import end_to_end_ms

DIGITS = 7
"""Significant digits of numbers in the page; the exact ones stand in result files."""


class Picked:
    """
    The points and packings of a page.

    Attributes
    ----------
    points, packings
        What the page holds, in the order of their numbers.
    used
        The indices of all engines that a point uses.
    """

    def __init__(self) -> None:
        self.points: list[dict[str, Any]] = []
        self.used: set[int] = set()
        self.packings: list[Any] = []
        self._packed: dict[tuple[PackedPool, ...], int] = {}

    def frontier(self, points: Iterable[FrontierPoint]) -> list[int]:
        """Adds points of a frontier; returns their numbers."""
        return [self._add(p.deployment, p.tokens_per_s_per_user, p.value, proof_text(p.proof)) for p in points]

    def result(self, result: Result) -> int | None:
        """Adds the deployment of a result; returns its number, None without one."""
        found = result.deployment
        if found is None or result.objective is None:
            return None
        return self._add(found, found.tokens_per_s_per_user, result.objective, result.proof)

    def _add(self, deployment: Deployment, user: Fraction | None, value: Fraction, proof: str) -> int:
        usd, tokens = deployment.usd_per_hour, deployment.output_tokens_per_s
        unlimited = deployment.instance.is_unlimited
        workloads = deployment.instance.workloads
        self.points.append(
            {
                "user": short(user),
                "y": short(value if deployment.instance.is_minimised else deployment.tokens_per_s_per_gpu),
                "value": short(value),
                "perGpu": short(None if unlimited else deployment.tokens_per_s_per_gpu),
                "modes": [deployment.mode(workload) for workload in workloads],
                "tpot": short(deployment.tpot_ms),
                "ttft": short(deployment.ttft_ms),
                "gpus": short(deployment.gpus_used),
                "requests": short(deployment.requests_per_s),
                "tokens": short(tokens),
                "usd": short(None if unlimited else usd),
                "usdPerMillion": short(None if usd is None or not tokens else usd * 10**6 / (tokens * 3600)),
                "watts": short(None if unlimited else deployment.watts),
                "proof": proof,
                "uses": [self._use(deployment, a) for a in sorted(deployment.assignments, key=_reading_order)],
                "served": [_served(deployment, workload) for workload in workloads],
                "packing": self._packing(deployment),
            }
        )
        return len(self.points) - 1

    def _use(self, deployment: Deployment, a: Assignment) -> list[Any]:
        """Engine, batch, replicas, GPUs, latency in ms, planned requests/s of all replicas."""
        self.used.add(a.engine.index)
        numbers = (a.replicas, a.gpus, a.point.latency_ms, deployment.planned(a))
        return [a.engine.index, a.batch, *map(short, numbers)]

    def _packing(self, deployment: Deployment) -> int:
        pools = packed(deployment)
        if pools not in self._packed:
            self._packed[pools] = len(self.packings)
            self.packings.append([_pool_dict(pool) for pool in pools])
        return self._packed[pools]


def engine_dict(engine: Engine) -> dict[str, Any]:
    """An engine in words."""
    curve = engine.curve
    return {
        "workload": engine.workload.name,
        "role": curve.role,
        "pool": engine.pool.name,
        "partition": curve.partition.label,
        "chunk": curve.chunk_tokens,
        "engine": f"{curve.backend} {curve.precision}".strip(),
        "gpus": curve.partition.gpus,
    }


def short(value: Fraction | float | None) -> float | int | None:
    """A number with the digits that the page shows."""
    if value is None:
        return None
    rounded = float(f"{float(value):.{DIGITS}g}")
    return int(rounded) if rounded == int(rounded) else rounded


def _reading_order(a: Assignment) -> tuple[object, ...]:
    """Workload by workload, prefill before decode."""
    return (a.engine.workload.name, ROLES.index(a.role), a.engine.index, a.batch)


def _served(deployment: Deployment, workload: Workload) -> list[Any]:
    """Requests/s credited, prefill and decode capacity in requests/s, prefill and decode GPUs, end to end in ms."""
    prefill, decode = deployment.of_role(workload, "prefill"), deployment.of_role(workload, "decode")
    gpus = [sum((a.gpus for a in some), 0) for some in (prefill, decode)]
    rates = [deployment.capacity(workload, "prefill"), deployment.capacity(workload, "decode")]
    total = end_to_end_ms(deployment, workload) if deployment.is_served(workload) else None
    return [*map(short, (deployment.flow(workload), *rates, *gpus, total))]


def _pool_dict(pool: PackedPool) -> dict[str, Any]:
    boxes = [
        {"domains": b.domains, "gpus": b.gpus, "groups": [list(g) for g in b.groups], "spans": b.spans}
        for b in pool.boxes
    ]
    return {"pool": pool.pool, "domain": pool.domain_gpus, "boxes": boxes}
