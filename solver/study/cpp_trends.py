"""Trends 6 and 7: chunked pipeline parallelism."""

from __future__ import annotations

from solver.study import paper_numbers as paper
from solver.study.cpp_figure import H20_MODELLED, H20_PANEL, MODELLED, NO_FILL
from solver.study.judge import Figures, Judged, falls, rounded


def pipelines(figures: Figures) -> Judged:
    """Trend 6: first tokens and rates by the number of stages."""
    rows = figures[5].of(MODELLED).rows
    first, last = rows[0], rows[-1]
    ratio = float(first["ftl_s"]) / float(last["ftl_s"])
    said = paper.FTL_SECONDS[0].value / paper.FTL_SECONDS[1].value
    yield "FTL at PP 1 over FTL at PP 32, 28 to 32", rounded([said])[0], rounded([ratio])[0], 28 <= ratio <= 32
    rates = [float(row["tokens_per_s_per_gpu"]) / float(first["tokens_per_s_per_gpu"]) for row in rows]
    ends = [said.value for said in paper.FTL_RATE_SPREAD]
    told = "tokens/s/GPU over that at PP 1, within 5 %"
    yield told, ends, rounded((min(rates), max(rates))), all(0.95 <= rate <= 1.05 for rate in rates)
    bare = figures[5].of(NO_FILL).rows
    times = float(bare[0]["ftl_s"]) / float(bare[-1]["ftl_s"])
    told = "the same with the filling of the pipeline left out: ratio, 28 to 32"
    yield told, rounded([said])[0], rounded([times])[0], 28 <= times <= 32
    rates = [float(row["tokens_per_s_per_gpu"]) / float(bare[0]["tokens_per_s_per_gpu"]) for row in bare]
    told = "the same with the filling of the pipeline left out: tokens/s/GPU over that at PP 1, within 5 %"
    yield told, ends, rounded((min(rates), max(rates))), all(0.95 <= rate <= 1.05 for rate in rates)
    seconds = [float(row["ftl_s"]) for row in rows]
    yield "FTL falls with every doubling of PP", "falls", rounded(seconds), falls(seconds)
    ours, theirs = (figures[5].of(name, H20_PANEL).rows for name in (H20_MODELLED, "measured: CPP on H20"))
    shares = [[float(row["efficiency"]) for row in each[1:3]] for each in (theirs, ours)]
    told = "measured on H20, 2 and 4 stages: tokens/s/GPU over one stage; ours within 15 %"
    close = all(abs(b / a - 1) <= 0.15 for a, b in zip(*shares, strict=True))
    yield told, rounded(shares[0]), rounded(shares[1]), close


def pipeline_bytes(figures: Figures) -> Judged:
    """Trend 7: bytes of pipelines and of tensor parallelism."""
    row = next(row for row in figures[5].of(MODELLED).rows if row["pp"] == 8)
    times = float(row["tp_bytes"]) / float(row["cpp_bytes"])
    yield "bytes of TP over bytes of CPP, 8 stages, R1; above 5", "far fewer", float(f"{times:.3g}"), times > 5
