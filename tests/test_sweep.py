"""Sweeps: every cell once, whatever dies on the way; the same tables from processes and from a Dask cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import instances
from costmodels.errors import InputError
from solver.planner import trace
from solver.read import read_instance
from solver.sweep.axes import changed
from solver.sweep.cells import Record, Tables, Task, task_of
from solver.sweep.grid import grid_from, grid_schema, read_grid
from solver.sweep.journal import Journal
from solver.sweep.local import Local
from solver.sweep.run import Progress, Swept, lines, sweep
from solver.sweep.worker import BENCH, lay_out, run_task

pytest.importorskip("pyarrow")
from pyarrow import parquet

ROOT = Path(__file__).parent.parent
BASE = "llama-8b-h100-8"
VARIED = {
    "fleet": {"one node": {"pools[].gpus": 8}, "three nodes": {"pools[0].gpus": 24}},
    "workloads[].sla.ttft_ms": [300, 500.5, 2000],
    "workloads[0].sla.tpot_ms": [50, 20, 0.001],
}
"""18 cells; no decode engine reaches a microsecond a token, so that six of them are infeasible."""


def written(folder: Path, vary: dict[str, Any], **rest: Any) -> Path:
    """A grid file."""
    folder.mkdir(exist_ok=True)
    file = folder / "grid.json"
    document = {"format": "disagg-grid", "version": 1, "instance": BASE, "vary": vary, **rest}
    file.write_text(json.dumps(document), "utf-8")
    return file


def rows(folder: Path, table: str = "frontiers") -> list[dict[str, Any]]:
    """The rows of a table."""
    found: list[dict[str, Any]] = parquet.read_table(folder / f"{table}.parquet").to_pylist()
    return found


def frontiers(folder: Path) -> bytes:
    """The table of frontiers as it lies on disk; nothing in it differs from run to run."""
    return (folder / "frontiers.parquet").read_bytes()


def journal_keys(folder: Path) -> list[str]:
    """The keys of the journal, line by line."""
    return [json.loads(line)["key"] for line in (folder / "journal.jsonl").read_text().splitlines()]


@dataclass(frozen=True)
class Plain:
    """A sweep in two processes that nothing disturbed."""

    grid: Path
    folder: Path
    found: Swept


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder = tmp_path_factory.mktemp("plain")
    grid = written(folder, VARIED)
    return Plain(grid, folder / "out", sweep(grid, folder / "out", workers=2))


def test_every_cell_is_there_in_order(plain: Plain) -> None:
    cells = rows(plain.folder, "cells")
    assert [cell["cell"] for cell in cells] == list(range(18))
    assert [cell["workloads[0].sla.tpot_ms"] for cell in cells] == [50, 20, 0.001] * 6  # the last axis fastest
    assert [cell["fleet"] for cell in cells] == ["one node"] * 9 + ["three nodes"] * 9
    assert [cell["status"] for cell in cells] == ["complete", "complete", "infeasible"] * 6
    assert plain.found.statuses == {"complete": 12, "infeasible": 6, "not_run": 0}
    assert plain.found.traced == 18
    assert plain.found.kept == 0
    infeasible = [row for row in rows(plain.folder) if row["status"] == "infeasible"]
    assert len(infeasible) == 6
    assert all(row["point"] is None and row["objective"] is None and row["message"] for row in infeasible)


def test_a_cell_is_the_frontier_of_its_instance(plain: Plain) -> None:
    """Cell 12: three nodes, TTFT 500.5 ms, TPOT 50 ms; traced here by the planner from an instance changed by hand."""
    base = read_instance(instances.path(BASE))
    workload = replace(base.workloads[0], ttft_ms=Fraction(1001, 2), tpot_ms=Fraction(50))
    instance = replace(base, workloads=(workload,), pools=(replace(base.pools[0], gpus=24),))
    expected = trace(instance, folder=instances.path(BASE).parent)
    assert len(expected.points) > 5
    found = [row for row in rows(plain.folder) if row["cell"] == 12]
    assert [Fraction(row["objective_exact"]) for row in found] == [point.value for point in expected.points]
    assert [Fraction(row["tpot_ms_exact"]) for row in found] == [point.tpot_ms for point in expected.points]
    assert [row["objective"] for row in found] == [float(point.value) for point in expected.points]
    assert {row["instance_hash"] for row in found} == {expected.as_dict()["instance_hash"]}
    assert {row["status"] for row in found} == {"optimal"}
    assert [row["point"] for row in found] == list(range(len(found)))
    best = expected.points[0].deployment.assignments[0]
    text = f"{best.role} {best.replicas} x {best.engine.curve.partition.label} batch {best.batch}"
    assert text in found[0]["deployment"]


def test_a_second_run_does_nothing(plain: Plain) -> None:
    before, journal = frontiers(plain.folder), journal_keys(plain.folder)
    again = sweep(plain.grid, plain.folder, workers=2)
    assert (again.kept, again.traced) == (18, 0)
    assert frontiers(plain.folder) == before
    assert journal_keys(plain.folder) == journal
    assert len(set(journal)) == len(journal) == 18


def test_a_changed_grid_takes_up_what_it_shares(plain: Plain, tmp_path: Path) -> None:
    shutil.copytree(plain.folder, tmp_path / "out")
    vary = {**VARIED, "workloads[].sla.ttft_ms": [400, 500.5]}
    grid = written(tmp_path, vary)
    found = sweep(grid, tmp_path / "out", workers=2)
    assert (found.kept, found.traced, found.others) == (6, 6, 12)
    sweep(grid, tmp_path / "fresh", workers=1)
    assert frontiers(tmp_path / "out") == frontiers(tmp_path / "fresh")


def test_a_process_that_is_killed_costs_nothing(plain: Plain, tmp_path: Path) -> None:
    said: list[str] = []
    killed: list[int] = []

    def progress(now: Progress) -> None:
        if now.done == 4:
            import multiprocessing

            killed.append(multiprocessing.active_children()[0].pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    found = sweep(plain.grid, tmp_path, workers=2, progress=progress, say=said.append)
    assert len(killed) == 1
    assert len(said) == 1
    assert "SIGKILL" in said[0]
    assert "done again" in said[0]
    assert found.traced == 18
    assert frontiers(tmp_path) == frontiers(plain.folder)
    assert sorted(journal_keys(tmp_path)) == sorted(journal_keys(plain.folder))


@dataclass(frozen=True)
class Deadly(Task):
    """A task that ends every process that receives it."""

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        return (os._exit, (7,))


def test_a_cell_that_kills_is_given_up_and_the_others_are_done(plain: Plain) -> None:
    grid = read_grid(plain.grid)
    tables = Tables()
    tasks = [task for cell in grid.cells() if isinstance(task := task_of(cell, grid, tables), Task)][:6]
    deadly = Deadly(**{**vars(tasks[2]), "key": "deadly"})
    said: list[str] = []
    crew = Local(2, tables.contents, said.append)
    try:
        found = {r["key"]: r for r in crew.run(iter([*tasks[:2], deadly, *tasks[2:]]))}
    finally:
        crew.stop()
    assert found.keys() == {"deadly", *(task.key for task in tasks)}
    assert found["deadly"]["status"] == "failed"
    assert "exit code 7" in found["deadly"]["message"]
    assert [found[task.key]["status"] for task in tasks] == ["complete", "complete", "infeasible"] * 2
    assert len(said) == 2


def started(*words: str) -> subprocess.Popen[str]:
    """The command line, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "solver", "sweep", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for_lines(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until the journal has so many lines."""
    deadline = time.monotonic() + 60
    journal = folder / "journal.jsonl"
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= count):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)


MANY = {"pools[].gpus": list(range(8, 128, 6)), "workloads[].sla.ttft_ms": [300, 500, 700, 1000, 2000]}
"""100 cells, so that there is time to interrupt."""


def test_resumes_after_a_kill(tmp_path: Path) -> None:
    grid, out = written(tmp_path, MANY), tmp_path / "out"
    process = started(str(grid), "-o", str(out), "--workers", "2")
    wait_for_lines(out, 5, process)
    process.kill()
    process.wait()
    assert not (out / "frontiers.parquet").exists()
    with (out / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"key": "cut sho')  # as a kill in the middle of a line leaves it
    kept = len((out / "journal.jsonl").read_bytes().splitlines()) - 1
    assert 5 <= kept < 100
    found = sweep(grid, out, workers=2)
    assert (found.kept, found.traced) == (kept, 100 - kept)
    assert len(journal_keys(out)) == len(set(journal_keys(out))) == 100
    assert [cell["status"] for cell in rows(out, "cells")] == ["complete"] * 100


def test_an_interrupt_ends_with_what_is_there(tmp_path: Path) -> None:
    grid, out = written(tmp_path, MANY), tmp_path / "out"
    process = started(str(grid), "-o", str(out), "--workers", "2")
    wait_for_lines(out, 5, process)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 4, output
    assert "ended early: interrupted" in output
    done = len(journal_keys(out))
    statuses = [cell["status"] for cell in rows(out, "cells")]
    assert statuses.count("complete") == done
    assert statuses.count("not_run") == 100 - done > 0
    assert {row["status"] for row in rows(out)} == {"optimal", "not_run"}


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with Journal(tmp_path, None), pytest.raises(InputError, match="another sweep"):
        Journal(tmp_path, None)


def test_a_limit_stops_cells_and_a_longer_one_goes_on(tmp_path: Path) -> None:
    vary = {"workloads[].sla.ttft_ms": [300, 2000]}
    out = tmp_path / "out"
    found = sweep(written(tmp_path, vary, frontier={"time_limit_s": 0.000001}), out, workers=1)
    assert found.statuses["stopped"] == 2
    assert {row["status"] for row in rows(out)} == {"stopped"}
    assert sweep(written(tmp_path, vary, frontier={"time_limit_s": 0.000001}), out, workers=1).kept == 2
    found = sweep(written(tmp_path, vary), out, workers=1)
    assert (found.kept, found.traced, found.statuses["complete"]) == (0, 2, 2)
    assert (
        sweep(written(tmp_path, vary, frontier={"time_limit_s": 99}), out, workers=1).kept == 2
    )  # complete is complete


def test_bad_cells_are_rows_and_equal_cells_are_traced_once(tmp_path: Path) -> None:
    vary = {
        "what": {
            "as it is": {"pools[].gpus": 8},
            "the same": {"pools[0].gpus": 8},
            "no such gpu": {"pools[].gpu": "h300"},
            "less than demanded": {"workloads[].requests_per_s": 5, "workloads[].max_requests_per_s": 4},
        },
        "workloads[].sla": [{"tpot_ms": 20}, {"tpot_ms": 0.001, "ttft_ms": None}],
    }
    found = sweep(written(tmp_path, vary), tmp_path / "out", workers=2)
    assert (found.traced, found.kept) == (2, 2)
    cells = rows(tmp_path / "out", "cells")
    assert [cell["status"] for cell in cells] == ["complete", "infeasible"] * 2 + ["bad_input"] * 4
    assert "h300" in cells[4]["message"]
    assert "max_requests_per_s: got 4, must be at least the demand 5" in cells[6]["message"]
    assert cells[0]["key"] == cells[2]["key"]
    assert cells[0]["workloads[].sla"] == '{"tpot_ms":20}'
    table = rows(tmp_path / "out")
    assert {row["cell"] for row in table} == set(range(8))
    own, same = ([row["objective_exact"] for row in table if row["cell"] == cell] for cell in (0, 2))
    assert own == same != []
    assert any("cell 4 and 1 more, bad input" in line for line in lines(found))


def test_interactivities_can_be_asked_for(tmp_path: Path) -> None:
    vary = {"pools[].gpus": [8]}
    sweep(written(tmp_path, vary, frontier={"at": [50, 1e6]}), tmp_path / "out", workers=1)
    found = rows(tmp_path / "out")
    assert [row["requested_tokens_per_s_per_user"] for row in found] == [50, 1e6]
    assert [row["status"] for row in found] == ["optimal", "infeasible"]
    assert found[0]["tokens_per_s_per_user"] >= 50
    assert found[1]["objective"] is None


def test_tables_travel_with_the_tasks(tmp_path: Path) -> None:
    """A worker needs no file of ours: with the tables laid out it works where there is no such folder."""
    name = "llama-8b-h100-8"
    document = json.loads(instances.path(name).read_text())
    table = instances.path(name).parent / document["cost_model"]["path"]
    (tmp_path / "here").mkdir()
    shutil.copy(table, tmp_path / "here" / "mine.csv.gz")
    document["cost_model"]["path"] = "here/mine.csv.gz"
    grid = read_grid(written(tmp_path, {"pools[].gpus": [8]}, instance=document))
    tables = Tables()
    for path in grid.tables():
        tables.add(path)
    task = task_of(next(grid.cells()), grid, tables)
    assert isinstance(task, Task)
    (tmp_path / "here" / "mine.csv.gz").unlink()
    away = replace(task, folder=str(tmp_path / "nowhere"))
    missing: Record = run_task(away)
    assert missing["status"] == "bad_input"
    assert "mine.csv.gz" in missing["message"]
    lay_out(tables.contents)
    there = run_task(away)
    assert there["status"] == "complete"
    assert len(there["points"]) > 5
    BENCH.tables.clear()


def test_another_program_is_refused(plain: Plain) -> None:
    grid = read_grid(plain.grid)
    task = task_of(next(grid.cells()), grid, Tables())
    assert isinstance(task, Task)
    record = run_task(replace(task, program="0" * 16))
    assert record["status"] == "refused"
    assert "another version" in record["message"]


def test_keys_are_those_of_content(tmp_path: Path) -> None:
    """The same in every process, and another one where anything differs that the answer follows from."""
    allow = {"decode": [{"backend": ["trtllm", "vllm", "sglang"]}]}
    file = written(tmp_path, {"pools[].gpus": [8]})
    code = (
        "import sys; from pathlib import Path; from solver.sweep.grid import read_grid; "
        "from solver.sweep.cells import *; g = read_grid(Path(sys.argv[1])); "
        "print(task_of(next(g.cells()), g, Tables()).key)"
    )
    vary = {"serving.allow": [allow]}
    keys = []
    for seed, content in (("1", vary), ("2", vary), ("1", {"serving.allow": [{}]})):
        file = written(tmp_path, content)
        command = [sys.executable, "-c", code, str(file)]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        keys.append(subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout)
    assert keys[0] == keys[1] != keys[2]


FAULTS = [
    ({"nam": "x"}, "$.nam: unknown key"),
    ({"vary": {}}, "$.vary: got {}"),
    ({"vary": 3}, "$.vary: got 3"),
    ({"vary": None}, "$.vary: is missing"),
    ({"instance": None}, "$.instance: is missing"),
    ({"instance": "no-such-instance"}, "$.instance: 'no-such-instance' is neither a file nor a built-in"),
    ({"instance": 5}, "$.instance: got 5"),
    ({"instance": {"format": "disagg-instance"}}, "$.instance.pools: is missing"),
    ({"vary": {"pools[].gpus": [8, 0]}}, "$.vary.pools[].gpus[1]: got 0, must be at least 1"),
    ({"vary": {"pools[].gpus": [8, 8]}}, "entries must differ"),
    ({"vary": {"pools[].gpus": []}}, "$.vary.pools[].gpus: has 0 entries"),
    ({"vary": {"pools[2].gpus": [8]}}, "$.pools of the instance has 1 entries"),
    ({"vary": {"pools[].gpuss": [8]}}, "gpuss is unknown; allowed are device, gpu, gpus"),
    ({"vary": {"pools.gpus": [8]}}, "gpus is unknown"),
    ({"vary": {"version": [1]}}, "'version' is no key of an instance that can be varied"),
    ({"vary": {"two words": [1]}}, "'two words' is no key of an instance"),
    ({"vary": {"status": {"a": {"pools[].gpus": 8}}}}, "$.vary.status: is the name of a column"),
    ({"vary": {"x": {"a": 5}}}, "$.vary.x.a: got 5, must be an object of paths"),
    ({"vary": {"x": {"a": {"workloads[].isl": -3}}}}, "$.vary.x.a.workloads[].isl: got -3"),
    ({"vary": {"pools[].gpus": [8], "x": {"a": {"pools[0].gpus": 9}}}}, "$.vary.x: sets pools[0].gpus, and so does"),
    ({"vary": {"workloads[].sla": [{}], "workloads[].sla.ttft_ms": [9]}}, "so does the axis workloads[].sla;"),
    ({"frontier": {"workloads": ["nobody"]}}, "$.frontier.workloads[0]: got 'nobody', must be one of"),
    ({"frontier": {"at": [0]}}, "$.frontier.at[0]: got 0, must be greater than 0"),
    ({"frontier": {"at": [5], "min_step": 1}}, "$.frontier.min_step: is given besides at"),
]


@pytest.mark.parametrize(("change", "expected"), FAULTS, ids=[expected for _, expected in FAULTS])
def test_faults_of_grids(change: dict[str, Any], expected: str) -> None:
    document = {"format": "disagg-grid", "version": 1, "instance": BASE, "vary": {"pools[].gpus": [8]}, **change}
    with pytest.raises(InputError) as caught:
        grid_from(document)
    assert expected in str(caught.value)


def test_faults_come_together_and_nothing_is_written(tmp_path: Path) -> None:
    grid = written(tmp_path, {"pools[].gpus": [0], "workloads[].isl": ["x"]}, colour=1)
    process = started(str(grid), "-o", str(tmp_path / "out"))
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2
    assert len(output.splitlines()) == 3, output
    assert not (tmp_path / "out").exists()


def test_paths_change_what_they_name_and_nothing_else() -> None:
    base = {"pools": [{"gpus": 1}, {"gpus": 2}], "workloads": [{"name": "a"}]}
    found = changed(base, {"pools[].gpus": 5, "pools[1].price": 7, "workloads[].sla.ttft_ms": 3})
    assert found["pools"] == [{"gpus": 5}, {"gpus": 5, "price": 7}]
    assert found["workloads"] == [{"name": "a", "sla": {"ttft_ms": 3}}]
    assert base == {"pools": [{"gpus": 1}, {"gpus": 2}], "workloads": [{"name": "a"}]}


def test_an_axis_mends_what_the_base_lacks(tmp_path: Path) -> None:
    document = json.loads(instances.path(BASE).read_text(), parse_float=Decimal)
    del document["pools"][0]["gpus"]
    folder = instances.path(BASE).parent
    grid = {"format": "disagg-grid", "version": 1, "instance": document}
    assert len(grid_from({**grid, "vary": {"pools[].gpus": [8, 16]}}, folder)) == 2
    with pytest.raises(InputError, match=r"\$\.instance\.pools\[0\]\.gpus: is missing"):
        grid_from({**grid, "vary": {"workloads[].osl": [10]}}, folder)


def test_the_schema_accepts_what_is_read(plain: Plain) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(plain.grid.read_text()), grid_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"format": "disagg-grid", "version": 1, "instance": BASE, "vary": {"a": []}}, grid_schema())


@dataclass(frozen=True)
class Dask:
    """A scheduler and its workers, each a process of its own."""

    address: str
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Dask]:
    distributed = pytest.importorskip("distributed")
    contact = tmp_path / "scheduler.json"
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        sink = subprocess.DEVNULL
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=env, stdout=sink, stderr=sink))

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(contact))
        deadline = time.monotonic() + 30
        while not contact.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = json.loads(contact.read_text())["address"]
        for _ in range(3):
            start("worker", address, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)
        yield Dask(address, processes[1:])
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def test_a_cluster_gives_the_same_even_when_a_worker_is_killed(dask: Dask, tmp_path: Path) -> None:
    grid = written(tmp_path, {**MANY, "workloads[].sla.ttft_ms": [500, 2000]})
    said: list[str] = []
    killed = False

    def progress(now: Progress) -> None:
        nonlocal killed
        if now.done >= 10 and not killed:
            killed = True
            dask.workers[0].kill()

    found = sweep(grid, tmp_path / "cluster", scheduler=dask.address, progress=progress, say=said.append)
    assert killed
    assert dask.workers[0].wait(10) == -signal.SIGKILL
    assert any("has gone" in line for line in said)
    assert (found.traced, found.statuses["complete"]) == (40, 40)
    keys = journal_keys(tmp_path / "cluster")
    assert len(keys) == len(set(keys)) == 40
    sweep(grid, tmp_path / "local", workers=2)
    assert frontiers(tmp_path / "cluster") == frontiers(tmp_path / "local")


def test_no_scheduler_is_bad_input(plain: Plain, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="give one of both"):
        sweep(plain.grid, tmp_path / "out", workers=1, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(InputError, match="no Dask scheduler answers at nonsense"):
        sweep(plain.grid, tmp_path / "out", scheduler="nonsense://127.0.0.1:1")
    assert not (tmp_path / "out").exists()


def test_nothing_heavy_comes_with_a_sweep_or_a_solve() -> None:
    code = "import sys, solver.sweep.run, solver.planner; print(*{'distributed', 'dask', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
