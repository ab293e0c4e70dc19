"""
The dual bound of a result evaluated again: from instance, curves and the multipliers of its certificate.

It shares no code with :mod:`solver.dual_bound`: points are taken from the curves, rows are written down from the text
of docs/formulation.md, and the least price of a flow is found by labels instead of a depth-first search. Any
multipliers of at least zero give a bound. What the certificate says that a workload is worth alone is taken as a claim:
it is shown to hold, or replaced by what does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from costmodels.operating_curve import Role
from solver.engines import Engine, EngineSet
from solver.instance import Instance, Pool, Workload

MOST_LABELS = (400, 8000)
"""Labels of one search, and of one where only a single flow counts; beyond, a flow is priced without whole replicas."""
MOST_PARTS = 250
"""Intervals of flow that one claim may take."""


class BadCertificate(ValueError):
    """The certificate does not read as one, or holds a multiplier below zero."""


@dataclass(frozen=True)
class _Kind:
    """What a replica costs and carries, in whole units; at its best batch."""

    price: int
    rate: int
    pool: str
    most: int


@dataclass(frozen=True)
class _Way:
    """The kinds of each role of a way; gain and flows in the same units."""

    roles: tuple[tuple[_Kind, ...], ...]
    gain: int
    low: int
    high: int
    unit: int
    alone: bool

    def slope(self) -> Fraction:
        """The least price of a unit of flow."""
        return sum((min(Fraction(k.price, k.rate) for k in kinds) for kinds in self.roles), Fraction(0))


def bound_again(instance: Instance, engines: EngineSet, certificate: Mapping[str, Any]) -> Fraction:
    """
    An upper bound on the measure of the certificate: the claimed one, or a weaker one where a claim cannot be shown.

    A measure of prices alone takes only multiples of the greatest common divisor of what replicas cost, so the bound is
    the largest of them that is no higher.

    Raises
    ------
    BadCertificate
        When the certificate is malformed.
    """
    try:
        weights = {name: Fraction(text) for name, text in certificate["weights"].items()}
        prices = {name: Fraction(text) for name, text in certificate["prices"].items()}
        claims = {name: Fraction(text) for name, text in certificate["workloads"].items()}
        rows = [(row, Fraction(row["multiplier"])) for row in certificate["multipliers"]]
        total = sum((value * _limit(instance, row) for row, value in rows), Fraction(0))
        if any(value < 0 for _, value in rows):
            raise BadCertificate("a multiplier is below zero")
        for workload in instance.workloads:
            mine = [engine for engine in engines.engines if engine.workload.name == workload.name]
            paid = {e.index: _paid(e, prices, rows) for e in mine}
            gain = weights.get(workload.name, Fraction(0))
            total += _alone(instance, workload, mine, paid, gain, claims[workload.name])
    except (KeyError, TypeError, AttributeError, StopIteration, ZeroDivisionError) as error:
        raise BadCertificate(f"not a certificate: {error!r}") from error
    costs = {prices.get(e.pool.name, Fraction(0)) * e.curve.partition.gpus for e in engines.engines} - {Fraction(0)}
    if any(weights.values()) or not costs:
        return total
    per = math.lcm(*(cost.denominator for cost in costs))
    step = Fraction(math.gcd(*(int(cost * per) for cost in costs)), per)
    return math.floor(total / step) * step


def certified(instance: Instance, engines: EngineSet, certificate: Mapping[str, Any]) -> Fraction:
    """
    The bound that a certificate proves on the instance's objective, in the objective's unit.

    Raises
    ------
    BadCertificate
        When it is malformed, or about something else than the instance's objective.
    """
    value = bound_again(instance, engines, certificate)
    weights, prices = certificate["weights"], certificate["prices"]
    if instance.objective == "throughput":
        given = {name: Fraction(text) for name, text in weights.items()}
        proper = sorted(given) == sorted(w.name for w in instance.workloads) and all(g > 0 for g in given.values())
        worths = {w.weight * w.osl / given[w.name] for w in instance.workloads} if proper else set()
        if prices or len(worths) != 1:
            raise BadCertificate("its weights are not those of the objective")
        return value * worths.pop()
    wanted = {p.name: Fraction(1) if instance.objective == "gpus" else p.usd_per_gpu_hour for p in instance.pools}
    stated = {name: Fraction(text) for name, text in prices.items()}
    if instance.objective == "throughput_per_gpu" or any(map(Fraction, weights.values())) or stated != wanted:
        raise BadCertificate("its prices are not those of the objective")
    return -value


def _limit(instance: Instance, row: Mapping[str, Any]) -> Fraction:
    """The right side of a row (C3, C4, C7)."""
    if row["row"] in ("usd", "watts"):
        budget = instance.budget
        limit = budget.usd_per_hour if row["row"] == "usd" else budget.watts
        if limit is None or budget.count_idle:
            raise BadCertificate(f"there is no budget of {row['row']}")
        return limit
    pool = next(pool for pool in instance.pools if pool.name == row["pool"])
    gpus, domain = pool.gpus or 0, pool.nvlink_domain_gpus
    match row["row"]:
        case "gpus":
            return Fraction(gpus)
        case "domains":
            return Fraction(gpus // domain)
        case "groups":
            size = row["size"]
            if not (isinstance(size, int) and 1 <= size <= domain):
                raise BadCertificate(f"no groups of {size!r} GPUs in a domain of {domain}")
            return Fraction(gpus // domain * (domain // size) + gpus % domain // size)
    raise BadCertificate(f"unknown row {row['row']!r}")


def _paid(
    engine: Engine, prices: Mapping[str, Fraction], rows: Sequence[tuple[Mapping[str, Any], Fraction]]
) -> Fraction:
    """The price of a replica: its GPUs in the measure, and what it takes of each row times the multiplier."""
    pool, shape = engine.pool, engine.curve.partition
    paid = prices.get(pool.name, Fraction(0)) * shape.gpus
    for row, value in rows:
        if row["row"] == "usd":
            paid += value * shape.gpus * (pool.usd_per_gpu_hour or 0)
        elif row["row"] == "watts":
            paid += value * shape.gpus * (pool.watts_per_gpu or 0)
        elif row["pool"] == pool.name:
            paid += value * _taken(pool, row, shape.stage_group, shape.pp, shape.gpus)
    return paid


def _taken(pool: Pool, row: Mapping[str, Any], group: int, stages: int, gpus: int) -> int:
    """What a replica of so many groups takes of a row of its pool."""
    domain = pool.nvlink_domain_gpus
    taken = math.ceil(Fraction(group, domain)) if group > domain else 0
    if row["row"] == "gpus":
        return gpus
    if row["row"] == "domains":
        return stages * taken
    size = int(row["size"])
    return stages * (taken * (domain // size) if taken else group // size)


def _alone(
    instance: Instance,
    workload: Workload,
    engines: Sequence[Engine],
    paid: Mapping[int, Fraction],
    gain: Fraction,
    claim: Fraction,
) -> Fraction:
    """What a workload is worth alone at most; the claim where that is shown."""
    ways = _ways(instance, workload, engines, paid, gain)
    worth = claim if workload.requests_per_s is not None else max(claim, Fraction(0))
    for way in ways:
        if instance.serving.hybrid:
            net = way.gain - way.slope()
            most = net * (way.high if net > 0 else way.low)
            worth = max(worth, most / way.unit)
        else:
            worth = max(worth, Fraction(_shown(way, math.floor(claim * way.unit)), way.unit))
    return worth


def _ways(
    instance: Instance, workload: Workload, engines: Sequence[Engine], paid: Mapping[int, Fraction], gain: Fraction
) -> list[_Way]:
    """The ways to serve a workload: co-located, or disaggregated with one serving engine and KV format."""
    best: dict[tuple[Any, ...], tuple[Fraction, Engine]] = {}
    for engine in engines:
        rate = _fastest(instance, engine)
        shape = engine.curve.partition
        joint = () if engine.curve.role == "colocated" else engine.joint
        key = (engine.curve.role, joint, engine.pool.name, shape.gpus, shape.pp)
        if rate and rate > best.get(key, (0,))[0]:
            best[key] = (rate, engine)
    low = workload.requests_per_s or Fraction(0)
    high = max(low, _cap(instance, workload, best)) if gain else low  # else the least flow is best
    per = math.lcm(low.denominator, high.denominator, *(rate.denominator for rate, _ in best.values()))
    unit = math.lcm(per * gain.denominator, *(paid[e.index].denominator for _, e in best.values()))
    found: dict[tuple[str, Any], list[_Kind]] = {}
    for (role, joint, pool, gpus, _), (rate, engine) in best.items():
        kind = _Kind(int(paid[engine.index] * unit), int(rate * per), pool, (engine.pool.gpus or 0) // gpus)
        found.setdefault((role, joint), []).append(kind)
    ways = []
    for mode in instance.serving.modes:
        roles = workload.roles(mode)
        for joint in sorted({joint for role, joint in found if role == roles[0]}):
            if all((role, joint) in found for role in roles):
                kinds = tuple(tuple(found[role, joint]) for role in roles)
                alone = instance.serving.engines_per_role == 1
                ways.append(_Way(kinds, int(gain * unit / per), int(low * per), int(high * per), unit, alone))
    return ways


def _cap(instance: Instance, workload: Workload, best: Mapping[tuple[Any, ...], tuple[Fraction, Engine]]) -> Fraction:
    """No flow is above the cap, nor above every pool at the best rate per GPU of any role."""
    most = Fraction(0)
    for pool in instance.pools:
        here = [rate / e.curve.partition.gpus for rate, e in best.values() if e.pool.name == pool.name]
        most += max(here, default=Fraction(0)) * (pool.gpus or 0)
    return most if workload.max_requests_per_s is None else min(most, workload.max_requests_per_s)


def _fastest(instance: Instance, engine: Engine) -> Fraction | None:
    """The highest planned rate of an engine within the limits of its workload; None where no batch is."""
    role, curve = engine.curve.role, engine.curve
    modes = instance.serving.modes
    if not any(role in engine.workload.roles(mode) for mode in modes) or not _fits(engine):
        return None
    rates = [
        curve.at(batch).requests_per_s
        for batch in curve.admissible_batches()
        if instance.serving.allows(curve, batch) and _within(engine, role, batch)
    ]
    return max(rates) * instance.utilization(engine.workload, role) if rates else None


def _fits(engine: Engine) -> bool:
    """Whether one replica finds room in the empty pool."""
    pool, shape = engine.pool, engine.curve.partition
    domains = math.ceil(Fraction(shape.stage_group, pool.nvlink_domain_gpus))
    return shape.gpus <= (pool.gpus or 0) and (domains == 1 or domains * shape.pp <= pool.full_domains)


def _within(engine: Engine, role: Role, batch: int) -> bool:
    """Whether a point keeps the limits on TTFT, TPOT and, co-located, the end-to-end latency."""
    point, workload = engine.curve.at(batch), engine.workload
    first, each = point.ttft_ms or Fraction(0), point.latency_ms
    if role != "decode" and workload.ttft_ms is not None and first > workload.ttft_ms:
        return False
    if role != "prefill" and workload.osl > 1 and workload.tpot_ms is not None and each > workload.tpot_ms:
        return False
    if role == "colocated" and workload.e2el_ms is not None:
        return first + (workload.osl - 1) * each <= workload.e2el_ms
    return True


def _shown(way: _Way, claim: int) -> int:
    """The claim where no flow of the way is worth more, else the least that can be shown instead."""
    known: dict[tuple[int, int], int] = {}
    slope, worth, parts = way.slope(), claim, [(way.low, way.high)]
    net = way.gain - slope
    if (straight := math.floor(net * (way.high if net > 0 else way.low))) <= claim + 1:
        return max(claim, straight)
    for _ in range(MOST_PARTS):
        if not parts:
            return worth
        low, high = parts.pop()
        most = math.floor(net * (high if net > 0 else low))
        if most > worth:
            most = min(most, way.gain * high - _price(way, low, known))
        if most <= worth:
            continue
        if low == high:
            worth = most
            continue
        middle = (low + high) // 2
        parts += [(low, middle), (middle + 1, high)]
    rest = [min(way.gain * high - _price(way, low, known), math.floor(net * (high if net > 0 else low)))
            for low, high in parts]  # fmt: skip
    return max([worth, *rest])


def _price(way: _Way, flow: int, known: dict[tuple[int, int], int]) -> int:
    for number, kinds in enumerate(way.roles):
        if (number, flow) not in known:
            most = MOST_LABELS[not way.gain]
            known[number, flow] = cheapest(kinds, flow, way.alone, most)
    return sum(known[number, flow] for number in range(len(way.roles)))


def cheapest(kinds: Sequence[Any], flow: int, alone: bool, most: int) -> int:
    """
    A price that no replicas carrying a flow go below, one replica at least.

    Labels of (price, carried flow) go through the kinds, the least efficient first; one goes when another costs no more
    and carries no less with the same pools taken, or when the cheapest kind cannot complete it for less than is known.
    """
    ordered = sorted(_needed(kinds) if alone else kinds, key=lambda k: (Fraction(-k.price, k.rate), -k.price))
    last, step = ordered[-1], math.gcd(*(k.price for k in ordered)) or 1
    singles = [n * k.price for k in ordered if (n := max(1, -(-flow // k.rate))) <= k.most]
    floor: int = max(-(-flow * last.price // (last.rate * step)) * step, min(k.price for k in ordered))
    beyond = sum(k.most * k.price for k in ordered) + 1
    best: int = min(singles, default=beyond)
    labels: dict[frozenset[str], list[tuple[int, int]]] = {frozenset(): [(0, 0)]}
    for kind in ordered[:-1]:
        found = _extend(labels, kind, last, flow, best, step, alone, most)
        if found is None:
            return floor
        best = found
    for pools, group in labels.items():
        for price, carried in group if not (alone and last.pool in pools) else ():
            count = -(-(flow - carried) // last.rate)
            if count <= last.most:
                best = min(best, price + max(count, 1) * last.price)
    return max(best, floor) if best < beyond else floor  # no replicas carry so much: any price is right


def _needed(kinds: Sequence[Any]) -> list[Any]:
    """
    The kinds without those in whose place so many replicas of another on the pool cost no more and carry no less.

    For one kind a pool only: else the other may already run as often as it can.
    """
    kept: list[Any] = []
    for kind in sorted(kinds, key=lambda k: (k.price, -k.rate, -k.most)):
        copies = [(other, kind.price // other.price if other.price else 1) for other in kept if other.pool == kind.pool]
        if not any(n * o.rate >= kind.rate and n * kind.most <= o.most for o, n in copies):
            kept.append(kind)
    return kept


def _extend(
    labels: dict[frozenset[str], list[tuple[int, int]]],
    kind: Any,
    last: Any,
    flow: int,
    best: int,
    step: int,
    alone: bool,
    most: int,
) -> int | None:
    """Adds replicas of a kind to all labels; the lowest price of a whole cover so far, None with too many labels."""
    added: dict[frozenset[str], list[tuple[int, int]]] = {}
    for pools, group in labels.items():
        if alone and kind.pool in pools:
            continue
        target = added.setdefault(pools | {kind.pool} if alone else pools, [])
        for price, carried in group:
            for count in range(1, kind.most + 1):
                paid, rest = price + count * kind.price, flow - carried - count * kind.rate
                if rest <= 0:
                    best = min(best, paid)
                    break
                if paid + -(-rest * last.price // (last.rate * step)) * step >= best:
                    break
                target.append((paid, flow - rest))
                if len(target) > 2 * most:
                    target[:] = _better(target)
                    if len(target) > most:
                        return None  # a label that is left out may be the best one
    for pools, group in added.items():
        labels[pools] = _better(labels.get(pools, []) + group)
    return best if sum(map(len, labels.values())) <= most else None


def _better(labels: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The labels that no other beats: by rising price, each carrying more."""
    kept: list[tuple[int, int]] = []
    for price, carried in sorted(labels, key=lambda label: (label[0], -label[1])):
        if not kept or carried > kept[-1][1]:
            kept.append((price, carried))
    return kept
