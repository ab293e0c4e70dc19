"""Runs that are told as totals and means, as ``vllm bench serve`` and SGLang's ``bench_serving`` write them."""

from __future__ import annotations

import math
from collections.abc import Callable

from costmodels.imports.reading import Node
from costmodels.imports.runs import Run, spread_of

Said = dict[str, str | int | None]


def run_of_totals(at: Node, latency: str, said: Callable[[Node], Said], failed: Callable[[Node], int]) -> Run | None:
    """
    A run; None where none of its requests was completed, or what it needs is missing.

    Parameters
    ----------
    at
        The run.
    latency
        Key of the mean latency of a whole request.
    said, failed
        What the file says of the engine, and how many requests it says failed; read where the totals are there.
    """
    completed = at.whole("completed", zero=True)
    if completed == 0:
        at.reading.dropped["no request of the run was completed"] += 1
        return None
    inputs, outputs = at.number("total_input_tokens"), at.number("total_output_tokens")
    ttft_ms, rate = at.number("mean_ttft_ms"), at.number("request_throughput")
    tpot_ms = at.number("mean_tpot_ms", zero=True)
    planned = at.whole("num_prompts", required=False)
    if completed is None or inputs is None or outputs is None or ttft_ms is None or rate is None or tpot_ms is None:
        return None
    check_rate(at, rate, completed)
    note_speculation(at)
    return Run(
        at=at,
        said=said(at),
        isl=inputs / completed,
        osl=outputs / completed,
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms or None,
        e2el_ms=at.number(latency, required=False),
        requests_per_s=rate,
        concurrency=closed_loop(at),
        completed=completed,
        failed=max(failed(at), planned - completed if planned else 0),
        spread=spread(at, "input_lens", "output_lens"),
    )


def closed_loop(at: Node) -> float | None:
    """
    The concurrency of a run that kept requests in flight; None of a run that sent at a rate.

    ``request_rate`` is ``"inf"`` or ``Infinity`` where requests went out as soon as a place was free. With a finite
    rate ``max_concurrency`` is only a cap, and says nothing of how many were in flight.

    Parameters
    ----------
    at
        The run.
    """
    rate = at.value.get("request_rate")
    endless = rate is None or (isinstance(rate, str) and rate.lower() == "inf") or rate == math.inf
    if not endless:
        return None
    return at.whole("max_concurrency", required=False)


def check_rate(at: Node, rate: float, completed: int) -> None:
    """Completed requests over the duration must be the request rate, to 2 %."""
    duration = at.number("duration", required=False)
    if duration and abs(completed / duration / rate - 1) > 0.02:
        text = f"got {rate:g}, but completed / duration = {completed / duration:g}; the file contradicts itself"
        at.fault(text, "request_throughput")


def note_speculation(at: Node) -> None:
    """Notes that tokens came by speculative decoding, where the file says so."""
    for key in ("spec_decode_acceptance_length", "accept_length"):
        if at.has(key):
            at.reading.notes[
                f"{at.where}: speculative decoding, {key} {at.value[key]}: the row holds with it only"
            ] += 1


def spread(at: Node, *names: str) -> float | None:
    """The largest std/mean of the arrays of lengths that a detailed result carries."""
    spreads = []
    for name in names:
        lengths = at.value.get(name)
        if isinstance(lengths, list) and all(isinstance(x, int) and x >= 0 for x in lengths):
            spreads.append(spread_of(lengths))
    return max((value for value in spreads if value is not None), default=None)
