"""What a result document says, read for the verifier: keys and types are checked here, nothing is judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction

from costmodels.operating_curve import ROLES, Role
from costmodels.partition import Partition
from solver.verify_numbers import Stated, exact_of, number_of

STATUSES = ("optimal", "feasible", "infeasible", "unknown")
TOTALS = (
    "requests_per_s",
    "output_tokens_per_s",
    "tokens_per_s_per_gpu",
    "tokens_per_s_per_user",
    "ttft_ms",
    "tpot_ms",
    "gpus_used",
    "usd_per_hour",
    "usd_per_million_output_tokens",
    "watts",
)
RATES = ("requests_per_s", *(f"{role}_requests_per_s" for role in ROLES))


@dataclass(frozen=True)
class Entry:
    """One line of a deployment, named as in the file: an engine, its batch and replicas, what is claimed of them."""

    where: str
    role: Role
    pool: str
    partition: Partition
    precision: str
    backend: str
    backend_version: str
    domain_gpus: int
    chunk_tokens: int
    batch: int
    replicas: Fraction
    gpus: Fraction
    latency_ms: Stated
    ttft_ms: Stated
    requests_per_s: Stated


@dataclass(frozen=True)
class Flow:
    """Requests whose KV cache goes from one pool to another."""

    where: str
    start: str
    to: str
    requests_per_s: Stated


@dataclass(frozen=True)
class Service:
    """How the document serves one workload; ``rates`` holds the stated rates by their names."""

    where: str
    workload: str
    mode: str
    entries: tuple[Entry, ...]
    rates: Mapping[str, Stated]
    flows: tuple[Flow, ...] = ()


@dataclass(frozen=True)
class Domains:
    """A line of a placement: so many domains of ``gpus`` GPUs, each with these groups (size to count)."""

    where: str
    domains: int
    gpus: int
    groups: Mapping[int, int]


@dataclass(frozen=True)
class Standing:
    """Replicas of an entry (its number in the list of its role) that stand in a block."""

    workload: str
    role: str
    entry: int
    replicas: int


@dataclass(frozen=True)
class BlockLine:
    """A node or domain that may be lost, as the document says it."""

    where: str
    pool: str
    block: int
    gpus: int
    replicas: tuple[Standing, ...]


@dataclass(frozen=True)
class Answer:
    """
    The deployment of a document: services, per pool the placement, or None where there is none, and the blocks in
    which replicas stand.
    """

    services: tuple[Service, ...]
    placement: Mapping[str, tuple[Domains, ...]] | None
    blocks: tuple[BlockLine, ...] = ()


class Fields:
    """
    The keys of one JSON object; what is missing or ill-typed becomes a fault and a placeholder.

    Parameters
    ----------
    node
        The parsed JSON.
    where
        Its path.
    faults
        Where faults are collected.
    is_told
        Whether it is known already that there is no such object.
    """

    def __init__(self, node: object, where: str, faults: list[str], is_told: bool = False) -> None:
        self.where = where
        self.faults = faults
        self.is_object = isinstance(node, dict)
        self.node: dict[object, object] = node if isinstance(node, dict) else {}
        if not self.is_object and not is_told:
            self._fault("", node, "an object")

    def _fault(self, key: str, value: object, wanted: str) -> None:
        self.faults.append(f"{self.where}{key}: got {_brief(value)}, must be {wanted}")

    def has(self, key: str) -> bool:
        """Whether the key is there; its absence is a fault, told once."""
        if self.is_object and key not in self.node:
            self.faults.append(f"{self.where}.{key}: is missing")
        return key in self.node

    def is_null(self, key: str) -> bool:
        """Whether the key is null; null and absent are the same."""
        return self.node.get(key) is None

    def text(self, key: str) -> str:
        """A string."""
        value = self.node.get(key)
        if self.has(key) and not isinstance(value, str):
            self._fault(f".{key}", value, "a string")
        return value if isinstance(value, str) else ""

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of the given strings."""
        value = self.text(key)
        if isinstance(self.node.get(key), str) and value not in allowed:
            self._fault(f".{key}", value, " or ".join(allowed))
        return value

    def integer(self, key: str, least: int) -> int:
        """An integer of at least ``least``."""
        value = self.node.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        if self.has(key):
            self._fault(f".{key}", value, f"an integer >= {least}")
        return least

    def amount(self, key: str, is_real: bool) -> Fraction:
        """A positive count: an integer, or where counts are real, an exact value."""
        if not is_real:
            return Fraction(self.integer(key, 1))
        value = exact_of(self.node.get(key))
        if self.has(key) and (value is None or value <= 0):
            self._fault(f".{key}", self.node.get(key), "a positive string num/den")
        return value or Fraction(1)

    def number(self, key: str) -> Fraction | None:
        """A finite number or null."""
        value = self.node.get(key)
        result = number_of(value)
        if self.has(key) and value is not None and result is None:
            self._fault(f".{key}", value, "a finite number or null")
        return result

    def stated(self, key: str, is_real: bool = False) -> Stated:
        """A number together with the exact value beside it; a count that is real may be exact itself."""
        exact, given = None, False
        beside = self.node.get("exact")
        if isinstance(beside, dict):
            given = key in beside
            exact = exact_of(beside.get(key))
            if exact is None and beside.get(key) is not None:
                self._fault(f".exact.{key}", beside[key], "a string num/den or null")
        number = exact_of(self.node.get(key)) if is_real and isinstance(self.node.get(key), str) else self.number(key)
        return Stated(f"{self.where}.{key}", number, exact, given)

    def child(self, key: str) -> Fields:
        """An object."""
        return Fields(self.node.get(key), f"{self.where}.{key}", self.faults, is_told=not self.has(key))

    def children(self, key: str) -> list[Fields]:
        """A list of objects."""
        value = self.node.get(key)
        if self.has(key) and not isinstance(value, list):
            self._fault(f".{key}", value, "a list")
        items = value if isinstance(value, list) else []
        return [Fields(item, f"{self.where}.{key}[{index}]", self.faults) for index, item in enumerate(items)]


def _brief(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    try:
        return repr(value)[:60]
    except ValueError:
        return "a number of thousands of digits"


def read_answer(node: Fields, is_real: bool) -> Answer:
    """Reads ``deployment``; ``is_real`` where pools are unlimited and replicas real."""
    services = tuple(_service(item, is_real) for item in node.children("workloads"))
    placement = None if node.is_null("placement") else _placement(node.child("placement"))
    blocks = () if node.is_null("blocks") else tuple(_block(item) for item in node.children("blocks"))
    return Answer(services, placement, blocks)


def _block(node: Fields) -> BlockLine:
    standing = tuple(
        Standing(
            item.text("workload"), item.one_of("role", ROLES), item.integer("entry", 0), item.integer("replicas", 1)
        )
        for item in node.children("replicas")
    )
    return BlockLine(node.where, node.text("pool"), node.integer("block", 0), node.integer("gpus", 1), standing)


def _service(node: Fields, is_real: bool) -> Service:
    node.child("exact")
    entries = [_entry(item, role, is_real) for role in ROLES for item in node.children(role)]
    mode = node.one_of("mode", ("colocated", "disaggregated", "hybrid", "none"))
    rates = {name: node.stated(name) for name in RATES}
    flows = () if node.is_null("kv_flows") else tuple(_flow(item) for item in node.children("kv_flows"))
    return Service(node.where, node.text("workload"), mode, tuple(entries), _all_given(rates), flows)


def _flow(node: Fields) -> Flow:
    node.child("exact")
    stated = _all_given({"requests_per_s": node.stated("requests_per_s")})
    return Flow(node.where, node.text("from"), node.text("to"), stated["requests_per_s"])


def _entry(node: Fields, role: Role, is_real: bool) -> Entry:
    degrees = node.child("partition")
    node.child("exact")
    claims = _all_given({name: node.stated(name) for name in ("latency_ms", "ttft_ms", "requests_per_s")})
    return Entry(
        where=node.where,
        role=role,
        pool=node.text("pool"),
        partition=Partition(*(degrees.integer(degree.name, 1) for degree in fields(Partition))),
        precision=node.text("precision"),
        backend=node.text("backend"),
        backend_version=node.text("backend_version"),
        domain_gpus=node.integer("domain_gpus", 0),
        chunk_tokens=node.integer("chunk_tokens", 0),
        batch=node.integer("batch", 1),
        replicas=node.amount("replicas", is_real),
        gpus=node.amount("gpus", is_real),
        **claims,
    )


def _all_given(claims: dict[str, Stated]) -> dict[str, Stated]:
    """Here an exact value that is absent counts as null: where there is something to state, it must be stated."""
    return {name: Stated(claim.where, claim.number, claim.exact) for name, claim in claims.items()}


def _placement(node: Fields) -> dict[str, tuple[Domains, ...]]:
    return {str(pool): tuple(_domains(item) for item in node.children(str(pool))) for pool in node.node}


def _domains(node: Fields) -> Domains:
    groups = node.child("groups")
    sizes = {}
    for size in groups.node:
        if isinstance(size, str) and re.fullmatch(r"[1-9][0-9]{0,8}", size):
            sizes[int(size)] = groups.integer(size, 1)
        else:
            groups.faults.append(f"{groups.where}: got {_brief(size)}, keys must be group sizes")
    return Domains(node.where, node.integer("domains", 1), node.integer("gpus", 1), sizes)
