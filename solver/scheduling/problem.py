"""The scheduling problem: fleet, demand, objective, and where the day starts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

from costmodels.errors import Fault, InputError
from solver.instance import Pool, Workload
from solver.scheduling.demand import Demand
from solver.scheduling.engine_column import EngineColumn
from solver.scheduling.fleet import Fleet

Kind = Literal["gpu-hours", "usd", "energy", "goodput"]
KINDS: tuple[Kind, ...] = ("gpu-hours", "usd", "energy", "goodput")
UNITS: dict[str, str] = {"gpu-hours": "GPU-hours", "usd": "USD", "energy": "kWh", "goodput": "output tokens"}
S_PER_HOUR = 3600


@dataclass(frozen=True)
class Problem:
    """
    What is to be scheduled.

    Parameters
    ----------
    fleet
        The columns, and what changes take.
    demand
        Requests/s of each period.
    kind
        The objective: ``gpu-hours`` (for which GPUs are held), ``usd``, ``energy`` (kWh of held GPUs), each minimised;
        ``goodput`` (output tokens of requests served within the SLA, weighted), maximised.
    shortfall_price
        What a request that is not served costs, in the unit of the objective; None: every demand is met. With
        ``goodput`` what is not served is the objective, and there is no price.
    current
        Replicas of each column that run before the first period; None: the first period starts with what it needs.
    max_changes
        Starts, stops and switches of replicas at the beginning of any one period, or None.
    past_starts, past_switches
        Replicas of each column that started, and that switched in, one period before the first, two before, and so on;
        they may still be on their way, or too young to go.
    """

    fleet: Fleet
    demand: Demand
    kind: Kind = "gpu-hours"
    shortfall_price: Fraction | None = None
    current: tuple[int, ...] | None = None
    max_changes: int | None = None
    past_starts: tuple[tuple[int, ...], ...] = ()
    past_switches: tuple[tuple[int, ...], ...] = ()

    @property
    def periods(self) -> int:
        """How many periods there are."""
        return self.demand.periods

    @property
    def columns(self) -> tuple[EngineColumn, ...]:
        """The columns."""
        return self.fleet.columns

    @property
    def may_fall_short(self) -> bool:
        """Whether a demand may be missed."""
        return self.kind == "goodput" or self.shortfall_price is not None

    @property
    def is_maximised(self) -> bool:
        """Whether more of the objective is better."""
        return self.kind == "goodput"

    @cached_property
    def hours(self) -> Fraction:
        """Hours of a period."""
        return self.demand.period_s / S_PER_HOUR

    def holding(self, column: EngineColumn) -> Fraction:
        """What a replica costs that holds its GPUs for a period."""
        return column.gpus * per_gpu_hour(self.kind, column.engine.pool) * self.hours

    def starting(self, column: EngineColumn) -> Fraction:
        """What a cold start costs beside the time."""
        return column.gpus * self.fleet.rules.start_usd_per_gpu if self.kind == "usd" else Fraction(0)

    def switching(self, column: EngineColumn) -> Fraction:
        """What a switch costs beside the time."""
        return column.gpus * self.fleet.rules.switch_usd_per_gpu if self.kind == "usd" else Fraction(0)

    def missing(self, workload: Workload) -> Fraction:
        """What one request/s that is not served for a period costs."""
        requests = self.demand.period_s
        if self.kind == "goodput":
            return requests * workload.weight * workload.osl
        return requests * (self.shortfall_price or 0)

    @cached_property
    def asked(self) -> Fraction:
        """Weighted output tokens of all requests."""
        workloads = {w.name: w for w in self.fleet.instance.workloads}
        rates = self.demand.requests_per_s.items()
        return sum(
            (sum(r) * self.demand.period_s * workloads[n].weight * workloads[n].osl for n, r in rates), Fraction(0)
        )

    @cached_property
    def step(self) -> Fraction:
        """A number of which every value that a plan without moves can have is a whole multiple."""
        costs = [f(c) for c in self.columns for f in (self.holding, self.starting, self.switching)]
        if self.may_fall_short:
            for workload in self.fleet.instance.workloads:
                price = self.missing(workload)
                costs += [price * rate for rate in self.demand.requests_per_s[workload.name]]
                for column in (self.columns[j] for j in self.fleet.of(workload.name)):
                    parts = (*column.start_losses, *column.switch_losses, Fraction(1))
                    costs += [price * column.requests_per_s * part for part in parts]
        whole = math.lcm(*(cost.denominator for cost in costs))
        return Fraction(math.gcd(*(int(cost * whole) for cost in costs)) or 1, whole)

    def needed(self, column: EngineColumn, period: int) -> int:
        """Replicas of a column that serve the demand of a period alone; at least ``min_replicas``."""
        rate = self.demand.of(column.engine.workload.name, period)
        least = self.fleet.instance.serving.min_replicas.get((column.engine.workload.name, column.role), 1)
        return max(least, math.ceil(rate / column.requests_per_s)) if rate else 0

    def only(self, first: int, last: int, current: tuple[int, ...] | None) -> Problem:
        """The problem of the periods from ``first`` up to, not including, ``last``."""
        return replace(self, demand=self.demand.only(first, last), current=current)


def per_gpu_hour(kind: Kind, pool: Pool) -> Fraction:
    """What an hour of a GPU costs in the unit of an objective."""
    if kind == "usd":
        return pool.usd_per_gpu_hour or Fraction(0)
    if kind == "energy":
        return (pool.watts_per_gpu or Fraction(0)) / 1000
    return Fraction(kind == "gpu-hours")


def check_problem(problem: Problem) -> None:
    """
    Refuses objectives that the instance cannot answer, and nonsense.

    Raises
    ------
    InputError
        With every fault.
    """
    faults, instance, kind = [], problem.fleet.instance, problem.kind
    wanted = {"usd": "usd_per_gpu_hour", "energy": "watts_per_gpu"}.get(kind)
    for index, pool in enumerate(instance.pools):
        if wanted is not None and getattr(pool, wanted) is None:
            faults.append(Fault(f"$.pools[{index}].{wanted}", f"is missing; --objective {kind} needs it"))
    if kind == "goodput" and problem.shortfall_price is not None:
        faults.append(Fault("--shortfall-price", "is for the other objectives; goodput counts what is served"))
    if problem.shortfall_price is not None and problem.shortfall_price <= 0:
        faults.append(Fault("--shortfall-price", f"got {problem.shortfall_price}, must be above 0"))
    if problem.max_changes is not None and problem.max_changes < 0:
        faults.append(Fault("--max-changes", f"got {problem.max_changes}, must be at least 0"))
    if instance.budget.count_idle and kind in ("usd", "energy"):
        text = f"makes every schedule cost the same; set it to false for --objective {kind}"
        faults.append(Fault("$.budget.count_idle", text))
    if faults:
        raise InputError(faults)
