"""Numbers that a user types on the command line, read exactly."""

from __future__ import annotations

from fractions import Fraction

from costmodels.errors import Fault, InputError


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
