"""One workload on one pool: the optimum at every TPOT limit by comparing balanced pairs of points, in integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from solver.balanced import arrays_of, common_unit, one_pool
from solver.columns import Candidates
from solver.deployment import Assignment, Deployment
from solver.instance import Instance
from solver.pair_arrays import MOST_GPUS, Integers, Selected
from solver.points import scaled_limit

PROOF = "balanced pairs"
"""Names the proof of :class:`Pairs` in the points of a frontier."""


class Pairs:
    """
    The best deployment at every TPOT limit of an instance with one workload on one pool.

    Parameters
    ----------
    instance, candidates
        The instance and its points, with dominance; :meth:`covers` must hold.

    Notes
    -----
    *What is compared.* With one engine per role a disaggregated plan is a prefill point with m replicas of rate p and a
    decode point with n replicas of rate d; it carries X = min(p m, d n). Where X = d n, m need not be more than
    ceil(d n / p); where X = p m, n need not be more than ceil(p m / d). Dropping the replicas beyond that changes no
    rate, no latency and takes GPUs and stage groups away, so the plan stays feasible (there is no lower bound on
    replicas here) and is no worse in any objective. So of each pair of points only the *balanced* plans
    (ceil(d n / p), n) and (m, ceil(p m / d)) can be needed, and a co-located plan is a point with n replicas.

    *Points.* Within a footprint a plan's decode point may be swapped for the point of the staircase that is no slower
    and has no less rate, and its prefill point for the fastest that the limits leave beside that decode point (rule 1
    of the dominance proof). So each decode point of a staircase meets one prefill point of each footprint.

    *Room.* Both kinds of balanced plan take more of everything as n or m grows, so the largest that fits is found by
    bisection. GPUs, stage groups and budget are linear in m and n: the nested family of C4, which is exact where the
    two group sizes divide one another (or one is larger than a domain). Where they do not, it is necessary still: the
    value is then a bound, and a solver decides.

    *Fewest GPUs.* A flow of v takes at least ceil(v / d) and ceil(v / p) replicas, and no more of anything than any
    other plan of the pair that carries v.

    All numbers are integers: rates in a common unit, latencies as in the table. The value of a deployment is computed
    again from its curves in rationals and must be the same.
    """

    def __init__(self, instance: Instance, candidates: Candidates) -> None:
        self._instance = instance
        self._candidates = candidates
        self._workload = instance.workloads[0]
        self._assignments: dict[tuple[int, int], Assignment] = {}
        self._unit = common_unit(instance, candidates)
        self._worth = self._workload.weight * self._workload.osl / Fraction(self._unit)
        self._demand = int((self._workload.requests_per_s or 0) * self._unit)
        self._arrays = arrays_of(instance, candidates, self._workload, instance.serving.modes, self._unit)
        self._late = self._arrays.latency
        self._running = None if instance.objective == "throughput_per_gpu" else self._values()

    @staticmethod
    def covers(instance: Instance, candidates: Candidates) -> bool:
        """Whether an instance has the form that the proof asks for."""
        both = instance.serving.hybrid and len(instance.serving.modes) > 1
        return one_pool(instance, candidates) and len(instance.workloads) == 1 and not both

    def best(self, limit: Fraction | None, tightest: bool) -> Deployment | bool:
        """
        The best deployment at a TPOT limit: by objective, then tokens/s, then fewest GPUs.

        Parameters
        ----------
        limit
            The limit in ms, or None.
        tightest
            Whether it shall be the best at the smallest limit at which the objective is still the same.

        Returns
        -------
        Deployment or bool
            The deployment, proved; False: proved that there is none; True: there may be one, but this cannot tell.
        """
        within = None if limit is None else scaled_limit(limit, self._candidates.table)
        if self._running is None:
            return self._deployed(self._arrays.best_ratio(self._arrays.active(within), self._demand))
        values, late = self._running
        last = len(late) if within is None else int(np.searchsorted(late, within, side="right"))
        value = int(values[last - 1]) if last else 0
        if not value:
            return False
        if tightest:
            within = int(late[int(np.searchsorted(values, value, side="left"))])
        active = self._arrays.active(within)
        if self._instance.objective == "throughput":
            return self._deployed(self._arrays.fewest(active, value))
        return self._deployed(self._arrays.most_flow(active, MOST_GPUS - value, self._demand))

    def _values(self) -> tuple[Integers, Integers]:
        """The optimum at each latency, ascending: flow, or ``MOST_GPUS`` minus GPUs; 0 where there is no plan."""
        every = np.arange(len(self._late))
        if self._instance.objective == "throughput":
            values = self._arrays.largest_flow(every)
            values[values < max(self._demand, 1)] = 0
        else:
            values = self._arrays.fewest_gpus(every, self._demand)
        order = np.argsort(self._late, kind="stable")
        return self._arrays.running_best(values[order]), self._late[order]

    def _deployed(self, chosen: Selected | None) -> Deployment | bool:
        if chosen is None:
            return False
        if not chosen.is_exact:
            return True
        parts = [(chosen.point, chosen.replicas), (chosen.mate, chosen.mate_replicas)]
        plan = [self._assignment(point, replicas) for point, replicas in parts if replicas]
        found = Deployment(self._instance, tuple(sorted(plan, key=lambda a: a.engine.index)))
        return found if (found.objective, found.gpus_used) == (self._objective(chosen), chosen.gpus) else True

    def _assignment(self, point: int, replicas: int) -> Assignment:
        """The same object for the same replicas: it remembers its point, which several deployments share."""
        known = self._assignments.get((point, replicas))
        if known is None:
            table = self._candidates.table
            known = Assignment(table.engines[table.engine[point]], int(table.batch[point]), replicas)
            self._assignments[point, replicas] = known
        return known

    def _objective(self, chosen: Selected) -> Fraction:
        tokens = self._worth * chosen.flow
        match self._instance.objective:
            case "throughput":
                return tokens
            case "throughput_per_gpu":
                return tokens / chosen.gpus
            case "gpus":
                return Fraction(chosen.gpus)
            case "cost":
                return chosen.gpus * (self._instance.pools[0].usd_per_gpu_hour or Fraction(0))
