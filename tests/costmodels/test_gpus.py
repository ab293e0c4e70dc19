"""The GPU catalogue."""

from decimal import Decimal
from fractions import Fraction

import pytest

from costmodels.gpus import FIGURES, GPUS, Gpu, gpu, gpu_from_figures

EXPECTED = {
    "a100_sxm", "h20_sxm", "h100_sxm", "h200_sxm", "h800_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300", "mi300x",
    "mi355x",
}  # fmt: skip


def test_the_catalogue_is_complete() -> None:
    assert set(GPUS) == EXPECTED
    assert all(name == entry.name for name, entry in GPUS.items())


@pytest.mark.parametrize("entry", GPUS.values(), ids=lambda entry: entry.name)
def test_every_figure_has_a_source(entry: Gpu) -> None:
    assert set(entry.sources) == set(FIGURES)
    assert all(len(source) > 20 for source in entry.sources.values())


@pytest.mark.parametrize("entry", GPUS.values(), ids=lambda entry: entry.name)
def test_figures_are_in_order(entry: Gpu) -> None:
    peaks = [peak for peak in (entry.bf16_tflops, entry.fp8_tflops, entry.fp4_tflops) if peak is not None]
    assert peaks == sorted(peaks), "a narrower format is never slower"
    assert entry.link_gbps <= entry.nvlink_gbps < entry.memory_gbps
    assert entry.nvlink_domain_gpus % entry.gpus_per_node == 0


def test_known_figures() -> None:
    h100 = gpu("h100_sxm")
    assert (h100.tflops("bf16"), h100.tflops("fp8"), h100.tflops("fp4")) == (989, 1979, None)
    assert (h100.memory_gib, h100.memory_gbps, h100.nvlink_gbps) == (80, 3350, 450)
    assert gpu("h800_sxm").nvlink_gbps == 200
    assert gpu("gb200").nvlink_domain_gpus == 72


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"got 'h999', allowed: a100_sxm, .*mi355x"):
        gpu("h999")


def test_prices_are_dated() -> None:
    for entry in GPUS.values():
        source = entry.sources["usd_per_hour"]
        assert ("read 2026-" in source) == (entry.usd_per_hour is not None)
        assert entry.usd_per_hour is None or 1 < entry.usd_per_hour < 20
    assert gpu("gb200").usd_per_hour == Fraction(42, 4)


NPU = {
    "bf16_tflops": 376, "memory_gib": 64, "memory_gbps": 1600, "nvlink_gbps": 196, "link_gbps": 25,
    "source": "a data sheet",
}  # fmt: skip


def test_a_device_from_figures() -> None:
    found = gpu_from_figures("npu", NPU)
    assert (found.name, found.bf16_tflops, found.fp8_tflops, found.fp4_tflops) == ("npu", 376, None, None)
    assert (found.memory_gib, found.memory_gbps, found.nvlink_gbps, found.link_gbps) == (64, 1600, 196, 25)
    assert (found.nvlink_domain_gpus, found.gpus_per_node, found.watts) == (8, 8, None)
    assert (found.usd_per_hour, found.calibrated_as) == (None, None)
    assert set(found.sources) == set(FIGURES)
    assert found.sources["memory_gbps"] == "a data sheet"


def test_a_device_says_more() -> None:
    more = {"fp8_tflops": 752.5, "fp4_tflops": None, "nvlink_domain_gpus": 384, "gpus_per_node": 16, "watts": 310}
    found = gpu_from_figures("npu", NPU | more | {"memory_gib": Decimal("63.9"), "like": "h100_sxm"})
    assert (found.fp8_tflops, found.fp4_tflops, found.watts) == (752.5, None, 310)
    assert (found.nvlink_domain_gpus, found.gpus_per_node) == (384, 16)
    assert found.memory_gib == Fraction("63.9")
    assert found.calibrated_as == "h100_sxm"


def test_a_device_as_the_catalogue_has_it() -> None:
    listed = gpu("h100_sxm")
    keys = ("bf16_tflops", "fp8_tflops", "memory_gib", "memory_gbps", "nvlink_gbps", "link_gbps", "watts")
    same = gpu_from_figures("h100_sxm", {key: getattr(listed, key) for key in keys} | {"source": "the catalogue"})
    assert same == Gpu(**{**vars(listed), "usd_per_hour": None})


def test_a_decimal_stays_exact_through_float() -> None:
    assert gpu_from_figures("npu", NPU | {"memory_gib": 0.1}).memory_gib == Fraction(1, 10)


@pytest.mark.parametrize("key", ["bf16_tflops", "memory_gib", "memory_gbps", "nvlink_gbps", "link_gbps", "source"])
def test_a_device_lacks_a_figure(key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: got nothing, allowed: a "):
        gpu_from_figures("npu", {name: value for name, value in NPU.items() if name != key})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bf16_tflops", 0), ("bf16_tflops", -1), ("bf16_tflops", "376"), ("bf16_tflops", True), ("bf16_tflops", None),
        ("memory_gib", float("nan")), ("memory_gbps", float("inf")), ("link_gbps", Decimal("Infinity")),
        ("nvlink_gbps", 10**10), ("fp8_tflops", Fraction(-1, 2)), ("watts", [700]), ("nvlink_domain_gpus", 7.5),
        ("gpus_per_node", 0), ("source", " "), ("source", 3), ("like", "h999"), ("like", 3), ("tflops", 1),
    ],
)  # fmt: skip
def test_a_figure_out_of_range(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{key}: got .*, allowed: ") as error:
        gpu_from_figures("npu", NPU | {key: value})
    assert ";" not in str(error.value)


def test_all_faults_of_a_device_are_named() -> None:
    with pytest.raises(ValueError, match="allowed") as error:
        gpu_from_figures("npu", {"memory_gib": -1, "like": "h999", "colour": "red"})
    assert [fault.split(":")[0] for fault in str(error.value).split("; ")] == [
        "colour", "bf16_tflops", "memory_gib", "memory_gbps", "nvlink_gbps", "link_gbps", "source", "like",
    ]  # fmt: skip
