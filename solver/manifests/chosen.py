"""Which deployment is exported: that of a result, or one point of a frontier; read, checked, and named by a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from costmodels.errors import Fault, InputError
from solver.engines import EngineSet
from solver.instance import Instance
from solver.result import instance_hash
from solver.verifier import verify, verify_frontier
from solver.verify_document import Domains, Fields, Service, read_answer
from solver.verify_numbers import exact_of

NAMES = {"max-throughput": 0, "max-interactivity": -1}
"""Names of frontier points: the most tokens/s/GPU, the most tokens/s/user. Points ascend in interactivity."""


@dataclass(frozen=True)
class Chosen:
    """
    One deployment of a file.

    Parameters
    ----------
    services
        What serves each workload, as the file says.
    placement
        Per pool how stage groups stand in NVLink domains.
    totals
        The totals of the file, as parsed.
    rows
        Per workload what the file says of it, as parsed.
    status
        ``optimal`` or ``feasible``.
    instance_hash, plan_hash
        Hash of instance and curves; hash of the deployment with its instance, the same however long the solve took.
    label
        Which point of a frontier was picked, in words and a comma; empty for a result.
    cost_model
        Which cost model, in words.
    """

    services: tuple[Service, ...]
    placement: Mapping[str, tuple[Domains, ...]]
    totals: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    status: str
    instance_hash: str
    plan_hash: str
    label: str
    cost_model: str


def chosen(
    document: object, instance: Instance, engines: EngineSet, point: int | None = None, at: str | None = None
) -> Chosen:
    """
    Checks a result or frontier against its instance and picks the deployment.

    Parameters
    ----------
    document
        The parsed JSON.
    instance, engines
        The instance that it answers, and its engines.
    point
        Number of a frontier point, from 0.
    at
        Interactivity that the point must reach at least, in tokens/s/user, or one of :data:`NAMES`.

    Raises
    ------
    InputError
        When the file is of another kind, answers another instance, is refuted by the verifier, holds no deployment,
        or has no such point.
    """
    document = plan_file(document)
    is_frontier = document["format"] == "disagg-frontier"
    if not is_frontier and (point is not None or at is not None):
        option = "--at" if point is None else "--point"
        raise InputError([Fault(option, "is for a frontier; this is a result, which holds one deployment")])
    _refuse_empty(document, is_frontier, instance)
    actual = instance_hash(instance, engines)
    if document.get("instance_hash") != actual:
        text = f"got {document.get('instance_hash')!r}, but instance {instance.name} with its curves has {actual!r}; "
        raise InputError([Fault("$.instance_hash", text + "give the instance that was solved with --instance")])
    found = (verify_frontier if is_frontier else verify)(instance, engines, document)
    if not found.ok:
        raise InputError([Fault("the verifier", fault) for fault in found.faults])
    part, label = _picked(document["points"], point, at) if is_frontier else (document, "")
    return _chosen(document, part, label, actual)


def plan_file(document: object) -> Mapping[str, Any]:
    """
    The document, if it is a result or a frontier.

    Raises
    ------
    InputError
        When it is neither.
    """
    told = document if isinstance(document, Mapping) else {}
    if told.get("format") not in ("disagg-result", "disagg-frontier") or told.get("version") != 1:
        got = f"format {told.get('format')!r}, version {told.get('version')!r}" if told else "none"
        text = f"got {got}, must be disagg-result (solve -o) or disagg-frontier (frontier -o F.json), version 1"
        raise InputError([Fault("$.format", text)])
    return told


def _refuse_empty(document: Mapping[str, Any], is_frontier: bool, instance: Instance) -> None:
    """A file without any deployment, or with one that cannot be built."""
    if is_frontier:
        if not isinstance(document.get("points"), list) or not document["points"]:
            text = "the frontier has no point to export; `explain` says what is in the way"
            raise InputError([Fault("$.points", text)])
    elif document.get("status") in ("infeasible", "unknown"):
        why = "; ".join(str(reason.get("text", "")) for reason in document.get("infeasibility") or () if reason)
        text = f"is {document['status']}: there is no deployment to export{f' ({why})' if why else ''}"
        raise InputError([Fault("$.status", text)])
    if instance.is_unlimited:
        text = "replicas are real numbers where gpus are unlimited; solve with a number of GPUs, then export"
        raise InputError([Fault("$.deployment", text)])


def _picked(points: Sequence[Mapping[str, Any]], point: int | None, at: str | None) -> tuple[Mapping[str, Any], str]:
    """The point that is meant, and how it is called."""
    last = len(points) - 1
    if point is not None and at is not None:
        raise InputError([Fault("--point", "and --at exclude each other; give one")])
    if point is not None:
        if not 0 <= point <= last:
            raise InputError([Fault("--point", f"got {point}, the frontier has points 0 to {last}")])
        return points[point], f"frontier point {point} of 0 to {last}, "
    if at is None:
        if last:
            low, high = (_shown(points[index]) for index in (0, last))
            text = f"needed: the frontier has {last + 1} points from {low} to {high} tokens/s/user; or give --point"
            raise InputError([Fault("--at", text)])
        return points[0], "frontier point 0 of 0 to 0, "
    index = NAMES[at] % (last + 1) if at in NAMES else _reaching(points, at)
    return points[index], f"frontier point {index} of 0 to {last}, picked by {at}, "


def _reaching(points: Sequence[Mapping[str, Any]], at: str) -> int:
    """The slowest point that is at least as interactive as asked; slower ones have more throughput."""
    try:
        wanted = Fraction(at)
    except (ValueError, ZeroDivisionError):
        names = " or ".join(NAMES)
        raise InputError([Fault("--at", f"got {at!r}, must be tokens/s/user, or {names}")]) from None
    for index, point in enumerate(points):
        reached = _interactivity(point)
        if reached is not None and reached >= wanted:
            return index
    text = f"got {at} tokens/s/user, the fastest point of the frontier reaches {_shown(points[-1])}"
    raise InputError([Fault("--at", text)])


def _interactivity(point: Mapping[str, Any]) -> Fraction | None:
    return exact_of(point["totals"]["exact"]["tokens_per_s_per_user"])


def _shown(point: Mapping[str, Any]) -> str:
    reached = _interactivity(point)
    return "none" if reached is None else f"{float(reached):.6g}"


def _chosen(document: Mapping[str, Any], part: Mapping[str, Any], label: str, actual: str) -> Chosen:
    faults: list[str] = []
    answer = read_answer(Fields(part, "$", faults).child("deployment"), is_real=False)
    if faults:
        raise InputError([Fault("the file", fault) for fault in faults])
    return Chosen(
        services=answer.services,
        placement=answer.placement or {},
        totals=part["totals"],
        rows=tuple(part["deployment"]["workloads"]),
        status=str(part["status"]),
        instance_hash=actual,
        plan_hash=plan_hash(document, part),
        label=label,
        cost_model=_described(document),
    )


def _described(document: Mapping[str, Any]) -> str:
    model = document.get("cost_model")
    return str(model.get("description", "") if isinstance(model, Mapping) else model or "")


def plan_hash(document: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    """
    SHA-256 of what is deployed, 16 hexadecimal digits: instance, its hash, status, objective and deployment.

    Wall times and versions are left out, so that the same plan has the same hash whenever it is found again.
    """
    told = [document["instance"], document["instance_hash"], part["status"], part["exact"], part["deployment"]]
    text = json.dumps(told, sort_keys=True, default=float)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
