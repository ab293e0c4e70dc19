"""The exact step: a relaxed integer model, exact evaluation, and rows that close what rounding opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import pulp

from solver.backends.base import Answer, Backend
from solver.clock import Clock, Stopped
from solver.deployment import Deployment
from solver.formulation.milp import Milp
from solver.formulation.plan_model import PlanModel
from solver.formulation.unit import total
from solver.measure import Floor, Measure, Sides, all_sides, bottlenecks, demand_of, floor_row, net_worth, order

Verdict = Literal["optimal", "feasible", "infeasible", "unknown"]

WIDE = 512
"""Replicas of one point beyond which a search climbs by its objective from a hint, and keeps the bounds it sees."""


@dataclass(frozen=True)
class Optimum:
    """
    The outcome of one stage.

    Parameters
    ----------
    verdict
        ``optimal``: the deployment is best and that is proved. ``feasible``: a limit came first.
        ``infeasible``: proved that there is none. ``unknown``: a limit came before any.
    deployment
        The best found.
    value
        Its exact measure.
    bound
        A proved bound on the measure; equal to ``value`` where optimal.
    proof
        The model whose infeasibility or optimum is the proof, or a word where there is none.
    """

    verdict: Verdict
    deployment: Deployment | None
    value: Fraction | None
    bound: Fraction | None
    proof: Milp | str

    @property
    def model_hash(self) -> str:
        """Hash of the model of the proof."""
        return self.proof if isinstance(self.proof, str) else self.proof.digest()


class Search:
    """
    Optimises measures over one model, exactly.

    Every solution of the back end is evaluated in rational arithmetic. A requirement that the relaxed model missed is
    added as a row over replicas (:func:`solver.measure.floor_row`); where even that row, rounded, is met, the
    bottleneck itself is excluded: some limiting unit must grow, or some hindering one shrink. Both kinds of row are
    implied by the requirement, so an infeasible model is a proof.

    Parameters
    ----------
    model
        A model of the ``points`` formulation; rows are added to it.
    backend
        A back end whose proofs are exact.
    clock
        Time and controls.
    second
        Another such back end, or the same one differently set, that must agree before infeasibility counts as proved;
        None to trust the first.
    sides
        Combinations of limiting roles that earlier searches met; their rows are added from the start, and new ones
        are noted.
    """

    def __init__(
        self,
        model: PlanModel,
        backend: Backend,
        clock: Clock,
        second: Backend | None = None,
        sides: set[Sides] | None = None,
    ) -> None:
        self.model = model
        self.backend = backend
        self.clock = clock
        self.second = second
        self.floors: list[Floor] = []
        self._rows = 0
        self._known: set[tuple[int, Sides]] = set()
        self._wide = any(unit.most > WIDE for unit in model.draft.units)
        self._hint: dict[str, Fraction] | None = None
        self._least: Fraction | None = None
        self._sides = set() if sides is None else sides
        self._sides.update(all_sides(model.instance))
        for workload in model.instance.workloads:
            if workload.requests_per_s is not None:
                self.require(Floor(demand_of(model.instance, workload), workload.requests_per_s))

    def require(self, floor: Floor) -> None:
        """Adds a requirement that every further deployment meets."""
        self.floors.append(floor)
        unlimited: Sides = tuple((workload.name, None) for workload in self.model.instance.workloads)
        for sides in sorted(self._sides, key=order) if floor.measure.weights else [unlimited]:
            self._add_row(len(self.floors) - 1, sides)

    def maximise(self, measure: Measure, start: Deployment | None = None) -> Optimum:
        """
        The best deployment under the requirements, with a proof.

        Parameters
        ----------
        measure
            What to maximise. On return a row asks for more than the optimum; use a fresh search for another stage.
        start
            A deployment known to meet the requirements: the first solve asks for a better one.
        """
        best, bound = start, None
        try:
            if best is not None and not self._wide:
                self.require(Floor(measure, measure.of(best), strict=True))
                self.model.maximise(total([]))
                better, _ = self._solve()
                if better is None:
                    return self._proved(best, measure)
                best = better
            self._start_from(best)
            self.model.maximise(measure.objective(self.model))
            found, answer = self._solve()
            if found is None:
                if best is not None and self._wide:  # no row asks for more than the start: the back end is wrong
                    return Optimum("feasible", best, measure.of(best), None, self.model.milp)
                none = Optimum("infeasible", None, None, None, self.model.milp)
                return none if best is None else self._proved(best, measure)
            best = found if best is None or measure.of(found) >= measure.of(best) else best
            self._start_from(best)
            if answer.bound is not None:
                bound = answer.bound / self.model.scaling.unit
            closed = answer.status == "optimal" and bound is not None and bound <= measure.of(best)
            if closed and (self.second is None or self._agreed(measure.of(best))):
                return self._proved(best, measure)
            if answer.status != "optimal" or self._within_gap(bound, measure.of(best)):
                return Optimum("feasible", best, measure.of(best), bound, self.model.milp)
            while True:
                self._hint = None  # it breaks the row that asks for more
                self.require(Floor(measure, measure.of(best), strict=True))
                self.model.maximise(measure.objective(self.model) if self._wide else total([]))
                better, _ = self._solve()
                if better is None:
                    return self._proved(best, measure)
                best = better
        except (Stopped, KeyboardInterrupt) as reason:
            self.clock.stopped(reason)
            value = None if best is None else measure.of(best)
            if value is not None and self._least is not None:
                seen = max(self._least, value)  # later rows ask for more than the best: what beats it stays below
                bound = seen if bound is None else min(bound, seen)
            return Optimum("unknown" if best is None else "feasible", best, value, bound, self.model.milp)

    def _agreed(self, value: Fraction) -> bool:
        """
        Whether the second back end, too, finds nothing above a value in a wide model.

        There a row that asks for more takes both long to refute; the objective, with a hint at its optimum, does not.
        """
        if not self._wide or self.second is None:
            return False
        self.clock.solves += 1
        answer = self.second.solve(self.model.milp, self.clock.remaining(), self._hint)
        self.clock.interrupted |= answer.raw_status.endswith("interrupted")
        return (
            answer.status == "optimal" and answer.bound is not None and answer.bound <= value * self.model.scaling.unit
        )

    def _start_from(self, best: Deployment | None) -> None:
        """In a wide model the next solve starts near a deployment."""
        if self._wide and best is not None:
            now = {(a.engine.index, a.batch): a.replicas for a in best.assignments}
            pairs = zip(self.model.draft.units, self._replicas(now), strict=True)
            self._hint = {unit.replicas.name: Fraction(count) for unit, count in pairs}

    def _proved(self, best: Deployment, measure: Measure) -> Optimum:
        value = measure.of(best)
        return Optimum("optimal", best, value, value, self.model.milp)

    def _within_gap(self, bound: Fraction | None, value: Fraction) -> bool:
        """Whether the run may stop here, by its ``gap``."""
        gap = self.clock.controls.gap
        return gap > 0 and bound is not None and abs(bound - value) <= Fraction(gap) * abs(value)

    def relaxed(self, measure: Measure) -> Deployment | None:
        """A good deployment without a proof, or None when there is none at all."""
        self.model.maximise(measure.objective(self.model))
        return self._solve()[0]

    def lexicographic(self, indices: Sequence[int]) -> Deployment:
        """
        Fixes units at the lexicographically largest replicas that the requirements allow; returns a deployment.

        Raises
        ------
        Stopped
            When a limit came before the proof.
        """
        units = [self.model.draft.units[index] for index in indices]
        terms, weight = [], 1
        for unit in reversed(units):
            terms.append(weight * unit.replicas)
            weight *= unit.most + 1
        self.model.maximise(total(terms))
        deployment, answer = self._solve()
        if deployment is None or answer.values is None or answer.status != "optimal":
            raise Stopped
        for unit in units:
            replicas = int(answer.values[unit.replicas.name])
            unit.replicas.lowBound = unit.replicas.upBound = replicas
        return deployment

    def find(self) -> Optimum:
        """Any deployment that meets the requirements, or the proof that there is none."""
        try:
            self.model.maximise(total([]))
            found, _ = self._solve()
        except (Stopped, KeyboardInterrupt) as reason:
            self.clock.stopped(reason)
            return Optimum("unknown", None, None, None, self.model.milp)
        return Optimum("infeasible" if found is None else "feasible", found, None, None, self.model.milp)

    def _solve(self) -> tuple[Deployment | None, Answer]:
        """
        A solution that truly meets all requirements; None when there is none.

        Raises
        ------
        Stopped
            When a limit or an interrupt came first.
        """
        while True:
            self.clock.solves += 1
            answer = self.backend.solve(self.model.milp, self.clock.remaining(), self._hint)
            self.clock.interrupted |= answer.raw_status.endswith("interrupted")
            if answer.bound is not None and self.model.milp.problem.objective:
                seen = answer.bound / self.model.scaling.unit
                self._least = seen if self._least is None else min(self._least, seen)
            if answer.status == "infeasible" and self.second is not None:
                answer = self.second.solve(self.model.milp, self.clock.remaining())
            if answer.status == "infeasible":
                return None, answer
            if answer.values is None:
                raise Stopped
            deployment = Deployment.of(self.model.instance, self.model.read(answer.values))
            if not self._repair(deployment):
                return deployment, answer
            if answer.status != "optimal" and self.model.milp.problem.objective:
                raise Stopped

    def _repair(self, deployment: Deployment) -> bool:
        """Adds rows for the first requirement that the deployment misses; False when it meets all."""
        for index, floor in enumerate(self.floors):
            if not floor.holds(deployment):
                sides = bottlenecks(deployment)
                if floor.measure.weights:
                    self._sides.add(sides)
                if not self._add_row(index, sides):
                    self._exclude(deployment, floor, sides)
                return True
        return self._repair_covers(deployment) or self._repair_budget(deployment)

    def _add_row(self, index: int, sides: Sides) -> bool:
        """Adds the row of a floor for some limiting roles; False when it is there already."""
        if (index, sides) in self._known:
            return False
        self._known.add((index, sides))
        self._add("floor", floor_row(self.model, self.floors[index], sides))
        return True

    def _add(self, kind: str, row: pulp.LpConstraint) -> None:
        self._rows += 1
        self.model.draft.add(f"E_{kind}{self._rows}", row)

    def _exclude(self, deployment: Deployment, floor: Floor, sides: Sides) -> None:
        """Some unit that adds to the measure must grow, or one that takes from it shrink."""
        worths = list(enumerate(net_worth(self.model, floor.measure, sides)))
        grow = [index for index, worth in worths if worth > 0 or self._opens_links(index, sides)]
        self._move(deployment, grow, [index for index, worth in worths if worth < 0])

    def _opens_links(self, index: int, sides: Sides) -> bool:
        """Whether a unit may bring links into use that a cut counts: with it another way is taken."""
        unit = self.model.draft.units[index]
        side = dict(sides)[unit.engine.workload.name]
        return unit.role != "colocated" and side is not None and bool(side.links)

    def _repair_covers(self, deployment: Deployment) -> bool:
        serving = self.model.instance.serving
        if not serving.decode_covers:
            return False
        for workload in self.model.instance.workloads:
            prefill, decode = (deployment.capacity(workload, role) for role in ("prefill", "decode"))
            if workload.osl > 1 and prefill > (1 + serving.tolerance) * decode:
                mine = [(i, u) for i, u in enumerate(self.model.draft.units) if u.engine.workload is workload]
                grow = [i for i, u in mine if u.role == "decode"]
                self._move(deployment, grow, [i for i, u in mine if u.role == "prefill"])
                return True
        return False

    def _repair_budget(self, deployment: Deployment) -> bool:
        budget = self.model.instance.budget
        over_usd = budget.usd_per_hour is not None and (deployment.usd_per_hour or 0) > budget.usd_per_hour
        over_watts = budget.watts is not None and (deployment.watts or 0) > budget.watts
        if not (over_usd or over_watts):
            return False
        self._move(deployment, [], list(range(len(self.model.draft.units))))
        return True

    def _move(self, deployment: Deployment, grow: list[int], shrink: list[int]) -> None:
        """At least one of some units has more replicas than now, or one of others fewer."""
        now = {(a.engine.index, a.batch): a.replicas for a in deployment.assignments}
        current = dict(zip(range(len(self.model.draft.units)), self._replicas(now), strict=True))
        moves = []
        for index in grow:
            unit = self.model.draft.units[index]
            if current[index] < unit.most:
                moves.append(binary := self._binary("up", index))
                self._add("more", unit.replicas >= (current[index] + 1) * binary)
        for index in shrink:
            unit = self.model.draft.units[index]
            if current[index] > 0:
                moves.append(binary := self._binary("down", index))
                self._add("less", unit.replicas <= unit.most - (unit.most - current[index] + 1) * binary)
        self._add("move", total(moves) >= 1)

    def _binary(self, kind: str, index: int) -> pulp.LpVariable:
        return pulp.LpVariable(f"{kind}{self._rows}_n{index}", 0, 1, pulp.LpInteger)

    def _replicas(self, now: dict[tuple[int, int], int | Fraction]) -> list[int]:
        batches = self.model.batches
        units = self.model.draft.units
        return [int(now.get((u.engine.index, b), 0)) for u, b in zip(units, batches, strict=True)]
