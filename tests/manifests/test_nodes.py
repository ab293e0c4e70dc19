"""Pods on nodes: every layout is checked from the definition, and none is missed where one is known to exist."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import pytest

from costmodels.errors import InputError
from costmodels.partition import Partition
from solver.instance import Instance, Pool, Workload
from solver.manifests.chosen import Chosen
from solver.manifests.nodes import Layout, gpus_per_node, layouts
from solver.manifests.plan import Group, Line, Plan
from solver.verify_document import Domains, Entry
from solver.verify_numbers import Stated

WORKLOAD = Workload("w", "toy", 100, 11)
NONE = Stated("", None, None)


def plan(pool: Pool, wanted: list[tuple[Partition, int]], placed: tuple[Domains, ...] = ()) -> Plan:
    """A plan of some engines, each with its replicas."""
    lines = []
    for number, (cut, count) in enumerate(wanted):
        entry = Entry(
            "$", "colocated", pool.name, cut, "bf16", "toy", "1", 8, 0, 1, Fraction(count), Fraction(count * cut.gpus),
            NONE, NONE, NONE,
        )  # fmt: skip
        lines.append(Line(f"line-{number}", WORKLOAD, pool, entry, "toy", False))
    chosen = Chosen((), {pool.name: placed}, {}, (), "feasible", "", "", "", "")
    instance = Instance("i", (pool,), (WORKLOAD,))
    return Plan("i", instance, chosen, (Group("w", WORKLOAD, tuple(lines), {}),), ())


def check(layout: Layout) -> Counter[tuple[int, int]]:
    """Checks a layout from the definition; returns the GPUs that it takes as (node, number in the node)."""
    pool, cut = layout.line.pool, layout.line.entry.partition
    node, domain = gpus_per_node(pool), pool.nvlink_domain_gpus
    assert len(layout.replicas) == layout.line.replicas
    taken: Counter[tuple[int, int]] = Counter()
    for pods in layout.replicas:
        assert {len(pod.gpus) for pod in pods} == {layout.pod_gpus}
        assert len(pods) * layout.pod_gpus == cut.gpus
        ranks = [(pod.node, gpu) for pod in pods for gpu in pod.gpus]
        taken.update(ranks)
        per_domain = -(-domain // node)
        for stage in range(cut.pp):
            group = ranks[stage * cut.stage_group : (stage + 1) * cut.stage_group]
            if domain >= node:
                domains = {number // per_domain for number, _ in group}
            else:
                domains = {(number * node + gpu) // domain for number, gpu in group}
            assert len(domains) <= -(-cut.stage_group // domain), "a stage group is spread over too many domains"
    assert all(gpu < node for _, gpu in taken)
    return taken


def check_all(plan: Plan) -> dict[str, Layout]:
    """Checks all layouts of a plan and that they do not overlap."""
    found = layouts(plan)
    taken: Counter[tuple[int, int]] = Counter()
    for layout in found.values():
        taken += check(layout)
    pool = plan.instance.pools[0]
    assert set(taken.values()) <= {1}
    assert sum(taken.values()) == plan.gpus <= cast(int, pool.gpus)
    return found


def powers(draw: random.Random, pool: Pool) -> list[tuple[Partition, int]]:
    """Stage groups whose sizes are powers of two, filled into the domains at random, and told as engines."""
    sizes: Counter[int] = Counter()
    full, rest = pool.full_domains, pool.partial_domain_gpus
    for room in [pool.nvlink_domain_gpus] * full + ([rest] if rest else []):
        while room and draw.random() < 0.9:
            size = draw.choice([s for s in (1, 2, 4, 8, 16) if s <= room])
            sizes[size] += 1
            room -= size
    return [(Partition(tp=size), count) for size, count in sizes.items()]


@pytest.mark.parametrize(("domain", "node"), [(8, 8), (72, 4), (16, 8), (4, 8), (2, 8), (8, 4), (36, 4)])
def test_groups_that_fit_domains_fit_nodes(domain: int, node: int) -> None:
    draw = random.Random(f"{domain} {node}")
    for _ in range(60):
        pool = Pool("p", "toy", draw.randint(1, 3 * domain), domain, node)
        wanted = powers(draw, pool)
        if wanted:
            found = check_all(plan(pool, wanted))
            for layout in found.values():
                assert layout.pod_gpus == min(node, layout.line.entry.partition.gpus), (
                    "pods are as large as they can be"
                )


def test_any_sizes_fit_where_the_placement_has_them() -> None:
    draw = random.Random(5)
    for _ in range(150):
        domain, node = draw.choice([(20, 8), (12, 4), (9, 4), (7, 8), (10, 3)])
        full = draw.randint(1, 3)
        pool = Pool("p", "toy", full * domain, domain, node)
        placed, sizes = [], Counter[int]()
        for _ in range(full):
            room, groups = domain, Counter[int]()
            while room and draw.random() < 0.85:
                size = draw.randint(1, room)
                groups[size] += 1
                room -= size
            if groups:
                placed.append(Domains("$", 1, domain, dict(groups)))
                sizes += groups
        if sizes:
            check_all(plan(pool, [(Partition(tp=size), count) for size, count in sizes.items()], tuple(placed)))


@pytest.mark.parametrize(
    ("pool", "cut", "count", "shape"),
    [
        (Pool("p", "gb200", 72, 72), Partition(tp=16), 4, (4, 4)),
        (Pool("p", "h200_sxm", 32, 8), Partition(attention_dp=32, moe_ep=32), 1, (8, 4)),
        (Pool("p", "h200_sxm", 24, 8), Partition(tp=12), 1, (6, 2)),
        (Pool("p", "h200_sxm", 16, 8), Partition(tp=2, pp=4), 2, (8, 1)),
        (Pool("p", "h200_sxm", 24, 8), Partition(tp=4, pp=3), 2, (4, 3)),
        (Pool("p", "h200_sxm", 24, 8), Partition(tp=1, pp=3), 8, (1, 3)),
        (Pool("p", "h200_sxm", 24, 8), Partition(tp=1, pp=3), 6, (3, 1)),
        (Pool("p", "toy", 8, 2, 8), Partition(tp=4), 2, (4, 1)),
        (Pool("p", "gb200", 72, 72), Partition(tp=6), 12, (2, 3)),
    ],
)
def test_pods_by_hand(pool: Pool, cut: Partition, count: int, shape: tuple[int, int]) -> None:
    layout = check_all(plan(pool, [(cut, count)]))["line-0"]
    assert (layout.pod_gpus, layout.pods_per_replica) == shape


def test_what_cannot_fit_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"\$\.pools\[0\]\.gpus_per_node: 2 x tp8 fit"):
        layouts(plan(Pool("p", "h200_sxm", 12, 8), [(Partition(tp=8), 2)]))


def test_only_groups_of_several_pods_are_bound_to_a_domain() -> None:
    nvl72, hgx = Pool("p", "gb200", 72, 72), Pool("p", "h200_sxm", 16, 8)
    assert check_all(plan(nvl72, [(Partition(tp=8), 1)]))["line-0"].is_bound_to_domain
    assert not check_all(plan(nvl72, [(Partition(tp=4), 1)]))["line-0"].is_bound_to_domain
    assert not check_all(plan(hgx, [(Partition(tp=16), 1)]))["line-0"].is_bound_to_domain


def test_nodes_of_unknown_gpus() -> None:
    told: list[tuple[dict[str, Any], int]] = [({}, 8), ({"gpus_per_node": 6}, 6), ({"nvlink_domain_gpus": 4}, 4)]
    for changes, size in told:
        assert gpus_per_node(replace(Pool("p", "toy", 8, 72), **changes)) == size
    assert gpus_per_node(Pool("p", "gb200", 8, 72)) == 4
