"""NVLink domains of a pool through time: groups are put in, taken out, and, where nothing else helps, moved."""

from __future__ import annotations

from collections import Counter

from solver.instance import Pool
from solver.scheduling.engine_column import EngineColumn

Spot = tuple[int, ...]
"""The domains of the stage groups of a replica, in order; a group larger than a domain lists all that it takes."""


class Domains:
    """
    The domains of a pool and what stands in them.

    Parameters
    ----------
    pool
        The pool.
    """

    def __init__(self, pool: Pool) -> None:
        self.size = pool.nvlink_domain_gpus
        self.free = [self.size] * pool.full_domains + ([pool.partial_domain_gpus] if pool.partial_domain_gpus else [])
        self.standing: list[Counter[int]] = [Counter() for _ in self.free]
        self.groups: dict[int, int] = {}
        self.spots: dict[int, list[int]] = {}
        self.moved: set[int] = set()

    def put(self, replica: int, column: EngineColumn) -> bool:
        """Finds a place for a replica, moving others where it must; False where none is found."""
        partition = column.engine.curve.partition
        size, spot = partition.stage_group, list[int]()
        self.groups[replica], self.spots[replica] = size, spot
        for _ in range(partition.pp):
            wide = -(-size // self.size) if size > self.size else 1
            for _ in range(wide):
                place = self._room(min(size, self.size), replica)
                if place is None:
                    self.take(replica)
                    return False
                self._add(place, replica, min(size, self.size))
        return True

    def take(self, replica: int) -> None:
        """Frees the place of a replica."""
        size = min(self.groups.pop(replica), self.size)
        for place in self.spots.pop(replica):
            self.free[place] += size
            self.standing[place][replica] -= 1
            if not self.standing[place][replica]:
                del self.standing[place][replica]

    def crowd(self, replica: int) -> tuple[int, int]:
        """How full the domains of a replica are; what leaves first is what stands most alone."""
        places = self.spots[replica]
        left = sum(self.size - self.free[place] for place in set(places))
        return (left, max(places, default=0))

    def _add(self, place: int, replica: int, size: int) -> None:
        self.free[place] -= size
        self.standing[place][replica] += 1
        self.spots[replica].append(place)

    def _room(self, size: int, replica: int) -> int | None:
        """The fullest domain with room for a group; else one from which the fewest replicas must be moved away."""
        fitting = [p for p, room in enumerate(self.free) if room >= size]
        return min(fitting, key=lambda p: (self.free[p], p)) if fitting else self._cleared(size, replica)

    def _cleared(self, size: int, replica: int) -> int | None:
        """Moves smaller groups out of one domain until a group fits; None where none can be cleared."""
        options = []
        for place, there in enumerate(self.standing):
            movable = [r for r in there if self.groups[r] < size and r != replica]
            movable.sort(key=lambda r: -self.groups[r] * there[r])
            chosen, room = [], self.free[place]
            for other in movable:
                if room < size:
                    chosen.append(other)
                    room += there[other] * self.groups[other]
            if room >= size:
                options.append((len(chosen), place, chosen))
        if not options:
            return None
        _, place, chosen = min(options)
        return place if self._evict(place, chosen, size) else None

    def _evict(self, place: int, chosen: list[int], size: int) -> bool:
        """Moves groups out of a domain, the largest first, as far as they do not fit beside the one that comes."""
        removed = [(self.groups[r], r) for r in chosen for _ in range(self.standing[place][r])]
        spare = self.free[place] + sum(group for group, _ in removed) - size
        for other in chosen:
            del self.standing[place][other]
        self.free[place] = 0  # nothing else goes there meanwhile
        for group, other in sorted(removed, reverse=True):
            if group <= spare:
                spare -= group
                self.standing[place][other] += 1
                continue
            there = self._room(group, other)
            if there is None:
                return False
            self.free[there] -= group
            self.standing[there][other] += 1
            self.spots[other][self.spots[other].index(place)] = there
            self.moved.add(other)
        self.free[place] = size + spare
        return True

    def moves(self) -> set[int]:
        """The replicas that were moved since the last call."""
        moved, self.moved = self.moved, set()
        return moved
