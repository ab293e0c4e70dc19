"""Traffic: how long prompts and answers are, as one joint discrete distribution."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil


@dataclass(frozen=True)
class Traffic:
    """
    Input and output lengths of the requests of one workload.

    Parameters
    ----------
    classes
        (input tokens, output tokens, share of the requests), shares positive and summing to 1, ascending, no two alike.
    description
        What it was made from, in words.
    isl_marks, total_marks
        (percentile from 0 to 1, tokens) of the input, and of input and output together, where they are known better
        than from the classes.
    """

    classes: tuple[tuple[int, int, Fraction], ...]
    description: str = ""
    isl_marks: tuple[tuple[Fraction, int], ...] = ()
    total_marks: tuple[tuple[Fraction, int], ...] = ()

    @classmethod
    def constant(cls, isl: int, osl: int) -> Traffic:
        """Every request has the same lengths."""
        return cls(((isl, osl, Fraction(1)),), f"constant {isl}/{osl}")

    def __hash__(self) -> int:
        """Of the classes, computed once: they are many."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.classes)

    @property
    def is_constant(self) -> bool:
        """Whether every request has the same lengths."""
        return len(self.classes) == 1

    @cached_property
    def isl(self) -> Fraction:
        """Mean input tokens."""
        return sum((share * isl for isl, _, share in self.classes), Fraction(0))

    @cached_property
    def osl(self) -> Fraction:
        """Mean output tokens."""
        return sum((share * osl for _, osl, share in self.classes), Fraction(0))

    @cached_property
    def decode_context(self) -> float:
        """
        Mean context of a generated token: a long answer decodes longer, so it is met more often.

        Output token k (from 2 on) of a request attends to ``isl + k - 1`` tokens; the mean is over all of them, taken
        as ``isl + osl / 2`` in a request and weighted with its ``osl - 1`` decode steps. ISL where nothing is decoded.
        """
        steps = sum(share * (osl - 1) for _, osl, share in self.classes)
        if not steps:
            return float(self.isl)
        return float(sum(share * (osl - 1) * (isl + Fraction(osl, 2)) for isl, osl, share in self.classes) / steps)

    def isl_at(self, percentile: Fraction) -> int:
        """The smallest input length that at least ``percentile`` (0 to 1) of the requests do not exceed."""
        known = dict(self.isl_marks).get(percentile)
        return known or self._smallest(sorted((isl, share) for isl, _, share in self.classes), percentile)

    def osl_at(self, percentile: Fraction) -> int:
        """As :meth:`isl_at`, of the output tokens."""
        return self._smallest(sorted((osl, share) for _, osl, share in self.classes), percentile)

    def total_at(self, percentile: Fraction) -> int:
        """As :meth:`isl_at`, of input and output tokens together."""
        known = dict(self.total_marks).get(percentile)
        return known or self._smallest(sorted((isl + osl, share) for isl, osl, share in self.classes), percentile)

    def total_mean(self) -> int:
        """Mean KV tokens of a resident sequence over its life, rounded up."""
        return ceil(self.decode_context)

    @staticmethod
    def _smallest(ordered: list[tuple[int, Fraction]], percentile: Fraction) -> int:
        reached = Fraction(0)
        for tokens, share in ordered:
            reached += share
            if reached >= percentile:
                return tokens
        return ordered[-1][0]
