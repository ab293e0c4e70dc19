"""The constraint families of the problem, recomputed for one deployment in exact arithmetic: one function a family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction

from costmodels.operating_curve import ROLES
from costmodels.precision import fits
from solver.instance import Mode
from solver.verify_flows import check_c6_handover
from solver.verify_numbers import show
from solver.verify_packing import packs, placement_faults
from solver.verify_plan import Plan, Served, Used, usd_per_hour, watts
from solver.verify_survive import check_c9_survive

PARTS: dict[str, tuple[Mode, ...]] = {
    "colocated": ("colocated",),
    "disaggregated": ("disaggregated",),
    "hybrid": ("colocated", "disaggregated"),
    "none": (),
}
"""Mode of a workload's answer to the modes that it is made of."""


def check_engine(plan: Plan) -> Iterator[str]:
    """Each engine belongs to its workload and pool, and latency, TTFT, rate and GPUs are those of its curve."""
    for served in plan.served:
        for used in served.used:
            curve, workload, where = used.engine.curve, served.workload, used.entry.where
            if (curve.system, curve.model) != (used.pool.gpu, workload.model):
                yield f"{where}: priced for {curve.model} on {curve.system}, not {workload.model} on {used.pool.gpu}"
            if workload.backend not in (None, curve.backend):
                yield f"{where}: backend {curve.backend}, {workload.backend} is asked for"
            if not fits(workload.precision.get(used.role), curve.precision):
                yield f"{where}: precision {curve.precision}, {workload.precision.get(used.role)} is asked for"
            if used.entry.gpus != used.gpus:
                yield f"{where}.gpus: {show(used.entry.gpus)} stated, {show(used.gpus)} recomputed"
            yield from used.entry.latency_ms.faults(used.point.latency_ms)
            yield from used.entry.ttft_ms.faults(used.point.ttft_ms)
            yield from used.entry.requests_per_s.faults(used.point.requests_per_s)


def check_mode(plan: Plan) -> Iterator[str]:
    """A workload is served in allowed modes, in one unless hybrid, and runs exactly the roles of its mode."""
    serving = plan.instance.serving
    for served in plan.served:
        where, mode = served.service.where, served.service.mode
        for part in PARTS[mode]:
            if part not in serving.modes:
                yield f"{where}: mode {mode} needs {part}, allowed is {' and '.join(serving.modes)}"
        if mode == "hybrid" and not serving.hybrid:
            yield f"{where}: mode hybrid, but serving.hybrid is false"
        needed = {role for part in PARTS[mode] for role in served.workload.roles(part)}
        for role in ROLES:
            if bool(served.of(role)) != (role in needed):
                must = "at least one" if role in needed else "none"
                yield f"{where}: mode {mode} with {len(served.of(role))} {role} engines, must be {must}"


def check_c1_rate_matching(plan: Plan) -> Iterator[str]:
    """
    X_dis <= sum of r n over prefill and over decode; X_col <= sum of r n over co-located; X = X_dis + X_col.

    With ``decode_covers`` also: prefill capacity <= (1 + tolerance) x decode capacity.
    """
    serving = plan.instance.serving
    for served in plan.served:
        rates = served.service.rates
        yield from rates["requests_per_s"].faults(plan.credited(served))
        for role in ROLES:
            capacity = plan.capacity(served, role) if served.of(role) else None
            yield from rates[f"{role}_requests_per_s"].faults(capacity)
        if serving.decode_covers and served.of("prefill") and "decode" in served.workload.roles("disaggregated"):
            prefill, decode = plan.capacity(served, "prefill"), plan.capacity(served, "decode")
            if prefill > (1 + serving.tolerance) * decode:
                most = show((1 + serving.tolerance) * decode)
                yield f"{served.service.where}: prefill capacity {show(prefill)} above {most} that decode covers"


def check_c2_sla(plan: Plan) -> Iterator[str]:
    """
    Replicas n = 0 unless TTFT <= limit (prefill), TPOT <= limit (decode), both (co-located).

    The longest gap between two tokens <= its limit (decode, co-located), where OSL > 1.
    End to end: TTFT + (OSL - 1) x TPOT <= limit for every prefill and decode point in use together, and within each
    co-located point; with OSL 1 for each prefill point.
    """
    for served in plan.served:
        workload = served.workload
        for used, second, late in plan.first_tokens(served):
            if second and workload.ttft_ms is not None and _ttft(used) <= workload.ttft_ms < late:
                where = f"{used.entry.where} with {second.entry.where}"
                yield f"{where}: TTFT {show(late)} ms above its limit {show(workload.ttft_ms)} ms"
        for used in served.used:
            ttft, tpot = (
                used.point.ttft_ms,
                None if used.role == "prefill" or workload.osl == 1 else used.point.latency_ms,
            )
            for name, value, limit in (("TTFT", ttft, workload.ttft_ms), ("TPOT", tpot, workload.tpot_ms)):
                if value is not None and limit is not None and value > limit:
                    yield f"{used.entry.where}: {name} {show(value)} ms above its limit {show(limit)} ms"
            if workload.itl_ms is not None and used.role != "prefill" and workload.osl != 1:
                yield from _check_gap(used, workload.itl_ms)
        if workload.e2el_ms is not None:
            for where, value in _end_to_end(plan, served):
                if value > workload.e2el_ms:
                    yield f"{where}: end to end {show(value)} ms above its limit {show(workload.e2el_ms)} ms"


def _check_gap(used: Used, limit: Fraction) -> Iterator[str]:
    """The longest gap between two tokens; where only TPOT is known of a decode engine, that; of others it must be."""
    gap = used.point.itl_ms
    if gap is None and used.role == "decode":
        gap = used.point.latency_ms
    if gap is None:
        yield f"{used.entry.where}: longest token gap not known, its limit is {show(limit)} ms"
    elif gap > limit:
        yield f"{used.entry.where}: longest token gap {show(gap)} ms above its limit {show(limit)} ms"


def _end_to_end(plan: Plan, served: Served) -> Iterator[tuple[str, Fraction]]:
    """Yields (where, TTFT + (OSL - 1) x TPOT) of every way that a request may take."""
    steps = served.workload.osl - 1
    for first, second, ttft in plan.first_tokens(served):
        if first.role == "colocated":
            yield first.entry.where, ttft + steps * first.point.latency_ms
        elif second is not None:
            yield f"{first.entry.where} with {second.entry.where}", ttft + steps * second.point.latency_ms
        elif steps == 0:
            yield first.entry.where, ttft


def _ttft(used: Used) -> Fraction:
    return used.point.ttft_ms if used.point.ttft_ms is not None else Fraction(0)


def check_c3_inventory(plan: Plan) -> Iterator[str]:
    """Sum of g n over a pool <= its GPUs."""
    for pool in plan.instance.pools:
        used = plan.gpus_used(pool)
        if used > (pool.gpus or 0):
            yield f"pool {pool.name}: {show(used)} GPUs used, {pool.gpus} are there"


def check_c4_pricing(plan: Plan) -> Iterator[str]:
    """Stage group <= D, or group > the domain that its latency was priced at, and that domain <= D."""
    for served in plan.served:
        for used in served.used:
            group, priced = used.engine.curve.partition.stage_group, used.engine.curve.domain_gpus
            domain = used.pool.nvlink_domain_gpus
            if group > domain and not (group > priced and priced <= domain):
                text = f"priced for domains of {priced} GPUs, the pool has {domain}"
                yield f"{used.entry.where}: stage group of {group} GPUs {text}"


def check_c4_packing(plan: Plan) -> Iterator[str]:
    """Stage groups, PP per replica, lie whole in domains of D GPUs; a larger one takes ceil(size / D) full domains."""
    for name in sorted((plan.placement or {}).keys() - {pool.name for pool in plan.instance.pools}):
        yield f"placement: unknown pool {name}"
    for pool in plan.instance.pools:
        groups: Counter[int] = Counter()
        for used in plan.of_pool(pool):
            partition = used.engine.curve.partition
            groups[partition.stage_group] += int(partition.pp * used.entry.replicas)
        if plan.placement is not None:
            yield from placement_faults(pool, groups, plan.placement.get(pool.name, ()))
        domain, partial = pool.nvlink_domain_gpus, pool.partial_domain_gpus
        fit = True if plan.placement is not None else packs(groups, pool.full_domains, domain, partial)
        if not fit:
            what = ", ".join(f"{show(count)} of {size} GPUs" for size, count in sorted(groups.items()))
            where = f"{pool.full_domains} domains of {domain}" + (f" and one of {partial}" if partial else "")
            verdict = "do not fit" if fit is False else "may or may not fit (a placement would settle it)"
            yield f"pool {pool.name}: stage groups {what} {verdict} into {where}"


def check_c5_homogeneity(plan: Plan) -> Iterator[str]:
    """At most one batch per engine, at most ``engines_per_role`` engines per workload, pool and role."""
    most = plan.instance.serving.engines_per_role
    for served in plan.served:
        first: dict[object, str] = {}
        for used in served.used:
            earlier = first.setdefault(used.engine.key, used.entry.where)
            if earlier != used.entry.where:
                yield f"{used.entry.where}: the engine of {earlier} again; an engine runs at one batch, in one entry"
        counts = Counter((used.pool.name, used.role) for used in served.used)
        for (pool, role), count in counts.items():
            if most is not None and count > most:
                yield f"{served.service.where}: {count} {role} engines on pool {pool}, engines_per_role is {most}"


def check_c7_rules(plan: Plan) -> Iterator[str]:
    """``allow`` and ``deny`` let each point run; memory of a point <= ``memory_gib`` of its pool."""
    for served in plan.served:
        for used in served.used:
            if not plan.instance.serving.allows(used.engine.curve, used.point.batch):
                label = used.engine.curve.partition.label
                yield f"{used.entry.where}: {label} at batch {used.point.batch} is not allowed, or denied"
            memory, limit = used.point.memory_gib, used.pool.memory_gib
            if memory is not None and limit is not None and memory > limit:
                yield f"{used.entry.where}: {show(memory)} GiB per GPU above {show(limit)} GiB"


def check_c7_replicas(plan: Plan) -> Iterator[str]:
    """``min_replicas`` <= sum of n over all pools <= ``max_replicas``, the minimum where the role is in use."""
    serving = plan.instance.serving
    for served in plan.served:
        for role in ROLES:
            if not served.of(role):
                continue
            replicas = sum((used.entry.replicas for used in served.of(role)), Fraction(0))
            least = serving.min_replicas.get((served.workload.name, role))
            most = serving.max_replicas.get((served.workload.name, role))
            if least is not None and replicas < least:
                yield f"{served.service.where}: {show(replicas)} {role} replicas below min_replicas {least}"
            if most is not None and replicas > most:
                yield f"{served.service.where}: {show(replicas)} {role} replicas above max_replicas {most}"


def check_c7_budget(plan: Plan) -> Iterator[str]:
    """Sum of price and of power over the GPUs used (``count_idle``: over the inventory) <= the budget."""
    budget = plan.instance.budget
    for name, limit, spent in (
        ("USD/hour", budget.usd_per_hour, usd_per_hour(plan)),
        ("watts", budget.watts, watts(plan)),
    ):
        if limit is not None and spent is None:
            yield f"budget of {show(limit)} {name}, but a pool in use does not say what a GPU takes"
        elif limit is not None and spent is not None and spent > limit:
            yield f"{show(spent)} {name} above the budget {show(limit)}"


def check_c8_demand(plan: Plan) -> Iterator[str]:
    """X >= ``requests_per_s`` where given; at least one workload is served. Unlimited pools have no scale to demand."""
    if not any(served.used for served in plan.served):
        yield "no workload is served"
    for served in plan.served:
        demand, carried = served.workload.requests_per_s, plan.carried(served)
        if demand is not None and carried < demand and not plan.instance.is_unlimited:
            yield f"{served.service.where}: {show(carried)} requests/s, {show(demand)} are demanded"


ALWAYS: tuple[tuple[str, Callable[[Plan], Iterator[str]]], ...] = (
    ("engine", check_engine),
    ("mode", check_mode),
    ("C1 rate matching", check_c1_rate_matching),
    ("C2 SLA", check_c2_sla),
    ("C4 NVLink pricing", check_c4_pricing),
    ("C5 homogeneity", check_c5_homogeneity),
    ("C6 KV hand-over", check_c6_handover),
    ("C7 allowed points", check_c7_rules),
    ("C8 demand", check_c8_demand),
)
WITH_INVENTORY: tuple[tuple[str, Callable[[Plan], Iterator[str]]], ...] = (
    ("C3 inventory", check_c3_inventory),
    ("C4 NVLink packing", check_c4_packing),
    ("C7 replicas", check_c7_replicas),
    ("C7 budget", check_c7_budget),
    ("C9 survive", check_c9_survive),
)
"""Families that only pools of a given size have."""
