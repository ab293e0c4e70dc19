"""What a role's steps are made of: prompts, chunks and decodes, averaged over the traffic."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil

import numpy as np

from costmodels.layers import Step
from costmodels.models import Model
from costmodels.operators import Array, Number
from costmodels.options import EngineOptions
from costmodels.traffic import Traffic

LONGEST_SHARE = Fraction(99, 100)
"""The longest token gap is taken from a prompt that is longer than this share of all."""


@dataclass(frozen=True)
class Prompt:
    """
    What one prompt (or one of the chunks that it is cut into) brings into a step, mean over the traffic.

    Parameters
    ----------
    tokens
        Prompt tokens computed; those found in a prefix cache are not.
    pairs, windowed_pairs
        Query-key pairs under the causal mask, and within the reach of windowed or sparse attention.
    context
        Tokens whose KV is read.
    projected
        Tokens whose MLA keys and values are projected up.
    """

    tokens: float
    pairs: float
    windowed_pairs: float
    context: float
    projected: float

    def step(
        self, prompts: Number, heads_out: Number, decodes: Number = 0.0, context: float = 1.0, queries: float = 1.0
    ) -> Step:
        """A step with so many of it, and decodes at a mean context with so many tokens each."""
        return Step(
            prompts * self.tokens, prompts * self.pairs, prompts * self.context, prompts * self.projected,
            prompts * self.windowed_pairs, decodes, queries, context, heads_out,
        )  # fmt: skip


def reach(model: Model) -> int:
    """Tokens that a query of a windowed or sparse layer reaches back; 0 where every layer sees everything."""
    return model.window or model.sparse_top_k


def pairs(chunk: Array, earlier: Array, reach_tokens: int) -> tuple[Array, Array]:
    """Query-key pairs of chunks after ``earlier`` tokens: under the causal mask, and within a reach."""
    full = chunk * earlier + chunk * chunk / 2
    if not reach_tokens:
        return full, full * 0.0
    ramp = np.maximum(0.0, np.minimum(chunk, reach_tokens - earlier))
    return full, ramp * (earlier + ramp / 2) + (chunk - ramp) * reach_tokens


@dataclass(frozen=True)
class _Lengths:
    """Tokens of each kind of prompt: computed, found in a prefix cache; and their share of all."""

    computed: Array
    earlier: Array
    share: Array

    def mean(self, each: Array) -> float:
        """Mean of a number of each kind."""
        return float(self.share @ each)

    def chunks(self, chunk_tokens: int) -> Array:
        """Chunks that each kind is cut into, evenly."""
        return np.asarray(np.maximum(1.0, np.ceil(self.computed / chunk_tokens)))


@cache
def _lengths(traffic: Traffic, hit_rate: Fraction) -> _Lengths:
    """The prompts of a traffic; of each at least one token is computed."""
    isl = np.array([float(isl) for isl, _, _ in traffic.classes])
    share = np.array([float(share) for _, _, share in traffic.classes])
    earlier = np.minimum(isl * float(hit_rate), isl - 1)
    return _Lengths(isl - earlier, earlier, share)


@cache
def whole_prompt(traffic: Traffic, reach_tokens: int, hit_rate: Fraction) -> Prompt:
    """The mean prompt of a traffic, computed in one step."""
    of = _lengths(traffic, hit_rate)
    full, windowed = pairs(of.computed, of.earlier, reach_tokens)
    length = of.mean(of.computed + of.earlier)
    return Prompt(of.mean(of.computed), of.mean(full), of.mean(windowed), length, length)


def chunks_of(traffic: Traffic, hit_rate: Fraction, chunk_tokens: int) -> float:
    """Chunks that a prompt of a traffic is cut into, on average."""
    of = _lengths(traffic, hit_rate)
    return of.mean(of.chunks(chunk_tokens))


@cache
def mean_chunk(traffic: Traffic, hit_rate: Fraction, chunk_tokens: int, reach_tokens: int, cached: bool) -> Prompt:
    """
    The mean of all chunks that the prompts of a traffic are cut into.

    Chunks of a prompt have together the pairs of the whole; the KV of earlier chunks is read again for each.

    Parameters
    ----------
    traffic, hit_rate
        The prompts, and the share of their tokens found in a prefix cache.
    chunk_tokens
        Largest chunk; a prompt is cut evenly.
    reach_tokens
        See :func:`reach`.
    cached
        Whether the up-projected keys and values of earlier chunks are kept; else they are projected up for each chunk.
    """
    of, whole = _lengths(traffic, hit_rate), whole_prompt(traffic, reach_tokens, hit_rate)
    chunks = of.chunks(chunk_tokens)
    count = of.mean(chunks)
    read = of.mean(chunks * of.earlier + of.computed * (chunks + 1) / 2)
    projected = whole.projected if cached else read
    return Prompt(
        whole.tokens / count, whole.pairs / count, whole.windowed_pairs / count, read / count, projected / count
    )


@cache
def last_chunk(traffic: Traffic, hit_rate: Fraction, chunk_tokens: int, reach_tokens: int, cached: bool) -> Prompt:
    """The last chunk of a prompt, which attends to all the others; the mean over the prompts."""
    of = _lengths(traffic, hit_rate)
    part = of.computed / of.chunks(chunk_tokens)
    full, windowed = pairs(part, of.earlier + of.computed - part, reach_tokens)
    tokens, length = of.mean(part), of.mean(of.computed + of.earlier)
    return Prompt(tokens, of.mean(full), of.mean(windowed), length, tokens if cached else length)


@cache
def reserved_tokens(traffic: Traffic, options: EngineOptions, prefill: bool) -> int:
    """
    KV cache kept free per sequence, in tokens.

    ``full``: of the longest request. ``mean``: the mean of a resident sequence over its life. ``pNN``: of a request
    longer than NN % of all. A prefill engine holds the prompt only.
    """
    kind = options.kv_reservation
    if kind == "full":
        return max(isl if prefill else isl + osl for isl, osl, _ in traffic.classes)
    if kind == "mean":
        return ceil(traffic.isl) if prefill else traffic.total_mean()
    percentile = Fraction(int(kind.removeprefix("p")), 100)
    return traffic.isl_at(percentile) if prefill else traffic.total_at(percentile)
