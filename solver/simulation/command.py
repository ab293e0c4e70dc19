"""The ``simulate`` command: from files and words to lines and a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from solver.deployment import Deployment
from solver.report import report
from solver.result import Result
from solver.simulation.api import NoPlan, simulate
from solver.simulation.arrivals import Arrivals
from solver.simulation.ask import Traffic, asked_of, replication
from solver.simulation.headroom import Search, Step
from solver.simulation.headroom_report import document as headroom_document
from solver.simulation.headroom_report import lines as headroom_lines
from solver.simulation.headroom_report import row
from solver.simulation.plot import plot_course
from solver.simulation.promise import life_s, planned_rates
from solver.simulation.report import document, lines
from solver.simulation.router import Policy
from solver.traffic.times import seconds_of


@dataclass(frozen=True)
class Outcome:
    """
    What a simulation came to.

    Parameters
    ----------
    lines
        What to say.
    document
        The report file; where nothing was simulated the result that holds no plan.
    ok
        Whether everything that must hold of a run does.
    status
        ``optimal`` where something was simulated; else the status of an instance that has no plan.
    """

    lines: list[str]
    document: dict[str, Any] = field(default_factory=dict)
    ok: bool = True
    status: str = "optimal"


def with_headroom(
    instance_file: Path,
    trace: Path | None,
    *,
    percentile: float = 95.0,
    replications: int = 5,
    routing: Policy = "least-loaded",
    seed: int = 0,
    say: Callable[[str], None] | None = None,
    **given: Any,
) -> Outcome:
    """
    Finds the largest utilization caps whose plan meets its percentiles in simulation.

    Parameters
    ----------
    instance_file, trace, routing, seed, **given
        As for :func:`simulated`.
    percentile
        Percentage of the requests that must be within each limit whose workload names none.
    replications
        Runs of each step, at least 2.
    say
        Gets a line for each step that is done.

    Raises
    ------
    InputError
        When anything of this is wrong, or no workload has a limit.
    """
    traffic = Traffic(trace=trace, **given)
    traffic.check()
    asked = asked_of(instance_file)
    limits = ("ttft_ms", "tpot_ms", "e2el_ms")
    if all(getattr(workload, limit) is None for workload in asked.instance.workloads for limit in limits):
        raise InputError(
            [Fault("$.workloads[].sla", "no limit anywhere, so nothing could fail; give ttft_ms or tpot_ms")]
        )

    def draw(deployment: Deployment, number: int) -> Arrivals:
        rates, life = planned_rates(deployment), life_s(deployment)
        return replication(traffic, asked.instance, rates, number, seed, life)

    def told(step: Step) -> None:
        if say is not None:
            say(row(step))

    share = Fraction(str(percentile)) / 100
    search = Search(asked, draw, percentile=share, replications=replications, policy=routing, say=told)
    found = search.run()
    if found.plain.result.deployment is None:
        return _no_plan(found.plain.result)
    status = ("optimal" if found.is_complete else "feasible") if found.best else "unknown"
    return Outcome(headroom_lines(found), headroom_document(found), status=status)


def simulated(
    instance_file: Path,
    plan: Path | None,
    trace: Path | None,
    *,
    period: str | None = None,
    plot: Path | None = None,
    **given: Any,
) -> Outcome:
    """
    Simulates a result or a schedule, or the best plan of an instance; see :func:`solver.simulation.api.simulate`.

    Parameters
    ----------
    instance_file, plan, trace, **given
        As there.
    period, plot
        Length of the periods of the course (None: a minute, longer where that makes more than 1000), and where to
        draw it (None: nowhere).

    Raises
    ------
    InputError
        When a file or a word is wrong.
    """
    given_s = None if period is None else seconds_of(period)
    try:
        found = simulate(instance_file, plan, trace=trace, **given)
    except NoPlan as missing:
        return _no_plan(missing.result)
    period_s = given_s or Fraction(max(60, ceil(float(found.arrivals.arrival_s[-1]) / 1000)))
    if plot is not None:
        plot_course(found, period_s, plot)
    return Outcome(lines(found), document(found, period_s), ok=all(found.checks.values()))


def _no_plan(result: Result) -> Outcome:
    """The result that holds no plan, as ``solve`` tells it."""
    return Outcome(report(result).splitlines(), result.as_dict(), status=result.status)
