"""The public function: a plan of an instance under some traffic."""

from __future__ import annotations

from pathlib import Path

from solver.deployment import Deployment
from solver.result import Result
from solver.simulation.ask import Asked, Traffic, arrivals_of, asked_of, deployment_of, read_plan, solved
from solver.simulation.promise import life_s, mean_rates, planned_rates
from solver.simulation.router import Policy
from solver.simulation.run import Simulation, run, run_schedule
from solver.simulation.schedule import schedule_of


class NoPlan(ValueError):
    """
    The instance has no plan that could be simulated.

    Parameters
    ----------
    result
        Why: the result without a plan.
    """

    def __init__(self, result: Result) -> None:
        super().__init__(f"no plan to simulate: {result.status}")
        self.result = result


def simulate(
    instance: str | Path,
    plan: str | Path | None = None,
    *,
    trace: str | Path | None = None,
    poisson: str | None = None,
    deterministic: str | None = None,
    workload: str | None = None,
    rate_scale: str = "1",
    time_scale: str = "1",
    requests: int | None = None,
    duration: str | None = None,
    routing: Policy = "least-loaded",
    seed: int = 0,
) -> Simulation:
    """
    Lets requests pass through a plan one by one.

    Parameters
    ----------
    instance
        The instance file.
    plan
        A result or schedule file of it; None: the best plan is found first.
    trace
        A trace, or rates per period (:mod:`solver.traffic`).
    poisson, deterministic
        In place of a trace: requests/s, or a share of the planned rate such as ``90%``.
    workload
        Whose requests a trace holds, where there are several workloads.
    rate_scale, time_scale
        Scales of the trace; a rate scale ``plan`` makes its mean rate the planned one.
    requests, duration
        How many requests a stream has, or how long it is.
    routing
        ``least-loaded``, ``round-robin`` or ``central``.
    seed
        Of everything random.

    Raises
    ------
    costmodels.errors.InputError
        When a file or a word is wrong.
    NoPlan
        When the instance is infeasible, or no plan was found.
    """
    file = None if trace is None else Path(trace)
    traffic = Traffic(file, poisson, deterministic, workload, rate_scale, time_scale, requests, duration)
    traffic.check()
    asked = asked_of(Path(instance))
    if plan is None:
        return _plain(asked, _best(asked), traffic, seed, routing)
    written = read_plan(asked, Path(plan))
    if written["format"] == "disagg-result":
        return _plain(asked, deployment_of(asked, written, Path(plan)), traffic, seed, routing)
    schedule = schedule_of(written, asked.instance, asked.engines, Path(plan))
    arrivals = arrivals_of(traffic, asked.instance, mean_rates(schedule), seed)
    return run_schedule(asked.instance, schedule, asked.model, arrivals, routing)


def _best(asked: Asked) -> Deployment:
    result = solved(asked)
    if result.deployment is None:
        raise NoPlan(result)
    return result.deployment


def _plain(asked: Asked, deployment: Deployment, traffic: Traffic, seed: int, routing: Policy) -> Simulation:
    arrivals = arrivals_of(traffic, asked.instance, planned_rates(deployment), seed, life_s(deployment))
    return run(asked.instance, deployment, asked.model, arrivals, routing)
