"""Memory per GPU, against counts made by hand."""

from dataclasses import replace
from fractions import Fraction

import pytest

from costmodels.formats import formats
from costmodels.memory import (
    GIB,
    RUNTIME_RESERVE_GIB,
    footprint,
    kv_bytes_per_sequence,
    kv_bytes_per_token_layer,
    state_bytes,
    weight_bytes,
)
from costmodels.models import MODELS
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.steps import reserved_tokens
from costmodels.traffic import Traffic

BF16 = formats("gemm:bfloat16 moe:bfloat16 kv:bfloat16 fmha:bfloat16")
FP8 = formats("gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16")
LLAMA = MODELS["meta-llama/Meta-Llama-3.1-70B"]
DEEPSEEK = MODELS["deepseek-ai/DeepSeek-V3"]
GPT_OSS = MODELS["openai/gpt-oss-120b"]
QWEN35 = MODELS["Qwen/Qwen3.5-397B-A17B"]
GLM = MODELS["zai-org/GLM-5"]


def test_weights_of_one_gpu_are_all_parameters() -> None:
    assert weight_bytes(LLAMA, BF16, Partition()) == 2 * LLAMA.parameters


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_tensor_parallel_weights_add_up(tp: int) -> None:
    assert tp * weight_bytes(LLAMA, BF16, Partition(tp=tp)) == 2 * LLAMA.parameters


def test_more_ranks_than_kv_heads_repeat_them() -> None:
    spare = 16 * weight_bytes(LLAMA, BF16, Partition(tp=16)) - 2 * LLAMA.parameters
    assert spare == LLAMA.layers * 2 * 8 * LLAMA.d_model * LLAMA.d_head * 2


def test_attention_dp_repeats_attention_but_not_experts() -> None:
    whole = weight_bytes(DEEPSEEK, FP8, Partition(tp=8, moe_ep=8))
    apart = weight_bytes(DEEPSEEK, FP8, Partition(attention_dp=8, moe_ep=8))
    down = DEEPSEEK.d_model * (1536 + 512 + 64)  # repeated on every TP rank anyway
    attention = DEEPSEEK.layers * (DEEPSEEK.attention_parameters - down)
    ffn = 3 * DEEPSEEK.dense_ffn_parameters + 58 * DEEPSEEK.expert_parameters  # dense layers, shared experts
    vocabulary = 2 * 2 * DEEPSEEK.head_parameters  # embedding and head, two bytes each
    assert 8 * (apart - whole) == 7 * (attention + ffn + vocabulary)
    assert whole * 8 == pytest.approx(DEEPSEEK.parameters, rel=0.02)


def test_kv_bytes_by_hand() -> None:
    assert kv_bytes_per_token_layer(LLAMA, BF16, 1) == 2 * 8 * 128 * 2
    assert kv_bytes_per_token_layer(LLAMA, BF16, 8) == 2 * 1 * 128 * 2
    assert kv_bytes_per_token_layer(LLAMA, BF16, 64) == 2 * 1 * 128 * 2, "heads are repeated"
    assert kv_bytes_per_token_layer(DEEPSEEK, FP8, 1) == kv_bytes_per_token_layer(DEEPSEEK, FP8, 8) == 512 + 64
    assert kv_bytes_per_sequence(LLAMA, BF16, Partition(), 5250) == 5250 * 327680


def test_every_second_layer_of_gpt_oss_keeps_a_window_only() -> None:
    token = kv_bytes_per_token_layer(GPT_OSS, BF16, 1)
    assert kv_bytes_per_sequence(GPT_OSS, BF16, Partition(), 5000) == token * (18 * 5000 + 18 * 128)
    assert kv_bytes_per_sequence(GPT_OSS, BF16, Partition(), 100) == token * 36 * 100


def test_the_largest_batch_is_the_last_that_fits() -> None:
    memory = footprint(LLAMA, BF16, Partition(tp=4), 5250, 1)
    largest = memory.largest_batch(Fraction(80))
    assert memory.bytes(largest) <= 80 * GIB < memory.bytes(largest + 1)
    exactly = Fraction(memory.bytes(7), GIB)
    assert memory.largest_batch(exactly) == 7
    assert memory.largest_batch(exactly - Fraction(1, GIB)) == 6


def test_what_does_not_fit_has_no_batch() -> None:
    assert footprint(LLAMA, BF16, Partition(), 5250, 1).largest_batch(Fraction(80)) == 0


def test_pipeline_stages_hold_the_cache_of_all_micro_batches() -> None:
    one = footprint(LLAMA, BF16, Partition(tp=2), 5250, 1)
    two = footprint(LLAMA, BF16, Partition(tp=2, pp=2), 5250, 1)
    assert two.sequence_bytes == one.sequence_bytes, "half the layers, twice the micro-batches"
    reserve = int(RUNTIME_RESERVE_GIB) * GIB
    assert (one.fixed_bytes - reserve) / 2 == pytest.approx(two.fixed_bytes - reserve, rel=0.01)


def test_uneven_stages_are_priced_at_the_fullest() -> None:
    cut = Partition(tp=8, moe_ep=8, pp=2)
    assert weight_bytes(DEEPSEEK, FP8, cut) > weight_bytes(DEEPSEEK, FP8, Partition(tp=8, moe_ep=8)) / 2


def test_gated_attention_doubles_the_query_projection() -> None:
    plain = replace(LLAMA, gated_attention=True)
    gate = LLAMA.layers * LLAMA.d_model * LLAMA.heads * LLAMA.d_head
    for tp in (1, 4):
        cut = Partition(tp=tp)
        assert weight_bytes(plain, BF16, cut) - weight_bytes(LLAMA, BF16, cut) == 2 * gate // tp


def test_linear_layers_keep_a_state_of_fixed_size() -> None:
    token = 2 * 2 * 256 * 2  # keys and values of two heads in bfloat16
    state = 4 * 64 * 128 * 128
    assert kv_bytes_per_sequence(QWEN35, BF16, Partition(), 1000) == 15 * 1000 * token + 45 * state
    assert state_bytes(QWEN35, 8) == state // 8
    assert (
        kv_bytes_per_sequence(QWEN35, BF16, Partition(tp=2, moe_tp=2), 1000) == 15 * 1000 * token // 2 + 45 * state // 2
    )
    assert weight_bytes(QWEN35, BF16, Partition()) == 2 * QWEN35.parameters


def test_sparse_attention_keeps_the_keys_of_its_indexer() -> None:
    assert kv_bytes_per_sequence(GLM, FP8, Partition(), 1000) == 78 * 1000 * (576 + 128)
    repeated = 78 * (GLM.d_model * (2048 + 576) + GLM.indexer_parameters)
    whole, half = (weight_bytes(GLM, FP8, Partition(tp=tp, moe_ep=tp)) for tp in (1, 2))
    router = 2 * 75 * GLM.router_parameters
    assert 2 * half == pytest.approx(whole + repeated + router, rel=1e-9)


def test_batches_in_a_chunked_pipeline_are_fewer() -> None:
    """Whole prompts: one batch a stage. In 32 chunks: the one that enters, and the one that still has to leave."""
    cut = Partition(tp=2, pp=4)
    whole, chunks = (footprint(LLAMA, BF16, cut, 32768, 1024, steps=steps) for steps in (1, 32))
    cache = kv_bytes_per_sequence(LLAMA, BF16, cut, 32768)
    assert whole.sequence_bytes - chunks.sequence_bytes == 2 * cache
    assert footprint(LLAMA, BF16, Partition(tp=2), 32768, 1024, steps=32).sequence_bytes > cache
    two = footprint(LLAMA, BF16, cut, 32768, 1024, steps=2)
    assert whole.sequence_bytes - two.sequence_bytes == cache, "1 + ceil(3 / 2) batches"


def test_drafting_loads_the_layers_for_it() -> None:
    cut = Partition(attention_dp=8, moe_ep=8)
    plain, drafting = (footprint(DEEPSEEK, FP8, cut, 5000, 4, drafting=on) for on in (False, True))
    layer = DEEPSEEK.attention_parameters + DEEPSEEK.shared_parameters + 32 * DEEPSEEK.expert_parameters
    assert drafting.fixed_bytes - plain.fixed_bytes == layer + 2 * DEEPSEEK.router_parameters
    assert drafting.sequence_bytes - plain.sequence_bytes == 5000 * 576
    assert footprint(LLAMA, BF16, cut, 5000, 4, drafting=True) == footprint(LLAMA, BF16, cut, 5000, 4)


@pytest.mark.parametrize("prefill", [False, True])
def test_a_smaller_reservation_holds_more(prefill: bool) -> None:
    traffic = Traffic(((1000, 200, Fraction(1, 2)), (9000, 1000, Fraction(1, 2))))
    largest = []
    for kind in ("full", "p99", "mean", "p50"):
        reserved = reserved_tokens(traffic, EngineOptions(kv_reservation=kind), prefill)
        memory = footprint(LLAMA, BF16, Partition(tp=4), reserved, 1)
        largest.append(memory.largest_batch(Fraction(80)))
    assert largest[0] == largest[1] < largest[2] < largest[3]
