"""Points of a frontier, the frontier, and the files that hold one."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solver.deployment import Deployment
from solver.engines import EngineSet
from solver.formulation.milp import Milp
from solver.instance import Instance
from solver.result import deployment_dict, exact_text, instance_hash, totals_dict
from solver.rows import Row, point_row

PROOFS = {
    "limit": "rational comparison",
    "balanced pairs": "bound proved by comparing all balanced pairs of points in integers",
    "divided GPUs": "bound proved by dividing the GPUs among balanced pairs of points in integers",
    "two pools": "bound proved by dividing the GPUs of both pools between prefill and decode in integers",
}
"""Proofs that need no model, by their short names."""


@dataclass(frozen=True)
class FrontierPoint:
    """
    A point of the frontier.

    Parameters
    ----------
    limit_ms
        The TPOT limit at which it was proved optimal.
    deployment
        The deployment.
    value
        The objective, exactly.
    proof
        The model that proves that nothing at this limit is better, or a word of :data:`PROOFS`.
    requested
        The interactivity asked for, in tokens/s/user, where a list was given.
    tpot_ms
        The slowest TPOT in use among the workloads of the sweep.
    is_final
        Whether the later stages (tokens/s, fewest GPUs, USD) are settled for the deployment.
    """

    limit_ms: Fraction | None
    deployment: Deployment
    value: Fraction
    proof: Milp | str
    requested: Fraction | None
    tpot_ms: Fraction | None
    is_final: bool = False

    @property
    def tokens_per_s_per_user(self) -> Fraction | None:
        """Interactivity: 1000 / TPOT."""
        return None if self.tpot_ms is None else 1000 / self.tpot_ms

    @property
    def mode(self) -> str:
        """How the workloads are served; ``mixed`` where they differ."""
        instance = self.deployment.instance
        modes = {self.deployment.mode(w) for w in instance.workloads if self.deployment.is_served(w)}
        return modes.pop() if len(modes) == 1 else "mixed"


@dataclass(frozen=True)
class Frontier:
    """
    A frontier, or the part of it that was proved before a limit.

    Parameters
    ----------
    instance, engines
        What it is of.
    points
        By ascending interactivity.
    missing
        What was not reached, in words; empty where complete.
    workloads
        The workloads whose TPOT is swept.
    allow_unserved
        Whether some workloads may end with nothing.
    requested
        Whether the points answer a list of interactivities.
    solves, wall_s
        Models solved, and wall seconds.
    incremental
        Whether steps may be settled by bounds, without a model.
    backend
        Back end and version.
    infeasible
        Requested interactivities that are proved infeasible.
    faults
        What the independent verifier found wrong; empty unless we are at fault.
    """

    instance: Instance
    engines: EngineSet
    points: tuple[FrontierPoint, ...]
    missing: str
    workloads: tuple[str, ...]
    allow_unserved: bool
    requested: bool
    solves: int
    wall_s: float
    backend: str
    infeasible: tuple[Fraction, ...] = ()
    faults: tuple[str, ...] = ()
    incremental: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The frontier file, version 1."""
        return {
            "format": "disagg-frontier",
            "version": 1,
            "instance": self.instance.name,
            "instance_hash": instance_hash(self.instance, self.engines),
            "objective_kind": self.instance.objective,
            "cost_model": {"description": self.engines.cost_model, "known_error": self.engines.known_error},
            "complete": not self.missing,
            "missing": self.missing,
            "workloads": list(self.workloads),
            "allow_unserved": self.allow_unserved,
            "requested": self.requested,
            "infeasible_tokens_per_s_per_user": [float(value) for value in self.infeasible],
            "backend": self.backend,
            "incremental": self.incremental,
            "solves": self.solves,
            "wall_s": round(self.wall_s, 6),
            "points": [_point_dict(point) for point in self.points],
        }

    def rows(self) -> list[Row]:
        """One flat row for each point, for a data frame."""
        return [point_row(point.deployment, float(point.value), point.mode) for point in self.points]

    def as_csv(self) -> str:
        """One row a point."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [w.name for w in self.instance.workloads]
        served = [f"mode {name}" for name in names] if len(names) > 1 else []
        header = "tokens_per_s_per_user,tokens_per_s_per_gpu,requests_per_s,gpus_used,mode,objective,tpot_ms,ttft_ms,"
        header += "usd_per_hour,requested_tokens_per_s_per_user,deployment"
        writer.writerow([*header.split(","), *served])
        for point in self.points:
            modes = [point.deployment.mode(w) for w in self.instance.workloads] if served else []
            writer.writerow([*_row(point), *modes])
        for value in self.infeasible:
            writer.writerow(["", "", "", "", "infeasible", "", "", "", "", float(value), "", *([""] * len(served))])
        return text.getvalue()


def _point_dict(point: FrontierPoint) -> dict[str, Any]:
    value = float(point.value)
    return {
        "limit_ms": None if point.limit_ms is None else float(point.limit_ms),
        "requested_tokens_per_s_per_user": None if point.requested is None else float(point.requested),
        "tokens_per_s_per_user": None if point.tpot_ms is None else float(1000 / point.tpot_ms),
        "status": "optimal",
        "objective": value,
        "bound": value,
        "gap": 0.0,
        "exact": {
            "objective": exact_text(point.value),
            "bound": exact_text(point.value),
            "limit_ms": exact_text(point.limit_ms),
        },
        "feasibility": "verified exactly",
        "proof": proof_text(point.proof),
        "mode": point.mode,
        "deployment": deployment_dict(point.deployment),
        "totals": totals_dict(point.deployment),
    }


def proof_text(proof: Milp | str) -> str:
    """Who proved a point, and how, in words."""
    return PROOFS[proof] if isinstance(proof, str) else f"bound proved by cp-sat on model {proof.digest()}"


def _row(point: FrontierPoint) -> list[object]:
    d = point.deployment

    def text(value: Fraction | int | None) -> object:
        return "" if value is None else value if isinstance(value, int) else float(value)

    parts = [f"{a.role} {a.replicas} x {a.engine.curve.partition.label} batch {a.batch}" for a in d.assignments]
    interactivity = text(point.tokens_per_s_per_user)
    totals = [interactivity, text(d.tokens_per_s_per_gpu), text(d.requests_per_s), text(d.gpus_used), point.mode]
    rest = [text(point.value), text(point.tpot_ms), text(d.ttft_ms), text(d.usd_per_hour), text(point.requested)]
    return [*totals, *rest, "; ".join(parts)]
