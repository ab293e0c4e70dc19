"""What a trace is like: lengths, burstiness, rate over time, and what a prefix cache could save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from solver.traffic.rates import last_period, rates_per_period
from solver.traffic.requests import Requests

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOWS_S = (1, 10, 60, 300)
"""Windows over which arrivals are counted."""
LEAST_WINDOWS = 10


@dataclass(frozen=True)
class Lengths:
    """
    Tokens on one side.

    Parameters
    ----------
    mean, sd
        Mean and standard deviation (of these requests, not an estimate for others).
    least, p50, p90, p95, p99, most
        The smallest length that so many percent do not exceed.
    """

    mean: float
    sd: float
    least: int
    p50: int
    p90: int
    p95: int
    p99: int
    most: int

    @classmethod
    def of(cls, tokens: NDArray[np.int64]) -> Lengths:
        """Of some lengths."""
        import numpy as np

        cuts = np.quantile(tokens, [0, 0.5, 0.9, 0.95, 0.99, 1], method="inverted_cdf")
        least, p50, p90, p95, p99, most = map(int, cuts)
        return cls(float(tokens.mean()), float(tokens.std()), least, p50, p90, p95, p99, most)


@dataclass(frozen=True)
class Prefixes:
    """
    What a cache of prefixes could save that never forgets, and is shared by all replicas.

    Parameters
    ----------
    tokens, found
        Prompt tokens, and those in leading blocks that an earlier request had in the same order.
    blocks, different
        Blocks, and different ones.
    """

    tokens: int
    found: int
    blocks: int
    different: int

    @property
    def share(self) -> float:
        """Share of the prompt tokens that are found: at most the ``prefix_hit_rate`` of an instance."""
        return self.found / self.tokens


@dataclass(frozen=True)
class Statistics:
    """
    Of one trace.

    Parameters
    ----------
    requests
        The trace.
    isl, osl
        Its lengths; their correlation.
    correlation
        Of input and output length; None where one is constant.
    gaps_scv
        Squared coefficient of variation of the times between arrivals: 1 for a Poisson stream, 0 for a clock.
    dispersion
        Window in seconds to variance / mean of the counts: 1 for a Poisson stream at every window; larger and growing
        where the rate itself changes.
    period_s
        Length of the periods below.
    rates
        Requests/s of each period, exactly.
    last
        What became of the last period.
    prefixes
        None where the trace has no blocks.
    """

    requests: Requests
    isl: Lengths
    osl: Lengths
    correlation: float | None
    gaps_scv: float | None
    dispersion: dict[int, float]
    period_s: Fraction
    rates: tuple[Fraction, ...]
    last: str
    prefixes: Prefixes | None

    @property
    def requests_per_s(self) -> float | None:
        """Mean rate between the first and the last arrival; None where all came at once."""
        requests = self.requests
        return (len(requests) - 1) / requests.duration_s if requests.duration_s else None

    @property
    def peak_to_mean(self) -> float:
        """Largest rate of a period by the mean of all."""
        return float(max(self.rates) * len(self.rates) / sum(self.rates))

    def as_dict(self) -> dict[str, Any]:
        """The statistics file."""
        requests, prefixes = self.requests, self.prefixes
        return {
            "format": "disagg-trace-statistics",
            "version": 1,
            "trace": requests.name,
            "start": requests.start,
            "notes": list(requests.notes),
            "requests": len(requests),
            "duration_s": requests.duration_s,
            "requests_per_s": self.requests_per_s,
            "isl": asdict(self.isl),
            "osl": asdict(self.osl),
            "isl_osl_correlation": self.correlation,
            "gaps_squared_coefficient_of_variation": self.gaps_scv,
            "index_of_dispersion": {f"{window} s": value for window, value in self.dispersion.items()},
            "period_s": float(self.period_s),
            "requests_per_s_by_period": [float(rate) for rate in self.rates],
            "last_period": self.last,
            "peak_to_mean": self.peak_to_mean,
            "prefixes": None if prefixes is None else {**asdict(prefixes), "share": prefixes.share},
        }


def statistics_of(requests: Requests, period_s: Fraction) -> Statistics:
    """
    Describes a trace.

    Parameters
    ----------
    requests
        The trace.
    period_s
        Length of the periods whose rates are given.

    Raises
    ------
    InputError
        When the period does not fit the trace.
    """
    import numpy as np

    gaps = np.diff(requests.arrival_s)
    varies = len(requests) > 1 and requests.isl.std() > 0 and requests.osl.std() > 0
    return Statistics(
        requests=requests,
        isl=Lengths.of(requests.isl),
        osl=Lengths.of(requests.osl),
        correlation=float(np.corrcoef(requests.isl, requests.osl)[0, 1]) if varies else None,
        gaps_scv=float(gaps.var() / gaps.mean() ** 2) if len(gaps) > 1 and gaps.mean() > 0 else None,
        dispersion=_dispersion(requests),
        period_s=period_s,
        rates=rates_per_period(requests, period_s),
        last=last_period(requests, period_s),
        prefixes=None if requests.blocks is None else _prefixes(requests, requests.blocks),
    )


def _dispersion(requests: Requests) -> dict[int, float]:
    import numpy as np

    found = {}
    for window in WINDOWS_S:
        if requests.duration_s >= LEAST_WINDOWS * window:
            whole = int(requests.duration_s // window)
            where = np.floor_divide(requests.arrival_s, window)
            counts = np.unique(where[where < whole], return_counts=True)[1].astype(float)  # of windows with arrivals
            mean = counts.sum() / whole
            found[window] = float(((counts - mean) ** 2).sum() + (whole - len(counts)) * mean**2) / whole / mean
    return found


def _prefixes(requests: Requests, blocks: Sequence[tuple[int, ...]]) -> Prefixes:
    """A block is found with all those before it: its KV cache depends on them."""
    known: set[tuple[int, int]] = set()
    numbers: dict[tuple[int, int], int] = {}
    found = count = 0
    for isl, ids in zip(requests.isl.tolist(), blocks, strict=True):
        before, hits, is_found = 0, 0, True
        for block in ids:
            step = (before, block)
            is_found = is_found and step in known
            hits += is_found
            known.add(step)
            before = numbers.setdefault(step, len(numbers) + 1)
        count += len(ids)
        found += min(isl, hits * requests.tokens_per_block)
    return Prefixes(int(requests.isl.sum()), found, count, len({block for ids in blocks for block in ids}))
