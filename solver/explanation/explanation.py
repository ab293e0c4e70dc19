"""What an explanation is: clashes and changes of an infeasible instance, or what binds a plan and the runners-up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solver.engines import EngineSet
from solver.explanation.changes import Joint
from solver.explanation.counterfactuals import Binding, Counterfactual
from solver.explanation.probe import Outcome
from solver.explanation.requirement import Change, Requirement
from solver.instance import Instance
from solver.result import Status, exact_text, instance_hash
from solver.slack import Slack

Requirements = tuple[Requirement, ...]


@dataclass(frozen=True)
class Infeasibility:
    """
    Why there is no plan.

    Parameters
    ----------
    families
        Minimal clashing sets of whole families, where an instance has several requirements of one family; else none.
    clashes
        Minimal clashing sets, smallest first.
    corrections
        Minimal correction sets, smallest first.
    alone
        The nearest change of each requirement that is enough alone.
    helpless
        Requirements that are not enough alone, even given up.
    together
        The nearest changes of the small correction sets of several requirements.
    shorter
        Nearest lengths of requests.
    reachable
        TTFT or TPOT, workload, the best that any point reaches in ms, or None.
    """

    families: tuple[tuple[str, ...], ...]
    clashes: tuple[Requirements, ...]
    corrections: tuple[Requirements, ...]
    alone: tuple[Change, ...]
    helpless: Requirements
    together: tuple[Joint, ...]
    shorter: tuple[Change, ...]
    reachable: tuple[tuple[str, str, Fraction | None], ...]


@dataclass(frozen=True)
class Choice:
    """
    Why a plan is the best.

    Parameters
    ----------
    best
        The optimum.
    slacks
        What it leaves of each constraint.
    bindings
        What each requirement costs.
    counterfactuals
        Other modes, partitions, fewer pools.
    """

    best: Outcome
    slacks: tuple[Slack, ...]
    bindings: tuple[Binding, ...]
    counterfactuals: tuple[Counterfactual, ...]


@dataclass(frozen=True)
class Explanation:
    """
    The explanation of an instance.

    Parameters
    ----------
    instance, engines
        The instance and its engines.
    status
        ``infeasible`` or ``optimal``: proved, and explained. ``feasible`` or ``unknown``: a limit came before that.
    requirements
        All requirements that can be given up.
    infeasibility, choice
        One of them, by status.
    missing
        What a limit or a cap left out; empty where the explanation is complete.
    solves, wall_s
        Models solved, and seconds.
    """

    instance: Instance
    engines: EngineSet
    status: Status
    requirements: Requirements
    infeasibility: Infeasibility | None
    choice: Choice | None
    missing: tuple[str, ...]
    solves: int
    wall_s: float

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    def rows(self) -> list[dict[str, Any]]:
        """The findings as rows for tables: always the same columns, values as floats."""
        found = self.infeasibility
        if found is not None:
            return [*_infeasible_rows(found)]
        return [] if self.choice is None else [*_choice_rows(self.choice)]

    def as_dict(self) -> dict[str, Any]:
        """The explanation file, version 1."""
        return {
            "format": "disagg-explanation",
            "version": 1,
            "instance": self.instance.name,
            "instance_hash": instance_hash(self.instance, self.engines),
            "status": self.status,
            "objective_kind": self.instance.objective,
            "complete": self.is_complete,
            "missing": list(self.missing),
            "requirements": [_requirement_dict(r) for r in self.requirements],
            "infeasibility": None if self.infeasibility is None else _infeasibility_dict(self.infeasibility),
            "choice": None if self.choice is None else _choice_dict(self.choice),
            "solves": self.solves,
            "wall_s": self.wall_s,
        }


def _requirement_dict(r: Requirement) -> dict[str, Any]:
    known = {"requirement": r.name, "where": r.where, "given": float(r.given), "unit": r.unit, "text": r.text}
    return {**known, "exact": {"given": exact_text(r.given)}}


def _names(requirements: Requirements) -> list[str]:
    return [r.label for r in requirements]


def _infeasibility_dict(found: Infeasibility) -> dict[str, Any]:
    return {
        "clashing_families": [list(names) for names in found.families],
        "clashing_sets": [_names(some) for some in found.clashes],
        "correction_sets": [_names(some) for some in found.corrections],
        "changes_alone": [_change_dict(change) for change in found.alone],
        "not_enough_alone": _names(found.helpless),
        "changes_together": [
            {
                "requirements": _names(joint.correction),
                "alternatives": [[_change_dict(change) for change in changes] for changes in joint.alternatives],
            }
            for joint in found.together
        ],
        "shorter_requests": [_change_dict(change) for change in found.shorter],
        "best_reachable": [
            {"latency": name, "where": where, "ms": None if best is None else float(best), "exact": exact_text(best)}
            for name, where, best in found.reachable
        ],
    }


def _change_dict(change: Change) -> dict[str, Any]:
    return {**change.as_dict(), "note": change.requirement.note(change.nearest)}


def _choice_dict(choice: Choice) -> dict[str, Any]:
    return {
        "optimum": _outcome_dict(choice.best),
        "slack": [slack.as_dict() for slack in choice.slacks],
        "requirements": [
            {
                "requirement": b.requirement.name,
                "where": b.requirement.where,
                "binds": b.binds,
                "next_step": None if b.step is None else _change_dict(b.step),
                "optimum_at_step": _outcome_dict(b.at_step),
                "optimum_without": _outcome_dict(b.removed),
            }
            for b in choice.bindings
        ],
        "counterfactuals": [
            {
                "kind": c.kind,
                "what": c.what,
                "is_chosen": c.is_chosen,
                "relative_difference": difference(c.outcome, choice.best),
                "optimum": _outcome_dict(c.outcome),
            }
            for c in choice.counterfactuals
        ],
    }


def _outcome_dict(outcome: Outcome | None) -> dict[str, Any] | None:
    if outcome is None:
        return None
    value = None if outcome.value is None else float(outcome.value)
    plan = None if outcome.deployment is None else summary(outcome)
    return {"status": outcome.status, "objective": value, "exact": exact_text(outcome.value), "plan": plan}


def difference(outcome: Outcome | None, best: Outcome) -> float | None:
    """How far a value is from the optimum, relative to it; None without a value."""
    if outcome is None or outcome.value is None or not best.value:
        return None
    return float((outcome.value - best.value) / best.value)


def summary(outcome: Outcome) -> str:
    """A plan in a line: role, replicas, partition, batch, pool where there are several."""
    deployment = outcome.deployment
    if deployment is None:
        return ""
    several = len(deployment.instance.workloads) > 1, len(deployment.instance.pools) > 1
    parts = []
    for a in deployment.assignments:
        whose = f"{a.engine.workload.name} " if several[0] else ""
        there = f" {a.engine.pool.name}" if several[1] else ""
        role = "co-located" if a.role == "colocated" else a.role
        count = f"{float(a.replicas):.4g}"
        parts.append(f"{whose}{role} {count}x[{a.engine.curve.partition.label} b{a.batch}{there}]")
    return ", ".join(parts)


def _row(kind: str, what: str, **more: Any) -> dict[str, Any]:
    columns = ("group", "requirement", "where", "given", "level", "unit", "status", "objective", "relative_difference")
    return {"kind": kind, "what": what, **dict.fromkeys(columns), **more}


def _infeasible_rows(found: Infeasibility) -> Iterator[dict[str, Any]]:
    for kind, sets in (("clash", found.clashes), ("correction", found.corrections)):
        for number, some in enumerate(sets, 1):
            for r in some:
                asked = {"requirement": r.name, "where": r.where, "given": float(r.given), "unit": r.unit}
                yield _row(kind, r.text, group=number, **asked)
    for change in found.alone:
        yield _change_row("change alone", change, None)
    number = 0
    for joint in found.together:
        for changes in joint.alternatives:
            number += 1
            yield from (_change_row("change together", change, number) for change in changes)
    yield from (_change_row("shorter requests", change, None) for change in found.shorter)


def _change_row(kind: str, change: Change, group: int | None) -> dict[str, Any]:
    r, known = change.requirement, change.as_dict()
    asked = {"requirement": r.name, "where": r.where, "given": known["given"], "unit": r.unit}
    return _row(kind, change.text, group=group, level=known["nearest"], **asked)


def _choice_rows(choice: Choice) -> Iterator[dict[str, Any]]:
    yield _row("optimum", summary(choice.best), **_valued(choice.best, choice.best))
    for b in choice.bindings:
        r = b.requirement
        asked = {"requirement": r.name, "where": r.where, "given": float(r.given), "unit": r.unit}
        if b.step is not None:
            yield _row(
                "next step", b.step.text, level=b.step.as_dict()["nearest"], **asked, **_valued(b.at_step, choice.best)
            )
        if b.removed is not None or b.step is None:
            yield _row("without", r.text, **asked, **_valued(b.removed or choice.best, choice.best))
    for c in choice.counterfactuals:
        yield _row(c.kind, c.what, **_valued(c.outcome, choice.best))


def _valued(outcome: Outcome | None, best: Outcome) -> dict[str, Any]:
    if outcome is None:
        return {"status": "no engine"}
    value = None if outcome.value is None else float(outcome.value)
    return {"status": outcome.status, "objective": value, "relative_difference": difference(outcome, best)}
