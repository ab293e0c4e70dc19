"""
Checks a robust plan by enumeration: every set of at most G engines in use is made wrong, one after the other.

It shares nothing with the search for robust plans: latencies, rates and the objective are computed anew for every set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations
from math import comb

from solver.engines import Engine, EngineSet
from solver.instance import Instance
from solver.verify_document import Fields, read_answer
from solver.verify_numbers import show
from solver.verify_plan import Plan, Served, Used, looked_up

MOST_SETS = 200_000
"""Sets of engines beyond which nothing is enumerated."""


def robust_faults(
    instance: Instance,
    engines: EngineSet,
    deployment: object,
    error: Callable[[Engine], Fraction],
    budget: int,
    claimed: Fraction | None,
) -> list[str]:
    """
    What is wrong with a robust plan; empty where it holds in every case and its worst case is what is claimed.

    Parameters
    ----------
    instance, engines
        The instance and its engines.
    deployment
        The ``deployment`` part of a result.
    error
        The relative error of an engine.
    budget
        How many engines may be wrong at once.
    claimed
        The objective in the worst case; None where it does not depend on rates.
    """
    faults: list[str] = []
    answer = read_answer(Fields(deployment, "$.deployment", faults), False)
    plan = looked_up(instance, engines, answer, faults)
    if faults:
        return faults
    every = [used for served in plan.served for used in served.used]
    size = min(budget, len(every))
    if sum(comb(len(every), count) for count in range(size + 1)) > MOST_SETS:
        return [f"{len(every)} engines in use, {budget} wrong: too many cases to enumerate"]
    worst: Fraction | None = None
    for count in range(size + 1):
        for wrong in combinations(every, count):
            slow = {id(used): 1 + error(used.engine) for used in wrong}
            faults += _case_faults(plan, slow, tuple(used.entry.where for used in wrong))
            value = _value(plan, slow)
            worst = value if worst is None else min(worst, value)
    if claimed is not None and worst != claimed:
        faults.append(f"the worst case is {show(worst)}, {show(claimed)} is claimed")
    return faults


def _case_faults(plan: Plan, slow: dict[int, Fraction], wrong: tuple[str, ...]) -> Iterator[str]:
    """Limits and demands that a case breaks."""
    told = f"with {', '.join(wrong) or 'nothing'} wrong: "
    for served in plan.served:
        workload = served.workload
        for used in served.used:
            ttft, tpot = _latencies(used, slow)
            for name, value, limit in (("TTFT", ttft, workload.ttft_ms), ("TPOT", tpot, workload.tpot_ms)):
                if value is not None and limit is not None and value > limit:
                    yield f"{told}{used.entry.where}: {name} {show(value)} ms above {show(limit)} ms"
        if workload.e2el_ms is not None:
            for value in _end_to_end(served, slow):
                if value > workload.e2el_ms:
                    yield f"{told}{workload.name}: end to end {show(value)} ms above {show(workload.e2el_ms)} ms"
        flow = _flow(plan, served, slow)
        if workload.requests_per_s is not None and flow < workload.requests_per_s:
            yield f"{told}{workload.name}: {show(flow)} requests/s, {show(workload.requests_per_s)} are demanded"


def _latencies(used: Used, slow: dict[int, Fraction]) -> tuple[Fraction | None, Fraction | None]:
    """TTFT and TPOT of an engine in a case; None where it has none."""
    factor = slow.get(id(used), Fraction(1))
    ttft = None if used.role == "decode" else factor * (used.point.ttft_ms or 0)
    decodes = used.role != "prefill" and used.engine.workload.osl > 1
    return ttft, factor * used.point.latency_ms if decodes else None


def _end_to_end(served: Served, slow: dict[int, Fraction]) -> Iterator[Fraction]:
    steps = served.workload.osl - 1
    for used in served.of("colocated"):
        ttft, tpot = _latencies(used, slow)
        yield (ttft or Fraction(0)) + steps * (tpot or Fraction(0))
    for first in served.of("prefill"):
        for second in served.of("decode"):
            yield (_latencies(first, slow)[0] or Fraction(0)) + steps * (_latencies(second, slow)[1] or Fraction(0))
        if not steps:
            yield _latencies(first, slow)[0] or Fraction(0)


def _flow(plan: Plan, served: Served, slow: dict[int, Fraction]) -> Fraction:
    """Credited requests/s in a case."""
    capacity = {"prefill": Fraction(0), "decode": Fraction(0), "colocated": Fraction(0)}
    for used in served.used:
        share = plan.instance.utilization(served.workload, used.role)
        capacity[used.role] += share * used.requests_per_s / slow.get(id(used), Fraction(1))
    joined = min(capacity[role] for role in served.workload.roles("disaggregated"))
    flow, most = joined + capacity["colocated"], served.workload.max_requests_per_s
    return flow if most is None else min(flow, most)


def _value(plan: Plan, slow: dict[int, Fraction]) -> Fraction:
    """Weighted tokens/s in a case; per GPU used where that is the objective."""
    total = sum((s.workload.weight * s.workload.osl * _flow(plan, s, slow) for s in plan.served), Fraction(0))
    if plan.instance.objective != "throughput_per_gpu":
        return total
    return total / sum((plan.gpus_used(pool) for pool in plan.instance.pools), Fraction(0))
