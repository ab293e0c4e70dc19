"""Step functions: every breakpoint of a monotone axis, each stretch proved, none sampled."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, replace
from fractions import Fraction

from solver.deployment import Deployment
from solver.whatif.pieces import Piece
from solver.whatif.settle import Settled, Settler

FIRST = 8
"""Stretches that a range is cut into before its steps are followed one by one."""


@dataclass(frozen=True, order=True)
class Rung:
    """
    Positions that are settled alike, in looseness: the position, or minus it where smaller ones are looser.

    Parameters
    ----------
    low, high
        From the tightest position at which the plan stands to the loosest that is settled; both belong to it.
    settled
        What is proved there.
    """

    low: Fraction
    high: Fraction
    settled: Settled


class Ladder:
    """
    The value function along a monotone axis.

    Parameters
    ----------
    settler
        Settles single positions.
    low, high
        The ends of the range.

    Notes
    -----
    A plan that stands at a position stands at every looser one, so the optimum never falls towards the looser end. If D
    is optimal at x and stands from r on, then it is optimal on all of [r, x]: nothing better stands at x, so neither
    does further in. Tighter than r by less than a step no plan has its reach; so the next question is asked one step
    beyond r, and the value there holds up to r. Two neighbours of equal value settle all that lies between them. Each
    question therefore finds the whole of a step, and the breakpoints are exactly the reaches found.
    """

    def __init__(self, settler: Settler, low: Fraction, high: Fraction) -> None:
        self.settler = settler
        self.sign = settler.axis.looser
        self.tight, self.loose = sorted((self.sign * low, self.sign * high))
        self.rungs: list[Rung] = []

    def trace(self) -> None:
        """Settles the whole range; whatever a limit or an interrupt leaves is kept."""
        self.settle(self.loose)
        self.settle(self.tight)
        whole = self.settler.axis.key == "gpus"
        for index in range(1, FIRST):
            middle = self.tight + (self.loose - self.tight) * index / FIRST
            self.settle(Fraction(middle.__floor__()) if whole else middle)
        while gaps := self.gaps():
            _, above = max(gaps, key=lambda gap: gap[1].low - gap[0].high)
            self.settle(above.low - self.settler.step)

    def ask(self, values: list[Fraction]) -> None:
        """Settles some positions: the ends first, then halves of what is left."""
        asked = sorted(self.sign * value for value in values)
        spans = [(0, len(asked) - 1)]
        self.settle(asked[-1])
        self.settle(asked[0])
        while spans:
            first, last = spans.pop()
            if last - first > 1:
                middle = (first + last) // 2
                self.settle(asked[middle])
                spans += [(first, middle), (middle, last)]

    def gaps(self) -> list[tuple[Rung, Rung]]:
        """Neighbours with something unsettled between them."""
        pairs = zip(self.rungs, self.rungs[1:], strict=False)
        return [(a, b) for a, b in pairs if not self._meets(a, b)]

    def settle(self, at: Fraction) -> Rung:
        """What is proved at a looseness, by what is known already or by a question."""
        known = self.rung_at(at)
        if known is not None:
            return known
        below, above = self.neighbours(at)
        if below is not None and above is not None and below.settled.value == above.settled.value:
            rung = Rung(below.low, at, below.settled)
        else:
            if above is not None and above.settled.value is None:
                found = above.settled  # what is infeasible stays so where less is allowed
            else:
                stands = [] if below is None or below.settled.deployment is None else [below.settled.deployment]
                found = self.settler.at(self.sign * at, stands)
            rung = Rung(self._reach(found.deployment, at), at, found)
        self._add(rung)
        return rung

    def rung_at(self, at: Fraction) -> Rung | None:
        """The rung that a looseness lies on; between a rung and the next the lower one holds, if they meet."""
        below, above = self.neighbours(at)
        if below is None:
            return None
        return below if at <= below.high or (above is not None and self._meets(below, above)) else None

    def neighbours(self, at: Fraction) -> tuple[Rung | None, Rung | None]:
        """The last rung that starts no later, and the first that starts later."""
        below = [rung for rung in self.rungs if rung.low <= at]
        above = [rung for rung in self.rungs if rung.low > at]
        return below[-1] if below else None, above[0] if above else None

    def pieces(self) -> tuple[Piece, ...]:
        """The rungs and gaps as pieces, by ascending position."""
        found: list[Piece] = []
        joined = self._joined()
        for number, rung in enumerate(joined):
            last = number + 1 == len(joined)
            meets = not last and self._meets(rung, joined[number + 1])
            high = joined[number + 1].low if meets else rung.high
            found.append(self._piece(rung.low, high, False, meets, rung.settled))
            if not last and not meets:
                found.append(self._unsettled(rung, joined[number + 1]))
        if not joined or joined[-1].high < self.loose:
            found.append(self._unsettled(joined[-1] if joined else None, None))
        if joined and joined[0].low > self.tight:
            found.insert(0, self._unsettled(None, joined[0]))
        return tuple(found if self.sign > 0 else found[::-1])

    def points(self, values: list[Fraction]) -> tuple[Piece, ...]:
        """Single positions as pieces, by ascending position."""
        found = []
        for value in values:
            rung = self.rung_at(self.sign * value)
            if rung is None:
                below, above = self.neighbours(self.sign * value)
                gap = self._unsettled(below, above)
                found.append(replace(gap, low=value, high=value, open_low=False, open_high=False))
            else:
                at = self.sign * value
                found.append(self._piece(at, at, False, False, rung.settled))
        return tuple(found)

    def _meets(self, below: Rung, above: Rung) -> bool:
        """Whether nothing can change between two rungs."""
        equal = below.settled.value == above.settled.value
        return equal or above.low - self.settler.step <= below.high

    def _reach(self, deployment: Deployment | None, at: Fraction) -> Fraction:
        reach = None if deployment is None else self.settler.axis.reach(deployment)
        low = self.tight if reach is None else max(self.tight, self.sign * reach)
        if low > at:
            raise AssertionError(f"a plan found at {at} stands from {low} on only")
        return low

    def _add(self, rung: Rung) -> None:
        """Adds a rung; where it reaches into lower ones they have the same value, and it takes their place."""
        inside = [other for other in self.rungs if rung.low <= other.high and other.low <= rung.high]
        for other in inside:
            if other.settled.value != rung.settled.value:
                raise AssertionError("one plan stands where two values were proved")
            self.rungs.remove(other)
        tightest = min([rung, *inside], key=lambda r: r.low)
        high = max(r.high for r in [rung, *inside])
        insort(self.rungs, Rung(tightest.low, high, tightest.settled), key=lambda r: r.low)

    def _joined(self) -> list[Rung]:
        """The rungs, neighbours of equal value as one: the plan of the tightest stands on all of them."""
        joined: list[Rung] = []
        for rung in self.rungs:
            if joined and joined[-1].settled.value == rung.settled.value:
                joined[-1] = Rung(joined[-1].low, rung.high, joined[-1].settled)
            else:
                joined.append(rung)
        return joined

    def _piece(self, low: Fraction, high: Fraction, open_low: bool, open_high: bool, settled: Settled) -> Piece:
        status = "infeasible" if settled.value is None else "optimal"
        ends, opens = (self.sign * low, self.sign * high), (open_low, open_high)
        if self.sign < 0:
            ends, opens = ends[::-1], opens[::-1]
        return Piece(*ends, *opens, status, settled.value, Fraction(0), settled.deployment, settled.proof)

    def _unsettled(self, below: Rung | None, above: Rung | None) -> Piece:
        low = self.tight if below is None else below.high
        high = self.loose if above is None else above.low
        settled = Settled(None, None, "a limit or an interrupt came first")
        piece = self._piece(low, high, below is not None, above is not None, settled)
        bounds = [None if rung is None else rung.settled.value for rung in (below, above)]
        lower, upper = bounds[::-1] if self.settler.is_minimised else bounds
        return replace(piece, status="unsettled", lower=lower, upper=upper)
