"""vLLM: the flags of ``vllm serve`` (and ``python3 -m dynamo.vllm``, which takes the same)."""

from __future__ import annotations

import json

from costmodels.errors import Fault
from solver.manifests.engines import format_faults, is_bf16, kv_word, partition_fault, quantizes, sizes_of
from solver.manifests.nodes import Layout
from solver.manifests.plan import Group, Line

Flags = list[str]
KV_FORMATS = {"fp8": "fp8"}
CONNECTOR = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
MEETING_PORT = 13345
"""Port at which the pods of a replica meet: its data-parallel ranks, or the ranks of one engine."""


def faults(line: Line, group: Group, layout: Layout) -> list[Fault]:
    """What vLLM cannot express of a line."""
    cut, found = line.entry.partition, format_faults(line, True, KV_FORMATS, "vLLM")
    experts = cut.tp * cut.attention_dp
    if cut.moe_tp > 1 and cut.moe_ep > 1:
        text = (
            "vLLM cuts experts over all tp x dp GPUs, by EP (--enable-expert-parallel) or by TP (without it), and has "
        )
        found.append(partition_fault(line, f"{text}no flag for moe_tp {cut.moe_tp} x moe_ep {cut.moe_ep}"))
    elif cut.moe_ep * cut.moe_tp not in (1, experts):
        text = (
            f"--enable-expert-parallel cuts experts over tp x dp = {experts} GPUs, there is no flag for another number"
        )
        found.append(partition_fault(line, text))
    if cut.cp > 1:
        found.append(partition_fault(line, "vLLM has no settled flag for context parallelism of prompts (cp)"))
    if cut.pp > 1 and group.is_disaggregated:
        text = (
            "NixlConnector moves no KV cache from or to pipeline stages (vllm-project/vllm issue 52913), so there is no"
        )
        found.append(partition_fault(line, f"{text} --kv-transfer-config for pp {cut.pp}"))
    if cut.attention_dp > 1 and layout.pods_per_replica > 1:
        if cut.pp > 1:
            found.append(partition_fault(line, "over several nodes vLLM has no flags for data-parallel ranks with pp"))
        elif cut.tp > layout.pod_gpus:
            text = f"a data-parallel rank of tp {cut.tp} does not fit a pod of {layout.pod_gpus} GPUs, which "
            found.append(partition_fault(line, f"{text}--data-parallel-size-local needs"))
    return found


def flags(line: Line, group: Group) -> Flags:
    """Flags that every pod of a replica has; ports, model and rank are the target's."""
    cut, sizes, options = line.entry.partition, sizes_of(line), line.workload.options
    told = ["--tensor-parallel-size", str(cut.tp)]
    told += ["--pipeline-parallel-size", str(cut.pp)] if cut.pp > 1 else []
    told += ["--data-parallel-size", str(cut.attention_dp)] if cut.attention_dp > 1 else []
    told += ["--enable-expert-parallel"] if cut.moe_ep > 1 else []
    told += ["--max-model-len", str(sizes.context), "--max-num-seqs", str(sizes.running)]
    is_whole = line.role != "decode" and not sizes.chunk
    budget = max(sizes.step_tokens, sizes.context) if is_whole else sizes.step_tokens
    told += ["--max-num-batched-tokens", str(budget)]
    told += ["--no-enable-chunked-prefill"] if is_whole else ["--enable-chunked-prefill"]
    if sizes.chunk and line.role == "prefill":
        told += ["--long-prefill-token-threshold", str(sizes.chunk)]
    told += ["--dtype", "bfloat16"] if is_bf16(line) else []
    told += ["--quantization", "fp8"] if quantizes(line) else []
    told += ["--kv-cache-dtype", kv_word(line, KV_FORMATS)]
    told += ["--enable-prefix-caching"] if options.prefix_hit_rate else []
    if options.draft_tokens:
        drafts = {"method": "mtp", "num_speculative_tokens": options.draft_tokens}
        told += ["--speculative-config", json.dumps(drafts)]
    if group.is_disaggregated:
        told += ["--kv-transfer-config", json.dumps(CONNECTOR)]
    return told


def rank_flags(layout: Layout, rank: str, leader: str, start: str | None, port: int) -> Flags:
    """
    Flags that tell a pod its place in a replica of several.

    Parameters
    ----------
    layout
        The layout of the line.
    rank
        The pod's number in the replica, a number or a shell variable.
    leader
        Host name of pod 0.
    start
        First data-parallel rank of the pod: a number, or a shell expression; None for pod 0, which answers requests.
    port
        Where the pods meet.
    """
    cut, pods = layout.line.entry.partition, layout.pods_per_replica
    if pods == 1:
        return []
    if cut.attention_dp > 1:
        local = layout.pod_gpus // cut.tp
        told = ["--data-parallel-size-local", str(local), "--data-parallel-address", leader]
        told += ["--data-parallel-rpc-port", str(port)]
        return told if start is None else [*told, "--data-parallel-start-rank", start, "--headless"]
    told = ["--distributed-executor-backend", "mp", "--nnodes", str(pods), "--node-rank", rank]
    told += ["--master-addr", leader, "--master-port", str(port)]
    return told if start is None else [*told, "--headless"]


def ranks_per_pod(layout: Layout) -> int:
    """Data-parallel ranks of a pod."""
    return max(1, layout.pod_gpus // layout.line.entry.partition.tp)
