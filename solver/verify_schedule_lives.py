"""The lives of replicas in a schedule file: continuous, long enough, in their places, and adding up to the plan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction

from solver.instance import Instance
from solver.verify_schedule_columns import Priced, may_switch
from solver.verify_schedule_document import Claims, Life

LONG_AGO = -(10**9)


def chains(claims: Claims) -> dict[int, list[Life]]:
    """The legs of every replica, in order."""
    found: dict[int, list[Life]] = defaultdict(list)
    for life in claims.lives:
        found[life.replica].append(life)
    return {replica: sorted(legs, key=lambda leg: (leg.first, leg.until)) for replica, legs in found.items()}


def life_faults(claims: Claims, columns: Sequence[Priced]) -> Iterator[str]:
    """Every leg begins where the one before ended, is ready when its lead time is over, and stays long enough."""
    for legs in chains(claims).values():
        since, ready = LONG_AGO, 0
        for before, leg in zip([None, *legs[:-1]], legs, strict=True):
            yield from _leg_faults(claims, leg, before, columns)
            column = columns[leg.column]
            if leg.began == "start":
                since, ready = leg.first, leg.first + len(column.start)
            elif leg.began == "switch":
                since, ready = leg.first, leg.first + len(column.switch)
            if leg.ready != max(ready, leg.first):
                yield f"{leg.where}.ready: {leg.ready} stated, {max(ready, leg.first)} recomputed"
            if leg.ends in ("stop", "switch") and leg.until - since < column.min_up:
                yield f"{leg.where}: up for {leg.until - since} periods, must be {column.min_up}"
        if legs[-1].ends in ("switch", "migration"):
            yield f"{legs[-1].where}: ends with a {legs[-1].ends}, and nothing follows"


def _leg_faults(claims: Claims, leg: Life, before: Life | None, columns: Sequence[Priced]) -> Iterator[str]:
    last = claims.periods
    empty = leg.until == leg.first == 0 and claims.current is not None
    if not (leg.first < leg.until <= last or empty):
        yield f"{leg.where}: from {leg.first} until {leg.until}, must be periods of 0 to {last}"
    if (leg.ends == "end") != (leg.until == last):
        yield f"{leg.where}: ends with {leg.ends} at {leg.until} of {last}"
    if before is None:
        free = leg.first == 0 and (claims.current is not None or leg.began == "running")
        if (
            leg.began not in ("running", "start")
            or (leg.began == "running" and leg.first)
            or (leg.first == 0 and not free)
        ):
            yield f"{leg.where}: a replica that begins with {leg.began} in period {leg.first}"
        return
    if before.until != leg.first or before.ends != leg.began or leg.began not in ("switch", "migration"):
        yield f"{leg.where}: does not follow on {before.where}"
    if leg.began == "switch":
        if before.domains != leg.domains:
            yield f"{leg.where}: a switch stays where it is"
        if claims.rules["switch_s"] is None or not may_switch(columns[before.column], columns[leg.column]):
            yield f"{leg.where}: column {before.column} cannot switch to {leg.column}"
    elif before.column != leg.column:
        yield f"{leg.where}: a migration stays in its column"


def place_faults(instance: Instance, claims: Claims, columns: Sequence[Priced]) -> Iterator[str]:
    """C3 and C4: in every period every stage group lies whole in a domain, and no domain holds more than it has."""
    rooms = {
        pool.name: [pool.nvlink_domain_gpus] * pool.full_domains
        + ([pool.partial_domain_gpus] if pool.partial_domain_gpus else [])
        for pool in instance.pools
    }
    loads: list[Counter[tuple[str, int]]] = [Counter() for _ in range(claims.periods)]
    for life in claims.lives:
        engine = columns[life.column].engine
        size, domain = engine.curve.partition.stage_group, engine.pool.nvlink_domain_gpus
        wide, room = -(-size // domain), rooms[engine.pool.name]
        if len(life.domains) != wide * engine.curve.partition.pp or any(d >= len(room) for d in life.domains):
            yield f"{life.where}.domains: must be {wide * engine.curve.partition.pp} domains of pool {engine.pool.name}"
            continue
        for period in range(life.first, min(life.until, claims.periods)):
            for place in life.domains:
                loads[period][engine.pool.name, place] += min(size, domain)
    for period, load in enumerate(loads):
        for (pool, place), gpus in load.items():
            if gpus > rooms[pool][place]:
                yield f"period {period}: {gpus} GPUs in domain {place} of pool {pool}, it has {rooms[pool][place]}"


def count_faults(claims: Claims) -> Iterator[str]:
    """What the plan says of each period is what the lives add up to."""
    held = [Counter[int]() for _ in range(claims.periods)]
    starts, stops, running = _by_period(), _by_period(), _by_period()
    switches: dict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
    for legs in chains(claims).values():
        for before, leg in zip([None, *legs[:-1]], legs, strict=True):
            for period in range(leg.first, min(leg.until, claims.periods)):
                held[period][leg.column] += 1
            if leg.began == "start":
                starts[leg.first][leg.column] += 1
            elif leg.began == "running":
                running[0][leg.column] += 1
            elif leg.began == "switch" and before is not None:
                switches[leg.first][before.column, leg.column] += 1
            if leg.ends == "stop":
                stops[leg.until][leg.column] += 1
    for period, told in enumerate(claims.plan):
        for name, stated, right in (
            ("held", told.held, held[period]),
            ("starts", told.starts, starts[period]),
            ("stops", told.stops, stops[period]),
            ("switches", told.switches, switches[period]),
        ):
            if dict(stated) != dict(right):
                yield f"{told.where}.{name}: {dict(stated)} stated, the replicas add up to {dict(right)}"
    if claims.current is not None and dict(claims.current) != dict(running[0]):
        yield f"$.current: {dict(claims.current)} stated, {dict(running[0])} replicas were running"


def _by_period() -> dict[int, Counter[int]]:
    return defaultdict(Counter)


def change_faults(claims: Claims) -> Iterator[str]:
    """No more changes at the beginning of a period than allowed."""
    for period, told in enumerate(claims.plan):
        changes = sum(told.starts.values()) + sum(told.stops.values()) + sum(told.switches.values())
        if claims.max_changes is not None and changes > claims.max_changes and (period or claims.current is not None):
            yield f"{told.where}: {changes} changes, at most {claims.max_changes} are allowed"


def ready_shares(claims: Claims, columns: Sequence[Priced]) -> list[dict[int, tuple[int, Fraction]]]:
    """For each period and column the replicas that serve for at least a part of it, and the sum of those parts."""
    found: list[dict[int, tuple[int, Fraction]]] = [{} for _ in range(claims.periods)]
    for legs in chains(claims).values():
        since, lost = LONG_AGO, tuple[Fraction, ...]()
        for leg in legs:
            if leg.began in ("start", "switch"):
                since = leg.first
                lost = columns[leg.column].start if leg.began == "start" else columns[leg.column].switch
            for period in range(leg.first, min(leg.until, claims.periods)):
                age = period - since
                share = 1 - (lost[age] if 0 <= age < len(lost) else Fraction(0))
                count, total = found[period].get(leg.column, (0, Fraction(0)))
                found[period][leg.column] = (count + (share > 0), total + share)
    return found
