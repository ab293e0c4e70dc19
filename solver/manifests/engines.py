"""What a line asks of a serving engine, whichever it is: sizes, formats, and which engine it was priced for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from costmodels.errors import Fault
from costmodels.precision import components, fits, kv_format
from solver.manifests.plan import Group, Line

EngineName = Literal["vllm", "sglang", "trtllm"]
ENGINES: tuple[EngineName, ...] = ("vllm", "sglang", "trtllm")
TITLES: dict[EngineName, str] = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
DEFAULT_ENGINE: EngineName = "vllm"
VERSIONS: dict[EngineName, str] = {"vllm": "0.24.0", "sglang": "0.5.14", "trtllm": "1.3.0rc20"}
"""Versions of the engines in the measured tables; of the images where a plan was priced without an engine."""

BLOCK_TOKENS = 64
"""Context lengths are rounded up to whole KV blocks of at most this size."""
LEAST_STEP_TOKENS = 2048
"""Token budget of a decode engine: it still has to take in a prompt whose KV cache did not arrive."""
PLAIN_KV = ("", "bfloat16", "float16", "bf16", "fp16")
"""KV formats that are the model's own."""


@dataclass(frozen=True)
class Sizes:
    """
    Sizes of one replica, per attention-DP rank.

    Parameters
    ----------
    batch
        Sequences of a micro-batch.
    running
        Sequences in flight: a micro-batch per pipeline stage.
    context
        Longest sequence in tokens, prompt and answer.
    chunk
        Tokens that one prompt gives to a step; 0 where prompts are whole.
    step_tokens
        Tokens of a step: prompts and, where decodes run beside them, one token (and its drafts) of each.
    """

    batch: int
    running: int
    context: int
    chunk: int
    step_tokens: int


def sizes_of(line: Line) -> Sizes:
    """The sizes of a line. The batch of the plan is over all attention-DP ranks and of one pipeline stage."""
    entry, workload = line.entry, line.workload
    lengths, options = workload.lengths, workload.options
    batch = ceil(entry.batch / entry.partition.attention_dp)
    longest = max(isl for isl, _, _ in lengths.classes)
    computed = ceil(lengths.isl * (1 - options.prefix_hit_rate))
    is_cut = 0 < entry.chunk_tokens < computed
    decodes = batch * (1 + options.draft_tokens)
    if line.role == "decode":
        tokens = max(decodes, LEAST_STEP_TOKENS)
    elif line.role == "prefill":
        tokens = batch * entry.chunk_tokens if is_cut else max(batch * computed, longest)
    else:
        tokens = decodes + (entry.chunk_tokens if is_cut else max(entry.chunk_tokens, longest))
    return Sizes(batch, batch * entry.partition.pp, context_of(line), entry.chunk_tokens if is_cut else 0, tokens)


def longest_of(line: Line) -> int:
    """Tokens of the longest request of the workload, prompt and answer."""
    return max(isl + osl for isl, osl, _ in line.workload.lengths.classes)


def context_of(line: Line) -> int:
    """Context length of the engine: the longest request and one token, in whole blocks, if the model can."""
    wanted = -(-(longest_of(line) + 1) // BLOCK_TOKENS) * BLOCK_TOKENS
    return min(wanted, line.shape.max_context) if line.shape else wanted


def engine_of(group: Group, option: EngineName | None) -> EngineName:
    """The engine that a group was priced for; where that is none of those known, the one asked for."""
    backend = group.lines[0].entry.backend
    return next((name for name in ENGINES if name == backend), option or DEFAULT_ENGINE)


def is_priced(group: Group) -> bool:
    """Whether the group was priced for one of the engines known here."""
    return group.lines[0].entry.backend in ENGINES


def version_of(group: Group, engine: EngineName) -> str:
    """The version that the group was priced for, else that of the measured tables."""
    return group.lines[0].entry.backend_version if is_priced(group) else VERSIONS[engine]


def engine_faults(group: Group, wanted: EngineName, target: str) -> list[Fault]:
    """Lines that were priced for another engine than the target runs."""
    text = f"must be {wanted} for --to {target}; the plan was priced for that engine, export it to "
    return [
        Fault(
            f"{line.entry.where}.backend", f"got {line.entry.backend}, {text}{line.entry.backend}, kubernetes or dynamo"
        )
        for line in group.lines
        if line.entry.backend in ENGINES and line.entry.backend != wanted
    ]


def is_bf16(line: Line) -> bool:
    """Whether matrices that are no experts are in 16 bits."""
    parts = components(line.entry.precision)
    return parts.get("gemm", "") in ("bfloat16", "bf16")


def quantizes(line: Line) -> bool:
    """Whether the engine must quantize to FP8 as it loads: the plan says FP8, the checkpoint is in 16 bits."""
    own = line.shape.precision if line.shape else None
    return own == "bf16" and not line.is_path_given and fits("fp8", line.entry.precision)


def format_faults(line: Line, can_quantize: bool, kv_flags: Mapping[str, str], title: str) -> list[Fault]:
    """Weights that the checkpoint does not hold, and KV formats that the engine has no word for."""
    faults = []
    own = line.shape.precision if line.shape else None
    holds = own is None or line.is_path_given or fits(own, line.entry.precision)
    if not holds and not (can_quantize and quantizes(line)):
        text = f"got {line.entry.precision}, but the checkpoint {line.workload.model} is in {own}; "
        faults.append(Fault(f"{line.entry.where}.precision", text + "name one in that format with --model-path"))
    kv = kv_format(line.entry.precision)
    if kv not in PLAIN_KV and kv not in kv_flags:
        text = f"got kv:{kv}, {title} has no KV cache format for it here; known are {', '.join(kv_flags)}"
        faults.append(Fault(f"{line.entry.where}.precision", text))
    return faults


def kv_word(line: Line, kv_flags: Mapping[str, str]) -> str:
    """The engine's word for the KV format; ``auto`` for the model's own."""
    return kv_flags.get(kv_format(line.entry.precision), "auto")


def partition_fault(line: Line, text: str) -> Fault:
    """A partition that an engine cannot express."""
    other = "export to another target" if line.entry.backend in ENGINES else "try another --engine"
    way_out = f"forbid it in serving.deny and solve again, or {other}"
    return Fault(f"{line.entry.where}.partition", f"got {line.entry.partition.label}: {text}; {way_out}")
