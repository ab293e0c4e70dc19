"""Figures 1, 6, 7, 8, 11 and 14: frontiers beside one another."""

from __future__ import annotations

from solver.study.bench import Bench, Case, Chunks, rows_of
from solver.study.chunks import CHUNKS
from solver.study.figure import Axes, Figure, Series
from solver.study.gains import GPU, USER, gain, gain_rows
from solver.study.paper_numbers import measured
from solver.study.piggyback import PANEL as ENGINE_PANEL
from solver.study.piggyback import chunk_series
from solver.study.silicon import PREFIX, silicon

FRONTIER = Axes(USER, GPU, "interactivity: output tokens/s per user", "output tokens/s per GPU")
HULL_NOTE = (
    "Co-located: at each point the best of whole prompts and of chunks of 256 to 8192 tokens beside the decodes "
    "(piggybacking)."
)
SILICON_NOTE = "Silicon: sums of measured operators (TensorRT-LLM, NVFP4, GB200; DeepSeek-V3.1 for R1; chunks of 2048)."
GAIN_LABEL = "ratio of output tokens/s per GPU"
CUT_NOTE = "First tokens within 10 s. GPUs are unlimited: replicas are real numbers, pools are matched exactly."
GAIN = "gain: disaggregated over co-located"
WIDER = "gain: NVLink 72 over 8"
RATIO_OF = Axes(USER, "gain", "interactivity: output tokens/s per user", GAIN_LABEL, True)
GAINS, WIDENED = {GAIN: RATIO_OF}, {WIDER: RATIO_OF}
PIGGYBACK = {"r1-16k-2k": "DeepSeek-R1 (MLA)", "llama-70b-16k-2k": "Llama 3.1 70B (GQA)"}
OVER_WHOLE = "rate over that with whole prompts"
CHUNK_PANEL = "frontier with chunks over that with whole prompts"
HULL, BEST_CHUNK = "co-located: the best of all", "piggybacking: the best chunk"
LOGNORMAL = "log-normal: 4500 (sd 3500) in, 750 (sd 750) out"
AZURE = "Azure conversations 2023: 1155 in, 211 out on average"


def disaggregated(bench: Bench, name: str, panel: str, label: str = "disaggregated", domain_gpus: int = 72) -> Series:
    """The disaggregated frontier of an instance, ratios matched."""
    found = bench.frontier(Case(name, ("disaggregated",), domain_gpus=domain_gpus))
    return Series(label, rows_of(found), panel)


def colocated(bench: Bench, name: str, panel: str, label: str = "co-located", chunks: Chunks = "any") -> Series:
    """The co-located frontier of an instance."""
    return Series(label, rows_of(bench.frontier(Case(name, ("colocated",), chunks))), panel)


def measured_operators(name: str, panel: str) -> list[Series]:
    """The recorded frontiers of an instance from measured operators, co-located last; none where there is no record."""
    return [*silicon(name, "disaggregated", panel, "disaggregated"), *silicon(name, "colocated", panel, "co-located")]


def _both(bench: Bench, panels: dict[str, str], gained: tuple[str, ...] = ()) -> list[Series]:
    """Both frontiers of each instance, and their ratio; beside them those of measured operators, and ratios named."""
    series, gains, others = [], [], []
    for name, panel in panels.items():
        over, base = disaggregated(bench, name, panel), colocated(bench, name, panel)
        known = measured_operators(name, panel)
        series += [over, base, *known]
        gains.append(Series(panel, gain_rows(over.rows, base.rows), GAIN))
        if known and panel in gained:
            others.append(Series(PREFIX + panel, gain_rows(known[0].rows, known[1].rows), GAIN, known[0].source))
    return [*series, *gains, *others]


def figure_1(bench: Bench) -> Figure:
    """Prefill-heavy and generation-heavy traffic of a reasoning model."""
    panels = {"r1-16k-2k": "16384 in, 2048 out", "r1-1k-32k": "1024 in, 32768 out"}
    series = [s for name, panel in panels.items() for s in (
        disaggregated(bench, name, panel), colocated(bench, name, panel),
        colocated(bench, name, panel, "co-located, piggybacking", "cut"), *measured_operators(name, panel),
    )]  # fmt: skip
    notes = [HULL_NOTE, CUT_NOTE, SILICON_NOTE]
    return Figure(1, "DeepSeek-R1: disaggregated against co-located", FRONTIER, series, notes)


def figure_6(bench: Bench) -> Figure:
    """Piggybacking with latent and with grouped-query attention."""
    series, shares = [], []
    for name, panel in PIGGYBACK.items():
        whole = colocated(bench, name, panel, "whole prompts", "whole")
        cut = {size: colocated(bench, name, panel, f"chunks of {size}", size) for size in CHUNKS}
        series += [
            colocated(bench, name, panel, HULL), whole, cut[256], cut[2048],
            colocated(bench, name, panel, BEST_CHUNK, "cut"), disaggregated(bench, name, panel),
        ]  # fmt: skip
        means = [{"chunk_tokens": size, "over_whole": gain(each.rows, whole.rows).mean} for size, each in cut.items()]
        shares.append(Series(panel, means, CHUNK_PANEL))
    notes = [
        CUT_NOTE,
        "Below left: geometric mean over interactivity of a frontier with chunks over that with whole prompts.",
        "MLA projects the KV of earlier chunks up again for each chunk, unless it is kept.",
    ]
    axes = {panel: Axes("chunk_tokens", "over_whole", "prompt tokens per chunk", OVER_WHOLE, True, y_from=0.6)
            for panel in (CHUNK_PANEL, ENGINE_PANEL)}  # fmt: skip
    series = [*series, *shares, *chunk_series(bench)]
    return Figure(6, "Piggybacking, 16384 in, 2048 out", FRONTIER, series, notes, axes)


def figure_7(bench: Bench) -> Figure:
    """Three sizes of one family."""
    panels = {f"llama-{size}-4k-256": f"Llama 3.1 {size.upper()}" for size in ("8b", "70b", "405b")}
    notes = [HULL_NOTE, CUT_NOTE, SILICON_NOTE]
    series = _both(bench, panels, tuple(panels.values()))
    return Figure(7, "Model size, 4096 in, 256 out", FRONTIER, series, notes, GAINS)


def figure_8(bench: Bench) -> Figure:
    """Four kinds of traffic."""
    panels = {
        "r1-16k-2k": "16384 in, 2048 out", "r1-16k-16k": "16384 in, 16384 out", "r1-2k-2k": "2048 in, 2048 out",
        "r1-2k-16k": "2048 in, 16384 out",
    }  # fmt: skip
    ours = _both(bench, panels, ("16384 in, 2048 out",))
    notes = [HULL_NOTE, CUT_NOTE, SILICON_NOTE, "Measured: 8192 in, 1024 out on B200 (NVLink 8)."]
    series = [*ours, measured("disaggregated over co-located", GAIN)]
    return Figure(8, "DeepSeek-R1: traffic", FRONTIER, series, notes, GAINS)


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
    return Figure(11, title, FRONTIER, [*series, *wider, measured("NVLink 72 over 8", WIDER)], notes, WIDENED)


def figure_14(bench: Bench) -> Figure:
    """Traffic as it is, and the constant that stands for it."""
    panels = {
        LOGNORMAL: {"dynamic": "llama-70b-lognormal", "constant 4096/512": "llama-70b-4k-512"},
        AZURE: {"dynamic": "llama-70b-azure", "constant 1024/128": "llama-70b-azure-p50"},
    }
    series = [
        made(bench, name, panel, f"{kind}, {mode}")
        for panel, kinds in panels.items()
        for mode, made in (("disaggregated", disaggregated), ("co-located", colocated))
        for kind, name in kinds.items()
    ]
    notes = [HULL_NOTE, CUT_NOTE, "The constant is the median of each length, rounded to a power of two."]
    return Figure(14, "Llama 3.1 70B: dynamic traffic and its constant", FRONTIER, series, notes)
