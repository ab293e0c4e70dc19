"""A price under objective ``cost``: the least cost is concave and piecewise linear, and its corners are exact."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from solver.clock import Stopped
from solver.deployment import Deployment
from solver.instance import Instance
from solver.whatif.pieces import Piece
from solver.whatif.settle import Settled, Settler


class Lines:
    """
    The least cost as a function of the price of one pool.

    Parameters
    ----------
    settler
        Settles single prices, of the instance without a limit on USD per hour.
    low, high
        The ends of the range.

    Notes
    -----
    Each plan costs g p + c, a line in the price p; the least cost is the lower envelope of all of them. Where two plans
    cross, each optimal at one price, the optimum is asked: is it what they cost there, then both are optimal on their
    sides (the envelope is concave, so it is nowhere below its chords); else a third plan is found, and both sides are
    asked again (the intersection method of parametric programming). A limit on USD per hour cuts the envelope where it
    is reached: where even the cheapest plan costs more, none is left.
    """

    def __init__(self, settler: Settler, low: Fraction, high: Fraction, most: Fraction | None) -> None:
        self.settler = settler
        self.low, self.high, self.most = low, high, most
        self.pool = settler.axis.names[0]
        self.known: dict[Fraction, Settled] = {}
        self.pieces: list[Piece] = []

    def trace(self) -> None:
        """Finds every corner; what a limit or an interrupt leaves is kept as unsettled pieces."""
        spans = [(self.low, self.high)]
        try:
            while spans:
                low, high = spans[-1]
                first, last = self._at(low), self._at(high)
                found = self._between(low, high, first, last)
                spans.pop()
                if isinstance(found, Fraction):
                    spans += [(found, high), (low, found)]
                else:
                    self.pieces += found
        finally:
            for low, high in reversed(spans):
                self.pieces.append(self._unsettled(low, high))
            self.pieces = self._joined()

    def _at(self, price: Fraction) -> Settled:
        if price not in self.known:
            self.known[price] = self.settler.at(price)
        return self.known[price]

    def _between(self, low: Fraction, high: Fraction, first: Settled, last: Settled) -> list[Piece] | Fraction:
        """The pieces between two settled prices, or the price to ask next."""
        if first.deployment is None or last.deployment is None:
            return [Piece(low, high, False, False, "infeasible", None, Fraction(0), None, first.proof)]
        if self.cost(first.deployment, high) == last.value:
            return [self._line(low, high, first)]
        if self.cost(last.deployment, low) == first.value:
            return [self._line(low, high, last)]
        slopes = self.slope(first.deployment) - self.slope(last.deployment)
        gap = self.cost(last.deployment, low) - self.cost(first.deployment, low)
        middle = low + gap / slopes
        if self._at(middle).value == self.cost(first.deployment, middle):
            return [self._line(low, middle, first), self._line(middle, high, last)]
        return middle

    def slope(self, deployment: Deployment) -> Fraction:
        """GPUs used in the pool: USD/hour per USD of its price."""
        return Fraction(deployment.gpus_in(deployment.instance.pool(self.pool)))

    def cost(self, deployment: Deployment, price: Fraction) -> Fraction:
        """USD/hour of a deployment at a price."""
        instance = self.settler.axis.at(price)
        spent = ((p.usd_per_gpu_hour or Fraction(0)) * deployment.gpus_in(p) for p in instance.pools)
        return sum(spent, Fraction(0))

    def _line(self, low: Fraction, high: Fraction, settled: Settled) -> Piece:
        assert settled.deployment is not None
        value, slope = self.cost(settled.deployment, low), self.slope(settled.deployment)
        return Piece(low, high, False, False, "optimal", value, slope, settled.deployment, settled.proof)

    def _unsettled(self, low: Fraction, high: Fraction) -> Piece:
        first, last = self.known.get(low), self.known.get(high)
        upper = None
        if first is not None and first.deployment is not None:
            upper = self.cost(first.deployment, high)
        if last is not None and last.value is not None:
            upper = last.value
        lower = None if first is None else first.value
        why = "a limit or an interrupt came first"
        return Piece(low, high, False, False, "unsettled", None, Fraction(0), None, why, lower, upper)

    def _joined(self) -> list[Piece]:
        """Neighbours on one line as one piece, half-open, cut at the limit on USD per hour."""
        joined: list[Piece] = []
        for piece in sorted(self.pieces, key=lambda piece: piece.low):
            last = joined[-1] if joined else None
            alike = last is not None and (last.status, last.slope) == (piece.status, piece.slope)
            if last is not None and alike and last.at(piece.low) == piece.value and piece.status != "unsettled":
                joined[-1] = replace(last, high=piece.high)
            else:
                joined.append(piece)
        for number, piece in enumerate(joined[:-1]):
            joined[number] = replace(piece, open_high=piece.high > piece.low)
        return [part for piece in joined for part in self._cut(piece)]

    def _cut(self, piece: Piece) -> list[Piece]:
        """A piece up to where it costs more than may be spent, and the rest, which is infeasible."""
        most = self.most
        if most is None or piece.value is None or (piece.at(piece.high) or 0) <= most:
            return [piece]
        why = f"the least cost, {piece.proof}, is above the budget"
        if piece.value > most:
            return [replace(piece, status="infeasible", value=None, slope=Fraction(0), deployment=None, proof=why)]
        end = piece.low + (most - piece.value) / piece.slope
        rest = replace(
            piece, low=end, open_low=True, status="infeasible", value=None, slope=Fraction(0), deployment=None
        )
        return [replace(piece, high=end, open_high=False), replace(rest, proof=why)]

    def ask(self, prices: list[Fraction]) -> None:
        """Settles some prices only."""
        for price in prices:
            try:
                found = self._at(price)
            except (Stopped, KeyboardInterrupt) as reason:
                self.settler.clock.stopped(reason)
                self.pieces.append(self._unsettled(price, price))
                continue
            if found.deployment is None:
                self.pieces.append(
                    Piece(price, price, False, False, "infeasible", None, Fraction(0), None, found.proof)
                )
            else:
                self.pieces += self._cut(self._line(price, price, found))


def without_budget(instance: Instance) -> Instance:
    """The instance without a limit on USD per hour."""
    return replace(instance, budget=replace(instance.budget, usd_per_hour=None))
