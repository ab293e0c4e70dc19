"""The commands that draw: exit codes, files whole or not at all, what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cli


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def test_a_report_is_written_and_summed_up(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run("report", "tiny-cost", "-o", page)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("tiny-cost: OPTIMAL")
    assert result.stdout.splitlines()[-1] == f"wrote {page}"
    assert page.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("infeasible-ttft",), 3), (("llama-70b-h200-72", "--time-limit", "0"), 5)],
)
def test_a_report_of_what_is_not_solved_is_written_too(arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run("report", *arguments, "-o", page).exit_code == code
    assert page.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "tiny-cost", "-o", "page.txt"), "must end in .html"),
        (("report", "tiny-cost", "-o", "page.html", "--at", "10,20"), "--at takes one number"),
        (("report", "tiny-cost", "-o", "page.html", "--at", "fast"), "--at: got fast"),
        (("report", "tiny-cost", "-o", "page.html", "--at", "1e9"), "ask for no more than that"),
        (("report", "tiny-cost", "-o", "nowhere/page.html"), "does not exist"),
        (("frontier", "tiny-cost", "--plot", "page.pdf"), "must end in .png or .svg or .html"),
        (("frontier", "tiny-cost", "--envelopes"), "give --plot"),
        (("frontier", "tiny-cost", "--envelopes", "--at", "20", "--plot", "page.html"), "no --at"),
    ],
)
def test_bad_input_writes_nothing(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_plots_for_papers_hold_text_and_envelopes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for ending, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        file = tmp_path / f"plot{ending}"
        assert run("frontier", "llama-70b-h200-72", "--plot", file, "--envelopes").exit_code == 0
        assert file.read_bytes().startswith(magic)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "plot.svg").read_text("utf-8"))
    assert {"this instance", "co-located", "disaggregated", "hybrid, if it were allowed"} <= set(words)
    assert "interactivity: output tokens/s per user (1000 / TPOT in ms)" in words


def test_the_page_of_a_frontier_needs_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert run("frontier", "tiny-cost", "--plot", tmp_path / "page.html").exit_code == 0
    assert run("frontier", "tiny-cost", "--plot", tmp_path / "page.svg").exit_code == 2
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "each proved optimal and verified exactly" in page
    assert 'id="binds"' not in page
