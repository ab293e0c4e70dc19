"""A frontier over 10,000 synthetic engines with 1,024 batch sizes each: time by step, and memory."""

from __future__ import annotations

import resource
import statistics
import time

from solver.backends.base import Controls
from solver.clock import Clock
from solver.columns import Candidates
from solver.frontier import sweep_of
from solver.points import points_of
from tests.incremental_cases import Problem, synthetic

ENGINES, GPUS, REPEATS = 10_000, 1024, 5


def steps(problem: Problem) -> tuple[list[float], int, int]:
    """Seconds for points, candidates and frontier; points left after thinning; points of the frontier."""
    started = time.perf_counter()
    table = points_of(*problem, thin=True)
    evaluated = time.perf_counter()
    candidates = Candidates(*problem, table)
    reduced = time.perf_counter()
    frontier = sweep_of(*problem, candidates, Clock(Controls())).trace()
    ended = time.perf_counter()
    return [evaluated - started, reduced - evaluated, ended - reduced], len(table), len(frontier.points)


def main() -> None:
    """Prints the medians."""
    problem = synthetic(ENGINES, GPUS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    runs = [steps(problem) for _ in range(REPEATS)]
    seconds = [statistics.median(run[0][step] for run in runs) for step in range(3)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"  {ENGINES * 1024:,} points, {runs[0][1]:,} after thinning: evaluate and thin {seconds[0]:.2f} s, dominance"
        f" {seconds[1]:.2f} s, frontier of {runs[0][2]} points {seconds[2]:.2f} s, together {sum(seconds):.2f} s;"
        f" peak memory {peak:.0f} MB, {before:.0f} MB of it before"
    )


if __name__ == "__main__":
    main()
