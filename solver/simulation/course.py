"""The course of a run: period by period, what the requests that arrived in it met."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from costmodels.errors import Fault, InputError
from solver.instance import Workload
from solver.simulation.measures import Times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_PERIODS = 10**5


@dataclass(frozen=True)
class Course:
    """
    Of one workload, a value a period; nothing (None) where no request arrived.

    Parameters
    ----------
    workload, period_s
        Whose, and how long a period is.
    requests_per_s
        Arrivals.
    ttft_p50_ms, ttft_p95_ms, tpot_p95_ms
        Percentiles of the requests that arrived in the period.
    within
        Share of them that is within all limits.
    """

    workload: str
    period_s: float
    requests_per_s: tuple[float, ...]
    ttft_p50_ms: tuple[float | None, ...]
    ttft_p95_ms: tuple[float | None, ...]
    tpot_p95_ms: tuple[float | None, ...]
    within: tuple[float | None, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the report file."""
        return asdict(self)


def course_of(workload: Workload, times: Times, period_s: Fraction) -> Course:
    """
    Measures the course of a workload.

    Parameters
    ----------
    workload, times
        The workload, and the times of its requests.
    period_s
        Length of a period.

    Raises
    ------
    InputError
        When there are more than 100,000 periods.
    """
    import numpy as np

    length = float(period_s)
    count = int(times.arrived_s.max(initial=0.0) // length) + 1
    if count > MOST_PERIODS:
        raise InputError([Fault("--period", f"makes {count:,} periods, at most {MOST_PERIODS:,}; take a longer one")])
    borders = np.searchsorted(times.arrived_s, length * np.arange(count + 1))
    parts = [slice(a, b) for a, b in pairwise(borders)]
    return Course(
        workload=workload.name,
        period_s=length,
        requests_per_s=tuple(float(part.stop - part.start) / length for part in parts),
        ttft_p50_ms=tuple(_percentile(times.ttft[part], 0.5) for part in parts),
        ttft_p95_ms=tuple(_percentile(times.ttft[part], 0.95) for part in parts),
        tpot_p95_ms=tuple(_percentile(times.tpot_all[part], 0.95) for part in parts),
        within=tuple(float(times.met[part].mean()) if part.stop > part.start else None for part in parts),
    )


def _percentile(values: NDArray[np.float64], share: float) -> float | None:
    import numpy as np

    return float(np.quantile(values, share, method="inverted_cdf")) if len(values) else None
