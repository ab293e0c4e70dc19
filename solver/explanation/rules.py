"""Serving rules as requirements: each is on or off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from costmodels.operating_curve import ROLES
from solver.explanation.probe import Probe
from solver.explanation.requirement import Requirement
from solver.instance import MODES, Instance


@dataclass(frozen=True)
class Rule(Requirement):
    """
    A serving rule.

    Parameters
    ----------
    said
        The rule in words.
    free
        Fields of the serving rules, and the values that lift it.
    """

    said: str
    free: dict[str, object] = field(default_factory=dict, hash=False)

    @property
    def label(self) -> str:
        """The rule."""
        return f"rule {self.where}"

    @property
    def text(self) -> str:
        """The rule in words."""
        return f"{self.label}: {self.said}"

    @property
    def has_levels(self) -> bool:
        """A rule is on or off."""
        return False

    def dropped(self, instance: Instance) -> Instance:
        """Without the rule."""
        changed = replace(instance, serving=replace(instance.serving, **self.free))  # type: ignore[arg-type]
        if self.where == "utilization":
            changed = replace(changed, workloads=tuple(replace(w, utilization={}) for w in changed.workloads))
        return changed

    def at(self, instance: Instance, _: Fraction, /) -> Instance:
        """There is but one other level: none."""
        return self.dropped(instance)

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """Zero rules, where that does."""
        return None if probe.find(self.dropped(instance)) is None else Fraction(0)


def rules(instance: Instance) -> Iterator[Rule]:
    """The rules that an instance sets."""
    serving = instance.serving
    bounds = {"min_replicas": serving.min_replicas, "max_replicas": serving.max_replicas}
    for name, given in bounds.items():
        said = ", ".join(f"{role} of {workload} {count}" for (workload, role), count in given.items())
        if given:
            yield _rule(name, len(given), said, **{name: {}})
    if serving.allow or serving.deny:
        roles = ", ".join(sorted({*serving.allow, *serving.deny}))
        yield _rule("allow and deny", len(serving.allow) + len(serving.deny), f"for {roles}", allow={}, deny={})
    if serving.decode_covers:
        said = f"prefill at most {float(serving.tolerance):.3g} above decode"
        yield _rule("decode_covers", 1, said, decode_covers=False)
    if len(serving.modes) < 2:
        yield _rule("modes", 1, f"{serving.modes[0]} only", modes=MODES)


def habits(instance: Instance) -> Iterator[Rule]:
    """Rules that are set unless an instance lifts them, or that hold something back: also these can be given up."""
    serving = instance.serving
    if not instance.is_unlimited and not serving.hybrid and len(serving.modes) > 1:
        yield _rule("hybrid", 1, "a workload is served in one mode", hybrid=True)
    if not instance.is_unlimited and serving.engines_per_role is not None:
        count = serving.engines_per_role
        yield _rule("engines_per_role", 1, f"{count} per workload, pool and role", engines_per_role=None)
    shares = {share for w in instance.workloads for role in ROLES if (share := instance.utilization(w, role)) < 1}
    if shares and not serving.decode_covers:
        least = float(min(shares))
        free = dict.fromkeys(ROLES, Fraction(1))
        yield _rule("utilization", 1, f"headroom, down to {least:g} of the modelled rates", utilization=free)


def _rule(name: str, count: int, said: str, **free: object) -> Rule:
    return Rule("rules", name, Fraction(count), "rules", said, free)
