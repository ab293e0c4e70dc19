"""InferenceX: real co-located rows, and the traps of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from costmodels.errors import InputError
from costmodels.imports.engine import Given, backend_of, system_of, version_of
from tests.imports.samples import API, DISAGGREGATED, INFERENCEX, imported, said, table, written

NOTHING = Given()


def test_real_rows_need_no_option_and_carry_the_real_lengths() -> None:
    done = imported("inferencex", *INFERENCEX, given=NOTHING)
    rows = table(done)
    assert {(r["system"], r["backend"], r["backend_version"], r["precision"], r["tp"]) for r in rows} == {
        ("mi355x", "vllm", "v0.21.0+mtp", "int4", "8")
    }
    first = rows[0]
    # 1 + (16.17588 - 0.31709) / 0.0172941 = 918.0 of a nominal 1024; 27.678 x 8 / 918.0 = 0.2412 requests/s
    assert (first["isl"], first["osl"], first["batch"]) == ("927", "918", "4")
    assert (first["latency_ms"], first["ttft_ms"]) == ("17.2941286", "317.086316")
    assert float(first["requests_per_s"]) == pytest.approx(0.241201, rel=1e-5)
    # Little's law: 0.2412 x 16.176 s = 3.90 of 4
    assert float(first["requests_per_s"]) * 16.17588 / 4 == pytest.approx(0.975, abs=0.001)
    assert "Little" not in said(done)
    assert "does not know" not in said(done)
    assert "2 nearly equal ISL/OSL (7344/925, 7383/921)" in said(done)


def test_real_rows_joined_on_one_curve() -> None:
    rows = table(imported("inferencex", *INFERENCEX[1:], given=Given(isl=7370, osl=922)))
    assert [(r["isl"], r["osl"], r["batch"]) for r in rows] == [("7370", "922", "32"), ("7370", "922", "64")]


def test_the_nominal_length_is_refused_as_a_label() -> None:
    with pytest.raises(InputError, match=r"osl is 918\.0\d+ on average; --osl 1024 must be within 5 %"):
        imported("inferencex", INFERENCEX[0], given=Given(osl=1024))


def row(**changes: Any) -> dict[str, Any]:
    """The real row at concurrency 4, changed."""
    changed: dict[str, Any] = {**json.loads(INFERENCEX[0].read_text()), **changes}
    return changed


@pytest.mark.parametrize(
    ("dp_attention", "ep", "partition"),
    [
        ("false", 1, ("8", "1", "1", "1")),
        ("false", 8, ("8", "1", "1", "8")),
        ("false", 2, ("8", "1", "4", "2")),
        ("true", 8, ("1", "8", "1", "8")),
        (True, 1, ("1", "8", "8", "1")),
    ],
)
def test_attention_dp_and_ep(tmp_path: Path, dp_attention: object, ep: int, partition: tuple[str, ...]) -> None:
    cells = table(imported("inferencex", written(tmp_path, row(dp_attention=dp_attention, ep=ep)), given=NOTHING))[0]
    assert tuple(cells[name] for name in ("tp", "attention_dp", "moe_tp", "moe_ep")) == partition
    assert cells["gpus"] == "8"


def test_a_row_of_the_api_counts_its_gpus_once(tmp_path: Path) -> None:
    done = imported("inferencex", written(tmp_path, [API]), given=NOTHING)
    (cells,) = table(done)
    assert (cells["system"], cells["backend"], cells["backend_version"]) == ("b200_sxm", "trtllm", "1.2.0")
    assert (cells["gpus"], cells["tp"], cells["moe_ep"]) == ("8", "8", "8")
    assert float(cells["requests_per_s"]) == pytest.approx(3.2, rel=1e-6)
    assert (cells["isl"], cells["osl"], cells["batch"]) == ("920", "921", "32")
    assert "Little" not in said(done)


def test_a_disaggregated_row_gives_both_roles(tmp_path: Path) -> None:
    done = imported("inferencex", written(tmp_path, DISAGGREGATED), given=NOTHING)
    prefill, decode = sorted(table(done), key=lambda cells: cells["phase"], reverse=True)
    assert (prefill["phase"], prefill["gpus"], prefill["tp"]) == ("prefill", "4", "4")
    assert (decode["phase"], decode["gpus"], decode["tp"], decode["attention_dp"], decode["moe_ep"]) == (
        *("decode", "16", "1"),
        *("16", "16"),
    )
    # 20 requests/s over two prefill workers, one decode worker; in prefill 20 x 1 s / 2, in decode 20 x 2 s
    assert (prefill["requests_per_s"], decode["requests_per_s"]) == ("10", "20")
    assert (prefill["batch"], decode["batch"]) == ("10", "48")
    assert (prefill["isl"], decode["isl"], decode["osl"]) == ("900", "900", "101")
    assert (prefill["latency_ms"], decode["latency_ms"]) == ("1000", "20")
    assert "both pools did at least this rate; TTFT holds queueing and KV hand-over" in said(done)
    assert "rounded to whole sequences per rank by more than 5 %: 40 to 48" in said(done)
    assert "Little" not in said(done)


def test_workers_of_both_roles_are_a_disaggregated_run_where_the_row_does_not_say(tmp_path: Path) -> None:
    silent = {key: value for key, value in DISAGGREGATED.items() if key != "disagg"}
    files = [written(tmp_path, silent, "a.json"), written(tmp_path, DISAGGREGATED, "b.json")]
    assert len({imported("inferencex", file, given=NOTHING).text for file in files}) == 1


def test_the_sum_of_the_gpus_as_divisor_would_be_noticed(tmp_path: Path) -> None:
    wrong = {**DISAGGREGATED, "output_tput_per_gpu": 20 * 101 / 24, "input_tput_per_gpu": 20 * 900 / 24}
    assert "Little's law is off" in said(imported("inferencex", written(tmp_path, wrong), given=NOTHING))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scenario_type": "agentic-coding"}, "an agentic trace has no fixed ISL and OSL"),
        ({"benchmark_outcome": {"status": "failed"}}, "the run is marked as failed"),
        ({"num_requests_total": 40, "num_requests_successful": 0}, "no request of the run was completed"),
        ({"num_requests_total": 40, "num_requests_successful": 30}, "more than 1 % of the run's requests failed"),
        ({"ep": 3}, "the partition is not clear"),
    ],
)
def test_rows_that_are_no_measurement_are_counted(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    done = imported("inferencex", INFERENCEX[1], written(tmp_path, row(**changes)), given=NOTHING)
    assert len(table(done)) == 1
    assert f"    1 {reason}" in said(done)


def test_an_unknown_gpu_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        imported("inferencex", written(tmp_path, row(hw="tpu7x")), given=NOTHING)
    assert [fault.where for fault in caught.value.faults] == ["--system"]
    done = imported("inferencex", written(tmp_path, row(hw="tpu7x")), given=Given(system="tpu7x", domain_gpus=64))
    assert table(done)[0]["domain_gpus"] == "64"


def test_a_file_of_the_option_and_of_the_row_that_contradict(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tp is 8 here, but --tp says 4"):
        imported("inferencex", written(tmp_path, row()), given=Given(tp=4))


def test_older_rows_without_end_to_end_latency_say_so(tmp_path: Path) -> None:
    changed = {key: value for key, value in row().items() if "e2el" not in key and key != "input_tput_per_gpu"}
    done = imported("inferencex", written(tmp_path, changed), given=NOTHING)
    assert (table(done)[0]["isl"], table(done)[0]["osl"]) == ("1024", "1024")
    assert "no mean_e2el: the nominal ISL and OSL are taken" in said(done)


def test_names_of_tools() -> None:
    assert [system_of(name) for name in ("h200", "H100-dgxc", "NVIDIA-H100-80GB-HBM3", "gb200-nv", "mi355x")] == [
        *("h200_sxm", "h100_sxm", "h100_sxm", "gb200", "mi355x"),
    ]
    assert [system_of(name) for name in ("NVIDIA-H100-PCIe", "tpu7x", None, "H100 NVL")] == [None] * 4
    assert [backend_of(name) for name in ("dynamo-trt", "sglang-disagg", "trt", "vLLM")] == [
        *("trtllm", "sglang", "trtllm", "vllm"),
    ]
    assert version_of("vllm/vllm-openai-rocm:v0.21.0") == "v0.21.0"
    assert version_of("localhost:5000/vllm") is None


def test_role_keeps_one_side_of_a_disaggregated_row(tmp_path: Path) -> None:
    given = replace(NOTHING, role="decode")
    assert [
        cells["phase"] for cells in table(imported("inferencex", written(tmp_path, DISAGGREGATED), given=given))
    ] == ["decode"]
