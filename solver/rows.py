"""Flat rows of plain numbers and texts, as data frames take them: ``pandas.DataFrame(result.rows())``."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction

from solver.deployment import Assignment, Deployment

Cell = str | int | float | None
Row = dict[str, Cell]
"""Column to value; the float nearest to an exact number, None where there is none."""


def deployment_rows(deployment: Deployment) -> list[Row]:
    """One row for each engine in use at its batch, in canonical order; keys and units as in the result file."""
    return [_assignment_row(deployment, a) for a in deployment.assignments]


def _assignment_row(deployment: Deployment, a: Assignment) -> Row:
    curve = a.engine.curve
    return {
        "workload": a.engine.workload.name,
        "mode": deployment.mode(a.engine.workload),
        "role": a.role,
        "pool": a.engine.pool.name,
        "engine": curve.partition.label,
        **asdict(curve.partition),
        "precision": curve.precision,
        "backend": curve.backend,
        "chunk_tokens": curve.chunk_tokens,
        "batch": a.batch,
        "replicas": number(a.replicas),
        "gpus": number(a.gpus),
        "latency_ms": number(a.point.latency_ms),
        "ttft_ms": number(a.point.ttft_ms),
        "requests_per_s": number(a.point.requests_per_s),
        "planned_requests_per_s": number(deployment.planned(a)),
    }


def point_row(deployment: Deployment, objective: float, mode: str) -> Row:
    """One row for a whole deployment: what a frontier plots, and its totals."""
    return {
        "tokens_per_s_per_user": number(deployment.tokens_per_s_per_user),
        "tokens_per_s_per_gpu": number(deployment.tokens_per_s_per_gpu),
        "requests_per_s": number(deployment.requests_per_s),
        "output_tokens_per_s": number(deployment.output_tokens_per_s),
        "gpus_used": number(deployment.gpus_used),
        "mode": mode,
        "objective": objective,
        "tpot_ms": number(deployment.tpot_ms),
        "ttft_ms": number(deployment.ttft_ms),
        "usd_per_hour": number(deployment.usd_per_hour),
        "watts": number(deployment.watts),
    }


def number(value: Fraction | int | None) -> int | float | None:
    """An exact number as a data frame takes it."""
    return value if value is None or isinstance(value, int) else float(value)
