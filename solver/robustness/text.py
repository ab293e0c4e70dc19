"""What a planner reads of a robust plan."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from solver.deployment import Deployment
from solver.report import UNITS, cost_model_lines, number
from solver.robustness.run import Robust, Strain, strains_of


def lines(found: Robust) -> list[str]:
    """The answer in plain lines."""
    return [*_head(found), "", *_nominal(found), "", *_robust(found), "", *_proof(found)]


def _head(found: Robust) -> Iterator[str]:
    spread = found.spread
    errors = sorted({(role, error) for (_, _, role), error in spread.errors.items()})
    told = ", ".join(f"{role} {_percent(error)}" for role, error in errors)
    yield f"{found.instance.name}: at most {spread.budget} of the engines in use take longer than the cost model says,"
    yield f"by up to {told} ({spread.source})"


def _percent(share: Fraction) -> str:
    return f"{number(100 * share, 4)} %"


def _nominal(found: Robust) -> Iterator[str]:
    unit, plan = UNITS[found.instance.objective], found.nominal.deployment
    if plan is None:
        yield f"nominal plan: {found.nominal.status}"
        return
    yield f"nominal plan: {found.nominal.status} {number(found.nominal.objective)} {unit}"
    yield from _engines(plan, found)
    asked = {w.name: number(w.requests_per_s) for w in found.instance.workloads}
    worst = [
        f"demand of {name} breaks: {number(carried)} of {asked[name]} requests/s"
        for name, carried in found.unmet.items()
    ]
    worst += [
        f"end to end of {name} breaks: {number(ms)} ms above {number(found.instance.workload(name).e2el_ms)} ms"
        for name, ms in found.late.items()
    ]
    yield from (f"  {line}" for line in worst)
    if not found.instance.is_minimised:
        yield f"  in the worst case {number(found.nominal_worst)} {unit}"
    yield f"  it {'survives: every limit and demand holds in every case' if found.survives else 'does not survive'}"


def _engines(plan: Deployment, found: Robust) -> Iterator[str]:
    for strain in strains_of(plan, found.spread):
        a = strain.assignment
        chunk = f" chunk {a.engine.curve.chunk_tokens}" if a.engine.curve.chunk_tokens else ""
        what = f"{a.role} {a.replicas} x {a.engine.curve.partition.label}{chunk} batch {a.batch}"
        whom = f"{a.engine.workload.name}: " if len(found.instance.workloads) > 1 else ""
        where = f" on {a.engine.pool.name}" if len(found.instance.pools) > 1 else ""
        yield f"  {whom}{what}{where}, wrong: {_late(strain)}; loses {number(strain.lost_requests_per_s)} requests/s"


def _late(strain: Strain) -> str:
    parts = []
    for name, (ms, limit) in strain.late.items():
        of = "" if limit is None else f" of {number(limit)}"
        parts.append(f"{name} {number(ms)}{of} ms{' BREAKS' if name in strain.breaks else ''}")
    return ", ".join(parts)


def _robust(found: Robust) -> Iterator[str]:
    unit, best = UNITS[found.instance.objective], found.found
    if best.deployment is None:
        words = {
            "infeasible": "none: proved that no plan holds in every case",
            "unknown": "none found within the limits",
        }
        yield f"robust plan: {words.get(best.verdict, best.verdict)}"
        return
    guaranteed = f"{number(best.value)} {unit}" + ("" if found.instance.is_minimised else " in the worst case")
    yield f"robust plan: {best.verdict} {guaranteed}"
    yield from _engines(best.deployment, found)
    if not found.instance.is_minimised:
        yield f"  where the cost model is right {number(found.robust_nominal)} {unit}"
    if found.price is not None:
        yield f"price of robustness: {_percent(found.price)} of the nominal {number(found.nominal.objective)} {unit}"


def _proof(found: Robust) -> Iterator[str]:
    best = found.found
    if best.verdict in ("optimal", "infeasible"):
        yield "proof: no plan has a better worst case (cp-sat, twice, on a model with a row for every case met)"
    else:
        bound = "" if best.bound is None else f"; no plan has a better worst case than {number(best.bound)}"
        yield f"not proved: a limit or an interrupt came first{bound}"
    if best.deployment is not None:
        yield "checked by enumeration of every set of wrong engines: " + ("; ".join(found.faults[:3]) or "holds in all")
    yield f"run: {found.solves} solves, {found.wall_s:.3f} s"
    yield from cost_model_lines(found.engines)
