"""vLLM, SGLang, GuideLLM and AIPerf: units, concurrency, failures, and what is said about each run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from costmodels.errors import InputError
from tests.imports.samples import AIPERF, AIPERF_CSV, GIVEN, GUIDELLM, SGLANG, VLLM, imported, said, table, written

NO_MODEL = replace(GIVEN, model=None)


def vllm(**changes: Any) -> dict[str, Any]:
    """The real run at concurrency 32, changed."""
    run: dict[str, Any] = {**json.loads(VLLM[1].read_text()), **changes}
    return {key: value for key, value in run.items() if value != "gone"}


def sglang_file(folder: Path, *runs: dict[str, Any]) -> Path:
    """Runs as JSON lines."""
    path = folder / "bench.jsonl"
    path.write_text("\n".join(map(json.dumps, runs)) + "\n")
    return path


def test_vllm_runs_become_one_colocated_curve() -> None:
    done = imported("vllm", *VLLM)
    rows = table(done)
    assert [(r["phase"], r["batch"], r["isl"], r["osl"]) for r in rows] == [
        ("colocated", batch, "1024", "1024") for batch in ("4", "32", "256")
    ]
    assert [(r["latency_ms"], r["ttft_ms"], r["requests_per_s"]) for r in rows][1] == (
        "10.3517125",
        "327.79235",
        "2.91558696",
    )
    assert {r["chunk_tokens"] for r in rows} == {"1024"}
    assert "closed-loop runs: TTFT holds the queueing" in said(done)
    assert "--model meta-llama/Llama-3.1-8B is taken" in said(done), "the file names a path"
    assert "Little" not in said(done)
    assert "do not add up" not in said(done)


def test_replicas_share_batch_and_rate_and_pipelines_share_the_batch() -> None:
    row = table(imported("vllm", VLLM[1], given=replace(GIVEN, replicas=2, pp=4)))[0]
    assert (row["batch"], row["requests_per_s"], row["gpus"]) == ("4", "1.45779348", "4")


def test_the_fullest_rank_of_attention_dp_counts_for_all() -> None:
    done = imported("vllm", VLLM[0], given=replace(GIVEN, attention_dp=8))
    assert table(done)[0]["batch"] == "8"
    assert "batch rounded to whole sequences per rank by more than 5 %: 4 to 8" in said(done)


def test_an_open_loop_run_takes_its_batch_from_littles_law(tmp_path: Path) -> None:
    done = imported("vllm", written(tmp_path, vllm(request_rate=3.0, max_concurrency=500)))
    assert table(done)[0]["batch"] == "32"  # 2.9156 x (0.3278 + 1023 x 0.01035) = 31.8, not the cap of 500
    assert "open-loop runs: batch is the mean number in flight, from Little's law" in said(done)


def test_littles_law_is_checked(tmp_path: Path) -> None:
    done = imported("vllm", written(tmp_path, vllm(max_concurrency=48)))
    assert "Little's law is off by more than 20 %" in said(done)
    assert "= 31.8 requests in flight, where the run says 48" in said(done)


def test_times_in_seconds_would_be_noticed(tmp_path: Path) -> None:
    run = vllm(mean_ttft_ms=0.3278, mean_tpot_ms=0.01035)
    done = imported("vllm", written(tmp_path, run))
    assert "times do not add up within 20 %" in said(done)
    assert "Little's law is off" in said(done)


def test_failed_requests_are_counted_and_many_drop_the_run(tmp_path: Path) -> None:
    few = imported("vllm", written(tmp_path, vllm(num_prompts=322, failed=2)))
    assert "failed requests in runs that are kept (at most 1 % of a run) (2)" in said(few)
    with pytest.raises(InputError, match=r"no usable measurement: 1 more than 1 % of the run's requests failed"):
        imported("vllm", written(tmp_path, vllm(num_prompts=400)))
    both = imported("vllm", written(tmp_path, [vllm(num_prompts=400), json.loads(VLLM[0].read_text())]))
    assert len(table(both)) == 1
    assert "1 more than 1 % of the run's requests failed" in said(both)


def test_a_run_without_a_completed_request_is_dropped(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no usable measurement: 1 no request of the run was completed"):
        imported("vllm", written(tmp_path, vllm(completed=0, request_throughput=0.001)))


def test_a_concurrency_that_was_never_reached_drops_the_run(tmp_path: Path) -> None:
    run = vllm(max_concurrency=512)
    with pytest.raises(InputError, match="fewer requests than the concurrency"):
        imported("vllm", written(tmp_path, run))


def test_a_rate_against_the_duration_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file contradicts itself"):
        imported("vllm", written(tmp_path, vllm(request_throughput=5.8)))


def test_the_spread_of_lengths_is_said(tmp_path: Path) -> None:
    lens = [900, 1148] * 160
    done = imported("vllm", written(tmp_path, vllm(input_lens=lens, output_lens=[1024] * 320)))
    assert "spreads by more than 5 %" in said(done)
    done = imported("vllm", written(tmp_path, vllm(input_lens=[1024] * 320, output_lens=[1024] * 320)))
    assert "spreads" not in said(done)


def test_unknown_fields_are_named(tmp_path: Path) -> None:
    done = imported("vllm", written(tmp_path, vllm(moon_phase=3, p42_ttft_ms=1.0)))
    assert "fields that the importer does not know, not used: moon_phase" in done.report[-1]
    assert "p42" not in said(done)
    assert "does not know" not in said(imported("vllm", *VLLM))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 0, None, "fast", True, "gone", [1], 10**400])
@pytest.mark.parametrize("key", ["mean_ttft_ms", "request_throughput", "total_output_tokens"])
def test_what_is_no_measurement_is_a_fault_with_its_place(tmp_path: Path, key: str, value: object) -> None:
    file = written(tmp_path, vllm(**{key: value}))
    with pytest.raises(InputError) as caught:
        imported("vllm", file)
    assert any(fault.where == f"{file} $.{key}" for fault in caught.value.faults)


def test_lengths_beyond_what_a_table_holds_are_a_fault_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, vllm(total_input_tokens=1e300))
    with pytest.raises(InputError) as caught:
        imported("vllm", file)
    assert caught.value.faults[0].where == f"{file} $"
    assert "no more than 999,999,999 each; check the file" in caught.value.faults[0].text


def test_a_label_must_be_near_to_what_was_measured() -> None:
    row = table(imported("vllm", VLLM[0], given=replace(GIVEN, isl=1000, osl=1050)))[0]
    assert (row["isl"], row["osl"]) == ("1000", "1050")
    with pytest.raises(InputError, match=r"isl is 1024 on average; --isl 2048 must be within 5 % of it"):
        imported("vllm", VLLM[0], given=replace(GIVEN, isl=2048))


def test_nearly_equal_lengths_name_the_options_that_join_them(tmp_path: Path) -> None:
    other = json.loads(VLLM[0].read_text())
    other |= {"total_input_tokens": 41_200, "total_output_tokens": 40_800}
    files = [VLLM[1], written(tmp_path, other)]
    done = imported("vllm", *files)
    assert "2 nearly equal ISL/OSL (1024/1024, 1030/1020)" in said(done)
    assert "--isl 1030 --osl 1024 makes one" in said(done)
    joined = table(imported("vllm", *files, given=replace(GIVEN, isl=1030, osl=1024)))
    assert [(row["isl"], row["osl"]) for row in joined] == [("1030", "1024")] * 2


def test_exact_repeats_are_dropped_and_later_dates_win(tmp_path: Path) -> None:
    twice = imported("vllm", VLLM[0], VLLM[0])
    assert len(table(twice)) == 1
    assert "1 an exact repeat of another measurement" in said(twice)
    later = written(tmp_path, vllm(date="20260501-000000", mean_tpot_ms=10.5))
    done = imported("vllm", VLLM[1], later)
    assert [row["latency_ms"] for row in table(done)] == ["10.5"]
    assert "1 a later run of the same engine and batch is there" in said(done)


def test_contradicting_repeats_are_refused(tmp_path: Path) -> None:
    other = written(tmp_path, vllm(mean_tpot_ms=10.5))
    with pytest.raises(InputError, match=r"same engine, lengths and batch 32 as .*file\.json"):
        imported("vllm", VLLM[1], other)


def test_a_run_of_prefill_alone(tmp_path: Path) -> None:
    run = vllm(total_output_tokens=320, mean_tpot_ms=0.0, mean_e2el_ms=327.8, max_concurrency=1)
    with pytest.raises(InputError, match=r"OSL 1 has no time per output token; .* --role prefill"):
        imported("vllm", written(tmp_path, run))
    row = table(imported("vllm", written(tmp_path, run), given=replace(GIVEN, role="prefill")))[0]
    assert (row["phase"], row["batch"], row["osl"], row["chunk_tokens"]) == ("prefill", "1", "", "0")
    assert row["latency_ms"] == "327.79235"  # the TTFT; 2.9156 x 0.3278 = 0.96 in flight


def test_a_run_of_decode_alone() -> None:
    row = table(imported("vllm", VLLM[2], given=replace(GIVEN, role="decode")))[0]
    # 13.648 x 1023 x 17.745 ms = 247.8 decoding of 256 in flight
    assert (row["phase"], row["batch"], row["ttft_ms"]) == ("decode", "248", "")


def test_sglang_lines(tmp_path: Path) -> None:
    second = {**SGLANG, "max_concurrency": 32, "mean_tpot_ms": 75.8, "concurrency": 32.0, "mean_e2e_latency_ms": 8004.2}
    done = imported("sglang", sglang_file(tmp_path, SGLANG, second))
    rows = table(done)
    assert [(r["batch"], r["latency_ms"], r["ttft_ms"], r["requests_per_s"]) for r in rows] == [
        ("32", "75.8", "500", "4"),
        ("64", "156.6", "500", "4"),
    ]
    assert {(r["isl"], r["osl"]) for r in rows} == {("1000", "100")}
    assert "does not know" not in said(done)


def test_sglang_at_a_rate_takes_the_concurrency_that_it_measured(tmp_path: Path) -> None:
    run = {**SGLANG, "request_rate": 4.0, "max_concurrency": None}
    done = imported("sglang", sglang_file(tmp_path, run))
    assert table(done)[0]["batch"] == "64"
    assert "as the tool measured it" in said(done)


def test_sglang_names_what_the_server_said_and_that_it_speculated(tmp_path: Path) -> None:
    server = {"model_path": "Qwen/Qwen3-32B", "tp_size": 4, "dp_size": 1, "version": "0.5.5"}
    given = replace(GIVEN, model=None, tp=None, backend=None, backend_version=None)
    done = imported(
        "sglang", sglang_file(tmp_path, {**SGLANG, "server_info": server, "accept_length": 2.5}), given=given
    )
    row = table(done)[0]
    assert (row["model"], row["tp"], row["backend"], row["backend_version"]) == (
        "Qwen/Qwen3-32B",
        "4",
        "sglang",
        "0.5.5",
    )
    assert "speculative decoding, accept_length 2.5" in said(done)


def test_a_degree_that_contradicts_the_file_is_a_fault(tmp_path: Path) -> None:
    file = sglang_file(tmp_path, {**SGLANG, "server_info": {"tp_size": 4}})
    with pytest.raises(InputError, match="tp is 4 here, but --tp says 1"):
        imported("sglang", file)


def test_sglang_broken_line(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    file.write_text(json.dumps(SGLANG) + "\n{broken\n[1]\n")
    with pytest.raises(InputError) as caught:
        imported("sglang", file)
    assert [fault.where for fault in caught.value.faults] == [f"{file}:2", f"{file}:3 $"]


def test_guidellm_real_report_takes_itl_and_not_the_time_over_all_tokens() -> None:
    done = imported("guidellm", GUIDELLM, given=replace(NO_MODEL, domain_gpus=1))
    rows = table(done)
    assert [(r["model"], r["batch"], r["isl"], r["osl"]) for r in rows] == [
        ("e2e-mock-model", "1", "66", "8"),
        ("e2e-mock-model", "1", "72", "8"),
    ]
    # 11.48 + 7 x 1.1508 = 19.54 ms of the 19.79 ms of a request; time_per_output_token_ms is 2.44
    assert (rows[1]["latency_ms"], rows[1]["ttft_ms"], rows[1]["requests_per_s"]) == (
        "1.15084648",
        "11.4811659",
        "0.398434307",
    )
    assert "do not add up" not in said(done)
    assert said(done).count("idle: 0.0") == 2
    assert "short runs" in said(done)
    assert "spreads by more than 5 %" in said(done)
    assert "does not know" not in said(done)


def test_guidellm_concurrent_streams_errors_and_cut_off_requests(tmp_path: Path) -> None:
    report = json.loads(GUIDELLM.read_text())
    point = report["benchmarks"][0]
    point["config"]["strategy"] = {"type_": "concurrent", "streams": 4}
    point["metrics"]["request_totals"] = {"successful": 1000, "errored": 3, "incomplete": 4, "total": 1007}
    done = imported("guidellm", written(tmp_path, {**report, "benchmarks": [point]}))
    assert table(done)[0]["batch"] == "4"
    assert "Little's law is off" in said(done)
    assert "requests that were cut off at the end of their run (4)" in said(done)
    assert "failed requests in runs that are kept (at most 1 % of a run) (3)" in said(done)


def test_guidellm_other_version_is_refused(tmp_path: Path) -> None:
    report = {**json.loads(GUIDELLM.read_text()), "metadata": {"version": 1}}
    with pytest.raises(InputError, match="got 1, must be 2"):
        imported("guidellm", written(tmp_path, report))


def test_aiperf_summary_says_model_and_concurrency(tmp_path: Path) -> None:
    done = imported("aiperf", written(tmp_path, AIPERF), given=NO_MODEL)
    (row,) = table(done)
    assert (row["model"], row["batch"], row["isl"], row["osl"]) == ("Qwen/Qwen3-32B", "16", "550", "100")
    assert (row["latency_ms"], row["ttft_ms"], row["requests_per_s"]) == ("15", "100", "10")
    assert "does not know" not in said(done)


def test_aiperf_units_are_read(tmp_path: Path) -> None:
    seconds = {
        **AIPERF,
        "time_to_first_token": {"unit": "sec", "avg": 0.1},
        "inter_token_latency": {"unit": "us", "avg": 15e3},
    }
    assert (
        imported("aiperf", written(tmp_path, seconds)).text
        == imported("aiperf", written(tmp_path, AIPERF, "b.json")).text
    )
    file = written(tmp_path, {**AIPERF, "time_to_first_token": {"unit": "parsec", "avg": 0.1}})
    with pytest.raises(InputError) as caught:
        imported("aiperf", file)
    assert caught.value.faults[0].where == f"{file} $.time_to_first_token.unit"
    with pytest.raises(InputError, match=r"time_to_first_token.unit: missing"):
        imported("aiperf", written(tmp_path, {**AIPERF, "time_to_first_token": {"avg": 0.1}}))


def test_aiperf_cancelled_and_failed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no usable measurement: 1 the run was cancelled"):
        imported("aiperf", written(tmp_path, {**AIPERF, "was_cancelled": True}))
    failed = {**AIPERF, "error_summary": [{"error_details": {"code": 500}, "count": 40}]}
    with pytest.raises(InputError, match="more than 1 % of the run's requests failed"):
        imported("aiperf", written(tmp_path, failed))


def test_aiperf_several_concurrencies_are_no_answer(tmp_path: Path) -> None:
    config = {"phases": [{"concurrency": 16}, {"concurrency": 32}]}
    done = imported("aiperf", written(tmp_path, {**AIPERF, "input_config": config}))
    assert "names several values of concurrency (16, 32): none is taken" in said(done)
    assert table(done)[0]["batch"] == "16"  # Little's law: 15.85


def test_aiperf_csv_is_the_same_as_json(tmp_path: Path) -> None:
    (tmp_path / "profile_export_aiperf.csv").write_text(AIPERF_CSV)
    done = imported("aiperf", tmp_path / "profile_export_aiperf.csv", given=replace(GIVEN, concurrency=16))
    assert done.text == imported("aiperf", written(tmp_path, AIPERF)).text.replace("Qwen/Qwen3-32B", GIVEN.model or "")


def test_aiperf_records_are_averaged_without_warm_up_and_errors(tmp_path: Path) -> None:
    def record(start: int, end: int, ttft: float, **extra: Any) -> str:
        metrics = {
            "time_to_first_token": {"value": ttft, "unit": "ms"},
            "inter_token_latency": {"value": 10.0, "unit": "ms"},
            "request_latency": {"value": (end - start) * 1000.0, "unit": "ms"},
            "input_sequence_length": {"value": 100, "unit": "tokens"},
            "output_sequence_length": {"value": 91, "unit": "tokens"},
        }
        times = {"request_start_ns": (100 + start) * 10**9, "request_end_ns": (100 + end) * 10**9}
        return json.dumps(
            {"metadata": {**times, "benchmark_phase": "profiling", **extra}, "metrics": metrics, "error": None}
        )

    lines = [record(0, 1, 9000.0, benchmark_phase="warmup")]
    lines += [record(n, n + 1, 100.0 + 2 * (n % 2)) for n in range(20)]
    (tmp_path / "profile_export.jsonl").write_text("\n".join(lines))
    done = imported("aiperf", tmp_path / "profile_export.jsonl")
    (row,) = table(done)
    assert (row["ttft_ms"], row["latency_ms"], row["requests_per_s"], row["batch"]) == ("101", "10", "1", "1")
    assert "records of the warm-up, left out" in said(done)
    broken = json.dumps({"metadata": {"was_cancelled": True}, "metrics": {}, "error": {"code": 499}})
    (tmp_path / "profile_export.jsonl").write_text("\n".join([*lines, broken]))
    with pytest.raises(InputError, match="more than 1 % of the run's requests failed"):
        imported("aiperf", tmp_path / "profile_export.jsonl")
