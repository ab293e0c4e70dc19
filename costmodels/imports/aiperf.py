"""
AIPerf and genai-perf: the summary as JSON or CSV, and AIPerf's records as JSON lines. Units stand beside the values.

``inter_token_latency`` is (request latency - TTFT) / (OSL - 1) of a request, as TPOT here.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from costmodels.imports.engine import Given
from costmodels.imports.reading import (
    RATE_PER_S,
    REQUESTS,
    TIME_MS,
    TOKENS,
    Node,
    Reading,
    content,
    json_lines_of,
    json_of,
)
from costmodels.imports.rows import Row
from costmodels.imports.runs import Run, row_of, spread_of

KNOWN = {
    *("schema_version", "aiperf_version", "benchmark_id", "start_time", "end_time", "was_cancelled", "input_config"),
    *(
        "run_info",
        "telemetry_data",
        "error_summary",
        "runtime_submission_invalid_reasons",
        "warmup_metrics",
        "metadata",
    ),
    *("time_to_first_token", "time_to_second_token", "inter_token_latency", "inter_chunk_latency", "request_latency"),
    *("output_token_throughput", "output_token_throughput_per_user", "request_throughput", "input_sequence_length"),
    *("output_sequence_length", "output_token_count", "reasoning_token_count", "request_count", "error_request_count"),
    *("completed_request_count", "good_request_count", "goodput", "benchmark_duration", "min_request_timestamp"),
    *("max_response_timestamp", "total_output_tokens", "total_isl", "total_osl", "benchmark_token_count"),
    *("input_token_throughput", "total_token_throughput", "prefill_throughput_per_user", "request_error_rate"),
    *(
        "full_decode_duration",
        "full_response_inter_token_latency",
        "total_reasoning_tokens",
        "output_inter_token_latency",
    ),
    *("full_response_output_token_throughput_per_user", "time_to_first_output_token", "error_isl", "total_error_isl"),
    *("output_token_throughput_per_request", "input_throughput", "prefill_throughput", "stream_setup_latency"),
}


def read(path: Path, given: Given, reading: Reading) -> list[Row]:
    """
    The row of one run.

    Parameters
    ----------
    path
        ``profile_export_aiperf.json``, ``profile_export_genai_perf.json``, ``profile_export_aiperf.csv``, or
        ``profile_export.jsonl``.
    given
        The command line.
    reading
        Where faults, notes and counts go.
    """
    if path.suffix == ".jsonl":
        root: Node | None = _records(path, reading)
    else:
        root = _table(path, reading) if path.suffix == ".csv" else json_of(path, reading)
    if root is None:
        return []
    if not isinstance(root.value, dict) or not {"request_throughput", "time_to_first_token"} & set(root.value):
        root.fault("no summary of AIPerf or genai-perf; expected request_throughput, time_to_first_token, ...")
        return []
    run = _run(root)
    row = row_of(run, given) if run else None
    return [row] if row else []


def _average(root: Node, name: str, units: dict[str, float], required: bool = True) -> float | None:
    metric = root.child(name, required)
    return metric.measured("avg", "unit", units, zero=name.endswith("count")) if metric else None


def _spread(root: Node, name: str) -> float:
    metric = root.child(name, required=False)
    mean, deviation = (
        (metric.number(key, required=False, zero=True) for key in ("avg", "std")) if metric else (None, None)
    )
    return deviation / mean if mean and deviation else 0.0


def _run(root: Node) -> Run | None:
    root.count_unread(KNOWN)
    if root.flag("was_cancelled"):
        root.reading.dropped["the run was cancelled"] += 1
        return None
    rate = _average(root, "request_throughput", RATE_PER_S)
    ttft_ms = _average(root, "time_to_first_token", TIME_MS)
    isl = _average(root, "input_sequence_length", TOKENS)
    osl = _average(root, "output_sequence_length", TOKENS)
    tpot_ms = _average(root, "inter_token_latency", TIME_MS, required=osl is None or osl >= 1.5)
    completed = _average(root, "request_count", REQUESTS, required=False)
    if rate is None or ttft_ms is None or isl is None or osl is None:
        return None
    failed = _average(root, "error_request_count", REQUESTS, required=False)
    model = _only(root, "model", set(_found(root.value.get("input_config"), ("model", "model_names"))))
    held = _only(root, "concurrency", set(_found(root.value.get("input_config"), ("concurrency",))))
    return Run(
        at=root,
        said={"model": model if isinstance(model, str) else None},
        isl=isl,
        osl=osl,
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms,
        e2el_ms=_average(root, "request_latency", TIME_MS, required=False),
        requests_per_s=rate,
        concurrency=float(held) if isinstance(held, int) and held > 0 else None,
        completed=None if completed is None else round(completed),
        failed=max(round(failed or 0), _errors(root)),
        spread=max(_spread(root, "input_sequence_length"), _spread(root, "output_sequence_length")),
        date=root.text("start_time", required=False) or "",
    )


def _errors(root: Node) -> int:
    """Requests in the summary of errors."""
    return sum(entry.whole("count", required=False) or 0 for entry in root.elements("error_summary", required=False))


def _found(config: Any, names: tuple[str, ...]) -> Iterator[str | int]:
    """The scalars, or items of lists, under any of the names, anywhere in a configuration."""
    if isinstance(config, list):
        for item in config:
            yield from _found(item, names)
    elif isinstance(config, dict):
        for name, value in config.items():
            if name not in names or isinstance(value, dict):
                yield from _found(value, names)
            else:
                items = value if isinstance(value, list) else [value]
                yield from (item for item in items if isinstance(item, str | int) and not isinstance(item, bool))


def _only(root: Node, what: str, found: set[str | int]) -> str | int | None:
    """The value, where the configuration names one; several are no answer, and that is said."""
    if len(found) > 1:
        listed = ", ".join(sorted(map(str, found)))
        root.reading.notes[f"{root.where}: input_config names several values of {what} ({listed}): none is taken"] += 1
    return found.pop() if len(found) == 1 else None


def _table(path: Path, reading: Reading) -> Node | None:
    """The CSV summary in the shape of the JSON one: ``Time to First Token (ms)`` is time_to_first_token in ms."""
    text = content(path, reading)
    metrics: dict[str, Any] = {}
    header: list[str] = []
    for cells in csv.reader(io.StringIO(text or "")):
        if cells and cells[0] == "Metric":
            header = cells
        elif len(cells) > 1 and header and (named := re.fullmatch(r"(.+?) \(([^()]+)\)|(.+)", cells[0])):
            name = (named.group(1) or named.group(3)).strip().lower().replace(" ", "_").replace("-", "_")
            values = {
                key if key != "Value" else "avg": _cell(cell) for key, cell in zip(header[1:], cells[1:], strict=False)
            }
            metrics[name] = {"unit": named.group(2) or "requests", **values}
    return None if text is None else Node(str(path), "$", metrics, reading)


def _cell(cell: str) -> float | str | None:
    try:
        return float(cell.replace(",", "")) if cell else None
    except ValueError:
        return cell


def _records(path: Path, reading: Reading) -> Node | None:
    """The records of single requests, averaged into the shape of the summary; warm-up is left out."""
    series: dict[str, list[float]] = {}
    starts, ends, errors, warm = [], [], 0, 0
    for at in json_lines_of(path, reading):
        metadata, metrics = at.child("metadata"), at.child("metrics", required=False)
        if metadata is None:
            continue
        if metadata.value.get("benchmark_phase", "profiling") != "profiling":
            warm += 1
        elif at.has("error") or metadata.flag("was_cancelled") or metrics is None:
            errors += 1
        else:
            times = metadata.number("request_start_ns"), metadata.number("request_end_ns")
            if times[0] and times[1]:
                starts.append(times[0])
                ends.append(times[1])
            for name, units in _SERIES.items():
                metric = metrics.child(name, required=name != "inter_token_latency")
                value = metric.measured("value", "unit", units) if metric else None
                series.setdefault(name, []).extend([] if value is None else [value])
    if warm:
        reading.notes["records of the warm-up, left out"] += warm
    if not starts or max(ends) <= min(starts):
        reading.dropped["no request of the run was completed"] += 1
        return None
    return Node(str(path), "$", _summary(series, len(starts), errors, (max(ends) - min(starts)) / 1e9), reading)


_SERIES = {
    "time_to_first_token": TIME_MS,
    "inter_token_latency": TIME_MS,
    "request_latency": TIME_MS,
    "input_sequence_length": TOKENS,
    "output_sequence_length": TOKENS,
}


def _summary(series: dict[str, list[float]], completed: int, errors: int, seconds: float) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "request_throughput": {"unit": "requests/s", "avg": completed / seconds},
        "request_count": {"unit": "requests", "avg": completed},
        "error_request_count": {"unit": "requests", "avg": errors},
    }
    for name, values in series.items():
        if values:
            mean = sum(values) / len(values)
            unit = "ms" if _SERIES[name] is TIME_MS else "tokens"
            summary[name] = {"unit": unit, "avg": mean, "std": mean * (spread_of(values) or 0.0)}
    return summary
