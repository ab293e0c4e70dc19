"""A bounded, robust least-squares fit in logarithms, pulled towards a prior."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from costmodels.operators import Array

_NUDGE = 1e-4
_BOLDEST = 0.7
"""Longest step in a logarithm: a factor of two."""


def fit(
    error: Callable[[Array], Array],
    prior: Array,
    bounds: tuple[Array, Array],
    weights: Array,
    pull: float,
    scale: float,
    rounds: int = 20,
) -> Array:
    """
    Minimises ``sum(w * (sqrt(1 + (e / scale)^2) - 1)) + pull * |x - prior|^2`` within bounds.

    Levenberg-Marquardt steps on the reweighted problem; a constant at a bound that it is pressed against stays there.

    Parameters
    ----------
    error
        Log errors of all rows at the logarithms of the constants.
    prior
        Where to start, and where constants that the rows do not determine stay.
    bounds
        Lowest and highest logarithms.
    weights
        Of the rows.
    pull
        Strength of the prior.
    scale
        Log error from which a row counts by its size instead of its square.
    rounds
        At most so many steps.
    """
    lowest, highest = bounds
    x = np.clip(prior, lowest, highest)

    def cost(e: Array, at: Array) -> float:
        return float(np.sum(weights * (np.sqrt(1 + (e / scale) ** 2) - 1)) + pull * np.sum((at - prior) ** 2))

    e = error(x)
    best, damping = cost(e, x), 1e-3
    for _ in range(rounds):
        slopes = np.stack([(error(x + _NUDGE * unit) - e) / _NUDGE for unit in np.eye(len(x))], axis=1)
        w = weights / np.sqrt(1 + (e / scale) ** 2) / scale**2
        matrix = slopes.T @ (w[:, None] * slopes) + 2 * pull * np.eye(len(x))
        slope = slopes.T @ (w * e) + 2 * pull * (x - prior)
        free = ~(((x <= lowest) & (slope > 0)) | ((x >= highest) & (slope < 0)))
        before = best
        for _ in range(8):
            damped = (matrix + damping * np.diag(np.diag(matrix)))[np.ix_(free, free)]
            step = np.zeros(len(x))
            step[free] = np.clip(-np.linalg.solve(damped, slope[free]), -_BOLDEST, _BOLDEST)
            there = np.clip(x + step, lowest, highest)
            e_there = error(there)
            if (now := cost(e_there, there)) < best:
                x, e, best, damping = there, e_there, now, max(damping / 4, 1e-6)
                break
            damping *= 4
        if before - best < 1e-4 * before:
            break
    return x


def nonnegative(features: Array, measured: Array, rounds: int = 60) -> Array:
    """
    Nonnegative coefficients whose sum of features is near the measured values in ratio, robustly.

    Coordinate descent on the reweighted least squares of ``features @ c / measured - 1``.

    Parameters
    ----------
    features
        One column a coefficient.
    measured
        Positive values.
    rounds
        Reweightings.
    """
    relative = features / measured[:, None]
    weights = np.ones(len(measured))
    c = np.zeros(features.shape[1])
    for _ in range(rounds):
        matrix = relative.T @ (weights[:, None] * relative)
        target = relative.T @ weights
        for _ in range(200):
            old = c.copy()
            for j in np.flatnonzero(np.diag(matrix) > 0):
                c[j] = max(0.0, c[j] + (target[j] - matrix[j] @ c) / matrix[j, j])
            if np.max(np.abs(c - old)) <= 1e-9 * max(1e-12, float(np.max(np.abs(c)))):
                break
        ratio = np.maximum(relative @ c, 1e-9)
        weights = 1 / np.sqrt((ratio - 1) ** 2 + 0.05**2) / np.maximum(0.3, ratio)
    return c
