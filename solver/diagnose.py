"""Why nothing serves an instance: each requirement relaxed alone, to the nearest limit that would do."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

from solver.clock import Stopped
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.engines import CostModel, engines_of
from solver.instance import Instance, Pool, Workload
from solver.measure import Measure, demand_of, least_cost
from solver.points import points_of
from solver.result import exact_text
from solver.stages import Stages

MOST_GPUS = 10**6


@dataclass(frozen=True)
class Reason:
    """
    A requirement that alone stands in the way, or what is reachable at best.

    Parameters
    ----------
    requirement
        TTFT, TPOT, E2E, inventory, memory, demand, budget, kv_gbps, kv_links, KV hand-over, rules.
    where
        Workload or pool.
    given, nearest
        The limit as given, and the nearest one at which the instance is feasible.
    unit
        Unit of both.
    """

    requirement: str
    where: str
    given: Fraction
    nearest: Fraction
    unit: str

    def as_dict(self) -> dict[str, object]:
        """For the result file."""
        return {
            "requirement": self.requirement,
            "where": self.where,
            "given": float(self.given),
            "nearest": self._nearest_float(),
            "exact": {"given": exact_text(self.given), "nearest": exact_text(self.nearest)},
            "unit": self.unit,
            "text": f"{self.requirement} of {self.where}: {_short(self.given)} -> {self._nearest_text()} {self.unit}",
        }

    def _nearest_float(self) -> float:
        """The nearest limit as the float on the side on which the instance is feasible."""
        value = float(self.nearest)
        if self.requirement == "demand":
            return value if Fraction(value) <= self.nearest else math.nextafter(value, 0.0)
        return value if Fraction(value) >= self.nearest else math.nextafter(value, math.inf)

    def _nearest_text(self) -> str:
        """The nearest limit with six digits, rounded to the side on which the instance is feasible."""
        rounding = ROUND_FLOOR if self.requirement == "demand" else ROUND_CEILING
        above, below = (Decimal(part) for part in self.nearest.as_integer_ratio())
        value = Context(prec=6, rounding=rounding).divide(above, below)
        return f"{value.normalize():f}"


def _short(value: Fraction) -> str:
    return f"{float(value):.6g}"


def reasons_for(stages: Stages, model: CostModel) -> tuple[Mapping[str, object], ...]:
    """
    What would make an infeasible instance feasible, one change at a time, each nearest and proved by bisection.

    Besides, the best TTFT and TPOT that any point reaches, so that a limit out of reach is seen at once. Where a
    limit of the run stops the search, what was found so far is returned.
    """
    found: list[Mapping[str, object]] = []
    instance = stages.instance
    try:
        for reason in _nearest(instance, stages, model):
            found.append(reason.as_dict())  # noqa: PERF401 - what was found before a stop is kept
    except (Stopped, KeyboardInterrupt) as stop:
        stages.clock.stopped(stop)
        found.append({"requirement": "search", "text": "stopped by a limit before every requirement was tried"})
    found += _reachable(instance, model)
    if not any("nearest" in reason for reason in found):
        found.insert(0, {"requirement": "several", "text": "no single requirement, relaxed alone, makes it feasible"})
    return tuple(found)


def _nearest(instance: Instance, stages: Stages, model: CostModel) -> Iterator[Reason]:
    for workload in instance.workloads:
        for key, name in (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("e2el_ms", "E2E"), ("itl_ms", "ITL")):
            given: Fraction | None = getattr(workload, key)
            if given is not None:
                yield from _latency(instance, workload, key, name, given, stages, model)
        if workload.requests_per_s is not None:
            yield from _demand(instance, workload, stages, model)
    for pool in instance.pools:
        yield from _inventory(instance, pool, stages, model)
        if pool.memory_gib is not None:
            yield from _memory(instance, pool, stages, model)
        if pool.kv_gbps is not None:
            yield from _handover(instance, pool, pool.kv_gbps, stages, model)
    yield from _budget(instance, stages, model)
    yield from _rules(instance, stages, model)


def _probe(instance: Instance, stages: Stages, model: CostModel) -> Stages:
    """Stages of a changed instance."""
    engines = engines_of(instance, model)
    candidates = Candidates(instance, engines, points_of(instance, engines))
    return Stages(instance, candidates, stages.backend, stages.clock, stages.must_serve)


def _feasible(instance: Instance, stages: Stages, model: CostModel) -> Deployment | None:
    probe = _probe(instance, stages, model)
    found = probe.search(probe.candidates.columns(), []).find()
    if found.verdict == "unknown":
        raise Stopped
    return found.deployment


def _with_workload(instance: Instance, workload: Workload, **changes: object) -> Instance:
    changed = replace(workload, **changes)  # type: ignore[arg-type]
    return replace(instance, workloads=tuple(changed if w is workload else w for w in instance.workloads))


def _with_pool(instance: Instance, pool: Pool, **changes: object) -> Instance:
    changed = replace(pool, **changes)  # type: ignore[arg-type]
    return replace(instance, pools=tuple(changed if p is pool else p for p in instance.pools))


def _bisect(
    levels: list[Fraction], change: Callable[[Fraction], Instance], stages: Stages, model: CostModel
) -> Fraction | None:
    """The smallest level at which the changed instance is feasible, None where the largest is not."""
    if not levels or _feasible(change(levels[-1]), stages, model) is None:
        return None
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if _feasible(change(levels[middle]), stages, model) is None:
            low = middle + 1
        else:
            high = middle
    return levels[high]


def _latency(
    instance: Instance, workload: Workload, key: str, name: str, given: Fraction, stages: Stages, model: CostModel
) -> Iterator[Reason]:
    free = _with_workload(instance, workload, **{key: None})
    if _feasible(free, stages, model) is None:
        return

    def change(level: Fraction) -> Instance:
        return _with_workload(instance, workload, **{key: level})

    levels = _Levels.of(free, workload.name, model)
    if key == "e2el_ms":
        some = levels.sums(given, None)
        near = _bisect(some, change, stages, model)
        below = max((s for s in some if near is not None and s < near), default=given)
        nearest = None if near is None else _bisect(levels.sums(below, near), change, stages, model)
    else:
        all_levels = {"ttft_ms": levels.first, "tpot_ms": levels.each, "itl_ms": levels.gaps}[key]
        nearest = _bisect([level for level in all_levels if level > given], change, stages, model)
    if nearest is not None:
        yield Reason(name, workload.name, given, nearest, "ms")


@dataclass(frozen=True)
class _Levels:
    """
    Every value that a workload's latencies can take, ascending, in ms.

    Parameters
    ----------
    first, each
        TTFT of prefill and co-located points; TPOT of decode and co-located points.
    alone
        End to end of single points: co-located ones.
    pairs
        TTFT of prefill points, and (OSL - 1) x TPOT of decode points: end to end is a sum of one of each.
    gaps
        Longest token gap of decode and co-located points, where it is known or limited.
    """

    first: list[Fraction]
    each: list[Fraction]
    alone: list[Fraction]
    pairs: tuple[list[Fraction], list[Fraction]]
    gaps: list[Fraction]

    @classmethod
    def of(cls, instance: Instance, name: str, model: CostModel) -> _Levels:
        table = points_of(instance, engines_of(instance, model))
        found: dict[str, set[tuple[Fraction, Fraction]]] = {"prefill": set(), "decode": set(), "colocated": set()}
        gaps: set[Fraction] = set()
        for point in range(len(table)):
            engine = table.engines[table.engine[point]]
            if engine.workload.name == name:
                found[engine.curve.role].update((late, table.latency_ms(point)) for late in table.late_ms(point))
                if engine.curve.itl_ms:
                    gaps.add(engine.curve.at(int(table.batch[point])).itl_ms or Fraction(0))
                elif engine.curve.role == "decode":
                    gaps.add(table.latency_ms(point))
        steps = instance.workload(name).osl - 1
        prefill = {ttft for ttft, _ in found["prefill"]}
        decode = {latency for _, latency in found["decode"]}
        return cls(
            sorted(prefill | {ttft for ttft, _ in found["colocated"]}),
            sorted(decode | {latency for _, latency in found["colocated"]}),
            sorted({ttft + steps * latency for ttft, latency in found["colocated"]}),
            (sorted(prefill), sorted(steps * latency for latency in decode) if steps else [Fraction(0)]),
            sorted(gaps),
        )

    def sums(self, above: Fraction, most: Fraction | None) -> list[Fraction]:
        """
        End-to-end values in (above, most], ascending: all of them; without ``most`` of many pairs only some, the
        largest among them.
        """
        firsts, rest = self.pairs
        if most is None:
            firsts, rest = _thinned(firsts), _thinned(rest)
            most = max([*self.alone, *(a + b for a in firsts[-1:] for b in rest[-1:])], default=above)
        found = {value for value in self.alone if above < value <= most}
        for a in firsts:
            found.update(a + b for b in rest[bisect_right(rest, above - a) : bisect_right(rest, most - a)])
        return sorted(found)


def _thinned(values: list[Fraction]) -> list[Fraction]:
    """At most some 300 of ascending values, the largest among them."""
    step = -(-len(values) // 300) or 1
    return values[::-1][::step][::-1]


def _demand(instance: Instance, workload: Workload, stages: Stages, model: CostModel) -> Iterator[Reason]:
    probe = _probe(_with_workload(instance, workload, requests_per_s=None), stages, model)
    found = probe.search(probe.candidates.columns(), []).maximise(
        demand_of(probe.instance, probe.instance.workload(workload.name))
    )
    if found.verdict == "optimal" and found.value:
        yield Reason("demand", workload.name, workload.requests_per_s or Fraction(0), found.value, "requests/s")


def _inventory(instance: Instance, pool: Pool, stages: Stages, model: CostModel) -> Iterator[Reason]:
    given = pool.gpus or 0
    high, most = given, max(given, _affordable(instance, pool))
    while _feasible(_with_pool(instance, pool, gpus=high), stages, model) is None:
        if high >= most:
            return
        high = min(most, high * 8)
    low = given
    while high - low > 1:
        middle = (low + high) // 2
        if _feasible(_with_pool(instance, pool, gpus=middle), stages, model) is None:
            low = middle
        else:
            high = middle
    yield Reason("inventory", pool.name, Fraction(given), Fraction(high), "GPUs")


def _affordable(instance: Instance, pool: Pool) -> int:
    """The most GPUs that a pool may grow to: where idle GPUs count, a budget bounds them."""
    most = MOST_GPUS
    budget = instance.budget
    for limit, key in ((budget.usd_per_hour, "usd_per_gpu_hour"), (budget.watts, "watts_per_gpu")):
        if budget.count_idle and limit is not None and (price := getattr(pool, key)):
            others = sum(((getattr(p, key) or 0) * (p.gpus or 0) for p in instance.pools if p is not pool), Fraction(0))
            most = min(most, int((limit - others) / price))
    return most


def _memory(instance: Instance, pool: Pool, stages: Stages, model: CostModel) -> Iterator[Reason]:
    free = _with_pool(instance, pool, memory_gib=None)
    engines = engines_of(free, model)
    levels = sorted({m for e in engines.engines if e.pool.name == pool.name for m in e.curve.memory_gib})
    higher = [level for level in levels if level > (pool.memory_gib or 0)]
    nearest = _bisect(higher, lambda level: _with_pool(instance, pool, memory_gib=level), stages, model)
    if nearest is not None:
        yield Reason("memory", pool.name, pool.memory_gib or Fraction(0), nearest, "GiB per GPU")


def _handover(instance: Instance, pool: Pool, given: Fraction, stages: Stages, model: CostModel) -> Iterator[Reason]:
    """C6: the KV hand-over bandwidth of a pool's GPUs, to three digits upwards."""

    def change(level: Fraction | None) -> Instance:
        return _with_pool(instance, pool, kv_gbps=level)

    if _feasible(change(None), stages, model) is None:
        return
    for exponent in range(9):
        low, high = given * 10**exponent, given * 10 ** (exponent + 1)
        nearest = _bisect([low + (high - low) * step / 900 for step in range(1, 901)], change, stages, model)
        if nearest is not None:
            yield Reason("kv_gbps", pool.name, given, nearest, "GB/s per GPU")
            return


def _budget(instance: Instance, stages: Stages, model: CostModel) -> Iterator[Reason]:
    budget = instance.budget
    no_usd, no_watts = replace(budget, usd_per_hour=None), replace(budget, watts=None)
    watts = Measure({}, {pool.name: pool.watts_per_gpu or Fraction(0) for pool in instance.pools})
    for key, name, unit, measure, without in (
        ("usd_per_hour", "budget", "USD/hour", least_cost(instance), no_usd),
        ("watts", "power", "W", watts, no_watts),
    ):
        given: Fraction | None = getattr(budget, key)
        if given is not None:
            probe = _probe(replace(instance, budget=without), stages, model)
            found = probe.search(probe.candidates.columns(), []).maximise(measure)
            if found.verdict == "optimal" and found.deployment is not None:
                spent = getattr(found.deployment, key)
                yield Reason(name, "the fleet", given, spent, unit)


def _rules(instance: Instance, stages: Stages, model: CostModel) -> Iterator[Reason]:
    """Rules that are on or off: without them, 0 of them stand in the way."""
    serving = instance.serving
    for name, changed, count in (
        ("min_replicas", replace(serving, min_replicas={}), len(serving.min_replicas)),
        ("max_replicas", replace(serving, max_replicas={}), len(serving.max_replicas)),
        ("allow and deny", replace(serving, allow={}, deny={}), len(serving.allow) + len(serving.deny)),
        ("decode_covers", replace(serving, decode_covers=False), int(serving.decode_covers)),
        ("modes", replace(serving, modes=("colocated", "disaggregated")), int(len(serving.modes) < 2)),
    ):
        if count and _feasible(replace(instance, serving=changed), stages, model) is not None:
            yield Reason("rules", name, Fraction(count), Fraction(0), "rules")
    links = len(instance.kv_links or ())
    if instance.kv_links is not None and _feasible(replace(instance, kv_links=None), stages, model) is not None:
        yield Reason("kv_links", "the fleet", Fraction(links), Fraction(0), "links that limit")
    given = [pool for pool in instance.pools if pool.kv_gbps is not None]
    free = replace(instance, kv_links=None, pools=tuple(replace(pool, kv_gbps=None) for pool in instance.pools))
    if len(given) + (instance.kv_links is not None) > 1 and _feasible(free, stages, model) is not None:
        yield Reason("KV hand-over", "the fleet", Fraction(len(given) + links), Fraction(0), "limits")


def _reachable(instance: Instance, model: CostModel) -> Iterator[Mapping[str, object]]:
    """The best latencies that any point reaches, whatever the limits."""
    free = replace(
        instance,
        workloads=tuple(replace(w, ttft_ms=None, tpot_ms=None, e2el_ms=None, itl_ms=None) for w in instance.workloads),
    )
    table = points_of(free, engines_of(free, model))
    for workload in instance.workloads:
        mine = [p for p in range(len(table)) if table.engines[table.engine[p]].workload.name == workload.name]
        for name, values in (
            ("TTFT", [table.ttft_ms(p) for p in mine if table.engines[table.engine[p]].curve.role != "decode"]),
            ("TPOT", [table.latency_ms(p) for p in mine if table.engines[table.engine[p]].curve.role != "prefill"]),
        ):
            text = f"best reachable {name} of {workload.name}: " + (
                f"{_short(min(values))} ms" if values else "none, no point is left"
            )
            best = float(min(values)) if values else None
            yield {"requirement": f"best {name}", "where": workload.name, "best": best, "unit": "ms", "text": text}
