"""GPUs and their data-sheet figures, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MathKind = Literal["bf16", "fp8", "fp4"]

FIGURES = (
    "bf16_tflops",
    "fp8_tflops",
    "fp4_tflops",
    "memory_gib",
    "memory_gbps",
    "nvlink_domain_gpus",
    "nvlink_gbps",
    "link_gbps",
    "watts",
    "gpus_per_node",
)
"""The figures of a :class:`Gpu`; each has an entry in its ``sources``."""


@dataclass(frozen=True)
class Gpu:
    """
    One GPU type as its vendor states it: peaks, not what a kernel reaches.

    Parameters
    ----------
    name
        Short name, as used in ``pools[].gpu``.
    bf16_tflops, fp8_tflops, fp4_tflops
        Dense matrix peak in TFLOP/s (no sparsity); None where the GPU has no units for the format.
    memory_gib
        Memory in GiB. Vendors write GB but build HBM in binary sizes: an "80 GB" card shows 79.6 GiB to the driver, so
        their figure is read as GiB; :mod:`costmodels.memory` keeps a reserve that covers the difference.
    memory_gbps
        Memory bandwidth in GB/s.
    nvlink_domain_gpus
        GPUs of one NVLink (Infinity Fabric) domain as the system is commonly sold.
    nvlink_gbps
        NVLink (Infinity Fabric) bandwidth of one GPU in GB/s, one direction.
    link_gbps
        Network bandwidth between domains in GB/s per GPU, one direction.
    watts
        Thermal design power of the module in W.
    gpus_per_node
        GPUs that share one host.
    sources
        Figure name -> the document that it is from.
    """

    name: str
    bf16_tflops: float
    fp8_tflops: float | None
    fp4_tflops: float | None
    memory_gib: int
    memory_gbps: float
    nvlink_domain_gpus: int
    nvlink_gbps: float
    link_gbps: float
    watts: int
    gpus_per_node: int
    sources: dict[str, str] = field(hash=False, compare=False)

    def tflops(self, kind: MathKind) -> float | None:
        """Dense peak of one kind of arithmetic in TFLOP/s; None where there are no units for it."""
        return {"bf16": self.bf16_tflops, "fp8": self.fp8_tflops, "fp4": self.fp4_tflops}[kind]


def _sources(default: str, **own: str) -> dict[str, str]:
    """The default document for every figure, except those named."""
    return {figure: own.get(figure, default) for figure in FIGURES}


_NO_FP4 = "no FP4 units in this architecture (CUDA programming guide, tensor core formats)"
_NDR = "one ConnectX-7 of 400 Gb/s per GPU: NVIDIA DGX H100/H200 user guide, network"
_CX7 = "one ConnectX-7 of 400 Gb/s per GPU: NVIDIA DGX B200 / DGX GB200 user guide, network"
_CX8 = "one ConnectX-8 of 800 Gb/s per GPU: NVIDIA DGX B300 / GB300 NVL72 data sheet, network"
_RAIL = "one 400 Gb/s NIC per GPU: AMD Instinct cluster reference architecture guide"
_H20 = "NVIDIA HGX H20 as quoted by TweakTown (January 2024): 296 TFLOP/s FP8, 96 GB, 4.0 TB/s, 900 GB/s, 400 W"
_H20_BF16 = "half of FP8; 148 TFLOP/s FP16 as quoted by willitrunai.com, GPU page H20 96GB"
_H800 = "NVIDIA H800 product brief: an H100 with NVLink cut to 400 GB/s in both directions together"
_B200 = "NVIDIA HGX platform data sheet, column HGX B200, divided by 8; sparse figures halved"
_B300 = "NVIDIA HGX platform data sheet, column HGX B300, divided by 8; sparse figures halved"
_GB200 = "NVIDIA GB200 NVL72 data sheet, divided by 72; sparse figures halved"
_GB300 = "NVIDIA GB300 NVL72 data sheet, divided by 72; sparse figures halved"

_CATALOGUE = (
    Gpu(
        "a100_sxm", 312, None, None, 80, 2039, 8, 300, 25, 400, 8,
        _sources(
            "NVIDIA A100 80GB SXM data sheet (2021); NVLink 600 GB/s is both directions",
            fp8_tflops="no FP8 units in Ampere (NVIDIA A100 architecture white paper)",
            fp4_tflops=_NO_FP4,
            link_gbps="one ConnectX-6 of 200 Gb/s per GPU: NVIDIA DGX A100 user guide, network",
        ),
    ),
    Gpu(
        "h20_sxm", 148, 296, None, 96, 4000, 8, 450, 50, 400, 8,
        _sources(_H20, bf16_tflops=_H20_BF16, fp4_tflops=_NO_FP4, link_gbps=_NDR),
    ),
    Gpu(
        "h100_sxm", 989, 1979, None, 80, 3350, 8, 450, 50, 700, 8,
        _sources("NVIDIA H100 SXM data sheet; sparse figures halved", fp4_tflops=_NO_FP4, link_gbps=_NDR),
    ),
    Gpu(
        "h200_sxm", 989, 1979, None, 141, 4800, 8, 450, 50, 700, 8,
        _sources("NVIDIA H200 SXM data sheet; sparse figures halved", fp4_tflops=_NO_FP4, link_gbps=_NDR),
    ),
    Gpu("h800_sxm", 989, 1979, None, 80, 3350, 8, 200, 50, 700, 8, _sources(_H800, fp4_tflops=_NO_FP4, link_gbps=_NDR)),
    Gpu(
        "b200_sxm", 2250, 4500, 9000, 180, 8000, 8, 900, 50, 1000, 8,
        _sources(_B200, link_gbps=_CX7, memory_gbps="NVIDIA DGX B200 data sheet: 64 TB/s for 8 GPUs"),
    ),
    Gpu(
        "b300_sxm", 2250, 4500, 13500, 270, 8000, 8, 900, 100, 1100, 8,
        _sources(_B300, link_gbps=_CX8, memory_gib="NVIDIA HGX B300 data sheet: 2.1 TB for 8 GPUs, 270 GB each"),
    ),
    Gpu("gb200", 2500, 5000, 10000, 186, 8000, 72, 900, 50, 1200, 4, _sources(_GB200, link_gbps=_CX7)),
    Gpu("gb300", 2500, 5000, 15000, 279, 8000, 72, 900, 100, 1400, 4, _sources(_GB300, link_gbps=_CX8)),
    Gpu(
        "mi300x", 1307, 2615, None, 192, 5300, 8, 448, 50, 750, 8,
        _sources(
            "AMD Instinct MI300X data sheet; 7 Infinity Fabric links of 128 GB/s, both directions",
            fp4_tflops="no FP4 units in CDNA 3 (AMD CDNA 3 white paper)",
            link_gbps=_RAIL,
        ),
    ),
    Gpu(
        "mi355x", 2517, 5033, 10066, 288, 8000, 8, 538, 50, 1400, 8,
        _sources(
            "AMD Instinct MI355X data sheet; 7 Infinity Fabric links of 153.6 GB/s, both directions", link_gbps=_RAIL
        ),
    ),
)  # fmt: skip

GPUS: dict[str, Gpu] = {entry.name: entry for entry in _CATALOGUE}
"""Name -> GPU."""


def gpu(name: str) -> Gpu:
    """
    Looks a GPU up.

    Parameters
    ----------
    name
        A key of :data:`GPUS`.

    Raises
    ------
    ValueError
        When there is no such GPU; the message lists those there are.
    """
    found = GPUS.get(name)
    if found is None:
        raise ValueError(f"got {name!r}, allowed: {', '.join(GPUS)}")
    return found
