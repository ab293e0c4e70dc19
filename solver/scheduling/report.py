"""A schedule in words."""

from __future__ import annotations

from fractions import Fraction

from solver.scheduling.plan import Plan
from solver.scheduling.policies import ratio
from solver.scheduling.problem import UNITS
from solver.scheduling.schedule import Schedule
from solver.scheduling.shortage import clock

ROWS = 12
"""Stretches of the day that are listed."""


def lines(answer: Schedule) -> list[str]:
    """The report."""
    problem, demand = answer.problem, answer.problem.demand
    name, unit = problem.fleet.instance.name, UNITS[problem.kind]
    minutes = float(demand.period_s / 60)
    over = f"{problem.periods} periods of {minutes:g} min of {demand.name}"
    found = [_head(answer, name, unit), "", over, *(f"note: {note}" for note in demand.notes), ""]
    if answer.shortage is not None:
        return [*found, *answer.shortage.lines(demand.period_s), *_run(answer)]
    if answer.status == "infeasible":
        return [
            *found,
            "no plan meets every demand: exact multipliers show that the rows contradict each other",
            *_run(answer),
        ]
    if answer.best is None:
        return [*found, "nothing was found within the limits", *_run(answer)]
    found += [*_columns(answer), "", *_day(answer.best.plan), "", *_totals(answer)]
    return found + _run(answer)


def _head(answer: Schedule, name: str, unit: str) -> str:
    if answer.value is None:
        return f"{name}: {answer.status.upper()}"
    return f"{name}: {answer.status.upper()} {float(answer.value):,.6g} {unit}"


def _columns(answer: Schedule) -> list[str]:
    assert answer.best is not None
    plan, found = answer.best.plan, []
    for j, column in enumerate(answer.problem.columns):
        held = [row[j] for row in plan.held]
        if any(held):
            engine = column.engine
            start = f"cold start {float(column.cold_start_s):,.3g} s"
            found.append(
                f"  {engine.workload.name:<10}{column.role:<11}{engine.pool.name:<8}{engine.curve.partition.label:<18}"
                f"batch {column.batch:<6}{min(held):>4} to {max(held):<4} replicas of {column.gpus} GPUs, "
                f"{float(column.requests_per_s):,.6g} requests/s each, {start}"
            )
    return found


def _day(plan: Plan) -> list[str]:
    """The day in a few stretches: demand, what is held, the ratio."""
    problem = plan.problem
    step = -(-problem.periods // ROWS)
    found = [f"{'from':<8}{'requests/s':>18}{'GPUs held':>14}{'changes':>9}  ctx:gen"]
    workload = problem.fleet.instance.workloads[0]
    for first in range(0, problem.periods, step):
        periods = range(first, min(first + step, problem.periods))
        rates = [sum((rates[t] for rates in problem.demand.requests_per_s.values()), Fraction(0)) for t in periods]
        gpus = [plan.gpus(t) for t in periods]
        ratios = [r for t in periods if (r := ratio(plan, t, workload)) is not None]
        span = f"{float(min(ratios)):.2f} to {float(max(ratios)):.2f}" if ratios else "-"
        asked = f"{float(min(rates)):,.4g} to {float(max(rates)):,.4g}"
        held = f"{min(gpus)} to {max(gpus)}"
        changes = sum(plan.changes(t) for t in periods)
        found.append(f"{clock(first, problem.demand.period_s):<8}{asked:>18}{held:>14}{changes:>9}  {span}")
    return found


def _totals(answer: Schedule) -> list[str]:
    assert answer.best is not None
    plan, pools = answer.best.plan, answer.problem.fleet.instance.pools
    found = [f"total: {float(plan.gpu_hours):,.6g} GPU-hours"]
    if all(pool.usd_per_gpu_hour is not None for pool in pools):
        found[0] += f", {float(plan.spent('usd')):,.6g} USD"
    if all(pool.watts_per_gpu is not None for pool in pools):
        found[0] += f", {float(plan.spent('energy')):,.6g} kWh"
    served = float(plan.served_share)
    found.append(f"served within the SLA, at the mean rates: {served:.4%} of the requests")
    short = [(t, w) for t, w in plan.services if plan.shortfall(t, w)]
    if short:
        period, workload = max(short, key=lambda key: plan.shortfall(*key))
        worst = float(plan.shortfall(period, workload))
        periods = len({t for t, _ in short})
        at = clock(period, answer.problem.demand.period_s)
        many = "1 period" if periods == 1 else f"{periods} periods"
        found.append(f"short in {many}, most at {at}: {worst:,.6g} requests/s of {workload} are not served")
        if answer.problem.shortfall_price is not None:
            weights = {w.name: answer.problem.missing(w) for w in answer.problem.fleet.instance.workloads}
            priced = float(sum(plan.shortfall(t, w) * weights[w] for t, w in short))
            found.append(f"what is not served counts {priced:,.6g} {UNITS[answer.problem.kind]} in the value above")
    moves = answer.best.migrations
    moved = "no running replica is moved" if not moves else f"{moves} replicas are moved, a cold start charged for each"
    found.append(f"changes: {plan.changes_in_all}; placed in NVLink domains through all periods, {moved}")
    if answer.static is not None and answer.static.plan.gpu_hours:
        share = float(1 - plan.gpu_hours / answer.static.plan.gpu_hours)
        best = "the best static plan" if answer.is_static_proved else "a static plan, not proved the best"
        found.append(f"against {best} ({float(answer.static.plan.gpu_hours):,.6g} GPU-hours): {share:.1%} saved")
    return found


def _run(answer: Schedule) -> list[str]:
    found, unit = answer.found, UNITS[answer.problem.kind]
    bound = "no bound" if answer.bound is None else f"bound {float(answer.bound):,.6g} {unit} for the whole horizon"
    gap = "" if answer.gap is None else f", gap {answer.gap:.4%}" if answer.gap else ", gap 0"
    stopped = ", stopped by a limit" if found.is_stopped else ""
    if answer.best is None:
        return ["", f"run: {len(answer.problem.columns)} columns, {answer.wall_s:.2f} s{stopped}"]
    told = [
        f"proof: {bound}{gap}, exact multipliers on model {found.model_hash}; feasibility: {answer.feasibility}",
        f"run: {len(answer.problem.columns)} columns, {found.size[0]} variables, {found.size[1]} rows, "
        f"{found.nodes} relaxations, {answer.wall_s:.2f} s{stopped}; the plan is from {found.method}",
    ]
    return ["", *told]
