"""Why a plan is the best: what binds it, and what other modes, partitions and fewer pools would give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from costmodels.errors import InputError
from costmodels.operating_curve import ROLES, Role
from costmodels.partition import Partition
from solver.deployment import Deployment
from solver.explanation.fleet import Inventory
from solver.explanation.probe import Outcome, Probe
from solver.explanation.requirement import Change, Requirement
from solver.explanation.requirements import without
from solver.instance import MODES, Instance, Mode, Pattern
from solver.points import points_of

MORE = (2, None)
PARTITIONS: Mapping[str, Pattern] = {
    "TP": Pattern(
        {"pp": frozenset([1]), "cp": frozenset([1]), "attention_dp": frozenset([1]), "moe_ep": frozenset([1])}
    ),
    "TEP": Pattern({"pp": frozenset([1]), "cp": frozenset([1]), "attention_dp": frozenset([1]), "moe_ep": MORE}),
    "attention DP": Pattern({"pp": frozenset([1]), "cp": frozenset([1]), "attention_dp": MORE}),
    "PP": Pattern({"pp": MORE}),
    "CP": Pattern({"pp": frozenset([1]), "cp": MORE}),
}
"""Families of partitions: each partition is of one. TP: tensor parallelism alone (experts cut, not shared out). TEP: TP
attention, experts shared out. Attention DP: independent attention ranks, with or without EP. PP: pipeline stages, with
chunked prompts CPP. CP: context parallelism."""
SAID: Mapping[Mode, str] = {"colocated": "co-located", "disaggregated": "disaggregated"}


@dataclass(frozen=True)
class Binding:
    """
    What a requirement costs.

    Parameters
    ----------
    requirement
        The requirement.
    step
        The nearest relaxed level at which there is a better plan; None: there is none, however far it is relaxed.
    at_step
        The optimum at that level; None without one.
    removed
        The optimum without the requirement; None where that was not asked (an inventory without end).
    """

    requirement: Requirement
    step: Change | None
    at_step: Outcome | None
    removed: Outcome | None

    @property
    def binds(self) -> bool:
        """Whether the optimum would be better without it."""
        return self.step is not None


@dataclass(frozen=True)
class Counterfactual:
    """
    The optimum had one thing been otherwise.

    Parameters
    ----------
    kind
        ``mode``, ``partition``, ``pool``.
    what
        What is otherwise.
    outcome
        The optimum then; None where a workload has no engine at all.
    is_chosen
        Whether that is what the best plan does anyway.
    """

    kind: str
    what: str
    outcome: Outcome | None
    is_chosen: bool = False


def bindings(
    instance: Instance, best: Deployment, requirements: tuple[Requirement, ...], probe: Probe
) -> Iterator[Binding]:
    """For each requirement whether relaxing it alone gives a better plan, from where on, and how much better."""
    beating = probe.beating(best)
    for requirement in requirements:
        probe.say(f"what {requirement.label} costs")
        if not requirement.has_levels:
            yield _lifted(instance, best, requirement, probe)
            continue
        nearest = requirement.nearest(instance, beating)
        if nearest is None:
            yield Binding(requirement, None, None, None)
            continue
        at_step = probe.solve(requirement.at(instance, nearest))
        endless = isinstance(requirement, Inventory)
        removed = None if endless else probe.solve(without(instance, [requirement], probe))
        yield Binding(requirement, Change(requirement, nearest), at_step, removed)


def _lifted(instance: Instance, best: Deployment, requirement: Requirement, probe: Probe) -> Binding:
    """A rule that is on or off."""
    removed = probe.solve(without(instance, [requirement], probe))
    is_better = removed.value is not None and is_above(instance, removed.value, best.objective)
    step = Change(requirement, Fraction(0)) if is_better else None
    return Binding(requirement, step, removed if is_better else None, removed)


def is_above(instance: Instance, value: Fraction, other: Fraction) -> bool:
    """Whether a value of the objective is better than another."""
    return value < other if instance.is_minimised else value > other


def modes(instance: Instance, best: Deployment, probe: Probe) -> Iterator[Counterfactual]:
    """Each mode forced upon all workloads, and both at once allowed."""
    used = {best.mode(workload) for workload in instance.workloads} - {"none"}
    for mode in MODES:
        probe.say(f"the best {SAID[mode]} plan")
        forced = replace(instance, serving=replace(instance.serving, modes=(mode,), hybrid=False))
        yield Counterfactual("mode", f"{SAID[mode]} only", _solved(forced, probe), used == {mode})
    if not instance.is_unlimited:
        probe.say("the best plan with both modes at once")
        both = replace(instance, serving=replace(instance.serving, modes=MODES, hybrid=True))
        yield Counterfactual("mode", "hybrid allowed", _solved(both, probe), "hybrid" in used)


def partitions(instance: Instance, best: Deployment, probe: Probe) -> Iterator[Counterfactual]:
    """
    For each role in use each family of partitions forced, and each that is used excluded.

    Families that the plan does not use need not be excluded: the plan stays, and nothing better comes in. Nor need one
    of two: that forces the other.
    """
    table = points_of(instance, probe.engines(instance))
    there: dict[Role, set[str]] = {role: set() for role in ROLES}
    for index in set(table.engine.tolist()):
        curve = table.engines[index].curve
        there[curve.role].add(family_of(curve.partition))
    for role in ROLES:
        used = {family_of(a.engine.curve.partition) for a in best.assignments if a.role == role}
        for family in [f for f in PARTITIONS if used and f in there[role]]:
            probe.say(f"{family} in {role}")
            others = [PARTITIONS[other] for other in there[role] if other != family]
            if used == {family}:
                yield Counterfactual("partition", f"{_name(role)}: {family} only", _outcome(best), True)
            else:
                denied = _solved(_denying(instance, role, others), probe)
                yield Counterfactual("partition", f"{_name(role)}: {family} only", denied)
            if family in used and len(there[role]) > 2:
                without_it = _solved(_denying(instance, role, [PARTITIONS[family]]), probe)
                yield Counterfactual("partition", f"{_name(role)}: no {family}", without_it)


def pools(instance: Instance, best: Deployment, probe: Probe) -> Iterator[Counterfactual]:
    """Each pool left out."""
    for pool in instance.pools if len(instance.pools) > 1 else ():
        probe.say(f"without {pool.name}")
        left = tuple(p for p in instance.pools if p is not pool)
        links = instance.kv_links
        if links is not None:
            links = {pair: gbps for pair, gbps in links.items() if pool.name not in pair}
        unused = not best.gpus_in(pool)
        yield Counterfactual(
            "pool", f"without {pool.name}", _solved(replace(instance, pools=left, kv_links=links), probe), unused
        )


def family_of(partition: Partition) -> str:
    """The family of a partition."""
    if partition.pp > 1:
        return "PP"
    if partition.cp > 1:
        return "CP"
    if partition.attention_dp > 1:
        return "attention DP"
    return "TEP" if partition.moe_ep > 1 else "TP"


def _denying(instance: Instance, role: Role, patterns: list[Pattern]) -> Instance:
    serving = instance.serving
    deny = {**serving.deny, role: (*serving.deny.get(role, ()), *patterns)}
    return replace(instance, serving=replace(serving, deny=deny))


def _solved(instance: Instance, probe: Probe) -> Outcome | None:
    try:
        return probe.solve(instance)
    except InputError:
        return None


def _outcome(best: Deployment) -> Outcome:
    return Outcome("optimal", best.objective, best)


def _name(role: Role) -> str:
    return "co-located" if role == "colocated" else role
