"""What GPUs exchange: figures by hand, extrapolation beyond a node, and the laws of collectives."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from costmodels.constants import IDEAL, Constants, fitted
from costmodels.engine import Engine, EngineKernels
from costmodels.exchanges import all_reduce, dispatch, gather, send
from costmodels.formats import formats
from costmodels.gpus import GPUS, Gpu
from costmodels.kernel_sets import carried
from costmodels.kernels import GATHER, REDUCE, REDUCE_MANY, CollectiveKernel, ExchangeKernel
from costmodels.layers import attention_work
from costmodels.mixture import collective, exchanges, sent
from costmodels.models import MODELS
from costmodels.operators import Operator
from costmodels.partition import Partition
from tests.costmodels.test_layers import decoding
from tests.costmodels.test_operators import ALONE, ROUND, ms

DEEPSEEK = MODELS["deepseek-ai/DeepSeek-V3"]
EXCHANGE = ExchangeKernel(0.03, 0.02, 0.5)
COLLECTIVE = CollectiveKernel(start_ms=0.02, steps=0.5, ramp_ms=0.04, nvlink=0.5, own=0.25)
"""A start of 0.02 ms among 8 GPUs, of 0.01 among 2."""
STEADY = replace(COLLECTIVE, ramp_ms=0.0)
DOMAINS = (1, 2, 4, 8, 16, 32, 36, 64, 72)


def test_plain_collectives_by_hand() -> None:
    assert ms(gather(8, 1, 1e9, None)) == 0 and ms(all_reduce(8, 1, 1e9, None)) == 0
    inside = 1e9 * 7 / 8 / 450e6
    assert ms(gather(8, 8, 1e9, None), ALONE) == pytest.approx(inside)
    assert ms(all_reduce(8, 8, 1e9, None), ALONE) == pytest.approx(2 * inside)
    # two domains: half comes over the eight links of the domain, shared fully (spread 1)
    both = 1e9 * (15 / 16 / 450e6 + 1 / 2 / 8 / 50e6)
    assert ms(gather(8, 16, 1e9, None), ALONE) == pytest.approx(both)
    # not shared at all (spread 0), at half the bandwidth, NVLink at half the measured speed, and the crossing
    alone = replace(ROUND, spread=0.0)
    assert ms(gather(8, 16, 1e9, None), alone) == pytest.approx(1e9 * (15 / 16 / 225e6 + 1 / 2 / 25e6) + 0.05)
    assert ms(gather(8, 64, 1e9, None), ALONE) == pytest.approx(1e9 * (63 / 450e6 + 56 / 8 / 50e6) / 64)


def test_measured_collectives_by_hand() -> None:
    # each GPU has an eighth, a quarter of which counts as if it came over NVLink: 7.25 eighths at half of 450 GB/s
    t = 1e9 * 7.25 / 8 / 225e6
    assert ms(gather(8, 8, 1e9, STEADY), ALONE) == pytest.approx(t + 0.02)
    assert ms(gather(8, 8, 1e9, STEADY)) == pytest.approx((t + 0.02) / 0.5), "starts run at the same speed"
    # getting up to speed: t takes t + 2 sqrt(ramp t)
    assert ms(gather(8, 8, 1e9, COLLECTIVE), ALONE) == pytest.approx(t + 2 * np.sqrt(0.04 * t) + 0.02)
    # two GPUs: 1.25 halves, and (2/8) ** 0.5 of the start
    assert ms(gather(8, 2, 1e9, STEADY), ALONE) == pytest.approx(1e9 * 1.25 / 2 / 225e6 + 0.01)
    # two domains: 15.25 parts of 16 over NVLink, half over eight links; 2 ** 0.5 of the start; each with its ramp
    inside, across = 1e9 * 15.25 / 16 / 225e6, 1e9 / 2 / 8 / 25e6
    ramps = 2 * np.sqrt(0.04 * inside) / 0.5 + 2 * np.sqrt(0.04 * across)
    whole = (inside + 0.02 * np.sqrt(2)) / 0.5 + across + ramps + 0.05
    assert ms(gather(8, 16, 1e9, COLLECTIVE)) == pytest.approx(whole)


def test_an_all_reduce_is_a_gather_of_twice_the_bytes_under_one_start() -> None:
    for group in (2, 8, 16):
        assert all_reduce(8, group, 1e9, COLLECTIVE) == gather(8, group, 2e9, COLLECTIVE)
    t = 1e9 * 7.25 / 8 / 225e6
    assert ms(all_reduce(8, 8, 1e9, STEADY), ALONE) == pytest.approx(2 * t + 0.02)


def test_point_to_point_by_hand() -> None:
    assert ms(send(False, 1e8, None), ALONE) == pytest.approx(1e8 / 450e6)
    assert ms(send(False, 1e8, STEADY)) == pytest.approx((1e8 / 225e6 + 0.01) / 0.5)
    inside, across = 1e8 / 225e6, 1e8 / 25e6
    ramps = 2 * np.sqrt(0.04 * inside) / 0.5 + 2 * np.sqrt(0.04 * across)
    assert ms(send(True, 1e8, COLLECTIVE)) == pytest.approx((inside + 0.01) / 0.5 + across + ramps + 0.05)


def test_a_dispatch_by_hand() -> None:
    # 2 copies of a token on 4 GPUs reach 4 x (1 - (3/4)^2) = 7/4 of them, of which 3/4 are other GPUs
    moved = 1e9 * 7 / 4 * 3 / 4 / 450e6
    assert ms(dispatch(8, 4, 2, 1e5, 1e4, None), IDEAL) == pytest.approx(moved)
    assert ms(dispatch(8, 4, 2, 1e5, 1e4, EXCHANGE)) == pytest.approx((moved / 0.5 + 0.03 + 1e5 * 2e-5) / 0.4)
    # two domains: the other one is wanted with probability 1 - (1/2)^2
    across = dispatch(2, 4, 2, 1e5, 1e4, EXCHANGE)
    assert float(np.sum(across.over_link)) == pytest.approx(1e9 * 3 / 4) and across.crossings == 1
    more = ms(across) - ms(dispatch(4, 4, 2, 1e5, 1e4, EXCHANGE))
    assert more == pytest.approx(1e9 * 3 / 4 / (50e6 * 0.5) + 0.05)
    assert ms(dispatch(8, 1, 2, 1e5, 1e4, EXCHANGE)) == 0


FP8 = formats("gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16")
MANY = replace(COLLECTIVE, nvlink=1.0)
LLAMA = Engine(
    MODELS["meta-llama/Meta-Llama-3.1-70B"], GPUS["h100_sxm"], FP8, Partition(tp=16), 8, "trtllm", "operators",
    other_kernels=EngineKernels(gather=STEADY, reduce=COLLECTIVE, reduce_many=MANY),
)  # fmt: skip


def test_tables_extrapolate_collectives_beyond_a_node() -> None:
    """Those of one node, starts included, times what a ring takes longer and by which links are slower."""
    # 16 GPUs on nodes of 8: a ring sends 15/16 instead of 7/8, at 50 instead of 450 GB/s
    times, whole = collective(LLAMA, False, 16, 1e9)
    assert times == pytest.approx((15 / 16) / (7 / 8) * 450 / 50)
    assert whole == gather(8, 8, 1e9, STEADY) and whole.over_link == 0
    assert times * ms(whole, ALONE) == pytest.approx(15 / 14 * 9 * (1e9 * 7.25 / 8 / 225e6 + 0.02))
    # inside a domain of 72 NVLink stays: nodes of a GB200 have 4
    wide = replace(LLAMA, gpu=GPUS["gb200"], domain_gpus=72)
    assert GPUS["gb200"].gpus_per_node == 4
    times, whole = collective(wide, True, 8, 1e9)
    assert times == pytest.approx((7 / 8) / (3 / 4)) and whole == all_reduce(4, 4, 1e9, COLLECTIVE)
    # 144 GPUs leave it
    gb200 = GPUS["gb200"]
    times, _ = collective(wide, True, 144, 1e9)
    assert times == pytest.approx((143 / 144) / (3 / 4) * gb200.nvlink_gbps / gb200.link_gbps)
    # a domain of 2 is the node of a group of 4
    times, whole = collective(replace(LLAMA, domain_gpus=2), False, 4, 1e9)
    assert times == pytest.approx(1.5 * 9) and whole == gather(2, 2, 1e9, STEADY)
    # a node itself is as measured
    assert collective(LLAMA, False, 8, 1e9) == (1.0, gather(8, 8, 1e9, STEADY))


def test_servers_cross_domains_as_their_links_do() -> None:
    """No extrapolation: the operator itself leaves the domain."""
    served = replace(LLAMA, basis="served")
    assert collective(served, False, 16, 1e9) == (1.0, gather(8, 16, 1e9, STEADY))
    assert collective(served, True, 16, 1e9) == (1.0, all_reduce(8, 16, 1e9, MANY))
    plain = replace(LLAMA, basis="ideal")
    assert collective(plain, True, 16, 1e9) == (1.0, all_reduce(8, 16, 1e9, None)), "nor kernels"


def test_all_reduces_of_many_are_another_kernel() -> None:
    for basis in ("operators", "served"):
        engine = replace(LLAMA, basis=basis)
        assert collective(engine, True, 4, 1e9) == (1.0, all_reduce(8, 4, 1e9, COLLECTIVE))
        assert collective(engine, True, 8, 1e9) == (1.0, all_reduce(8, 8, 1e9, MANY))
    assert collective(LLAMA, True, 16, 1e9)[1] == all_reduce(8, 8, 1e9, MANY)


def test_layers_reduce_with_the_factor_of_their_basis() -> None:
    work = attention_work(LLAMA, decoding(64, 5000))
    found = [(times, one) for times, one in work if one.kind == "collective"]
    assert [times for times, _ in found] == [pytest.approx(80 * 15 / 14 * 9)]
    assert float(np.sum(found[0][1].over_nvlink)) == pytest.approx(2 * 64 * 8192 * 2 * 7.25 / 8)
    hop = sent(LLAMA, True, 100.0)
    assert hop == send(True, 100 * 8192 * 2, STEADY)


def deepseek(serving: str, gpu: str = "h200_sxm", form: str = "fp8_block", **changed: Any) -> Engine:
    """DeepSeek with whole experts on 16 ranks of two attention-TP GPUs."""
    cut = Partition(tp=2, attention_dp=8, moe_ep=16)
    used = formats(f"gemm:{form} moe:{form} kv:fp8 fmha:bfloat16")
    return replace(Engine(DEEPSEEK, GPUS[gpu], used, cut, 8, serving, "operators"), **changed)


def exchanged(engine: Engine, tokens: float, decodes: bool) -> list[Operator]:
    return [one for _, one in exchanges(engine, np.array([tokens]), np.array([decodes]))]


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
    engine = deepseek("sglang", other_kernels=EngineKernels(many=many, few=few))
    both = [one for _, one in exchanges(engine, np.array([100.0, 100.0]), np.array([True, False]))]
    for one, two, together in zip(exchanged(engine, 100.0, True), exchanged(engine, 100.0, False), both, strict=True):
        assert np.concatenate([one.over_nvlink, two.over_nvlink]) == pytest.approx(together.over_nvlink)
        assert np.concatenate([one.handled_ms, two.handled_ms]) == pytest.approx(together.handled_ms)
        assert float(one.handled_ms[0]) == pytest.approx(0.01 + 50 * 1e-6)  # type: ignore[index]
    one_node = exchanged(replace(engine, exchanged=8), 100.0, True)
    assert all(float(np.sum(one.over_link)) == 0 and one.crossings == 0 for one in one_node)


def collectives(domain: int, group: int, size: float, kernel: CollectiveKernel | None) -> list[Operator]:
    return [
        gather(domain, group, size, kernel), all_reduce(domain, group, size, kernel),
        dispatch(domain, group, 8, size / 7168, 7168.0, EXCHANGE), send(group > domain, size, kernel),
    ]  # fmt: skip


def slower_in_a_larger_domain(
    constants: Constants, gpu: Gpu, domains: tuple[int, ...] = DOMAINS, kernel: CollectiveKernel | None = COLLECTIVE
) -> list[str]:
    """Where the law is broken."""
    broken = []
    for group in (2, 8, 64, 72):
        for size in (1e3, 1e6, 1e9):
            rows = [[ms(op, constants, gpu) for op in collectives(domain, group, size, kernel)] for domain in domains]
            for one, times in zip(("gather", "all_reduce", "dispatch", "send"), zip(*rows, strict=True), strict=True):
                if any(later > earlier * (1 + 1e-9) for earlier, later in pairwise(times)):
                    broken.append(f"{one} of {group}, {size:g} bytes")
    return broken


@pytest.mark.parametrize("gpu", GPUS.values(), ids=lambda gpu: gpu.name)
def test_a_larger_domain_never_slows_a_collective(gpu: Gpu) -> None:
    assert slower_in_a_larger_domain(IDEAL, gpu, DOMAINS[2:], None) == []


def test_a_larger_domain_never_slows_a_collective_with_any_constants() -> None:
    sets = {**{" ".join(key): one for key, one in fitted().items()}, "ideal": IDEAL}
    found = {(key, gpu.name): slower_in_a_larger_domain(one, gpu) for key, one in sets.items() for gpu in GPUS.values()}
    assert {key: broken for key, broken in found.items() if broken} == {}


@pytest.mark.parametrize("form", [GATHER, REDUCE, REDUCE_MANY])
def test_a_larger_domain_never_slows_a_carried_collective(form: str) -> None:
    served = [one for key, one in fitted().items() if key[:2] == ("served", "shared")]
    kernels = {key: one for key, one in carried().collective.items() if key[0] == form}
    assert len(kernels) >= 10
    found = {
        (key, place): slower_in_a_larger_domain(one, GPUS["h200_sxm"], DOMAINS, kernel)
        for key, kernel in kernels.items()
        for place, one in enumerate(served[:3])
    }
    assert {key: broken for key, broken in found.items() if broken} == {}


@pytest.mark.parametrize("reduces", [False, True], ids=["gather", "all_reduce"])
@pytest.mark.parametrize("basis", ["served", "operators"])
def test_a_larger_domain_never_slows_the_collective_of_an_engine(basis: str, reduces: bool) -> None:
    """Of every GPU under every engine; tables, too, from domains of a node upwards."""
    domains = DOMAINS if basis == "served" else DOMAINS[DOMAINS.index(8) :]
    for gpu in GPUS.values():
        for serving in (None, "trtllm", "sglang", "vllm"):
            engine = Engine(LLAMA.model, gpu, FP8, Partition(tp=8), 8, serving, basis)  # type: ignore[arg-type]
            for group in (2, 8, 64, 144):
                for size in (1e4, 1e7):
                    found = [
                        collective(replace(engine, domain_gpus=domain), reduces, group, size) for domain in domains
                    ]
                    taken = [times * ms(one, engine.constants, gpu) for times, one in found]
                    slower = [later > earlier * (1 + 1e-9) for earlier, later in pairwise(taken)]
                    assert not any(slower), (gpu.name, serving, group, size, taken)
