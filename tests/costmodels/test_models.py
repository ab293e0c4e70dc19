"""The model catalogue, held against published parameter counts."""

from dataclasses import replace

import pytest

from costmodels.formats import exact, formats
from costmodels.gpus import gpu
from costmodels.models import MODELS, model
from costmodels.precision import LABELS, fits

PUBLISHED_BILLIONS = {
    "meta-llama/Meta-Llama-3.1-8B": (8.03, 8.03),
    "meta-llama/Meta-Llama-3.1-70B": (70.6, 70.6),
    "meta-llama/Meta-Llama-3.1-405B": (405.8, 405.8),
    "deepseek-ai/DeepSeek-V3": (671.0, 37.0),
    "Qwen/Qwen3-32B": (32.8, 32.8),
    "Qwen/Qwen3-235B-A22B": (235.1, 22.0),
    "openai/gpt-oss-120b": (116.8, 5.13),
    "mistralai/Mixtral-8x22B-v0.1": (140.6, 39.1),
    "moonshotai/Kimi-K2-Instruct": (1040.0, 32.6),  # technical report, arXiv 2507.20534
    "moonshotai/Kimi-K2.5": (1040.0, 32.6),  # as Kimi-K2; without the vision tower of 0.4
    "MiniMaxAI/MiniMax-M2.5": (229.9, 9.8),  # technical report of the M2 series
    "Qwen/Qwen3.5-397B-A17B": (397.0, 17.0),
    "zai-org/GLM-5": (744.0, 40.0),  # technical report, arXiv 2602.15763
}
"""Total and active parameters of the model cards or technical reports; a dense model is all active."""

SHAPES = {
    "meta-llama/Meta-Llama-3.1-8B": (
        "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", "nvidia/Llama-3.1-8B-Instruct-FP8",
    ),
    "meta-llama/Meta-Llama-3.1-70B": ("meta-llama/Llama-3.1-70B", "nvidia/Llama-3.1-70B-Instruct-FP8"),
    "deepseek-ai/DeepSeek-V3": (
        "deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1-0528", "deepseek-ai/DeepSeek-V3.1",
        "nvidia/DeepSeek-R1-NVFP4", "nvidia/DeepSeek-V3.1-NVFP4",
    ),
    "Qwen/Qwen3-32B": ("Qwen/Qwen3-32B-FP8", "nvidia/Qwen3-32B-NVFP4"),
    "zai-org/GLM-5": ("zhipuai/GLM-5", "zai-org/GLM-5-FP8", "nvidia/GLM-5-NVFP4"),
}  # fmt: skip
"""Model -> names of other checkpoints that have its shape and that measurements use."""


def test_every_model_is_held_against_its_card() -> None:
    shapes = {replace(entry, name="", source="", precision="") for entry in MODELS.values()}
    assert shapes == {replace(MODELS[name], name="", source="", precision="") for name in PUBLISHED_BILLIONS}
    assert all(name == entry.name and name in entry.source for name, entry in MODELS.items())
    assert all(entry.source.startswith("config.json of ") for entry in MODELS.values())
    assert all(entry.precision in LABELS for entry in MODELS.values())


@pytest.mark.parametrize("name", PUBLISHED_BILLIONS)
def test_parameter_counts(name: str) -> None:
    total, active = PUBLISHED_BILLIONS[name]
    shape = model(name)
    assert shape.parameters / 1e9 == pytest.approx(total, rel=0.02)
    # publishers count neither, one or both of embedding and head as active
    low = (shape.active_parameters - shape.head_parameters) / 1e9
    high = (shape.active_parameters + (0 if shape.tied else shape.head_parameters)) / 1e9
    assert low * 0.98 <= active <= high * 1.02


def test_counts_that_publishers_break_down() -> None:
    # gpt-oss model card, table 1: active with the head and without the embedding
    assert model("openai/gpt-oss-120b").active_parameters / 1e9 == pytest.approx(5.13, abs=0.005)
    # MiniMax-M2: 9.8 active without embedding and head
    minimax = model("MiniMaxAI/MiniMax-M2.5")
    assert (minimax.active_parameters - minimax.head_parameters) / 1e9 == pytest.approx(9.8, abs=0.05)


@pytest.mark.parametrize("name", SHAPES)
def test_other_names_of_a_shape(name: str) -> None:
    for other in SHAPES[name]:
        found = model(other)
        assert replace(found, name="", source="", precision="") == replace(
            model(name), name="", source="", precision=""
        )
        label = {"FP8": "fp8", "NVFP4": "nvfp4"}.get(other.rsplit("-", 1)[-1], model(name).precision)
        assert found.precision == label


def test_linear_attention_by_hand() -> None:
    shape = model("Qwen/Qwen3.5-397B-A17B")
    assert (shape.full_layers, shape.linear_layers, shape.windowed_layers) == (15, 45, 0)
    queries_and_keys, values = 2 * 16 * 128, 64 * 128
    by_hand = 4096 * (queries_and_keys + 2 * values + 2 * 64) + 4 * (queries_and_keys + values) + values * 4096
    assert shape.linear_parameters == by_hand
    # query with its gate, key and value, output
    assert shape.attention_parameters == 4096 * (2 * 32 * 256 + 2 * 2 * 256) + 32 * 256 * 4096


def test_an_indexer_by_hand() -> None:
    sparse, dense = model("zai-org/GLM-5"), model("deepseek-ai/DeepSeek-V3")
    assert sparse.indexer_parameters == 2048 * 32 * 128 + 6144 * 128 + 6144 * 32
    assert (sparse.sparse_top_k, dense.sparse_top_k, dense.indexer_parameters) == (2048, 0, 0)


def test_windowed_layers_see_the_window_only() -> None:
    shape = model("openai/gpt-oss-120b")
    assert (shape.full_layers, shape.windowed_layers, shape.window) == (18, 18, 128)


def test_prediction_layers_are_not_counted() -> None:
    shape = model("deepseek-ai/DeepSeek-V3")
    assert shape.mtp_layers == 1
    assert shape.parameters == replace(shape, mtp_layers=0).parameters


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("qwen3-32b", "Qwen/Qwen3-32B"),
        ("deepseek-ai/Deepseek-R1-FP8", "deepseek-ai/DeepSeek-R1"),
        ("meta/Llama-3.1-70B", "meta-llama/Llama-3.1-70B"),
        ("GLM-5", "zai-org/GLM-5"),
    ],
)
def test_a_near_name_is_pointed_out(typed: str, meant: str) -> None:
    with pytest.raises(ValueError, match="allowed: ") as error:
        model(typed)
    assert meant in str(error.value).split("(near: ")[1].split(")")[0].split(", ")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"got 'gpt-9', allowed: meta-llama/Meta-Llama-3\.1-8B"):
        model("gpt-9")


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", ["meta-llama/Meta-Llama-3.1-8B", "openai/gpt-oss-120b"])
@pytest.mark.parametrize("device", ["h100_sxm", "b200_sxm"])
def test_a_label_resolves_to_a_string_that_fits_it(label: str, name: str, device: str) -> None:
    precision = exact(label, model(name), gpu(device))
    assert fits(label, precision)
    assert formats(precision).precision == precision
    assert exact(precision, model(name), gpu(device)) == precision


def test_formats_know_what_a_gpu_lacks() -> None:
    precision = formats(exact("nvfp4", model("Qwen/Qwen3-32B"), gpu("h100_sxm")))
    assert precision.missing(gpu("h100_sxm")) == "no fp4 units"
    assert precision.missing(gpu("b200_sxm")) is None
    with pytest.raises(ValueError, match="got 'fp3', allowed: bf16"):
        exact("fp3", model("Qwen/Qwen3-32B"), gpu("h100_sxm"))
