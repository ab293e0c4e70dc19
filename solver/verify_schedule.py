"""
The independent verifier of schedules: recomputes every period from instance, curves and the lives of the replicas.

From the file it takes what was asked (rates, rules, price, the deployment before), and who lives when and where. It
knows nothing of how a schedule is found, and does not look whether the rates are those of a trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from solver.engines import EngineSet
from solver.instance import Instance, Pool
from solver.verifier import Verification
from solver.verify_numbers import exact_of, show
from solver.verify_schedule_columns import Priced, priced_columns
from solver.verify_schedule_document import Claims, Told, read_claims
from solver.verify_schedule_lives import change_faults, count_faults, life_faults, place_faults, ready_shares

Ready = Mapping[int, tuple[int, Fraction]]


def verify_schedule(instance: Instance, engines: EngineSet, document: object) -> Verification:
    """
    Checks a schedule against instance and curves; never raises, whatever the document holds.

    Parameters
    ----------
    instance
        The instance.
    engines
        Its engines with their curves.
    document
        The parsed JSON of the schedule.
    """
    claims, faults = read_claims(document)
    if claims is None:
        return Verification(tuple(f"document: {text}" for text in faults), None, ("document",))
    faults += _scope(instance, claims)
    if claims.status in ("infeasible", "unknown"):
        if claims.plan or claims.objective is not None:
            faults.append(f"$.plan: must be null where the status is {claims.status}")
        return Verification(tuple(f"document: {text}" for text in faults), None, ("document",))
    columns = priced_columns(instance, engines, claims, faults)
    if faults or not claims.plan:
        told = [f"columns: {text}" for text in faults] or ["document: $.plan is missing"]
        return Verification(tuple(told), None, ("document", "columns"))
    found: dict[str, list[str]] = {
        "lives": list(life_faults(claims, columns)),
        "C3 and C4 places": list(place_faults(instance, claims, columns)),
        "changes": [*count_faults(claims), *change_faults(claims)],
    }
    found["C1, C2, C5, C8 service"] = list(_service_faults(instance, claims, columns))
    found["C7 budgets"] = list(_budget_faults(instance, claims, columns))
    value = _value(instance, claims, columns)
    found["objective"] = list(_value_faults(claims, value))
    found["totals"] = list(_total_faults(instance, claims, columns))
    told = [f"{family}: {text}" for family, texts in found.items() for text in texts]
    return Verification(tuple(told), value, ("document", "columns", *found))


def _scope(instance: Instance, claims: Claims) -> Iterator[str]:
    serving = instance.serving
    if instance.is_unlimited or instance.limits_handover or serving.hybrid or serving.decode_covers:
        yield "unlimited pools, a limited KV hand-over, hybrid and decode_covers have no schedule"
    if sorted(claims.demand) != sorted(w.name for w in instance.workloads):
        yield f"$.demand: must have the workloads {', '.join(w.name for w in instance.workloads)}"
    if claims.status == "infeasible" and (claims.price is not None or claims.kind == "goodput"):
        yield "$.status: infeasible, where demands may be missed"


def _service_faults(instance: Instance, claims: Claims, columns: Sequence[Priced]) -> Iterator[str]:
    names = [w.name for w in instance.workloads]
    shares = ready_shares(claims, columns)
    for number, period in enumerate(claims.plan):
        if [told.workload for told in period.told] != names:
            yield f"{period.where}.workloads: must be {', '.join(names)}, in this order"
            continue
        for told in period.told:
            asked = claims.demand[told.workload][number]
            if told.demand != asked:
                yield f"{told.where}.demand: {show(told.demand)} stated, {show(asked)} asked"
            yield from _told_faults(instance, claims, columns, told, shares[number])


def _told_faults(
    instance: Instance, claims: Claims, columns: Sequence[Priced], told: Told, ready: Ready
) -> Iterator[str]:
    """One workload in one period: mode, engines and rates."""
    workload, serving = instance.workload(told.workload), instance.serving
    roles = {"none": (), "colocated": ("colocated",), "disaggregated": workload.roles("disaggregated")}[told.mode]
    used = [columns[place] for place in told.serving]
    if told.mode != "none" and told.mode not in serving.modes:
        yield f"{told.where}: mode {told.mode} is not allowed"
    if {c.role for c in used} != set(roles) or any(c.engine.workload.name != told.workload for c in used):
        yield f"{told.where}: engines of {told.mode} must be {' and '.join(roles) or 'none'} of {told.workload}"
        return
    if told.mode == "disaggregated":
        yield from _joined_faults(instance, told, used)
    per_pool = Counter((c.role, c.engine.pool.name) for c in used)
    most = serving.engines_per_role
    if most is not None and any(count > most for count in per_pool.values()):
        yield f"{told.where}: more than {most} engines of a role serve in a pool"
    capacity: dict[str, Fraction] = dict.fromkeys(roles, Fraction(0))
    replicas: Counter[str] = Counter()
    for place, count in told.serving.items():
        whole, share = ready.get(place, (0, Fraction(0)))
        if count > whole:
            yield f"{told.where}.serving: {count} replicas of column {place}, {whole} are ready"
        capacity[columns[place].role] += columns[place].rate * min(Fraction(count), share)
        replicas[columns[place].role] += count
    for role in roles:
        least = serving.min_replicas.get((told.workload, role))
        if least is not None and replicas[role] < least:
            yield f"{told.where}: {replicas[role]} {role} replicas below min_replicas {least}"
    served = min(told.demand, min(capacity.values(), default=Fraction(0)))
    if told.served != served or told.shortfall != told.demand - served:
        yield f"{told.where}: served {show(told.served)} stated, {show(served)} recomputed"
    if served < told.demand and claims.price is None and claims.kind != "goodput":
        yield f"{told.where}: {show(served)} of {show(told.demand)} requests/s are served"


def _joined_faults(instance: Instance, told: Told, used: Sequence[Priced]) -> Iterator[str]:
    """What prefill and decode engines must agree in, and the end-to-end limit of every pair."""
    workload = instance.workload(told.workload)
    if len({c.engine.joint for c in used}) > 1:
        yield f"{told.where}: engines of one deployment must agree in backend and KV format"
    first = max(c.point.ttft_ms or Fraction(0) for c in used if c.role == "prefill")
    last = max((c.point.latency_ms for c in used if c.role == "decode"), default=Fraction(0))
    if workload.e2el_ms is not None and first + (workload.osl - 1) * last > workload.e2el_ms:
        yield f"{told.where}: end to end above its limit"


def _budget_faults(instance: Instance, claims: Claims, columns: Sequence[Priced]) -> Iterator[str]:
    """C7: dollars, watts and the most replicas, of all that is held in a period; and the GPUs stated."""
    budget = instance.budget
    for period in claims.plan:
        gpus: Counter[str] = Counter()
        replicas: Counter[tuple[str, str]] = Counter()
        for place, count in period.held.items():
            gpus[columns[place].engine.pool.name] += count * columns[place].gpus
            replicas[columns[place].engine.workload.name, columns[place].role] += count
        if period.gpus != sum(gpus.values()):
            yield f"{period.where}.gpus: {period.gpus} stated, {sum(gpus.values())} recomputed"
        for name, limit, each in (
            ("USD/hour", budget.usd_per_hour, "usd_per_gpu_hour"),
            ("watts", budget.watts, "watts_per_gpu"),
        ):
            counted = {p.name: (p.gpus or 0) if budget.count_idle else gpus[p.name] for p in instance.pools}
            spent = sum((n * (getattr(instance.pool(p), each) or 0) for p, n in counted.items()), Fraction(0))
            if limit is not None and spent > limit:
                yield f"{period.where}: {show(spent)} {name} above the budget {show(limit)}"
        for (workload, role), most in instance.serving.max_replicas.items():
            if replicas[workload, role] > most:
                yield f"{period.where}: {replicas[workload, role]} {role} replicas above max_replicas {most}"


def _rate(kind: str, pool: Pool) -> Fraction:
    """What an hour of a GPU costs."""
    if kind == "usd":
        return pool.usd_per_gpu_hour or Fraction(0)
    return (pool.watts_per_gpu or Fraction(0)) / 1000 if kind == "energy" else Fraction(kind == "gpu-hours")


def _spent(kind: str, claims: Claims, columns: Sequence[Priced], moves: bool) -> Fraction:
    """What is spent: GPUs held, changes, and where asked for, a cold start for every migration."""
    total, hours = Fraction(0), claims.period_s / 3600
    start = (claims.rules["start_usd_per_gpu"] or 0) if kind == "usd" else Fraction(0)
    switch = (claims.rules["switch_usd_per_gpu"] or 0) if kind == "usd" else Fraction(0)
    for life in claims.lives:
        column = columns[life.column]
        total += (life.until - life.first) * hours * column.gpus * _rate(kind, column.engine.pool)
        if life.began == "start":
            total += column.gpus * start
        elif life.began == "switch":
            total += column.gpus * switch
        elif life.began == "migration" and moves:
            total += column.gpus * (column.cold_start_s / 3600 * _rate(kind, column.engine.pool) + start)
    return total


def _value(instance: Instance, claims: Claims, columns: Sequence[Priced]) -> Fraction:
    """The objective, from lives and what is served."""
    served = missed = Fraction(0)
    for period in claims.plan:
        for told in period.told:
            workload = next((w for w in instance.workloads if w.name == told.workload), instance.workloads[0])
            served += told.served * claims.period_s * workload.weight * workload.osl
            missed += told.shortfall * claims.period_s * (claims.price or 0)
    return served if claims.kind == "goodput" else _spent(claims.kind, claims, columns, True) + missed


def _value_faults(claims: Claims, value: Fraction) -> Iterator[str]:
    if claims.objective != value:
        yield f"$.exact.objective: {show(claims.objective)} stated, {show(value)} recomputed"
    bound, most = claims.bound, claims.kind == "goodput"
    if bound is not None and (bound < value if most else bound > value):
        yield f"$.exact.bound: {show(bound)} is passed by {show(value)}"
    if claims.status == "optimal" and bound != value:
        yield f"$.status: optimal, but the bound is {show(bound)} and the value {show(value)}"


def _total_faults(instance: Instance, claims: Claims, columns: Sequence[Priced]) -> Iterator[str]:
    asked = sum((sum(rates, Fraction(0)) for rates in claims.demand.values()), Fraction(0))
    served = sum((told.served for period in claims.plan for told in period.told), Fraction(0))
    priced = all(pool.usd_per_gpu_hour is not None for pool in instance.pools)
    powered = all(pool.watts_per_gpu is not None for pool in instance.pools)
    changes = sum(sum(p.starts.values()) + sum(p.stops.values()) + sum(p.switches.values()) for p in claims.plan)
    right: dict[str, Fraction | int | None] = {
        "gpu_hours": _spent("gpu-hours", claims, columns, False),
        "usd": _spent("usd", claims, columns, False) if priced else None,
        "kwh": _spent("energy", claims, columns, False) if powered else None,
        "served_share": served / asked if asked else Fraction(1),
        "most_gpus": max(period.gpus for period in claims.plan),
    }
    exact = claims.totals.get("exact")
    for name, value in right.items():
        told = exact_of(exact.get(name)) if isinstance(exact, Mapping) else None
        if told != value:
            yield f"$.totals.exact.{name}: {show(told)} stated, {show(value)} recomputed"
    moves = sum(1 for life in claims.lives if life.began == "migration")
    for name, count in (("changes", changes), ("migrations", moves)):
        if claims.totals.get(name) != count:
            yield f"$.totals.{name}: {claims.totals.get(name)} stated, {count} recomputed"
