"""Measured rows: what is read, what is skipped and why, and rows that count their GPUs twice."""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

import pytest

import costmodels.measured
from costmodels.errors import InputError
from costmodels.measured import COLUMNS, MeasuredEngine, MeasuredRow, counted_once, read_measured
from costmodels.partition import Partition

CARRIED = Path(costmodels.measured.__file__).parent / "data" / "measured.csv.gz"
AGG = {
    **dict.fromkeys(COLUMNS, ""),
    "backend": "vllm", "backend_version": "0.19.0", "model_path": "m", "system": "h200_sxm", "precision": "fp8",
    "mode": "agg", "isl": "1024", "osl": "1024", "gemm_quant_mode": "fp8", "moe_quant_mode": "fp8",
    "batch_size": "32.0", "tp_size": "4.0", "pp_size": "1.0", "attention_dp_size": "1.0", "moe_tp_size": "4.0",
    "moe_ep_size": "1.0", "silicon_ttft_ms": "250.5", "silicon_tpot_ms": "12.25",
}  # fmt: skip
DISAGG = {
    **AGG, "mode": "disagg", "batch_size": "",
    **{f"prefill_{name}": "1" for name in ("batch_size", "num_workers", "tp_size", "pp_size")},
    **{f"prefill_{name}": size for name, size in (("attention_dp_size", "4"), ("moe_tp_size", "1"))},
    "prefill_moe_ep_size": "4",
    "decode_batch_size": "16", "decode_num_workers": "3", "decode_tp_size": "1", "decode_pp_size": "1",
    "decode_attention_dp_size": "8", "decode_moe_tp_size": "1", "decode_moe_ep_size": "8",
}  # fmt: skip


def written(path: Path, *rows: dict[str, str]) -> Path:
    """A file of measured rows."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return path


def only(path: Path) -> MeasuredRow:
    """The one row of a file, of which nothing is skipped."""
    rows, skipped = read_measured(path)
    assert (len(rows), skipped) == (1, Counter())
    return rows[0]


@pytest.fixture(scope="module")
def carried() -> list[MeasuredRow]:
    rows, skipped = read_measured(CARRIED)
    assert skipped == {"attention_dp_size is blank or 0, and tp is not moe_tp x moe_ep": 470}
    assert len(rows) == 2436
    return rows


def test_every_carried_row_is_read_or_counted(carried: list[MeasuredRow]) -> None:
    with gzip.open(CARRIED, "rt") as file:
        assert sum(1 for _ in file) - 1 == 2436 + 470
    assert Counter(row.mode for row in carried) == {"agg": 2193, "disagg": 243}
    assert len({row.index for row in carried}) == len(carried)


def test_the_first_carried_row(carried: list[MeasuredRow]) -> None:
    """By eye from the file's second line."""
    row = carried[0]
    assert (row.index, row.model, row.system, row.backend) == (0, "MiniMaxAI/MiniMax-M2.5", "b300_sxm", "vllm")
    assert (row.isl, row.osl, row.gemm, row.moe, row.precision) == (8192, 1024, "fp8", "fp8", "fp8")
    assert row.engines == (MeasuredEngine(128, 1, Partition(tp=4, moe_tp=4)),)
    assert (row.concurrency, row.gpus) == (128, 4)
    assert (row.ttft_ms, row.tpot_ms) == (972.3109823355117, 33.442908754168066)


def test_concurrency_counts_ranks_and_workers(tmp_path: Path) -> None:
    row = only(written(tmp_path / "f.csv", {**AGG, "tp_size": "1", "attention_dp_size": "4", "moe_ep_size": "1"}))
    assert (row.concurrency, row.gpus) == (32 * 4, 4)
    row = only(written(tmp_path / "g.csv", DISAGG))
    assert [engine.workers for engine in row.engines] == [1, 3]
    assert (row.concurrency, row.gpus) == (16 * 3 * 8, 4 + 3 * 8)


def test_columns_in_any_order_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "f.csv.gz"
    names = [*reversed(COLUMNS), "remark"]
    text = ",".join(names) + "\n" + ",".join({**AGG, "remark": "x"}[name] for name in names) + "\n"
    path.write_bytes(gzip.compress(text.encode()))
    assert only(path) == only(written(tmp_path / "g.csv", AGG))


@pytest.mark.parametrize(
    "tp,dp,moe_tp,moe_ep,expected",
    [
        ("8", "", "1", "8", Partition(8, 1, 1, 1, 8)),
        ("8", "", "2", "4", Partition(8, 1, 1, 2, 4)),
        ("1", "", "1", "1", Partition()),
        ("1", "0", "0", "0", Partition()),  # a degree of 0 is one that is not given
        ("4", "1", "0", "0", Partition(4)),
        ("4", "1", "1", "1", Partition(4)),  # a dense model: MoE degrees mean nothing
        ("8", "", "1", "1", None),
        ("2", "0", "0", "0", None),
        ("2", "4", "1", "4", None),
    ],
)
def test_degrees(tmp_path: Path, tp: str, dp: str, moe_tp: str, moe_ep: str, expected: Partition | None) -> None:
    """A blank attention DP is 1 where tp = moe_tp x moe_ep; else the row is skipped."""
    degrees = {"tp_size": tp, "attention_dp_size": dp, "moe_tp_size": moe_tp, "moe_ep_size": moe_ep}
    rows, skipped = read_measured(written(tmp_path / "f.csv", {**AGG, **degrees}))
    assert [row.engines[0].partition for row in rows] == ([expected] if expected else [])
    assert skipped.total() == (0 if expected else 1)


@pytest.mark.parametrize(
    "column,value,reason",
    [
        ("mode", "both", "mode is neither agg nor disagg"),
        ("system", "", "system is blank"),
        ("model_path", " ", "model_path is blank"),
        ("isl", "0", "isl is not a whole number of at least 1"),
        ("isl", "many", "isl is not a number"),
        ("osl", "1", "osl is 1: there is no time per output token"),
        ("batch_size", "", "batch_size is blank"),
        ("batch_size", "2.5", "batch_size is not a whole number of at least 1"),
        ("tp_size", "-4", "tp_size is not a whole number of at least 1"),
        ("tp_size", "1e300", "tp_size is not a whole number of at least 1"),
        ("silicon_tpot_ms", "nan", "silicon_tpot_ms is not a number"),
        ("silicon_tpot_ms", "inf", "silicon_tpot_ms is not a number"),
        ("silicon_ttft_ms", "-1", "silicon_ttft_ms is not above 0"),
        ("silicon_ttft_ms", "", "silicon_ttft_ms is blank"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted(tmp_path: Path, column: str, value: str, reason: str) -> None:
    rows, skipped = read_measured(written(tmp_path / "f.csv", AGG, {**AGG, column: value}, AGG))
    assert [row.index for row in rows] == [0, 2]
    assert skipped == {reason: 1}


def test_a_disaggregated_row_needs_both_roles(tmp_path: Path) -> None:
    rows, skipped = read_measured(written(tmp_path / "f.csv", {**DISAGG, "prefill_num_workers": ""}))
    assert (rows, skipped) == ([], {"prefill_num_workers is blank": 1})


def test_a_ragged_row_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "f.csv", AGG)
    path.write_text(path.read_text() + "vllm,1\n")
    assert read_measured(path)[1] == {"number of cells differs from that of the header": 1}


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("backend,mode\nvllm,agg\n")
    with pytest.raises(InputError) as caught:
        read_measured(path)
    named = [fault.where.split()[-1] for fault in caught.value.faults]
    assert named == [name for name in COLUMNS if name not in ("backend", "mode")]


@pytest.mark.parametrize(
    "content,word",
    [
        (b"", "empty"),
        (",".join(COLUMNS).encode(), "no rows"),
        (",".join((*COLUMNS, "isl")).encode() + b"\n1", "given twice"),
        (b"\x1f\x8b broken", "gzip"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"system,model,latency_ms\n", "operating curves"),
    ],
)
def test_a_file_in_another_format_is_refused(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=word):
        read_measured(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_measured(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    "backend,as_named,as_run,batch",
    [
        ("sglang", Partition(64, 1, 1, 8, 8), Partition(8, 1, 1, 1, 8), 16),
        ("trtllm", Partition(1, 1, 64, 8, 8), Partition(1, 1, 8, 1, 8), 16 * 8),
        ("vllm", Partition(4, 1, 4, 1, 16), Partition(4, 1, 1, 1, 4), 16 * 4),
        ("sglang", Partition(4, 1, 4, 1, 16), Partition(4, 1, 4, 1, 16), 16),
        ("trtllm", Partition(8, 1, 1, 2, 4), Partition(8, 1, 1, 2, 4), 16),
        ("trtllm", Partition(8, 1, 1, 8, 1), Partition(8, 1, 1, 8, 1), 16),
        ("vllm", Partition(), Partition(), 16),
    ],
)
def test_gpus_are_counted_once(backend: str, as_named: Partition, as_run: Partition, batch: int) -> None:
    before = MeasuredEngine(16, 1, as_named)
    after = counted_once(backend, before)
    assert after == MeasuredEngine(batch, 1, as_run)
    assert after.concurrency == before.concurrency


def test_the_carried_rows_show_that_gpus_were_counted_twice(carried: list[MeasuredRow]) -> None:
    """The same measurement, to the last digit, is there under both labels; both are read as one partition."""
    read: dict[object, set[tuple[Partition, bool]]] = defaultdict(set)
    close: dict[object, dict[bool, list[float]]] = defaultdict(lambda: {True: [], False: []})
    for row in carried:
        cut, note = row.engines[0].partition, bool(row.note)
        read[row.system, row.isl, row.osl, row.ttft_ms, row.tpot_ms, row.concurrency].add((cut, note))
        if row.backend == "vllm":
            traffic = (row.model, row.system, row.precision, row.isl, row.osl, row.concurrency, cut)
            close[traffic][note].append(row.tpot_ms)
    both = [seen for seen in read.values() if {note for _, note in seen} == {True, False}]
    assert len(both) == 55
    assert all(len({cut for cut, _ in seen}) == 1 for seen in both)
    ratios = [median(one[True]) / median(one[False]) for one in close.values() if one[True] and one[False]]
    assert len(ratios) == 40
    assert median(abs(ratio - 1) for ratio in ratios) < 0.01
