"""Models from ``config.json``: public files against the catalogue and published parameter counts; faulty files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from costmodels.hf_config import FAMILIES, from_config
from costmodels.models import MODELS, Model, model

PUBLIC: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "hf_configs.json").read_text("utf-8"))["models"]


def config(name: str, **changes: object) -> dict[str, Any]:
    """A public configuration with some fields changed; a field set to ``...`` is taken out."""
    whole: dict[str, Any] = json.loads(json.dumps(PUBLIC[name]["config"]))
    inner = whole.get("text_config", whole)
    inner.update(changes)
    for key in [key for key, value in inner.items() if value is ...]:
        del inner[key]
    return whole


def read(folder: Path, whole: object) -> Model:
    """Writes a configuration and reads it."""
    file = folder / "config.json"
    file.write_text(json.dumps(whole), "utf-8")
    return from_config(file)


def faults(folder: Path, whole: object) -> str:
    """What reading says of a faulty configuration, without the name of the file."""
    with pytest.raises(ValueError) as error:
        read(folder, whole)
    text = str(error.value)
    assert text.startswith(f"{folder / 'config.json'}: ") and "\n" not in text
    return text.removeprefix(f"{folder / 'config.json'}: ")


@pytest.mark.parametrize("name", PUBLIC)
def test_public_files_give_the_published_counts(name: str, tmp_path: Path) -> None:
    total, active = PUBLIC[name]["billions"]
    shape = read(tmp_path, config(name))
    assert shape.parameters / 1e9 == pytest.approx(total, rel=0.02)
    # publishers count neither, one or both of embedding and head as active
    fewest = shape.active_parameters - shape.head_parameters
    most = shape.active_parameters + (0 if shape.tied else shape.head_parameters)
    assert fewest / 1e9 * 0.98 <= active <= most / 1e9 * 1.02


@pytest.mark.parametrize("name", sorted(set(PUBLIC) & set(MODELS)))
def test_public_files_agree_with_the_catalogue(name: str, tmp_path: Path) -> None:
    shape = read(tmp_path, config(name))
    assert shape == replace(MODELS[name], name=shape.name, source=shape.source)


def test_most_of_the_catalogue_is_checked() -> None:
    assert len(set(PUBLIC) & set(MODELS)) >= 10


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("mistralai/Mistral-7B-v0.1", (0, 32, 0)),  # every layer
        ("google/gemma-2-9b", (21, 21, 0)),  # every second
        ("google/gemma-3-27b-it", (10, 52, 0)),  # five of six, and the two layers left over
        ("openai/gpt-oss-120b", (18, 18, 0)),  # layer_types
        ("Qwen/Qwen3.5-397B-A17B", (15, 0, 45)),  # layer_types
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", (12, 0, 36)),  # full_attention_interval
        ("Qwen/Qwen3-1.7B", (28, 0, 0)),  # use_sliding_window is false
    ],
)
def test_full_windowed_and_linear_layers(name: str, layers: tuple[int, int, int], tmp_path: Path) -> None:
    shape = read(tmp_path, config(name))
    assert (shape.full_layers, shape.windowed_layers, shape.linear_layers) == layers
    assert bool(shape.window) == bool(shape.windowed_layers)


def test_a_window_that_qwen_asks_for(tmp_path: Path) -> None:
    wanted = {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 20}
    shape = read(tmp_path, config("Qwen/Qwen3-1.7B", **wanted))
    assert (shape.window, shape.windowed_layers) == (4096, 8)


def test_a_window_as_long_as_the_context_is_none(tmp_path: Path) -> None:
    shape = read(tmp_path, config("mistralai/Mistral-7B-v0.1", sliding_window=32768))
    assert (shape.window, shape.windowed_layers) == (0, 0)


def test_dense_layers_among_those_with_experts(tmp_path: Path) -> None:
    shape = read(tmp_path, config("Qwen/Qwen3-30B-A3B", decoder_sparse_step=2, mlp_only_layers=[1, 2]))
    assert (shape.layers, shape.dense_layers, shape.d_ff) == (48, 25, 6144)  # 24 of even number (0, 2, ...), and 1


def test_a_wider_shared_expert(tmp_path: Path) -> None:
    same = read(tmp_path, config("Qwen/Qwen3.5-397B-A17B"))
    wide = read(tmp_path, config("Qwen/Qwen3.5-397B-A17B", shared_expert_intermediate_size=2048))
    assert (same.d_shared, wide.d_shared) == (0, 2048)
    assert wide.parameters - same.parameters == 60 * 3 * 4096 * 1024


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4"),
        ({"quant_method": "gptq", "bits": 4}, "int4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_algo": "FP8"}, "fp8"),
        (
            {
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {
                    "layers.0.mlp.experts": {"quant_algo": "NVFP4"},
                    "layers.0.attn": {"quant_algo": "FP8"},
                },
            },
            "nvfp4",
        ),
        *[
            ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}, label)
            for weights, label in (
                ({"type": "float", "num_bits": 8}, "fp8"),
                ({"type": "float", "num_bits": 4, "group_size": 16}, "nvfp4"),
                ({"type": "float", "num_bits": 4, "group_size": 32}, "mxfp4"),
                ({"type": "int", "num_bits": 4, "group_size": 32}, "int4"),
            )
        ],
    ],
)
def test_weight_formats(spec: dict[str, object], label: str, tmp_path: Path) -> None:
    assert read(tmp_path, config("Qwen/Qwen3-1.7B", quantization_config=spec)).precision == label


@pytest.mark.parametrize(
    "spec",
    [
        {"quant_method": "gptq", "bits": 8},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"type": "int", "num_bits": 8}}}},
        {"quant_method": "compressed-tensors"},
        {"quant_algo": "W4A16_NVFP4"},
        {"quant_algo": "MIXED_PRECISION"},
        {},
        "fp8",
    ],
)
def test_a_weight_format_without_a_label_is_refused(spec: object, tmp_path: Path) -> None:
    text = faults(tmp_path, config("Qwen/Qwen3-1.7B", quantization_config=spec))
    assert text.startswith("$.quantization_config: got ") and "allowed: " in text


def test_the_format_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4"}}', "utf-8")
    assert read(tmp_path, config("Qwen/Qwen3-1.7B")).precision == "nvfp4"
    assert from_config(tmp_path).precision == "nvfp4"
    (tmp_path / "other.json").write_text(json.dumps(config("Qwen/Qwen3-1.7B")), "utf-8")
    assert from_config(tmp_path / "other.json").precision == "bf16"


def test_every_fault_is_named(tmp_path: Path) -> None:
    text = faults(
        tmp_path,
        config(
            "zai-org/GLM-5", hidden_size=-1, vocab_size="many", num_hidden_layers=True, kv_lora_rank=..., q_lora_rank=0
        )
        | {"tie_word_embeddings": 1},
    )
    for field, got in (
        ("hidden_size", "-1"), ("vocab_size", '"many"'), ("num_hidden_layers", "true"), ("kv_lora_rank", "nothing"),
        ("q_lora_rank", "0"), ("tie_word_embeddings", "1"),
    ):  # fmt: skip
        assert text.count(f"$.{field}: got {got}, allowed: ") == 1


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("Qwen/Qwen3-1.7B", {"num_hidden_layers": 0}, "$.num_hidden_layers: got 0, allowed: a whole number from 1"),
        ("Qwen/Qwen3-1.7B", {"hidden_size": 2048.0}, "$.hidden_size: got 2048.0, allowed: a whole number"),
        ("Qwen/Qwen3-1.7B", {"vocab_size": 10**9}, "$.vocab_size: got 1000000000, allowed: a whole number"),
        ("Qwen/Qwen3-1.7B", {"num_key_value_heads": 5}, "$.num_key_value_heads: got 5, allowed: a divisor of"),
        ("meta-llama/Meta-Llama-3.1-8B", {"num_attention_heads": 24}, "$.head_dim: got nothing, allowed: a value"),
        ("Qwen/Qwen3-30B-A3B", {"num_experts_per_tok": 129}, "$.num_experts_per_tok: got 129, allowed: at most"),
        ("Qwen/Qwen3-30B-A3B", {"mlp_only_layers": [48]}, "$.mlp_only_layers: got [48], allowed: layers from 0 to 47"),
        ("openai/gpt-oss-120b", {"layer_types": ["full_attention"]}, "$.layer_types: got 1, allowed: one entry for"),
        ("openai/gpt-oss-120b", {"layer_types": ["mamba"] * 36}, '$.layer_types: got "mamba", allowed: full_attention'),
        ("openai/gpt-oss-120b", {"layer_types": ["linear_attention"] * 36}, 'got "linear_attention", allowed: full'),
        ("openai/gpt-oss-120b", {"layer_types": 3}, "$.layer_types: got 3, allowed: a list"),
        ("openai/gpt-oss-120b", {"sliding_window": ...}, "$.sliding_window: got nothing, allowed: a whole number"),
        (
            "deepseek-ai/DeepSeek-V3",
            {"first_k_dense_replace": 61},
            "$.num_hidden_layers: got 61, allowed: more than the 61",
        ),
        ("deepseek-ai/DeepSeek-V3", {"moe_layer_freq": 2}, "$.moe_layer_freq: got 2, allowed: 1"),
        ("deepseek-ai/DeepSeek-V3.2", {"index_topk": ...}, "$.index_topk: got nothing, allowed: a whole number"),
        ("zai-org/GLM-5", {"indexer_types": ["full", "shared"]}, '$.indexer_types: got "shared", allowed: full'),
        ("MiniMaxAI/MiniMax-M2.5", {"attn_type_list": [1, 0]}, "$.attn_type_list: got [1, 0], allowed: 1"),
        ("Qwen/Qwen3.5-397B-A17B", {"linear_num_key_heads": 24}, "$.text_config.linear_num_key_heads: got 24, allowed"),
        ("Qwen/Qwen3-1.7B", {"attention_chunk_size": 8192}, "$.attention_chunk_size: got 8192, allowed: nothing"),
    ],
)
def test_a_fault(name: str, changes: dict[str, object], said: str, tmp_path: Path) -> None:
    assert said in faults(tmp_path, config(name, **changes))


@pytest.mark.parametrize("family", ["nemotron_h", "llama4_text", "deepseek_v4", None, 7])
def test_a_family_that_cannot_be_priced(family: object, tmp_path: Path) -> None:
    text = faults(tmp_path, config("Qwen/Qwen3.5-397B-A17B", model_type=family))
    got = "nothing" if family is None else json.dumps(family)
    assert text == f"$.text_config.model_type: got {got}, allowed: {', '.join(FAMILIES)}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[1]", "got [1], allowed: a JSON object"),
        ('{"hidden_size": 1, "hidden_size": 2}', "key 'hidden_size' stands twice"),
        ('{"a":' * 100_000, "not JSON"),
    ],
)
def test_a_file_that_is_no_configuration(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"config\.json: ") as error:
        from_config(tmp_path)
    assert said in str(error.value)


def test_bytes_that_are_no_text_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match="not JSON"):
        from_config(tmp_path)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        from_config(tmp_path / "gone.json")


def test_a_path_is_a_model_name(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    read(tmp_path / "mine", config("openai/gpt-oss-120b"))
    for name in ("mine", "mine/config.json", str(tmp_path / "mine")):
        found = model(name, tmp_path)
        assert found == replace(MODELS["openai/gpt-oss-120b"], name=name, source=found.source)
    with pytest.raises(ValueError, match=r"gone\.json: cannot be read"):
        model("gone.json", tmp_path)
    with pytest.raises(ValueError, match="got 'yours', allowed: "):
        model("yours", tmp_path)
