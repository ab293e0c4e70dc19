"""The built-in instances: they load, their tables match, and their answers are what they are meant to be."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

import instances
from solver.deployment import Deployment
from solver.engines import EngineSet, cost_model_of, engines_of
from solver.instance import Instance
from solver.planner import solve
from solver.read import read_instance
from solver.result import Result

NAMES = instances.names()
INFEASIBLE = [name for name in NAMES if name.startswith("infeasible-")]
FEASIBLE = [name for name in NAMES if name not in INFEASIBLE]
FOLDER = instances.path(NAMES[0]).parent


@cache
def loaded(name: str) -> Instance:
    """The instance of that name."""
    return read_instance(instances.path(name))


@cache
def engines(name: str) -> EngineSet:
    """The engines of an instance."""
    return engines_of(loaded(name), cost_model_of(loaded(name), FOLDER))


@cache
def solved(name: str) -> Result:
    """The result of an instance."""
    return solve(instances.path(name))


def used(name: str) -> list[tuple[str, str, int, int, int | Fraction]]:
    """The deployment as (pool, role, GPUs per replica, batch, replicas)."""
    deployment = solved(name).deployment
    assert deployment is not None
    return [
        (a.engine.pool.name, a.role, a.engine.curve.partition.gpus, a.batch, a.replicas) for a in deployment.assignments
    ]


def deployed(name: str) -> Deployment:
    """The deployment of an instance that has one."""
    deployment = solved(name).deployment
    assert deployment is not None
    return deployment


class TestFiles:
    """What holds for every file."""

    @pytest.mark.parametrize("name", NAMES)
    def test_name_in_the_file_is_the_file_name(self, name: str) -> None:
        """A name typed, listed and printed is one and the same."""
        assert loaded(name).name == name

    @pytest.mark.parametrize("name", NAMES)
    def test_description_is_one_sentence(self, name: str) -> None:
        """A planner reads it in a list: one line, ended."""
        text = loaded(name).description
        assert 30 <= len(text) <= 200
        assert text[-1] in ".?"
        assert "\n" not in text

    @pytest.mark.parametrize("name", NAMES)
    def test_tables_exist(self, name: str) -> None:
        """Paths are relative to the instance file and end inside the folder of tables."""
        for path in loaded(name).cost_model.paths:
            assert path.startswith("curves/")
            assert (FOLDER / path).is_file()

    @pytest.mark.parametrize("name", NAMES)
    def test_tables_match_every_workload_on_some_pool(self, name: str) -> None:
        """No workload is left without engines; where memory is the reason to be infeasible, all are dropped for it."""
        found = engines(name)
        if name == "infeasible-memory":
            assert not found.engines
            assert all(reason.startswith("memory above") for reason in found.dropped)
            return
        assert {engine.workload.name for engine in found.engines} == {w.name for w in loaded(name).workloads}

    @pytest.mark.parametrize("name", NAMES)
    def test_tables_raise_no_doubts(self, name: str) -> None:
        """Co-located rows obey Little's law and no partition repeats the latencies of another."""
        if loaded(name).cost_model.kind == "curves":
            of_lengths = [w for w in loaded(name).workloads if w.traffic or w.stands_for]
            doubts = [note for note in engines(name).notes if not of_lengths or "Little" in note or "repeat" in note]
            assert doubts == []

    @pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("tiny-")])
    def test_real_pools_have_price_and_power(self, name: str) -> None:
        """Cost and power can be reported for each."""
        for pool in loaded(name).pools:
            assert pool.usd_per_gpu_hour or pool.gpu == "toy"
            assert pool.watts_per_gpu or pool.gpu == "toy"

    def test_readme_lists_every_table(self) -> None:
        """The README names every table that is shipped."""
        text = (FOLDER / "README.md").read_text("utf-8")
        for table in (FOLDER / "curves").glob("*.csv.gz"):
            assert f"(curves/{table.name})" in text

    def test_readme_lists_every_instance_as_it_is(self) -> None:
        """Name and description stand in one row; nothing else is listed."""
        rows = [line for line in (FOLDER / "README.md").read_text("utf-8").splitlines() if ".json) |" in line]
        for name in NAMES:
            assert any(row.startswith(f"| [{name}]({name}.json) |") and loaded(name).description in row for row in rows)
        assert len(rows) == len(NAMES)


class TestCoverage:
    """The set as a whole covers what the format can say."""

    def test_size(self) -> None:
        """At least twenty instances."""
        assert len(NAMES) >= 20

    def test_objectives(self) -> None:
        """Each objective occurs."""
        assert {loaded(name).objective for name in NAMES} == {"throughput", "throughput_per_gpu", "gpus", "cost"}

    def test_hardware(self) -> None:
        """H100, H200, B200 and GB200, 1 to 2016 GPUs, NVLink domains of 8 and 72."""
        pools = [pool for name in NAMES for pool in loaded(name).pools if not pool.gpu.startswith("toy")]
        counts = [pool.gpus for pool in pools if pool.gpus is not None]
        assert {pool.gpu for pool in pools} == {"h100_sxm", "h200_sxm", "b200_sxm", "gb200"}
        assert {pool.nvlink_domain_gpus for pool in pools} == {8, 72}
        assert (min(counts), max(counts)) == (1, 2016)

    def test_rules(self) -> None:
        """Every rule that a file can hold occurs in one."""
        all_ = [loaded(name) for name in NAMES]
        assert any(instance.is_unlimited for instance in all_)
        assert any(instance.serving.hybrid for instance in all_)
        assert any(instance.serving.decode_covers for instance in all_)
        assert any(instance.budget.usd_per_hour is not None for instance in all_)
        assert any(instance.cost_model.interpolate for instance in all_)
        assert any(instance.cost_model.kind == "roofline" for instance in all_)
        assert any(workload.e2el_ms is not None for instance in all_ for workload in instance.workloads)
        assert sum(len(instance.pools) > 1 for instance in all_) >= 2
        assert sum(len(instance.workloads) > 1 for instance in all_) >= 2


class TestAnswers:
    """Feasible ones are solved to the proof, infeasible ones proved to be so, each for its own reason."""

    @pytest.mark.parametrize("name", FEASIBLE)
    def test_feasible_is_optimal(self, name: str) -> None:
        """Optimal, verified exactly, and bounded by its own value."""
        result = solved(name)
        assert result.status == "optimal"
        assert result.feasibility == "verified exactly"
        assert result.objective is not None
        assert result.objective == result.bound
        assert result.objective > 0

    @pytest.mark.parametrize("name", INFEASIBLE)
    def test_infeasible_is_proved(self, name: str) -> None:
        """Infeasible, with a proof and without a deployment."""
        result = solved(name)
        assert result.status == "infeasible"
        assert result.deployment is None

    def test_interpolation_helps_the_two_reference_instances(self) -> None:
        """More admissible batches never hurt, and here they yield more."""
        for name in ("llama-70b-h200-72", "deepseek-v3-gb200-144"):
            plain, finer = solved(name).objective, solved(f"{name}-interpolated").objective
            assert plain is not None
            assert finer is not None
            assert finer > plain

    def test_prefill_and_decode_sit_on_different_gpus(self) -> None:
        """At least cost the older GPUs prefill and the newer ones decode."""
        roles = {(pool, role) for pool, role, *_ in used("llama-70b-h100-h200-cost")}
        assert roles == {("h100", "prefill"), ("h200", "decode")}

    def test_both_workloads_are_served(self) -> None:
        """Two models share the pool; neither starves the other."""
        for name in ("two-models-h200-96", "two-models-h100-48-cost"):
            assert all(deployed(name).flow(workload) > 0 for workload in loaded(name).workloads)

    def test_hybrid_uses_both_modes(self) -> None:
        """The hybrid instance needs to be hybrid."""
        roles = {role for _, role, *_ in used("gpt-oss-120b-h100-40-hybrid")}
        assert roles == {"prefill", "decode", "colocated"}

    def test_budget_binds(self) -> None:
        """One more 8-GPU engine would cost more than the budget."""
        deployment, budget = deployed("deepseek-v3-b200-128-budget"), Fraction(400)
        assert deployment.usd_per_hour is not None
        assert budget - 8 * Fraction("4.9") < deployment.usd_per_hour <= budget


class TestTiny:
    """The toys, against a calculation by hand. X is in requests/s, the objective X x OSL = 11 X in tokens/s."""

    def test_rate_match(self) -> None:
        """
        Prefill replicas p of 1 GPU do 10/s, decode replicas d of 2 GPUs do 20/s (the 25/s at 80 ms break TPOT 50 ms).

        X = min(10 p, 20 d) with p + 2 d <= 10. X = 50 would need p = 5 and d = 3, 11 GPUs; X = 40 needs p = 4 and
        d = 2, 8 GPUs. So X = 40, 440 tokens/s; of all such plans the one with fewest GPUs leaves two idle.
        """
        assert solved("tiny-rate-match").objective == 440
        assert used("tiny-rate-match") == [("toy", "decode", 2, 10, 2), ("toy", "prefill", 1, 1, 4)]

    def test_packing(self) -> None:
        """
        Nine 16-GPU groups have 144 GPUs, as many as two domains of 72, but a domain holds floor(72 / 16) = 4.

        Eight of them do 8 x 10 = 80/s. The other engine has 8 GPUs and 4/s: 9 a domain, 18 in all, 72/s. One engine
        may be used, so X = 80, 880 tokens/s, 16 GPUs idle.
        """
        assert solved("tiny-packing").objective == 880
        assert used("tiny-packing") == [("toy", "colocated", 16, 10, 8)]

    def test_packing_mixed(self) -> None:
        """
        With two engines a domain holds 4 x 16 + 1 x 8 = 72: X = 8 x 10 + 2 x 4 = 88, 968 tokens/s, nothing idle.

        Each 16-GPU group less makes room for two of 8 GPUs: -10 + 8 < 0, so four groups a domain are best.
        """
        assert solved("tiny-packing-mixed").objective == 968
        assert used("tiny-packing-mixed") == [("toy", "colocated", 8, 4, 2), ("toy", "colocated", 16, 10, 8)]

    def test_tie(self) -> None:
        """
        Replicas of 2, 4 and 8 GPUs do 10, 20 and 40/s: always 5/s per GPU, X = 40 on all 8 GPUs, 440 tokens/s.

        Tokens/s and GPUs are equal. TPOT 80, 40, 40 ms rules out the first, TTFT 200, 200, 100 ms the second.
        """
        assert solved("tiny-tie").objective == 440
        assert used("tiny-tie") == [("toy", "colocated", 8, 20, 1)]
        assert solved("tiny-tie").proved[-1] == "canonical"

    def test_cost(self) -> None:
        """
        Demand 13/s; small GPUs do 2/s at 1.00 USD/hour, big ones 10/s at 3.50.

        Big ones b = 0: 7 small, 7.00. b = 1: 3/s remain, 2 small, 5.50. b = 2: 7.00. So 5.50, carrying 14/s.
        """
        assert solved("tiny-cost").objective == Fraction("5.5")
        assert used("tiny-cost") == [("big", "colocated", 1, 10, 1), ("small", "colocated", 1, 2, 2)]

    def test_e2e(self) -> None:
        """
        TTFT + 10 x TPOT <= 250 ms. Prefill: slow 100 ms, 20/s on 1 GPU; fast 50 ms, 20/s on 2. Decode, 1 GPU each: fast
        10 ms, 10/s; slow 20 ms, 40/s. Eight GPUs.

        Slow with slow: 300 ms, out.
        Slow with fast: 200 ms; min(20 p, 10 d), p + d = 8: p = 3, d = 5 gives 50.
        Fast with slow: 250 ms, just in; min(20 p, 40 d), 2 p + d = 8: p = 3, d = 2 gives 60.
        Fast with fast: 150 ms; min(20 p, 10 d), 2 p + d = 8: p = 2, d = 4 gives 40.
        So X = 60, 660 tokens/s.
        """
        assert solved("tiny-e2e").objective == 660
        assert used("tiny-e2e") == [("toy", "decode", 1, 8, 2), ("toy", "prefill", 2, 1, 3)]


class TestLoader:
    """names, path, resolve, describe."""

    def test_names_are_sorted(self) -> None:
        """In the order of a list."""
        assert sorted(NAMES) == NAMES

    def test_path_of_an_unknown_name(self) -> None:
        """The message offers what is close and says how to list all."""
        with pytest.raises(ValueError, match=r"'tiny-ty'; did you mean tiny-tie.*python -m solver instances"):
            instances.path("tiny-ty")

    def test_name_resolves(self) -> None:
        """A built-in name gives its file."""
        assert instances.resolve("tiny-tie") == FOLDER / "tiny-tie.json"

    def test_file_wins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file in the current folder that has a built-in name is meant."""
        monkeypatch.chdir(tmp_path)
        Path("tiny-tie").write_text("{}")
        assert instances.resolve("tiny-tie") == Path("tiny-tie")

    def test_folder_does_not_win(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder cannot be read, so the name is meant."""
        monkeypatch.chdir(tmp_path)
        Path("tiny-tie").mkdir()
        assert instances.resolve("tiny-tie") == FOLDER / "tiny-tie.json"

    @pytest.mark.parametrize("text", ["tiny-tie.json", "somewhere/tiny-tie.json", "llama-70b-h200-27"])
    def test_unknown_offers_close_names(self, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path that does not exist, or a slip of the finger."""
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=r"a built-in instance; did you mean (tiny-tie|llama-70b-h200-72)"):
            instances.resolve(text)

    @pytest.mark.parametrize("text", ["", "x" * 5000, "a\0b", "../instances"])
    def test_unknown_without_close_names(self, text: str) -> None:
        """Whatever was typed, the answer is the same kind of message."""
        with pytest.raises(ValueError, match="is neither a file nor a built-in instance"):
            instances.resolve(text)

    @pytest.mark.parametrize("name", NAMES)
    def test_describe_agrees_with_the_file(self, name: str) -> None:
        """The quick reader says what the strict one says."""
        told, instance = instances.describe(name), loaded(name)
        assert told["name"] == name
        assert told["description"] == instance.description
        assert told["objective"] == instance.objective
        assert told["gpus"] == ("unlimited" if instance.is_unlimited else instance.inventory_gpus)
        assert told["cost_model"] == instance.cost_model.kind
        assert len(told["pools"]) == len(instance.pools)
        for text, workload in zip(told["workloads"], instance.workloads, strict=True):
            if workload.traffic is None and workload.stands_for is None:
                assert text == f"{workload.model} {workload.isl}/{workload.osl}"
            else:
                assert text.startswith(f"{workload.model} ")
        json.dumps(told)

    def test_import_is_light(self) -> None:
        """No back end, no numpy, no solver comes with the loader."""
        code = "import sys, instances; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=FOLDER.parent
        )
        assert "instances" in done.stdout.split()
        assert not {"numpy", "pulp", "ortools", "solver", "json"} & set(done.stdout.split())
