"""
Traffic from what a planner knows of lengths: a number, mean and standard deviation, a histogram, a list of requests.

Everything becomes one :class:`costmodels.traffic.Traffic` of at most :data:`MOST_CLASSES` classes. How:

* **Log-normal.** The distribution of that mean and standard deviation is cut at quantiles: 24 classes of 1/25 of the
  requests each, and the longest 1/25 cut again into 8. A class stands for the mean length within it (closed form), as a
  whole number of tokens, at least 1; what rounding leaves is carried to the next class, so the mean over the classes is
  the given one (to 1/400 of a token; a mean of a few tokens is raised by the floor of 1). Lengths within a class are
  taken as equal, which loses 1 to 2 % of the standard deviation where it is not above the mean.
* **Histogram.** As given.
* **ISL and OSL given apart** are independent: the classes are all pairs.
* **Requests of a trace.** Up to 1024 different (ISL, OSL): as they are. Else 17 groups of ISL (tenths, the longest
  tenth cut again into 8), each cut alike into 17 groups of OSL. A group stands for its means: whole numbers around
  them, in shares of 1/6400, chosen so that both means over all are those of the trace (to 1/6400 of a token).

A percentile that is asked for is taken from what the classes were made of, not from the classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from math import ceil, exp, log, log2, sqrt
from statistics import NormalDist

from costmodels.traffic import Traffic

MOST_CLASSES = 1024
"""Most classes of a traffic."""
Marginal = tuple[tuple[int, Fraction], ...]
"""Lengths of one side: (tokens, share of the requests), ascending."""

_NORMAL_CUTS = (25, 8)
_TRACE_CUTS = (10, 8)


def constant(tokens: int) -> Marginal:
    """Always the same length."""
    return ((tokens, Fraction(1)),)


def histogram(entries: Iterable[tuple[int, Fraction]]) -> Marginal:
    """
    Lengths with weights.

    Parameters
    ----------
    entries
        (tokens, weight), weights positive, in any order; equal lengths are added up.
    """
    weights: Counter[int] = Counter()
    for tokens, weight in entries:
        weights[tokens] += weight  # type: ignore[assignment]  # a Counter of fractions counts as well
    total = sum(weights.values(), Fraction(0))
    return tuple((tokens, Fraction(weights[tokens]) / total) for tokens in sorted(weights))


def log_normal(mean: Fraction, std: Fraction) -> Marginal:
    """
    A log-normal distribution, cut into classes; see the module.

    Parameters
    ----------
    mean, std
        Mean and standard deviation of the length in tokens, both positive.
    """
    sigma = sqrt(log(1 + float(std / mean) ** 2))
    normal = NormalDist()
    cuts = _cuts(*_NORMAL_CUTS)
    units = _NORMAL_CUTS[0] * _NORMAL_CUTS[1]
    entries: list[tuple[int, Fraction]] = []
    spent = 0
    for low, high in pairwise(cuts):
        width = int((high - low) * units)
        below = 1.0 if high == 1 else normal.cdf(normal.inv_cdf(float(high)) - sigma)
        tokens = max(1, round((Fraction(below) * mean * units - spent) / width))
        spent += tokens * width
        entries.append((tokens, high - low))
    return histogram(entries)


def log_normal_at(mean: Fraction, std: Fraction, percentile: Fraction) -> int:
    """The length that a share ``percentile`` (above 0, below 1) of a log-normal distribution does not exceed."""
    sigma = sqrt(log(1 + float(std / mean) ** 2))
    return max(1, ceil(float(mean) * exp(sigma * NormalDist().inv_cdf(float(percentile)) - sigma**2 / 2)))


def _cuts(equal: int, tail: int) -> list[Fraction]:
    """Quantiles 0 to 1: ``equal`` parts, the last of them cut again into ``tail``."""
    last = Fraction(equal - 1, equal)
    return [Fraction(part, equal) for part in range(equal)] + [
        last + Fraction(part, equal * tail) for part in range(1, tail + 1)
    ]


def clipped(marginal: Marginal, least: int | None, most: int | None) -> Marginal:
    """Lengths below ``least`` count as it, lengths above ``most`` as that."""
    return histogram((within(tokens, least, most), share) for tokens, share in marginal)


def within(tokens: int, least: int | None, most: int | None) -> int:
    """The nearest length that the limits allow."""
    raised = max(tokens, least or 1)
    return raised if most is None else min(raised, most)


def independent(isl: Marginal, osl: Marginal, description: str) -> Traffic:
    """
    Input and output lengths that do not depend on each other: every pair is a class.

    Raises
    ------
    ValueError
        When there are more than :data:`MOST_CLASSES` pairs.
    """
    if len(isl) * len(osl) > MOST_CLASSES:
        raise ValueError(f"{len(isl)} input x {len(osl)} output lengths, at most {MOST_CLASSES} pairs")
    pairs = ((a, b, share * other) for a, share in isl for b, other in osl)
    return Traffic(tuple(pairs), description)


def of_requests(requests: Mapping[tuple[int, int], int], description: str, most: int = MOST_CLASSES) -> Traffic:
    """
    The lengths of counted requests; see the module.

    Parameters
    ----------
    requests
        (input tokens, output tokens) to how many requests had them; not empty.
    description
        Where they are from.
    most
        Up to so many different pairs are kept as they are; of more, at most :data:`MOST_CLASSES` classes are made.
    """
    classes = Counter(requests) if len(requests) <= most else _grouped(requests)
    total = classes.total()
    shares = ((isl, osl, Fraction(count, total)) for (isl, osl), count in sorted(classes.items()))
    return Traffic(tuple(shares), f"{description}, {sum(requests.values())} requests")


_Weighted = list[tuple[tuple[int, int], int]]
"""(ISL, OSL) and a weight, in an order."""


def _grouped(requests: Mapping[tuple[int, int], int]) -> Counter[tuple[int, int]]:
    """Groups by quantile of ISL, each by quantile of OSL; a request on a border belongs to both sides in part."""
    count = sum(requests.values())
    units = (_TRACE_CUTS[0] * _TRACE_CUTS[1]) ** 2
    found: Counter[tuple[int, int]] = Counter()
    sums, given = [0, 0], [0, 0]
    for rows in _split([(pair, requests[pair] * units) for pair in sorted(requests)]):
        for cell in _split(sorted(rows, key=lambda item: (item[0][1], item[0][0]))):
            tokens = []
            for side in (0, 1):
                sums[side] += sum(pair[side] * weight for pair, weight in cell)
                tokens.append(sums[side] // count - given[side])
                given[side] += tokens[side]
            found.update(_around_the_mean(sum(weight for _, weight in cell) // count, tokens[0], tokens[1]))
    return found


def _split(ordered: _Weighted) -> list[_Weighted]:
    """Consecutive parts by quantile of the weight, which is such that every part has a whole one."""
    total = sum(weight for _, weight in ordered)
    ends = [int(cut * total) for cut in _cuts(*_TRACE_CUTS)[1:]]
    parts: list[_Weighted] = [[] for _ in ends]
    passed, part = 0, 0
    for pair, weight in ordered:
        left = weight
        while left:
            taken = min(left, ends[part] - passed)
            parts[part].append((pair, taken))
            passed, left = passed + taken, left - taken
            part += passed == ends[part]
    return parts


def _around_the_mean(count: int, isl_sum: int, osl_sum: int) -> Counter[tuple[int, int]]:
    """So many requests with these sums of input and output tokens, of at most three neighbouring pairs."""
    (isl, more_isl), (osl, more_osl) = divmod(isl_sum, count), divmod(osl_sum, count)
    both = min(more_isl, more_osl)
    found: Counter[tuple[int, int]] = Counter()
    found[isl + 1, osl + 1] += both
    found[isl + 1, osl] += more_isl - both
    found[isl, osl + 1] += more_osl - both
    found[isl, osl] += count - max(more_isl, more_osl)
    return +found


def p50(traffic: Traffic, power_of_two: bool = False) -> Traffic:
    """
    The shortcut: every request has the median input and the median output length.

    Parameters
    ----------
    traffic
        The distribution.
    power_of_two
        Whether the medians are rounded to powers of two (in ratio).
    """
    isl, osl = traffic.isl_at(Fraction(1, 2)), traffic.osl_at(Fraction(1, 2))
    if power_of_two:
        isl, osl = 2 ** round(log2(isl)), 2 ** round(log2(osl))
    rounded = ", rounded to powers of two" if power_of_two else ""
    return Traffic(((isl, osl, Fraction(1)),), f"constant P50 {isl}/{osl}{rounded}, for {traffic.description}")
