"""SGLang: the flags of ``python3 -m sglang.launch_server`` (and ``python3 -m dynamo.sglang``, which takes the same)."""

from __future__ import annotations

from costmodels.errors import Fault
from solver.manifests.engines import format_faults, is_bf16, kv_word, partition_fault, quantizes, sizes_of
from solver.manifests.nodes import Layout
from solver.manifests.plan import Group, Line
from solver.manifests.yaml_text import Shell

Flags = list[str]
KV_FORMATS = {"fp8": "fp8_e4m3"}
BOOTSTRAP_PORT, MEETING_PORT = 8998, 5000
"""Ports of a prefill server for the hand-over, and at which the pods of a replica meet."""


def faults(line: Line, _: Group, layout: Layout) -> list[Fault]:
    """What SGLang cannot express of a line."""
    cut, found = line.entry.partition, format_faults(line, True, KV_FORMATS, "SGLang")
    width = cut.stage_group
    if cut.cp > 1:
        found.append(partition_fault(line, "SGLang has no settled flag for context parallelism of prompts (cp)"))
    if cut.moe_tp * cut.moe_ep not in (1, width):
        text = f"--ep-size {cut.moe_ep} leaves moe_tp {width // cut.moe_ep} of --tp-size {width}, there is no flag for "
        found.append(partition_fault(line, f"{text}moe_tp {cut.moe_tp}"))
    sizes = sizes_of(line)
    if sizes.chunk and line.role == "prefill" and sizes.batch > 1:
        text = (
            f"got {sizes.chunk} with batch {line.entry.batch}: --chunked-prefill-size is one budget for all prompts of "
        )
        text += f"a step, there is no flag for {sizes.batch} chunks of {sizes.chunk} tokens at once; allow batch 1 only"
        found.append(Fault(f"{line.entry.where}.chunk_tokens", text))
    if layout.pods_per_replica > 1 and width % layout.pod_gpus and layout.pod_gpus % width:
        found.append(partition_fault(line, f"--nnodes {layout.pods_per_replica} does not cut --tp-size {width} evenly"))
    return found


def flags(line: Line, group: Group) -> Flags:
    """Flags that every pod of a replica has; ports, model and rank are the target's."""
    cut, sizes, options = line.entry.partition, sizes_of(line), line.workload.options
    told = ["--tp-size", str(cut.stage_group)]
    told += ["--pp-size", str(cut.pp), "--pp-max-micro-batch-size", str(sizes.batch)] if cut.pp > 1 else []
    told += ["--dp-size", str(cut.attention_dp), "--enable-dp-attention"] if cut.attention_dp > 1 else []
    told += ["--ep-size", str(cut.moe_ep)] if cut.moe_ep > 1 else []
    told += ["--context-length", str(sizes.context)]
    told += ["--max-running-requests", str(sizes.running * cut.attention_dp)]
    told += _step_flags(line)
    told += ["--dtype", "bfloat16"] if is_bf16(line) else []
    told += ["--quantization", "fp8"] if quantizes(line) else []
    told += ["--kv-cache-dtype", kv_word(line, KV_FORMATS)]
    if options.draft_tokens:
        told += ["--speculative-algorithm", "EAGLE", "--speculative-num-steps", str(options.draft_tokens)]
        told += ["--speculative-eagle-topk", "1", "--speculative-num-draft-tokens", str(options.draft_tokens + 1)]
    if group.is_disaggregated:
        told += ["--disaggregation-mode", line.role, "--disaggregation-transfer-backend", "nixl"]
    return told


def _step_flags(line: Line) -> Flags:
    """Tokens of a step. With attention DP, --chunked-prefill-size is divided by the ranks, the other sizes are not."""
    sizes, ranks = sizes_of(line), line.entry.partition.attention_dp
    if line.role == "decode":
        return ["--cuda-graph-max-bs", str(sizes.batch)]
    if line.role == "prefill":
        chunk = str(sizes.step_tokens * ranks) if sizes.chunk else "-1"
        return ["--chunked-prefill-size", chunk, "--max-prefill-tokens", str(sizes.step_tokens)]
    told = ["--enable-mixed-chunk", "--chunked-prefill-size", str(sizes.step_tokens * ranks)]
    return [*told, "--max-prefill-tokens", str(sizes.step_tokens), "--cuda-graph-max-bs", str(sizes.batch)]


def rank_flags(layout: Layout, rank: str, leader: str, port: int) -> Flags:
    """Flags that tell a pod its place in a replica of several; ``rank`` and ``leader`` may be shell variables."""
    if layout.pods_per_replica == 1:
        return []
    address = Shell(f'{leader[:-1]}:{port}"') if isinstance(leader, Shell) else f"{leader}:{port}"
    told = ["--nnodes", str(layout.pods_per_replica), "--node-rank", rank]
    return [*told, "--dist-init-addr", address]
