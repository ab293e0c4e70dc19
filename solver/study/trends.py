"""The 14 trends of the paper as checks on the figures: numbers, direction, magnitude, holds or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from solver.study import paper_numbers as paper
from solver.study.bandwidth_figure import TRAFFIC
from solver.study.cpp_figure import MODELLED, NO_FILL
from solver.study.figure import Figure, Row
from solver.study.frontier_figures import GAIN
from solver.study.gains import GPU, USER, Gain, best_at, gain
from solver.study.piggyback import GQA, MLA
from solver.study.ratio_figures import MODELS, SENSITIVITY, UNLIMITED

Figures = Mapping[int, Figure]
TIGHT = 100.0
"""Tokens/s/user that count as the tight end of figures 9, 10 and 12; the axis of the paper's figures is not known."""
SMALL = 1.15
"""A mean gain up to this is called none."""
LEVEL = 1.2
"""Frontiers that stay within this factor of each other nearly coincide."""


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


Check = Callable[[Figures], Iterator[tuple[str, Any, Any, bool]]]


def _gain(figure: Figure, panel: str) -> Gain:
    return gain(figure.of("disaggregated", panel).rows, figure.of("co-located", panel).rows)


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]


def _falls(values: Sequence[float], slack: float = 0.0) -> bool:
    return all(b <= a * (1 + slack) for a, b in pairwise(values))


def _at(rows: Sequence[Row], interactivity: float) -> Row:
    """The loosest point that is at least as fast; the fastest one where none is."""
    return next((row for row in rows if float(row[USER]) >= interactivity), rows[-1])


def _size(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    sizes = [_gain(figures[7], panel).mean for panel in figures[7].panels() if panel != GAIN]
    yield "mean gain of 8B, 70B, 405B (4096/256) rises", "8B < 70B < 405B", _rounded(sizes), sizes == sorted(sizes)


def _traffic(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    means = {panel: _gain(figures[8], panel).mean for panel in figures[8].panels() if panel != GAIN}
    values = list(means.values())
    best, least = max(means, key=lambda p: means[p]), min(means, key=lambda p: means[p])
    holds = best == "16384 in, 2048 out" and least == "2048 in, 16384 out"
    told = "16384/2048 largest, 2048/16384 least"
    yield "mean gain at 16k/2k, 16k/16k, 2k/2k, 2k/16k", told, _rounded(values), holds
    heavy, light = (_gain(figures[1], panel).largest for panel in figures[1].panels())
    holds = heavy - 1 >= 4 * abs(light - 1)
    yield (
        "largest gain at 16k/2k and 1k/32k; the first four times as far above 1",
        "much larger",
        _rounded((heavy, light)),
        holds,
    )


def _hump(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    over, base = (figures[8].of(name, "16384 in, 2048 out").rows for name in ("disaggregated", "co-located"))
    found = gain(over, base, 0.02)
    ends = (found.rows[0][1], found.largest, found.rows[-1][1])
    told = "gain of R1 16k/2k: loose end, largest, tight end (2 % of the peak); inside, 1.2 times both ends"
    yield told, "hump", _rounded(ends), ends[1] >= 1.2 * max(ends[0], ends[2])
    rows = figures[8].of("measured: disaggregated over co-located").rows
    yield (
        "where it is largest, tokens/s/user (measured at 8k/1k on B200: 75); within a factor of 2",
        75,
        *_near(found.peak_at, max(rows, key=lambda r: float(r["gain"]))[USER]),
    )


def _near(ours: float, theirs: float, factor: float = 2.0) -> tuple[float, bool]:
    return float(f"{ours:.3g}"), theirs / factor <= ours <= theirs * factor


def _ratio(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    loose: dict[str, float] = {}
    for label, _ in MODELS:
        rows = figures[9].of(label, UNLIMITED).rows
        ends = (float(rows[0]["ctx_gen"]), float(_at(rows, TIGHT)["ctx_gen"]))
        loose[label] = ends[0]
        for end, said, value in zip(
            ("loosest point", f"{TIGHT:g} tokens/s/user"), paper.CTX_GEN[label], ends, strict=True
        ):
            yield f"ctx:gen of {label}, {end}, within a factor of 2", said.value, *_near(value, said.value)
        falls = _falls([float(row["ctx_gen"]) for row in rows])
        yield (
            f"ctx:gen of {label} falls as tokens/s/user rises",
            "falls",
            "falls" if falls else "rises somewhere",
            falls,
        )
    order = list(loose.values())
    yield "order at the loose end", "R1 > 405B > 70B > 8B", _rounded(order), order == sorted(order, reverse=True)


def _fixed(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    rows = figures[10].of("matched").rows
    peak = max(float(row[GPU]) for row in rows)
    half, high = (figures[10].of(f"fixed {ratio}").rows for ratio in ("0.5", "3.5"))
    level = max(float(row[GPU]) for row in half) / peak
    yield (
        "plateau of the fixed ratio 0.5 over the peak, .30 to .55",
        paper.FIXED_HALF_PLATEAU.value,
        float(f"{level:.3g}"),
        0.30 <= level <= 0.55,
    )
    tight = best_at(high, TIGHT) / peak
    yield (
        f"fixed ratio 3.5 at {TIGHT:g} tokens/s/user over the peak, at most .15",
        paper.FIXED_HIGH[1].value,
        float(f"{tight:.3g}"),
        tight <= 0.15,
    )
    fixed = [series for series in figures[10].series if series.name.startswith("fixed ")]
    most = max(best_at(s.rows, float(row[USER])) / float(row[GPU]) for s in fixed for row in rows)
    yield (
        "largest fixed over matched at the same interactivity, at most 1",
        "envelope",
        float(f"{most:.6g}"),
        most <= 1 + 1e-12,
    )
    worst = min(max(1 - best_at(s.rows, float(row[USER])) / float(row[GPU]) for row in rows) for s in fixed)
    yield (
        "least of what each fixed ratio loses at its worst interactivity, above .2",
        "no fixed ratio wins",
        float(f"{worst:.3g}"),
        worst > 0.2,
    )


def _cpp(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    rows = figures[5].of(MODELLED).rows
    first, last = rows[0], rows[-1]
    ratio = float(first["ftl_s"]) / float(last["ftl_s"])
    said = paper.FTL_SECONDS[0].value / paper.FTL_SECONDS[1].value
    yield "FTL at PP 1 over FTL at PP 32, 28 to 32", float(f"{said:.3g}"), float(f"{ratio:.3g}"), 28 <= ratio <= 32
    rates = [float(row["tokens_per_s_per_gpu"]) / float(first["tokens_per_s_per_gpu"]) for row in rows]
    ends = [said.value for said in paper.FTL_RATE_SPREAD]
    yield (
        "tokens/s/GPU over that at PP 1, within 5 %",
        ends,
        _rounded((min(rates), max(rates))),
        all(0.95 <= r <= 1.05 for r in rates),
    )
    bare = [float(row["ftl_s"]) for row in figures[5].of(NO_FILL).rows]
    times = bare[0] / bare[-1]
    told = "the same with the filling of the pipeline left out, within 10 % of the paper"
    yield told, float(f"{said:.3g}"), float(f"{times:.3g}"), 0.9 * said <= times <= 1.1 * said
    falls = _falls([float(row["ftl_s"]) for row in rows])
    yield "FTL falls with every doubling of PP", "falls", _rounded([float(row["ftl_s"]) for row in rows]), falls


def _bytes(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    row = next(row for row in figures[5].of(MODELLED).rows if row["pp"] == 8)
    times = float(row["tp_bytes"]) / float(row["cpp_bytes"])
    yield "bytes of TP over bytes of CPP, 8 stages, R1; above 5", "far fewer", float(f"{times:.3g}"), times > 5


def _tighter(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    for label in ("Llama 3.1 70B", "DeepSeek-R1"):
        rows = figures[9].of(label, UNLIMITED).rows
        batches = [int(rows[0]["decode_batch"]), int(_at(rows, TIGHT)["decode_batch"])]
        yield (
            f"decode batch of {label}, loosest and {TIGHT:g} tokens/s/user, falls",
            "smaller",
            batches,
            batches[1] < batches[0],
        )
        tps = [int(rows[0]["decode_tp"]), int(rows[-1]["decode_tp"])]
        if label == "DeepSeek-R1":
            groups = max(int(row["decode_stage_group"]) for row in rows)
            yield "largest stage group of R1 decode, inside the NVLink domain", "at most 72", groups, groups <= 72
            dps = [int(rows[0]["decode_dp"]), int(rows[-1]["decode_dp"])]
            holds = dps[1] < dps[0] and tps[1] > tps[0]
            yield (
                "R1 decode, loosest and tightest: attention DP gives way to TP",
                "DP -> TP",
                {"dp": dps, "tp": tps},
                holds,
            )
        else:
            yield "TP of 70B decode, loosest and tightest", [2, 64], tps, tps[1] > tps[0]


def _domain(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    for panel in ("DeepSeek-R1", "Llama 3.1 70B"):
        wide, narrow = (figures[11].of(f"NVLink domain {size}", panel).rows for size in (72, 8))
        found = gain(wide, narrow, 0.02)
        least = min(best_at(wide, float(row[USER])) / float(row[GPU]) for row in narrow)
        yield f"{panel}: least ratio of NVLink 72 to 8, at least 1", ">= 1", float(f"{least:.4g}"), least >= 1
        share = found.share_of(found.peak_at)
        if panel == "DeepSeek-R1":
            told = f"{panel}: largest ratio, and where (0 loosest, 1 tightest); above 1.05, inside"
            yield told, "middle", _rounded((found.largest, share)), found.largest > 1.05 and 0.05 < share < 0.95
        else:
            told = f"{panel}: largest ratio, and where (0 loosest, 1 tightest); above 1.05, in the tight half"
            yield told, "low latency", _rounded((found.largest, share)), found.largest > 1.05 and share > 0.5


def _bandwidth(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    for label, said in paper.KV_GBPS.items():
        rows = [row for row in figures[12].of(label).rows if float(row[USER]) <= TIGHT]
        values = [float(row["gbps_per_gpu"]) for row in rows]
        for end, each, value in zip(("smallest", "largest"), said, (min(values), max(values)), strict=True):
            yield (
                f"max(egress, ingress) at {label}, {end} up to {TIGHT:g} tokens/s/user, GB/s/GPU, within a factor of 2",
                each.value,
                *_near(value, each.value),
            )
    egress = [float(figures[12].of(label).rows[0]["egress_gbps"]) for label in ("2048/2048", "16384/2048", "1M/2048")]
    yield "egress at ISL 2k, 16k, 1M, GB/s/GPU, falls", "falls with ISL", _rounded(egress), _falls(egress)
    ingress = [best_ingress(figures[12].of(label).rows) for label in ("16384/2048", "16384/16384")]
    yield "ingress at 20 tokens/s/user, OSL 2k and 16k, falls about as 1/OSL", 8, *_near(ingress[0] / ingress[1], 8)
    for label in list(TRAFFIC)[:2]:
        values = [float(row["ingress_gbps"]) for row in figures[12].of(label).rows]
        yield (
            f"ingress at {label}: loosest over tightest, above 1",
            "falls with tighter TTL",
            _rounded((values[0], values[-1])),
            values[0] > values[-1],
        )


def best_ingress(rows: Sequence[Row], interactivity: float = 20.0) -> float:
    """Ingress of the first point at least that fast, GB/s per GPU."""
    return float(_at(rows, interactivity)["ingress_gbps"])


def _piggyback(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    means = []
    for panel in figures[6].panels()[:2]:
        hull, cut = (figures[6].of(name, panel).rows for name in ("co-located: the better of both", "piggybacking"))
        means.append(gain(cut, hull).mean)
    yield (
        "mean of piggybacking over the better of both: R1 (MLA), 70B (GQA); below .9, above .95",
        "R1 well below, 70B close",
        _rounded(means),
        means[0] < 0.9 and means[1] > 0.95,
    )
    small = [float(figures[6].of(name).rows[1]["over_whole"]) for name in (MLA, GQA)]
    told = "one engine, chunks of 256 tokens over whole prompts: R1 (MLA), 70B (GQA); below .9, above .95"
    yield told, "R1 well below, 70B close", _rounded(small), small[0] < 0.9 and small[1] > 0.95
    names = ("piggybacking", "whole prompts")
    cut, whole = (figures[6].of(name, "Llama 3.1 70B (GQA)").rows for name in names)
    rows = gain(cut, whole).rows
    yield (
        "70B, piggybacking over whole prompts at the loose and the tight end; falls",
        "best at loose TTL",
        _rounded((rows[0][1], rows[-1][1])),
        rows[0][1] >= rows[-1][1],
    )


def _constant(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    panel = figures[14].panels()[0]
    for mode in ("disaggregated", "co-located"):
        true, short = (figures[14].of(f"{name}, {mode}", panel).rows for name in ("dynamic", "constant 4096/512"))
        found = gain(short, true)
        ends = (found.smallest, found.largest)
        yield (
            f"{mode}: constant over dynamic, smallest and largest, within a factor of {LEVEL:g}",
            1,
            _rounded(ends),
            ends[0] >= 1 / LEVEL and ends[1] <= LEVEL,
        )


def _pools(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    rows = figures[9].of("DeepSeek-R1", UNLIMITED).rows
    strict = figures[9].of("first token in 2 s", SENSITIVITY).rows
    engine = [{(row["decode_partition"], row["decode_batch"]) for row in each} for each in (rows, strict)]
    prefill = [{(row["prefill_partition"], row["prefill_batch"]) for row in each} for each in (rows, strict)]
    changed = len(engine[0] ^ engine[1])
    yield (
        "FTL 10 s to 2 s: decode points that differ, and whether prefill does",
        [0, True],
        [changed, prefill[0] != prefill[1]],
        changed == 0 and prefill[0] != prefill[1],
    )
    yield "prefill points in use while TTL sweeps", 1, len(prefill[0]), len(prefill[0]) == 1


def _vanishes(figures: Figures) -> Iterator[tuple[str, Any, Any, bool]]:
    values = {
        "8B 4096/256": _gain(figures[7], "Llama 3.1 8B").mean,
        "R1 1k/32k": _gain(figures[1], "1024 in, 32768 out").mean,
        "R1 2k/16k": _gain(figures[8], "2048 in, 16384 out").mean,
    }
    for label, value in values.items():
        yield f"mean gain, {label}, at most {SMALL:g}", "none", float(f"{value:.3g}"), value <= SMALL


CHECKS: dict[int, tuple[str, tuple[int, ...], Check]] = {
    1: ("gain grows with model size", (7,), _size),
    2: ("gain grows with the share of prefill", (1, 8), _traffic),
    3: ("gain is largest at medium interactivity", (8,), _hump),
    4: ("ctx:gen falls as interactivity rises", (9,), _ratio),
    5: ("no fixed ratio wins", (10,), _fixed),
    6: ("CPP cuts FTL at equal throughput", (5,), _cpp),
    7: ("CPP moves fewer bytes than TP", (5,), _bytes),
    8: ("tighter TTL: smaller batch, more TP", (9,), _tighter),
    9: ("NVLink 72 at least as good as 8", (11,), _domain),
    10: ("KV bandwidth is small", (12,), _bandwidth),
    11: ("piggybacking hurts MLA, not GQA", (6,), _piggyback),
    12: ("constant traffic stands for dynamic", (14,), _constant),
    13: ("FTL is the prefill pool's, TTL the decode pool's", (9,), _pools),
    14: ("no gain for small models and long answers", (1, 7, 8), _vanishes),
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
