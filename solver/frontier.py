"""The exact frontier: every non-dominated deployment of interactivity against the objective, each with its proof."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

from solver import pairs, profiles, two_pools
from solver.clock import Clock, Stopped
from solver.columns import Candidates, Limits
from solver.deployment import Deployment
from solver.engines import EngineSet
from solver.frontier_points import Frontier, FrontierPoint
from solver.instance import Instance, Workload
from solver.limit import limit_at
from solver.optimise import Optimum
from solver.pairs import Pairs
from solver.profiles import Profiles
from solver.stages import Staged, Stages
from solver.two_pools import TwoPools

__all__ = ["Frontier", "FrontierPoint", "Progress", "Reached", "Sweep", "sweep_of", "swept"]

Progress = Callable[[FrontierPoint], None]
Reached = Callable[[float], None]
"""Called with the share of a sweep that is done, from 0 to 1."""


class Sweep:
    """
    An epsilon-constraint sweep over TPOT limits.

    Parameters
    ----------
    instance, engines, candidates
        The instance with its engines and points.
    backend
        A back end whose proofs are exact.
    clock
        Time and controls.
    workloads
        Names of the workloads that the limit applies to; all by default.
    allow_unserved
        Whether some workloads may end with nothing.
    incremental
        Whether steps may be settled by bounds (:class:`solver.pairs.Pairs`); else a model is solved at every limit
        that the deployment before does not settle.
    reached
        Called after each step with the share of the way from the loosest TPOT to the tightest that is behind.
    """

    def __init__(
        self,
        instance: Instance,
        engines: EngineSet,
        candidates: Candidates,
        stages: Stages,
        workloads: Sequence[str] = (),
        allow_unserved: bool = False,
        incremental: bool = False,
        reached: Reached | None = None,
    ) -> None:
        self.instance = instance
        self.engines = engines
        self.candidates = candidates
        self.stages = stages
        self.names = tuple(workloads) or tuple(w.name for w in instance.workloads)
        self.allow_unserved = allow_unserved
        self.incremental = incremental
        self.reached = reached
        self._limit: Fraction | None = None
        stages.must_serve = not allow_unserved

    @cached_property
    def _bound(self) -> tuple[Pairs | Profiles | TwoPools | None, str]:
        """What settles limits without a model, and the name of its proof; None where nothing does."""
        if not self.incremental:
            return None, ""
        if Pairs.covers(self.instance, self.candidates):
            return Pairs(self.instance, self.candidates), pairs.PROOF
        if Profiles.covers(self.instance, self.candidates):
            found = Profiles(self.instance, self.candidates, self.names, not self.allow_unserved)
            return found if found.is_ready else None, profiles.PROOF
        if TwoPools.covers(self.instance, self.candidates):
            both = TwoPools(self.instance, self.candidates)
            return both if both.is_ready else None, two_pools.PROOF
        return None, ""

    def trace(self, progress: Progress | None = None, min_step: Fraction = Fraction(0)) -> Frontier:
        """
        The whole frontier.

        Solve at the loosest limit; the next limit is the largest latency strictly below the slowest point used; go on
        until infeasible. A point is kept once the next value is worse: only then is it known not to be dominated, and
        its later stages are run at its own TPOT.

        Parameters
        ----------
        progress
            Called with every point that is kept.
        min_step
            Skips limits closer than this share: every point left out then has at most (1 + min_step) times the
            interactivity of a kept point that is no worse in the objective.
        """
        started = time.perf_counter()
        kept: list[FrontierPoint] = []
        missing = ""
        self._limit = None
        try:
            self._trace(kept, progress, min_step)
        except (Stopped, KeyboardInterrupt) as reason:
            self.stages.clock.stopped(reason)
            missing = self._missing(self._limit)
        return self._frontier(kept, missing, False, started)

    def _trace(self, kept: list[FrontierPoint], progress: Progress | None, min_step: Fraction) -> None:
        """The loop of :meth:`trace`; raises Stopped where a limit or an interrupt came first."""
        pending: FrontierPoint | None = None
        slowest: Fraction | None = None
        while True:
            point = self._proved(self._limit, pending, None)
            if pending is not None and (point is None or point.value != pending.value):
                self._keep(pending, kept, progress)
            pending = point
            if point is None or point.tpot_ms is None:
                break
            slowest = slowest or point.tpot_ms
            self._tell(slowest, point.tpot_ms)
            self._limit = self.candidates.tpot_below(point.tpot_ms, min_step) or point.tpot_ms / 2
        if pending is not None:
            self._keep(pending, kept, progress)

    def _tell(self, slowest: Fraction, now: Fraction) -> None:
        """The share of the way that is behind, in the logarithm of the TPOT; the last step may lie before the end."""
        if self.reached is not None and self._fastest < slowest:
            self.reached(min(1.0, math.log(slowest / now) / math.log(slowest / self._fastest)))

    @cached_property
    def _fastest(self) -> Fraction:
        """The smallest TPOT of any point, in ms."""
        return self.candidates.tpot_levels()[0]

    def _keep(self, point: FrontierPoint, kept: list[FrontierPoint], progress: Progress | None) -> None:
        kept.append(self._finish(point))
        if progress is not None:
            progress(kept[-1])

    def at(self, interactivities: Sequence[Fraction], progress: Progress | None = None) -> Frontier:
        """
        One row per requested interactivity (tokens/s/user), with the value achieved; infeasible ones are named.
        """
        started = time.perf_counter()
        points: list[FrontierPoint] = []
        infeasible: list[Fraction] = []
        missing = ""
        try:
            for done, requested in enumerate(interactivities):
                if self.reached is not None:
                    self.reached(done / len(interactivities))
                self._limit = 1000 / requested
                point = self._proved(self._limit, None, requested)
                if point is None:
                    infeasible.append(requested)
                else:
                    self._keep(point, points, progress)
        except (Stopped, KeyboardInterrupt) as reason:
            self.stages.clock.stopped(reason)
            missing = self._missing(self._limit)
        found = self._frontier(points, missing, True, started)
        return replace(found, infeasible=tuple(infeasible))

    def _missing(self, limit: Fraction | None) -> str:
        below = "everything" if limit is None else f"every point with a TPOT of {float(limit):g} ms or less"
        return f"stopped by a limit or an interrupt; {below} is missing"

    def _frontier(self, points: list[FrontierPoint], missing: str, requested: bool, started: float) -> Frontier:
        return Frontier(
            self.instance,
            self.engines,
            tuple(points),
            missing,
            self.names,
            self.allow_unserved,
            requested,
            self.stages.clock.solves,
            time.perf_counter() - started,
            f"{self.stages.backend.name} {self.stages.backend.version()}",
            incremental=self.incremental,
        )

    def _limits(self, limit: Fraction | None) -> Limits:
        return Limits({} if limit is None else dict.fromkeys(self.names, limit), {})

    def _proved(
        self, limit: Fraction | None, before: FrontierPoint | None, requested: Fraction | None
    ) -> FrontierPoint | None:
        """
        The best point at a limit, proved; None where it is proved that there is none.

        Raises
        ------
        Stopped
            When a limit or an interrupt came first.
        """
        bound, proof = self._bound
        if bound is not None:
            self.stages.clock.remaining()
            found = bound.best(limit, tightest=requested is None)
            if isinstance(found, Deployment):
                return FrontierPoint(limit, found, found.objective, proof, requested, self._tpot(found), True)
            if not found:
                return None
        staged = self._at(limit, before)
        if staged.objective.verdict not in ("optimal", "infeasible") or self.stages.clock.interrupted:
            raise Stopped
        return self._point(staged, limit, requested)

    def _at(self, limit: Fraction | None, before: FrontierPoint | None) -> Staged:
        if self.instance.is_unlimited:
            return limit_at(self.instance, self.candidates, self._limits(limit), not self.allow_unserved)
        start = None if before is None or limit is None else self._carried(before, limit)
        if before is not None and start is not None and start.objective == before.value:
            # a tighter limit cannot do better than the looser one did: the proof there settles this step too
            settled = Optimum("optimal", start, None, None, before.proof)
            return Staged(settled, start, before.value, before.value, ("objective",), 0)
        return self.stages.run(self._limits(limit), last="objective", start=start)

    def _carried(self, before: FrontierPoint, limit: Fraction) -> Deployment | None:
        """The deployment before, each engine at the best point of its footprint that the new limit leaves."""
        return self.candidates.tightened(before.deployment, self._limits(limit))

    def _point(self, staged: Staged, limit: Fraction | None, requested: Fraction | None) -> FrontierPoint | None:
        if staged.deployment is None or staged.value is None:
            return None
        tpot = self._tpot(staged.deployment)
        return FrontierPoint(limit, staged.deployment, staged.value, staged.objective.proof, requested, tpot)

    def _finish(self, point: FrontierPoint) -> FrontierPoint:
        """The later stages; on the frontier at the point's own TPOT, where the objective stays what it is."""
        if self.instance.is_unlimited or point.is_final:
            return point
        limit = point.limit_ms if point.requested is not None or point.tpot_ms is None else point.tpot_ms
        staged = self.stages.refine(point.deployment, point.value, self._limits(limit))
        return replace(point, deployment=staged, tpot_ms=self._tpot(staged))

    def _tpot(self, deployment: Deployment) -> Fraction | None:
        used = [
            a.point.latency_ms for a in deployment.assignments if a.decodes and a.engine.workload.name in self.names
        ]
        return max(used, default=None)


def swept(instance: Instance, names: Sequence[str]) -> list[Workload]:
    """
    The workloads of the given names.

    Raises
    ------
    ValueError
        When a name is unknown.
    """
    known = {workload.name: workload for workload in instance.workloads}
    for name in names:
        if name not in known:
            raise ValueError(f"workload must be one of {', '.join(known)}; got {name!r}")
    return [known[name] for name in names]


def sweep_of(
    instance: Instance,
    engines: EngineSet,
    candidates: Candidates,
    clock: Clock,
    workloads: Sequence[str] = (),
    allow_unserved: bool = False,
    incremental: bool = True,
    reached: Reached | None = None,
) -> Sweep:
    """A sweep with the exact back end."""
    from solver.backends.cpsat import CpSat

    stages = Stages(instance, candidates, CpSat(), clock)
    return Sweep(instance, engines, candidates, stages, workloads, allow_unserved, incremental, reached)
