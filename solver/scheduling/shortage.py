"""Why a demand cannot be met: which period, by how much, and what would do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from solver.backends.base import Controls
from solver.scheduling.fleet import Fleet
from solver.scheduling.problem import Problem
from solver.scheduling.search import Found, Search
from solver.scheduling.static import alone, most_served

MOST_TIMES = 64
"""How many times the inventory is searched for one that would do."""


@dataclass(frozen=True)
class Shortage:
    """
    A period whose demand cannot be met.

    Parameters
    ----------
    period
        The period with the largest shortfall.
    workload
        The workload that falls short.
    demand, served
        Requests/s asked for, and the most that is served.
    periods
        How many periods fall short; with several workloads those at least that ask for no less of any.
    is_alone
        Whether the period could not be served even if it stood alone; else changes take too long.
    gpus
        GPUs of the pool that would do for that period, others as they are; None where none was found.
    pool
        The pool.
    proof
        How it is proved that no plan meets every demand.
    is_shared
        Whether other workloads take GPUs, too: then what is served is a choice, that of the most output tokens in all.
    """

    period: int
    workload: str
    demand: Fraction
    served: Fraction
    periods: int
    is_alone: bool
    gpus: int | None
    pool: str
    proof: str
    is_shared: bool = False

    def lines(self, period_s: Fraction) -> list[str]:
        """For the report."""
        place = f"period {self.period + 1} (from {clock(self.period, period_s)})"
        name, demand, served = self.workload, float(self.demand), float(self.served)
        count = f"{self.periods} period falls" if self.periods == 1 else f"{self.periods} periods fall"
        if self.is_alone:
            most = "where the fleet serves the most output tokens in all, it serves" if self.is_shared else None
            first = (
                f"{place}: {name} asks for {demand:,.6g} requests/s, {most or 'the fleet serves at most'} {served:,.6g}"
            )
        else:
            first = (
                f"{place}: {name} asks for {demand:,.6g} requests/s, of which {served:,.6g} can be ready; "
                "alone it could be served, but changes take too long"
            )
        way = []
        if self.gpus is not None:
            way = [f"what would do for that period: {self.gpus} GPUs in pool {self.pool}"]
        if not self.is_alone:
            way = ["what would do: a shorter lead time or minimum up time, more GPUs, or another current deployment"]
        return [first, f"{count} short; missing there: {float(self.demand - self.served):,.6g} requests/s", *way,
                "--shortfall-price plans with what is missing", f"proof: {self.proof}"]  # fmt: skip


def clock(period: int, period_s: Fraction) -> str:
    """Hours and minutes from the start, for a period."""
    seconds = int(period * period_s)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}" + (f":{seconds % 60:02d}" if seconds % 60 else "")


def shortage_of(problem: Problem, controls: Controls) -> Shortage | None:
    """
    Proves that no plan meets every demand, and says where it fails; None where that is not proved.

    The most that can be served is bounded exactly (the goodput of the same problem); where that is below what is asked
    for, nothing meets every demand.
    """
    for period in _by_demand(problem)[:3]:
        served = most_served(problem, period)
        short = {w: problem.demand.of(w, period) - rate for w, rate in served.items()}
        if served and max(short.values()) > 0:
            proof = _proof(Search(_goodput(alone(problem, period)), controls).run())
            if proof is not None:
                return _alone(problem, period, served, proof)
    found = Search(_goodput(problem), controls).run()
    proof = _proof(found)
    if proof is None or found.best is None:
        return None
    plan = found.best.plan
    (period, workload), _ = max(plan.services.items(), key=lambda item: plan.shortfall(*item[0]))
    served = most_served(problem, period)
    is_alone = any(rate < problem.demand.of(w, period) for w, rate in served.items())
    if is_alone:
        return _alone(problem, period, served, proof)
    rate, missing = problem.demand.of(workload, period), plan.shortfall(period, workload)
    periods = len({t for t, w in plan.services if plan.shortfall(t, w)})
    return Shortage(period, workload, rate, rate - missing, periods, False, None, "", proof)


def _by_demand(problem: Problem) -> list[int]:
    weights = {w.name: w.weight * w.osl for w in problem.fleet.instance.workloads}
    total = [
        sum(rates[t] * weights[w] for w, rates in problem.demand.requests_per_s.items()) for t in range(problem.periods)
    ]
    return sorted(range(problem.periods), key=lambda t: -total[t])


def _goodput(problem: Problem) -> Problem:
    return replace(problem, kind="goodput", shortfall_price=None)


def _proof(found: Found) -> str | None:
    if found.bound is None:
        return None
    asked = None if found.best is None else found.best.plan.problem.asked
    if asked is None or found.bound >= asked:
        return None
    share = float(found.bound / asked)
    return f"at most {share:.4%} of the output tokens asked for can be served (bound on model {found.model_hash})"


def _alone(problem: Problem, period: int, served: dict[str, Fraction], proof: str) -> Shortage:
    short = {w: problem.demand.of(w, period) - rate for w, rate in served.items()}
    workload = max(short, key=lambda w: short[w])
    asked = problem.demand.requests_per_s
    if len(asked) == 1:
        too_much = sum(rate > served[workload] for rate in asked[workload])
    else:
        too_much = sum(all(rates[t] >= rates[period] for rates in asked.values()) for t in range(problem.periods))
    pool = problem.columns[problem.fleet.of(workload)[0]].engine.pool.name if problem.fleet.of(workload) else ""
    return Shortage(period, workload, problem.demand.of(workload, period), served[workload], max(1, too_much), True,
                    _enough(problem, period, pool), pool, proof, len(asked) > 1)  # fmt: skip


def _enough(problem: Problem, period: int, pool: str) -> int | None:
    """
    The fewest GPUs of a pool, in whole NVLink domains, that serve a period alone.

    The optimum on a larger inventory is a lower bound; from there on domain by domain until one holds.
    """
    times, domain = 2, problem.fleet.instance.pool(pool).nvlink_domain_gpus if pool else 1
    while pool and times <= MOST_TIMES:
        used = _used(problem, period, pool, (problem.fleet.instance.pool(pool).gpus or 0) * times)
        if used is not None:
            gpus = -(-used // domain) * domain
            while _used(problem, period, pool, gpus) is None:
                gpus += domain
            return gpus
        times *= 2
    return None


def _used(problem: Problem, period: int, pool: str, gpus: int) -> int | None:
    """GPUs of a pool of a given size that the best plan for a period alone uses; None where there is none."""
    larger = _with(problem.fleet, pool, gpus)
    one = replace(alone(problem, period), fleet=larger, kind="gpu-hours", shortfall_price=None)
    found = Search(one, Controls(time_limit_s=10)).run()
    if found.best is None:
        return None
    held = found.best.plan.held[0]
    return sum(n * c.gpus for n, c in zip(held, larger.columns, strict=True) if c.engine.pool.name == pool)


def _with(fleet: Fleet, pool: str, gpus: int) -> Fleet:
    """The fleet with another number of GPUs in a pool."""
    pools = tuple(replace(p, gpus=gpus) if p.name == pool else p for p in fleet.instance.pools)
    instance = replace(fleet.instance, pools=pools)
    by_name = {p.name: p for p in pools}
    bounds = instance.serving.max_replicas
    columns = []
    for column in fleet.columns:
        engine = replace(column.engine, pool=by_name[column.engine.pool.name])
        bound = bounds.get((engine.workload.name, column.role))
        most = engine.most_replicas if bound is None else min(bound, engine.most_replicas)
        columns.append(replace(column, engine=engine, most=most))
    return replace(fleet, instance=instance, columns=tuple(columns))
