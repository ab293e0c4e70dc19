"""Reads measured end-to-end rows: what a real server reached with so many requests in flight."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from costmodels.errors import Fault, InputError
from costmodels.partition import Partition
from costmodels.table import text_of

_COMMON = (
    *("backend", "backend_version", "model_path", "system", "precision", "mode", "isl", "osl"),
    *("gemm_quant_mode", "moe_quant_mode"),
)
_DEGREES = ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
_ROLES = ("prefill_", "decode_")
_MEASURED = ("silicon_ttft_ms", "silicon_tpot_ms")

COLUMNS = (
    *_COMMON,
    *("batch_size", *_DEGREES),
    *(f"{role}{name}" for role in _ROLES for name in ("batch_size", "num_workers", *_DEGREES)),
    *_MEASURED,
)
"""Columns that a file of measured rows must have, in any order; others are passed over."""

_LARGEST = 10**9

Mode = Literal["agg", "disagg"]


@dataclass(frozen=True)
class MeasuredEngine:
    """
    The replicas of one role in a measured deployment.

    Parameters
    ----------
    batch_per_rank
        Sequences per attention-DP rank of one replica.
    workers
        Replicas.
    partition
        The partition of one replica; MoE degrees that the row does not give are 1.
    """

    batch_per_rank: int
    workers: int
    partition: Partition

    @property
    def concurrency(self) -> int:
        """Sequences in flight over all replicas: batch per rank x workers x attention DP."""
        return self.batch_per_rank * self.workers * self.partition.attention_dp


@dataclass(frozen=True)
class MeasuredRow:
    """
    One measurement of a whole deployment under closed-loop load.

    Parameters
    ----------
    index
        Number of the row in its file, from 0.
    mode
        ``agg`` (co-located) or ``disagg``.
    backend, backend_version
        Serving engine; the version may be empty.
    model
        Model name.
    system
        GPU type.
    precision
        Label as given, may be empty.
    isl, osl
        Input and output tokens, nominal (real lengths were drawn from about 0.8 to 1.0 of them).
    gemm, moe
        Formats of dense and expert weights, None where not given.
    engines
        ``agg``: one; ``disagg``: prefill, then decode.
    ttft_ms, tpot_ms
        Measured mean time to first token and time per output token in ms.
    note
        How the partition was read where the row counts its GPUs twice (:func:`counted_once`), else empty.
    """

    index: int
    mode: Mode
    backend: str
    backend_version: str
    model: str
    system: str
    precision: str
    isl: int
    osl: int
    gemm: str | None
    moe: str | None
    engines: tuple[MeasuredEngine, ...]
    ttft_ms: float
    tpot_ms: float
    note: str = ""

    @property
    def concurrency(self) -> int:
        """Requests in flight: those of the engine that decodes."""
        return self.engines[-1].concurrency

    @property
    def gpus(self) -> int:
        """GPUs of the deployment."""
        return sum(engine.workers * engine.partition.gpus for engine in self.engines)


def counted_once(backend: str, engine: MeasuredEngine) -> MeasuredEngine:
    """
    An engine whose row counts its GPUs twice, as it ran; any other as it is.

    Some rows of engines on k GPUs with expert parallelism k multiply a degree in twice and so name k x k GPUs:

    * tp = k x k (or attention DP = k x k), moe_tp = moe_ep = k: ran as tp (or attention DP) = k, moe_ep = k;
    * vLLM, tp = attention DP = k, moe_ep = k x k: ran as tp = k, moe_ep = k.

    The carried rows show it: the first kind repeats, to the last digit and at the same concurrency, measurements that
    are also there under the other label (55 of them); the second kind agrees within 1 % (median) with rows of tp = k,
    moe_ep = k. Concurrency is kept.

    Parameters
    ----------
    backend
        Serving engine.
    engine
        The engine as its row names it, attention DP given.
    """
    cut = engine.partition
    tp, dp, moe_tp, ep = cut.tp, cut.attention_dp, cut.moe_tp, cut.moe_ep
    ran: Partition | None = None
    if moe_tp == ep > 1 and tp * dp == ep * ep and 1 in (tp, dp):
        ran = Partition(ep, cut.pp, 1, 1, ep) if dp == 1 else Partition(1, cut.pp, ep, 1, ep)
    elif backend == "vllm" and tp == dp > 1 and moe_tp == 1 and ep == tp * tp:
        ran = Partition(tp, cut.pp, 1, 1, tp)
    if ran is None:
        return engine
    return MeasuredEngine(engine.batch_per_rank * dp // ran.attention_dp, engine.workers, ran)


class _Unusable(Exception):
    """A row cannot be used; the text says why, without the row's own figures, so that equal reasons count up."""


def read_measured(path: Path) -> tuple[list[MeasuredRow], Counter[str]]:
    """
    Reads a file of measured rows.

    A degree of 0 counts as not given. Attention DP that is not given is 1 where tp = moe_tp x moe_ep; else the row is
    skipped, since it does not say how many GPUs it ran on. MoE degrees that are not given are 1.

    Parameters
    ----------
    path
        A ``.csv`` or ``.csv.gz`` file with the columns of :data:`COLUMNS`.

    Returns
    -------
    rows, skipped
        The usable rows in the order of the file, and the number of skipped ones by reason.

    Raises
    ------
    InputError
        When the file cannot be read, holds no rows, or lacks columns (each is named).
    """
    reader = csv.reader(io.StringIO(text_of(path), newline=""))
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        where = f"{path}:{reader.line_num}"
        raise InputError([Fault(where, f"not a table of comma-separated values: {error}")]) from None
    if not lines:
        raise InputError([Fault(str(path), "the file is empty; expected a header line and one row a measurement")])
    header = lines[0]
    if "latency_ms" in header and "mode" not in header:
        raise InputError([Fault(f"{path}:1", "a table of operating curves, not of measured rows; read it as curves")])
    faults = [Fault(f"{path}:1 {name}", "column is missing; add it") for name in COLUMNS if name not in header]
    faults += [Fault(f"{path}:1 {name}", "column given twice; keep one") for name in COLUMNS if header.count(name) > 1]
    if not faults and len(lines) == 1:
        faults = [Fault(str(path), "no rows below the header; expected one row a measurement")]
    if faults:
        raise InputError(faults)
    rows: list[MeasuredRow] = []
    skipped: Counter[str] = Counter()
    for index, cells in enumerate(lines[1:]):
        try:
            if len(cells) != len(header):
                raise _Unusable("number of cells differs from that of the header")
            rows.append(_row(index, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}))
        except _Unusable as reason:
            skipped[str(reason)] += 1
    return rows, skipped


def _row(index: int, cells: Mapping[str, str]) -> MeasuredRow:
    mode = cells["mode"]
    if mode == "agg":
        engines: tuple[MeasuredEngine, ...] = (_engine(cells, ""),)
    elif mode == "disagg":
        engines = tuple(_engine(cells, role) for role in _ROLES)
    else:
        raise _Unusable("mode is neither agg nor disagg")
    for name in ("backend", "model_path", "system"):
        if not cells[name]:
            raise _Unusable(f"{name} is blank")
    note = ""
    if mode == "agg" and _degree(cells, "attention_dp_size"):
        ran = counted_once(cells["backend"], engines[0])
        if ran is not engines[0]:
            note = f"GPUs counted twice: read as {ran.partition.label}, not {engines[0].partition.label}"
        engines = (ran,)
    osl = _count(cells, "osl")
    if osl < 2:
        raise _Unusable("osl is 1: there is no time per output token")
    return MeasuredRow(
        index=index,
        mode=mode,  # type: ignore[arg-type]
        backend=cells["backend"],
        backend_version=cells["backend_version"],
        model=cells["model_path"],
        system=cells["system"],
        precision=cells["precision"],
        isl=_count(cells, "isl"),
        osl=osl,
        gemm=cells["gemm_quant_mode"] or None,
        moe=cells["moe_quant_mode"] or None,
        engines=engines,
        ttft_ms=_milliseconds(cells, "silicon_ttft_ms"),
        tpot_ms=_milliseconds(cells, "silicon_tpot_ms"),
        note=note,
    )


def _engine(cells: Mapping[str, str], role: str) -> MeasuredEngine:
    tp, pp = _count(cells, f"{role}tp_size"), _count(cells, f"{role}pp_size")
    moe_tp, moe_ep = (_degree(cells, f"{role}{name}") or 1 for name in ("moe_tp_size", "moe_ep_size"))
    attention_dp = _degree(cells, f"{role}attention_dp_size")
    if attention_dp is None:
        if tp != moe_tp * moe_ep:
            raise _Unusable(f"{role}attention_dp_size is blank or 0, and tp is not moe_tp x moe_ep")
        attention_dp = 1
    if moe_tp * moe_ep not in (1, tp * attention_dp):
        raise _Unusable(f"{role}moe_tp x moe_ep is neither 1 nor tp x attention_dp")
    return MeasuredEngine(
        batch_per_rank=_count(cells, f"{role}batch_size"),
        workers=_count(cells, f"{role}num_workers") if role else 1,
        partition=Partition(tp, pp, attention_dp, moe_tp, moe_ep),
    )


def _number(cells: Mapping[str, str], name: str) -> float | None:
    """A finite number, None where blank."""
    text = cells[name]
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _Unusable(f"{name} is not a number")
    return value


def _degree(cells: Mapping[str, str], name: str) -> int | None:
    """A degree of parallelism, None where not given (blank or 0)."""
    return _count(cells, name) if _number(cells, name) else None


def _count(cells: Mapping[str, str], name: str) -> int:
    value = _number(cells, name)
    if value is None:
        raise _Unusable(f"{name} is blank")
    if value != int(value) or not 1 <= value <= _LARGEST:
        raise _Unusable(f"{name} is not a whole number of at least 1")
    return int(value)


def _milliseconds(cells: Mapping[str, str], name: str) -> float:
    value = _number(cells, name)
    if value is None:
        raise _Unusable(f"{name} is blank")
    if value <= 0:
        raise _Unusable(f"{name} is not above 0")
    return value
