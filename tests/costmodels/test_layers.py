"""Layers: which operators run, on how much, counted by hand and against the parameters of models."""

from dataclasses import replace

import numpy as np
import pytest

from costmodels.engine import Engine
from costmodels.formats import formats
from costmodels.gpus import GPUS
from costmodels.layers import Step, layers_work, step_time, work_of
from costmodels.mixture import expert_work, experts_ms
from costmodels.models import MODELS
from costmodels.operators import Operator, price
from costmodels.partition import Partition

H100 = GPUS["h100_sxm"]
FP8 = formats("gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16")
BF16 = formats("gemm:bfloat16 moe:bfloat16 kv:bfloat16 fmha:bfloat16")
DEEPSEEK = MODELS["deepseek-ai/DeepSeek-V3"]


def decoding(batch: float, context: float, queries: float = 1.0) -> Step:
    none = np.zeros(1)
    return Step(none, none, none, none, none, np.array([batch]), queries, context, np.array([batch * queries]))


def prompting(tokens: float) -> Step:
    one = np.ones(1)
    return Step(
        one * tokens, one * tokens**2 / 2, one * tokens, one * tokens, one * tokens**2 / 2, one * 0, 1.0, 1.0, one
    )


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
    routed = np.asarray(price(H100, engine.constants, work.routed)) + engine.constants.routing_ms
    shared = np.asarray(price(H100, engine.constants, work.shared))
    decode, mixed = np.asarray(experts_ms(engine, work)).tolist()
    assert decode == pytest.approx(max(float(routed[0]), float(shared[0])))
    assert mixed == pytest.approx(float(routed[0]) + float(shared[0]))
    plain = replace(engine, basis="ideal")
    assert not plain.overlaps
    deep = replace(engine, serving="sglang", partition=Partition(attention_dp=8, moe_ep=8))
    assert not deep.overlaps and replace(deep, basis="served").overlaps
