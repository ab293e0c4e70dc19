"""The lexicographic stages: objective, tokens/s, GPUs, USD, TPOT, TTFT, canonical order; each one proved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from costmodels.operating_curve import Role
from solver.backends.base import Backend, BackendError
from solver.clock import Clock, Stopped
from solver.columns import NO_LIMITS, Candidates, Column, Limits
from solver.deployment import Deployment
from solver.dual_bound import PROOF
from solver.formulation.plan_model import PlanModel
from solver.formulation.points import build_points
from solver.instance import Instance
from solver.measure import Floor, Measure, Sides, fewest_gpus, least_cost, objective_of, per_gpu, throughput, tokens
from solver.optimise import Optimum, Search

LARGEST_RANK = 2**30
"""Plans that one solve ranks by canonical order; larger weights slow the search."""


@dataclass(frozen=True)
class Staged:
    """
    The outcome of the stages.

    Parameters
    ----------
    objective
        The outcome of the first stage, in units of its measure.
    deployment
        The deployment after the last stage that was finished.
    value, bound
        The instance's objective (tokens/s, tokens/s per GPU, GPUs or USD/hour), and a proved bound on it.
    proved
        Names of the stages that were proved.
    columns
        Number of columns of the first model.
    dual
        The certificate of a dual bound, where one was computed.
    """

    objective: Optimum
    deployment: Deployment | None
    value: Fraction | None
    bound: Fraction | None
    proved: tuple[str, ...]
    columns: int
    dual: Mapping[str, Any] | None = None


class Stages:
    """
    Runs the stages of one instance at any latency limits.

    Parameters
    ----------
    instance
        The instance.
    candidates
        Its points.
    backend
        A back end whose proofs are exact.
    clock
        Time and controls.
    must_serve
        Whether every workload must be served.
    second
        A second back end that must agree on the bound of the objective, or None.
    known
        A bound on the measure of the objective that is proved already, or None.
    """

    def __init__(
        self,
        instance: Instance,
        candidates: Candidates,
        backend: Backend,
        clock: Clock,
        must_serve: bool = False,
        second: Backend | None = None,
        known: Fraction | None = None,
    ) -> None:
        self.instance = instance
        self.known = known
        self.candidates = candidates
        self.backend = backend
        self.clock = clock
        self.must_serve = must_serve
        self.second = second
        self._sides: set[Sides] = set()
        self._largest_weight = max(throughput(instance)[0].weights.values())

    def run(self, limits: Limits = NO_LIMITS, *, last: str = "canonical", start: Deployment | None = None) -> Staged:
        """
        Optimises at the given limits.

        Parameters
        ----------
        limits
            Latency limits on top of the workloads' own.
        last
            The last stage: ``objective``, ``gpus`` or ``canonical``.
        start
            A deployment known to be feasible at the limits.
        """
        columns = self.candidates.columns(limits)
        first, floor = self._objective(columns, start)
        if first.deployment is None:
            return Staged(first, None, None, None, (), len(columns))
        value = first.deployment.objective
        bound = value if first.verdict == "optimal" else self._bound(first)
        staged = Staged(first, first.deployment, value, bound, (), len(columns))
        if first.verdict != "optimal":
            return staged
        staged = replace(staged, proved=("objective",))
        if last == "objective":
            return staged
        staged, floors = self._measures(staged, columns, [floor])
        if last == "gpus" or "usd" not in staged.proved:
            return staged
        return self._latencies(staged, floors, limits)

    def refine(self, deployment: Deployment, value: Fraction, limits: Limits) -> Deployment:
        """The stages tokens/s, GPUs and USD at the given limits, for a deployment whose objective is proved."""
        measure = objective_of(self.instance, deployment)
        floor = Floor(measure, measure.of(deployment))
        staged = Staged(Optimum("optimal", deployment, None, None, ""), deployment, value, value, ("objective",), 0)
        return self._measures(staged, self.candidates.columns(limits), [floor])[0].deployment or deployment

    def search(self, columns: tuple[Column, ...], floors: list[Floor], second: Backend | None = None) -> Search:
        """A search over fresh rows; ``second`` must agree on what is infeasible, where given."""
        asked = max((abs(floor.value) for floor in floors if floor.measure.weights), default=Fraction(0))
        reach = asked / self._largest_weight
        search = Search(self.build(columns, reach), self.backend, self.clock, second, self._sides)
        for floor in floors:
            search.require(floor)
        return search

    def build(self, columns: tuple[Column, ...], reach: Fraction = Fraction(0)) -> PlanModel:
        """The relaxed integer model over the given columns; ``reach`` as in :func:`build_points`."""
        return build_points(
            self.instance,
            columns,
            segments=self.candidates.table.rate_step,
            must_serve=self.must_serve,
            coarse=True,
            reach=reach,
        )

    def quantum(self) -> Fraction:
        """Step of the flow grid of the first model, in requests/s."""
        scaling = self.build(self.candidates.columns()).scaling
        return scaling.flow_step / scaling.unit

    def _objective(self, columns: tuple[Column, ...], start: Deployment | None) -> tuple[Optimum, Floor]:
        if self.instance.objective == "throughput_per_gpu":
            return self._ratio(columns, start)
        measure = objective_of(self.instance)
        if start is not None and self.known is not None and self.known == measure.of(start):
            found = Optimum("optimal", start, self.known, self.known, PROOF)
        else:
            found = self._bounded(self.search(columns, [], self.second).maximise(measure, start))
        return found, Floor(measure, found.value or Fraction(0))

    def _bounded(self, found: Optimum) -> Optimum:
        """
        The outcome of a search with the bound that was known before, where that is the lower one.

        Raises
        ------
        ArithmeticError
            When a deployment beats that bound: one of the two is computed wrongly.
        """
        if self.known is None or found.deployment is None or found.value is None:
            return found
        if found.value > self.known:
            raise ArithmeticError(f"a deployment worth {found.value} beats the bound {self.known}")
        if found.verdict != "optimal" and found.value == self.known:
            return Optimum("optimal", found.deployment, found.value, found.value, PROOF)
        bound = self.known if found.bound is None else min(found.bound, self.known)
        return found if found.verdict == "optimal" else replace(found, bound=bound)

    def _ratio(self, columns: tuple[Column, ...], start: Deployment | None) -> tuple[Optimum, Floor]:
        """Dinkelbach: maximise tokens/s - ratio x GPUs until nothing beats the ratio of the best deployment."""
        weights = throughput(self.instance)[0]
        best = start
        try:
            best = best or self.search(columns, [], self.second).relaxed(weights)
            if best is None:
                empty = self.build(columns).milp
                return Optimum("infeasible", None, None, None, empty), Floor(weights, Fraction(0))
            while True:
                beaten = self.search(columns, []).relaxed(per_gpu(best))
                if beaten is None or per_gpu(best).of(beaten) <= 0:
                    break
                best = beaten
            while True:
                proof = self.search(columns, [Floor(per_gpu(best), Fraction(0), strict=True)], self.second).find()
                if proof.verdict == "infeasible":
                    zero = Fraction(0)
                    return Optimum("optimal", best, zero, zero, proof.proof), Floor(per_gpu(best), zero)
                if proof.deployment is None:
                    raise Stopped
                best = proof.deployment
        except (Stopped, KeyboardInterrupt) as reason:
            self.clock.stopped(reason)
            verdict = "unknown" if best is None else "feasible"
            return Optimum(verdict, best, None, None, ""), Floor(weights, Fraction(0))  # type: ignore[arg-type]

    def _bound(self, found: Optimum) -> Fraction | None:
        if found.bound is None:
            return None
        match self.instance.objective:
            case "throughput":
                return found.bound * throughput(self.instance)[1]
            case "throughput_per_gpu":
                return None
            case _:
                return -found.bound

    def _measures(self, staged: Staged, columns: tuple[Column, ...], floors: list[Floor]) -> tuple[Staged, list[Floor]]:
        """The stages tokens/s, GPUs and USD; those that cannot differ any more are skipped."""
        weights = {workload.weight for workload in self.instance.workloads}
        same_tokens = self.instance.objective == "throughput" and len(weights) == 1
        prices = {pool.usd_per_gpu_hour for pool in self.instance.pools}
        stages: list[tuple[str, Measure, bool]] = [
            ("tokens", tokens(self.instance), same_tokens),
            ("gpus", fewest_gpus(self.instance), self.instance.objective == "gpus"),
            ("usd", least_cost(self.instance), len(prices) == 1 or None in prices),
        ]
        for name, measure, settled in stages:
            known = staged.deployment
            if name == "gpus" and not settled and known is not None and self._are_fewest(columns, known):
                floors = [*floors, Floor(measure, measure.of(known))]
            elif not settled:
                found = self._attempted(columns, floors, measure)
                if found.verdict != "optimal" or found.deployment is None:
                    return staged, floors
                floors = [*floors, Floor(measure, found.value or Fraction(0))]
                staged = replace(staged, deployment=found.deployment)
            staged = replace(staged, proved=(*staged.proved, name))
        return staged, floors

    def _are_fewest(self, columns: tuple[Column, ...], deployment: Deployment) -> bool:
        """
        Whether no plan can carry the flow with fewer GPUs, by a bound that needs no solve.

        One workload of flow X takes at least X x the fewest GPUs per request/s of any way to serve it: of a co-located
        point, or of a prefill and a decode point together.
        """
        if len(self.instance.workloads) > 1:
            return False
        workload = self.instance.workloads[0]
        cheapest: dict[Role, Fraction] = {}
        for column in columns:
            share = column.gpus / column.requests_per_s
            cheapest[column.role] = min(cheapest.get(column.role, share), share)
        ways = [workload.roles(mode) for mode in self.instance.serving.modes]
        costs = [sum(cheapest[role] for role in roles) for roles in ways if all(role in cheapest for role in roles)]
        return bool(costs) and deployment.gpus_used == math.ceil(min(costs) * deployment.flow(workload))

    def _attempted(self, columns: tuple[Column, ...], floors: list[Floor], measure: Measure) -> Optimum:
        """A later stage; a back end that fails on it leaves the earlier ones standing."""
        try:
            return self.search(columns, floors).maximise(measure)
        except BackendError:
            return Optimum("unknown", None, None, None, "")

    def _latencies(self, staged: Staged, floors: list[Floor], limits: Limits) -> Staged:
        """The stages TPOT, TTFT and canonical order."""
        deployment = staged.deployment
        assert deployment is not None
        try:
            if deployment.tpot_ms is not None:
                tpot = self._tightest(deployment, floors, limits, "tpot_ms", self.candidates.tpot_levels())
                deployment, limits = tpot
                staged = replace(staged, deployment=deployment, proved=(*staged.proved, "tpot"))
            deployment, limits = self._tightest(deployment, floors, limits, "ttft_ms", self.candidates.ttft_levels())
            staged = replace(staged, deployment=deployment, proved=(*staged.proved, "ttft"))
            deployment = self._canonical(deployment, floors, limits)
            return replace(staged, deployment=deployment, proved=(*staged.proved, "canonical"))
        except (Stopped, BackendError, KeyboardInterrupt) as reason:
            self.clock.stopped(reason)
            return staged

    def _tightest(
        self, best: Deployment, floors: list[Floor], limits: Limits, key: str, levels: list[Fraction]
    ) -> tuple[Deployment, Limits]:
        """The smallest latency at which the floors still hold, by bisection over the levels that occur."""
        worst: Callable[[Deployment], Fraction] = lambda deployment: getattr(deployment, key)  # noqa: E731
        low, high = 0, levels.index(worst(best))
        while low < high:
            middle = (low + high) // 2
            found = self.search(self.candidates.columns(self._capped(limits, key, levels[middle])), floors).find()
            if found.deployment is not None:
                best, high = found.deployment, levels.index(worst(found.deployment))
            elif found.verdict == "infeasible":
                low = middle + 1
            else:
                raise Stopped
        return best, self._capped(limits, key, levels[high])

    def _capped(self, limits: Limits, key: str, limit: Fraction) -> Limits:
        old: Mapping[str, Fraction] = getattr(limits, key)
        new = {w.name: min(limit, old.get(w.name, limit)) for w in self.instance.workloads}
        return replace(limits, **{key: new})

    def _canonical(self, best: Deployment, floors: list[Floor], limits: Limits) -> Deployment:
        """Of equal plans the one with the most replicas of the first column, then of the second, and so on."""
        columns = self.candidates.columns(limits)
        search = self.search(columns, floors)
        for indices in _chunks([column.most for column in columns]):
            best = search.lexicographic(indices)
            known = {(columns[i].engine.index, columns[i].batch) for i in range(indices[-1] + 1)}
            if all((a.engine.index, a.batch) in known for a in best.assignments):
                break  # all GPUs stand in the columns settled; more replicas elsewhere would be more GPUs
        return best


def _chunks(most: list[int]) -> list[list[int]]:
    """Positions in runs whose replica vectors can be numbered with 30 bits."""
    chunks: list[list[int]] = []
    size = LARGEST_RANK
    for index, bound in enumerate(most):
        size *= bound + 1
        if size > LARGEST_RANK:
            chunks.append([])
            size = bound + 1
        chunks[-1].append(index)
    return chunks
