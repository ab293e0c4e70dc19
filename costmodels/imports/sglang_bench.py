"""``python -m sglang.bench_serving --output-file``: JSON lines, one run appended per line; times in ms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from costmodels.imports.engine import Given
from costmodels.imports.reading import Node, Reading, json_lines_of
from costmodels.imports.rows import Row
from costmodels.imports.runs import Run, row_of
from costmodels.imports.totals import Said, run_of_totals

KNOWN = {
    *("tag", "backend", "dataset_name", "request_rate", "max_concurrency", "sharegpt_output_len", "random_input_len"),
    *("random_output_len", "random_range_ratio", "server_info", "duration", "completed", "total_input_tokens"),
    *("total_input_text_tokens", "total_input_vision_tokens", "total_output_tokens", "total_output_tokens_retokenized"),
    *(
        "request_throughput",
        "input_throughput",
        "output_throughput",
        "total_throughput",
        "concurrency",
        "accept_length",
    ),
    *("input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors", "num_prompts"),
    *("max_output_tokens_per_s", "max_concurrent_requests"),
}
STATISTICS = r"(mean|median|std|min|max|p\d+(\.\d+)?)_(ttft|tpot|itl|e2e_latency)_ms"


def read(path: Path, given: Given, reading: Reading) -> list[Row]:
    """
    The rows of one file: one run per line.

    Parameters
    ----------
    path
        The JSONL file.
    given
        The command line: the file names the model at most in ``server_info``.
    reading
        Where faults, notes and counts go.
    """
    rows = []
    for at in json_lines_of(path, reading):
        run = _run(at)
        rows += [row_of(run, given)] if run else []
    return [row for row in rows if row]


def _run(at: Node) -> Run | None:
    at.count_unread(KNOWN, STATISTICS)
    run = run_of_totals(at, "mean_e2e_latency_ms", _said, _errors)
    return replace(run, in_flight=at.number("concurrency", required=False)) if run else None


def _errors(at: Node) -> int:
    """Requests with an error, where the details are there."""
    errors = at.value.get("errors")
    return sum(1 for error in errors if error) if isinstance(errors, list) else 0


def _said(at: Node) -> Said:
    """Newer files carry what the server answers about itself."""
    server = at.child("server_info", required=False)
    said: Said = {"backend": "sglang" if at.value.get("backend") == "sglang" else None}
    if server is None:
        return said
    said |= {
        "model": server.text("model_path", required=False),
        "backend_version": server.text("version", required=False),
    }
    ranks = server.whole("dp_size", required=False) or 1
    if ranks == 1:
        said["tp"] = server.whole("tp_size", required=False)
        said["pp"] = server.whole("pp_size", required=False)
    else:
        at.reading.notes[
            "server_info has dp_size above 1: --tp, --attention-dp or --replicas must say what it was"
        ] += 1
    return said
