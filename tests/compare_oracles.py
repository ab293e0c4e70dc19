"""
The solver beside brute force and the combinatorial sweep: ``python -m tests.compare_oracles [-o DIR]``.

The oracles are tests and never ship, so this comparison needs a checkout. Enumeration answers hand-made instances of
at most 16 GPUs; the event sweep traces whole frontiers of one pool and one workload. Values must be equal, or this
fails. Median of repeats; reading and evaluating the curves is left out on both sides.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import instances
from solver.backends.base import Controls
from solver.backends.cpsat import CpSat
from solver.clock import Clock
from solver.columns import Candidates
from solver.compare.machine import machine, median_s
from solver.compare.run import as_csv
from solver.engines import cost_model_of, engines_of
from solver.files import write_whole
from solver.frontier import sweep_of
from solver.points import points_of
from solver.read import read_instance
from solver.stages import Stages
from tests.oracles import enumerate as enumeration
from tests.oracles import sweep
from tests.oracles.tables import read_case

ENUMERATED = (
    "tiny-rate-match", "tiny-tie", "tiny-e2e", "tiny-cost", "tiny-zero-slack", "tiny-equal-pools", "tiny-huge-rates",
    "tiny-mixed-scales", "tiny-ratio-thirds", "tiny-sevenths",
)  # fmt: skip
SWEPT = (
    "llama-8b-h100-8", "gpt-oss-120b-h200-16", "qwen3-32b-b200-32", "llama-70b-h200-72",
    "llama-70b-h200-72-interpolated", "deepseek-v3-h200-64", "deepseek-v3-gb200-144",
    "deepseek-v3-gb200-144-interpolated", "deepseek-v3-gb200-576", "deepseek-v3-sglang-h200-128",
)  # fmt: skip
REPEATS = 5


def loaded(name: str) -> tuple[Any, Any, Candidates]:
    """Instance, engines and candidates."""
    path = instances.path(name)
    instance = read_instance(path)
    engines = engines_of(instance, cost_model_of(instance, path.parent))
    return instance, engines, Candidates(instance, engines, points_of(instance, engines))


def enumerated(name: str) -> dict[str, Any]:
    """One optimum by every plan, and by the solver."""
    instance, _, candidates = loaded(name)
    ours, _, staged = median_s(
        lambda: Stages(instance, candidates, CpSat(), Clock(Controls())).run(last="objective"), REPEATS
    )
    case = read_case(instances.path(name))
    theirs, _, value = median_s(lambda: enumeration.optimum(*case), REPEATS)
    assert value == staged.value, (name, value, staged.value)
    return {
        "instance": name,
        "oracle": "enumeration",
        "points": 1,
        "solver_ms": 1000 * ours,
        "oracle_ms": 1000 * theirs,
    }


def swept(name: str) -> dict[str, Any]:
    """A whole frontier by the event sweep, and by the solver."""
    instance, engines, candidates = loaded(name)
    ours, _, frontier = median_s(lambda: sweep_of(instance, engines, candidates, Clock(Controls())).trace(), REPEATS)
    facts = read_case(instances.path(name))
    case = sweep.table(*facts)
    theirs, _, _ = median_s(lambda: sweep.sweep(case), REPEATS)
    gpus = instance.inventory_gpus
    wanted = sorted((p.tpot_ms, p.value / gpus) for p in frontier.points)
    assert sorted(sweep.frontier(*facts)) == wanted, name
    points = len(frontier.points)
    return {
        "instance": name,
        "oracle": "event sweep",
        "points": points,
        "solver_ms": 1000 * ours,
        "oracle_ms": 1000 * theirs,
    }


def main(arguments: Sequence[str]) -> None:
    """Prints both tables and writes the rows where a folder is given."""
    print(f"{date.today().isoformat()}, {machine()}; medians of {REPEATS}")
    print(f"{'instance':<38}{'oracle':<14}{'points':>7}{'solver, ms':>12}{'oracle, ms':>12}{'ratio':>9}")
    rows = []
    for call, names in ((enumerated, ENUMERATED), (swept, SWEPT)):
        for name in names:
            row = call(name)
            row["ratio"] = row["solver_ms"] / row["oracle_ms"]
            rows.append(row)
            figures = f"{row['points']:>7}{row['solver_ms']:>12.2f}{row['oracle_ms']:>12.2f}{row['ratio']:>9.2f}"
            print(f"{name:<38}{row['oracle']:<14}{figures}", flush=True)
    if "-o" in arguments:
        folder = Path(arguments[arguments.index("-o") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "oracles.csv", as_csv(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
