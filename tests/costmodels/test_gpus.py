"""The GPU catalogue."""

import pytest

from costmodels.gpus import FIGURES, GPUS, Gpu, gpu

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
