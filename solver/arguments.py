"""What a user types on the command line: numbers, read exactly, and how to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodels.errors import Fault, InputError
from costmodels.operating_curve import ROLES, Role

if TYPE_CHECKING:
    from solver.planner import Options

MOST_LETTERS = 12
"""Letters of an error that are read."""


def options_of(
    hint: Path | None = None,
    no_tiebreak: bool = False,
    plain: bool = False,
    no_dual: bool = False,
    say: Callable[[str], object] | None = None,
    **run: Any,
) -> tuple[Options, list[str]]:
    """
    Options from the arguments that say how to run, and the list that collects the back end's log.

    ``say`` is called with each line of that log as it comes, where given.

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

    def heard(line: str) -> None:
        lines.append(line)
        if say is not None:
            say(line)

    if run["log"]:
        check_writable(run["log"])
    chosen = Controls(
        threads=run["threads"],
        seed=run["seed"],
        time_limit_s=run["time_limit"],
        gap=run["gap"],
        memory_limit_mb=run["memory_limit"],
        log=heard if run["log"] or say is not None else None,
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


def share_of(text: str, option: str = "--min-step") -> Fraction:
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
        raise InputError([Fault(option, f"got {text}, must be a share such as 0.1%")]) from None
    if not 0 <= share <= 1:
        raise InputError([Fault(option, f"got {text}, must be from 0% to 100%")])
    return share


def errors_of(error: str | None, by_role: Mapping[str, str | None]) -> tuple[Fraction | None, dict[Role, Fraction]]:
    """
    The error of every role, and those of single roles (options ``error_prefill`` and so on).

    Raises
    ------
    InputError
        With every share that is none.
    """
    faults: list[Fault] = []

    def share(text: str, option: str) -> Fraction:
        try:
            if len(text) > MOST_LETTERS:
                raise InputError([Fault(option, f"got {text[:MOST_LETTERS]}..., must be a share such as 6%")])
            return share_of(text, option)
        except InputError as fault:
            faults.extend(fault.faults)
            return Fraction(0)

    every = None if error is None else share(error, "--error")
    given = ((role, by_role.get(f"error_{role}")) for role in ROLES)
    single = {role: share(text, f"--error-{role}") for role, text in given if text is not None}
    if faults:
        raise InputError(faults)
    return every, single


def check_target(target: Path | None, endings: tuple[str, ...]) -> None:
    """
    Says early that a file could not be written, or has another ending than those that can be.

    Raises
    ------
    InputError
        When it is so.
    """
    from solver.files import check_writable

    if target is None:
        return
    check_writable(target)
    if target.suffix not in endings:
        raise InputError([Fault(str(target), f"must end in {' or '.join(endings)}")])
