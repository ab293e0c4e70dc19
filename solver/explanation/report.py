"""What a planner reads: an explanation in plain lines."""

from __future__ import annotations

from collections.abc import Iterator

from solver.explanation.changes import Changes
from solver.explanation.counterfactuals import Binding, Counterfactual
from solver.explanation.explanation import Choice, Explanation, Infeasibility, Requirements, difference, summary
from solver.explanation.probe import Outcome
from solver.explanation.requirement import Change, short
from solver.report import UNITS, cost_model_lines, number

HEADLINES = {
    "infeasible": "INFEASIBLE, and that is proved",
    "feasible": "a plan was found, but a limit came before it was proved to be the best",
    "unknown": "UNKNOWN: a limit came before it was known whether there is a plan",
}


def explanation_lines(found: Explanation) -> Iterator[str]:
    """An explanation as text, one fact a line."""
    if found.infeasibility is not None:
        yield f"{found.instance.name}: {HEADLINES['infeasible']}"
        yield from _infeasibility(found, found.infeasibility)
    elif found.choice is not None:
        unit = UNITS[found.instance.objective]
        yield f"{found.instance.name}: OPTIMAL {number(found.choice.best.value)} {unit}"
        yield f"  {summary(found.choice.best)}"
        yield from _choice(found, found.choice)
    else:
        yield f"{found.instance.name}: {HEADLINES[found.status]}"
    yield ""
    for text in found.missing:
        yield f"NOT COMPLETE: {text}"
    by = "every set and every level by CP-SAT set in two ways" if found.infeasibility else "every value verified exactly"
    yield f"proof: {by}, {found.solves} solves, {found.wall_s:.3f} s"
    yield from cost_model_lines(found.engines)


def _infeasibility(found: Explanation, why: Infeasibility) -> Iterator[str]:
    if why.families:
        yield ""
        yield f"what clashes, by family ({_count(why.families, 'minimal set')}):"
        yield from _numbered(" + ".join(names) for names in why.families)
    yield ""
    yield f"what clashes: no plan meets all of a set, whatever the other requirements ({_count(why.clashes, 'minimal set')}):"
    yield from _numbered(_joined(some) for some in why.clashes)
    yield ""
    yield f"what to give up: without all of a set there is a plan ({_count(why.corrections, 'minimal set')}):"
    yield from _numbered(_joined(some) for some in why.corrections)
    yield ""
    yield "nearest change of each one alone:"
    yield from (f"  {_change(change)}" for change in why.alone)
    if not why.alone:
        yield "  none: no single requirement, relaxed alone, makes it feasible"
    yield from _together(why)
    if why.shorter:
        yield ""
        yield "shorter requests, each alone:"
        yield from (f"  {_change(change)}" for change in why.shorter)
    if why.helpless:
        yield ""
        yield "not enough alone, even given up: " + ", ".join(f"{r.name} of {r.where}" for r in why.helpless)
    for name, where, best in why.reachable:
        reached = "none, no point is left" if best is None else f"{short(best)} ms"
        yield f"best reachable {name} of {where}: {reached}"


def _count(some: tuple[object, ...], noun: str) -> str:
    return f"{len(some)} {noun}{'' if len(some) == 1 else 's'}"


def _numbered(texts: Iterator[str]) -> Iterator[str]:
    yield from (f"  {index}. {text}" for index, text in enumerate(texts, 1))


def _joined(some: Requirements) -> str:
    return " + ".join(r.text for r in some) or "nothing: there is no plan even with every requirement given up"


def _change(change: Change) -> str:
    caveat = change.requirement.caveat
    return f"{change.text} ({caveat})" if caveat else change.text


def _together(why: Infeasibility) -> Iterator[str]:
    if why.together:
        yield ""
        yield "nearest changes together; of a line none can be less unless another is more:"
    for joint in why.together:
        yield f"  {' and '.join(f'{r.name} of {r.where}' for r in joint.correction)}"
        yield from (f"    {_changes(changes)}" for changes in joint.alternatives)
        if not joint.alternatives:
            yield "    none of the levels tried"


def _changes(changes: Changes) -> str:
    return ", ".join(change.text for change in changes)


def _choice(found: Explanation, choice: Choice) -> Iterator[str]:
    for kind, title in (
        ("mode", "other modes"),
        ("partition", "other partitions, role by role"),
        ("pool", "fewer pools"),
    ):
        rows = [c for c in choice.counterfactuals if c.kind == kind]
        if rows:
            yield ""
            yield f"{title}:"
            yield from (_counterfactual(c, choice) for c in rows)
    yield ""
    yield "what binds: the first step of each requirement alone that allows a better plan, and the optimum without it:"
    for b in choice.bindings:
        yield from _binding(found, b, choice)
    if not choice.bindings:
        yield "  not looked at"


def _counterfactual(c: Counterfactual, choice: Choice) -> str:
    plan = "as chosen" if c.is_chosen else "" if c.outcome is None else summary(c.outcome)
    return f"  {c.what:<30}{_value(c.outcome, choice.best):>30}  {plan}".rstrip()


def _value(outcome: Outcome | None, best: Outcome) -> str:
    if outcome is None:
        return "no engine is priced"
    if outcome.value is None:
        return "infeasible"
    share = difference(outcome, best)
    proved = "" if outcome.status == "optimal" else " (not proved)"
    return f"{number(outcome.value)} {_percent(share)}{proved}"


def _percent(share: float | None) -> str:
    return "" if share is None else "(+0 %)" if share == 0 else f"({share:+.3%})".replace("%", " %")


def _binding(found: Explanation, b: Binding, choice: Choice) -> Iterator[str]:
    if b.step is None:
        yield f"  {b.requirement.text}: does not bind"
        return
    if not b.requirement.has_levels:
        yield f"  {b.requirement.text}: without it {_value(b.removed, choice.best)}"
        return
    removed = "" if b.removed is None else f"; without it {_value(b.removed, choice.best)}"
    yield f"  {b.step.text}: {_value(b.at_step, choice.best)}{removed}"
