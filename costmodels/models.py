"""Language models: the shapes that decide their cost, each with its source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Model:
    """
    The shape of one decoder-only transformer. Biases and norm weights (below 0.1 % of all) are left out.

    Parameters
    ----------
    name
        Name on the Hugging Face hub.
    source
        The document the figures are from.
    layers, d_model, vocab, max_context
        Transformer layers, hidden size, vocabulary, longest context in tokens.
    heads, kv_heads, d_head
        Query heads, key-value heads (not used by MLA), size of a head.
    d_ff
        Width of the gated FFN of a dense layer; 0 where every layer has experts.
    precision
        Label of the checkpoint's own weight format (:data:`costmodels.precision.LABELS`).
    attention
        ``gqa`` (grouped-query; also MHA and MQA) or ``mla`` (multi-head latent attention).
    q_lora_rank, kv_lora_rank, qk_rope, qk_nope, d_value
        MLA only: ranks of the query (0: not compressed) and key-value compression, rotary and plain parts of a key,
        size of a value.
    window
        Sliding window in tokens of the windowed layers; 0 where there are none.
    experts, experts_per_token, shared_experts, d_expert
        Routed experts per MoE layer, how many a token takes, experts that every token takes, width of one expert.
    dense_layers
        Layers without experts in an MoE model.
    tied
        Whether the output head shares the embedding.
    windowed_layers
        Layers that attend to the last ``window`` tokens only.
    linear_layers
        Layers with linear attention (gated DeltaNet): a state of fixed size in place of a KV cache that grows.
    linear_key_heads, linear_value_heads, linear_key_dim, linear_value_dim, conv_kernel
        Of a linear layer: heads of queries and keys, heads of values, size of a key and of a value, taps of the
        causal convolution over queries, keys and values.
    sparse_top_k
        DeepSeek sparse attention: tokens that a query attends to at most, picked by the indexer; 0 without it.
    index_heads, index_dim
        Heads and head size of that indexer; it keeps one key of ``index_dim`` per token and layer, and scores them all.
    gated_attention
        Whether the query projection also makes an output gate, which doubles its width.
    d_shared
        Width of a shared expert where it differs from ``d_expert``; 0 = ``d_expert``.
    mtp_layers
        Layers for multi-token prediction beside ``layers``, as the configuration states them; used for speculative
        decoding only, so the counts of parameters leave them out.
    """

    name: str
    source: str
    layers: int
    d_model: int
    vocab: int
    max_context: int
    heads: int
    kv_heads: int
    d_head: int
    d_ff: int
    precision: str
    attention: Literal["gqa", "mla"] = "gqa"
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    qk_rope: int = 0
    qk_nope: int = 0
    d_value: int = 0
    window: int = 0
    experts: int = 0
    experts_per_token: int = 0
    shared_experts: int = 0
    d_expert: int = 0
    dense_layers: int = 0
    tied: bool = False
    windowed_layers: int = 0
    linear_layers: int = 0
    linear_key_heads: int = 0
    linear_value_heads: int = 0
    linear_key_dim: int = 0
    linear_value_dim: int = 0
    conv_kernel: int = 0
    sparse_top_k: int = 0
    index_heads: int = 0
    index_dim: int = 0
    gated_attention: bool = False
    d_shared: int = 0
    mtp_layers: int = 0

    @property
    def is_moe(self) -> bool:
        """Whether the model has routed experts."""
        return self.experts > 0

    @property
    def moe_layers(self) -> int:
        """Layers with experts."""
        return self.layers - self.dense_layers if self.is_moe else 0

    @property
    def full_layers(self) -> int:
        """Layers with attention over the whole context (of which ``sparse_top_k`` tokens where it is set)."""
        return self.layers - self.windowed_layers - self.linear_layers

    @property
    def attention_parameters(self) -> int:
        """Weights of one layer of full or windowed attention, the indexer included."""
        if self.attention == "mla":
            d_query = self.heads * (self.qk_nope + self.qk_rope)
            query = self.q_lora_rank * (self.d_model + d_query) if self.q_lora_rank else self.d_model * d_query
            key_value = self.d_model * (self.kv_lora_rank + self.qk_rope)
            up = self.kv_lora_rank * self.heads * (self.qk_nope + self.d_value)
            return query + key_value + up + self.heads * self.d_value * self.d_model + self.indexer_parameters
        gate = self.heads if self.gated_attention else 0
        return self.d_model * self.d_head * (2 * self.heads + gate + 2 * self.kv_heads) + self.indexer_parameters

    @property
    def indexer_parameters(self) -> int:
        """Weights of one layer's sparse-attention indexer: its queries, its key, the weights of its heads."""
        query = (self.q_lora_rank or self.d_model) * self.index_heads * self.index_dim
        return query + self.d_model * (self.index_dim + self.index_heads)

    @property
    def linear_parameters(self) -> int:
        """Weights of one linear-attention layer: query, key, value, gate, decay and step, convolution, output."""
        d_key, d_value = self.linear_key_heads * self.linear_key_dim, self.linear_value_heads * self.linear_value_dim
        projections = self.d_model * (2 * d_key + 2 * d_value + 2 * self.linear_value_heads)
        return projections + self.conv_kernel * (2 * d_key + d_value) + d_value * self.d_model

    @property
    def dense_ffn_parameters(self) -> int:
        """Weights of one dense gated FFN."""
        return 3 * self.d_model * self.d_ff

    @property
    def expert_parameters(self) -> int:
        """Weights of one expert."""
        return 3 * self.d_model * self.d_expert

    @property
    def shared_parameters(self) -> int:
        """Weights of one layer's shared experts together."""
        return self.shared_experts * 3 * self.d_model * (self.d_shared or self.d_expert)

    @property
    def router_parameters(self) -> int:
        """Weights of one layer's router."""
        return self.d_model * self.experts

    @property
    def head_parameters(self) -> int:
        """Weights of the output head (and of the embedding)."""
        return self.d_model * self.vocab

    @property
    def parameters(self) -> int:
        """All weights but those of ``mtp_layers``."""
        experts = self.experts * self.expert_parameters + self.shared_parameters + self.router_parameters
        return (
            (self.layers - self.linear_layers) * self.attention_parameters
            + self.linear_layers * self.linear_parameters
            + (self.layers - self.moe_layers) * self.dense_ffn_parameters
            + self.moe_layers * experts
            + self.head_parameters * (1 if self.tied else 2)
        )

    @property
    def active_parameters(self) -> int:
        """Weights that one token is multiplied with, the output head included; the embedding is a look-up."""
        idle = self.moe_layers * (self.experts - self.experts_per_token) * self.expert_parameters
        return self.parameters - idle - (0 if self.tied else self.head_parameters)


_LLAMA_8B = Model(
    "meta-llama/Meta-Llama-3.1-8B", "config.json of meta-llama/Meta-Llama-3.1-8B", 32, 4096, 128256, 131072,
    32, 8, 128, 14336, "bf16",
)  # fmt: skip
_LLAMA_70B = Model(
    "meta-llama/Meta-Llama-3.1-70B", "config.json of meta-llama/Meta-Llama-3.1-70B", 80, 8192, 128256, 131072,
    64, 8, 128, 28672, "bf16",
)  # fmt: skip
_LLAMA_405B = Model(
    "meta-llama/Meta-Llama-3.1-405B", "config.json of meta-llama/Meta-Llama-3.1-405B", 126, 16384, 128256, 131072,
    128, 8, 128, 53248, "bf16",
)  # fmt: skip
_DEEPSEEK_V3 = Model(
    "deepseek-ai/DeepSeek-V3", "config.json of deepseek-ai/DeepSeek-V3", 61, 7168, 129280, 163840, 128, 128, 128,
    18432, "fp8", attention="mla", q_lora_rank=1536, kv_lora_rank=512, qk_rope=64, qk_nope=128, d_value=128,
    experts=256, experts_per_token=8, shared_experts=1, d_expert=2048, dense_layers=3, mtp_layers=1,
)  # fmt: skip
_QWEN3_32B = Model(
    "Qwen/Qwen3-32B", "config.json of Qwen/Qwen3-32B", 64, 5120, 151936, 40960, 64, 8, 128, 25600, "bf16",
)  # fmt: skip
_QWEN3_235B = Model(
    "Qwen/Qwen3-235B-A22B", "config.json of Qwen/Qwen3-235B-A22B", 94, 4096, 151936, 40960, 64, 4, 128, 0, "bf16",
    experts=128, experts_per_token=8, d_expert=1536,
)  # fmt: skip
_GPT_OSS_120B = Model(
    "openai/gpt-oss-120b", "config.json of openai/gpt-oss-120b", 36, 2880, 201088, 131072, 64, 8, 64, 0, "mxfp4",
    window=128, windowed_layers=18, experts=128, experts_per_token=4, d_expert=2880,
)  # fmt: skip
_MIXTRAL_8X22B = Model(
    "mistralai/Mixtral-8x22B-v0.1", "config.json of mistralai/Mixtral-8x22B-v0.1", 56, 6144, 32000, 65536, 48, 8,
    128, 0, "bf16", experts=8, experts_per_token=2, d_expert=16384,
)  # fmt: skip
_KIMI_K2 = Model(
    "moonshotai/Kimi-K2-Instruct", "config.json of moonshotai/Kimi-K2-Instruct", 61, 7168, 163840, 131072, 64, 64, 128,
    18432, "fp8", attention="mla", q_lora_rank=1536, kv_lora_rank=512, qk_rope=64, qk_nope=128, d_value=128,
    experts=384, experts_per_token=8, shared_experts=1, d_expert=2048, dense_layers=1,
)  # fmt: skip
_KIMI_K25 = replace(
    _KIMI_K2, name="moonshotai/Kimi-K2.5", source="config.json of moonshotai/Kimi-K2.5, text_config",
    max_context=262144, precision="int4",
)  # fmt: skip
_MINIMAX_M25 = Model(
    "MiniMaxAI/MiniMax-M2.5", "config.json of MiniMaxAI/MiniMax-M2.5", 62, 3072, 200064, 196608, 48, 8, 128, 0, "fp8",
    experts=256, experts_per_token=8, d_expert=1536, mtp_layers=3,
)  # fmt: skip
_QWEN35_397B = Model(
    "Qwen/Qwen3.5-397B-A17B", "config.json of Qwen/Qwen3.5-397B-A17B, text_config", 60, 4096, 248320, 262144, 32, 2,
    256, 0, "bf16", experts=512, experts_per_token=10, shared_experts=1, d_expert=1024, linear_layers=45,
    linear_key_heads=16, linear_value_heads=64, linear_key_dim=128, linear_value_dim=128, conv_kernel=4,
    gated_attention=True, mtp_layers=1,
)  # fmt: skip
_GLM_5 = Model(
    "zai-org/GLM-5", "config.json of zai-org/GLM-5", 78, 6144, 154880, 202752, 64, 64, 192, 12288, "bf16",
    attention="mla", q_lora_rank=2048, kv_lora_rank=512, qk_rope=64, qk_nope=192, d_value=256, experts=256,
    experts_per_token=8, shared_experts=1, d_expert=2048, dense_layers=3, sparse_top_k=2048, index_heads=32,
    index_dim=128, mtp_layers=1,
)  # fmt: skip

_SHARED: tuple[tuple[Model, dict[str, tuple[str, ...]]], ...] = (
    (_LLAMA_8B, {
        "bf16": (
            "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct",
        ),
        "fp8": ("nvidia/Llama-3.1-8B-Instruct-FP8",),
        "nvfp4": ("nvidia/Llama-3.1-8B-Instruct-FP4", "nvidia/Llama-3.1-8B-Instruct-NVFP4"),
    }),
    (_LLAMA_70B, {
        "bf16": (
            "meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Meta-Llama-3.1-70B-Instruct",
        ),
        "fp8": ("nvidia/Llama-3.1-70B-Instruct-FP8",),
    }),
    (_LLAMA_405B, {
        "bf16": (
            "meta-llama/Llama-3.1-405B", "meta-llama/Llama-3.1-405B-Instruct",
            "meta-llama/Meta-Llama-3.1-405B-Instruct",
        ),
        "fp8": ("meta-llama/Llama-3.1-405B-Instruct-FP8", "nvidia/Llama-3.1-405B-Instruct-FP8"),
        "nvfp4": ("nvidia/Llama-3.1-405B-Instruct-FP4", "nvidia/Llama-3.1-405B-Instruct-NVFP4"),
    }),
    (_DEEPSEEK_V3, {
        "fp8": (
            "deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1-0528", "deepseek-ai/DeepSeek-V3-0324",
            "deepseek-ai/DeepSeek-V3.1",
        ),
        "nvfp4": (
            "nvidia/DeepSeek-R1-FP4", "nvidia/DeepSeek-R1-NVFP4", "nvidia/DeepSeek-R1-0528-FP4",
            "nvidia/DeepSeek-R1-0528-NVFP4", "nvidia/DeepSeek-V3-0324-FP4", "nvidia/DeepSeek-V3-0324-NVFP4",
            "nvidia/DeepSeek-V3.1-NVFP4",
        ),
    }),
    (_QWEN3_32B, {
        "fp8": ("Qwen/Qwen3-32B-FP8",),
        "nvfp4": ("nvidia/Qwen3-32B-FP4", "nvidia/Qwen3-32B-NVFP4"),
        "int4": ("Qwen/Qwen3-32B-AWQ",),
    }),
    (_QWEN3_235B, {
        "fp8": ("Qwen/Qwen3-235B-A22B-FP8",),
        "nvfp4": ("nvidia/Qwen3-235B-A22B-FP4", "nvidia/Qwen3-235B-A22B-NVFP4"),
    }),
    (_GPT_OSS_120B, {}),
    (_MIXTRAL_8X22B, {}),
    (_KIMI_K2, {}),
    (_KIMI_K25, {"nvfp4": ("nvidia/Kimi-K2.5-NVFP4",)}),
    (_MINIMAX_M25, {"nvfp4": ("nvidia/MiniMax-M2.5-NVFP4",)}),
    (_QWEN35_397B, {"fp8": ("Qwen/Qwen3.5-397B-A17B-FP8",), "nvfp4": ("nvidia/Qwen3.5-397B-A17B-NVFP4",)}),
    (_GLM_5, {"bf16": ("zhipuai/GLM-5",), "fp8": ("zai-org/GLM-5-FP8",), "nvfp4": ("nvidia/GLM-5-NVFP4",)}),
)  # fmt: skip
"""Each shape, and by weight format the other checkpoints that have it."""


def _catalogue() -> Iterator[Model]:
    for shape, others in _SHARED:
        yield shape
        for precision, names in others.items():
            for name in names:
                yield replace(shape, name=name, source=f"{shape.source}; {name} has its shape", precision=precision)


MODELS: dict[str, Model] = {entry.name: entry for entry in _catalogue()}
"""Hugging Face name -> model."""


def model(name: str, folder: Path | None = None) -> Model:
    """
    Looks a model up, or reads it from a Hugging Face ``config.json``.

    Parameters
    ----------
    name
        A key of :data:`MODELS`; else a path that ends in ``.json``, or a folder that holds a ``config.json``.
    folder
        Where a relative path starts; the working folder where None.

    Raises
    ------
    ValueError
        When there is no such model (the message names the nearest and lists all), or its file has faults.
    """
    found = MODELS.get(name)
    if found is not None:
        return found
    path = (folder or Path()) / name
    if name.endswith(".json") or (path / "config.json").is_file():
        from costmodels.hf_config import from_config

        return replace(from_config(path), name=name)
    near = _nearest(name)
    hint = f" (near: {', '.join(near)})" if near else ""
    raise ValueError(f"got {name!r}{hint}, allowed: {', '.join(MODELS)}, or the path of a Hugging Face config.json")


def _nearest(name: str) -> list[str]:
    """Names of the catalogue that resemble a text, whatever its case and whether it names the organisation."""
    wanted = name.lower().rsplit("/", 1)[-1]
    short: dict[str, list[str]] = {}
    for known in MODELS:
        short.setdefault(known.lower().rsplit("/", 1)[-1], []).append(known)
    return [known for match in get_close_matches(wanted, short, n=3) for known in short[match]][:3]
