"""A schedule file as the verifier reads it: every field looked at, nothing trusted, nothing raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solver.verify_numbers import exact_of

BEGAN = ("running", "start", "switch", "migration")
ENDS = ("end", "stop", "switch", "migration")
STATUSES = ("optimal", "feasible", "infeasible", "unknown")
KINDS = ("gpu-hours", "usd", "energy", "goodput")
RULES = ("load_gbps", "init_s", "cold_start_s", "min_up_s", "switch_s", "start_usd_per_gpu", "switch_usd_per_gpu")
MAY_LACK = ("cold_start_s", "switch_s")


@dataclass(frozen=True)
class Life:
    """A leg: a replica in one column and one place, holding GPUs from ``first`` to ``until - 1``."""

    where: str
    replica: int
    column: int
    first: int
    ready: int
    until: int
    began: str
    ends: str
    domains: tuple[int, ...]


@dataclass(frozen=True)
class Told:
    """What the file says of a workload in a period."""

    where: str
    workload: str
    mode: str
    demand: Fraction
    served: Fraction
    shortfall: Fraction
    serving: Mapping[int, int]


@dataclass(frozen=True)
class Period:
    """What the file says of a period."""

    where: str
    told: tuple[Told, ...]
    held: Mapping[int, int]
    starts: Mapping[int, int]
    stops: Mapping[int, int]
    switches: Mapping[tuple[int, int], int]
    gpus: int


@dataclass(frozen=True)
class Claims:
    """A whole schedule file."""

    status: str
    kind: str
    objective: Fraction | None
    bound: Fraction | None
    period_s: Fraction
    periods: int
    rules: Mapping[str, Fraction | None]
    warming: str
    price: Fraction | None
    max_changes: int | None
    current: Mapping[int, int] | None
    demand: Mapping[str, tuple[Fraction, ...]]
    columns: tuple[Mapping[str, Any], ...]
    plan: tuple[Period, ...]
    lives: tuple[Life, ...]
    totals: Mapping[str, Any]


class Reader:
    """
    Takes fields out of a document and collects what is wrong with them.

    Parameters
    ----------
    document
        The parsed JSON.
    """

    def __init__(self, document: object) -> None:
        self.root = document if isinstance(document, Mapping) else {}
        self.faults: list[str] = []

    def whole(self, node: Any, key: str, where: str) -> int:
        """A whole number of at least 0."""
        value = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
            return value
        self.faults.append(f"{where}.{key}: must be a whole number of at least 0")
        return 0

    def exact(self, node: Any, key: str, where: str, optional: bool = False) -> Fraction | None:
        """An exact value."""
        value = node.get(key) if isinstance(node, Mapping) else None
        if value is None and optional:
            return None
        found = exact_of(value)
        if found is None:
            self.faults.append(f"{where}.{key}: must be an exact value such as 3/2")
        return found

    def word(self, node: Any, key: str, where: str, allowed: tuple[str, ...]) -> str:
        """One of some words."""
        value = node.get(key) if isinstance(node, Mapping) else None
        if value in allowed:
            return str(value)
        self.faults.append(f"{where}.{key}: must be one of {', '.join(allowed)}")
        return allowed[0]

    def items(self, node: Any, key: str, where: str) -> list[Any]:
        """A list."""
        value = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(value, list):
            return value
        self.faults.append(f"{where}.{key}: must be a list")
        return []

    def counts(self, node: Any, key: str, where: str, most: int) -> dict[int, int]:
        """Column to a number of replicas."""
        value, found = node.get(key) if isinstance(node, Mapping) else None, dict[int, int]()
        if not isinstance(value, Mapping):
            self.faults.append(f"{where}.{key}: must be an object of columns and replicas")
            return {}
        for name, count in value.items():
            good = isinstance(name, str) and name.isascii() and name.isdigit() and len(name) < 7 and int(name) < most
            if good and isinstance(count, int) and not isinstance(count, bool) and 0 < count < 10**9:
                found[int(name)] = count
            else:
                self.faults.append(f"{where}.{key}: {str(name)[:20]} must be a column with at least one replica")
        return found


def read_claims(document: object) -> tuple[Claims | None, list[str]]:
    """
    Reads a schedule file.

    Returns
    -------
    tuple
        What it claims, None where it cannot be read as a schedule; and the faults.
    """
    reader = Reader(document)
    root, at = reader.root, "$"
    exact = root.get("exact")
    rules = root.get("rules")
    columns = [c if isinstance(c, Mapping) else {} for c in reader.items(root, "columns", at)]
    demand = _demand(reader, root.get("demand"))
    periods = reader.whole(root, "periods", at)
    if periods < 1 or any(len(rates) != periods for rates in demand.values()):
        reader.faults.append("$.periods: must be the number of rates of every workload")
    has_plan = root.get("plan") is not None
    claims = Claims(
        status=reader.word(root, "status", at, STATUSES),
        kind=reader.word(root, "objective_kind", at, KINDS),
        objective=reader.exact(exact, "objective", "$.exact", optional=True),
        bound=reader.exact(exact, "bound", "$.exact", optional=True),
        period_s=reader.exact(root, "period_s", at) or Fraction(0),
        periods=periods,
        rules={name: reader.exact(rules, name, "$.rules", name in MAY_LACK) for name in RULES},
        warming=reader.word(rules, "warming", "$.rules", ("whole", "share")),
        price=reader.exact(root, "shortfall_price", at, optional=True),
        max_changes=None if root.get("max_changes") is None else reader.whole(root, "max_changes", at),
        current=None if root.get("current") is None else reader.counts(root, "current", at, len(columns)),
        demand=demand,
        columns=tuple(columns),
        plan=_plan(reader, root, len(columns)) if has_plan else (),
        lives=_lives(reader, root, len(columns)) if has_plan else (),
        totals=root["totals"] if isinstance(root.get("totals"), Mapping) else {},
    )
    if claims.period_s <= 0:
        reader.faults.append("$.period_s: must be above 0")
    if (claims.rules.get("load_gbps") or 0) <= 0 or any((v or 0) < 0 for v in claims.rules.values()):
        reader.faults.append("$.rules: must not be negative, load_gbps above 0")
    if has_plan and len(claims.plan) != periods:
        reader.faults.append(f"$.plan: {len(claims.plan)} periods, must be {periods}")
    return (None if reader.faults else claims), reader.faults


def _demand(reader: Reader, node: object) -> dict[str, tuple[Fraction, ...]]:
    if not isinstance(node, Mapping) or not node:
        reader.faults.append("$.demand: must be an object of workloads and rates")
        return {}
    found = {}
    for name, values in node.items():
        rates = [exact_of(value) for value in values] if isinstance(values, list) else []
        if not rates or any(rate is None or rate < 0 for rate in rates):
            reader.faults.append(f"$.demand.{str(name)[:40]}: must be a list of exact rates of at least 0")
        found[str(name)] = tuple(rate or Fraction(0) for rate in rates)
    return found


def _plan(reader: Reader, root: Mapping[str, Any], most: int) -> tuple[Period, ...]:
    found = []
    for number, node in enumerate(reader.items(root, "plan", "$")):
        where = f"$.plan[{number}]"
        told = tuple(
            _told(reader, item, f"{where}.workloads[{i}]", most)
            for i, item in enumerate(reader.items(node, "workloads", where))
        )
        held, starts, stops = (reader.counts(node, key, where, most) for key in ("held", "starts", "stops"))
        switches: dict[tuple[int, int], int] = {}
        for i, item in enumerate(reader.items(node, "switches", where)):
            at = f"{where}.switches[{i}]"
            pair = (reader.whole(item, "from", at), reader.whole(item, "to", at))
            switches[pair] = switches.get(pair, 0) + reader.whole(item, "replicas", at)
        found.append(Period(where, told, held, starts, stops, switches, reader.whole(node, "gpus", where)))
    return tuple(found)


def _told(reader: Reader, node: object, where: str, most: int) -> Told:
    name = node.get("workload") if isinstance(node, Mapping) else None
    mode = reader.word(node, "mode", where, ("none", "colocated", "disaggregated"))
    rates = [reader.exact(node, key, where) or Fraction(0) for key in ("demand", "served", "shortfall")]
    return Told(where, str(name), mode, rates[0], rates[1], rates[2], reader.counts(node, "serving", where, most))


def _lives(reader: Reader, root: Mapping[str, Any], most: int) -> tuple[Life, ...]:
    found = []
    for number, node in enumerate(reader.items(root, "replicas", "$")):
        where = f"$.replicas[{number}]"
        numbers = [reader.whole(node, key, where) for key in ("replica", "column", "from", "ready", "until")]
        if numbers[1] >= most:
            reader.faults.append(f"{where}.column: must be below {most}")
        began, ends = reader.word(node, "began", where, BEGAN), reader.word(node, "ends", where, ENDS)
        domains = reader.items(node, "domains", where)
        if not all(isinstance(d, int) and not isinstance(d, bool) and d >= 0 for d in domains):
            reader.faults.append(f"{where}.domains: must be numbers of domains")
            domains = []
        found.append(
            Life(where, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], began, ends, tuple(domains))
        )
    return tuple(found)
