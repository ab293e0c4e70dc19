"""Runs of a load generator: what they say of an engine, checked, and as a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from costmodels.imports.engine import Engine, Given, Role, Said, settle
from costmodels.imports.reading import Node, Reading
from costmodels.imports.rows import Row

LITTLE_TOLERANCE = 0.20
FAILED_SHARE = 0.01
LENGTH_TOLERANCE = 0.05
FEW_ROUNDS = 5
IDLE = 0.5


@dataclass(frozen=True)
class Run:
    """
    One run of a load generator against a deployment.

    Parameters
    ----------
    at
        Where it stands.
    said
        What the file says of the engine.
    isl, osl
        Mean input and output tokens of the requests.
    ttft_ms, tpot_ms, e2el_ms
        Means of a request in ms; ``tpot_ms`` without the first token. None where the tool does not give it.
    requests_per_s
        Completed requests per second, over all replicas.
    concurrency
        Requests that the tool kept in flight; None where it sent at a rate.
    in_flight
        Requests in flight as the tool measured them; None where it did not.
    completed, failed, incomplete
        Requests; ``completed`` None where the file does not say.
    spread
        The larger of std/mean of ISL and OSL; None where the file does not say.
    role
        What the deployment was.
    date
        When, in a form that sorts.
    """

    at: Node
    said: Said
    isl: float
    osl: float
    ttft_ms: float
    tpot_ms: float | None
    requests_per_s: float
    e2el_ms: float | None = None
    concurrency: float | None = None
    in_flight: float | None = None
    completed: int | None = None
    failed: int = 0
    incomplete: int = 0
    spread: float | None = None
    role: Role = "colocated"
    date: str = ""


def spread_of(lengths: Sequence[float]) -> float | None:
    """Standard deviation over mean of a list of lengths; None for an empty list."""
    if not lengths or not sum(lengths):
        return None
    mean = sum(lengths) / len(lengths)
    return math.sqrt(sum((x - mean) ** 2 for x in lengths) / len(lengths)) / mean


def usable(completed: int | None, failed: int, reading: Reading) -> bool:
    """Whether a run did what it was told: none with 1 % of failed requests or more; fewer failures are counted."""
    if completed == 0:
        reading.dropped["no request of the run was completed"] += 1
        return False
    if failed and (completed is None or failed > FAILED_SHARE * (completed + failed)):
        reading.dropped["more than 1 % of the run's requests failed"] += 1
        return False
    if failed:
        reading.notes["failed requests in runs that are kept (at most 1 % of a run)"] += failed
    return True


def row_of(run: Run, given: Given) -> Row | None:
    """
    The row of a run; None where it is dropped (and counted) or faulty (and said).

    A run is a co-located point: batch = requests in flight per replica and micro-batch. Where it is one role of a
    disaggregated deployment, the batch is what Little's law says of that role: rate x time in it.

    Parameters
    ----------
    run
        The run.
    given
        The command line.
    """
    reading = run.at.reading
    if not usable(run.completed, run.failed, reading):
        return None
    role: Role = given.role or run.role
    run = replace(run, concurrency=given.concurrency or run.concurrency)
    engine = settle(given, run.said, run.at)
    isl = _label("isl", run.isl, given.isl, run.at)
    osl = None if role == "prefill" else _label("osl", run.osl, given.osl, run.at)
    if role != "prefill" and (run.tpot_ms is None or round(run.osl) < 2):
        run.at.fault(f"OSL {run.osl:g} has no time per output token; for a run of prefill alone give --role prefill")
        return None
    if engine is None or isl is None or (osl is None and role != "prefill"):
        return None
    if run.concurrency and run.completed is not None and run.completed + run.failed < run.concurrency:
        reading.dropped["fewer requests than the concurrency: it was never reached"] += 1
        return None
    _remark(run, role, reading)
    tpot_ms = run.tpot_ms or 0.0
    return Row(
        engine=engine,
        role=role,
        batch=_batch(_held(run, role), engine, role, given, run.at),
        chunk_tokens=_chunk(given, isl, reading) if role == "colocated" else 0,
        isl=isl,
        osl=osl,
        latency_ms=run.ttft_ms if role == "prefill" else tpot_ms,
        ttft_ms=run.ttft_ms if role == "colocated" else None,
        requests_per_s=run.requests_per_s / given.replicas,
        where=run.at.where,
        date=run.date,
    )


def roles_of(run: Run, given: Given, prefill: Said, decode: Said, workers: tuple[int, int]) -> list[Row]:
    """
    The two rows of a disaggregated run: each pool did at least this.

    Parameters
    ----------
    run
        The run over the whole deployment.
    given
        The command line.
    prefill, decode
        What the file says of each pool's engine.
    workers
        Replicas of prefill and of decode.
    """
    reading = run.at.reading
    if given.role == "colocated" or given.replicas != 1:
        run.at.fault(
            "a disaggregated run: its rows are prefill and decode, and the file counts the replicas; leave "
            "--role colocated and --replicas out"
        )
        return []
    if not usable(run.completed, run.failed, reading):
        return []
    _check_little(run, "colocated", reading)
    reading.notes["disaggregated runs: both pools did at least this rate; TTFT holds queueing and KV hand-over"] += 1
    rows: list[Row | None] = []
    pools: list[tuple[Role, Said, int]] = [("prefill", prefill, workers[0]), ("decode", decode, workers[1])]
    for role, said, replicas in pools:
        if given.role in (None, role):
            part = replace(run, said=said, failed=0, completed=None, concurrency=None)
            part = replace(part, in_flight=None, e2el_ms=None)
            single = replace(given, role=role, replicas=replicas, concurrency=None)
            rows.append(row_of(part, single))
    return [row for row in rows if row]


def _time_in(run: Run, role: Role) -> float:
    """Milliseconds that a request spends in the role, from the means."""
    decoding = (run.osl - 1) * (run.tpot_ms or 0.0)
    return {"prefill": run.ttft_ms, "decode": decoding, "colocated": run.ttft_ms + decoding}[role]


def _inside(run: Run, role: Role) -> float:
    """Little's law: requests in the role, over all replicas."""
    return run.requests_per_s * _time_in(run, role) / 1000


def _held(run: Run, role: Role) -> float:
    """Requests in flight, over all replicas."""
    if role != "colocated":
        return _inside(run, role)
    return run.concurrency or run.in_flight or _inside(run, role)


def _check_little(run: Run, role: Role, reading: Reading) -> None:
    held = run.concurrency or run.in_flight
    if held and role == "colocated" and abs(_inside(run, role) / held - 1) > LITTLE_TOLERANCE:
        note = (
            f"rate x (TTFT + (OSL-1) TPOT) = {_inside(run, role):.3g} requests in flight, where the run says {held:.4g}"
        )
        reading.notes[f"Little's law is off by more than 20 %: {run.at.where}: {note}"] += 1


def _remark(run: Run, role: Role, reading: Reading) -> None:
    """Everything about a run that a planner should know."""
    _check_little(run, role, reading)
    total = _time_in(run, "colocated")
    if run.e2el_ms and run.tpot_ms and abs(total / run.e2el_ms - 1) > LITTLE_TOLERANCE:
        note = f"TTFT + (OSL-1) TPOT is {total:.4g} ms, the latency of a request {run.e2el_ms:.4g} ms"
        reading.notes[f"times do not add up within 20 %: {run.at.where}: {note}"] += 1
    if run.spread is not None and run.spread > LENGTH_TOLERANCE:
        reading.notes["runs whose ISL or OSL spreads by more than 5 % (std/mean); the row carries the means"] += 1
    if run.incomplete:
        reading.notes["requests that were cut off at the end of their run"] += run.incomplete
    held = _held(run, role)
    if run.completed is not None and run.completed < FEW_ROUNDS * max(held, 1):
        reading.notes[f"short runs: fewer than {FEW_ROUNDS} requests per one in flight"] += 1
    if role == "colocated" and run.concurrency:
        reading.notes["closed-loop runs: TTFT holds the queueing of the requests that are kept in flight"] += 1
    elif role == "colocated":
        how = "as the tool measured it" if run.in_flight else "from Little's law"
        reading.notes[f"open-loop runs: batch is the mean number in flight, {how}"] += 1


def _label(name: str, measured: float, given: int | None, at: Node) -> int | None:
    """The length that the row carries: the rounded mean, or the one given where it is within 5 %."""
    if given is None:
        return max(1, round(measured))
    if abs(given / measured - 1) > LENGTH_TOLERANCE:
        at.fault(f"{name} is {measured:.6g} on average; --{name} {given} must be within 5 % of it")
        return None
    if given != round(measured):
        at.reading.notes[f"rows labelled {name} {given} by --{name}; measured within 5 % of it"] += 1
    return given


def _batch(held: float, engine: Engine, role: Role, given: Given, at: Node) -> int:
    """Sequences of a micro-batch: in flight / replicas / pp, whole, and the fullest rank counted for all."""
    exact = held / given.replicas / engine.pp
    ranks = engine.attention_dp
    batch = ranks * max(1, math.ceil(round(exact) / ranks))
    notes = at.reading.notes
    if exact < IDLE:
        text = f"idle: {exact:.2g} in flight on average, so the rate of this batch-{batch} row is that of the load"
        notes[f"{text} ({at.where})"] += 1
    elif abs(batch / exact - 1) > LENGTH_TOLERANCE:
        why = "whole sequences per rank" if ranks > 1 else "whole sequences"
        notes[f"{role} batch rounded to {why} by more than 5 %: {exact:.4g} to {batch} ({at.where})"] += 1
    return batch


def _chunk(given: Given, isl: int, reading: Reading) -> int:
    if given.chunk_tokens is None:
        reading.notes[
            "chunk_tokens not given: whole prompts assumed (--chunk-tokens names the chunk of the engine)"
        ] += 1
    return given.chunk_tokens or isl
