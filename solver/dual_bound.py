"""
An exact upper bound on a measure from multipliers of what workloads share (Lagrangian duality).

For multipliers of at least zero every deployment is worth at most sum of multiplier x limit + sum over workloads of the
most that the workload can be worth alone, when it pays for what it takes. Each of these is found in whole numbers,
with whole replicas, the choice of one way, and one engine a role where that is asked for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solver.column import Column
from solver.cover import Cover, Item
from solver.instance import Instance, Workload
from solver.measure import Measure
from solver.resources import Resource, prices_of

MOST_HALVINGS = 200
"""Intervals of flow that are halved for one way to serve a workload."""

MOST_POOLS = 3
"""Pools beyond which a flow that is not given is priced without whole replicas: with more, mixing hides their size."""
MOST_PLANS = 6
"""Plans of a workload that a bound names, the best that were met."""

PROOF = "dual bound"
"""Names the proof of an optimum that such a bound meets."""

Multipliers = tuple[tuple[Resource, Fraction], ...]


@dataclass(frozen=True)
class Offer:
    """
    One way to serve a workload, paid for.

    Parameters
    ----------
    covers
        For each role what carries a flow. With ``hybrid`` one entry holds all items, see :func:`offers_of`.
    gain
        Worth of a unit of flow, before paying.
    least, most
        Flows that are looked at, in whole units: demand to cap.
    whole
        Whether replicas are whole; else only the slopes of the covers count.
    slope
        Least price of a unit of flow through all roles.
    """

    covers: tuple[Cover, ...]
    gain: int
    least: int
    most: int
    whole: bool
    slope: Fraction

    def price(self, flow: int) -> int:
        """What a flow costs at least."""
        if self.whole:
            return sum(cover.price(flow) for cover in self.covers)
        return math.floor(self.slope * flow)

    def straight(self, low: int, high: int) -> int:
        """The most that a flow from one to another is worth without whole replicas."""
        net = self.gain - self.slope
        return math.floor(net * (high if net > 0 else low))

    def above(self, low: int, high: int) -> int:
        """The most that a flow from one to another is worth at most: the gain of the higher, the price of the lower."""
        return min(self.gain * high - self.price(low), self.straight(low, high))

    def best(self) -> tuple[int, list[int]]:
        """
        The most that any flow is worth, from above, and the flows of the best plans met.

        Flows are whole numbers here, so intervals are halved until the highest bound is that of a plan.
        """
        flow = self.most if self.gain > self.slope else self.least
        if not self.whole:
            return self.straight(self.least, self.most), [flow]
        known = self.gain * flow - self.price(flow)
        met = [(known, flow)]
        parts = [(-self.above(self.least, self.most), self.least, self.most)]
        for _ in range(MOST_HALVINGS):
            top, low, high = parts[0]
            if -top <= known or low == high:
                break
            heapq.heappop(parts)
            middle = (low + high) // 2
            met.append((self.gain * middle - self.price(middle), middle))
            known = max(known, met[-1][0])
            for part in ((low, middle), (middle + 1, high)):
                heapq.heappush(parts, (-self.above(*part), *part))
        return -parts[0][0], [flow for _, flow in heapq.nlargest(MOST_PLANS, met)]


@dataclass(frozen=True)
class Alone:
    """
    What a workload is worth at most when it pays for what it takes.

    Parameters
    ----------
    worth
        At most so much, in the measure.
    column_worth
        The same for plans that use a column, by place of the column.
    plans
        Replicas by column of plans that are worth so much or nearly, the best first.
    """

    worth: Fraction
    column_worth: Mapping[int, Fraction]
    plans: tuple[Mapping[int, int], ...]


@dataclass(frozen=True)
class DualBound:
    """
    A bound, and all that is needed to compute it again.

    Parameters
    ----------
    measure
        What is bounded.
    multipliers
        Rows with their multipliers.
    alone
        Workload name to what it is worth alone.
    value
        The bound on the measure.
    """

    measure: Measure
    multipliers: Multipliers
    alone: Mapping[str, Alone]
    value: Fraction

    def with_column(self, place: int, workload: str) -> Fraction:
        """The bound for deployments that use a column."""
        mine = self.alone[workload]
        return self.value - mine.worth + mine.column_worth[place]

    def as_dict(self) -> dict[str, Any]:
        """The certificate in a result file: numbers as ``num/den``, in units of the measure."""
        return {
            "weights": {name: str(value) for name, value in self.measure.weights.items()},
            "prices": {name: str(value) for name, value in self.measure.prices.items()},
            "multipliers": [{**row.key, "multiplier": str(value)} for row, value in self.multipliers],
            "workloads": {name: str(alone.worth) for name, alone in self.alone.items()},
            "value": str(self.value),
        }


def dual_bound(
    instance: Instance, columns: Sequence[Column], measure: Measure, multipliers: Multipliers, most: Fraction
) -> DualBound:
    """
    The bound of some multipliers, exactly.

    Parameters
    ----------
    instance, columns
        The instance, and what its deployments may use.
    measure
        What is bounded.
    multipliers
        Any numbers of at least zero; they decide how close the bound is, never whether it holds.
    most
        A number that no workload's flow exceeds, in requests/s.
    """
    alone = {w.name: _alone(instance, w, columns, measure, multipliers, most) for w in instance.workloads}
    shared = sum((value * row.limit for row, value in multipliers), Fraction(0))
    return DualBound(measure, multipliers, alone, shared + sum((a.worth for a in alone.values()), Fraction(0)))


def _alone(
    instance: Instance,
    workload: Workload,
    columns: Sequence[Column],
    measure: Measure,
    multipliers: Multipliers,
    most: Fraction,
) -> Alone:
    places = [place for place, column in enumerate(columns) if column.engine.workload.name == workload.name]
    prices = {p: prices_of(columns[p].engine, measure.prices, multipliers) for p in places}
    offers, unit = offers_of(instance, workload, {p: columns[p] for p in places}, prices, measure, most)
    none = None if workload.requests_per_s is not None else 0
    found = _best_of(offers)
    worth = max((value for value in (none, found and found[0]) if value is not None), default=0)
    plans = [] if found is None else [_plan(found[2], flow) for flow in found[1]]
    using = {} if instance.serving.hybrid else _using(offers, instance.serving.engines_per_role == 1)
    return Alone(
        Fraction(worth, unit), {p: Fraction(using.get(p, worth)) / unit for p in places}, tuple(filter(None, plans))
    )


def _plan(offer: Offer, flow: int) -> dict[int, int]:
    """The replicas that carry a flow, by column; none where no replicas carry so much."""
    parts = [cover.plan(flow)[1] for cover in offer.covers]
    return {place: count for part in parts for place, count in part.items()} if all(parts) else {}


def _best_of(offers: Sequence[Offer]) -> tuple[int, list[int], Offer] | None:
    """The highest of the offers' bounds, with its flows; one that cannot be the highest is not looked into."""
    found: tuple[int, list[int], Offer] | None = None
    for offer in sorted(offers, key=lambda offer: -offer.straight(offer.least, offer.most)):
        if found is None or offer.straight(offer.least, offer.most) > found[0]:
            best = offer.best()
            found = (*best, offer) if found is None or best[0] > found[0] else found
    return found


def offers_of(
    instance: Instance,
    workload: Workload,
    columns: Mapping[int, Column],
    prices: Mapping[int, Fraction],
    measure: Measure,
    most: Fraction,
) -> tuple[list[Offer], int]:
    """
    The ways to serve a workload in whole numbers, and how many of these make one of the measure.

    With ``hybrid`` a workload may take two ways at once; its flow then costs at least the slope of the cheaper one, so
    each way stands alone without whole replicas.
    """
    gain = measure.weights.get(workload.name, Fraction(0))
    low = workload.requests_per_s or Fraction(0)
    high = most if workload.max_requests_per_s is None else min(most, workload.max_requests_per_s)
    high = max(low, high) if gain else low
    rate_unit = math.lcm(low.denominator, high.denominator, *(c.requests_per_s.denominator for c in columns.values()))
    unit = math.lcm(rate_unit * gain.denominator, *(price.denominator for price in prices.values()))
    alone = instance.serving.engines_per_role == 1
    whole = not instance.serving.hybrid and (not gain or len(instance.pools) <= MOST_POOLS)

    def cover(role: str, joint: tuple[str, ...] | None) -> Cover | None:
        items = [
            Item(p, int(prices[p] * unit), int(c.requests_per_s * rate_unit), c.engine.pool.name, c.most)
            for p, c in columns.items()
            if c.role == role and (joint is None or c.engine.joint == joint)
        ]
        return Cover(items, alone, not gain) if items else None

    offers = []
    joints = sorted({c.engine.joint for c in columns.values() if c.role == "prefill"})
    ways = [[cover(role, joint) for role in workload.roles("disaggregated")] for joint in joints]
    ways.append([cover("colocated", None)])
    for way in ways:
        covers = tuple(part for part in way if part is not None)
        if len(covers) == len(way):
            slope = sum((part.slope for part in covers), Fraction(0))
            bounds = int(low * rate_unit), int(high * rate_unit)
            offers.append(Offer(covers, int(gain * unit / rate_unit), *bounds, whole, slope))
    return offers, unit


def _using(offers: Sequence[Offer], alone: bool) -> dict[int, Fraction]:
    """
    For each column the most that plans with a replica of it are worth, without whole replicas elsewhere.

    One replica of the column is paid for; what else its role needs is carried by the cheapest items that may run beside
    it. With ``hybrid`` that may be any way's, so it does not hold there.
    """
    found: dict[int, Fraction] = {}
    for offer in offers:
        for cover in offer.covers:
            rest = offer.slope - cover.slope
            for item in cover.items:
                beside = [i for i in cover.items if i is item or not alone or i.pool != item.pool]
                slope = min(Fraction(i.price, i.rate) for i in beside)
                net = offer.gain - rest - slope
                worth = net * (offer.most if net > 0 else offer.least) - (item.price - slope * item.rate)
                found[item.column] = max(found.get(item.column, worth), worth)
    return found
