"""
How fast ``aiconfigurator-core`` prices design points, and how fast the cache gives them back.

``python docs/measure_silicon.py`` prints, per instance of the table below and per role, points (partition x batch) per
second: *first* with the package imported and nothing loaded (operator tables are read), *again* in the same process
(models are built anew for each partition, operator tables are loaded), and *cached* over all roles. One core.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from costmodels.operating_curve import ROLES, CurveQuery
from costmodels.silicon import Silicon
from costmodels.silicon_config import Ask
from costmodels.silicon_package import current_version, require_package
from costmodels.silicon_rows import priced

CASES = (
    ("h100_sxm", "trtllm", "Qwen/Qwen3-32B-FP8"),
    ("h200_sxm", "trtllm", "openai/gpt-oss-120b"),
    ("h200_sxm", "sglang", "deepseek-ai/DeepSeek-V3"),
    ("gb200", "trtllm", "deepseek-ai/DeepSeek-V3"),
)
ISL, OSL = 4500, 750


def rate(points: int, started: float) -> str:
    """Points per second since then."""
    return f"{points / (time.perf_counter() - started):,.0f}"


def measure(system: str, backend: str, model: str) -> None:
    """Prints one case; meant for a process of its own."""
    require_package()
    version = current_version(system, backend)
    print(f"{system} {backend} {version} {model} {ISL}/{OSL}")
    for role in ROLES:
        ask = Ask(system, backend, version, model, role, None, ISL, 1 if role == "prefill" else OSL)
        started = time.perf_counter()
        points = len(priced(ask).rows)
        first = rate(points, started)
        started = time.perf_counter()
        priced(ask)
        print(f"  {role:10} {points:5} points, first {first:>6}/s, again {rate(points, started):>6}/s")
    query = CurveQuery(gpu=system, domain_gpus=8, model=model, isl=ISL, osl=OSL, backend=backend)
    with tempfile.TemporaryDirectory() as folder:
        silicon = Silicon(cache=Path(folder))
        silicon.curves(query)
        started = time.perf_counter()
        answer = silicon.curves(query)
        points = sum(len(curve.batch) for curve in answer.curves)
        print(f"  cached     {points:5} points in {time.perf_counter() - started:.3f} s")


def main() -> None:
    """Each case in a fresh process, so that nothing is loaded before it is measured."""
    if len(sys.argv) == 4:
        measure(*sys.argv[1:])
        return
    for case in CASES:
        subprocess.run([sys.executable, __file__, *case], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
