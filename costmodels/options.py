"""What a workload and a cost model may ask of the engines, beyond shapes and traffic."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class EngineOptions:
    """
    Options of engines; the defaults are what the measured tables assume.

    Parameters
    ----------
    kv_reservation
        KV cache kept free per sequence: ``full`` (ISL + OSL; nothing is ever evicted), ``mean`` (its mean over the life
        of a sequence: the steady state of many), or ``p50`` to ``p99`` (that percentile of ISL + OSL).
    prefix_hit_rate
        Share of the prompt tokens whose KV is found in a cache and not computed, 0 to below 1.
    draft_tokens
        Tokens that speculative decoding (MTP) proposes per step; 0: none.
    accepted_tokens
        Tokens that a decode step yields on average, the certain one included: 1 to ``draft_tokens + 1``.
    ttft_percentile
        None: TTFT of the mean prompt. Else TTFT of a prompt at this percentile (0 to 1) of the input lengths, whole or
        in chunks, among mean ones. Rates are those of the mean prompt.
    pp_efficiency
        ``(pp, share)``: what a pipeline of that depth reaches of a full one without bubbles; 1 where none is given.
    expert_imbalance
        Load of the fullest EP rank over the mean, up to the number of ranks; None: as fitted (``skew``).
    cache_up_projection
        Whether chunked prompts keep the up-projected keys and values of MLA, instead of projecting up again per chunk.
    """

    kv_reservation: str = "full"
    prefix_hit_rate: Fraction = Fraction(0)
    draft_tokens: int = 0
    accepted_tokens: Fraction = Fraction(1)
    ttft_percentile: Fraction | None = None
    pp_efficiency: tuple[tuple[int, Fraction], ...] = ()
    expert_imbalance: Fraction | None = None
    cache_up_projection: bool = False
