"""Exact bounds: any multipliers of the right sign bound every solution, whoever found them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import pulp

from solver.formulation.milp import Milp, exact

BITS = 44
"""Binary digits after the point to which multipliers of the rows as they stand are rounded."""


class Bound:
    """
    A model in whole numbers, for bounds that no rounding can break.

    For minimised c x under rows a x >= b, bounds l <= x <= h, and multipliers y >= 0 of the rows,
    c x = y a x + (c - y a) x >= y b + sum of min((c - y a) l, (c - y a) h) for every x. Rows <= are turned, equations
    take multipliers of both signs.

    Parameters
    ----------
    milp
        The model; minimised, every variable bounded.
    """

    def __init__(self, milp: Milp) -> None:
        variables = milp.problem.variables()
        self.place = {variable.name: index for index, variable in enumerate(variables)}
        self.low = [_short(exact(v.lowBound)) for v in variables]
        self.high = [_short(exact(v.upBound)) for v in variables]
        costs = {v.name: exact(value) for v, value in milp.problem.objective.items()}
        self.scale = math.lcm(*(cost.denominator for cost in costs.values()))
        self.costs = [0] * len(variables)
        for name, cost in costs.items():
            self.costs[self.place[name]] = int(cost * self.scale)
        whole = {v.name for v in variables if v.cat == pulp.LpInteger}
        self.is_whole = self.scale == 1 and all(name in whole for name, cost in costs.items() if cost)
        self.rows: dict[str, tuple[int, list[tuple[int, int]], int, int]] = {}
        for name, row in milp.problem.constraints.items():
            terms = [(self.place[v.name], exact(value)) for v, value in row.items() if value]
            right = -exact(row.constant)
            size = math.lcm(right.denominator, *(value.denominator for _, value in terms))
            self.rows[name] = (row.sense, [(p, int(value * size)) for p, value in terms], int(right * size), size)
        self.bits = BITS + max((size.bit_length() for *_, size in self.rows.values()), default=0)

    def of(self, multipliers: Mapping[str, float], low: Mapping[int, int], high: Mapping[int, int]) -> Fraction:
        """
        The bound that multipliers prove.

        Parameters
        ----------
        multipliers
            Row name to multiplier.
        low, high
            Bounds that are tighter than the model's, by the place of a variable.
        """
        reduced: list[int] = [cost << self.bits for cost in self.costs]
        value: int | Fraction = 0
        for name, multiplier in multipliers.items():
            sense, terms, right, size = self.rows[name]
            if multiplier == 0 or not math.isfinite(multiplier) or sense * multiplier < 0:
                continue  # of the wrong sign: noise, or useless
            y = round(multiplier * self.scale / size * 2**self.bits)
            value += y * right
            for place, coefficient in terms:
                reduced[place] -= y * coefficient
        for place, cost in enumerate(reduced):
            if cost:
                value += cost * (low.get(place, self.low[place]) if cost > 0 else high.get(place, self.high[place]))
        bound = Fraction(value) / (self.scale << self.bits)
        return Fraction(math.ceil(bound)) if self.is_whole else bound

    def proves_empty(self, ray: Mapping[str, float], low: Mapping[int, int], high: Mapping[int, int]) -> bool:
        """Whether multipliers prove that no solution lies within bounds: y b above all that y a x can reach."""
        reduced = [0] * len(self.costs)
        value: int | Fraction = 0
        for name, multiplier in ray.items():
            sense, terms, right, size = self.rows[name]
            if multiplier == 0 or not math.isfinite(multiplier) or sense * multiplier < 0:
                continue
            y = round(multiplier / size * 2**self.bits)
            value += y * right
            for place, coefficient in terms:
                reduced[place] -= y * coefficient
        for place, cost in enumerate(reduced):
            if cost:
                value += cost * (low.get(place, self.low[place]) if cost > 0 else high.get(place, self.high[place]))
        return value > 0

    def holds(self, values: Mapping[str, Fraction]) -> bool:
        """Whether a solution keeps every row and every bound of the model, exactly."""
        names = list(self.place)
        numbers = [values.get(name, Fraction(0)) for name in names]
        if any(not low <= x <= high for low, x, high in zip(self.low, numbers, self.high, strict=True)):
            return False
        for sense, terms, right, _ in self.rows.values():
            left = sum(coefficient * numbers[place] for place, coefficient in terms)
            if (sense >= 0 and left < right) or (sense <= 0 and left > right):
                return False
        return True


def _short(value: Fraction) -> int | Fraction:
    """A whole number as such, since sums of those are faster."""
    return value.numerator if value.denominator == 1 else value
