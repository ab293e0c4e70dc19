"""Processes of this machine: one cell each at a time, so that it is known which cell a dead one was at."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from solver.sweep.cells import Record, Task
from solver.sweep.crew import Say, died

Contents = Mapping[str, tuple[str, bytes]]
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Local:
    """
    Processes of this machine, started afresh (``spawn``), each with one thread.

    Parameters
    ----------
    workers
        How many.
    tables
        Tables of curves that tasks refer to.
    say
        Told of processes that died.
    """

    def __init__(self, workers: int, tables: Contents, say: Say) -> None:
        self.size = workers
        self._tables = tables
        self._say = say
        self._started: list[_Process] = []

    @property
    def described(self) -> str:
        """In a few words."""
        return f"{self.size} process{'es' if self.size > 1 else ''}"

    def run(self, tasks: Iterator[Task]) -> Iterator[Record]:
        """Does tasks; see :class:`solver.sweep.crew.Crew`."""
        again: list[Task] = []
        tried: set[str] = set()
        while True:
            self._give(tasks, again)
            busy = {process.line: process for process in self._started if process.task is not None}
            if not busy:
                return
            for line in wait(list(busy)):
                process = busy[line]  # type: ignore[index]
                task = process.task
                assert task is not None
                record = process.take()
                if record is None:
                    self._started.remove(process)
                    how = f"the process of cell {task.cell} died ({process.ending()})"
                    if task.key in tried:
                        self._say(f"{how} a second time; the cell is given up")
                        yield died(task, f"{how}, twice")
                    else:
                        self._say(f"{how}; the cell is done again")
                        tried.add(task.key)
                        again.append(task)
                else:
                    yield record

    def _give(self, tasks: Iterator[Task], again: list[Task]) -> None:
        """Gives a task to every process that has none; starts processes while there are tasks for them."""
        idle = [process for process in self._started if process.task is None]
        while idle or len(self._started) < self.size:
            task = again.pop() if again else next(tasks, None)
            if task is None:
                return
            if not idle:
                self._started.append(_Process(self._tables))
                idle.append(self._started[-1])
            idle.pop().give(task)

    def stop(self) -> None:
        """Ends all processes at once."""
        for process in self._started:
            process.end()
        self._started.clear()


class _Process:
    """One process, and the task that it is at."""

    def __init__(self, tables: Contents) -> None:
        context = get_context("spawn")
        self.line, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.task: Task | None = None
        self._send(tables)

    def give(self, task: Task) -> None:
        self.task = task
        self._send(task)

    def _send(self, message: object) -> None:
        """Sends; where the process has died, :meth:`take` will tell."""
        try:
            self.line.send(message)
        except OSError:
            return

    def take(self) -> Record | None:
        """The record; None where the process has died."""
        try:
            record: Record = self.line.recv()
        except (EOFError, OSError):
            self._process.join(10)
            return None
        self.task = None
        return record

    def ending(self) -> str:
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        return f"signal {signal.Signals(-code).name}"

    def end(self) -> None:
        self._process.kill()
        self._process.join(10)
        self.line.close()


def _serve(line: Connection) -> None:
    """The life of a process: tables first, then tasks, until nobody sends any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from solver.sweep.worker import lay_out, run_task

    try:
        lay_out(line.recv())
        while True:
            line.send(run_task(line.recv()))
    except (EOFError, OSError):
        return


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
