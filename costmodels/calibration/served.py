"""Fits the ``served`` basis, the terms of TTFT and the factors of versions to measured end-to-end rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from costmodels.calibration.hierarchy import START, Level, Mask, bounds, climb, levels_of
from costmodels.calibration.least_squares import fit, nonnegative
from costmodels.calibration.stack import Stack
from costmodels.closed_loop import TERMS, Fitted, Loop, terms, tpot_ms, waiting_ms
from costmodels.constants import ANY, NAMES
from costmodels.layers import work_of
from costmodels.operators import Array

PULL = 0.3
"""Strength of the level above."""
SCALE = 0.1
"""Log error from which a row counts by its size."""
VERSION_PULL = 5.0
"""Rows that a version needs for half of its own factor."""
ROUNDS = 2
"""Constants and factors are fitted in turn, so often."""
STEPS, STEPS_LEAF = 5, 12
"""Steps of a fit: of a level that others start from, and of a GPU under a serving engine."""
FEWEST_ROWS = 15
"""Rows from which a serving engine on a GPU has weights of TTFT of its own."""
HOST_MS = 0.5
"""Where the host work of a step starts; operator tables do not contain it."""
FIXED = {"link": 0.7, "dispatch_link": 0.85, "spread": 0.9}
"""
Constants that stay. Eight of the measured rows, of one deployment, cross NVLink domains: they fix no bandwidth. The
tables extrapolate collectives across domains as if each GPU fetched everything over its own link; rings share the links
of a domain. Tokens sent to experts: DeepEP's README measures 43 to 58 GB/s on links of 50 GB/s.
"""
LONELY, LONG = 4, 4000
"""Requests in flight per prefill rank up to which, and prompt tokens from which, TTFT is mostly the prompt's own."""
FIRST = 2.0
"""Weight of the TTFT of such a row, against its TPOT."""
_ALONE = np.array([float(name in ("prompt", "step", "burst", "queue")) for name in TERMS])
"""Terms that its TTFT is made of, each once."""
BOLDEST = 0.7
"""Largest difference of logarithms taken over from the operator tables, and of a version's factor."""


def fit_served(loops: Sequence[Loop], operators: dict[Level, Array]) -> tuple[dict[Level, Array], Fitted]:
    """
    The logarithms of the constants by level, and what the closed loop needs beside them.

    Parameters
    ----------
    loops
        Counted rows.
    operators
        The constants fitted to tables: a level starts from its parent and from how the two differ there.
    """
    measured = np.log(np.array([loop.row.tpot_ms for loop in loops]))
    measured_first = np.log(np.array([loop.row.ttft_ms for loop in loops]))
    lonely = np.array([_is_lonely(loop) for loop in loops])
    weights = _weights(loops)
    levels = levels_of(
        [loop.decode.path for loop in loops],
        [loop.row.system for loop in loops],
        [loop.row.backend for loop in loops],
    )
    stacks = {level: stacked([loops[i] for i in np.flatnonzero(mask).tolist()]) for level, _, mask in levels}
    factors: dict[tuple[str, str, str], float] = {}
    constants: dict[Level, Array] = {}
    tpot = np.zeros(len(loops))
    for _ in range(ROUNDS):
        factor = np.array([factors.get(loop.version, 1.0) for loop in loops])

        def fit_level(level: Level, mask: Mask, prior: Array, factor: Array = factor) -> Array:
            chosen = [loops[i] for i in np.flatnonzero(mask).tolist()]

            alone = lonely[mask]

            def error(x: Array) -> Array:
                times = times_ms(stacks[level], x)
                found = tpot_ms(chosen, times) * factor[mask]
                first = (terms(chosen, times, found) @ _ALONE)[alone]
                return np.concatenate([np.log(found) - measured[mask], np.log(first) - measured_first[mask][alone]])

            both = np.concatenate([weights[mask], FIRST * weights[mask][alone]])
            return fit(error, prior, _span(), both, PULL, SCALE, STEPS_LEAF if level[3] != ANY else STEPS)

        constants = climb(levels, lambda *known: _prior(operators, *known), fit_level)
        for level, _, mask in levels:  # parents first, so the nearest level stays
            chosen = [loops[i] for i in np.flatnonzero(mask).tolist()]
            tpot[mask] = tpot_ms(chosen, times_ms(stacks[level], constants[level]))
        factors = _factors(loops, measured - np.log(tpot))
    factor = np.array([factors.get(loop.version, 1.0) for loop in loops])
    times = np.zeros((len(loops), 4))
    for level, _, mask in levels:
        times[mask] = times_ms(stacks[level], constants[level])
    return constants, Fitted(_weights_of_terms(loops, times, tpot * factor), factors)


def stacked(loops: Sequence[Loop]) -> Stack:
    """The steps of the rows, four each."""
    steps = []
    for loop in loops:
        for engine, step in zip((loop.decode, loop.prefill, loop.prefill, loop.decode), loop.steps, strict=True):
            steps.append((engine.gpu, work_of(engine, step), 1, engine.model.moe_layers))
    return Stack(steps)


def times_ms(stack: Stack, x: Array) -> Array:
    """Times of the steps in ms at the logarithms of the constants, shape (rows, 4)."""
    return stack.times_ms(dict(zip(NAMES, np.exp(x).tolist(), strict=True))).reshape(-1, 4)


def _is_lonely(loop: Loop) -> bool:
    """Whether a row's first tokens wait for little but their own prompt."""
    engine = loop.row.engines[0]
    ranks = engine.workers * loop.prefill.partition.attention_dp
    return loop.row.isl >= LONG and loop.row.concurrency <= LONELY * ranks


def _span() -> tuple[Array, Array]:
    """Bounds of the constants; what is fixed has no room."""
    lowest, highest = bounds()
    for name, value in FIXED.items():
        lowest[NAMES.index(name)] = highest[NAMES.index(name)] = np.log(value)
    return lowest, highest


def _prior(operators: dict[Level, Array], level: Level, parent: Level | None, found: dict[Level, Array]) -> Array:
    """The parent's constants, moved as the tables say that this level differs from it."""
    if parent is None:
        start = np.array(operators.get(level, np.log(np.array([START[name] for name in NAMES]))))
        for name, value in {"step_ms": HOST_MS, **FIXED}.items():
            start[NAMES.index(name)] = np.log(value)
        return start
    if level in operators and parent in operators:
        moved = np.clip(operators[level] - operators[parent], -BOLDEST, BOLDEST)
        moved[[NAMES.index(name) for name in ("step_ms", *FIXED)]] = 0.0
        return np.asarray(found[parent] + moved)
    return found[parent]


def _factors(loops: Sequence[Loop], missing: Array) -> dict[tuple[str, str, str], float]:
    """Factor of TPOT by version: the median error, shrunk where there are few rows."""
    by_version: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for loop, error in zip(loops, missing.tolist(), strict=True):
        by_version[loop.version].append(error)
    return {
        version: float(
            np.exp(np.clip(np.median(errors) * len(errors) / (len(errors) + VERSION_PULL), -BOLDEST, BOLDEST))
        )
        for version, errors in by_version.items()
    }


def _weights_of_terms(
    loops: Sequence[Loop], times: Array, tpot: Array
) -> dict[tuple[str, str, str], tuple[float, ...]]:
    """Weights of the terms of TTFT by mode, serving engine and GPU, and for wider groups of these."""
    features = terms(loops, times, tpot)
    wait = waiting_ms(loops, tpot)
    measured = np.array([loop.row.ttft_ms for loop in loops])
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, loop in enumerate(loops):
        if wait[index] > 0.2 * measured[index]:
            continue  # what waits for memory tells nothing of the terms
        row = loop.row
        mode: str = row.mode
        for key in ((mode, row.backend, row.system), (mode, row.backend, ANY), (mode, ANY, ANY)):
            groups[key].append(index)
    found: dict[tuple[str, str, str], tuple[float, ...]] = {}
    for key, chosen in sorted(groups.items()):
        if len(chosen) >= FEWEST_ROWS or key[1] == ANY:
            found[key] = tuple(nonnegative(features[chosen], measured[chosen]).tolist())
    return found


def _weights(loops: Sequence[Loop]) -> Array:
    counts = Counter((loop.row.mode, loop.row.backend, loop.row.system, loop.row.model) for loop in loops)
    keys = [(loop.row.mode, loop.row.backend, loop.row.system, loop.row.model) for loop in loops]
    weights = np.array([counts[key] ** -0.5 for key in keys])
    return np.asarray(weights / weights.mean())
