"""Published throughputs beside what the roofline says of them: ``python docs/measure_known.py``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from costmodels.engine import Engine
from costmodels.formats import exact, formats
from costmodels.gpus import gpu
from costmodels.models import model
from costmodels.operating_curve import CurveQuery, Role
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.phases import Demand, Steady, steady, turns_of
from costmodels.roofline import Roofline
from costmodels.traffic import Traffic

DEEPSEEK = "deepseek-ai/DeepSeek-V3"
LLAMA = "meta-llama/Meta-Llama-3.1-70B"
WIDE_PREFILL = Partition(attention_dp=32, moe_ep=32)


@dataclass(frozen=True)
class Known:
    """One published figure: what ran, what was measured, what is predicted."""

    source: str
    what: str
    unit: str
    measured: float
    predicted: float


def priced(gpu_name: str, cut: Partition, role: Role, lengths: tuple[int, int], batch: int, chunk: int = 0) -> Steady:
    """One FP8 engine of DeepSeek-V3 under SGLang at one batch per attention-DP rank."""
    shape, device = model(DEEPSEEK), gpu(gpu_name)
    engine = Engine(shape, device, formats(exact("fp8", shape, device)), cut, device.nvlink_domain_gpus, "sglang")
    demand = Demand(role, Traffic.constant(*lengths), EngineOptions(), chunk)
    return steady(engine, demand, turns_of(engine, demand, np.array([float(batch)])))


def of_deepseek() -> list[Known]:
    """DeepSeek's own serving on H800: 32 GPUs a prefill unit, 144 a decode unit (priced as 128)."""
    source = "deepseek-ai/open-infra-index, day 6"
    prefill = priced("h800_sxm", WIDE_PREFILL, "prefill", (4096, 1), 4)
    tokens = 1000 * 4 * 4096 / float(prefill.latency_ms[0]) * 8
    found = [Known(source, "prefill EP32, prompts not cached", "input tok/s/node", 32_200, tokens)]
    for batch in (32, 64, 128):
        decode = priced("h800_sxm", Partition(attention_dp=128, moe_ep=128), "decode", (4700, 580), batch)
        user = 1000 / float(decode.latency_ms[0])
        what = f"decode EP144 at 20-22 tok/s/user (here {user:.1f}, batch {batch})"
        found.append(Known(source, what, "output tok/s/node", 14_800, user * batch * 8))
    return found


def of_sglang() -> list[Known]:
    """SGLang on 12 nodes of 8 H100: prefill EP32, decode EP72 (priced as 64)."""
    source, found = "lmsys blog, May 2025", []
    for isl, rate in ((1024, 57_674), (2048, 54_543), (4096, 50_302)):
        batch = 16384 // isl
        state = priced("h100_sxm", WIDE_PREFILL, "prefill", (isl, 1), batch)
        tokens = 8e3 * batch * isl / float(state.latency_ms[0])
        found.append(Known(source, f"prefill EP32 at {isl}", "input tok/s/node", rate, tokens))
    state = priced("h100_sxm", Partition(attention_dp=64, moe_ep=64), "decode", (2000, 100), 256)
    tokens = 8e3 * 256 / float(state.latency_ms[0])
    found.append(Known(source, "decode EP72 at 2K", "output tok/s/node", 22_282, tokens))
    return found


def of_chunked_pipelines() -> list[Known]:
    """Chunked pipelines on H20, one prompt of 128K."""
    source, found = "lmsys blog, January 2026", []
    for cut, rate, seconds in (
        (Partition(tp=8, moe_tp=8), 2650, 48.5), (Partition(tp=8, pp=2, moe_tp=8), 4700, 28.3),
        (Partition(tp=8, pp=4, moe_tp=8), 8800, 15.5), (Partition(tp=32, moe_tp=8, moe_ep=4), 6800, 19.4),
    ):  # fmt: skip
        chunk = 4096 if cut.pp > 1 else 0
        state = priced("h20_sxm", cut, "prefill", (131072, 1), 1, chunk)
        found.append(Known(source, f"{cut.label} TTFT", "s", seconds, float(state.latency_ms[0]) / 1000))
        found.append(Known(source, f"{cut.label}", "input tok/s", rate, 131072 * float(state.requests_per_s[0])))
    return found


def of_tensorrt() -> list[Known]:
    """TensorRT-LLM's best output tokens/s/GPU at 1024/1024, co-located, any batch."""
    found = []
    for name, gpu_name, label, rate in (
        (DEEPSEEK, "b200_sxm", "nvfp4", 6430), (DEEPSEEK, "gb200", "nvfp4", 6924), (DEEPSEEK, "h200_sxm", "fp8", 1620),
        (LLAMA, "b200_sxm", "nvfp4", 6920), (LLAMA, "h200_sxm", "fp8", 2587), (LLAMA, "h100_sxm", "fp8", 2209),
        ("openai/gpt-oss-120b", "b200_sxm", "mxfp4", 25_870), ("openai/gpt-oss-120b", "h200_sxm", "mxfp4", 6798),
        ("openai/gpt-oss-120b", "h100_sxm", "mxfp4", 4715),
    ):  # fmt: skip
        options = EngineOptions(kv_reservation="mean")
        query = CurveQuery(
            gpu=gpu_name,
            domain_gpus=8,
            pool_gpus=8,
            model=name,
            isl=1024,
            osl=1024,
            backend="trtllm",
            precision={"colocated": label},
            options=options,
        )
        best = max(
            float(curve.requests_per_s[-1]) * 1024 / curve.partition.gpus
            for curve in Roofline().curves(query).curves
            if curve.role == "colocated"
        )
        what = f"{name.split('/')[1]} {gpu_name} {label}"
        found.append(Known("TensorRT-LLM perf overview", what, "output tok/s/GPU", rate, best))
    return found


def main() -> None:
    """Prints the table."""
    print("| source | what | unit | measured | predicted | ratio |")
    print("|---|---|---|---|---|---|")
    for one in [*of_deepseek(), *of_sglang(), *of_chunked_pipelines(), *of_tensorrt()]:
        ratio = one.predicted / one.measured
        both = [f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" for value in (one.measured, one.predicted)]
        print(f"| {one.source} | {one.what} | {one.unit} | {both[0]} | {both[1]} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
