"""Branch and bound whose every leaf is bounded exactly: closes what the relaxation leaves open."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count

import pulp

from solver.backends.relaxation import Relaxation, Relaxed
from solver.formulation.milp import Milp
from solver.scheduling.bound import Bound

WHOLE = 1e-6
"""Distance up to which a float counts as a whole number; guides, never decides."""

NEAR = Fraction(1, 10**11)
"""Relative distance from the best value within which parts are left alone where values are no whole numbers; the bound
says so."""


@dataclass(order=True)
class Node:
    """A part of the solutions: bounds that are tighter than the model's, and the bound of its parent."""

    bound: Fraction
    number: int
    low: dict[int, int] = field(compare=False)
    high: dict[int, int] = field(compare=False)


class Tree:
    """
    The search, best bound first.

    Parameters
    ----------
    milp
        The model; minimised.
    found
        Called with the values of every whole solution of a relaxation; gives the exact value that it turned out to
        have, in units of the model, or None where it does not hold.
    """

    def __init__(self, milp: Milp, found: Callable[[Mapping[str, Fraction]], Fraction | None]) -> None:
        self.exact = Bound(milp)
        self.names = list(self.exact.place)
        self.whole = {v.name for v in milp.problem.variables() if v.cat == pulp.LpInteger}
        self.relaxation = Relaxation(milp)
        self.found = found
        self.best: Fraction | None = None
        self.nodes = 0
        self._tightened: set[int] = set()
        self._numbers = count()
        self._open = [Node(self.exact.of({}, {}, {}), next(self._numbers), {}, {})]
        self._closed: Fraction | None = None
        self.root: Relaxed | None = None

    def start(self, time_limit_s: float | None = None) -> None:
        """Solves the relaxation of the whole; its exact bound then stands."""
        self.root = self._next(time_limit_s)

    def _next(self, time_limit_s: float | None) -> Relaxed | None:
        """Looks at the open part with the least bound; whatever stops that, the part stays open."""
        node = heapq.heappop(self._open)
        if self._enough(node.bound):
            self._close(node.bound)
            return None
        before = (list(self._open), self._closed)
        try:
            return self._visit(node, time_limit_s)
        except BaseException:
            self._open, self._closed = before
            heapq.heappush(self._open, node)
            raise

    @property
    def is_empty(self) -> bool:
        """Whether it is proved that there is no solution at all."""
        return not self._open and self._closed is None

    @property
    def bound(self) -> Fraction | None:
        """No solution is below; None where there is none."""
        ends = [node.bound for node in self._open[:1]] + ([self._closed] if self._closed is not None else [])
        return min(ends, default=None)

    def improve(
        self,
        stop: Callable[[Fraction | None, Fraction | None], bool],
        left: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Goes on until nothing is open below the best value, or ``stop(best, bound)`` says so; ``left()`` seconds."""
        while self._open and not stop(self.best, self.bound):
            self._next(left())

    def _enough(self, bound: Fraction) -> bool:
        """Whether nothing better can lie above a bound; where values are no whole numbers, nothing that is seen."""
        if self.best is None:
            return False
        return bound >= (self.best if self.exact.is_whole else self.best - abs(self.best) * NEAR)

    def _close(self, bound: Fraction) -> None:
        self._closed = bound if self._closed is None else min(self._closed, bound)

    def _visit(self, node: Node, time_limit_s: float | None) -> Relaxed:
        self._set(node)
        relaxed = self.relaxation.solve(time_limit_s)
        self.nodes += 1
        if not relaxed.feasible:
            if relaxed.multipliers and self.exact.proves_empty(relaxed.multipliers, node.low, node.high):
                return relaxed
            self._split_anywhere(node)
            return relaxed
        bound = max(node.bound, self.exact.of(relaxed.multipliers, node.low, node.high))
        place = self._fractional(relaxed.values)
        if place is None:
            rounded = {
                name: Fraction(round(x)) if name in self.whole else Fraction(x) for name, x in relaxed.values.items()
            }
            value = self.found(rounded)
            if value is not None and (self.best is None or value < self.best):
                self.best = value
            if self._enough(bound) or (value is not None and not self.exact.is_whole):
                self._close(bound)
            else:
                self._split_anywhere(Node(bound, node.number, node.low, node.high))
            return relaxed
        if self._enough(bound):
            self._close(bound)
        else:
            self._split(node, bound, place, math.floor(relaxed.values[self.names[place]]))
        return relaxed

    def _set(self, node: Node) -> None:
        wanted = node.low.keys() | node.high.keys()
        for place in self._tightened | wanted:
            low = node.low.get(place, self.exact.low[place])
            high = node.high.get(place, self.exact.high[place])
            self.relaxation.bound(self.names[place], low, high)
        self._tightened = set(wanted)

    def _fractional(self, values: Mapping[str, float]) -> int | None:
        """The variable to branch on: choices first, then the most fractional."""
        best: tuple[int, float] | None = None
        chosen = None
        for name, x in values.items():
            off = abs(x - round(x))
            if off > WHOLE and name in self.whole:
                rank = (0 if name[0] in "um" else 1, -off)
                if best is None or rank < best:
                    best, chosen = rank, self.exact.place[name]
        return chosen

    def _split(self, node: Node, bound: Fraction, place: int, below: int) -> None:
        for low, high in (
            (node.low, {**node.high, place: below}),
            ({**node.low, place: below + 1}, node.high),
        ):
            heapq.heappush(self._open, Node(bound, next(self._numbers), low, high))

    def _split_anywhere(self, node: Node) -> None:
        """Nothing is proved of a node: halve the widest variable; a node without freedom is closed by its bound."""
        widths = (
            (node.high.get(p, self.exact.high[p]) - node.low.get(p, self.exact.low[p]), p)
            for p, name in enumerate(self.names)
            if name in self.whole
        )
        width, place = max(widths, default=(0, 0))
        if width <= 0:
            self._close(node.bound)
            return
        self._split(
            node,
            node.bound,
            place,
            (node.high.get(place, self.exact.high[place]) + node.low.get(place, self.exact.low[place])) // 2,
        )
