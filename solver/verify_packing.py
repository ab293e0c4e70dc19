"""C4 for the verifier: do whole stage groups fit into NVLink domains? Decided by packing them, or by a placement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from solver.instance import Pool
from solver.verify_document import Domains
from solver.verify_numbers import show

MOST_STATES = 200_000
"""States that the exact search may visit before it gives up; a result with a placement needs no search."""


def placement_faults(pool: Pool, groups: Mapping[int, int], lines: Sequence[Domains]) -> Iterator[str]:
    """
    Yields what a placement gets wrong: it must hold each group once, in domains that the pool has.

    Parameters
    ----------
    pool
        The pool.
    groups
        Size to count of the stage groups in use.
    lines
        The placement; groups larger than a domain do not appear in it, the domains that they take are reserved here.
    """
    domain, partial = pool.nvlink_domain_gpus, pool.partial_domain_gpus
    placed: Counter[int] = Counter()
    taken: Counter[int] = Counter()
    for line in lines:
        taken[line.gpus] += line.domains
        volume = sum(size * count for size, count in line.groups.items())
        if volume > line.gpus:
            yield f"{line.where}: groups of {show(volume)} GPUs in a domain of {show(line.gpus)}"
        for size, count in line.groups.items():
            placed[size] += count * line.domains
    small = {size: count for size, count in groups.items() if size <= domain}
    for size in sorted(placed.keys() | small.keys()):
        if placed[size] != small.get(size, 0):
            wanted = show(small.get(size, 0))
            yield f"pool {pool.name}: placement holds {show(placed[size])} groups of {size} GPUs, {wanted} are used"
    full = pool.full_domains - whole_domains(groups, domain)
    if taken[domain] > full:
        yield f"pool {pool.name}: placement takes {show(taken[domain])} full domains, {show(full)} are left for it"
    for gpus in sorted(taken.keys() - {domain}):
        there = 1 if gpus == partial else 0
        if taken[gpus] > there:
            what = f"{show(taken[gpus])} domains of {show(gpus)} GPUs"
            yield f"pool {pool.name}: placement takes {what}, the pool has {there}"


def whole_domains(groups: Mapping[int, int], domain: int) -> int:
    """Full domains that the groups larger than a domain take."""
    return sum(count * -(-size // domain) for size, count in groups.items() if size > domain)


def packs(groups: Mapping[int, int], full: int, domain: int, partial: int) -> bool | None:
    """
    Whether stage groups fit.

    Parameters
    ----------
    groups
        Size to count.
    full
        Domains of ``domain`` GPUs.
    domain
        GPUs of a domain.
    partial
        GPUs of the last, incomplete domain; 0 for none.

    Returns
    -------
    bool or None
        None where the exact search gave up.

    Notes
    -----
    First fit decreasing is exact where each size divides the next: whatever lies in a domain already is a multiple of
    the size at hand, so the room left for that size does not depend on how the larger groups were placed.
    """
    full -= whole_domains(groups, domain)
    small = {size: count for size, count in groups.items() if size <= domain and count}
    if full < 0:
        return False
    if _first_fit(small, full, domain, partial):
        return True
    sizes = sorted(small)
    if all(b % a == 0 for a, b in pairwise(sizes)):
        return False
    return _search(small, full, domain, partial)


def _first_fit(groups: Mapping[int, int], full: int, domain: int, partial: int) -> bool:
    """First fit decreasing, many equal domains at a time; domains with the least room go first."""
    room = Counter({domain: full})
    room[partial] += 1
    for size in sorted(groups, reverse=True):
        left = groups[size]
        for free in sorted(room):
            each = free // size
            if each and left:
                filled = min(room[free], left // each)
                left -= filled * each
                room[free] -= filled
                room[free - each * size] += filled
                if left and room[free] and left < each:
                    room[free] -= 1
                    room[free - left * size] += 1
                    left = 0
        if left:
            return False
    return True


def _search(groups: Mapping[int, int], full: int, domain: int, partial: int) -> bool | None:
    """
    Fills one domain after another, remembering what was left.

    Only fillings count to which nothing more could be added, and since full domains are alike, the next one may be
    taken to hold a largest group that is left.
    """
    sizes = tuple(sorted(groups, reverse=True))
    start = tuple(groups[size] for size in sizes)
    stack = [(_less(start, filling), full) for filling in _fillings(sizes, start, partial)]
    seen = set(stack)
    while stack:
        left, domains = stack.pop()
        if not any(left):
            return True
        if not _may_fit(sizes, left, domains, domain):
            continue
        first = next(index for index, count in enumerate(left) if count)
        for filling in _fillings(sizes, left, domain):
            state = (_less(left, filling), domains - 1)
            if filling[first] and state not in seen:
                seen.add(state)
                stack.append(state)
            if len(seen) > MOST_STATES:
                return None
    return False


def _less(left: tuple[int, ...], filling: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a - b for a, b in zip(left, filling, strict=True))


def _may_fit(sizes: tuple[int, ...], left: tuple[int, ...], domains: int, domain: int) -> bool:
    """Volume, and for each size the slots that groups of at least this size need."""
    if sum(size * count for size, count in zip(sizes, left, strict=True)) > domains * domain:
        return False
    return all(sum(left[: index + 1]) <= domains * (domain // size) for index, size in enumerate(sizes))


def _fillings(sizes: tuple[int, ...], left: tuple[int, ...], room: int) -> Iterator[tuple[int, ...]]:
    """Yields the ways to fill a domain so that no group that is left could be added."""
    if not sizes:
        yield ()
        return
    most = min(left[0], room // sizes[0])
    if len(sizes) == 1:
        yield (most,)
        return
    for count in range(most, -1, -1):
        free = room - count * sizes[0]
        for rest in _fillings(sizes[1:], left[1:], free):
            used = sum(size * number for size, number in zip(sizes[1:], rest, strict=True))
            if count == left[0] or free - used < sizes[0]:
                yield (count, *rest)
