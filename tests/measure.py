"""
The figures of this version, measured in one run: ``python -m tests.measure``.

For the built-in 72-GPU dense and 144-GPU MoE instances: points before and after dominance; the time of one solve for
each back end and formulation, with and without dominance; the whole frontier beside the combinatorial oracle's;
start-up; peak memory. Median of repeats; a time-out is shown as "> limit" with the gap it left.
"""

from __future__ import annotations

import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import instances
from solver.backends.base import Controls
from solver.backends.cpsat import CpSat
from solver.backends.registry import backend
from solver.claim import claim_of
from solver.columns import Candidates
from solver.engines import cost_model_of, engines_of
from solver.frontier import sweep_of
from solver.optimise import Clock
from solver.points import points_of
from solver.read import read_instance
from solver.stages import Stages
from tests.oracles import sweep
from tests.oracles.tables import read_case

NAMES = ("llama-70b-h200-72", "deepseek-v3-gb200-144")
LIMIT_S = 60.0
REPEATS = 5


def median_ms(call: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, Any]:
    """Median milliseconds over repeats, and the last value."""
    times, value = [], None
    for _ in range(repeats):
        started = time.perf_counter()
        value = call()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times), value


def loaded(name: str, dominance: bool = True) -> tuple[Any, Any, Candidates]:
    """Instance, engines and candidates of a built-in instance."""
    path = instances.path(name)
    instance = read_instance(path)
    engines = engines_of(instance, cost_model_of(instance, path.parent))
    return instance, engines, Candidates(instance, engines, points_of(instance, engines), dominance)


def solves(name: str) -> None:
    """One solve of the first stage, by back end, formulation and dominance."""
    print(f"\n{name}: one solve of the first stage, ms (model building included)")
    for dominance in (True, False):
        instance, _, candidates = loaded(name, dominance)
        columns = len(candidates.columns())
        word = "with" if dominance else "without"
        print(f"  points {word} dominance: {columns} columns of {len(candidates.table)} points")

        def exact(instance: Any = instance, candidates: Candidates = candidates) -> Any:
            clock = Clock(Controls(time_limit_s=LIMIT_S))
            return Stages(instance, candidates, CpSat(), clock).run(last="objective")

        spent, staged = median_ms(exact, REPEATS if dominance else 3)
        print(f"    {'cp-sat (exact proof)':<24}{shown(spent, staged.objective.verdict == 'optimal', staged)}")
        for word in ("scip", "highs", "cbc"):
            claimed(word, "points", instance, candidates, 3 if dominance else 1)
    instance, _, candidates = loaded(name)
    print("  piecewise (all engines, breakpoints of the table)")
    for word in ("scip", "highs", "cbc"):
        claimed(word, "piecewise", instance, candidates, 1)


def claimed(word: str, formulation: str, instance: Any, candidates: Candidates, repeats: int) -> None:
    """A float back end's own first stage."""

    def run() -> Any:
        return claim_of(backend(word), formulation, instance, candidates, Clock(Controls(time_limit_s=LIMIT_S)))

    spent, claim = median_ms(run, repeats)
    record = claim.records[0]
    closed = record["status"] == "optimal"
    bound, value = record.get("bound"), record.get("objective")
    gap = f" gap {abs(bound - value) / abs(value):.2e}" if isinstance(bound, float) and value else " no bound"
    print(f"    {word:<24}{shown(spent, closed, None)}{'' if closed else gap}")


def shown(spent: float, closed: bool, staged: Any) -> str:
    """Milliseconds, or the limit with the gap that was left."""
    if closed:
        return f"{spent:10.1f}"
    known = staged is not None and staged.value and staged.bound is not None
    gap = f" gap {float(staged.bound / staged.value - 1):.2e}" if known else ""
    return f"> {1000 * LIMIT_S:.0f}{gap}"


def frontiers(name: str) -> None:
    """The whole frontier beside the oracle's."""
    instance, engines, candidates = loaded(name)

    def trace() -> Any:
        return sweep_of(instance, engines, candidates, Clock(Controls())).trace()

    spent, frontier = median_ms(trace)
    points = len(frontier.points)
    case = sweep.table(*read_case(instances.path(name)))
    oracle, answer = median_ms(lambda: sweep.sweep(case))
    assert len(answer) == points, (len(answer), points)
    print(
        f"{name:<38}{points:>5} points  {spent:9.1f} ms  {spent / points:6.2f} ms a point  {frontier.solves:>5} solves"
        f"   oracle {oracle:7.2f} ms   ratio {spent / oracle:7.1f}"
    )


def start_up() -> None:
    """Whole processes from a cold shell, and their peak memory."""
    print("\nstart-up, s (median of whole processes)")
    for arguments in (["--help"], ["solve", NAMES[0]], ["solve", NAMES[1]], ["frontier", NAMES[1]]):
        command = [sys.executable, "-m", "solver", *arguments]
        spent, _ = median_ms(lambda command=command: subprocess.run(command, check=True, capture_output=True))
        print(f"  {' '.join(arguments):<40}{spent / 1000:8.3f}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory of the largest of these processes: {peak:.0f} MB")


def main() -> None:
    """Prints everything."""
    print(f"{platform.platform()}, Python {platform.python_version()}, {platform.processor() or platform.machine()}")
    print(
        "whole frontier after start-up (curves read, points evaluated): objective and fewest GPUs proved at each point"
    )
    for name in NAMES:
        frontiers(name)
        frontiers(f"{name}-interpolated")
    start_up()
    for name in NAMES:
        solves(name)


if __name__ == "__main__":
    main()
