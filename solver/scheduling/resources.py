"""C3, C4 and C7 of a period: GPUs, NVLink domains, budgets, and the most changes at once."""

from __future__ import annotations

from fractions import Fraction

from solver.formulation.scaling import short_down, short_up
from solver.instance import Pool
from solver.scheduling.draft import ScheduleModel, held_before, stops, total


def inventory(model: ScheduleModel, period: int, index: int, pool: Pool) -> None:
    """C3 and C4: GPUs, and stage groups in NVLink domains; exact for sizes that divide each other, else relaxed."""
    here = [(j, c) for j, c in enumerate(model.problem.columns) if c.engine.pool.name == pool.name]
    if not here:
        return
    model.add(f"C3_t{period}_p{index}", total(c.gpus * model.held[period, j] for j, c in here) <= (pool.gpus or 0))
    domain, parts = pool.nvlink_domain_gpus, {j: c.engine.curve.partition for j, c in here}
    large = total(
        -(-p.stage_group // domain) * p.pp * model.held[period, j] for j, p in parts.items() if p.stage_group > domain
    )
    if large:
        model.add(f"C4_domains_t{period}_p{index}", large <= pool.full_domains)
    small = {j: p for j, p in parts.items() if p.stage_group <= domain}
    for size in sorted({p.stage_group for p in small.values()}):
        slots = pool.full_domains * (domain // size) + pool.partial_domain_gpus // size
        if size > 1 or large or slots != pool.gpus:
            groups = total(
                (p.stage_group // size) * p.pp * model.held[period, j]
                for j, p in small.items()
                if p.stage_group >= size
            )
            model.add(f"C4_s{size}_t{period}_p{index}", groups + (domain // size) * large <= slots)


def budgets(model: ScheduleModel, period: int) -> None:
    """C7: dollars and watts of the GPUs held."""
    instance = model.problem.fleet.instance
    for name, limit, each in (
        ("usd", instance.budget.usd_per_hour, "usd_per_gpu_hour"),
        ("watts", instance.budget.watts, "watts_per_gpu"),
    ):
        if limit is not None:
            counted = instance.budget.count_idle
            spent = total(
                short_down(c.gpus * getattr(c.engine.pool, each)) * model.held[period, j]
                for j, c in enumerate(model.problem.columns)
                if not counted
            )
            idle = sum((p.gpus or 0) * getattr(p, each) for p in instance.pools) if counted else Fraction(0)
            model.add(f"C7_{name}_t{period}", spent <= short_up(limit - idle))


def limits(model: ScheduleModel, period: int) -> None:
    """C7: the most replicas of a role; and the most changes at the beginning of a period."""
    problem, bounds = model.problem, model.problem.fleet.instance.serving.max_replicas
    for number, ((workload, role), most) in enumerate(sorted(bounds.items())):
        mine = problem.fleet.of(workload, role)
        if len(mine) > 1:
            model.add(f"C7_most{number}_t{period}", total(model.held[period, j] for j in mine) <= most)
    if problem.max_changes is not None and held_before(model, period, 0) is not None:
        places = range(len(problem.columns))
        starts = total(model.started[period, j] for j in places)
        switched = total(v for (t, _), v in model.switched.items() if t == period)
        stopped = total(stops(model, period, j) for j in places)
        model.add(f"T4_changes_t{period}", starts + switched + stopped <= problem.max_changes)
