"""Whether limits are met: shares of requests over replications, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import sqrt
from typing import Any

from solver.instance import Workload
from solver.simulation.run import Simulation

STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604,
           2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555,
           2.0518, 2.0484, 2.0452)  # fmt: skip
"""97.5 % quantiles of Student's t distribution for 1, 2, ... degrees of freedom."""
MOST_REPLICATIONS = len(STUDENT) + 1
LIMITS = ("ttft", "tpot", "e2el")


@dataclass(frozen=True)
class Verdict:
    """
    One limit of one workload over replications.

    Parameters
    ----------
    workload, limit
        Which: ``ttft``, ``tpot`` or ``e2el``.
    wanted
        Share of the requests that must be within.
    share, low, high
        Share within, mean over replications, and its 95 % interval.
    limit_ms, percentile_ms
        The limit, and the time that the wanted share of the requests does not exceed, mean over replications.
    runs
        Replications; of one alone the interval is all that there can be.
    """

    workload: str
    limit: str
    wanted: float
    share: float
    low: float
    high: float
    limit_ms: float
    percentile_ms: float
    runs: int

    @property
    def passes(self) -> bool:
        """Whether the whole interval is at the wanted share or above."""
        return self.low >= self.wanted

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return {**asdict(self), "passes": self.passes}


def verdicts_of(runs: Sequence[Simulation], percentile: Fraction) -> list[Verdict]:
    """
    Judges replications.

    Parameters
    ----------
    runs
        The replications.
    percentile
        Share of the requests (0 to 1) that must be within each limit whose workload names none.
    """
    found = []
    for number, workload in enumerate(runs[0].instance.workloads):
        for limit in LIMITS:
            bound: Fraction | None = getattr(workload, f"{limit}_ms")
            shares = [run.served[number].within[limit] for run in runs if limit in run.served[number].within]
            if bound is not None and len(shares) == len(runs) and all(run.served[number].requests for run in runs):
                wanted = wanted_share(workload, limit, percentile)
                found.append(_verdict(workload, limit, wanted, bound, shares, runs, number))
    return found


def wanted_share(workload: Workload, limit: str, percentile: Fraction) -> Fraction:
    """Share of the requests that must meet a limit: the workload's own percentile, or that for all."""
    own = {"ttft": workload.options.ttft_percentile, "tpot": workload.tpot_percentile}.get(limit)
    return percentile if own is None else own


def _verdict(
    workload: Workload,
    limit: str,
    wanted: Fraction,
    bound: Fraction,
    shares: Sequence[float],
    runs: Sequence[Simulation],
    number: int,
) -> Verdict:
    import numpy as np

    mean, half = interval(shares)
    times = [getattr(run.times[number], limit) for run in runs]
    cuts = [float(np.quantile(each, float(wanted), method="inverted_cdf")) for each in times if len(each)]
    at = float(np.mean(cuts)) if cuts else 0.0
    return Verdict(workload.name, limit, float(wanted), mean, mean - half, mean + half, float(bound), at, len(runs))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of independent shares, and half the width of its 95 % interval (Student); 1 for a single one."""
    count = len(values)
    mean = sum(values) / count
    if count == 1:
        return mean, 1.0
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, STUDENT[count - 2] * sqrt(variance / count)
