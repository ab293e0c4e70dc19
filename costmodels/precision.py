"""Precision labels and what they match."""

from __future__ import annotations

LABELS: dict[str, tuple[str, ...]] = {
    "bf16": ("bfloat16", "float16"),
    "fp8": ("fp8", "fp8_block", "fp8_static"),
    "nvfp4": ("nvfp4", "nvfp4_wo", "w4a16_nvfp4"),
    "mxfp4": (
        *("mxfp4", "w4a16_mxfp4", "w4a8_mxfp4_mxfp8", "w4a8_mxfp4_fp8"),
        *("w4a16_mxfp4_cutlass", "w4a8_mxfp4_mxfp8_trtllm"),
    ),
    "int4": ("int4", "int4_wo", "w4a16", "w4afp8"),
}
"""Label -> the weight formats that it stands for.

The format that counts is that of the ``moe:`` component, since experts hold most weights of an MoE
model; exported tables repeat the dense format there. Where a row has no ``moe:`` component the ``gemm:``
component counts, and a bare string counts as a whole.
"""


def components(precision: str) -> dict[str, str]:
    """
    Splits an exact precision string.

    Parameters
    ----------
    precision
        Such as ``gemm:fp8_block moe:fp8_block kv:fp8 fmha:bfloat16``.

    Returns
    -------
    dict
        Component name to format; a bare string ``fp8`` gives ``{"gemm": "fp8"}``.
    """
    parts: dict[str, str] = {}
    for word in precision.split():
        name, colon, value = word.partition(":")
        parts[name if colon else "gemm"] = value if colon else name
    return parts


def kv_format(precision: str) -> str:
    """The format of the KV cache, ``""`` where the string does not say."""
    return components(precision).get("kv", "")


def fits(wanted: str | None, precision: str) -> bool:
    """
    Whether an engine of the given exact precision serves a workload that wants ``wanted``.

    Parameters
    ----------
    wanted
        A label of :data:`LABELS`, an exact string, or None for any.
    precision
        The exact precision string of the engine.
    """
    if wanted is None or wanted == precision:
        return True
    parts = components(precision)
    weights = parts.get("moe", parts.get("gemm", ""))
    return weights in LABELS.get(wanted, ())
