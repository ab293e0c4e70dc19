"""
The independent verifier: recomputes every constraint family and the objective of a result, in exact arithmetic.

It knows the instance and the operating curves, and nothing of formulation or back ends. What a result claims is read
(``verify_document``), looked up (``verify_plan``), judged family by family (``verify_families``, ``verify_packing``)
and summed up again (``verify_totals``); here stand the walk and what a status and a frontier promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from solver.engines import EngineSet
from solver.instance import Instance
from solver.verify_document import STATUSES, TOTALS, Fields, read_answer
from solver.verify_families import ALWAYS, WITH_INVENTORY
from solver.verify_numbers import Stated, show
from solver.verify_plan import Plan, looked_up
from solver.verify_totals import objective_of, slowest, totals_of

OBJECTIVES = ("throughput", "throughput_per_gpu", "gpus", "cost")


@dataclass(frozen=True)
class Verification:
    """
    What the verifier found.

    Parameters
    ----------
    faults
        Each names its family, the place and the numbers.
    objective
        The recomputed objective; None without a deployment that could be judged.
    checked
        The families that were checked, in order.
    """

    faults: tuple[str, ...]
    objective: Fraction | None
    checked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


class _Report:
    """Collects faults by family; ``where`` goes before those that name no path of the document."""

    def __init__(self) -> None:
        self.where = ""
        self.faults: list[str] = []
        self.checked: dict[str, None] = {}

    def add(self, family: str, texts: Iterable[str]) -> bool:
        """Notes a family as checked, with what was found; True where that is nothing."""
        found = [f"{family}: {'' if text.startswith('$') else self.where}{text}" for text in texts]
        self.checked[family] = None
        self.faults += found
        return not found

    def verification(self, objective: Fraction | None) -> Verification:
        """What was found so far."""
        return Verification(tuple(self.faults), objective, tuple(self.checked))


def verify(instance: Instance, engines: EngineSet, document: object) -> Verification:
    """
    Checks a result against instance and curves; never raises, whatever the document holds.

    Parameters
    ----------
    instance
        The instance that the result answers.
    engines
        Its engines with their curves.
    document
        The parsed JSON of the result; numbers may be float, Decimal or int, exact values are strings ``num/den``.
    """
    report = _Report()
    faults: list[str] = []
    root = Fields(document, "$", faults)
    status = _head(instance, root)
    if status in ("infeasible", "unknown"):
        claims = [key for key in ("deployment", "totals", "objective") if root.node.get(key) not in (None, {})]
        faults += [f"$.{key}: must be null where the status is {status}" for key in claims]
        root.has("deployment")
        if root.stated("objective").exact is not None:
            faults.append(f"$.exact.objective: must be null where the status is {status}")
        root.stated("bound")
        root.number("gap")
        report.add("document", faults)
        return report.verification(None)
    return report.verification(_verify_solution(instance, engines, root, report, status))


def _head(instance: Instance, root: Fields) -> str:
    """Reads what every result says of itself; returns the status."""
    root.one_of("format", ("disagg-result",))
    if root.integer("version", 1) != 1:
        root.faults.append("$.version: must be 1")
    if root.text("instance") != instance.name and isinstance(root.node.get("instance"), str):
        root.faults.append(f"$.instance: {root.node['instance']} is not {instance.name}")
    if root.one_of("objective_kind", OBJECTIVES) in set(OBJECTIVES) - {instance.objective}:
        root.faults.append(f"$.objective_kind: {root.node['objective_kind']} is not {instance.objective}")
    for key in ("instance_hash", "feasibility", "proof"):
        root.text(key)
    root.child("exact")
    return root.one_of("status", STATUSES)


def _verify_solution(
    instance: Instance, engines: EngineSet, root: Fields, report: _Report, status: str
) -> Fraction | None:
    """Checks a deployment, its totals and the objective, and what the status promises; returns the objective."""
    objective, bound, gap = root.stated("objective"), root.stated("bound"), root.number("gap")
    plan = _verify_plan(instance, engines, root, report)
    if plan is None:
        return None
    report.add("proof", _check_proof(instance, _required(objective), _required(bound), status, gap))
    return objective_of(plan)


def _verify_plan(instance: Instance, engines: EngineSet, root: Fields, report: _Report) -> Plan | None:
    """Checks a deployment, its totals and the objective; returns the plan where it could be read and looked up."""
    is_real = instance.is_unlimited
    answer = read_answer(root.child("deployment"), is_real)
    objective, totals = root.stated("objective"), root.child("totals")
    totals.child("exact")
    stated = {name: totals.stated(name, is_real and name == "gpus_used") for name in TOTALS}
    if not report.add("document", dict.fromkeys(root.faults)):
        return None
    faults: list[str] = []
    plan = looked_up(instance, engines, answer, faults)
    if not report.add("engine", faults):
        return None
    for family, check in ALWAYS if is_real else (*ALWAYS, *WITH_INVENTORY):
        report.add(family, check(plan))
    report.add("objective", _required(objective).faults(objective_of(plan)))
    report.add("totals", _check_totals(plan, stated))
    return plan


def _required(stated: Stated) -> Stated:
    """The same, where an exact value that is absent is a null that must not be."""
    return Stated(stated.where, stated.number, stated.exact)


def _check_totals(plan: Plan, stated: dict[str, Stated]) -> Iterator[str]:
    """Each total is what its definition gives; exact where the document gives it exactly, else to 1e-9."""
    for name, value in totals_of(plan).items():
        yield from stated[name].faults(value)


def _check_proof(
    instance: Instance, objective: Stated, bound: Stated, status: str, gap: Fraction | None
) -> Iterator[str]:
    """
    Optimal needs exact.bound = exact.objective; any bound lies on its side: no plan is better than its bound.

    A gap is null where there is no bound, never negative, and 0 exactly where bound and objective are equal.
    """
    value, limit = objective.exact, bound.exact
    yield from bound.faults(limit)
    if status == "optimal" and (limit is None or limit != value):
        yield f"status optimal needs equal exact values, objective is {show(value)}, bound {show(limit)}"
    if value is not None and limit is not None and value != limit and _is_better(instance, value, limit):
        yield f"objective {show(value)} is better than its bound {show(limit)}"
    if (gap is None) != (limit is None) or (gap is not None and (gap < 0 or (gap == 0) != (limit == value))):
        yield f"$.gap: {show(gap)} stated, objective is {show(value)}, bound {show(limit)}"


def _is_better(instance: Instance, value: Fraction, other: Fraction) -> bool:
    return value < other if instance.is_minimised else value > other


def verify_frontier(instance: Instance, engines: EngineSet, document: object) -> Verification:
    """
    Checks every point of a frontier, and that no point weakly dominates another; never raises.

    Parameters
    ----------
    instance, engines
        As for :func:`verify`.
    document
        The parsed JSON. Keys ``status``, ``bound`` and ``gap`` of a point are optional, checked where ``status`` is
        there. ``limit_ms`` binds every workload, or those that the document lists under ``workloads``.
    """
    report = _Report()
    root = Fields(document, "$", [])
    root.one_of("format", ("disagg-frontier",))
    if root.integer("version", 1) != 1:
        root.faults.append("$.version: must be 1")
    allow_unserved = root.node.get("allow_unserved", False)
    if not isinstance(allow_unserved, bool):
        root.faults.append("$.allow_unserved: must be true or false")
    limited = _limited(instance, root)
    nodes = root.children("points")
    report.add("document", root.faults)
    judged = [(node.where, plan) for node in nodes if (plan := _verify_point(instance, engines, node, limited, report))]
    unserved = [
        f"{where}: workload {served.workload.name} is not served"
        for where, plan in judged
        for served in plan.served
        if not served.used and allow_unserved is not True
    ]
    report.where = ""
    report.add("C8 demand", unserved)
    if root.node.get("requested") is not True:  # answers to a list of interactivities stand in the order of the list
        report.add("frontier", _check_order(instance, judged, limited))
    return report.verification(None)


def _limited(instance: Instance, root: Fields) -> set[str]:
    """The workloads that ``limit_ms`` binds."""
    known = {workload.name for workload in instance.workloads}
    names = root.node.get("workloads")
    if names is None:
        return known
    if not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
        root.faults.append("$.workloads: must be a list of workload names")
        return known
    return set(names)


def _verify_point(
    instance: Instance, engines: EngineSet, node: Fields, limited: set[str], report: _Report
) -> Plan | None:
    """Checks one point of a frontier: a deployment within ``limit_ms``; returns the plan where it could be judged."""
    faults: list[str] = []
    point = Fields(node.node, node.where, faults, is_told=True)
    if not node.is_object:
        return None
    report.where = f"{node.where}: "
    stated = point.stated("limit_ms")
    limit = stated.number if stated.exact is None else stated.exact
    point.child("exact")
    proof = None
    if "status" in point.node:
        status = point.one_of("status", ("optimal", "feasible"))
        proof = _required(point.stated("objective")), _required(point.stated("bound")), status, point.number("gap")
    plan = _verify_plan(instance, engines, point, report)
    if plan is None:
        return None
    if proof is not None:
        report.add("proof", _check_proof(instance, *proof))
    late = [
        f"{used.entry.where}: TPOT {show(used.point.latency_ms)} ms above limit_ms {show(limit)}"
        for served in plan.served
        for used in served.of("decode", "colocated")
        if limit is not None and served.workload.name in limited and used.point.latency_ms > limit
    ]
    report.add("C2 SLA", late)
    return plan


def _check_order(instance: Instance, judged: list[tuple[str, Plan]], limited: set[str]) -> Iterator[str]:
    """
    Along the points x = tokens/s/user runs strictly one way; none is at least as good as another in x and objective.

    The TPOT is the slowest among the workloads of the sweep; a plan without any counts as 0, that is beyond every x.
    """
    rows = [(where, slowest(plan, "tpot", limited) or Fraction(0), objective_of(plan)) for where, plan in judged]
    steps = list(pairwise(rows))
    if any(b[1] <= a[1] for a, b in steps) and any(b[1] >= a[1] for a, b in steps):
        yield "tokens_per_s_per_user must strictly rise, or strictly fall, from point to point"
    best: tuple[str, Fraction, Fraction] | None = None
    for where, tpot, value in sorted(rows, key=lambda row: (row[1], row[0])):
        if value is None:
            continue
        if best is not None and not _is_better(instance, value, best[2]):
            what = f"TPOT {show(best[1])} ms and objective {show(best[2])}"
            yield f"{where}: dominated by {best[0]} with {what}; it has {show(tpot)} ms and {show(value)}"
        else:
            best = (where, tpot, value)
