"""From footprints to pairs: which prefill point stands beside each decode point, in one unit of rate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from costmodels.operating_curve import ROLES
from solver.columns import Candidates, Footprint
from solver.instance import Instance, Mode, Workload
from solver.pair_arrays import Integers, PairArrays


def one_pool(instance: Instance, candidates: Candidates) -> bool:
    """Whether nothing but GPUs, groups, rates and time limits binds the plans of an instance, on one pool."""
    serving, budget, pool = instance.serving, instance.budget, instance.pools[0]
    if len(instance.pools) != 1 or instance.is_unlimited or instance.kv_links is not None or budget.count_idle:
        return False
    unpriced = (budget.usd_per_hour is not None or instance.objective == "cost") and not pool.usd_per_gpu_hour
    unrated = budget.watts is not None and not pool.watts_per_gpu
    plain = serving.engines_per_role == 1 and not serving.decode_covers and not serving.min_replicas
    return (
        candidates.dominance and plain and not unpriced and not unrated and all(w.osl > 1 for w in instance.workloads)
    )


def common_unit(instance: Instance, candidates: Candidates) -> int:
    """Units per request/s in which all planned rates, caps and demands are whole."""
    scale = candidates.table.rate_scale
    shares = [instance.utilization(workload, role) for workload in instance.workloads for role in ROLES]
    given = [rate for w in instance.workloads for rate in (w.requests_per_s, w.max_requests_per_s) if rate is not None]
    return math.lcm(*(scale * share.denominator for share in shares), *(rate.denominator for rate in given))


def arrays_of(
    instance: Instance, candidates: Candidates, workload: Workload, modes: Sequence[Mode], unit: int
) -> PairArrays:
    """All pairs of a workload in some modes, with what is credited at most, in the common unit."""
    factors: dict[str, int] = {
        role: int(instance.utilization(workload, role) * (unit // candidates.table.rate_scale)) for role in ROLES
    }
    cap = None if workload.max_requests_per_s is None else int(workload.max_requests_per_s * unit)
    pairs = _pairs(candidates, workload, modes)
    return PairArrays(instance, candidates.table, pairs, factors, cap, workload.e2el_ms is not None)


def _pairs(
    candidates: Candidates, workload: Workload, modes: Sequence[Mode]
) -> Iterator[tuple[Footprint, Footprint | None, Integers]]:
    """(decode or co-located footprint, prefill footprint or None, prefill point beside each decode point)."""
    mine = [f for f in candidates.footprints if f.engine.workload is workload]
    first = _first(candidates, workload, mine)
    for second in mine:
        if second.role == "colocated" and "colocated" in modes:
            yield second, None, np.zeros(0, dtype=np.int64)
        elif second.role == "decode" and "disaggregated" in modes:
            for mate in first:
                if mate.engine.joint == second.engine.joint:
                    yield second, mate, _beside(candidates, workload, second, mate)


def _first(candidates: Candidates, workload: Workload, mine: list[Footprint]) -> list[Footprint]:
    """The prefill footprints; without an end-to-end limit only those that dominance across footprints leaves."""
    first = [f for f in mine if f.role == "prefill" and len(f.points)]
    if workload.e2el_ms is not None:
        return first
    kept = {(column.engine.index, column.batch) for column in candidates.columns()}
    table = candidates.table
    return [f for f in first if (int(table.engine[f.points[-1]]), int(table.batch[f.points[-1]])) in kept]


def _beside(candidates: Candidates, workload: Workload, second: Footprint, mate: Footprint) -> Integers:
    """The fastest prefill point that fits beside each decode point end to end; -1 where none does."""
    if workload.e2el_ms is None:
        return np.full(len(second.points), mate.points[-1], dtype=np.int64)
    scale, steps = candidates.table.time_scale, workload.osl - 1
    left = [math.floor(workload.e2el_ms * scale - steps * time) for time in second.times]
    found = [bisect_right(mate.times, time) - 1 for time in left]
    return np.array([mate.points[i] if i >= 0 else -1 for i in found], dtype=np.int64)
