"""What is asked of each workload in each period."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from costmodels.errors import Fault, InputError
from solver.instance import Instance

MOST_PERIODS = 2016
"""Longest horizon: a week in 5 minutes."""


@dataclass(frozen=True)
class Demand:
    """
    Requests per second of every workload and period.

    Parameters
    ----------
    name
        Where it is from.
    period_s
        Seconds of a period.
    requests_per_s
        Workload name to one rate for each period.
    start
        Time of the first period as the file writes it, or None.
    notes
        What is to be known about it, a line each.
    """

    name: str
    period_s: Fraction
    requests_per_s: dict[str, tuple[Fraction, ...]]
    start: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def periods(self) -> int:
        """How many periods there are."""
        return len(next(iter(self.requests_per_s.values())))

    def of(self, workload: str, period: int) -> Fraction:
        """Requests/s of a workload in a period."""
        return self.requests_per_s[workload][period]

    def only(self, first: int, last: int) -> Demand:
        """The periods from ``first`` up to, not including, ``last``."""
        return replace(self, requests_per_s={name: rates[first:last] for name, rates in self.requests_per_s.items()})


def demand_of(
    instance: Instance,
    name: str,
    period_s: Fraction,
    rates: dict[str | None, tuple[Fraction, ...]],
    start: str | None = None,
    notes: tuple[str, ...] = (),
) -> Demand:
    """
    Joins rates to the workloads of an instance.

    Parameters
    ----------
    instance
        The instance.
    name, period_s, start, notes
        See :class:`Demand`.
    rates
        Workload name to its rates; the name None stands for the only workload. A workload without rates has its
        ``requests_per_s`` in every period.

    Raises
    ------
    InputError
        When a name is unknown, a workload has no demand, or there are no periods or too many.
    """
    faults, names = [], [workload.name for workload in instance.workloads]
    found: dict[str, tuple[Fraction, ...]] = {}
    for given, values in rates.items():
        if given is None and len(names) > 1:
            text = f"names no workload, the instance has {', '.join(names)}; give --rates with a column workload"
            faults.append(Fault(name, text))
        elif given is not None and given not in names:
            faults.append(Fault(name, f"got workload {given}, the instance has {', '.join(names)}"))
        else:
            found[given or names[0]] = values
    count = max(map(len, rates.values()), default=0)
    if not 1 <= count <= MOST_PERIODS:
        text = f"got {count} periods, must be from 1 to {MOST_PERIODS}; a longer --period makes fewer"
        faults.append(Fault(name, text))
    for index, workload in enumerate(instance.workloads):
        if workload.name not in found and workload.requests_per_s is not None:
            found[workload.name] = (workload.requests_per_s,) * count
        elif workload.name not in found and not faults:
            text = f"workload {workload.name} has no rates in {name}, and no requests_per_s"
            faults.append(Fault(f"$.workloads[{index}]", text))
    if not faults and not any(any(values) for values in found.values()):
        faults.append(Fault(name, "asks for nothing in any period"))
    if faults:
        raise InputError(faults)
    return Demand(name, period_s, {each: found[each] for each in names}, start, notes)


def read_demand(
    instance: Instance,
    trace: Path | None,
    rates: Path | None,
    period_s: Fraction | None = None,
    rate_scale: Fraction = Fraction(1),
    time_scale: Fraction = Fraction(1),
) -> Demand:
    """
    Demand from a trace of requests, or from a file of rates.

    Parameters
    ----------
    instance
        The instance.
    trace, rates
        One of the two files.
    period_s
        Seconds of a period of a trace; 300 by default. A file of rates has its own.
    rate_scale, time_scale
        Factors on rates and on time.

    Raises
    ------
    InputError
        When a file has faults, or does not fit the instance.
    """
    from solver.traffic.rates import last_period, rates_per_period
    from solver.traffic.rates_file import read_rates
    from solver.traffic.requests import read_requests
    from solver.traffic.scale import check_scale

    if (trace is None) == (rates is None):
        raise InputError([Fault("--trace, --rates", "give one of the two")])
    if rates is not None:
        if period_s is not None:
            raise InputError([Fault("--period", f"is for --trace; {rates.name} has its own periods")])
        read = read_rates(rates, rate_scale=rate_scale, time_scale=time_scale)
        series = dict(zip(read.workloads, read.requests_per_s, strict=True))
        return demand_of(instance, read.name, read.period_s, series, read.start, read.notes)
    assert trace is not None
    faults = check_scale("--rate-scale", rate_scale) + check_scale("--time-scale", time_scale)
    if faults:
        raise InputError(faults)
    period_s = Fraction(300) if period_s is None else period_s
    requests = read_requests(trace)
    counted = rates_per_period(requests, period_s / time_scale)
    told = (*requests.notes, *_scales(rate_scale, time_scale), last_period(requests, period_s / time_scale))
    told += _lengths(instance, requests.isl, requests.osl)
    series = {None: tuple(rate * rate_scale / time_scale for rate in counted)}
    return demand_of(instance, requests.name, period_s, series, requests.start, told)


def _scales(rate_scale: Fraction, time_scale: Fraction) -> tuple[str, ...]:
    """What of a trace is not as it was recorded."""
    told = []
    if time_scale != 1:
        told.append(f"stretched: {float(time_scale):g} seconds for each second of the trace, rates divided by as much")
    if rate_scale != 1:
        told.append(f"scaled: rates multiplied by {float(rate_scale):g}")
    return tuple(told)


def _lengths(instance: Instance, isl: object, osl: object) -> tuple[str, ...]:
    """How the lengths of a trace compare with those that are planned for."""
    import numpy as np

    if len(instance.workloads) != 1:
        return ()
    workload, means = instance.workloads[0], (float(np.mean(isl)), float(np.mean(osl)))  # type: ignore[call-overload]
    planned = (float(workload.isl), float(workload.osl))
    text = f"mean ISL {means[0]:,.1f} and OSL {means[1]:,.1f} in the trace, {planned[0]:,.1f} and {planned[1]:,.1f}"
    return (f"{text} in the plan; the schedule takes the rates of the trace and the lengths of the instance",)
