"""Budgets as requirements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from solver.explanation.probe import Probe
from solver.explanation.requirement import Requirement
from solver.instance import Instance
from solver.measure import Measure

BUDGETS = (("budget", "usd_per_hour", "usd_per_gpu_hour", "USD/hour"), ("power", "watts", "watts_per_gpu", "W"))
"""Name, field of the budget, price of a GPU, unit."""


@dataclass(frozen=True)
class Spending(Requirement):
    """
    A limit on the price per hour or on the power of the fleet.

    Parameters
    ----------
    key, price
        The limit's field, and the field of a pool that it adds up.
    """

    key: str
    price: str

    def dropped(self, instance: Instance) -> Instance:
        """No limit."""
        return replace(instance, budget=replace(instance.budget, **self._with(None)))

    def at(self, instance: Instance, level: Fraction, /) -> Instance:
        """Another limit."""
        return replace(instance, budget=replace(instance.budget, **self._with(level)))

    def _with(self, level: Fraction | None) -> dict[str, Any]:
        return {self.key: level}

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """What the cheapest plan spends: an optimum."""
        free = self.dropped(instance)
        prices = {pool.name: getattr(pool, self.price) or Fraction(0) for pool in instance.pools}
        found = probe.best(free, Measure({}, prices)).deployment
        spent: Fraction | None = None if found is None else getattr(found, self.key)
        return spent


def spendings(instance: Instance) -> Iterator[Spending]:
    """The budgets of an instance."""
    for name, key, price, unit in BUDGETS:
        given: Fraction | None = getattr(instance.budget, key)
        if given is not None:
            yield Spending(name, "the fleet", given, unit, key, price)
