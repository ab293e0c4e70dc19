"""The plan with the best worst case, proved: bisection on its value, each step a robust MILP, the last one strict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from solver.backends.cpsat import CpSat
from solver.clock import Clock, Stopped
from solver.columns import Candidates, Column
from solver.deployment import Deployment
from solver.instance import Instance
from solver.measure import Floor, Sides, fewest_gpus, objective_of, throughput
from solver.robustness.search import WorstSearch
from solver.robustness.spread import Spread
from solver.robustness.worst import Place, WorstMeasure
from solver.stages import Stages

HALVINGS = 12
"""Bisections before the search asks for anything better at all."""


@dataclass(frozen=True)
class Found:
    """
    A robust plan.

    Parameters
    ----------
    verdict
        ``optimal``, ``feasible``, ``infeasible`` or ``unknown``, as of :class:`solver.optimise.Optimum`.
    deployment
        The plan.
    value
        The instance's objective in the worst case.
    bound
        No plan has a better worst case than this.
    """

    verdict: Literal["optimal", "feasible", "infeasible", "unknown"]
    deployment: Deployment | None
    value: Fraction | None
    bound: Fraction | None


class RobustStages:
    """
    Finds the robust plan of an instance.

    Parameters
    ----------
    instance, candidates
        The instance, and the points that hold their limits when they are wrong.
    spread
        The uncertainty set.
    clock
        Time and controls.
    """

    def __init__(self, instance: Instance, candidates: Candidates, spread: Spread, clock: Clock) -> None:
        self.instance, self.spread, self.clock = instance, spread, clock
        self.stages = Stages(instance, candidates, CpSat(), clock)
        self.columns: tuple[Column, ...] = candidates.columns()
        self._sides: set[Sides] = set()
        self._cases: set[tuple[Sides, frozenset[Place]]] = set()
        self._weights, self._worth = throughput(instance)

    def best(self, most: Fraction | None, start: Deployment | None = None) -> Found:
        """
        The plan with the best worst case.

        Parameters
        ----------
        most
            A bound on the objective without any error; needed where it is maximised.
        start
            A plan that holds in every case; it is the answer where nothing is better.
        """
        if self.instance.is_minimised:
            return self._cheapest(start)
        best = start
        bound = most
        try:
            best = best or self._search([]).relaxed(self._weights)
            if best is None:
                return Found("infeasible", None, None, None)
            high = most
            for _ in range(HALVINGS if high is not None else 0):
                middle = (self.value(best) + high) / 2  # type: ignore[operator]
                found = self._search([self._floor(middle, strict=False)]).find()
                if found.verdict == "unknown":
                    raise Stopped
                if found.deployment is None:
                    high = bound = middle
                else:
                    best = found.deployment
            while True:
                found = self._search([self._floor(self.value(best), strict=True)]).find()
                if found.verdict == "unknown":
                    raise Stopped
                if found.deployment is None:
                    best = best if best is start else self._fewest(best)
                    return Found("optimal", best, self.value(best), self.value(best))
                best = found.deployment
        except (Stopped, KeyboardInterrupt) as reason:
            self.clock.stopped(reason)
            return (
                Found("unknown", None, None, bound)
                if best is None
                else Found("feasible", best, self.value(best), bound)
            )

    def value(self, deployment: Deployment) -> Fraction:
        """The instance's objective in the worst case."""
        if self.instance.is_minimised:
            return deployment.objective
        value = WorstMeasure(self._weights.weights, {}, self.spread).of(deployment) * self._worth
        return value / deployment.gpus_used if self.instance.objective == "throughput_per_gpu" else value

    def _floor(self, value: Fraction, strict: bool) -> Floor:
        """The requirement that the objective is at least, or above, a value in the worst case."""
        asked = value / self._worth
        if self.instance.objective == "throughput_per_gpu":
            prices = {pool.name: asked for pool in self.instance.pools}
            return Floor(WorstMeasure(self._weights.weights, prices, self.spread), Fraction(0), strict)
        return Floor(WorstMeasure(self._weights.weights, {}, self.spread), asked, strict)

    def _cheapest(self, start: Deployment | None) -> Found:
        found = self._search([]).maximise(objective_of(self.instance), start)
        if found.deployment is None:
            return Found(found.verdict, None, None, None)
        bound = None if found.bound is None else -found.bound
        return Found(found.verdict, found.deployment, found.deployment.objective, bound)

    def _fewest(self, best: Deployment) -> Deployment:
        """Of the plans with the same worst case one with the fewest GPUs; the plan itself where a limit comes first."""
        if self.instance.objective == "throughput_per_gpu":
            return best
        try:
            found = self._search([self._floor(self.value(best), strict=False)]).maximise(fewest_gpus(self.instance))
        except (Stopped, KeyboardInterrupt) as reason:
            self.clock.stopped(reason)
            return best
        return best if found.verdict != "optimal" or found.deployment is None else found.deployment

    def _search(self, floors: list[Floor]) -> WorstSearch:
        reach = max((abs(floor.value) for floor in floors), default=Fraction(0)) / max(self._weights.weights.values())
        model = self.stages.build(self.columns, reach)
        second: Callable[..., object] = CpSat
        search = WorstSearch(
            model, CpSat(), self.clock, second(presolve=True), self._sides, spread=self.spread, cases=self._cases
        )
        for floor in floors:
            search.require(floor)
        return search
