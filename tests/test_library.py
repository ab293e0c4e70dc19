"""The regression library: size, shapes, degenerate cases by hand, and models that another solver reads back."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from fractions import Fraction
from pathlib import Path

import pytest
from ortools.linear_solver.python import model_builder

import instances
from costmodels.errors import InputError
from solver.bench import recorded
from solver.library import MANIFEST, export, provenance
from solver.planner import solve
from solver.read import read_instance

RECORDS = recorded()
CARRIED = Path(instances.__file__).with_name("models")
BEYOND_FLOATS = {"infeasible-by-a-billionth": -40.0, "tiny-small-rates": 0.0}
"""What HiGHS says of models that lie within its tolerances: a demand 2.5e-11 of itself above what fits, and rates of
1e-9, which it drops."""
SOME = ("tiny-cost", "tiny-zero-slack", "tiny-sevenths", "infeasible-by-a-hair", "llama-8b-gb200-7", "tiny-ratio-tie")


def entries(folder: Path) -> dict[str, dict[str, str]]:
    """The manifest by model."""
    with (folder / MANIFEST).open(newline="", encoding="utf-8") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def other_solver(text: str, suffix: str) -> float | None:
    """The optimum of an exported model by HiGHS, None where it is infeasible; nothing of the product takes part."""
    model = model_builder.Model()
    read = model.import_from_mps_string if suffix == "mps" else model.import_from_lp_string
    assert read(text)
    solver = model_builder.Solver("highs")
    solver.set_solver_specific_parameters("mip_rel_gap=0\nmip_abs_gap=0\n")  # by default it stops at 1e-4
    status = solver.solve(model)
    if status == model_builder.SolveStatus.INFEASIBLE:
        return None
    assert status == model_builder.SolveStatus.OPTIMAL
    return solver.objective_value


def check(entry: dict[str, str], text: str) -> None:
    """The optimum of an MPS file, which minimises, is minus what the manifest says."""
    found = other_solver(text, "mps")
    if entry["instance"] in BEYOND_FLOATS:
        assert found is None or found == pytest.approx(BEYOND_FLOATS[entry["instance"]])
    elif entry["status"] == "infeasible":
        assert found is None
    else:
        assert found is not None
        known = float(Fraction(entry["exact_model_optimum"]))
        assert -found == pytest.approx(known, rel=1e-7, abs=1e-5 if entry["unit"].endswith("used") else 0)


class TestSet:
    """What the set covers."""

    def test_forty_with_two_proofs(self) -> None:
        sure = [r for r in RECORDS.values() if len(set(r.proved_by.split(" | "))) >= 2]
        assert len(sure) == len(RECORDS) >= 90

    def test_sizes_shapes_and_models(self) -> None:
        files = [json.loads(instances.path(name).read_text()) for name in instances.names()]
        gpus = {sum(p["gpus"] for p in f["pools"]) for f in files if all(p["gpus"] != "unlimited" for p in f["pools"])}
        assert min(gpus) == 1
        assert max(gpus) >= 2016
        assert len({w["model"] for f in files for w in f["workloads"]}) >= 10
        assert max(len(f["workloads"]) for f in files) == 4
        assert max(len(f["pools"]) for f in files) == 3
        assert any(f.get("serving", {}).get("engines_per_role") == "unlimited" for f in files)

    def test_enumeration_confirms_the_hand_made(self) -> None:
        assert sum(record.oracle == "enumeration" for record in RECORDS.values()) >= 18

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("tiny-one-gpu", "22"),
            ("tiny-equal-curves", "220"),
            ("tiny-zero-slack", "440"),
            ("tiny-huge-rates", "108641975311.1"),
            ("tiny-small-rates", "0.000000066"),
            ("tiny-mixed-scales", "33000015.4"),
            ("tiny-equal-pools", "550"),
            ("tiny-prompts-only", "50"),
            ("tiny-odd-groups", "462"),
            ("tiny-wide-groups", "209"),
            ("tiny-cap", "77"),
            ("tiny-min-replicas", "440"),
            ("tiny-ratio-tie", "11"),
            ("tiny-ratio-thirds", "110/3"),
            ("tiny-unserved", "176"),
            ("tiny-fewest-gpus-tie", "6"),
            ("tiny-ceiling", "1"),
        ],
    )
    def test_the_record_is_what_the_readme_works_out(self, name: str, value: str) -> None:
        assert RECORDS[name].objective == Fraction(value)

    def test_sevenths(self) -> None:
        """Decode batch 12 lies 4/7 of the way from 8 (8 / 173 ms) to 15 (15 / 299 ms), rates of 9 digits."""
        low, high = Fraction("46.2427746"), Fraction("50.1672241")
        rate = low + (high - low) * Fraction(4, 7)
        assert RECORDS["tiny-sevenths"].objective == 11 * 5 * rate

    def test_a_hair_decides(self) -> None:
        """The limit that is met exactly is feasible; a billionth less, or more demand, is not."""
        assert RECORDS["tiny-zero-slack"].status == "optimal"
        assert RECORDS["infeasible-by-a-hair"].status == "infeasible"
        assert RECORDS["infeasible-by-a-billionth"].status == "infeasible"

    def test_ties_end_where_they_should(self) -> None:
        """Fewest GPUs, then the faster pairs; and the cap leaves half of the GPUs idle."""
        tie, cap = (solve(instances.path(name)).deployment for name in ("tiny-fewest-gpus-tie", "tiny-cap"))
        assert tie is not None
        assert [(a.engine.curve.partition.gpus, a.replicas) for a in tie.assignments] == [(2, 3)]
        assert cap is not None
        assert cap.gpus_used == 4


class TestExport:
    """Models for other solvers."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Some models, exported once."""
        folder = tmp_path_factory.mktemp("models")
        assert export(SOME, folder, time_limit_s=60, say=lambda line: None)
        return folder

    def test_another_solver_finds_the_known_optimum(self, folder: Path) -> None:
        found = entries(folder)
        assert set(SOME) <= set(found)
        assert any(name.endswith(".all") for name in found)
        for name, entry in found.items():
            text = (folder / f"{name}.mps").read_text()
            assert hashlib.sha256(text.encode()).hexdigest() == entry["sha256_mps"]
            check(entry, text)

    def test_the_lp_file_maximises_the_same(self, folder: Path) -> None:
        entry, text = entries(folder)["tiny-zero-slack"], (folder / "tiny-zero-slack.lp").read_text()
        assert hashlib.sha256(text.encode()).hexdigest() == entry["sha256_lp"]
        assert "Maximize" in text
        assert entry["exact_model_optimum"] == "40/1"
        assert entry["exact_optimum"] == "440/1"
        assert entry["unit"] == "weighted tokens/s"

    def test_a_wrong_optimum_would_be_noticed(self, folder: Path) -> None:
        entry = {**entries(folder)["tiny-cost"], "exact_model_optimum": "-27/5"}
        with pytest.raises(AssertionError):
            check(entry, (folder / "tiny-cost.mps").read_text())

    def test_unlimited_gpus_have_no_model(self, tmp_path: Path) -> None:
        lines: list[str] = []
        assert export(("deepseek-v3-gb200-unlimited",), tmp_path, time_limit_s=60, say=lines.append)
        assert "no model" in lines[0]
        assert entries(tmp_path) == {}

    def test_an_unknown_name_writes_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="unknown built-in instance"):
            export(("nonsense",), tmp_path / "out", time_limit_s=60, say=lambda line: None)
        assert not (tmp_path / "out").exists()


class TestCarried:
    """The models that are carried: those that rest on tables, since a fitted roofline moves."""

    FOUND = entries(CARRIED)

    def test_every_finite_instance_of_tables_is_there(self) -> None:
        loaded = {name: read_instance(instances.path(name)) for name in instances.names() if "paper/" not in name}
        wanted = {n for n, i in loaded.items() if i.cost_model.kind == "curves" and not i.is_unlimited}
        assert {entry["instance"] for entry in self.FOUND.values()} == wanted
        assert all(provenance(loaded[entry["instance"]]) in entry["provenance"] for entry in self.FOUND.values())

    def test_optima_are_the_recorded_ones(self) -> None:
        for entry in self.FOUND.values():
            record = RECORDS[entry["instance"]]
            assert entry["status"] == record.status
            assert (Fraction(entry["exact_optimum"]) if entry["exact_optimum"] else None) == record.objective
            assert entry["proved_by"] == record.proved_by

    def test_hashes_and_a_few_optima(self) -> None:
        for name, entry in self.FOUND.items():
            file = CARRIED / f"{name}.mps.gz"
            if not file.exists():
                assert entry["dominance"] == "no"
                continue
            text = gzip.decompress(file.read_bytes())
            assert hashlib.sha256(text).hexdigest() == entry["sha256_mps"]
            if entry["instance"].startswith(("tiny-", "infeasible-", "qwen3")) and entry["dominance"] == "yes":
                check(entry, text.decode())

    def test_small(self) -> None:
        assert sum(file.stat().st_size for file in CARRIED.iterdir()) < 1_500_000
