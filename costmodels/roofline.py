"""
A roofline of transformer inference: a cost model for any GPU and model, without measurements of the pair.

A step is a sequence of operators; each takes the longer of its arithmetic and its memory traffic, plus its start;
exchanges are added. Shapes are in :mod:`costmodels.models`, peaks in :mod:`costmodels.gpus`, what engines reach of them
in :mod:`costmodels.constants`, the operators of a layer in :mod:`costmodels.layers`, what the traffic puts into a step
in :mod:`costmodels.steps`, what a role makes of its steps in :mod:`costmodels.phases`, memory in
:mod:`costmodels.memory`.

Idealised:

* tokens choose experts independently; ranks differ by a fitted (or stated) popularity of experts alone;
* arithmetic and memory traffic overlap fully within an operator; operators and exchanges follow one another;
* attention-DP ranks are equally full and take their prompts in the same steps;
* sequences of a step decode at the mean context of a generated token;
* a pipeline is full, with whole layers per stage; bubbles are what ``pp_efficiency`` says;
* co-located serving is a closed loop with evenly spread prompts: no queue, no jitter;
* no context parallelism.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np

from costmodels.constants import Basis
from costmodels.decimals import Decimals
from costmodels.engine import Engine
from costmodels.errors import Fault, InputError
from costmodels.fit import Fit, Samples, fit_many
from costmodels.formats import Formats, exact, formats
from costmodels.gpus import Gpu, gpu
from costmodels.known_errors import known_error, unseen_errors
from costmodels.memory import GIB, Footprint, footprint
from costmodels.models import Model, model
from costmodels.onesided import DIGITS, POWERS, Rounded
from costmodels.operating_curve import ROLES, CurveQuery, CurveSet, OperatingCurve, Role
from costmodels.operators import Array
from costmodels.partition import Partition
from costmodels.partition_space import partitions
from costmodels.phases import Steady, steadies, steady, turns_of
from costmodels.plans import Demand, plan_of
from costmodels.together import Stage, priced_together

SERVING = ("trtllm", "sglang", "vllm")
"""Serving engines with constants of their own."""
LARGEST_BATCH = 1024
"""Largest batch per attention-DP rank; prefill reaches it with prompts shorter than 128 tokens only."""
LARGEST_PREFILL_TOKENS = 131072
"""Most prompt tokens per attention-DP rank in one prefill batch (one prompt is always allowed)."""
STEP_TOKENS = 8192
"""Co-located engines with whole prompts take as many prompts into a step as fit into this (at least one)."""
CHUNK_TOKENS = 2048
"""Prompt tokens per mixed step of a piggybacking engine; for short prompts, half a prompt in whole powers of two."""
SMALLEST_CHUNK_TOKENS = 128
"""Prompts shorter than two of these are not cut into chunks."""
SMALLEST_STAGE_TOKENS = 512
"""Chunks that flow through pipeline stages are not smaller."""
SERIES: dict[Role, tuple[str, ...]] = {
    "prefill": ("latency_ms",), "decode": ("latency_ms", "itl_ms"), "colocated": ("latency_ms", "ttft_ms", "itl_ms"),
}  # fmt: skip
"""What a curve states that must never be under its samples, besides the rate that must never be over."""


_Wanted = tuple[Role, int]
"""Role and chunk of a demand: of one query the rest is the same."""


@dataclass(frozen=True)
class _Draft:
    """An engine and the largest batch per rank that it may run, before pricing."""

    engine: Engine
    demand: Demand
    footprint: Footprint
    largest: int


@dataclass(frozen=True)
class _Asked:
    """A query with what its names stand for."""

    query: CurveQuery
    shape: Model
    device: Gpu
    precision: dict[Role, str]


class Roofline:
    """
    The embedded cost model; stateless.

    Parameters
    ----------
    basis
        ``served``: as whole servers were measured. ``operators``: as operators were measured, without host work between
        steps, like the built-in tables. ``ideal``: the data sheet, everything at its peak.

    Attributes
    ----------
    name, version, description
        What it is called and what it does.
    known_error
        Where its error is stated.
    """

    name = "roofline"
    version = "2"
    known_error = (
        "Notes state the error of the nearest group of measurements; `python -m solver accuracy` prints them all."
    )

    def __init__(self, basis: Basis = "served") -> None:
        self.basis: Basis = basis

    @property
    def description(self) -> str:
        """One line for the result."""
        told = {
            "served": "constants fitted to measured servers",
            "operators": "constants fitted to measured operators, without host work",
            "ideal": "everything at its data-sheet peak, uncalibrated",
        }
        return f"Operator-level roofline over data-sheet figures, {told[self.basis]}."

    def curves(self, query: CurveQuery) -> CurveSet:
        """
        All engines of one workload on one pool, every admissible batch priced and fitted one-sidedly.

        Parameters
        ----------
        query
            Workload and pool.

        Raises
        ------
        InputError
            When GPU, model, serving engine or a precision is unknown; every such fault is in it.
        """
        asked = _resolved(query)
        drafts, dropped = self._drafts(asked)
        states = _priced(drafts)
        fits = fit_many(_samples(drafts, states))
        curves = []
        for draft, fit, memory_gib in zip(drafts, fits, _memory_gib(drafts, fits), strict=True):
            role, cut = draft.demand.role, draft.engine.partition
            values = dict(zip(_series(draft), fit.never_under, strict=True))
            curves.append(
                OperatingCurve(
                    role=role, system=query.gpu, backend=query.backend or self.name, backend_version=self.version,
                    model=query.model, precision=asked.precision[role], partition=cut, domain_gpus=query.domain_gpus,
                    chunk_tokens=draft.demand.chunk_tokens,
                    batch=tuple([batch * cut.attention_dp for batch in fit.batch]),
                    latency_ms=values["latency_ms"],
                    requests_per_s=fit.never_over[0],
                    ttft_ms=values["latency_ms"] if role == "prefill" else values.get("ttft_ms", ()),
                    memory_gib=memory_gib,
                    interpolate=True,
                    fit_error=fit.error,
                    itl_ms=values.get("itl_ms", values["latency_ms"] if role == "decode" else ()),
                )
            )  # fmt: skip
        return CurveSet(tuple(curves), dict(sorted(dropped.items())), self._notes(asked))

    def states(self, query: CurveQuery) -> list[Steady]:
        """
        Every design point of a query, engine by engine, without the fit into curves.

        Parameters
        ----------
        query
            Workload and pool.

        Raises
        ------
        InputError
            As :meth:`curves`.
        """
        return _priced(self._drafts(_resolved(query))[0])

    def samples(self, query: CurveQuery, curve: OperatingCurve) -> tuple[Array, Array, Array]:
        """
        What a curve was fitted to.

        Parameters
        ----------
        query, curve
            The query, and one of the curves that it gave.

        Returns
        -------
        tuple
            Batches over all attention-DP ranks, latencies in ms, requests per second of a replica.
        """
        asked = _resolved(query)
        engine = self._engine(asked, formats(asked.precision[curve.role]), curve.partition)
        demand = Demand(curve.role, query.lengths, query.options, curve.chunk_tokens)
        batch = np.arange(1.0, curve.batch[-1] // curve.batch_step + 1)
        state = steady(engine, demand, turns_of(engine, demand, batch))
        return batch * curve.batch_step, state.latency_ms, state.requests_per_s

    def _engine(self, asked: _Asked, used: Formats, cut: Partition) -> Engine:
        query, uneven = asked.query, asked.query.options.expert_imbalance
        imbalance = None if uneven is None else float(uneven)
        return Engine(asked.shape, asked.device, used, cut, query.domain_gpus, query.backend, self.basis, imbalance)

    def _drafts(self, asked: _Asked) -> tuple[list[_Draft], Counter[str]]:
        """The engines to price, and why others are not."""
        query = asked.query
        cuts, dropped = partitions(asked.shape, query.pool_gpus)
        memory_gib = Fraction(asked.device.memory_gib) if query.memory_gib is None else query.memory_gib
        drafts: list[_Draft] = []
        for role in ROLES:
            used = formats(asked.precision[role])
            missing = used.missing(asked.device)
            demands = {pp: _demands(role, query, pp) for pp in {cut.pp for cut in cuts}}
            for cut in cuts:
                engine = self._engine(asked, used, cut)
                for demand in demands[cut.pp]:
                    reason = missing or _draft(drafts, engine, demand, memory_gib)
                    if reason is not None:
                        dropped[reason] += 1
        return drafts, dropped

    def _notes(self, asked: _Asked) -> tuple[str, ...]:
        """The error that applies to each role, and what a planner should know of the lengths."""
        query, gpu_name = asked.query, asked.device.calibrated_as or asked.device.name
        if self.basis == "ideal":
            notes = ["Uncalibrated: real engines reach 30 to 80 % of these rates."]
        else:
            texts = {role: known_error(query.model, gpu_name, query.backend, role) for role in ROLES}
            notes = [f"error of {role}: {text}" for role, text in texts.items()]
            notes += [f"the fit has seen these rows; {told}"] if (told := unseen_errors()) else []
        longest = max(isl + osl for isl, osl, _ in query.lengths.classes)
        if longest > asked.shape.max_context:
            allowed = asked.shape.max_context
            notes.append(f"{query.model} is configured for {allowed} tokens, ISL + OSL reaches {longest}.")
        return tuple(notes)


def _resolved(query: CurveQuery) -> _Asked:
    """Model, GPU and exact precisions of a query."""
    faults: list[Fault] = []
    shape, device = query.shape, query.device
    try:
        device = device or gpu(query.gpu)
    except ValueError as error:
        faults.append(Fault("$.pools[].gpu", f"the roofline knows no such GPU: {error}"))
    try:
        shape = shape or model(query.model)
    except ValueError as error:
        faults.append(Fault("$.workloads[].model", f"the roofline knows no such model: {error}"))
    if query.backend not in (None, *SERVING):
        text = f"got {query.backend!r}, allowed: {', '.join(SERVING)}, or none for a mean engine"
        faults.append(Fault("$.workloads[].backend", text))
    if shape is None or device is None:
        raise InputError(faults)
    precision: dict[Role, str] = {}
    for role in ROLES:
        try:
            precision[role] = exact(query.precision.get(role), shape, device)
        except ValueError as error:
            fault = Fault("$.workloads[].precision", str(error))
            faults += [] if fault in faults else [fault]
    if faults:
        raise InputError(faults)
    return _Asked(query, shape, device, precision)


def _demands(role: Role, query: CurveQuery, pp: int) -> list[Demand]:
    """What is tried of a pipeline: whole prompts, and chunks. OSL 1 needs neither decode nor co-located engines."""
    traffic, options = query.lengths, query.options
    if role != "prefill" and traffic.osl <= 1:
        return []
    plain = Demand(role, traffic, options)
    if role == "decode":
        return [plain]
    computed = plain.computed
    if role == "prefill":
        return [plain, *(replace(plain, chunk_tokens=chunk) for chunk in _stage_chunks(computed, pp))]
    whole = int(computed * max(1, STEP_TOKENS // computed)) + 1
    half = 2 ** max(0, int(computed // 2).bit_length() - 1)
    part = min(CHUNK_TOKENS, half)
    return [
        replace(plain, chunk_tokens=size) for size in (whole, part) if size == whole or part >= SMALLEST_CHUNK_TOKENS
    ]


def _stage_chunks(tokens: float, pp: int) -> list[int]:
    """Chunks tried in a pipeline: about one a stage, a quarter and a sixteenth of that, so that stages fill sooner."""
    if pp == 1:
        return []
    widest = 2 ** max(0, int(tokens // pp).bit_length() - 1)
    return [chunk for chunk in (widest, widest // 4, widest // 16) if SMALLEST_STAGE_TOKENS <= chunk < tokens]


def _draft(drafts: list[_Draft], engine: Engine, demand: Demand, memory_gib: Fraction) -> str | None:
    """Appends an engine with its batches, or says why it has none."""
    prefill, draft_tokens = demand.role == "prefill", demand.options.draft_tokens
    computed = ceil(demand.computed)
    step_tokens = min(computed, demand.chunk_tokens or computed) if prefill else 1 + draft_tokens
    memory = footprint(
        engine.model, engine.formats, engine.partition, demand.reserved, step_tokens,
        chunk_tokens=0 if prefill else demand.chunk_tokens, steps=int(demand.steps) if prefill else 1,
        drafting=draft_tokens > 0,
    )  # fmt: skip
    largest = min(LARGEST_BATCH, memory.largest_batch(memory_gib))
    if largest == 0:
        return "memory"
    if prefill:
        largest = min(largest, max(1, int(LARGEST_PREFILL_TOKENS // demand.computed)))
    elif demand.role == "colocated":
        largest = min(largest, demand.largest_busy_batch())
    drafts.append(_Draft(engine, demand, memory, largest))
    return None


def _priced(drafts: list[_Draft]) -> list[Steady]:
    """
    Prices the drafts.

    What a step holds depends on the demand alone, so it is made once, for the largest batch of all. Steps that engines
    of different PP share are priced once, at the largest batch of those.
    """
    wanted: dict[_Wanted, _Draft] = {}
    stages: dict[tuple[str, int, int, int, int], dict[_Wanted, list[_Draft]]] = {}
    for draft in drafts:
        cut, demand = draft.engine.partition, draft.demand
        stage = (draft.engine.formats.precision, cut.tp, cut.attention_dp, cut.moe_tp, cut.moe_ep)
        kind = (demand.role, demand.chunk_tokens)
        stages.setdefault(stage, {}).setdefault(kind, []).append(draft)
        if kind not in wanted or draft.largest > wanted[kind].largest:
            wanted[kind] = draft
    plans = {
        kind: plan_of(draft.engine, draft.demand, np.arange(1.0, draft.largest + 1)) for kind, draft in wanted.items()
    }
    wide = [
        Stage(
            next(iter(shared.values()))[0].engine,
            [plans[kind] for kind in shared],
            [max(draft.largest for draft in alike) for alike in shared.values()],
        )
        for shared in stages.values()
    ]
    states: dict[int, Steady] = {}
    for shared, turns in zip(stages.values(), priced_together(wide), strict=True):
        for alike, one in zip(shared.values(), turns, strict=True):
            engines, counts = [draft.engine for draft in alike], [draft.largest for draft in alike]
            for draft, state in zip(alike, steadies(engines, alike[0].demand, one, counts), strict=True):
                states[id(draft)] = state
    return [states[id(draft)] for draft in drafts]


def _series(draft: _Draft) -> tuple[str, ...]:
    """The series to fit; where every decode step yields one token, its length is the latency, and is fitted once."""
    role = draft.demand.role
    return SERIES[role][:1] if role == "decode" and draft.demand.options.accepted_tokens == 1 else SERIES[role]


def _samples(drafts: list[_Draft], states: list[Steady]) -> list[Samples]:
    """What is fitted."""
    batch = np.arange(1, max((draft.largest for draft in drafts), default=0) + 1)
    found = []
    for draft, state in zip(drafts, states, strict=True):
        under = tuple([np.asarray(getattr(state, name)) for name in _series(draft)])
        found.append(Samples(batch[: draft.largest], under, (state.requests_per_s,)))
    return found


def _memory_gib(drafts: list[_Draft], fits: list[Fit]) -> list[Decimals]:
    """
    Memory at the breakpoints in GiB, rounded up to decimals of at most nine significant digits.

    In integers below 2^63: nine digits times the bytes of a GiB.
    """
    if not drafts:
        return []
    counts = np.array([len(fit.batch) for fit in fits])
    batch = np.array([batch for fit in fits for batch in fit.batch])
    fixed = np.array([draft.footprint.fixed_bytes for draft in drafts])
    more = np.array([draft.footprint.sequence_bytes for draft in drafts])
    used = np.repeat(fixed, counts) + np.repeat(more, counts) * batch
    places = DIGITS - np.maximum(1, np.searchsorted(POWERS, used // GIB, side="right"))
    common = np.maximum.reduceat(places, np.cumsum(counts) - counts)
    number = -(-used * POWERS[places] // GIB) * POWERS[np.repeat(common, counts) - places]
    return Rounded(number, common).decimals(counts)
