"""What a workload asks for besides latency: its demand, and wishes as to engine and precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from costmodels.operating_curve import ROLES
from solver.explanation.latency import with_workload
from solver.explanation.probe import Probe
from solver.explanation.requirement import Requirement
from solver.instance import Instance
from solver.measure import demand_of


@dataclass(frozen=True)
class Demand(Requirement):
    """The requests/s of a workload. Given up, it is still served, at whatever rate."""

    def dropped(self, instance: Instance) -> Instance:
        """Any rate."""
        return with_workload(instance, self.where, requests_per_s=None)

    def at(self, instance: Instance, level: Fraction, /) -> Instance:
        """Another rate."""
        return with_workload(instance, self.where, requests_per_s=level)

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """The highest rate that can be served: an optimum."""
        free = self.dropped(instance)
        found = probe.best(free, demand_of(free, free.workload(self.where)))
        return found.value or None


@dataclass(frozen=True)
class Wish(Requirement):
    """
    A filter on the rows of a table that serve a workload.

    Parameters
    ----------
    key
        ``backend`` or ``precision``.
    wished
        What is asked for.
    """

    key: str
    wished: str

    @property
    def text(self) -> str:
        """The wish."""
        return f"{self.label}: {self.wished}"

    @property
    def has_levels(self) -> bool:
        """A wish is granted or not."""
        return False

    def dropped(self, instance: Instance) -> Instance:
        """Any that the table has."""
        free: object = None if self.key == "backend" else dict.fromkeys(ROLES)
        return with_workload(instance, self.where, **{self.key: free})

    def at(self, instance: Instance, _: Fraction, /) -> Instance:
        """There is but one other level: none."""
        return self.dropped(instance)

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """Zero wishes, where that does."""
        return None if probe.find(self.dropped(instance)) is None else Fraction(0)


def demands(instance: Instance) -> Iterator[Demand]:
    """The demands of an instance. A fleet without end meets all of them."""
    for workload in instance.workloads:
        if workload.requests_per_s is not None and not instance.is_unlimited:
            yield Demand("demand", workload.name, workload.requests_per_s, "requests/s")


def wishes(instance: Instance) -> Iterator[Wish]:
    """Serving engines and precisions asked for, where a table may have others; models price what they are told."""
    for workload in instance.workloads if instance.cost_model.kind == "curves" else ():
        if workload.backend is not None:
            yield Wish("backend", workload.name, Fraction(1), "wishes", "backend", workload.backend)
        asked = {role: label for role, label in workload.precision.items() if label is not None}
        if asked:
            said = ", ".join(sorted(set(asked.values())))
            yield Wish("precision", workload.name, Fraction(1), "wishes", "precision", said)
