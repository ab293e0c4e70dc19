"""Trends 1, 2, 3, 9, 11, 12 and 14: what is gained, and where."""

from __future__ import annotations

from solver.study.frontier_figures import AZURE, BEST_CHUNK, CHUNK_PANEL, GAIN, HULL, LOGNORMAL, PIGGYBACK
from solver.study.gains import GPU, USER, best_at, gain
from solver.study.judge import LEVEL, SMALL, Figures, Judged, gain_of, near, rounded


def model_size(figures: Figures) -> Judged:
    """Trend 1: the gain by model size."""
    sizes = [gain_of(figures[7], panel).mean for panel in figures[7].panels() if panel != GAIN]
    yield "mean gain of 8B, 70B, 405B (4096/256) rises", "8B < 70B < 405B", rounded(sizes), sizes == sorted(sizes)


def traffic(figures: Figures) -> Judged:
    """Trend 2: the gain by traffic."""
    means = {panel: gain_of(figures[8], panel).mean for panel in figures[8].panels() if panel != GAIN}
    values = list(means.values())
    best, least = max(means, key=lambda p: means[p]), min(means, key=lambda p: means[p])
    holds = best == "16384 in, 2048 out" and least == "2048 in, 16384 out"
    told = "16384/2048 largest, 2048/16384 least"
    yield "mean gain at 16k/2k, 16k/16k, 2k/2k, 2k/16k", told, rounded(values), holds
    heavy, light = (gain_of(figures[1], panel).largest for panel in figures[1].panels())
    holds = heavy - 1 >= 4 * abs(light - 1)
    yield (
        "largest gain at 16k/2k and 1k/32k; the first four times as far above 1",
        "much larger",
        rounded((heavy, light)),
        holds,
    )


def hump(figures: Figures) -> Judged:
    """Trend 3: where the gain is largest."""
    over, base = (figures[8].of(name, "16384 in, 2048 out").rows for name in ("disaggregated", "co-located"))
    found = gain(over, base, 0.02)
    ends = (found.rows[0][1], found.largest, found.rows[-1][1])
    told = "gain of R1 16k/2k: loose end, largest, tight end (2 % of the peak); inside, 1.2 times both ends"
    yield told, "hump", rounded(ends), ends[1] >= 1.2 * max(ends[0], ends[2])
    rows = figures[8].of("measured: disaggregated over co-located").rows
    yield (
        "where it is largest, tokens/s/user (measured at 8k/1k on B200: 75); within a factor of 2",
        75,
        *near(found.peak_at, max(rows, key=lambda r: float(r["gain"]))[USER]),
    )


def nvlink(figures: Figures) -> Judged:
    """Trend 9: NVLink domains of 72 and 8 GPUs."""
    for panel in ("DeepSeek-R1", "Llama 3.1 70B"):
        wide, narrow = (figures[11].of(f"NVLink domain {size}", panel).rows for size in (72, 8))
        found = gain(wide, narrow, 0.02)
        least = min(best_at(wide, float(row[USER])) / float(row[GPU]) for row in narrow)
        yield f"{panel}: least ratio of NVLink 72 to 8, at least 1", ">= 1", float(f"{least:.4g}"), least >= 1
        share = found.share_of(found.peak_at)
        if panel == "DeepSeek-R1":
            told = f"{panel}: largest ratio, and where (0 loosest, 1 tightest); above 1.05, inside"
            yield told, "middle", rounded((found.largest, share)), found.largest > 1.05 and 0.05 < share < 0.95
        else:
            told = f"{panel}: largest ratio, and where (0 loosest, 1 tightest); above 1.05, in the tight half"
            yield told, "low latency", rounded((found.largest, share)), found.largest > 1.05 and share > 0.5


def piggybacking(figures: Figures) -> Judged:
    """Trend 11: piggybacking with latent and with grouped-query attention."""
    panels = list(PIGGYBACK.values())
    told = "R1 (MLA) and 70B (GQA) at 16k/2k, mean over the best co-located; below .9, above .95: "
    for said, name in (("the best chunk at each point", BEST_CHUNK), ("chunks of 256 tokens", "chunks of 256")):
        means = [gain(figures[6].of(name, p).rows, figures[6].of(HULL, p).rows).mean for p in panels]
        yield told + said, "R1 well below, 70B close", rounded(means), means[0] < 0.9 and means[1] > 0.95
    small = [float(figures[6].of(panel, CHUNK_PANEL).rows[0]["over_whole"]) for panel in panels]
    told = "chunks of 256 tokens over whole prompts, mean of the frontiers: R1 loses, 70B does not"
    yield told, "hurts MLA, not GQA", rounded(small), small[0] < 1 <= small[1]
    cut, whole = (figures[6].of(name, panels[1]).rows for name in (BEST_CHUNK, "whole prompts"))
    halves = gain(cut, whole).halves
    told = "70B, piggybacking over whole prompts, mean of the loose and of the tight half; falls"
    yield told, "best at loose TTL", rounded(halves), halves[0] >= halves[1]
    shares = [
        1 / gain(figures[1].of("disaggregated", p).rows, figures[1].of("co-located, piggybacking", p).rows).mean
        for p in figures[1].panels()
    ]
    told = "R1, piggybacking over disaggregated, mean at 16k/2k and 1k/32k; rises"
    yield told, "best at decode-heavy traffic", rounded(shares), shares[1] > shares[0]


def constant_traffic(figures: Figures) -> Judged:
    """Trend 12: constant traffic beside the true one."""
    for panel, constant in ((LOGNORMAL, "constant 4096/512"), (AZURE, "constant 1024/128")):
        for mode in ("disaggregated", "co-located"):
            true, short = (figures[14].of(f"{name}, {mode}", panel).rows for name in ("dynamic", constant))
            found = gain(short, true)
            ends = (found.smallest, found.largest)
            yield (
                f"{panel.split(':')[0]}, {mode}: constant over dynamic, smallest and largest, within {LEVEL:g} times",
                1,
                rounded(ends),
                ends[0] >= 1 / LEVEL and ends[1] <= LEVEL,
            )


def vanishes(figures: Figures) -> Judged:
    """Trend 14: where there is no gain."""
    values = {
        "8B 4096/256": gain_of(figures[7], "Llama 3.1 8B").mean,
        "R1 1k/32k": gain_of(figures[1], "1024 in, 32768 out").mean,
        "R1 2k/16k": gain_of(figures[8], "2048 in, 16384 out").mean,
    }
    for label, value in values.items():
        yield f"mean gain, {label}, at most {SMALL:g}", "none", float(f"{value:.3g}"), value <= SMALL
