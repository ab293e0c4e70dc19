"""The ``schedule`` command: what it prints, writes and refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cli
from tests.schedule_cases import HEAD, row


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """An instance of a kind that has no weights, so that the cold start must be given."""
    rows = [row("prefill", 1, 2), row("decode", 1, 3)]
    (tmp_path / "toy.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    document = {
        "format": "disagg-instance", "version": 1, "name": "toy",
        "pools": [{"name": "toy", "gpu": "toy", "gpus": 8, "nvlink_domain_gpus": 8}],
        "workloads": [{"name": "toy", "model": "toy", "isl": 100, "osl": 11}],
        "cost_model": {"kind": "curves", "path": "toy.csv"},
    }  # fmt: skip
    (tmp_path / "toy.json").write_text(json.dumps(document))
    (tmp_path / "rules.json").write_text('{"cold_start_s": 60, "min_up_s": 120}')
    (tmp_path / "rates.csv").write_text("start_s,requests_per_s\n0,2\n60,5\n120,6\n180,1\n")
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    """Runs the command in a folder; words that name files there become paths."""
    given = [str(folder / word) if (folder / word).exists() or "." in word else word for word in words]
    return CliRunner().invoke(cli.main, given)


def scheduled(folder: Path, *words: str) -> Result:
    return run(folder, "schedule", "toy.json", "--rates", "rates.csv", "--rules", "rules.json", *words)


def test_a_schedule_is_written_verified_and_drawn(toy: Path) -> None:
    done = scheduled(toy, "-o", "out.json", "--plot", "out.png", "--compare")
    assert done.exit_code == 0, done.output
    assert "OPTIMAL" in done.output and "reactive" in done.output and "for the whole horizon, gap 0" in done.output
    assert (toy / "out.png").read_bytes().startswith(b"\x89PNG")
    again = run(toy, "verify", "toy.json", "out.json")
    assert again.exit_code == 0 and "verified exactly" in again.output
    document = json.loads((toy / "out.json").read_text())
    document["plan"][0]["gpus"] += 1
    (toy / "out.json").write_text(json.dumps(document))
    refuted = run(toy, "verify", "toy.json", "out.json")
    assert refuted.exit_code == 6 and "REFUTED" in refuted.output
    assert run(toy, "verify", "toy.json", "out.json", "--rebound").exit_code == 2


def test_it_starts_from_what_runs(toy: Path) -> None:
    assert run(toy, "solve", "toy.json", "-o", "now.json").exit_code == 0
    done = scheduled(toy, "--current", "now.json", "--max-changes", "2")
    assert done.exit_code == 0, done.output
    assert scheduled(toy, "--current", "rules.json").exit_code == 2


def test_a_demand_that_nothing_meets(toy: Path) -> None:
    (toy / "rates.csv").write_text("start_s,requests_per_s\n0,2\n60,50\n120,6\n")
    done = scheduled(toy)
    assert done.exit_code == 3, done.output
    assert "period 2 (from 00:01): toy asks for 50 requests/s, the fleet serves at most 9" in done.output
    assert "what would do for that period: 48 GPUs in pool toy" in done.output
    priced = scheduled(toy, "--shortfall-price", "10")
    assert priced.exit_code == 0 and "short in 1 period, most" in priced.output
    assert "what is not served counts 24,600 GPU-hours in the value above" in priced.output
    (toy / "rates.csv").write_text("start_s,requests_per_s\n0,40\n60,50\n120,30\n")
    assert "3 periods fall short" in scheduled(toy).output
    assert scheduled(toy, "--objective", "goodput").exit_code == 0


def test_a_demand_out_of_all_proportion_keeps_to_the_limit() -> None:
    words = ("--trace", "azure-conversation-2023", "--rate-scale", "1000000", "--shortfall-price", "1")
    begun = time.monotonic()
    done = run(Path(), "schedule", "llama-70b-h200-72", *words, "--time-limit", "3")
    assert done.exit_code == 4, done.output
    assert "FEASIBLE" in done.output and time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rates", "rates.csv", "--trace", "azure-code-2023"), "give one of the two"),
        ((), "give one of the two"),
        (("--rates", "rates.csv", "--period", "5m"), "has its own periods"),
        (("--rates", "rates.csv"), "give cold_start_s in --rules"),
        (("--rates", "rates.csv", "--rules", "rules.json", "--objective", "usd"), "usd_per_gpu_hour: is missing"),
        (("--rates", "rates.csv", "--rules", "rules.json", "--shortfall-price", "x"), "must be a number"),
        (("--rates", "rates.csv", "--rules", "rules.json", "--shortfall-price", "0"), "must be above 0"),
        (("--rates", "rates.csv", "--rules", "rules.json", "--max-changes", "-1"), "must be at least 0"),
        (
            ("--rates", "rates.csv", "--rules", "rules.json", "--objective", "goodput", "--shortfall-price", "1"),
            "goodput",
        ),
        (("--trace", "azure-code-2023", "--time-scale", "0", "--rules", "rules.json"), "--time-scale"),
        (("--trace", "azure-code-2023", "--period", "1s", "--rules", "rules.json"), "must be from 1 to 2016"),
        (("--trace", "no-such-trace"), "no-such-trace"),
        (("--rates", "rates.csv", "-o", "out.txt"), "must end in .json"),
    ],
)
def test_nonsense_is_refused(toy: Path, words: tuple[str, ...], said: str) -> None:
    done = run(toy, "schedule", "toy.json", *words)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must be an object"),
        ('{"load_gbps": 0}', "must be above 0"),
        ('{"min_up_s": -1, "colour": 3}', "unknown key"),
        ('{"min_up_s": "300"}', "must be a number"),
        ('{"warming": "fast"}', "must be whole or share"),
        ('{"init_s": 1, "init_s": 2}', "given twice"),
        ('{"cold_start_s": 1e99}', "at most"),
        ("{", "not JSON"),
    ],
)
def test_rules_are_checked(toy: Path, text: str, said: str) -> None:
    (toy / "rules.json").write_text(text)
    done = scheduled(toy)
    assert done.exit_code == 2 and said in done.output, done.output


def test_what_is_not_planned_through_time_is_refused(toy: Path) -> None:
    document = json.loads((toy / "toy.json").read_text())
    document["serving"] = {"hybrid": True, "rate_match": "decode_covers"}
    document["workloads"][0]["sla"] = {"e2el_ms": 5000}
    (toy / "toy.json").write_text(json.dumps(document))
    done = scheduled(toy)
    assert done.exit_code == 2
    assert done.output.count("error:") == 3
    document["serving"] = {"survive": {"domains": 1}}
    document["workloads"][0].update(sla={}, requests_per_s=1)
    (toy / "toy.json").write_text(json.dumps(document))
    done = scheduled(toy)
    assert done.exit_code == 2
    assert "$.serving.survive: is not planned through time" in done.output
