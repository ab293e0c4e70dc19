"""
Prints the tables of docs/through-the-day.md: schedules of three traces on two fleets, and policies beside them.

``python docs/measure_schedules.py`` prints times, bounds and savings; with ``--policies`` the policies too, which plan
every period anew and take minutes. The third trace is named on the command line: ``--mooncake FILE`` takes the whole
synthetic trace of Mooncake (17 minutes), of which the built-in one holds the first four.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from instances import resolve, resolve_trace
from solver.read import read_instance
from solver.scheduling.comparison import compared_with
from solver.scheduling.demand import read_demand
from solver.scheduling.plot import plot_schedule
from solver.scheduling.schedule import schedule


@dataclass(frozen=True)
class Case:
    """A trace on a fleet; ``day`` stretches it by ``time_scale`` into periods of 5 minutes."""

    instance: str
    trace: str
    period_s: int
    time_scale: int
    rate_scale: int


SMALL, LARGE = "llama-70b-h200-72", "deepseek-v3-gb200-576"
CONVERSATION, CODE = "azure-conversation-2023", "azure-code-2023"
CASES = [
    Case(SMALL, CONVERSATION, 60, 1, 10),
    Case(SMALL, CODE, 60, 1, 8),
    Case(LARGE, CONVERSATION, 60, 1, 50),
    Case(LARGE, CODE, 60, 1, 42),
    Case(SMALL, CONVERSATION, 300, 24, 210),
    Case(SMALL, CODE, 300, 24, 80),
    Case(LARGE, CONVERSATION, 300, 24, 1100),
    Case(LARGE, CODE, 300, 24, 430),
]


def whole(trace: str) -> list[Case]:
    """The cases of the trace of Mooncake."""
    return [
        Case(SMALL, trace, 15, 1, 17),
        Case(LARGE, trace, 15, 1, 88),
        Case(SMALL, trace, 300, 80, 960),
        Case(LARGE, trace, 300, 80, 5000),
    ]


def main(words: list[str]) -> None:
    """Prints a row a case, and below it the policies where they are asked for."""
    cases, drawn = CASES, words[words.index("--plot") + 1] if "--plot" in words else None
    if "--mooncake" in words:
        cases = [*cases, *whole(words[words.index("--mooncake") + 1])]
    print("| instance | trace | periods | static, GPU-hours | schedule | saved | gap | changes | moved | seconds |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for number, case in enumerate(cases):
        path = resolve(case.instance)
        file = Path(case.trace) if Path(case.trace).exists() else resolve_trace(case.trace)
        scales = (Fraction(case.rate_scale), Fraction(case.time_scale))
        demand = read_demand(read_instance(path), file, None, Fraction(case.period_s), *scales)
        started = time.perf_counter()
        answer = schedule(path, demand)
        spent = time.perf_counter() - started
        assert answer.best is not None
        assert answer.static is not None
        plan, before = answer.best.plan, answer.static.plan.gpu_hours
        what = f"{demand.name}, time x {case.time_scale}, rates x {case.rate_scale}"
        print(
            f"| {case.instance} | {what} | {demand.periods} of {case.period_s} s "
            f"| {float(before):,.1f} | {float(plan.gpu_hours):,.1f} | "
            f"{float(1 - plan.gpu_hours / before):.1%} | {answer.gap:.4%} | {plan.changes_in_all} | "
            f"{answer.best.migrations} | {spent:.1f} |",
            flush=True,
        )
        if "--policies" in words:
            beside = compared_with(answer)
            assert beside is not None
            print("\n".join(beside.lines()), flush=True)
            if drawn:
                plot_schedule(answer, beside.policies, Path(drawn) / f"day-{number}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
