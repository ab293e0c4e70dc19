"""Schedules by enumeration: every number of replicas in every period, every switch, on tiny cases. Knows no product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product


@dataclass(frozen=True)
class Engine:
    """One column: role, GPUs, requests/s, cost of a period held, of a start, what a start and a switch lose, min up."""

    role: str
    gpus: int
    rate: Fraction
    holding: Fraction
    starting: Fraction
    start_losses: tuple[Fraction, ...]
    switch_losses: tuple[Fraction, ...]
    min_up: int
    pool: int = 0


@dataclass(frozen=True)
class Case:
    """A tiny problem; ``switches`` are pairs of columns, ``price`` what a missed request/s costs in a period.

    ``least`` has roles with the fewest replicas that serve where the role does.
    """

    engines: tuple[Engine, ...]
    switches: tuple[tuple[int, int], ...]
    gpus: tuple[int, ...]
    demand: tuple[Fraction, ...]
    price: Fraction | None = None
    current: tuple[int, ...] | None = None
    max_changes: int | None = None
    switching: Fraction = Fraction(0)
    least: tuple[tuple[str, int], ...] = ()


State = tuple[tuple[int, ...], tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]]
"""What is held, and for each of the last periods, the latest first, what started and what switched in."""


def served(case: Case, ready: Sequence[Fraction], whole: Sequence[int], demand: Fraction) -> Fraction:
    """The most requests/s: in each pool one engine co-located, or one for each of two roles; ``whole`` count."""
    sums: dict[str, Fraction] = {}
    for role in {engine.role for engine in case.engines}:
        pools = [
            [None, *(j for j, e in enumerate(case.engines) if (e.role, e.pool) == (role, pool))]
            for pool in range(len(case.gpus))
        ]
        for choice in product(*pools):
            used = [j for j in choice if j is not None]
            if sum(whole[j] for j in used) >= dict(case.least).get(role, 0):
                rate = sum((case.engines[j].rate * ready[j] for j in used), Fraction(0))
                sums[role] = max(sums.get(role, Fraction(0)), rate)
    joined = min(sums.get("prefill", Fraction(0)), sums.get("decode", Fraction(0)))
    return min(demand, max(joined, sums.get("colocated", Fraction(0))))


def rows(case: Case) -> list[tuple[int, ...]]:
    """All that fits the GPUs."""
    most = [range(case.gpus[engine.pool] // engine.gpus + 1) for engine in case.engines]
    return [
        n
        for n in product(*most)
        if all(
            sum(c * e.gpus for c, e in zip(n, case.engines) if e.pool == pool) <= gpus
            for pool, gpus in enumerate(case.gpus)
        )
    ]


def moves(case: Case, before: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All numbers of switches of each pair."""
    yield from product(*(range(before[a] + 1) for a, _ in case.switches))


def best(case: Case) -> Fraction | None:
    """The least cost of any schedule; None where none meets the demand."""
    depth = max(max(e.min_up, len(e.start_losses), len(e.switch_losses)) for e in case.engines)
    width = len(case.engines)
    none = ((0,) * width, (0,) * width)
    states: dict[State, Fraction] = {}
    every = rows(case)
    for period, demand in enumerate(case.demand):
        following: dict[State, Fraction] = {}
        if period == 0 and case.current is None:
            origins: list[tuple[State | None, Fraction]] = [(None, Fraction(0))]
        elif period == 0:
            origins = [((case.current, (none,) * depth), Fraction(0))]
        else:
            origins = list(states.items())
        for state, spent in origins:
            for held in every:
                for arrivals, cost in steps(case, state, held):
                    recent = ((arrivals, *state[1]) if state else (none,) * depth)[:depth]
                    value = step_cost(case, held, recent, demand)
                    if value is not None:
                        total = spent + value + cost
                        key = (held, recent)
                        if key not in following or total < following[key]:
                            following[key] = total
        states = following
    return min(states.values(), default=None)


def steps(
    case: Case, state: State | None, held: tuple[int, ...]
) -> Iterator[tuple[tuple[tuple[int, ...], tuple[int, ...]], Fraction]]:
    """The ways from a state to what is held next: arrivals and their cost."""
    width = len(case.engines)
    if state is None:
        yield ((0,) * width, (0,) * width), Fraction(0)
        return
    before, recent = state
    for switched in moves(case, before):
        into, out = [0] * width, [0] * width
        for (a, b), count in zip(case.switches, switched):
            out[a] += count
            into[b] += count
        starts = tuple(max(0, held[j] - before[j] - into[j] + out[j]) for j in range(width))
        stops = [before[j] + into[j] - out[j] + starts[j] - held[j] for j in range(width)]
        changes = sum(starts) + sum(stops) + sum(switched)
        if case.max_changes is not None and changes > case.max_changes:
            continue
        good = True
        for j, engine in enumerate(case.engines):
            young = starts[j] + into[j] + sum(s[j] + x[j] for s, x in recent[: engine.min_up - 1])
            good = good and young <= held[j]
        if good:
            cost = (
                sum((s * e.starting for s, e in zip(starts, case.engines)), Fraction(0))
                + sum(switched) * case.switching
            )
            yield (starts, tuple(into)), cost


def step_cost(
    case: Case, held: tuple[int, ...], recent: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], demand: Fraction
) -> Fraction | None:
    """What a period costs; None where its demand is not met and must be."""
    ready, whole = [], []
    for j, engine in enumerate(case.engines):
        lost = sum(
            (loss * recent[k][0][j] for k, loss in enumerate(engine.start_losses) if k < len(recent)), Fraction(0)
        )
        lost += sum(
            (loss * recent[k][1][j] for k, loss in enumerate(engine.switch_losses) if k < len(recent)), Fraction(0)
        )
        ready.append(held[j] - lost)
        late = sum(recent[k][0][j] for k, loss in enumerate(engine.start_losses) if k < len(recent) and loss == 1)
        late += sum(recent[k][1][j] for k, loss in enumerate(engine.switch_losses) if k < len(recent) and loss == 1)
        whole.append(held[j] - late)
    missed = demand - served(case, ready, whole, demand)
    if missed and case.price is None:
        return None
    cost = sum((n * e.holding for n, e in zip(held, case.engines)), Fraction(0))
    return cost + missed * (case.price or 0)
