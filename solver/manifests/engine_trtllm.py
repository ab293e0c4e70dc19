"""TensorRT-LLM: the file of ``trtllm-serve --config`` (and ``python3 -m dynamo.trtllm --extra-engine-args``)."""

from __future__ import annotations

from typing import Any

from costmodels.errors import Fault
from solver.manifests.engines import format_faults, kv_word, partition_fault, sizes_of
from solver.manifests.nodes import Layout
from solver.manifests.plan import Group, Line

KV_FORMATS = {"fp8": "fp8"}


def faults(line: Line, _group: Group, _layout: Layout) -> list[Fault]:
    """What TensorRT-LLM cannot express of a line."""
    cut, found = line.entry.partition, format_faults(line, False, KV_FORMATS, "TensorRT-LLM")
    if cut.tp > 1 and cut.attention_dp > 1:
        text = "enable_attention_dp makes every rank of tensor_parallel_size an attention rank of its own, there is no "
        found.append(partition_fault(line, f"{text}key for tp {cut.tp} inside dp {cut.attention_dp}"))
    if cut.moe_tp * cut.moe_ep not in (1, cut.tp * cut.attention_dp):
        text = "moe_tensor_parallel_size x moe_expert_parallel_size must be tensor_parallel_size, there is no key for "
        found.append(partition_fault(line, f"{text}{cut.moe_tp} x {cut.moe_ep} of {cut.tp * cut.attention_dp}"))
    if cut.cp > 1:
        found.append(partition_fault(line, "context_parallel_size has no settled cp_config for serving"))
    sizes = sizes_of(line)
    if sizes.chunk and line.role == "prefill":
        text = (
            f"got {sizes.chunk}: there is no key for chunks of a prompt that follow each other through pipeline stages "
        )
        text += "(CPP); enable_chunked_prefill takes a chunk when the one before has left the pipeline"
        found.append(Fault(f"{line.entry.where}.chunk_tokens", text))
    return found


def config(line: Line, group: Group, layout: Layout) -> dict[str, Any]:
    """The configuration of one replica."""
    cut, sizes, options = line.entry.partition, sizes_of(line), line.workload.options
    told: dict[str, Any] = {
        "backend": "pytorch",
        "tensor_parallel_size": cut.tp * cut.attention_dp,
        "pipeline_parallel_size": cut.pp,
    }
    if line.is_moe:
        told |= {"moe_tensor_parallel_size": cut.moe_tp, "moe_expert_parallel_size": cut.moe_ep}
    told["enable_attention_dp"] = cut.attention_dp > 1
    if layout.pods_per_replica > 1:
        told["gpus_per_node"] = layout.pod_gpus
    told |= {
        "max_batch_size": sizes.batch,
        "max_num_tokens": sizes.step_tokens,
        "max_seq_len": sizes.context,
        "enable_chunked_prefill": bool(sizes.chunk) or line.role == "decode",
    }
    cache: dict[str, Any] = {"dtype": kv_word(line, KV_FORMATS)}
    if options.prefix_hit_rate:
        cache["enable_block_reuse"] = True
    told["kv_cache_config"] = cache
    if line.role != "prefill":
        told["cuda_graph_config"] = {"enable_padding": True, "max_batch_size": sizes.batch}
    if options.draft_tokens:
        told["speculative_config"] = {"decoding_type": "MTP", "num_nextn_predict_layers": options.draft_tokens}
    if group.is_disaggregated:
        if line.role == "prefill":
            told["disable_overlap_scheduler"] = True
        told["cache_transceiver_config"] = {"backend": "DEFAULT", "max_tokens_in_buffer": sizes.context}
    return told
