"""The event loop: what happens next, in the order of time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Action = Callable[[Any], None]


class Loop:
    """
    Events on a heap; of those at the same time the one that was planned first comes first.

    Attributes
    ----------
    now
        The time in seconds.
    events
        How many events have happened.
    """

    __slots__ = ("_heap", "_planned", "events", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self._heap: list[tuple[float, int, Action, Any]] = []
        self._planned = 0

    def at(self, time: float, action: Action, what: Any) -> None:
        """Plans an action; a time that has passed, by rounding, is now."""
        self._planned += 1
        heappush(self._heap, (time if time > self.now else self.now, self._planned, action, what))

    def run(self, until: float = float("inf")) -> None:
        """Lets everything happen, and what follows from it, up to a time."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, action, what = heappop(heap)
            self.events += 1
            action(what)
