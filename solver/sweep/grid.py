"""The grid file: a base instance, its axes, and how each cell is traced."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import instances
from costmodels.errors import Fault, InputError
from solver.read import read_json
from solver.schema import faults_of, instance_schema, shown
from solver.sweep.axes import Axis, Change, axis_of, canonical, changed, places_of, where_of

Json = Any
MOST_CELLS = 10_000_000
"""Cells of one grid."""
CELL_COLUMNS = ("cell", "status", "message", "points", "instance_hash", "solves", "wall_s", "key")
POINT_COLUMNS = (
    "cell", "point", "status", "message", "tokens_per_s_per_user", "tokens_per_s_per_gpu", "requests_per_s",
    "output_tokens_per_s", "gpus_used", "usd_per_hour", "tpot_ms", "ttft_ms", "mode", "deployment", "objective",
    "objective_exact", "tpot_ms_exact", "requested_tokens_per_s_per_user", "proof", "instance_hash",
)  # fmt: skip


@dataclass(frozen=True)
class Tracing:
    """
    How the frontier of a cell is traced.

    Parameters
    ----------
    workloads
        Names of the workloads whose TPOT is swept; all where empty.
    allow_unserved
        Whether workloads may end with nothing.
    at
        Interactivities (tokens/s/user) to answer instead of the whole frontier; none: the whole.
    min_step
        Smallest relative step between interactivities.
    time_limit_s
        Wall seconds for a cell, or None.
    """

    workloads: tuple[str, ...] = ()
    allow_unserved: bool = False
    at: tuple[Fraction, ...] = ()
    min_step: Fraction = Fraction(0)
    time_limit_s: float | None = None


@dataclass(frozen=True)
class Cell:
    """
    One combination of values.

    Parameters
    ----------
    index
        Its number, from 0.
    labels
        For each axis the value as the tables show it.
    document
        Its instance, as parsed JSON.
    """

    index: int
    labels: tuple[Json, ...]
    document: Json


@dataclass(frozen=True)
class Grid:
    """
    A grid.

    Parameters
    ----------
    name
        Its name.
    base
        The instance that is varied, as parsed JSON.
    folder
        Where paths in that instance start.
    axes
        What is varied; the last axis fastest.
    tracing
        How cells are traced.
    document
        The grid file, as one canonical text.
    """

    name: str
    base: Json
    folder: Path
    axes: tuple[Axis, ...]
    tracing: Tracing = field(default_factory=Tracing)
    document: str = ""

    def __len__(self) -> int:
        """Number of cells."""
        return math.prod(len(axis.labels) for axis in self.axes)

    def labels(self) -> Iterator[tuple[Json, ...]]:
        """The labels of every cell, in order."""
        return product(*(axis.labels for axis in self.axes))

    def cells(self) -> Iterator[Cell]:
        """Every cell, in order."""
        for index, choice in enumerate(product(*(range(len(axis.labels)) for axis in self.axes))):
            changes: list[Change] = []
            labels: list[Json] = []
            for axis, chosen in zip(self.axes, choice, strict=True):
                changes += axis.changes[chosen]
                labels.append(axis.labels[chosen])
            yield Cell(index, tuple(labels), changed(self.base, dict(changes)))

    def tables(self) -> Iterator[Path]:
        """The tables of curves that cells may name; axes that leave the cost model alone do not matter."""
        touching = [axis for axis in self.axes if any(path.split(".")[0] == "cost_model" for path in axis.paths)]
        for chosen in product(*(axis.changes for axis in touching)):
            changes = [change for each in chosen for change in each if change[0].split(".")[0] == "cost_model"]
            model = changed(self.base, dict(changes)).get("cost_model", {})
            named = model.get("path", ())
            yield from (self.folder / name for name in ([named] if isinstance(named, str) else named))


@cache
def grid_schema() -> dict[str, Json]:
    """The JSON Schema (2020-12) of grid files."""
    schema: dict[str, Json] = json.loads(Path(__file__).with_name("grid_schema.json").read_text("utf-8"))
    return schema


def read_grid(path: Path) -> Grid:
    """
    Reads a grid file.

    Raises
    ------
    InputError
        With every fault: unreadable file, broken JSON, unknown keys, values that the instance does not take, axes
        that set the same key, faults of the base instance that no axis mends.
    """
    return grid_from(read_json(path), path.parent, path.stem)


def grid_from(document: Json, folder: Path = Path(), name: str = "grid") -> Grid:
    """
    Builds a grid from parsed JSON (decimals as ``Decimal``).

    Parameters
    ----------
    document
        The JSON.
    folder
        Where the path of the base instance starts.
    name
        The name of a grid that has none.

    Raises
    ------
    InputError
        With every fault.
    """
    faults = _frame_faults(document)
    if not isinstance(document, dict):
        raise InputError(faults)
    base, home, where = _base(document.get("instance"), folder, faults)
    axes = _axes(document.get("vary"), faults)
    if isinstance(base, dict):
        unmended = _path_faults(axes, base, faults)
        faults += _base_faults(base, unmended, where)
        if not any(fault.where.startswith("$.frontier") for fault in faults):
            faults += _tracing_faults(document.get("frontier", {}), base, axes)
    if faults:
        raise InputError(dict.fromkeys(faults))
    text = canonical(document)
    return Grid(document.get("name", name), base, home, axes, _tracing(document.get("frontier", {})), text)


def _frame_faults(document: Json) -> list[Fault]:
    """Faults of everything but the instance and the axes, which have checks of their own."""
    schema = grid_schema()
    if not isinstance(document, dict):
        return faults_of(document, schema)
    rest = {key: value for key, value in document.items() if key not in ("instance", "vary")}
    given = [name for name in ("instance", "vary") if document.get(name) is not None]
    faults = faults_of(rest, {**schema, "required": [name for name in schema["required"] if name not in given]})
    return faults + [Fault(f"$.{name}", "is given twice; keep one") for name in getattr(document, "twice", ())]


def _base(given: Json, folder: Path, faults: list[Fault]) -> tuple[Json, Path, str]:
    """The base instance, the folder where its paths start, and how faults name it."""
    if isinstance(given, dict):
        return given, folder, "$.instance"
    if given is None:
        return None, folder, ""
    if not isinstance(given, str) or not given:
        text = f"got {shown(given)}, must be the path or the name of an instance, or an instance as an object"
        faults.append(Fault("$.instance", text))
        return None, folder, ""
    try:
        path = folder / given if (folder / given).is_file() else instances.resolve(given)
        document = read_json(path)
    except (ValueError, OSError) as error:
        faults.append(Fault("$.instance", str(error)))
        return None, folder, ""
    except InputError as error:
        faults += error.faults
        return None, folder, ""
    if not isinstance(document, dict):
        faults.append(Fault(str(path), f"got {shown(document)}, must be an object"))
    return document, path.parent, str(path)


def _axes(vary: Json, faults: list[Fault]) -> tuple[Axis, ...]:
    if not isinstance(vary, dict) or not vary:
        if vary is not None:
            faults.append(Fault("$.vary", f"got {shown(vary)}, must be an object with one key an axis, at least one"))
        return ()
    faults += [Fault(f"$.vary.{name}", "is given twice; keep one") for name in getattr(vary, "twice", ())]
    taken = tuple(dict.fromkeys((*CELL_COLUMNS, *POINT_COLUMNS)))
    axes = tuple(axis_of(name, value, taken, faults) for name, value in vary.items())
    count = math.prod(len(axis.labels) for axis in axes)
    if count > MOST_CELLS:
        faults.append(Fault("$.vary", f"makes {count:,} cells, must be at most {MOST_CELLS:,}; make several grids"))
    return axes


def _path_faults(axes: tuple[Axis, ...], base: Json, faults: list[Fault]) -> list[str]:
    """Faults of paths in this instance; returns the places that the axes set, as faults name them."""
    reached: list[tuple[Axis, str]] = []
    wrong = [fault.where for fault in faults]
    for axis in axes:
        for path in axis.paths:
            if any(where.startswith(f"$.vary.{axis.name}") for where in wrong):
                reached += [(axis, f"$.{path}")]
                continue
            try:
                reached += [(axis, where_of(place)) for place in places_of(path, base)]
            except ValueError as error:
                faults.append(Fault(f"$.vary.{axis.name}", str(error)))
    for (one, here), (other, there) in combinations(reached, 2):
        if one is not other and (_is_in(here, there) or _is_in(there, here)):
            text = f"sets {there.removeprefix('$.')}, and so does the axis {one.name}; put them into one axis"
            faults.append(Fault(f"$.vary.{other.name}", text))
    return [place for _, place in reached]


def _is_in(place: str, other: str) -> bool:
    return place == other or place.startswith((f"{other}.", f"{other}["))


def _base_faults(base: Json, mended: list[str], where: str) -> list[Fault]:
    """Faults of the base instance that no axis can mend."""
    faults = faults_of(base, instance_schema())
    return [
        Fault(fault.where.replace("$", where, 1) if where.startswith("$") else f"{where} {fault.where}", fault.text)
        for fault in faults
        if not any(_is_in(fault.where, place) or _is_in(place, fault.where) for place in mended)
    ]


def _tracing_faults(given: Json, base: Json, axes: tuple[Axis, ...]) -> list[Fault]:
    if any(
        path.endswith(("workloads[].name", "workloads")) or "].name" in path for axis in axes for path in axis.paths
    ):
        return []
    workloads = base.get("workloads") if isinstance(base.get("workloads"), list) else []
    known = [item["name"] for item in workloads if isinstance(item, dict) and isinstance(item.get("name"), str)]
    faults = [
        Fault(f"$.frontier.workloads[{index}]", f"got {name!r}, must be one of {', '.join(known)}")
        for index, name in enumerate(given.get("workloads", ()))
        if name not in known
    ]
    if "at" in given and "min_step" in given:
        faults.append(Fault("$.frontier.min_step", "is given besides at; keep one of them"))
    return faults


def _paths(axes: tuple[Axis, ...]) -> Iterator[str]:
    return (path for axis in axes for path in axis.paths)


def _tracing(given: Json) -> Tracing:
    limit = given.get("time_limit_s")
    return Tracing(
        tuple(given.get("workloads", ())),
        given.get("allow_unserved", False),
        tuple(Fraction(value) for value in given.get("at", ())),
        Fraction(given.get("min_step", 0)),
        None if limit is None else float(limit),
    )
