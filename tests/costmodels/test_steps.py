"""What traffic puts into steps: prompts and chunks counted query by query."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from costmodels.models import MODELS
from costmodels.options import EngineOptions
from costmodels.steps import (
    Prompt,
    chunks_of,
    last_chunk,
    mean_chunk,
    pairs,
    reach,
    reserved_tokens,
    whole_prompt,
)
from costmodels.traffic import Traffic

NONE = Fraction(0)
MIXED = Traffic(((100, 10, Fraction(1, 4)), (1000, 50, Fraction(1, 2)), (9000, 400, Fraction(1, 4))))


def counted(tokens: int, earlier: int, reach_tokens: int) -> tuple[int, int]:
    """Query-key pairs one by one; a query sees itself and those before it."""
    full = sum(place + 1 for place in range(earlier, earlier + tokens))
    return full, sum(min(place + 1, reach_tokens) for place in range(earlier, earlier + tokens))


@pytest.mark.parametrize(
    "tokens, earlier, back", [(1, 0, 128), (1000, 0, 128), (50, 100, 128), (300, 5000, 128), (64, 0, 128)]
)
def test_pairs_are_those_of_a_causal_mask_and_of_a_window(tokens: int, earlier: int, back: int) -> None:
    full, windowed = pairs(np.array([float(tokens)]), np.array([float(earlier)]), back)
    exact_full, exact_windowed = counted(tokens, earlier, back)
    assert float(full[0]) == pytest.approx(exact_full, abs=tokens / 2 + 0.01)  # half the diagonal
    assert float(windowed[0]) == pytest.approx(exact_windowed, abs=tokens / 2 + 0.01)


def test_what_a_query_reaches() -> None:
    assert reach(MODELS["openai/gpt-oss-120b"]) == 128
    assert reach(MODELS["zai-org/GLM-5"]) == 2048
    assert reach(MODELS["meta-llama/Meta-Llama-3.1-8B"]) == 0


def test_a_whole_prompt_by_hand() -> None:
    found = whole_prompt(Traffic.constant(4000, 1), 1000, Fraction(1, 4))
    assert found == Prompt(3000.0, 3000 * 1000 + 3000**2 / 2, 3000 * 1000.0, 4000.0, 4000.0)
    assert whole_prompt(Traffic.constant(1, 1), 0, Fraction(99, 100)).tokens == 1, "a token is always computed"


def test_chunks_of_a_prompt_by_hand() -> None:
    """4,000 tokens of which 1,000 are cached, in three chunks of 1,000: they read 2,000, 3,000 and 4,000 tokens."""
    traffic, hit = Traffic.constant(4000, 1), Fraction(1, 4)
    assert chunks_of(traffic, hit, 1200) == 3
    found = mean_chunk(traffic, hit, 1200, 0, False)
    assert found.tokens == 1000 and found.context == found.projected == 3000
    assert 3 * found.pairs == pytest.approx(whole_prompt(traffic, 0, hit).pairs)
    assert mean_chunk(traffic, hit, 1200, 0, True).projected == pytest.approx(4000 / 3), "each token once"
    end = last_chunk(traffic, hit, 1200, 0, False)
    assert (end.tokens, end.pairs, end.context, end.projected) == (1000, 1000 * 3000 + 1000**2 / 2, 4000, 4000)
    assert last_chunk(traffic, hit, 1200, 0, True).projected == 1000


@pytest.mark.parametrize("back", [0, 128, 2048])
def test_chunks_have_together_the_pairs_of_the_prompts(back: int) -> None:
    whole = whole_prompt(MIXED, back, NONE)
    for chunk in (64, 512, 100000):
        count, mean = chunks_of(MIXED, NONE, chunk), mean_chunk(MIXED, NONE, chunk, back, False)
        assert count * mean.tokens == pytest.approx(float(MIXED.isl))
        assert count * mean.pairs == pytest.approx(whole.pairs)
        assert count * mean.windowed_pairs == pytest.approx(whole.windowed_pairs)


def test_chunks_of_mixed_prompts_by_enumeration() -> None:
    """Every chunk of every prompt, weighted with its share."""
    reads, tokens, total = 0.0, 0.0, 0.0
    for isl, _, share in MIXED.classes:
        edges = np.linspace(0, isl, -(-isl // 700) + 1).tolist()
        for start, stop in pairwise(edges):
            reads += float(share) * stop
            tokens += float(share) * (stop - start)
            total += float(share)
    found = mean_chunk(MIXED, NONE, 700, 0, False)
    assert chunks_of(MIXED, NONE, 700) == pytest.approx(total)
    assert found.tokens == pytest.approx(tokens / total)
    assert found.context == pytest.approx(reads / total)


def test_one_class_in_many_is_the_number() -> None:
    split = Traffic(((777, 10, Fraction(1, 3)), (777, 11, Fraction(2, 3))))
    one = Traffic.constant(777, 10)
    for prompt in (lambda t: whole_prompt(t, 128, NONE), lambda t: mean_chunk(t, NONE, 200, 128, False)):
        left, right = prompt(split), prompt(one)
        assert left.tokens == pytest.approx(right.tokens) and left.windowed_pairs == pytest.approx(right.windowed_pairs)


def test_reserved_tokens_by_hand() -> None:
    def kept(kind: str, prefill: bool = False) -> int:
        return reserved_tokens(MIXED, EngineOptions(kv_reservation=kind), prefill)

    assert kept("full") == 9400 and kept("full", True) == 9000
    assert kept("p50") == 1050 and kept("p75") == 1050 and kept("p99") == 9400 and kept("p50", True) == 1000
    steps = 9 / 4 + 49 / 2 + 399 / 4
    mean = (9 / 4 * 105 + 49 / 2 * 1025 + 399 / 4 * 9200) / steps
    assert kept("mean") == int(np.ceil(mean)) and kept("mean", True) == int(np.ceil(float(MIXED.isl)))
