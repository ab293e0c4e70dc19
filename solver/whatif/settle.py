"""The optimum at one position of an axis, proved: by comparison in integers where that covers it, else by a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from solver import pairs, profiles, two_pools
from solver.backends.cpsat import CpSat
from solver.clock import Clock, Stopped
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.engines import CostModel, EngineSet, engines_of
from solver.frontier_points import PROOFS
from solver.hint import holds
from solver.instance import Instance
from solver.pairs import Pairs
from solver.points import PointTable, points_of, within
from solver.profiles import Profiles
from solver.stages import Stages
from solver.two_pools import TwoPools
from solver.whatif.axes import Axis


@dataclass(frozen=True)
class Settled:
    """
    What is proved at a position.

    Parameters
    ----------
    value
        The optimum of the instance's objective; None where it is infeasible.
    deployment
        A deployment that reaches it.
    proof
        Who proved that there is nothing better, or nothing at all.
    """

    value: Fraction | None
    deployment: Deployment | None
    proof: str


class Settler:
    """
    Settles positions of one axis, on engines and points that are priced once.

    Parameters
    ----------
    axis
        The axis; not one of lengths, which change the engines.
    loosest
        The loosest position that will be asked for: its points are those of every other position, and more.
    model
        The cost model.
    clock
        Time and controls.
    said
        Called with the number of positions that were asked.

    Notes
    -----
    More GPUs offer more partitions, looser limits leave more points, and nothing else of a curve depends on an axis. So
    the points of a position are those of the loosest one that its own limits and pools let through.
    """

    def __init__(
        self, axis: Axis, loosest: Fraction, model: CostModel, clock: Clock, said: Callable[[int], None]
    ) -> None:
        self.axis = axis
        self.asked = 0
        self._said = said
        self.clock = clock
        base = axis.at(loosest)
        self.is_minimised = base.is_minimised
        self._engines = engines_of(base, model)
        self._table = points_of(base, self._engines, thin=True)

    @property
    def engines(self) -> EngineSet:
        """The engines of the loosest position."""
        return self._engines

    @cached_property
    def step(self) -> Fraction:
        """The axis's step on these points."""
        return self.axis.step(self._table)

    def world(self, instance: Instance) -> tuple[EngineSet, PointTable]:
        """The engines and points of a changed instance."""
        engines = tuple(
            replace(engine, workload=instance.workload(engine.workload.name), pool=instance.pool(engine.pool.name))
            for engine in self._engines.engines
        )
        return replace(self._engines, engines=engines), within(instance, replace(self._table, engines=engines))

    def at(self, position: Fraction, known: Sequence[Deployment] = ()) -> Settled:
        """
        The optimum at a position.

        Parameters
        ----------
        position
            The position.
        known
            Deployments that stand there.

        Raises
        ------
        Stopped
            When a limit or an interrupt came first.
        """
        self.clock.remaining()
        self.asked += 1
        self._said(self.asked)
        instance = self.axis.at(position)
        engines, table = self.world(instance)
        candidates = Candidates(instance, engines, table)
        found, proof = _compared(instance, candidates)
        if isinstance(found, Deployment):
            return Settled(found.objective, found, proof)
        if not found:
            return Settled(None, None, proof)
        start = max((moved(d, instance, engines) for d in known), key=lambda d: _worth(d), default=None)
        stages = Stages(instance, candidates, CpSat(), self.clock, second=CpSat(presolve=True))
        staged = stages.run(last="gpus", start=start)
        self.clock.remaining()
        if staged.objective.verdict not in ("optimal", "infeasible"):
            raise Stopped
        return Settled(staged.value, staged.deployment, f"cp-sat on model {staged.objective.model_hash}")

    def stands(self, deployment: Deployment, position: Fraction, value: Fraction) -> bool:
        """Whether the independent verifier finds a deployment feasible at a position, with a value."""
        instance = self.axis.at(position)
        engines, _ = self.world(instance)
        there = moved(deployment, instance, engines)
        return there.objective == value and holds(there, engines)


def moved(deployment: Deployment, instance: Instance, engines: EngineSet) -> Deployment:
    """The same replicas in a changed instance."""
    chosen = ((engines.engines[a.engine.index], a.batch, int(a.replicas)) for a in deployment.assignments)
    return Deployment.of(instance, chosen)


def _worth(deployment: Deployment) -> Fraction:
    return -deployment.objective if deployment.instance.is_minimised else deployment.objective


def _compared(instance: Instance, candidates: Candidates) -> tuple[Deployment | bool, str]:
    """
    What comparing pairs in integers says, and the name of that proof: a deployment, False for none, True for unknown.
    """
    every = [workload.name for workload in instance.workloads]
    if Pairs.covers(instance, candidates):
        return Pairs(instance, candidates).best(None, tightest=True), PROOFS[pairs.PROOF]
    if Profiles.covers(instance, candidates):
        divided = Profiles(instance, candidates, every, must_serve=False)
        return (divided.best(None) if divided.is_ready else True), PROOFS[profiles.PROOF]
    if TwoPools.covers(instance, candidates):
        both = TwoPools(instance, candidates)
        return (both.best(None, tightest=True) if both.is_ready else True), PROOFS[two_pools.PROOF]
    return True, ""
