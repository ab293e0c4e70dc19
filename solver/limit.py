"""Unlimited GPUs: replicas are real numbers, and the answer is the limit of growing fleets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from solver.columns import NO_LIMITS, Candidates, Column, Limits
from solver.deployment import Assignment, Deployment
from solver.engines import EngineSet
from solver.handover import arrivals
from solver.instance import Instance, Workload
from solver.optimise import Optimum
from solver.points import points_of
from solver.result import Result, Run
from solver.stages import Staged
from solver.verdict import judged

if TYPE_CHECKING:
    from solver.planner import Options


@dataclass(frozen=True)
class Blend:
    """
    The best way to serve a workload with real-valued replicas.

    Parameters
    ----------
    columns
        One co-located point, or a prefill and a decode point.
    requests_per_s_per_gpu
        Matched requests/s per GPU: the rate per GPU of a co-located point, or 1 / (1/P + 1/D).
    """

    columns: tuple[Column, ...]
    requests_per_s_per_gpu: Fraction

    def replicas(self, requests_per_s: Fraction) -> list[Fraction]:
        """Replicas of each column that serve a rate exactly."""
        return [requests_per_s / column.requests_per_s for column in self.columns]


def limit_of(instance: Instance, engines: EngineSet, options: Options, started: float) -> Result:
    """
    The answer in the limit, exactly.

    With real-valued replicas a workload is served best by one co-located point or by one prefill and one decode
    point, so the optimum is found by comparing all such pairs in rational arithmetic; that comparison is the proof.
    The ratio of weighted tokens/s to GPUs is a mean of the workloads' own ratios, weighted by their GPUs: workloads
    with a demand get the GPUs that it takes, the best workload gets as much as its cap allows (all, without one).
    """
    candidates = Candidates(instance, engines, points_of(instance, engines), options.dominance)
    staged = limit_at(instance, candidates)
    run = Run(
        backend="rational comparison",
        backend_version="",
        formulation="limit",
        dominance=options.dominance,
        tiebreak=options.tiebreak,
        parameters={},
        points=len(candidates.table),
        columns=staged.columns,
        dropped={**engines.dropped, **candidates.table.dropped},
        solves=0,
        wall_s=round(time.perf_counter() - started, 6),
    )
    return judged(instance, engines, staged, run)


def limit_at(
    instance: Instance, candidates: Candidates, limits: Limits = NO_LIMITS, must_serve: bool = False
) -> Staged:
    """The best deployment in the limit at given latency limits; GPUs are normalised to one."""
    columns = candidates.columns(limits)
    blends = {w.name: _best_blend(instance, w, columns) for w in instance.workloads}
    needed = [w for w in instance.workloads if w.requests_per_s is not None or must_serve]
    if any(blends[w.name] is None for w in needed) or not any(blends.values()):
        return Staged(Optimum("infeasible", None, None, None, "limit"), None, None, None, (), len(columns))
    shares = _shares(instance, blends)
    assignments = []
    for workload in instance.workloads:
        blend, gpus = blends[workload.name], shares.get(workload.name, Fraction(0))
        if blend is not None and gpus:
            replicas = blend.replicas(gpus * blend.requests_per_s_per_gpu)
            assignments += [Assignment(c.engine, c.batch, n) for c, n in zip(blend.columns, replicas, strict=True)]
    ordered = tuple(sorted(assignments, key=lambda a: (a.engine.index, a.batch)))
    deployment = Deployment(instance, ordered)
    value = deployment.objective
    return Staged(
        Optimum("optimal", deployment, value, value, "limit"), deployment, value, value, ("objective",), len(columns)
    )


def _worth(workload: Workload, blend: Blend) -> Fraction:
    return workload.weight * workload.osl * blend.requests_per_s_per_gpu


def _shares(instance: Instance, blends: dict[str, Blend | None]) -> dict[str, Fraction]:
    """GPUs of each workload: demands first, then caps from the best on while they raise the mean."""
    served = sorted(
        ((w, blend) for w in instance.workloads if (blend := blends[w.name]) is not None),
        key=lambda pair: (-_worth(*pair), pair[0].name),
    )
    best = served[0][0]
    if best.max_requests_per_s is None:
        return {best.name: Fraction(1)}  # the demands of the others vanish beside a fleet that grows without end
    shares = {w.name: (w.requests_per_s or Fraction(0)) / b.requests_per_s_per_gpu for w, b in served}
    for workload, blend in served:
        gain = sum(_worth(w, b) * shares[w.name] for w, b in served)
        gpus = sum(shares.values(), Fraction(0))
        if gpus and _worth(workload, blend) * gpus <= gain:
            break
        if workload.max_requests_per_s is None:
            return {workload.name: Fraction(1)}
        shares[workload.name] = workload.max_requests_per_s / blend.requests_per_s_per_gpu
    return shares


def _best_blend(instance: Instance, workload: Workload, columns: Iterable[Column]) -> Blend | None:
    mine = [c for c in columns if c.engine.workload is workload]
    blends = [Blend((c,), c.requests_per_s / c.gpus) for c in mine if c.role == "colocated"]
    prefill = [c for c in mine if c.role == "prefill"]
    decode = [c for c in mine if c.role == "decode"]
    if "disaggregated" in instance.serving.modes:
        classes = arrivals(instance)
        if workload.osl == 1:
            blends += [Blend((c,), c.requests_per_s / c.gpus) for c in prefill]
        if workload.e2el_ms is None and not any(c.late_ms for c in prefill):
            prefill, decode = _best_of_partners(prefill), _best_of_partners(decode)
        blends += [_pair(p, d) for p in prefill for d in decode if workload.osl > 1 and _joined(classes, p, d)]
    return max(blends, key=lambda blend: blend.requests_per_s_per_gpu, default=None)


def _best_of_partners(columns: list[Column]) -> list[Column]:
    """
    Of each set of partners the first column of the highest rate per GPU.

    Where nothing but serving backend and KV format couples the pools, a pair is better the better each side is.
    """
    best: dict[tuple[str, str], Column] = {}
    for column in columns:
        joint = column.engine.joint
        rival = best.get(joint)
        if rival is None or column.requests_per_s * rival.gpus > rival.requests_per_s * column.gpus:
            best[joint] = column
    return list(best.values())


def _pair(prefill: Column, decode: Column) -> Blend:
    gpus_per_request = prefill.gpus / prefill.requests_per_s + decode.gpus / decode.requests_per_s
    return Blend((prefill, decode), 1 / gpus_per_request)


def _joined(classes: Mapping[str, int], prefill: Column, decode: Column) -> bool:
    workload = prefill.engine.workload
    late = prefill.late(classes[decode.engine.pool.name])
    if prefill.engine.joint != decode.engine.joint or late is None:
        return False
    total = late + (workload.osl - 1) * decode.latency_ms
    return workload.e2el_ms is None or total <= workload.e2el_ms
