"""What requests met, and how busy replicas were: measured on a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from costmodels.operating_curve import ROLES, Role
from solver.instance import Workload
from solver.simulation.job import Job
from solver.simulation.kinds import Running
from solver.simulation.network import Network
from solver.simulation.prefill import PrefillReplica

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Spread:
    """
    How a time is spread over requests, in ms: a percentile P is the least value that P % of them do not exceed.

    Parameters
    ----------
    mean, p50, p90, p95, p99, most
        The mean, percentiles, and the largest.
    """

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, ms: NDArray[np.float64]) -> Spread | None:
        """Of some times; None without any."""
        import numpy as np

        if not len(ms):
            return None
        cuts = np.quantile(ms, [p / 100 for p in PERCENTILES], method="inverted_cdf")
        p50, p90, p95, p99 = map(float, cuts)
        return cls(float(ms.mean()), p50, p90, p95, p99, float(ms.max()))


@dataclass(frozen=True)
class Times:
    """
    Times of the requests of a workload, in ms, in the order of their arrival.

    Parameters
    ----------
    ttft, tpot, e2el
        To the first token; per token after it (of requests with two tokens at least); to the last token.
    waited, joined
        Until the prompt was begun; from the first token until the request joined a decode batch (disaggregated).
    """

    ttft: NDArray[np.float64]
    tpot: NDArray[np.float64]
    e2el: NDArray[np.float64]
    waited: NDArray[np.float64]
    joined: NDArray[np.float64]


@dataclass(frozen=True)
class Served:
    """
    One workload, measured.

    Parameters
    ----------
    workload
        Its name.
    requests, rejected
        Requests measured; requests that no replica could hold.
    requests_per_s, output_tokens_per_s
        Completed in the time that was measured.
    ttft_ms, tpot_ms, e2el_ms, queue_ms, decode_queue_ms
        Latencies, and the waits for prefill and for a place in a decode batch.
    within
        Limit of the SLA (``ttft``, ``tpot``, ``e2el``, and ``all``) to the share of the requests within it.
    good_requests_per_s, good_output_tokens_per_s
        Goodput: completed within all limits.
    """

    workload: str
    requests: int
    rejected: int
    requests_per_s: float
    output_tokens_per_s: float
    ttft_ms: Spread | None
    tpot_ms: Spread | None
    e2el_ms: Spread | None
    queue_ms: Spread | None
    decode_queue_ms: Spread | None
    within: dict[str, float]
    good_requests_per_s: float
    good_output_tokens_per_s: float

    def as_dict(self) -> dict[str, Any]:
        """For the report file."""
        return asdict(self)


def times_of(jobs: Sequence[Job]) -> Times:
    """The times of finished requests."""
    import numpy as np

    def ms(values: list[float]) -> NDArray[np.float64]:
        return np.array(values, dtype=np.float64) * 1000

    tokens = [job for job in jobs if job.osl > 1]
    return Times(
        ttft=ms([job.first - job.arrival for job in jobs]),
        tpot=ms([(job.end - job.first) / (job.osl - 1) for job in tokens]),
        e2el=ms([job.end - job.arrival for job in jobs]),
        waited=ms([job.start - job.arrival for job in jobs]),
        joined=ms([job.joined - job.first for job in tokens if job.joined >= job.first]),
    )


def served(workload: Workload, jobs: Sequence[Job], rejected: int, window: tuple[float, float]) -> Served:
    """
    Measures a workload.

    Parameters
    ----------
    workload
        The workload.
    jobs
        Its finished requests that arrived in the window.
    rejected
        How many it has that no replica could hold.
    window
        Begin and end of the time that is measured, in s.
    """
    import numpy as np

    times = times_of(jobs)
    good = np.ones(len(jobs), dtype=bool)
    within: dict[str, float] = {}
    tpot = np.array([(job.end - job.first) / max(1, job.osl - 1) * 1000 for job in jobs])
    for name, values, limit in (
        ("ttft", times.ttft, workload.ttft_ms),
        ("tpot", tpot, workload.tpot_ms),
        ("e2el", times.e2el, workload.e2el_ms),
    ):
        if limit is not None and len(jobs):
            met = values <= float(limit) * (1 + 1e-9)
            within[name] = float(met.mean())
            good &= met
    if len(jobs):
        within["all"] = float(good.mean()) * len(jobs) / (len(jobs) + rejected)
    seconds = max(window[1] - window[0], 1e-12)
    osl = np.array([job.osl for job in jobs])
    timely = np.array([job.end <= window[1] for job in jobs], dtype=bool)
    return Served(
        workload=workload.name,
        requests=len(jobs),
        rejected=rejected,
        requests_per_s=float(timely.sum() / seconds),
        output_tokens_per_s=float(osl[timely].sum() / seconds) if len(jobs) else 0.0,
        ttft_ms=Spread.of(times.ttft),
        tpot_ms=Spread.of(times.tpot),
        e2el_ms=Spread.of(times.e2el),
        queue_ms=Spread.of(times.waited),
        decode_queue_ms=Spread.of(times.joined),
        within=within,
        good_requests_per_s=float((timely & good).sum() / seconds),
        good_output_tokens_per_s=float(osl[timely & good].sum() / seconds) if len(jobs) else 0.0,
    )


@dataclass(frozen=True)
class Busy:
    """
    One role of one workload, measured from the first to the last arrival.

    Parameters
    ----------
    workload, role
        Which.
    replicas
        How many ran, on average over time.
    utilization
        Prefill: share of the time in which replicas were occupied. Decode, co-located: share of their planned places
        that was taken.
    mean_batch
        Decode, co-located: sequences in flight per replica, mean over time.
    waiting, most_waiting
        Requests in its queues, mean over time and the most at once.
    """

    workload: str
    role: Role
    replicas: float
    utilization: float
    mean_batch: float | None
    waiting: float
    most_waiting: int

    def as_dict(self) -> dict[str, Any]:
        """For the report file."""
        return asdict(self)


def busy_of(network: Network, horizon_s: float) -> list[Busy]:
    """Every role that runs, measured."""
    found = []
    for number, workload in enumerate(network.instance.workloads):
        for role in ROLES:
            running = [r for r in network.replicas if r.kind.role == role and _is_of(r, workload)]
            if running:
                jobs = [job for job in network.finished if job.workload == number]
                found.append(_busy(workload, role, running, jobs, horizon_s))
    return found


def _is_of(running: Running, workload: Workload) -> bool:
    return running.kind.assignment.engine.workload.name == workload.name


def _busy(workload: Workload, role: Role, running: Sequence[Running], jobs: Sequence[Job], horizon: float) -> Busy:
    import numpy as np

    open_s = [max(0.0, min(r.closed_s, horizon) - r.opened_s) for r in running]
    places_s = sum(seconds * r.kind.service.batch for seconds, r in zip(open_s, running, strict=True))
    took = [(job.joined, job.end) for job in jobs if job.role == role] if role != "prefill" else []
    taken = float(sum(max(0.0, min(end, horizon) - min(start, horizon)) for start, end in took))
    busy = sum(r.replica.busy_s for r in running if isinstance(r.replica, PrefillReplica))
    waits = [(job.first, job.joined) if role == "decode" else (job.arrival, job.start)
             for job in jobs if job.role == role or (role == "prefill" and job.role == "decode")]  # fmt: skip
    starts, ends = (np.minimum(np.array([w[side] for w in waits]), horizon) for side in (0, 1))
    total = max(sum(open_s), 1e-12)
    return Busy(
        workload=workload.name,
        role=role,
        replicas=total / horizon if horizon else float(len(running)),
        utilization=busy / total if role == "prefill" else taken / max(places_s, 1e-12),
        mean_batch=None if role == "prefill" else taken / total,
        waiting=float((ends - starts).sum()) / max(horizon, 1e-12),
        most_waiting=_most(starts, ends),
    )


def _most(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> int:
    """The most intervals that overlap."""
    import numpy as np

    lasting = ends > starts
    times = np.concatenate([starts[lasting], ends[lasting]])
    steps = np.concatenate([np.ones(lasting.sum()), -np.ones(lasting.sum())])
    order = np.lexsort((steps, times))  # at the same time, leaving comes first
    return int(np.cumsum(steps[order]).max(initial=0))
