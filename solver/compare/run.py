"""``bench --compare``: both comparisons, what they print, and the files with raw results."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from solver.compare.against import Outcome, PeerError, against
from solver.compare.backends import NAMES, backends
from solver.compare.cases import Case
from solver.compare.machine import machine
from solver.files import write_whole

Say = Callable[[str], object]
ORACLES = "oracles: not part of the product; in a checkout `python -m tests.compare_oracles` compares with them"


def compare(
    cases: Sequence[Case], *, python: str, folder: Path | None, limit_s: float, repeats: int, peer_only: bool, say: Say
) -> None:
    """
    Compares formulations and back ends, then the solver with aiconfigurator.

    Parameters
    ----------
    cases
        What is asked of aiconfigurator.
    python
        The interpreter that has aiconfigurator 0.12.
    folder
        Where raw results go; nowhere where None.
    limit_s
        Seconds a solve.
    repeats
        Runs, whose median is shown.
    peer_only
        Whether formulations and back ends are left out.
    say
        Called with each line.
    """
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        say(line)

    tell(f"{datetime.date.today().isoformat()}, {machine()}; medians of {repeats}, limit {limit_s:g} s a solve")
    with ExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(parents=True, exist_ok=True)
        rows = [] if peer_only else backends(NAMES, repeats, limit_s, tell)
        if rows:
            write_whole(root / "backends.csv", as_csv(rows))
        tell(f"\n{ORACLES}")
        outcomes = peers(cases, python, root, repeats, limit_s, tell)
        if outcomes:
            for line in summary(outcomes):
                tell(line)
            write_whole(root / "sweep.csv", as_csv([row for each in outcomes for row in each.sweep]))
            write_whole(root / "loads.csv", as_csv([row for each in outcomes for row in each.loads]))
            times = {each.case.name: {**each.times, "missing": each.missing} for each in outcomes}
            write_whole(root / "times.json", json.dumps({"machine": machine(), "times": times}, indent=1) + "\n")
        write_whole(root / "printed.txt", "\n".join(lines) + "\n")


def peers(cases: Sequence[Case], python: str, folder: Path, repeats: int, limit_s: float, say: Say) -> list[Outcome]:
    """The cases against aiconfigurator; a line where it cannot be run."""
    found = []
    for case in cases:
        try:
            name = re.sub(r"\W+", "-", case.name)
            found.append(against(case, python, folder / name, repeats, limit_s, say))
        except PeerError as error:
            say(f"\n{error}")
            if "No module named" in str(error):
                say("install it: pip install 'aiconfigurator>=0.12,<0.13', or name an interpreter with --peer-python")
                break
    return found


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """Gains over all limits of all cases, by what is compared with what."""
    rows = [row for each in outcomes for row in each.sweep]
    lines = [f"\n{len(outcomes)} cases, {len(rows)} limits: more tokens/s/GPU than aiconfigurator, %"]
    lines.append(f"{'':<44}{'n':>5}{'mean':>8}{'median':>8}{'p90':>8}{'max':>8}{'worse':>7}{'aic none':>9}")
    for words, ours, theirs in (
        ("disaggregated, its own space, exact", "own_disagg", "peer_disagg"),
        ("disaggregated, one engine a role", "one_disagg", "peer_disagg"),
        ("disaggregated, mixed engines", "mixed_disagg", "peer_disagg"),
        ("best of both modes, its own space, exact", "own_best", "peer_best"),
        ("best of both modes, one engine a role", "one_best", "peer_best"),
        ("best of both modes, mixed engines", "mixed_best", "peer_best"),
    ):
        both = [(row[ours], row[theirs]) for row in rows if row[ours]]
        gains = sorted(100 * (a / b - 1) for a, b in both if b)
        none = sum(not b for _, b in both)
        worse = sum(gain < -WORSE for gain in gains)
        high = gains[min(len(gains) - 1, int(0.9 * len(gains)))] if gains else 0.0
        mean, middle = (statistics.mean(gains), statistics.median(gains)) if gains else (0.0, 0.0)
        most = gains[-1] if gains else 0.0
        lines.append(f"{words:<44}{len(gains):>5}{mean:>8.1f}{middle:>8.1f}{high:>8.1f}{most:>8.1f}{worse:>7}{none:>9}")
    lines += gpus_of(outcomes)
    for name in sorted({name for each in outcomes for name in each.times["ratios"]}):
        values = sorted(each.times["ratios"][name] for each in outcomes if name in each.times["ratios"])
        middle = statistics.median(values)
        lines.append(f"time, aic/solver, {name}: {values[0]:.1f} to {values[-1]:.1f}, median {middle:.1f}")
    return lines


WORSE = 0.01
"""Percent below which a difference is the peer's rounding to three decimals."""


def gpus_of(outcomes: Sequence[Outcome]) -> list[str]:
    """GPUs for loads, over all cases."""
    lines = []
    for words, ours in (("one engine a role", "one_best"), ("mixed engines", "mixed_best")):
        pairs = [
            (row["peer_best"], row[ours]) for each in outcomes for row in each.loads if row["peer_best"] and row[ours]
        ]
        if pairs:
            more = [100 * (theirs / mine - 1) for theirs, mine in pairs]
            fewer = sum(theirs < mine for theirs, mine in pairs)
            lines.append(
                f"GPUs for a load, {words}: aiconfigurator takes more in {sum(m > 0 for m in more)} of {len(pairs)},"
                f" mean {statistics.mean(more):+.1f} %, most {max(more):+.1f} %; fewer in {fewer}"
            )
    return lines


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of equal keys as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
