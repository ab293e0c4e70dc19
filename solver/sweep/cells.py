"""From a cell to a task: everything that a worker needs, and the key that says when it is done."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from costmodels.errors import InputError
from solver.instance import Instance
from solver.read import instance_from
from solver.sweep.axes import canonical
from solver.sweep.grid import Cell, Grid, Tracing
from solver.sweep.program import program

Record = dict[str, Any]
"""What is kept of a cell, as JSON: ``key``, ``status``, ``message``, ``instance_hash``, ``points``, ``solves``,
``wall_s``, ``time_limit_s``."""


@dataclass(frozen=True)
class Task:
    """
    A cell, ready to be sent anywhere.

    Parameters
    ----------
    key
        Hash of everything that its frontier follows from, the time limit apart.
    cell
        Number of the (first) cell with this key.
    instance
        Its instance, traces and model files read.
    tables
        Hashes of the tables of its cost model, in the order of the instance.
    folder
        Where other paths of the instance start.
    tracing
        How its frontier is traced.
    program
        Who may do it, see :func:`solver.sweep.program.program`.
    """

    key: str
    cell: int
    instance: Instance
    tables: tuple[str, ...]
    folder: str
    tracing: Tracing
    program: str


@dataclass
class Tables:
    """
    Tables of operating curves by the hash of their content, each read once.

    Parameters
    ----------
    contents
        Hash to name and content.
    """

    contents: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    _known: dict[Path, str] = field(default_factory=dict)

    def add(self, path: Path) -> str:
        """
        The hash of a table, 16 hexadecimal digits; one that cannot be read has the hash of its name.

        The worker then finds nothing under that hash and reads the path itself, which says what is wrong.
        """
        if path not in self._known:
            try:
                content = path.read_bytes()
            except OSError:
                return hashlib.sha256(f"no such file {path}".encode()).hexdigest()[:16]
            found = hashlib.sha256(path.name.encode() + b"\0" + content).hexdigest()[:16]
            self.contents[found] = (path.name, content)
            self._known[path] = found
        return self._known[path]


def task_of(cell: Cell, grid: Grid, tables: Tables) -> Task | Record:
    """The task of a cell, or, where its instance has faults, its record."""
    text = canonical(cell.document)
    try:
        instance = instance_from(cell.document, grid.folder)
    except InputError as error:
        faults = "; ".join(map(str, error.faults))
        return record_of(_key(text, faults), "bad_input", faults)
    hashes = tuple(tables.add(grid.folder / path) for path in instance.cost_model.paths)
    files = [(w.traffic, w.stands_for, w.shape) for w in instance.workloads]
    tracing = replace(grid.tracing, time_limit_s=None)
    key = _key(text, repr(files), *hashes, repr(tracing), program())
    return Task(key, cell.index, instance, hashes, str(grid.folder.resolve()), grid.tracing, program())


def record_of(key: str, status: str, message: str = "") -> Record:
    """The record of a cell without points."""
    return {
        "key": key, "status": status, "message": message, "instance_hash": None, "points": [], "solves": 0,
        "wall_s": 0.0, "time_limit_s": None,
    }  # fmt: skip


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
