"""Lists the operating curves of an instance, with the samples behind them, as text and as a table file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from costmodels.errors import Fault, InputError
from costmodels.operating_curve import ROLES, Role
from costmodels.table import DEGREES, HEADER
from solver.engines import CostModel, Engine, EngineSet, cost_model_of, engines_of, query_of
from solver.read import read_instance
from solver.report import cost_model_lines, number
from solver.result import exact_text

ROLE_NAMES: dict[Role, str] = {"prefill": "prefill", "decode": "decode", "colocated": "co-located"}
LATENCY_NAMES: dict[Role, str] = {"prefill": "TTFT", "decode": "TPOT", "colocated": "TPOT"}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Samples:
    """
    What a curve was fitted to.

    Parameters
    ----------
    batch
        Sampled batches, as in :class:`costmodels.operating_curve.OperatingCurve`.
    latency_ms, requests_per_s
        Latency, and rate of one replica, at those batches.
    """

    batch: Floats
    latency_ms: Floats
    requests_per_s: Floats


@dataclass(frozen=True)
class Curves:
    """
    The operating curves of an instance.

    Parameters
    ----------
    name
        Of the instance.
    model
        The cost model.
    all
        All its engines, and how many were dropped.
    chosen
        The engines that were asked for.
    """

    name: str
    model: CostModel
    all: EngineSet
    chosen: tuple[Engine, ...]

    def samples(self, engine: Engine) -> Samples | None:
        """The samples behind an engine's curve; None where every breakpoint is a row of a table, or none are kept."""
        priced = getattr(self.model, "samples", None)
        if priced is None:
            return None
        batch, latency_ms, requests_per_s = priced(query_of(engine.workload, engine.pool), engine.curve)
        return Samples(*(np.asarray(values, dtype=float) for values in (batch, latency_ms, requests_per_s)))


def curves_of(path: Path, role: Role | None = None, engine: str | None = None) -> Curves:
    """
    The operating curves of an instance, or some of them.

    Parameters
    ----------
    path
        The instance file.
    role
        Only engines of this role.
    engine
        Only engines whose label (:func:`label`) holds each of these words, such as ``tp4 h200`` or ``#12``.

    Raises
    ------
    InputError
        When the instance has faults, or no engine is left; the message lists what there is.
    """
    instance = read_instance(path)
    model = cost_model_of(instance, path.parent)
    found = engines_of(instance, model)
    words = set((engine or "").lower().split())
    of_role = [one for one in found.engines if role in (None, one.curve.role)]
    chosen = tuple(one for one in of_role if words <= set(label(one).lower().split()))
    if not chosen and found.engines:
        there = Counter(one.curve.partition.label for one in of_role or found.engines)
        shown = ", ".join(list(there)[:30]) + (", ..." if len(there) > 30 else "")
        wanted = " ".join(filter(None, (role and f"--role {role}", engine and f"--engine {engine!r}")))
        raise InputError([Fault(wanted, f"no engine fits; the partitions there are: {shown}")])
    return Curves(instance.name, model, found, chosen)


def label(engine: Engine) -> str:
    """An engine's label, such as ``#12 chat decode h200 tp4 ep4``: the number is its place in canonical order."""
    curve = engine.curve
    chunk = f" chunk{curve.chunk_tokens}" if curve.chunk_tokens else ""
    return f"#{engine.index} {engine.workload.name} {curve.role} {engine.pool.name} {curve.partition.label}{chunk}"


def lines(curves: Curves) -> Iterator[str]:
    """The curves as text, one a line."""
    total = len(curves.all.engines)
    which = f"{total:,} operating curves" if len(curves.chosen) == total else f"{len(curves.chosen):,} of {total:,}"
    yield f"{curves.name}: {which}"
    for role in ROLES:
        chosen = [engine for engine in curves.chosen if engine.curve.role == role]
        if chosen:
            yield ""
            yield from _table(role, chosen)
    if curves.chosen:
        yield ""
    yield from cost_model_lines(curves.all)


def _table(role: Role, engines: Sequence[Engine]) -> Iterator[str]:
    latency = f"{LATENCY_NAMES[role]}, ms"
    yield f"{ROLE_NAMES[role]}:"
    names = ("#", "workload", "pool", "partition", "GPUs", "batch", "points", "fit", latency, "requests/s", "by")
    rows: list[tuple[str, ...]] = [names, *map(_cells, engines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = (1, 2, 3, 10)  # names; the others are numbers
    for row in rows:
        cells = (
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _cells(engine: Engine) -> tuple[str, ...]:
    curve = engine.curve
    step = f" step {curve.batch_step}" if curve.interpolate and curve.batch_step > 1 else ""
    batches = f"{curve.batch[0]}-{curve.batch[-1]}{step}" if len(curve.batch) > 1 else f"{curve.batch[0]}"
    return (
        f"{engine.index}",
        engine.workload.name,
        engine.pool.name,
        curve.partition.label + (f" chunk{curve.chunk_tokens}" if curve.chunk_tokens else ""),
        f"{curve.partition.gpus}",
        batches,
        f"{len(curve.batch)}",
        f"{float(curve.fit_error):.2%}" if curve.interpolate else "-",
        _range(curve.latency_ms),
        _range(curve.requests_per_s),
        f"{curve.backend} {curve.precision}",
    )


def _range(values: Sequence[Fraction]) -> str:
    low, high = (number(value, 4) for value in (min(values), max(values)))
    return low if low == high else f"{low} - {high}"


def document(curves: Curves) -> dict[str, Any]:
    """The curves as a document, version 1: breakpoints as floats, and exactly."""
    return {
        "format": "disagg-curves",
        "version": 1,
        "instance": curves.name,
        "cost_model": {"description": curves.all.cost_model, "known_error": curves.all.known_error},
        "dropped": dict(curves.all.dropped),
        "engines": [_engine_dict(engine) for engine in curves.chosen],
    }


def _engine_dict(engine: Engine) -> dict[str, Any]:
    curve = engine.curve
    named = {"latency_ms": curve.latency_ms, "requests_per_s": curve.requests_per_s, "ttft_ms": curve.ttft_ms}
    return {
        "index": engine.index,
        "workload": engine.workload.name,
        "role": curve.role,
        "pool": engine.pool.name,
        "partition": vars(curve.partition),
        "precision": curve.precision,
        "backend": curve.backend,
        "chunk_tokens": curve.chunk_tokens,
        "interpolate": curve.interpolate,
        "fit_error": float(curve.fit_error),
        "batch": list(curve.batch),
        **{name: [float(value) for value in values] for name, values in named.items()},
        "exact": {name: [exact_text(value) for value in values] for name, values in named.items()},
    }


def as_csv(curves: Curves) -> str:
    """
    The breakpoints in the format of tables of operating curves, so that they can be read as one.

    Engines that differ in nothing that the format holds (alike pools, alike workloads) are written once. Lengths that
    are no whole numbers (the mean of a distribution) are rounded.
    """
    rows: dict[tuple[str, ...], None] = {}
    for engine in curves.chosen:
        rows |= dict.fromkeys(_rows(engine))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows)
    return out.getvalue()


def _rows(engine: Engine) -> Iterator[tuple[str, ...]]:
    curve, workload, cut = engine.curve, engine.workload, engine.curve.partition
    isl, osl = str(round(workload.isl)), "" if curve.role == "prefill" else str(round(workload.osl))
    names = (curve.system, curve.backend, curve.backend_version, curve.model, curve.precision, curve.role)
    degrees = (*(getattr(cut, name) for name in DEGREES), cut.gpus, curve.domain_gpus)
    for place, batch in enumerate(curve.batch):
        yield (
            *names,
            *map(str, (*degrees, batch, curve.chunk_tokens, isl, osl)),
            _decimal(curve.latency_ms[place]),
            _decimal(curve.ttft_ms[place]) if curve.role == "colocated" else "",
            _decimal(curve.requests_per_s[place]),
            _decimal(curve.memory_gib[place]) if curve.memory_gib else "",
        )


def _decimal(value: Fraction) -> str:
    """A rational as a decimal: exactly where 15 places hold it, else rounded to them."""
    with localcontext(Context(prec=60)):
        found = Decimal(value.numerator) / Decimal(value.denominator)
        return format(found if Fraction(found) * 10**15 % 1 == 0 else round(found, 15), "f")
