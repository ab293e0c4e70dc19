"""Many exact decimals over one power of ten; each becomes a Fraction only when it is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import overload


class Decimals(Sequence[Fraction]):
    """
    Exact decimals, equal to the tuple of their Fractions.

    Making a Fraction takes a greatest common divisor; an instance has tens of thousands of values, most of which are
    never looked at one by one.

    Parameters
    ----------
    numbers
        The values times ``scale``.
    scale
        A power of ten.
    """

    def __init__(self, numbers: Sequence[int], scale: int) -> None:
        self.numbers = tuple(numbers)
        self.scale = scale

    @cached_property
    def fractions(self) -> tuple[Fraction, ...]:
        """The values."""
        return tuple(Fraction(number, self.scale) for number in self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Fraction]:
        return iter(self.fractions)

    @overload
    def __getitem__(self, index: int) -> Fraction: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Fraction, ...]: ...

    def __getitem__(self, index: int | slice) -> Fraction | tuple[Fraction, ...]:
        return self.fractions[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Decimals):
            return self.numbers == other.numbers if self.scale == other.scale else self.fractions == other.fractions
        return self.fractions == other

    def __hash__(self) -> int:
        return hash(self.fractions)

    def __repr__(self) -> str:
        return repr(self.fractions)
