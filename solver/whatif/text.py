"""What a planner reads: the pieces of a value function, and what one more or one less is worth."""

from __future__ import annotations

from collections.abc import Iterator

from solver.report import UNITS, cost_model_lines, number
from solver.whatif.pieces import Piece, WhatIf
from solver.whatif.worth import Worth, worths

MOST_LINES = 40
"""Pieces that are all printed; of more, those at the ends and around the instance's own point."""
FIRST, AROUND, LAST = 8, 5, 5
ONE = {"gpus": "GPU", "isl": "token", "osl": "token", "price": "USD per GPU-hour", "request_rate": "request/s"}


def lines(found: WhatIf) -> list[str]:
    """The answer, one piece a line."""
    return [_head(found), "", *_table(found), *_worths(found), "", *_proof(found)]


def _head(found: WhatIf) -> str:
    ask, axis = found.ask, found.axis
    span = f"{number(ask.low, 9)} to {number(ask.high, 9)} {axis.unit}"
    settled = [piece for piece in found.pieces if piece.status in ("optimal", "infeasible")]
    what = f"{len(ask.values)} values" if ask.values else f"{len(settled)} pieces, {len(found.breakpoints)} breakpoints"
    return f"{found.instance.name}: {UNITS[found.instance.objective]} along {axis.label}, {span}: {what}"


def _table(found: WhatIf) -> Iterator[str]:
    rows = [(_where(found, piece), _value(piece), piece) for piece in found.pieces]
    wide = max((len(where) for where, _, _ in rows), default=0)
    most = max((len(value) for _, value, _ in rows), default=0)
    shown = _shown(found)
    yield f"  {found.axis.unit:<{wide}}  {'value':>{most}}  GPUs  deployment"
    before = -1
    for index in shown:
        if index > before + 1:
            yield f"  ... {index - before - 1} pieces more (-o writes them all)"
        where, value, piece = rows[index]
        gpus = "-" if piece.deployment is None else number(piece.deployment.gpus_used)
        why = piece.words or (piece.proof if piece.status == "refused" else "")
        yield f"  {where:<{max(wide, len(found.axis.unit))}}  {value:>{most}}  {gpus:>4}  {why}".rstrip()
        before = index


def _shown(found: WhatIf) -> list[int]:
    count, own = len(found.pieces), found.axis.own
    if count <= MOST_LINES:
        return list(range(count))
    here = [i for i, piece in enumerate(found.pieces) if own is not None and piece.holds(own)]
    around = {i + d for i in here for d in range(-AROUND, AROUND + 1)}
    chosen = {*range(FIRST), *around, *range(count - LAST, count)}
    return sorted(i for i in chosen if 0 <= i < count)


def _where(found: WhatIf, piece: Piece) -> str:
    own = found.axis.own
    mark = "  <- the instance" if own is not None and piece.holds(own) and not found.ask.values else ""
    if found.axis.key == "gpus":
        low, high = int(piece.low) + piece.open_low, int(piece.high) - piece.open_high
        return (f"{low:,}" if low == high else f"{low:,} to {high:,}") + mark
    if piece.low == piece.high:
        return number(piece.low, 9) + mark
    start, end = "above " if piece.open_low else "", "below " if piece.open_high else ""
    return f"{start}{number(piece.low, 9)} to {end}{number(piece.high, 9)}{mark}"


def _value(piece: Piece) -> str:
    if piece.status == "unsettled":
        ends = [number(bound) for bound in (piece.lower, piece.upper)]
        return f"not settled, in [{ends[0]}, {ends[1]}]"
    if piece.value is None:
        return piece.status
    return number(piece.value) + (
        f" to {number(piece.at(piece.high))}" if piece.slope and piece.high > piece.low else ""
    )


def _worths(found: WhatIf) -> Iterator[str]:
    own = found.axis.own
    if own is None or found.ask.values:
        return
    here = found.piece_at(own)
    yield ""
    if here is None or here.status != "optimal":
        why = "outside of the range" if here is None else here.status
        yield f"marginal worth: the instance's own point, {number(own, 9)} {found.axis.unit}, is {why}"
        return
    place = f"{number(own, 9)} {found.axis.unit}, value {number(here.at(own))}"
    yield f"marginal worth at the instance's own point, {place}:"
    for worth in worths(found):
        yield f"  {_change(found, worth)}: {_gain(found, worth)}"


def _change(found: WhatIf, worth: Worth) -> str:
    amount = abs(worth.change)
    one = ONE.get(found.axis.key, found.axis.unit)
    unit = one if amount == 1 else found.axis.unit
    more = "more" if worth.change > 0 else "less"
    if not worth.change:
        return f"any {'more' if worth.is_next else 'less'} {found.axis.unit}"
    text = f"{'beyond ' if worth.beyond else ''}{number(amount, 9)} {unit} {more}"
    return f"{text} (the next breakpoint)" if worth.is_next else text


def _gain(found: WhatIf, worth: Worth) -> str:
    if worth.status == "outside":
        return "outside of the range"
    if worth.gain is None:
        return "infeasible" if worth.status == "infeasible" else "not settled"
    unit = UNITS[found.instance.objective]
    text = f"{'+' if worth.gain >= 0 else '-'}{number(abs(worth.gain))} {unit}"
    return f"{text}, then {number(worth.slope)} per {found.axis.unit}" if worth.slope and worth.is_next else text


def _proof(found: WhatIf) -> Iterator[str]:
    proofs = dict.fromkeys(_kind(p.proof) for p in found.pieces if p.status in ("optimal", "infeasible"))
    yield f"proof: {'; '.join(proofs) or 'none'}"
    checked = sum(piece.deployment is not None for piece in found.pieces)
    if found.axis.looser:
        yield f"every deployment verified exactly at the tightest end of its piece: {checked} of {checked}"
        between = "nothing is sampled: a plan settles all up to where it stands, equal optima all between them"
        yield "only the values asked for are settled" if found.ask.values else between
    else:
        yield "each value is priced and solved anew; nothing is said of values between"
    if found.missing:
        yield found.missing
    yield f"run: {found.solves} solves, {found.wall_s:.3f} s"
    yield from cost_model_lines(found.engines)


def _kind(proof: str) -> str:
    return proof.split(" on model ")[0].removeprefix("bound proved by ").removeprefix("infeasibility proved by ")
