"""Family C6 for the verifier: who may hand over to whom, and whether the stated flows of KV cache can be carried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

from costmodels.operating_curve import Role
from solver.instance import MODE_ROLES
from solver.verify_handover import BYTES, link_gbps
from solver.verify_numbers import show
from solver.verify_plan import Plan, Served

Rates = Mapping[tuple[str, str], Fraction]
"""(Prefill pool, decode pool) to requests/s."""


def check_c6_handover(plan: Plan) -> Iterator[str]:
    """
    Prefill and decode engines of a workload agree in serving backend and KV format; the stated flows of KV cache are
    ones that engines and links can carry, and together all that is joined.

    What GPUs can send and take in stands in the capacities of C1, the exposed time in the TTFT of C2.
    """
    for served in plan.served:
        joints = sorted({used.engine.joint for used in served.of(*MODE_ROLES["disaggregated"])})
        if len(joints) > 1:
            what = ", ".join(f"{backend} with kv {kv or 'unnamed'}" for backend, kv in joints)
            yield f"{served.service.where}: prefill and decode engines must agree, got {what}"
        yield from _check_flows(plan, served)


def _check_flows(plan: Plan, served: Served) -> Iterator[str]:
    """Flows are stated where there is a limited hand-over, and only there; each is positive and between other pools."""
    flows, where = served.service.flows, served.service.where
    if not (plan.instance.limits_handover and served.of("prefill") and served.of("decode")):
        yield from (f"{flow.where}: nothing limits the hand-over, or there is none" for flow in flows)
        return
    unknown = [used.entry.where for used in served.of("prefill", "decode") if used.engine.kv is None]
    if unknown:
        yield from (f"{place}: KV cache of a request not known" for place in unknown)
        return
    names = {pool.name for pool in plan.instance.pools}
    rates = {(flow.start, flow.to): flow.requests_per_s.exact or Fraction(0) for flow in flows}
    if len(rates) != len(flows) or any(rate <= 0 for rate in rates.values()):
        yield f"{where}.kv_flows: each must be positive, and between other pools than the rest"
    for flow in flows:
        yield from flow.requests_per_s.faults(flow.requests_per_s.exact)
        yield from (f"{flow.where}: unknown pool {name}" for name in (flow.start, flow.to) if name not in names)
    yield from _check_carried(plan, served, rates)


def _check_carried(plan: Plan, served: Served, rates: Rates) -> Iterator[str]:
    """Out of a pool, into a pool, over a link no more than each can do; in all what the engines can be joined to."""
    where = f"{served.service.where}.kv_flows"
    size = max(used.engine.kv.bytes_per_request for used in served.of("prefill") if used.engine.kv is not None)
    for a in plan.instance.pools:
        sent = sum((rate for (start, _), rate in rates.items() if start == a.name), Fraction(0))
        taken = sum((rate for (_, to), rate in rates.items() if to == a.name), Fraction(0))
        sides: tuple[tuple[Role, Fraction], ...] = (("prefill", sent), ("decode", taken))
        for role, rate in sides:
            here = replace(served, used=tuple(used for used in served.of(role) if used.pool.name == a.name))
            if rate > plan.capacity(here, role):
                yield f"{where}: {show(rate)} requests/s at {role} of {a.name}, {show(plan.capacity(here, role))} fit"
        for b in plan.instance.pools:
            limit, rate = link_gbps(plan.instance, a, b), rates.get((a.name, b.name), Fraction(0))
            if limit is not None and rate * size > limit * BYTES:
                yield f"{where}: {show(rate * size / BYTES)} GB/s from {a.name} to {b.name}, the link has {show(limit)}"
    if not plan.joined(served):
        yield f"{where}: no prefill engine can hand over to a decode engine"
    total = sum(rates.values(), Fraction(0))
    if total != plan.joined(served):
        yield f"{where}: {show(total)} requests/s in all, {show(plan.joined(served))} are joined"
