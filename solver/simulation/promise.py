"""What a plan promises of each workload: its mean values, exactly, beside which a simulation is put."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solver.deployment import Deployment
from solver.instance import Instance, Workload
from solver.simulation.schedule import Schedule
from solver.slack import end_to_end_ms


@dataclass(frozen=True)
class Promise:
    """
    Of one workload.

    Parameters
    ----------
    requests_per_s, output_tokens_per_s
        What is credited.
    ttft_ms, tpot_ms, e2el_ms
        Of the slowest way that a request may take; None where there is none.
    ttft_percentile
        TTFT is that of a prompt at this percentile (0 to 1) of the lengths; None: of a mean prompt.
    """

    requests_per_s: Fraction
    output_tokens_per_s: Fraction
    ttft_ms: Fraction | None
    tpot_ms: Fraction | None
    e2el_ms: Fraction | None
    ttft_percentile: Fraction | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the report file."""
        return {name: None if value is None else float(value) for name, value in vars(self).items()}


def planned_rates(deployment: Deployment) -> list[Fraction]:
    """Requests/s of each workload that the plan is made for: the demand where that is all it is for, else the flow."""
    instance = deployment.instance
    return [
        each.requests_per_s if instance.is_minimised and each.requests_per_s is not None else deployment.flow(each)
        for each in instance.workloads
    ]


def mean_rates(schedule: Schedule) -> list[Fraction]:
    """Requests/s of each workload that a schedule is made for, mean over its periods."""
    return [sum(rates, Fraction(0)) / len(rates) for rates in schedule.served.values()]


def life_s(deployment: Deployment) -> float:
    """How long a request is planned to stay at most, in s."""
    ends = (end_to_end_ms(deployment, each) for each in deployment.instance.workloads if deployment.is_served(each))
    return float(max((end for end in ends if end is not None), default=Fraction(0))) / 1000


def promise_of(deployment: Deployment, workload: Workload) -> Promise:
    """What a plan promises a workload."""
    flow = deployment.flow(workload)
    tokens = [
        a.point.latency_ms for a in deployment.assignments if a.engine.workload.name == workload.name and a.decodes
    ]
    return Promise(
        requests_per_s=flow,
        output_tokens_per_s=flow * workload.osl,
        ttft_ms=max((ttft for *_, ttft in deployment.first_token_ms(workload)), default=None),
        tpot_ms=max(tokens, default=None),
        e2el_ms=end_to_end_ms(deployment, workload),
        ttft_percentile=workload.options.ttft_percentile,
    )


def promised_by(schedule: Schedule, instance: Instance, workload: Workload) -> Promise:
    """What a schedule promises a workload: its mean rate, and the worst latencies of all periods."""
    rates = schedule.served[workload.name]
    rate = sum(rates, Fraction(0)) / len(rates)
    each = [promise_of(schedule.deployment(instance, period), workload) for period in (0, *schedule.changes)]

    def worst(name: str) -> Fraction | None:
        values = [getattr(one, name) for one in each]
        return max((value for value in values if value is not None), default=None)

    return Promise(
        requests_per_s=rate,
        output_tokens_per_s=rate * workload.osl,
        ttft_ms=worst("ttft_ms"),
        tpot_ms=worst("tpot_ms"),
        e2el_ms=worst("e2el_ms"),
        ttft_percentile=workload.options.ttft_percentile,
    )
