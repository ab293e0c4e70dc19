"""
What the paper shows, and what others measured, as numbers.

The paper is Mitra et al., "Beyond the Buzz: A Pragmatic Take on Inference Disaggregation", arXiv 2506.05508. Its
curves are normalised and its simulator is not public. Marks: V, stated in its text; P, read off the pixels of a figure;
T, from another transcription of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from solver.study.figure import Row, Series


@dataclass(frozen=True)
class Said:
    """
    A number of the paper.

    Parameters
    ----------
    value
        The number.
    mark
        ``V``, ``P`` or ``T``, as above.
    figure
        The figure that it is from.
    """

    value: float
    mark: str
    figure: int


FTL_SECONDS = (Said(91.5, "P", 5), Said(2.94, "P", 5))
"""Figure 5: first token at PP 1 and at PP 32, s."""
FTL_RATE_SPREAD = (Said(0.99, "P", 5), Said(1.03, "P", 5))
"""Figure 5: tokens/s/GPU over that at PP 1, smallest and largest."""
PAPER_FTL = {1: FTL_SECONDS[0].value, 32: FTL_SECONDS[1].value}
"""PP to seconds; only the ends are known as numbers."""
CTX_GEN = {
    "DeepSeek-R1": (Said(3.64, "P", 9), Said(0.06, "P", 9)),
    "Llama 3.1 405B": (Said(2.07, "P", 9), Said(0.21, "P", 9)),
    "Llama 3.1 70B": (Said(0.95, "P", 9), Said(0.45, "P", 9)),
    "Llama 3.1 8B": (Said(0.41, "P", 9), Said(0.35, "P", 9)),
}
"""Figure 9: prefill GPUs per decode GPU at the loose and at the tight end."""
TIGHT = 100.0
"""Tokens/s/user that count as the tight end of figures 9, 10 and 12; the axis of the paper's figures is not known."""
FIXED_HALF_PLATEAU = Said(0.42, "P", 10)
"""Figure 10: the level of the fixed ratio 0.5 over the peak of the matched one."""
FIXED_HIGH = (Said(0.97, "P", 10), Said(0.05, "P", 10))
"""Figure 10: the fixed ratio 3.5 over the peak of the matched one, at the loose and at the tight end."""
KV_GBPS = {
    "16384/2048": (Said(0.37, "P", 12), Said(1.23, "P", 12)),
    "1M/2048": (Said(0.97, "P", 12), Said(1.82, "P", 12)),
}
"""Figure 12: smallest and largest max(egress, ingress), GB/s per GPU."""
FTL_LIMIT_MS = Said(10_000, "V", 0)
"""Design points with a later first token are dropped; not in figure 5."""

_B200 = "InferenceX results, DeepSeek-R1 FP4, 8k/1k on B200"
_NVL = "InferenceX blog, DeepSeek-R1 FP4, 1k/1k, GB200 NVL72 over B200"
_GB300 = "InferenceX results, DeepSeek-R1 FP4, 8k/1k on GB300"
_H20 = "LMSYS blog 2026-01-15, DeepSeek-V3.1 on H20, 128K tokens, TP 8 a stage"
_QWEN = "LMSYS blog 2026-01-15, Qwen3-235B-A22B on H20, 128K tokens, TP 4 a stage, chunks of equal time"
_USER = "tokens_per_s_per_user"


def _pairs(column: str, pairs: tuple[tuple[float, float], ...]) -> list[Row]:
    return [{_USER: x, column: y} for x, y in pairs]


_MEASURED = {
    "disaggregated over co-located": (
        _pairs("gain", ((20, 0.89), (40, 1.49), (60, 2.63), (75, 2.85), (100, 2.49), (150, 1.17))), _B200,
    ),
    "NVLink 72 over 8": (
        _pairs("gain", ((25, 1.15), (75, 1.35), (100, 2.23), (125, 4.39), (150, 3.3), (200, 1.3), (250, 0.97))), _NVL,
    ),
    "ctx:gen on the measured frontier": (
        _pairs("ctx_gen", ((18.9, 3.5), (33, 2.0), (54, 1.25), (131, 0.12))), _GB300,
    ),
    "CPP on H20": (
        [{"pp": pp, "ftl_s": ftl, "gpus": 8 * pp, "tokens_per_s_per_gpu": rate / (8 * pp), "efficiency": share}
         for pp, ftl, rate, share in ((1, 48.5, 2650, 1.0), (2, 28.3, 4700, 0.887), (4, 15.5, 8800, 0.83))], _H20,
    ),
    "Qwen3-235B-A22B, TP 4 a stage": ([{"pp": 1, "efficiency": 1.0}, {"pp": 8, "efficiency": 0.769}], _QWEN),
}  # fmt: skip


def measured(name: str, panel: str = "gain") -> Series:
    """Points that others measured on real systems, with where they stand."""
    rows, source = _MEASURED[name]
    return Series(f"measured: {name}", [dict(row) for row in rows], panel, source)
