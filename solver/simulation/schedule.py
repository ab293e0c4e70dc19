"""A schedule as the simulation sees it: which replicas take requests, period by period."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from costmodels.partition import Partition
from solver.deployment import Deployment
from solver.engines import Engine, EngineSet
from solver.instance import Instance

_IDENTITY = ("precision", "backend", "backend_version", "domain_gpus", "chunk_tokens")


@dataclass(frozen=True)
class Leg:
    """
    A replica in one role.

    Parameters
    ----------
    column
        Number of its column.
    spans
        (first period, period after the last) of each stretch in which requests come to it.
    """

    column: int
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Schedule:
    """
    What runs when.

    Parameters
    ----------
    period_s
        Length of a period.
    columns
        (engine, batch) by number.
    legs
        The replicas that ever take requests.
    served
        Per workload, period by period, the requests/s that are planned to be served.
    """

    period_s: Fraction
    columns: tuple[tuple[Engine, int], ...]
    legs: tuple[Leg, ...]
    served: Mapping[str, tuple[Fraction, ...]]

    @property
    def periods(self) -> int:
        """How many."""
        return max(len(each) for each in self.served.values())

    def deployment(self, instance: Instance, period: int) -> Deployment:
        """What takes requests in a period."""
        running = Counter(leg.column for leg in self.legs for a, b in leg.spans if a <= period < b)
        return Deployment.of(instance, [(*self.columns[column], count) for column, count in running.items()])

    @property
    def changes(self) -> tuple[int, ...]:
        """The periods at whose beginning anything changes, ascending."""
        return tuple(sorted({at for leg in self.legs for span in leg.spans for at in span if 0 < at < self.periods}))


def schedule_of(document: Mapping[str, Any], instance: Instance, engines: EngineSet, file: Path) -> Schedule:
    """
    A schedule from its file.

    Parameters
    ----------
    document
        What the file holds.
    instance, engines
        The instance that it is for.
    file
        The file, to be named in faults.

    Raises
    ------
    InputError
        When it holds no plan, or is not made as schedules are.
    """
    known = {(e.workload.name, e.curve.role, e.pool.name, e.curve.partition, *_identity(e)): e for e in engines.engines}
    try:
        columns = []
        for entry in document["columns"]:
            key = (entry["workload"], entry["role"], entry["pool"], Partition(**entry["partition"]))
            columns.append((known[(*key, *(entry[name] for name in _IDENTITY))], int(entry["batch"])))
        plan = document["plan"]
        serving = [{int(c) for part in period["workloads"] for c in part["serving"]} for period in plan]
        legs = [_leg(entry, serving) for entry in document["replicas"]]
        served = {
            workload.name: tuple(_served(period["workloads"], workload.name) for period in plan)
            for workload in instance.workloads
        }
        period_s = Fraction(document["period_s"])
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        text = f"not made as a schedule is ({type(error).__name__}: {error}); write it again with `schedule -o`"
        raise InputError([Fault(str(file), text)]) from None
    if not plan or period_s <= 0 or not any(leg.spans for leg in legs):
        raise InputError([Fault(f"{file} $.plan", f"holds no plan that can be simulated ({document.get('status')})")])
    return Schedule(period_s, tuple(columns), tuple(leg for leg in legs if leg.spans), served)


def _identity(engine: Engine) -> tuple[object, ...]:
    return tuple(getattr(engine.curve, name) for name in _IDENTITY)


def _served(parts: Sequence[Mapping[str, Any]], name: str) -> Fraction:
    return sum((Fraction(part["served"]) for part in parts if part["workload"] == name), Fraction(0))


def _leg(entry: Mapping[str, Any], serving: Sequence[set[int]]) -> Leg:
    """Of the periods in which a replica is ready, those in which its column serves."""
    column = int(entry["column"])
    periods = [t for t in range(int(entry["ready"]), int(entry["until"])) if column in serving[t]]
    spans = []
    for _, stretch in groupby(enumerate(periods), key=lambda pair: pair[1] - pair[0]):
        inside = [period for _, period in stretch]
        spans.append((inside[0], inside[-1] + 1))
    return Leg(column, tuple(spans))
