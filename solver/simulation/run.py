"""Runs arrivals through a deployment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from costmodels.operating_curve import OperatingCurve
from solver.deployment import Deployment
from solver.engines import CostModel, Engine, engines_of
from solver.instance import Instance
from solver.simulation.arrivals import Arrivals
from solver.simulation.job import Job
from solver.simulation.kinds import Kind, kind_of
from solver.simulation.lengths import PromptWork
from solver.simulation.measures import Busy, Served, Times, busy_of, served, times_of
from solver.simulation.network import Network
from solver.simulation.router import Policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 1e-9
"""Relative error that floats may leave in Little's law."""


@dataclass(frozen=True, eq=False)
class Simulation:
    """
    A run, measured.

    Parameters
    ----------
    deployment
        What ran.
    arrivals
        What came.
    policy
        How requests found a replica.
    served
        Workload by workload.
    busy
        Role by role.
    times
        Times of the measured requests of each workload.
    checks
        What must hold of every run, and whether it does.
    left
        Requests in the system at the last arrival.
    events, wall_s
        Events, and seconds that they took.
    prompts
        How prompts of different lengths were priced.
    """

    deployment: Deployment
    arrivals: Arrivals
    policy: Policy
    served: tuple[Served, ...]
    busy: tuple[Busy, ...]
    times: tuple[Times, ...]
    checks: dict[str, bool]
    left: int
    events: int
    wall_s: float
    prompts: str

    def as_dict(self) -> dict[str, Any]:
        """The measured part of the report file."""
        return {
            "arrivals": self.arrivals.description,
            "routing": self.policy,
            "prompts": self.prompts,
            "served": [each.as_dict() for each in self.served],
            "roles": [each.as_dict() for each in self.busy],
            "left_at_the_end": self.left,
            "checks": self.checks,
            "events": self.events,
        }


def run(
    instance: Instance, deployment: Deployment, model: CostModel, arrivals: Arrivals, policy: Policy = "least-loaded"
) -> Simulation:
    """
    Runs arrivals through a deployment until the last request is done.

    Parameters
    ----------
    instance, deployment, model
        The instance, its plan, and its cost model.
    arrivals
        What comes.
    policy
        How requests find a replica.
    """
    started = time.perf_counter()
    work = PromptWork(model, arrivals.isl)
    kinds = kinds_of(instance, deployment, model, work)
    network = Network(instance, policy, float(arrivals.arrival_s[-1]))
    network.deploy(deployment, kinds)
    left = pass_through(network, arrivals)
    return measured(network, deployment, arrivals, policy, left, started, work.description)


def kinds_of(instance: Instance, deployment: Deployment, model: CostModel, work: PromptWork) -> list[Kind]:
    """The assignments of a plan, ready to be run."""
    curves = mean_curves(instance, model, [a.engine for a in deployment.assignments])
    kinds = []
    for a in deployment.assignments:
        curve = curves[a.engine.index]
        share = [] if a.role == "decode" else work.of(a.engine, curve, a.batch)
        kinds.append(kind_of(instance, a, curve, share))
    return kinds


def mean_curves(instance: Instance, model: CostModel, engines: Sequence[Engine]) -> dict[int, OperatingCurve]:
    """Engine number to its curve for mean prompts: where TTFT is stated of longer ones, it is priced again."""
    if all(engine.workload.options.ttft_percentile is None for engine in engines):
        return {engine.index: engine.curve for engine in engines}
    workloads = tuple(replace(each, options=replace(each.options, ttft_percentile=None)) for each in instance.workloads)
    again = {engine.key: engine.curve for engine in engines_of(replace(instance, workloads=workloads), model).engines}
    return {engine.index: again[engine.key] for engine in engines}


def pass_through(network: Network, arrivals: Arrivals) -> int:
    """Lets requests arrive and everything be served; gives how many were inside at the last arrival."""
    loop = network.loop
    jobs = _jobs(arrivals.workload, arrivals.isl, arrivals.osl, arrivals.arrival_s)
    coming = iter(jobs)
    inside = 0

    def arrive(job: Job) -> None:
        nonlocal inside
        following = next(coming, None)
        if following is not None:
            loop.at(following.arrival, arrive, following)
        network.enter(job)
        inside = network.inside

    loop.at(jobs[0].arrival, arrive, next(coming))
    loop.run()
    return inside


def _jobs(
    workload: NDArray[np.int64], isl: NDArray[np.int64], osl: NDArray[np.int64], arrival: NDArray[np.float64]
) -> list[Job]:
    columns = zip(workload.tolist(), isl.tolist(), osl.tolist(), arrival.tolist(), strict=True)
    return [Job(index, *column) for index, column in enumerate(columns)]


def measured(
    network: Network,
    deployment: Deployment,
    arrivals: Arrivals,
    policy: Policy,
    left: int,
    started: float,
    prompts: str,
) -> Simulation:
    """Measures a network whose requests have passed through."""
    begin, end = arrivals.warm_up_s, float(arrivals.arrival_s[-1])
    rows, times = [], []
    for number, workload in enumerate(network.instance.workloads):
        jobs = [job for job in network.finished if job.workload == number and job.arrival >= begin]
        jobs.sort(key=_index)
        rejected = sum(job.workload == number for job in network.rejected)
        rows.append(served(workload, jobs, rejected, (begin, end)))
        times.append(times_of(jobs))
    return Simulation(
        deployment=deployment,
        arrivals=arrivals,
        policy=policy,
        served=tuple(rows),
        busy=tuple(busy_of(network, end)),
        times=tuple(times),
        checks=checks_of(network, len(arrivals)),
        left=left,
        events=network.loop.events,
        wall_s=time.perf_counter() - started,
        prompts=prompts,
    )


def _index(job: Job) -> int:
    return job.index


def checks_of(network: Network, arrived: int) -> dict[str, bool]:
    """
    What holds of every run that is right.

    Conservation: every request is done or was rejected, once. Order: no request is begun before it comes, or ends
    before it is begun. Little's law: the requests inside, counted event by event and summed over time, are as many
    request-seconds as all requests together stayed.
    """
    jobs = network.finished
    stayed = sum(job.end - job.arrival for job in jobs)
    numbers = {job.index for job in jobs} | {job.index for job in network.rejected}
    return {
        "conservation": len(jobs) + len(network.rejected) == arrived == len(numbers) and network.inside == 0,
        "order": all(job.arrival <= job.start <= job.first <= job.end + TOLERANCE for job in jobs),
        "little": abs(network.request_s - stayed) <= TOLERANCE * max(1.0, stayed) * 10,
    }
