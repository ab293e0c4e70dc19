"""Single replicas: decode steps against an oracle, the closed loop, the hand-over, what waits and what fits."""

from __future__ import annotations

import random
from dataclasses import replace
from math import ceil

import pytest

from solver.simulation.colocated import ColocatedReplica
from solver.simulation.decode import DecodeReplica
from solver.simulation.handover import Channel, Handover, Sender
from solver.simulation.job import Job
from solver.simulation.loop import Loop
from solver.simulation.network import Turns
from solver.simulation.service import Service
from tests.simulation.toys import asked, plan, row, simulate, stream

LATENCIES = [0.0, 0.010, 0.012, 0.013, 0.020]
DECODE = Service(batch=4, pp=1, latency_s=LATENCIES, ttft_s=LATENCIES, occupied_s=[], prompt_tokens=0, kv_tokens=500.0)


def tokens(isl: int, osl: int) -> float:
    return float(isl + osl)


def oracle(jobs: list[tuple[float, int, int]], service: Service) -> list[tuple[float, float]]:
    """When each request joined and ended, one step after the other, the state looked at after every one."""
    waiting = sorted(range(len(jobs)), key=lambda i: jobs[i][0])
    flight: dict[int, int] = {}
    joined, ended = [0.0] * len(jobs), [0.0] * len(jobs)
    now = 0.0
    while waiting or flight:
        if not flight and waiting:
            now = max(now, jobs[waiting[0]][0])
        while waiting and jobs[waiting[0]][0] <= now + 1e-12:
            _, isl, osl = jobs[waiting[0]]
            used = sum(jobs[i][1] + jobs[i][2] for i in flight)
            if len(flight) == service.batch or used + isl + osl > service.kv_tokens:
                break
            joined[waiting[0]] = now
            flight[waiting.pop(0)] = osl - 1
        now += service.latency_s[len(flight)]
        for i in list(flight):
            flight[i] -= 1
            if flight[i] == 0:
                ended[i] = now
                del flight[i]
    return list(zip(joined, ended, strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_decode_steps_are_those_of_the_oracle(seed: int) -> None:
    rng = random.Random(seed)
    loop, done = Loop(), list[Job]()
    replica = DecodeReplica(loop, 0, "pool", DECODE, tokens, done.append)
    time, jobs = 0.0, []
    for index in range(rng.randint(1, 25)):
        time += rng.choice([0.0, rng.uniform(0, 0.05), rng.uniform(0, 0.4)])
        job = Job(index, 0, rng.randint(1, 200), rng.randint(2, 30), time)
        jobs.append(job)
        loop.at(time, lambda job: (replica.expect(), replica.add(job)), job)
    loop.run()
    wanted = oracle([(job.arrival, job.isl, job.osl) for job in jobs], DECODE)
    assert len(done) == len(jobs)
    for job, (joined, end) in zip(jobs, wanted, strict=True):
        assert job.joined == pytest.approx(joined, abs=1e-9)
        assert job.end == pytest.approx(end, abs=1e-9)
    assert replica.load == pytest.approx(0, abs=1e-9)


def test_the_closed_loop_reaches_what_the_curve_says() -> None:
    """8 sequences, each replaced at once: 8 / (TTFT + (OSL - 1) x TPOT), Little's law."""
    service = Service(8, 1, [0.02] * 9, [0.3] * 9, [], 10**6, 10**9)
    loop, count, last = Loop(), 0, 4000

    def again(job: Job) -> None:
        nonlocal count
        count += 1
        if count < last:
            replica.add(Job(count + 8, 0, 100, 51, loop.now))

    replica = ColocatedReplica(loop, 0, "pool", service, tokens, again)
    for index in range(8):
        replica.add(Job(index, 0, 100, 51, 0.0))
    loop.run()
    assert last / loop.now == pytest.approx(8 / (0.3 + 50 * 0.02), rel=0.01)


def test_prompts_share_the_room_of_a_mixed_step() -> None:
    """Room for 250 prompt tokens: two of 100 at a time, one of 400 alone."""
    service = Service(8, 1, [0.02] * 9, [0.3] * 9, [], 250, 10**9)
    loop, done = Loop(), list[Job]()
    replica = ColocatedReplica(loop, 0, "pool", service, tokens, done.append)
    jobs = [Job(index, 0, isl, 2, 0.0) for index, isl in enumerate([100, 100, 100, 400, 100])]
    for job in jobs:
        replica.add(job)
    loop.run()
    assert [job.start for job in jobs] == pytest.approx([0, 0, 0.3, 0.6, 0.9])
    assert [job.first for job in jobs] == pytest.approx([0.3, 0.3, 0.6, 0.9, 1.2])
    assert [job.end - job.first for job in jobs] == pytest.approx([0.02] * 5)


@pytest.mark.parametrize("seed", range(50))
def test_a_lone_transfer_is_exposed_as_the_plan_says(seed: int) -> None:
    rng = random.Random(seed)
    layers, latency, size = rng.randint(1, 80), rng.uniform(0.01, 1), rng.uniform(1e6, 1e10)
    speed = rng.uniform(1e9, 1e11)
    sender = Sender("a", Channel(speed), 1, size / 100, layers)
    job = Job(0, 0, 100, 10, 0.0)
    handover = Handover.__new__(Handover)
    handover._links = {}
    arrived = handover.send(job, sender, Channel(), "b", 0.0, latency)
    whole = size / speed
    assert arrived - latency == pytest.approx(max(whole / layers, whole - latency * (layers - 1) / layers))


def test_transfers_of_one_replica_follow_one_another() -> None:
    sender = Sender("a", Channel(1e9), 1, 1e7, 1)
    handover = Handover.__new__(Handover)
    handover._links = {}
    jobs = [Job(index, 0, 100, 10, 0.0) for index in range(3)]
    assert [handover.send(job, sender, Channel(), "b", 0.0, 0.5) for job in jobs] == pytest.approx([1.5, 2.5, 3.5])
    link = {("a", "b"): Channel(5e8)}
    handover._links = link
    slow = Sender("a", Channel(1e9), 1, 1e7, 1)
    assert [handover.send(job, slow, Channel(), "b", 0.0, 0.5) for job in jobs[:2]] == pytest.approx([2.5, 4.5])


def test_turns_are_as_frequent_as_their_shares() -> None:
    turns = Turns({"a": 3.0, "b": 1.0, "none": 0.0})
    names = [turns.next() for _ in range(400)]
    assert (names.count("a"), names.count("b")) == (300, 100)
    assert all(names[i : i + 8].count("b") == 2 for i in range(0, 400, 8))


def test_what_no_replica_can_hold_is_rejected_and_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [row("prefill", 1, "1"), row("decode", 4, "10", osl="11")]
    toy = asked(tmp_path_factory.mktemp("toy"), rows, osl=11, gpus=2)
    arrivals = stream(toy, plan(toy).requests_per_s / 2, 50)
    osl = arrivals.osl.copy()
    osl[7] = 10_000  # four places of 111 tokens
    found = simulate(toy, plan(toy), replace(arrivals, osl=osl, warm_up_s=0.0))
    assert (found.served[0].requests, found.served[0].rejected) == (49, 1)
    assert ceil(found.served[0].within["all"] * 50) == 49


def test_co_located_plans_reach_their_rate_under_full_load(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A TTFT that holds waits: 8 / (1 + 10 x 0.1) = 4 requests/s, so 4 prompts are under way, where 1 fits."""
    rows = [row("colocated", 8, "100", osl="11", ttft="1000", rate="4", chunk=100)]
    toy = asked(tmp_path_factory.mktemp("toy"), rows, osl=11, gpus=1)
    assert plan(toy).requests_per_s == 4
    found = simulate(toy, plan(toy), stream(toy, plan(toy).requests_per_s * 2, 2000))
    assert found.served[0].requests_per_s == pytest.approx(4, rel=0.01)
    assert found.busy[0].mean_batch == pytest.approx(8, rel=0.01)
    found = simulate(toy, plan(toy), stream(toy, plan(toy).requests_per_s / 2, 2000))
    assert found.served[0].tpot_ms.mean == pytest.approx(100)  # type: ignore[union-attr]
    assert found.busy[0].mean_batch == pytest.approx(4, rel=0.1)  # Little: 2 requests/s stay 2 s


def shared_steps(jobs: list[Job], service: Service) -> list[tuple[float, float]]:
    """First and last tokens where everybody's remaining work is written down anew at every event."""
    waiting = sorted(jobs, key=lambda job: (job.arrival, job.index))
    left: dict[int, list[float]] = {}  # number of the request: work of the prompt, tokens
    by_index = {job.index: job for job in jobs}
    first, end, now = [0.0] * len(jobs), [0.0] * len(jobs), 0.0
    while waiting or left:
        while waiting and waiting[0].arrival <= now + 1e-12:
            prompts = [by_index[i].isl for i, (work, _) in left.items() if work > 0]
            used = sum(by_index[i].isl + by_index[i].osl for i in left)
            job = waiting[0]
            full = bool(prompts) and sum(prompts) + job.isl > service.prompt_tokens
            if full or len(left) == service.batch or used + job.isl + job.osl > service.kv_tokens:
                break
            left[waiting.pop(0).index] = [job.work, job.osl - 1.0]
        coming = waiting[0].arrival - now if waiting and waiting[0].arrival > now + 1e-12 else float("inf")
        n = len(left)
        needs = [(w * service.ttft_s[n] if w > 0 else t * service.latency_s[n]) for w, t in left.values()]
        step = min([coming, *needs])
        now += step
        for i, (work, tokens_left) in list(left.items()):
            if work > 0:
                work -= step / service.ttft_s[n]
                if work < 1e-9:
                    work, first[i] = 0.0, now
            else:
                tokens_left -= step / service.latency_s[n]
            left[i] = [work, tokens_left]
            if work == 0 and tokens_left < 1e-9:
                end[i] = now
                del left[i]
    return list(zip(first, end, strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_co_located_steps_are_those_of_the_oracle(seed: int) -> None:
    rng = random.Random(seed)
    service = Service(4, 1, LATENCIES, [0.0, 0.2, 0.3, 0.35, 0.5], [], 260, 700.0)
    loop, time, jobs = Loop(), 0.0, list[Job]()
    done: list[Job] = []
    replica = ColocatedReplica(loop, 0, "pool", service, tokens, done.append)
    for index in range(rng.randint(1, 20)):
        time += rng.choice([rng.uniform(0, 0.1), rng.uniform(0, 1)])
        job = Job(index, 0, rng.randint(1, 200), rng.randint(1, 30), time)
        job.work = rng.uniform(0.1, 2)
        jobs.append(job)
        loop.at(time, replica.add, job)
    loop.run()
    for job, (first, end) in zip(jobs, shared_steps(jobs, service), strict=True):
        assert job.first == pytest.approx(first, abs=1e-6)
        assert job.end == pytest.approx(end, abs=1e-6)
    assert len(done) == len(jobs)
