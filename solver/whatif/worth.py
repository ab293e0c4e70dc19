"""What one more or one less is worth: exact differences at the instance's own point, and to the next breakpoint."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from solver.whatif.pieces import Piece, WhatIf


@dataclass(frozen=True)
class Worth:
    """
    What a change along the axis does to the optimal value.

    Parameters
    ----------
    change
        The change of the position, in the unit of the axis; negative for less.
    beyond
        Whether the difference comes only beyond that change, however little.
    gain
        Difference of the value; None where ``status`` is not ``optimal``.
    status
        As of the piece at the changed position; ``outside``: the range ends before.
    is_next
        Whether this is the next breakpoint of the value, not a change by one.
    slope
        By how much the value grows per unit of the axis beyond; 0 but for a price.
    """

    change: Fraction
    beyond: bool
    gain: Fraction | None
    status: str
    is_next: bool
    slope: Fraction = Fraction(0)


def worths(found: WhatIf) -> list[Worth]:
    """
    The worth of one unit more and less and of the way to the next breakpoint on both sides.

    Nothing where the instance's own point is not on the axis, not settled, or only a list of values was asked.
    """
    own = found.axis.own
    here = None if own is None or found.ask.values else found.piece_at(own)
    if own is None or here is None or here.status != "optimal":
        return []
    return [
        _unit(found, own, here, 1),
        *_next(found, own, here, 1),
        _unit(found, own, here, -1),
        *_next(found, own, here, -1),
    ]


def _unit(found: WhatIf, own: Fraction, here: Piece, sign: int) -> Worth:
    there = found.piece_at(own + sign)
    if there is None:
        return Worth(Fraction(sign), False, None, "outside", False)
    value = there.at(own + sign)
    gain = None if value is None else value - (here.at(own) or 0)
    return Worth(Fraction(sign), False, gain, there.status, False, there.slope)


def _next(found: WhatIf, own: Fraction, here: Piece, sign: int) -> list[Worth]:
    """The breakpoint nearest to the own point on one side; none where the range has none there."""
    index = found.pieces.index(here) + sign
    if not 0 <= index < len(found.pieces):
        return []
    there = found.pieces[index]
    near, is_open = (there.low, there.open_low) if sign > 0 else (there.high, there.open_high)
    if found.axis.key == "gpus" and is_open:
        near, is_open = near - 1, False  # positions are whole: the last one of the piece
    value = there.at(near)
    gain = None if value is None else value - (here.at(own) or 0)
    beyond = is_open or there.slope != here.slope
    if near - own == sign and not beyond:
        return []  # the unit itself
    return [Worth(near - own, beyond, gain, there.status, True, there.slope)]
