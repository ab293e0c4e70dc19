"""Bad input: exit code 2, every fault on a line with its place, nothing written; and what looks odd but is fine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import cli
from solver.read import read_json
from solver.schema import faults_of, instance_schema
from tests import corpus
from tests.corpus import Mutation

INSTANCES = corpus.instance_mutations()
TABLES = corpus.table_mutations()
ROOT = Path(__file__).parent.parent


def run(folder: Path, *arguments: str) -> Result:
    """Runs the command line in this process, in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(cli.main, list(arguments))
    finally:
        os.chdir(before)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(result: Result, mutation: Mutation) -> None:
    """Exit code 2, no traceback, each expected place on an error line."""
    said = result.stderr
    assert result.exit_code == 2, f"exit code {result.exit_code}: {result.output[:300]} {result.exception!r}"
    assert "Traceback" not in result.output
    assert "internal error" not in result.output
    lines = [line for line in said.splitlines() if line.strip()]
    assert lines
    assert all(line.startswith("error: ") for line in lines), lines
    for place in mutation.expected:
        wanted = place.replace("{instance}", "instance.json").replace("{table}", mutation.table_name)
        assert any(wanted in line for line in lines), f"{wanted!r} is in none of {[line[:200] for line in lines]}"
    assert result.stdout == ""


@pytest.mark.parametrize("mutation", [*INSTANCES, *TABLES], ids=lambda mutation: mutation.name)
def test_bad_input_is_refused_with_its_place_and_nothing_is_written(mutation: Mutation, tmp_path: Path) -> None:
    mutation.write(tmp_path)
    before = contents(tmp_path)

    result = run(tmp_path, "solve", "instance.json", "-o", "result.json")

    assert_refused(result, mutation)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("mutation", corpus.good_files(), ids=lambda mutation: mutation.name)
def test_odd_but_good_files_are_accepted(mutation: Mutation, tmp_path: Path) -> None:
    mutation.write(tmp_path)

    result = run(tmp_path, "solve", "instance.json", "-o", "result.json")

    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "result.json").read_text("utf-8"))["status"] == "optimal"


def test_odd_but_good_files_all_mean_the_same(tmp_path: Path) -> None:
    plans = []
    for index, mutation in enumerate(corpus.good_files()):
        folder = tmp_path / str(index)
        folder.mkdir()
        mutation.write(folder)
        assert run(folder, "solve", "instance.json", "-o", "result.json").exit_code == 0, mutation.name
        document = json.loads((folder / "result.json").read_text("utf-8"))
        plans.append((document["exact"], document["deployment"]))
    assert all(plan == plans[0] for plan in plans)


def test_the_corpus_is_large_and_its_names_differ() -> None:
    names = Counter(mutation.name for mutation in [*INSTANCES, *TABLES])
    assert [name for name, count in names.items() if count > 1] == []
    assert len(INSTANCES) >= 400
    assert len(TABLES) >= 200
    plain = corpus.encoded(corpus.good())
    assert [m.name for m in INSTANCES if m.instance == plain] == []
    assert [m.name for m in TABLES if m.instance == plain and m.table == corpus.GOOD_TABLE] == []


def test_every_key_of_the_schema_is_in_the_corpus() -> None:
    """A key that is added to the schema has to be added to the corpus."""
    spelled = "\n".join(path for path in corpus.KINDS) + "\n" + corpus.encoded(corpus.good()).decode()
    more = [*corpus.lengths(), *corpus.engine_options(), *corpus.devices(), *corpus.handover(), *corpus.survival()]
    spelled += "\n".join((mutation.instance or b"").decode() for mutation in more)
    keys: set[str] = set()

    def collect(schema: dict[str, object]) -> None:
        for name, part in schema.items():
            if name == "properties" and isinstance(part, dict):
                keys.update(part)
            for item in part if isinstance(part, list) else [part]:
                if isinstance(item, dict):
                    collect(item)

    collect(instance_schema())
    pattern_fields = {"pp", "attention_dp", "moe_tp", "moe_ep", "cp", "chunk_tokens"}
    assert {key for key in keys - pattern_fields if key not in spelled} == set()


def test_the_shipped_schema_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(instance_schema())


SCHEMA_LEVEL = [mutation for mutation in INSTANCES if mutation.level == "schema"]


@pytest.mark.parametrize("mutation", SCHEMA_LEVEL, ids=lambda mutation: mutation.name)
def test_jsonschema_refuses_what_we_refuse(mutation: Mutation, tmp_path: Path) -> None:
    path = mutation.write(tmp_path)
    assert faults_of(read_json(path), instance_schema())
    assert not Draft202012Validator(instance_schema()).is_valid(json.loads(path.read_text("utf-8")))


def test_jsonschema_accepts_what_we_accept(tmp_path: Path) -> None:
    built_in = [path.read_bytes() for path in (ROOT / "instances").glob("*.json")]
    accepted = [mutation.instance for mutation in corpus.good_files()] + built_in
    fine = [mutation.instance for mutation in INSTANCES if mutation.level == "contradiction"]
    validator = Draft202012Validator(instance_schema())
    assert len(built_in) > 20
    for content in [*accepted, *fine]:
        assert content is not None
        (tmp_path / "instance.json").write_bytes(content)
        assert faults_of(read_json(tmp_path / "instance.json"), instance_schema()) == []
        assert validator.is_valid(json.loads(content.decode("utf-8-sig")))


def test_all_faults_of_an_instance_are_reported_at_once(tmp_path: Path) -> None:
    document = corpus.changes(
        ("$.version", 9),
        ("$.pools[0].gpus", 0),
        ("$.pools[0].colour", "red"),
        ("$.workloads[0].sla.tpot_ms", -1),
        ("$.workloads[0].isl", True),
        ("$.serving.modes", ["both"]),
        ("$.serving.utilization.decode", 2),
        ("$.cost_model.interpolate", "yes"),
        ("$.objective", "speed"),
        ("$.budget.watts", None),
    )
    document = corpus.without(document, "$.pools[0].name")
    places = ("version", "pools[0].gpus", "pools[0].colour", "pools[0].name", "workloads[0].sla.tpot_ms")
    places += ("workloads[0].isl", "serving.modes[0]", "serving.utilization.decode", "cost_model.interpolate")
    places += ("objective", "budget.watts")
    mutation = Mutation("many", "schema", tuple(f"$.{place}: " for place in places), corpus.encoded(document))
    mutation.write(tmp_path)

    result = run(tmp_path, "solve", "instance.json")

    assert_refused(result, mutation)
    assert len(result.stderr.splitlines()) == len(places)


def test_all_contradictions_are_reported_at_once(tmp_path: Path) -> None:
    one, chat = corpus.good()["pools"][0], corpus.good()["workloads"][0]
    document = corpus.changes(
        ("$.pools", [one, one]),
        ("$.workloads", [{**chat, "requests_per_s": None}, chat]),
        ("$.objective", "cost"),
        ("$.budget.count_idle", True),
        ("$.serving.max_replicas", {"chit": {"decode": 1}}),
    )
    places = ("$.pools[1].name: ", "$.workloads[1].name: ", "$.workloads[0].requests_per_s: ", "$.budget.count_idle: ")
    places += ("$.serving.max_replicas.chit: ",)
    mutation = Mutation("many", "contradiction", places, corpus.encoded(document))
    mutation.write(tmp_path)

    assert_refused(run(tmp_path, "solve", "instance.json"), mutation)


def test_all_faults_of_a_table_are_reported_at_once(tmp_path: Path) -> None:
    table = corpus.cell(2, tp="x", latency_ms="-1").replace(b",64,31.5", b",nan,31.5").replace(b",14,40", b",,40 ")
    places = ("{table}:2 tp", "{table}:2 latency_ms", "{table}:4 requests_per_s", "{table}:5 memory_gib")
    mutation = Mutation("many", "curves", places, corpus.encoded(corpus.good()), table)
    mutation.write(tmp_path)

    assert_refused(run(tmp_path, "solve", "instance.json"), mutation)


def test_faults_of_all_tables_are_reported_at_once(tmp_path: Path) -> None:
    document = corpus.changes(("$.cost_model.path", ["one.csv", "curves.csv", "two.csv"]))
    places = ("one.csv:3 batch", "two.csv")
    mutation = Mutation("two tables", "curves", places, corpus.encoded(document))
    mutation.write(tmp_path)
    (tmp_path / "one.csv").write_bytes(corpus.cell(3, batch="5"))

    assert_refused(run(tmp_path, "solve", "instance.json"), mutation)


def test_a_table_with_a_thousand_faults_lists_some_and_counts_the_rest(tmp_path: Path) -> None:
    slow = corpus.ROWS[0].replace(",50,", ",slow,")
    rows = [slow.replace(",1,0,100,", f",{batch},0,100,") for batch in range(1, 1001)]
    table = "\n".join([corpus.HEADER, *rows, ""]).encode()
    mutation = Mutation("thousand", "curves", ("{table}:2 latency_ms",), corpus.encoded(corpus.good()), table)
    mutation.write(tmp_path)

    result = run(tmp_path, "solve", "instance.json")

    assert_refused(result, mutation)
    assert len(result.stderr.splitlines()) < 50
    assert "980 more" in result.stderr


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    document = corpus.changes(("$.cost_model.path", "tables"))
    mutation = Mutation("folder", "curves", ("tables",), corpus.encoded(document), None)
    mutation.write(tmp_path)
    (tmp_path / "tables").mkdir()

    assert_refused(run(tmp_path, "solve", "instance.json"), mutation)


def test_a_fault_stays_on_one_line_even_where_a_key_holds_a_line_break(tmp_path: Path) -> None:
    document = corpus.changes(("$.pools[0]", {**corpus.good()["pools"][0], "a\nb": 1}))
    mutation = Mutation("line break", "schema", ("$.pools[0].a",), corpus.encoded(document))
    mutation.write(tmp_path)

    assert_refused(run(tmp_path, "solve", "instance.json"), mutation)


def test_leading_zeros_do_not_hide_rows(tmp_path: Path) -> None:
    """``0100`` and ``100`` are one number: the row either belongs or is refused, it does not vanish."""
    plans = []
    document = corpus.changes(("$.serving.modes", ["disaggregated"]))
    for name, table in (("plain", corpus.GOOD_TABLE), ("zeros", corpus.cell(2, isl="0100"))):
        (tmp_path / name).mkdir()
        Mutation(name, "good", (), corpus.encoded(document), table).write(tmp_path / name)
        result = run(tmp_path / name, "solve", "instance.json", "-o", "result.json")
        if result.exit_code == 2:
            assert "curves.csv:2 isl" in result.stderr
            return
        plans.append(json.loads((tmp_path / name / "result.json").read_text("utf-8"))["exact"])
    assert plans[0] == plans[1]


def test_leading_zeros_do_not_hide_a_row_given_twice(tmp_path: Path) -> None:
    mutation = Mutation(
        "zeros", "curves", ("{table}:4 batch",), corpus.encoded(corpus.good()), corpus.cell(4, batch="04")
    )
    mutation.write(tmp_path)

    assert_refused(run(tmp_path, "solve", "instance.json"), mutation)


@pytest.mark.parametrize("command", ["frontier", "verify"])
def test_other_commands_refuse_bad_instances_alike(command: str, tmp_path: Path) -> None:
    mutation = Mutation(
        "gpus", "schema", ("$.pools[0].gpus: ",), corpus.encoded(corpus.changes(("$.pools[0].gpus", 0)))
    )
    mutation.write(tmp_path)
    (tmp_path / "result.json").write_text("{}", "utf-8")
    before = contents(tmp_path)
    more = {"frontier": ("-o", "out.csv"), "verify": ("result.json",)}[command]

    assert_refused(run(tmp_path, command, "instance.json", *more), mutation)
    assert contents(tmp_path) == before


SUBPROCESS = (
    "text at $.pools[0].gpus",
    "UTF-16 with a mark",
    "cost without price",
    "table: half a gzip file",
    "no file",
)


@pytest.mark.parametrize("name", SUBPROCESS)
def test_the_same_as_a_real_process(name: str, tmp_path: Path) -> None:
    mutation = next(each for each in [*INSTANCES, *TABLES] if each.name == name)
    mutation.write(tmp_path)
    before = contents(tmp_path)

    done = subprocess.run(
        [sys.executable, "-m", "solver", "solve", "instance.json", "-o", "result.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for place in mutation.expected:
        wanted = place.replace("{instance}", "instance.json").replace("{table}", mutation.table_name)
        assert wanted in done.stderr
    assert contents(tmp_path) == before
