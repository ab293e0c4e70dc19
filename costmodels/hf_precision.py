"""The weight format that a Hugging Face checkpoint declares, as a label of :data:`costmodels.precision.LABELS`."""

from __future__ import annotations

import json

from costmodels.hf_fields import Json

METHODS = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "mxfp4"}
"""``quant_method`` that says it all -> label."""
FOUR_BIT = ("awq", "gptq", "auto-round")
"""Methods whose label hangs on ``bits``."""
ALGORITHMS = {
    "FP8": "fp8", "FP8_PB_WO": "fp8", "FP8_PER_CHANNEL_PER_TOKEN": "fp8", "NVFP4": "nvfp4", "NVFP4_AWQ": "nvfp4",
    "MXFP4": "mxfp4", "W4A16_AWQ": "int4", "W4A8_AWQ": "int4",
}  # fmt: skip
"""``quant_algo`` of NVIDIA Model Optimizer -> label."""
ALLOWED = (
    f"quant_method {', '.join(METHODS)}, {', '.join(FOUR_BIT)} (4 bits), compressed-tensors or modelopt "
    f"with {', '.join(ALGORITHMS)}"
)


def quantization(whole: Json, inner: Json, beside: Json) -> tuple[str, list[str]]:
    """
    The label of a checkpoint's weights, and the faults of what declares it.

    Parameters
    ----------
    whole
        The configuration.
    inner
        Its part on the language model (may be the same).
    beside
        The contents of ``hf_quant_config.json``, empty where there is none.

    Returns
    -------
    tuple
        The label; ``bf16`` where nothing is declared or there are faults.
    """
    where, spec = next(
        (
            (where, found)
            for where, found in (
                ("$.quantization_config", whole.get("quantization_config")),
                ("quantization_config of the language model", inner.get("quantization_config")),
                ("hf_quant_config.json: $.quantization", beside.get("quantization")),
            )
            if found is not None
        ),
        ("", None),
    )
    if spec is None:
        return "bf16", []
    if not isinstance(spec, dict):
        return "bf16", [f"{where}: got {json.dumps(spec)[:80]}, allowed: an object"]
    label = _label(spec)
    if label is None:
        told = {key: spec[key] for key in ("quant_method", "quant_algo", "bits", "format") if key in spec}
        return "bf16", [f"{where}: got {json.dumps(told)[:120]}, allowed: {ALLOWED}"]
    return label, []


def _label(spec: Json) -> str | None:
    """The label of one declaration; None where there is none for it."""
    method, algorithm = spec.get("quant_method"), spec.get("quant_algo")
    if algorithm == "MIXED_PRECISION":
        return _mixed(spec.get("quantized_layers"))
    if isinstance(algorithm, str):
        return ALGORITHMS.get(algorithm)
    if method in FOUR_BIT:
        return "int4" if spec.get("bits") == 4 else None
    if method == "compressed-tensors":
        return _groups(spec)
    return METHODS.get(method) if isinstance(method, str) else None


def _groups(spec: Json) -> str | None:
    """The label of compressed-tensors groups that agree in their weights."""
    groups = spec.get("config_groups")
    labels = {_weights(group) for group in groups.values()} if isinstance(groups, dict) else set()
    return labels.pop() if len(labels) == 1 else None


def _weights(group: object) -> str | None:
    """The label of one group's weights: their bits, their type, and for 4-bit floats the size of a block."""
    weights = group.get("weights") if isinstance(group, dict) else None
    if not isinstance(weights, dict):
        return None
    kind, bits, block = weights.get("type"), weights.get("num_bits"), weights.get("group_size")
    if (kind, bits) == ("float", 4):
        return {16: "nvfp4", 32: "mxfp4"}.get(block) if isinstance(block, int) else None
    return {("float", 8): "fp8", ("int", 4): "int4"}.get((str(kind), bits if isinstance(bits, int) else 0))


def _mixed(layers: object) -> str | None:
    """The label of a mixed checkpoint: that of its experts, or without experts of its FFNs, where they agree."""
    if not isinstance(layers, dict):
        return None
    for part in (".experts", ".mlp."):
        found = {
            str(layer.get("quant_algo")) for name, layer in layers.items() if part in name and isinstance(layer, dict)
        }
        if found:
            return ALGORITHMS.get(found.pop()) if len(found) == 1 else None
    return None
