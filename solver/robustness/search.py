"""The MILP of the robust plan: the nominal one, with rows for the cases in which plans were caught."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from solver.deployment import Deployment
from solver.formulation.plan_model import PlanModel
from solver.measure import Floor, Sides, bottlenecks, floor_row, net_worth
from solver.optimise import Search
from solver.robustness.spread import Spread
from solver.robustness.worst import Place, worst_of


class WorstSearch(Search):
    """
    Optimises measures over plans whose requirements hold in the worst case.

    Parameters
    ----------
    spread
        The uncertainty set.
    cases
        (Limiting roles, engines that are wrong) that earlier searches met; extended in place.
    given
        As for :class:`solver.optimise.Search`.

    Notes
    -----
    A requirement in the worst case is one linear row for each combination of limiting roles and each set of at most G
    units: the row of the nominal requirement with the rates of those units lowered. A unit that is not in use has no
    replicas, so the sets over all units say the same as the sets over units in use. The rows of the cases that a plan
    breaks are added when it breaks them. Each is implied by the requirement; an infeasible model is a proof.
    """

    def __init__(self, *given: Any, spread: Spread, cases: set[tuple[Sides, frozenset[Place]]]) -> None:
        self.spread = spread
        self.cases = cases
        self._done: set[tuple[int, Sides, frozenset[Place]]] = set()
        super().__init__(*given)

    def require(self, floor: Floor) -> None:
        """Adds a requirement that every further deployment meets in the worst case."""
        super().require(replace(floor, measure=worst_of(floor.measure, self.spread)))
        if floor.measure.weights:
            for sides, hit in sorted(self.cases, key=repr):
                self._add_case(len(self.floors) - 1, sides, hit)

    def _repair(self, deployment: Deployment) -> bool:
        for index, floor in enumerate(self.floors):
            if not floor.holds(deployment):
                case = worst_of(floor.measure, self.spread).case(deployment)
                if floor.measure.weights:
                    self.cases.add((case.sides, case.hit))
                    if not self._add_case(index, case.sides, case.hit):
                        self._exclude_case(deployment, floor, case.sides, case.hit)
                elif not self._add_row(index, sides := bottlenecks(deployment)):
                    self._exclude(deployment, floor, sides)
                return True
        return self._repair_covers(deployment) or self._repair_budget(deployment)

    def _add_case(self, index: int, sides: Sides, hit: frozenset[Place]) -> bool:
        """Adds the row of a floor in a case; False when it is there already."""
        if (index, sides, hit) in self._done:
            return False
        self._done.add((index, sides, hit))
        self._add("worst", floor_row(self._lowered(hit), self.floors[index], sides))
        return True

    def _lowered(self, hit: Iterable[Place]) -> PlanModel:
        """The model with the rates that its units have when some engines are wrong."""
        chosen, draft = set(hit), self.model.draft
        pairs = zip(draft.units, self.model.batches, strict=True)
        units = tuple(
            replace(unit, rate=unit.rate * (1 - self.spread.lost(unit.engine)))
            if (unit.engine.index, batch) in chosen and unit.rate is not None
            else unit
            for unit, batch in pairs
        )
        return replace(self.model, draft=replace(draft, units=units))

    def _exclude_case(self, deployment: Deployment, floor: Floor, sides: Sides, hit: frozenset[Place]) -> None:
        """Some unit that adds to the measure in the case must grow, or one that takes from it shrink."""
        worths = net_worth(self._lowered(hit), floor.measure, sides)
        grow = [index for index, worth in enumerate(worths) if worth > 0]
        self._move(deployment, grow, [index for index, worth in enumerate(worths) if worth < 0])
