"""The walk of one question: read it, settle its axis, check every piece, put the answer together."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from solver.backends.base import Controls
from solver.clock import Clock, Stopped
from solver.engines import EngineSet, cost_model_of
from solver.instance import Instance
from solver.load import load_instance
from solver.whatif.ask import Ask
from solver.whatif.axes import Axis, axis_of
from solver.whatif.ladder import Ladder
from solver.whatif.lengths import priced
from solver.whatif.pieces import Piece, WhatIf
from solver.whatif.prices import Lines, without_budget
from solver.whatif.settle import Settler

Progress = Callable[[int], None]


def what_if(
    what: Instance | str | Path,
    vary: str,
    controls: Controls | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> WhatIf:
    """
    The exact value of an instance along one axis.

    Parameters
    ----------
    what
        An instance, or the path of an instance file.
    vary
        The axis and its range, such as ``gpus.h200=8:576``, ``tpot_ms=5:100`` or ``isl=1000,2000,4000``. A range
        without a step is settled as a whole, every breakpoint exactly; a list or a range with a step is settled at its
        values.
    controls
        Threads, seed, limits; the time limit is for all of it.
    folder
        Where relative paths in the instance start; the folder of the file where one is given, else this folder.
    progress
        Called with the number of questions that were settled.

    Raises
    ------
    costmodels.errors.InputError
        When instance, tables or the question have faults.
    """
    started = time.perf_counter()
    ask = Ask.read(vary)
    instance, folder = load_instance(what, folder)
    axis = axis_of(instance, ask)
    clock = Clock(controls or Controls())
    said = progress or (lambda _: None)
    if axis.looser == 0:
        pieces = priced(axis, ask.values, folder, clock, said)
        engines = EngineSet((), {}, (), *_described(instance, folder))
        return _answer(instance, engines, ask, axis, tuple(pieces), clock, started, ())
    settler = _settler(instance, axis, ask, folder, clock, said)
    if axis.key == "price" and instance.objective == "cost":
        pieces = _along_price(settler, instance, ask)
    else:
        pieces = _along_ladder(settler, ask)
    faults = tuple(fault for piece in pieces if (fault := _fault(settler, piece)))
    return _answer(instance, settler.engines, ask, axis, tuple(pieces), clock, started, faults)


def _described(instance: Instance, folder: Path) -> tuple[str, str]:
    model = cost_model_of(instance, folder)
    return model.description, model.known_error


def _settler(instance: Instance, axis: Axis, ask: Ask, folder: Path, clock: Clock, said: Progress) -> Settler:
    loosest = ask.high if axis.looser > 0 else ask.low
    if axis.key == "price" and instance.objective == "cost":
        axis = axis_of(without_budget(instance), ask)
    return Settler(axis, loosest, cost_model_of(instance, folder), clock, said)


def _along_price(settler: Settler, instance: Instance, ask: Ask) -> list[Piece]:
    lines = Lines(settler, ask.low, ask.high, instance.budget.usd_per_hour)
    try:
        if ask.values:
            lines.ask(list(ask.values))
        else:
            lines.trace()
    except (Stopped, KeyboardInterrupt) as reason:
        settler.clock.stopped(reason)
    return lines.pieces


def _along_ladder(settler: Settler, ask: Ask) -> list[Piece]:
    ladder = Ladder(settler, ask.low, ask.high)
    try:
        if ask.values:
            ladder.ask(list(ask.values))
        else:
            ladder.trace()
    except (Stopped, KeyboardInterrupt) as reason:
        settler.clock.stopped(reason)
    return list(ladder.points(list(ask.values)) if ask.values else ladder.pieces())


def _fault(settler: Settler, piece: Piece) -> str:
    """What is wrong with a piece: its deployment must stand at its tightest end, and be worth what was said."""
    if piece.deployment is None:
        return ""
    end = piece.low if settler.axis.looser > 0 else piece.high
    if settler.stands(piece.deployment, end, piece.at(end) or Fraction(0)):
        return ""
    return f"the deployment from {float(piece.low):g} to {float(piece.high):g} is refuted by the verifier"


def _answer(
    instance: Instance,
    engines: EngineSet,
    ask: Ask,
    axis: Axis,
    pieces: tuple[Piece, ...],
    clock: Clock,
    started: float,
    faults: tuple[str, ...],
) -> WhatIf:
    left = [piece for piece in pieces if piece.status == "unsettled"]
    what = "value" if ask.values else "stretch"
    what += "" if len(left) == 1 else "s" if ask.values else "es"
    missing = f"stopped by a limit or an interrupt; {len(left)} {what} not settled" if left else ""
    return WhatIf(instance, engines, ask, axis, pieces, missing, clock.solves, time.perf_counter() - started, faults)
