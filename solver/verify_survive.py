"""C9 for the verifier: the demand after every loss of nodes or domains, by enumerating the losses up to symmetry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction

from costmodels.operating_curve import Role
from solver.instance import Survive
from solver.verify_document import BlockLine
from solver.verify_numbers import show
from solver.verify_plan import Plan, Served, Used

MOST_LOSSES = 500_000
"""Losses beyond which nothing is enumerated."""
Content = tuple[tuple[tuple[str, str, int], int], ...]
"""What stands in a block: ((workload, role, entry), replicas), ordered."""


def check_c9_survive(plan: Plan) -> Iterator[str]:
    """
    Replicas stand whole in blocks that are there, and after any loss of blocks the others carry every demand.

    A block is a node or an NVLink domain, as the instance says. Blocks with the same content are alike.
    """
    survive = plan.instance.serving.survive
    if survive is None:
        return
    faults = list(_standing_faults(plan, survive))
    yield from faults
    if faults:
        return
    contents = Counter(_content(block) for block in plan.blocks)
    losses = _losses(list(contents.items()), survive.lost)
    for number, lost in enumerate(losses):
        if number == MOST_LOSSES:
            yield f"more than {show(MOST_LOSSES)} different losses of {survive.lost} {survive.kind}: not enumerated"
            return
        gone: Counter[tuple[str, str, int]] = Counter()
        for content, count in lost.items():
            for entry, replicas in content:
                gone[entry] += replicas * count
        yield from _left_faults(plan, gone, survive)


def _content(block: BlockLine) -> Content:
    counts: Counter[tuple[str, str, int]] = Counter()
    for standing in block.replicas:
        counts[standing.workload, standing.role, standing.entry] += standing.replicas
    return tuple(sorted(counts.items()))


def _standing_faults(plan: Plan, survive: Survive) -> Iterator[str]:
    """What is wrong with where the replicas stand."""
    needed: dict[tuple[str, str, int], Used] = {
        (s.workload.name, u.role, i): u for s in plan.served for i, u in _numbered(s)
    }
    there: Counter[tuple[str, str, int]] = Counter()
    seen: set[tuple[str, int]] = set()
    for block in plan.blocks:
        pool = next((pool for pool in plan.instance.pools if pool.name == block.pool), None)
        if pool is None:
            yield f"{block.where}: unknown pool {block.pool}"
            continue
        size = survive.block_gpus(pool)
        room = min(size, (pool.gpus or 0) - block.block * size)
        if room != block.gpus or (block.pool, block.block) in seen:
            yield f"{block.where}: pool {pool.name} has no such block of {show(block.gpus)} GPUs, or it is named twice"
        seen.add((block.pool, block.block))
        filled = 0
        for standing in block.replicas:
            key = (standing.workload, standing.role, standing.entry)
            used = needed.get(key)
            if used is None or used.pool.name != block.pool:
                what = f"{standing.entry} of {standing.role} of {standing.workload}"
                yield f"{block.where}: no entry {what} on {block.pool}"
                continue
            there[key] += standing.replicas
            filled += used.engine.curve.partition.gpus * standing.replicas
        if filled > block.gpus:
            yield f"{block.where}: replicas of {show(filled)} GPUs in a block of {show(block.gpus)}"
    for key, used in needed.items():
        if there[key] != used.entry.replicas:
            yield f"{used.entry.where}: {show(there[key])} replicas stand in blocks, {show(used.entry.replicas)} run"


def _numbered(served: Served) -> Iterator[tuple[int, Used]]:
    numbers: Counter[str] = Counter()
    for used in served.used:
        yield numbers[used.role], used
        numbers[used.role] += 1


def _losses(contents: list[tuple[Content, int]], left: int) -> Iterator[Mapping[Content, int]]:
    """Every way to lose so many blocks, alike ones counted; fewer only where there are no more."""
    if not contents or not left:
        yield {}
        return
    (content, count), rest = contents[0], contents[1:]
    behind = sum(number for _, number in rest)
    for lost in range(min(count, left), max(0, left - behind) - 1, -1):
        for more in _losses(rest, left - lost):
            yield {content: lost, **more} if lost else more


def _left_faults(plan: Plan, gone: Mapping[tuple[str, str, int], int], survive: Survive) -> Iterator[str]:
    """Demands that the replicas left no longer carry."""
    for served in plan.served:
        demand = served.workload.requests_per_s
        if demand is None:
            continue
        capacity: dict[Role, Fraction] = {"prefill": Fraction(0), "decode": Fraction(0), "colocated": Fraction(0)}
        for number, used in _numbered(served):
            left = used.entry.replicas - gone.get((served.workload.name, used.role, number), 0)
            share = plan.instance.utilization(served.workload, used.role)
            capacity[used.role] += share * used.point.requests_per_s * left
        joined = min(capacity[role] for role in served.workload.roles("disaggregated"))
        carried = joined + capacity["colocated"]
        if carried < demand:
            text = f"after a loss of {survive.lost} {survive.kind} {show(carried)} requests/s are left"
            yield f"{served.service.where}: {text}, {show(demand)} are demanded"
