"""A simulation as lines and as a file, beside what the plan promised."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from solver.instance import Workload
from solver.report import number
from solver.simulation.course import course_of
from solver.simulation.measures import Busy, Served, Spread
from solver.simulation.promise import Promise
from solver.simulation.run import Simulation

_CHECKS = {"conservation": "conservation", "order": "order of times", "little": "Little's law"}


def lines(found: Simulation) -> list[str]:
    """What a planner reads."""
    instance = found.instance
    told = [f"{instance.name}: {found.arrivals.description}; routing {found.policy}"]
    told += [f"  note: {note}" for note in found.arrivals.notes]
    if found.arrivals.warm_up_s:
        told.append(f"  measured from {number(found.arrivals.warm_up_s)} s on; before, the system fills")
    for workload, served, promise in zip(instance.workloads, found.served, found.promises, strict=True):
        if served.requests or served.rejected:
            told += ["", *_workload(workload, served, promise)]
    told += ["", *_roles(found.busy), "", *_closing(found)]
    return told


def _workload(workload: Workload, served: Served, promise: Promise) -> Iterator[str]:
    yield f"{workload.name}: {served.requests:,} requests measured" + (
        f"; {served.rejected:,} rejected, no replica can hold their KV cache" if served.rejected else ""
    )
    heads = ("planned", "mean", "P50", "P90", "P95", "P99", "limit")
    yield f"  {'ms':<20}{''.join(f'{head:>10}' for head in heads)}{'within':>9}"
    rows = (
        ("TTFT", promise.ttft_ms, served.ttft_ms, workload.ttft_ms, "ttft"),
        ("TPOT", promise.tpot_ms, served.tpot_ms, workload.tpot_ms, "tpot"),
        ("end to end", promise.e2el_ms, served.e2el_ms, workload.e2el_ms, "e2el"),
        ("wait for prefill", Fraction(0), served.queue_ms, None, ""),
        ("wait for decode", Fraction(0), served.decode_queue_ms, None, ""),
    )
    for name, planned, spread, limit, key in rows:
        if spread is not None:
            within = f"{served.within[key]:>9.2%}" if key in served.within else f"{'-':>9}"
            yield f"  {name:<20}{_ms(planned)}{_spread(spread)}{_ms(limit)}{within}"
    if promise.ttft_percentile is not None:
        share = number(promise.ttft_percentile * 100)
        yield f"  planned TTFT is that of a prompt at P{share} of the lengths, without any wait"
    demand = "" if workload.requests_per_s is None else f" (demand {number(workload.requests_per_s)})"
    yield (
        f"  requests/s: {number(promise.requests_per_s)} planned{demand}, {number(served.requests_per_s)} served, "
        f"{number(served.good_requests_per_s)} within all limits ({served.within.get('all', 0):.2%} of the requests)"
    )
    yield (
        f"  output tokens/s: {number(promise.output_tokens_per_s)} planned, {number(served.output_tokens_per_s)} "
        f"served, {number(served.good_output_tokens_per_s)} within all limits"
    )


def _ms(value: Fraction | None) -> str:
    return f"{'-':>10}" if value is None else f"{float(value):>10,.1f}"


def _spread(spread: Spread) -> str:
    return "".join(f"{value:>10,.1f}" for value in (spread.mean, spread.p50, spread.p90, spread.p95, spread.p99))


def _roles(busy: tuple[Busy, ...]) -> Iterator[str]:
    yield f"  {'role':<24}{'replicas':>9}{'utilization':>13}{'in flight':>11}{'waiting':>10}{'at most':>9}"
    for each in busy:
        name = f"{each.workload} {each.role}"
        flight = "-" if each.mean_batch is None else f"{each.mean_batch:.1f}"
        waits = f"{each.waiting:>10,.2f}{each.most_waiting:>9,}"
        yield f"  {name:<24}{each.replicas:>9.4g}{each.utilization:>13.1%}{flight:>11}{waits}"


def _closing(found: Simulation) -> Iterator[str]:
    held = [name for key, name in _CHECKS.items() if found.checks[key]]
    broken = [name for key, name in _CHECKS.items() if not found.checks[key]]
    yield f"checked on this run: {', '.join(held)}" + (f"; BROKEN: {', '.join(broken)}" if broken else "")
    yield f"{found.left:,} requests were inside at the last arrival; all were served"
    yield found.prompts
    yield f"run: {len(found.arrivals):,} requests, {found.events:,} events, {found.wall_s:.2f} s"


def document(found: Simulation, period_s: Fraction) -> dict[str, Any]:
    """The report file, version 1; times of the run are left out, so that the same run gives the same file."""
    instance = found.instance
    return {
        "format": "disagg-simulation",
        "version": 1,
        "instance": instance.name,
        "promised": {
            workload.name: promise.as_dict()
            for workload, promise in zip(instance.workloads, found.promises, strict=True)
        },
        **found.as_dict(),
        "course": [
            course_of(workload, times, period_s).as_dict()
            for workload, times in zip(instance.workloads, found.times, strict=True)
        ],
    }
