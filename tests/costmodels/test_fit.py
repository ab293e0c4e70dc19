"""One-sided fits: the side, the error, and the number of breakpoints."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodels.fit import Fit, Samples, fit, fit_many

CENT = Fraction(1, 100)


def at(batch: tuple[int, ...], values: tuple[Fraction, ...], where: int) -> Fraction:
    """Plain interpolation, written again on purpose."""
    if where == batch[0]:
        return values[0]
    for (left, right), (low, high) in zip(pairwise(batch), pairwise(values), strict=True):
        if left < where <= right:
            return low + (high - low) * Fraction(where - left, right - left)
    raise AssertionError(where)


def check(samples: Samples, found: Fit, tolerance: Fraction) -> None:
    """All that is promised, in exact arithmetic, at every sample."""
    assert set(found.batch) <= set(samples.batch.tolist())
    assert found.batch[0] == samples.batch[0] and found.batch[-1] == samples.batch[-1]
    worst = Fraction(0)
    sides = ((samples.never_under, found.never_under, 1), (samples.never_over, found.never_over, -1))
    for series, fitted, sign in sides:
        for sample, values in zip(series, fitted, strict=True):
            for value in values:
                assert value > 0
                while value.denominator > 1:
                    value *= 10
                assert len(str(int(value)).rstrip("0")) <= 9, "at most nine significant digits"
            for batch, raw in zip(samples.batch.tolist(), sample.tolist(), strict=True):
                error = sign * (at(found.batch, values, batch) / Fraction(raw) - 1)
                assert error >= 0, "one-sided"
                worst = max(worst, error)
    assert worst <= found.error <= tolerance
    assert found.error - worst < Fraction(1, 10**8)


positive = st.floats(min_value=0.5, max_value=5000.0) | st.floats(min_value=1e-2, max_value=1e6)


@st.composite
def curves(draw: st.DrawFn, largest: int = 40) -> Samples:
    """Arbitrary curves: not monotone, not smooth."""
    steps = draw(st.lists(st.integers(1, 50), min_size=1, max_size=largest))
    batch = np.cumsum(np.array(steps))
    size = len(steps)
    under = draw(st.lists(st.lists(positive, min_size=size, max_size=size), min_size=1, max_size=2))
    over = draw(st.lists(st.lists(positive, min_size=size, max_size=size), min_size=0, max_size=1))
    return Samples(batch, tuple(np.array(one) for one in under), tuple(np.array(one) for one in over))


@settings(max_examples=150, deadline=None)
@given(st.lists(curves(), min_size=1, max_size=4), st.sampled_from([CENT, CENT / 1000, CENT * 50]))
def test_any_curve_is_fitted_on_its_side_within_the_tolerance(many: list[Samples], tolerance: Fraction) -> None:
    for samples, found in zip(many, fit_many(many, tolerance), strict=True):
        check(samples, found, tolerance)


def line_through(low: list[Fraction], high: list[Fraction], batch: list[int]) -> bool:
    """Whether one straight line passes all gates; if any does, one through two gate ends does (brute force)."""
    count = len(batch)
    if count == 1:
        return True
    for i in range(count):
        for j in range(count):
            if i != j:
                slope = (high[j] - low[i]) / (batch[j] - batch[i])
                if all(low[k] <= low[i] + slope * (batch[k] - batch[i]) <= high[k] for k in range(count)):
                    return True
    return any(all(low[k] <= level <= high[k] for k in range(count)) for level in low)


def fewest_lines(samples: Samples, tolerance: float) -> int:
    """Fewest straight lines that cover all series within the tolerance, by dynamic programming over all splits."""
    batch = samples.batch.tolist()
    gates = []
    for sample in samples.never_under:
        low = [Fraction(value) for value in sample.tolist()]
        gates.append((low, [value * (1 + Fraction(tolerance)) for value in low]))
    for sample in samples.never_over:
        high = [Fraction(value) for value in sample.tolist()]
        gates.append(([value * (1 - Fraction(tolerance)) for value in high], high))
    fewest = [0] + [len(batch)] * len(batch)
    for end in range(1, len(batch) + 1):
        for start in range(end):
            if all(line_through(low[start:end], high[start:end], batch[start:end]) for low, high in gates):
                fewest[end] = min(fewest[end], fewest[start] + 1)
    return fewest[-1]


@settings(max_examples=60, deadline=None)
@given(curves(largest=8), st.sampled_from([Fraction(1, 20), Fraction(1, 2)]))
def test_at_most_two_breakpoints_per_line_of_the_best_cover_at_two_fifths_of_the_tolerance(
    samples: Samples, tolerance: Fraction
) -> None:
    found = fit(samples, tolerance)
    # a hair of tolerance is spent on rounding to nine digits
    near, far = 0.05 * float(tolerance), 0.9 * float(tolerance)
    under = ((1 + far) / (1 + near)) ** 0.5 - 1 - 1e-5
    over = 1 - ((1 - far) / (1 - near)) ** 0.5 - 1e-5
    assert len(found.batch) <= max(1, 2 * fewest_lines(samples, min(under, over) if samples.never_over else under))
    # and no fit within the tolerance has fewer than one more than the fewest lines
    assert len(found.batch) >= min(len(samples.batch), fewest_lines(samples, float(tolerance)) + 1)


def test_straight_lines_need_two_breakpoints_and_a_cliff_two_more() -> None:
    batch = np.arange(1, 1025)
    line = np.asarray(5.0 + 0.25 * batch, dtype=np.float64)
    assert fit(Samples(batch, (line,))).batch == (1, 1024)
    cliff = np.where(batch > 128, line + 40.0, line)
    found = fit(Samples(batch, (cliff,)))
    assert len(found.batch) == 4
    assert {128, 129} <= set(found.batch)
    check(Samples(batch, (cliff,)), found, CENT)


@pytest.mark.parametrize("spike", [0.7, 0.99, 1.003, 1.3])
@pytest.mark.parametrize("where", [150, 500, 777, 1022])
def test_a_spike_between_the_batches_looked_at_first_is_fitted_too(where: int, spike: float) -> None:
    """Breakpoints are looked for among some batches; the fit holds at every one of them."""
    batch = np.arange(1, 1025)
    smooth = 8 + 0.02 * batch
    spiked = np.where(batch == where, spike * smooth, smooth)
    many = [Samples(batch, (smooth,), (1000 * batch / smooth,)), Samples(batch, (spiked,), (1000 * batch / spiked,))]
    for samples, found in zip(many, fit_many(many), strict=True):
        check(samples, found, CENT)


@settings(max_examples=25, deadline=None)
@given(st.integers(100, 400), st.floats(0.1, 3.0), st.integers(2, 90), st.integers(0, 2**32 - 1))
def test_long_rough_curves_are_fitted_at_every_sample(size: int, bend: float, jump: int, seed: int) -> None:
    """Long enough to be thinned: a power of the batch, with jumps and noise near the tolerance."""
    batch = np.arange(1, size + 1)
    noise = np.random.default_rng(seed).uniform(0.99, 1.01, size)
    latency = (5 + batch**bend / size) * (1 + 0.1 * (batch // jump)) * noise
    samples = Samples(batch, (latency,), (1000 * batch / latency,))
    check(samples, fit(samples), CENT)


def test_a_smooth_curve_needs_few() -> None:
    batch = np.arange(1, 1025)
    latency = 8 + 0.01 * batch + 12 * (1 - np.exp(-batch / 60))
    samples = Samples(batch, (latency,), (1000 * batch / latency,))
    found = fit(samples)
    check(samples, found, CENT)
    assert len(found.batch) <= 20


@pytest.mark.parametrize(
    "batch, values, words",
    [
        ([1, 2], [1e-3, 1e6], "spans"),
        ([1, 1], [1.0, 2.0], "increase"),
        ([1, 2], [1.0, 0.0], "positive"),
        ([1, 2], [1.0, np.nan], "positive"),
    ],
)  # fmt: skip
def test_bad_samples_are_refused(batch: list[int], values: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit(Samples(np.array(batch), (np.array(values),)))
