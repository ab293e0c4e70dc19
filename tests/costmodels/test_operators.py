"""Operators before and after pricing: products, experts and attention by hand, and the floors of the data sheet."""

from dataclasses import replace

import numpy as np
import pytest

from costmodels.attention import latent_decode, latent_prefill, prompt_attention, query_attention
from costmodels.calibration.hierarchy import bounds
from costmodels.constants import NAMES, Constants
from costmodels.formats import FORMATS
from costmodels.gpus import GPUS, Gpu
from costmodels.kernel_sets import Key, carried
from costmodels.kernels import ExpertKernel, LatentKernel, ProductKernel, PromptKernel, QueryKernel
from costmodels.operators import Array, Number, Operator, operator_ms, price, stream
from costmodels.products import experts, matmul

H100 = GPUS["h100_sxm"]
ALONE = Constants()
ROUND = Constants(
    product_compute=0.5, product_memory=0.8, memory=0.4, attention_speed=0.5, prefill_attention=0.4,
    decode_attention=0.25, kv_memory=0.5, expert_compute=0.5, expert_memory=0.5, collective=0.5, link=0.5, dispatch=0.4,
    dispatch_link=0.5, launch_ms=0.002, crossing_ms=0.05, attention_ms=0.003,
)  # fmt: skip
PRODUCT = ProductKernel(
    start_ms=0.004, memory=0.8, compute=0.6, column=1000.0, depth=128.0, filling=2e6, inputs=0.5, outputs=0.25
)
EXPERT = ExpertKernel(
    start_ms=0.03, memory=0.5, compute=0.4, rows=0.25, handling=1000.0, filling=10.0, choice=1.0, width=512.0,
    skew=0.2, steepness=0.5, evening=0.0,
)  # fmt: skip
PROMPT = PromptKernel(start_ms=0.02, memory=0.5, compute=0.8, soft=32.0, lead=1000.0, filling=1e4)
QUERY = QueryKernel(start_ms=0.01, tail_ms=0.04, memory=0.5, compute=0.25)


def ms(operator: Operator, constants: Constants = ROUND, gpu: Gpu = H100) -> float:
    return float(operator_ms(gpu, constants, operator))


def test_a_plain_matrix_product_by_hand() -> None:
    # one token: 8192 x 28672 weights of two bytes, 470 MB at 3350 GB/s; constants are for measured kernels
    moved = 8192 * 28672 * 2 + (8192 + 28672) * 2
    plain = matmul(FORMATS["bfloat16"], 1.0, 8192, 28672, None)
    assert ms(plain) == pytest.approx(moved / 3350e6) == ms(plain, ALONE)
    # many: 2 x 4096 x 8192 x 28672 operations at 1979 TFLOP/s
    many = 2 * 4096 * 8192 * 28672 / 1979e9
    assert ms(matmul(FORMATS["fp8"], 4096.0, 8192, 28672, None)) == pytest.approx(many)
    with pytest.raises(ValueError, match="h100_sxm has no fp4 units"):
        ms(matmul(FORMATS["nvfp4"], 1.0, 8, 8, None))


def test_a_measured_matrix_product_by_hand() -> None:
    """Weights of few columns stream worse, few rows count as a tile, activations pass at a speed of their own."""
    # 4 tokens, 4096 x 2000 weights of a byte: a column of 1000 makes sqrt(1 + 1/4) of 8.2 MB
    streamed = 4096 * 2000 * np.sqrt(1.25) / (3350e6 * 0.8)
    # 128/4096 more operations a row of inputs, and 2e6/(128 x 2000) more for so small a result
    busy = 2 * 4 * 4096 * 2000 * (1 + 1 / 32) * (1 + 2e6 / 256000) / (1979e9 * 0.6)
    passed = 4 * (4096 / 0.5 + 2000 / 0.25) * 2 / 3350e6
    few = matmul(FORMATS["fp8"], 4.0, 4096, 2000, PRODUCT)
    assert ms(few, ALONE) == pytest.approx(np.hypot(streamed, busy) + passed + 0.004)
    # half the compute speed and 0.8 of the memory speed, for activations too; the start stays
    slow = np.hypot(streamed / 0.8, busy / 0.5) + passed / 0.8 + 0.004
    assert ms(few) == pytest.approx(slow)
    # beyond a tile the result counts as it is: 1024 x 2000 values
    busy = 2 * 1024 * 4096 * 2000 * (1 + 1 / 32) * (1 + 2e6 / (1024 * 2000)) / (1979e9 * 0.6)
    many = matmul(FORMATS["fp8"], 1024.0, 4096, 2000, PRODUCT)
    assert ms(many, ALONE) == pytest.approx(np.hypot(streamed, busy) + 256 * passed + 0.004)


def test_speeds_above_the_measured_ones_end_at_the_data_sheet() -> None:
    fast = Constants(product_compute=2.0, product_memory=1.5)
    # 0.8 x 1.5 and 0.6 x 2 are more than there is: the whole bandwidth, the whole peak
    streamed = 4096 * 2000 * np.sqrt(1.25) / 3350e6
    busy = 2 * 1024 * 4096 * 2000 * (1 + 1 / 32) * (1 + 2e6 / (1024 * 2000)) / 1979e9
    passed = 1024 * (4096 / 0.5 + 2000 / 0.25) * 2 / (3350e6 * 1.5)
    found = ms(matmul(FORMATS["fp8"], 1024.0, 4096, 2000, PRODUCT), fast)
    assert found == pytest.approx(np.hypot(streamed, busy) + passed + 0.004)
    # a kernel above the peak multiplied in a narrower format: its own speed is the most there is
    narrow = LatentKernel(0.0, 1.0, 1.6, 0.0, 1.0, 1.6)
    prompt = latent_prefill(16, 192, 128, 1e9, 1.0, 1.0, narrow)
    least = 2 * 16 * 320 * 1e9 / (989e9 * 1.6)
    assert ms(prompt, Constants(latent_speed=4.0)) == pytest.approx(least, rel=1e-4)


def test_experts_by_hand() -> None:
    # plain: 8 experts on a GPU, one copy each on average: 1 - 1/e of the weights are read
    plain = experts(FORMATS["fp8"], 8.0, 8, 1.0, 7168, 2048, None)
    values = 3 * 7168 * 2048
    moved = 8 * (1 - np.exp(-1)) * values + 8 * (2 * 7168 + 3 * 2048) * 2
    assert ms(plain, ALONE) == pytest.approx(moved / 3350e6)
    # as measured: 8 x 8 / (8 + 8) = 4 of the 8 are read, 2048 wide ones take 1 + 512/2048 as long
    few = experts(FORMATS["fp8"], 8.0, 8, 1.0, 7168, 2048, EXPERT)
    own = 8 * (2 * 7168 + 3 * 2048)
    streamed = 4 * values * 1.25 / (3350e6 * 0.5) + own * 2 / (3350e6 * 0.25)
    # 10 rows pad each of the four, and 1000 operations handle each of the tokens' own values
    busy = (2 * (8 + 10 * 4) * values * 1.25 + own * 1000) / (1979e9 * 0.4)
    assert ms(few, ALONE) == pytest.approx(np.hypot(streamed, busy) + 0.03)
    # half as fast as measured, but for the start
    slow = Constants(expert_memory=0.5, expert_compute=0.5)
    assert ms(few, slow) == pytest.approx(2 * np.hypot(streamed, busy) + 0.03)
    # a rank half as full again has twelve rows of eight
    hot = experts(FORMATS["fp8"], 8.0, 8, 1.5, 7168, 2048, EXPERT)
    assert hot == experts(FORMATS["fp8"], 12.0, 8, 1.0, 7168, 2048, EXPERT)
    # all of the held ones at most: choice 0.5 would give 2000 x 8 / 2004
    easy = replace(EXPERT, choice=0.001, rows=1.0)
    all_read = experts(FORMATS["fp8"], 2000.0, 8, 1.0, 7168, 2048, easy)
    weights = 8 * values * 1.25 + 2000 * (2 * 7168 + 3 * 2048) * 2 * 0.5
    assert float(np.asarray(all_read.moved)) == pytest.approx(weights, rel=1e-5)


def test_the_fullest_rank() -> None:
    assert EXPERT.hot(32, 8, 8, 1.01) == pytest.approx(2.0)  # 32 ** 0.2
    # a steeper popularity: the power grows by half of 0.4
    assert EXPERT.hot(32, 8, 8, 1.41) == pytest.approx(4.0)  # 32 ** 0.4
    evened = replace(EXPERT, evening=0.5)
    assert evened.hot(32, 16, 8, 1.01) == pytest.approx(1.25)
    assert evened.hot(32, 16, 8, 1.41) == pytest.approx(1.75)
    assert EXPERT.hot(1, 256, 8, 1.2) == 1
    # a rank with one expert gets one of a token's 8 copies at most: never more than 4 of 32 parts
    assert replace(EXPERT, skew=0.9).hot(32, 1, 8, 1.01) == pytest.approx(4.0)


def test_attention_of_prompts_by_hand() -> None:
    # two prompts of 4096 on 8 heads of 128, one KV head: pairs under the mask, keys and values of two bytes
    pairs, queries, kept = 4096.0**2, 8192.0, 8192 * 2 * 128 * 2.0
    plain = prompt_attention("bf16", 8, 128, pairs, queries, kept, None)
    assert ms(plain) == pytest.approx(4 * 8 * 128 * 4096**2 / (989e9 * 0.4) + 0.5 * 0.002)
    # heads count as 32 wider for their exponentials, each query sees 500 keys more, few tiles take 1e4 / 65536 longer
    flops = 4 * 8 * 160 * (4096**2 + 8192 * 500) * (1 + 1e4 / 65536)
    moved = kept + 2 * 8192 * 8 * 128 * 2
    run = prompt_attention("bf16", 8, 128, pairs, queries, kept, PROMPT)
    whole = np.hypot(flops / (989e9 * 0.8), moved / (3350e6 * 0.5))
    assert ms(run, ALONE) == pytest.approx(whole + 0.02)
    assert ms(run) == pytest.approx(2 * whole + 0.02), "half as fast; no launch of its own beside the start"
    assert ms(prompt_attention("bf16", 8, 128, 0.0, 0.0, 0.0, PROMPT)) == 0, "no prompt, no kernel"
    in_fp8 = prompt_attention("fp8", 8, 128, pairs, queries, kept, PROMPT)
    assert ms(in_fp8, ALONE) == pytest.approx(np.hypot(flops / (1979e9 * 0.8), moved / (3350e6 * 0.5)) + 0.02)


def test_attention_of_single_queries_by_hand() -> None:
    # 64 sequences of 5000 tokens, 8 heads of 128 on one KV head: 2 x 128 values of a byte a token
    read, kept = 64 * 5000.0, 64 * 5000 * 256.0
    flops = 4 * 8 * 128 * read
    plain = query_attention("bf16", 8, 128, read, 1.0, kept, None)
    assert ms(plain) == pytest.approx(max(flops / (989e9 * 0.25), kept / (3350e6 * 0.5)) + 0.5 * (0.002 + 2 * 0.003))
    run = query_attention("fp8", 8, 128, read, 1.0, kept, QUERY)
    whole = np.hypot(flops / (989e9 * 0.25), kept / (3350e6 * 0.5))
    # the last unit is waited for: 0.04 ms where there is much to do, as long as the work itself where there is little
    assert ms(run, ALONE) == pytest.approx(whole + 0.04 * whole / (whole + 0.04) + 0.01)
    assert ms(run) == pytest.approx(2 * whole + 0.04 * 2 * whole / (2 * whole + 0.04) + 0.01 + 0.5 * 2 * 0.003)
    drafts = query_attention("bf16", 8, 128, read, 3.0, kept, QUERY)
    assert float(np.sum(drafts.flops)) == 3 * flops and drafts.moved == run.moved
    assert ms(query_attention("bf16", 8, 128, 0.0, 1.0, 0.0, QUERY), ALONE) == 0, "no decode, no kernel"


def test_latent_attention_by_hand() -> None:
    kernel = LatentKernel(0.02, 0.5, 0.8, 0.01, 0.25, 0.4)
    decode = latent_decode(16, 512, 64, 64 * 5000.0, 1.0, 576, kernel)
    streamed, busy = 64 * 5000 * 576 / (3350e6 * 0.5), 2 * 16 * 1088 * 64 * 5000 / (989e9 * 0.8)
    assert ms(decode) == pytest.approx(np.hypot(streamed, busy) + 0.02 + 0.5 * 2 * 0.003)
    assert ms(latent_decode(16, 512, 64, 0.0, 1.0, 576, kernel), ALONE) == 0, "no decode, no kernel"
    prompt = latent_prefill(16, 192, 128, 4096**2 / 2, 4096.0, 4096.0, kernel)
    streamed, busy = 16 * 320 * 2 * 8192 / (3350e6 * 0.25), 2 * 16 * 320 * 4096**2 / 2 / (989e9 * 0.4)
    assert ms(prompt, ALONE) == pytest.approx(np.hypot(streamed, busy) + 0.01)
    assert ms(prompt, Constants(latent_speed=2.0)) == pytest.approx(np.hypot(streamed / 2, busy / 2) + 0.01)


def test_streams_by_hand_and_operators_one_after_another() -> None:
    norms = stream(3350e6 * 0.4, launches=2)
    assert ms(norms) == pytest.approx(1 + 2 * 0.002)
    product = matmul(FORMATS["fp8"], 4.0, 4096, 2000, PRODUCT)
    assert float(price(H100, ROUND, [(3, norms), (0.5, product)])) == pytest.approx(3 * ms(norms) + ms(product) / 2)


FASTEST = Constants(**dict(zip(NAMES, np.exp(bounds()[1]).tolist(), strict=True)))
"""Every speed at its highest value."""
ROWS = np.array([1.0, 16, 128, 1024, 16384])
ANYWHERE = {"hopper": "h200_sxm", "blackwell": "gb300", "*": "b200_sxm"}


def least_ms(gpu: Gpu, math: str, flops: Number, moved: Number, most: float = 1.0) -> Array:
    """What the data sheet allows; kernels may multiply in narrower formats."""
    peak = gpu.tflops(math)  # type: ignore[arg-type]
    assert peak is not None
    return np.maximum(flops / (peak * 1e9 * most), moved / (gpu.memory_gbps * 1e6))


def of_kind(kind: str) -> list[tuple[str, Gpu, object]]:
    """Format, GPU and kernel of all carried ones of a kind."""
    sets: dict[Key, object] = getattr(carried(), kind)
    return [(key[0], GPUS[ANYWHERE[key[1]] if key[3] == "*" else key[3]], one) for key, one in sets.items()]


def test_no_carried_product_or_expert_is_faster_than_the_data_sheet() -> None:
    """Weights read once and operations at the peak, under the fastest constants that a fit may give."""
    for form, gpu, kernel in of_kind("products"):
        used = FORMATS[form]
        for inputs, outputs in ((512, 512), (8192, 1024), (2048, 28672)):
            assert isinstance(kernel, ProductKernel)
            found = operator_ms(gpu, FASTEST, matmul(used, ROWS, inputs, outputs, kernel))
            least = least_ms(gpu, used.math, 2 * ROWS * inputs * outputs, inputs * outputs * used.bytes)
            assert bool((found >= least).all()), (form, gpu.name)
    for form, gpu, kernel in of_kind("experts"):
        used = next(one for one in FORMATS.values() if one.kernel == form.split(" ")[0])
        for held, width in ((1, 14336), (8, 2048), (128, 384)):
            assert isinstance(kernel, ExpertKernel)
            found = operator_ms(gpu, FASTEST, experts(used, ROWS, held, 1.0, 4096, width, kernel))
            one, chosen = 3 * 4096 * width, ROWS * held / (ROWS + np.asarray(kernel.choice) * held)
            least = least_ms(gpu, used.math, 2 * ROWS * one, chosen * one * used.bytes)
            assert bool((found >= least).all()), (form, gpu.name)


def test_no_carried_attention_is_faster_than_the_data_sheet() -> None:
    """Keys and values read once and operations at the peak, or at the peak that was measured in FP8."""
    for form, gpu, kernel in of_kind("prompts"):
        assert isinstance(kernel, PromptKernel)
        math = "fp8" if form.startswith("fp8") else "bf16"
        for size in (64, 128):
            pairs, kept = ROWS * 4096**2 / 2, ROWS * 4096 * 2 * size
            one = prompt_attention(math, 8, size, pairs, ROWS * 4096, kept, kernel)  # type: ignore[arg-type]
            assert bool((operator_ms(gpu, FASTEST, one) >= least_ms(gpu, math, 4 * 8 * size * pairs, kept)).all()), form
    for form, gpu, kernel in of_kind("queries"):
        assert isinstance(kernel, QueryKernel)
        for heads, kv_heads in ((8, 1), (16, 8)):
            read = ROWS * 5000
            kept = read * 2 * kv_heads * 128
            found = operator_ms(gpu, FASTEST, query_attention("bf16", heads, 128, read, 1.0, kept, kernel))
            assert bool((found >= least_ms(gpu, "bf16", 4 * heads * 128 * read, kept)).all()), form
    for form, gpu, kernel in of_kind("latent"):
        assert isinstance(kernel, LatentKernel)
        read = ROWS * 5000
        found = operator_ms(gpu, FASTEST, latent_decode(16, 512, 64, read, 1.0, 576, kernel))
        most = max(1.0, kernel.decode_compute)
        assert bool((found >= least_ms(gpu, "bf16", 2 * 16 * 1088 * read, 576 * read, most)).all()), form
