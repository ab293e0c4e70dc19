"""The day as a picture: GPUs held and demand, and the ratio of prefill to decode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from solver.files import write_whole
from solver.picture import blank, rendered
from solver.scheduling.plan import Plan
from solver.scheduling.policies import Policy, ratio
from solver.scheduling.schedule import Schedule

COLOURS = ("#7f7f7f", "#d62728", "#ff7f0e", "#bcbd22", "#17becf", "#1f77b4")


def plot_schedule(answer: Schedule, policies: tuple[Policy, ...], path: Path) -> None:
    """
    Draws a schedule, beside other policies where there are some.

    Parameters
    ----------
    answer
        The schedule; it has a plan.
    policies
        What to compare with; empty for the schedule alone.
    path
        Where to write; .png or .svg.

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    assert answer.best is not None
    figure = blank(10, 8)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(2, 3, 2))
    hours = [float(answer.problem.hours) * t for t in range(answer.problem.periods + 1)]
    _demand(top, answer, hours)
    shown = policies or (Policy("schedule", answer.best.plan),)
    for policy, colour in zip(shown, COLOURS[-len(shown) :], strict=False):
        wide = 2.2 if policy is shown[-1] else 1.2
        gpus = [policy.plan.gpus(t) for t in range(policy.plan.problem.periods)]
        middle.step(hours, [*gpus, gpus[-1]], where="post", color=colour, linewidth=wide, label=policy.name)
        _ratio(bottom, policy.plan, hours, colour, wide)
    if not policies:
        _roles(middle, answer.best.plan, hours)
    middle.set_ylabel("GPUs held")
    middle.set_ylim(bottom=0)
    middle.legend(frameon=False, fontsize=8, loc="best")
    bottom.set_ylabel("GPUs prefill : decode")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("hours from the start")
    name = answer.problem.fleet.instance.name
    figure.suptitle(f"{name}: {answer.status}, {float(answer.best.plan.gpu_hours):,.5g} GPU-hours")
    for axes in (top, middle, bottom):
        axes.grid(alpha=0.25)
        axes.set_xlim(0, hours[-1])
    write_whole(path, rendered(figure, path.suffix[1:], dpi=110))


def _demand(axes: Any, answer: Schedule, hours: list[float]) -> None:
    for name, rates in answer.problem.demand.requests_per_s.items():
        values = [float(rate) for rate in rates]
        axes.step(hours, [*values, values[-1]], where="post", label=name, linewidth=1.2)
    axes.set_ylabel("requests/s")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)


def _ratio(axes: Any, plan: Plan, hours: list[float], colour: str, wide: float) -> None:
    workload = plan.problem.fleet.instance.workloads[0]
    values = [ratio(plan, t, workload) for t in range(plan.problem.periods)]
    shown = [float("nan") if value is None else float(value) for value in values]
    axes.step(hours, [*shown, shown[-1]], where="post", color=colour, linewidth=wide)


def _roles(axes: Any, plan: Plan, hours: list[float]) -> None:
    """GPUs of each role, stacked."""
    below = [0] * len(hours)
    for role, colour in (("prefill", "#aec7e8"), ("decode", "#98df8a"), ("colocated", "#ffbb78")):
        places = [j for j, column in enumerate(plan.problem.columns) if column.role == role]
        rows = [sum(row[j] * plan.problem.columns[j].gpus for j in places) for row in plan.held]
        if any(rows):
            above = [b + n for b, n in zip(below, [*rows, rows[-1]], strict=True)]
            axes.fill_between(hours, below, above, step="post", color=colour, label=role, linewidth=0)
            below = above
