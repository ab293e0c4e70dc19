"""One request on its way through a deployment."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costmodels.operating_curve import Role
    from solver.simulation.handover import Sender


class Job:
    """
    One request, and when what happened to it; times in seconds, not a number before they are known.

    Attributes
    ----------
    index
        Its number in the order of arrival.
    workload
        Number of its workload in the instance.
    isl, osl
        Input and output tokens.
    arrival
        When it came.
    start
        When its prompt was begun.
    first
        When its first token was there, the KV hand-over included.
    joined
        When it joined the decode batch; co-located: when it was taken in.
    end
        When its last token was there.
    begun, sender
        When the batch of its prompt was begun, and the end that sends its KV cache.
    role
        Where its last token came from.
    work
        Work of its prompt, in mean prompts of the engine that takes it.
    claim
        KV cache that it claims where it decodes, in tokens.
    """

    __slots__ = ("arrival", "begun", "claim", "end", "first", "index", "isl", "joined", "osl", "role", "sender",
                 "start", "work", "workload")  # fmt: skip

    def __init__(self, index: int, workload: int, isl: int, osl: int, arrival: float) -> None:
        self.index = index
        self.workload = workload
        self.isl = isl
        self.osl = osl
        self.arrival = arrival
        self.start = self.begun = self.first = self.joined = self.end = nan
        self.sender: Sender | None = None
        self.role: Role = "prefill"
        self.work = 1.0
        self.claim = 0.0
