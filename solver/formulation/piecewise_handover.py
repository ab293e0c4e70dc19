"""Latency limits of the ``piecewise`` formulation where TTFT contains the exposed hand-over (C2 with C6)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import pulp

from solver.columns import Limits
from solver.formulation.milp import exact
from solver.formulation.scaling import number as number_of
from solver.formulation.scaling import short_down, short_up
from solver.formulation.unit import Draft, Linear, Way, total
from solver.handover import arrivals, exposed_parts
from solver.instance import Pool

if TYPE_CHECKING:
    from solver.formulation.piecewise import Choice


def c2_handover(draft: Draft, choices: Sequence[Choice], limits: Limits) -> None:
    """
    TTFT and end-to-end limits of prefill engines together with the decode pools in use.

    For each way and each arrival class c of its decode pools, v_c = 1 where one of its decode engines is in use
    (v_c >= z_e). TTFT with the exposed hand-over is the larger of two numbers t_e, t'_e that are linear on each segment
    of a curve, so both are read off the weights:

        t_e <= TTFT limit + M (1 - v_c)          T_c >= t_e          T_c + (OSL - 1) D_c <= E2E + M (1 - v_c)

    with D_c >= latency of each decode engine of the class, and M the largest t_e.
    """
    classes = arrivals(draft.instance)
    for index, way in enumerate(draft.ways):
        if way.mode != "disaggregated":
            continue
        inside = {unit.engine.index for unit in way.units}
        mine = [choice for choice in choices if choice.engine.index in inside]
        for number in sorted({classes[c.engine.pool.name] for c in mine if c.role == "decode"}) or [-1]:
            decode = [c for c in mine if c.role == "decode" and classes[c.engine.pool.name] == number]
            place = f"m{index}" + (f"_a{number}" if number > 0 else "")
            _one_class(draft, way, place, [c for c in mine if c.role == "prefill"], decode, limits)


def _one_class(draft: Draft, way: Way, place: str, prefill: list[Choice], decode: list[Choice], limits: Limits) -> None:
    """The rows for the decode engines of one arrival class; none where nothing is decoded."""
    workload = way.workload
    firsts = [(c, row, high) for c in prefill for row, high in _first_tokens(draft, c, decode)]
    most = exact(short_up(max((high for *_, high in firsts), default=Fraction(0)), 4))
    used: Linear | None = None
    if decode:
        used = pulp.LpVariable(f"v_{place}", 0, 1, pulp.LpInteger)
        for choice in decode:
            draft.add(f"C2_arrival_e{choice.engine.index}_{place}", choice.used <= used)
    given = [limit for limit in (workload.ttft_ms, limits.ttft_ms.get(workload.name)) if limit is not None]
    for number, (choice, row, _) in enumerate(firsts if given else ()):
        draft.add(f"C2_late{number}_e{choice.engine.index}_{place}", _within(row, min(given), most, used))
    if workload.e2el_ms is None:
        return
    first = pulp.LpVariable(f"T_prefill_{place}", 0)
    spent = total([first])
    for number, (choice, row, _) in enumerate(firsts):
        draft.add(f"C2_level{number}_e{choice.engine.index}_{place}", row <= first)
    if decode:
        second = pulp.LpVariable(f"T_decode_{place}", 0)
        spent += short_down(Fraction(workload.osl - 1)) * second
        for choice in decode:
            draft.add(f"C2_level_e{choice.engine.index}_{place}", choice.latency() <= second)
    draft.add(f"C2_e2e_{place}", _within(spent, workload.e2el_ms, most, used))


def _within(row: Linear, limit: Fraction, most: Fraction, used: Linear | None) -> pulp.LpConstraint:
    """A limit that holds where ``used`` is 1, or always where it is None."""
    if used is None:
        return row <= short_up(limit)
    return row + number_of(most) * used <= short_up(limit + most)


def _first_tokens(draft: Draft, choice: Choice, decode: list[Choice]) -> list[tuple[Linear, Fraction]]:
    """TTFT with the exposed hand-over, as one or two numbers whose maximum it is; each with its largest value."""
    to: Pool = decode[0].engine.pool if decode else choice.engine.pool
    rows = []
    for point in choice.curve.breakpoints:
        parts = exposed_parts(draft.instance, choice.engine, point.batch, point.latency_ms, to)
        rows.append([point.ttft_ms + part for part in parts])
    lines = list(zip(*rows, strict=True))
    return [(choice.read_off([short_down(value) for value in line]), max(line)) for line in lines]
