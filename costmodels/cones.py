"""
Where the breakpoints of one-sided fits lie: passes over the samples, vectorised over curves.

What the passes do, and what is proved of them, is told in :mod:`costmodels.fit`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodels.onesided import Flat, Floats, Integers

CONNECT, RESTART = 0, 1
"""The two passes; they run side by side."""


@dataclass(frozen=True)
class Corridor:
    """
    How far a fit may be from its samples.

    Parameters
    ----------
    low, high, start
        Factors on a sample of each series: lowest and highest value of the fit, and where it starts; shape (series, 1).
    """

    low: Floats
    high: Floats
    start: Floats


@dataclass(frozen=True)
class Knots:
    """
    Breakpoints of many curves, one curve after another.

    Parameters
    ----------
    counts
        Breakpoints of each curve, shape (curves,).
    sample
        Which sample of its curve each is, shape (breakpoints,).
    value
        Values there, shape (series, breakpoints).
    """

    counts: Integers
    sample: Integers
    value: Floats


class _Pass:
    """The cones of both passes over all curves; arrays of shape (series, 2, curves) or (2, curves)."""

    def __init__(self, flat: Flat, corridor: Corridor) -> None:
        self._corridor = corridor
        side_by_side = flat.first + np.minimum(np.arange(flat.lengths.max())[:, None], flat.lengths - 1)
        self._batch, self._value = flat.batch[side_by_side], flat.series[:, side_by_side].transpose(1, 0, 2).copy()
        self._low, self._high = self._value * corridor.low, self._value * corridor.high
        series, curves = self._value.shape[1:]
        self.start = np.repeat((self._value[0] * corridor.start)[:, None, :], 2, axis=1)
        self.origin = np.repeat(self._batch[:1], 2, axis=0)
        self.floor = np.full((series, 2, curves), -np.inf)
        self.roof = np.full((series, 2, curves), np.inf)
        self._set: list[tuple[Integers, Integers, int, Floats]] = []
        every = np.arange(curves)
        for lane in (CONNECT, RESTART):
            self.put(np.full(curves, lane), every, 0, self.start[:, lane].copy())

    def put(self, lane: Integers, curve: Integers, sample: int, value: Floats) -> None:
        """Sets breakpoints."""
        self._set.append((lane, curve, sample, value))

    def close(self, lane: Integers, curve: Integers, sample: int) -> Floats:
        """Ends running segments at a sample, as near to the starting factor as the cone allows; the values there."""
        run = self._batch[sample, curve] - self.origin[lane, curve]
        start, alone = self.start[:, lane, curve], run == 0
        run[alone] = 1.0
        wish = self._value[sample][:, curve] * self._corridor.start
        slope = np.clip((wish - start) / run, self.floor[:, lane, curve], self.roof[:, lane, curve])
        end: Floats = np.where(alone, start, start + slope * run)
        self.put(lane[~alone], curve[~alone], sample, end[:, ~alone])
        return end

    def close_all(self, first: int, last: int, sample: int) -> None:
        """Ends both passes of the curves from ``first`` to before ``last``."""
        curve = np.arange(first, last)
        self.close(np.repeat([CONNECT, RESTART], len(curve)), np.tile(curve, 2), sample)

    def advance(self, sample: int, now: int) -> None:
        """Narrows the cones of the first ``now`` curves by a sample; where one empties, a segment ends."""
        value = self._value[sample, :, :now]
        low, high = self._low[sample, :, :now], self._high[sample, :, :now]
        start, run = self.start[:, :, :now], self._batch[sample, :now] - self.origin[:, :now]
        floor = np.maximum(self.floor[:, :, :now], (low[:, None] - start) / run)
        roof = np.minimum(self.roof[:, :, :now], (high[:, None] - start) / run)
        lane, curve = np.nonzero((floor > roof).any(axis=0))
        if len(curve):
            end = self.close(lane, curve, sample - 1)
            first = int(np.searchsorted(lane, RESTART))
            on = curve[:first]
            self.start[:, CONNECT, on], self.origin[CONNECT, on] = end[:, :first], self._batch[sample - 1, on]
            step = self._batch[sample, on] - self.origin[CONNECT, on]
            floor[:, CONNECT, on] = (low[:, on] - end[:, :first]) / step
            roof[:, CONNECT, on] = (high[:, on] - end[:, :first]) / step
            anew = curve[first:]
            fresh = value[:, anew] * self._corridor.start
            self.start[:, RESTART, anew], self.origin[RESTART, anew] = fresh, self._batch[sample, anew]
            floor[:, RESTART, anew], roof[:, RESTART, anew] = -np.inf, np.inf
            self.put(lane[first:], anew, sample, fresh)
        self.floor[:, :, :now], self.roof[:, :, :now] = floor, roof

    def shorter(self) -> Knots:
        """The breakpoints of the pass that set fewer, curve by curve."""
        lane = np.concatenate([lanes for lanes, _, _, _ in self._set])
        curve = np.concatenate([curves for _, curves, _, _ in self._set])
        sample = np.concatenate([np.full(len(curves), at) for _, curves, at, _ in self._set])
        value = np.concatenate([values for _, _, _, values in self._set], axis=1)
        counts = np.stack([np.bincount(curve[lane == one], minlength=len(self.origin[0])) for one in (0, 1)])
        best = np.argmin(counts, axis=0)  # the first of equals: connected
        kept = np.flatnonzero(lane == best[curve])
        kept = kept[np.argsort(curve[kept], kind="stable")]
        return Knots(counts.min(axis=0), sample[kept], value[:, kept])


def best_knots(flat: Flat, corridor: Corridor) -> Knots:
    """The breakpoints of both passes, for each curve of the pass that set fewer; curves come longest first."""
    longest = int(flat.lengths[0])
    alive = np.searchsorted(-flat.lengths, -np.arange(longest), side="left").tolist()  # curves of over k samples
    cones = _Pass(flat, corridor)
    for sample in range(1, longest):
        if alive[sample] < alive[sample - 1]:
            cones.close_all(alive[sample], alive[sample - 1], sample - 1)
        cones.advance(sample, alive[sample])
    cones.close_all(0, alive[longest - 1], longest - 1)
    return cones.shorter()
