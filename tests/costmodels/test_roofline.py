"""The roofline: a point by hand, the laws it must obey, and its stated error."""

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from costmodels.accuracy import row_errors, table_errors
from costmodels.errors import InputError
from costmodels.formats import FORMATS, formats
from costmodels.gpus import GPUS, Gpu
from costmodels.layers import Engine
from costmodels.models import MODELS
from costmodels.operating_curve import ROLES, CurveQuery, CurveSet, OperatingCurve
from costmodels.operators import (
    COMPUTE_EFFICIENCY,
    LAUNCH_MS,
    MEMORY_EFFICIENCY,
    all_reduce_ms,
    all_to_all_ms,
    gather_ms,
    matmul_ms,
)
from costmodels.partition import Partition
from costmodels.partition_space import partitions
from costmodels.phases import decode, decode_turns, prefill, prefill_turns
from costmodels.precision import components
from costmodels.roofline import Roofline

TABLES = Path(__file__).parents[2] / "instances" / "curves"
LLAMA = MODELS["meta-llama/Meta-Llama-3.1-70B"]
BF16 = formats("gemm:bfloat16 moe:bfloat16 kv:bfloat16 fmha:bfloat16")


def query(model: str, gpu: str = "h100_sxm", domain: int = 8, gpus: int | None = 8, **more: object) -> CurveQuery:
    default = CurveQuery(gpu, domain, None, gpus, None, model, 4500, 750, None, {})
    return replace(default, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def llama() -> CurveSet:
    return Roofline().curves(query("meta-llama/Meta-Llama-3.1-70B"))


@pytest.fixture(scope="module")
def deepseek() -> CurveSet:
    return Roofline().curves(query("deepseek-ai/DeepSeek-V3", "h200_sxm", 8, 16, isl=1024, osl=1024))


def test_a_matrix_product_by_hand() -> None:
    h100, weights = GPUS["h100_sxm"], FORMATS["bfloat16"]
    # one token: 8192 x 28672 weights of two bytes, 470 MB at 3350 GB/s
    moved = 8192 * 28672 * 2 + (8192 + 28672) * 2
    few = moved / (3350e6 * MEMORY_EFFICIENCY) + LAUNCH_MS
    assert float(matmul_ms(h100, weights, 1.0, 8192, 28672)) == pytest.approx(few)
    # many tokens: 2 x 4096 x 8192 x 28672 operations at 989 TFLOP/s
    many = 2 * 4096 * 8192 * 28672 / (989e9 * COMPUTE_EFFICIENCY["bf16"]) + LAUNCH_MS
    assert float(matmul_ms(h100, weights, 4096.0, 8192, 28672)) == pytest.approx(many)


def test_a_decode_step_is_bounded_by_reading_the_weights() -> None:
    engine = Engine(LLAMA, GPUS["h100_sxm"], BF16, Partition(tp=8), 8)
    state = decode(engine, decode_turns(engine, np.array([1.0]), 4500, 750), 750)
    reading = 2 * LLAMA.active_parameters / 8 / (3350e6 * MEMORY_EFFICIENCY)
    assert reading < float(state.latency_ms[0]) < 2.2 * reading
    assert float(state.requests_per_s[0]) == pytest.approx(1000 / (float(state.latency_ms[0]) * 749))


def test_collectives_by_hand() -> None:
    h100 = GPUS["h100_sxm"]
    assert float(gather_ms(h100, 8, 1, 1e9)) == 0
    inside = float(gather_ms(h100, 8, 8, 2e9) - gather_ms(h100, 8, 8, 1e9))
    assert inside == pytest.approx(1e9 * 7 / 8 / (450e6 * 0.53))
    across = float(gather_ms(h100, 8, 16, 2e9) - gather_ms(h100, 8, 16, 1e9))
    assert across == pytest.approx(inside + 1e9 / 2 / 8 / (50e6 * 0.53))


@pytest.mark.parametrize("collective", [gather_ms, all_reduce_ms, all_to_all_ms])
@pytest.mark.parametrize("gpu", GPUS.values(), ids=lambda gpu: gpu.name)
def test_a_larger_domain_never_slows_a_collective(collective: Callable[..., float], gpu: Gpu) -> None:
    for size in (1e3, 1e6, 1e9):
        for group in (8, 64, 72):
            times = [float(collective(gpu, domain, group, size)) for domain in (1, 2, 4, 8, 16, 36, 64, 72)]
            assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(times))


@pytest.mark.parametrize(
    "cut", [Partition(tp=16, moe_ep=16), Partition(attention_dp=32, moe_ep=32), Partition(8, 1, 4, 4, 8)], ids=str
)
def test_a_larger_domain_never_slows_an_engine(cut: Partition) -> None:
    batch = np.array([1.0, 16.0, 128.0])
    shape = MODELS["deepseek-ai/DeepSeek-V3"]
    fp8 = formats("gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16")
    engines = [Engine(shape, GPUS["gb200"], fp8, cut, domain) for domain in (8, 16, 32, 72)]
    prefills = [prefill(engine, prefill_turns(engine, batch, 2048)).latency_ms for engine in engines]
    decodes = [decode(engine, decode_turns(engine, batch, 2048, 256), 256).latency_ms for engine in engines]
    for times in (prefills, decodes):
        assert all(bool((later <= earlier).all()) for earlier, later in pairwise(times))
        assert bool((times[-1] < times[0]).all())


def test_trends_of_the_engine() -> None:
    batch = np.arange(1.0, 65.0)
    latencies, rates = {}, {}
    for tp in (2, 4, 8):
        engine = Engine(LLAMA, GPUS["h200_sxm"], BF16, Partition(tp=tp), 8)
        state = decode(engine, decode_turns(engine, batch, 1024, 1024), 1024)
        assert bool((np.diff(state.latency_ms) >= 0).all()), "a larger batch takes no less"
        assert bool((np.diff(state.requests_per_s) > 0).all())
        latencies[tp], rates[tp] = state.latency_ms, state.requests_per_s / tp
    assert bool((latencies[8] < latencies[4]).all()) and bool((latencies[4] < latencies[2]).all())
    assert rates[2][-1] > rates[8][-1], "more TP is faster, but pays for it per GPU"


def test_pipeline_stages_keep_latency_and_multiply_rate() -> None:
    batch = np.array([1.0, 4.0])
    one = Engine(LLAMA, GPUS["h100_sxm"], BF16, Partition(tp=2), 8)
    four = replace(one, partition=Partition(tp=2, pp=4))
    single, piped = (prefill(engine, prefill_turns(engine, batch, 4500)) for engine in (one, four))
    assert single.latency_ms == pytest.approx(piped.latency_ms, rel=0.02)
    assert 4 * single.requests_per_s == pytest.approx(piped.requests_per_s, rel=0.02)


def curves_of(answer: CurveSet, role: str) -> list[OperatingCurve]:
    return [curve for curve in answer.curves if curve.role == role]


@pytest.mark.parametrize("which", ["llama", "deepseek"])
def test_littles_law_on_every_co_located_curve(which: str, request: pytest.FixtureRequest) -> None:
    answer: CurveSet = request.getfixturevalue(which)
    osl = 750 if which == "llama" else 1024
    found = curves_of(answer, "colocated")
    assert {curve.chunk_tokens >= (4500 if which == "llama" else 1024) for curve in found} == {True, False}
    for curve in found:
        for batch in list(curve.admissible_batches())[:: max(1, curve.batch[-1] // 20)]:
            point = curve.at(batch)
            assert point.ttft_ms is not None
            inside = point.requests_per_s / 1000 * (point.ttft_ms + (osl - 1) * point.latency_ms)
            assert float(inside / (batch * curve.partition.pp)) == pytest.approx(1, abs=0.03)


def test_curves_state_what_they_are(deepseek: CurveSet) -> None:
    for curve in deepseek.curves:
        assert curve.backend == "roofline" and curve.interpolate and 0 < curve.domain_gpus == 8
        assert curve.precision == "gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16"
        assert 0 <= curve.fit_error <= Fraction(1, 100)
        assert all(batch % curve.partition.attention_dp == 0 for batch in curve.batch)
        assert len(curve.memory_gib) == len(curve.batch) and max(curve.memory_gib) <= 141
        assert len(curve.ttft_ms) == (0 if curve.role == "decode" else len(curve.batch))
        assert (curve.chunk_tokens > 0) == (curve.role == "colocated")
    assert deepseek.dropped["memory"] > 0
    assert Roofline.known_error in deepseek.notes


def test_the_curves_lie_over_the_priced_samples(llama: CurveSet) -> None:
    curve = next(curve for curve in curves_of(llama, "decode") if curve.partition == Partition(tp=8))
    engine = Engine(LLAMA, GPUS["h100_sxm"], formats(curve.precision), curve.partition, 8)
    batches = list(curve.admissible_batches())
    state = decode(engine, decode_turns(engine, np.array(batches, dtype=float), 4500, 750), 750)
    for batch, latency, rate in zip(batches, state.latency_ms.tolist(), state.requests_per_s.tolist(), strict=True):
        point = curve.at(batch)
        assert Fraction(latency) <= point.latency_ms <= Fraction(latency) * (1 + curve.fit_error)
        assert Fraction(rate) * (1 - curve.fit_error) <= point.requests_per_s <= Fraction(rate)


def test_partitions_include_tep_and_dp_ep_and_count_what_is_left_out() -> None:
    kept, dropped = partitions(MODELS["deepseek-ai/DeepSeek-V3"], 144)
    assert {Partition(tp=8, moe_ep=8), Partition(attention_dp=32, moe_ep=32), Partition(pp=16)} <= set(kept)
    assert all(cut.moe_tp * cut.moe_ep == cut.tp * cut.attention_dp and cut.gpus <= 64 for cut in kept)
    assert dropped == {"pp > layers": 1}
    _, dropped = partitions(MODELS["mistralai/Mixtral-8x22B-v0.1"], 64)
    assert {"heads % tp", "experts % ep"} <= set(dropped)
    dense, _ = partitions(LLAMA, 12)
    assert max(cut.gpus for cut in dense) == 8, "the pool is a limit"


def test_every_fault_of_a_query_is_reported() -> None:
    with pytest.raises(InputError) as caught:
        Roofline().curves(query("no/model", "h999", backend="trtllm"))
    places = [fault.where for fault in caught.value.faults]
    assert places == ["$.pools[].gpu", "$.workloads[].model", "$.workloads[].backend"]
    with pytest.raises(InputError, match=r"precision: got 'fp3', allowed: bf16, fp8"):
        Roofline().curves(query("Qwen/Qwen3-32B", precision={"decode": "fp3"}))


def test_a_format_without_units_drops_all_and_says_so() -> None:
    answer = Roofline().curves(query("Qwen/Qwen3-32B", precision=dict.fromkeys(ROLES, "nvfp4")))
    assert not answer.curves and answer.dropped["no fp4 units"] > 0


def test_less_memory_means_smaller_batches() -> None:
    plenty = Roofline().curves(query("Qwen/Qwen3-32B"))
    scarce = Roofline().curves(query("Qwen/Qwen3-32B", memory_gib=Fraction(60)))
    largest = {(c.role, c.chunk_tokens, c.partition): c.batch[-1] for c in plenty.curves}
    assert all(c.batch[-1] <= largest[c.role, c.chunk_tokens, c.partition] for c in scarce.curves)
    assert components(plenty.curves[0].precision)["kv"] == "bfloat16"


@pytest.mark.parametrize("isl, osl", [(1, 2), (3, 5000), (262144, 2), (100000, 30000)])
def test_extreme_traffic_is_priced(isl: int, osl: int) -> None:
    answer = Roofline().curves(query("openai/gpt-oss-120b", "gb200", 36, 16, isl=isl, osl=osl))
    assert {curve.role for curve in answer.curves} == set(ROLES)
    for curve in answer.curves:
        assert min(*curve.latency_ms, *curve.requests_per_s, *curve.ttft_ms, *curve.memory_gib) > 0


def test_one_output_token_needs_prefill_only() -> None:
    answer = Roofline().curves(query("Qwen/Qwen3-32B", osl=1))
    assert {curve.role for curve in answer.curves} == {"prefill"}


def test_the_stated_error_is_the_measured_one() -> None:
    numbers = [float(number) for number in re.findall(r"(\d+) %", Roofline.known_error)]
    found = table_errors(sorted(TABLES.glob("*.csv.gz")), ("prefill", "decode"))
    keys = (
        ("dense", "decode", "inside"), ("dense", "prefill", "inside"), ("moe", "decode", "inside"),
        ("moe", "prefill", "inside"), ("moe", "decode", "across"), ("moe", "prefill", "across"),
    )  # fmt: skip
    assert numbers == pytest.approx([found[key] for key in keys], abs=2)


@pytest.mark.parametrize(
    "name", ["h100_sxm__trtllm__meta-llama--Meta-Llama-3.1-70B", "h200_sxm__trtllm__deepseek-ai--DeepSeek-V3"]
)
def test_errors_of_a_table_inside_one_domain_are_bounded(name: str) -> None:
    for (_, _, place), errors in row_errors(TABLES / f"{name}.csv.gz").items():
        median = float(np.median(np.abs(np.concatenate(errors))))
        assert place == "across" or median < 0.2
