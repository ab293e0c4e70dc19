"""A prefill replica: takes prompts from its queue, up to the planned batch at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from solver.simulation.job import Job
from solver.simulation.loop import Loop
from solver.simulation.service import Service

Prefilled = Callable[["PrefillReplica", list[Job], float], None]
"""Gets the replica, the prompts of a batch that is ready, and when the batch was begun."""


class PrefillReplica:
    """
    One replica.

    As soon as it is free it takes what waits, at most a full batch, and waits for no more. A batch of k prompts is
    ready after latency(k), and the replica is free again after k / rate(k), each times the mean work of its prompts.

    Attributes
    ----------
    load
        Seconds of work that it has not done, at the pace of full batches.
    busy_s
        Seconds in which it was occupied, up to ``horizon``.
    refill
        Called when it is free and nothing waits.
    is_open
        Whether new requests may come to it.
    """

    __slots__ = ("_horizon", "_is_busy", "_is_filling", "_loop", "_ready", "_service", "_unit", "busy_s", "is_open",
                 "load", "number", "pool", "queue", "refill")  # fmt: skip

    def __init__(self, loop: Loop, number: int, pool: str, service: Service, horizon: float, ready: Prefilled) -> None:
        self._loop, self._service, self._horizon, self._ready = loop, service, horizon, ready
        self._unit = service.occupied_s[-1] / service.batch
        self._is_busy = self._is_filling = False
        self.number, self.pool = number, pool
        self.queue: deque[Job] = deque()
        self.load = self.busy_s = 0.0
        self.is_open = True
        self.refill: Callable[[PrefillReplica], None] | None = None

    @property
    def has_room(self) -> bool:
        """Whether a prompt would be begun at once."""
        return not self._is_busy and self.is_open and len(self.queue) < self._service.batch

    def fits(self, job: Job) -> bool:
        """Whether a request can be served at all: a prompt alone always can."""
        return job.isl > 0

    def add(self, job: Job) -> None:
        """Takes a request into the queue."""
        self.queue.append(job)
        self.load += job.work * self._unit
        if not self._is_busy and not self._is_filling:
            self._begin()

    def _begin(self) -> None:
        service, queue, now = self._service, self.queue, self._loop.now
        count = min(len(queue), service.batch)
        jobs = [queue.popleft() for _ in range(count)]
        work = 0.0
        for job in jobs:
            job.start = now
            work += job.work
        occupied = service.occupied_s[count] * work / count
        self._is_busy = True
        self.busy_s += max(0.0, min(now + occupied, self._horizon) - now)
        self._loop.at(now + service.latency_s[count] * work / count, self._done, (jobs, now))
        self._loop.at(now + occupied, self._free, work)

    def _done(self, batch: tuple[list[Job], float]) -> None:
        self._ready(self, *batch)

    def _free(self, work: float) -> None:
        self.load -= work * self._unit
        self._is_busy = False
        if not self.queue and self.refill is not None:
            self._is_filling = True
            self.refill(self)
            self._is_filling = False
        if self.queue:
            self._begin()
