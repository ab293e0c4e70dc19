"""The recorded frontiers of the study: what a change of the cost model or the solver moves, and by how much."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import instances
from costmodels.constants import Basis
from solver.files import write_whole
from solver.study.figure import Figure, Series
from solver.study.gains import GPU, USER, best_at

FILE = Path(instances.__file__).parent / "paper" / "frontiers.csv"
FRONTIERS = "paper/frontiers"
"""What ``bench`` calls the record."""
RECORDED_BASIS: Basis = "served"
FIELDS = ("figure", "panel", "series", "points", "peak", "area", "fastest")
DIGITS = 9
"""Significant digits of the record; equal to these is equal."""
Key = tuple[int, str, str]


@dataclass(frozen=True)
class Shape:
    """
    What is recorded of a frontier.

    Parameters
    ----------
    points
        How many it has.
    peak
        Most tokens/s/GPU.
    area
        Mean of tokens/s/GPU over interactivity from 0 to the fastest point.
    fastest
        Highest interactivity, tokens/s/user.
    """

    points: int
    peak: float
    area: float
    fastest: float


def shape_of(series: Series) -> Shape:
    """The shape of a frontier."""
    users = series.values(USER)
    edges = [0.0, *users]
    area = sum((x - edges[i]) * best_at(series.rows, x) for i, x in enumerate(users)) / users[-1]
    peak = max(series.values(GPU))
    return Shape(len(users), *(float(f"{value:.{DIGITS}g}") for value in (peak, area, users[-1])))


def shapes(figures: Mapping[int, Figure]) -> dict[Key, Shape]:
    """The shapes of all frontiers of figures; measured points are none."""
    return {
        (number, series.panel, series.name): shape_of(series)
        for number, figure in figures.items()
        for series in figure.series
        if not series.source and GPU in series.rows[0] and USER in series.rows[0]
    }


def recorded() -> dict[Key, Shape]:
    """The recorded shapes; empty where nothing is recorded."""
    if not FILE.exists():
        return {}
    with FILE.open(newline="", encoding="utf-8") as file:
        return {
            (int(row["figure"]), row["panel"], row["series"]): Shape(
                int(row["points"]), float(row["peak"]), float(row["area"]), float(row["fastest"])
            )
            for row in csv.DictReader(file)
        }


def write(figures: Mapping[int, Figure]) -> None:
    """Records the frontiers of figures; those of other figures stay as they are."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    others = {key: shape for key, shape in recorded().items() if key[0] not in figures}
    for key, shape in sorted({**others, **shapes(figures)}.items()):
        writer.writerow([*key, shape.points, shape.peak, shape.area, shape.fastest])
    write_whole(FILE, text.getvalue())


def moved(figures: Mapping[int, Figure]) -> list[str]:
    """A line for each frontier that is not as recorded, with how far its peak, area and end are off."""
    before, found, lines = recorded(), shapes(figures), []
    lines += [f"GONE {_where(key)}" for key in before if key[0] in figures and key not in found]
    for key, now in found.items():
        old, where = before.get(key), _where(key)
        if old is None:
            lines.append(f"NOT RECORDED {where}")
        elif old != now:
            pairs = ((now.peak, old.peak), (now.area, old.area), (now.fastest, old.fastest))
            peak, area, fastest = (f"{(a - b) / b:+.2%}" for a, b in pairs)
            points = f"{old.points} to {now.points} points"
            lines.append(f"MOVED {where}: peak {peak}, area {area}, fastest {fastest}, {points}")
    return lines


def _where(key: Key) -> str:
    return f"figure {key[0]}, {', '.join(filter(None, key[1:]))}"


def frontiers(record: bool, say: Callable[[str], object]) -> bool:
    """
    Runs the study and compares its frontiers with the record, or writes the record anew.

    Parameters
    ----------
    record
        Whether to write.
    say
        Called with each line.

    Returns
    -------
    bool
        Whether every frontier is as recorded; true where they were written.
    """
    from solver.study.run import run

    study = run(basis=RECORDED_BASIS)
    count, lines = len(shapes(study.figures)), [] if record else moved(study.figures)
    if record:
        write(study.figures)
    for line in lines:
        say(line)
    verdict = "recorded" if record else f"{len(lines)} DEVIATE" if lines else "same"
    say(f"{FRONTIERS:<38}{count} frontiers, {study.solves:,} optima, {study.wall_s:.1f} s  {verdict}")
    return not lines
