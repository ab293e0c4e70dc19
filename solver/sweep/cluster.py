"""A Dask cluster that somebody else started: tasks go out and records come back through its scheduler."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import Any

from costmodels.errors import Fault, InputError
from solver.sweep.cells import Record, Task
from solver.sweep.crew import CrewLost, Say, died
from solver.sweep.local import Contents
from solver.sweep.worker import fingerprint, lay_out, run_task

CONNECT_S = 15
AHEAD = 2
"""Tasks sent ahead of every thread of the cluster."""
LOOK_EVERY_S = 2.0
"""How often the workers are counted."""


class Cluster:
    """
    The workers of a Dask cluster. No file system is shared: tables go with the scheduler to every worker.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://10.0.0.5:8786``.
    tables
        Tables of curves that tasks refer to.
    say
        Told of workers that are lost or missing.

    Raises
    ------
    InputError
        When Dask is not installed, or nobody answers at the address.
    """

    def __init__(self, address: str, tables: Contents, say: Say) -> None:
        if find_spec("distributed") is None:
            raise InputError([Fault("--scheduler", "needs dask.distributed: pip install 'ratematch[cluster]'")])
        from distributed import Client

        for name in ("distributed", "distributed.client", "distributed.core"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is said in a line of ours
        try:
            self._client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            text = f"no Dask scheduler answers at {address} ({type(error).__name__}: {error})"
            raise InputError([Fault("--scheduler", text)]) from None
        self._address = address
        self._say = say
        self._threads: dict[str, int] = {}
        self._looked = float("-inf")
        self._waiting: dict[Any, Task] = {}
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._plugin = f"ratematch-{fingerprint(tables)}"
        self._client.register_plugin(_plugin(dict(tables)), name=self._plugin)

    @property
    def size(self) -> int:
        """Threads of the cluster when they were last counted."""
        return sum(self._threads.values())

    @property
    def described(self) -> str:
        """In a few words."""
        return f"{len(self._threads)} workers ({self.size} threads) of {self._address}"

    def run(self, tasks: Iterator[Task]) -> Iterator[Record]:
        """
        Does tasks; see :class:`solver.sweep.crew.Crew`.

        Dask itself gives the tasks of a dead worker to others, as often as ``distributed.scheduler.allowed-failures``
        says.

        Raises
        ------
        CrewLost
            When the scheduler cannot be reached any more.
        """
        while True:
            self._send(tasks)
            if not self._waiting:
                self._look(now=True)
                return
            try:
                future = self._ended.get(timeout=LOOK_EVERY_S)
            except Empty:
                continue
            yield self._record(future, self._waiting.pop(future))

    def _send(self, tasks: Iterator[Task]) -> None:
        self._look()
        while len(self._waiting) < max(AHEAD, AHEAD * self.size):
            task = next(tasks, None)
            if task is None:
                return
            future = self._client.submit(run_task, task, key=f"ratematch-{task.key}-{time.time_ns()}", pure=False)
            self._waiting[future] = task
            future.add_done_callback(self._ended.put)

    def _record(self, future: Any, task: Task) -> Record:
        from distributed import CancelledError

        try:
            error = future.exception()
            if error is None:
                record: Record = future.result()
                return record
        except (OSError, TimeoutError, CancelledError):
            raise self._lost() from None
        if type(error).__name__ == "KilledWorker":
            how = f"cell {task.cell} was at work on every worker that died with it; it is given up"
            self._say(how)
            return died(task, how)
        return died(task, f"{type(error).__name__} on a worker: {error}; is ratematch installed there?")

    def _look(self, now: bool = False) -> None:
        """Counts the workers, and tells of those that have gone."""
        if not now and time.monotonic() - self._looked < LOOK_EVERY_S:
            return
        if self._client.status != "running":
            raise self._lost()
        try:
            threads = dict(self._client.nthreads())
        except (OSError, TimeoutError):
            raise self._lost() from None
        first = self._looked == float("-inf")
        self._looked = time.monotonic()
        for worker in self._threads.keys() - threads.keys():
            self._say(f"worker {worker} has gone; Dask gives its cells to others")
        if not threads and (first or self._threads):
            self._say("the cluster has no workers; waiting for some")
        self._threads = threads

    def stop(self) -> None:
        """Withdraws what is at work, and leaves the cluster as it was."""
        if self._client.status == "closed":
            return
        with suppress(Exception):  # the scheduler may have gone
            self._client.cancel(list(self._waiting), force=True)
            self._client.unregister_worker_plugin(self._plugin)
        self._waiting.clear()
        self._client.close(timeout=5)

    def _lost(self) -> CrewLost:
        return CrewLost(f"the scheduler at {self._address} cannot be reached any more")


def _plugin(tables: dict[str, tuple[str, bytes]]) -> Any:
    """What hands tables to every worker, those that come later too."""
    from distributed import WorkerPlugin

    class LayOut(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:  # noqa: ARG002 - as Dask calls it
            lay_out(tables)

    return LayOut()
