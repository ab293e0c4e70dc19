"""The 14 trends of the paper as checks on the figures: numbers, direction, magnitude, holds or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from solver.study.cpp_trends import pipeline_bytes, pipelines
from solver.study.gain_trends import constant_traffic, hump, model_size, nvlink, piggybacking, traffic, vanishes
from solver.study.judge import Check, Figures
from solver.study.ratio_trends import bandwidth, fixed_ratios, pools, ratio, tighter


@dataclass(frozen=True)
class Finding:
    """
    One quantity of one trend.

    Parameters
    ----------
    trend
        Number and words of the trend.
    quantity
        What is compared, and what it takes to hold.
    paper
        What the paper shows.
    ours
        What we get.
    holds
        Whether it does.
    """

    trend: str
    quantity: str
    paper: Any
    ours: Any
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        """For ``trends.json``."""
        return asdict(self)


CHECKS: dict[int, tuple[str, tuple[int, ...], Check]] = {
    1: ("gain grows with model size", (7,), model_size),
    2: ("gain grows with the share of prefill", (1, 8), traffic),
    3: ("gain is largest at medium interactivity", (8,), hump),
    4: ("ctx:gen falls as interactivity rises", (9,), ratio),
    5: ("no fixed ratio wins", (10,), fixed_ratios),
    6: ("CPP cuts FTL at equal throughput", (5,), pipelines),
    7: ("CPP moves fewer bytes than TP", (5,), pipeline_bytes),
    8: ("tighter TTL: smaller batch, more TP", (9,), tighter),
    9: ("NVLink 72 at least as good as 8", (11,), nvlink),
    10: ("KV bandwidth is small", (12,), bandwidth),
    11: ("piggybacking hurts MLA, not GQA", (1, 6), piggybacking),
    12: ("constant traffic stands for dynamic", (14,), constant_traffic),
    13: ("FTL is the prefill pool's, TTL the decode pool's", (9,), pools),
    14: ("no gain for small models and long answers", (1, 7, 8), vanishes),
}
"""Number to words, the figures it needs, and the check."""


def findings(figures: Figures) -> list[Finding]:
    """Every quantity of the trends whose figures are there."""
    return [
        Finding(f"{number}: {words}", *found)
        for number, (words, needed, check) in CHECKS.items()
        if all(figure in figures for figure in needed)
        for found in check(figures)
    ]
