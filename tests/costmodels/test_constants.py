"""Constants: which set applies, and that the carried ones are what the fit may give."""

import csv

import numpy as np
import pytest

from costmodels.calibration.hierarchy import bounds
from costmodels.closed_loop import FILE as CLOSED
from costmodels.closed_loop import TERMS
from costmodels.constants import (
    ANY,
    ARCHITECTURES,
    BASES,
    IDEAL,
    NAMES,
    constants,
    fitted,
    levels,
)
from costmodels.gpus import GPUS, gpu_from_figures
from costmodels.roofline import SERVING


def test_the_nearest_set_is_looked_for_first() -> None:
    assert levels("shared", "h100_sxm", "vllm") == [
        ("shared", "hopper", "vllm", "h100_sxm"), ("shared", "hopper", "vllm", ANY), ("shared", "hopper", ANY, ANY),
        ("shared", ANY, ANY, ANY), (ANY, ANY, ANY, ANY),
    ]  # fmt: skip
    assert levels("shared", "h100_sxm", None)[0] == ("shared", "hopper", ANY, ANY)
    assert levels("dispatched", "mi300x", "vllm") == [("dispatched", ANY, ANY, ANY), (ANY, ANY, ANY, ANY)]


def test_sets_are_found_by_gpu_engine_and_likeness() -> None:
    sets = fitted()
    assert (
        constants("served", "shared", GPUS["h100_sxm"], "vllm")
        == sets["served", "shared", "hopper", "vllm", "h100_sxm"]
    )
    assert constants("served", "shared", GPUS["h800_sxm"], "vllm") == sets["served", "shared", "hopper", "vllm", ANY]
    assert constants("served", "shared", GPUS["mi300x"], "vllm") == sets["served", "shared", ANY, ANY, ANY]
    assert constants("ideal", "shared", GPUS["h100_sxm"], "vllm") is IDEAL
    figures = {
        "bf16_tflops": 400, "memory_gib": 64, "memory_gbps": 1600, "nvlink_gbps": 200, "link_gbps": 25, "source": "x",
    }  # fmt: skip
    like = gpu_from_figures("npu", {**figures, "like": "h100_sxm"})
    assert constants("served", "shared", like, "vllm") == sets["served", "shared", "hopper", "vllm", "h100_sxm"]
    assert (
        constants("served", "shared", gpu_from_figures("npu", figures), "vllm")
        == sets["served", "shared", ANY, ANY, ANY]
    )


@pytest.mark.parametrize("basis", ["served", "operators"])
def test_every_gpu_and_engine_has_constants(basis: str) -> None:
    for gpu in GPUS.values():
        for engine in (None, *SERVING):
            for path in ("shared", "dispatched"):
                assert constants(basis, path, gpu, engine) in fitted().values()  # type: ignore[arg-type]


def test_every_carried_set_has_a_valid_key_and_lies_within_its_bounds() -> None:
    low, high = (np.exp(side) for side in bounds())
    assert fitted()
    for (basis, path, architecture, engine, gpu), found in fitted().items():
        assert basis in BASES and basis != "ideal" and path in ("dense", "shared", "dispatched", ANY)
        assert architecture in {*ARCHITECTURES.values(), ANY} and engine in (*SERVING, ANY)
        assert gpu == ANY or (ARCHITECTURES[gpu] == architecture and gpu in GPUS and engine != ANY)
        values = np.array([getattr(found, name) for name in NAMES])
        outside = (values < low * (1 - 1e-4)) | (values > high * (1 + 1e-4))  # five digits are carried
        assert not outside.any(), (architecture, engine, gpu, [NAMES[i] for i in np.flatnonzero(outside)])


def test_the_carried_closed_loops_have_valid_keys() -> None:
    with CLOSED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["quantity"] for row in rows} == {"ttft", "tpot"}
    for row in rows:
        assert row["engine"] in (*SERVING, ANY)
        if row["quantity"] == "ttft":
            assert row["mode"] in ("agg", "disagg") and row["gpu"] in (*GPUS, ANY)
            assert all(float(row[name]) >= 0 for name in TERMS)
        else:
            assert row["mode"] in ("drafts", "plain") and float(row["factor"]) > 0
