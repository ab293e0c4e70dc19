"""The command `explain` and its library face: output, files, exit codes, limits, interrupts, bad input."""

from __future__ import annotations

import json
import signal
import time
from fractions import Fraction
from pathlib import Path

import pytest

import instances
import solver
from solver.backends.base import Controls
from tests.explanation.test_changes import written
from tests.test_cli import finished, process, run

INFEASIBLE = {
    "infeasible-by-a-billionth": [["demand of toy", "inventory of toy"]],
    "infeasible-by-a-hair": [["TTFT of toy"]],
    "infeasible-demand": [["demand of chat", "inventory of h200"]],
    "infeasible-inventory": [["inventory of h100"]],
    "infeasible-memory": [["memory of h200"]],
    "infeasible-one-gpu": [["inventory of toy", "rule modes"]],
    "infeasible-tpot": [["TPOT of chat"]],
    "infeasible-ttft": [["TTFT of chat"]],
}


def test_every_infeasible_instance_is_listed() -> None:
    assert set(INFEASIBLE) == {name for name in instances.names() if name.startswith("infeasible-")}


@pytest.mark.parametrize("name", INFEASIBLE)
def test_infeasible_instances_say_what_clashes(name: str, tmp_path: Path) -> None:
    """The clash that each is made for; `solve` names the same nearest changes, where it looks at them."""
    result = run("explain", name, "-o", tmp_path / "why.json")
    assert result.exit_code == 0, result.output
    assert "INFEASIBLE, and that is proved" in result.stdout
    document = json.loads((tmp_path / "why.json").read_text("utf-8"))
    assert (document["format"], document["version"], document["complete"]) == ("disagg-explanation", 1, True)
    assert (document["status"], document["choice"]) == ("infeasible", None)
    assert document["infeasibility"]["clashing_sets"] == INFEASIBLE[name]
    run("solve", name, "-o", tmp_path / "result.json")
    reasons = json.loads((tmp_path / "result.json").read_text("utf-8"))["infeasibility"]
    nearest = {reason["text"] for reason in reasons if "nearest" in reason}
    assert nearest == {change["text"] for change in document["infeasibility"]["changes_alone"]}
    for text in nearest:
        assert "rules of" in text or text in result.stdout


def test_a_feasible_instance_says_what_binds(tmp_path: Path) -> None:
    """The toy of nine 16-GPU groups: 880 tokens/s; in one domain, or with 16 GPUs more, 990."""
    result = run("explain", "tiny-packing", "-o", tmp_path / "why.json")
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "why.json").read_text("utf-8"))
    assert (document["status"], document["infeasibility"]) == ("optimal", None)
    choice = document["choice"]
    assert choice["optimum"]["objective"] == 880
    packing = next(r for r in choice["requirements"] if r["requirement"] == "packing")
    assert (packing["binds"], packing["optimum_without"]["exact"]) == (True, "990/1")
    inventory = next(r for r in choice["requirements"] if r["requirement"] == "inventory")
    assert inventory["next_step"]["nearest"] == 160
    assert {c["what"]: c["optimum"]["status"] for c in choice["counterfactuals"]} == {
        "co-located only": "optimal", "disaggregated only": "infeasible", "hybrid allowed": "optimal",
        "co-located: TP only": "optimal",
    }  # fmt: skip
    assert "OPTIMAL 880" in result.stdout
    assert "packing of toy: 72 -> 144 GPUs in an NVLink domain" in result.stdout


def test_the_library_face(capfd: pytest.CaptureFixture[str]) -> None:
    """`explain` of the package returns data and prints nothing; rows have the same columns everywhere."""
    told: list[str] = []
    found = solver.explain(instances.path("infeasible-demand"), progress=told.append)
    assert isinstance(found, solver.Explanation)
    assert found.is_complete
    assert told
    rows = found.rows()
    assert {row["kind"] for row in rows} == {"clash", "correction", "change alone"}
    again = solver.explain(
        solver.read_instance(instances.path("tiny-packing")), folder=instances.path("tiny-tie").parent
    )
    rows += again.rows()
    assert len({tuple(row) for row in rows}) == 1
    optimum = next(row for row in rows if row["kind"] == "optimum")
    assert (optimum["objective"], optimum["relative_difference"]) == (880, 0)
    assert capfd.readouterr() == ("", "")


def test_a_limit_keeps_what_was_found(tmp_path: Path) -> None:
    """Without time nothing is known; with a little, what is there is proved and what is missing is said."""
    none = run("explain", "infeasible-demand", "--time-limit", 0, "-o", tmp_path / "why.json")
    assert none.exit_code == 5
    assert "NOT COMPLETE" in none.stdout
    assert json.loads((tmp_path / "why.json").read_text("utf-8"))["status"] == "unknown"
    whole = solver.explain(instances.path("llama-70b-h200-72"), Controls(time_limit_s=60))
    assert whole.choice is not None
    some = solver.explain(instances.path("llama-70b-h200-72"), Controls(time_limit_s=whole.wall_s / 3))
    assert some.missing
    if some.choice is not None:
        proved = {c.what: c.outcome.value for c in whole.choice.counterfactuals if c.outcome}
        assert {c.what: c.outcome.value for c in some.choice.counterfactuals if c.outcome}.items() <= proved.items()


@pytest.mark.parametrize("name", ["infeasible-demand", "tiny-packing"])
@pytest.mark.parametrize("after", [0, 2, 5])
def test_an_interrupt_keeps_what_was_found(name: str, after: int) -> None:
    """Ctrl-C at some moment: nothing more is solved, what is there stands, and what is missing is said."""
    told: list[str] = []

    def stop(text: str) -> None:
        told.append(text)
        if len(told) > after:
            raise KeyboardInterrupt

    found = solver.explain(instances.path(name), progress=stop)
    assert found.status == ("optimal" if name == "tiny-packing" else "infeasible")
    assert found.missing
    assert len(told) <= after + 8  # each further part is only announced
    known = solver.explain(instances.path(name))
    if found.infeasibility is not None and known.infeasibility is not None:
        assert set(found.infeasibility.clashes) <= set(known.infeasibility.clashes)
        assert set(found.infeasibility.corrections) <= set(known.infeasibility.corrections)


def test_an_interrupted_process_ends_in_order(tmp_path: Path) -> None:
    started = process("explain", "four-models-h100-h200-cost", "-o", tmp_path / "why.json", folder=tmp_path)
    time.sleep(4)
    started.send_signal(signal.SIGINT)
    code, out, err = finished(started)
    assert code in (4, 5), err
    assert "Traceback" not in err
    if "interrupted before anything was found" not in err:
        assert "NOT COMPLETE" in out
        assert json.loads((tmp_path / "why.json").read_text("utf-8"))["complete"] is False


def test_bad_input_writes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, {"ttft_ms": -1})
    result = run("explain", path, "-o", tmp_path / "why.json")
    assert result.exit_code == 2
    assert "$.workloads[0].sla.ttft_ms" in result.stderr
    assert not (tmp_path / "why.json").exists()
    nowhere = run("explain", "infeasible-demand", "-o", tmp_path / "no" / "why.json")
    assert nowhere.exit_code == 2
    assert "does not exist" in nowhere.stderr
    assert run("explain", "no-such-instance").exit_code == 2
    assert run("explain", "infeasible-demand", "--time-limit", "-1").exit_code == 2


def test_requests_may_be_shorter(tmp_path: Path) -> None:
    """On the roofline a shorter prompt meets the TTFT: that length is feasible, and one token more is not."""
    document = {
        "format": "disagg-instance", "version": 1, "name": "short",
        "pools": [{"name": "h100", "gpu": "h100_sxm", "gpus": 2, "nvlink_domain_gpus": 8}],
        "workloads": [{"name": "chat", "model": "meta-llama/Meta-Llama-3.1-8B", "isl": 4000, "osl": 2,
                       "sla": {"ttft_ms": 40}}],
        "serving": {"modes": ["disaggregated"]},
        "cost_model": {"kind": "roofline"}, "objective": "throughput",
    }  # fmt: skip
    path = tmp_path / "short.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    found = solver.explain(path).infeasibility
    assert found is not None
    shorter = {c.requirement.name: c for c in found.shorter}
    nearest = int(shorter["ISL"].nearest)
    assert f"{nearest + 1} is proved infeasible" in shorter["ISL"].full_text
    for isl, status in ((nearest, "optimal"), (nearest + 1, "infeasible")):
        document["workloads"][0]["isl"] = isl  # type: ignore[index]
        path.write_text(json.dumps(document), encoding="utf-8")
        assert solver.solve(path).status == status
    assert Fraction(4000) == shorter["ISL"].requirement.given
