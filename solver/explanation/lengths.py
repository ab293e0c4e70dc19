"""Shorter requests: the nearest ISL or OSL at which an instance is feasible, where its cost model prices others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from costmodels.errors import InputError
from solver.explanation.latency import with_workload
from solver.explanation.probe import Probe
from solver.explanation.requirement import Requirement
from solver.instance import Instance, Workload

SHORTEST = {"isl": 16, "osl": 2}
"""Tokens below which no request is looked at."""


@dataclass(frozen=True)
class Length(Requirement):
    """
    The tokens of a workload's requests: no requirement that can be switched off, but one that can be asked less of.

    Parameters
    ----------
    key
        ``isl`` or ``osl``.
    """

    key: str

    def note(self, level: Fraction, /) -> str:
        """What its nearest level does not claim."""
        return f"{int(level) + 1} is proved infeasible; between that and {self.given} not every length was tried"

    def dropped(self, instance: Instance) -> Instance:
        """The shortest that is looked at."""
        return self.at(instance, Fraction(SHORTEST[self.key]))

    def at(self, instance: Instance, level: Fraction, /) -> Instance:
        """Other lengths."""
        return with_workload(instance, self.where, **{self.key: int(level)})

    def nearest(self, instance: Instance, probe: Probe) -> Fraction | None:
        """A length that does while one token more does not; None where the shortest that is priced does not."""
        low, high = self._shortest_priced(instance, probe), int(self.given)
        if not self._does(instance, low, probe):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self._does(instance, middle, probe):
                low = middle
            else:
                high = middle
        return Fraction(low)

    def _shortest_priced(self, instance: Instance, probe: Probe) -> int:
        """The shortest length that the cost model prices; tables end somewhere."""
        low, high = SHORTEST[self.key], int(self.given)
        while low < high:
            probe.clock.remaining()
            middle = (low + high) // 2
            try:
                probe.engines(self.at(instance, Fraction(middle)))
                high = middle
            except InputError:
                low = middle + 1
        return high

    def _does(self, instance: Instance, tokens: int, probe: Probe) -> bool:
        try:
            return probe.find(self.at(instance, Fraction(tokens))) is not None
        except InputError:
            return False


def lengths(instance: Instance) -> Iterator[Length]:
    """The constant lengths of an instance that could be shorter, where its cost model prices lengths between."""
    for workload in instance.workloads:
        for key in ("isl", "osl") if _is_priced(instance, workload) else ():
            given = Fraction(getattr(workload, key))
            if given > SHORTEST[key]:
                yield Length(key.upper(), workload.name, given, "tokens", key)


def _is_priced(instance: Instance, workload: Workload) -> bool:
    constant = workload.traffic is None and workload.stands_for is None
    spec = instance.cost_model
    return constant and (spec.kind == "roofline" or spec.interpolate_lengths)
