"""Faults in what a user gave us: collected, located, and reported together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Fault:
    """
    One thing that is wrong with an input file.

    Parameters
    ----------
    where
        The place: a JSON path such as ``$.pools[0].gpus``, or ``FILE:LINE column``.
    text
        What was found, what is allowed, and the way out; one line.
    """

    where: str
    text: str

    def __str__(self) -> str:
        """One line, whatever characters the input held."""
        line = f"{self.where}: {self.text}"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class InputError(Exception):
    """
    Bad input. Carries every fault that was found, not only the first.

    Parameters
    ----------
    faults
        The faults, in the order in which they stand in the input.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))
