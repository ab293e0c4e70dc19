"""
Runs aiconfigurator in a process of its own: ``python -m solver.compare.peer CASE.json OUT.json``.

It is asked by its public functions (``cli_default``, ``cli_recommend``, ``pick_default``, ``pick_load_match``); what it
priced on the way is recorded, so that others can be judged on identical numbers. Nothing of the solver is imported:
any interpreter that has aiconfigurator 0.12 will do.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

STATIC = ("tp", "pp", "dp", "moe_tp", "moe_ep", "cp", "gemm", "moe", "kvcache", "fmha", "global_bs", "memory", "seq/s")
PICKED = ("tokens/s/gpu_cluster", "tokens/s/gpu", "seq/s", "tpot", "ttft", "num_total_gpus", "tokens/s/user")
NEEDED = ("total_gpus_needed", "replicas_needed", "num_total_gpus", "seq/s", "tpot", "ttft")


class Recorder:
    """
    Notes what aiconfigurator prices and returns; changes nothing of it.

    Attributes
    ----------
    rows
        Priced rows by role, of the last run.
    frames
        The table that each serving mode's search returned.
    space
        Replica sizes, worker counts and factors of the disaggregated search.
    pricing_s
        Seconds spent on pricing, of both modes.
    """

    def __init__(self) -> None:
        self.sweep = importlib.import_module("aiconfigurator.sdk.sweep")
        self.task = importlib.import_module("aiconfigurator.sdk.task_v2").Task
        self.clear()
        self._wrap(self.sweep, "_get_disagg_worker_candidates", self._candidates)
        self._wrap(self.sweep, "predict_agg_worker", self._agg)
        self._wrap(self.sweep, "sweep_disagg", self._space)
        self._wrap(self.task, "run", self._frame)

    def clear(self) -> None:
        """Forgets the last run."""
        self.rows: dict[str, list[dict[str, Any]]] = {"prefill": [], "decode": []}
        self.agg: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.frames: dict[str, Any] = {}
        self.space: dict[str, Any] = {}
        self.pricing_s = 0.0

    def _wrap(self, owner: Any, name: str, note: Callable[..., None]) -> None:
        plain = getattr(owner, name)

        @wraps(plain)
        def noted(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            value = plain(*args, **kwargs)
            note(time.perf_counter() - started, value, args, kwargs)
            return value

        setattr(owner, name, noted)

    def _candidates(self, spent: float, frame: Any, _: Any, kwargs: dict[str, Any]) -> None:
        self.pricing_s += spent
        latency = "ttft" if kwargs["role"] == "prefill" else "tpot"
        for row in frame.to_dict("records"):
            kept = {name: plain(row.get(name)) for name in STATIC}
            self.rows[kwargs["role"]].append({**kept, "latency": float(row[latency])})

    def _agg(self, spent: float, summary: Any, _: Any, kwargs: dict[str, Any]) -> None:
        self.pricing_s += spent
        if summary.check_oom() or summary.check_kv_cache_oom():
            return
        row = summary.get_result_dict()
        if row:
            key = (row["parallel"], kwargs["runtime_config"].batch_size, kwargs["ctx_tokens"])
            if key not in self.agg:
                names = (*STATIC, "tpot", "ttft", "tokens/s/gpu", "num_total_gpus")
                self.agg[key] = {**{n: plain(row.get(n)) for n in names}, "ctx_tokens": int(kwargs["ctx_tokens"])}

    def _space(self, _: float, __: Any, ___: Any, kwargs: dict[str, Any]) -> None:
        names = ("num_gpu_list", "prefill_num_worker_list", "decode_num_worker_list")
        self.space = {name: [int(each) for each in kwargs.get(name) or ()] for name in names}
        for role in ("prefill", "decode"):
            given = kwargs.get(f"rate_matching_{role}_degradation")
            self.space[role] = given or getattr(self.sweep, f"_RATE_MATCH_{role.upper()}_DEGRADATION")
        given = kwargs.get("autoscale_ttft_correction_factor")
        self.space["ttft"] = given or self.sweep._AUTOSCALE_TTFT_CORRECTION_FACTOR

    def _frame(self, _: float, frame: Any, args: tuple[Any, ...], __: Any) -> None:
        self.frames[args[0].serving_mode] = frame

    def taken(self) -> dict[str, Any]:
        """The priced rows and the space of the last run."""
        return {**self.rows, "agg": list(self.agg.values()), "space": self.space}


def plain(value: Any) -> Any:
    """A number or word that JSON holds."""
    return value.item() if hasattr(value, "item") else value


def timed(run: Callable[[], Any], recorder: Recorder) -> dict[str, float]:
    """Seconds of a run, and of the pricing in it."""
    recorder.clear()
    started = time.perf_counter()
    run()
    return {"whole_s": time.perf_counter() - started, "pricing_s": recorder.pricing_s}


def picks(case: dict[str, Any], recorder: Recorder) -> list[dict[str, Any]]:
    """What ``pick_default`` chooses for each limit and mode; nothing where its choice breaks the limit."""
    pick = importlib.import_module("aiconfigurator.sdk.picking").pick_default
    found = []
    for tpot in case["tpots_ms"]:
        for mode, frame in recorder.frames.items():
            started = time.perf_counter()
            best = pick(frame, case["gpus"], mode, target_tpot=float(tpot), top_n=1)["best_config_df"]
            spent = time.perf_counter() - started
            if not best.empty and float(best.iloc[0]["tpot"]) <= float(tpot):
                row = {name: plain(best.iloc[0][name]) for name in PICKED}
                found.append({"tpot_ms": tpot, "mode": mode, "pick_s": spent, **row, **workers(best.iloc[0], mode)})
    return found


def workers(row: Any, mode: str) -> dict[str, str]:
    """The workers of a choice in words."""
    if mode == "agg":
        return {"plan": f"{row['parallel']} b{row['global_bs']}"}
    sides = (f"{row[f'({s})workers']} x {row[f'({s})parallel']} b{row[f'({s})global_bs']}" for s in "pd")
    return {"plan": " + ".join(sides)}


def needs(case: dict[str, Any], recorder: Recorder) -> list[dict[str, Any]]:
    """What ``pick_load_match`` needs for each load and mode at the reference limit."""
    pick = importlib.import_module("aiconfigurator.sdk.picking").pick_load_match
    found = []
    for load in case["loads"]:
        for mode, frame in recorder.frames.items():
            target = float(case["reference_ms"])
            best = pick(frame, mode, target_tpot=target, target_request_rate=float(load), top_n=1)["best_config_df"]
            if not best.empty and float(best.iloc[0]["tpot"]) <= target:
                found.append({"load": load, "mode": mode, **{name: plain(best.iloc[0][name]) for name in NEEDED}})
    return found


def run(case: dict[str, Any]) -> dict[str, Any]:
    """Everything that is asked of aiconfigurator for one case."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    started = time.perf_counter()
    api = importlib.import_module("aiconfigurator.cli.api")
    imported = time.perf_counter() - started
    recorder = Recorder()
    asked = {
        "model_path": case["model"], "system": case["system"], "backend": case["backend"],
        "backend_version": case["version"], "database_mode": "SILICON", "isl": case["isl"], "osl": case["osl"],
        "ttft": float(case["ttft_ms"]), "tpot": float(case["reference_ms"]),
    }  # fmt: skip
    results: list[Any] = []
    first = timed(lambda: results.append(api.cli_default(total_gpus=case["gpus"], **asked)), recorder)
    again = [timed(lambda: api.cli_default(total_gpus=case["gpus"], **asked), recorder) for _ in range(case["repeats"])]
    default = {**recorder.taken(), "picks": picks(case, recorder)}
    said = {mode: float(value) for mode, value in results[0].best_throughputs.items()}
    load = float(case["loads"][0])
    recommending = timed(lambda: api.cli_recommend(target_request_rate=load, **asked), recorder)
    recommend = {**recorder.taken(), "needs": needs(case, recorder)}
    return {
        "version": importlib.import_module("importlib.metadata").version("aiconfigurator"),
        "import_s": imported,
        "first": first,
        "again": again,
        "recommend_run": recommending,
        "said": said,
        "default": default,
        "recommend": recommend,
    }


if __name__ == "__main__":
    CASE, OUT = (Path(word) for word in sys.argv[1:3])
    OUT.write_text(json.dumps(run(json.loads(CASE.read_text("utf-8")))), "utf-8")
