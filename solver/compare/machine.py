"""The machine and the versions that a measurement names, and medians."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def machine() -> str:
    """One line: processor, cores, system, Python and the versions of the solvers."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ortools", "pulp", "numpy"))
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    cores = os.cpu_count() or 1
    return f"{processor()}, {cores} cores ({load}), {platform.system()}, Python {platform.python_version()}, {versions}"


def processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model n")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def median_s(call: Callable[[], T], repeats: int) -> tuple[float, list[float], T]:
    """Median seconds over repeats, all of them, and the last value."""
    times: list[float] = []
    for _ in range(max(1, repeats)):
        started = time.perf_counter()
        value = call()
        times.append(time.perf_counter() - started)
    return statistics.median(times), times, value
