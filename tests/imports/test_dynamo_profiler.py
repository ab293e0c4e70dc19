"""Dynamo's profiler: real sweep of an H200, its saturation, and its other containers."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costmodels.errors import InputError
from tests.imports.samples import DECODE, GIVEN, PREFILL, imported, said, table, written

OSL = replace(GIVEN, osl=500)


def test_prefill_rows_are_the_measured_ones() -> None:
    rows = table(imported("dynamo", PREFILL))
    assert [row["phase"] for row in rows] == ["prefill"] * 17
    first = rows[0]
    assert (first["isl"], first["osl"], first["batch"], first["latency_ms"]) == ("100", "", "1", "19.525209")
    assert first["requests_per_s"] == "51.215841"  # 5121.58410186544 tokens/s of 100 tokens


def test_decode_batches_are_the_effective_ones_and_saturated_points_are_dropped() -> None:
    done = imported("dynamo", DECODE, given=OSL)
    rows = table(done)
    assert len(rows) == 41 - 3
    short = [row for row in rows if row["isl"] == "100"]  # mean context 350 = 100 + 500/2
    # 16514.882310550725 tokens/s x 31.072182466666664 ms = 513.15 sequences; 525 were sent
    assert [row["batch"] for row in short] == ["1", "257", "513", "768"]
    assert [row["latency_ms"] for row in short] == ["4.379871", "19.1111818", "31.0721825", "42.4901645"]
    assert Fraction(short[2]["requests_per_s"]) == Fraction("33.0959565")  # 16514.88... / 499
    assert "3 sent more than 1.1 times the sequences that ran" in said(done)
    for index, sent, ran in ((4, "1049", "899.7"), (5, "1311", "788"), (6, "1573", "807.7")):
        assert f"$.z_itl[{index}]: {sent} sequences sent, {ran} ran" in said(done)


def test_a_rate_that_falls_is_kept_and_reported() -> None:
    done = imported("dynamo", DECODE, given=OSL)
    assert "not monotone, kept as measured: rate falls with batch in decode tp1 isl 2747 osl 500: 235 to 283" in said(
        done
    )
    assert [r["batch"] for r in table(done) if r["isl"] == "2747"][-2:] == ["235", "283"]


@pytest.mark.parametrize("file", [PREFILL, DECODE])
def test_another_number_of_gpus_than_the_file_divided_by_is_a_fault(file: Path) -> None:
    with pytest.raises(InputError, match="check --tp, --pp and --attention-dp"):
        imported("dynamo", file, given=replace(OSL, tp=8))


def test_times_in_seconds_are_a_fault(tmp_path: Path) -> None:
    raw = json.loads(PREFILL.read_text())
    raw["prefill_ttft"] = [ms / 1000 for ms in raw["prefill_ttft"]]
    with pytest.raises(InputError, match=r"gives 0\.001 prompts at once .* and that times are in ms"):
        imported("dynamo", written(tmp_path, raw))


def test_with_attention_dp_the_profiler_counts_one_prompt_per_rank() -> None:
    # the file's throughput per GPU x 8 GPUs x TTFT is then 8 prompts
    row = table(imported("dynamo", PREFILL, given=replace(GIVEN, attention_dp=8)))[0]
    assert (row["batch"], row["gpus"], row["requests_per_s"]) == ("8", "8", "409.726728")


def test_osl_is_asked_for() -> None:
    with pytest.raises(InputError) as caught:
        imported("dynamo", DECODE)
    assert [fault.where for fault in caught.value.faults] == ["--osl"]


def test_everything_that_no_file_says_is_asked_for_at_once() -> None:
    given = replace(OSL, system=None, backend=None, backend_version=None, model=None, precision=None, tp=None)
    with pytest.raises(InputError) as caught:
        imported("dynamo", PREFILL, DECODE, given=given)
    asked = ["--system", "--backend", "--backend-version", "--model", "--precision", "--tp"]
    assert [fault.where for fault in caught.value.faults] == asked


def test_an_osl_that_leaves_no_prompt_is_counted() -> None:
    done = imported("dynamo", DECODE, given=replace(GIVEN, osl=1000))
    assert "4 mean context of at most OSL/2: no prompt is left at --osl 1000" in said(done)
    assert {row["isl"] for row in table(done)} == {"2497", "5144", "7791", "10438", "13085"}


def test_npz_is_the_same_as_json(tmp_path: Path) -> None:
    raw = json.loads(DECODE.read_text())
    np.savez(tmp_path / "raw_data.npz", **{**raw, "max_kv_tokens": np.array([raw["max_kv_tokens"]])})
    assert imported("dynamo", tmp_path / "raw_data.npz", given=OSL).text == imported("dynamo", DECODE, given=OSL).text


def test_the_grid_of_the_mocker(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "perf_data.npz",
        prefill_isl=np.array([0.0, 100.0, 200.0]),
        prefill_ttft_ms=np.array([1.0, 10.0, 21.0]),
        decode_active_kv_tokens=np.array([100.0, 1000.0, 4000.0]),
        decode_context_length=np.array([100.0, 500.0]),
        decode_itl=np.array([[5.0, 5.5], [8.0, 6.0], [12.0, 9.0]]),
    )
    done = imported("dynamo", tmp_path / "perf_data.npz", given=replace(GIVEN, osl=50))
    cells = [(r["phase"], r["batch"], r["isl"], r["latency_ms"], r["requests_per_s"]) for r in table(done)]
    assert cells == [
        ("decode", "1", "75", "5", ""),
        ("decode", "10", "75", "8", ""),
        ("decode", "40", "75", "12", ""),
        ("decode", "2", "475", "6", ""),
        ("decode", "8", "475", "9", ""),
        ("prefill", "1", "100", "10", ""),
        ("prefill", "1", "200", "21", ""),
    ]
    assert "interpolated, not measured points" in said(done)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", z_itl=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="not an NPZ file of plain arrays"):
        imported("dynamo", tmp_path / "x.npz", given=OSL)


@pytest.mark.parametrize(
    ("change", "path", "text"),
    [
        ({"z_itl": [1.0, 2.0]}, "$", "arrays of different lengths: x_kv_usage 41"),
        ({"z_itl": []}, "$.z_itl", "the array is empty"),
        ({"max_kv_tokens": -1}, "$.max_kv_tokens", "got -1, must be a finite number above 0"),
        ({"max_kv_tokens": None}, "$.max_kv_tokens", "missing"),
        ({"x_kv_usage": "much"}, "$.x_kv_usage", "got 'much', must be an array"),
    ],
)
def test_faults_name_the_place(tmp_path: Path, change: dict[str, Any], path: str, text: str) -> None:
    file = written(tmp_path, {**json.loads(DECODE.read_text()), **change})
    with pytest.raises(InputError) as caught:
        imported("dynamo", file, given=OSL)
    assert any(fault.where == f"{file} {path}" and text in fault.text for fault in caught.value.faults)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3.0, 0.0, None, "4", True])
def test_a_value_that_is_no_measurement_is_a_fault(tmp_path: Path, value: object) -> None:
    raw = json.loads(PREFILL.read_text())
    raw["prefill_ttft"][3] = value
    file = written(tmp_path, raw)
    with pytest.raises(InputError) as caught:
        imported("dynamo", file)
    assert [fault.where for fault in caught.value.faults] == [f"{file} $.prefill_ttft[3]"]
