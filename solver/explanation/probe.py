"""Judges changed instances: whether there is a plan, and the best one, by the exact search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from costmodels.operating_curve import CurveQuery, CurveSet
from solver.backends.cpsat import CpSat
from solver.clock import Clock, Stopped
from solver.columns import Candidates, Column
from solver.deployment import Deployment
from solver.engines import CostModel, EngineSet, engines_of
from solver.formulation.unit import total
from solver.instance import Instance
from solver.limit import limit_at
from solver.measure import Floor, Measure, objective_of
from solver.optimise import Optimum, Search
from solver.points import points_of
from solver.result import Run, Status
from solver.stages import Stages
from solver.start import start_of
from solver.verdict import judged


class _Remembered:
    """A cost model that answers each query once."""

    def __init__(self, model: CostModel) -> None:
        self._model = model
        self._known: list[tuple[CurveQuery, CurveSet]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def curves(self, query: CurveQuery) -> CurveSet:
        """The model's answer."""
        for known, answer in self._known:
            if known == query:
                return answer
        answer = self._model.curves(query)
        self._known.append((query, answer))
        return answer


class _Kept(Stages):
    """Stages in which named workloads are served, at whatever rate."""

    kept: frozenset[str] = frozenset()

    def search(self, columns: tuple[Column, ...], floors: list[Floor], second: Any = None) -> Search:
        """As of :class:`Stages`, with a row for each kept workload whose demand is given up."""
        search = super().search(columns, floors, second)
        draft = search.model.draft
        for workload in self.instance.workloads:
            if workload.name in self.kept and workload.requests_per_s is None and not self.must_serve:
                row = total(way.used for way in draft.ways_of(workload)) >= 1
                draft.add(f"C8_kept_w{draft.number_of(workload)}", row)
        return search


@dataclass(frozen=True)
class Outcome:
    """
    The best of a changed instance.

    Parameters
    ----------
    status
        As of a result: ``optimal`` and ``infeasible`` are proved.
    value
        The objective, exactly; None without a plan.
    deployment
        The plan, verified independently; None without one.
    """

    status: Status
    value: Fraction | None
    deployment: Deployment | None


class Probe:
    """
    Judges changed instances.

    A workload that has a demand in the original instance is served in every changed one, at whatever rate: giving up
    a demand is not giving up the workload.

    Parameters
    ----------
    instance
        The original instance.
    model
        Its cost model.
    clock
        Time and controls.
    say
        Called with a line about what is being done.
    """

    def __init__(
        self, instance: Instance, model: CostModel, clock: Clock, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.instance = instance
        self.clock = clock
        self.say = say
        self.floor: Floor | None = None
        self.endless: dict[str, int] = {}
        self._model: CostModel = _Remembered(model)
        self._kept = frozenset(w.name for w in instance.workloads if w.requests_per_s is not None)

    def beating(self, best: Deployment) -> Probe:
        """The same probe, to which only plans that are better than a given one count."""
        other = Probe(self.instance, self._model, self.clock, self.say)
        measure = objective_of(self.instance, best)
        other.floor = Floor(measure, measure.of(best), strict=True)
        return other

    def engines(self, instance: Instance) -> EngineSet:
        """The engines of an instance."""
        return engines_of(instance, self._model)

    def find(self, instance: Instance) -> Deployment | None:
        """
        A plan of a changed instance, or None where it is proved that there is none, by CP-SAT set in two ways.

        Raises
        ------
        Stopped
            When a limit came first.
        """
        self.clock.remaining()
        if instance.is_unlimited:
            return self._limit(instance)
        stages = self._stages(instance)
        found = stages.search(stages.candidates.columns(), self._floors(), CpSat(presolve=True)).find()
        if found.verdict == "unknown":
            raise Stopped
        return found.deployment

    def best(self, instance: Instance, measure: Measure) -> Optimum:
        """
        The plan of a changed instance that is best by a measure.

        Raises
        ------
        Stopped
            When a limit came before the proof.
        """
        self.clock.remaining()
        stages = self._stages(instance)
        search = stages.search(stages.candidates.columns(), self._floors(), CpSat(presolve=True))
        found = search.maximise(measure)
        if found.verdict not in ("optimal", "infeasible"):
            raise Stopped
        return found

    def solve(self, instance: Instance) -> Outcome:
        """
        The optimum of a changed instance, verified independently.

        Raises
        ------
        Stopped
            When a limit came before any answer.
        """
        self.clock.remaining()
        started = time.perf_counter()
        stages = self._stages(instance)
        if instance.is_unlimited:
            staged = limit_at(instance, stages.candidates)
        else:
            start = start_of(instance, stages.candidates, self.clock)
            staged = stages.run(last="objective", start=start)
        if staged.objective.verdict == "unknown":
            raise Stopped
        wall = time.perf_counter() - started
        points, columns = len(stages.candidates.table), staged.columns
        run = Run("cp-sat", CpSat().version(), "points", True, False, {}, points, columns, {}, self.clock.solves, wall)
        result = judged(instance, stages.candidates.engine_set, staged, run)
        return Outcome(result.status, result.objective, result.deployment)

    def _floors(self) -> list[Floor]:
        return [] if self.floor is None else [self.floor]

    def _stages(self, instance: Instance) -> Stages:
        engines = self.engines(instance)
        candidates = Candidates(instance, engines, points_of(instance, engines, thin=True))
        stages = _Kept(instance, candidates, CpSat(), self.clock, second=CpSat(presolve=True))
        stages.kept = self._kept
        return stages

    def _limit(self, instance: Instance) -> Deployment | None:
        staged = limit_at(instance, self._stages(instance).candidates)
        is_better = self.floor is None or staged.deployment is None or self.floor.holds(staged.deployment)
        return staged.deployment if is_better else None
