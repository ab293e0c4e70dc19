"""
What a whole server reaches with a fixed number of requests in flight: for comparison with measurements.

A benchmark keeps N requests in flight: one that ends is replaced at once. TTFT then contains the queueing of that loop,
so this model serves accuracy only; planning states the bare service time and takes headroom from ``utilization``.

Co-located: a sequence decodes while the prompts of the others are taken in between, ``tpot = step + (n - 1) * prompt /
osl``. Of more sequences than the KV cache holds the rest waits. Disaggregated: as many sequences decode as the prefill
workers keep supplied, ``x = min(prefill rate, n / (ttft + osl * tpot))``; what is left over queues for prefill.

TTFT is a sum of physical terms with fitted nonnegative weights (:data:`TERMS`), one set a serving engine and GPU; TPOT
has a fitted factor a version of the serving engine (``costmodels/data/closed_loop.csv``). The factors of models that
can draft tokens are kept apart: some measurements used multi-token prediction without saying so.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil
from pathlib import Path

import numpy as np

from costmodels.constants import ANY
from costmodels.engine import Engine
from costmodels.formats import Formats, exact, formats
from costmodels.gpus import GPUS, Gpu
from costmodels.layers import Step, step_time
from costmodels.measured import MeasuredEngine, MeasuredRow
from costmodels.memory import footprint
from costmodels.models import Model, model
from costmodels.operators import Array
from costmodels.partition import Partition
from costmodels.partition_space import fault
from costmodels.steps import pairs, reach

FILE = Path(__file__).parent / "data" / "closed_loop.csv"
MEAN_LENGTH = 0.9
"""Lengths of the benchmarks were drawn from 0.8 to 1.0 of the nominal ones."""
STEP_TOKENS = 8192
"""Prompt tokens that one step takes in when prompts queue."""
TERMS = ("host", "prompt", "step", "burst", "requests", "slot", "queue", "rush")
"""
Terms of TTFT: a constant, the prompt's own prefill, a decode step to wait for, the start of the benchmark (all prompts
at once, a tenth of the requests), a share per request in flight, a slot to become free, queueing behind other prompts
at their utilisation, and prompts that come in bunches (the square root of the batch).
"""
_FULLEST = 0.95
"""Utilisation at which queueing is capped: the loop is closed."""


@dataclass(frozen=True)
class Prediction:
    """
    Predicted means of one row.

    Parameters
    ----------
    ttft_ms, tpot_ms
        Time to first token and time per output token in ms.
    """

    ttft_ms: float
    tpot_ms: float


@dataclass(frozen=True)
class Loop:
    """
    A row, counted: what prices it, and what is in flight.

    Parameters
    ----------
    row
        The row.
    decode, prefill
        Engines; the same one where co-located.
    steps
        Steps to price: the decode step, one prompt, a step full of prompts, and a lone decode.
    prompts
        Prompts in the last of these.
    resident
        Sequences per rank that the KV cache holds, of those in flight.
    """

    row: MeasuredRow
    decode: Engine
    prefill: Engine
    steps: tuple[Step, Step, Step, Step]
    prompts: float
    resident: float

    @property
    def osl(self) -> float:
        """Mean output tokens."""
        return self.row.osl * MEAN_LENGTH

    @property
    def version(self) -> tuple[str, str, str]:
        """What a factor of TPOT belongs to: serving engine, version, and whether the model can draft tokens."""
        drafts = "drafts" if self.decode.model.mtp_layers else "plain"
        return (self.row.backend, self.row.backend_version, drafts)


def loop_of(row: MeasuredRow) -> Loop | str:
    """Counts a row, or says why it cannot be modelled."""
    gpu = GPUS.get(row.system)
    if gpu is None:
        return f"unknown GPU {row.system}"
    try:
        shape = model(row.model)
        used = _formats(row, shape, gpu)
    except ValueError:
        return f"unknown model or format: {row.model}"
    engines = []
    for one in row.engines:
        cut = (
            one.partition if shape.is_moe else Partition(one.partition.tp, one.partition.pp, one.partition.attention_dp)
        )
        reason = used.missing(gpu) or fault(shape, cut)
        if reason is not None:
            return reason
        engines.append(Engine(shape, gpu, used, cut, gpu.nvlink_domain_gpus, row.backend))
    prefill, decode = engines[0], engines[-1]
    isl, osl = row.isl * MEAN_LENGTH, row.osl * MEAN_LENGTH
    batch = float(max(1, row.engines[-1].batch_per_rank))
    resident = min(batch, _resident(decode, isl + osl / 2))
    if resident < 1:
        return "memory"
    prompts = max(1.0, STEP_TOKENS / isl)
    if row.mode == "disagg":
        prompts = float(max(1, row.engines[0].batch_per_rank))
    context = isl + osl / 2
    full, lone = _prompts(prefill, prompts, isl), _decoding(1.0, context)
    steps = (_decoding(resident, context), _prompts(prefill, 1.0, isl), full, lone)
    return Loop(row, decode, prefill, steps, prompts, resident)


def _formats(row: MeasuredRow, shape: Model, gpu: Gpu) -> Formats:
    """
    The formats that a row ran in; what it does not say is as its precision label, else as the checkpoint.

    KV caches are taken as FP8 where weights are narrower than bfloat16. Labels of models with MXFP4 experts are passed
    over: they ran as published, multiplied in whatever the GPU has.
    """
    if shape.precision == "mxfp4":
        return formats(exact("mxfp4", shape, gpu))
    label = {"fp4": "nvfp4", "": None}.get(row.precision, row.precision)
    if row.gemm is None and row.moe is None:
        return formats(exact(label, shape, gpu))
    gemm = "bfloat16" if row.gemm in (None, "int4_wo", "int4") else row.gemm
    moe = row.moe or gemm
    kv = "bfloat16" if gemm == "bfloat16" else "fp8"
    return formats(exact(f"gemm:{gemm} moe:{moe} kv:{kv} fmha:bfloat16", shape, gpu))


def _resident(engine: Engine, tokens: float) -> float:
    """Sequences per rank whose KV cache fits at their mean length."""
    memory = footprint(engine.model, engine.formats, engine.partition, ceil(tokens), 1, STEP_TOKENS)
    return float(memory.largest_batch(Fraction(engine.gpu.memory_gib)))


def _decoding(batch: float, context: float) -> Step:
    none = np.zeros(1)
    many = np.array([batch])
    return Step(none, none, none, none, none, many, 1.0, context, many)


def _prompts(engine: Engine, prompts: float, isl: float) -> Step:
    none, many = np.zeros(1), np.array([prompts])
    full, windowed = pairs(np.array([isl]), np.zeros(1), reach(engine.model))
    return Step(many * isl, many * full, many * isl, many * isl, many * windowed, none, 1.0, 1.0, many)


def tpot_ms(loops: Sequence[Loop], times: Array) -> Array:
    """
    TPOT in ms, before the factors of versions.

    Parameters
    ----------
    loops
        The rows.
    times
        Times of their steps in ms, shape (rows, 4).
    """
    each = times[:, 2] / np.array([loop.prompts for loop in loops])
    osl, resident = np.array([loop.osl for loop in loops]), np.array([loop.resident for loop in loops])
    mixed = np.array([loop.row.mode == "agg" for loop in loops])
    return np.where(mixed, times[:, 0] + (resident - 1) * each / osl, _supplied_ms(loops, times))


def _supplied_ms(loops: Sequence[Loop], times: Array) -> Array:
    """
    Decode step in ms where prefill workers limit how many sequences decode.

    The step grows linearly from a lone decode to the full batch; ``n = rate * osl * step(n)`` decode per rank.
    """
    slope = (times[:, 0] - times[:, 3]) / np.maximum(1.0, np.array([loop.resident for loop in loops]) - 1)
    pace = _prefill_rate(loops, times) * np.array([loop.osl for loop in loops])
    slowest = np.where(pace * slope < 1, pace * (times[:, 3] - slope) / np.maximum(1e-9, 1 - pace * slope), np.inf)
    resident = np.array([loop.resident for loop in loops])
    return np.asarray(times[:, 3] + slope * (np.clip(slowest, 1.0, resident) - 1))


def _prefill_rate(loops: Sequence[Loop], times: Array) -> Array:
    """Prompts per ms that the prefill workers finish, for each decode rank."""
    each = times[:, 2] / np.array([loop.prompts for loop in loops])
    prefill = np.array([float(_prefill_ranks(loop)) for loop in loops])
    decode = np.array([float(loop.row.engines[-1].workers * loop.decode.partition.attention_dp) for loop in loops])
    return np.asarray(prefill / each / decode)


def terms(loops: Sequence[Loop], times: Array, tpot: Array) -> Array:
    """
    The terms of TTFT in ms, one column for each of :data:`TERMS`.

    Parameters
    ----------
    loops, times
        As for :func:`tpot_ms`.
    tpot
        Predicted TPOT in ms.
    """
    each = times[:, 2] / np.array([loop.prompts for loop in loops])
    resident = np.array([loop.resident for loop in loops])
    flight = np.array([float(loop.row.concurrency) for loop in loops])
    ranks = np.array([float(_prefill_ranks(loop)) for loop in loops])
    life = np.array([loop.osl for loop in loops]) * tpot
    share = flight / ranks
    busy = np.minimum(_FULLEST, share * each / life)
    mixed = np.array([loop.row.mode == "agg" for loop in loops])
    behind = np.maximum(0.0, share * each - life)  # all that is in flight and does not decode waits for prefill
    queue = np.where(mixed, times[:, 1] * busy / (1 - busy), behind)
    return np.stack(
        [
            np.ones(len(loops)), times[:, 1], times[:, 0], share * each / 20, flight, life / resident, queue,
            np.sqrt(share) * each,
        ],
        axis=1,
    )  # fmt: skip


def _prefill_ranks(loop: Loop) -> int:
    engine: MeasuredEngine = loop.row.engines[0]
    return engine.workers * loop.prefill.partition.attention_dp


def waiting_ms(loops: Sequence[Loop], tpot: Array) -> Array:
    """Wait in ms of sequences in flight that the KV cache has no room for: each waits for those before it to end."""
    batch = np.array([float(max(1, loop.row.engines[-1].batch_per_rank)) for loop in loops])
    resident = np.array([loop.resident for loop in loops])
    life = np.array([loop.osl for loop in loops]) * tpot
    return np.asarray((batch - resident) * life / resident)


@dataclass(frozen=True)
class Fitted:
    """
    What was fitted to closed loops.

    Parameters
    ----------
    weights
        (mode, serving engine, GPU) to the weights of :data:`TERMS`; ``*`` for any engine or GPU.
    factors
        (serving engine, version, ``drafts`` or ``plain``) to a factor of TPOT.
    """

    weights: dict[tuple[str, str, str], tuple[float, ...]]
    factors: dict[tuple[str, str, str], float]

    def weights_of(self, row: MeasuredRow) -> tuple[float, ...]:
        """The weights that apply to a row."""
        for key in ((row.mode, row.backend, row.system), (row.mode, row.backend, ANY)):
            if key in self.weights:
                return self.weights[key]
        return self.weights[row.mode, ANY, ANY]


def means_ms(loops: Sequence[Loop], times: Array, fit: Fitted) -> tuple[Array, Array]:
    """
    TPOT and TTFT in ms with a given fit.

    Parameters
    ----------
    loops, times
        As for :func:`tpot_ms`.
    fit
        Weights of the terms and factors of versions.
    """
    tpot = tpot_ms(loops, times) * np.array([fit.factors.get(loop.version, 1.0) for loop in loops])
    weights = np.array([fit.weights_of(loop.row) for loop in loops])
    return tpot, np.sum(terms(loops, times, tpot) * weights, axis=1) + waiting_ms(loops, tpot)


@cache
def fitted() -> Fitted:
    """The carried fit."""
    weights: dict[tuple[str, str, str], tuple[float, ...]] = {}
    factors: dict[tuple[str, str, str], float] = {}
    with FILE.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["quantity"] == "ttft":
                weights[row["mode"], row["engine"], row["gpu"]] = tuple(float(row[name]) for name in TERMS)
            else:
                factors[row["engine"], row["version"], row["mode"]] = float(row["factor"])
    return Fitted(weights, factors)


def times_of(loop: Loop) -> list[float]:
    """Times of a row's steps in ms with the carried constants."""
    engines = (loop.decode, loop.prefill, loop.prefill, loop.decode)
    return [float(step_time(engine, step).total[0]) for engine, step in zip(engines, loop.steps, strict=True)]


def predict(rows: Sequence[MeasuredRow]) -> list[Prediction | str]:
    """
    Predicts measured rows, in their order; where that cannot be done, the reason.

    Parameters
    ----------
    rows
        Measured rows; their measured values are not looked at.
    """
    counted = [loop_of(row) for row in rows]
    loops = [loop for loop in counted if isinstance(loop, Loop)]
    if not loops:
        return [answer for answer in counted if isinstance(answer, str)]
    tpot, ttft = means_ms(loops, np.array([times_of(loop) for loop in loops]), fitted())
    answers = iter(Prediction(float(first), float(each)) for first, each in zip(ttft, tpot, strict=True))
    return [next(answers) if isinstance(answer, Loop) else answer for answer in counted]
