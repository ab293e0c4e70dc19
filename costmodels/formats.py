"""Number formats: how many bits a weight takes, and which units multiply it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from costmodels.gpus import Gpu, MathKind
from costmodels.models import Model
from costmodels.precision import LABELS, components


@dataclass(frozen=True)
class Format:
    """
    One storage format.

    Parameters
    ----------
    bits
        Bits per value, block scales included.
    math
        The units that multiply it.
    kernel
        Name under which grouped products over experts of this format were measured.
    product
        Name under which single products with weights were; of formats that were not, a measured one of the same units.
    """

    bits: Fraction
    math: MathKind
    kernel: str
    product: str

    @cached_property
    def bytes(self) -> float:
        """Bytes per value."""
        return float(self.bits) / 8


_BF16 = Format(Fraction(16), "bf16", "bfloat16", "bfloat16")
_MX = Fraction(17, 4)  # 4 bits and one 8-bit scale per 32 values (OCP microscaling specification)
_GROUP = Fraction(33, 8)  # 4 bits and one 16-bit scale per 128 values (GPTQ and AWQ as commonly exported)

FORMATS: dict[str, Format] = {
    "bfloat16": _BF16,
    "float16": _BF16,
    "fp8": Format(Fraction(8), "fp8", "fp8", "fp8"),  # scales of activations are computed in each step
    "fp8_static": Format(Fraction(8), "fp8", "fp8", "fp8_static"),  # and here are known before
    # one 32-bit scale per 128 x 128 block
    "fp8_block": Format(8 + Fraction(32, 128 * 128), "fp8", "fp8_block", "fp8_block"),
    "nvfp4": Format(Fraction(9, 2), "fp4", "nvfp4", "nvfp4"),  # 4 bits and one 8-bit scale per 16 values
    "mxfp4": Format(_MX, "fp4", "nvfp4", "nvfp4"),
    "w4a16_mxfp4": Format(_MX, "bf16", "w4a16_mxfp4", "bfloat16"),
    "w4a8_mxfp4_mxfp8": Format(_MX, "fp8", "w4a8_mxfp4_mxfp8", "fp8"),
    "w4a8_mxfp4_fp8": Format(_MX, "fp8", "w4a8_mxfp4_mxfp8", "fp8"),
    "int4": Format(_GROUP, "bf16", "int4_wo", "bfloat16"),
    "int4_wo": Format(_GROUP, "bf16", "int4_wo", "bfloat16"),
    "w4a16": Format(_GROUP, "bf16", "int4_wo", "bfloat16"),
    "w4afp8": Format(_GROUP, "fp8", "int4_wo", "fp8"),
}
"""Format name -> format."""


@dataclass(frozen=True)
class Formats:
    """
    The formats of one engine.

    Parameters
    ----------
    precision
        The exact precision string they are from.
    gemm, moe, kv, fmha
        Of dense weights, expert weights, the KV cache, and attention arithmetic.
    """

    precision: str
    gemm: Format = field(hash=False)
    moe: Format = field(hash=False)
    kv: Format = field(hash=False)
    fmha: Format = field(hash=False)

    def missing(self, gpu: Gpu) -> str | None:
        """What the GPU has no units for, or None."""
        for used in (self.gemm, self.moe, self.fmha):
            if gpu.tflops(used.math) is None:
                return f"no {used.math} units"
        return None


def exact(wanted: str | None, model: Model, gpu: Gpu) -> str:
    """
    The exact precision string that a label stands for on a model and a GPU.

    bf16: everything in bfloat16. fp8, nvfp4: weights so, KV cache in fp8, attention in bfloat16. mxfp4: the experts so
    (the whole of a dense model), everything else in bfloat16; multiplied in fp8 where the GPU has FP4 units, else in
    bfloat16. int4: weights only. None: the format of the checkpoint.

    Parameters
    ----------
    wanted
        A label, an exact string (returned as it is), or None.
    model, gpu
        The model and the GPU.

    Raises
    ------
    ValueError
        When it is neither a label nor a string of known formats; the message lists what is allowed.
    """
    label = wanted or model.precision
    if label not in LABELS:
        unknown = [part for part in components(label).values() if part not in FORMATS]
        if unknown:
            exact_form = f"gemm:F moe:F kv:F fmha:F with F of {', '.join(FORMATS)}"
            raise ValueError(f"got {label!r}, allowed: {', '.join(LABELS)}, or {exact_form}")
        return label
    if label == "bf16":
        return "gemm:bfloat16 moe:bfloat16 kv:bfloat16 fmha:bfloat16"
    if label == "mxfp4":
        weights = "w4a16_mxfp4" if gpu.fp4_tflops is None else "w4a8_mxfp4_mxfp8"
        return f"gemm:{'bfloat16' if model.is_moe else weights} moe:{weights} kv:bfloat16 fmha:bfloat16"
    return f"gemm:{label} moe:{label} kv:{'bfloat16' if label == 'int4' else 'fp8'} fmha:bfloat16"


def formats(precision: str) -> Formats:
    """
    Reads an exact precision string of known formats.

    Parameters
    ----------
    precision
        Such as ``gemm:fp8 moe:fp8 kv:fp8 fmha:bfloat16``. What is missing: ``moe`` is as ``gemm``, the rest bfloat16.
    """
    parts = components(precision)
    gemm = parts.get("gemm", parts.get("moe", "bfloat16"))
    return Formats(
        precision,
        FORMATS[gemm],
        FORMATS[parts.get("moe", gemm)],
        FORMATS[parts.get("kv", "bfloat16")],
        FORMATS[parts.get("fmha", "bfloat16")],
    )
