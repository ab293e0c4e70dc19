"""What a planner reads: an explanation in plain lines."""

from __future__ import annotations

from collections.abc import Iterator

from solver.explanation.changes import Changes
from solver.explanation.counterfactuals import Binding, Counterfactual
from solver.explanation.explanation import Choice, Explanation, Infeasibility, Requirements, difference, summary
from solver.explanation.probe import Outcome
from solver.explanation.requirement import short
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
        yield from _infeasibility(found.infeasibility)
    elif found.choice is not None:
        unit = UNITS[found.instance.objective]
        yield f"{found.instance.name}: OPTIMAL {number(found.choice.best.value)} {unit}"
        yield f"  {summary(found.choice.best)}"
        yield from _choice(found.choice)
    else:
        yield f"{found.instance.name}: {HEADLINES[found.status]}"
    yield ""
    for text in found.missing:
        yield f"NOT COMPLETE: {text}"
    by = (
        "every set and every level by CP-SAT set in two ways" if found.infeasibility else "every value verified exactly"
    )
    yield f"proof: {by}, {found.solves} solves, {found.wall_s:.3f} s"
    yield from cost_model_lines(found.engines)


def _infeasibility(why: Infeasibility) -> Iterator[str]:
    if why.families:
        yield ""
        yield f"what clashes, by family ({_count(why.families, 'minimal set')}):"
        yield from _numbered(" + ".join(names) for names in why.families)
    yield ""
    yield f"what clashes: no plan meets all of a set, whatever the rest ({_count(why.clashes, 'minimal set')}):"
    yield from _numbered(_joined(some) for some in why.clashes)
    yield ""
    yield f"what to give up: without all of a set there is a plan ({_count(why.corrections, 'minimal set')}):"
    yield from _numbered(_joined(some) for some in why.corrections)
    yield ""
    yield "nearest change of each one alone:"
    yield from (f"  {change.full_text}" for change in why.alone)
    if not why.alone:
        yield "  none: no single requirement, relaxed alone, makes it feasible"
    yield from _together(why)
    if why.shorter:
        yield ""
        yield "shorter requests, each alone:"
        yield from (f"  {change.full_text}" for change in why.shorter)
    if why.alone and why.helpless:
        yield ""
        yield "not enough alone, even given up: " + ", ".join(r.label for r in why.helpless)
    for name, where, best in why.reachable:
        reached = "none, no point is left" if best is None else f"{short(best)} ms"
        yield f"best reachable {name} of {where}: {reached}"


def _count(some: tuple[object, ...], noun: str) -> str:
    return f"{len(some)} {noun}{'' if len(some) == 1 else 's'}"


def _numbered(texts: Iterator[str]) -> Iterator[str]:
    yield from (f"  {index}. {text}" for index, text in enumerate(texts, 1))


def _joined(some: Requirements) -> str:
    return " + ".join(r.text for r in some) or "nothing: there is no plan even with every requirement given up"


def _together(why: Infeasibility) -> Iterator[str]:
    if why.together:
        yield ""
        yield "nearest changes together; of a line none can be less unless another is more:"
    for joint in why.together:
        yield f"  {' and '.join(r.label for r in joint.correction)}"
        yield from (f"    {_changes(changes)}" for changes in joint.alternatives)
        if not joint.alternatives:
            yield "    none of the levels tried"


def _changes(changes: Changes) -> str:
    return ", ".join(change.full_text for change in changes)


def _choice(choice: Choice) -> Iterator[str]:
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
    yield "what binds: for each requirement alone the first step that allows a better plan, and the optimum without it:"
    yield from (_binding(b, choice) for b in choice.bindings)
    if not choice.bindings:
        yield "  not looked at"


def _counterfactual(c: Counterfactual, choice: Choice) -> str:
    plan = "as chosen" if c.is_chosen else "" if c.outcome is None else summary(c.outcome)
    return f"  {c.what:<30}{_value(c.outcome, choice.best)}  {plan}".rstrip()


def _value(outcome: Outcome | None, best: Outcome) -> str:
    """A value and its difference to the optimum, in two columns."""
    if outcome is None or outcome.value is None:
        return f"{'no engine' if outcome is None else 'infeasible':>14}{'':>13}"
    share = difference(outcome, best)
    by = "" if share is None else "+0 %" if outcome.value == best.value else f"{share:+.3%}".replace("%", " %")
    proved = "" if outcome.status == "optimal" else " (not proved)"
    return f"{number(outcome.value):>14}{by:>13}{proved}"


def _binding(b: Binding, choice: Choice) -> str:
    if b.step is None:
        tried = f" ({b.requirement.tried})" if b.requirement.tried else ""
        return f"  {b.requirement.text:<62}  does not bind{tried}"
    step = f"  {b.step.full_text:<62}{_value(b.at_step, choice.best)}"
    if b.removed is None or not b.requirement.has_levels:
        return step
    return f"{step}   without it {_value(b.removed, choice.best).strip()}"
