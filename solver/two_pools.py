"""One workload on two pools: the GPUs of both divided between prefill and decode, in integers."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from costmodels.operating_curve import Role
from solver.balanced import common_unit
from solver.columns import Candidates, Footprint
from solver.deployment import Deployment
from solver.instance import Instance, Pool
from solver.pair_arrays import WIDEST, Integers
from solver.points import scaled_limit
from solver.profiles import fits

PROOF = "two pools"
"""Names the proof of :class:`TwoPools` in the points of a frontier."""
MOST_CELLS = 2**18
"""Most divisions (GPUs of the first pool x GPUs of the second) that are looked at."""
Joint = tuple[str, ...]
"""What engines of a deployment agree in; empty where they run co-located."""
Key = tuple[Role, int, Joint]


@dataclass(frozen=True)
class Source:
    """A point that may be replicated on one pool: its place in the table, GPUs and rate of a replica, most replicas."""

    point: int
    gpus: int
    rate: int
    most: int

    def carried(self, size: int) -> Integers:
        """Rate with 0, 1, 2, ... GPUs."""
        return np.minimum(np.arange(size) // self.gpus, self.most) * self.rate


@dataclass(frozen=True)
class Split:
    """GPUs of each pool for the first role (or co-located), and for the second; keys that say how much that costs."""

    joint: Joint
    first: tuple[int, int]
    second: tuple[int, int]
    key: int


class TwoPools:
    """
    The best deployment at TPOT limits of an instance with one workload on two pools, for throughput.

    Parameters
    ----------
    instance, candidates
        The instance and its points, with dominance; :meth:`covers` must hold.

    Notes
    -----
    With one engine per pool and role, a role carries at most R(x, y) = R_1(x) + R_2(y) with x and y GPUs of the two
    pools, R_h(x) being the largest of rate x floor(x / GPUs of a replica) over the points there within the limit (of a
    footprint the fastest: rule 1 of dominance). A disaggregated plan gives some x and y to prefill and leaves at most
    the rest to decode, its engines agreeing in backend and KV format, so it carries no more than

        max over x, y of min(P(x, y), D(G_1 - x, G_2 - y)),

    and a co-located one no more than C(G_1, G_2). The fewest GPUs, then USD, with which a flow v may be carried are the
    least sum over x, y with P(x, y) >= v and x', y' with D(x', y') >= v, x + x' <= G_1, y + y' <= G_2. All are looked
    at. What is left out is the packing of groups, so these are bounds; a deployment that reaches them and packs, by the
    nested family of C4, is proved. Where it does not pack a solver decides.
    """

    def __init__(self, instance: Instance, candidates: Candidates) -> None:
        self._instance, self._candidates = instance, candidates
        self._workload = instance.workloads[0]
        self._unit = common_unit(instance, candidates)
        self._sizes = tuple((pool.gpus or 0) + 1 for pool in instance.pools)
        self._keys = self._costs()
        fastest = max((self._rate(f, f.points[-1]) for f in candidates.footprints if f.points), default=0)
        self.is_ready = fastest * sum(self._sizes) < WIDEST and sum(self._sizes) * max(self._prices()) < WIDEST

    @staticmethod
    def covers(instance: Instance, candidates: Candidates) -> bool:
        """Whether an instance has the form that the proof asks for."""
        serving, budget = instance.serving, instance.budget
        if len(instance.pools) != 2 or len(instance.workloads) != 1 or instance.is_unlimited:
            return False
        workload = instance.workloads[0]
        bounded = serving.min_replicas or serving.max_replicas or serving.decode_covers
        spending = budget.usd_per_hour is not None or budget.watts is not None or budget.count_idle
        both = serving.hybrid and len(serving.modes) > 1
        free = not (bounded or spending or both or instance.limits_handover) and serving.engines_per_role == 1
        small = math.prod((pool.gpus or 0) + 1 for pool in instance.pools) <= MOST_CELLS
        timed = workload.e2el_ms is None and workload.osl > 1
        return candidates.dominance and free and small and timed and instance.objective == "throughput"

    def best(self, limit: Fraction | None, tightest: bool = False) -> Deployment | bool:
        """As :meth:`solver.profiles.Profiles.best`."""
        del tightest
        within = None if limit is None else scaled_limit(limit, self._candidates.table)
        sources = self._sources(within)
        modes = self._instance.serving.modes
        found = {joint for role, _, joint in sources if role == "prefill"}
        joints = sorted(found) if "disaggregated" in modes else []
        ways = [
            (joint, self._grid(sources, "prefill", joint), self._grid(sources, "decode", joint)) for joint in joints
        ]
        alone = self._grid(sources, "colocated", ()) if "colocated" in modes else None
        flows = [int(np.minimum(first, second[::-1, ::-1]).max()) for _, first, second in ways]
        value = max([*flows, 0 if alone is None else int(alone[-1, -1])], default=0)
        cap, demand = self._workload.max_requests_per_s, self._workload.requests_per_s or Fraction(0)
        value = value if cap is None else min(value, int(cap * self._unit))
        if not value or value < demand * self._unit:
            return False
        splits = [split for way in ways if (split := self._divided(*way, value))]
        if alone is not None and (split := self._alone(alone, value)):
            splits.append(split)
        return self._deployed(min(splits, key=lambda split: split.key), sources, value)

    def _rate(self, footprint: Footprint, point: int) -> int:
        table = self._candidates.table
        share = self._instance.utilization(self._workload, footprint.role)
        return int(table.rate[point]) * int(share * (self._unit // table.rate_scale))

    def _prices(self) -> list[int]:
        """GPUs first, then USD, as one whole number for a GPU of each pool."""
        usd = [pool.usd_per_gpu_hour or Fraction(0) for pool in self._instance.pools]
        if any(pool.usd_per_gpu_hour is None for pool in self._instance.pools):
            usd = [Fraction(0)] * len(usd)
        scale = math.lcm(*(price.denominator for price in usd))
        most = 1 + sum(int(price * scale) * size for price, size in zip(usd, self._sizes, strict=True))
        return [most + int(price * scale) for price in usd]

    def _costs(self) -> Integers:
        """The key of every (GPUs of the first pool, GPUs of the second)."""
        first, second = self._prices()
        costs: Integers = np.add.outer(np.arange(self._sizes[0]) * first, np.arange(self._sizes[1]) * second)
        return costs

    def _sources(self, within: int | None) -> dict[Key, list[Source]]:
        """The fastest point of every footprint within a limit, by role, pool and what it must agree in."""
        found: dict[Key, list[Source]] = {}
        pools = [pool.name for pool in self._instance.pools]
        for footprint in self._candidates.footprints:
            engine, role = footprint.engine, footprint.role
            free = role == "prefill" or within is None
            count = len(footprint.points) if free else bisect_right(footprint.times, within or 0)
            if count and engine.most_replicas:
                point = footprint.points[count - 1]
                source = Source(point, engine.curve.partition.gpus, self._rate(footprint, point), engine.most_replicas)
                key = (role, pools.index(engine.pool.name), () if role == "colocated" else engine.joint)
                found.setdefault(key, []).append(source)
        return found

    def _grid(self, sources: dict[Key, list[Source]], role: Role, joint: Joint) -> Integers:
        """The largest rate of a role with every (GPUs of the first pool, GPUs of the second)."""
        parts = []
        for pool, size in enumerate(self._sizes):
            rates = [source.carried(size) for source in sources.get((role, pool, joint), [])]
            parts.append(np.maximum.reduce(rates) if rates else np.zeros(size, dtype=np.int64))
        grid: Integers = np.add.outer(*parts)
        return grid

    def _divided(self, joint: Joint, first: Integers, second: Integers, flow: int) -> Split | None:
        """The cheapest division that carries a flow disaggregated."""
        none = WIDEST
        paid = np.where(first >= flow, self._keys, none)
        rest = np.where(second >= flow, self._keys, none)
        least = np.minimum.accumulate(np.minimum.accumulate(rest, axis=0), axis=1)[::-1, ::-1]
        whole = np.where((paid < none) & (least < none), paid + np.minimum(least, none), none)
        key = int(whole.min())
        if key >= none:
            return None
        x, y = (int(i) for i in np.unravel_index(int(whole.argmin()), whole.shape))
        left = rest[: self._sizes[0] - x, : self._sizes[1] - y]
        u, v = (int(i) for i in np.unravel_index(int(left.argmin()), left.shape))
        return Split(joint, (x, y), (u, v), key)

    def _alone(self, grid: Integers, flow: int) -> Split | None:
        """The cheapest GPUs that carry a flow co-located."""
        paid = np.where(grid >= flow, self._keys, WIDEST)
        key = int(paid.min())
        x, y = (int(i) for i in np.unravel_index(int(paid.argmin()), paid.shape))
        return None if key >= WIDEST else Split((), (x, y), (0, 0), key)

    def _deployed(self, split: Split, sources: dict[Key, list[Source]], flow: int) -> Deployment | bool:
        """The deployment of a division; True where it does not fit or is not what was computed."""
        table, chosen = self._candidates.table, []
        roles: list[tuple[Role, tuple[int, int]]] = [("prefill", split.first), ("decode", split.second)]
        if not split.joint:
            roles = [("colocated", split.first)]
        for role, gpus in roles:
            for pool, count in enumerate(gpus):
                if count:
                    best = max(sources[role, pool, split.joint], key=lambda s: min(count // s.gpus, s.most) * s.rate)
                    engine = table.engines[table.engine[best.point]]
                    chosen.append((engine, int(table.batch[best.point]), min(count // best.gpus, best.most)))
        found = Deployment.of(self._instance, chosen)
        pools: tuple[Pool, ...] = self._instance.pools
        same = found.flow(self._workload) == Fraction(flow, self._unit)
        used = found.gpus_used == sum((*split.first, *split.second))
        return found if same and used and all(fits(found, pool) for pool in pools) else True
