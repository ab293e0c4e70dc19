"""Why nothing serves an instance: each requirement relaxed alone, to the nearest limit that would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

from solver.clock import Stopped
from solver.engines import CostModel
from solver.explanation.fleet import Bandwidth, Links, Packing, pool_requirements
from solver.explanation.latency import best_reachable, latencies
from solver.explanation.probe import Probe
from solver.explanation.requirement import Change, Requirement, short
from solver.explanation.rules import rules
from solver.explanation.spending import spendings
from solver.explanation.traffic import demands
from solver.instance import Instance
from solver.stages import Stages


def reasons_for(stages: Stages, model: CostModel) -> tuple[Mapping[str, object], ...]:
    """
    What would make an infeasible instance feasible, one change at a time, each nearest and proved by bisection.

    Besides, the best TTFT and TPOT that any point reaches, so that a limit out of reach is seen at once. Where a
    limit of the run stops the search, what was found so far is returned. What clashes with what, and more changes, is
    for :mod:`solver.explanation`.
    """
    found: list[Mapping[str, object]] = []
    instance = stages.instance
    probe = Probe(instance, model, stages.clock)
    try:
        for change in _nearest(instance, probe):
            found.append(change.as_dict())  # noqa: PERF401 - what was found before a stop is kept
    except (Stopped, KeyboardInterrupt) as stop:
        stages.clock.stopped(stop)
        found.append({"requirement": "search", "text": "stopped by a limit before every requirement was tried"})
    found += reachable(instance, probe)
    if not any("nearest" in reason for reason in found):
        found.insert(0, {"requirement": "several", "text": "no single requirement, relaxed alone, makes it feasible"})
    return tuple(found)


def _nearest(instance: Instance, probe: Probe) -> Iterator[Change]:
    for requirement in _tried(instance):
        nearest = requirement.nearest(instance, probe)
        if nearest is not None:
            yield Change(requirement, nearest)
    yield from _all_handover(instance, probe)


def _tried(instance: Instance) -> Iterator[Requirement]:
    yield from latencies(instance)
    yield from demands(instance)
    yield from (r for r in pool_requirements(instance) if not isinstance(r, Packing))
    yield from spendings(instance)
    yield from rules(instance)


def _all_handover(instance: Instance, probe: Probe) -> Iterator[Change]:
    """All limits of the KV hand-over together, where there are several."""
    limits = [r for r in pool_requirements(instance) if isinstance(r, Bandwidth | Links)]
    free = replace(instance, kv_links=None, pools=tuple(replace(pool, kv_gbps=None) for pool in instance.pools))
    if len(limits) > 1 and probe.find(free) is not None:
        count = sum((r.given if isinstance(r, Links) else Fraction(1) for r in limits), Fraction(0))
        yield Change(Requirement("KV hand-over", "the fleet", count, "limits"), Fraction(0))


def reachable(instance: Instance, probe: Probe) -> Iterator[Mapping[str, object]]:
    """The best latencies that any point reaches, whatever the limits."""
    for name, where, best in best_reachable(instance, probe):
        text = f"best reachable {name} of {where}: " + (
            "none, no point is left" if best is None else f"{short(best)} ms"
        )
        value = None if best is None else float(best)
        yield {"requirement": f"best {name}", "where": where, "best": value, "unit": "ms", "text": text}
