"""The KV cache that is handed over, against counts made by hand and published ones."""

from dataclasses import replace
from fractions import Fraction

import pytest

from costmodels.formats import formats
from costmodels.kv import distinct_shards, handed_over, kv_bytes_per_request, linear_state_bytes
from costmodels.memory import kv_bytes_per_sequence
from costmodels.models import MODELS
from costmodels.partition import Partition
from costmodels.traffic import Traffic

BF16, FP8 = Fraction(16), Fraction(8)
LLAMA = MODELS["meta-llama/Meta-Llama-3.1-70B"]
DEEPSEEK = MODELS["deepseek-ai/DeepSeek-V3"]
GPT_OSS = MODELS["openai/gpt-oss-120b"]


@pytest.mark.parametrize(
    ("name", "kilobytes"),
    [("deepseek-ai/DeepSeek-V3", "70.272"), ("meta-llama/Meta-Llama-3.1-405B", "516.096")],
)
def test_bytes_of_a_token_are_those_published(name: str, kilobytes: str) -> None:
    """Table 1 of "Insights into DeepSeek-V3" (Zhao et al., arXiv 2505.09343): KV cache per token in bfloat16."""
    assert kv_bytes_per_request(MODELS[name], BF16, Traffic.constant(1, 1)) == Fraction(kilobytes) * 1000


def test_a_request_of_llama_70b() -> None:
    """80 layers x 4500 tokens x 2 x 8 heads x 128 values x 2 bytes."""
    found = handed_over(LLAMA, "gemm:fp8 kv:bfloat16", Partition(tp=4), Traffic.constant(4500, 750))
    assert (found.bytes_per_request, found.layers, found.shards) == (80 * 4500 * 2 * 8 * 128 * 2, 80, 4)


def test_windowed_layers_hand_over_their_window_only() -> None:
    """18 of 36 layers of gpt-oss-120b keep 128 tokens of 2 x 8 heads x 64 values."""
    size = kv_bytes_per_request(GPT_OSS, FP8, Traffic.constant(1000, 10))
    assert size == (18 * 1000 + 18 * 128) * 2 * 8 * 64
    assert kv_bytes_per_request(GPT_OSS, FP8, Traffic.constant(100, 10)) == 36 * 100 * 2 * 8 * 64


def test_linear_layers_hand_over_a_state_whatever_the_prompt() -> None:
    """One head of 4 x 8 values in 4 bytes, and 3 inputs of the convolution over 4 + 4 + 8 values in 2 bytes."""
    shape = {"linear_key_heads": 1, "linear_value_heads": 1, "linear_key_dim": 4, "linear_value_dim": 8}
    mixed = replace(LLAMA, linear_layers=60, conv_kernel=4, **shape)
    assert linear_state_bytes(mixed) == 4 * 8 * 4 + 3 * 16 * 2
    short, long = (kv_bytes_per_request(mixed, BF16, Traffic.constant(isl, 1)) for isl in (100, 300))
    assert long - short == 200 * 20 * 2 * 8 * 128 * 2
    assert short - (long - short) / 2 == 60 * linear_state_bytes(mixed)


def test_prompts_of_several_lengths_count_by_their_share() -> None:
    traffic = Traffic(((50, 10, Fraction(1, 4)), (300, 10, Fraction(3, 4))))
    short, long = (kv_bytes_per_request(GPT_OSS, BF16, Traffic.constant(isl, 10)) for isl in (50, 300))
    assert kv_bytes_per_request(GPT_OSS, BF16, traffic) == short / 4 + long * 3 / 4
    assert kv_bytes_per_request(GPT_OSS, BF16, traffic) < kv_bytes_per_request(GPT_OSS, BF16, Traffic.constant(250, 10))


@pytest.mark.parametrize(
    ("partition", "llama", "deepseek"),
    [
        (Partition(), 1, 1),
        (Partition(tp=8), 8, 1),
        (Partition(tp=16), 8, 1),
        (Partition(tp=2, pp=4), 8, 4),
        (Partition(attention_dp=8, moe_ep=8), 8, 8),
        (Partition(tp=2, attention_dp=4, moe_ep=8), 8, 4),
        (Partition(tp=2, cp=2), 4, 2),
    ],
)
def test_gpus_with_a_distinct_shard(partition: Partition, llama: int, deepseek: int) -> None:
    assert distinct_shards(LLAMA, partition) == llama
    assert distinct_shards(DEEPSEEK, partition) == deepseek


@pytest.mark.parametrize("partition", [Partition(), Partition(tp=4), Partition(pp=4), Partition(tp=2, pp=2)])
def test_the_shards_of_a_replica_are_the_whole_cache(partition: Partition) -> None:
    """What the memory model puts on each GPU, times the GPUs with distinct shards."""
    precision = formats("gemm:fp8 kv:fp8")
    each = kv_bytes_per_sequence(LLAMA, precision, partition, 1000)
    whole = kv_bytes_per_request(LLAMA, precision.kv.bits, Traffic.constant(1000, 1))
    assert each * distinct_shards(LLAMA, partition) == whole


def test_the_kv_format_counts_and_is_bfloat16_where_none_is_named() -> None:
    sizes = [
        handed_over(DEEPSEEK, precision, Partition(), Traffic.constant(7, 1)).bytes_per_request
        for precision in ("gemm:fp8 kv:fp8", "gemm:fp8 kv:bfloat16", "fp8")
    ]
    assert sizes[1] == sizes[2] == 2 * sizes[0]
    with pytest.raises(ValueError, match="got KV format 'fp7', allowed: bfloat16"):
        handed_over(DEEPSEEK, "gemm:fp8 kv:fp7", Partition(), Traffic.constant(7, 1))
