"""The command: what it prints and writes, which point it takes, and what it refuses with exit code 2 and no file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

import cli
import solver
from solver.manifests.export import export_deployment
from solver.planner import trace
from solver.result import to_json
from tests.manifests.cases import LLAMA, folder_of, pool, row, solved


def run(*arguments: object) -> Result:
    """Runs the command line in this process."""
    return CliRunner().invoke(cli.main, ["export", *map(str, arguments)])


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """The result of a built-in instance."""
    file = tmp_path / "r.json"
    file.write_text(to_json(solved("tiny-rate-match")[1].as_dict()))
    return file


@pytest.fixture(scope="module")
def frontier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frontier of several points."""
    file = tmp_path_factory.mktemp("frontier") / "f.json"
    file.write_text(to_json(trace(solved("qwen3-32b-b200-32")[0]).as_dict()))
    return file


def test_prints_a_stream_of_documents(result: Path) -> None:
    done = run(result, "--to", "kubernetes")
    assert done.exit_code == 0
    kinds = [document["kind"] for document in yaml.safe_load_all(done.stdout) if document]
    assert kinds == ["Service", "StatefulSet", "Service", "StatefulSet", "Deployment", "Service"]
    assert "# file: toy.yaml" in done.stdout
    assert "OPTIMAL, proved" in done.stdout
    assert done.stdout == run(result, "--to", "kubernetes").stdout


def test_writes_a_folder_of_scripts_that_can_be_run(result: Path, tmp_path: Path) -> None:
    done = run(result, "--to", "sglang", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["router_toy.sh", "run_toy_0.sh"]
    assert all((tmp_path / "out" / name).stat().st_mode & 0o111 for name in names)
    assert sorted(line.rsplit("/", 1)[-1] for line in done.stdout.splitlines()) == names
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "r.json"]


def test_the_api_gives_the_same(result: Path) -> None:
    assert solver.export_deployment(result, "kubernetes") == export_deployment(
        solved("tiny-rate-match")[1], "kubernetes"
    )
    assert solver.export_deployment(json.loads(result.read_text()), "kubernetes") == solver.export_deployment(
        str(result), "kubernetes", instance="tiny-rate-match"
    )


def test_a_script_starts_what_it_says(result: Path, tmp_path: Path) -> None:
    """The scripts are run, with programs that write down how they were called."""
    assert run(result, "--to", "sglang", "-o", tmp_path / "out").exit_code == 0
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "python3"
    fake.write_text('#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES $*"\nsleep 1\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    subprocess.run([str(tmp_path / "out" / "run_toy_0.sh")], env=environment, check=True, timeout=20)
    logs = {file.stem: file.read_text() for file in (tmp_path / "out" / "logs").iterdir()}
    assert sorted(logs) == [f"toy-{role}-{n}" for role, count in (("decode", 2), ("prefill", 4)) for n in range(count)]
    gpus = [gpu for log in logs.values() for gpu in log.split()[0].split(",")]
    assert sorted(gpus, key=int) == [str(gpu) for gpu in range(8)]
    ports = [log.split("--port ")[1].split()[0] for log in logs.values()]
    assert len(set(ports)) == 6


def test_points_of_a_frontier(frontier: Path) -> None:
    points = json.loads(frontier.read_text())["points"]
    assert len(points) > 3
    first, last = (run(frontier, "--to", "trtllm", "--at", name) for name in ("max-throughput", "max-interactivity"))
    assert f"frontier point 0 of 0 to {len(points) - 1}, picked by max-throughput, OPTIMAL" in first.stdout
    assert f"frontier point {len(points) - 1} of 0 to {len(points) - 1}" in last.stdout
    assert first.stdout != last.stdout
    wanted = points[1]["tokens_per_s_per_user"] - 0.001
    assert "frontier point 1 of" in run(frontier, "--to", "trtllm", "--at", wanted).stdout
    assert "frontier point 2 of" in run(frontier, "--to", "trtllm", "--point", 2).stdout


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "--at: needed: the frontier has"),
        (("--at", "1e9"), "the fastest point of the frontier reaches"),
        (("--at", "fast"), "must be tokens/s/user, or max-throughput or max-interactivity"),
        (("--point", "-1"), "--point: got -1, the frontier has points 0 to"),
        (("--point", "999"), "--point: got 999"),
        (("--point", "1", "--at", "9"), "exclude each other"),
    ],
)
def test_points_that_are_not_there(frontier: Path, options: tuple[str, ...], text: str) -> None:
    done = run(frontier, "--to", "trtllm", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--to", "nomad"), "--to: got 'nomad', must be dynamo or llm-d or vllm"),
        (("--to", "vllm", "--point", "0"), "--point: is for a frontier"),
        (("--to", "vllm", "--at", "9"), "--at: is for a frontier"),
        (("--to", "vllm", "--instance", "tiny-tie"), "$.instance_hash: got"),
        (("--to", "vllm", "--instance", "nothing"), "--instance: 'nothing' is neither a file nor a built-in instance"),
        (("--to", "sglang", "--engine", "vllm"), "--engine: got vllm, which contradicts --to sglang"),
        (("--to", "vllm", "--namespace", "Not_A_Name"), "--namespace: got 'Not_A_Name'"),
        (("--to", "vllm", "--image", "two words"), "--image: got 'two words'"),
        (("--to", "vllm", "--model-path", ""), "--model-path: got ''"),
        (("--to", "vllm", "--model-path", "--headless"), "--model-path: got '--headless'"),
        (("--to", "vllm", "--model-path", "a", "--model-path", "b"), "--model-path: is given twice"),
    ],
)
def test_options_that_make_no_sense(result: Path, tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    done = run(result, *options, "-o", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.json"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{}", "$.format: got none, must be disagg-result (solve -o) or disagg-frontier"),
        ("[]", "$.format: got none"),
        ("nonsense", "not JSON"),
        ('{"format": "disagg-result", "version": 2}', "$.format: got format 'disagg-result', version 2"),
        (
            '{"format": "disagg-result", "version": 1, "status": "infeasible"}',
            "--instance: needed, since None is no built-in instance",
        ),
        (
            '{"format": "disagg-result", "version": 1, "instance": "tiny-tie", "status": "infeasible"}',
            "$.status: is infeasible: there is",
        ),
        (
            '{"format": "disagg-result", "version": 1, "instance": "tiny-tie", "status": "optimal"}',
            "$.instance_hash: got None",
        ),
        (
            '{"format": "disagg-frontier", "version": 1, "instance": "tiny-tie", "points": []}',
            "$.points: the frontier has no point",
        ),
    ],
)
def test_files_that_hold_no_plan(tmp_path: Path, content: str, text: str) -> None:
    file = tmp_path / "r.json"
    file.write_text(content)
    done = run(file, "--to", "vllm", "-o", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["r.json"]


def test_a_result_that_was_changed_is_refused(result: Path) -> None:
    document = json.loads(result.read_text())
    document["deployment"]["workloads"][0]["prefill"][0]["replicas"] = 6
    result.write_text(json.dumps(document))
    done = run(result, "--to", "vllm")
    assert done.exit_code == 2
    assert "the verifier: " in done.stderr


def test_an_infeasible_result_says_what_is_in_the_way(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(to_json(solved("infeasible-one-gpu")[1].as_dict()))
    done = run(file, "--to", "vllm")
    assert done.exit_code == 2
    assert "is infeasible: there is no deployment to export (inventory of toy: 1 -> 2 GPUs" in done.stderr


def test_real_numbers_of_replicas_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(to_json(solved("deepseek-v3-gb200-unlimited")[1].as_dict()))
    done = run(file, "--to", "trtllm")
    assert done.exit_code == 2
    assert "replicas are real numbers" in done.stderr


def test_a_frontier_as_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("tokens_per_s_per_user\n1\n")
    done = run(tmp_path / "f.csv", "--to", "vllm")
    assert done.exit_code == 2
    assert "write it with frontier -o F.json" in done.stderr


def test_a_folder_with_files_is_refused(result: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.yaml").write_text("old")
    for folder, text in (
        (tmp_path / "out", "is not empty"),
        (result, "is no folder"),
        (tmp_path / "a" / "b", "cannot be made"),
    ):
        done = run(result, "--to", "vllm", "-o", folder)
        assert done.exit_code == 2
        assert text in done.stderr
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["old.yaml"]


def test_choices_are_in_the_files(result: Path, tmp_path: Path) -> None:
    options = (
        "--namespace",
        "serve",
        "--image",
        "registry/engine:custom",
        "--model-path",
        "/models/toy",
        "--engine",
        "sglang",
    )
    text = run(result, "--to", "dynamo", *options).stdout
    documents = [document for document in yaml.safe_load_all(text) if document]
    components = documents[-1]["spec"]["components"]
    assert documents[-1]["metadata"] == {"name": "toy", "namespace": "serve"}
    assert {part["runtimeVersionOverride"] for part in components} == {"1.3.1"}
    container = components[1]["podTemplate"]["spec"]["containers"][0]
    assert container["image"] == "registry/engine:custom"
    assert container["command"][-1] == "dynamo.sglang"
    assert container["volumeMounts"] == [{"name": "weights", "mountPath": "/models/toy", "readOnly": True}]
    claim = components[1]["podTemplate"]["spec"]["volumes"][0]["persistentVolumeClaim"]
    assert claim == {"claimName": "toy-weights", "readOnly": True}


def test_pools_of_one_gpu_type_are_told_by_a_label_of_ours() -> None:
    rows = [
        row("h200_sxm", "vllm", LLAMA, "gemm:bfloat16 kv:bfloat16", "prefill", {"tp": 2}, 2, 500, 4),
        row("h200_sxm", "vllm", LLAMA, "gemm:bfloat16 kv:bfloat16", "decode", {"tp": 2}, 64, 25, 10),
    ]
    pools = [pool("h200_sxm", 8) | {"name": "East A"}, pool("h200_sxm", 8) | {"name": "east-a"}]
    text = export_deployment(solver.solve(folder_of("same", pools, LLAMA, rows)), "kubernetes")["chat.yaml"]
    assert "ratematch.io/pool: East A" not in text, "not a label value"
    assert "ratematch.io/pool: east-a\n" in text
    assert "ratematch.io/pool: east-a-2\n" in text


def test_nothing_of_a_file_reaches_a_shell_unquoted(result: Path, tmp_path: Path) -> None:
    document = json.loads(result.read_text())
    document["cost_model"]["description"] = "a\ntouch pwned\n\u2028b"
    result.write_text(json.dumps(document))
    evil = '/m/"$(touch${IFS}pwned)"'
    for fake in ("python3", "trtllm-serve"):  # once: they may still run when the next script starts
        (tmp_path / fake).write_text("#!/bin/sh\n")
        (tmp_path / fake).chmod(0o755)
    for target in ("sglang", "kubernetes", "trtllm"):
        files = export_deployment(result, target, model_paths=[evil], image='"$HOME"')
        for name, text in files.items():
            assert not [line for line in text.splitlines() if line.startswith("touch")]
            if name.endswith(".sh"):
                (tmp_path / name).write_text(text)
                environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
                subprocess.run(
                    ["bash", name], cwd=tmp_path, env=environment, check=False, timeout=20, capture_output=True
                )
    assert not list(tmp_path.rglob("pwned"))
    assert (tmp_path / "logs").is_dir()
