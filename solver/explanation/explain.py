"""The walk: requirements, is there a plan; if not, clashes and changes, else what binds and the runners-up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from solver.backends.base import Controls
from solver.clock import Clock, Stopped
from solver.engines import cost_model_of
from solver.explanation.changes import Joint, nearest_alone, nearest_together
from solver.explanation.clashes import Clashes, Enumeration, Set
from solver.explanation.counterfactuals import bindings, modes, partitions, pools
from solver.explanation.explanation import Choice, Explanation, Infeasibility, Requirements
from solver.explanation.latency import best_reachable
from solver.explanation.lengths import lengths
from solver.explanation.probe import Outcome, Probe
from solver.explanation.requirement import Change
from solver.explanation.requirements import requirements_of, unbounded, without
from solver.instance import Instance
from solver.load import load_instance
from solver.result import Status
from solver.slack import slacks
from solver.survival.run import refuse_survive

MOST_JOINT = 12
"""Correction sets whose nearest changes are looked for."""

Found = TypeVar("Found")


def explain(
    what: Instance | str | Path,
    controls: Controls | None = None,
    *,
    folder: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Explanation:
    """
    Why an instance has no plan and what would change that, or why its best plan is the best.

    Parameters
    ----------
    what
        An instance, or the path of an instance file.
    controls
        Threads, seed, limits; ``time_limit_s`` is for the whole explanation.
    folder
        Where relative paths in the instance start; the folder of the file where one is given, else this folder.
    progress
        Called with a line about what is being done.

    Raises
    ------
    costmodels.errors.InputError
        When instance or tables have faults.
    """
    started = time.perf_counter()
    instance, folder = load_instance(what, folder)
    refuse_survive(instance, "explain")
    clock = Clock(controls or Controls())
    probe = Probe(instance, cost_model_of(instance, folder), clock, progress or (lambda _: None))
    engines = probe.engines(instance)
    requirements = requirements_of(instance)
    missing: list[str] = []
    status: Status = "unknown"
    infeasibility = choice = None
    best = _attempt(lambda: probe.solve(instance), probe)
    if best is None:
        missing.append("everything: a limit came before it was known whether there is a plan")
    elif best.status == "infeasible":
        status, infeasibility = "infeasible", _infeasibility(instance, requirements, probe, missing)
    elif best.status == "optimal":
        status, choice = "optimal", _choice(instance, requirements, best, probe, missing)
    else:
        status = best.status
        missing.append("everything: a limit came before the best plan was proved")
    wall_s = round(time.perf_counter() - started, 6)
    told = tuple(missing)
    return Explanation(instance, engines, status, requirements, infeasibility, choice, told, clock.solves, wall_s)


def _attempt(work: Callable[[], Found], probe: Probe) -> Found | None:
    try:
        return work()
    except (Stopped, KeyboardInterrupt) as reason:
        probe.clock.stopped(reason)
        return None


def _until_stopped(found: Iterator[Found], what: str, probe: Probe, missing: list[str]) -> tuple[Found, ...]:
    """What was found before a limit; says what that cut short."""
    kept: list[Found] = []
    try:
        for one in found:
            kept.append(one)  # noqa: PERF402 - what was found before a stop is kept
    except (Stopped, KeyboardInterrupt) as reason:
        probe.clock.stopped(reason)
        missing.append(f"{what}: a limit came after {len(kept)}")
    return tuple(kept)


def _infeasibility(instance: Instance, requirements: Requirements, probe: Probe, missing: list[str]) -> Infeasibility:
    def can_be_met(kept: Set) -> bool:
        given_up = [r for number, r in enumerate(requirements) if number not in kept]
        probe.say(f"{len(given_up)} of {len(requirements)} requirements given up")
        return probe.find(without(instance, given_up, probe)) is not None

    def of(members: Set) -> Requirements:
        return tuple(requirements[number] for number in sorted(members))

    enumeration = Enumeration(len(requirements), can_be_met, probe.clock)
    families = _families(requirements, enumeration, missing)
    found: Clashes = enumeration.run()
    if found.missing:
        missing.append(f"clashing sets: {found.missing}")
    corrections = [of(members) for members in found.corrections]
    alone = _until_stopped(_alone(instance, corrections, probe), "changes alone", probe, missing)
    together = _until_stopped(_together(instance, corrections, probe, missing), "changes together", probe, missing)
    shorter = _until_stopped(_shorter(instance, probe), "shorter requests", probe, missing)
    enough = {some[0] for some in corrections if len(some) == 1}
    helpless = () if found.missing else tuple(r for r in requirements if r not in enough)
    if grown := unbounded(probe):
        missing.append(f"more than a million GPUs in {', '.join(grown)} were not imagined")
    return Infeasibility(
        families,
        tuple(of(members) for members in found.clashing),
        tuple(corrections),
        alone,
        helpless,
        together,
        shorter,
        _until_stopped(_reachable(instance, probe), "best reachable latencies", probe, missing),
    )


def _families(requirements: Requirements, enumeration: Enumeration, missing: list[str]) -> tuple[tuple[str, ...], ...]:
    """Clashes of whole families, where some family has several requirements: few sets, found soon."""
    names = list(dict.fromkeys(r.family for r in requirements))
    if len(names) == len(requirements):
        return ()
    groups = [frozenset(n for n, r in enumerate(requirements) if r.family == name) for name in names]
    found = enumeration.run(groups)
    if found.missing:
        missing.append(f"clashing families: {found.missing}")
    return tuple(tuple(names[number] for number in sorted(members)) for members in found.clashing)


def _alone(instance: Instance, corrections: list[Requirements], probe: Probe) -> Iterator[Change]:
    for some in corrections:
        if len(some) == 1:
            probe.say(f"nearest {some[0].label}")
            change = nearest_alone(instance, some[0], probe)
            if change is not None:
                yield change


def _together(instance: Instance, corrections: list[Requirements], probe: Probe, missing: list[str]) -> Iterator[Joint]:
    several = [some for some in corrections if len(some) > 1]
    for some in several[:MOST_JOINT]:
        probe.say("nearest " + " and ".join(r.label for r in some))
        yield nearest_together(instance, some, probe)
    if len(several) > MOST_JOINT:
        left = len(several) - MOST_JOINT
        missing.append(f"nearest changes of {left} more correction sets; those shown are of the {MOST_JOINT} smallest")


def _shorter(instance: Instance, probe: Probe) -> Iterator[Change]:
    for length in lengths(instance):
        probe.say(f"shorter {length.name} of {length.where}")
        change = nearest_alone(instance, length, probe)
        if change is not None:
            yield change


def _reachable(instance: Instance, probe: Probe) -> Iterator[tuple[str, str, Fraction | None]]:
    probe.clock.remaining()
    yield from best_reachable(instance, probe)


def _choice(instance: Instance, requirements: Requirements, best: Outcome, probe: Probe, missing: list[str]) -> Choice:
    plan = best.deployment
    assert plan is not None
    others = (
        ("modes", modes(instance, plan, probe)),
        ("partitions", partitions(instance, plan, probe)),
        ("pools", pools(instance, plan, probe)),
    )
    counterfactuals = [one for what, some in others for one in _until_stopped(some, what, probe, missing)]
    costs = _until_stopped(bindings(instance, plan, requirements, probe), "what each requirement costs", probe, missing)
    return Choice(best, tuple(slacks(plan)), costs, tuple(counterfactuals))
