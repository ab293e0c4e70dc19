"""Figures 9 and 10: how many prefill GPUs to a decode GPU."""

from __future__ import annotations

from fractions import Fraction

from solver.columns import Candidates, Column, Limits
from solver.frontier import Frontier
from solver.instance import Mode
from solver.study.bench import Bench, Case, rows_of
from solver.study.figure import Axes, Figure, Row, Series
from solver.study.frontier_figures import CUT_NOTE, FRONTIER, SILICON_NOTE
from solver.study.gains import GPU, USER
from solver.study.paper_numbers import CTX_GEN, TIGHT, measured
from solver.study.silicon import silicon

RATIO = Axes(USER, "ctx_gen", "interactivity: output tokens/s per user", "prefill GPUs per decode GPU", False, True)
FIXED = (Fraction(1, 2), Fraction(1), Fraction(2), Fraction(7, 2))
FLEETS = (8, 72, 576)
ASKED = tuple(Fraction(x) for x in range(10, 111, 10))
"""Interactivities at which finite fleets are planned."""
FP8_DECODE = "gemm:nvfp4 moe:nvfp4 kv:fp8 fmha:fp8"
MODELS = (
    ("DeepSeek-R1", "r1-16k-2k"), ("Llama 3.1 405B", "llama-405b-16k-2k"), ("Llama 3.1 70B", "llama-70b-16k-2k"),
    ("Llama 3.1 8B", "llama-8b-16k-2k"),
)  # fmt: skip
FLEETS_OPEN = "finite fleets, each mode allowed"
UNLIMITED, FLEET_PANEL, SENSITIVITY = "unlimited GPUs", "DeepSeek-R1, finite fleets", "DeepSeek-R1, what it hangs on"


def figure_9(bench: Bench) -> Figure:
    """The optimal ratio over interactivity, and what a finite fleet leaves of it."""
    only: tuple[Mode, ...] = ("disaggregated",)
    series = [Series(label, rows_of(bench.frontier(Case(name, only))), UNLIMITED) for label, name in MODELS]
    for label, name in MODELS:
        series += silicon(name, "disaggregated", UNLIMITED, label)
    for gpus in FLEETS:
        found = bench.frontier(Case("r1-16k-2k", only, gpus=gpus), at=ASKED)
        series.append(Series(f"{gpus} GPUs", rows_of(found), FLEET_PANEL))
    series += [
        Series("unlimited", series[0].rows, FLEET_PANEL),
        Series("as above: attention in BF16, first token in 10 s", series[0].rows, SENSITIVITY),
        Series("attention of decodes in FP8", _rows(bench, decode_precision=FP8_DECODE), SENSITIVITY),
        Series("first token in 2 s", _rows(bench, ttft_ms=2000), SENSITIVITY),
        measured("ctx:gen on the measured frontier", FLEET_PANEL),
    ]
    series += _paper_ends(series)
    notes = [
        CUT_NOTE, SILICON_NOTE,
        "Paper: both ends of each curve, at our loosest point and at 100 tokens/s per user; its axis is not known.",
        "Fleets: all GPUs of the fleet count, whole replicas, 10 to 110 tokens/s per user asked for.",
    ]  # fmt: skip
    return Figure(9, "Optimal ratio of prefill to decode GPUs, 16384 in, 2048 out", RATIO, series, notes)


def _paper_ends(series: list[Series]) -> list[Series]:
    """The ends of the paper's curves, drawn where ours begin and at the interactivity that counts as tight."""
    found = []
    for index, (label, _) in enumerate(MODELS):
        loose, tight = CTX_GEN[label]
        rows = [{USER: series[index].rows[0][USER], "ctx_gen": loose.value}, {USER: TIGHT, "ctx_gen": tight.value}]
        found.append(Series(f"paper: {label}", rows, UNLIMITED, "read off figure 9"))
    return found


def _rows(bench: Bench, ttft_ms: int | None = None, decode_precision: str | None = None) -> list[Row]:
    case = Case("r1-16k-2k", ("disaggregated",), ttft_ms=ttft_ms, decode_precision=decode_precision)
    return rows_of(bench.frontier(case))


def figure_10(bench: Bench) -> Figure:
    """Fixed ratios against the matched one."""
    case = Case("r1-16k-2k", ("disaggregated",))
    frontier, candidates = bench.frontier(case), bench.candidates(case)
    series = [Series("matched", rows_of(frontier), UNLIMITED)]
    series += [
        Series(f"fixed {float(ratio):g}", fixed_ratio(frontier, candidates, ratio), UNLIMITED) for ratio in FIXED
    ]
    for gpus in FLEETS:
        found = bench.frontier(Case("r1-16k-2k", gpus=gpus), at=ASKED)
        series.append(Series(f"{gpus} GPUs", rows_of(found), FLEETS_OPEN))
    series.append(Series("unlimited", rows_of(bench.frontier(Case("r1-16k-2k"))), FLEETS_OPEN))
    notes = [CUT_NOTE, "Fixed: the same best prefill and decode points; the slower pool sets the rate."]
    return Figure(10, "DeepSeek-R1, 16384 in, 2048 out: fixed and matched ratios", FRONTIER, series, notes)


def fixed_ratio(frontier: Frontier, candidates: Candidates, ratio: Fraction) -> list[Row]:
    """
    The frontier at a fixed ratio of prefill to decode GPUs.

    With P and D in requests/s per GPU, one decode GPU and ``ratio`` prefill GPUs complete ``min(P * ratio, D)``.

    Parameters
    ----------
    frontier
        The matched frontier: its interactivities are those at which the best decode point changes.
    candidates
        The operating points.
    ratio
        Prefill GPUs per decode GPU.

    Raises
    ------
    RuntimeError
        When P and D, found here on their own, do not give the frontier's value exactly: our fault.
    """
    rows = []
    for point in frontier.points:
        if point.tpot_ms is None:
            continue
        prefill, decode = best_rates(candidates, point.tpot_ms)
        osl = point.deployment.instance.workloads[0].osl
        if matched(prefill, decode) * osl != point.value:
            raise RuntimeError(f"matched {matched(prefill, decode) * osl} differs from the frontier, {point.value}")
        rate = min(prefill * ratio, decode) / (1 + ratio)
        rows.append({USER: float(1000 / point.tpot_ms), GPU: float(rate * osl), "ctx_gen": float(ratio)})
    return rows


def best_rates(candidates: Candidates, tpot_ms: Fraction) -> tuple[Fraction, Fraction]:
    """The best prefill and decode rates (requests/s per GPU) with every token within a limit, exactly."""
    name = candidates.instance.workloads[0].name
    columns = candidates.columns(Limits({name: tpot_ms}, {}))

    def rate(column: Column) -> Fraction:
        return column.requests_per_s / column.gpus

    best = {role: max(rate(c) for c in columns if c.role == role) for role in ("prefill", "decode")}
    return best["prefill"], best["decode"]


def matched(prefill: Fraction, decode: Fraction) -> Fraction:
    """Requests/s per GPU of pools that balance: a request takes 1/P prefill and 1/D decode GPU seconds."""
    return 1 / (1 / prefill + 1 / decode)
