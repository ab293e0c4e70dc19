"""
The ``silicon`` cost model: operating curves from operators that were measured on the GPU.

The measurements, and the sums over a model's operators, are those of the package ``aiconfigurator-core``, which is
installed beside this product (``pip install 'ratematch[silicon]'``) and imported only when something is priced.

Conventions, the same as those of the built-in tables:

* every row is a breakpoint; batches per attention-DP rank as in :data:`costmodels.silicon_rows.BATCHES`, up to the
  first that does not fit into memory; prefill batches up to 131,072 prompt tokens per rank;
* distributed lengths: prefill and decode are interpolated between lengths priced for it, as tables are;
* latencies are raw: no correction, no safety factor; decode is the mean over the output tokens;
* co-located engines take whole prompts into a step, and chunks of 2,048 tokens of longer ones;
* number formats are those of the checkpoint as the serving engine runs it, resolved for each role;
* partitions are those that the serving engine offers and the data covers; pipelines for dense models only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from math import ceil, floor
from pathlib import Path

import numpy as np

from costmodels import silicon_package as package
from costmodels.curves import CurveTables
from costmodels.errors import Fault, InputError
from costmodels.interpolate import contexts_of, prompts_of
from costmodels.operating_curve import ROLES, CurveQuery, CurveSet, Role
from costmodels.options import EngineOptions
from costmodels.silicon_cache import RowCache, default_folder
from costmodels.silicon_config import Ask, NoData, precision_fault
from costmodels.silicon_rows import Rows, priced
from costmodels.table import HEADER, Table

MOST_PROMPTS = 16
"""Prompt lengths at which prefill is priced for distributed lengths."""


class Silicon:
    """
    Measured operators, through ``aiconfigurator-core``.

    Parameters
    ----------
    backend_version
        Version of the serving engine's data; None: the one that the package maintains.
    cache
        Folder for priced rows; None: :func:`costmodels.silicon_cache.default_folder`.

    Attributes
    ----------
    name, version
        What it is called, and the version of the rules above.
    counted
        What is counted where it is dropped: engines without data or memory, rows for other reasons.
    known_error
        How far the package's predictions are from measured end-to-end runs.
    """

    name = "silicon"
    version = "1"
    counted = "engines and rows"
    known_error = (
        "Median absolute error of aiconfigurator 0.12 (raw, same operators) against 2,666 of 2,906 public end-to-end "
        "measurements: TPOT 17 %, TTFT 47 %; disaggregated rows alone: TPOT 14 %, TTFT 87 %. Measured TTFT holds the "
        "queue of a closed loop, predicted TTFT mostly does not."
    )

    def __init__(self, backend_version: str | None = None, cache: Path | None = None) -> None:
        self.backend_version = backend_version
        self._folder = cache

    @property
    def description(self) -> str:
        """One line for the result."""
        asked = f", engine version {self.backend_version}" if self.backend_version else ""
        return f"Measured operators through {package.PACKAGE} {package.package_version()}{asked}."

    def curves(self, query: CurveQuery) -> CurveSet:
        """
        All engines of one workload on one pool for which operators were measured.

        Parameters
        ----------
        query
            Workload and pool.

        Raises
        ------
        InputError
            When the package is missing, or knows no such GPU, model, serving engine, version or precision, or holds
            no data for them together; the message lists what is there.
        """
        cache = RowCache(self._folder or default_folder(), package.package_version(), self.version)
        _refuse_options(query)
        rows: list[tuple[str, ...]] = []
        dropped: Counter[str] = Counter()
        for backend in (query.backend,) if query.backend else package.BACKENDS:
            for role, isl, osl in _priced_at(query):
                found = self._rows(query, Ask(query.gpu, backend, *self._asked(query, role), isl, osl), cache)
                rows += found.rows
                dropped.update(found.dropped)
        if not rows:
            raise InputError([_nothing(query, dropped)])
        columns = {name: [row[i] for row in rows] for i, name in enumerate(HEADER)}
        answer = CurveTables((Table(Path(self.name), columns),)).curves(query)
        dropped.update(answer.dropped)
        notes = [self.known_error, *answer.notes]
        if not query.lengths.is_constant:
            notes.append("Co-located engines are priced for constant lengths only.")
        return CurveSet(answer.curves, dict(sorted(dropped.items())), tuple(notes))

    def inventory(self) -> str:
        """What the package holds, for the message when nothing matches."""
        package.require_package()
        systems = []
        for system, engines in package.versions().items():
            listed = ", ".join(f"{backend} {' '.join(there)}" for backend, there in engines.items())
            systems.append(f"{system} ({listed})")
        return f"{'; '.join(systems)}; models {', '.join(package.bundled_models())}"

    def _asked(self, query: CurveQuery, role: Role) -> tuple[str, str, Role, str | None]:
        return self.backend_version or "current", query.model, role, query.precision.get(role)

    def _rows(self, query: CurveQuery, ask: Ask, cache: RowCache) -> Rows:
        """Rows of one role at one pair of lengths, from the cache or priced."""
        found = cache.load(ask)
        if found is None:
            self._check(query)
            found = _priced(ask)
            cache.save(ask, found)
        return found

    def _check(self, query: CurveQuery) -> None:
        """Refuses what the package does not know; all faults at once."""
        package.require_package()
        faults: list[Fault] = []
        engines = package.versions().get(query.gpu)
        if engines is None:
            text = f"silicon has no measured data for {query.gpu!r}; it has: {', '.join(package.versions())}"
            faults.append(Fault("$.pools[].gpu", text))
        if query.model not in package.bundled_models():
            text = f"silicon knows no model {query.model!r}; it knows: {', '.join(package.bundled_models())}"
            faults.append(Fault("$.workloads[].model", text))
        if query.backend is not None and query.backend not in (engines or package.BACKENDS):
            text = f"silicon has no data of {query.backend!r} for {query.gpu}; it has: "
            faults.append(Fault("$.workloads[].backend", text + ", ".join(engines or package.BACKENDS)))
        elif engines and self.backend_version:
            there = {backend: v for backend, v in engines.items() if query.backend in (None, backend)}
            if not any(self.backend_version in v for v in there.values()):
                listed = "; ".join(f"{backend} {', '.join(v)}" for backend, v in there.items())
                text = f"no data of version {self.backend_version!r} for {query.gpu}; there is: {listed}"
                faults.append(Fault("$.cost_model.backend_version", text))
        for wanted in dict.fromkeys(query.precision.values()):
            wrong = precision_fault(wanted)
            faults += [Fault("$.workloads[].precision", wrong)] if wrong else []
        if faults:
            raise InputError(faults)


def _priced_at(query: CurveQuery) -> list[tuple[Role, int, int]]:
    """
    Role, ISL and OSL of what is priced.

    Distributed lengths: prefill at the prompts of the classes, or at :data:`MOST_PROMPTS` of them spread geometrically
    over their range; decode at whole lengths on both sides of the mean context and of the mean reservation. Between
    these the tables' own interpolation holds.
    """
    lengths = query.lengths
    if lengths.is_constant:
        roles = ROLES if query.osl > 1 else ("prefill",)
        return [(role, query.isl, 1 if role == "prefill" else query.osl) for role in roles]
    prompts = {int(isl) for isl, _ in prompts_of(lengths)}
    if query.options.ttft_percentile is not None:
        prompts.add(lengths.isl_at(query.options.ttft_percentile))
    if len(prompts) > MOST_PROMPTS:
        spread = np.geomspace(min(prompts), max(prompts), MOST_PROMPTS)
        prompts = {min(prompts), max(prompts), *(round(float(isl)) for isl in spread[1:-1])}
    at: list[tuple[Role, int, int]] = [("prefill", isl, 1) for isl in sorted(prompts)]
    if lengths.osl > 1:
        context, reserved = contexts_of(lengths)
        osl = 2 * (reserved - context)
        ends = {(floor(reserved - osl), floor(osl)), (ceil(reserved - osl), ceil(osl))}
        at += [("decode", *end) for end in sorted(ends)]
    return at


def _priced(ask: Ask) -> Rows:
    """Prices an ask whose names are known; what has no data is no row and a count."""
    engines = package.versions()[ask.system]
    current = ask.version == "current"
    version = package.current_version(ask.system, ask.backend) if current and ask.backend in engines else ask.version
    if version not in engines.get(ask.backend, ()):
        return Rows((), {f"no data of {ask.backend}{'' if current else f' {ask.version}'} for {ask.system}": 1})
    try:
        return priced(replace(ask, version=version))
    except NoData as error:
        return Rows((), {f"{ask.backend}: {error}": 1})


def _refuse_options(query: CurveQuery) -> None:
    """Options change what an engine computes; measured operators are not summed for them here."""
    plain = EngineOptions()
    changed = [f.name for f in fields(plain) if getattr(query.options, f.name) != getattr(plain, f.name)]
    changed = [name for name in changed if name != "ttft_percentile"]  # of the lengths; served by interpolation
    if changed:
        text = f"silicon prices engines without {', '.join(changed)}; leave it out, or take kind roofline"
        raise InputError([Fault("$.cost_model.kind", text)])


def _nothing(query: CurveQuery, dropped: Counter[str]) -> Fault:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(dropped.items()))
    engine = f" with {query.backend}" if query.backend else ""
    there = package.passing(query.model)
    listed = "; ".join(f"{system} ({', '.join(backends)})" for system, backends in there.items()) or "no GPU type"
    text = f"silicon can price no engine of {query.model} on {query.gpu}{engine}: {reasons}. It has data on: {listed}"
    return Fault("$.workloads[].model", text)
