"""A co-located replica: prompts and tokens mixed in the same steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf

from solver.simulation.job import Job
from solver.simulation.loop import Loop
from solver.simulation.service import KvClaim, Service


class ColocatedReplica:
    """
    One replica.

    With n sequences in flight a prompt of mean work takes TTFT(n), and a token TPOT(n), as the curve says of mixed
    steps at that batch; the pace changes whenever n does. A request is taken in when a place, KV cache and room for its
    prompt in a mixed step are free, first come first served: at most ``chunk_tokens`` of prompts at a time, or one
    prompt. At n = batch, where each that leaves is replaced, this is the closed loop that the curve describes.

    Attributes
    ----------
    load
        Sequences here by planned places.
    refill
        Called when it has room and nothing waits.
    is_open
        Whether new requests may come to it.
    """

    __slots__ = ("_at", "_claim", "_decoded", "_decodes", "_done", "_due", "_flight", "_is_filling", "_kv", "_loop",
                 "_prefilled", "_prompt_tokens", "_prompts", "_service", "is_open", "load", "number", "pool", "queue",
                 "refill")  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        number: int,
        pool: str,
        service: Service,
        claim: KvClaim,
        done: Callable[[Job], None],
    ) -> None:
        self._loop, self._service, self._claim, self._done = loop, service, claim, done
        self.number, self.pool = number, pool
        self.queue: deque[Job] = deque()
        self._prompts: list[tuple[float, int, Job]] = []
        self._decodes: list[tuple[float, int, Job]] = []
        self._prefilled = self._decoded = 0.0
        self._flight, self._kv, self._prompt_tokens = 0, 0.0, 0
        self._at, self._due = 0.0, inf
        self.load = 0.0
        self.is_open = True
        self.refill: Callable[[ColocatedReplica], None] | None = None
        self._is_filling = False

    @property
    def has_room(self) -> bool:
        """Whether a place is free and no request waits."""
        return self._flight + len(self.queue) < self._service.batch and self.is_open

    def fits(self, job: Job) -> bool:
        """Whether a request can be served at all."""
        return self._claim(job.isl, job.osl) <= self._service.kv_tokens

    def add(self, job: Job) -> None:
        """Takes a request."""
        job.claim = self._claim(job.isl, job.osl)
        self.load += 1 / self._service.batch
        self.queue.append(job)
        if len(self.queue) == 1 and self._may_join(job) and not self._is_filling:
            self._go_on()

    def _may_join(self, job: Job) -> bool:
        service = self._service
        room = not self._prompts or self._prompt_tokens + job.isl <= service.prompt_tokens
        return room and self._flight < service.batch and self._kv + job.claim <= service.kv_tokens

    def _event(self, due: float) -> None:
        if due == self._due:
            self._go_on()

    def _go_on(self) -> None:
        """Brings everything up to now; prompts become first tokens, last tokens leave, others join."""
        service, now, flight = self._service, self._loop.now, self._flight
        if flight:
            self._prefilled += (now - self._at) / service.ttft_s[flight]
            self._decoded += (now - self._at) / service.latency_s[flight]
        self._at = now
        prompts, decodes, queue = self._prompts, self._decodes, self.queue
        while prompts and prompts[0][0] <= self._prefilled + 1e-9:
            job = heappop(prompts)[2]
            job.first = now
            self._prompt_tokens -= job.isl
            if job.osl > 1:
                heappush(decodes, (self._decoded + job.osl - 1, job.index, job))
            else:
                self._leave(job)
        while decodes and decodes[0][0] <= self._decoded + 1e-7:
            self._leave(heappop(decodes)[2])
        if self.refill is not None and not queue and flight:
            self._is_filling = True
            self.refill(self)
            self._is_filling = False
        while queue and self._may_join(queue[0]):
            job = queue.popleft()
            job.start = job.joined = now
            self._flight += 1
            self._kv += job.claim
            self._prompt_tokens += job.isl
            heappush(prompts, (self._prefilled + job.work, job.index, job))
        self._plan()

    def _leave(self, job: Job) -> None:
        job.end = self._loop.now
        self._flight -= 1
        self._kv = self._kv - job.claim if self._flight else 0.0
        self.load -= 1 / self._service.batch
        self._done(job)

    def _plan(self) -> None:
        service, flight = self._service, self._flight
        self._due = inf
        if self._prompts:
            self._due = self._at + (self._prompts[0][0] - self._prefilled) * service.ttft_s[flight]
        if self._decodes:
            token = self._at + (self._decodes[0][0] - self._decoded) * service.latency_s[flight]
            self._due = min(self._due, token)
        if flight:
            self._due = max(self._due, self._at)
            self._loop.at(self._due, self._event, self._due)
