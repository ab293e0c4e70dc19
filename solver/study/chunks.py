"""Co-located engines that cut prompts into chunks of other sizes than the one that the roofline tries by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from costmodels.constants import Basis
from costmodels.engine import Engine
from costmodels.fit import Fit, Samples, fit_many
from costmodels.formats import Formats, exact, formats
from costmodels.gpus import gpu
from costmodels.memory import GIB, Footprint, footprint
from costmodels.models import model
from costmodels.onesided import DIGITS
from costmodels.operating_curve import CurveQuery, OperatingCurve
from costmodels.partition import Partition
from costmodels.partition_space import partitions
from costmodels.phases import priced, steady
from costmodels.plans import Demand, plan_of
from costmodels.roofline import LARGEST_BATCH, Roofline
from costmodels.steps import reserved_tokens

CHUNKS = (256, 512, 1024, 2048, 4096, 8192)
"""Prompt tokens per mixed step that the study tries; those below the prompt's length."""
SERIES = ("latency_ms", "ttft_ms", "itl_ms")


@dataclass(frozen=True)
class _Draft:
    """An engine, priced at every batch that fits, before its curve is fitted."""

    partition: Partition
    chunk_tokens: int
    memory: Footprint
    samples: Samples


def chunked(query: CurveQuery, basis: Basis, known: Sequence[OperatingCurve]) -> list[OperatingCurve]:
    """
    Co-located engines of every size of :data:`CHUNKS`, priced and fitted as the roofline does its own.

    Parameters
    ----------
    query
        Workload and pool; GPU and model of the catalogue.
    basis
        What the constants were fitted to.
    known
        Engines that are there already: their chunk sizes are left out.

    Returns
    -------
    list
        Curves that interpolate; tokens per step in ``chunk_tokens``.
    """
    there = {curve.chunk_tokens for curve in known if curve.role == "colocated"}
    whole = Demand("colocated", query.lengths, query.options)
    sizes = [size for size in CHUNKS if size < whole.computed and size not in there]
    if query.lengths.osl <= 1:
        return []
    shape, device = model(query.model), gpu(query.gpu)
    used = formats(exact(query.precision.get("colocated"), shape, device))
    memory_gib = Fraction(device.memory_gib) if query.memory_gib is None else query.memory_gib
    drafts: list[_Draft] = []
    for cuts in _alike(partitions(shape, query.pool_gpus)[0]):
        engines = [Engine(shape, device, used, cut, query.domain_gpus, query.backend, basis, None) for cut in cuts]
        for size in sizes:
            demand = Demand("colocated", query.lengths, query.options, size)
            drafts += _priced([(e, demand, m) for e in engines if (m := _memory(e, demand)).largest_batch(memory_gib)],
                              memory_gib)  # fmt: skip
    fits = fit_many([draft.samples for draft in drafts])
    return [_curve(query, used, draft, fit) for draft, fit in zip(drafts, fits, strict=True)]


def _alike(cuts: Iterable[Partition]) -> list[list[Partition]]:
    """Partitions that differ in the number of stages alone: their steps take the same time."""
    groups: dict[tuple[int, int, int, int], list[Partition]] = {}
    for cut in cuts:
        groups.setdefault((cut.tp, cut.attention_dp, cut.moe_tp, cut.moe_ep), []).append(cut)
    return list(groups.values())


def _memory(engine: Engine, demand: Demand) -> Footprint:
    reserved = reserved_tokens(demand.traffic, demand.options, False)
    return footprint(engine.model, engine.formats, engine.partition, reserved, 1, chunk_tokens=demand.chunk_tokens)


def _priced(fitting: list[tuple[Engine, Demand, Footprint]], memory_gib: Fraction) -> list[_Draft]:
    """Engines that differ in the number of stages, at every batch that fits; steps are priced once, for the most."""
    if not fitting:
        return []
    most = [min(LARGEST_BATCH, memory.largest_batch(memory_gib), demand.largest_busy_batch())
            for _, demand, memory in fitting]  # fmt: skip
    engine, demand, _ = fitting[most.index(max(most))]
    (turns,) = priced(engine, [plan_of(engine, demand, np.arange(1.0, max(most) + 1))])
    drafts = []
    for (engine, demand, memory), largest in zip(fitting, most, strict=True):
        state = steady(engine, demand, turns.cut(largest))
        under = tuple(np.asarray(getattr(state, name)) for name in SERIES)
        samples = Samples(np.arange(1, largest + 1), under, (state.requests_per_s,))
        drafts.append(_Draft(engine.partition, demand.chunk_tokens, memory, samples))
    return drafts


def _curve(query: CurveQuery, used: Formats, draft: _Draft, fit: Fit) -> OperatingCurve:
    (latency, ttft, itl), cut = fit.never_under, draft.partition
    return OperatingCurve(
        role="colocated", system=query.gpu, backend=query.backend or "roofline", backend_version=Roofline.version,
        model=query.model, precision=used.precision, partition=cut, domain_gpus=query.domain_gpus,
        chunk_tokens=draft.chunk_tokens, batch=tuple(batch * cut.attention_dp for batch in fit.batch),
        latency_ms=latency, requests_per_s=fit.never_over[0], ttft_ms=ttft,
        memory_gib=tuple(_gib(draft.memory.bytes(batch)) for batch in fit.batch), interpolate=True,
        fit_error=fit.error, itl_ms=itl,
    )  # fmt: skip


def _gib(used_bytes: int) -> Fraction:
    """Bytes in GiB, rounded up to as many digits as the roofline has."""
    unit = 10 ** (DIGITS - len(str(used_bytes // GIB)))
    return Fraction(-(-used_bytes * unit // GIB), unit)
