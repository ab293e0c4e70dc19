"""Operators and layers: figures by hand, and the laws of collectives."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from costmodels.constants import IDEAL, Constants, fitted
from costmodels.engine import Engine
from costmodels.formats import FORMATS, formats
from costmodels.gpus import GPUS, Gpu
from costmodels.kernels import SENT, ExchangeKernel, ExpertKernel, LatentKernel, expert_kernels, nearest
from costmodels.layers import Step, layers_work, step_time, work_of
from costmodels.mixture import exchanges, expert_work, experts_ms
from costmodels.models import MODELS
from costmodels.operators import (
    Operator,
    all_reduce,
    dispatch,
    experts,
    gather,
    latent_decode,
    latent_prefill,
    matmul,
    operator_ms,
    price,
    send,
)  # fmt: skip
from costmodels.partition import Partition

H100 = GPUS["h100_sxm"]
FP8 = formats("gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16")
BF16 = formats("gemm:bfloat16 moe:bfloat16 kv:bfloat16 fmha:bfloat16")
DEEPSEEK = MODELS["deepseek-ai/DeepSeek-V3"]
ROUND = Constants(
    bf16=0.5, fp8=0.5, memory=0.8, prefill_attention=0.4, decode_attention=0.25, kv_memory=0.5, expert_compute=0.5,
    expert_memory=0.5, nvlink=0.5, link=0.5, dispatch=0.4, dispatch_link=0.5, launch_ms=0.002, collective_ms=0.01,
    crossing_ms=0.05, quantise_ms=0.001, attention_ms=0.003,
)  # fmt: skip
EXCHANGE = ExchangeKernel(0.03, 0.02, 0.5)
DOMAINS = (1, 2, 4, 8, 16, 32, 36, 64, 72)


def ms(operator: Operator, constants: Constants = ROUND, gpu: Gpu = H100) -> float:
    return float(operator_ms(gpu, constants, operator))


def decoding(batch: float, context: float, queries: float = 1.0) -> Step:
    none = np.zeros(1)
    return Step(none, none, none, none, none, np.array([batch]), queries, context, np.array([batch * queries]))


def prompting(tokens: float) -> Step:
    one = np.ones(1)
    return Step(
        one * tokens, one * tokens**2 / 2, one * tokens, one * tokens, one * tokens**2 / 2, one * 0, 1.0, 1.0, one
    )


def test_a_matrix_product_by_hand() -> None:
    # one token: 8192 x 28672 weights of two bytes, 470 MB at 80 % of 3350 GB/s
    moved = 8192 * 28672 * 2 + (8192 + 28672) * 2
    assert ms(matmul(FORMATS["bfloat16"], 1.0, 8192, 28672)) == pytest.approx(moved / (3350e6 * 0.8) + 0.002)
    # many: 2 x 4096 x 8192 x 28672 operations at half of 1979 TFLOP/s, and the inputs converted to FP8
    many = 2 * 4096 * 8192 * 28672 / (1979e9 * 0.5) + 0.002 + 0.001
    assert ms(matmul(FORMATS["fp8"], 4096.0, 8192, 28672)) == pytest.approx(many)
    with pytest.raises(ValueError, match="h100_sxm has no fp4 units"):
        ms(matmul(FORMATS["nvfp4"], 1.0, 8, 8))


KERNEL = ExpertKernel(
    start_ms=0.03, memory=0.5, compute=0.4, rows=0.25, width=512.0, skew=0.2, evening=0.0
)  # fmt: skip
ALONE = Constants()


def test_experts_by_hand() -> None:
    # plain: 8 experts on a GPU, one copy each on average: 1 - 1/e of the weights are read
    plain = experts(FORMATS["fp8"], 8.0, 8, 1.0, 7168, 2048, None)
    values = 3 * 7168 * 2048
    moved = 8 * (1 - np.exp(-1)) * values + 8 * (2 * 7168 + 3 * 2048) * 2
    assert ms(plain, ALONE) == pytest.approx(moved / 3350e6)
    # as measured: 4 of the 8 are read, 2048 wide ones take 1 + 512/2048 as long; little arithmetic
    few = experts(FORMATS["fp8"], 8.0, 8, 1.0, 7168, 2048, KERNEL)
    streamed = 4 * values * 1.25 / (3350e6 * 0.5) + 8 * (2 * 7168 + 3 * 2048) * 2 / (3350e6 * 0.25)
    busy = 2 * 8 * values * 1.25 / (1979e9 * 0.4)
    assert ms(few, ALONE) == pytest.approx(np.hypot(streamed, busy) + 0.03)
    # half as fast as measured, but for the start
    slow = Constants(expert_memory=0.5, expert_compute=0.5)
    assert ms(few, slow) == pytest.approx(2 * np.hypot(streamed, busy) + 0.03)


def test_the_fullest_rank() -> None:
    assert KERNEL.hot(32, 8, 8) == pytest.approx(2.0)  # 32 ** 0.2
    evened = replace(KERNEL, evening=0.5)
    assert evened.hot(32, 16, 8) == pytest.approx(1.25)
    assert KERNEL.hot(1, 256, 8) == 1
    # a rank with one expert gets one of a token's 8 copies at most: never more than 4 of 32 parts
    assert replace(KERNEL, skew=0.9).hot(32, 1, 8) == pytest.approx(4.0)


def test_latent_attention_by_hand() -> None:
    kernel = LatentKernel(0.02, 0.5, 0.8, 0.01, 0.25, 0.4)
    decode = latent_decode(16, 512, 64, 64 * 5000.0, 1.0, 576, kernel)
    streamed, busy = 64 * 5000 * 576 / (3350e6 * 0.5), 2 * 16 * 1088 * 64 * 5000 / (989e9 * 0.8)
    assert ms(decode) == pytest.approx(np.hypot(streamed, busy) + 0.02 + 0.5 * (0.002 + 2 * 0.003), rel=2e-3)
    assert ms(latent_decode(16, 512, 64, 0.0, 1.0, 576, kernel), ALONE) == 0, "no decode, no kernel"
    prompt = latent_prefill(16, 192, 128, 4096**2 / 2, 4096.0, 4096.0, kernel)
    streamed, busy = 16 * 320 * 2 * 8192 / (3350e6 * 0.25), 2 * 16 * 320 * 4096**2 / 2 / (989e9 * 0.4)
    assert ms(prompt, ALONE) == pytest.approx(np.hypot(streamed, busy) + 0.01, rel=2e-3)


def test_a_ramp_by_hand() -> None:
    # t at full speed takes t + 2 sqrt(ramp t)
    t = 1e9 * 7 / 8 / 450e6
    assert ms(gather(8, 8, 1e9), Constants(ramp_ms=0.04)) == pytest.approx(t + 2 * np.sqrt(0.04 * t))


def test_collectives_by_hand() -> None:
    assert ms(gather(8, 1, 1e9)) == 0 and ms(all_reduce(8, 1, 1e9)) == 0
    inside = 1e9 * 7 / 8 / (450e6 * 0.5)
    assert ms(gather(8, 8, 1e9)) == pytest.approx(inside + 0.01)
    # two domains: half comes over the eight links of the domain, shared fully (spread 1)
    more = ms(gather(8, 16, 2e9)) - ms(gather(8, 16, 1e9))
    assert more == pytest.approx(inside + 1e9 / 2 / 8 / (50e6 * 0.5), rel=0.05)
    assert ms(all_reduce(8, 8, 1e9)) == pytest.approx(2 * inside + 0.01)
    alone = Constants(spread=0.0)
    assert ms(gather(8, 16, 1e9), alone) - ms(gather(8, 16, 0.0), alone) > 1e9 / 2 / 50e6


def test_a_ring_by_hand() -> None:
    # a ring of 16 sends 15/16 of the whole over each of its links, whatever the domain; hierarchies 1/2
    ring, tree = Constants(ring=1.0, spread=0.0), Constants(ring=0.0, spread=0.0)
    inside = 1e9 * 15 / 16 / 450e6
    assert ms(gather(8, 16, 1e9), ring) == pytest.approx(inside + 1e9 * 15 / 16 / 50e6)
    assert ms(gather(8, 16, 1e9), tree) == pytest.approx(inside + 1e9 / 2 / 50e6)
    assert ms(gather(8, 8, 1e9), ring) == ms(gather(8, 8, 1e9), tree), "inside a domain there is no link"
    half = Constants(ring=0.5, spread=1.0)
    assert ms(gather(8, 64, 1e9), half) == pytest.approx(1e9 * (63 / 450e6 + (56 + 7 / 2) / 8 / 50e6) / 64)


def test_an_all_reduce_may_be_faster_than_its_halves() -> None:
    plain, fast = Constants(), Constants(reduce=1.25)
    assert ms(all_reduce(8, 16, 1e9), fast) == pytest.approx(ms(all_reduce(8, 16, 1e9), plain) / 1.25)
    assert ms(gather(8, 16, 1e9), fast) == ms(gather(8, 16, 1e9), plain)


def test_a_dispatch_by_hand() -> None:
    # 2 copies of a token on 4 GPUs reach 4 x (1 - (3/4)^2) = 7/4 of them, of which 3/4 are other GPUs
    moved = 1e9 * 7 / 4 * 3 / 4 / 450e6
    assert ms(dispatch(8, 4, 2, 1e5, 1e4, None), IDEAL) == pytest.approx(moved)
    kernel = ExchangeKernel(0.03, 0.02, 0.5)
    assert ms(dispatch(8, 4, 2, 1e5, 1e4, kernel)) == pytest.approx((moved / 0.5 + 0.03 + 1e5 * 2e-5) / 0.4)
    # two domains: the other one is wanted with probability 1 - (1/2)^2
    across = dispatch(2, 4, 2, 1e5, 1e4, kernel)
    assert float(across.over_link) == pytest.approx(1e9 * 3 / 4) and across.crossings == 1
    more = ms(across) - ms(dispatch(4, 4, 2, 1e5, 1e4, kernel))
    assert more == pytest.approx(1e9 * 3 / 4 / (50e6 * 0.5) + 0.05)
    assert ms(dispatch(8, 1, 2, 1e5, 1e4, kernel)) == 0


def deepseek(serving: str, gpu: str = "h200_sxm", form: str = "fp8_block", **changed: object) -> Engine:
    """DeepSeek with whole experts on 16 ranks of two attention-TP GPUs."""
    cut = Partition(tp=2, attention_dp=8, moe_ep=16)
    used = formats(f"gemm:{form} moe:{form} kv:fp8 fmha:bfloat16")
    return replace(Engine(DEEPSEEK, GPUS[gpu], used, cut, 8, serving, "operators"), **changed)


def exchanged(engine: Engine, tokens: float, decodes: bool) -> list[Operator]:
    return exchanges(engine, np.array([tokens]), np.array([decodes]))


def test_tokens_are_sent_in_the_width_that_their_engine_sends() -> None:
    for serving, gpu, form, width in (
        ("sglang", "h200_sxm", "fp8_block", 1.0), ("trtllm", "h200_sxm", "fp8_block", 2.0),
        ("trtllm", "b200_sxm", "nvfp4", 9 / 16), ("sglang", "h200_sxm", "bfloat16", 2.0),
    ):  # fmt: skip
        there, back = exchanged(deepseek(serving, gpu, form), 100.0, False)
        ratio = float(there.over_link[0] / back.over_link[0])  # type: ignore[index]
        assert ratio == pytest.approx(width / 2, rel=1e-3), (serving, gpu, form)
    for serving, gpu, form, width in (
        ("trtllm", "b200_sxm", "fp8_block", 1.0), ("trtllm", "h200_sxm", "fp8_block", 2.0),
        ("sglang", "b200_sxm", "fp8_block", 2.0), ("trtllm", "gb200", "nvfp4", 9 / 16),
        ("trtllm", "gb200", "w4a8_mxfp4_mxfp8", 2.0),
    ):  # fmt: skip
        gathered, scattered = exchanged(deepseek(serving, gpu, form, dispatches=False), 100.0, False)
        ratio = float(gathered.over_nvlink[0] / scattered.over_nvlink[0])  # type: ignore[index]
        assert ratio == pytest.approx(width / 2, rel=1e-3), (serving, gpu, form)


def test_exchanges_of_prompts_and_of_decodes_are_two_kernels() -> None:
    few, many = ExchangeKernel(0.01, 0.001, 0.5), ExchangeKernel(0.05, 0.1, 0.25)
    engine = deepseek("sglang", other_kernels=(None, None, many, few))
    both = exchanges(engine, np.array([100.0, 100.0]), np.array([True, False]))
    for one, two, together in zip(exchanged(engine, 100.0, True), exchanged(engine, 100.0, False), both, strict=True):
        assert np.concatenate([one.over_nvlink, two.over_nvlink]) == pytest.approx(together.over_nvlink)  # type: ignore[arg-type]
        assert np.concatenate([one.handled_ms, two.handled_ms]) == pytest.approx(together.handled_ms)  # type: ignore[arg-type]
        assert float(one.handled_ms[0]) == pytest.approx(0.01 + 50 * 1e-6)  # type: ignore[index]
    one_node = exchanged(replace(engine, exchanged=8), 100.0, True)
    assert all(float(np.sum(one.over_link)) == 0 and one.crossings == 0 for one in one_node)


def test_kernels_of_sent_tokens_are_the_engines_own_where_there_are_any() -> None:
    sets, form = expert_kernels(), "fp8_block" + SENT
    h200, b200 = GPUS["h200_sxm"], GPUS["b200_sxm"]
    assert nearest(sets, form, h200, "sglang") == sets[form, "hopper", "sglang", "h200_sxm"]
    assert nearest(sets, form, h200, "trtllm") == sets[form, "hopper", "trtllm", "h200_sxm"]
    assert nearest(sets, form, h200, "vllm") == sets["fp8_block", "hopper", "vllm", "h200_sxm"]
    assert nearest(sets, form, b200, "trtllm") == sets["fp8_block", "blackwell", "trtllm", "b200_sxm"]
    assert nearest(sets, "bfloat16" + SENT, h200, "sglang") == sets["bfloat16", "hopper", "sglang", "h200_sxm"]
    without = {key: one for key, one in sets.items() if key[0] != form or key[2] != "sglang"}
    assert nearest(without, form, h200, "sglang") == sets[form, "hopper", "*", "*"], "SGLang runs no plain kernel there"


def test_only_gpus_that_were_not_measured_run_a_kernel_of_stronger_ones() -> None:
    sets = expert_kernels()
    for name in ("b200_sxm", "b300_sxm", "gb200"):
        assert nearest(sets, "fp8", GPUS[name], None) == sets["fp8", "blackwell", "*", "*"], name
    weak = nearest(sets, "fp8", GPUS["h20_sxm"], "trtllm")
    assert weak.compute > sets["fp8", "hopper", "trtllm", "*"].compute


def test_point_to_point_by_hand() -> None:
    assert ms(send(False, 1e8)) == pytest.approx(1e8 / (450e6 * 0.5) + 0.01)
    assert ms(send(True, 1e8)) >= 1e8 / (50e6 * 0.5) + 0.06


def test_an_mla_decode_step_by_hand() -> None:
    """Absorbed: 576 values a token are read once for all heads, 2 x 128 x (512 + 64 + 512) operations a token."""
    engine = Engine(DEEPSEEK, H100, FP8, Partition(tp=8, moe_ep=8), 8, basis="ideal")
    work = layers_work(engine, decoding(64, 5000))
    core = next(one for _, one in work if one.kind == "latent_decode")
    assert float(np.sum(core.moved)) == 64 * 5000 * 576
    assert float(np.sum(core.flops)) == pytest.approx(2 * 16 * 1088 * 64 * 5000)
    # the up-projection is multiplied into queries and outputs: as many operations as projecting one token up
    flops = sorted(float(np.sum(one.flops)) for _, one in work if one.kind == "matmul")
    assert any(found == pytest.approx(2 * 64 * 512 * 16 * 256) for found in flops)


def test_a_prompt_of_mla_is_projected_up() -> None:
    engine = Engine(DEEPSEEK, H100, FP8, Partition(tp=8, moe_ep=8), 8, basis="ideal")
    core = next(one for _, one in layers_work(engine, prompting(4096)) if one.kind == "latent_prefill")
    assert float(np.sum(core.flops)) == pytest.approx(2 * 16 * (192 + 128) * 4096**2 / 2)


def every_layer(engine: Engine, step: Step) -> list[tuple[float, Operator]]:
    work = work_of(engine, step)
    times = engine.model.moe_layers
    experts = [*work.experts.routed, *work.experts.shared] if work.experts else []
    return [*work.layers, *((times * each, one) for each, one in experts)]


@pytest.mark.parametrize(
    "name", ["meta-llama/Meta-Llama-3.1-70B", "mistralai/Mixtral-8x22B-v0.1", "Qwen/Qwen3-235B-A22B"]
)
def test_operations_of_a_decode_step_are_two_per_active_parameter(name: str) -> None:
    shape = MODELS[name]
    engine = Engine(shape, GPUS["h200_sxm"], BF16, Partition(), 8, basis="ideal")
    work = every_layer(engine, decoding(1, 0.0))
    flops = sum(times * float(np.sum(one.flops)) for times, one in work)
    assert flops == pytest.approx(2 * (shape.active_parameters - shape.head_parameters), rel=1e-9)


@pytest.mark.parametrize(
    "name", ["deepseek-ai/DeepSeek-V3", "Qwen/Qwen3.5-397B-A17B", "zai-org/GLM-5", "openai/gpt-oss-120b"]
)
def test_operations_of_other_kinds_of_layers_are_two_per_active_parameter(name: str) -> None:
    """Within a percent: gates of few values and convolutions are left out."""
    shape = MODELS[name]
    engine = Engine(shape, GPUS["b300_sxm"], BF16, Partition(), 8, basis="ideal")
    work = [(times, one) for times, one in every_layer(engine, decoding(1, 0.0)) if "attention" not in one.kind]
    flops = sum(times * float(np.sum(one.flops)) for times, one in work)
    assert flops == pytest.approx(2 * (shape.active_parameters - shape.head_parameters), rel=0.01)


def test_layers_that_reach_back_so_far_only() -> None:
    shape = MODELS["openai/gpt-oss-120b"]
    engine = Engine(shape, H100, BF16, Partition(), 8, basis="ideal")
    cores = [(n, one) for n, one in layers_work(engine, decoding(2, 5000)) if one.kind == "decode_attention"]
    token = 2 * 8 * 64 * 2
    assert [(n, float(np.sum(one.moved))) for n, one in cores] == [(18, 2 * 5000 * token), (18, 2 * 128 * token)]


def test_sparse_attention_reads_what_the_indexer_picks_and_scores_all() -> None:
    shape = MODELS["zai-org/GLM-5"]
    engine = Engine(shape, GPUS["b200_sxm"], FP8, Partition(), 8, basis="ideal")
    cores = [
        one for _, one in layers_work(engine, decoding(3, 50000)) if one.kind in ("latent_decode", "decode_attention")
    ]
    assert [float(np.sum(one.moved)) for one in cores] == [3 * 2048 * 576, 3 * 50000 * 128]
    assert float(np.sum(cores[1].flops)) == 2 * 32 * 128 * 3 * 50000


def test_linear_attention_does_not_grow_with_the_context() -> None:
    shape = MODELS["Qwen/Qwen3.5-397B-A17B"]
    engine = Engine(shape, GPUS["b200_sxm"], FP8, Partition(tp=2, moe_tp=2), 8, basis="ideal")
    short, long = (float(step_time(engine, decoding(8, context)).total[0]) for context in (1e3, 1e5))
    token = 2 * 256 * 1  # one KV head a GPU, keys and values of a byte
    assert long - short == pytest.approx(15 * 8 * 99e3 * token / 8000e6, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_catalogue_is_priced(name: str) -> None:
    shape = MODELS[name]
    for cut in (Partition(), Partition(tp=2, moe_tp=2), Partition(attention_dp=2, moe_ep=2)):
        if shape.is_moe or cut.attention_dp == 1:
            time = step_time(Engine(shape, GPUS["b300_sxm"], FP8, cut, 8), decoding(4, 100.0))
            assert 0 < float(time.layer[0]) * shape.layers < float(time.total[0])


def test_shared_experts_run_beside_routed_ones_in_decode_steps() -> None:
    engine = Engine(DEEPSEEK, H100, FP8, Partition(tp=8, moe_ep=8), 8, "trtllm", "operators")
    work = expert_work(engine, np.array([64.0, 64.0]), np.array([0.0, 32.0]))
    routed = price(H100, engine.constants, work.routed) + engine.constants.routing_ms
    shared = price(H100, engine.constants, work.shared)
    decode, mixed = np.asarray(experts_ms(engine, work)).tolist()
    assert decode == pytest.approx(max(float(routed[0]), float(shared[0])))
    assert mixed == pytest.approx(float(routed[0]) + float(shared[0]))
    plain = replace(engine, basis="ideal")
    assert not plain.overlaps
    deep = replace(engine, serving="sglang", partition=Partition(attention_dp=8, moe_ep=8))
    assert not deep.overlaps and replace(deep, basis="served").overlaps


def collectives(domain: int, group: int, size: float) -> list[Operator]:
    return [
        gather(domain, group, size), all_reduce(domain, group, size),
        dispatch(domain, group, 8, size / 7168, 7168.0, EXCHANGE), send(group > domain, size),
    ]  # fmt: skip


def slower_in_a_larger_domain(constants: Constants, gpu: Gpu, domains: tuple[int, ...] = DOMAINS) -> list[str]:
    """Where the law is broken."""
    broken = []
    for group in (2, 8, 64, 72):
        for size in (1e3, 1e6, 1e9):
            rows = [[ms(op, constants, gpu) for op in collectives(domain, group, size)] for domain in domains]
            for one, times in zip(("gather", "all_reduce", "dispatch", "send"), zip(*rows, strict=True), strict=True):
                if any(later > earlier * (1 + 1e-9) for earlier, later in pairwise(times)):
                    broken.append(f"{one} of {group}, {size:g} bytes")
    return broken


@pytest.mark.parametrize("gpu", GPUS.values(), ids=lambda gpu: gpu.name)
def test_a_larger_domain_never_slows_a_collective(gpu: Gpu) -> None:
    assert slower_in_a_larger_domain(IDEAL, gpu, DOMAINS[2:]) == []


def test_a_larger_domain_never_slows_a_collective_with_any_constants() -> None:
    sets = {**fitted(), "ideal": IDEAL}
    found = {key: slower_in_a_larger_domain(one, gpu) for key, one in sets.items() for gpu in GPUS.values()}
    assert {key: broken for key, broken in found.items() if broken} == {}
