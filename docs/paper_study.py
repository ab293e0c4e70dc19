"""
Writes the pictures and the tables of numbers of ``paper-study.md`` anew: ``python docs/paper_study.py [FOLDER]``.

The study is run with every basis, each into a folder of FOLDER (default ``build/paper-study``); what stands there from
the same program is taken as it is. In the page, whatever stands between ``<!-- study: NAME -->`` and
``<!-- end of study -->`` is written by the function of that name below.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from solver.study.chunks import CHUNKS  # noqa: E402
from solver.study.cpp_figure import BARE_CHUNKS, CACHED, CHUNK_PANEL, EVEN, FTL_PANEL, MODELLED, NO_FILL  # noqa: E402
from solver.study.figure import Series  # noqa: E402
from solver.study.gains import GPU, gain  # noqa: E402
from solver.study.ratio_figures import ASKED, FLEET_PANEL, FLEETS, FLEETS_OPEN, MODELS, UNLIMITED  # noqa: E402
from solver.study.run import Study, run  # noqa: E402
from solver.study.silicon import PREFIX  # noqa: E402
from solver.study.trends import CHECKS, Finding  # noqa: E402

PAGE = ROOT / "docs" / "paper-study.md"
PICTURES = ROOT / "docs" / "figures"
BASES = ("served", "operators", "ideal")
BLOCK = re.compile(r"(<!-- study: ([a-z0-9 ]+) -->\n).*?(<!-- end of study -->)", re.DOTALL)
PLACES = {5: (6, 7), 6: (11,), 7: (1,), 8: (3,), 9: (4, 8, 13), 10: (5,), 11: (9,), 12: (10,), 14: (12,)}
"""Figure to the trends that are told beneath it; those of trends 2 and 14 stand where they were taken from."""
Studies = dict[str, Study]


def totals(studies: Studies) -> Iterator[str]:
    """What each run took, and how much holds."""
    yield from _head("basis", "design points", "optima proved", "seconds", "trends that hold", "quantities that hold")
    for basis, study in studies.items():
        broken = {finding.trend for finding in study.findings if not finding.holds}
        held = sum(finding.holds for finding in study.findings)
        counts = f"{study.design_points:,} | {study.solves:,} | {study.figures_s:.0f}"
        yield f"| {basis} | {counts} | {len(CHECKS) - len(broken)} of {len(CHECKS)} | {held} of {len(study.findings)} |"


def trends(studies: Studies) -> Iterator[str]:
    """Every trend: holds, or how many of its quantities do."""
    yield from _head("#", "trend", "figures", *studies)
    for number, (words, figures, _) in CHECKS.items():
        cells = []
        for study in studies.values():
            mine = [finding.holds for finding in study.findings if finding.trend.startswith(f"{number}:")]
            cells.append("yes" if all(mine) else f"**no**, {sum(mine)} of {len(mine)} do")
        yield f"| {number} | {words} | {', '.join(map(str, figures))} | {' | '.join(cells)} |"


def judged(studies: Studies, figure: int) -> Iterator[str]:
    """The quantities of the trends of a figure: what the paper shows, and what we get with each basis."""
    yield from _head("trend", "quantity, and what it takes to hold", "paper", *studies)
    columns = [[finding for finding in study.findings if _is_of(finding, figure)] for study in studies.values()]
    for row in zip(*columns, strict=True):
        ours = " | ".join(_text(each.ours) if each.holds else f"**{_text(each.ours)}**" for each in row)
        yield f"| {row[0].trend.split(':')[0]} | {row[0].quantity} | {_text(row[0].paper)} | {ours} |"


def chunks(studies: Studies) -> Iterator[str]:
    """Which chunks the co-located hull is made of, in percent of its points."""
    figures = studies[BASES[0]].figures
    yield from _head("co-located hull, % of its points", *map(str, CHUNKS), "whole prompts")
    hulls = [(f"R1 {panel}", figures[1].of("co-located", panel)) for panel in figures[1].panels()]
    hulls += [(f"R1 {panel}", figures[8].of("co-located", panel)) for panel in figures[8].panels()[1:4]]
    hulls += [(f"{panel}, 4096 in, 256 out", figures[7].of("co-located", panel)) for panel in figures[7].panels()[:3]]
    hulls.append(("Llama 3.1 70B, 16384 in, 2048 out", figures[6].of("co-located: the best of all", _gqa(figures[6]))))
    for name, hull in hulls:
        sizes = Counter(row["chunk_tokens"] if row["chunk_tokens"] in CHUNKS else 0 for row in hull.rows)
        shares = [100 * sizes[size] / len(hull.rows) for size in (*CHUNKS, 0)]
        yield f"| {name} | {' | '.join(f'{share:.0f}' if share else '' for share in shares)} |"


def _gqa(figure: Any) -> str:
    return str(figure.panels()[1])


def fleets(studies: Studies) -> Iterator[str]:
    """Finite fleets: what each yields at an interactivity, how it serves, and the ratio that whole replicas leave."""
    figures = studies[BASES[0]].figures
    names = [*(f"{gpus} GPUs" for gpus in FLEETS), "unlimited"]
    yield from _head("tokens/s/user", *(f"{name}: tokens/s/GPU" for name in names), *(f"ctx:gen, {n}" for n in names))
    for asked in ASKED[1::2]:
        best = [_at(figures[10].of(name, FLEETS_OPEN), float(asked)) for name in names]
        pools = [_at(figures[9].of(name, FLEET_PANEL), float(asked)) for name in names]
        cells = [
            f"{row[GPU]:,.0f}{'' if row['mode'] == 'disaggregated' else ', co-located'}" if row else "" for row in best
        ]
        cells += [f"{row['ctx_gen']:.2f}" if row else "" for row in pools]
        yield f"| {asked} | {' | '.join(cells)} |"


def _at(series: Series, asked: float) -> dict[str, Any] | None:
    fitting = [row for row in series.rows if row["tokens_per_s_per_user"] >= asked * (1 - 1e-12)]
    return max(fitting, key=lambda row: float(row[GPU]), default=None)


def silicon(studies: Studies) -> Iterator[str]:
    """Roofline and measured operators: mean gain, peak of the disaggregated frontier, ratio at its loosest point."""
    figures = studies[BASES[0]].figures
    yield from _head("", "quantity", *studies, "silicon")
    places = [(8, panel, f"R1 {panel}") for panel in figures[8].panels()[:4]]
    places += [(7, panel, f"{panel}, 4096 in, 256 out") for panel in figures[7].panels()[:3]]
    for number, panel, name in places:
        pairs = [_pair(study, number, panel, "") for study in studies.values()]
        pairs.append(_pair(studies[BASES[0]], number, panel, PREFIX))
        told = {
            "mean gain": [f"{gain(over.rows, base.rows).mean:.2f}" for over, base in pairs],
            "peak, tokens/s/GPU": [f"{max(over.values(GPU)):,.0f}" for over, _ in pairs],
        }
        yield from (f"| {name} | {what} | {' | '.join(cells)} |" for what, cells in told.items())
    for label, _ in MODELS:
        found = [study.figures[9].of(label, UNLIMITED) for study in studies.values()]
        found.append(figures[9].of(PREFIX + label, UNLIMITED))
        cells = [f"{series.rows[0]['ctx_gen']:.2f}" for series in found]
        yield f"| {label}, 16384 in, 2048 out | ctx:gen at the loosest point | {' | '.join(cells)} |"


def _pair(study: Study, number: int, panel: str, prefix: str) -> tuple[Series, Series]:
    figure = study.figures[number]
    return figure.of(f"{prefix}disaggregated", panel), figure.of(f"{prefix}co-located", panel)


def pipelines(studies: Studies) -> Iterator[str]:
    """Figure 5 by reading: ratio of first tokens, rate of full pipelines, and the best chunk with 32 stages."""
    yield from _head("32 stages over 1", "quantity", *studies)
    for name in (MODELLED, CACHED, EVEN, NO_FILL):
        ends = [(s.rows[0], s.rows[-1]) for s in (study.figures[5].of(name, FTL_PANEL) for study in studies.values())]
        rate = "pipelined_tokens_per_s_per_gpu"
        told = {
            "first token, ratio": [f"{one['ftl_s'] / last['ftl_s']:.1f}" for one, last in ends],
            "tokens/s/GPU, batches one after the other": [
                f"{one['ftl_s'] / last['ftl_s'] / last['pp']:.2f}" for one, last in ends
            ],
            "tokens/s/GPU, pipelined": [f"{last[rate] / one[rate]:.2f}" for one, last in ends],
            "chunk, tokens": [str(last["chunk_tokens"]) for _, last in ends],
        }
        yield from (f"| {name} | {what} | {' | '.join(cells)} |" for what, cells in told.items())
    bare = studies[BASES[0]].figures[5].of(BARE_CHUNKS, CHUNK_PANEL)
    small = next(row for row in bare.rows if row["chunk_tokens"] == 256)
    cells = [f"{small['ftl_ratio']:.1f}"] * len(studies)
    yield f"| {BARE_CHUNKS} | first token, ratio, chunks of 256 | {' | '.join(cells)} |"


TABLES: dict[str, Callable[[Studies], Iterator[str]]] = {
    "totals": totals, "trends": trends, "chunks": chunks, "fleets": fleets, "silicon": silicon, "pipelines": pipelines,
}  # fmt: skip


def _head(*cells: str) -> Iterator[str]:
    yield f"| {' | '.join(cells)} |"
    yield f"|{'---|' * len(cells)}"


def _is_of(finding: Finding, figure: int) -> bool:
    number, said = int(finding.trend.split(":")[0]), finding.quantity
    if number in (2, 14):
        return figure == (1 if "1k/32k" in said else 7 if "8B" in said else 8)
    return number in PLACES.get(figure, ())


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    if isinstance(value, dict):
        return "; ".join(f"{name} {_text(each)}" for name, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def page(text: str, studies: Studies) -> str:
    """The page with every table written anew."""

    def table(match: re.Match[str]) -> str:
        name = match[2]
        rows = judged(studies, int(name.split()[1])) if name.startswith("figure ") else TABLES[name](studies)
        return f"{match[1]}{chr(10).join(rows)}\n{match[3]}"

    return BLOCK.sub(table, text)


def main() -> None:
    """Runs the study with every basis and writes pictures and tables."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "paper-study"
    studies: Studies = {}
    for basis in BASES:
        studies[basis] = run(basis=basis, folder=folder / basis, plot=basis == BASES[0])  # type: ignore[arg-type]
        print(f"{basis}: {studies[basis].wall_s:.0f} s")
    PICTURES.mkdir(exist_ok=True)
    for number in studies[BASES[0]].figures:
        shutil.copyfile(folder / BASES[0] / f"figure-{number}.png", PICTURES / f"paper-figure-{number}.png")
    PAGE.write_text(page(PAGE.read_text("utf-8"), studies), "utf-8")


if __name__ == "__main__":
    main()
