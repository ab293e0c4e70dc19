"""Axes: which instance stands at a position, and how far along the axis a deployment stands."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from costmodels.errors import Fault, InputError
from solver.deployment import Deployment
from solver.handover import link_rates
from solver.instance import Instance, Pool, Workload
from solver.placement import packed
from solver.points import PointTable
from solver.slack import end_to_end_ms
from solver.survival.run import refuse_survive
from solver.whatif.ask import Ask

Change = Callable[[Fraction], Instance]
Reach = Callable[[Deployment], Fraction | None]
Step = Callable[[PointTable], Fraction]
UNITS = {
    "gpus": "GPUs",
    "ttft_ms": "ms",
    "tpot_ms": "ms",
    "e2el_ms": "ms",
    "isl": "tokens",
    "osl": "tokens",
    "price": "USD per GPU-hour",
    "request_rate": "requests/s",
    "usd_per_hour": "USD/hour",
    "watts": "W",
}


@dataclass(frozen=True)
class Axis:
    """
    One quantity of an instance that is varied.

    Parameters
    ----------
    key
        Its name on the command line.
    names
        The pools or workloads that it concerns; empty for budgets.
    looser
        1 where larger values allow every deployment that smaller ones allow, -1 where smaller ones do, 0 where the
        values have no such order.
    own
        The value in the instance; None where it has none, or several.
    at
        The instance at a position.
    reach
        The tightest position at which a deployment stands; None where it stands at all of them.
    step
        A distance: tighter than the reach of a plan by less than this, no plan of a table has its reach.
    """

    key: str
    names: tuple[str, ...]
    looser: int
    own: Fraction | None
    at: Change
    reach: Reach
    step: Step

    @property
    def unit(self) -> str:
        """The unit of positions."""
        return UNITS[self.key]

    @property
    def label(self) -> str:
        """What is varied, in words."""
        return f"{self.key} of {', '.join(self.names)}" if self.names else f"budget {self.key}"


def axis_of(instance: Instance, ask: Ask) -> Axis:
    """
    The axis that is asked for.

    Raises
    ------
    InputError
        When a name is unknown or missing, or the axis means nothing for this instance.
    """
    refuse_survive(instance, "whatif")
    if instance.is_unlimited and ask.key not in ("isl", "osl"):
        text = 'is "unlimited"; whatif needs a number of GPUs (frontier answers limits of TPOT, and isl= and osl= work)'
        raise InputError([Fault("$.pools[0].gpus", text)])
    if ask.key in ("gpus", "price"):
        pool = instance.pool(_chosen(ask, [pool.name for pool in instance.pools], "pool")[0])
        return _gpus(instance, pool) if ask.key == "gpus" else _price(instance, pool)
    if ask.key in ("usd_per_hour", "watts"):
        return _budget(instance, ask)
    several = ask.key.endswith("_ms")
    names = _chosen(ask, [workload.name for workload in instance.workloads], "workload", several)
    if ask.key == "request_rate":
        return _demand(instance, instance.workload(names[0]))
    return _latency(instance, ask.key, names) if several else _length(instance, ask.key, names)


def _chosen(ask: Ask, known: list[str], what: str, several: bool = False) -> tuple[str, ...]:
    if ask.name and ask.name not in known:
        raise InputError([Fault("--vary", f"unknown {what} {ask.name}; must be one of {', '.join(known)}")])
    if not ask.name and len(known) > 1 and not several:
        text = f"say which {what}: {' or '.join(f'{ask.key}.{name}=...' for name in known)}"
        raise InputError([Fault("--vary", text)])
    return (ask.name,) if ask.name else tuple(known)


def _with_pool(instance: Instance, name: str, **changes: object) -> Instance:
    pools = (replace(pool, **changes) if pool.name == name else pool for pool in instance.pools)  # type: ignore[arg-type]
    return replace(instance, pools=tuple(pools))


def _with_workloads(instance: Instance, names: Iterable[str], **changes: object) -> Instance:
    chosen = set(names)
    workloads = (replace(w, **changes) if w.name in chosen else w for w in instance.workloads)  # type: ignore[arg-type]
    return replace(instance, workloads=tuple(workloads))


def _gpus(instance: Instance, pool: Pool) -> Axis:
    if instance.budget.count_idle:
        text = "true: with more GPUs the idle ones may break the budget, so the axis has no order; leave it out"
        raise InputError([Fault("$.budget.count_idle", text)])

    def reach(deployment: Deployment) -> Fraction | None:
        groups: Counter[int] = Counter()
        used = int(deployment.gpus_in(pool))
        for a in deployment.assignments:
            if a.engine.pool.name == pool.name:
                groups[a.engine.curve.partition.stage_group] += a.engine.curve.partition.pp * int(a.replicas)
        while packed(groups, replace(pool, gpus=used)) is None:
            used += 1
        return Fraction(used)

    own = None if pool.gpus is None else Fraction(pool.gpus)
    return Axis(
        "gpus",
        (pool.name,),
        1,
        own,
        lambda at: _with_pool(instance, pool.name, gpus=int(at)),
        reach,
        lambda _: Fraction(1),
    )


def _latency(instance: Instance, key: str, names: tuple[str, ...]) -> Axis:
    workloads = [instance.workload(name) for name in names]
    given = {getattr(workload, key) for workload in workloads}

    def reach(deployment: Deployment) -> Fraction | None:
        found = (_latency_of(deployment, workload, key) for workload in workloads)
        return max((value for value in found if value is not None), default=None)

    def step(table: PointTable) -> Fraction:
        osl = math.lcm(*(Fraction(workload.osl).denominator for workload in workloads))
        return Fraction(1, table.time_scale * osl)

    own = given.pop() if len(given) == 1 else None
    return Axis(key, names, 1, own, lambda at: _with_workloads(instance, names, **{key: at}), reach, step)


def _latency_of(deployment: Deployment, workload: Workload, key: str) -> Fraction | None:
    """A workload's slowest latency in a deployment, in ms; None where it has none."""
    mine = [a for a in deployment.assignments if a.engine.workload.name == workload.name]
    if key == "tpot_ms":
        return max((a.point.latency_ms for a in mine if a.decodes), default=None)
    if key == "e2el_ms":
        return end_to_end_ms(deployment, workload) if mine else None
    return max((ms for *_, ms in deployment.first_token_ms(workload)), default=None)


def _demand(instance: Instance, workload: Workload) -> Axis:
    def step(table: PointTable) -> Fraction:
        return Fraction(1, flow_scale(instance, table))

    return Axis(
        "request_rate",
        (workload.name,),
        -1,
        workload.requests_per_s,
        lambda at: _with_workloads(instance, (workload.name,), requests_per_s=at),
        lambda deployment: deployment.flow(workload),
        step,
    )


def flow_scale(instance: Instance, table: PointTable) -> int:
    """A number of which every flow of a plan, in requests/s, is a whole multiple of the reciprocal."""
    scale = table.rate_scale
    shares = {instance.utilization(e.workload, e.curve.role).denominator for e in table.engines}
    caps = {w.max_requests_per_s.denominator for w in instance.workloads if w.max_requests_per_s is not None}
    sizes = {e.kv.bytes_per_request for e in table.engines if e.kv is not None}
    links = {rate.denominator for size in sizes for rate in link_rates(instance, size).values()}
    return math.lcm(scale * math.lcm(*shares), *caps, *links)


def _budget(instance: Instance, ask: Ask) -> Axis:
    if ask.name:
        raise InputError([Fault("--vary", f"{ask.key} is the budget of the whole plan; leave .{ask.name} out")])
    each, of = ("usd_per_gpu_hour", "usd_per_hour") if ask.key == "usd_per_hour" else ("watts_per_gpu", "watts")
    missing = [
        Fault(f"$.pools[{index}].{each}", f"is missing; a budget of {ask.key} needs it for every pool")
        for index, pool in enumerate(instance.pools)
        if getattr(pool, each) is None
    ]
    if missing:
        raise InputError(missing)
    scale = math.lcm(*(getattr(pool, each).denominator for pool in instance.pools))

    def at(position: Fraction) -> Instance:
        changes: dict[str, Any] = {ask.key: position}
        return replace(instance, budget=replace(instance.budget, **changes))

    own: Fraction | None = getattr(instance.budget, ask.key)
    return Axis(ask.key, (), 1, own, at, lambda deployment: getattr(deployment, of), lambda _: Fraction(1, scale))


def _price(instance: Instance, pool: Pool) -> Axis:
    """
    The price of a pool. Under objective ``cost`` see :mod:`solver.whatif.prices`; else a budget must make it matter.

    A plan with g GPUs that count there and r USD/hour elsewhere stands up to (budget - r) / g. With q a common
    denominator of budget and other prices, two such positions differ by at least 1 / (q gpus^2).
    """
    most, others = instance.budget.usd_per_hour, [p for p in instance.pools if p.name != pool.name]
    needed = instance.objective == "cost" or most is not None
    if not needed:
        text = f"price changes nothing: objective {instance.objective} without budget.usd_per_hour"
        raise InputError([Fault("--vary", text)])

    def reach(deployment: Deployment) -> Fraction | None:
        counts_idle = instance.budget.count_idle
        here = pool.gpus if counts_idle else deployment.gpus_in(pool)
        rest = sum(
            ((p.usd_per_gpu_hour or 0) * ((p.gpus or 0) if counts_idle else deployment.gpus_in(p)) for p in others),
            Fraction(0),
        )
        return None if not here or most is None else (most - rest) / here

    def step(table: PointTable) -> Fraction:
        del table
        scale = math.lcm(
            *(Fraction(p.usd_per_gpu_hour or 0).denominator for p in others), (most or Fraction(1)).denominator
        )
        return Fraction(1, scale * max(pool.gpus or 1, 1) ** 2)

    own = pool.usd_per_gpu_hour
    return Axis(
        "price", (pool.name,), -1, own, lambda at: _with_pool(instance, pool.name, usd_per_gpu_hour=at), reach, step
    )


def _length(instance: Instance, key: str, names: tuple[str, ...]) -> Axis:
    workload = instance.workload(names[0])
    if workload.traffic is not None or workload.stands_for is not None:
        text = f"{key} of {workload.name} is a distribution or a trace; give the workload constant lengths to vary them"
        raise InputError([Fault("--vary", text)])
    return Axis(
        key,
        names,
        0,
        Fraction(getattr(workload, key)),
        lambda at: _with_workloads(instance, names, **{key: int(at)}),
        lambda _: None,
        lambda _: Fraction(1),
    )
