"""Numbers in a result document: read exactly, compared exactly, shown without fail."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

TOLERANCE = Fraction(1, 10**9)
"""Relative distance that a float may have from the exact value that it stands for."""
_MOST_CHARACTERS = 4000
_MOST_EXPONENT = 400


def number_of(value: object) -> Fraction | None:
    """A JSON number as the rational that it is; None for anything else, infinities and absurd exponents included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return Fraction(value) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return Fraction(value) if value.is_finite() and abs(value.adjusted()) <= _MOST_EXPONENT else None
    return Fraction(value) if isinstance(value, int) else None


def exact_of(value: object) -> Fraction | None:
    """An exact value: a string ``num/den`` or an integer; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS or not re.fullmatch(r"-?[0-9]+(/[0-9]+)?", value):
        return None
    top, _, bottom = value.partition("/")
    return Fraction(int(top), int(bottom or 1)) if int(bottom or 1) else None


def show(value: Fraction | int | None) -> str:
    """A number for a message; never fails, however long the number is."""
    try:
        return "null" if value is None else str(value)
    except ValueError:
        return "a number of thousands of digits"


@dataclass(frozen=True)
class Stated:
    """
    A quantity as the document states it.

    Parameters
    ----------
    where
        Its path.
    number
        The rounded number, or None for null.
    exact
        The exact value, or None for null.
    exact_given
        Whether the document has a key for the exact value.
    """

    where: str
    number: Fraction | None
    exact: Fraction | None
    exact_given: bool = True

    def faults(self, value: Fraction | None) -> list[str]:
        """What is wrong with the statement where ``value`` is right: exactly, and to 1e-9 for the number."""
        found = []
        if self.exact_given and self.exact != value:
            found.append(f"{self.where}: exact value {show(self.exact)} stated, {show(value)} recomputed")
        if not _close(self.number, value):
            found.append(f"{self.where}: {show(self.number)} stated, {show(value)} recomputed")
        return found


def _close(number: Fraction | None, value: Fraction | None) -> bool:
    if number is None or value is None:
        return number is None and value is None
    return abs(number - value) <= abs(value) * TOLERANCE
