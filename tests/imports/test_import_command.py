"""The command: what it prints and writes, that nothing is written on a fault, and a plan from an imported table."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import main
from costmodels.imports.registry import FORMATS, UNSEEN
from costmodels.table import HEADER, read_table
from tests.imports.samples import DECODE, INFERENCEX, PREFILL, VLLM

MODEL = "nvidia/Llama-3.1-8B-Instruct-FP8"
ENGINE = ["--system", "h200_sxm", "--model", MODEL, "--backend", "trtllm", "--backend-version", "unknown"]
ENGINE += ["--precision", "fp8", "--tp", "1"]


def run(*arguments: object) -> Result:
    """The command line."""
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_help_lists_the_formats_and_what_was_never_seen() -> None:
    text = run("import", "--help").output
    for each in FORMATS.values():
        line = next(line for line in text.splitlines() if line.split()[:1] == [each.name])
        assert each.files in line
        assert (UNSEEN in line) == bool(each.unseen)
    assert {each.name for each in FORMATS.values() if not each.unseen} == {"vllm", "guidellm"}
    assert "--backend-version" in text


def test_every_format_has_a_reader() -> None:
    assert all(callable(each.reader()) for each in FORMATS.values())


def test_a_table_is_written_and_summed_up(tmp_path: Path) -> None:
    out = tmp_path / "curves.csv"
    done = run("import", "inferencex", *INFERENCEX, "-o", out)
    assert done.exit_code == 0, done.output
    assert done.output.startswith(
        f"wrote {out}\n3 rows:\n    3 colocated mi355x vllm v0.21.0+mtp moonshotai/Kimi-K2.5 int4 tp8"
    )
    assert "note: " in done.output
    table = read_table(out)
    assert len(table) == 3
    assert out.read_text().splitlines()[0] == ",".join(HEADER)


def test_gzip_is_the_same_table_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.csv", "a.csv.gz", "b.csv.gz"):
        assert run("import", "vllm", *VLLM, *ENGINE, "-o", tmp_path / name).exit_code == 0
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == (tmp_path / "a.csv").read_bytes()
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["vlm", PREFILL], "FORMAT: got vlm, must be one of aiperf, vllm, sglang, guidellm, inferencex, dynamo, llm-d"),
        (["dynamo", PREFILL], "error: --system: needed, since "),
        (["dynamo", "missing.json", *ENGINE], "missing.json: cannot be read: No such file or directory"),
        (["vllm", PREFILL, *ENGINE], "no result of vllm bench serve"),
        (["guidellm", PREFILL, *ENGINE], "no GuideLLM report"),
        (["aiperf", PREFILL, *ENGINE], "no summary of AIPerf"),
        (["sglang", VLLM[0], *ENGINE, "--tp", "0"], "0 is not in the range"),
        (["inferencex", PREFILL], "no row of InferenceX"),
        (["llm-d", PREFILL], "got None, must be 0.2"),
        (["dynamo", VLLM[0], *ENGINE], "no measurement of the profiler"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(tmp_path: Path, arguments: list[Any], text: str) -> None:
    done = run("import", *arguments, "-o", tmp_path / "out.csv")
    assert (done.exit_code, text in done.output) == (2, True), done.output
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_the_table_is_checked_first(tmp_path: Path) -> None:
    done = run("import", "vllm", *VLLM, *ENGINE, "-o", tmp_path / "out.json")
    assert (done.exit_code, "must end in .csv or .csv.gz" in done.output) == (2, True)
    assert run("import", "vllm", *VLLM, *ENGINE, "-o", tmp_path / "no" / "out.csv").exit_code == 2
    assert run("import", "vllm", *VLLM, *ENGINE).exit_code == 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe{}", b"\x1f\x8bno", b"[" * 100_000, b'{"a": 1, "a": 2}', b"3", b"null"]
)
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_broken_files_are_faults_in_every_format(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "broken.json").write_bytes(content)
    done = run("import", name, tmp_path / "broken.json", *ENGINE, "-o", tmp_path / "out.csv")
    assert done.exit_code == 2, done.output
    assert f"error: {tmp_path}" in done.output
    assert not (tmp_path / "out.csv").exists()


def test_many_faults_are_cut(tmp_path: Path) -> None:
    raw = {**json.loads(PREFILL.read_text()), "prefill_ttft": [None] * 17, "prefill_isl": [-1] * 17}
    (tmp_path / "p.json").write_text(json.dumps(raw))
    done = run("import", "dynamo", tmp_path / "p.json", *ENGINE, "-o", tmp_path / "out.csv")
    assert done.output.count("error:") == 21
    assert "and 14 more faults" in done.output


def test_a_plan_from_an_imported_table(tmp_path: Path) -> None:
    """Prefill of 100 tokens: 51.215841 requests/s. Decode at most at 35 ms: 33.0959565 requests/s at batch 513."""
    done = run("import", "dynamo", PREFILL, DECODE, "--osl", 500, *ENGINE, "-o", tmp_path / "curves.csv")
    assert done.exit_code == 0, done.output
    instance = {
        "format": "disagg-instance",
        "version": 1,
        "name": "imported",
        "pools": [{"name": "h200", "gpu": "h200_sxm", "gpus": 8, "nvlink_domain_gpus": 8}],
        "workloads": [
            {"name": "chat", "model": MODEL, "isl": 100, "osl": 500, "sla": {"ttft_ms": 100, "tpot_ms": 35}},
        ],
        "serving": {"modes": ["disaggregated"]},
        "cost_model": {"kind": "curves", "path": "curves.csv"},
        "objective": "throughput",
    }
    (tmp_path / "instance.json").write_text(json.dumps(instance))
    solved = run("solve", tmp_path / "instance.json", "-o", tmp_path / "result.json")
    assert solved.exit_code == 0, solved.output
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "optimal"
    best = max(min(51.215841 * p, 33.0959565 * (8 - p)) for p in range(9))  # three prefill, five decode GPUs
    assert best == 3 * 51.215841
    assert result["objective"] == pytest.approx(500 * best, rel=1e-9)
    workload = result["deployment"]["workloads"][0]
    assert [engine["replicas"] for engine in workload["prefill"]] == [3]
    assert [(engine["replicas"], engine["batch"]) for engine in workload["decode"]] == [(5, 513)]
