"""Rows of a table of operating points, priced by ``aiconfigurator-core``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from costmodels.curves import derived_rate
from costmodels.partition import Partition
from costmodels.silicon_config import Ask, NoData, Setup, exact_precision, setup
from costmodels.silicon_package import quiet

BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Batches per attention-DP rank."""
LARGEST_PREFILL_TOKENS = 131072
"""Most prompt tokens per attention-DP rank in one prefill batch (one prompt is always allowed)."""
CHUNK_TOKENS = 2048
"""Prompt tokens per mixed step of a co-located engine that cuts its prompts (piggybacking), where they are longer."""
LITTLE_TOLERANCE = Fraction(1, 5)
"""Co-located rows whose rate is further from Little's law are dropped: no engine can be run so."""


@dataclass(frozen=True)
class Rows:
    """
    What was priced.

    Parameters
    ----------
    rows
        Cells in the order of :data:`costmodels.table.HEADER`.
    dropped
        Reason to the number of partitions or rows.
    """

    rows: tuple[tuple[str, ...], ...]
    dropped: dict[str, int]


@dataclass(frozen=True)
class _Point:
    """One priced batch; decimals as the package prints them."""

    latency_ms: str
    ttft_ms: str
    requests_per_s: str
    memory_gib: str
    fits: bool


def priced(ask: Ask) -> Rows:
    """
    Prices a role: every partition that has data, each batch that fits into memory.

    Parameters
    ----------
    ask
        The role.

    Raises
    ------
    NoData
        When the package has no data, or no such format, for all of it.
    """
    rows: list[tuple[str, ...]] = []
    dropped: Counter[str] = Counter()
    with quiet():
        found = setup(ask)
        for partition in found.partitions():
            for chunk_tokens in _chunks(ask):
                try:
                    rows += _series(found, partition, chunk_tokens, dropped)
                except NoData as error:
                    dropped[str(error)] += 1
    return Rows(tuple(rows), dict(sorted(dropped.items())))


def _chunks(ask: Ask) -> tuple[int, ...]:
    """Prompt tokens per mixed step: whole prompts, and long prompts in chunks; 0 for prefill and decode."""
    if ask.role != "colocated":
        return (0,)
    return (ask.isl, CHUNK_TOKENS) if ask.isl > CHUNK_TOKENS else (ask.isl,)


def _series(found: Setup, partition: Partition, chunk_tokens: int, dropped: Counter[str]) -> list[tuple[str, ...]]:
    """Rows of one partition, up to the first batch that does not fit."""
    rows: list[tuple[str, ...]] = []
    ask = found.ask
    model = _guarded(partial(found.model, partition))
    precision = exact_precision(
        {name: getattr(model.config, f"{name}_quant_mode") for name in ("gemm", "moe", "kvcache", "fmha")}
    )
    for batch, point in _points(found, partition, chunk_tokens, model):
        if not point.fits:
            if batch == BATCHES[0]:
                dropped["memory"] += 1
            break
        if ask.role == "colocated" and _breaks_little(point, batch, partition, ask.osl):
            dropped["rows that break Little's law by more than 20 %"] += 1
            continue
        rows.append(_row(found, partition, precision, chunk_tokens, batch, point))
    return rows


def _row(
    found: Setup, partition: Partition, precision: str, chunk_tokens: int, batch: int, point: _Point
) -> tuple[str, ...]:
    ask, cut = found.ask, partition
    degrees = (cut.tp, cut.pp, cut.attention_dp, cut.moe_tp, cut.moe_ep, cut.cp, cut.gpus, found.domain_gpus)
    return (
        *(ask.system, ask.backend, ask.version, ask.model, precision, ask.role),
        *(str(degree) for degree in degrees),
        str(batch * cut.attention_dp),
        str(chunk_tokens),
        str(ask.isl),
        "" if ask.role == "prefill" else str(ask.osl),
        *(point.latency_ms, point.ttft_ms, point.requests_per_s, point.memory_gib),
    )


def _points(found: Setup, partition: Partition, chunk_tokens: int, model: Any) -> Iterator[tuple[int, _Point]]:
    """Prices batch after batch; ends where the data ends."""
    from aiconfigurator_core.sdk.backends.factory import get_backend

    ask = found.ask
    backend = get_backend(ask.backend)  # one for each partition: it remembers co-located results, but not of whom
    for batch in BATCHES:
        if ask.role == "prefill" and batch > 1 and batch * ask.isl > LARGEST_PREFILL_TOKENS:
            return
        try:
            point = _guarded(partial(_point, found, partition, chunk_tokens, model, backend, batch))
        except NoData:
            if batch == BATCHES[0]:
                raise
            return
        yield batch, point


def _point(found: Setup, partition: Partition, chunk_tokens: int, model: Any, backend: Any, batch: int) -> _Point:
    from aiconfigurator_core.sdk.config import RuntimeConfig

    ask = found.ask
    runtime = RuntimeConfig(isl=ask.isl, osl=ask.osl, batch_size=batch)
    if ask.role == "colocated":
        summary = backend.run_agg(model, found.database, runtime, ctx_tokens=chunk_tokens)
        result = summary.get_result_dict()
        latency, ttft = f"{result['tpot']:.5f}", f"{result['ttft']:.4f}"
        rate = f"{result['seq/s']:.9g}"
    else:
        mode = "static_ctx" if ask.role == "prefill" else "static_gen"
        summary = backend.run_static(model, found.database, runtime, mode)
        if ask.role == "prefill":
            latency = ttft = _thousandths(sum(summary.get_context_latency_dict().values()))
        else:
            steps = ask.osl - 1
            latency, ttft = _thousandths(sum(summary.get_generation_latency_dict().values()) / steps), ""
        over_ranks = batch * partition.attention_dp
        rate = _decimal(derived_rate(ask.role, partition.pp, over_ranks, latency, ask.osl))
    fits = not (summary.check_oom() or summary.check_kv_cache_oom())
    return _Point(latency, ttft, rate, _thousandths(summary.get_memory()["total"]), fits)


def _guarded(price: Callable[[], Any]) -> Any:
    """Calls the package; what it does not have becomes a countable reason, anything else stays an error."""
    from aiconfigurator_core.sdk.errors import MissingSystemFlopsError, PerfDataNotAvailableError
    from aiconfigurator_core.sdk.perf_database import has_perf_data_not_available_cause

    try:
        return price()
    except NoData:
        raise
    except MissingSystemFlopsError:
        raise NoData("number format that the GPU has no units for") from None
    except (ValueError, AssertionError, NotImplementedError):
        raise NoData("cut not offered by the engine for this model") from None
    except Exception as error:
        if not isinstance(error, PerfDataNotAvailableError) and not has_perf_data_not_available_cause(error):
            raise
        raise NoData("no operator data for this cut") from None


def _breaks_little(point: _Point, batch: int, partition: Partition, osl: int) -> bool:
    in_flight = batch * partition.attention_dp * partition.pp
    stay_s = (Fraction(point.ttft_ms) + (osl - 1) * Fraction(point.latency_ms)) / 1000
    return abs(Fraction(point.requests_per_s) * stay_s / in_flight - 1) > LITTLE_TOLERANCE


def _thousandths(value: float) -> str:
    """Three decimals, rounded as the package rounds its own tables."""
    return f"{float(np.round(value, 3)):.3f}"


def _decimal(value: Fraction) -> str:
    """A short exact decimal; rates have nine significant digits."""
    return f"{float(value):.9g}"
