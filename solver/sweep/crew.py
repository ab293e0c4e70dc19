"""Who does the work: one small protocol, for processes of this machine and for clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from solver.sweep.cells import Record, Task

Say = Callable[[str], object]
"""Takes a line for the user: a worker that was lost, a cluster without workers."""


class Crew(Protocol):
    """Workers."""

    @property
    def size(self) -> int:
        """Cells that can be at work at once, as far as is known now."""

    @property
    def described(self) -> str:
        """In a few words: ``2 processes``."""

    def run(self, tasks: Iterator[Task]) -> Iterator[Record]:
        """
        Does tasks and gives their records, in the order in which they end.

        Tasks are taken from the iterator only as fast as they are done. A worker that dies is reported; its task is
        done again, and after the second time it is a record of status ``failed``.
        """

    def stop(self) -> None:
        """Ends all workers that were started here, at once; what is at work is lost."""


class CrewLost(Exception):
    """The workers cannot be reached any more, or are not of this program; what was at work is not done."""


def died(task: Task, how: str) -> Record:
    """The record of a cell whose workers died."""
    from solver.sweep.cells import record_of

    return {**record_of(task.key, "failed", how), "time_limit_s": task.tracing.time_limit_s}
