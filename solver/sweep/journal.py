"""The journal of a sweep: one line a finished cell, written before the next one; what a kill leaves is taken up."""

from __future__ import annotations

import json
import os
import time
from collections.abc import KeysView
from pathlib import Path
from types import TracebackType

from costmodels.errors import Fault, InputError
from solver.sweep.cells import Record

NAME = "journal.jsonl"
SYNC_EVERY_S = 1.0
"""A kill of the process loses no line; a crash of the machine those of this time, and their cells are done again."""


class Journal:
    """
    Records by the key of their cells. Of several records of a key the last one counts.

    One process at a time may hold a journal. A line that a kill cut short is removed; a line that is no record (a disk
    fault) is passed over, so that its cell is done again.

    Parameters
    ----------
    folder
        Where it lies; it is made where it is not there.
    time_limit_s
        The limit of this sweep: a cell that another limit stopped is not finished.

    Raises
    ------
    InputError
        When it cannot be written, or another sweep holds it.
    """

    def __init__(self, folder: Path, time_limit_s: float | None) -> None:
        self.path = folder / NAME
        self.time_limit_s = time_limit_s
        self.unreadable = 0
        self._synced = float("-inf")
        self._places: dict[str, tuple[int, str]] = {}
        self._finished: set[str] = set()
        try:
            self._file = self.path.open("a+b")
        except OSError as error:
            raise InputError([Fault(str(self.path), f"cannot be written: {error.strerror or error}")]) from None
        self._lock()
        self._read()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __len__(self) -> int:
        """Keys with a record."""
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        """Whether a cell is finished: it has a record, and neither a failure nor another limit ended it."""
        return key in self._finished

    def keys(self) -> KeysView[str]:
        """Keys with a record."""
        return self._places.keys()

    def add(self, record: Record) -> None:
        """Appends a record; when this returns, no end of this process can lose it."""
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(line)
        self._file.flush()
        if time.monotonic() - self._synced > SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()
        self._note(record, start)

    def record(self, key: str) -> Record | None:
        """The record of a key, finished or not; None where there is none."""
        if key not in self._places:
            return None
        self._file.seek(self._places[key][0])
        record: Record = json.loads(self._file.readline())
        return record

    def _note(self, record: Record, start: int) -> None:
        key, status = record["key"], record["status"]
        self._places[key] = (start, status)
        open_still = status == "failed" or (status == "stopped" and record["time_limit_s"] != self.time_limit_s)
        (self._finished.discard if open_still else self._finished.add)(key)

    def _read(self) -> None:
        self._file.seek(0)
        start = 0
        for line in iter(self._file.readline, b""):
            if not line.endswith(b"\n"):
                self._file.truncate(start)
                break
            try:
                self._note(json.loads(line), start)
            except (ValueError, KeyError, TypeError):
                self.unreadable += 1
            start += len(line)

    def _lock(self) -> None:
        """Holds the file until it is closed or the process ends, however it ends."""
        try:
            import fcntl
        except ImportError:  # no such locks on Windows
            return
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise InputError([Fault(str(self.path), "another sweep is writing here; choose another -o")]) from None
