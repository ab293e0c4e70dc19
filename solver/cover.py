"""The cheapest replicas that carry a flow through one role: an integer covering problem, by depth-first search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd

MOST_NODES = (200, 5000)
"""Nodes of one search, and of one where only a single flow is asked for; beyond, the answer is a bound."""


@dataclass(frozen=True)
class Item:
    """
    A column as the search sees it, in whole units of price and rate.

    Parameters
    ----------
    column
        Its place among the columns.
    price, rate
        Of one replica; the rate is positive.
    pool
        Name of its pool.
    most
        Most replicas.
    """

    column: int
    price: int
    rate: int
    pool: str
    most: int


@dataclass
class Cover:
    """
    Prices of flows through one role of one way.

    Parameters
    ----------
    items
        What may run.
    alone
        Whether at most one item of a pool may run (one engine per role); else any may be mixed.
    single
        Whether only a single flow will be asked for, so that its search may take longer.
    """

    items: Sequence[Item]
    alone: bool
    single: bool = False
    _known: dict[int, tuple[int, dict[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.items = sorted(self.items, key=lambda item: (Fraction(item.price, item.rate), item.price))
        self._step = gcd(*(item.price for item in self.items)) or 1
        self._cheapest = min(item.price for item in self.items)

    @property
    def slope(self) -> Fraction:
        """The least price of a unit of flow."""
        return Fraction(self.items[0].price, self.items[0].rate)

    def price(self, flow: int) -> int:
        """A price that no replicas carrying the flow go below, one replica at least; the least price as a rule."""
        return self.plan(flow)[0]

    def plan(self, flow: int) -> tuple[int, dict[int, int]]:
        """The price, and the best replicas met by column; they cost more where only a bound on the price is known."""
        if flow not in self._known:
            self._known[flow] = _Search(self, flow).run()
        return self._known[flow]

    def least(self, flow: int, place: int) -> int:
        """What a flow costs at least with items from a place on, in whole steps of the prices."""
        item = self.items[place]
        step = item.rate * self._step
        return -(-flow * item.price // step) * self._step


class _Search:
    """One search: by falling efficiency, the most replicas first, cut off by the price without whole replicas."""

    def __init__(self, cover: Cover, flow: int) -> None:
        self.cover, self.flow, self.nodes = cover, flow, 0
        self.most = MOST_NODES[cover.single]
        self.best: int | None = None
        self.plan: dict[int, int] = {}

    def run(self) -> tuple[int, dict[int, int]]:
        """Price and replicas."""
        for item in self.cover.items:
            count = max(1, -(-self.flow // item.rate))
            if count <= item.most and (self.best is None or count * item.price < self.best):
                self.best, self.plan = count * item.price, {item.column: count}
        if self.best is None or self.cover.least(self.flow, 0) < self.best:
            self._go(0, self.flow, 0, {}, frozenset())
        floor = max(self.cover.least(self.flow, 0), self.cover._cheapest)
        if self.best is None or self.nodes > self.most:  # stopped, or no replicas carry so much
            return floor, self.plan
        return self.best, self.plan

    def _go(self, first: int, left: int, paid: int, chosen: dict[int, int], pools: frozenset[str]) -> None:
        items, cover = self.cover.items, self.cover
        for place in range(first, len(items)):
            item = items[place]
            if self.best is not None and paid + cover.least(left, place) >= self.best:
                return
            if item.pool in pools:
                continue
            following = place + 1 < len(items)
            for count in range(min(-(-left // item.rate), item.most), 0, -1):
                self.nodes += 1
                if self.nodes > self.most:
                    return
                rest, price = left - count * item.rate, paid + count * item.price
                if rest <= 0:
                    if self.best is None or price < self.best:
                        self.best, self.plan = price, {**chosen, item.column: count}
                    continue
                if not following or (self.best is not None and price + cover.least(rest, place + 1) >= self.best):
                    break
                used = pools | {item.pool} if cover.alone else pools
                self._go(place + 1, rest, price, {**chosen, item.column: count}, used)
