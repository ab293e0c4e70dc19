"""
The MILP of a plan that survives (family C9), in integers.

With blocks b (nodes or domains) of B_b GPUs and x_kb replicas of point k in block b, n_k = sum over b of x_kb:

* sum over k of g_k x_kb <= B_b (a replica stands inside one block, so C3 and C4 follow);
* for each workload with a demand d and each role that limits its flow (the co-located one counted in),
  L_b = sum of r_k x_kb is what is lost with block b. After the worst loss of K blocks is left

      sum over b of L_b - (the K largest L_b) >= d,
      the K largest L_b = min over t of K t + sum over b of max(L_b - t, 0),

  which with whole t >= 0 and e_b >= L_b - t, e_b >= 0 is: sum L_b - K t - sum e_b >= d. The minimum is reached at the
  K-th largest L_b, a whole number, so the rows say exactly that. Few losses are written out one by one instead.

Rates, demands and prices are multiplied by their common denominators, so nothing is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations, pairwise

import pulp

from costmodels.operating_curve import Role
from solver.columns import Column
from solver.deployment import Block, Deployment
from solver.formulation.milp import Milp
from solver.formulation.plan_model import whole_weights
from solver.formulation.unit import Linear, total
from solver.instance import Instance, Mode, Pool, Survive, Workload

MOST_LOSSES = 300
"""Losses that are written out one by one for each workload and role; of more, the largest are bounded."""


@dataclass(frozen=True)
class Place:
    """A block: its pool, its number there, and its GPUs."""

    pool: Pool
    index: int
    gpus: int


def places_of(instance: Instance, survive: Survive) -> list[Place]:
    """The blocks of all pools; the last one of a pool may be partial."""
    found = []
    for pool in instance.pools:
        size, gpus = survive.block_gpus(pool), pool.gpus or 0
        found += [Place(pool, index, min(size, gpus - index * size)) for index in range(-(-gpus // size))]
    return found


class SurvivalModel:
    """
    Builds the model over some columns, whose replicas fit into a block.

    Parameters
    ----------
    instance, survive
        The instance, and the loss.
    columns
        The points that may be used.
    """

    def __init__(self, instance: Instance, survive: Survive, columns: tuple[Column, ...]) -> None:
        self.instance, self.survive, self.columns = instance, survive, columns
        self.places = places_of(instance, survive)
        self.problem = pulp.LpProblem("survive", pulp.LpMaximize)
        self.milp = Milp(self.problem)
        self._rows = 0
        self.standing: dict[tuple[int, int], pulp.LpVariable] = {
            (k, b): self._whole(f"x{k}_b{b}", place.gpus // column.gpus)
            for k, column in enumerate(columns)
            for b, place in enumerate(self.places)
            if column.engine.pool is place.pool and column.gpus <= place.gpus
        }
        self.replicas = [total(v for (j, _), v in self.standing.items() if j == k) for k in range(len(columns))]
        self.used = [self._whole(f"u{k}", 1) for k in range(len(columns))]
        self.flow = {w.name: self._whole(f"X_w{i}", self._most_flow(w)) for i, w in enumerate(instance.workloads)}
        self._room()
        self._choice()
        for workload in instance.workloads:
            self._serve(workload)
        self._budgets()

    @cached_property
    def scale(self) -> int:
        """Rates and demands in requests/s times this are whole."""
        rates = [column.requests_per_s for column in self.columns]
        asked = [r for w in self.instance.workloads for r in (w.requests_per_s, w.max_requests_per_s) if r is not None]
        return math.lcm(*(rate.denominator for rate in (*rates, *asked)))

    @property
    def tokens(self) -> Linear:
        """Weighted tokens/s in whole units."""
        weights = whole_weights(self.instance.workloads, weighted=True)[0]
        return total(int(weights[name]) * flow for name, flow in self.flow.items())

    def spent(self, prices: Mapping[str, Fraction]) -> tuple[Linear, int]:
        """What the GPUs used cost at some prices per pool in whole units, and how many of these are one."""
        scale = math.lcm(*(price.denominator for price in prices.values()))
        terms = (
            int(prices[column.engine.pool.name] * scale) * column.gpus * n
            for column, n in zip(self.columns, self.replicas, strict=True)
        )
        return total(terms), scale

    def read(self, values: Mapping[str, Fraction]) -> Deployment:
        """The plan with its blocks."""
        counts = {key: int(values.get(v.name, Fraction(0))) for key, v in self.standing.items()}
        chosen = []
        for k, column in enumerate(self.columns):
            n = sum(count for (j, _), count in counts.items() if j == k)
            if n:
                chosen.append((column.engine, column.batch, n))
        blocks = []
        for b, place in enumerate(self.places):
            here = tuple(
                (c.engine.index, c.batch, counts[k, b]) for k, c in enumerate(self.columns) if counts.get((k, b))
            )
            if here:
                blocks.append(Block(place.pool.name, place.index, place.gpus, here))
        plan = Deployment.of(self.instance, chosen)
        return Deployment(self.instance, plan.assignments, tuple(blocks))

    def add(self, family: str, row: pulp.LpConstraint) -> None:
        """Adds a row of a family."""
        self._rows += 1
        self.problem.addConstraint(row, f"{family}_{self._rows}")

    def _whole(self, name: str, most: int) -> pulp.LpVariable:
        return pulp.LpVariable(name, 0, most, pulp.LpInteger)

    def _rate(self, k: int) -> int:
        return int(self.columns[k].requests_per_s * self.scale)

    def _most_flow(self, workload: Workload) -> int:
        mine = [(c, self._rate(k)) for k, c in enumerate(self.columns) if c.engine.workload is workload]
        most = sum(rate * c.most for c, rate in mine)
        cap = workload.max_requests_per_s
        return most if cap is None else min(most, int(cap * self.scale))

    def _room(self) -> None:
        """C3, C4: replicas fit into their blocks. Blocks of one size are alike: they are filled in falling order."""
        loads = [
            total(c.gpus * self.standing[k, b] for k, c in enumerate(self.columns) if (k, b) in self.standing)
            for b in range(len(self.places))
        ]
        for load, place in zip(loads, self.places, strict=True):
            self.add("C3_block", load <= place.gpus)
        for (a, first), (b, second) in pairwise(enumerate(self.places)):
            if first.pool is second.pool and first.gpus == second.gpus:
                self.add("C3_order", loads[a] >= loads[b])

    def _choice(self) -> None:
        """C5: a point in use has replicas; one batch an engine, and so many engines per workload, pool and role."""
        limit = self.instance.serving.engines_per_role
        engines: dict[int, list[int]] = {}
        roles: dict[tuple[str, str, Role], list[int]] = {}
        for k, column in enumerate(self.columns):
            self.add("C5_used", self.replicas[k] <= column.most * self.used[k])
            self.add("C5_some", self.replicas[k] >= self.used[k])
            engines.setdefault(column.engine.index, []).append(k)
            place = (column.engine.workload.name, column.engine.pool.name, column.role)
            roles.setdefault(place, []).append(k)
        for points in engines.values():
            self.add("C5_point", total(self.used[k] for k in points) <= 1)
        for points in roles.values():
            if limit is not None:
                self.add("C5_engines", total(self.used[k] for k in points) <= limit)

    def _serve(self, workload: Workload) -> None:
        """C1, C2, C7, C8 and C9 of one workload."""
        mine = [k for k, column in enumerate(self.columns) if column.engine.workload is workload]
        ways = self._ways(workload, mine)
        both = self.instance.serving.hybrid
        joined = [way for mode, way in ways if mode == "disaggregated"]
        self.add("C2_mode", total(joined if both else [way for _, way in ways]) <= 1)
        self._end_to_end(workload, mine)
        self._replica_bounds(workload, mine)
        roles: tuple[Role, ...] = workload.roles("disaggregated")
        for role in roles:
            passing = [k for k in mine if self.columns[k].role in (role, "colocated")]
            flow = total(self._rate(k) * self.replicas[k] for k in passing)
            self.add("C1_flow", self.flow[workload.name] <= flow)
            if workload.requests_per_s is not None:
                self._keep(workload.requests_per_s, passing)
        if workload.requests_per_s is not None:
            demand = int(workload.requests_per_s * self.scale)
            self.add("C8_demand", self.flow[workload.name] >= demand)

    def _ways(self, workload: Workload, mine: list[int]) -> list[tuple[Mode, pulp.LpVariable]]:
        """C2: ways to serve a workload; a point needs its way, a way that is taken every role."""
        found: list[tuple[Mode, pulp.LpVariable]] = []
        needed: dict[int, list[pulp.LpVariable]] = {k: [] for k in mine}
        for mode in self.instance.serving.modes:
            for joint in sorted({self.columns[k].engine.joint for k in mine}) if mode == "disaggregated" else [()]:
                way = self._whole(f"m{self._rows}", 1)
                roles = workload.roles(mode)
                for role in roles:
                    points = [
                        k for k in mine if self.columns[k].role == role and joint in ((), self.columns[k].engine.joint)
                    ]
                    self.add("C2_role", total(self.used[k] for k in points) >= way)
                    for k in points:
                        needed[k].append(way)
                found.append((mode, way))
        for k, some in needed.items():
            self.add("C2_way", self.used[k] <= total(some))
        return found

    def _end_to_end(self, workload: Workload, mine: list[int]) -> None:
        """C2: a prefill and a decode point whose end-to-end time is above the limit are not in use together."""
        limit, steps = workload.e2el_ms, workload.osl - 1
        for a, b in self._pairs(mine) if limit is not None else ():
            first, second = self.columns[a], self.columns[b]
            if limit is not None and first.ttft_ms + steps * second.latency_ms > limit:
                self.add("C2_e2e", self.used[a] + self.used[b] <= 1)

    def _pairs(self, mine: list[int]) -> Iterator[tuple[int, int]]:
        for a in mine:
            if self.columns[a].role == "prefill":
                yield from ((a, b) for b in mine if self.columns[b].role == "decode")

    def _replica_bounds(self, workload: Workload, mine: list[int]) -> None:
        """C7: bounds on replicas of a role, the lower one where the role is in use."""
        serving = self.instance.serving
        for role in ("prefill", "decode", "colocated"):
            points = [k for k in mine if self.columns[k].role == role]
            replicas = total(self.replicas[k] for k in points)
            least = serving.min_replicas.get((workload.name, role), 0)
            most = serving.max_replicas.get((workload.name, role))
            for k in points if least > 1 else ():
                self.add("C7_min", replicas >= least * self.used[k])
            if most is not None:
                self.add("C7_max", replicas <= most)

    def _keep(self, demand: Fraction, passing: list[int]) -> None:
        """C9: what passes a role after the worst loss still carries the demand."""
        lost = []
        for b in range(len(self.places)):
            here = [(self._rate(k), self.standing[k, b]) for k in passing if (k, b) in self.standing]
            if here:
                lost.append((total(rate * x for rate, x in here), sum(int(rate * x.upBound) for rate, x in here)))
        whole, asked = total(loss for loss, _ in lost), int(demand * self.scale)
        size = min(self.survive.lost, len(lost))
        if math.comb(len(lost), size) <= MOST_LOSSES:
            for some in combinations([loss for loss, _ in lost], size):
                self.add("C9_keep", whole - total(some) >= asked)
            return
        widest = max((most for _, most in lost), default=0)
        number = self._rows
        edge = self._whole(f"t{number}", widest)
        beyond = []
        for b, (loss, most) in enumerate(lost):
            beyond.append(self._whole(f"e{number}_{b}", most))
            self.add("C9_beyond", beyond[-1] >= loss - edge)
        self.add("C9_keep", whole - self.survive.lost * edge - total(beyond) >= asked)

    def _budgets(self) -> None:
        """C7: USD per hour and watts."""
        budget = self.instance.budget
        for limit, key in ((budget.usd_per_hour, "usd_per_gpu_hour"), (budget.watts, "watts_per_gpu")):
            if limit is None:
                continue
            prices: dict[str, Fraction] = {pool.name: getattr(pool, key) or Fraction(0) for pool in self.instance.pools}
            if budget.count_idle:
                idle = sum((prices[pool.name] * (pool.gpus or 0) for pool in self.instance.pools), Fraction(0))
                self.add("C7_idle", total(self.used) <= (0 if idle > limit else len(self.used)))
            else:
                spent, scale = self.spent(prices)
                self.add("C7_budget", spent <= math.floor(limit * scale))
