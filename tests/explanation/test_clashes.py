"""Minimal clashing and correction sets against every subset, judged by the independent oracle."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from solver.backends.base import Controls
from solver.clock import Clock, Stopped
from solver.explanation.clashes import MOST_CLASHES, Clashes, Enumeration
from solver.explanation.explain import explain
from solver.explanation.explanation import Explanation
from solver.explanation.requirement import Requirement
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

SEEDS = (4, 50, 85, 133, 189, 332, 440, 453, 475, 501, 503)
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


# the enumeration alone, on systems of sets


def system(seed: int, count: int) -> list[frozenset[int]]:
    """Random sets that clash; a set of requirements can be met when it contains none of them."""
    rng = random.Random(seed)
    return [frozenset(rng.sample(range(count), rng.choice([1, 2, 2, 3, 3, 4]))) for _ in range(rng.choice([1, 3, 6]))]


def minimal(sets: list[frozenset[int]]) -> set[frozenset[int]]:
    """Those of some sets that contain no other."""
    return {some for some in sets if not any(other < some for other in sets)}


def enumerated(clashing: list[frozenset[int]], count: int, groups: list[frozenset[int]] | None = None) -> Clashes:
    """What the product finds of a system."""
    judged = lambda kept: not any(some <= kept for some in clashing)  # noqa: E731
    return Enumeration(count, judged, Clock(Controls())).run(groups)


@pytest.mark.parametrize("seed", range(40))
def test_all_minimal_sets_of_a_system(seed: int) -> None:
    count = 7
    clashing = system(seed, count)
    found = enumerated(clashing, count)
    assert found.missing == ""
    assert len(found.clashing) == len(set(found.clashing))
    assert set(found.clashing) == minimal(clashing)
    every = [frozenset(some) for size in range(count + 1) for some in combinations(range(count), size)]
    hitting = [some for some in every if all(some & other for other in clashing)]
    assert set(found.corrections) == minimal(hitting)


def test_groups_are_switched_together() -> None:
    """{0, 3} and {1, 2} clash; of the groups {0, 1}, {2}, {3} the first clashes with each of the others."""
    groups = [frozenset([0, 1]), frozenset([2]), frozenset([3])]
    found = enumerated([frozenset([0, 3]), frozenset([1, 2])], 4, groups)
    assert found.clashing == (frozenset([0, 1]), frozenset([0, 2]))
    assert found.corrections == (frozenset([0]), frozenset([1, 2]))


def test_it_says_when_there_are_too_many() -> None:
    """Any two of twelve clash: 66 sets; the sets shown are some of them, and that there may be more is said."""
    found = enumerated([frozenset(some) for some in combinations(range(12), 2)], 12)
    assert len(found.clashing) == MOST_CLASHES
    assert all(len(some) == 2 for some in found.clashing)
    assert f"stopped after {MOST_CLASHES}" in found.missing
    assert all(len(some) == 11 for some in found.corrections)


@pytest.mark.parametrize("stop", [Stopped, KeyboardInterrupt])
@pytest.mark.parametrize("after", [0, 3, 6, 8, 9, 10, 12, 14])
@pytest.mark.parametrize("sets", [((0, 1), (2, 3), (4,), (0, 5)), ((0, 1, 2), (5,))])
def test_a_stop_keeps_what_is_proved(sets: tuple[tuple[int, ...], ...], stop: type[BaseException], after: int) -> None:
    clashing = [frozenset(some) for some in sets]
    asked = 0

    def judged(kept: frozenset[int]) -> bool:
        nonlocal asked
        asked += 1
        if asked > after:
            raise stop
        return not any(some <= kept for some in clashing)

    found = Enumeration(6, judged, Clock(Controls())).run()
    assert "limit" in found.missing or after > 6
    assert set(found.clashing) <= set(clashing)
    for given_up in found.corrections:
        assert all(some & given_up for some in clashing)
        assert not any(all(some & (given_up - {one}) for some in clashing) for one in given_up)
