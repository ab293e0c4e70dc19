"""The command line as a user meets it: outputs, files, exit codes, interrupts."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cli
import instances
from solver.planner import Options, solve, trace
from solver.read import read_json
from solver.result import exact_text
from tests import corpus

ROOT = Path(__file__).parent.parent
CURVES = ROOT / "instances" / "curves"
TINY = ["tiny-cost", "tiny-e2e", "tiny-packing", "tiny-rate-match", "tiny-tie"]
INFEASIBLE = [name for name in instances.names() if name.startswith("infeasible-")]
FRONTIER_COLUMNS = ["tokens_per_s_per_user", "tokens_per_s_per_gpu", "requests_per_s", "gpus_used", "mode"]
COMMANDS = [
    "solve",
    "frontier",
    "verify",
    "bench",
    "curves",
    "accuracy",
    "instances",
    "backends",
    "report",
    "completion",
]


def run(*arguments: str | Path) -> Result:
    """Runs the command line in this process."""
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def process(*arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    """Starts the command line as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "solver", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(started: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    """Exit code and outputs of a process."""
    try:
        out, err = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        started.kill()
        started.communicate()
        pytest.fail(f"still running after {seconds} s")
    return started.returncode, out, err


def long_instance() -> dict[str, Any]:
    """An instance whose frontier takes half a minute, and whose optimum without dominance takes as long."""
    tables = [f"{gpu}__trtllm__deepseek-ai--DeepSeek-V3.csv.gz" for gpu in ("gb200", "b200_sxm")]
    return {
        "format": "disagg-instance",
        "version": 1,
        "name": "long",
        "pools": [
            {"name": "gb", "gpu": "gb200", "gpus": 144, "nvlink_domain_gpus": 72},
            {"name": "b", "gpu": "b200_sxm", "gpus": 128, "nvlink_domain_gpus": 8},
        ],
        "workloads": [
            {"name": "chat", "model": "deepseek-ai/DeepSeek-V3", "isl": 4500, "osl": 750, "sla": {"ttft_ms": 3000}}
        ],
        "serving": {"hybrid": True, "engines_per_role": 2},
        "cost_model": {"kind": "curves", "path": [str(CURVES / table) for table in tables], "interpolate": True},
    }


@pytest.fixture
def long(tmp_path: Path) -> Path:
    path = tmp_path / "long.json"
    path.write_text(json.dumps(long_instance()), encoding="utf-8")
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return corpus.good_files()[0].write(tmp_path)


# Help and lists


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_what_a_command_does(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")
    assert len(result.stdout.splitlines()) > 4
    assert run(command, "-h").stdout == result.stdout


def test_help_lists_commands_and_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)
    words = " ".join(result.stdout.split())
    assert all(f"{code} " in words.split("Exit codes:")[1] for code in range(7))


def test_help_is_instant() -> None:
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "solver", "--help"], cwd=ROOT, capture_output=True, timeout=30)
        spent.append(time.perf_counter() - started)
        assert done.returncode == 0
    print(f"--help: best of three {min(spent):.3f} s")
    assert min(spent) < 0.6


def test_version_names_the_package() -> None:
    result = run("--version")
    if "is not installed" in result.output or (result.exception and not isinstance(result.exception, SystemExit)):
        pytest.skip("the distribution is not installed here")
    assert result.exit_code == 0
    assert result.stdout.startswith("ratematch")


def test_instances_lists_every_instance_with_a_sentence() -> None:
    result = run("instances")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == instances.names()
    assert all(len(line.split()) > 4 for line in lines)


def test_backends_lists_what_runs_here() -> None:
    result = run("backends")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    for name in ("cp-sat", "scip", "highs", "cbc"):
        assert rows[name].split()[1:] == ["available"], rows[name]
    assert {"gurobi", "cplex", "xpress", "copt"} <= set(rows)


@pytest.mark.parametrize(
    "arguments",
    [
        ["solv"],
        ["solve"],
        ["solve", "tiny-tie", "more"],
        ["solve", "tiny-tie", "--no-such-option"],
        ["solve", "tiny-tie", "--time-limit", "-1"],
        ["solve", "tiny-tie", "--time-limit", "soon"],
        ["solve", "tiny-tie", "--threads", "0"],
        ["solve", "tiny-tie", "--gap", "2"],
        ["solve", "tiny-tie", "--seed", "-1"],
        ["solve", "tiny-tie", "--memory-limit", "1"],
        ["solve", "tiny-tie", "--formulation", "magic"],
        ["solve", "tiny-tie", "--backend", "magic"],
        ["solve", "tiny-tie", "--write-model", "model.txt"],
        ["solve", "tiny-tie", "--hint", "no-such-file.json"],
        ["frontier", "tiny-tie", "--backend", "scip"],
        ["frontier", "tiny-tie", "--at", "fast"],
        ["frontier", "tiny-tie", "--at", "20,,50"],
        ["frontier", "tiny-tie", "--at", "-20"],
        ["frontier", "tiny-tie", "--at", "0"],
        ["frontier", "tiny-tie", "--at", "1/0"],
        ["frontier", "tiny-tie", "--min-step", "much"],
        ["frontier", "tiny-tie", "--min-step", "-1%"],
        ["frontier", "tiny-tie", "--workload", "nobody"],
        ["frontier", "tiny-tie", "-o", "frontier.txt"],
        ["frontier", "tiny-tie", "--plot", "frontier.pdf"],
        ["verify", "tiny-tie"],
        ["verify", "tiny-tie", "no-such-file.json"],
        ["verify", "tiny-tie", "no-such-file.json", "--backend", "magic"],
        ["bench", "no-such-instance"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_end_with_2_and_a_word(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert "internal error" not in result.output
    assert result.stdout == ""
    assert "rror" in result.stderr or "Usage" in result.stderr
    assert list(tmp_path.iterdir()) == []


# solve


@pytest.mark.parametrize("name", TINY)
def test_solve_ends_with_0_and_a_readable_answer(name: str, tmp_path: Path) -> None:
    result = run("solve", name, "-o", tmp_path / "result.json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.startswith(f"{name}: OPTIMAL ")
    for word in ("verified exactly", "bound proved by cp-sat", "cost model: "):
        assert word in result.stdout
    document = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert (document["format"], document["version"]) == ("disagg-result", 1)
    assert (document["instance"], document["status"], document["gap"]) == (name, "optimal", 0)
    assert document["exact"]["objective"] == document["exact"]["bound"]
    assert float(Fraction(document["exact"]["objective"])) == document["objective"]
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_the_result_holds_what_the_format_promises(good: Path, tmp_path: Path) -> None:
    run("solve", good, "-o", tmp_path / "result.json", "--seed", 5, "--threads", 2, "--time-limit", 50)
    document = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert {"instance_hash", "bound", "gap", "exact", "feasibility", "proof", "run", "slack"} <= set(document)
    recorded = document["run"]
    assert recorded["parameters"] == {
        "threads": 2,
        "seed": 5,
        "time_limit_s": 50,
        "gap": 0,
        "memory_limit_mb": None,
    }
    assert recorded["backend"] == "cp-sat"
    assert recorded["wall_s"] > 0
    totals = {"requests_per_s", "output_tokens_per_s", "tokens_per_s_per_gpu", "tokens_per_s_per_user", "ttft_ms"}
    totals |= {"tpot_ms", "gpus_used", "usd_per_hour", "usd_per_million_output_tokens", "watts"}
    assert totals <= set(document["totals"])
    [workload] = document["deployment"]["workloads"]
    entries = [entry for role in ("prefill", "decode", "colocated") for entry in workload[role]]
    wanted = {"pool", "partition", "precision", "backend", "batch", "replicas", "gpus", "latency_ms", "requests_per_s"}
    assert entries
    assert all(wanted <= set(entry) for entry in entries)
    assert sum(entry["gpus"] for entry in entries) == document["totals"]["gpus_used"]


@pytest.mark.parametrize("name", INFEASIBLE)
def test_infeasible_ends_with_3_and_says_why(name: str, tmp_path: Path) -> None:
    result = run("solve", name, "-o", tmp_path / "result.json")
    assert result.exit_code == 3, result.output
    assert "INFEASIBLE, and that is proved" in result.stdout
    document = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert (document["status"], document["deployment"], document["objective"]) == ("infeasible", None, None)
    assert document["infeasibility"]


@pytest.mark.parametrize("command", ["solve", "frontier"])
def test_no_time_at_all_loses_nothing(command: str, tmp_path: Path) -> None:
    result = run(command, "tiny-tie", "--time-limit", 0, "-o", tmp_path / "out.json")
    assert result.exit_code in (4, 5), result.output
    assert "Traceback" not in result.output
    document = json.loads((tmp_path / "out.json").read_text("utf-8"))
    if command == "solve":
        assert document["status"] in ("unknown", "feasible")
        assert (document["status"] == "unknown") == (result.exit_code == 5)
        assert document["status"] == "feasible" or document["deployment"] is None
    else:
        assert document["complete"] is False
        assert "NOT COMPLETE" in result.stdout


def test_a_frontier_stopped_by_its_limit_ends_with_4(long: Path, tmp_path: Path) -> None:
    result = run("frontier", long, "--time-limit", 3, "-o", tmp_path / "frontier.json")
    assert result.exit_code == 4, result.output[-500:]
    assert "NOT COMPLETE" in result.stdout
    document = json.loads((tmp_path / "frontier.json").read_text("utf-8"))
    assert document["complete"] is False
    assert document["points"]
    assert all(point["gap"] == 0 and point["feasibility"] == "verified exactly" for point in document["points"])


@pytest.mark.parametrize("backend", ["cp-sat", "scip", "highs", "cbc"])
@pytest.mark.parametrize("formulation", ["points", "piecewise"])
def test_every_back_end_and_formulation_gives_the_same_optimum(backend: str, formulation: str, tmp_path: Path) -> None:
    arguments = ("--backend", backend, "--formulation", formulation, "-o", tmp_path / "result.json")
    result = run("solve", "tiny-rate-match", *arguments)
    if (backend, formulation) == ("cp-sat", "piecewise"):
        assert result.exit_code == 2
        assert "integers only" in result.stderr
        return
    assert result.exit_code == 0, result.output
    wanted = solve(instances.path("tiny-rate-match")).objective
    document = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert Fraction(document["exact"]["objective"]) == wanted
    assert document["run"]["backend"] == backend
    assert document["run"]["formulation"] == formulation


@pytest.mark.parametrize("backend", ["gurobi", "cplex", "xpress", "copt", "mosek"])
def test_a_back_end_without_licence_is_unavailable_not_a_crash(backend: str) -> None:
    listed = {line.split()[0]: line for line in run("backends").stdout.splitlines()}
    if "unavailable" not in listed[backend]:
        pytest.skip(f"{backend} is installed here")
    result = run("solve", "tiny-tie", "--backend", backend)
    assert result.exit_code == 2
    assert "unavailable" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("suffix", [".lp", ".mps"])
def test_write_model_writes_model_names_and_solution(suffix: str, tmp_path: Path) -> None:
    result = run("solve", "tiny-rate-match", "--write-model", tmp_path / f"model{suffix}")
    assert result.exit_code == 0, result.output
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {f"model{suffix}", "model.names.json", "model.sol"}
    text = (tmp_path / f"model{suffix}").read_text("utf-8")
    names = json.loads((tmp_path / "model.names.json").read_text("utf-8"))["names"]
    solution = [line.split() for line in (tmp_path / "model.sol").read_text("utf-8").splitlines()]
    assert names
    assert solution
    assert all(len(pair) == 2 and pair[0] in text for pair in solution)
    assert all(float(value) >= 0 for _, value in solution)
    for family in ("C1", "C3"):
        assert family in text


def test_log_and_hint_and_quick_options(tmp_path: Path) -> None:
    first = run("solve", "llama-8b-h100-8", "-o", tmp_path / "first.json", "--log", tmp_path / "solver.log")
    assert first.exit_code == 0
    assert len((tmp_path / "solver.log").read_text("utf-8")) > 100
    again = run("solve", "llama-8b-h100-8", "--hint", tmp_path / "first.json", "-o", tmp_path / "again.json")
    assert again.exit_code == 0
    quick = run("solve", "llama-8b-h100-8", "--no-tiebreak", "--no-dominance", "-o", tmp_path / "quick.json")
    assert quick.exit_code == 0
    files = [json.loads((tmp_path / f"{name}.json").read_text("utf-8")) for name in ("first", "again", "quick")]
    assert files[0]["deployment"] == files[1]["deployment"]
    assert len({document["exact"]["objective"] for document in files}) == 1
    assert files[2]["run"]["tiebreak"] is False
    assert files[2]["run"]["dominance"] is False
    assert files[2]["run"]["columns"] > files[0]["run"]["columns"]


@pytest.mark.parametrize("text", ["{}", "[]", "7", "not JSON", '{"format": "disagg-frontier"}', ""])
def test_a_hint_that_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "hint.json").write_text(text, encoding="utf-8")
    result = run("solve", "tiny-tie", "--hint", tmp_path / "hint.json")
    assert result.exit_code == 2, result.output
    assert "internal error" not in result.output


@pytest.mark.parametrize("part", [5, "x", [], {"workloads": 5}, {"workloads": [{"workload": "toy"}]}])
def test_a_hint_with_a_strange_deployment_is_ignored(part: Any, tmp_path: Path) -> None:
    document = {"format": "disagg-result", "version": 1, "deployment": part}
    (tmp_path / "hint.json").write_text(json.dumps(document), encoding="utf-8")
    result = run("solve", "tiny-tie", "--hint", tmp_path / "hint.json")
    assert result.exit_code in (0, 2), result.output
    assert "internal error" not in result.output


# Names and folders


def test_an_unknown_name_offers_close_ones() -> None:
    result = run("solve", "deepseek-v3-gb200-145")
    assert result.exit_code == 2
    assert "deepseek-v3-gb200-144" in result.stderr
    assert run("solve", "qqqqqq").exit_code == 2


def test_a_file_wins_over_a_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("solve", "tiny-tie").stdout.startswith("tiny-tie: ")
    corpus.good_files()[0].write(tmp_path).rename(tmp_path / "tiny-tie")
    assert run("solve", "tiny-tie").stdout.startswith("good: ")


def test_a_folder_of_a_built_in_name_does_not_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-tie").mkdir()
    assert run("solve", "tiny-tie").stdout.startswith("tiny-tie: ")


def test_tables_are_found_from_any_folder(good: Path, tmp_path: Path) -> None:
    """Paths in an instance start at its file, wherever the command runs."""
    elsewhere = tmp_path / "a folder with blanks"
    elsewhere.mkdir()
    code, out, err = finished(process("solve", os.path.relpath(good, elsewhere), "-o", "out.json", folder=elsewhere))
    assert (code, err) == (0, "")
    assert out.startswith("good: OPTIMAL")
    assert [path.name for path in elsewhere.iterdir()] == ["out.json"]


def test_built_in_instances_run_from_any_folder(tmp_path: Path) -> None:
    code, out, err = finished(process("solve", "tiny-tie", folder=tmp_path))
    assert (code, err) == (0, "")
    assert out.startswith("tiny-tie: OPTIMAL")
    assert list(tmp_path.iterdir()) == []


# Files


@pytest.mark.parametrize("option", ["-o", "--log", "--write-model", "--plot"])
@pytest.mark.parametrize("place", ["missing/out.json", "folder"])
def test_a_file_that_cannot_be_written_is_refused_before_solving(
    option: str, place: str, long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("solved before looking")

    monkeypatch.setattr("solver.planner.solve", never)
    monkeypatch.setattr("solver.planner.trace", never)
    for command in ("frontier",) if option == "--plot" else ("solve",) if option == "--write-model" else COMMANDS[:2]:
        result = run(command, long, option, place)
        assert result.exit_code == 2, result.output
        assert place in result.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "long.json"]


def test_an_old_file_stays_when_a_new_one_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "result.json"
    target.write_text("old", encoding="utf-8")

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fails)
    result = run("solve", "tiny-tie", "-o", target)
    assert result.exit_code == 2
    assert "No space left" in result.stderr
    assert target.read_text("utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_result_replaces_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    target.write_text("old" * 10_000, encoding="utf-8")
    assert run("solve", "tiny-tie", "-o", target).exit_code == 0
    assert json.loads(target.read_text("utf-8"))["status"] == "optimal"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_output_files_are_as_readable_as_others(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("x", encoding="utf-8")
    run("solve", "tiny-tie", "-o", tmp_path / "result.json")
    assert (tmp_path / "result.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_library_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("tiny-tie", "tiny-cost", "infeasible-tpot", "llama-8b-h100-8"):
        solve(instances.path(name))
    for backend in ("scip", "highs", "cbc"):
        solve(instances.path("tiny-rate-match"), Options(backend=backend))
    solve(instances.path("tiny-rate-match"), Options(backend="cbc", formulation="piecewise"))
    trace(instances.path("llama-8b-h100-8"))
    assert capfd.readouterr() == ("", "")


# frontier


def test_frontier_files_say_the_same(tmp_path: Path) -> None:
    as_json = run("frontier", "llama-8b-h100-8", "-o", tmp_path / "f.json")
    as_csv = run("frontier", "llama-8b-h100-8", "-o", tmp_path / "f.csv")
    assert (as_json.exit_code, as_csv.exit_code) == (0, 0)
    document = json.loads((tmp_path / "f.json").read_text("utf-8"))
    with (tmp_path / "f.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (document["format"], document["version"], document["complete"]) == ("disagg-frontier", 1, True)
    assert list(rows[0])[:5] == FRONTIER_COLUMNS
    assert len(rows) == len(document["points"]) > 3
    for row, point in zip(rows, document["points"], strict=True):
        assert float(row["tokens_per_s_per_user"]) == point["tokens_per_s_per_user"]
        assert float(row["requests_per_s"]) == point["totals"]["requests_per_s"]
        assert float(row["gpus_used"]) == point["totals"]["gpus_used"]
        assert row["mode"] == point["mode"]
        assert f"{point['tokens_per_s_per_user']:.6g}" in as_csv.stdout.replace(",", "")
    users = [float(row["tokens_per_s_per_user"]) for row in rows]
    tokens = [float(row["tokens_per_s_per_gpu"]) for row in rows]
    assert users == sorted(users)
    assert tokens == sorted(tokens, reverse=True)


def test_frontier_at_given_interactivities(tmp_path: Path) -> None:
    whole = trace(instances.path("llama-8b-h100-8"))
    fastest = float(whole.points[-1].tokens_per_s_per_user or 0)
    result = run("frontier", "llama-8b-h100-8", "--at", f"60,{fastest * 3:.0f}", "-o", tmp_path / "f.csv")
    assert result.exit_code == 0, result.output
    with (tmp_path / "f.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["requested_tokens_per_s_per_user"]) == 60
    assert float(rows[0]["tokens_per_s_per_user"]) >= 60
    assert "infeasible" in result.stdout
    nothing = run("frontier", "llama-8b-h100-8", "--at", f"{fastest * 3:.0f}")
    assert nothing.exit_code == 3


@pytest.mark.parametrize("name", ["infeasible-tpot", "infeasible-demand"])
def test_a_frontier_without_points_ends_with_3(name: str) -> None:
    assert run("frontier", name).exit_code == 3


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_plots_are_what_their_names_say(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = run("frontier", "llama-8b-h100-8", "--plot", tmp_path / f"f.{suffix}")
    assert result.exit_code == 0, result.output
    content = (tmp_path / f"f.{suffix}").read_bytes()
    assert {"png": b"\x89PNG", "svg": b"<svg", "html": b"<html"}[suffix] in content[:2000]
    assert len(content) > 5000


def test_progress_does_not_mix_with_the_answer(tmp_path: Path) -> None:
    code, out, err = finished(process("frontier", "llama-8b-h100-8", folder=tmp_path))
    assert code == 0
    assert err.strip() == ""
    assert "\x1b" not in out


# Interrupts


def interrupted(started: subprocess.Popen[str], after: float, within: float = 10) -> tuple[int, str, str]:
    """Sends Ctrl-C to a process and waits for its end."""
    time.sleep(after)
    assert started.poll() is None, "it ended before the interrupt: the test needs a longer instance"
    started.send_signal(signal.SIGINT)
    return finished(started, within)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
@pytest.mark.parametrize("after", [3.0, 3.7, 4.3, 5.1])
def test_ctrl_c_during_a_frontier_keeps_what_was_proved(after: float, long: Path, tmp_path: Path) -> None:
    code, out, err = interrupted(process("frontier", long, "--plain", "-o", "frontier.json", folder=tmp_path), after)
    assert code == 4, (code, out[-300:], err[-300:])
    assert "Traceback" not in err
    assert "NOT COMPLETE" in out
    document = json.loads((tmp_path / "frontier.json").read_text("utf-8"))
    assert document["complete"] is False
    assert document["missing"]
    assert document["points"]
    assert f"{len(document['points'])} points" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frontier.json", "long.json"]
    assert run("verify", long, tmp_path / "frontier.json").exit_code == 0


MOMENTS = [
    ("solver.backends.cpsat.CpSat.solve", False),
    ("solver.columns.Candidates.columns", False),
    ("solver.stages.Stages.build", False),
    ("solver.pairs.Pairs.best", True),
]


@pytest.mark.parametrize(("moment", "incremental"), MOMENTS)
def test_ctrl_c_at_any_moment_of_a_frontier_keeps_what_was_proved(
    moment: str, incremental: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt comes at one call of a function that the sweep calls often, and only once, as a user presses it."""
    name, output = "llama-8b-h100-8", tmp_path / "frontier.json"
    known = [(exact_text(point.tpot_ms), exact_text(point.value)) for point in trace(instances.path(name)).points]
    module, owner, method = moment.rsplit(".", 2)
    genuine = getattr(getattr(sys.modules[module], owner), method)
    calls, raise_at = 0, 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == raise_at:
            raise KeyboardInterrupt
        return genuine(*arguments, **named)

    monkeypatch.setattr(moment, counted)
    trace(instances.path(name), Options(incremental=incremental))
    total = calls
    assert total > 10
    wrong = []
    for raise_at in range(1, total + 1, max(1, total // 15)):
        calls = 0
        output.unlink(missing_ok=True)
        stopped = run("frontier", name, "-o", output, *([] if incremental else ["--plain"]))
        document = json.loads(output.read_text("utf-8")) if output.exists() else {"points": [], "complete": False}
        found = [(point["totals"]["exact"]["tpot_ms"], point["exact"]["objective"]) for point in document["points"]]
        if stopped.exit_code != (4 if found else 5) or document["complete"] or found != known[: len(found)]:
            wrong.append((raise_at, stopped.exit_code, len(found), document["complete"]))
        elif raise_at > total / 2 and not found:
            wrong.append((raise_at, "all points are lost"))
    assert wrong == [], f"of {total} calls"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
@pytest.mark.parametrize("after", [0.6, 3.0, 6.0])
def test_ctrl_c_during_a_solve_ends_soon_and_says_so(after: float, long: Path, tmp_path: Path) -> None:
    code, out, err = interrupted(process("solve", long, "--no-dominance", "-o", "result.json", folder=tmp_path), after)
    assert code in (4, 5), (code, out[-300:], err[-300:])
    assert "Traceback" not in err
    if (tmp_path / "result.json").exists():
        document = json.loads((tmp_path / "result.json").read_text("utf-8"))
        assert document["status"] == {4: "feasible", 5: "unknown"}[code]
    else:
        assert code == 5


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes to break")
def test_a_closed_pipe_is_no_crash(tmp_path: Path) -> None:
    started = process("instances", folder=tmp_path)
    assert started.stdout is not None
    assert started.stderr is not None
    started.stdout.close()
    err = started.stderr.read()
    started.wait(30)
    assert "Traceback" not in err
    assert "internal error" not in err


# verify


@pytest.fixture
def result(tmp_path: Path) -> dict[str, Any]:
    run("solve", "qwen3-32b-h100-72", "-o", tmp_path / "result.json")
    document: dict[str, Any] = json.loads((tmp_path / "result.json").read_text("utf-8"))
    return document


def verified(document: Any, folder: Path, *more: str, instance: str = "qwen3-32b-h100-72") -> Result:
    """Verifies a document."""
    (folder / "result.json").write_text(json.dumps(document), encoding="utf-8")
    return run("verify", instance, folder / "result.json", *more)


def test_verify_accepts_what_solve_wrote(result: dict[str, Any], tmp_path: Path) -> None:
    good = verified(result, tmp_path)
    assert good.exit_code == 0, good.output
    assert "verified exactly" in good.stdout
    for family in ("C1", "C2", "C3", "C4"):
        assert family in good.stdout


def test_verify_rebound_proves_it_again(result: dict[str, Any], tmp_path: Path) -> None:
    again = verified(result, tmp_path, "--rebound")
    assert again.exit_code == 0, again.output
    assert "proved again" in again.stdout


def first_entry(document: dict[str, Any]) -> dict[str, Any]:
    """The first engine that a result deploys."""
    workload = document["deployment"]["workloads"][0]
    entry: dict[str, Any] = next(entry for role in ("prefill", "decode", "colocated") for entry in workload[role])
    return entry


def more_replicas(document: dict[str, Any]) -> None:
    first_entry(document)["replicas"] += 1


def other_batch(document: dict[str, Any]) -> None:
    first_entry(document)["batch"] += 1


def faster(document: dict[str, Any]) -> None:
    first_entry(document)["latency_ms"] *= 0.9


def other_partition(document: dict[str, Any]) -> None:
    first_entry(document)["partition"]["tp"] *= 2


def better_objective(document: dict[str, Any]) -> None:
    document["objective"] = document["bound"] = document["objective"] * 1.0001
    document["exact"]["objective"] = document["exact"]["bound"] = str(Fraction(document["exact"]["objective"]) * 2)


def exact_alone(document: dict[str, Any]) -> None:
    value = Fraction(document["exact"]["objective"]) + Fraction(1, 10**9)
    document["exact"]["objective"] = f"{value.numerator}/{value.denominator}"


def fewer_gpus(document: dict[str, Any]) -> None:
    document["totals"]["gpus_used"] -= 1


def lost_deployment(document: dict[str, Any]) -> None:
    document["deployment"] = None


def other_hash(document: dict[str, Any]) -> None:
    document["instance_hash"] = "0" * 16


def claimed_infeasible(document: dict[str, Any]) -> None:
    document["status"] = "infeasible"


TAMPERED: list[Callable[[dict[str, Any]], None]] = [
    more_replicas,
    other_batch,
    faster,
    other_partition,
    better_objective,
    exact_alone,
    fewer_gpus,
    lost_deployment,
    other_hash,
    claimed_infeasible,
]


@pytest.mark.parametrize("tamper", TAMPERED)
def test_verify_refutes_a_tampered_result(
    tamper: Callable[[dict[str, Any]], None], result: dict[str, Any], tmp_path: Path
) -> None:
    tamper(result)
    refuted = verified(result, tmp_path)
    assert refuted.exit_code == 6, refuted.output
    assert "REFUTED" in refuted.stdout
    assert "Traceback" not in refuted.output


def test_verify_refutes_the_result_of_another_instance(result: dict[str, Any], tmp_path: Path) -> None:
    assert verified(result, tmp_path, instance="qwen3-32b-b200-32").exit_code == 6


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def test_verify_survives_any_broken_result(result: dict[str, Any], tmp_path: Path) -> None:
    """A wrong type or a missing key, anywhere, is a finding or bad input, never a crash."""
    crashed = []
    chosen = [path for path in places(result) if path[0] not in ("run", "cost_model", "slack")]
    assert len(chosen) > 60
    for index, path in enumerate(chosen):
        broken = json.loads(json.dumps(result))
        holder = broken
        for key in path[:-1]:
            holder = holder[key]
        wrong = ["words", {"a": []}, [[]], None, -1, "1/0", True][index % 7]
        if holder[path[-1]] == wrong:
            wrong = {"b": 1}
        holder[path[-1]] = wrong
        outcome = verified(broken, tmp_path)
        if outcome.exit_code not in (0, 2, 6):
            crashed.append((path, wrong, outcome.output.strip()[-120:]))
    assert crashed == []


@pytest.mark.parametrize("text", ["{}", "[]", "null", "", '{"format": "disagg-instance", "version": 1}', "{"])
def test_verify_refuses_what_is_no_result(text: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    refused = run("verify", "tiny-tie", tmp_path / "result.json")
    assert refused.exit_code == 2, refused.output
    assert "result.json" in refused.stderr


def test_verify_checks_frontiers_and_infeasible_results(tmp_path: Path) -> None:
    run("frontier", "llama-8b-h100-8", "-o", tmp_path / "frontier.json")
    assert run("verify", "llama-8b-h100-8", tmp_path / "frontier.json").exit_code == 0
    document = json.loads((tmp_path / "frontier.json").read_text("utf-8"))
    first_entry(document["points"][1])["replicas"] += 1
    assert verified(document, tmp_path, instance="llama-8b-h100-8").exit_code == 6
    run("solve", "infeasible-demand", "-o", tmp_path / "none.json")
    assert run("verify", "infeasible-demand", tmp_path / "none.json").exit_code == 0
    assert run("verify", "infeasible-demand", tmp_path / "none.json", "--rebound").exit_code == 0


# bench


def test_bench_compares_with_what_is_recorded() -> None:
    result = run("bench", "tiny-tie", "infeasible-tpot")
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "optimal" in rows["tiny-tie"]
    assert "infeasible" in rows["infeasible-tpot"]


def test_bench_ends_with_6_where_an_optimum_deviates(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from solver import bench

    known = bench.recorded()
    wrong = replace(known["tiny-tie"], objective=(known["tiny-tie"].objective or Fraction(0)) + 1)
    monkeypatch.setattr(bench, "recorded", lambda: {**known, "tiny-tie": wrong})
    result = run("bench", "tiny-tie")
    assert result.exit_code == 6
    assert "DEVIATES" in result.stdout


def test_bench_without_time_does_not_pass() -> None:
    assert run("bench", "tiny-tie", "--time-limit", 0).exit_code == 6


def test_results_read_back_exactly(tmp_path: Path) -> None:
    """The strict reader takes what we write."""
    for command, name in (("solve", "tiny-cost"), ("frontier", "tiny-tie")):
        run(command, name, "-o", tmp_path / "out.json")
        assert read_json(tmp_path / "out.json")["version"] == 1
