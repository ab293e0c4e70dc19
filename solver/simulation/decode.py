"""A decode replica: continuous batching, step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from math import ceil, inf

from solver.simulation.job import Job
from solver.simulation.loop import Loop
from solver.simulation.service import KvClaim, Service


class DecodeReplica:
    """
    One replica.

    Every step gives each sequence in flight a token and takes as long as the curve says at the momentary batch.
    Sequences join and leave between steps; one that comes to an idle replica starts at once. Who finds all planned
    places taken, or too little KV cache, waits, first come first served. Steps in which nobody comes or goes are passed
    over in one event, which changes nothing.

    Attributes
    ----------
    load
        Sequences here by planned places.
    is_open
        Whether new requests may come to it.
    """

    __slots__ = ("_at", "_claim", "_done", "_due", "_finish", "_flight", "_kv", "_loop", "_service", "_step", "_step_s",
                 "is_open", "load", "number", "pool", "queue")  # fmt: skip

    def __init__(
        self, loop: Loop, number: int, pool: str, service: Service, claim: KvClaim, done: Callable[[Job], None]
    ) -> None:
        self._loop, self._service, self._claim, self._done = loop, service, claim, done
        self.number, self.pool = number, pool
        self.queue: deque[Job] = deque()
        self._finish: list[tuple[int, int, Job]] = []
        self._flight, self._kv, self._step = 0, 0.0, 0
        self._at, self._step_s, self._due = 0.0, 0.0, inf
        self.load = 0.0
        self.is_open = True

    @property
    def has_room(self) -> bool:
        """Whether a place is free."""
        return self._flight + len(self.queue) < self._service.batch and self.is_open

    def fits(self, job: Job) -> bool:
        """Whether a request can be served at all."""
        return self._claim(job.isl, job.osl) <= self._service.kv_tokens

    def expect(self) -> None:
        """Counts a request whose KV cache is on its way."""
        self.load += 1 / self._service.batch

    def add(self, job: Job) -> None:
        """Takes a request whose KV cache is here."""
        job.claim = self._claim(job.isl, job.osl)
        self.queue.append(job)
        if self._flight == 0:
            self._between_steps()
        elif len(self.queue) == 1 and self._may_join(job):
            steps = ceil((self._loop.now - self._at) / self._step_s - 1e-9)
            self._plan(self._at + steps * self._step_s, self._step + steps)

    def _may_join(self, job: Job) -> bool:
        return self._flight < self._service.batch and self._kv + job.claim <= self._service.kv_tokens

    def _plan(self, time: float, step: int) -> None:
        if time < self._due:
            self._due = time
            self._loop.at(time, self._boundary, (time, step))

    def _boundary(self, planned: tuple[float, int]) -> None:
        if planned[0] == self._due:
            self._step = planned[1]
            self._between_steps()

    def _between_steps(self) -> None:
        """Sequences leave and join; the next change is planned."""
        finish, queue, step, now = self._finish, self.queue, self._step, self._loop.now
        while finish and finish[0][0] <= step:
            job = heappop(finish)[2]
            job.end = now
            self._flight -= 1
            self._kv -= job.claim
            self.load -= 1 / self._service.batch
            self._done(job)
        while queue and self._may_join(queue[0]):
            job = queue.popleft()
            job.joined = now
            self._flight += 1
            self._kv += job.claim
            heappush(finish, (step + job.osl - 1, job.index, job))
        self._due = inf
        self._at = now
        if finish:
            self._step_s = self._service.latency_s[self._flight]
            last = finish[0][0]
            self._plan(now + (last - step) * self._step_s, last)
        else:
            self._kv = 0.0
