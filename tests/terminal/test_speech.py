"""How commands speak: one document for machines, nothing when quiet, logs and progress apart, colours for eyes only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cli
import instances

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    ("solve", "tiny-tie"): ("disagg-result", 0),
    ("solve", "infeasible-memory"): ("disagg-result", 3),
    ("frontier", "tiny-tie"): ("disagg-frontier", 0),
    ("curves", "tiny-tie"): ("disagg-curves", 0),
    ("bench", "tiny-tie", "infeasible-memory"): ("disagg-bench", 0),
    ("instances",): ("disagg-instances", 0),
    ("backends",): ("disagg-backends", 0),
    ("report", "tiny-tie", "-o", "PAGE"): ("disagg-report", 0),
    ("solve", "no-such-instance"): ("disagg-error", 2),
    ("report", "tiny-tie", "-o", "PAGE", "--at", "1000000"): ("disagg-error", 2),
    ("frontier", "tiny-tie", "--envelopes"): ("disagg-error", 2),
    ("bench", "tiny-tie", "--compare"): ("disagg-error", 2),
    ("whatif", "tiny-tie"): ("disagg-error", 2),
    ("solve", "tiny-tie", "--threads", "x"): ("disagg-error", 2),
    ("no-such-command",): ("disagg-error", 2),
    ("simulate", "infeasible-memory", "--poisson", "1"): ("disagg-result", 3),
    ("headroom", "infeasible-memory", "--poisson", "1"): ("disagg-result", 3),
}


def run(*arguments: str, colour: bool = False) -> Result:
    return CliRunner().invoke(cli.main, list(arguments), color=colour)


@pytest.mark.parametrize("arguments", DOCUMENTS, ids=" ".join)
def test_json_is_one_document_and_nothing_else(arguments: tuple[str, ...], tmp_path: Path) -> None:
    wanted = DOCUMENTS[arguments]
    page = str(tmp_path / "page.html")
    result = run(*(page if word == "PAGE" else word for word in arguments), "--json")
    document = json.loads(result.stdout)
    assert (document["format"], result.exit_code) == wanted
    assert document["version"] == 1
    assert (wanted[0] == "disagg-error") == bool(result.stderr)
    if wanted[0] == "disagg-error":
        assert document["exit_code"] == 2
        assert all(set(fault) == {"where", "text"} and fault["text"] for fault in document["faults"])
        assert not Path(page).exists()


def test_json_is_what_the_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    for command in ("solve", "frontier"):
        told, written = (
            json.loads(run(command, "tiny-cost", "--json", "-o", str(file)).stdout),
            json.loads(file.read_text()),
        )
        for timed in (told, written, told.get("run", {}), written.get("run", {})):
            timed.pop("wall_s", None)
        assert told == written
    assert run("verify", "tiny-cost", str(file)).exit_code == 0


def test_a_check_tells_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    run("solve", "tiny-cost", "-o", str(file))
    good = json.loads(run("verify", "tiny-cost", str(file), "--rebound", "--json").stdout)
    assert (good["format"], good["ok"], good["faults"]) == ("disagg-check", True, [])
    assert "objective" in " ".join(good["checked"]) or good["checked"]
    assert len(good["rebound"]) == 2
    document = json.loads(file.read_text())
    document["objective"] += 1
    file.write_text(json.dumps(document))
    result = run("verify", "tiny-cost", str(file), "--json")
    bad = json.loads(result.stdout)
    assert (result.exit_code, bad["ok"]) == (6, False)
    assert any("objective" in fault for fault in bad["faults"])


def test_lists_for_machines_are_those_for_people() -> None:
    told = json.loads(run("instances", "--json").stdout)["instances"]
    assert [one["name"] for one in told] == instances.names()
    assert len(run("instances").stdout.splitlines()) == len(told)
    ends = {one["name"]: one["available"] for one in json.loads(run("backends", "--json").stdout)["backends"]}
    assert ends["cp-sat"] is True


def test_a_bench_tells_what_deviates(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from solver import bench

    real = bench.recorded()
    moved = {**real, "tiny-tie": replace(real["tiny-tie"], objective=real["tiny-tie"].objective + 1)}
    monkeypatch.setattr(bench, "recorded", lambda: moved)
    result = run("bench", "tiny-tie", "tiny-cost", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["ok"]) == (6, False)
    assert [row["as_recorded"] for row in document["instances"]] == [False, True]


@pytest.mark.parametrize(
    "arguments", [("solve", "tiny-tie"), ("frontier", "tiny-tie", "--chart"), ("bench", "tiny-tie"), ("backends",)]
)
def test_quiet_says_nothing(arguments: tuple[str, ...]) -> None:
    for flag in ("--quiet", "-q"):
        result = run(*arguments, flag)
        assert (result.stdout, result.stderr, result.exit_code) == ("", "", 0)


def test_quiet_still_tells_faults() -> None:
    result = run("solve", "no-such-instance", "-q")
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.startswith("error: ")


def test_verbose_writes_the_log_apart(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    result = run("solve", "tiny-tie", "--verbose", "--log", str(file), "--json")
    assert json.loads(result.stdout)["status"] == "optimal"
    assert "CpSolverResponse" in result.stderr or "CP-SAT" in result.stderr
    assert file.read_text("utf-8").strip() in result.stderr
    assert run("solve", "tiny-tie").stderr == ""


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in run("solve", "tiny-tie", colour=True).stdout
    assert "\x1b[" not in run("solve", "tiny-tie").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("solve", "tiny-tie", colour=True).stdout


def test_infeasible_is_not_coloured_as_feasible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m\x1b[1mINFEASIBLE\x1b[0m" in run("solve", "infeasible-memory", colour=True).stdout


def completed(words: str) -> list[str]:
    """What bash would offer for the last of some words."""
    env = {
        **os.environ,
        "_RATEMATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    code = "import cli; cli.main(prog_name='ratematch')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_completion_knows_commands_options_and_instances() -> None:
    assert "plain,frontier" in completed("ratematch fr")
    assert "plain,--json" in completed("ratematch solve --js")
    found = completed("ratematch solve llama-70b-h200-7")
    assert found == [f"plain,{name}" for name in instances.names() if name.startswith("llama-70b-h200-7")]
    assert completed("ratematch verify ./my") == ["file,./my"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_RATEMATCH_COMPLETE" in result.stdout
    assert run("completion", "tcsh").exit_code == 2


def on_terminal(command: list[str], folder: Path, env: dict[str, str] | None = None) -> str:
    """What a command writes to standard error where that is a terminal."""
    import pty

    here, there = pty.openpty()
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", **(env or {})}
    started = subprocess.Popen(
        [sys.executable, "-m", "solver", *command], cwd=folder, env=settings, stdout=subprocess.DEVNULL, stderr=there
    )
    os.close(there)
    found = b""
    while True:
        try:
            part = os.read(here, 65536)
        except OSError:
            break
        if not part:
            break
        found += part
    started.wait(timeout=60)
    os.close(here)
    return found.decode("utf-8", "replace")


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    shown = on_terminal(["frontier", "llama-70b-h100-h200-cost"], tmp_path)
    assert "points proved" in shown or "tracing the frontier" in shown
    assert "left" in shown
    assert "━" in shown
    limited = on_terminal(["solve", "tiny-tie", "--time-limit", "30"], tmp_path)
    assert "solving" in limited
    assert on_terminal(["solve", "tiny-tie", "--quiet"], tmp_path) == ""
    assert run("frontier", "llama-70b-h100-h200-cost").stderr == ""


def test_the_gap_is_watched_without_changing_the_answer() -> None:
    from solver.backends.base import Controls
    from solver.planner import Options, solve

    seen: list[float] = []
    path = instances.path("deepseek-v3-h100-h200-mixed")
    watched = solve(path, Options(controls=Controls(watch=seen.append)))
    plain = solve(path)
    assert watched.objective == plain.objective
    assert seen
    assert all(gap >= 0 for gap in seen)
    assert "watch" not in watched.as_dict()["run"]["parameters"]


def test_the_share_of_a_sweep_rises_to_its_end() -> None:
    from solver.planner import trace

    shares: list[float] = []
    found = trace(instances.path("llama-70b-h200-72"), reached=shares.append)
    assert shares == sorted(shares)
    assert len(shares) >= len(found.points)
    assert 0 <= shares[0] < 0.2
    assert 0.8 < shares[-1] <= 1
