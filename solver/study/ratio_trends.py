"""Trends 4, 5, 8, 10 and 13: the two pools, their ratio, their engines and what passes between them."""

from __future__ import annotations

from collections.abc import Sequence

from solver.study import paper_numbers as paper
from solver.study.bandwidth_figure import TRAFFIC
from solver.study.figure import Row
from solver.study.gains import GPU, USER, best_at
from solver.study.judge import Figures, Judged, at, falls, near, rounded
from solver.study.paper_numbers import TIGHT
from solver.study.ratio_figures import MODELS, SENSITIVITY, UNLIMITED


def ratio(figures: Figures) -> Judged:
    """Trend 4: the optimal ratio."""
    loose: dict[str, float] = {}
    spans: dict[str, float] = {}
    for label, _ in MODELS:
        rows = figures[9].of(label, UNLIMITED).rows
        ends = (float(rows[0]["ctx_gen"]), float(at(rows, TIGHT)["ctx_gen"]))
        loose[label], spans[label] = ends[0], ends[0] / ends[1]
        for end, said, value in zip(
            ("loosest point", f"{TIGHT:g} tokens/s/user"), paper.CTX_GEN[label], ends, strict=True
        ):
            yield f"ctx:gen of {label}, {end}, within a factor of 2", said.value, *near(value, said.value)
        down = falls([float(row["ctx_gen"]) for row in rows])
        yield (
            f"ctx:gen of {label} falls as tokens/s/user rises",
            "falls",
            "falls" if down else "rises somewhere",
            down,
        )
    order = list(loose.values())
    yield "order at the loose end", "R1 > 405B > 70B > 8B", rounded(order), order == sorted(order, reverse=True)
    spread = [loosest.value / tight.value for loosest, tight in paper.CTX_GEN.values()]
    flat = spans["Llama 3.1 8B"]
    told = "loosest point over 100 tokens/s/user, R1, 405B, 70B, 8B; 8B nearly flat: the least of them, at most 2"
    yield told, rounded(spread), rounded(list(spans.values())), flat <= 2 and flat == min(spans.values())


def fixed_ratios(figures: Figures) -> Judged:
    """Trend 5: fixed ratios."""
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
    loose = float(high[0][GPU]) / peak
    told = "fixed ratio 3.5 at the loosest point over the peak, within a factor of 2"
    yield told, paper.FIXED_HIGH[0].value, *near(loose, paper.FIXED_HIGH[0].value)
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


def tighter(figures: Figures) -> Judged:
    """Trend 8: what a tighter limit does to decode engines."""
    for label in ("Llama 3.1 70B", "DeepSeek-R1"):
        rows = figures[9].of(label, UNLIMITED).rows
        batches = [int(rows[0]["decode_batch"]), int(at(rows, TIGHT)["decode_batch"])]
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


def bandwidth(figures: Figures) -> Judged:
    """Trend 10: the bandwidth of the hand-over."""
    for label, said in paper.KV_GBPS.items():
        rows = [row for row in figures[12].of(label).rows if float(row[USER]) <= TIGHT]
        values = [float(row["gbps_per_gpu"]) for row in rows]
        for end, each, value in zip(("smallest", "largest"), said, (min(values), max(values)), strict=True):
            yield (
                f"max(egress, ingress) at {label}, {end} up to {TIGHT:g} tokens/s/user, GB/s/GPU, within a factor of 2",
                each.value,
                *near(value, each.value),
            )
    egress = [float(figures[12].of(label).rows[0]["egress_gbps"]) for label in ("2048/2048", "16384/2048", "1M/2048")]
    yield "egress at ISL 2k, 16k, 1M, GB/s/GPU, falls", "falls with ISL", rounded(egress), falls(egress)
    ingress = [best_ingress(figures[12].of(label).rows) for label in ("16384/2048", "16384/16384")]
    yield "ingress at 20 tokens/s/user, OSL 2k and 16k, falls about as 1/OSL", 8, *near(ingress[0] / ingress[1], 8)
    for label in list(TRAFFIC)[:2]:
        values = [float(row["ingress_gbps"]) for row in figures[12].of(label).rows]
        yield (
            f"ingress at {label}: loosest over tightest, above 1",
            "falls with tighter TTL",
            rounded((values[0], values[-1])),
            values[0] > values[-1],
        )


def best_ingress(rows: Sequence[Row], interactivity: float = 20.0) -> float:
    """Ingress of the first point at least that fast, GB/s per GPU."""
    return float(at(rows, interactivity)["ingress_gbps"])


def pools(figures: Figures) -> Judged:
    """Trend 13: which limit changes which pool."""
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
