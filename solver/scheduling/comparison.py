"""A schedule against the policies: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from solver.scheduling.plan import Plan
from solver.scheduling.policies import Policy, last_value, moving_average, ratio, reactive, rolling, soft
from solver.scheduling.schedule import Schedule


@dataclass(frozen=True)
class Comparison:
    """
    A schedule beside what other policies would have done.

    Parameters
    ----------
    answer
        The schedule.
    policies
        The policies, the schedule among them.
    """

    answer: Schedule
    policies: tuple[Policy, ...]

    def lines(self) -> list[str]:
        """The table."""
        workload = self.answer.problem.fleet.instance.workloads[0]
        titles = f"{'policy':<42}{'GPU-hours':>11}{'USD':>11}{'saved':>8}"
        head = f"{titles}{'served':>10}{'short in':>10}{'changes':>9}  ctx:gen"
        found = ["", head]
        first = self.policies[0].plan.gpu_hours
        priced = all(pool.usd_per_gpu_hour is not None for pool in self.answer.problem.fleet.instance.pools)
        for policy in self.policies:
            plan, periods = policy.plan, range(policy.plan.problem.periods)
            saved = float(1 - plan.gpu_hours / first)
            short = sum(any(plan.shortfall(t, w) for w in plan.problem.demand.requests_per_s) for t in periods)
            ratios = [r for t in periods if (r := ratio(plan, t, workload)) is not None]
            span = f"{float(min(ratios)):.2f} to {float(max(ratios)):.2f}" if ratios else "-"
            usd = f"{float(plan.spent('usd')):,.1f}" if priced else "-"
            spent = f"{policy.name:<42}{float(plan.gpu_hours):>11,.1f}{usd:>11}{saved:>8.1%}"
            found.append(f"{spent}{float(plan.served_share):>10.3%}{short:>10}{plan.changes_in_all:>9}  {span}")
        found.append(
            "served: share of the requests within the SLA at the mean rates of the periods; short in: periods with "
            "less than all"
        )
        return found


def compared_with(answer: Schedule, progress: Callable[[str, int], None] | None = None) -> Comparison | None:
    """
    What the policies would have done with the same demand; None without a schedule or a static plan.

    Parameters
    ----------
    answer
        The schedule.
    progress
        Called with a policy and the period that it plans.
    """
    if answer.best is None or answer.static is None:
        return None
    problem, fixed = answer.problem, answer.static.plan
    static = Plan.of(soft(replace(problem, current=None)), fixed.held, {})

    def said(name: str) -> Callable[[int], None]:
        return lambda period: progress(name, period) if progress else None

    last, mean, known = "rolling, last value goes on", "rolling, mean of 3 periods goes on", "rolling, 12 periods known"
    policies = [
        Policy("static, best for the peak", static),
        Policy("reactive, ceil(rate / replica rate)", reactive(problem, static)),
        Policy(last, rolling(problem, last_value, said(last))),
        Policy(mean, rolling(problem, moving_average, said(mean))),
        Policy(known, rolling(problem, None, said(known))),
        Policy(f"schedule, all known ({answer.status})", answer.best.plan),
    ]
    return Comparison(answer, tuple(policies))
