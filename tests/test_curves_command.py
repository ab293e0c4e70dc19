"""The curves command: what it lists, draws and writes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import instances
from cli import main
from costmodels.curves import CurveTables
from costmodels.errors import InputError
from costmodels.operating_curve import CurveQuery, CurveSet, OperatingCurve
from costmodels.partition import Partition
from solver.curves_plot import STYLES, plot_curves
from solver.curves_report import Curves, as_csv, curves_of, label, lines
from solver.engines import EngineSet, engines_of
from solver.read import read_instance

TABLE, ROOFLINE = "qwen3-32b-h100-72", "llama-70b-h100-64-roofline"


def run(*arguments: str | Path) -> Result:
    """Runs the command."""
    return CliRunner().invoke(main, ["curves", *map(str, arguments)])


class Sampled:
    """A cost model of one curve fitted to known samples: latency b + 4, drawn from (1, 6) to (4, 9): 1 too high."""

    name = "sampled"
    known_error = "none"
    description = "a straight line"

    def curves(self, query: CurveQuery) -> CurveSet:
        """One engine."""
        rows = {"latency_ms": (Fraction(6), Fraction(9)), "requests_per_s": (Fraction(1), Fraction(4))}
        curve = OperatingCurve(
            "decode", query.gpu, "b", "1", query.model, "fp8", Partition(), 8, 0, (1, 4), interpolate=True, **rows
        )
        return CurveSet((curve,), {"memory": 96, "heads % tp": 34})

    def samples(self, query: CurveQuery, curve: OperatingCurve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The samples behind it."""
        batch = np.arange(1.0, 5.0)
        return batch, batch + 4, batch * 1.25


@pytest.fixture(scope="module")
def sampled() -> Curves:
    instance = read_instance(instances.path(TABLE))
    engines = engines_of(instance, Sampled())
    return Curves(instance.name, Sampled(), engines, engines.engines)


def test_every_curve_is_listed() -> None:
    found = curves_of(instances.path(TABLE))
    text = run(TABLE).stdout
    assert text.startswith(f"{TABLE}: 28 operating curves\n")
    assert len(found.chosen) == len(found.all.engines) == 28
    numbers = [line.split()[0] for line in text.splitlines() if line.endswith("fmha:fp8")]
    assert sorted(map(int, numbers)) == list(range(28))


def test_a_line_by_eye() -> None:
    """Prefill on one GPU: nine rows of the table, batches 1 to 24, 322.3 to 7694 ms."""
    line = next(line for line in run(TABLE, "--role", "prefill").stdout.splitlines() if " tp1 " in line)
    assert line.split()[:7] == ["18", "chat", "h100", "tp1", "1", "1-24", "9"]
    assert "322.3 - 7,694" in line


def test_role_and_engine_choose() -> None:
    decode = curves_of(instances.path(TABLE), "decode")
    assert {engine.curve.role for engine in decode.chosen} == {"decode"}
    four = curves_of(instances.path(TABLE), None, "TP4 decode")
    assert [label(engine) for engine in four.chosen] == [
        label(engine) for engine in decode.chosen if engine.curve.partition.tp == 4
    ]
    (one,) = curves_of(instances.path(TABLE), engine="#18").chosen
    assert (one.index, label(one)) == (18, "#18 chat prefill h100 tp1")
    assert next(lines(four)) == f"{TABLE}: {len(four.chosen)} of 28"


def test_dropped_partitions_are_counted(sampled: Curves) -> None:
    assert "131 partitions considered, 130 dropped: 96 memory, 34 heads % tp" in list(lines(sampled))


def test_an_unknown_engine_is_refused_with_those_there_are() -> None:
    result = run(TABLE, "--engine", "tp64")
    assert result.exit_code == 2
    assert "tp2 pp2" in result.stderr
    with pytest.raises(InputError, match="--role decode --engine 'chunk2048'"):
        curves_of(instances.path(TABLE), "decode", "chunk2048")


@pytest.mark.parametrize("name", [TABLE, ROOFLINE])
def test_the_written_table_holds_the_same_curves(name: str, tmp_path: Path) -> None:
    """Read again as a table, every breakpoint is there, exactly."""
    path = instances.path(name)
    found, table = curves_of(path), tmp_path / "curves.csv"
    table.write_text(as_csv(found))
    again = engines_of(read_instance(path), CurveTables.read([table], interpolate=True))
    assert len(again.engines) == len(found.chosen)
    for old, new in zip(found.chosen, again.engines, strict=True):
        values = ("role", "partition", "chunk_tokens", "batch", "latency_ms", "requests_per_s", "memory_gib")
        assert [getattr(old.curve, name) for name in values] == [getattr(new.curve, name) for name in values]


@pytest.mark.parametrize("name,ending", [(TABLE, "png"), (TABLE, "svg"), (ROOFLINE, "svg")])
def test_the_plot(name: str, ending: str, tmp_path: Path) -> None:
    plot = tmp_path / f"curves.{ending}"
    result = run(name, "--plot", plot)
    assert result.exit_code == 0, result.output
    content = plot.read_bytes()
    assert content.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    assert len(content) > 20_000


def test_at_most_as_many_curves_as_styles_are_drawn(tmp_path: Path) -> None:
    """Those of the highest rate per GPU."""
    found = curves_of(instances.path(TABLE), "decode")
    assert len(found.chosen) == 10
    assert plot_curves(found, tmp_path / "a.svg") == len(STYLES) == 6


def test_samples_and_fit_error_are_drawn(sampled: Curves, tmp_path: Path) -> None:
    """Three panels; the samples lie under the curve, on a side that is never negative."""
    samples = sampled.samples(sampled.chosen[0])
    assert samples is not None
    curve = sampled.chosen[0].curve
    assert [float(curve.at(batch).latency_ms) - samples.latency_ms[batch - 1] for batch in (1, 2, 4)] == [1, 1, 1]
    assert plot_curves(sampled, tmp_path / "samples.svg") == 1
    assert plot_curves(curves_of(instances.path(TABLE), engine="#18"), tmp_path / "none.svg") == 1
    panels = [(tmp_path / name).read_text().count('id="axes_') for name in ("samples.svg", "none.svg")]
    assert panels == [3, 2]


def test_roofline_curves_are_on_the_safe_side_of_their_samples() -> None:
    """Latency never under a sample, rate never over one; the largest gap is the stated fit error."""
    found = curves_of(instances.path(ROOFLINE), "decode", "tp8")
    engine = found.chosen[0]
    samples = found.samples(engine)
    if samples is None:
        pytest.skip("the roofline keeps no samples")
    batch = samples.batch.astype(int)
    latency = np.array([float(engine.curve.at(int(one)).latency_ms) for one in batch])
    rate = np.array([float(engine.curve.at(int(one)).requests_per_s) for one in batch])
    worse = [*(latency / samples.latency_ms - 1), *(1 - rate / samples.requests_per_s)]
    assert min(worse) > -1e-9
    assert max(worse) <= float(engine.curve.fit_error) + 1e-9


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    empty = Curves("x", Sampled(), EngineSet((), {"memory": 3}, (), "c", "e"), ())
    assert "3 partitions considered, 3 dropped: 3 memory" in list(lines(empty))
    with pytest.raises(InputError, match="no curve to draw"):
        plot_curves(empty, tmp_path / "a.png")


@pytest.mark.parametrize("option,place", [("--plot", "a.pdf"), ("-o", "a.json"), ("--plot", "nowhere/a.png")])
def test_wrong_files_are_refused_first(option: str, place: str, tmp_path: Path) -> None:
    result = run(TABLE, option, tmp_path / place)
    assert result.exit_code == 2
    assert Path(place).name in result.stderr
    assert list(tmp_path.iterdir()) == []
