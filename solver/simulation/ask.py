"""What a user asks to be simulated: which plan, under which traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from costmodels.table import text_of
from solver.deployment import Deployment
from solver.engines import CostModel, EngineSet, cost_model_of, engines_of
from solver.hint import deployment_from
from solver.instance import Instance, Workload
from solver.planner import Options, solve
from solver.read import read_instance, read_json
from solver.result import Result, instance_hash
from solver.simulation.arrivals import Arrivals, of_process, of_rates, of_requests
from solver.traffic.ask import requests_of, scale_of
from solver.traffic.rates_file import HEADERS, read_rates
from solver.traffic.times import seconds_of

LEAST_REQUESTS, MOST_REQUESTS, LIVES = 20_000, 100_000, 20
"""How long a stream of unsaid length is."""
MOST_SIMULATED = 10_000_000
"""Requests of a stream: more do not fit into the memory of a usual machine."""


@dataclass(frozen=True)
class Asked:
    """
    An instance, ready to be simulated.

    Parameters
    ----------
    instance, model, engines
        The instance, its cost model, and its engines.
    folder
        Where its relative paths start.
    """

    instance: Instance
    model: CostModel
    engines: EngineSet
    folder: Path


def asked_of(instance_file: Path) -> Asked:
    """
    Reads an instance and prices its engines.

    Raises
    ------
    InputError
        When it has faults, or its GPUs are unlimited: replicas are then no whole numbers.
    """
    instance, folder = read_instance(instance_file), instance_file.parent
    if instance.is_unlimited:
        text = "with unlimited GPUs replicas are real numbers; only whole ones can be simulated: give numbers of GPUs"
        raise InputError([Fault("$.pools", text)])
    model = cost_model_of(instance, folder)
    return Asked(instance, model, engines_of(instance, model), folder)


def solved(asked: Asked, options: Options | None = None) -> Result:
    """The best plan of the instance, proved."""
    return solve(asked.instance, options, folder=asked.folder)


def read_plan(asked: Asked, file: Path) -> dict[str, Any]:
    """
    A result or a schedule of the instance.

    Raises
    ------
    InputError
        When it is neither, or answers another instance or other curves.
    """
    document = read_json(file)
    kind = document.get("format") if isinstance(document, dict) else None
    if kind not in ("disagg-result", "disagg-schedule") or document.get("version") != 1:
        text = f"got format {kind!r}, must be disagg-result or disagg-schedule, version 1"
        raise InputError([Fault(f"{file} $.format", text)])
    if document.get("instance_hash") != instance_hash(asked.instance, asked.engines):
        text = "the instance or its curves are not those that this file answers; solve again"
        raise InputError([Fault(f"{file} $.instance_hash", text)])
    return dict(document)


def deployment_of(asked: Asked, document: dict[str, Any], file: Path) -> Deployment:
    """
    The deployment of a result.

    Raises
    ------
    InputError
        When it has none.
    """
    found = deployment_from(document, asked.instance, asked.engines)
    if found is None:
        text = f"holds no deployment that can be simulated (status {document.get('status')})"
        raise InputError([Fault(f"{file} $.deployment", text)])
    return found


@dataclass(frozen=True)
class Traffic:
    """
    What a user says of the traffic.

    Parameters
    ----------
    trace
        A trace, or rates per period; None where one of the next is given.
    poisson, deterministic
        Requests/s, or a share of the planned ones such as ``90%``.
    workload
        Whose requests a trace holds.
    rate_scale, time_scale
        Of the trace; a rate scale ``plan`` makes its mean rate the planned one.
    requests, duration
        How many requests, or for how long: of a stream.
    """

    trace: Path | None = None
    poisson: str | None = None
    deterministic: str | None = None
    workload: str | None = None
    rate_scale: str = "1"
    time_scale: str = "1"
    requests: int | None = None
    duration: str | None = None

    def check(self) -> None:
        """
        Says what does not go together.

        Raises
        ------
        InputError
            When not exactly one kind of traffic is given, or an option has no meaning for it.
        """
        given = [name for name in ("trace", "poisson", "deterministic") if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(f"--{name}" for name in given) or "none"
            raise InputError([Fault("traffic", f"got {got}, must be one of --trace, --poisson, --deterministic")])
        of_trace = {"--rate-scale": self.rate_scale != "1", "--time-scale": self.time_scale != "1"}
        of_trace["--workload"] = self.workload is not None
        of_stream = {"--requests": self.requests is not None, "--duration": self.duration is not None}
        wrong = [name for name, is_given in (of_stream if self.trace else of_trace).items() if is_given]
        if wrong:
            raise InputError([Fault(", ".join(wrong), f"has no meaning with --{given[0]}; leave it out")])
        if self.requests is not None and self.duration is not None:
            raise InputError([Fault("--requests", "and --duration exclude each other; give one")])


def arrivals_of(
    traffic: Traffic, instance: Instance, planned: Sequence[Fraction], seed: int = 0, life_s: float = 0.0
) -> Arrivals:
    """
    The arrivals that a user asks for.

    Parameters
    ----------
    traffic
        What was said.
    instance
        The instance.
    planned
        Requests/s that the plan is made for, of each workload.
    seed
        Of everything random.
    life_s
        How long a request is planned to stay, in s: a stream of unsaid length is longer than twenty lives, where that
        takes no more than 100,000 requests.

    Raises
    ------
    InputError
        When it cannot be read, or does not fit the instance.
    """
    traffic.check()
    if traffic.trace is not None:
        return _replayed(traffic, traffic.trace, instance, planned, seed)
    text = traffic.poisson or traffic.deterministic or ""
    option = "--poisson" if traffic.poisson else "--deterministic"
    total = sum(planned, Fraction(0))
    rate = total * scale_of(text[:-1], option) / 100 if text.endswith("%") else scale_of(text, option)
    shares = [each / total for each in planned] if total else [Fraction(1, len(planned))] * len(planned)
    count = traffic.requests or max(LEAST_REQUESTS, min(MOST_REQUESTS, int(rate * Fraction(life_s) * LIVES)))
    if traffic.duration is not None:
        count = max(1, int(rate * seconds_of(traffic.duration, "--duration")))
    if count > MOST_SIMULATED:
        option = "--requests" if traffic.duration is None else "--duration"
        raise InputError([Fault(option, f"makes {count:,} requests, must be at most {MOST_SIMULATED:,}; give less")])
    return of_process(
        instance, [rate * share for share in shares], count=count, poisson=traffic.poisson is not None, seed=seed
    )


def replication(
    traffic: Traffic, instance: Instance, planned: Sequence[Fraction], number: int, seed: int, life_s: float
) -> Arrivals:
    """
    The arrivals of one of several replications.

    A stream is drawn with another seed. A trace is replayed as it is the first time; then its requests change places
    within each minute, so that times of arrival and the slow course of lengths stay what they are, and a scaled one is
    drawn anew.
    """
    arrivals = arrivals_of(traffic, instance, planned, seed + number, life_s)
    if traffic.trace is None or number == 0 or arrivals.is_drawn:
        return arrivals
    return arrivals.mixed(60.0, seed + number)


def _replayed(traffic: Traffic, file: Path, instance: Instance, planned: Sequence[Fraction], seed: int) -> Arrivals:
    if _holds_rates(file):
        if traffic.rate_scale == "plan":
            raise InputError([Fault("--rate-scale", "got plan, which needs a trace of requests; give a number")])
        scales = [scale_of(traffic.rate_scale, "--rate-scale"), scale_of(traffic.time_scale, "--time-scale")]
        rates = read_rates(file, rate_scale=scales[0], time_scale=scales[1])
        return of_rates(rates, instance, seed=seed)
    workload = _named(traffic.workload, instance)
    scale = traffic.rate_scale
    if scale == "plan":
        whole = requests_of(file, time_scale=traffic.time_scale)
        flow = planned[instance.workloads.index(workload or instance.workloads[0])]
        if not flow or not whole.duration_s:
            raise InputError([Fault("--rate-scale", "got plan, but there is no planned rate, or no time in the trace")])
        scale = str(Fraction(flow * Fraction(whole.duration_s) / len(whole)).limit_denominator(10**9))
    requests = requests_of(file, rate_scale=scale, time_scale=traffic.time_scale, seed=seed)
    return of_requests(requests, instance, workload)


def _holds_rates(file: Path) -> bool:
    first = text_of(file)[:200].split("\n", 1)[0].strip()
    return tuple(first.split(",")[:2]) in HEADERS


def _named(name: str | None, instance: Instance) -> Workload | None:
    if name is None:
        return None
    found = [each for each in instance.workloads if each.name == name]
    if not found:
        there = ", ".join(each.name for each in instance.workloads)
        raise InputError([Fault("--workload", f"got {name!r}, must be one of {there}")])
    return found[0]
