"""
How fast the roofline prices design points, and how long the curves of a whole instance take.

``python docs/measure_points.py`` prints, per query of the table below, the number of curves and of design points
(partition x batch x role), points per second of pricing alone and of pricing with the fit into curves, and seconds for
all curves; then seconds for all curves of built-in instances. One core; the best of several runs, in processor time.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time
from collections.abc import Callable
from functools import partial

import instances
from costmodels.operating_curve import CurveQuery
from costmodels.roofline import Roofline
from solver.engines import engines_of
from solver.read import read_instance

CASES = (
    ("meta-llama/Meta-Llama-3.1-70B", "h200_sxm", 8, 72),
    ("deepseek-ai/DeepSeek-V3", "gb200", 72, 144),
    ("openai/gpt-oss-120b", "b200_sxm", 8, 64),
)
"""Model, GPU, NVLink domain, GPUs."""
INSTANCES = (
    "llama-70b-h100-64-roofline",
    "llama-70b-h100-64-lognormal",
    "llama-70b-h100-64-azure-conversation",
    "paper/r1-2k-2k",
)
ISL, OSL = 4500, 750
RUNS = 5


def seconds(run: Callable[[], object]) -> float:
    """Processor seconds of the fastest of several runs."""
    best = float("inf")
    for _ in range(RUNS):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Prints both tables."""
    model = Roofline()
    print(f"{'query':<52}{'curves':>7}{'points':>9}{'priced/s':>12}{'and fitted/s':>14}{'all curves':>12}")
    for name, gpu, domain, gpus in CASES:
        query = CurveQuery(gpu=gpu, domain_gpus=domain, pool_gpus=gpus, model=name, isl=ISL, osl=OSL)
        points = sum(len(state.latency_ms) for state in model.states(query))
        pricing, whole = seconds(partial(model.states, query)), seconds(partial(model.curves, query))
        curves = len(model.curves(query).curves)
        title = f"{name}, {gpus} x {gpu}"
        print(f"{title:<52}{curves:>7}{points:>9}{points / pricing:>12,.0f}{points / whole:>14,.0f}{whole:>10.3f} s")
    for name in INSTANCES:
        instance = read_instance(instances.path(name))
        print(f"{name:<94}{seconds(partial(engines_of, instance, model)):>10.3f} s")


if __name__ == "__main__":
    main()
