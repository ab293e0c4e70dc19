"""Language models: the shapes that decide their cost, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        MLA only: ranks of the query and key-value compression, rotary and plain parts of a key, size of a value.
    window
        Sliding window in tokens that every second layer attends to; 0 where all layers attend to everything.
    experts, experts_per_token, shared_experts, d_expert
        Routed experts per MoE layer, how many a token takes, experts that every token takes, width of one expert.
    dense_layers
        Leading layers without experts in an MoE model.
    tied
        Whether the output head shares the embedding.
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

    @property
    def is_moe(self) -> bool:
        """Whether the model has routed experts."""
        return self.experts > 0

    @property
    def moe_layers(self) -> int:
        """Layers with experts."""
        return self.layers - self.dense_layers if self.is_moe else 0

    @property
    def windowed_layers(self) -> int:
        """Layers that attend to a sliding window only."""
        return self.layers // 2 if self.window else 0

    @property
    def attention_parameters(self) -> int:
        """Weights of one attention layer."""
        if self.attention == "mla":
            query = self.d_model * self.q_lora_rank + self.q_lora_rank * self.heads * (self.qk_nope + self.qk_rope)
            key_value = self.d_model * (self.kv_lora_rank + self.qk_rope)
            up = self.kv_lora_rank * self.heads * (self.qk_nope + self.d_value)
            return query + key_value + up + self.heads * self.d_value * self.d_model
        return 2 * self.d_model * self.d_head * (self.heads + self.kv_heads)

    @property
    def dense_ffn_parameters(self) -> int:
        """Weights of one dense gated FFN."""
        return 3 * self.d_model * self.d_ff

    @property
    def expert_parameters(self) -> int:
        """Weights of one expert."""
        return 3 * self.d_model * self.d_expert

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
        """All weights."""
        experts = (self.experts + self.shared_experts) * self.expert_parameters + self.router_parameters
        return (
            self.layers * self.attention_parameters
            + (self.layers - self.moe_layers) * self.dense_ffn_parameters
            + self.moe_layers * experts
            + self.head_parameters * (1 if self.tied else 2)
        )

    @property
    def active_parameters(self) -> int:
        """Weights that one token is multiplied with, the output head included; the embedding is a look-up."""
        idle = self.moe_layers * (self.experts - self.experts_per_token) * self.expert_parameters
        return self.parameters - idle - (0 if self.tied else self.head_parameters)


def _llama(size: str, layers: int, d_model: int, heads: int, d_ff: int) -> Model:
    name = f"meta-llama/Meta-Llama-3.1-{size}"
    return Model(name, f"config.json of {name}", layers, d_model, 128256, 131072, heads, 8, 128, d_ff, "bf16")


_LLAMA_70B = _llama("70B", 80, 8192, 64, 28672)
_DEEPSEEK_V3 = Model(
    "deepseek-ai/DeepSeek-V3", "config.json of deepseek-ai/DeepSeek-V3", 61, 7168, 129280, 163840, 128, 128, 128,
    18432, "fp8", attention="mla", q_lora_rank=1536, kv_lora_rank=512, qk_rope=64, qk_nope=128, d_value=128,
    experts=256, experts_per_token=8, shared_experts=1, d_expert=2048, dense_layers=3,
)  # fmt: skip
_QWEN3_32B = Model(
    "Qwen/Qwen3-32B", "config.json of Qwen/Qwen3-32B", 64, 5120, 151936, 40960, 64, 8, 128, 25600, "bf16",
)  # fmt: skip


def _renamed(model: Model, name: str, precision: str) -> Model:
    """The same shape under another name, with weights in another format."""
    return replace(model, name=name, source=f"config.json of {name}", precision=precision)


_CATALOGUE = (
    _llama("8B", 32, 4096, 32, 14336),
    _LLAMA_70B,
    _llama("405B", 126, 16384, 128, 53248),
    _renamed(_LLAMA_70B, "nvidia/Llama-3.1-70B-Instruct-FP8", "fp8"),
    _DEEPSEEK_V3,
    _renamed(_DEEPSEEK_V3, "deepseek-ai/DeepSeek-R1", "fp8"),
    _renamed(_DEEPSEEK_V3, "nvidia/DeepSeek-V3.1-NVFP4", "nvfp4"),
    _QWEN3_32B,
    _renamed(_QWEN3_32B, "Qwen/Qwen3-32B-FP8", "fp8"),
    Model(
        "Qwen/Qwen3-235B-A22B", "config.json of Qwen/Qwen3-235B-A22B", 94, 4096, 151936, 40960, 64, 4, 128, 0, "bf16",
        experts=128, experts_per_token=8, d_expert=1536,
    ),
    Model(
        "openai/gpt-oss-120b", "config.json of openai/gpt-oss-120b", 36, 2880, 201088, 131072, 64, 8, 64, 0, "mxfp4",
        window=128, experts=128, experts_per_token=4, d_expert=2880,
    ),
    Model(
        "mistralai/Mixtral-8x22B-v0.1", "config.json of mistralai/Mixtral-8x22B-v0.1", 56, 6144, 32000, 65536, 48, 8,
        128, 0, "bf16", experts=8, experts_per_token=2, d_expert=16384,
    ),
)  # fmt: skip

MODELS: dict[str, Model] = {entry.name: entry for entry in _CATALOGUE}
"""Hugging Face name -> model."""


def model(name: str) -> Model:
    """
    Looks a model up.

    Parameters
    ----------
    name
        A key of :data:`MODELS`.

    Raises
    ------
    ValueError
        When there is no such model; the message lists those there are.
    """
    found = MODELS.get(name)
    if found is None:
        raise ValueError(f"got {name!r}, allowed: {', '.join(MODELS)}")
    return found
