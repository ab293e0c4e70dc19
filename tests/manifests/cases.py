"""Plans to export: built-in instances, hand-made tables of vLLM and SGLang, and random deployments without a solve."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import instances
from costmodels.operating_curve import Role
from solver.deployment import Deployment
from solver.engines import Engine, EngineSet, cost_model_of, engines_of
from solver.instance import Instance
from solver.planner import solve
from solver.read import read_instance
from solver.result import Result, Run
from solver.verifier import verify

HEADER = (
    "system,backend,backend_version,model,precision,phase,tp,pp,attention_dp,moe_tp,moe_ep,cp,gpus,domain_gpus,batch,"
    "chunk_tokens,isl,osl,latency_ms,ttft_ms,requests_per_s,memory_gib"
)
FOLDERS = TemporaryDirectory(prefix="manifests-")
BF16 = "gemm:bfloat16 moe:bfloat16 kv:bfloat16 fmha:bfloat16"
FP8_KV = "gemm:bfloat16 moe:bfloat16 kv:fp8 fmha:bfloat16"
FP8 = "gemm:fp8_block moe:fp8_block kv:fp8 fmha:bfloat16"


def row(
    gpu: str, engine: str, model: str, precision: str, role: Role, cut: dict[str, int], batch: int, latency: float,
    rate: float, *, chunk: int = 0, isl: int = 4096, osl: int = 256, ttft: float | None = None, domain: int = 8,
) -> str:  # fmt: skip
    """A line of a table of curves."""
    tp, pp, dp = cut.get("tp", 1), cut.get("pp", 1), cut.get("attention_dp", 1)
    degrees = (
        tp,
        pp,
        dp,
        cut.get("moe_tp", 1),
        cut.get("moe_ep", 1),
        cut.get("cp", 1),
        tp * pp * dp * cut.get("cp", 1),
    )
    version = {"vllm": "0.24.0", "sglang": "0.5.14", "trtllm": "1.3.0rc20"}.get(engine, "1")
    told = (
        gpu,
        engine,
        version,
        model,
        precision,
        role,
        *degrees,
        domain,
        batch,
        chunk,
        isl,
        osl if role != "prefill" else "",
    )
    return ",".join(map(str, (*told, latency, "" if ttft is None else ttft, rate, 10)))


def folder_of(name: str, pools: list[dict[str, Any]], model: str, rows: list[str], **more: Any) -> Path:
    """An instance with its table in a new folder."""
    folder = Path(mkdtemp(dir=FOLDERS.name))
    (folder / "rows.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    workload = {"name": "chat", "model": model, "isl": 4096, "osl": 256, "sla": {"tpot_ms": 100}} | more
    document = {"format": "disagg-instance", "version": 1, "name": name, "pools": pools, "workloads": [workload]}
    document |= {"cost_model": {"kind": "curves", "path": "rows.csv"}, "objective": "throughput"}
    file = folder / f"{name}.json"
    file.write_text(json.dumps(document))
    return file


def pool(gpu: str, gpus: int, domain: int = 8, **more: Any) -> dict[str, Any]:
    """A pool, named after its GPU."""
    return {"name": gpu.removesuffix("_sxm"), "gpu": gpu, "gpus": gpus, "nvlink_domain_gpus": domain} | more


QWEN, LLAMA, DEEPSEEK = "Qwen/Qwen3-32B", "meta-llama/Meta-Llama-3.1-70B", "deepseek-ai/DeepSeek-V3"


def chunks() -> Path:
    """vLLM, co-located, prompts in chunks of 2,048 tokens."""
    rows = [row("h100_sxm", "vllm", QWEN, BF16, "colocated", {"tp": 4}, 32, 20, 5.8, chunk=2048, ttft=400)]
    return folder_of("chunks", [pool("h100_sxm", 16)], QWEN, rows)


def hetero() -> Path:
    """vLLM, prompts on H100, answers on H200, KV cache in FP8."""
    rows = [
        row("h100_sxm", "vllm", LLAMA, FP8_KV, "prefill", {"tp": 4}, 2, 500, 4),
        row("h200_sxm", "vllm", LLAMA, FP8_KV, "decode", {"tp": 2}, 64, 25, 10),
    ]
    return folder_of("hetero", [pool("h100_sxm", 24), pool("h200_sxm", 8)], LLAMA, rows)


def wide(engine: str = "vllm") -> Path:
    """Attention DP and expert parallelism; answers over two nodes."""
    rows = [
        row("h200_sxm", engine, DEEPSEEK, FP8, "prefill", {"attention_dp": 8, "moe_ep": 8}, 16, 800, 20),
        row("h200_sxm", engine, DEEPSEEK, FP8, "decode", {"attention_dp": 16, "moe_ep": 16}, 1024, 40, 38),
    ]
    return folder_of("wide", [pool("h200_sxm", 32)], DEEPSEEK, rows)


def pipeline() -> Path:
    """SGLang: chunks that flow through two stages; answers with TP attention and EP experts."""
    rows = [
        row("h200_sxm", "sglang", DEEPSEEK, FP8, "prefill", {"tp": 8, "pp": 2, "moe_ep": 8}, 1, 900, 3, chunk=2048),
        row("h200_sxm", "sglang", DEEPSEEK, FP8, "decode", {"tp": 8, "moe_ep": 8}, 64, 30, 8),
    ]
    return folder_of("pipeline", [pool("h200_sxm", 40)], DEEPSEEK, rows)


HAND_MADE = {"chunks": chunks, "hetero": hetero, "wide": wide, "pipeline": pipeline}


@cache
def solved(name: str) -> tuple[Path, Result]:
    """The instance file of a case, and its result."""
    file = HAND_MADE[name]() if name in HAND_MADE else instances.path(name)
    return file, solve(file)


@cache
def priced(name: str) -> tuple[Instance, EngineSet]:
    """A built-in instance and its engines."""
    file = instances.path(name)
    instance = read_instance(file)
    return instance, engines_of(instance, cost_model_of(instance, file.parent))


def random_result(name: str, seed: int) -> Result | None:
    """A deployment at random that the verifier accepts; None where none was met in some tries."""
    instance, engines = priced(name)
    draw = random.Random(f"{name} {seed}")
    if instance.is_unlimited:
        return None
    for _ in range(40):
        picked = _picked(instance, engines, draw)
        try:
            result = _result(Deployment.of(instance, picked), engines)
            if picked and verify(instance, engines, result.as_dict()).ok:
                return result
        except ValueError:  # the groups do not fit
            continue
    return None


def _picked(instance: Instance, engines: EngineSet, draw: random.Random) -> list[tuple[Engine, int, int]]:
    """For each workload an engine a role, with batches and replicas at random."""
    picked = []
    for workload in instance.workloads:
        roles = workload.roles(draw.choice(instance.serving.modes))
        joint = None
        for role in roles:
            some = [e for e in engines.engines if e.workload.name == workload.name and e.curve.role == role]
            some = [e for e in some if e.most_replicas and (joint is None or e.joint == joint)]
            if not some:
                return []
            engine = draw.choice(some)
            joint = engine.joint
            least = instance.serving.min_replicas.get((workload.name, role), 1)
            most = max(least, engine.most_replicas // (2 * len(instance.workloads)))
            picked.append((engine, draw.choice(engine.curve.batch), draw.randint(least, most)))
    return picked


def _result(deployment: Deployment, engines: EngineSet) -> Result:
    run = Run("none", "0", "points", True, True, {}, 0, 0, {}, 0, 0.0)
    value = deployment.objective
    said = "verified exactly"
    return Result(deployment.instance, engines, "feasible", deployment, value, None, "none", said, (), run)
