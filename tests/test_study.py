"""The study of the paper: its numbers, its instances, its exactness, and the command end to end."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

import instances
from cli import main
from costmodels.models import model
from costmodels.roofline import Roofline
from solver.engines import engines_of
from solver.study import paper_numbers as paper
from solver.study import record, silicon
from solver.study import run as study_run
from solver.study.bench import Bench, Case, rows_of
from solver.study.chunks import CHUNKS, chunked
from solver.study.cpp_figure import BARE_CHUNKS, CHUNK_PANEL, EVEN, FTL_PANEL, MODELLED, NO_FILL, communication
from solver.study.figure import Figure, Series
from solver.study.figures import FIGURES
from solver.study.frontier_figures import FRONTIER
from solver.study.gains import GPU, USER, best_at, gain
from solver.study.ratio_figures import best_rates, fixed_ratio, matched
from solver.study.record import Shape, moved, recorded, shape_of
from solver.study.run import run, standing
from solver.study.trends import CHECKS, Finding, findings

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


class TestNumbers:
    """Carried as the paper and the measurements state them."""

    def test_ratios_of_figure_9(self) -> None:
        ends = {name: tuple(said.value for said in both) for name, both in paper.CTX_GEN.items()}
        assert ends == {
            "DeepSeek-R1": (3.64, 0.06), "Llama 3.1 405B": (2.07, 0.21), "Llama 3.1 70B": (0.95, 0.45),
            "Llama 3.1 8B": (0.41, 0.35),
        }  # fmt: skip

    def test_first_tokens_of_figure_5(self) -> None:
        """91.5 s to 2.94 s is the factor of 31 that the paper speaks of."""
        assert paper.PAPER_FTL == {1: 91.5, 32: 2.94}
        assert 31 < 91.5 / 2.94 < 31.2

    def test_plateau_of_figure_10_follows_from_figure_9(self) -> None:
        """Fixed 0.5 yields P/3, matched 1 / (1/P + 1/D): at D/P = 3.64 that is 0.42 of it."""
        loose = paper.CTX_GEN["DeepSeek-R1"][0].value
        assert (1 / 3) / (loose / (1 + loose)) == pytest.approx(paper.FIXED_HALF_PLATEAU.value, abs=0.01)

    def test_every_number_has_a_mark(self) -> None:
        said = [
            *paper.FTL_SECONDS, *paper.FTL_RATE_SPREAD, *(s for both in paper.CTX_GEN.values() for s in both),
            paper.FIXED_HALF_PLATEAU, *paper.FIXED_HIGH, *(s for both in paper.KV_GBPS.values() for s in both),
        ]  # fmt: skip
        assert {s.mark for s in said} <= {"V", "P", "T"}
        assert {s.figure for s in said} <= set(FIGURES)

    def test_measured_points_name_their_source(self) -> None:
        series = paper.measured("CPP on H20")
        assert "H20" in series.source
        rates = {row["pp"]: row["tokens_per_s_per_gpu"] * row["gpus"] for row in series.rows}
        assert rates == {1: 2650, 2: 4700, 4: 8800}
        paper.measured("CPP on H20").rows[0]["pp"] = 99
        assert paper.measured("CPP on H20").rows[0]["pp"] == 1, "a copy is handed out"


class TestInstances:
    """Loadable by name."""

    def test_names_hold_the_folder(self) -> None:
        mine = [name for name in instances.names() if name.startswith("paper/")]
        assert len(mine) == 17
        assert "paper/r1-16k-2k" in mine
        assert instances.resolve("paper/r1-16k-2k") == instances.path("paper/r1-16k-2k")

    def test_a_wrong_name_is_offered_the_right_one(self) -> None:
        with pytest.raises(ValueError, match="paper/r1-16k-2k"):
            instances.resolve("paper/r1-16k-2x")

    def test_a_case_varies_what_it_says(self, bench: Bench) -> None:
        changed = bench.instance(Case("r1-16k-2k", domain_gpus=8, gpus=72, ttft_ms=2000))
        pool, workload = changed.pools[0], changed.workloads[0]
        assert (pool.nvlink_domain_gpus, pool.gpus, workload.ttft_ms) == (8, 72, 2000)
        assert changed.objective == "throughput"
        assert bench.instance(Case("r1-16k-2k")).is_unlimited

    def test_chunks_choose_engines(self, bench: Bench) -> None:
        def chunks(which: str | int) -> set[int]:
            _, engines = bench.engines(Case("llama-8b-16k-2k", ("colocated",), which))  # type: ignore[arg-type]
            assert [engine.index for engine in engines.engines] == list(range(len(engines.engines)))
            return {engine.curve.chunk_tokens for engine in engines.engines}

        (whole,) = chunks("whole")
        assert whole >= 16384
        assert (chunks("cut"), chunks("any"), chunks(512)) == (set(CHUNKS), {*CHUNKS, whole}, {512})


class TestChunks:
    """Piggybacking at sizes that the cost model does not try by itself."""

    @pytest.mark.parametrize("name", ["llama-8b-16k-2k", "llama-70b-lognormal"])
    def test_priced_as_the_roofline_prices_its_own(self, name: str) -> None:
        """At 2048 tokens both have every engine, and the same curves to the last digit."""
        asked = []

        class Asked(Roofline):
            def curves(self, query):  # type: ignore[no-untyped-def]
                asked.append(query)
                return super().curves(query)

        engines = engines_of(Bench().instance(Case(name)), Asked())
        theirs = [e.curve for e in engines.engines if e.curve.role == "colocated" and e.curve.chunk_tokens == 2048]
        ours = [curve for curve in chunked(asked[0], "served", []) if curve.chunk_tokens == 2048]
        assert len(ours) == len(theirs) > 10
        assert sorted(ours, key=lambda c: c.partition) == sorted(theirs, key=lambda c: c.partition)

    def test_what_is_there_is_not_priced_again(self, bench: Bench) -> None:
        _, engines = bench.engines(Case("llama-8b-16k-2k", ("colocated",)))
        keys = [(engine.curve.partition, engine.curve.chunk_tokens) for engine in engines.engines]
        assert len(keys) == len(set(keys))

    def test_more_chunks_never_lower_the_hull(self, bench: Bench) -> None:
        hull, one = (
            rows_of(bench.frontier(Case("llama-8b-4k-256", ("colocated",), which)))  # type: ignore[arg-type]
            for which in ("any", 2048)
        )
        assert all(best_at(hull, row[USER]) >= row[GPU] * (1 - 1e-12) for row in one)
        assert max(best_at(hull, row[USER]) / row[GPU] for row in one) > 1.03, "other sizes are on it"


class TestSilicon:
    """Frontiers of measured operators, recorded."""

    def test_record_is_of_frontiers(self) -> None:
        """Every instance in both modes, no point worse than another, its source beside it."""
        found = silicon.recorded()
        assert set(found) == {(name, mode) for name in silicon.CASES for mode in silicon.MODES}
        for rows, source in found.values():
            users, rates = [row[USER] for row in rows], [row[GPU] for row in rows]
            assert users == sorted(set(users))
            assert rates == sorted(set(rates), reverse=True)
            assert re.match(r"aiconfigurator-core [\d.]+, trtllm ", source)
        assert {row["chunk_tokens"] for row in found["r1-16k-2k", "colocated"][0]} <= {"2048", "16384"}

    def test_matched_ratio_agrees_with_the_rates(self) -> None:
        """ctx:gen of Llama 3.1 70B falls from the loosest to the tightest point, as decodes take over."""
        ratios = [row["ctx_gen"] for row in silicon.recorded()["llama-70b-16k-2k", "disaggregated"][0]]
        assert ratios == sorted(ratios, reverse=True)

    def test_without_a_record_it_is_left_out_and_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(silicon, "FILE", tmp_path / "none.csv")
        silicon.recorded.cache_clear()
        try:
            assert silicon.silicon("r1-16k-2k", "disaggregated", "", "disaggregated") == []
            assert silicon.statement().startswith("silicon: left out")
        finally:
            silicon.recorded.cache_clear()

    @pytest.mark.skipif(importlib.util.find_spec("aiconfigurator_core") is not None, reason="the package is installed")
    def test_without_the_package_nothing_is_recorded(self) -> None:
        before = silicon.FILE.read_bytes()
        done = CliRunner().invoke(main, ["study", "paper", "--figure", "5", "--record-silicon"])
        assert (done.exit_code, "pip install 'ratematch[silicon]'" in done.output) == (2, True), done.output
        assert silicon.FILE.read_bytes() == before
        assert "not installed" in silicon.statement()


class TestRatios:
    """The harmonic combination, exactly."""

    def test_matched_is_the_best_of_all_ratios(self) -> None:
        """P = 3, D = 1: one prefill GPU to three decode GPUs, 3 requests/s from 4 GPUs."""
        assert matched(Fraction(3), Fraction(1)) == Fraction(3, 4)

    def test_unlimited_frontier_is_the_harmonic_mean_of_its_best_points(self, bench: Bench) -> None:
        case = Case("llama-8b-16k-2k", ("disaggregated",))
        frontier, candidates = bench.frontier(case), bench.candidates(case)
        for point in frontier.points[:: len(frontier.points) // 10]:
            assert point.tpot_ms is not None
            assert matched(*best_rates(candidates, point.tpot_ms)) * 2048 == point.value

    def test_a_fixed_ratio_touches_the_envelope_where_it_is_the_matched_one(self, bench: Bench) -> None:
        case = Case("llama-8b-16k-2k", ("disaggregated",))
        frontier, candidates = bench.frontier(case), bench.candidates(case)
        point = frontier.points[len(frontier.points) // 2]
        assert point.tpot_ms is not None
        prefill, decode = best_rates(candidates, point.tpot_ms)
        rows = fixed_ratio(frontier, candidates, decode / prefill)
        ours = rows_of(frontier)
        assert rows[len(ours) // 2][GPU] == pytest.approx(ours[len(ours) // 2][GPU], rel=1e-12)
        assert all(best_at(rows, row[USER]) <= row[GPU] * (1 + 1e-12) for row in ours)


class TestGains:
    """Frontiers compared, by hand."""

    OVER = ({USER: 10.0, GPU: 100.0}, {USER: 40.0, GPU: 60.0}, {USER: 90.0, GPU: 5.0})
    BASE = ({USER: 5.0, GPU: 100.0}, {USER: 20.0, GPU: 50.0}, {USER: 80.0, GPU: 20.0})

    def test_best_at_is_a_staircase(self) -> None:
        assert [best_at(self.OVER, x) for x in (1, 10, 10.1, 40, 41, 91)] == [100, 100, 60, 60, 5, 0]

    def test_gain_over_the_useful_range(self) -> None:
        """From 10, where both are, to 40, below which the first has a quarter of its peak: 2, 60/50, 3."""
        found = gain(self.OVER, self.BASE)
        assert (found.rows[0], found.rows[-1][0]) == ((10.0, 2.0), pytest.approx(40.0))
        assert (found.smallest, found.largest) == (pytest.approx(1.2), pytest.approx(3.0))
        assert 1.2 < found.mean < 3
        loose, tight = found.halves
        assert min(loose, tight) < found.mean < max(loose, tight)


def test_cpp_moves_fewer_bytes() -> None:
    """61 layers with two exchanges each against 7 hand-overs between 8 stages."""
    tp, cpp = communication(model("deepseek-ai/DeepSeek-V3"), 1000, 8)
    assert (tp, cpp) == (2 * 1000 * 7168 * 61 * 2, 1000 * 7168 * 7 * 2)


class TestCommand:
    """``study paper``, with the figure that is made fastest."""

    def test_figure_5_end_to_end(self, tmp_path: Path) -> None:
        out = tmp_path / "study"
        done = CliRunner().invoke(main, ["study", "paper", "--figure", "5", "-o", str(out), "--plot"])
        found = json.loads((out / "trends.json").read_text("utf-8"))
        assert done.exit_code == (0 if all(item["holds"] for item in found) else 6), done.output
        assert all(list(item) == ["trend", "quantity", "paper", "ours", "holds"] for item in found)
        assert {item["trend"].split(":")[0] for item in found} == {"6", "7"}
        assert (out / "figure-5.png").read_bytes().startswith(b"\x89PNG")
        with (out / "figure-5.csv").open(newline="", encoding="utf-8") as file:
            rows = [r for r in csv.DictReader(file) if (r["panel"], r["series"]) == (FTL_PANEL, MODELLED)]
        assert [int(row["pp"]) for row in rows] == [1, 2, 4, 8, 16, 32]
        assert all(int(row["pp"]) * int(row["ep"]) == 64 for row in rows)
        for row in rows:
            rate = int(row["batch"]) * 262144 / (float(row["ftl_s"]) * 64)
            assert float(row["tokens_per_s_per_gpu"]) == pytest.approx(rate)
        figure = Figure.from_dict(json.loads((out / "figure-5.json").read_text("utf-8"))["figure"])
        ends = [figure.of(name, FTL_PANEL).rows[-1]["ftl_s"] for name in (MODELLED, EVEN, NO_FILL)]
        assert ends[0] > max(ends[1:]), "both leave work out"
        bare = {row["chunk_tokens"]: row["ftl_ratio"] for row in figure.of(BARE_CHUNKS, CHUNK_PANEL).rows}
        assert bare[8192] == 32 * 32 / (32 + 31), "32 chunks fill 32 stages for as long as they run"

    def test_a_second_run_takes_up_what_is_there(self, tmp_path: Path) -> None:
        first, second = (run([5], folder=tmp_path) for _ in range(2))
        assert (first.kept, second.kept) == ((), (5,))
        assert second.figures == first.figures
        assert second.findings == first.findings
        assert run([5], "ideal", tmp_path).kept == (), "another basis is another study"

    def test_a_damaged_file_is_made_again(self, tmp_path: Path) -> None:
        run([5], folder=tmp_path)
        (tmp_path / "figure-5.json").write_text('{"program": ')
        assert run([5], folder=tmp_path).kept == ()

    def test_an_interrupted_run_is_taken_up(self, tmp_path: Path) -> None:
        """Ctrl-C while figure 14 is at work: figure 5 stands, half of figure 14 does not."""
        command = [
            sys.executable,
            "-m",
            "solver",
            "study",
            "paper",
            "--figure",
            "5",
            "--figure",
            "14",
            "-o",
            str(tmp_path),
        ]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 60
            while not (tmp_path / "figure-5.json").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 4, said
        assert f"interrupted; 1 figures stand in {tmp_path}" in said
        assert sorted(file.name for file in tmp_path.iterdir()) == ["figure-5.csv", "figure-5.json"]
        assert standing(tmp_path, "served") == (5,)
        assert run([5], folder=tmp_path).kept == (5,)

    def test_half_a_frontier_is_no_frontier(self) -> None:
        """A sweep ends early on Ctrl-C; the study must not take what it has for the whole."""
        ticks = []

        def tick() -> None:
            ticks.append(1)
            if len(ticks) == 3:
                raise KeyboardInterrupt

        bench, case = Bench(tick=tick), Case("llama-8b-16k-2k", ("disaggregated",))
        with pytest.raises(KeyboardInterrupt):
            bench.frontier(case)
        assert len(bench.frontier(case).points) > 10

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--figure", "2"], "--figure: got 2, must be of 1, 5, 6, 7, 8, 9, 10, 11, 12, 14"),
            (["--figure", "5", "--plot"], "--plot: needs a folder"),
            (["--figure", "5", "-o", __file__], "cannot be made"),
        ],
    )
    def test_bad_arguments(self, arguments: list[str], said: str) -> None:
        done = CliRunner().invoke(main, ["study", "paper", *arguments])
        assert (done.exit_code, said in done.output) == (2, True), done.output


class TestRecord:
    """The recorded frontiers, and who notices when they move."""

    def test_every_frontier_is_recorded(self) -> None:
        assert {key[0] for key in recorded()} == {1, 6, 7, 8, 9, 10, 11, 14}
        assert (7, "Llama 3.1 8B", "disaggregated") in recorded()

    def test_a_frontier_is_as_recorded(self, bench: Bench) -> None:
        rows = rows_of(bench.frontier(Case("llama-8b-16k-2k", ("disaggregated",))))
        assert shape_of(Series("Llama 3.1 8B", rows)) == recorded()[9, "unlimited GPUs", "Llama 3.1 8B"]

    def test_area_by_hand(self) -> None:
        """100 up to 10, 60 up to 40, 5 up to 90: 1000 + 1800 + 250 over 90."""
        assert shape_of(Series("x", list(TestGains.OVER))) == Shape(3, 100.0, 33.8888889, 90.0)

    def test_a_move_is_told_in_percent(self) -> None:
        figure = Figure(7, "", FRONTIER, [Series("disaggregated", list(TestGains.OVER), "Llama 3.1 8B")])
        (line,) = [line for line in moved({7: figure}) if not line.startswith("GONE")]
        assert line.startswith("MOVED figure 7, Llama 3.1 8B, disaggregated: peak -")
        assert line.endswith("to 3 points")

    def test_a_frontier_that_is_gone_is_told(self) -> None:
        figure = Figure(14, "", FRONTIER, [])
        lines = moved({14: figure})
        assert len(lines) == sum(key[0] == 14 for key in recorded())
        assert all(line.startswith("GONE figure 14, ") for line in lines)

    def test_bench_notices(self, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
        """``bench`` on a study of one figure: as recorded, then with every rate one percent up; exit code 6."""
        key = (1, "a panel", "Llama 3.1 8B")
        rows = rows_of(bench.frontier(Case("llama-8b-16k-2k", ("disaggregated",))))

        def make(factor: float):  # type: ignore[no-untyped-def]
            changed = [{**row, GPU: row[GPU] * factor} for row in rows]
            return {1: lambda _bench: Figure(1, "", FRONTIER, [Series(key[2], changed, key[1])])}

        monkeypatch.setattr(record, "recorded", lambda: {key: shape_of(Series(key[2], rows))})
        monkeypatch.setattr(study_run, "FIGURES", make(1.0))
        same = CliRunner().invoke(main, ["bench", "paper/frontiers"])
        assert (same.exit_code, same.output.rstrip().endswith("same")) == (0, True), same.output
        monkeypatch.setattr(study_run, "FIGURES", make(1.01))
        moved_up = CliRunner().invoke(main, ["bench", "paper/frontiers"])
        assert (moved_up.exit_code, "peak +1.00%, area +1.00%, fastest +0.00%" in moved_up.output) == (6, True)


class TestPage:
    """docs/paper-study.md: its tables and pictures are made by docs/paper_study.py."""

    @staticmethod
    def script() -> ModuleType:
        spec = importlib.util.spec_from_file_location("paper_study", ROOT / "docs" / "paper_study.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_every_figure_is_shown(self) -> None:
        text = (ROOT / "docs" / "paper-study.md").read_text("utf-8")
        shown = re.findall(r"!\[[^\]]+\]\((figures/[^)]+)\)", text)
        assert shown == [f"figures/paper-figure-{number}.png" for number in FIGURES]
        for name in shown:
            content = (ROOT / "docs" / name).read_bytes()
            assert content.startswith(b"\x89PNG")
            assert len(content) < 150_000

    def test_every_table_has_its_maker(self) -> None:
        script, text = self.script(), (ROOT / "docs" / "paper-study.md").read_text("utf-8")
        names = [match[1] for match in script.BLOCK.findall(text)]
        assert set(names) == {*script.TABLES, *(f"figure {number}" for number in FIGURES)}
        assert text.count("<!-- study:") == text.count("<!-- end of study -->") == len(names)

    def test_every_quantity_has_its_place(self) -> None:
        """Each quantity is told beneath exactly one figure."""
        script = self.script()
        for number in CHECKS:
            for said in ("of 8B", "at 1k/32k", "at 2k/16k"):
                finding = Finding(f"{number}: words", said, 1, 1, True)
                assert sum(script._is_of(finding, figure) for figure in FIGURES) == 1, finding


class TestTrends:
    """All fourteen, on their figures."""

    def test_there_are_fourteen_and_every_figure_is_used(self) -> None:
        assert list(CHECKS) == list(range(1, 15))
        assert {figure for _, needed, _ in CHECKS.values() for figure in needed} == set(FIGURES)

    def test_a_trend_without_its_figures_is_left_out(self) -> None:
        assert findings({}) == []

    def test_what_is_judged_follows_the_numbers(self, bench: Bench) -> None:
        """The same check on a figure whose pipelines scale as the paper's do: it holds."""
        figure = FIGURES[5](bench)
        document = figure.as_dict()
        for series in document["series"]:
            ours = (series["panel"], series["name"]) == (FTL_PANEL, MODELLED)
            for row in series["rows"] if ours else ():
                row["ftl_s"], row["tokens_per_s_per_gpu"] = 91.5 / (row["pp"] * 31.1 / 32), 2865.0
            if ours:
                series["rows"][0]["ftl_s"] = 91.5
        changed = [f for f in findings({5: Figure.from_dict(document)}) if f.trend.startswith("6")]
        changed = [f for f in changed if "left out" not in f.quantity and "H20" not in f.quantity]
        assert len(changed) >= 3 and all(f.holds for f in changed)
        assert isinstance(changed[0], Finding)
