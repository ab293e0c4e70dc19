"""What is not right in the times of a trace: repaired where certain, else said."""

from __future__ import annotations

from itertools import pairwise
from math import log

from solver.traffic.times import NS_PER_S
from solver.traffic.when import Times

LEAST_GAP_S = 60
"""Shorter silences are not called gaps."""


def repaired(times: Times, lines: list[int]) -> tuple[list[int], list[str]]:
    """
    The order of arrival, and what there is to say.

    Requests out of order are sorted; equal times stay in the order of the file. A gap is a silence of at least a minute
    that a Poisson stream of the same mean rate would show in less than one of a million traces; it is kept.

    Parameters
    ----------
    times
        Times of the rows.
    lines
        Their lines.
    """
    ns = times.ns
    order = sorted(range(len(ns)), key=ns.__getitem__)
    notes = []
    late = [i for i in range(1, len(ns)) if ns[i] < ns[i - 1]]
    if late:
        most = max(ns[i - 1] - ns[i] for i in late) / NS_PER_S
        where = f"the first in line {lines[late[0]]}, by up to {most:.6g} s"
        notes.append(f"{len(late)} times before that of the line above sorted, {where}")
    steps = [ns[b] - ns[a] for a, b in pairwise(order)]
    equal = [at for at, step in enumerate(steps) if step == 0]
    if equal:
        notes.append(f"{len(equal)} times equal to the one before kept, the first in line {lines[order[equal[0] + 1]]}")
    span = ns[order[-1]] - ns[order[0]]
    if len(steps) > 1:
        least = max(LEAST_GAP_S * NS_PER_S, span / len(steps) * (log(len(steps)) + log(10**6)))
        gaps = [at for at, step in enumerate(steps) if step > least]
        if gaps:
            longest = max(gaps, key=steps.__getitem__)
            where = f"the longest of {steps[longest] / NS_PER_S:.0f} s before line {lines[order[longest + 1]]}"
            notes.append(f"{len(gaps)} gaps without requests kept, {where}")
    return order, notes
