"""More or fewer requests, faster or slower: scaled traces."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from costmodels.errors import Fault

if TYPE_CHECKING:
    from solver.traffic.requests import Requests

MOST_SCALE = 10**6
MOST_REQUESTS = 5 * 10**7
_SHARE_OF_SHIFT = 24


def check_scale(option: str, scale: Fraction) -> list[Fault]:
    """A fault where a scale is not above 0 and at most a million."""
    if 0 < scale <= MOST_SCALE:
        return []
    return [Fault(option, f"got {scale}, must be a number above 0, to {MOST_SCALE}")]


def scaled(requests: Requests, rate_scale: Fraction, time_scale: Fraction, seed: int = 0) -> Requests:
    """
    A trace with another rate, or on another clock.

    ``time_scale`` multiplies every time. ``rate_scale`` R keeps the clock: of N requests come round(R N), no more, no
    fewer, so the mean is exact. It takes the whole part of R copies of the trace, and for the rest a random choice of
    its requests, each equally likely (a thinned stream). The first part stays where it is. Every other part stands for
    as many other users: it is shifted by one random time of up to 1/24 of the duration, around the end, so that bursts
    of the parts do not fall together but the course of the day does; and its prefixes are its own.

    Parameters
    ----------
    requests
        The trace.
    rate_scale, time_scale
        The scales; 1 changes nothing.
    seed
        Of the random choices.

    Raises
    ------
    InputError
        When more than 50 million requests would come out, or none.
    """
    if time_scale != 1:
        words = f"times multiplied by {_plain(time_scale)}"
        requests = replace(requests, arrival_s=requests.arrival_s * float(time_scale), notes=(*requests.notes, words))
    return requests if rate_scale == 1 else _more(requests, rate_scale, seed)


def _more(requests: Requests, scale: Fraction, seed: int) -> Requests:
    import numpy as np

    from costmodels.errors import InputError

    count, rng = len(requests), np.random.default_rng(seed)
    wanted = round(scale * count)
    if not 1 <= wanted <= MOST_REQUESTS:
        words = f"got {_plain(scale)}, which makes {wanted} requests of {count}; must leave 1 to {MOST_REQUESTS}"
        raise InputError([Fault("--rate-scale", words)])
    whole, rest = divmod(wanted, count)
    picks = [np.arange(count)] * whole
    if rest:
        picks.append(np.sort(rng.choice(count, rest, replace=False)))
    period = requests.duration_s * (1 + 1 / max(1, count - 1))  # the last request has a gap behind it, too
    arrivals = []
    for copy, pick in enumerate(picks):
        shift = rng.uniform(0, period / _SHARE_OF_SHIFT) if copy else 0.0
        arrivals.append((requests.arrival_s[pick] + shift) % period if copy else requests.arrival_s[pick])
    arrival, index = np.concatenate(arrivals), np.concatenate(picks)
    copies = np.repeat(np.arange(len(picks)), [len(pick) for pick in picks])
    order = np.argsort(arrival, kind="stable")
    arrival, index, copies = arrival[order], index[order], copies[order]
    return replace(
        requests,
        arrival_s=arrival - arrival[0],
        isl=requests.isl[index],
        osl=requests.osl[index],
        blocks=_own_blocks(requests.blocks, index.tolist(), copies.tolist()),
        notes=(*requests.notes, f"{wanted} requests of {count}: rate multiplied by {_plain(scale)}, seed {seed}"),
    )


def _own_blocks(
    blocks: tuple[tuple[int, ...], ...] | None, index: list[int], copies: list[int]
) -> tuple[tuple[int, ...], ...] | None:
    """The blocks of copied requests; those of each copy differ from all others."""
    if blocks is None:
        return None
    base = 1 + max((max(ids, default=0) for ids in blocks), default=0)
    least = min((min(ids, default=0) for ids in blocks), default=0)
    width = base - min(0, least)
    return tuple(
        blocks[i] if copy == 0 else tuple(each + copy * width for each in blocks[i])
        for i, copy in zip(index, copies, strict=True)
    )


def _plain(number: Fraction) -> str:
    return str(number.numerator) if number.denominator == 1 else f"{float(number):.6g}"
