"""What a user types on the command line: numbers, read exactly, and how to run."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodels.errors import Fault, InputError

if TYPE_CHECKING:
    from solver.planner import Options


def options_of(
    hint: Path | None = None, no_tiebreak: bool = False, plain: bool = False, no_dual: bool = False, **run: Any
) -> tuple[Options, list[str]]:
    """
    Options from the arguments that say how to run, and the list that collects the back end's log.

    Raises
    ------
    InputError
        When the back end is unknown, or the log cannot be written.
    """
    from solver.backends.base import Controls
    from solver.backends.registry import BACKENDS
    from solver.files import check_writable
    from solver.planner import Options
    from solver.read import read_json

    if run["backend"] not in BACKENDS:
        raise InputError([Fault("--backend", f"got {run['backend']}, must be one of {', '.join(BACKENDS)}")])
    lines: list[str] = []
    if run["log"]:
        check_writable(run["log"])
    chosen = Controls(
        threads=run["threads"],
        seed=run["seed"],
        time_limit_s=run["time_limit"],
        gap=run["gap"],
        memory_limit_mb=run["memory_limit"],
        log=lines.append if run["log"] else None,
    )
    options = Options(
        backend=run["backend"],
        formulation=run["formulation"],
        dominance=not run["no_dominance"],
        tiebreak=not no_tiebreak,
        controls=chosen,
        hint=read_json(hint) or {} if hint else None,
        incremental=not plain,
        dual=not no_dual,
    )
    return options, lines


def numbers_of(text: str | None) -> list[Fraction]:
    """
    Interactivities from a comma-separated list.

    Raises
    ------
    InputError
        When a part is no number.
    """
    try:
        return [Fraction(word) for word in text.split(",")] if text else []
    except (ValueError, ZeroDivisionError):
        raise InputError(
            [Fault("--at", f"got {text}, must be numbers separated by commas, such as 20,50,100")]
        ) from None


def share_of(text: str) -> Fraction:
    """
    A share from ``0.1%`` or ``0.001``.

    Raises
    ------
    InputError
        When it is no number, or not from 0 to 1.
    """
    try:
        share = Fraction(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except (ValueError, ZeroDivisionError):
        raise InputError([Fault("--min-step", f"got {text}, must be a share such as 0.1%")]) from None
    if not 0 <= share <= 1:
        raise InputError([Fault("--min-step", f"got {text}, must be from 0% to 100%")])
    return share
