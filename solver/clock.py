"""The clock of a run: time left, solves done, and the exception that says that a limit came first."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

from solver.backends.base import Controls


class Stopped(Exception):
    """A limit or an interrupt came before the answer."""


@dataclass
class Clock:
    """
    Time left and solves done.

    Parameters
    ----------
    controls
        Run controls; each solve gets the time that is left.
    """

    controls: Controls
    started: float = field(default_factory=time.perf_counter)
    solves: int = 0
    interrupted: bool = False

    def remaining(self) -> Controls:
        """
        Controls for the next solve.

        Raises
        ------
        Stopped
            When no time is left, or the user interrupted the solve before.
        """
        if self.interrupted:
            raise Stopped
        limit = self.controls.time_limit_s
        if limit is None:
            return self.controls
        left = limit - (time.perf_counter() - self.started)
        if left <= 0:
            raise Stopped
        return replace(self.controls, time_limit_s=left)

    @staticmethod
    def now() -> float:
        """Seconds of the clock."""
        return time.perf_counter()

    def until(self, share: float) -> float:
        """
        When a part of the time that is left will be over; without a limit never.

        Raises
        ------
        Stopped
            As for :meth:`remaining`.
        """
        left = self.remaining().time_limit_s
        return math.inf if left is None else self.now() + share * left

    def stopped(self, reason: BaseException) -> None:
        """Notes why a search ended early: after an interrupt nothing further is solved."""
        self.interrupted |= isinstance(reason, KeyboardInterrupt)
