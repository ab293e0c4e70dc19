"""The tables of a sweep, in Parquet: one row a frontier point, and one row a cell. Written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from solver.sweep.axes import Axis
from solver.sweep.cells import Record, record_of
from solver.sweep.grid import CELL_COLUMNS, POINT_COLUMNS, Grid
from solver.sweep.journal import Journal

FRONTIERS, CELLS = "frontiers.parquet", "cells.parquet"
ROWS_AT_ONCE = 50_000
WHOLE = ("cell", "point", "points", "solves")
TEXTS = (
    "status", "message", "mode", "deployment", "objective_exact", "tpot_ms_exact", "proof", "instance_hash", "key",
)  # fmt: skip
NOT_RUN = "the sweep ended before; run it again to go on"


def check_parquet() -> None:
    """
    Says early that Parquet cannot be written.

    Raises
    ------
    InputError
        When pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise InputError([Fault("sweep", "writes Parquet, which needs pyarrow: pip install 'ratematch[sweep]'")])


def write_tables(folder: Path, grid: Grid, keys: Sequence[str], journal: Journal) -> tuple[int, int]:
    """
    Writes both tables from the journal; returns the numbers of their rows.

    Parameters
    ----------
    folder
        Where to.
    grid
        The grid; its cells are the rows, in its order.
    keys
        Keys of its cells, as far as the sweep came; cells beyond are rows of status ``not_run``.
    journal
        Where their records are.

    Raises
    ------
    InputError
        When a table cannot be written.
    """

    def records() -> Iterator[tuple[int, tuple[Any, ...], Record]]:
        for index, labels in enumerate(grid.labels()):
            found = journal.record(keys[index]) if index < len(keys) else None
            key = keys[index] if index < len(keys) else ""
            yield index, labels, found or record_of(key, "not_run", NOT_RUN)

    points = _write(folder / FRONTIERS, grid, POINT_COLUMNS, (row for each in records() for row in point_rows(*each)))
    cells = _write(folder / CELLS, grid, CELL_COLUMNS, (cell_row(*each) for each in records()))
    return points, cells


def point_rows(index: int, labels: tuple[Any, ...], record: Record) -> Iterator[list[Any]]:
    """
    The rows of a cell, axes first.

    Points have status ``optimal`` (``refuted`` where the verifier disagrees); an interactivity that cannot be had is a
    row of status ``infeasible``. Where a cell is not complete, one more row has its status and says why.
    """
    refuted = record["status"] == "refuted"
    for number, point in enumerate(record["points"]):
        infeasible = point.get("infeasible", False)
        own = {
            **point,
            "cell": index,
            "point": number,
            "status": "infeasible" if infeasible else "refuted" if refuted else "optimal",
            "message": "this interactivity is proved to be out of reach" if infeasible else None,
            "instance_hash": record["instance_hash"],
        }
        yield [*labels, *(own.get(name) for name in POINT_COLUMNS)]
    if record["status"] != "complete":
        whole = {name: record.get(name) for name in ("status", "message", "instance_hash")} | {"cell": index}
        yield [*labels, *(whole.get(name) for name in POINT_COLUMNS)]


def cell_row(index: int, labels: tuple[Any, ...], record: Record) -> list[Any]:
    """The row of a cell, axes first."""
    found = sum(not point.get("infeasible") for point in record["points"])
    own = {**record, "cell": index, "points": found, "message": record["message"] or None}
    return [*labels, *(own[name] for name in CELL_COLUMNS)]


def _write(path: Path, grid: Grid, names: Sequence[str], rows: Iterator[list[Any]]) -> int:
    """Streams rows into a file beside, and renames it when it is whole."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = [_axis_kind(axis) for axis in grid.axes]
    fields = [(axis.name, getattr(pa, kind)()) for axis, kind in zip(grid.axes, kinds, strict=True)]
    fields += [(name, getattr(pa, _kind(name))()) for name in names]
    about = {"format": "disagg-sweep", "version": "1", "grid": grid.document}
    schema = pa.schema(fields, metadata=about)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    try:
        with parquet.ParquetWriter(beside, schema, compression="zstd") as writer:
            for batch in _batches(rows):
                count += len(batch)
                columns = [
                    pa.array(
                        [_cast(row[place], kinds[place] if place < len(kinds) else "") for row in batch], field.type
                    )
                    for place, field in enumerate(schema)
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
        os.replace(beside, path)
    except OSError as error:
        raise InputError([Fault(str(path), f"cannot be written: {error.strerror or error}")]) from None
    finally:
        beside.unlink(missing_ok=True)
    return count


def _batches(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    batch: list[list[Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_AT_ONCE:
            yield batch
            batch = []
    yield batch


def _kind(name: str) -> str:
    return "int64" if name in WHOLE else "string" if name in TEXTS else "float64"


def _axis_kind(axis: Axis) -> str:
    """The type of an axis's column: of numbers, of truth values, or of texts where kinds are mixed."""
    values = [label for label in axis.labels if label is not None]
    if values and all(isinstance(label, bool) for label in values):
        return "bool_"
    if all(isinstance(label, (int, Decimal)) and not isinstance(label, bool) for label in values):
        return "int64" if all(isinstance(label, int) for label in values) else "float64"
    return "string"


def _cast(value: Any, kind: str) -> Any:
    """A label as the type of its column has it; results are of their type already."""
    if value is None or not kind:
        return value
    if kind == "float64":
        return float(value)
    return str(value) if kind == "string" else value
