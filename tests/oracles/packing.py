"""C4 by true bin packing: stage groups into NVLink domains, any sizes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache


def packs(counts: Mapping[int, int], full_domains: int, domain_gpus: int, partial: int = 0) -> bool:
    """
    Whether the stage groups of one pool fit its NVLink domains.

    A group of at most ``domain_gpus`` GPUs lies inside one domain, full or partial; a larger one takes
    ceil(size / domain_gpus) full domains for itself, and what it leaves of them is lost.

    Parameters
    ----------
    counts
        Group size in GPUs to number of groups.
    full_domains
        Domains of ``domain_gpus`` GPUs.
    domain_gpus
        GPUs of a full domain.
    partial
        GPUs of the last, incomplete domain; 0 for none.
    """
    whole = sum(count * -(-size // domain_gpus) for size, count in counts.items() if size > domain_gpus)
    if whole > full_domains:
        return False
    room = (partial,) + (domain_gpus,) * (full_domains - whole)
    small = tuple(sorted(((s, c) for s, c in counts.items() if s <= domain_gpus and c > 0), reverse=True))
    return _place(small, tuple(sorted(free for free in room if free)))


@lru_cache(maxsize=200_000)
def _place(groups: tuple[tuple[int, int], ...], room: tuple[int, ...]) -> bool:
    """Whether groups ((size, count), largest first) fit into bins with the given free GPUs (ascending)."""
    if not groups:
        return True
    if sum(size * count for size, count in groups) > sum(room):
        return False
    (size, count), rest = groups[0], groups[1:]
    if sum(free // size for free in room) < count:
        return False
    if not rest:
        return True
    left = ((size, count - 1), *rest) if count > 1 else rest
    for free in sorted(set(room)):
        if free >= size:
            index = room.index(free)
            bins = sorted((*room[:index], free - size, *room[index + 1 :]))
            if _place(left, tuple(bins)):
                return True
    return False
