"""The uncertainty set: the error of each engine, and how many of the engines in use may be wrong at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from costmodels.errors import Fault, InputError
from costmodels.known_errors import largest_error
from costmodels.operating_curve import ROLES, Role
from solver.engines import Engine
from solver.instance import Instance
from solver.points import Integers, PointTable
from solver.survival.run import refuse_survive

Key = tuple[str, str, Role]


@dataclass(frozen=True)
class Spread:
    """
    An uncertainty set.

    Parameters
    ----------
    errors
        (workload, pool, role) to the relative error of its engines: what they may take longer, as a share.
    budget
        How many engines in use may be wrong at once.
    source
        Where the errors come from, in words.
    """

    errors: Mapping[Key, Fraction]
    budget: int
    source: str

    def error(self, engine: Engine) -> Fraction:
        """The error of an engine; 0 where none may be wrong."""
        return self.errors[engine.workload.name, engine.pool.name, engine.curve.role] if self.budget else Fraction(0)

    def lost(self, engine: Engine) -> Fraction:
        """The share of its rate that an engine loses when it is wrong: error / (1 + error)."""
        error = self.error(engine)
        return error / (1 + error)

    def slowed(self, table: PointTable) -> PointTable:
        """
        The points with the latencies of engines that are wrong.

        A limit on TTFT or TPOT is broken by one engine alone, so with a budget of one or more each has to hold with its
        own error. End-to-end limits see one prefill and one decode engine: with a budget of two both may be wrong.
        """
        factors = [1 + self.error(engine) for engine in table.engines]
        whole = int(np.lcm.reduce([factor.denominator for factor in factors])) if factors else 1
        each = np.array([int(factor * whole) for factor in factors], dtype=object)
        by_point = each[table.engine] if len(table) else np.zeros(0, dtype=object)

        def slow(values: Integers) -> Integers:
            found: Integers = values.astype(object) * by_point
            return found.astype(np.int64) if not len(found) or max(map(int, found)) < 2**62 else found

        late = tuple(slow(values) for values in table.late)
        return replace(table, latency=slow(table.latency), ttft=late[0], late=late, time_scale=table.time_scale * whole)


def spread_of(instance: Instance, budget: int, error: Fraction | None, by_role: Mapping[Role, Fraction]) -> Spread:
    """
    The uncertainty set that is asked for.

    Parameters
    ----------
    instance
        The instance.
    budget
        How many engines may be wrong at once.
    error
        The error of every role; None for what is known of the cost model.
    by_role
        Errors of single roles.

    Raises
    ------
    InputError
        When no error is given and none is known, or the instance has what the robust plan does not cover.
    """
    refuse_survive(instance, "robust")
    faults = _uncovered(instance, budget)
    errors: dict[Key, Fraction] = {}
    unknown: dict[str, None] = {}
    for workload in instance.workloads:
        for pool in instance.pools:
            for role in ROLES:
                given = by_role.get(role, error)
                if given is None:
                    device = (pool.device.calibrated_as if pool.device else None) or pool.gpu
                    known = instance.cost_model.kind == "roofline" and instance.cost_model.basis == "served"
                    given = largest_error(workload.model, device, workload.backend, role) if known else None
                if given is None:
                    unknown[role] = None
                errors[workload.name, pool.name, role] = Fraction(0) if given is None else given
    if unknown:
        text = f"nothing is recorded of the error of cost model {instance.cost_model.kind} as a number; say --error P%"
        faults.append(Fault("--error", f"{text} ({', '.join(unknown)})"))
    if faults:
        raise InputError(faults)
    given_words = "given" if error is not None or by_role else "the largest recorded median of each role"
    return Spread(errors, budget, given_words)


def _uncovered(instance: Instance, budget: int) -> list[Fault]:
    """What the robust counterpart does not cover, so that it is refused and not answered wrongly."""
    faults = []
    if instance.is_unlimited:
        faults.append(Fault("$.pools[0].gpus", 'is "unlimited"; robust needs a number of GPUs'))
    if instance.limits_handover:
        faults.append(Fault("$.pools", "kv_gbps and kv_links are not covered by robust; leave them out"))
    if instance.serving.decode_covers:
        faults.append(Fault("$.serving.rate_match", "decode_covers is not covered by robust; use min"))
    for index, workload in enumerate(instance.workloads):
        if workload.itl_ms is not None:
            faults.append(Fault(f"$.workloads[{index}].sla.itl_ms", "is not covered by robust; leave it out"))
        if workload.e2el_ms is not None and budget == 1 and "disaggregated" in instance.serving.modes:
            text = "an end-to-end limit joins two engines: --budget must be 0, or 2 or more"
            faults.append(Fault(f"$.workloads[{index}].sla.e2el_ms", text))
    return faults
