"""Queues with known answers: M/D/1, M/D/c, clocks below, at and beyond capacity."""

from __future__ import annotations

from fractions import Fraction
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest

from solver.simulation.router import POLICIES
from tests.simulation.toys import asked, plan, row, simulate, stream

SERVICE_S = 0.1
SEEDS = range(6)


def md1_wait(rate: float) -> float:
    """Mean wait of M/D/1 (Pollaczek and Khinchine), in s."""
    load = rate * SERVICE_S
    return load * SERVICE_S / (2 * (1 - load))


def mdc_wait(rate: float, servers: int, most: int = 400) -> float:
    """
    Mean wait of M/D/c, in s.

    Who is in service now has left a service time later, so the number X in the system obeys
    X(t + D) = max(X(t) - c, 0) + arrivals in D; its stationary mean less the servers busy is the queue, by Little.
    """
    mean = rate * SERVICE_S
    arrivals = np.array([exp(-mean)] + [0.0] * most)
    for k in range(1, most + 1):
        arrivals[k] = arrivals[k - 1] * mean / k
    state = np.zeros(most + 1)
    state[0] = 1.0
    for _ in range(5000):
        left = np.concatenate([[state[: servers + 1].sum()], state[servers + 1 :], np.zeros(servers)])
        after = np.convolve(left, arrivals)[: most + 1]
        if np.abs(after - state).sum() < 1e-13:
            break
        state = after
    return float((np.arange(most + 1) @ state - mean) / rate)


def test_the_formulas_agree_where_both_hold() -> None:
    assert mdc_wait(7.0, 1) == pytest.approx(md1_wait(7.0), rel=1e-9)


@pytest.mark.parametrize(("servers", "load", "count"), [(1, Fraction(7, 10), 6000), (3, Fraction(8, 10), 8000)])
def test_waits_of_poisson_streams(tmp_path: Path, servers: int, load: Fraction, count: int) -> None:
    toy = asked(tmp_path, [row("prefill", 1, "100")], osl=1, gpus=servers)
    deployment = plan(toy)
    assert [(a.role, a.batch, a.replicas) for a in deployment.assignments] == [("prefill", 1, servers)]
    rate = load * servers * 10
    wanted = mdc_wait(float(rate), servers) * 1000
    runs = [simulate(toy, deployment, stream(toy, rate, count, seed), "central") for seed in SEEDS]
    waits = [found.served[0].queue_ms.mean for found in runs]  # type: ignore[union-attr]
    error = float(np.std(waits, ddof=1)) / sqrt(len(waits))
    assert error < 0.06 * wanted
    assert abs(float(np.mean(waits)) - wanted) < 4 * error
    busy = float(np.mean([found.busy[0].utilization for found in runs]))
    assert busy == pytest.approx(float(load), abs=0.02)


def test_one_queue_is_first_come_first_served(tmp_path: Path) -> None:
    """Equal services: taking turns is the same, each starts when the replica of three requests ago is free."""
    toy = asked(tmp_path, [row("prefill", 1, "100")], osl=1, gpus=3)
    arrivals = stream(toy, Fraction(27), 4000)
    starts: list[float] = []
    for number, arrival in enumerate(arrivals.arrival_s):
        starts.append(max(arrival, starts[number - 3] + SERVICE_S) if number >= 3 else arrival)
    late = arrivals.arrival_s >= arrivals.warm_up_s
    wanted = (np.array(starts) - arrivals.arrival_s)[late] * 1000
    runs = {policy: simulate(toy, plan(toy), arrivals, policy) for policy in POLICIES}
    assert runs["central"].times[0].waited == pytest.approx(wanted, abs=1e-6)
    assert runs["round-robin"].times[0].waited == pytest.approx(wanted, abs=1e-6)
    assert runs["least-loaded"].times[0].waited.mean() > wanted.mean()


def test_a_clock_at_capacity_never_waits_and_beyond_it_the_queue_grows_in_a_line(tmp_path: Path) -> None:
    toy = asked(tmp_path, [row("prefill", 1, "100")], osl=1, gpus=1)
    found = simulate(toy, plan(toy), stream(toy, Fraction(10), 2000, poisson=False))
    assert found.served[0].queue_ms.most < 1e-6  # type: ignore[union-attr]
    assert found.busy[0].utilization == pytest.approx(1, abs=1e-3)
    count = 1100
    found = simulate(toy, plan(toy), stream(toy, Fraction(11), count, poisson=False))
    waits = found.times[0].waited
    grows = (0.1 - 1 / 11) * 1000
    first = count - len(waits)
    assert waits == pytest.approx([grows * n for n in range(first, count)], abs=1e-6)
    assert found.left == pytest.approx(count / 11, abs=1.01)


def test_full_batches_reach_the_planned_rate(tmp_path: Path) -> None:
    rows = [row("prefill", 1, "100"), row("prefill", 4, "200")]
    toy = asked(tmp_path, rows, osl=1, gpus=1)
    deployment = plan(toy)
    assert deployment.requests_per_s == 20
    found = simulate(toy, deployment, stream(toy, Fraction(19), 4000, poisson=False))
    assert found.served[0].queue_ms.most < 200  # type: ignore[union-attr]
    found = simulate(toy, deployment, stream(toy, Fraction(22), 4400, poisson=False))
    assert found.served[0].requests_per_s == pytest.approx(20, rel=0.01)


def test_decode_at_and_beyond_its_places(tmp_path: Path) -> None:
    """20 places, 10 ms a token, 101 tokens after the first: 20 / 1 s = 20 requests/s, whatever the batch."""
    rows = [row("prefill", 1, "1"), row("decode", 1, "10", osl="101"), row("decode", 20, "10", osl="101")]
    toy = asked(tmp_path, rows, osl=101, gpus=2)
    deployment = plan(toy)
    assert deployment.requests_per_s == 20
    found = simulate(toy, deployment, stream(toy, Fraction(18), 2000, poisson=False))
    served, decode = found.served[0], next(each for each in found.busy if each.role == "decode")
    assert served.tpot_ms is not None
    assert served.decode_queue_ms is not None
    assert served.decode_queue_ms.most <= 10.0001
    assert served.tpot_ms.most <= 10.1001
    assert decode.mean_batch == pytest.approx(18, rel=0.02)  # Little: 18 requests/s stay 1 s
    found = simulate(toy, deployment, stream(toy, Fraction(25), 2500, poisson=False))
    waits = found.times[0].joined
    slope = float(np.polyfit(np.arange(len(waits)), waits, 1)[0])
    assert slope == pytest.approx((1 / 20 - 1 / 25) * 1000, rel=0.03)
    assert found.served[0].requests_per_s == pytest.approx(20, rel=0.01)
