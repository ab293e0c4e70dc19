"""Figures 1, 6, 7, 8, 11 and 14: frontiers beside one another."""

from __future__ import annotations

from solver.study.bench import Bench, Case, Chunks, rows_of
from solver.study.figure import Axes, Figure, Series
from solver.study.gains import GPU, USER, gain_rows
from solver.study.paper_numbers import measured
from solver.study.piggyback import chunk_series

FRONTIER = Axes(USER, GPU, "interactivity: output tokens/s per user", "output tokens/s per GPU")
HULL_NOTE = "Co-located: at each point the better of whole prompts and chunks beside the decodes (piggybacking)."
CUT_NOTE = "First tokens within 10 s. GPUs are unlimited: replicas are real numbers, pools are matched exactly."
GAIN = "gain: disaggregated over co-located"
WIDER = "gain: NVLink 72 over 8"


def disaggregated(bench: Bench, name: str, panel: str, label: str = "disaggregated", domain_gpus: int = 72) -> Series:
    """The disaggregated frontier of an instance, ratios matched."""
    found = bench.frontier(Case(name, ("disaggregated",), domain_gpus=domain_gpus))
    return Series(label, rows_of(found), panel)


def colocated(bench: Bench, name: str, panel: str, label: str = "co-located", chunks: Chunks = "any") -> Series:
    """The co-located frontier of an instance."""
    return Series(label, rows_of(bench.frontier(Case(name, ("colocated",), chunks))), panel)


def _both(bench: Bench, panels: dict[str, str]) -> list[Series]:
    """Both frontiers of each instance, and the gain of one over the other."""
    pairs = [(disaggregated(bench, name, panel), colocated(bench, name, panel)) for name, panel in panels.items()]
    gains = [Series(over.panel, gain_rows(over.rows, base.rows), GAIN) for over, base in pairs]
    return [*(series for pair in pairs for series in pair), *gains]


def figure_1(bench: Bench) -> Figure:
    """Prefill-heavy and generation-heavy traffic of a reasoning model."""
    panels = {"r1-16k-2k": "16384 in, 2048 out", "r1-1k-32k": "1024 in, 32768 out"}
    series = [s for name, panel in panels.items() for s in (
        disaggregated(bench, name, panel), colocated(bench, name, panel, "co-located, piggybacking", "cut"),
        colocated(bench, name, panel),
    )]  # fmt: skip
    return Figure(1, "DeepSeek-R1: disaggregated against co-located", FRONTIER, series, [HULL_NOTE, CUT_NOTE])


def figure_6(bench: Bench) -> Figure:
    """Piggybacking with latent and with grouped-query attention."""
    series = []
    for name, panel in (("r1-16k-2k", "DeepSeek-R1 (MLA)"), ("llama-70b-16k-2k", "Llama 3.1 70B (GQA)")):
        series += [
            colocated(bench, name, panel, "co-located: the better of both"),
            colocated(bench, name, panel, "whole prompts", "whole"),
            colocated(bench, name, panel, "piggybacking", "cut"),
            disaggregated(bench, name, panel),
        ]
    notes = [
        CUT_NOTE,
        "Frontiers: chunks of 2048 prompt tokens in a step. MLA projects earlier chunks up again for each.",
    ]
    return Figure(6, "Piggybacking, 16384 in, 2048 out", FRONTIER, [*series, *chunk_series(bench)], notes)


def figure_7(bench: Bench) -> Figure:
    """Three sizes of one family."""
    panels = {f"llama-{size}-4k-256": f"Llama 3.1 {size.upper()}" for size in ("8b", "70b", "405b")}
    return Figure(7, "Model size, 4096 in, 256 out", FRONTIER, _both(bench, panels), [HULL_NOTE, CUT_NOTE])


def figure_8(bench: Bench) -> Figure:
    """Four kinds of traffic."""
    panels = {
        "r1-16k-2k": "16384 in, 2048 out", "r1-16k-16k": "16384 in, 16384 out", "r1-2k-2k": "2048 in, 2048 out",
        "r1-2k-16k": "2048 in, 16384 out",
    }  # fmt: skip
    ours = _both(bench, panels)
    notes = [HULL_NOTE, CUT_NOTE, "Measured: 8192 in, 1024 out on B200 (NVLink 8)."]
    return Figure(8, "DeepSeek-R1: traffic", FRONTIER, [*ours, measured("disaggregated over co-located", GAIN)], notes)


def figure_11(bench: Bench) -> Figure:
    """NVLink domains of 8 and of 72 GPUs."""
    series = [
        disaggregated(bench, name, panel, f"NVLink domain {domain}", domain)
        for name, panel in (("r1-16k-2k", "DeepSeek-R1"), ("llama-70b-16k-2k", "Llama 3.1 70B"))
        for domain in (72, 8)
    ]
    wider = [Series(wide.panel, gain_rows(wide.rows, narrow.rows), WIDER) for wide, narrow in (series[:2], series[2:])]
    notes = [CUT_NOTE, "Measured: DeepSeek-R1, 1024 in, 1024 out."]
    title = "NVLink domains of 8 and 72 GPUs, disaggregated, 16384 in, 2048 out"
    return Figure(11, title, FRONTIER, [*series, *wider, measured("NVLink 72 over 8", WIDER)], notes)


def figure_14(bench: Bench) -> Figure:
    """Traffic as it is, and the constant that stands for it."""
    panel = "log-normal: 4500 (sd 3500) in, 750 (sd 750) out"
    series = [
        disaggregated(bench, "llama-70b-lognormal", panel, "dynamic, disaggregated"),
        disaggregated(bench, "llama-70b-4k-512", panel, "constant 4096/512, disaggregated"),
        colocated(bench, "llama-70b-lognormal", panel, "dynamic, co-located"),
        colocated(bench, "llama-70b-4k-512", panel, "constant 4096/512, co-located"),
        disaggregated(bench, "llama-70b-azure", "Azure conversations 2023", "dynamic, disaggregated"),
        colocated(bench, "llama-70b-azure", "Azure conversations 2023", "dynamic, co-located"),
    ]
    notes = [HULL_NOTE, CUT_NOTE, "The constant is the median of each length, rounded to a power of two."]
    return Figure(14, "Llama 3.1 70B: dynamic traffic and its constant", FRONTIER, series, notes)
