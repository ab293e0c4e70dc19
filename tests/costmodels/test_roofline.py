"""The roofline as a cost model: engines of a query, curves over their samples, options, and faults."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from costmodels.constants import BASES
from costmodels.errors import InputError
from costmodels.gpus import gpu_from_figures
from costmodels.models import MODELS
from costmodels.operating_curve import ROLES, CurveQuery, CurveSet, OperatingCurve
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.partition_space import partitions
from costmodels.phases import Demand
from costmodels.precision import components
from costmodels.roofline import LARGEST_BATCH, LARGEST_PREFILL_TOKENS, Roofline
from costmodels.traffic import Traffic

LLAMA = MODELS["meta-llama/Meta-Llama-3.1-70B"]


def query(
    model: str = LLAMA.name, gpu: str = "h100_sxm", domain: int = 8, gpus: int | None = 8, **more: object
) -> CurveQuery:
    default = CurveQuery(gpu=gpu, domain_gpus=domain, pool_gpus=gpus, model=model, isl=4500, osl=750)
    return replace(default, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def llama() -> CurveSet:
    return Roofline().curves(query())


@pytest.fixture(scope="module")
def deepseek() -> CurveSet:
    return Roofline().curves(query("deepseek-ai/DeepSeek-V3", "h200_sxm", 8, 16, isl=1024, osl=1024))


def curves_of(answer: CurveSet, role: str) -> list[OperatingCurve]:
    return [curve for curve in answer.curves if curve.role == role]


@pytest.mark.parametrize("which", ["llama", "deepseek"])
def test_littles_law_on_every_co_located_curve(which: str, request: pytest.FixtureRequest) -> None:
    answer: CurveSet = request.getfixturevalue(which)
    isl, osl = (4500, 750) if which == "llama" else (1024, 1024)
    found = curves_of(answer, "colocated")
    assert {curve.chunk_tokens >= isl for curve in found} == {True, False}
    for curve in found:
        for batch in list(curve.admissible_batches())[:: max(1, curve.batch[-1] // 20)]:
            point = curve.at(batch)
            assert point.ttft_ms is not None and point.itl_ms is not None
            inside = point.requests_per_s / 1000 * (point.ttft_ms + (osl - 1) * point.latency_ms)
            assert float(inside / (batch * curve.partition.pp)) == pytest.approx(1, abs=0.03)
            assert point.itl_ms >= point.latency_ms * Fraction(99, 100)


def test_curves_state_what_they_are(deepseek: CurveSet) -> None:
    for curve in deepseek.curves:
        assert curve.backend == "roofline" and curve.interpolate and curve.domain_gpus == 8
        assert curve.precision == "gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16"
        assert 0 <= curve.fit_error <= Fraction(1, 100)
        assert all(batch % curve.partition.attention_dp == 0 for batch in curve.batch)
        assert len(curve.memory_gib) == len(curve.batch) and max(curve.memory_gib) <= 141
        assert len(curve.ttft_ms) == (0 if curve.role == "decode" else len(curve.batch))
        assert len(curve.itl_ms) == (0 if curve.role == "prefill" else len(curve.batch))
        assert (
            curve.chunk_tokens > 0 if curve.role == "colocated" else curve.role == "prefill" or not curve.chunk_tokens
        )
    assert len({(c.role, c.partition, c.chunk_tokens) for c in deepseek.curves}) == len(deepseek.curves)
    assert deepseek.dropped["memory"] > 0
    assert [note.split(":")[0] for note in deepseek.notes[:3]] == [f"error of {role}" for role in ROLES]


@pytest.mark.parametrize("role", ROLES)
def test_the_curves_lie_over_the_priced_samples(deepseek: CurveSet, role: str) -> None:
    asked = query("deepseek-ai/DeepSeek-V3", "h200_sxm", 8, 16, isl=1024, osl=1024)
    for curve in curves_of(deepseek, role)[::9]:
        batches, latencies, rates = Roofline().samples(asked, curve)
        assert batches.tolist() == list(curve.admissible_batches())
        for batch, latency, rate in zip(batches.tolist(), latencies.tolist(), rates.tolist(), strict=True):
            point = curve.at(int(batch))
            assert Fraction(latency) <= point.latency_ms <= Fraction(latency) * (1 + curve.fit_error)
            assert Fraction(rate) * (1 - curve.fit_error) <= point.requests_per_s <= Fraction(rate)


def test_states_are_those_of_the_curves(llama: CurveSet) -> None:
    states = Roofline().states(query())
    assert [len(state.latency_ms) for state in states] == [
        curve.batch[-1] // curve.batch_step for curve in llama.curves
    ]


def test_partitions_include_tep_and_dp_ep_and_count_what_is_left_out() -> None:
    kept, dropped = partitions(MODELS["deepseek-ai/DeepSeek-V3"], 144)
    assert {Partition(tp=8, moe_ep=8), Partition(attention_dp=32, moe_ep=32), Partition(pp=16)} <= set(kept)
    assert all(cut.moe_tp * cut.moe_ep == cut.tp * cut.attention_dp and cut.gpus <= 64 for cut in kept)
    assert {Partition(pp=pp, attention_dp=64 // pp, moe_ep=64 // pp) for pp in (1, 2, 4, 8, 16, 32)} <= set(kept)
    assert dropped == {"pp > layers": 1, "expert width per GPU < 128": 26}
    _, dropped = partitions(MODELS["mistralai/Mixtral-8x22B-v0.1"], 64)
    assert {"heads % tp", "experts % ep"} <= set(dropped)
    dense, _ = partitions(LLAMA, 12)
    assert max(cut.gpus for cut in dense) == 8, "the pool is a limit"


def test_every_fault_of_a_query_is_reported() -> None:
    with pytest.raises(InputError) as caught:
        Roofline().curves(query("no/model", "h999", backend="tgi"))
    places = [fault.where for fault in caught.value.faults]
    assert places == ["$.pools[].gpu", "$.workloads[].model", "$.workloads[].backend"]
    with pytest.raises(InputError, match=r"precision: got 'fp3', allowed: bf16, fp8"):
        Roofline().curves(query("Qwen/Qwen3-32B", precision={"decode": "fp3"}))


def test_a_format_without_units_drops_all_and_says_so() -> None:
    answer = Roofline().curves(query("Qwen/Qwen3-32B", precision=dict.fromkeys(ROLES, "nvfp4")))
    assert not answer.curves and answer.dropped["no fp4 units"] > 0


def largest(answer: CurveSet) -> dict[tuple[str, int, Partition], int]:
    return {(curve.role, curve.chunk_tokens, curve.partition): curve.batch[-1] for curve in answer.curves}


def test_less_memory_means_smaller_batches() -> None:
    plenty = Roofline().curves(query("Qwen/Qwen3-32B"))
    scarce = Roofline().curves(query("Qwen/Qwen3-32B", memory_gib=Fraction(60)))
    all_of_them = largest(plenty)
    assert all(batch <= all_of_them[key] for key, batch in largest(scarce).items())
    assert sum(largest(scarce).values()) < sum(all_of_them.values())
    assert components(plenty.curves[0].precision)["kv"] == "bfloat16"


def test_a_mean_reservation_holds_at_least_as_much() -> None:
    full = largest(Roofline().curves(query(isl=4500, osl=3000)))
    mean = largest(Roofline().curves(query(isl=4500, osl=3000, options=EngineOptions(kv_reservation="mean"))))
    assert set(full) <= set(mean)
    assert all(mean[key] >= batch for key, batch in full.items())
    assert any(mean[key] > batch for key, batch in full.items() if key[0] == "decode")


def test_the_data_sheet_is_faster_than_servers_and_says_that_it_is_not_one(llama: CurveSet) -> None:
    ideal = Roofline("ideal").curves(query())
    for one, two in zip(curves_of(llama, "decode"), curves_of(ideal, "decode"), strict=True):
        assert one.partition == two.partition and one.latency_ms[0] > 1.1 * two.latency_ms[0]
    assert ideal.notes[0].startswith("Uncalibrated")
    assert not any("Uncalibrated" in note for note in llama.notes)
    assert Roofline("operators").curves(query()).curves != llama.curves
    assert len({Roofline(basis).description for basis in BASES}) == 3


MANY = Traffic(tuple((100 + 7 * k, 50 + k % 90, Fraction(1, 1000)) for k in range(1000)))
EVERYTHING = EngineOptions(
    kv_reservation="p95", prefix_hit_rate=Fraction(99, 100), draft_tokens=3, accepted_tokens=Fraction(5, 2),
    ttft_percentile=Fraction(99, 100), pp_efficiency=((2, Fraction(1, 2)),), expert_imbalance=Fraction(3),
    cache_up_projection=True,
)  # fmt: skip


@pytest.mark.parametrize("options", [EngineOptions(), EVERYTHING], ids=["plain", "all options"])
@pytest.mark.parametrize("isl, osl", [(1, 2), (3, 5000), (262144, 2), (100000, 30000), (1000000, 1000)], ids=str)
@pytest.mark.parametrize("name", ["openai/gpt-oss-120b", "deepseek-ai/DeepSeek-V3"])
def test_extreme_traffic_is_priced(name: str, isl: int, osl: int, options: EngineOptions) -> None:
    answer = Roofline().curves(query(name, "gb300", 36, 8, isl=isl, osl=osl, options=options))
    assert {curve.role for curve in answer.curves} == set(ROLES)
    for curve in answer.curves:
        assert min(*curve.latency_ms, *curve.requests_per_s, *curve.memory_gib) > 0
        assert curve.batch[-1] <= LARGEST_BATCH * curve.batch_step


def test_a_thousand_lengths_are_priced() -> None:
    for options in (EngineOptions(), EVERYTHING):
        asked = query(isl=3596, osl=94, traffic=MANY, options=options)
        assert {curve.role for curve in Roofline().curves(asked).curves} == set(ROLES)


def test_prefill_batches_are_bounded_in_tokens_and_prompts() -> None:
    for isl in (1, 100, 4500, 262144):
        for curve in curves_of(Roofline().curves(query("Qwen/Qwen3-32B", "b300_sxm", isl=isl)), "prefill"):
            assert curve.batch[-1] == 1 or curve.batch[-1] * isl <= LARGEST_PREFILL_TOKENS
            assert curve.batch[-1] <= LARGEST_BATCH


def test_one_output_token_needs_prefill_only() -> None:
    answer = Roofline().curves(query("Qwen/Qwen3-32B", osl=1))
    assert {curve.role for curve in answer.curves} == {"prefill"}


def test_a_tiny_model_and_more_stages_than_layers() -> None:
    tiny = replace(LLAMA, name="tiny", layers=2, d_model=256, heads=4, kv_heads=2, d_head=64, d_ff=512, vocab=1024)
    answer = Roofline().curves(query("tiny", shape=tiny))
    assert {curve.partition.pp for curve in answer.curves} == {1, 2}
    assert answer.dropped == {"heads % tp": 1, "pp > layers": 3}


def test_an_inline_gpu_is_priced_as_the_one_it_is_like() -> None:
    figures = {
        "bf16_tflops": 989, "fp8_tflops": 1979, "memory_gib": 80, "memory_gbps": 3350, "nvlink_gbps": 450,
        "link_gbps": 50, "source": "a data sheet",
    }  # fmt: skip
    like = gpu_from_figures("own", {**figures, "like": "h100_sxm"})
    same = Roofline().curves(query(gpu="own", device=like))
    for own, known in zip(same.curves, Roofline().curves(query()).curves, strict=True):
        assert replace(own, system="h100_sxm") == known
    slow = gpu_from_figures("slow", {**figures, "memory_gbps": 1000, "fp8_tflops": None})
    answer = Roofline().curves(query(gpu="slow", device=slow, precision={"decode": "fp8"}))
    assert answer.dropped["no fp8 units"] > 0 and not curves_of(answer, "decode")


def test_chunks_of_pipelines_go_down_to_a_sixteenth_of_a_stage() -> None:
    """Finer chunks fill stages sooner: long prompts in many stages are tried with small ones."""
    answer = Roofline().curves(query(gpus=16, isl=131072, osl=2))
    chunks = {(c.partition.pp, c.chunk_tokens) for c in curves_of(answer, "prefill") if c.partition.tp == 2}
    assert {(8, 0), (8, 16384), (8, 4096), (8, 1024)} <= chunks
    first = {c.chunk_tokens: c.latency_ms[0] for c in curves_of(answer, "prefill") if c.partition == Partition(2, 8)}
    assert first[1024] < first[4096] < first[16384] < first[0]


def test_a_batch_that_only_waits_is_not_offered() -> None:
    demand = Demand("colocated", Traffic.constant(8192, 65), EngineOptions(), 2048)
    assert demand.steps == 4 and demand.largest_busy_batch() == 1 + 64 // 4
    whole = replace(demand, chunk_tokens=8193)
    assert whole.steps == 1 and whole.prompts == 1 and whole.largest_busy_batch() == 65
    drafted = replace(demand, options=EngineOptions(draft_tokens=1, accepted_tokens=Fraction(2)))
    assert drafted.largest_busy_batch() == 1 + 32 // 4
    answer = Roofline().curves(query(isl=8192, osl=65))
    assert max(curve.batch[-1] for curve in curves_of(answer, "colocated")) <= 65


def test_traffic_of_one_length_is_the_number(llama: CurveSet) -> None:
    traffic = Traffic(((4500, 750, Fraction(1)),), "a histogram with one bin")
    assert Roofline().curves(query(traffic=traffic)).curves == llama.curves


def test_a_larger_domain_reprices_engines() -> None:
    small, large = (Roofline("ideal").curves(query(gpus=16, domain=domain)) for domain in (4, 16))
    faster = 0
    for one, two in zip(curves_of(small, "decode"), curves_of(large, "decode"), strict=True):
        assert one.partition == two.partition
        wide = one.partition.stage_group > 4
        faster += wide
        assert (two.latency_ms[0] < one.latency_ms[0]) if wide else two.latency_ms[0] <= one.latency_ms[0]
    assert faster > 0 and np.all([curve.domain_gpus == 16 for curve in large.curves])
