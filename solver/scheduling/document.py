"""The schedule file, version 1."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from solver.result import exact_text, instance_hash, with_exact
from solver.scheduling.engine_column import EngineColumn
from solver.scheduling.lives import Leg
from solver.scheduling.plan import Plan
from solver.scheduling.search import Candidate

if TYPE_CHECKING:
    from solver.scheduling.schedule import Schedule


def as_dict(answer: Schedule) -> dict[str, Any]:
    """The schedule file as JSON; exact values are strings ``num/den``."""
    problem, fleet = answer.problem, answer.problem.fleet
    demand = {name: [exact_text(rate) for rate in rates] for name, rates in problem.demand.requests_per_s.items()}
    best, found = answer.best, answer.found
    return {
        "format": "disagg-schedule",
        "version": 1,
        "instance": fleet.instance.name,
        "instance_hash": instance_hash(fleet.instance, fleet.engines),
        "status": answer.status,
        "objective_kind": problem.kind,
        "objective": None if answer.value is None else float(answer.value),
        "bound": None if answer.bound is None else float(answer.bound),
        "gap": answer.gap,
        "exact": {"objective": exact_text(answer.value), "bound": exact_text(answer.bound)},
        "feasibility": answer.feasibility,
        "rates": problem.demand.name,
        "notes": list(problem.demand.notes),
        "start": problem.demand.start,
        "period_s": exact_text(problem.demand.period_s),
        "periods": problem.periods,
        "rules": fleet.rules.as_dict(),
        "shortfall_price": exact_text(problem.shortfall_price),
        "max_changes": problem.max_changes,
        "current": None if problem.current is None else _counts(problem.current),
        "demand": demand,
        "columns": [_column(column) for column in fleet.columns],
        "switches": [list(pair) for pair in fleet.switches],
        "plan": None if best is None else [_period(best.plan, period) for period in range(problem.periods)],
        "replicas": None if best is None else [_leg(leg) for leg in best.legs],
        "totals": None if best is None else totals(best),
        "infeasibility": [] if answer.shortage is None else answer.shortage.lines(problem.demand.period_s),
        "run": {
            "found_by": found.method,
            "model_hash": found.model_hash,
            "variables": found.size[0],
            "rows": found.size[1],
            "relaxations": found.nodes,
            "is_stopped": found.is_stopped,
            "wall_s": answer.wall_s,
        },
    }


def _counts(counts: tuple[int, ...] | Mapping[int, int]) -> dict[str, int]:
    items = counts.items() if isinstance(counts, Mapping) else enumerate(counts)
    return {str(place): count for place, count in items if count}


def _column(column: EngineColumn) -> dict[str, Any]:
    curve = column.engine.curve
    point = curve.at(column.batch)
    return {
        "workload": column.engine.workload.name,
        "role": column.role,
        "pool": column.engine.pool.name,
        "partition": vars(curve.partition),
        "precision": curve.precision,
        "backend": curve.backend,
        "backend_version": curve.backend_version,
        "domain_gpus": curve.domain_gpus,
        "chunk_tokens": curve.chunk_tokens,
        "batch": column.batch,
        "gpus": column.gpus,
        **with_exact(
            {"latency_ms": point.latency_ms, "ttft_ms": point.ttft_ms, "requests_per_s": point.requests_per_s}
        ),
        "planned_requests_per_s": exact_text(column.requests_per_s),
        "cold_start_s": exact_text(column.cold_start_s),
        "lead_periods": len(column.start_losses),
        "min_up_periods": column.min_up,
    }


def _period(plan: Plan, period: int) -> dict[str, Any]:
    problem = plan.problem
    pairs = problem.fleet.switches
    places = range(len(problem.columns))
    workloads = []
    for workload in problem.fleet.instance.workloads:
        (way, serving), served = plan.services[period, workload.name]
        demand = problem.demand.of(workload.name, period)
        mode = "none" if not serving else "disaggregated" if way else "colocated"
        rates = {"demand": demand, "served": served, "shortfall": demand - served}
        exact = {name: exact_text(value) for name, value in rates.items()}
        workloads.append({"workload": workload.name, "mode": mode, **exact, "serving": _counts(serving)})
    return {
        "period": period,
        "workloads": workloads,
        "held": _counts(plan.held[period]),
        "starts": _counts(plan.started[period]),
        "stops": _counts(tuple(plan.stopped(period, place) for place in places)),
        "switches": [
            {"from": pairs[p][0], "to": pairs[p][1], "replicas": count}
            for (when, p), count in sorted(plan.switched.items())
            if when == period
        ],
        "gpus": plan.gpus(period),
    }


def _leg(leg: Leg) -> dict[str, Any]:
    return {
        "replica": leg.replica,
        "column": leg.column,
        "from": leg.first,
        "ready": leg.ready,
        "until": leg.until,
        "began": leg.began,
        "ends": leg.ended,
        "domains": list(leg.spot),
    }


def totals(best: Candidate) -> dict[str, Any]:
    """Sums over all periods."""
    plan = best.plan
    pools = plan.problem.fleet.instance.pools
    values: dict[str, Fraction | int | None] = {
        "gpu_hours": plan.gpu_hours,
        "usd": plan.spent("usd") if all(pool.usd_per_gpu_hour is not None for pool in pools) else None,
        "kwh": plan.spent("energy") if all(pool.watts_per_gpu is not None for pool in pools) else None,
        "served_share": plan.served_share,
        "most_gpus": max(plan.gpus(period) for period in range(plan.problem.periods)),
    }
    return {**with_exact(values), "changes": plan.changes_in_all, "migrations": best.migrations}
