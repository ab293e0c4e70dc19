"""The packing picture accounts for every GPU, and never overfills a domain."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import instances
from costmodels.errors import InputError
from solver.deployment import Deployment
from solver.page.packing import packed
from solver.planner import solve, trace
from tests.oracles.generate import random_case, write_case

LIMITED = [
    *("llama-70b-h200-72", "deepseek-v3-gb200-144", "deepseek-v3-h100-h200", "tiny-odd-groups", "tiny-packing-mixed"),
    *("llama-70b-gb200-100", "llama-8b-gb200-7", "tiny-wide-groups", "two-models-h100-48-cost"),
]


def assert_accounted(deployment: Deployment) -> None:
    """Counted from the assignments alone: GPUs, stage groups and domains of every pool."""
    pools = {pool.pool: pool for pool in packed(deployment)}
    assert list(pools) == [pool.name for pool in deployment.instance.pools]
    for pool in deployment.instance.pools:
        shown = pools[pool.name]
        sizes = Counter({box.gpus: 0 for box in shown.boxes})
        gpus, groups = Counter[int](), Counter[tuple[int, int]]()
        for box in shown.boxes:
            sizes[box.gpus] += box.domains
            assert 0 <= box.idle_gpus <= box.gpus
            for engine, size, number in box.groups:
                gpus[engine] += box.domains * size * number
                groups[engine, size] += box.domains * number
        there = Counter({pool.nvlink_domain_gpus: pool.full_domains, pool.partial_domain_gpus: 1})
        assert sizes == Counter({size: count for size, count in there.items() if size and count})
        mine = [a for a in deployment.assignments if a.engine.pool.name == pool.name]
        used = Counter[int]()
        for a in mine:
            used[a.engine.index] += int(a.gpus)
        assert gpus == used
        for a in mine:
            size = a.engine.curve.partition.stage_group
            if size <= pool.nvlink_domain_gpus and sum(b.engine.index == a.engine.index for b in mine) == 1:
                assert groups[a.engine.index, size] == a.engine.curve.partition.pp * int(a.replicas)


@pytest.mark.parametrize("name", LIMITED)
def test_every_gpu_of_a_frontier_is_accounted_for(name: str) -> None:
    points = trace(instances.path(name)).points
    assert points
    for point in points:
        assert_accounted(point.deployment)


def test_random_instances(tmp_path: Path) -> None:
    shown = 0
    for seed in range(71_000, 71_012):
        instance, rows = random_case(seed)
        try:
            found = solve(write_case(tmp_path / str(seed), instance, rows)).deployment
        except InputError:
            continue
        if found is not None:
            assert_accounted(found)
            shown += len(found.assignments) > 1
    assert shown > 2


def test_groups_larger_than_a_domain_take_whole_ones() -> None:
    found = solve(instances.path("deepseek-v3-h100-h200")).deployment
    assert found is not None
    wide = [box for pool in packed(found) for box in pool.boxes if box.spans > 1]
    assert wide
    assert all(box.domains % box.spans == 0 and box.idle_gpus == 0 for box in wide)


def test_unlimited_gpus_have_no_domains() -> None:
    found = solve(instances.path("deepseek-v3-gb200-unlimited")).deployment
    assert found is not None
    assert packed(found) == ()
