"""GPUs and their data-sheet figures, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import isfinite
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
    "usd_per_hour",
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
        Thermal design power of the GPU module in W, without its share of CPU, network and cooling; None where unknown.
    gpus_per_node
        GPUs that share one host.
    sources
        Figure name -> the document that it is from.
    usd_per_hour
        A public on-demand list price in USD per GPU and hour, on the day that its source names; None where none was
        found. Prices of one GPU differ by a factor of four between sellers: state your own in the instance.
    calibrated_as
        The catalogue GPU whose calibration constants apply; None where the GPU's own do.
    """

    name: str
    bf16_tflops: float
    fp8_tflops: float | None
    fp4_tflops: float | None
    memory_gib: int | Fraction
    memory_gbps: float
    nvlink_domain_gpus: int
    nvlink_gbps: float
    link_gbps: float
    watts: float | None
    gpus_per_node: int
    sources: dict[str, str] = field(hash=False, compare=False)
    usd_per_hour: Fraction | None = None
    calibrated_as: str | None = None

    def tflops(self, kind: MathKind) -> float | None:
        """Dense peak of one kind of arithmetic in TFLOP/s; None where there are no units for it."""
        return {"bf16": self.bf16_tflops, "fp8": self.fp8_tflops, "fp4": self.fp4_tflops}[kind]


def _sources(default: str, **own: str) -> dict[str, str]:
    """The default document for every figure, except those named; a price is in none of the data sheets."""
    return {"usd_per_hour": _NO_PRICE} | {
        figure: own.get(figure, default) for figure in FIGURES if figure in own or figure != "usd_per_hour"
    }


_NO_FP4 = "no FP4 units in this architecture (CUDA programming guide, tensor core formats)"
_NO_PRICE = "no public on-demand list price was found (November 2026)"
_HYPERSTACK = "Hyperstack rate card, on-demand (hyperstack.cloud/gpu-pricing), read 2026-08-26"
_COREWEAVE = "CoreWeave price list, on-demand, North America: 42.00 for 4 GPUs (coreweave.com/pricing), read 2026-09-20"
_DIGITALOCEAN = "DigitalOcean list price of gpu-mi300x1-192gb, from its public API, read 2026-10-07"
_NDR = "one ConnectX-7 of 400 Gb/s per GPU: NVIDIA DGX H100/H200 user guide, network"
_CX7 = (
    "one ConnectX-7 of 400 Gb/s per GPU: NVIDIA DGX B200 and DGX GB200 user guides, network; the GB200-NVL72 system "
    "description of MLPerf Inference 6.1 names four ConnectX-7 for 4 GPUs"
)
_CX8 = "one ConnectX-8 of 800 Gb/s per GPU: NVIDIA DGX B300 / GB300 NVL72 data sheet, network"
_RAIL = "one 400 Gb/s NIC per GPU: AMD Instinct cluster reference architecture guide"
_H20 = "NVIDIA HGX H20 as quoted by TweakTown (January 2024): 296 TFLOP/s FP8, 96 GB, 4.0 TB/s, 900 GB/s, 400 W"
_H20_BF16 = "half of FP8; 148 TFLOP/s FP16 as quoted by willitrunai.com, GPU page H20 96GB"
_H800 = "NVIDIA H800 product brief: an H100 with NVLink cut to 400 GB/s in both directions together"
_B200 = "NVIDIA HGX platform data sheet, column HGX B200, divided by 8; sparse figures halved"
_B300 = "NVIDIA HGX platform data sheet, column HGX B300, divided by 8; sparse figures halved"
_GB200 = "NVIDIA GB200 NVL72 data sheet, divided by 72; sparse figures halved"
_GB300 = "NVIDIA GB300 NVL72 data sheet, divided by 72; sparse figures halved"
_HBM_B200 = "NVIDIA DGX B200 data sheet: 64 TB/s for 8 GPUs; the Blackwell data sheet has 7.7 TB/s each for HGX B200"
_HBM_B300 = "NVIDIA DGX B300 data sheet: 8 TB/s each; the Blackwell Ultra data sheet has 7.7 TB/s each for HGX B300"

_CATALOGUE = (
    Gpu(
        "a100_sxm", 312, None, None, 80, 2039, 8, 300, 25, 400, 8,
        _sources(
            "NVIDIA A100 80GB SXM data sheet (2021); NVLink 600 GB/s is both directions",
            fp8_tflops="no FP8 units in Ampere (NVIDIA A100 architecture white paper)",
            fp4_tflops=_NO_FP4,
            link_gbps="one ConnectX-6 of 200 Gb/s per GPU: NVIDIA DGX A100 user guide, network",
            usd_per_hour=_HYPERSTACK,
        ),
        Fraction("1.60"),
    ),
    Gpu(
        "h20_sxm", 148, 296, None, 96, 4000, 8, 450, 50, 400, 8,
        _sources(_H20, bf16_tflops=_H20_BF16, fp4_tflops=_NO_FP4, link_gbps=_NDR),
    ),
    Gpu(
        "h100_sxm", 989, 1979, None, 80, 3350, 8, 450, 50, 700, 8,
        _sources(
            "NVIDIA H100 SXM data sheet; sparse figures halved", fp4_tflops=_NO_FP4, link_gbps=_NDR,
            usd_per_hour=_HYPERSTACK,
        ),
        Fraction("3.20"),
    ),
    Gpu(
        "h200_sxm", 989, 1979, None, 141, 4800, 8, 450, 50, 700, 8,
        _sources(
            "NVIDIA H200 SXM data sheet; sparse figures halved", fp4_tflops=_NO_FP4, link_gbps=_NDR,
            usd_per_hour=_HYPERSTACK,
        ),
        Fraction("3.99"),
    ),
    Gpu("h800_sxm", 989, 1979, None, 80, 3350, 8, 200, 50, 700, 8, _sources(_H800, fp4_tflops=_NO_FP4, link_gbps=_NDR)),
    Gpu(
        "b200_sxm", 2250, 4500, 9000, 180, 8000, 8, 900, 50, 1000, 8,
        _sources(_B200, link_gbps=_CX7, memory_gbps=_HBM_B200, usd_per_hour=_HYPERSTACK),
        Fraction("6.00"),
    ),
    Gpu(
        "b300_sxm", 2250, 4500, 13500, 270, 8000, 8, 900, 100, 1100, 8,
        _sources(
            _B300,
            fp4_tflops="NVIDIA HGX platform data sheet, column HGX B300: 108 PFLOP/s dense for 8 GPUs",
            memory_gib="NVIDIA HGX B300 data sheet: 2.1 TB for 8 GPUs, 270 GB each",
            memory_gbps=_HBM_B300,
            link_gbps=_CX8,
            usd_per_hour=_HYPERSTACK,
        ),
        Fraction("7.40"),
    ),
    Gpu(
        "gb200", 2500, 5000, 10000, 186, 8000, 72, 900, 50, 1200, 4,
        _sources(_GB200, link_gbps=_CX7, usd_per_hour=_COREWEAVE),
        Fraction("10.50"),
    ),
    Gpu("gb300", 2500, 5000, 15000, 279, 8000, 72, 900, 100, 1400, 4, _sources(_GB300, link_gbps=_CX8)),
    Gpu(
        "mi300x", 1307, 2615, None, 192, 5300, 8, 448, 50, 750, 8,
        _sources(
            "AMD Instinct MI300X data sheet; 7 Infinity Fabric links of 128 GB/s, both directions",
            fp4_tflops="no FP4 units in CDNA 3 (AMD CDNA 3 white paper)",
            link_gbps=_RAIL,
            usd_per_hour=_DIGITALOCEAN,
        ),
        Fraction("2.59"),
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


REQUIRED = ("bf16_tflops", "memory_gib", "memory_gbps", "nvlink_gbps", "link_gbps")
"""Figures that a device must state."""
PEAKS = ("fp8_tflops", "fp4_tflops")
"""Peaks of a device that may be absent or null: it has no units for the format."""
COUNTS = ("nvlink_domain_gpus", "gpus_per_node")
"""Whole numbers of a device that may be absent."""
LARGEST_FIGURE = 10**9
"""No figure of a device is larger."""
DOMAIN_GPUS = 8
"""GPUs of an NVLink domain where a device does not say; the pool of an instance states its own."""


def gpu_from_figures(name: str, figures: Mapping[str, object]) -> Gpu:
    """
    A GPU or NPU that the catalogue does not have, from figures that somebody states.

    Parameters
    ----------
    name
        Its name.
    figures
        ``bf16_tflops``, ``memory_gib``, ``memory_gbps``, ``nvlink_gbps``, ``link_gbps`` (units and meaning as in
        :class:`Gpu`) and ``source``, a text; optional: ``fp8_tflops``, ``fp4_tflops`` (null or absent: no units),
        ``nvlink_domain_gpus`` (8), ``gpus_per_node`` (the domain), ``watts``, and ``like``, a GPU of the catalogue
        whose calibration constants apply. Numbers are int, float, Decimal or Fraction.

    Raises
    ------
    ValueError
        When a figure is missing, unknown or out of range; one line names every fault by its key.
    """
    known = (*REQUIRED, *PEAKS, *COUNTS, "watts", "source", "like")
    faults = [f"{key}: got an unknown key, allowed: {', '.join(known)}" for key in figures if key not in known]
    numbers: dict[str, Fraction] = {}
    for key in (*REQUIRED, *PEAKS, *COUNTS, "watts"):
        found = figures.get(key)
        if found is None and key not in REQUIRED:
            continue
        number = _positive(found)
        whole = key in COUNTS
        if number is None or (whole and number.denominator != 1):
            shown = "nothing" if key not in figures else str(found) if isinstance(found, Fraction) else repr(found)
            faults.append(f"{key}: got {shown}, allowed: a {'whole ' * whole}number above 0, at most {LARGEST_FIGURE}")
        else:
            numbers[key] = number
    source, like = figures.get("source"), figures.get("like")
    if not isinstance(source, str) or not source.strip():
        faults.append(f"source: got {repr(source) if 'source' in figures else 'nothing'}, allowed: a text")
    if like is not None and (not isinstance(like, str) or like not in GPUS):
        faults.append(f"like: got {like!r}, allowed: {', '.join(GPUS)}")
    if faults:
        raise ValueError("; ".join(faults))
    domain = int(numbers.get("nvlink_domain_gpus", DOMAIN_GPUS))
    peaks = [float(numbers[key]) if key in numbers else None for key in PEAKS]
    return Gpu(
        name, float(numbers["bf16_tflops"]), peaks[0], peaks[1], numbers["memory_gib"], float(numbers["memory_gbps"]),
        domain, float(numbers["nvlink_gbps"]), float(numbers["link_gbps"]),
        float(numbers["watts"]) if "watts" in numbers else None, int(numbers.get("gpus_per_node", domain)),
        _sources(str(source), usd_per_hour="not stated"), calibrated_as=like if isinstance(like, str) else None,
    )  # fmt: skip


def _positive(value: object) -> Fraction | None:
    """A positive, finite number exactly; None for anything else. A float stands for the decimal that it prints as."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | Fraction):
        return None
    if not isinstance(value, int | Fraction) and not isfinite(value):
        return None
    number = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    return number if 0 < number <= LARGEST_FIGURE else None
