"""A requirement of an instance: something asked for that could be given up, or asked for less strictly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

from solver.explanation.probe import Probe
from solver.instance import Instance
from solver.result import exact_text


@dataclass(frozen=True)
class Requirement:
    """
    One requirement, a constraint family or a filter of points.

    Parameters
    ----------
    name
        TTFT, TPOT, E2E, ITL, demand, inventory, memory, packing, budget, power, kv_gbps, kv_links, wishes, rules.
    where
        Workload, pool, ``the fleet``, or the rule.
    given
        The limit as given, in ``unit``; for rules how many there are.
    unit
        Unit of its levels.
    """

    name: str
    where: str
    given: Fraction
    unit: str

    @property
    def family(self) -> str:
        """What is switched together with it where requirements are grouped: all of one name, each rule by itself."""
        return f"rule {self.where}" if self.name == "rules" else self.name

    @property
    def text(self) -> str:
        """What is asked for, for people."""
        return f"{self.label}: {short(self.given)} {self.unit}"

    @property
    def has_levels(self) -> bool:
        """Whether it can be relaxed in part; a rule is on or off."""
        return True

    @property
    def label(self) -> str:
        """Its name, for people."""
        return f"{self.name} of {self.where}"

    @property
    def tried(self) -> str:
        """How far it is relaxed where a better plan is looked for; empty for as far as can be."""
        return ""

    def note(self, _: Fraction, /) -> str:
        """What should be known of a nearest level, such as that not all levels were tried; empty for nothing."""
        return ""

    def dropped(self, instance: Instance) -> Instance:
        """The instance without it."""
        raise NotImplementedError

    def at(self, instance: Instance, level: Fraction, /) -> Instance:
        """The instance with another level of it."""
        raise NotImplementedError

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """
        The level nearest to the given one at which the probe finds a plan, or None where it finds none at any.

        Parameters
        ----------
        instance
            The instance with this requirement as given, and perhaps others changed.
        probe
            Judges changed instances.

        Raises
        ------
        Stopped
            When a limit came before the proof.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Change:
    """
    A requirement and the nearest level that would do.

    Parameters
    ----------
    requirement
        The requirement.
    nearest
        The level, in the unit of the requirement.
    """

    requirement: Requirement
    nearest: Fraction

    @property
    def text(self) -> str:
        """For people: what, from, to."""
        r = self.requirement
        return f"{r.name} of {r.where}: {short(r.given)} -> {self._rounded()} {r.unit}"

    def as_dict(self) -> dict[str, object]:
        """For files."""
        r = self.requirement
        return {
            "requirement": r.name,
            "where": r.where,
            "given": float(r.given),
            "nearest": self._as_float(),
            "exact": {"given": exact_text(r.given), "nearest": exact_text(self.nearest)},
            "unit": r.unit,
            "text": self.text,
        }

    @property
    def full_text(self) -> str:
        """The text, with what should be known of the level; a rule is lifted."""
        if not self.requirement.has_levels:
            return f"{self.requirement.label}: given up"
        note = self.requirement.note(self.nearest)
        return f"{self.text} ({note})" if note else self.text

    @property
    def _is_floored(self) -> bool:
        """Whether less is easier: then numbers are rounded down, so that what is printed is feasible."""
        return self.nearest < self.requirement.given

    def _as_float(self) -> float:
        """The nearest level as the float on the side on which there is a plan."""
        value = float(self.nearest)
        if self._is_floored:
            return value if Fraction(value) <= self.nearest else math.nextafter(value, 0.0)
        return value if Fraction(value) >= self.nearest else math.nextafter(value, math.inf)

    def _rounded(self) -> str:
        """The nearest level with six digits, rounded to the side on which there is a plan."""
        above, below = (Decimal(part) for part in self.nearest.as_integer_ratio())
        if self.nearest.denominator == 1 and self.nearest < 10**9:
            return str(self.nearest)
        rounding = ROUND_FLOOR if self._is_floored else ROUND_CEILING
        return f"{Context(prec=6, rounding=rounding).divide(above, below).normalize():f}"


def short(value: Fraction) -> str:
    """A number with six digits; whole ones, and decimals that six digits would round, in full."""
    if value.denominator == 1 and value < 10**9:
        return str(value)
    full = f"{float(value):.15g}"
    return full if Fraction(full) == value and value < 10**9 and "e" not in full else f"{float(value):.6g}"


def first_that_does(
    levels: Sequence[Fraction], change: Callable[[Fraction], Instance], probe: Probe
) -> Fraction | None:
    """
    The first of some levels, each easier than the one before, at which there is a plan; None where the last has none.

    Found by bisection: there is a plan at it and, proved, none at the level before.
    """
    if not levels or probe.find(change(levels[-1])) is None:
        return None
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if probe.find(change(levels[middle])) is None:
            low = middle + 1
        else:
            high = middle
    return levels[high]
