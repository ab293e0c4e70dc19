"""Schedules against enumeration, by hand, and by the laws of the problem."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from solver.backends.base import Controls
from solver.scheduling.lives import lives
from solver.scheduling.plan import Plan
from solver.scheduling.problem import Problem
from solver.scheduling.rules import Rules
from solver.scheduling.schedule import solved
from solver.scheduling.search import Search
from solver.scheduling.static import static_of
from tests.oracles import schedule as oracle
from tests.schedule_cases import demand, draw, instance_of, oracle_case, problem, row

QUICK = Controls(time_limit_s=20)


def value(given: Problem) -> Fraction | None:
    """The optimum, proved; None where nothing meets the demand."""
    found = Search(given, QUICK).run()
    if found.best is None:
        assert found.is_infeasible
        return None
    assert found.bound is not None
    close = abs(found.bound - found.best.value) <= abs(found.best.value) / 10**8
    assert found.best.value == found.bound or (given.may_fall_short and close)
    return found.best.value


def expected(given: Problem) -> Fraction | None:
    """The optimum by enumeration."""
    best = oracle.best(oracle_case(given))
    return given.asked - best if given.is_maximised and best is not None else best


@pytest.mark.parametrize("block", range(6))
def test_against_enumeration(block: int, tmp_path: Path) -> None:
    for seed in range(block * 20, block * 20 + 20):
        given = draw(seed, tmp_path)
        right, found = expected(given), Search(given, QUICK).run()
        if right is None:
            assert found.best is None and found.is_infeasible, seed
            continue
        assert found.best is not None and found.bound is not None, seed
        assert found.best.value == right, seed
        if given.is_maximised:
            assert found.bound >= right, seed
        else:
            assert found.bound <= right, seed
        assert abs(found.bound - right) <= abs(right) / 10**8, seed
        if not given.may_fall_short:
            assert found.bound == right, seed
