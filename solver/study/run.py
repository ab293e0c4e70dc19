"""Runs the study: figure by figure, kept in a folder, taken up again after an interrupt."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from costmodels.constants import Basis
from costmodels.errors import Fault, InputError
from solver.files import write_whole
from solver.result import to_json
from solver.study.bench import Bench
from solver.study.figure import Figure
from solver.study.figures import FIGURES
from solver.study.record import RECORDED_BASIS, moved, write
from solver.study.silicon import statement
from solver.study.trends import Finding, findings

Progress = Callable[[int, int, float], object]
"""Called with the figure at work, the points proved so far, and the share of the figures that are done."""
ROOT = Path(__file__).parent.parent.parent
TAKEN = ("design_points", "solves", "wall_s")
"""What each figure's file says that it took."""


@dataclass(frozen=True)
class Study:
    """
    What a run gave.

    Parameters
    ----------
    basis
        Basis of the roofline.
    figures
        By number.
    findings
        The trends whose figures were run.
    design_points, solves
        Operating points priced, optima proved; of figures kept from before too.
    wall_s
        Seconds of this run.
    figures_s
        Seconds that the figures took to make, those kept from before too.
    kept
        Figures taken from an earlier run.
    """

    basis: Basis
    figures: dict[int, Figure]
    findings: list[Finding]
    design_points: int
    solves: int
    wall_s: float
    figures_s: float
    kept: tuple[int, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every trend that was checked holds."""
        return all(finding.holds for finding in self.findings)


def run(
    numbers: Sequence[int] = (),
    basis: Basis = "served",
    folder: Path | None = None,
    plot: bool = False,
    progress: Progress = lambda _figure, _points, _share: None,
) -> Study:
    """
    Makes figures and judges the trends.

    Parameters
    ----------
    numbers
        Figures; all where empty.
    basis
        Basis of the roofline.
    folder
        Where each figure is written as soon as it is there (JSON and CSV), and ``trends.json`` at the end. Figures that
        stand there from the same program and basis are taken as they are.
    plot
        Whether pictures are drawn too; needs ``folder``.
    progress
        Told of every proved point.

    Raises
    ------
    InputError
        When a figure is unknown, or the folder cannot be written.
    KeyboardInterrupt
        When the user interrupts; figures that are done stand in the folder.
    """
    wanted = _wanted(numbers, folder, plot)
    started, points, current = time.perf_counter(), 0, 0

    def tick() -> None:
        nonlocal points
        points += 1
        progress(current, points, len(found) / len(wanted))

    bench = Bench(basis, tick)
    found: dict[int, Figure] = {}
    kept = () if folder is None else tuple(n for n in standing(folder, basis) if n in wanted)
    documents = []
    for current in wanted:
        progress(current, points, len(found) / len(wanted))
        document = _read(folder, current, basis) if folder is not None and current in kept else None
        documents.append(document or _made(bench, current, folder))
        found[current] = Figure.from_dict(documents[-1]["figure"])
        if plot and folder is not None:
            from solver.study.draw import draw

            write_whole(folder / f"figure-{current}.png", draw(found[current]))
    judged = findings(found)
    if folder is not None:
        write_whole(folder / "trends.json", json.dumps([finding.as_dict() for finding in judged], indent=1) + "\n")
    design_points, solves, figures_s = (sum(d[name] for d in documents) for name in TAKEN)
    wall_s = time.perf_counter() - started
    return Study(basis, found, judged, design_points, solves, wall_s, figures_s, kept)


def _wanted(numbers: Sequence[int], folder: Path | None, plot: bool) -> list[int]:
    faults = [
        Fault("--figure", f"got {n}, must be of {', '.join(map(str, FIGURES))}") for n in numbers if n not in FIGURES
    ]
    if plot and folder is None:
        faults.append(Fault("--plot", "needs a folder for the pictures; give -o DIR"))
    if plot and find_spec("matplotlib") is None:
        faults.append(Fault("--plot", "needs matplotlib: pip install 'ratematch[plot]'"))
    if faults:
        raise InputError(faults)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError([Fault(str(folder), f"cannot be made: {error.strerror or error}")]) from None
    return sorted(set(numbers)) or list(FIGURES)


def _made(bench: Bench, number: int, folder: Path | None) -> dict[str, Any]:
    """Makes a figure, and writes it where a folder is given."""
    before, started = (bench.counts.design_points, bench.counts.solves), time.perf_counter()
    figure = FIGURES[number](bench)
    document = {
        "format": "study-figure", "version": 1, "program": program(), "basis": bench.basis,
        "design_points": bench.counts.design_points - before[0], "solves": bench.counts.solves - before[1],
        "wall_s": round(time.perf_counter() - started, 3),
        "figure": figure.as_dict(),
    }  # fmt: skip
    if folder is not None:
        write_whole(folder / f"figure-{number}.csv", figure.as_csv())
        write_whole(folder / f"figure-{number}.json", to_json(document))
    return document


def _read(folder: Path, number: int, basis: Basis) -> dict[str, Any] | None:
    """A figure that this program wrote before; None where there is none, or it is of another program or basis."""
    try:
        document = json.loads((folder / f"figure-{number}.json").read_text("utf-8"))
        same = document["program"] == program() and document["basis"] == basis
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return document if same else None


@cache
def program() -> str:
    """SHA-256 over everything that figures follow from: code, constants, instances; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for folder, pattern in (
        ("costmodels", "**/*.py"),
        ("costmodels/data", "*"),
        ("solver", "**/*.py"),
        ("instances", "paper/*.json"),
        ("instances", "paper/silicon.csv"),
        ("instances", "traffic/*"),
    ):
        for file in sorted((ROOT / folder).glob(pattern)):
            if file.is_file():
                digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def recording(study: Study) -> None:
    """
    Records the frontiers of a study.

    Raises
    ------
    InputError
        When it is of another basis than the record.
    """
    if study.basis != RECORDED_BASIS:
        raise InputError([Fault("--record", f"got --basis {study.basis}, the record is of {RECORDED_BASIS}")])
    write(study.figures)


def standing(folder: Path | None, basis: Basis) -> tuple[int, ...]:
    """Figures of this program and basis that stand in a folder: what an interrupted run leaves to the next one."""
    return () if folder is None else tuple(n for n in FIGURES if _read(folder, n, basis) is not None)


def lines(study: Study) -> list[str]:
    """The table of trends, and what it took."""
    table = [("holds", "trend", "quantity", "paper", "ours")]
    table += [
        ("yes" if f.holds else "NO", f.trend, f.quantity, _short(f.paper), _short(f.ours)) for f in study.findings
    ]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    text = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in table]
    held = sum(finding.holds for finding in study.findings)
    numbers = {finding.trend for finding in study.findings}
    broken = {finding.trend for finding in study.findings if not finding.holds}
    text.append(
        f"{len(numbers) - len(broken)} of {len(numbers)} trends hold ({held} of {len(study.findings)} quantities); "
        f"{len(study.figures)} figures, {study.design_points:,} design points, {study.solves:,} optima proved, "
        f"{study.wall_s:.1f} s, roofline basis {study.basis}"
    )
    if {1, 6, 7, 8, 9} & set(study.figures):
        text.append(statement())
    if study.basis == RECORDED_BASIS and study.figures:
        text += moved(study.figures)
    if study.kept:
        kept = ", ".join(map(str, study.kept))
        text.append(f"taken from an earlier run: figures {kept}; all figures took {study.figures_s:.1f} s to make")
    return text


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_short(each) for each in value)
    if isinstance(value, dict):
        return "; ".join(f"{name} {_short(each)}" for name, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
