"""
The exact frontier of one pool and one workload by a combinatorial sweep: no model, no solver.

The sweep takes decode and co-located points by ascending TPOT. A point that comes in can only help where its own
replicas, with the best prefill that packs beside them, beat the best plan so far; so each event costs one comparison
unless the frontier moves. Everything is in integers over common denominators.

C4 is exact. Where group sizes divide each other the nested family is a vector of resources (one level per size, and
one for whole domains that oversize groups take); levels implied by others are dropped, which leaves plain GPU counting
on most systems. Other sizes are packed by search (engines_per_role 1, without hybrid).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise, product
from typing import NamedTuple

from tests.oracles.packing import packs
from tests.oracles.tables import Instance, Row, common_denominator, exact, points_of

Footprint = tuple[int, int]
"""(GPUs of a stage group, stage groups of a replica)."""
Family = tuple[str, str]
"""(backend, KV format): what prefill and decode of one deployment share."""


class Space:
    """
    The room of one pool for replicas of some footprints.

    Parameters
    ----------
    gpus, domain
        GPUs of the pool and of an NVLink domain.
    footprints
        All footprints that will be asked about.

    Attributes
    ----------
    nested
        Whether group sizes inside a domain divide each other, so that ``capacity`` and ``usage`` decide exactly.
    capacity, usage
        Resources of the pool, and of one replica of each footprint.
    """

    def __init__(self, gpus: int, domain: int, footprints: Sequence[Footprint]) -> None:
        self.full, self.partial, self.domain = gpus // domain, gpus % domain, domain
        self.gpus = gpus
        inside = sorted({size for size, _ in footprints if size <= domain})
        self.nested = all(big % small == 0 for small, big in pairwise(inside))
        levels: list[tuple[int, list[int]]] = []
        for level in inside:
            used = []
            for size, stages in footprints:
                per_group = -(-size // domain) * (domain // level) if size > domain else size // level
                used.append(stages * per_group)
            levels.append((self.full * (domain // level) + self.partial // level, used))
        if any(size > domain for size, _ in footprints):
            used = [stages * -(-size // domain) if size > domain else 0 for size, stages in footprints]
            levels.append((self.full, used))
        kept = _without_implied(levels)
        self.capacity = tuple(room for room, _ in kept)
        self.usage = {each: tuple(used[i] for _, used in kept) for i, each in enumerate(footprints)}

    def room(self, footprint: Footprint, beside: Sequence[tuple[Footprint, int]] = ()) -> int:
        """Most replicas of a footprint beside the given replicas; -1 where those do not fit themselves."""
        if not self.nested:
            return self._room_by_search(footprint, beside)
        free = list(self.capacity)
        for other, count in beside:
            for i, each in enumerate(self.usage[other]):
                free[i] -= each * count
        if min(free, default=0) < 0:
            return -1
        return min(left // each for left, each in zip(free, self.usage[footprint]) if each)

    def _room_by_search(self, footprint: Footprint, beside: Sequence[tuple[Footprint, int]]) -> int:
        """The same as :meth:`room` by true bin packing."""
        groups: dict[int, int] = {}
        for (size, stages), count in beside:
            groups[size] = groups.get(size, 0) + stages * count
        size, stages = footprint
        replicas = -1
        while True:
            counts = dict(groups)
            counts[size] = counts.get(size, 0) + stages * (replicas + 1)
            if not packs(counts, self.full, self.domain, self.partial):
                return replicas
            replicas += 1


def _without_implied(levels: list[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
    """Drops each (capacity, usage) that another one implies: usage/capacity nowhere larger than the other's."""
    kept = list(levels)
    for level in reversed(levels):
        room, used = level
        for other in kept:
            if other is not level and all(
                not mine or (its and mine * other[0] <= its * room) for mine, its in zip(used, other[1])
            ):
                kept = [each for each in kept if each is not level]
                break
    return kept


class Table(NamedTuple):
    """
    One pool and one workload, ready to sweep.

    Attributes
    ----------
    gpus, domain
        Of the pool.
    hybrid, unlimited
        ``serving.hybrid``, and whether ``engines_per_role`` is "unlimited".
    prefill
        Family to footprint to the best rate of a replica.
    events
        (TPOT, rate of a replica, slot): decode and co-located points in any order.
    slots
        Family (None for co-located) and footprint of a slot.
    rate_unit, time_unit
        Integers per request/s and per ms.
    demand, ceiling
        Least requests/s asked and most credited, in units of rate; None where not given.
    value
        Weighted output tokens per request, per GPU of the inventory.
    """

    gpus: int
    domain: int
    hybrid: bool
    unlimited: bool
    prefill: dict[Family, dict[Footprint, int]]
    events: list[tuple[int, int, int]]
    slots: list[tuple[Family | None, Footprint]]
    rate_unit: int
    time_unit: int
    demand: int | None
    ceiling: int | None
    value: Fraction


def table(instance: Instance, rows: Sequence[Row]) -> Table:
    """
    Reads an instance and its curves into a :class:`Table`.

    Raises
    ------
    ValueError
        When the instance says something that the sweep does not cover.
    """
    serving, workloads, pools = instance.get("serving") or {}, instance["workloads"], instance["pools"]
    if len(workloads) != 1 or len(pools) != 1:
        raise ValueError("the sweep takes one pool and one workload")
    workload, pool = workloads[0], pools[0]
    engines, osl = serving.get("engines_per_role", 1), exact(workload["osl"])
    refused = {
        "objective": instance.get("objective", "throughput") != "throughput",
        "osl 1": osl == 1,
        "e2el_ms": (workload.get("sla") or {}).get("e2el_ms") is not None,
        "budget": bool(instance.get("budget")),
        "replica bounds": bool(serving.get("min_replicas") or serving.get("max_replicas")),
        "rate_match": serving.get("rate_match", "min") != "min",
        "engines_per_role": engines not in (1, "unlimited"),
    }
    if any(refused.values()):
        raise ValueError("the sweep does not cover " + ", ".join(name for name, yes in refused.items() if yes))

    points = points_of(instance, rows)
    asked = {key: workload.get(key) for key in ("requests_per_s", "max_requests_per_s")}
    bounds = {key: exact(value) for key, value in asked.items() if value is not None}
    rate_unit = common_denominator([point.rate for point in points] + list(bounds.values()))
    time_unit = common_denominator(point.latency for point in points if point.role != "prefill")
    prefill: dict[Family, dict[Footprint, int]] = {}
    slots: dict[tuple[Family | None, Footprint], int] = {}
    events = []
    for point in points:
        rate = point.rate.numerator * (rate_unit // point.rate.denominator)
        footprint = (point.group, point.stages)
        if point.role == "prefill":
            best = prefill.setdefault(point.family, {})
            best[footprint] = max(best.get(footprint, 0), rate)
        else:
            slot = slots.setdefault((point.family if point.role == "decode" else None, footprint), len(slots))
            latency = point.latency.numerator * (time_unit // point.latency.denominator)
            events.append((latency, rate, slot))
    limits = {key: int(value * rate_unit) for key, value in bounds.items()}
    return Table(
        gpus=pool["gpus"],
        domain=pool["nvlink_domain_gpus"],
        hybrid=bool(serving.get("hybrid", False)),
        unlimited=engines == "unlimited",
        prefill=prefill,
        events=events,
        slots=list(slots),
        rate_unit=rate_unit,
        time_unit=time_unit,
        demand=limits.get("requests_per_s"),
        ceiling=limits.get("max_requests_per_s"),
        value=exact(workload.get("weight", 1)) * osl / pool["gpus"],
    )


def sweep(table: Table) -> list[tuple[int, int]]:
    """
    The frontier in integers: (TPOT, requests/s credited) ascending, in the units of the table.

    Raises
    ------
    ValueError
        When group sizes do not divide each other and more than one engine of a role, or both modes, may be mixed.
    """
    footprints = {footprint for _, footprint in table.slots}
    footprints.update(footprint for best in table.prefill.values() for footprint in best)
    space = Space(table.gpus, table.domain, sorted(footprints))
    if (table.unlimited or table.hybrid) and not space.nested:
        raise ValueError("mixed engines need group sizes that divide each other")
    if table.unlimited:
        steps = _sweep_unlimited(table, space)
    elif table.hybrid:
        steps = _sweep_hybrid(table, space)
    else:
        steps = _sweep_single(table, space)
    demand, ceiling = table.demand or 0, table.ceiling
    frontier: list[tuple[int, int]] = []
    for latency, rate in steps:
        credited = rate if ceiling is None else min(rate, ceiling)
        if rate >= demand and (not frontier or credited > frontier[-1][1]):
            frontier.append((latency, credited))
    return frontier


def frontier(instance: Instance, rows: Sequence[Row]) -> list[tuple[Fraction, Fraction]]:
    """The exact frontier: (TPOT in ms of the slowest point used, weighted tokens/s per GPU of the inventory)."""
    ready = table(instance, rows)
    value = ready.value / ready.rate_unit
    return [(Fraction(latency, ready.time_unit), rate * value) for latency, rate in sweep(ready)]


def _best_prefill(table: Table, space: Space, family: Family, beside: Sequence[tuple[Footprint, int]]) -> int:
    """The best prefill capacity of one engine that packs beside the given replicas."""
    rates = table.prefill.get(family, {})
    return max((rate * space.room(footprint, beside) for footprint, rate in rates.items()), default=0)


def _sweep_single(table: Table, space: Space) -> list[tuple[int, int]]:
    """One engine per role, one mode: each event against the best plan so far."""
    unbounded = 1 + table.gpus * max((rate for _, rate, _ in table.events), default=0)
    partner: list[list[int]] = []
    for family, footprint in table.slots:
        counts = range(space.room(footprint) + 1)
        if family is None:
            partner.append([unbounded] * len(counts))
        elif space.nested:
            partner.append(_partners(table, space, family, footprint, len(counts)))
        else:
            partner.append([_best_prefill(table, space, family, [(footprint, count)]) for count in counts])
    # Most replicas of the slot beside which prefill still beats the best plan: more are of no use any longer.
    useful = [len(rates) - 1 for rates in partner]
    best = 0
    steps: list[tuple[int, int]] = []
    for latency, rate, slot in sorted(table.events):
        count = useful[slot]
        if rate * count <= best:
            continue
        beside = partner[slot]
        while count and beside[count] <= best:
            count -= 1
        useful[slot] = count
        before = best
        while count and rate * count > best:
            best = max(best, min(rate * count, beside[count]))
            count -= 1
        if best > before:
            if steps and steps[-1][0] == latency:
                steps.pop()
            steps.append((latency, best))
    return steps


def _partners(table: Table, space: Space, family: Family, footprint: Footprint, counts: int) -> list[int]:
    """The best prefill capacity beside 0, 1, ... replicas of a footprint, where the nested family decides."""
    best = [0] * counts
    one = space.usage[footprint]
    free = [[room - each * count for room, each in zip(space.capacity, one)] for count in range(counts)]
    for other, rate in table.prefill.get(family, {}).items():
        used = [(i, each) for i, each in enumerate(space.usage[other]) if each]
        if len(used) == 1:
            (i, each) = used[0]
            found = [rate * (left[i] // each) for left in free]
        else:
            found = [rate * min(left[i] // each for i, each in used) for left in free]
        best = [max(pair) for pair in zip(best, found)]
    return best


def _sweep_hybrid(table: Table, space: Space) -> list[tuple[int, int]]:
    """One engine per role, both modes beside each other: all counts again whenever a slot improves (slow, exact)."""
    decode = [i for i, (family, _) in enumerate(table.slots) if family is not None]
    colocated = [i for i, (family, _) in enumerate(table.slots) if family is None]
    plans: list[tuple[int | None, int, int | None, int, int]] = []
    for d, c in product([None, *decode], [None, *colocated]):
        for n in range(0 if d is None else 1, 1 if d is None else space.room(table.slots[d][1]) + 1):
            beside = [] if d is None else [(table.slots[d][1], n)]
            most = 0 if c is None else space.room(table.slots[c][1], beside)
            for m in range(0 if c is None else 1, most + 1):
                both = beside if c is None else [*beside, (table.slots[c][1], m)]
                family = None if d is None else table.slots[d][0]
                prefill = 0 if family is None else _best_prefill(table, space, family, both)
                plans.append((d, n, c, m, prefill))
    rates, best = [0] * len(table.slots), 0
    steps: list[tuple[int, int]] = []
    events = sorted(table.events)
    for position, (latency, rate, slot) in enumerate(events):
        rates[slot] = max(rates[slot], rate)
        if position + 1 < len(events) and events[position + 1][0] == latency:
            continue
        found = 0
        for d, n, c, m, prefill in plans:
            disaggregated = 0 if d is None else min(prefill, n * rates[d])
            found = max(found, disaggregated + (0 if c is None else m * rates[c]))
        if found > best:
            best = found
            steps.append((latency, best))
    return steps


def _sweep_unlimited(table: Table, space: Space) -> list[tuple[int, int]]:
    """Any mix of engines: per role and family an unbounded knapsack over the resources, updated at each event."""
    sizes = [room + 1 for room in space.capacity]
    strides = [1] * len(sizes)
    for i in range(len(sizes) - 2, -1, -1):
        strides[i] = strides[i + 1] * sizes[i + 1]
    states = list(product(*(range(size) for size in sizes)))
    moves: dict[Footprint, tuple[int, list[int]]] = {}
    for footprint, used in space.usage.items():
        back = sum(each * stride for each, stride in zip(used, strides))
        reachable = [i for i, state in enumerate(states) if all(have >= each for have, each in zip(state, used))]
        moves[footprint] = (back, reachable)

    def add(best: list[int], footprint: Footprint, rate: int) -> bool:
        """Takes one more kind of replica into a knapsack; whether anything got better."""
        back, reachable = moves[footprint]
        better = False
        for state in reachable:
            with_it = best[state - back] + rate
            if with_it > best[state]:
                best[state] = with_it
                better = True
        return better

    prefill: dict[Family | None, list[int]] = {}
    for its_family, rates in table.prefill.items():
        prefill[its_family] = [0] * len(states)
        for footprint, rate in rates.items():
            add(prefill[its_family], footprint, rate)
        prefill[its_family].reverse()  # now by what decode takes: the complement of a state is its mirror image
    decode = {family: [0] * len(states) for family, _ in table.slots}
    colocated = decode.setdefault(None, [0] * len(states))
    known = [0] * len(table.slots)
    best = 0
    steps: list[tuple[int, int]] = []
    events = sorted(table.events)
    changed: set[Family | None] = set()
    for position, (latency, rate, slot) in enumerate(events):
        family, footprint = table.slots[slot]
        if rate > known[slot]:
            known[slot] = rate
            if add(decode[family], footprint, rate):
                changed.add(family)
        if not changed or (position + 1 < len(events) and events[position + 1][0] == latency):
            continue
        found = best
        for family in decode if table.hybrid else changed:
            if family is None:
                found = max(found, colocated[-1])
            elif family in prefill:
                if table.hybrid:
                    found = max(found, _best_of_three(states, strides, prefill[family], decode[family], colocated))
                else:
                    found = max(found, max(map(min, prefill[family], decode[family])))
        changed.clear()
        if found > best:
            best = found
            steps.append((latency, best))
    return steps


def _best_of_three(
    states: list[tuple[int, ...]], strides: list[int], prefill: list[int], decode: list[int], colocated: list[int]
) -> int:
    """
    Max over splits of the resources of min(prefill, decode) + co-located (slow, exact).

    ``prefill`` is mirrored: index i holds the best prefill that leaves state i free.
    """
    best = 0
    for s, state in enumerate(states):
        for part in product(*(range(have + 1) for have in state)):
            d = sum(each * stride for each, stride in zip(part, strides))
            # state is what decode and co-located take; prefill has the rest.
            best = max(best, min(prefill[s], decode[d]) + colocated[s - d])
    return best
