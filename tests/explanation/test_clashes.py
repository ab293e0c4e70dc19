"""Minimal clashing and correction sets against every subset, judged by the independent oracle."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest

from solver.backends.base import Controls
from solver.explanation.clashes import MOST_CLASHES, Clashes, Enumeration
from solver.explanation.explain import explain
from solver.explanation.explanation import Explanation
from solver.explanation.requirement import Requirement
from solver.optimise import Clock, Stopped
from tests.explanation.switches import (
    Json,
    Name,
    Rows,
    dropped,
    infeasible_case,
    minimal_clashes,
    minimal_corrections,
    switches,
)
from tests.oracles.enumerate import optimum
from tests.oracles.generate import write_case

SEEDS = (4, 50, 85, 133, 189, 332, 440, 453, 454, 475, 501, 503)
"""Random cases that are infeasible for different reasons and whose subsets are soon listed."""


def names_of(sets: tuple[tuple[Requirement, ...], ...]) -> set[frozenset[Name]]:
    """Sets of requirements by name and place."""
    return {frozenset((r.name, r.where) for r in some) for some in sets}


def judge(case: Json, rows: Rows, enough: dict[str, int]) -> tuple[list[Name], Callable[[frozenset[Name]], bool]]:
    """The requirements of a case, and the oracle's word on whether some of them can be met."""
    known: dict[frozenset[Name], bool] = {}
    every = switches(case, enough)

    def is_feasible(kept: frozenset[Name]) -> bool:
        if kept not in known:
            given_up = [name for name in every if name not in kept]
            known[kept] = optimum(dropped(case, given_up, every), rows) is not None
        return known[kept]

    return list(every), is_feasible


def explained(folder: Path, case: Json, rows: Rows) -> Explanation:
    """The product's explanation, complete."""
    found = explain(write_case(folder, case, rows))
    assert found.status == "infeasible"
    assert found.is_complete, found.missing
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_sets_are_those_of_every_subset(seed: int, tmp_path: Path) -> None:
    drawn = infeasible_case(seed, most=9)
    assert drawn is not None, "the generator has changed; look for other seeds"
    case, rows, enough = drawn
    names, is_feasible = judge(case, rows, enough)

    found = explained(tmp_path, case, rows)

    assert {(r.name, r.where) for r in found.requirements} == set(names)
    assert found.infeasibility is not None
    assert names_of(found.infeasibility.clashes) == set(minimal_clashes(names, is_feasible))
    assert names_of(found.infeasibility.corrections) == set(minimal_corrections(names, is_feasible))
    sizes = [len(some) for some in found.infeasibility.clashes]
    assert sizes == sorted(sizes)
