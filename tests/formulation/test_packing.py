"""C4 against true bin packing: the rows admit a multiset of stage groups exactly when it can be packed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pulp
import pytest

from solver.backends.base import Controls
from solver.backends.registry import backend
from solver.formulation.families import c3_inventory
from solver.formulation.milp import Milp, exact
from solver.formulation.packing import c4_nvlink_packing, is_chain
from solver.formulation.scaling import Scaling
from solver.formulation.unit import Draft, Unit
from solver.instance import Instance, Pool
from tests.formulation.cases import CHAT, curve, engine_set
from tests.oracles.packing import packs

MOST = 200
Shape = tuple[int, int]
"""GPUs of a stage group, pipeline stages."""

CHAINS: tuple[list[int], ...] = ([1, 2, 4, 8], [1, 2, 4, 8, 16], [2, 4, 8, 32], [1, 3, 6], [1, 3, 6, 18], [2, 6, 12])
CHAINS += ([4], [1, 8, 24], [3], [5, 10])
ODD: tuple[list[int], ...] = ([4, 6], [2, 3], [3, 4, 5], [1, 4, 6], [2, 3, 7], [6, 8], [1, 2, 3, 4, 6, 8], [4, 6, 16])
ODD += ([3, 5, 24], [6, 9, 10, 15])


def draft_of(shapes: Sequence[Shape], gpus: int, domain: int) -> Draft:
    """A model of C3 and C4 alone; unit k has shape k."""
    pool = Pool("pool", "gpu_a", gpus, domain)
    instance = Instance("packing", (pool,), (CHAT,))
    engines = engine_set((CHAT, pool, curve("decode", (1,), (10,), (1,), tp=size, pp=pp)) for size, pp in shapes)
    replicas = [pulp.LpVariable(f"n{k}", 0, MOST, pulp.LpInteger) for k in range(len(shapes))]
    parts = zip(engines.engines, replicas, strict=True)
    units = tuple(Unit(engine, count, 1 * count, Fraction(1), MOST) for engine, count in parts)
    draft = Draft(instance, Milp(pulp.LpProblem("packing", pulp.LpMaximize)), Scaling(1, 0, 0), units, ())
    c3_inventory(draft)
    c4_nvlink_packing(draft)
    draft.milp.problem.setObjective(pulp.lpSum([]))
    return draft


def packed(shapes: Sequence[Shape], counts: Sequence[int], gpus: int, domain: int) -> bool:
    """Whether the groups can be packed, by search."""
    groups: dict[int, int] = {}
    for (size, pp), count in zip(shapes, counts, strict=True):
        groups[size] = groups.get(size, 0) + pp * count
    return packs(groups, gpus // domain, domain, gpus % domain)


def rows_hold(draft: Draft, values: Mapping[str, int]) -> bool:
    """Whether a point meets all rows; every variable must have a value."""
    for row in draft.milp.problem.constraints.values():
        left = sum((exact(value) * values[variable.name] for variable, value in row.items()), exact(row.constant))
        if (row.sense == pulp.LpConstraintLE and left > 0) or (row.sense == pulp.LpConstraintGE and left < 0):
            return False
    return True


def solver_finds_flow(draft: Draft, counts: Sequence[int]) -> bool:
    """Whether the rows leave a flow for fixed replicas; CP-SAT decides."""
    variables = draft.milp.problem.variablesDict()
    for k, count in enumerate(counts):
        variables[f"n{k}"].lowBound = variables[f"n{k}"].upBound = count
    answer = backend("cp-sat").solve(draft.milp, Controls(time_limit_s=30))
    assert answer.status in ("optimal", "feasible", "infeasible"), answer
    return answer.status != "infeasible"


def random_shapes(rng: random.Random, sizes: Sequence[int]) -> list[Shape]:
    """Some of the sizes, with one to three stages each, now and then one size twice."""
    chosen = rng.sample(list(sizes), rng.randint(1, len(sizes)))
    shapes = [(size, rng.choice([1, 1, 1, 2, 3])) for size in chosen]
    return [*shapes, (chosen[0], 2)] if rng.random() < 0.2 else shapes


def random_counts(rng: random.Random, shapes: Sequence[Shape], gpus: int) -> list[int]:
    """Replicas near the edge of what fits by volume, where packing decides."""
    counts = [0] * len(shapes)
    goal = gpus * rng.uniform(0.6, 1.02)
    for _ in range(300):
        k = rng.randrange(len(shapes))
        size, pp = shapes[k]
        if sum(s * p * c for (s, p), c in zip(shapes, counts, strict=True)) + size * pp > goal:
            break
        counts[k] += 1
    return counts


@pytest.mark.parametrize("sizes", CHAINS, ids=str)
def test_nested_rows_equal_packing(sizes: list[int]) -> None:
    """Sizes that divide each other: inequalities alone decide, with partial domains and groups beyond a domain."""
    rng = random.Random(f"nested {sizes}")
    verdicts = []
    for _ in range(120):
        domain = rng.choice([1, 2, 3, 4, 5, 6, 8, 8, 10, 12, 18, 20, 36, 72])
        gpus = rng.randint(1, 6 * domain)
        shapes = random_shapes(rng, sizes)
        draft = draft_of(shapes, gpus, domain)
        assert all(variable.name.startswith("n") for variable in draft.milp.problem.variables()), "no flow is needed"
        for _ in range(10):
            counts = random_counts(rng, shapes, gpus)
            values = {f"n{k}": count for k, count in enumerate(counts)}
            verdicts.append(rows_hold(draft, values))
            assert verdicts[-1] == packed(shapes, counts, gpus, domain), (shapes, counts, gpus, domain)
    assert {True, False} <= set(verdicts)


@pytest.mark.parametrize("sizes", ODD, ids=str)
def test_pattern_rows_equal_packing(sizes: list[int]) -> None:
    """Other sizes: a flow exists exactly where a packing does."""
    rng = random.Random(f"patterns {sizes}")
    verdicts = []
    for _ in range(50):
        domain = rng.choice([8, 9, 10, 12, 13, 18, 20, 24])
        gpus = rng.randint(domain // 2, 5 * domain)
        shapes = random_shapes(rng, sizes)
        draft = draft_of(shapes, gpus, domain)
        for _ in range(6):
            counts = random_counts(rng, shapes, gpus)
            verdicts.append(solver_finds_flow(draft, counts))
            assert verdicts[-1] == packed(shapes, counts, gpus, domain), (shapes, counts, gpus, domain)
    assert {True, False} <= set(verdicts)


def test_volume_alone_is_wrong() -> None:
    """Nine groups of 16 GPUs do not fit two domains of 72, eight do."""
    draft = draft_of([(16, 1)], 144, 72)
    assert not rows_hold(draft, {"n0": 9})
    assert rows_hold(draft, {"n0": 8})


def test_patterns_need_no_flow_for_chains() -> None:
    """Sizes beyond the domain do not count: they take whole domains."""
    assert is_chain([])
    assert is_chain([1, 2, 4, 12])
    assert not is_chain([4, 6])
    draft = draft_of([(4, 1), (24, 1), (18, 1)], 60, 12)
    assert all(variable.name.startswith("n") for variable in draft.milp.problem.variables())
