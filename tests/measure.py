"""
The figures of this version, measured in one run: ``python -m tests.measure``.

For the built-in 72-GPU dense and 144-GPU MoE instances: points before and after dominance; the time of one solve for
each back end and formulation, with and without dominance; the whole frontier, with bounds and plain, beside the
combinatorial oracle's; interpolated frontiers of other forms; ten million points; start-up; peak memory. Median of
repeats; a time-out is shown as "> limit" with the gap it left.
"""

from __future__ import annotations

import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import instances
from solver.backends.base import Controls
from solver.backends.cpsat import CpSat
from solver.backends.registry import backend
from solver.claim import claim_of
from solver.clock import Clock
from solver.columns import Candidates
from solver.engines import cost_model_of, engines_of
from solver.frontier import sweep_of
from solver.points import points_of
from solver.read import read_instance
from solver.stages import Stages
from tests.oracles import sweep
from tests.oracles.tables import read_case

NAMES = ("llama-70b-h200-72", "deepseek-v3-gb200-144")
INTERPOLATED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("qwen3-32b-gb200-72-e2e", {}),
    ("two-models-h200-96", {}),
    ("two-models-h200-96", {"e2el_ms": Fraction(20_000)}),
    ("two-models-h200-96", {"objective": "throughput_per_gpu"}),
    ("qwen3-32b-h100-72", {}),
    ("deepseek-v3-gb200-144", {"objective": "throughput_per_gpu"}),
    ("gpt-oss-120b-h100-40-hybrid", {}),
    ("llama-70b-h200-72", {"engines_per_role": None}),
    ("deepseek-v3-h100-h200", {}),
    ("llama-70b-h100-h200-cost", {}),
    ("llama-70b-b200-64-decode-covers", {}),
    ("llama-70b-h200-gb200-handover", {}),
)
"""Built-in instances traced with every batch between the rows, and what is changed in them."""
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
    """The whole frontier with bounds and plain, beside the oracle's; the curves are read and the points evaluated."""
    instance, engines, candidates = loaded(name)

    def traced(incremental: bool) -> Any:
        return sweep_of(instance, engines, candidates, Clock(Controls()), incremental=incremental).trace()

    spent, frontier = median_ms(lambda: traced(True))
    plain, same = median_ms(lambda: traced(False), 3)
    assert [(p.tpot_ms, p.value) for p in frontier.points] == [(p.tpot_ms, p.value) for p in same.points]
    points = len(frontier.points)
    case = sweep.table(*read_case(instances.path(name)))
    oracle, answer = median_ms(lambda: sweep.sweep(case), 3 * REPEATS)
    assert len(answer) == points, (len(answer), points)
    print(
        f"{name:<36}{points:>4} points  {spent:8.1f} ms {spent / points:6.2f} a point {frontier.solves:>4} solves"
        f"  plain {plain:8.1f} ms {plain / points:6.2f} a point {same.solves:>4} solves"
        f"  oracle {oracle:5.2f} ms  ratio {spent / oracle:5.1f}, plain {plain / oracle:6.1f}"
    )


def interpolated(name: str, **changed: Any) -> None:
    """The frontier of an instance when every batch between the rows may be used, with bounds and plain."""
    path = instances.path(name)
    instance = read_instance(path)
    serving = replace(instance.serving, **{k: v for k, v in changed.items() if k == "engines_per_role"})
    objective = changed.get("objective", instance.objective)
    instance = replace(instance, cost_model=replace(instance.cost_model, interpolate=True), serving=serving)
    instance = replace(instance, objective=objective)
    if "e2el_ms" in changed:
        instance = replace(
            instance, workloads=tuple(replace(w, e2el_ms=changed["e2el_ms"]) for w in instance.workloads)
        )
    engines = engines_of(instance, cost_model_of(instance, path.parent))
    candidates = Candidates(instance, engines, points_of(instance, engines))
    words = name + "".join(f" {key}={value}" for key, value in changed.items())
    line = f"  {words:<52}"
    for incremental in (True, False):
        clock = Clock(Controls(time_limit_s=LIMIT_S))
        spent, found = median_ms(
            lambda clock=clock, on=incremental: sweep_of(instance, engines, candidates, clock, incremental=on).trace(),
            1,
        )
        points = max(1, len(found.points))
        more = " (stopped)" if found.missing else ""
        line += f"{'' if incremental else '  plain'}{len(found.points):>5} points {spent:9.1f} ms {spent / points:7.2f}"
        line += f" a point{found.solves:>5} solves{more}"
    print(line, flush=True)


def many() -> None:
    """Ten million points: a process of its own, for its memory."""
    print("\n10,000 synthetic engines x 1,024 batch sizes on 1,024 GPUs, after the curves are there", flush=True)
    subprocess.run([sys.executable, "-m", "tests.measure_many"], check=True)


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
    start_up()  # first: a child counts the memory of its parent as its own
    many()
    print(
        "\nwhole frontiers after start-up (curves read, points evaluated): objective, fewest GPUs proved at each point"
    )
    for name in NAMES:
        frontiers(name)
        frontiers(f"{name}-interpolated")
    print("\nwhole frontiers with interpolated batches, one run each; time limit 60 s")
    for name, changed in INTERPOLATED:
        interpolated(name, **changed)
    for name in NAMES:
        solves(name)


if __name__ == "__main__":
    main()
