"""
How many frontiers a minute a sweep traces: 1, 2 and 3 processes, interleaved, medians over repeats.

``python docs/measure_sweep.py [REPEATS]`` prints the table of ``docs/sweep.md``. Where others use the machine too, CPU
time is the number to go by: that of the workers, and that of the process that hands cells out and keeps records.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from solver.sweep.run import sweep

WORKERS = (1, 2, 3)
FLEETS = [16, 64, 256, 1024]
LIMITS = [300, 400, 500, 600, 700, 800, 900, 1000, 1200, 1500, 2000, 2500, 3000, 4000, 5000]
GRIDS = {
    "measured tables": ["llama-70b-h200-72", "qwen3-32b-h100-72", "deepseek-v3-h200-64"],
    "roofline": ["llama-70b-h100-64-roofline"],
}


@dataclass(frozen=True)
class Took:
    """Frontiers and points of a sweep into an empty folder; wall seconds; CPU seconds of workers, and of this one."""

    frontiers: int
    points: int
    wall_s: float
    workers_s: float
    own_s: float


def one(name: str, workers: int) -> Took:
    """Sweeps the grids of a name."""
    frontiers = points = 0
    wall_s = 0.0
    start = (_cpu_s(resource.RUSAGE_CHILDREN), _cpu_s(resource.RUSAGE_SELF))
    for instance in GRIDS[name]:
        vary = {"pools[].gpus": FLEETS, "workloads[].sla.ttft_ms": LIMITS}
        grid = {"format": "disagg-grid", "version": 1, "instance": instance, "vary": vary}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "grid.json"
            file.write_text(json.dumps(grid), "utf-8")
            found = sweep(file, Path(folder) / "out", workers=workers)
            assert not found.ended, found.ended
            frontiers, points, wall_s = frontiers + found.traced, points + found.points, wall_s + found.wall_s
    end = (_cpu_s(resource.RUSAGE_CHILDREN), _cpu_s(resource.RUSAGE_SELF))
    return Took(frontiers, points, wall_s, end[0] - start[0], end[1] - start[1])


def _cpu_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Prints the table."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    head = (
        "cells",
        "frontiers",
        "points",
        "processes",
        "frontiers a minute",
        "against one",
        "CPU ms a frontier",
        "own",
    )
    print("|".join(("", *head, "")))
    print("|".join(("", *("---" for _ in head), "")))
    for name in GRIDS:
        runs: dict[int, list[Took]] = {workers: [] for workers in WORKERS}
        for _ in range(repeats):
            for workers in WORKERS:
                runs[workers].append(one(name, workers))
        paces = {n: statistics.median(60 * run.frontiers / run.wall_s for run in runs[n]) for n in WORKERS}
        for workers, took in runs.items():
            cpu_ms = statistics.median(1000 * run.workers_s / run.frontiers for run in took)
            own_ms = statistics.median(1000 * run.own_s / run.frontiers for run in took)
            counts = (name, took[0].frontiers, took[0].points, workers)
            numbers = (f"{paces[workers]:.0f}", f"{paces[workers] / paces[1]:.2f}", f"{cpu_ms:.0f}", f"{own_ms:.1f}")
            print("|".join(("", *map(str, counts), *numbers, "")))
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"largest process: {most:.0f} MB; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
