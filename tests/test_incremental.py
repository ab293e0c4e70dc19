"""Frontiers proved by bounds are those proved by models, point by point; thinning takes nothing that is needed."""

from __future__ import annotations

import json
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cli import main
from solver.backends.base import Controls
from solver.clock import Clock
from solver.columns import Candidates
from solver.frontier import Frontier, Sweep, sweep_of
from solver.points import PointTable, points_of
from solver.verifier import verify_frontier
from tests.incremental_cases import Problem, anything, covered, on_two_pools, synthetic

FIRST = 40_000
"""The seeds start here: other cases than those held against the oracles."""


def sweeps(problem: Problem, names: Collection[str] = (), allow_unserved: bool = False) -> tuple[Sweep, Sweep]:
    """A sweep with bounds, and a plain one."""
    instance, engines = problem
    candidates = Candidates(instance, engines, points_of(instance, engines))
    first, second = (
        sweep_of(instance, engines, candidates, Clock(Controls()), tuple(names), allow_unserved, incremental)
        for incremental in (True, False)
    )
    return first, second


def told(frontier: Frontier) -> list[tuple[Any, ...]]:
    """TPOT, value and the later stages of each point, exactly."""
    return [
        (p.tpot_ms, p.value, p.deployment.output_tokens_per_s, p.deployment.gpus_used, p.deployment.usd_per_hour)
        for p in frontier.points
    ]


def answered(frontier: Frontier) -> list[tuple[Any, ...]]:
    """Request, value and the later stages of each answer; its TPOT is not settled."""
    return [(p.requested, *row[1:]) for p, row in zip(frontier.points, told(frontier), strict=True)]


def assert_same(problem: Problem, seed: object, names: Collection[str] = (), allow_unserved: bool = False) -> Frontier:
    """Both frontiers are equal, and the first passes the verifier."""
    with_bounds, plain = sweeps(problem, names, allow_unserved)
    found, wanted = with_bounds.trace(), plain.trace()
    assert wanted.missing == "", seed
    assert found.missing == "", seed
    assert told(found) == told(wanted), seed
    assert verify_frontier(*problem, found.as_dict()).faults == (), seed
    assert not any(point.is_final for point in wanted.points), seed
    asked = [rate for point in wanted.points if (rate := point.tokens_per_s_per_user) is not None]
    if asked and isinstance(seed, int) and seed % 3 == 0:
        between = [*asked, *(rate * Fraction(98, 100) for rate in asked), asked[-1] * 2]
        ours, theirs = with_bounds.at(between), plain.at(between)
        assert answered(ours) == answered(theirs), seed
        assert ours.infeasible == theirs.infeasible, seed
    return found


def settled(frontiers: list[Frontier]) -> float:
    """The share of points that a bound proved."""
    points = [point for frontier in frontiers for point in frontier.points]
    return sum(point.is_final for point in points) / len(points)


def test_balanced_pairs_are_proved_optima(tmp_path: Path) -> None:
    found = [assert_same(problem, seed) for seed, problem in covered(range(FIRST, FIRST + 160), False, tmp_path)]
    assert len(found) > 50
    assert settled(found) > 0.9
    assert {each.instance.objective for each in found} == {"throughput", "throughput_per_gpu", "gpus", "cost"}


def test_divided_gpus_are_proved_optima(tmp_path: Path) -> None:
    found = []
    for seed, problem in covered(range(FIRST, FIRST + 90), True, tmp_path):
        found.append(assert_same(problem, seed))
        if len(problem[0].workloads) > 1:
            found.append(assert_same(problem, f"{seed} unserved", allow_unserved=True))
            found.append(assert_same(problem, f"{seed} one", names=[problem[0].workloads[0].name]))
    assert len(found) > 50
    assert settled(found) > 0.8
    assert {each.instance.objective for each in found} == {"throughput", "throughput_per_gpu", "gpus", "cost"}
    assert any(len({w.weight for w in each.instance.workloads}) > 1 for each in found)


def test_divisions_of_two_pools_are_proved_optima(tmp_path: Path) -> None:
    found = [assert_same(problem, seed) for seed, problem in on_two_pools(range(FIRST, FIRST + 300), tmp_path)]
    assert len(found) > 50
    assert settled(found) > 0.8
    several = [len({a.engine.pool.name for a in point.deployment.assignments}) for f in found for point in f.points]
    assert several.count(2) > 20


def test_instances_that_no_bound_covers_are_proved_by_models(tmp_path: Path) -> None:
    found = [assert_same(problem, seed) for seed, problem in anything(range(FIRST, FIRST + 40), tmp_path)]
    assert settled(found) < 0.5


@pytest.mark.parametrize("name", ["llama-70b-h200-72", "deepseek-v3-gb200-144", "qwen3-32b-gb200-72-e2e"])
def test_a_built_in_frontier_needs_no_model(name: str) -> None:
    import instances
    from solver.engines import cost_model_of, engines_of
    from solver.read import read_instance

    path = instances.path(name)
    instance = read_instance(path)
    found = assert_same((instance, engines_of(instance, cost_model_of(instance, path.parent))), name)
    assert found.solves == 0
    assert settled([found]) == 1


def staircases(problem: Problem, table: PointTable) -> list[list[tuple[int, int]]]:
    """(engine, batch) of the points of every footprint, in order of time."""
    footprints = Candidates(*problem, table).footprints
    return sorted([(int(table.engine[p]), int(table.batch[p])) for p in each.points] for each in footprints)


@pytest.mark.parametrize("e2el_ms", [None, 20_000])
def test_thinning_leaves_every_point_that_dominance_leaves(e2el_ms: int | None) -> None:
    problem = synthetic(240, 256, e2el_ms=e2el_ms)
    whole, thin = points_of(*problem), points_of(*problem, thin=True)
    assert len(thin) < len(whole) / 3
    assert np.all(np.diff(thin.engine) >= 0)
    kept = staircases(problem, whole)
    assert len(kept) > 10
    assert staircases(problem, thin) == kept
    assert sum(thin.dropped.values()) + len(thin) == 240 * 1024


def test_few_points_are_not_thinned() -> None:
    instance, engines = synthetic(40, 64)
    assert len(points_of(instance, engines, thin=True)) == len(points_of(instance, engines))


def test_the_file_says_how_each_point_was_proved(tmp_path: Path) -> None:
    proofs = {}
    for option in ((), ("--plain",)):
        path = tmp_path / "f.json"
        ran = CliRunner().invoke(main, ["frontier", "tiny-tie", "-o", str(path), *option])
        assert ran.exit_code == 0, ran.output
        document = json.loads(path.read_text("utf-8"))
        assert document["incremental"] is (not option)
        proofs[option] = {point["proof"] for point in document["points"]}
        assert (document["solves"] == 0) is (not option)
    assert proofs[()] == {"bound proved by comparing all balanced pairs of points in integers"}
    assert all(proof.startswith("bound proved by cp-sat on model ") for proof in proofs["--plain",])
