"""
GuideLLM report, schema version 2: one point per benchmark; ``request_latency`` in s, the other times in ms.

The time per output token of the plan is GuideLLM's ``inter_token_latency_ms``. Its ``time_per_output_token_ms`` is
the whole request, TTFT included, over all tokens.
"""

from __future__ import annotations

from pathlib import Path

from costmodels.imports.engine import Given
from costmodels.imports.reading import Node, Reading, json_of
from costmodels.imports.rows import Row
from costmodels.imports.runs import Run, row_of

TOP = {"metadata", "config", "args", "benchmarks"}
BENCHMARK = {
    *("type_", "config", "scheduler_state", "scheduler_metrics", "metrics", "requests", "start_time", "end_time"),
    *("duration", "warmup_duration", "cooldown_duration"),
}
METRICS = {
    *("request_totals", "requests_per_second", "request_concurrency", "request_latency", "prompt_token_count"),
    *("request_streaming_iterations_count", "output_token_count", "total_token_count", "time_to_first_token_ms"),
    *("time_to_first_output_token_ms", "time_per_output_token_ms", "inter_token_latency_ms", "tokens_per_second"),
    *("time_to_last_round_trip_ms", "avg_round_trip_time_ms", "prompt_tokens_per_second", "output_tokens_per_second"),
    *("output_tokens_per_iteration", "iter_tokens_per_iteration", "text", "image", "video", "audio"),
}


def read(path: Path, given: Given, reading: Reading) -> list[Row]:
    """
    The rows of one report.

    Parameters
    ----------
    path
        ``benchmarks.json``.
    given
        The command line: the report names the model only.
    reading
        Where faults, notes and counts go.
    """
    root = json_of(path, reading)
    if root is None:
        return []
    if not isinstance(root.value, dict) or not root.has("benchmarks"):
        root.fault("no GuideLLM report; expected an object with metadata and benchmarks")
        return []
    metadata = root.child("metadata")
    version = metadata.value.get("version") if metadata else None
    if version != 2:
        root.fault(f"got {version!r}, must be 2: the layout of other versions differs", "metadata.version")
        return []
    root.count_unread(TOP)
    model = _model(root)
    rows = []
    points = root.elements("benchmarks")
    if not points and not reading.faults:
        root.fault("the array is empty: no benchmark was run", "benchmarks")
    for at in points:
        run = _run(at, model)
        rows += [row_of(run, given)] if run else []
    return [row for row in rows if row]


def _model(root: Node) -> str | None:
    at: Node | None = root
    for key in ("config", "spec", "backend"):
        at = at.child(key, required=False) if at else None
    return at.text("model", required=False) if at else None


def _mean(metrics: Node, name: str, zero: bool = False) -> float | None:
    successful = _successful(metrics, name)
    return successful.number("mean", zero=zero) if successful else None


def _successful(metrics: Node, name: str) -> Node | None:
    metric = metrics.child(name)
    return metric.child("successful") if metric else None


def _spread(metrics: Node, name: str) -> float:
    successful = _successful(metrics, name)
    mean = successful.number("mean") if successful else None
    deviation = successful.number("std_dev", required=False, zero=True) if successful else None
    return deviation / mean if mean and deviation else 0.0


def _run(at: Node, model: str | None) -> Run | None:
    if not isinstance(at.value, dict):
        at.fault("must be an object")
        return None
    at.count_unread(BENCHMARK, prefix="benchmarks[].")
    metrics = at.child("metrics")
    totals = metrics.child("request_totals") if metrics else None
    if metrics is None or totals is None:
        return None
    metrics.count_unread(METRICS, prefix="benchmarks[].metrics.")
    completed = totals.whole("successful", zero=True)
    if completed == 0:
        at.reading.dropped["no request of the run was completed"] += 1
        return None
    isl, osl = _mean(metrics, "prompt_token_count"), _mean(metrics, "output_token_count")
    ttft_ms, rate = _mean(metrics, "time_to_first_token_ms"), _mean(metrics, "requests_per_second")
    tpot_ms, latency_s = _mean(metrics, "inter_token_latency_ms", zero=True), _mean(metrics, "request_latency")
    if isl is None or osl is None or ttft_ms is None or rate is None or tpot_ms is None or latency_s is None:
        return None
    return Run(
        at=at,
        said={"model": model},
        isl=isl,
        osl=osl,
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms or None,
        e2el_ms=1000 * latency_s,
        requests_per_s=rate,
        concurrency=_streams(at),
        in_flight=_mean(metrics, "request_concurrency", zero=True) or None,
        completed=completed,
        failed=totals.whole("errored", required=False, zero=True) or 0,
        incomplete=totals.whole("incomplete", required=False, zero=True) or 0,
        spread=max(_spread(metrics, "prompt_token_count"), _spread(metrics, "output_token_count")),
    )


def _streams(at: Node) -> float | None:
    """Streams of the ``concurrent`` and ``synchronous`` strategies; the others send at a rate or without limit."""
    config = at.child("config")
    strategy = config.child("strategy") if config else None
    kind = strategy.text("type_") if strategy else None
    if strategy is not None and kind == "concurrent":
        return strategy.whole("streams")
    return 1.0 if kind == "synchronous" else None
