"""``vllm bench serve --save-result`` (and its fork in InferenceX): one JSON object per run; times in ms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from costmodels.imports.engine import Given
from costmodels.imports.reading import Node, Reading, json_of
from costmodels.imports.rows import Row
from costmodels.imports.runs import Run, row_of
from costmodels.imports.totals import Said, run_of_totals

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
    run = run_of_totals(at, "mean_e2el_ms", _said, _failed)
    return replace(run, date=at.text("date", required=False) or "") if run else None


def _said(at: Node) -> Said:
    return {"model": at.text("model_id")}


def _failed(at: Node) -> int:
    return at.whole("failed", required=False, zero=True) or 0
