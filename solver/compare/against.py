"""One case against aiconfigurator: the same numbers, limits, GPUs and scoring rules; quality first, then time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from solver.backends.base import Controls
from solver.clock import Clock
from solver.columns import Candidates
from solver.compare import own_space
from solver.compare.cases import Case, milliseconds
from solver.compare.machine import median_s
from solver.compare.table import write_instance, write_table
from solver.engines import cost_model_of, engines_of
from solver.files import write_whole
from solver.frontier import Frontier, sweep_of
from solver.planner import Options, solve
from solver.points import points_of
from solver.read import read_instance

Say = Callable[[str], object]
SPLITS = ("disaggregated",)
BOTH = ("colocated", "disaggregated")
SPACES: dict[str, tuple[tuple[str, ...], int | str]] = {
    "one_disagg": (SPLITS, 1),
    "mixed_disagg": (SPLITS, "unlimited"),
    "one_best": (BOTH, 1),
    "mixed_best": (BOTH, "unlimited"),
}
"""What the solver may use: modes, and different engines a role. One: identical engines, any number of each."""
PEER_LIMIT_S = 1800
"""A peer that takes longer is stopped, and the case left out."""


class PeerError(Exception):
    """aiconfigurator is not there, or failed; one line for the user."""


@dataclass(frozen=True)
class Outcome:
    """
    A case that was compared.

    Parameters
    ----------
    case
        The case.
    sweep
        One row a limit on the time a token: tokens/s/GPU of the peer and of the spaces.
    loads
        One row a load: GPUs.
    times
        Seconds, and the ratios of medians.
    missing
        What a limit stopped: space to the gap or reason; such a space is left out of ratios.
    """

    case: Case
    sweep: list[dict[str, Any]]
    loads: list[dict[str, Any]]
    times: dict[str, Any]
    missing: dict[str, str]


def peer_answer(case: Case, python: str, folder: Path, repeats: int) -> dict[str, Any]:
    """
    What aiconfigurator says, from a process of its own.

    Raises
    ------
    PeerError
        When it cannot be run.
    """
    asked, told = folder / "asked.json", folder / "aiconfigurator.json"
    write_whole(asked, json.dumps({**case.asked(), "repeats": repeats}) + "\n")
    command = [python, "-m", "solver.compare.peer", str(asked), str(told)]
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PEER_LIMIT_S, cwd=Path(__file__).parents[2], check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{case.name}: {error}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PeerError(f"{case.name}: aiconfigurator could not be run with {python}: {last}")
    answer: dict[str, Any] = json.loads(told.read_text("utf-8"))
    answer["process_s"] = time.perf_counter() - started
    return answer


def against(case: Case, python: str, folder: Path, repeats: int, limit_s: float, say: Say) -> Outcome:
    """Compares one case; everything raw is written below the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    answer = peer_answer(case, python, folder, repeats)
    taken = answer["default"]
    write_table(case, taken, folder / "curves.csv")
    frontiers: dict[str, Frontier] = {}
    times, missing = peer_times(answer), dict[str, str]()
    for space, (modes, engines) in SPACES.items():
        path = folder / f"{space}.json"
        write_instance(case, "curves.csv", path, taken["space"], engines=engines, modes=modes)
        frontiers[space], times[space] = traced(path, repeats, limit_s)
        if frontiers[space].missing:
            missing[space] = f"> {limit_s:g} s: {frontiers[space].missing}"
    times["process"] = processes(folder / "one_best.json", repeats, limit_s)
    times["ratios"] = ratios(times, missing)
    sweep = [row(case, answer, taken, frontiers, missing, tpot) for tpot in case.tpots_ms]
    loads = needed(case, answer, folder, limit_s)
    for line in (*sweep_lines(case, sweep), *load_lines(case, loads), *time_lines(times, missing)):
        say(line)
    return Outcome(case, sweep, loads, times, missing)


def peer_times(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of the peer: from a cold process, and with its tables loaded (medians)."""
    again = [run["whole_s"] for run in answer["again"]]
    pricing = [run["pricing_s"] for run in answer["again"]]
    return {
        "peer_cold_s": answer["import_s"] + answer["first"]["whole_s"],
        "peer_loaded_s": statistics.median(again),
        "peer_pricing_s": statistics.median(pricing),
        "peer_search_s": statistics.median(a - b for a, b in zip(again, pricing, strict=True)),
    }


def traced(path: Path, repeats: int, limit_s: float) -> tuple[Frontier, dict[str, Any]]:
    """The whole frontier of a file: seconds to read and evaluate, and to trace once that is done (medians)."""

    def load() -> tuple[Any, Any, Candidates]:
        instance = read_instance(path)
        engines = engines_of(instance, cost_model_of(instance, path.parent))
        return instance, engines, Candidates(instance, engines, points_of(instance, engines))

    read_s, _, (instance, engines, candidates) = median_s(load, repeats)

    def trace() -> Frontier:
        return sweep_of(instance, engines, candidates, Clock(Controls(time_limit_s=limit_s))).trace()

    trace_s, all_s, frontier = median_s(trace, repeats)
    return frontier, {"read_s": read_s, "frontier_s": trace_s, "runs_s": all_s, "points": len(frontier.points)}


def processes(path: Path, repeats: int, limit_s: float) -> dict[str, Any]:
    """Seconds of whole processes from a cold shell: one solve, and one frontier (medians)."""
    found: dict[str, Any] = {}
    for command in ("solve", "frontier"):
        call = [sys.executable, "-m", "solver", command, str(path), "--time-limit", f"{limit_s:g}"]

        def run(call: list[str] = call) -> object:
            return subprocess.run(call, capture_output=True, check=False, cwd=Path(__file__).parents[2])

        spent, runs, _ = median_s(run, repeats)
        found[f"{command}_s"], found[f"{command}_runs_s"] = spent, runs
    return found


def ratios(times: Mapping[str, Any], missing: Mapping[str, str]) -> dict[str, float]:
    """How many times longer the peer takes for its whole sweep, by what is counted; without what a limit stopped."""
    found = {}
    for space in ("one_best", "mixed_best"):
        if space not in missing:
            ours = times[space]
            found[f"search {space}"] = times["peer_search_s"] / ours["frontier_s"]
            priced = times["peer_pricing_s"] + ours["read_s"] + ours["frontier_s"]
            found[f"pricing and search {space}"] = times["peer_loaded_s"] / priced
    return found


def row(
    case: Case,
    answer: Mapping[str, Any],
    taken: Mapping[str, Any],
    frontiers: Mapping[str, Frontier],
    missing: Mapping[str, str],
    tpot: str,
) -> dict[str, Any]:
    """Tokens/s/GPU of everyone at one limit on the time a token."""
    said = {p["mode"]: p for p in answer["default"]["picks"] if p["tpot_ms"] == tpot}
    peer = {mode: said[mode]["tokens/s/gpu_cluster"] if mode in said else 0.0 for mode in ("disagg", "agg")}
    limit = float(tpot)
    own = own_space.most_tokens(*own_space.replicas(taken, case, limit), case)
    own_agg = own_space.most_tokens(*own_space.colocated(taken, case, limit), case)
    found = {
        "case": case.name, "tpot_ms": tpot, "tokens_per_s_per_user": 1000 / limit,
        "peer_disagg": peer["disagg"], "peer_agg": peer["agg"], "peer_best": max(peer.values()),
        "own_disagg": own, "own_agg": own_agg, "own_best": max(own, own_agg),
        "peer_plan": said[max(peer, key=lambda mode: peer[mode])]["plan"] if said else "",
    }  # fmt: skip
    for space, frontier in frontiers.items():
        found[space] = None if space in missing else value_at(frontier, milliseconds(tpot), case.gpus)
    return found


def value_at(frontier: Frontier, tpot: Fraction, gpus: int) -> float:
    """Tokens/s/GPU of the best point whose time a token is below the limit."""
    return float(max((p.value / gpus for p in frontier.points if p.tpot_ms is None or p.tpot_ms < tpot), default=0))


def needed(case: Case, answer: Mapping[str, Any], folder: Path, limit_s: float) -> list[dict[str, Any]]:
    """GPUs that each load takes at the reference limit, on the rows that ``recommend`` priced."""
    taken = answer["recommend"]
    write_table(case, taken, folder / "curves-recommend.csv")
    found = []
    for load in case.loads:
        said = {n["mode"]: int(n["total_gpus_needed"]) for n in taken["needs"] if n["load"] == load}
        tpot = float(case.reference_ms)
        own = [
            own_space.fewest_gpus(*own_space.replicas(taken, case, tpot), load),
            own_space.fewest_gpus(*own_space.colocated(taken, case, tpot), load),
        ]
        entry: dict[str, Any] = {"case": case.name, "load": load, "tpot_ms": case.reference_ms}
        entry |= {"peer_disagg": said.get("disagg"), "peer_agg": said.get("agg"), "own_best": least(own)}
        entry["peer_best"] = least(said.values())
        for space in ("one_best", "mixed_best"):
            path = folder / f"load-{load}-{space}.json"
            write_instance(
                case, "curves-recommend.csv", path, taken["space"], tpot=case.reference_ms, load=load,
                engines=SPACES[space][1], gpus=entry["peer_best"] or case.gpus,
            )  # fmt: skip
            result = solve(path, Options(controls=Controls(time_limit_s=limit_s), tiebreak=False))
            proved = result.status == "optimal" and result.objective is not None
            entry[space] = int(result.objective or 0) if proved else None
            entry[f"{space}_status"] = result.status
        found.append(entry)
    return found


def least(values: Any) -> int | None:
    """The smallest of what is there."""
    return min((value for value in values if value is not None), default=None)


def sweep_lines(case: Case, rows: list[dict[str, Any]]) -> list[str]:
    """The sweep as a table."""
    lines = [
        f"\n{case.name}: {case.model}, {case.gpus} x {case.system}, {case.isl}/{case.osl}, TTFT {case.ttft_ms} ms;"
        " tokens/s/GPU of the fleet",
        f"{'TPOT':>6}{'tok/s/user':>11} |{'disagg: aic':>12}{'own exact':>11}{'one':>9}{'mixed':>9} |{'agg: aic':>9} |"
        f"{'best: aic':>10}{'own exact':>11}{'one':>9}{'mixed':>9}{'gain':>8}",
    ]
    for r in rows:
        left = f"{r['tpot_ms']:>6}{r['tokens_per_s_per_user']:>11.1f} |{r['peer_disagg']:>12.1f}"
        middle = f"{r['own_disagg']:>11.1f}{shown(r['one_disagg'])}{shown(r['mixed_disagg'])} |{r['peer_agg']:>9.1f} |"
        right = f"{r['peer_best']:>10.1f}{r['own_best']:>11.1f}{shown(r['one_best'])}{shown(r['mixed_best'])}"
        lines.append(left + middle + right + f"{percent(r['mixed_best'], r['peer_best']):>8}")
    return lines


def shown(value: float | None) -> str:
    """A figure, or a dash where a limit came first."""
    return f"{'-' if value is None else format(value, '.1f'):>9}"


def percent(ours: float | None, theirs: float) -> str:
    """The gain over the peer."""
    if ours is None:
        return "-"
    if not theirs:
        return "none" if not ours else "only"
    gain = round(100 * (ours / theirs - 1), 1)
    return f"{gain + 0.0:+.1f}%"


def load_lines(case: Case, rows: list[dict[str, Any]]) -> list[str]:
    """GPUs for loads, as lines."""
    words = (
        f"{r['load']} requests/s: aic {r['peer_best']} (disagg {r['peer_disagg']}, agg {r['peer_agg']}), own space"
        f" exact {r['own_best']}, one {r['one_best'] or r['one_best_status']},"
        f" mixed {r['mixed_best'] or r['mixed_best_status']}"
        for r in rows
    )
    return [f"GPUs needed at TPOT {case.reference_ms} ms: " + "; ".join(words)]


def time_lines(times: Mapping[str, Any], missing: Mapping[str, str]) -> list[str]:
    """Seconds and ratios, as lines."""
    one, mixed, process = times["one_best"], times["mixed_best"], times["process"]
    lines = [
        f"aic, s: cold {times['peer_cold_s']:.2f} (one run); tables loaded {times['peer_loaded_s']:.2f}, of it pricing"
        f" {times['peer_pricing_s']:.2f}, search and picking {times['peer_search_s']:.2f}",
        f"solver, s: cold process, one solve {process['solve_s']:.2f}, whole frontier {process['frontier_s']:.2f}; read"
        f" the priced rows {one['read_s']:.3f}; then the whole frontier {one['frontier_s']:.3f}"
        f" ({one['points']} points), mixed {mixed['frontier_s']:.3f} ({mixed['points']} points)",
        "ratio of medians, aic/solver: " + ", ".join(f"{name} {value:.1f}" for name, value in times["ratios"].items()),
    ]
    return lines + [f"stopped, left out of ratios: {space} {reason}" for space, reason in missing.items()]
