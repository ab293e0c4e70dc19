"""The accuracy command: statistics with known answers, every row counted, and what results quote."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli import main
from costmodels import known_errors
from costmodels.errors import InputError
from costmodels.errors_of import Accuracy, Comparison, Predicted, Statistics
from costmodels.measured import MeasuredRow
from costmodels.table import read_table
from solver.accuracy_report import MEASURED, carried_tables, document, evaluate, lines

CURVES = Path(__file__).parent.parent / "instances" / "curves"


@dataclass(frozen=True)
class Guess:
    """A prediction."""

    ttft_ms: float
    tpot_ms: float


def slower(rows: Sequence[MeasuredRow]) -> list[Predicted | str]:
    """A model that is 10 % over every TPOT and at half of every TTFT, and knows no GLM."""
    return ["no GLM" if "GLM" in row.model else Guess(0.5 * row.ttft_ms, 1.1 * row.tpot_ms) for row in rows]


def halved(path: Path) -> tuple[list[Comparison], Counter[str]]:
    """A model that is at half of every prefill latency of a table."""
    table = read_table(path)
    roles = Counter(table.columns["phase"])
    first = (table.columns[name][0] for name in ("model", "system", "backend"))
    return [Comparison("curves", *first, "prefill", np.full(roles["prefill"], -0.5))], Counter(
        {f"{role} rows": rows for role, rows in roles.items() if role != "prefill"}
    )


def compared(*groups: tuple[str, str, str, str, list[float]]) -> Accuracy:
    """An evaluation of TPOT errors given by (mode, model, GPU, serving engine)."""
    comparisons = [Comparison(*place, "tpot", np.array(errors)) for *place, errors in groups]
    return Accuracy(comparisons, compared=Counter({"measured": sum(len(one.relative) for one in comparisons)}))


def test_statistics_by_hand() -> None:
    one = Statistics.of(np.array([-0.5, 0.1, 0.3, 0.1]))
    assert one.n == 4
    assert one.median_ape == pytest.approx(0.2)
    assert one.mape == pytest.approx(0.25)
    assert one.bias == pytest.approx(0)
    assert one.median_bias == pytest.approx(0.1)
    assert not one.is_flagged
    assert Statistics.of(np.array([-0.41])).is_flagged


def test_pooled_rows_and_groups_by_hand() -> None:
    """Pooled: the median over rows. Groups: one median each, their plain mean, and the worst."""
    found = compared(
        ("agg", "a", "h100", "vllm", [0.1, 0.1, 0.1]),
        ("disagg", "a", "h100", "vllm", [-0.3]),
        ("agg", "b", "h100", "vllm", [0.5, 0.5]),
    )
    pooled = document(found)["pooled"]["tpot"]
    assert (pooled["n"], pooled["groups"]) == (6, 2)
    assert pooled["median_ape"] == pytest.approx(0.2)  # 0.1 0.1 0.1 0.3 0.5 0.5
    assert pooled["mape"] == pytest.approx(1.6 / 6)
    assert pooled["bias"] == pytest.approx(1.0 / 6)
    assert pooled["mean_of_group_medians"] == pytest.approx((0.1 + 0.5) / 2)
    worst = pooled["worst_group"]
    assert (worst["model"], worst["gpu"], worst["backend"], worst["n"]) == ("b", "h100", "vllm", 2)
    groups = document(found)["groups"]
    assert [(one["mode"], one["model"], one["gpu"], one["tpot"]["n"], one["flagged"]) for one in groups] == [
        ("agg", "a", "h100", 3, False),
        ("agg", "b", "h100", 2, True),
        ("disagg", "a", "h100", 1, False),
    ]


def test_every_carried_measured_row_is_compared_or_counted() -> None:
    found = evaluate([MEASURED], rows=slower)
    text = json.loads(json.dumps(document(found)))
    assert text["rows"]["measured"]["total"] == 2906
    assert text["rows"]["measured"]["usable"] == 2436
    assert text["rows"]["measured"]["modelled"] + sum(one["rows"] for one in text["skipped"]) == 2906
    assert [one["reason"] for one in text["skipped"] if not one["unusable"]] == ["no GLM"]
    assert set(text["pooled"]) == {"tpot", "ttft"}
    for group in text["groups"]:
        assert group["tpot"]["median_ape"] == pytest.approx(0.1)
        assert group["tpot"]["bias"] == pytest.approx(0.1)
        assert group["ttft"]["median_bias"] == pytest.approx(-0.5)
        assert group["flagged"]
    assert sum(one["rows"] for one in text["notes"]) == 360


def test_a_table_is_compared_by_role() -> None:
    table = next(path for path in carried_tables() if "gpt-oss" in path.name)
    found = evaluate(curves=[table], tables=halved)
    assert found.total("curves") == len(read_table(table))
    (group,) = document(found)["groups"]
    assert (group["mode"], group["model"], group["prefill"]["bias"]) == ("curves", "openai/gpt-oss-120b", -0.5)
    assert "tpot" not in group


def test_the_text_says_what_was_compared_and_what_not() -> None:
    text = "\n".join(lines(evaluate([MEASURED], rows=slower)))
    assert "of 2,436 usable ones modelled (97.6 %); 470 more do not say all that is needed" in text
    assert "58  measured: no GLM" in text
    assert "! median above 40 %" in text
    assert "GPUs counted twice: read as tp8 ep8, not tp64 moe_tp8 ep8" in text
    nothing = list(lines(evaluate([MEASURED], rows=lambda rows: ["never"] * len(rows))))
    assert nothing[0].startswith("measured rows: 0 of 2,436")


def test_predictions_that_are_no_numbers_are_counted() -> None:
    found = evaluate([MEASURED], rows=lambda rows: [Guess(float("nan"), 1.0)] * len(rows))
    assert found.compared["measured"] == 0
    assert {one.reason: one.rows for one in found.skipped if not one.unusable} == {
        "the prediction is not a finite number": 2436
    }


def test_the_nearest_recorded_error_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, GPU and serving engine; else model and GPU; else GPU; else all."""
    found = compared(
        ("agg", "a", "h100", "vllm", [0.1]),
        ("agg", "a", "h100", "sglang", [0.3]),
        ("agg", "b", "h100", "vllm", [0.8, 0.8, 0.8]),
        ("agg", "b", "h200", "vllm", [0.05]),
    )
    file = tmp_path / "known.csv"
    file.write_text(known_errors.as_csv(found))
    monkeypatch.setattr(known_errors, "FILE", file)
    known_errors.recorded.cache_clear()
    try:
        asked = [("a", "h100", "vllm"), ("a", "h100", "trtllm"), ("a", "h100", None), ("c", "h100", "vllm")]
        asked += [("c", "gb300", None)]
        answers = [known_errors.nearest("tpot", *one) for one in asked]
        assert [(one.n, one.median_ape) for one in answers if one] == [
            (1, 0.1),
            (2, 0.2),
            (2, 0.2),
            (5, 0.8),
            (6, 0.55),
        ]
        assert known_errors.nearest("prefill", "a", "h100") is None
        text = known_errors.known_error("b", "h100", "vllm", "decode")
        assert text == (
            "TPOT against measured rows: median error 80.0 %, bias +80.0 % (ABOVE 40 %: do not rely on it), "
            "3 rows of b on h100 vllm"
        )
        assert known_errors.known_error("b", "h100", "vllm", "prefill").startswith("nothing is recorded")
    finally:
        known_errors.recorded.cache_clear()


def test_records_hold_every_level() -> None:
    rows = list(csv.DictReader(io.StringIO(known_errors.as_csv(compared(("agg", "a", "h100", "vllm", [0.1]))))))
    assert [(row["model"], row["gpu"], row["backend"]) for row in rows] == [
        ("a", "h100", "vllm"),
        ("a", "h100", ""),
        ("", "h100", ""),
        ("", "", ""),
    ]


def test_checkpoints_of_one_shape_share_a_record() -> None:
    names = ["meta-llama/Llama-3.1-70B", "nvidia/Llama-3.1-70B-Instruct-FP8", "meta-llama/Meta-Llama-3.1-70B", "other"]
    assert [known_errors.shape_name(name) for name in names] == ["meta-llama/Meta-Llama-3.1-70B"] * 3 + ["other"]
    assert known_errors.shape_name("meta-llama/Meta-Llama-3.1-8B") == "meta-llama/Meta-Llama-3.1-8B"


def test_all_bad_files_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError) as caught:
        evaluate([tmp_path / "empty.csv", tmp_path / "nowhere.csv"], rows=slower)
    assert ["empty.csv" in caught.value.faults[0].where, "nowhere.csv" in caught.value.faults[1].where] == [True, True]


def test_the_command_on_a_measured_file_and_a_table(tmp_path: Path) -> None:
    """The embedded models on a few carried rows, with several files after one option."""
    parts = []
    for start in (0, 400):
        with gzip.open(MEASURED, "rt") as file:
            header, *rows = [next(file), *islice(file, start, start + 40)]
        parts.append(tmp_path / f"part{start}.csv")
        parts[-1].write_text(header + "".join(rows))
    table = tmp_path / "table.csv"
    with gzip.open(CURVES / "h100_sxm__vllm__meta-llama--Meta-Llama-3.1-70B.csv.gz", "rt") as file:
        header, *rows = file
    table.write_text(header + "".join(row for row in rows if ",prefill," in row or ",decode," in row))
    out = tmp_path / "out.json"
    arguments = ["accuracy", "--measured", *map(str, parts), "--curves", str(table), "-o", str(out)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text())
    assert written["rows"]["measured"]["total"] == 80
    assert written["rows"]["curves"]["total"] == 825 + 224
    assert {"tpot", "ttft", "prefill", "decode"} <= set(written["pooled"])
    assert all(one["n"] > 0 and one["median_ape"] >= 0 for one in written["pooled"].values())


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.csv", tmp_path / "out.json"
    bad.write_text("a,b\n1,2\n")
    done = CliRunner().invoke(main, ["accuracy", "--measured", str(bad), "-o", str(out)])
    assert done.exit_code == 2
    assert "silicon_tpot_ms" in done.output
    assert "column is missing" in done.output
    assert not out.exists()
    assert CliRunner().invoke(main, ["accuracy", str(bad)]).exit_code == 2
