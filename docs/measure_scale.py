"""
Time and memory of ``solve`` and ``frontier`` against the size of an instance, from 8 to 131,072 GPUs.

``python docs/measure_scale.py [--limit S] [--results FILE] [FAMILY ...]`` runs every case below in a process of its own
(so that peak memory is the case's own), appends each to FILE, prints the table and the fitted slopes, and draws
``docs/figures/scale.png``. Cases that FILE has already are not run again. The curves are the measured tables that the
package carries. Time is processor time of the process, since other work may share the machine; wall time stands beside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
CURVES = HERE.parent / "instances" / "curves"
FIGURE = HERE / "figures" / "scale.png"
MODELS = (
    ("meta-llama/Meta-Llama-3.1-70B", 4000, 40),
    ("openai/gpt-oss-120b", 2000, 25),
    ("meta-llama/Meta-Llama-3.1-8B", 1500, 15),
    ("deepseek-ai/DeepSeek-V3", 6000, 60),
)
"""Model, and limits on TTFT and TPOT in ms for short prompts."""
LENGTHS = ((4500, 750), (1024, 1024), (8192, 128), (1024, 128), (4500, 1024), (8192, 750), (1024, 750), (4500, 128))
GPUS = (("gb200", 72, 56), ("h200_sxm", 8, 31), ("h100_sxm", 8, 26))
"""GPU, NVLink domain, price in tenths of a USD per hour."""
LOWEST, HIGHEST = Fraction(1, 4), Fraction(3, 2)
"""Demand and cap of a workload, as shares of what an equal part of the fleet could serve of it."""


@dataclass(frozen=True)
class Case:
    """A size to measure: family of the table, command, GPUs, pools, workloads, engines per role, objective."""

    family: str
    command: str
    gpus: int
    pools: int = 1
    workloads: int = 1
    engines: int | None = 1
    objective: Literal["throughput", "cost"] = "throughput"

    @property
    def key(self) -> str:
        """Names the case in the file of results."""
        return " ".join(str(value) for value in asdict(self).values())


FLEETS = tuple(8 * 4**k for k in range(8))
SIZES = ((1, 1), (2, 2), (5, 3), (10, 3), (20, 5), (50, 10))
"""Workloads and pools of the largest fleet."""


def cases() -> Iterator[Case]:
    """All cases, by family."""
    for gpus in FLEETS:
        yield Case("one engine per role", "solve", gpus)
        yield Case("one engine per role, frontier", "frontier", gpus)
        yield Case("any engines per role", "solve", gpus, engines=None)
    for gpus in FLEETS[3:]:
        yield Case("10 workloads on one pool", "solve", gpus, 1, 10)
        yield Case("10 workloads on three pools, fewest USD", "solve", gpus, 3, 10, objective="cost")
    for workloads, pools in SIZES:
        gpus = 131_072
        yield Case("131,072 GPUs, throughput", "solve", gpus, pools, workloads)
        yield Case("131,072 GPUs, fewest USD", "solve", gpus, pools, workloads, objective="cost")
    for workloads, pools in SIZES[1::2]:
        yield Case("131,072 GPUs, throughput, any engines per role", "solve", gpus, pools, workloads, engines=None)


def document(case: Case) -> dict[str, Any]:
    """The instance of a case; the fleet in equal parts, GPU types and workloads in turn."""
    share, rest = divmod(case.gpus, case.pools)
    pools = []
    for index in range(case.pools):
        gpu, domain, price = GPUS[index % len(GPUS)]
        count = share + (rest if index == 0 else 0)
        usd = Decimal(price + index // len(GPUS)) / 10
        pools.append(
            {"name": f"p{index}", "gpu": gpu, "gpus": count, "nvlink_domain_gpus": domain, "usd_per_gpu_hour": usd}
        )
    workloads: list[dict[str, Any]] = []
    for index in range(case.workloads):
        model, ttft, tpot = MODELS[index % len(MODELS)]
        isl, osl = LENGTHS[(index // len(MODELS) + index) % len(LENGTHS)]
        longer = 1 + index // (len(MODELS) * len(LENGTHS)) * 0.1
        sla = {"ttft_ms": int(ttft * max(1, isl / 4500) * longer), "tpot_ms": int(tpot * longer)}
        weight = Decimal(1000 + 37 * index) / 1000
        workloads.append(
            {"name": f"w{index}", "model": model, "isl": isl, "osl": osl, "sla": sla, "weight": weight,
             "backend": "trtllm"}
        )  # fmt: skip
    used = sorted({gpu for gpu, _, _ in GPUS[: case.pools]})
    names = sorted({workload["model"].replace("/", "--") for workload in workloads})
    tables = [f"{gpu}__trtllm__{name}.csv.gz" for gpu in used for name in names]
    return {
        "format": "disagg-instance",
        "version": 1,
        "name": case.key,
        "pools": pools,
        "workloads": workloads,
        "serving": {"engines_per_role": case.engines or "unlimited"},
        "cost_model": {"kind": "curves", "path": [str(CURVES / table) for table in tables]},
        "objective": "throughput",
    }


def instance_of(case: Case) -> Any:
    """The instance of a case; with several workloads each has a demand and, but for ``cost``, a cap."""
    from solver.engines import cost_model_of, engines_of
    from solver.read import instance_from

    instance = instance_from(document(case))
    if case.workloads == 1 and case.objective == "throughput":
        return instance
    best: dict[tuple[str, str], Fraction] = {}
    for engine in engines_of(instance, cost_model_of(instance, HERE)).engines:
        curve, workload = engine.curve, engine.workload
        limit = workload.ttft_ms if curve.role == "prefill" else workload.tpot_ms
        fit = [
            rate
            for ms, rate in zip(curve.latency_ms, curve.requests_per_s, strict=True)
            if limit is None or ms <= limit
        ]
        key = (workload.name, curve.role)
        best[key] = max(best.get(key, Fraction(0)), max(fit, default=Fraction(0)) / curve.partition.gpus)
    sized = []
    for workload in instance.workloads:
        prefill, decode = best[workload.name, "prefill"], best[workload.name, "decode"]
        fair = prefill * decode / (prefill + decode) * case.gpus / case.workloads
        lowest, highest = (Fraction(int(1000 * share * fair), 1000) for share in (LOWEST, HIGHEST))
        sized.append(
            replace(workload, requests_per_s=lowest, max_requests_per_s=None if case.objective == "cost" else highest)
        )
    return replace(instance, workloads=tuple(sized), objective=case.objective)


def measured(case: Case, limit: float) -> dict[str, Any]:
    """What one process finds: run in a child."""
    from solver.backends.base import Controls
    from solver.planner import Options, solve, trace

    instance = instance_of(case)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, used = time.perf_counter(), time.process_time()
    options = Options(tiebreak=False, controls=Controls(time_limit_s=limit))
    found: dict[str, Any] = {}
    if case.command == "frontier":
        frontier = trace(instance, options, folder=HERE)
        found = {"points": len(frontier.points), "solves": frontier.solves, "gap": None,
                 "status": "complete" if not frontier.missing else "stopped"}  # fmt: skip
    else:
        result = solve(instance, options, folder=HERE)
        found = {"status": result.status, "gap": result.gap, "solves": result.run.solves,
                 "columns": result.run.columns, "points": result.run.points, "proved": list(result.proved),
                 "objective": None if result.objective is None else float(result.objective)}  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {
        "wall_s": round(time.perf_counter() - wall, 3),
        "cpu_s": round(time.process_time() - used, 3),
        "peak_mb": round(peak / 1024),
        "before_mb": round(before / 1024),
        "domains": sum(-(-pool.gpus // pool.nvlink_domain_gpus) for pool in instance.pools),
    }


def run(case: Case, limit: float) -> dict[str, Any]:
    """A case in a process of its own; what went wrong where it dies."""
    command = [sys.executable, __file__, "--limit", str(limit), "--one", json.dumps(asdict(case))]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=4 * limit + 120)
    except subprocess.TimeoutExpired:
        return {"status": f"killed after {4 * limit + 120:g} s"}
    if done.returncode:
        return {"status": "failed: " + (done.stderr.strip().splitlines() or ["?"])[-1][:120]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Runs what is missing; prints the table; draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", nargs="*", help="only these families")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that a command may take")
    parser.add_argument("--results", type=Path, default=Path("scale.jsonl"), help="file of results, appended to")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(Case(**json.loads(given.one)), given.limit)))
        return
    text = given.results.read_text() if given.results.exists() else ""
    known = {record["key"]: record for record in map(json.loads, text.splitlines())}
    wanted = [case for case in cases() if not given.family or case.family in given.family]
    for case in wanted:
        if case.key not in known:
            known[case.key] = {"key": case.key, **asdict(case), **run(case, given.limit)}
            with given.results.open("a") as file:
                file.write(json.dumps(known[case.key]) + "\n")
            print(line(known[case.key]), file=sys.stderr, flush=True)
    records = [known[case.key] for case in wanted]
    show(records, given.limit)
    draw(records)


def line(record: dict[str, Any]) -> str:
    """A row of the table."""
    engines = "any" if record["engines"] is None else record["engines"]
    size = f"{record['gpus']:>7,} {record.get('domains', ''):>7} {record['pools']:>5} {record['workloads']:>9}"
    if "wall_s" not in record:
        return f"{size} {engines:>7}  {record['status']}"
    gap = record["gap"]
    shown = record["status"] + (f", gap {gap:.1e}" if record["status"] == "feasible" and gap is not None else "")
    count = record.get("columns", record["points"])
    times = f"{record['cpu_s']:>8.2f} {record['wall_s']:>8.2f} {record['peak_mb']:>6}"
    return f"{size} {engines:>7} {count:>7} {record['solves']:>6} {times}  {shown}"


def slope(records: list[dict[str, Any]], size: str, value: str = "cpu_s") -> float | None:
    """Exponent of the power law fitted to the closed cases, or None with fewer than three sizes."""
    import numpy as np

    closed = [r for r in records if r.get("status") in ("optimal", "complete", "infeasible")]
    if len({r[size] for r in closed}) < 3:
        return None
    x, y = (np.log([r[key] for r in closed]) for key in (size, value))
    return float(np.polyfit(x, y, 1)[0])


def size_of(family: str) -> str:
    """What grows in a family."""
    return "workloads" if family.startswith("131,072") else "gpus"


def show(records: list[dict[str, Any]], limit: float) -> None:
    """Prints the table by family, with slopes."""
    cores = os.cpu_count()
    print(f"{platform.platform()}, Python {platform.python_version()}, {cores} cores shared with other jobs")
    print(f"time limit {limit:g} s; cpu: processor time of the command; wall: beside other jobs; MB: peak of a process")
    for family in dict.fromkeys(record["family"] for record in records):
        mine = [record for record in records if record["family"] == family]
        count = "points" if mine[0]["command"] == "frontier" else "columns"
        print(f"\n{family}")
        print(f"   GPUs domains pools workloads engines {count:>7} solves    cpu_s   wall_s     MB  answer")
        for record in mine:
            print(line(record))
        for value in ("cpu_s", "peak_mb"):
            exponent = slope(mine, size_of(family), value)
            if exponent is not None:
                print(f"  {value} grows with {size_of(family)} to the power {exponent:.2f}")


def draw(records: list[dict[str, Any]]) -> None:
    """The figure: processor time against GPUs, and against workloads."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for axis, size in zip(axes, ("gpus", "workloads"), strict=True):
        families = [f for f in dict.fromkeys(r["family"] for r in records) if size_of(f) == size]
        for number, family in enumerate(families):
            mine = [r for r in records if r["family"] == family and "wall_s" in r]
            exponent = slope(mine, size)
            label = family if exponent is None else f"{family} (slope {exponent:.2f})"
            closed = [r for r in mine if r["status"] in ("optimal", "complete", "infeasible")]
            others = [r for r in mine if r not in closed]
            style = {"color": f"C{number}", "linestyle": "-" if size == "gpus" else ""}
            axis.plot([r[size] for r in closed], [r["cpu_s"] for r in closed], marker="o", label=label, **style)
            axis.plot([r[size] for r in others], [r["cpu_s"] for r in others], "x", markersize=9, color=f"C{number}")
        axis.set(xscale="log", yscale="log", xlabel=size, ylabel="processor time, s")
        axis.grid(which="both", alpha=0.25)
        axis.legend(fontsize=7)
    figure.suptitle("o proved, x stopped at the limit (the answer carries its gap)", fontsize=9)
    figure.savefig(FIGURE, dpi=90)


if __name__ == "__main__":
    main()
