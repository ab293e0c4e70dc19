"""``vllm bench serve --save-result`` (and its fork in InferenceX): one JSON object per run; times in ms."""

from __future__ import annotations

import math
from pathlib import Path

from costmodels.imports.engine import Given
from costmodels.imports.reading import Node, Reading, json_of
from costmodels.imports.rows import Row
from costmodels.imports.runs import Run, row_of, spread_of

KNOWN = {
    *(
        "date",
        "backend",
        "endpoint_type",
        "label",
        "model_id",
        "tokenizer_id",
        "best_of",
        "num_prompts",
        "request_rate",
    ),
    *("burstiness", "max_concurrency", "duration", "completed", "failed", "total_input_tokens", "total_output_tokens"),
    *("request_throughput", "request_goodput", "request_goodput:", "output_throughput", "total_token_throughput"),
    *("max_output_tokens_per_s", "max_concurrent_requests", "ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps"),
    *("input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors", "start_times"),
    *("benchmark_start_time_unix", "benchmark_end_time_unix", "rtfx"),
}
STATISTICS = r"(mean|median|std|min|max|p\d+(\.\d+)?)_(ttft|tpot|itl|e2el)_ms|spec_decode_\w+"


def read(path: Path, given: Given, reading: Reading) -> list[Row]:
    """
    The rows of one file: one run, or an array of runs.

    Parameters
    ----------
    path
        The JSON file.
    given
        The command line: the file names the model only.
    reading
        Where faults, notes and counts go.
    """
    root = json_of(path, reading)
    if root is None:
        return []
    runs = list(root.items()) if isinstance(root.value, list) else [root]
    rows = []
    for at in runs:
        if isinstance(at.value, dict) and {"request_throughput", "mean_ttft_ms"} & set(at.value):
            run = _run(at)
            rows += [row_of(run, given)] if run else []
        else:
            at.fault("no result of vllm bench serve; expected an object with request_throughput, mean_ttft_ms, ...")
    return [row for row in rows if row]


def _run(at: Node) -> Run | None:
    at.count_unread(KNOWN, STATISTICS)
    completed = at.whole("completed", zero=True)
    if completed == 0:
        at.reading.dropped["no request of the run was completed"] += 1
        return None
    planned = at.whole("num_prompts", required=False)
    failed = at.whole("failed", required=False, zero=True)
    inputs, outputs = at.number("total_input_tokens"), at.number("total_output_tokens")
    ttft_ms, rate = at.number("mean_ttft_ms"), at.number("request_throughput")
    tpot_ms = at.number("mean_tpot_ms", zero=True)
    if completed is None or inputs is None or outputs is None or ttft_ms is None or rate is None or tpot_ms is None:
        return None
    missing = max(0, planned - completed) if planned else 0
    check_rate(at, rate, completed)
    note_speculation(at)
    return Run(
        at=at,
        said={"model": at.text("model_id")},
        isl=inputs / completed,
        osl=outputs / completed,
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms or None,
        e2el_ms=at.number("mean_e2el_ms", required=False),
        requests_per_s=rate,
        concurrency=closed_loop(at),
        completed=completed,
        failed=max(failed or 0, missing),
        spread=spread(at, "input_lens", "output_lens"),
        date=at.text("date", required=False) or "",
    )


def closed_loop(at: Node) -> float | None:
    """
    The concurrency of a run that kept requests in flight; None of a run that sent at a rate.

    ``request_rate`` is ``"inf"`` or ``Infinity`` where requests went out as soon as a place was free. With a finite
    rate ``max_concurrency`` is only a cap, and says nothing of how many were in flight.

    Parameters
    ----------
    at
        The run.
    """
    rate = at.value.get("request_rate")
    endless = rate is None or (isinstance(rate, str) and rate.lower() == "inf") or rate == math.inf
    if not endless:
        return None
    return at.whole("max_concurrency", required=False)


def check_rate(at: Node, rate: float, completed: int) -> None:
    """Completed requests over the duration must be the request rate, to 2 %."""
    duration = at.number("duration", required=False)
    if duration and abs(completed / duration / rate - 1) > 0.02:
        text = f"got {rate:g}, but completed / duration = {completed / duration:g}; the file contradicts itself"
        at.fault(text, "request_throughput")


def note_speculation(at: Node) -> None:
    """Notes that tokens came by speculative decoding, where the file says so."""
    for key in ("spec_decode_acceptance_length", "accept_length"):
        if at.has(key):
            at.reading.notes[
                f"{at.where}: speculative decoding, {key} {at.value[key]}: the row holds with it only"
            ] += 1


def spread(at: Node, *names: str) -> float | None:
    """The largest std/mean of the arrays of lengths that a detailed result carries."""
    spreads = []
    for name in names:
        lengths = at.value.get(name)
        if isinstance(lengths, list) and all(isinstance(x, int) and x >= 0 for x in lengths):
            spreads.append(spread_of(lengths))
    return max((value for value in spreads if value is not None), default=None)
