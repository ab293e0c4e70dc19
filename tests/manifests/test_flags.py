"""Partitions, batches and chunks in the words of each engine, worked out by hand; and what has no word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from costmodels.errors import InputError
from solver.manifests.export import export_deployment
from solver.planner import solve
from solver.result import Result
from tests.manifests.cases import (
    BF16,
    DEEPSEEK,
    FP8,
    LLAMA,
    QWEN,
    folder_of,
    pool,
    priced,
    random_result,
    row,
    solved,
)


def commands(files: dict[str, str]) -> Iterator[list[str]]:
    """The words of every container."""

    def walk(node: Any) -> Iterator[list[str]]:
        if isinstance(node, dict):
            for container in node.get("containers", ()):
                yield [*container.get("command", []), *container.get("args", [])]
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    for text in files.values():
        for document in yaml.safe_load_all(text):
            yield from walk(document)


def flags(name: str, target: str, role: str) -> dict[str, str | bool]:
    """The flags of the first worker of a role."""
    told: dict[str, str | bool] = {}
    for words in commands(export_deployment(solved(name)[1], target)):
        if role in words or (role == "colocated" and "--max-num-seqs" in words):
            for word, value in zip(words, [*words[1:], "--"], strict=True):
                if word.startswith("--"):
                    told[word] = True if value.startswith("--") else value
            return told
    raise AssertionError(f"no {role}")


def test_vllm_colocated_in_chunks() -> None:
    told = flags("chunks", "kubernetes", "colocated")
    assert told["--tensor-parallel-size"] == "4"
    assert told["--max-num-seqs"] == "32"
    assert told["--max-num-batched-tokens"] == "2080", "a chunk of 2,048 tokens and one token of each of 32 sequences"
    assert told["--enable-chunked-prefill"] is True
    assert int(str(told["--max-model-len"])) >= 4096 + 256
    assert told["--max-model-len"] == "4416"
    assert told["--kv-cache-dtype"] == "auto"
    assert "--kv-transfer-config" not in told
    assert "--enable-expert-parallel" not in told


def test_vllm_prompts_and_answers_apart() -> None:
    told = flags("hetero", "dynamo", "prefill")
    assert (told["--tensor-parallel-size"], told["--max-num-seqs"]) == ("4", "2")
    assert told["--max-num-batched-tokens"] == "8192", "two whole prompts of 4,096 tokens"
    assert told["--no-enable-chunked-prefill"] is True
    assert told["--kv-cache-dtype"] == "fp8"
    assert json.loads(str(told["--kv-transfer-config"]))["kv_connector"] == "NixlConnector"
    told = flags("hetero", "dynamo", "decode")
    assert (told["--tensor-parallel-size"], told["--max-num-seqs"]) == ("2", "64")


def test_vllm_counts_sequences_per_rank() -> None:
    told = flags("wide", "dynamo", "decode")
    assert (told["--data-parallel-size"], told["--tensor-parallel-size"]) == ("16", "1")
    assert told["--max-num-seqs"] == "64", "1,024 over 16 ranks"
    assert told["--enable-expert-parallel"] is True


def test_sglang_counts_sequences_of_all_ranks() -> None:
    told = flags("deepseek-v3-sglang-h100-61", "dynamo", "decode")
    assert (told["--tp-size"], told["--dp-size"], told["--ep-size"]) == ("32", "32", "32")
    assert told["--enable-dp-attention"] is True
    assert told["--max-running-requests"] == "4096"
    assert told["--cuda-graph-max-bs"] == "128"
    told = flags("deepseek-v3-sglang-h100-61", "dynamo", "prefill")
    assert (told["--chunked-prefill-size"], told["--max-prefill-tokens"]) == ("-1", "3072"), "3 prompts of 1,024 a rank"


def test_sglang_pipeline_of_chunks() -> None:
    told = flags("pipeline", "dynamo", "prefill")
    assert (told["--tp-size"], told["--pp-size"], told["--ep-size"]) == ("8", "2", "8")
    assert (told["--chunked-prefill-size"], told["--max-running-requests"]) == ("2048", "2"), "a prompt in each stage"
    assert told["--pp-max-micro-batch-size"] == "1"


def test_trtllm_keys() -> None:
    files = export_deployment(solved("deepseek-v3-gb200-144")[1], "trtllm")
    prefill, decode = (yaml.safe_load(files[f"chat-{role}.yaml"]) for role in ("prefill", "decode"))
    assert (prefill["tensor_parallel_size"], prefill["moe_expert_parallel_size"]) == (4, 4)
    assert (prefill["moe_tensor_parallel_size"], prefill["enable_attention_dp"]) == (1, False)
    assert (prefill["max_batch_size"], prefill["max_num_tokens"]) == (4, 4 * 4500)
    assert prefill["disable_overlap_scheduler"] is True
    assert (decode["tensor_parallel_size"], decode["moe_tensor_parallel_size"]) == (16, 4)
    assert (decode["moe_expert_parallel_size"], decode["enable_attention_dp"]) == (4, True)
    assert decode["max_batch_size"] == 1024 // 16
    assert decode["kv_cache_config"] == {"dtype": "fp8"}
    assert decode["max_seq_len"] >= 4500 + 750


def refusal(name: str, rows: list[str], model: str, target: str, gpus: int = 32, **more: Any) -> str:
    """What an export says that must fail."""
    file = folder_of(name, [pool("h200_sxm", gpus)], model, rows, **more)
    result = solve(file)
    assert result.status == "optimal"
    with pytest.raises(InputError) as caught:
        export_deployment(result, target)
    return str(caught.value)


def moe(engine: str, **cut: int) -> list[str]:
    """Prompts on 8 GPUs, answers on a partition."""
    plain = {"attention_dp": 8, "moe_ep": 8} if engine != "sglang" else {"tp": 8, "moe_ep": 8}
    decode = row("h200_sxm", engine, DEEPSEEK, FP8, "decode", cut, 1024, 40, 38)
    return [row("h200_sxm", engine, DEEPSEEK, FP8, "prefill", plain, 16, 800, 20), decode]


def test_vllm_has_no_experts_cut_twice() -> None:
    text = refusal("twice", moe("vllm", attention_dp=8, moe_tp=2, moe_ep=4), DEEPSEEK, "vllm")
    assert "$.deployment.workloads[0].decode[0].partition" in text
    assert "--enable-expert-parallel" in text
    assert "no flag for moe_tp 2 x moe_ep 4" in text


def test_context_parallelism_is_refused() -> None:
    for engine, target in (("vllm", "kubernetes"), ("trtllm", "dynamo"), ("sglang", "sglang")):
        cut = {"tp": 4, "cp": 2, "moe_ep": 8}
        assert "partition" in refusal("cp", moe(engine, **cut), DEEPSEEK, target)


def test_trtllm_has_no_tensor_parallel_attention_inside_attention_dp() -> None:
    text = refusal("inside", moe("trtllm", tp=2, attention_dp=4, moe_ep=8), DEEPSEEK, "trtllm")
    assert "no key for tp 2 inside dp 4" in text


def test_trtllm_has_no_pipeline_of_chunks() -> None:
    rows = [
        row("h200_sxm", "trtllm", QWEN, BF16, "prefill", {"tp": 2, "pp": 2}, 1, 300, 5, chunk=1024),
        row("h200_sxm", "trtllm", QWEN, BF16, "decode", {"tp": 2}, 32, 20, 6),
    ]
    text = refusal("cpp", rows, QWEN, "trtllm")
    assert "chunk_tokens: got 1024: there is no key" in text


def test_vllm_hands_nothing_over_between_pipeline_stages() -> None:
    rows = [
        row("h200_sxm", "vllm", QWEN, BF16, "prefill", {"tp": 2, "pp": 2}, 1, 300, 5),
        row("h200_sxm", "vllm", QWEN, BF16, "decode", {"tp": 2}, 32, 20, 6),
    ]
    assert "no --kv-transfer-config for pp 2" in refusal("pp", rows, QWEN, "dynamo")


def test_llm_d_has_no_pods_without_a_server() -> None:
    rows = [row("h200_sxm", "vllm", LLAMA, BF16, "colocated", {"tp": 16}, 32, 20, 5.8, chunk=4096, ttft=400)]
    assert "the chart sends requests to every pod" in refusal("headless", rows, LLAMA, "llm-d")


def test_a_plan_for_another_engine_is_refused() -> None:
    with pytest.raises(InputError, match="got vllm, must be sglang for --to sglang"):
        export_deployment(solved("wide")[1], "sglang")
    with pytest.raises(InputError, match="--engine: got trtllm, which contradicts the plan of chat, priced for vllm"):
        export_deployment(solved("wide")[1], "dynamo", engine="trtllm")


def test_weights_must_be_in_the_format_of_the_plan() -> None:
    rows = [row("h200_sxm", "trtllm", LLAMA, FP8, "colocated", {"tp": 2}, 32, 20, 5.8, chunk=4096, ttft=400)]
    text = refusal("weights", rows, LLAMA, "trtllm", 8)
    assert "checkpoint meta-llama/Meta-Llama-3.1-70B is in bf16; name one in that format with --model-path" in text
    file = folder_of("weights", [pool("h200_sxm", 8)], LLAMA, rows)
    assert (
        "/weights/llama-fp8"
        in export_deployment(solve(file), "trtllm", model_paths=["/weights/llama-fp8"])["run_h200_0.sh"]
    )
    rows = [row("h200_sxm", "vllm", LLAMA, FP8, "colocated", {"tp": 2}, 32, 20, 5.8, chunk=4096, ttft=400)]
    file = folder_of("weights", [pool("h200_sxm", 8)], LLAMA, rows)
    assert "--quantization fp8" in export_deployment(solve(file), "vllm")["run_h200_0.sh"]


def test_stages_in_domains_of_their_own() -> None:
    """Three stages of 8 GPUs, each over two nodes of a domain of 8: Kubernetes can say so, Dynamo and llm-d cannot."""
    cut = {"tp": 8, "pp": 3}
    rows = [row("gb200", "vllm", LLAMA, BF16, "colocated", cut, 32, 20, 17, chunk=4096, ttft=400)]
    file = folder_of("stages", [pool("gb200", 24)], LLAMA, rows)
    result = solve(file)
    workers = next(
        document
        for document in yaml.safe_load_all(export_deployment(result, "kubernetes")["chat.yaml"])
        if document["kind"] == "LeaderWorkerSet"
    )
    template = workers["spec"]["leaderWorkerTemplate"]
    assert (template["size"], template["subGroupPolicy"]) == (6, {"subGroupSize": 2})
    affinity = template["workerTemplate"]["spec"]["affinity"]["podAffinity"]
    term = affinity["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert [key.rsplit("/")[-1] for key in term["matchLabelKeys"]] == ["group-index", "subgroup-index"]
    with pytest.raises(InputError, match="there is no field for one stage of 8 GPUs"):
        export_deployment(result, "dynamo")
    with pytest.raises(InputError, match="the chart has no affinity for one stage"):
        export_deployment(result, "llm-d")


def roofline(name: str, gpu: str, model: str, **more: Any) -> Result:
    """A plan that was priced for no engine."""
    file = folder_of(name, [pool(gpu, 16)], model, [], **more)
    document = json.loads(file.read_text())
    document["cost_model"] = {"kind": "roofline"}
    denied = [{"pp": {"min": 2}}, {"moe_tp": {"min": 2}}, {"attention_dp": {"min": 2}, "tp": {"min": 2}}]
    document["serving"] = {"deny": {"prefill": denied, "decode": denied, "colocated": denied}}
    file.write_text(json.dumps(document))
    return solve(file)


def test_prefix_cache_and_drafts() -> None:
    more = {"prefix_hit_rate": 0.5, "speculative": {"draft_tokens": 2, "accepted_tokens": 2.2}}
    result = roofline("drafts", "h200_sxm", DEEPSEEK, **more)
    told = export_deployment(result, "vllm")
    assert '"num_speculative_tokens": 2' in "".join(told.values())
    assert "--enable-prefix-caching" in "".join(told.values())
    assert "--speculative-num-draft-tokens 3" in "".join(export_deployment(result, "sglang").values())
    text = "".join(export_deployment(result, "trtllm").values())
    assert "num_nextn_predict_layers: 2" in text
    assert "enable_block_reuse: true" in text
    assert "priced for no engine (roofline), TensorRT-LLM chosen" in text


def test_gpus_of_another_vendor() -> None:
    result = roofline("amd", "mi300x", LLAMA)
    text = export_deployment(result, "kubernetes", image="rocm/vllm:rocm7")["chat.yaml"]
    assert "amd.com/gpu: " in text
    assert "ratematch.io/pool: mi300x" in text
    with pytest.raises(InputError, match="got mi300x, TensorRT-LLM runs on NVIDIA GPUs only"):
        export_deployment(result, "trtllm")


def test_traffic_of_many_lengths_fits_the_longest_request() -> None:
    instance, _ = priced("llama-70b-h100-64-lognormal")
    longest = max(isl + osl for isl, osl, _ in instance.workloads[0].lengths.classes)
    result = random_result("llama-70b-h100-64-lognormal", 1)
    assert result is not None
    files = export_deployment(result, "trtllm")
    for name in files:
        if name.startswith("chat"):
            config = yaml.safe_load(files[name])
            assert longest < config["max_seq_len"] <= 131072
            assert config["max_num_tokens"] >= 2048


def test_a_model_that_cannot_hold_the_longest_request() -> None:
    rows = [row("h100_sxm", "vllm", QWEN, BF16, "colocated", {"tp": 4}, 2, 20, 0.04, chunk=60000, ttft=9000, isl=60000)]
    file = folder_of("long", [pool("h100_sxm", 8)], QWEN, rows, isl=60000)
    text = export_deployment(solve(file), "vllm")["run_h100_0.sh"]
    assert "requests beyond the model's 40960 tokens will be refused by the engine" in text
    assert "--max-model-len 40960" in text


def test_vllm_pipeline_of_chunks_without_a_hand_over() -> None:
    """Prompts only: two prompts at once, each 1,024 tokens a step, in each of two stages."""
    rows = [row("h200_sxm", "vllm", QWEN, BF16, "prefill", {"tp": 2, "pp": 2}, 2, 600, 6, chunk=1024, osl=1)]
    file = folder_of("prompts", [pool("h200_sxm", 8)], QWEN, rows, osl=1)
    text = export_deployment(solve(file), "vllm")["run_h200_0.sh"]
    for words in ("--pipeline-parallel-size 2", "--max-num-batched-tokens 2048", "--long-prefill-token-threshold 1024"):
        assert words in text
    assert "--max-num-seqs 4" in text
    assert "--enable-chunked-prefill" in text
    assert "--kv-transfer-config" not in text


def test_unequal_servers_are_routed_by_load() -> None:
    rows = [
        row("h200_sxm", "sglang", QWEN, BF16, "colocated", {"tp": 8}, 32, 20, 5.8, chunk=4096, ttft=400),
        row("h200_sxm", "sglang", QWEN, BF16, "colocated", {"tp": 4}, 8, 20, 1.45, chunk=4096, ttft=400),
    ]
    file = folder_of("unequal", [pool("h200_sxm", 12)], QWEN, rows)
    document = json.loads(file.read_text())
    document["serving"] = {"engines_per_role": 2}
    file.write_text(json.dumps(document))
    files = export_deployment(solve(file), "sglang")
    assert "--policy power_of_two" in files["router_chat.sh"]
    assert "colocated servers differ: route by load" in files["router_chat.sh"]
    assert "--policy round_robin" in export_deployment(solved("chunks")[1], "vllm")["router_chat.sh"]
