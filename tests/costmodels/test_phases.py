"""Prefill, decode and co-located engines: known answers, and the laws that any constants must obey."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from costmodels.constants import Basis
from costmodels.engine import Engine
from costmodels.formats import formats
from costmodels.gpus import GPUS
from costmodels.layers import step_time
from costmodels.models import MODELS
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.phases import Demand, Steady, steadies, steady, step_of, turns_of
from costmodels.plans import plan_of
from costmodels.steps import last_chunk, mean_chunk, whole_prompt
from costmodels.together import Stage, priced_together
from costmodels.traffic import Traffic

BF16 = formats("gemm:bfloat16 moe:bfloat16 kv:bfloat16 fmha:bfloat16")
FP8 = formats("gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16")
FP4 = formats("gemm:nvfp4 moe:nvfp4 kv:fp8 fmha:bfloat16")
CHAT = Traffic.constant(4500, 750)
SPREAD = Traffic(((100, 10, Fraction(1, 4)), (2000, 50, Fraction(1, 2)), (9000, 400, Fraction(1, 4))))
BATCH = np.arange(1.0, 129.0)
NONE = EngineOptions()

DEEPSEEK = MODELS["deepseek-ai/DeepSeek-V3"]
LLAMA = Engine(MODELS["meta-llama/Meta-Llama-3.1-70B"], GPUS["h200_sxm"], BF16, Partition(tp=4), 8)
ENGINES = {
    "dense": LLAMA,
    "dense pp": replace(LLAMA, partition=Partition(tp=2, pp=4)),
    "dense vllm": replace(LLAMA, serving="vllm"),
    "mla ep": Engine(DEEPSEEK, GPUS["h200_sxm"], FP8, Partition(attention_dp=16, moe_ep=16), 8),
    "mla tep": Engine(DEEPSEEK, GPUS["gb200"], FP4, Partition(tp=8, pp=2, moe_ep=8), 72),
    "window": Engine(MODELS["openai/gpt-oss-120b"], GPUS["h100_sxm"], BF16, Partition(tp=4, moe_tp=4), 8, "trtllm"),
    "linear": Engine(MODELS["Qwen/Qwen3.5-397B-A17B"], GPUS["b200_sxm"], FP8, Partition(tp=8, moe_ep=8), 8, "sglang"),
    "sparse": Engine(MODELS["zai-org/GLM-5"], GPUS["b200_sxm"], FP8, Partition(tp=2, attention_dp=4, moe_ep=8), 8),
    "few": Engine(
        MODELS["Qwen/Qwen3-235B-A22B"], GPUS["b200_sxm"], FP4, Partition(tp=4, moe_ep=4), 8, "trtllm", "operators"
    ),
}  # fmt: skip
"""One engine of every kind; the last runs other kernels of experts up to 128 tokens."""
KINDS = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def run(
    engine: Engine, role: str, traffic: Traffic = CHAT, chunk: int = 0, options: EngineOptions = NONE,
    batch: np.ndarray = BATCH,
) -> Steady:  # fmt: skip
    demand = Demand(role, traffic, options, chunk)  # type: ignore[arg-type]
    if role == "colocated":
        batch = batch[: demand.largest_busy_batch()]
    return steady(engine, demand, turns_of(engine, demand, batch))


ROLES = [("prefill", 0), ("prefill", 1024), ("decode", 0), ("colocated", 9000), ("colocated", 512)]


def test_a_decode_step_is_bounded_by_reading_the_weights() -> None:
    engine = replace(LLAMA, partition=Partition(tp=8), basis="ideal")
    state = run(engine, "decode", batch=np.array([1.0]))
    model = engine.model
    reading = 2 * model.active_parameters / 8 / 4800e6
    assert reading < float(state.latency_ms[0]) < 1.2 * reading
    assert float(state.requests_per_s[0]) == pytest.approx(1000 / (float(state.latency_ms[0]) * 749))


def test_a_chunked_pipeline_by_hand() -> None:
    """CPP: all chunks pass one stage, then the last one passes the others."""
    engine = replace(LLAMA, partition=Partition(tp=2, pp=4), basis="ideal")
    traffic, chunk = Traffic.constant(8192, 1), 1024
    found = run(engine, "prefill", traffic, chunk, batch=np.array([2.0]))
    mean = mean_chunk(traffic, Fraction(0), chunk, 0, False).step(np.array([2.0]), np.array([2.0 / 8]))
    last = last_chunk(traffic, Fraction(0), chunk, 0, False).step(np.array([2.0]), np.array([2.0]))
    hop = 2 * 1024 * 8192 * 2 / 450e6
    stages = [float(step_time(engine, one).total[0]) / 4 + hop for one in (mean, last)]
    assert float(found.latency_ms[0]) == pytest.approx(8 * stages[0] + 3 * stages[1], rel=1e-9)
    assert float(found.requests_per_s[0]) == pytest.approx(2000 / (8 * stages[0]), rel=1e-9)


def test_uneven_stages_are_paced_by_the_fullest() -> None:
    """61 layers in 16 stages: four in most of them."""
    engine = replace(ENGINES["mla tep"], partition=Partition(tp=4, pp=16, moe_ep=4), basis="ideal")
    one = np.array([1.0])
    time = step_time(engine, step_of(engine, Demand("prefill", CHAT, NONE), one))
    stage = 1000 / float(run(engine, "prefill", batch=one).requests_per_s[0])
    hop = 4500 * 7168 * 2 / 900e6
    assert stage == pytest.approx(4 * float(time.layer[0]) + hop) and stage > 1.03 * float(time.total[0]) / 16


@pytest.mark.parametrize("basis", ["ideal", "served", "operators"])
def test_long_prompts_in_chunked_pipelines_as_the_paper_shows(basis: Basis) -> None:
    """
    Figure 5 of arXiv 2506.05508: DeepSeek-R1, ISL 256K, EP x PP = 64; FTL falls 31-fold from PP 1 to 32.

    Experts are evenly loaded. With 61 layers over 32 stages and a pipeline that fills, a little less; a full pipeline
    keeps its rate per GPU. As measured 20-fold: each chunk starts two exchanges a layer, 0.06 ms each of a few hundred
    tokens on Blackwell under a mean engine, and chunks are many.
    """
    traffic, one = Traffic.constant(262144, 1), np.array([1.0])
    cached = EngineOptions(cache_up_projection=True)
    ftl, rate = [], []
    for pp in (1, 2, 4, 8, 16, 32):
        cut = Partition(pp=pp, attention_dp=64 // pp, moe_ep=64 // pp)
        engine = Engine(MODELS["deepseek-ai/DeepSeek-R1"], GPUS["gb200"], FP4, cut, 72, basis=basis, imbalance=1.0)
        states = [run(engine, "prefill", traffic, chunk if pp > 1 else 0, cached, one) for chunk in (512, 2048)]
        ftl.append(min(float(state.latency_ms[0]) for state in states))
        rate.append(max(float(state.requests_per_s[0]) for state in states) / 64)
    assert all(1.5 < slow / fast < 2.1 for slow, fast in pairwise(ftl))
    assert (20 if basis == "ideal" else 18) < ftl[0] / ftl[-1] < 32
    assert all(0.85 < each / rate[0] < 1.1 for each in rate)


@KINDS
@pytest.mark.parametrize("role, chunk", ROLES)
@pytest.mark.parametrize("traffic", [CHAT, SPREAD], ids=["constant", "spread"])
def test_a_larger_batch_takes_no_less(engine: Engine, role: str, chunk: int, traffic: Traffic) -> None:
    state = run(engine, role, traffic, chunk)
    for series in (state.latency_ms, state.ttft_ms, state.itl_ms):
        if series is not None:
            assert bool((series > 0).all()) and bool((np.diff(series) >= -1e-9 * series[1:]).all())
    assert state.latency_ms.shape == state.requests_per_s.shape and bool((state.requests_per_s > 0).all())


@KINDS
@pytest.mark.parametrize("chunk", [9000, 512])
@pytest.mark.parametrize("traffic", [CHAT, SPREAD], ids=["constant", "spread"])
def test_littles_law_on_co_located_engines(engine: Engine, chunk: int, traffic: Traffic) -> None:
    for options in (NONE, EngineOptions(draft_tokens=3, accepted_tokens=Fraction(5, 2))):
        state = run(engine, "colocated", traffic, chunk, options)
        assert state.ttft_ms is not None
        inside = state.requests_per_s / 1000 * (state.ttft_ms + (float(traffic.osl) - 1) * state.latency_ms)
        cut = engine.partition
        batch = BATCH[: len(inside)]
        assert inside == pytest.approx(batch * cut.attention_dp * cut.pp)


def test_pipeline_stages_keep_latency_and_multiply_rate() -> None:
    one = replace(LLAMA, partition=Partition(tp=2), basis="ideal")
    four = replace(one, partition=Partition(tp=2, pp=4))
    single, piped = run(one, "prefill"), run(four, "prefill")
    assert single.latency_ms == pytest.approx(piped.latency_ms, rel=0.02)
    assert 4 * single.requests_per_s == pytest.approx(piped.requests_per_s, rel=0.02)


def test_a_stated_bubble_is_paid() -> None:
    engine = ENGINES["dense pp"]
    bubbles = EngineOptions(pp_efficiency=((2, Fraction(88, 100)), (4, Fraction(82, 100))))
    for role, chunk in ROLES:
        full, less = run(engine, role, chunk=chunk), run(engine, role, chunk=chunk, options=bubbles)
        assert less.requests_per_s == pytest.approx(0.82 * full.requests_per_s)


def test_more_tensor_parallelism_is_faster_and_pays_for_it() -> None:
    states = [run(replace(LLAMA, partition=Partition(tp=tp), basis="ideal"), "decode") for tp in (1, 2, 4, 8)]
    for less, more in pairwise(states):
        assert bool((more.latency_ms < less.latency_ms).all())
        assert bool((more.requests_per_s < 2 * less.requests_per_s).all())


@pytest.mark.parametrize("name", ["mla ep", "mla tep", "dense"])
def test_a_larger_domain_never_slows_an_engine(name: str) -> None:
    engine = ENGINES[name]
    for role, chunk in ROLES:
        states = [
            run(replace(engine, domain_gpus=domain, basis="ideal"), role, chunk=chunk) for domain in (4, 8, 16, 72)
        ]
        for small, large in pairwise(states):
            assert bool((large.latency_ms <= small.latency_ms * (1 + 1e-12)).all())


@KINDS
@pytest.mark.parametrize("role, chunk", [("prefill", 0), ("prefill", 1024), ("colocated", 9000), ("colocated", 512)])
def test_a_prefix_cache_lowers_ttft(engine: Engine, role: str, chunk: int) -> None:
    cold = run(engine, role, chunk=chunk, batch=np.arange(1.0, 9.0))
    warm = run(
        engine, role, chunk=chunk, options=EngineOptions(prefix_hit_rate=Fraction(1, 2)), batch=np.arange(1.0, 9.0)
    )
    first, second = (state.ttft_ms if role == "colocated" else state.latency_ms for state in (cold, warm))
    assert first is not None and second is not None and bool((second < first).all())


@KINDS
def test_more_accepted_tokens_lower_tpot(engine: Engine) -> None:
    for role, chunk in ROLES[2:]:
        states = [
            run(engine, role, chunk=chunk, options=EngineOptions(draft_tokens=3, accepted_tokens=Fraction(tokens, 2)))
            for tokens in (2, 4, 8)
        ]
        count = min(len(state.latency_ms) for state in states)
        for less, more in pairwise(states):
            assert bool((more.latency_ms[:count] < less.latency_ms[:count]).all())


def test_drafts_cost_more_than_none() -> None:
    plain = run(LLAMA, "decode")
    drafted = run(LLAMA, "decode", options=EngineOptions(draft_tokens=1))
    assert bool((drafted.latency_ms > plain.latency_ms).all())
    assert bool((drafted.latency_ms < 2 * plain.latency_ms).all())


@KINDS
@pytest.mark.parametrize("role, chunk", ROLES)
def test_a_distribution_of_one_length_is_the_number(engine: Engine, role: str, chunk: int) -> None:
    split = Traffic(((4500, 750, Fraction(1, 3)), (4500, 750, Fraction(2, 3))))
    one, two = run(engine, role, chunk=chunk), run(engine, role, split, chunk)
    assert one.latency_ms == pytest.approx(two.latency_ms, rel=1e-9)
    assert one.requests_per_s == pytest.approx(two.requests_per_s, rel=1e-9)


@pytest.mark.parametrize("role, chunk", [("prefill", 0), ("prefill", 1024), ("colocated", 9000), ("colocated", 512)])
def test_ttft_at_a_percentile_is_that_of_a_longer_prompt(role: str, chunk: int) -> None:
    """And changes neither rate nor TPOT; a percentile of equal prompts changes nothing."""
    at = [EngineOptions(ttft_percentile=Fraction(share, 100)) for share in (50, 99)]
    engine = ENGINES["dense pp"]
    mean, median, most = (run(engine, role, SPREAD, chunk, options) for options in (NONE, *at))
    firsts = [state.ttft_ms if role == "colocated" else state.latency_ms for state in (median, mean, most)]
    assert all(one is not None for one in firsts)
    assert bool((firsts[0] < firsts[1]).all()) and bool((firsts[1] < firsts[2]).all())  # type: ignore[operator]
    assert most.requests_per_s.tolist() == mean.requests_per_s.tolist()
    same, stated = run(engine, role, CHAT, chunk), run(engine, role, CHAT, chunk, at[1])
    first, second = (state.ttft_ms if role == "colocated" else state.latency_ms for state in (same, stated))
    assert first == pytest.approx(second, rel=1e-9)


def test_longer_prompts_among_mixed_ones_cost_their_attention() -> None:
    """Prompts of equal mean and larger spread take longer, whole or in chunks: attention is quadratic."""
    engine = replace(LLAMA, basis="ideal")
    spread = Traffic(((1000, 100, Fraction(1, 2)), (63000, 100, Fraction(1, 2))))
    for role, chunk in (("prefill", 0), ("prefill", 2048), ("colocated", 512)):
        even, uneven = (run(engine, role, traffic, chunk) for traffic in (Traffic.constant(32000, 100), spread))
        assert bool((uneven.requests_per_s < 0.98 * even.requests_per_s).all())


def test_uneven_experts_are_slower_up_to_all_on_one_rank() -> None:
    engine = replace(ENGINES["mla ep"], basis="ideal")
    states = [run(replace(engine, imbalance=load), "prefill") for load in (None, 1.0, 2.0, 16.0, 99.0)]
    assert states[0].latency_ms.tolist() == states[1].latency_ms.tolist()
    for even, uneven in pairwise(states[1:4]):
        assert bool((uneven.latency_ms > even.latency_ms).all())
    assert states[3].latency_ms == pytest.approx(states[4].latency_ms)


def test_keeping_the_up_projection_speeds_mla_alone() -> None:
    for name, faster in (("mla ep", True), ("dense", False)):
        again, kept = (
            run(ENGINES[name], "colocated", chunk=512, options=EngineOptions(cache_up_projection=cached))
            for cached in (False, True)
        )
        assert bool((kept.latency_ms[1:] < again.latency_ms[1:]).all()) is faster
        assert faster or kept.latency_ms.tolist() == again.latency_ms.tolist()


def test_the_longest_gap_is_a_step_with_the_longest_prompts() -> None:
    state = run(LLAMA, "colocated", SPREAD, 9000)
    assert state.itl_ms is not None
    assert bool((state.itl_ms[1:] > state.latency_ms[1:]).all())
    assert float(state.itl_ms[0]) == float(state.latency_ms[0]), "alone, no prompt comes between"
    decode = run(LLAMA, "decode", options=EngineOptions(draft_tokens=1, accepted_tokens=Fraction(3, 2)))
    assert decode.itl_ms == pytest.approx(1.5 * decode.latency_ms)


def test_co_located_steps_by_hand() -> None:
    """OSL 101, 51 sequences: 50 others put half a prompt into each of 100 decode steps, half of one does not decode."""
    engine, traffic = replace(LLAMA, basis="ideal"), Traffic.constant(1000, 101)
    state = run(engine, "colocated", traffic, 1001)
    prompt = whole_prompt(traffic, 0, Fraction(0))

    def step_ms(prompts: float, decodes: float) -> float:
        many = np.array([decodes])
        step = prompt.step(np.array([prompts]), many + prompts, many, traffic.decode_context)
        return float(step_time(engine, step).total[0])

    assert float(state.latency_ms[50]) == pytest.approx((step_ms(0, 50.5) + step_ms(1, 50.5)) / 2)
    assert state.ttft_ms is not None and float(state.ttft_ms[50]) == pytest.approx(step_ms(1, 50))
    assert state.itl_ms is not None and float(state.itl_ms[50]) == pytest.approx(step_ms(1, 50.5))
    assert float(state.latency_ms[0]) == pytest.approx(step_ms(0, 1))


@KINDS
def test_engines_that_are_priced_together_take_the_time_of_each_alone(engine: Engine) -> None:
    """Attention is priced once for engines that cut their experts differently; the steps are the same."""
    demands = [Demand("decode", SPREAD, NONE), Demand("colocated", SPREAD, NONE, 512), Demand("prefill", SPREAD, NONE)]
    plans = [plan_of(engine, demand, BATCH) for demand in demands]
    group = engine.partition.tp * engine.partition.attention_dp
    cuts = [Partition(engine.partition.tp, engine.partition.pp)] if not engine.model.is_moe else [
        replace(engine.partition, moe_tp=group // ep, moe_ep=ep) for ep in (1, 2, 4, 8, 16) if group % ep == 0
    ]  # fmt: skip
    stages = [Stage(replace(engine, partition=cut), plans, (100, 128, 7)) for cut in cuts]
    for stage, found in zip(stages, priced_together(stages), strict=True):
        for demand, turns, count in zip(demands, found, stage.counts, strict=True):
            alone = steady(stage.engine, demand, turns_of(stage.engine, demand, BATCH[:count]))
            assert steady(stage.engine, demand, turns).latency_ms == pytest.approx(alone.latency_ms, rel=1e-12)
            assert steady(stage.engine, demand, turns).requests_per_s == pytest.approx(alone.requests_per_s, rel=1e-12)


def test_engines_of_several_depths_are_what_each_is_alone() -> None:
    demand = Demand("colocated", SPREAD, replace(NONE, pp_efficiency=((2, Fraction(1, 2)),)), 512)
    engines = [replace(ENGINES["mla tep"], partition=Partition(tp=8, pp=pp, moe_ep=8)) for pp in (1, 2, 4, 16)]
    turns, counts = turns_of(engines[0], demand, BATCH), (3, 128, 77, 128)
    for engine, count, state in zip(engines, counts, steadies(engines, demand, turns, counts), strict=True):
        alone = steady(engine, demand, turns_of(engine, demand, BATCH[:count]))
        for name in ("latency_ms", "requests_per_s", "ttft_ms", "itl_ms"):
            assert getattr(state, name).tolist() == pytest.approx(getattr(alone, name).tolist(), rel=1e-14)
