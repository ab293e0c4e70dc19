"""What a fit that has not seen a model or a GPU sees of everything else."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from costmodels.calibration.kernels import KernelRows, kernel_rows
from costmodels.calibration.left_out import Seen, joined, names_of, one_left_out, seen
from costmodels.constants import ANY
from costmodels.kernel_sets import KINDS
from costmodels.models import MODELS

TABLES = Path(__file__).parents[2] / "instances" / "curves"
MEASURED = Path(__file__).parents[2] / "costmodels" / "data" / "measured.csv.gz"
DEEPSEEK, LLAMA = MODELS["deepseek-ai/DeepSeek-V3"], MODELS["meta-llama/Meta-Llama-3.1-70B"]


@pytest.fixture(scope="module")
def rows() -> KernelRows:
    return kernel_rows()


@pytest.fixture(scope="module")
def whole() -> Seen:
    """One table, the rows of models without one, and the measured rows."""
    return seen([TABLES / "h200_sxm__trtllm__meta-llama--Meta-Llama-3.1-70B.csv.gz"], MEASURED)


def test_products_of_a_models_width_go_with_it(rows: KernelRows) -> None:
    for shape in (DEEPSEEK, LLAMA):
        left = rows.without_model(shape).products
        assert 0 < len(rows.products) - len(left) < len(rows.products) / 4
        gone = set(rows.products) - set(left)
        assert all(shape.d_model in (row.inputs, row.outputs) for row in gone)
        assert not any(shape.d_model in (row.inputs, row.outputs) for row in left)
        # every format, engine and GPU keeps most of its own
        before, after = (Counter((r.gpu, r.engine, r.form) for r in some) for some in (rows.products, left))
        assert set(before) == set(after) and all(after[key] > 0.7 * before[key] for key in before)


def test_experts_and_exchanges_of_a_models_shape_go_with_it(rows: KernelRows) -> None:
    left = rows.without_model(DEEPSEEK)
    shapes = {(row.d_model, row.width, row.experts) for row in rows.experts}
    assert shapes - {(r.d_model, r.width, r.experts) for r in left.experts} == {(7168, 2048, 256)}
    assert len(left.experts) == sum((r.d_model, r.width, r.experts) != (7168, 2048, 256) for r in rows.experts)
    sent = {(row.d_model, row.copies, row.experts) for row in rows.exchange}
    assert sent - {(r.d_model, r.copies, r.experts) for r in left.exchange} == {(7168, 8, 256)}
    assert (7168, 8, 384) in sent, "those of Kimi stay"
    dense = rows.without_model(LLAMA)
    assert dense.experts == rows.experts and dense.exchange == rows.exchange


def test_attention_of_a_models_heads_goes_with_it(rows: KernelRows) -> None:
    """Llama: 64 query heads on 8 of keys, of 128 values; so are 8 on 1, as one GPU of eight has them."""
    left = rows.without_model(LLAMA)
    for kind in ("prompts", "queries"):
        before, after = getattr(rows, kind), getattr(left, kind)
        groups = {(row.heads, row.kv_heads) for row in set(before) - set(after)}
        assert {(64, 8), (8, 1)} <= groups and all(heads == 8 * kv_heads for heads, kv_heads in groups)
        assert not any(row.heads == 8 * row.kv_heads and row.size == 128 for row in after)
        assert any(row.heads == 8 * row.kv_heads and row.size == 64 for row in after), "those of gpt-oss stay"
    assert left.latent == rows.latent and left.collective == rows.collective


def test_latent_attention_of_a_models_heads_goes_with_it(rows: KernelRows) -> None:
    left = rows.without_model(DEEPSEEK)
    assert {row.heads for row in rows.latent} - {row.heads for row in left.latent} == {128}
    assert left.prompts == rows.prompts and left.queries == rows.queries and left.collective == rows.collective
    assert left.without_model(DEEPSEEK) == left


def test_everything_of_a_gpu_goes_with_it(rows: KernelRows) -> None:
    left = rows.without_gpu("h200_sxm")
    for kind in KINDS:
        before, after = getattr(rows, kind), getattr(left, kind)
        assert after == [row for row in before if row.gpu != "h200_sxm"]
        assert 0 < len(before) - len(after) < len(before) / 2, kind
    assert rows.without_gpu("mi300x") == rows


def test_a_fit_sees_nothing_of_a_gpu_left_out(whole: Seen) -> None:
    left = whole.without("gpus", "h200_sxm")
    assert whole.tables and not left.tables, "the one table is the GPU's"
    assert 0 < len(left.others) < len(whole.others) and 0 < len(left.loops) < len(whole.loops)
    assert not any(row.series.engine.gpu.name == "h200_sxm" for row in left.others)
    assert not any("h200_sxm" in (loop.decode.gpu.name, loop.prefill.gpu.name) for loop in left.loops)
    assert left.kernels == whole.kernels.without_gpu("h200_sxm")


def test_a_fit_sees_nothing_of_a_model_left_out(whole: Seen) -> None:
    """All checkpoints of a shape: Meta's, NVIDIA's in FP8, and measured rows under another name."""
    left = whole.without("models", "80 x 8192, 0 experts")
    checkpoints = {row.series.engine.model.name for row in (*whole.tables, *whole.others)}
    kept = {row.series.engine.model.name for row in left.others}
    assert not left.tables and checkpoints - kept == {
        "meta-llama/Meta-Llama-3.1-70B", "nvidia/Llama-3.1-70B-Instruct-FP8",
    }  # fmt: skip
    gone = {loop.row.model for loop in whole.loops} - {loop.row.model for loop in left.loops}
    assert gone and all("70B" in name for name in gone)
    assert left.kernels == whole.kernels.without_model(LLAMA)


def test_models_without_measured_products_are_not_seen(whole: Seen) -> None:
    """Rows of other models are of formats whose products were measured there."""
    known = {(row.gpu, row.engine, row.form) for row in whole.kernels.products}
    engines = [row.series.engine for row in whole.others]
    assert {(one.gpu.name, one.serving, one.formats.gemm.product) for one in engines} <= known


def test_the_plain_roofline_needs_no_fit(whole: Seen) -> None:
    """Everything left out: errors of all rows, large and mostly below; by group and pooled."""
    names = names_of(whole, "everything")
    assert names == [""]
    part = one_left_out(whole, "everything", "")
    assert part.rows == list(range(len(whole.tables))) and part.loops == list(range(len(whole.loops)))
    assert part.errors.shape == (len(whole.tables),) and float(np.median(part.errors)) < -0.2
    assert bool((part.tpot > 0).all()) and bool((part.ttft > 0).all())
    found = list(joined(whole, "everything", [part]))
    pooled = [one for one in found if not one.model]
    assert {one.quantity for one in pooled} >= {"tpot", "ttft", "decode", "prefill"}
    assert sum(one.n for one in pooled if one.quantity == "tpot") == len(whole.loops)
    assert {one.left_out for one in found} == {"everything"} and ANY not in {one.model for one in found}
