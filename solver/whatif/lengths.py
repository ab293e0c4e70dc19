"""ISL and OSL: every value asked for is priced and solved anew; nothing is said of what lies between."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from costmodels.errors import InputError
from solver.clock import Clock
from solver.planner import Options, solve
from solver.result import Result
from solver.whatif.axes import Axis
from solver.whatif.pieces import Piece

STOPPED = "a limit or an interrupt came first"


def priced(
    axis: Axis, values: tuple[Fraction, ...], folder: Path, clock: Clock, progress: Callable[[int], None]
) -> list[Piece]:
    """
    One piece a value: optimal, infeasible, refused by the cost model, or unsettled.

    Parameters
    ----------
    axis
        The axis.
    values
        The lengths, in tokens.
    folder
        Where paths in the instance start.
    clock
        Time and controls, over all values.
    progress
        Called with the number of values that are done.

    Raises
    ------
    costmodels.errors.InputError
        When the cost model refuses every value.
    """
    found: list[Piece] = []
    refusal: InputError | None = None
    for value in values:
        try:
            result = solve(axis.at(value), Options(controls=clock.remaining(), tiebreak=False), folder=folder)
        except InputError as error:
            refusal = error
            found.append(_piece(value, "refused", error.faults[0].text))
            continue
        except BaseException as reason:
            if not _stops(reason):
                raise
            clock.stopped(reason)
            break
        clock.solves += result.run.solves
        found.append(_answer(value, result))
        progress(len(found))
    if refusal is not None and all(piece.status == "refused" for piece in found):
        raise refusal
    return found + [_piece(value, "unsettled", STOPPED) for value in values[len(found) :]]


def _stops(reason: BaseException) -> bool:
    from solver.clock import Stopped

    return isinstance(reason, (Stopped, KeyboardInterrupt))


def _answer(value: Fraction, result: Result) -> Piece:
    if result.status == "optimal":
        piece = Piece(
            value, value, False, False, "optimal", result.objective, Fraction(0), result.deployment, result.proof
        )
        return piece
    if result.status == "infeasible":
        return _piece(value, "infeasible", result.proof)
    bounds = (result.objective, result.bound)
    lower, upper = bounds[::-1] if result.instance.is_minimised else bounds
    return _piece(value, "unsettled", result.proof if result.status != "unknown" else STOPPED, lower, upper)


def _piece(
    value: Fraction, status: str, proof: str, lower: Fraction | None = None, upper: Fraction | None = None
) -> Piece:
    return Piece(value, value, False, False, status, None, Fraction(0), None, proof, lower, upper)
