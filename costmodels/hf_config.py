"""Models from a Hugging Face ``config.json``: what its fields mean for cost, family by family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from costmodels.hf_fields import Fields, Json, read_object
from costmodels.hf_precision import quantization
from costmodels.models import Model

Shape = dict[str, object]

NESTED = ("text_config", "language_config", "llm_config")
"""Keys under which multi-modal models keep the language model."""
UNPRICED = (
    "attention_chunk_size", "block_configs", "compress_ratios", "hybrid_layer_pattern", "hybrid_override_pattern",
    "num_global_key_value_heads", "sparse_attention_config",
)  # fmt: skip
"""Keys that change what a layer costs in ways that :class:`Model` has no words for."""
KINDS = ("full_attention", "sliding_attention", "linear_attention")
"""Layer types that can be priced; the last in the families of :data:`LINEAR` only."""
LINEAR = ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text")
"""Families with linear-attention layers."""
LEFT_OUT: dict[str, dict[str, object]] = {
    "gemma3_text": {
        "vocab_size": 262208, "max_position_embeddings": 131072, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256,
    }
}  # fmt: skip
"""What published files of a family leave out, since it is the default of the family's class in transformers 4.50."""


def from_config(path: Path) -> Model:
    """
    Reads a model from a Hugging Face configuration.

    The language model of a multi-modal one is read, its other parts are left out. The weight format is that of
    ``quantization_config``, or of ``hf_quant_config.json`` beside a ``config.json``; without either it is ``bf16``.

    Parameters
    ----------
    path
        A ``config.json``, or the folder that holds one.

    Raises
    ------
    ValueError
        When the file cannot be read, is of a family that cannot be priced, or holds faults; all are named in one line.
    """
    file = path / "config.json" if path.is_dir() else path
    whole = read_object(file)
    outer, fields = Fields(whole, "$"), _language_model(whole)
    family = fields.values.get("model_type")
    read = FAMILIES.get(family) if isinstance(family, str) else None
    if read is None:
        fields.fault("model_type", "nothing" if family is None else family, ", ".join(FAMILIES))
        raise ValueError(f"{file}: {'; '.join(fields.faults)}")
    fields.values = LEFT_OUT.get(str(family), {}) | dict(fields.values)
    for key in UNPRICED:
        if fields.values.get(key):
            fields.fault(key, fields.values[key], "nothing; it has no price here")
    shape = _common(fields) | read(fields)
    tied = outer.flag("tie_word_embeddings", default=str(family).startswith("gemma"))
    shape["tied"] = fields.flag("tie_word_embeddings", default=tied)
    beside = file.with_name("hf_quant_config.json")
    declared = read_object(beside) if file.name == "config.json" and beside.is_file() else {}
    precision, faults = quantization(whole, fields.values, declared)
    faults = list(dict.fromkeys([*outer.faults, *fields.faults, *faults]))
    if faults:
        raise ValueError(f"{file}: {'; '.join(faults)}")
    return Model(name=path.as_posix(), source=f"{file.as_posix()} ({family})", precision=precision, **shape)  # type: ignore[arg-type]


def _language_model(whole: Json) -> Fields:
    """The part of a configuration that describes the language model."""
    for key in NESTED:
        inner = whole.get(key)
        if isinstance(inner, dict):
            return Fields(inner, f"$.{key}")
    return Fields(whole, "$")


def _common(fields: Fields) -> Shape:
    """What every family has."""
    heads, d_model = fields.count("num_attention_heads"), fields.count("hidden_size")
    kv_heads = fields.count("num_key_value_heads", default=heads)
    if fields.sound("num_attention_heads", "num_key_value_heads") and heads % kv_heads:
        fields.fault("num_key_value_heads", kv_heads, f"a divisor of num_attention_heads ({heads})")
    return {
        "layers": fields.count("num_hidden_layers"),
        "d_model": d_model,
        "vocab": fields.count("vocab_size"),
        "max_context": fields.count("max_position_embeddings"),
        "heads": heads,
        "kv_heads": kv_heads,
        "d_ff": 0,
        "mtp_layers": fields.count("num_nextn_predict_layers", "mtp_num_hidden_layers", low=0, default=0),
    }


def _head(fields: Fields) -> Shape:
    """Grouped-query attention: the size of a head."""
    heads, d_model = fields.count("num_attention_heads"), fields.count("hidden_size")
    if not fields.has("head_dim") and d_model % heads and fields.sound("hidden_size", "num_attention_heads"):
        fields.fault("head_dim", "nothing", f"a value, since hidden_size ({d_model}) does not divide by {heads} heads")
    return {"d_head": fields.count("head_dim", default=max(1, d_model // heads))}


def _kinds(fields: Fields, windowed: int) -> Shape:
    """
    How many layers attend how: from ``layer_types`` where the file has it.

    Parameters
    ----------
    fields
        The configuration.
    windowed
        Windowed layers of the family without ``layer_types``.
    """
    layers, kinds = fields.count("num_hidden_layers"), fields.listed("layer_types")
    allowed = KINDS if fields.values.get("model_type") in LINEAR else KINDS[:2]
    if kinds is not None:
        if len(kinds) != layers and fields.sound("num_hidden_layers"):
            fields.fault("layer_types", len(kinds), f"one entry for each of the {layers} layers")
        for odd in dict.fromkeys(json.dumps(kind) for kind in kinds if kind not in allowed):
            fields.fault("layer_types", json.loads(odd), ", ".join(allowed))
        windowed = kinds.count("sliding_attention")
    window = fields.count("sliding_window") if windowed else 0
    if window >= fields.count("max_position_embeddings"):
        window = windowed = 0
    return {"window": window, "windowed_layers": windowed}


def _grouped(fields: Fields) -> Shape:
    """Grouped-query attention of Llama, Mistral, Qwen and Phi; windowed where the file asks for it."""
    layers, windowed = fields.count("num_hidden_layers"), 0
    if "use_sliding_window" in fields.values or str(fields.values.get("model_type")).startswith("qwen"):
        if fields.flag("use_sliding_window", default=False):
            windowed = max(0, layers - fields.count("max_window_layers", low=0))
    elif fields.has("sliding_window"):
        windowed = layers
    return {**_head(fields), **_kinds(fields, windowed)}


def _dense(fields: Fields) -> Shape:
    """Llama and its kin: one gated FFN per layer."""
    return {"d_ff": fields.count("intermediate_size"), **_grouped(fields)}


def _gemma(fields: Fields) -> Shape:
    """Gemma: windowed layers, but every second (Gemma 2) or ``sliding_window_pattern``-th (6 in Gemma 3) is full."""
    layers = fields.count("num_hidden_layers")
    every = 2 if fields.values.get("model_type") == "gemma2" else fields.count("sliding_window_pattern", default=6)
    return {"d_ff": fields.count("intermediate_size"), **_head(fields), **_kinds(fields, layers - layers // every)}


def _experts(fields: Fields, width: str, dense: int) -> Shape:
    """
    Routed and shared experts.

    Parameters
    ----------
    fields
        The configuration.
    width
        The key of an expert's width.
    dense
        Layers without experts.
    """
    layers, experts = (
        fields.count("num_hidden_layers"),
        fields.count("n_routed_experts", "num_local_experts", "num_experts"),
    )
    taken = fields.count("num_experts_per_tok", "experts_per_token")
    if dense >= layers and fields.sound("num_hidden_layers", "first_k_dense_replace"):
        fields.fault("num_hidden_layers", layers, f"more than the {dense} layers without experts")
    if taken > experts and fields.sound("n_routed_experts", "num_local_experts", "num_experts", "num_experts_per_tok"):
        fields.fault("num_experts_per_tok", taken, f"at most the experts ({experts})")
    return {
        "experts": experts,
        "experts_per_token": taken,
        "d_expert": fields.count(width),
        "dense_layers": dense,
        "d_ff": fields.count("intermediate_size") if dense else 0,
    }


def _mixtral(fields: Fields) -> Shape:
    """Mixtral: every layer has experts."""
    return {**_grouped(fields), **_experts(fields, "intermediate_size", 0)}


def _gpt_oss(fields: Fields) -> Shape:
    """gpt-oss: every second layer is windowed."""
    windowed = -(-fields.count("num_hidden_layers") // 2)
    return {**_head(fields), **_experts(fields, "intermediate_size", 0), **_kinds(fields, windowed)}


def _minimax_m2(fields: Fields) -> Shape:
    """MiniMax-M2: full attention everywhere (``attn_type_list`` all 1), no shared expert, modules for prediction."""
    if any(kind != 1 for kind in fields.listed("attn_type_list") or ()):
        fields.fault("attn_type_list", fields.values["attn_type_list"], "1 for every layer")
    if fields.values.get("shared_intermediate_size"):
        fields.fault("shared_intermediate_size", fields.values["shared_intermediate_size"], "0")
    modules = fields.count("num_mtp_modules", low=0, default=0) if fields.flag("use_mtp", default=True) else 0
    mtp = modules * fields.count("mtp_transformer_layers", default=1)
    return {**_head(fields), **_experts(fields, "intermediate_size", 0), **_kinds(fields, 0), "mtp_layers": mtp}


def _qwen_moe(fields: Fields) -> Shape:
    """Qwen MoE: layers of ``mlp_only_layers``, and all but every ``decoder_sparse_step``-th, have no experts."""
    layers, step = fields.count("num_hidden_layers"), fields.count("decoder_sparse_step", default=1)
    only = fields.listed("mlp_only_layers") or []
    if not all(isinstance(layer, int) and 0 <= layer < layers for layer in only) and fields.sound("num_hidden_layers"):
        fields.fault("mlp_only_layers", only, f"layers from 0 to {layers - 1}")
    dense = sum(1 for layer in range(min(layers, 10_000)) if layer in only or (layer + 1) % step)
    shape = {**_grouped(fields), **_experts(fields, "moe_intermediate_size", dense)}
    if fields.has("shared_expert_intermediate_size"):
        shared = fields.count("shared_expert_intermediate_size", low=0)
        shape |= {"shared_experts": 1 if shared else 0, "d_shared": 0 if shared == shape["d_expert"] else shared}
    return shape


def _gated_delta(fields: Fields) -> Shape:
    """Qwen3-Next and 3.5: gated DeltaNet, every n-th layer has full attention with an output gate."""
    layers = fields.count("num_hidden_layers")
    kinds = fields.listed("layer_types")
    every = fields.count("full_attention_interval", default=4)
    linear = layers - layers // every if kinds is None else kinds.count("linear_attention")
    keys, values = fields.count("linear_num_key_heads"), fields.count("linear_num_value_heads")
    if values % keys and fields.sound("linear_num_key_heads", "linear_num_value_heads"):
        fields.fault("linear_num_key_heads", keys, f"a divisor of linear_num_value_heads ({values})")
    return {
        "linear_layers": linear,
        "linear_key_heads": keys,
        "linear_value_heads": values,
        "linear_key_dim": fields.count("linear_key_head_dim"),
        "linear_value_dim": fields.count("linear_value_head_dim"),
        "conv_kernel": fields.count("linear_conv_kernel_dim"),
        "gated_attention": fields.flag("attn_output_gate", default=True),
    }


def _latent(fields: Fields) -> Shape:
    """Multi-head latent attention, with the indexer of DeepSeek sparse attention where the file has one."""
    nope = fields.count("qk_nope_head_dim")
    shape: Shape = {
        "attention": "mla",
        "q_lora_rank": fields.count("q_lora_rank", default=0),
        "kv_lora_rank": fields.count("kv_lora_rank"),
        "qk_rope": fields.count("qk_rope_head_dim"),
        "qk_nope": nope,
        "d_value": fields.count("v_head_dim"),
        "d_head": nope,
    }
    if fields.has("index_topk") or fields.values.get("model_type") in ("deepseek_v32", "glm_moe_dsa"):
        shape |= {
            "sparse_top_k": fields.count("index_topk"),
            "index_heads": fields.count("index_n_heads"),
            "index_dim": fields.count("index_head_dim"),
        }
    for kind in dict.fromkeys(map(str, fields.listed("indexer_types") or ())):
        if kind != "full":
            fields.fault("indexer_types", kind, "full in every layer; indexers that layers share have no price here")
    return shape


def _leading_dense(fields: Fields) -> int:
    """Dense layers before those with experts."""
    if fields.count("moe_layer_freq", default=1) != 1:
        fields.fault("moe_layer_freq", fields.values["moe_layer_freq"], "1")
    return fields.count("first_k_dense_replace", low=0, default=0)


def _deepseek(fields: Fields) -> Shape:
    """DeepSeek V2, V3, V3.2, Kimi K2, GLM-5: latent attention, leading dense layers, shared experts."""
    shape = {**_latent(fields), **_experts(fields, "moe_intermediate_size", _leading_dense(fields))}
    return shape | {"shared_experts": fields.count("n_shared_experts", low=0, default=0)}


def _glm4(fields: Fields) -> Shape:
    """GLM-4.5: as DeepSeek, with grouped-query attention."""
    shape = {**_head(fields), **_experts(fields, "moe_intermediate_size", _leading_dense(fields))}
    return shape | {"shared_experts": fields.count("n_shared_experts", low=0, default=0)}


FAMILIES: dict[str, Callable[[Fields], Shape]] = {
    **dict.fromkeys(
        ("llama", "mistral", "ministral3", "phi3", "mimo", "qwen2", "qwen3", "qwen2_5_vl_text", "qwen3_vl_text"), _dense
    ),
    **dict.fromkeys(("gemma2", "gemma3_text"), _gemma),
    "mixtral": _mixtral,
    "gpt_oss": _gpt_oss,
    "minimax_m2": _minimax_m2,
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "qwen3_vl_moe_text"), _qwen_moe),
    **dict.fromkeys(("qwen3_next", "qwen3_5_moe_text"), lambda fields: _qwen_moe(fields) | _gated_delta(fields)),
    "qwen3_5_text": lambda fields: _dense(fields) | _gated_delta(fields),
    "glm4_moe": _glm4,
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm4_moe_lite", "glm_moe_dsa"), _deepseek
    ),
}
"""``model_type`` of the language model -> how its configuration is read."""
