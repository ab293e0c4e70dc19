"""What arrives: requests of a trace, or of a process, for the workloads of an instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from costmodels.errors import Fault, InputError
from solver.instance import Instance, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from solver.traffic.rates_file import Rates
    from solver.traffic.requests import Requests

MOST_REQUESTS = 2 * 10**6


@dataclass(frozen=True, eq=False)
class Arrivals:
    """
    Requests in the order of their arrival.

    Parameters
    ----------
    description
        What they are, in a line.
    arrival_s
        When they come, ascending.
    isl, osl
        Input and output tokens.
    workload
        Number of the workload of each, in the order of the instance.
    warm_up_s
        Requests that come before are served but not measured.
    notes
        What is to be known of them.
    """

    description: str
    arrival_s: NDArray[np.float64]
    isl: NDArray[np.int64]
    osl: NDArray[np.int64]
    workload: NDArray[np.int64]
    warm_up_s: float = 0.0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many."""
        return len(self.arrival_s)


def of_requests(requests: Requests, instance: Instance, workload: Workload | None = None) -> Arrivals:
    """
    A trace that replays for one workload.

    Parameters
    ----------
    requests
        The trace.
    instance
        The instance.
    workload
        Whose requests they are; may be left out where there is one.

    Raises
    ------
    InputError
        When it must be said whose they are, or there are more than two million.
    """
    import numpy as np

    if workload is None and len(instance.workloads) > 1:
        names = ", ".join(each.name for each in instance.workloads)
        raise InputError([Fault("--workload", f"missing: say whose requests the trace holds, one of {names}")])
    _check_count("--trace", len(requests))
    number = instance.workloads.index(workload or instance.workloads[0])
    per_s = f", {len(requests) / requests.duration_s:.6g}/s" if requests.duration_s else ""
    description = f"trace {requests.name}: {len(requests):,} requests in {requests.duration_s:,.0f} s{per_s}"
    whose = np.full(len(requests), number)
    return Arrivals(description, requests.arrival_s, requests.isl, requests.osl, whose, notes=requests.notes)


def of_process(
    instance: Instance,
    rates: Sequence[Fraction],
    *,
    count: int,
    poisson: bool = True,
    seed: int = 0,
    warm_up: float = 0.1,
) -> Arrivals:
    """
    A Poisson stream, or one at equal distances; lengths as each workload says of its traffic.

    Parameters
    ----------
    instance
        The instance.
    rates
        Requests/s of each workload.
    count
        How many requests in all.
    poisson
        Whether gaps are exponential, not equal.
    seed
        Of gaps, of the order of workloads, and of lengths, each with its own stream of random numbers: another rate
        gives the same requests at another pace.
    warm_up
        Share of the time in which nothing is measured.

    Raises
    ------
    InputError
        When no rate is above 0, or more than two million requests are asked for.
    """
    import numpy as np

    total = float(sum(rates))
    if total <= 0:
        raise InputError([Fault("--poisson", "got 0 requests/s, must be above 0")])
    _check_count("--requests", count)
    gaps = np.random.default_rng([seed, 0]).standard_exponential(count) if poisson else np.ones(count)
    arrival = np.cumsum(gaps / total)
    shares = np.array([float(rate) / total for rate in rates])
    if np.count_nonzero(shares) == 1:
        whose = np.full(count, int(np.argmax(shares)))
    else:
        whose = np.random.default_rng([seed, 1]).choice(len(shares), count, p=shares)
    isl, osl = lengths_of(instance, whose, seed)
    kind = "Poisson" if poisson else "deterministic"
    description = f"{kind} stream: {count:,} requests at {total:.6g}/s, seed {seed}"
    return Arrivals(description, arrival, isl, osl, whose, warm_up_s=float(arrival[-1]) * warm_up)


def of_rates(rates: Rates, instance: Instance, *, poisson: bool = True, seed: int = 0) -> Arrivals:
    """
    A Poisson stream (or one at equal distances) whose rate changes from period to period.

    Parameters
    ----------
    rates
        The rates; workloads of the instance by name, or one for all.
    instance
        The instance.
    poisson, seed
        As for :func:`of_process`.

    Raises
    ------
    InputError
        When a workload is not known, or more than two million requests come out.
    """
    import numpy as np

    names = [each.name for each in instance.workloads]
    unknown = [name for name in rates.workloads if name is not None and name not in names]
    if unknown or (rates.workloads == (None,) and len(names) > 1):
        text = f"workloads {', '.join(map(str, rates.workloads))}, must be of {', '.join(names)}"
        raise InputError([Fault(rates.name, text)])
    period, parts = float(rates.period_s), []
    for name, series in zip(rates.workloads, rates.requests_per_s, strict=True):
        number = names.index(name) if name is not None else 0
        passed = np.concatenate([[0.0], np.cumsum([float(rate) * period for rate in series])])
        _check_count(rates.name, int(passed[-1]))
        rng = np.random.default_rng([seed, 0, number])
        marks: NDArray[np.float64]
        most = int(passed[-1] + 10 * passed[-1] ** 0.5 + 100)
        marks = np.cumsum(rng.standard_exponential(most) if poisson else np.ones(most)) - (0.0 if poisson else 0.5)
        marks = marks[marks < passed[-1]]
        borders = np.arange(len(passed), dtype=np.float64) * period
        parts.append((_inverse(marks, passed, borders), number))
    arrival = np.concatenate([part for part, _ in parts])
    whose = np.concatenate([np.full(len(part), number) for part, number in parts])
    order = np.argsort(arrival, kind="stable")
    isl, osl = lengths_of(instance, whose[order], seed)
    description = (
        f"{'Poisson' if poisson else 'deterministic'} stream of the rates {rates.name}: {len(arrival):,} requests"
    )
    return Arrivals(description, arrival[order], isl, osl, whose[order], notes=rates.notes)


def _inverse(
    marks: NDArray[np.float64], passed: NDArray[np.float64], borders: NDArray[np.float64]
) -> NDArray[np.float64]:
    """When so many requests have passed, their number growing linearly between borders."""
    import numpy as np

    at = np.searchsorted(passed, marks, side="right") - 1
    within = (marks - passed[at]) / (passed[at + 1] - passed[at])
    return np.asarray(borders[at] + within * (borders[at + 1] - borders[at]))


def lengths_of(instance: Instance, whose: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Input and output tokens of requests, drawn from the traffic of their workloads."""
    import numpy as np

    isl, osl = np.zeros(len(whose), dtype=np.int64), np.zeros(len(whose), dtype=np.int64)
    for number, workload in enumerate(instance.workloads):
        chosen = np.flatnonzero(whose == number)
        classes = (workload.stands_for or workload.lengths).classes
        shares = np.array([float(share) for _, _, share in classes])
        picks = np.random.default_rng([seed, 2, number]).choice(len(classes), len(chosen), p=shares / shares.sum())
        isl[chosen] = np.array([each for each, _, _ in classes])[picks]
        osl[chosen] = np.array([each for _, each, _ in classes])[picks]
    return isl, osl


def _check_count(where: str, count: int) -> None:
    if count > MOST_REQUESTS:
        raise InputError([Fault(where, f"{count:,} requests, at most {MOST_REQUESTS:,} are simulated; take fewer")])
