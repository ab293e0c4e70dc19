"""
Fine grid against coarse grid with exact rows, at limits spread over the TPOTs of an instance.

``python docs/measure_grid.py [--limit S] [NAME ...]`` prints, per instance, median and longest time of the first
stage: CP-SAT on the finest grid that 64 bits hold, and the walk of ``solver/optimise.py``. The first proves less than
the second: its optimum is that of the rounded model.
"""

from __future__ import annotations

import argparse
import statistics
import time

import instances
from solver.backends.base import Controls
from solver.backends.cpsat import CpSat
from solver.clock import Clock
from solver.columns import Candidates, Limits
from solver.engines import cost_model_of, engines_of
from solver.formulation.points import build_points
from solver.measure import throughput
from solver.points import points_of
from solver.read import read_instance
from solver.stages import Stages

NAMES = (
    "llama-8b-h100-8",
    "llama-70b-h200-72",
    "llama-70b-h200-72-interpolated",
    "qwen3-32b-h100-72",
    "deepseek-v3-h200-64",
    "deepseek-v3-gb200-144",
    "deepseek-v3-gb200-576",
    "deepseek-v3-h100-h200",
)


def times(name: str, limit_s: float, levels: int = 25) -> tuple[list[float], list[float], int]:
    """Seconds on the fine grid and of the exact walk at each limit, and how often the fine grid did not close."""
    path = instances.path(name)
    instance = read_instance(path)
    engines = engines_of(instance, cost_model_of(instance, path.parent))
    candidates = Candidates(instance, engines, points_of(instance, engines))
    every = candidates.tpot_levels()
    fine, walk, still_open = [], [], 0
    for level in every[:: max(1, len(every) // levels)]:
        limits = Limits({workload.name: level for workload in instance.workloads}, {})
        columns = candidates.columns(limits)
        model = build_points(instance, columns, segments=candidates.table.rate_step)
        model.maximise(throughput(instance)[0].objective(model))
        started = time.perf_counter()
        answer = CpSat(presolve=True).solve(model.milp, Controls(time_limit_s=limit_s))
        fine.append(time.perf_counter() - started)
        still_open += answer.status not in ("optimal", "infeasible")
        started = time.perf_counter()
        Stages(instance, candidates, CpSat(), Clock(Controls())).run(limits, last="objective")
        walk.append(time.perf_counter() - started)
    return fine, walk, still_open


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds a solve on the fine grid")
    chosen = parser.parse_args()
    head = f"{'instance':<34}{'limits':>7}{'fine median':>13}{'longest':>10}{'open':>6}"
    print(f"{head}{'exact median':>14}{'longest':>10}")
    for name in chosen.names:
        fine, walk, still_open = times(name, chosen.limit)
        head = f"{name:<34}{len(fine):>7}{statistics.median(fine):>11.3f} s{max(fine):>8.3f} s{still_open:>6}"
        print(f"{head}{statistics.median(walk):>12.3f} s{max(walk):>8.3f} s", flush=True)


if __name__ == "__main__":
    main()
