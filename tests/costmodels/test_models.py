"""The model catalogue, held against published parameter counts."""

import pytest

from costmodels.formats import exact, formats
from costmodels.gpus import gpu
from costmodels.models import MODELS, model
from costmodels.precision import LABELS, fits

PUBLISHED_BILLIONS = {
    "meta-llama/Meta-Llama-3.1-8B": (8.03, 8.03),
    "meta-llama/Meta-Llama-3.1-70B": (70.6, 70.6),
    "meta-llama/Meta-Llama-3.1-405B": (405.8, 405.8),
    "nvidia/Llama-3.1-70B-Instruct-FP8": (70.6, 70.6),
    "deepseek-ai/DeepSeek-V3": (671.0, 37.0),
    "deepseek-ai/DeepSeek-R1": (671.0, 37.0),
    "nvidia/DeepSeek-V3.1-NVFP4": (671.0, 37.0),
    "Qwen/Qwen3-32B": (32.8, 32.8),
    "Qwen/Qwen3-32B-FP8": (32.8, 32.8),
    "Qwen/Qwen3-235B-A22B": (235.1, 22.0),
    "openai/gpt-oss-120b": (116.8, 5.13),
    "mistralai/Mixtral-8x22B-v0.1": (140.6, 39.1),
}
"""Total and active parameters of the model cards; a dense model is all active."""


def test_every_model_is_held_against_its_card() -> None:
    assert set(MODELS) == set(PUBLISHED_BILLIONS)
    assert all(name == entry.name and name in entry.source for name, entry in MODELS.items())


@pytest.mark.parametrize("name", PUBLISHED_BILLIONS)
def test_parameter_counts(name: str) -> None:
    total, active = PUBLISHED_BILLIONS[name]
    shape = model(name)
    assert shape.parameters / 1e9 == pytest.approx(total, rel=0.02)
    # cards differ in whether the embedding, which is only looked up, counts as active
    embedding = 0 if shape.tied else shape.head_parameters
    low, high = shape.active_parameters / 1e9, (shape.active_parameters + embedding) / 1e9
    assert low * 0.98 <= active <= high * 1.02


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
