"""
Measures what headroom costs under recorded traffic: ``python docs/measure_headroom.py [NAME=FILE...]``.

For each trace an instance is made that wants the trace's mean rate at the least cost, and ``headroom`` is asked for the
utilization at which 95 of 100 requests meet each limit. FILE replaces a built-in trace of that name.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import instances
from solver.files import write_whole
from solver.simulation.command import with_headroom
from solver.traffic.ask import requests_of

REPLICATIONS = 3


@dataclass(frozen=True)
class Case:
    """A trace, its format, and what is asked: rate scale, limits in ms."""

    trace: str
    form: str
    scale: int
    ttft_ms: int
    tpot_ms: int


CASES = (
    Case("azure-conversation-2023", "azure", 2, 1000, 50),
    Case("azure-code-2023", "azure", 2, 1000, 50),
    Case("mooncake-synthetic", "mooncake", 1, 10_000, 50),
)


def instance_of(case: Case, trace: Path) -> dict[str, object]:
    """Llama 3.1 70B FP8 on H100 nodes, the lengths and the mean rate of the trace."""
    requests = requests_of(trace, rate_scale=str(case.scale))
    return {
        "format": "disagg-instance", "version": 1, "name": case.trace,
        "pools": [{"name": "h100", "gpu": "h100_sxm", "gpus": 512, "nvlink_domain_gpus": 8, "usd_per_gpu_hour": 2.6}],
        "workloads": [{
            "name": "requests", "model": "nvidia/Llama-3.1-70B-Instruct-FP8",
            "traffic": {"trace": str(trace), "format": case.form},
            "requests_per_s": round(len(requests) / requests.duration_s, 6),
            "sla": {"ttft_ms": case.ttft_ms, "tpot_ms": case.tpot_ms},
        }],
        "cost_model": {"kind": "roofline", "kv_reservation": "mean"}, "objective": "cost",
    }  # fmt: skip


def main() -> None:
    """Prints everything of each case."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            trace = Path(given.get(case.trace) or instances.resolve_trace(case.trace)).resolve()
            file = Path(folder, f"{case.trace}.json")
            write_whole(file, json.dumps(instance_of(case, trace)))
            started = time.perf_counter()
            found = with_headroom(file, trace, replications=REPLICATIONS, rate_scale=str(case.scale))
            print("\n".join(found.lines))
            print(f"  {time.perf_counter() - started:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
