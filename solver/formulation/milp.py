"""The model that back ends solve: a PuLP problem, the grid of its continuous variables, and its hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

import pulp

if hasattr(pulp, "set_v4_migration_warnings"):
    pulp.set_v4_migration_warnings(False)  # the 3.x interface is pinned in pyproject.toml

MOST_DIGITS = 12
"""PuLP writes 12 significant digits to LP files; a coefficient with more would make another problem of it."""


@dataclass
class Milp:
    """
    A mixed-integer linear model.

    Parameters
    ----------
    problem
        The model in PuLP; constraint names start with their family, ``C1_`` to ``C8_``.
    grid
        Continuous variable name to the step on whose multiples an optimal value lies. Back ends that know integers
        only use it; a continuous variable without a grid is out of their reach.
    names
        Short name of a variable or row to what it stands for.
    """

    problem: pulp.LpProblem
    grid: dict[str, Fraction] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def is_maximised(self) -> bool:
        """Whether the objective is maximised."""
        return bool(self.problem.sense == pulp.LpMaximize)

    def digest(self) -> str:
        """SHA-256 of the model, 16 hexadecimal digits: the same model gives the same hash on every machine."""
        lines = [str(self.problem.sense), _line(self.problem.objective)]
        lines += [
            f"{v.name} {v.lowBound} {v.upBound} {v.cat} {self.grid.get(v.name)}" for v in self.problem.variables()
        ]
        lines += [f"{name} {_line(row)} {row.sense} {row.constant!r}" for name, row in self.problem.constraints.items()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def check_digits(self) -> None:
        """
        Asserts that an export loses nothing.

        Raises
        ------
        ValueError
            When a coefficient has more than 12 significant digits.
        """
        for variable in self.problem.variables():
            for bound in (variable.lowBound, variable.upBound):
                if bound is not None:
                    check_number(bound, f"bound of {variable.name}")
        for name, row in (("objective", self.problem.objective), *self.problem.constraints.items()):
            if row is None:
                continue
            for variable, value in row.items():
                check_number(value, f"{name}, {variable.name}")
            check_number(row.constant, name)


def _line(expression: pulp.LpAffineExpression) -> str:
    return " ".join(f"{value!r}*{variable.name}" for variable, value in expression.items())


def significant_digits(value: float) -> int:
    """Decimal digits that a coefficient needs, leading and trailing zeros not counted."""
    return len(Decimal(repr(value)).normalize().as_tuple().digits)


def check_number(value: float, where: str) -> None:
    """
    Asserts that a coefficient survives an LP file.

    Raises
    ------
    ValueError
        When it needs more than 12 significant digits.
    """
    if significant_digits(value) > MOST_DIGITS:
        raise ValueError(f"{where}: coefficient {value!r} has more than {MOST_DIGITS} significant digits")


def exact(value: float) -> Fraction:
    """A coefficient as the rational number that its shortest decimal names."""
    return Fraction(value) if isinstance(value, int) else Fraction(repr(float(value)))
