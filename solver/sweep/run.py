"""The sweep: every cell of a grid, once; kept as soon as it is there, and shown as two tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from costmodels.errors import Fault, InputError
from solver.sweep.cells import Record, Tables, Task, task_of
from solver.sweep.crew import Crew, CrewLost, Say
from solver.sweep.grid import Grid, read_grid
from solver.sweep.journal import Journal
from solver.sweep.tables import CELLS, FRONTIERS, check_parquet, write_tables

MOST_SHOWN = 10
"""Different messages that a report shows."""
NO_FRONTIER = ("bad_input", "failed")
"""Statuses of cells that are settled without a frontier."""


@dataclass(frozen=True)
class Progress:
    """
    How far a sweep is.

    Parameters
    ----------
    cells, done
        Cells of the grid, and those that are settled.
    kept
        Of these, taken up from an earlier run, or equal to another cell.
    traced
        Frontiers of this run.
    wall_s
        Seconds since the first cell was given out.
    """

    cells: int
    done: int
    kept: int
    traced: int
    wall_s: float


@dataclass
class Swept:
    """
    What a sweep gave.

    Parameters
    ----------
    grid
        The grid.
    folder
        Where its tables are.
    statuses
        Status to the number of cells.
    messages
        What is wrong with cells, to their numbers.
    kept, traced
        Cells taken up from an earlier run or equal to another one; frontiers traced now.
    rows, points
        Rows of the table of frontiers, and points among them.
    wall_s
        Seconds from the first cell to the last.
    crew
        Who did it.
    ended
        Why it ended early; empty where it did not.
    others
        Records of the journal that are of no cell of this grid.
    unreadable
        Lines of the journal that are no records.
    """

    grid: Grid
    folder: Path
    statuses: Counter[str] = field(default_factory=Counter)
    messages: dict[str, list[int]] = field(default_factory=dict)
    kept: int = 0
    traced: int = 0
    rows: int = 0
    points: int = 0
    wall_s: float = 0.0
    crew: str = ""
    ended: str = ""
    others: int = 0
    unreadable: int = 0


def sweep(
    path: Path,
    folder: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[Progress], object] = lambda _: None,
    say: Say = lambda _: None,
) -> Swept:
    """
    Traces every cell of a grid that is not done yet, and writes the tables.

    Parameters
    ----------
    path
        The grid file.
    folder
        Where journal and tables are; made where it is not there. What an earlier run finished there is taken up where
        everything that it followed from is the same: instance, tables, traces, options, program.
    workers
        Processes of this machine; all usable cores by default.
    scheduler
        Address of a Dask scheduler to use instead.
    progress
        Told of every settled cell.
    say
        Told of what goes wrong on the way.

    Raises
    ------
    InputError
        When the grid has faults, the folder cannot be written or is in use, pyarrow or Dask is missing, or no scheduler
        answers. Nothing is written then.
    """
    grid = read_grid(path)
    check_parquet()
    tables = Tables()
    for table in dict.fromkeys(grid.tables()):
        tables.add(table)
    crew = _crew(workers, scheduler, tables, say)
    try:
        _made(folder)
        with Journal(folder, grid.tracing.time_limit_s) as journal:
            return _Run(grid, folder, journal, tables, progress).run(crew)
    finally:
        crew.stop()


def _crew(workers: int | None, scheduler: str | None, tables: Tables, say: Say) -> Crew:
    if scheduler is not None:
        if workers is not None:
            raise InputError([Fault("--workers", "the scheduler has its own workers; give one of both")])
        from solver.sweep.cluster import Cluster

        return Cluster(scheduler, tables.contents, say)
    from solver.sweep.local import Local, usable_cores

    return Local(workers or usable_cores(), tables.contents, say)


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError([Fault(str(folder), f"cannot be made: {error.strerror or error}")]) from None


class _Run:
    """One run over a grid."""

    def __init__(
        self, grid: Grid, folder: Path, journal: Journal, tables: Tables, progress: Callable[[Progress], object]
    ) -> None:
        self.grid, self.folder, self.journal, self.tables, self.progress = grid, folder, journal, tables, progress
        self.keys: list[str] = []
        self.sent: dict[str, int] = {}
        self.done = self.kept = self.traced = 0
        self.started = time.perf_counter()

    def run(self, crew: Crew) -> Swept:
        """Does what is not done, and writes the tables, also where an interrupt or a lost cluster ends it early."""
        ended = ""
        try:
            for record in crew.run(self._tasks()):
                self._settled(record)
        except KeyboardInterrupt:
            ended = "interrupted"
        except CrewLost as reason:
            ended = str(reason)
        wall_s = time.perf_counter() - self.started
        described = crew.described
        crew.stop()
        found = self._found()
        found.wall_s, found.crew, found.ended = wall_s, described, ended
        found.rows, _ = write_tables(self.folder, self.grid, self.keys, self.journal)
        return found

    def _tasks(self) -> Iterator[Task]:
        """The cells that are not done, and not at work for another cell of the same key."""
        for cell in self.grid.cells():
            task = task_of(cell, self.grid, self.tables)
            key = task.key if isinstance(task, Task) else task["key"]
            self.keys.append(key)
            if key in self.journal:
                self._skipped()
            elif key in self.sent:
                self.sent[key] += 1
                self.kept += 1
            elif isinstance(task, Task):
                self.sent[key] = 1
                yield task
            else:
                self.journal.add(task)
                self._skipped(kept=False)

    def _skipped(self, kept: bool = True) -> None:
        self.kept += kept
        self.done += 1
        self._tell()

    def _settled(self, record: Record) -> None:
        if record["status"] == "refused":
            raise CrewLost(record["message"])
        self.journal.add(record)
        self.traced += record["status"] not in NO_FRONTIER
        self.done += self.sent[record["key"]]
        self._tell()

    def _tell(self) -> None:
        wall_s = time.perf_counter() - self.started
        self.progress(Progress(len(self.grid), self.done, self.kept, self.traced, wall_s))

    def _found(self) -> Swept:
        """Counts over all cells, from the journal."""
        found = Swept(self.grid, self.folder, kept=self.kept, traced=self.traced, unreadable=self.journal.unreadable)
        for index, key in enumerate(self.keys):
            record = self.journal.record(key)
            status = "not_run" if record is None else record["status"]
            found.statuses[status] += 1
            if record is None:
                continue
            found.points += sum(not point.get("infeasible") for point in record["points"])
            text = f"{status.replace('_', ' ')}: {record['message']}"
            if status not in ("complete", "infeasible") and (
                text in found.messages or len(found.messages) < MOST_SHOWN
            ):
                found.messages.setdefault(text, []).append(index)
        found.statuses["not_run"] += len(self.grid) - len(self.keys)
        found.others = len(self.journal) - len(set(self.keys) & self.journal.keys())
        return found


def lines(found: Swept) -> list[str]:
    """What a sweep gave, for people."""
    counts = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in found.statuses.items() if count)
    text = [f"{found.grid.name}: {len(found.grid)} cells: {counts}; {found.points} points"]
    if found.kept:
        text.append(f"{found.kept} cells were there already, from an earlier run or equal to another cell")
    if found.traced and found.wall_s:
        pace = 60 * found.traced / found.wall_s
        text.append(f"{found.traced} frontiers in {found.wall_s:.1f} s, {pace:.1f} a minute, by {found.crew}")
    for message, cells in list(found.messages.items())[:MOST_SHOWN]:
        which = f"cell {cells[0]}" if len(cells) == 1 else f"cell {cells[0]} and {len(cells) - 1} more"
        text.append(f"{which}, {message}")
    if found.others:
        text.append(f"{found.others} records of other grids or programs stay in the journal and are not in the tables")
    if found.unreadable:
        text.append(f"{found.unreadable} lines of the journal are no records; their cells were done again")
    text.append(f"wrote {found.folder / FRONTIERS} ({found.rows} rows) and {found.folder / CELLS}")
    if found.ended:
        text.append(f"ended early: {found.ended}; the same command goes on from here")
    return text
