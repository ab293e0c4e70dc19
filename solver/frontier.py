"""The exact frontier: every non-dominated deployment of interactivity against the objective, each with its proof."""

from __future__ import annotations

import csv
import io
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from solver.columns import Candidates, Limits
from solver.deployment import Deployment
from solver.engines import EngineSet
from solver.formulation.milp import Milp
from solver.instance import Instance, Workload
from solver.limit import limit_at
from solver.optimise import Clock, Optimum, Stopped
from solver.result import deployment_dict, exact_text, instance_hash, totals_dict
from solver.stages import Staged, Stages

Progress = Callable[["FrontierPoint"], None]


@dataclass(frozen=True)
class FrontierPoint:
    """
    A point of the frontier.

    Parameters
    ----------
    limit_ms
        The TPOT limit at which it was proved optimal.
    deployment
        The deployment.
    value
        The objective, exactly.
    proof
        The model that proves that nothing at this limit is better.
    requested
        The interactivity asked for, in tokens/s/user, where a list was given.
    tpot_ms
        The slowest TPOT in use among the workloads of the sweep.
    """

    limit_ms: Fraction | None
    deployment: Deployment
    value: Fraction
    proof: Milp | str
    requested: Fraction | None
    tpot_ms: Fraction | None

    @property
    def tokens_per_s_per_user(self) -> Fraction | None:
        """Interactivity: 1000 / TPOT."""
        return None if self.tpot_ms is None else 1000 / self.tpot_ms

    @property
    def mode(self) -> str:
        """How the workloads are served; ``mixed`` where they differ."""
        instance = self.deployment.instance
        modes = {self.deployment.mode(w) for w in instance.workloads if self.deployment.is_served(w)}
        return modes.pop() if len(modes) == 1 else "mixed"


@dataclass(frozen=True)
class Frontier:
    """
    A frontier, or the part of it that was proved before a limit.

    Parameters
    ----------
    instance, engines
        What it is of.
    points
        By ascending interactivity.
    missing
        What was not reached, in words; empty where complete.
    workloads
        The workloads whose TPOT is swept.
    allow_unserved
        Whether some workloads may end with nothing.
    requested
        Whether the points answer a list of interactivities.
    solves, wall_s
        Models solved, and wall seconds.
    backend
        Back end and version.
    infeasible
        Requested interactivities that are proved infeasible.
    faults
        What the independent verifier found wrong; empty unless we are at fault.
    """

    instance: Instance
    engines: EngineSet
    points: tuple[FrontierPoint, ...]
    missing: str
    workloads: tuple[str, ...]
    allow_unserved: bool
    requested: bool
    solves: int
    wall_s: float
    backend: str
    infeasible: tuple[Fraction, ...] = ()
    faults: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The frontier file, version 1."""
        return {
            "format": "disagg-frontier",
            "version": 1,
            "instance": self.instance.name,
            "instance_hash": instance_hash(self.instance, self.engines),
            "objective_kind": self.instance.objective,
            "cost_model": {"description": self.engines.cost_model, "known_error": self.engines.known_error},
            "complete": not self.missing,
            "missing": self.missing,
            "workloads": list(self.workloads),
            "allow_unserved": self.allow_unserved,
            "requested": self.requested,
            "infeasible_tokens_per_s_per_user": [float(value) for value in self.infeasible],
            "backend": self.backend,
            "solves": self.solves,
            "wall_s": round(self.wall_s, 6),
            "points": [_point_dict(point) for point in self.points],
        }

    def as_csv(self) -> str:
        """One row a point."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [w.name for w in self.instance.workloads]
        served = [f"mode {name}" for name in names] if len(names) > 1 else []
        header = "tokens_per_s_per_user,tokens_per_s_per_gpu,requests_per_s,gpus_used,mode,objective,tpot_ms,ttft_ms,"
        header += "usd_per_hour,requested_tokens_per_s_per_user,deployment"
        writer.writerow([*header.split(","), *served])
        for point in self.points:
            modes = [point.deployment.mode(w) for w in self.instance.workloads] if served else []
            writer.writerow([*_row(point), *modes])
        for value in self.infeasible:
            writer.writerow(["", "", "", "", "infeasible", "", "", "", "", float(value), "", *([""] * len(served))])
        return text.getvalue()


def _point_dict(point: FrontierPoint) -> dict[str, Any]:
    value = float(point.value)
    return {
        "limit_ms": None if point.limit_ms is None else float(point.limit_ms),
        "requested_tokens_per_s_per_user": None if point.requested is None else float(point.requested),
        "tokens_per_s_per_user": None if point.tpot_ms is None else float(1000 / point.tpot_ms),
        "status": "optimal",
        "objective": value,
        "bound": value,
        "gap": 0.0,
        "exact": {
            "objective": exact_text(point.value),
            "bound": exact_text(point.value),
            "limit_ms": exact_text(point.limit_ms),
        },
        "feasibility": "verified exactly",
        "proof": _proof_text(point.proof),
        "mode": point.mode,
        "deployment": deployment_dict(point.deployment),
        "totals": totals_dict(point.deployment),
    }


def _proof_text(proof: Milp | str) -> str:
    return "rational comparison" if isinstance(proof, str) else f"bound proved by cp-sat on model {proof.digest()}"


def _row(point: FrontierPoint) -> list[object]:
    d = point.deployment

    def text(value: Fraction | int | None) -> object:
        return "" if value is None else value if isinstance(value, int) else float(value)

    parts = [f"{a.role} {a.replicas} x {a.engine.curve.partition.label} batch {a.batch}" for a in d.assignments]
    interactivity = text(point.tokens_per_s_per_user)
    totals = [interactivity, text(d.tokens_per_s_per_gpu), text(d.requests_per_s), text(d.gpus_used), point.mode]
    rest = [text(point.value), text(point.tpot_ms), text(d.ttft_ms), text(d.usd_per_hour), text(point.requested)]
    return [*totals, *rest, "; ".join(parts)]


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
    """

    def __init__(
        self,
        instance: Instance,
        engines: EngineSet,
        candidates: Candidates,
        stages: Stages,
        workloads: Sequence[str] = (),
        allow_unserved: bool = False,
    ) -> None:
        self.instance = instance
        self.engines = engines
        self.candidates = candidates
        self.stages = stages
        self.names = tuple(workloads) or tuple(w.name for w in instance.workloads)
        self.allow_unserved = allow_unserved
        self._limit: Fraction | None = None
        stages.must_serve = not allow_unserved

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
        levels = self.candidates.tpot_levels()
        pending: FrontierPoint | None = None
        while True:
            point = self._point(self._proved(self._limit, pending), self._limit, None)
            if pending is not None and (point is None or point.value != pending.value):
                self._keep(pending, kept, progress)
            pending = point
            if point is None or point.tpot_ms is None:
                break
            self._limit = _next(levels, point.tpot_ms, min_step) or point.tpot_ms / 2
        if pending is not None:
            self._keep(pending, kept, progress)

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
            for requested in interactivities:
                self._limit = 1000 / requested
                point = self._point(self._proved(self._limit, None), self._limit, requested)
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
        )

    def _limits(self, limit: Fraction | None) -> Limits:
        return Limits({} if limit is None else dict.fromkeys(self.names, limit), {})

    def _proved(self, limit: Fraction | None, before: FrontierPoint | None) -> Staged:
        """
        The outcome at a limit, proved.

        Raises
        ------
        Stopped
            When a limit or an interrupt came first.
        """
        staged = self._at(limit, before)
        if staged.objective.verdict not in ("optimal", "infeasible") or self.stages.clock.interrupted:
            raise Stopped
        return staged

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
        if self.instance.is_unlimited:
            return point
        limit = point.limit_ms if point.requested is not None or point.tpot_ms is None else point.tpot_ms
        staged = self.stages.refine(point.deployment, point.value, self._limits(limit))
        return replace(point, deployment=staged, tpot_ms=self._tpot(staged))

    def _tpot(self, deployment: Deployment) -> Fraction | None:
        used = [
            a.point.latency_ms for a in deployment.assignments if a.decodes and a.engine.workload.name in self.names
        ]
        return max(used, default=None)


def _next(levels: list[Fraction], used: Fraction, min_step: Fraction) -> Fraction | None:
    """The largest level strictly below the one used, or below it by ``min_step``."""
    index = bisect_left(levels, used / (1 + min_step))
    if min_step and index < len(levels) and levels[index] == used / (1 + min_step):
        return levels[index]
    return levels[index - 1] if index else None


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
) -> Sweep:
    """A sweep with the exact back end."""
    from solver.backends.cpsat import CpSat

    stages = Stages(instance, candidates, CpSat(), clock)
    return Sweep(instance, engines, candidates, stages, workloads, allow_unserved)
