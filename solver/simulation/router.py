"""Who of several replicas gets a request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar

from solver.simulation.job import Job

Policy = Literal["least-loaded", "round-robin", "central"]
POLICIES: tuple[Policy, ...] = ("least-loaded", "round-robin", "central")


class Replica(Protocol):
    """What a router knows of a replica."""

    load: float
    is_open: bool
    number: int
    pool: str
    queue: deque[Job]

    @property
    def has_room(self) -> bool:
        """Whether a request would be begun at once."""

    def fits(self, job: Job) -> bool:
        """Whether a request can be served at all."""


R = TypeVar("R", bound=Replica)


class Router(Generic[R]):
    """
    The way into the replicas of one role.

    ``least-loaded``: to the replica with the least load, of equal ones to the first. ``round-robin``: in turn, as often
    as its planned rate has a share in that of all. ``central``: one queue for all, of which a replica takes when it has
    room. Where no replica is open, requests wait for one.

    Parameters
    ----------
    policy
        One of these.
    send
        Gives a request to a replica.
    """

    def __init__(self, policy: Policy, send: Callable[[R, Job], None]) -> None:
        self._policy, self._send = policy, send
        self._turns: dict[int, float] = {}
        self._weights: dict[int, float] = {}
        self.replicas: list[R] = []
        self.waiting: deque[Job] = deque()

    def open(self, replica: R, weight: float) -> None:
        """Takes a replica in; its weight is its planned rate."""
        self.replicas.append(replica)
        self._weights[replica.number] = weight
        self._turns[replica.number] = min(self._turns.values(), default=0.0)
        self.pull(replica)

    def close(self, replica: R) -> None:
        """Lets a replica finish what it has, and sends no more."""
        replica.is_open = False
        self.replicas.remove(replica)
        del self._turns[replica.number]

    def can_take(self, job: Job) -> bool:
        """Whether any replica could serve a request; without replicas that is not known."""
        return not self.replicas or any(replica.fits(job) for replica in self.replicas)

    def add(self, job: Job) -> None:
        """Sends a request on, or lets it wait."""
        fitting = [replica for replica in self.replicas if replica.fits(job)]
        if self._policy == "central":
            fitting = [] if self.waiting else [replica for replica in fitting if replica.has_room]
        if not fitting:
            self.waiting.append(job)
        elif self._policy == "round-robin":
            chosen = min(fitting, key=lambda replica: self._turns[replica.number])
            self._turns[chosen.number] += 1 / self._weights[chosen.number]
            self._send(chosen, job)
        else:
            self._send(min(fitting, key=_load), job)

    def pull(self, replica: R) -> None:
        """A replica has room: it gets what waits for it."""
        central = self._policy == "central"
        while self.waiting and replica.is_open and (replica.has_room or not central):
            if not replica.fits(self.waiting[0]):
                return
            self._send(replica, self.waiting.popleft())


def _load(replica: Replica) -> float:
    return replica.load
