"""
A roofline of transformer inference: a cost model for any catalogued GPU and model, without measurements.

A step is a sequence of operators; each takes the longer of its arithmetic and its memory traffic, plus a launch;
collectives are added. Shapes are in :mod:`costmodels.models`, peaks in :mod:`costmodels.gpus`, the constants (one set
for everything) in :mod:`costmodels.operators`, the operators of a layer in :mod:`costmodels.layers`, what a role makes
of a step in :mod:`costmodels.phases`.

Idealised, in this version:

* experts are evenly loaded over EP ranks (imbalance 1.0), and tokens choose experts independently;
* compute, memory and communication do not overlap between operators, and fully within one;
* attention-DP ranks are equally full and take their prompts in the same steps;
* a whole prefill batch is one step; prompts are not chunked through pipeline stages (no CPP), no context parallelism;
* all sequences of a step decode at the mean context ISL + OSL/2;
* a pipeline is full and never waits, whole layers per stage, the output head spread evenly;
* co-located serving is a closed loop with evenly spread prompts: no queue, no jitter;
* collectives between domains are hierarchical and use all links of a domain at once;
* host time, sampling, tokenisation, prefix reuse and speculative decoding are left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from costmodels.errors import Fault, InputError
from costmodels.fit import Samples, fit_many
from costmodels.formats import exact, formats
from costmodels.gpus import Gpu, gpu
from costmodels.layers import Engine
from costmodels.memory import GIB, Footprint, footprint
from costmodels.models import Model, model
from costmodels.onesided import DIGITS
from costmodels.operating_curve import ROLES, CurveQuery, CurveSet, OperatingCurve, Role
from costmodels.operators import Array
from costmodels.partition import Partition
from costmodels.partition_space import partitions
from costmodels.phases import Steady, largest_busy_batch, role_turns, steady

LARGEST_BATCH = 1024
"""Largest batch per attention-DP rank of decode and co-located engines."""
LARGEST_PREFILL_TOKENS = 131072
"""Most prompt tokens per attention-DP rank in one prefill batch (one prompt is always allowed)."""
STEP_TOKENS = 8192
"""Co-located engines with whole prompts take as many prompts into a step as fit into this (at least one)."""
CHUNK_TOKENS = 2048
"""Prompt tokens per mixed step of a piggybacking engine; for short prompts, half a prompt in whole powers of two."""
SMALLEST_CHUNK_TOKENS = 128
"""Prompts shorter than two of these are not cut into chunks."""


@dataclass(frozen=True)
class _Draft:
    """An engine and the batches per rank that it may run, before pricing."""

    role: Role
    engine: Engine
    chunk_tokens: int
    footprint: Footprint
    batch: Array


class Roofline:
    """
    The embedded cost model; stateless.

    Attributes
    ----------
    name, version, description
        What it is called and what it does.
    known_error
        How far it is from the built-in measured tables; a test recomputes these numbers.
    """

    name = "roofline"
    version = "1"
    description = "Operator-level roofline over data-sheet peaks with one set of efficiencies for all GPUs and models."
    known_error = (
        "Median absolute error of latency against the built-in tables (operator-derived by aiconfigurator 0.12; the "
        "constants were chosen on them): dense models decode 5 %, prefill 6 %; MoE models inside one NVLink domain "
        "decode 15 %, prefill 15 %; MoE stage groups across domains decode 55 %, prefill 67 %, mostly too fast."
    )

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
        shape, device, precision = self._resolved(query)
        cuts, dropped = partitions(shape, query.pool_gpus)
        memory_gib = Fraction(device.memory_gib) if query.memory_gib is None else query.memory_gib
        drafts: list[_Draft] = []
        for role in ROLES:
            missing = formats(precision[role]).missing(device)
            for cut in cuts:
                engine = Engine(shape, device, formats(precision[role]), cut, query.domain_gpus)
                for chunk_tokens in _chunks(role, query):
                    reason = missing or _draft(drafts, engine, role, chunk_tokens, query, memory_gib)
                    if reason is not None:
                        dropped[reason] += 1
        states = _priced(drafts, query)
        samples = [_samples(draft, state) for draft, state in zip(drafts, states, strict=True)]
        fits = fit_many(samples)
        curves = []
        for draft, one in zip(drafts, fits, strict=True):
            dp = draft.engine.partition.attention_dp
            curves.append(
                OperatingCurve(
                    role=draft.role, system=query.gpu, backend=self.name, backend_version=self.version,
                    model=query.model, precision=precision[draft.role], partition=draft.engine.partition,
                    domain_gpus=query.domain_gpus, chunk_tokens=draft.chunk_tokens,
                    batch=tuple(batch * dp for batch in one.batch),
                    latency_ms=one.never_under[0],
                    requests_per_s=one.never_over[0],
                    ttft_ms=one.never_under[-1] if draft.role != "decode" else (),
                    memory_gib=tuple(_gib(draft.footprint.bytes(batch)) for batch in one.batch),
                    interpolate=True,
                    fit_error=one.error,
                )
            )  # fmt: skip
        return CurveSet(tuple(curves), _plain(dropped), self._notes(query, shape))

    def _resolved(self, query: CurveQuery) -> tuple[Model, Gpu, dict[Role, str]]:
        """Model, GPU and exact precisions of a query."""
        faults: list[Fault] = []
        shape = device = None
        try:
            device = gpu(query.gpu)
        except ValueError as error:
            faults.append(Fault("$.pools[].gpu", f"the roofline knows no such GPU: {error}"))
        try:
            shape = model(query.model)
        except ValueError as error:
            faults.append(Fault("$.workloads[].model", f"the roofline knows no such model: {error}"))
        if query.backend not in (None, self.name):
            text = f"got {query.backend!r}, allowed: {self.name!r}, or none; measured tables price other engines"
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
        return shape, device, precision

    def _notes(self, query: CurveQuery, shape: Model) -> tuple[str, ...]:
        notes = [self.known_error]
        if query.isl + query.osl > shape.max_context:
            tokens = query.isl + query.osl
            notes.append(f"{query.model} is configured for {shape.max_context} tokens, ISL + OSL is {tokens}.")
        return tuple(notes)


def _chunks(role: Role, query: CurveQuery) -> tuple[int, ...]:
    """Prompt tokens per mixed step that are tried; (0,) for prefill and decode. OSL 1 needs neither decode nor both."""
    if role == "prefill":
        return (0,)
    if query.osl < 2:
        return ()
    if role == "decode":
        return (0,)
    whole = query.isl * max(1, STEP_TOKENS // query.isl)
    half = 2 ** max(0, (query.isl // 2).bit_length() - 1)
    part = min(CHUNK_TOKENS, half)
    return (whole, part) if part >= SMALLEST_CHUNK_TOKENS else (whole,)


def _draft(
    drafts: list[_Draft], engine: Engine, role: Role, chunk_tokens: int, query: CurveQuery, memory_gib: Fraction
) -> str | None:
    """Appends an engine with its batches, or says why it has none."""
    reserved = query.isl if role == "prefill" else query.isl + query.osl
    step_tokens = query.isl if role == "prefill" else 1
    memory = footprint(engine.model, engine.formats, engine.partition, reserved, step_tokens, chunk_tokens)
    largest = memory.largest_batch(memory_gib)
    if largest == 0:
        return "memory"
    if role == "prefill":
        largest = min(largest, max(1, LARGEST_PREFILL_TOKENS // query.isl))
    elif role == "decode":
        largest = min(largest, LARGEST_BATCH)
    else:
        largest = min(largest, LARGEST_BATCH, largest_busy_batch(query.isl, query.osl, chunk_tokens))
    drafts.append(_Draft(role, engine, chunk_tokens, memory, np.arange(1.0, largest + 1)))
    return None


def _priced(drafts: list[_Draft], query: CurveQuery) -> list[Steady]:
    """Prices the drafts; steps that engines of different PP share are priced once, at the largest batch of them."""
    shared: dict[tuple[Role, int, Partition], list[_Draft]] = {}
    for draft in drafts:
        stage = replace(draft.engine.partition, pp=1)
        shared.setdefault((draft.role, draft.chunk_tokens, stage), []).append(draft)
    states: dict[int, Steady] = {}
    for (role, chunk_tokens, _), alike in shared.items():
        widest = max(alike, key=lambda draft: len(draft.batch))
        turns = role_turns(widest.engine, role, widest.batch, query.isl, query.osl, chunk_tokens)
        for draft in alike:
            own = turns.cut(len(draft.batch))
            states[id(draft)] = steady(draft.engine, role, own, query.isl, query.osl, chunk_tokens)
    return [states[id(draft)] for draft in drafts]


def _samples(draft: _Draft, state: Steady) -> Samples:
    under = (state.latency_ms,) if state.ttft_ms is None else (state.latency_ms, state.ttft_ms)
    return Samples(draft.batch.astype(np.int64), under, (state.requests_per_s,))


def _gib(used_bytes: int) -> Fraction:
    """Bytes in GiB, rounded up to a decimal of at most nine significant digits."""
    unit = 10 ** (DIGITS - len(str(used_bytes // GIB)))
    return Fraction(-(-used_bytes * unit // GIB), unit)


def _plain(dropped: Counter[str]) -> dict[str, int]:
    return dict(sorted(dropped.items()))
