"""The search for headroom, where theory knows the answer; the command, and schedules."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cli
from costmodels.operating_curve import ROLES
from solver.result import instance_hash, to_json
from solver.simulation.ask import solved
from solver.simulation.headroom import GRID, Search
from solver.simulation.headroom_report import lines
from solver.simulation.run import run_schedule
from solver.simulation.schedule import schedule_of
from solver.simulation.verdicts import interval
from tests.simulation.toys import Asked, asked, plan, row, stream

PREFILL = [row("prefill", 1, "100")]
PAIR = [row("prefill", 1, "100"), row("decode", 1, "10", osl="11"), row("decode", 4, "20", osl="11")]


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def test_the_interval_is_that_of_student() -> None:
    mean, half = interval([0.9, 0.92, 0.94])
    assert mean == pytest.approx(0.92)
    assert half == pytest.approx(4.3027 * 0.02 / 3**0.5)


def test_the_cap_of_one_server_is_the_known_one(tmp_path: Path) -> None:
    """M/D/1 finds the server idle with probability 1 - utilization; 38 of 100 must start at once: at most 0.6."""
    sla = {"ttft_ms": 100, "ttft_percentile": 38}
    toy = asked(tmp_path, PREFILL, osl=1, gpus=1, sla=sla)

    def draw(deployment, number):  # type: ignore[no-untyped-def]
        return stream(toy, deployment.requests_per_s, 4000, seed=number)

    found = Search(toy, draw, percentile=Fraction(95, 100), replications=3, policy="least-loaded").run()
    assert found.best is not None
    assert found.best.caps["prefill"] == Fraction(60, 100)
    assert [step.caps["prefill"] for step in found.steps] == list(GRID[:9])
    for step in found.steps:
        assert step.result.status == "optimal"
        assert step.verdicts[0].share == pytest.approx(1 - float(step.caps["prefill"]), abs=0.05)
    assert found.plain.result.deployment.requests_per_s == 10  # type: ignore[union-attr]
    assert found.best.result.deployment.requests_per_s == 6  # type: ignore[union-attr]


def test_an_interrupt_keeps_what_is_known(tmp_path: Path) -> None:
    toy = asked(tmp_path, PREFILL, osl=1, gpus=1, sla={"ttft_ms": 100})
    calls = 0

    def draw(deployment, number):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return stream(toy, deployment.requests_per_s, 500, seed=number)

    found = Search(toy, draw, percentile=Fraction(95, 100), replications=2, policy="least-loaded").run()
    assert (len(found.steps), found.best, found.is_complete) == (2, None, False)
    assert "interrupted" in "\n".join(lines(found))


def test_what_is_found_passes_and_each_cap_a_step_higher_fails(tmp_path: Path) -> None:
    workload = {"requests_per_s": 30}
    toy = asked(
        tmp_path, PAIR, osl=11, gpus=40, sla={"ttft_ms": 200, "tpot_ms": 21}, workload=workload, objective="gpus"
    )

    def draw(deployment, number):  # type: ignore[no-untyped-def]
        return stream(toy, Fraction(30), 1500, seed=number)

    found = Search(toy, draw, percentile=Fraction(95, 100), replications=3, policy="least-loaded").run()
    assert not found.plain.passes
    assert found.best is not None
    assert found.best.passes
    before, after = found.plain.result.deployment, found.best.result.deployment
    assert before is not None
    assert after is not None
    assert after.gpus_used > before.gpus_used
    tried = {tuple(step.caps[role] for role in ROLES): step for step in found.steps}
    for role in ("prefill", "decode"):
        higher = dict(found.best.caps)
        if higher[role] < 1:
            higher[role] += Fraction(5, 100)
            assert not tried[tuple(higher[each] for each in ROLES)].passes


def test_the_commands(tmp_path: Path) -> None:
    toy = asked(tmp_path, PAIR, osl=11, gpus=4, sla={"ttft_ms": 150, "tpot_ms": 25})
    file, result = tmp_path / "toy.json", tmp_path / "result.json"
    assert command("solve", file, "-o", result).exit_code == 0
    given = (file, result, "--poisson", "50%", "--requests", "300", "--seed", "3")
    outputs = [tmp_path / "a.json", tmp_path / "b.json"]
    for output in outputs:
        done = command("simulate", *given, "-o", output)
        assert done.exit_code == 0, done.output
        assert "conservation, order of times, Little's law" in done.output
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    document = json.loads(outputs[0].read_text("utf-8"))
    assert document["promised"]["toy"]["requests_per_s"] == float(plan(toy).requests_per_s)
    assert document["served"][0]["within"]["tpot"] > 0.5
    found = command("headroom", file, "--poisson", "100%", "--requests", "300", "--replications", "2", "-o", outputs[0])
    assert found.exit_code == 0, found.output
    assert '"utilization"' in found.output
    assert json.loads(outputs[0].read_text("utf-8"))["steps"][0]["utilization"] == dict.fromkeys(ROLES, 1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of --trace, --poisson, --deterministic"),
        (["--poisson", "3", "--deterministic", "3"], "got --poisson and --deterministic"),
        (["--poisson", "-3"], "must be a number above 0"),
        (["--poisson", "0%"], "must be a number above 0"),
        (["--poisson", "3", "--rate-scale", "2"], "has no meaning with --poisson"),
        (["--poisson", "3", "--workload", "chat"], "has no meaning with --poisson"),
        (["--poisson", "1000", "--duration", "1000h"], "must be at most 10,000,000"),
        (["--trace", "azure-code-2023", "--requests", "3"], "has no meaning with --trace"),
        (["--trace", "no-such-trace"], "neither a file nor a built-in trace"),
        (["--poisson", "3", "--requests", "3", "--duration", "1m"], "exclude each other"),
        (["--poisson", "3", "--duration", "soon"], "such as 30s, 5m or 1h"),
        (["--trace", "azure-code-2023", "--workload", "other"], "must be one of toy"),
        (["--poisson", "3", "-o", "report.txt"], "must end in .json"),
    ],
)
def test_bad_words(tmp_path: Path, arguments: list[str], words: str) -> None:
    asked(tmp_path, PREFILL, osl=1, gpus=1)
    done = command("simulate", tmp_path / "toy.json", *arguments)
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output


def test_plans_of_others_are_refused(tmp_path: Path) -> None:
    toy = asked(tmp_path, PREFILL, osl=1, gpus=2)
    result = tmp_path / "result.json"
    result.write_text(to_json(solved(toy).as_dict()), "utf-8")
    asked(tmp_path, PREFILL, osl=1, gpus=3)
    done = command("simulate", tmp_path / "toy.json", result, "--poisson", "1")
    assert (done.exit_code, "are not those that this file answers" in done.output) == (2, True)
    result.write_text('{"format": "other"}', "utf-8")
    assert command("simulate", tmp_path / "toy.json", result, "--poisson", "1").exit_code == 2


def schedule_document(toy: Asked) -> dict[str, object]:
    """One prefill and two decode replicas; in period 1 one more prefill; in period 2 a decode replica less."""
    columns = []
    for engine in toy.engines.engines:
        curve = engine.curve
        identity = {name: getattr(curve, name) for name in ("precision", "backend", "backend_version", "domain_gpus")}
        columns.append({
            "workload": "toy", "role": curve.role, "pool": "toy", "partition": dict(vars(curve.partition)),
            "chunk_tokens": curve.chunk_tokens, "batch": curve.batch[-1], **identity,
        })  # fmt: skip
    at = {column["role"]: number for number, column in enumerate(columns)}
    both = {str(number): 1 for number in at.values()}
    plan_ = [{"period": t, "workloads": [{"workload": "toy", "served": "8/1", "serving": both}]} for t in range(3)]
    legs = [("prefill", 0, 3), ("decode", 0, 3), ("decode", 0, 2), ("prefill", 1, 2)]
    replicas = [{"replica": n, "column": at[role], "ready": a, "until": b} for n, (role, a, b) in enumerate(legs)]
    return {
        "format": "disagg-schedule", "version": 1, "status": "optimal", "period_s": "20/1", "columns": columns,
        "plan": plan_, "replicas": replicas, "instance_hash": instance_hash(toy.instance, toy.engines),
    }  # fmt: skip


def test_replicas_come_and_go_and_nothing_is_lost(tmp_path: Path) -> None:
    toy = asked(tmp_path, PAIR, osl=11, gpus=8, sla={"ttft_ms": 1000})
    document = schedule_document(toy)
    schedule = schedule_of(document, toy.instance, toy.engines, tmp_path / "s.json")
    assert (schedule.periods, schedule.changes) == (3, (1, 2))
    counts = [{a.role: a.replicas for a in schedule.deployment(toy.instance, t).assignments} for t in range(3)]
    assert counts == [{"prefill": 1, "decode": 2}, {"prefill": 2, "decode": 2}, {"prefill": 1, "decode": 1}]
    arrivals = stream(toy, Fraction(12), 720)  # a minute: more than one prefill replica can do
    found = run_schedule(toy.instance, schedule, toy.model, arrivals)
    assert all(found.checks.values())
    busy = {each.role: each for each in found.busy}
    seconds = float(arrivals.arrival_s[-1])
    assert busy["prefill"].replicas == pytest.approx((seconds + 20) / seconds)
    assert busy["decode"].replicas == pytest.approx((seconds + 40) / seconds)
    (tmp_path / "s.json").write_text(json.dumps(document), "utf-8")
    done = command("simulate", tmp_path / "toy.json", tmp_path / "s.json", "--poisson", "100%", "--requests", "300")
    assert done.exit_code == 0, done.output
    (tmp_path / "s.json").write_text(json.dumps({**document, "columns": [{}]}), "utf-8")
    assert command("simulate", tmp_path / "toy.json", tmp_path / "s.json", "--poisson", "1").exit_code == 2
