"""The recorded optima: complete, proved twice, confirmed by an oracle where one applies, and reached again."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import pytest

import instances
from solver.bench import bench, recorded
from tests.oracles.record import oracle_of

RECORDS = recorded()
CONFIRMED = [name for name, record in RECORDS.items() if record.oracle]


def test_every_built_in_instance_is_recorded() -> None:
    assert sorted(RECORDS) == instances.names()


@pytest.mark.parametrize("name", RECORDS)
def test_every_optimum_has_two_proofs(name: str) -> None:
    proofs = RECORDS[name].proved_by.split(" | ")
    assert len(proofs) >= 2
    assert len(set(proofs)) == len(proofs)


def test_an_oracle_confirms_most_of_what_it_can_answer() -> None:
    assert len(CONFIRMED) >= 20


@pytest.mark.parametrize("name", CONFIRMED)
def test_the_oracle_agrees_with_the_record(name: str) -> None:
    oracle, value = oracle_of(name)
    assert (oracle, value) == (RECORDS[name].oracle, RECORDS[name].objective)


def test_bench_reaches_every_recorded_optimum() -> None:
    lines: list[str] = []
    assert bench(instances.names(), record=False, time_limit_s=60.0, say=lines.append), "\n".join(lines)
    assert len(lines) == 1 + len(instances.names())


def test_bench_notices_a_deviation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded value that is off by the smallest step is a deviation."""
    with Path(instances.__file__).with_name("optima.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    right = Fraction(rows["tiny-tie"]["exact_objective"])
    wrong = RECORDS["tiny-tie"].__class__(**{**vars(RECORDS["tiny-tie"]), "objective": right + Fraction(1, 10**12)})
    monkeypatch.setattr("solver.bench.recorded", lambda: {"tiny-tie": wrong})
    lines: list[str] = []
    assert not bench(("tiny-tie",), record=False, time_limit_s=60.0, say=lines.append)
    assert "DEVIATES" in lines[-1]
