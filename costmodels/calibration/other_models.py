"""
Rows of models that no built-in table has, priced by the ``silicon`` cost model: what the fit of the ``operators`` basis
sees beside the tables, so that a model left out is not the only one of its kind.

``python -m costmodels.calibration.other_models`` prices and draws them anew; it needs the package
``aiconfigurator-core``. The product carries what was drawn (``costmodels/data/other_models.csv.gz``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from costmodels.calibration.files import write_rows
from costmodels.operating_curve import Role
from costmodels.table import HEADER

OTHER_MODELS = Path(__file__).parents[1] / "data" / "other_models.csv.gz"
GPUS = ("b200_sxm", "gb200", "h100_sxm", "h200_sxm")
ENGINES = ("sglang", "trtllm", "vllm")
MODELS = (
    "MiniMaxAI/MiniMax-M2.5", "Qwen/Qwen3-235B-A22B", "Qwen/Qwen3-235B-A22B-FP8", "Qwen/Qwen3-32B-FP8",
    "deepseek-ai/DeepSeek-V3", "meta-llama/Meta-Llama-3.1-405B", "meta-llama/Meta-Llama-3.1-70B",
    "meta-llama/Meta-Llama-3.1-8B", "nvidia/DeepSeek-V3.1-NVFP4", "nvidia/Kimi-K2.5-NVFP4",
    "nvidia/Llama-3.1-70B-Instruct-FP8", "nvidia/MiniMax-M2.5-NVFP4", "nvidia/Qwen3-235B-A22B-NVFP4",
    "openai/gpt-oss-120b",
)  # fmt: skip
ASKED: tuple[tuple[Role, int, int], ...] = (
    ("prefill", 1024, 1), ("prefill", 4500, 1), ("prefill", 8192, 1), ("decode", 1024, 750), ("decode", 4500, 750),
    ("decode", 8192, 750),
)  # fmt: skip
DRAWN = 150
"""Rows of a model on a GPU under a serving engine."""
_CURVES = Path(__file__).parents[2] / "instances" / "curves"
_LOG = logging.getLogger(__name__)


def _is_odd(gpu: str, engine: str, model: str) -> bool:
    """
    Whether the package's numbers cannot be right: vLLM's products of FP8 blocks on Blackwell.

    They take ten times as long as its own products in bfloat16 (0.3 ms for the shared expert of DeepSeek-V3).
    """
    narrow = model.endswith("FP8") or model in ("MiniMaxAI/MiniMax-M2.5", "deepseek-ai/DeepSeek-V3")
    return engine == "vllm" and gpu in ("b200_sxm", "gb200") and narrow


def main() -> None:
    """Prices, draws and writes."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows: list[tuple[str, ...]] = [tuple(HEADER)]
    for model in MODELS:
        for gpu in GPUS:
            for engine in ENGINES:
                has_table = (_CURVES / f"{gpu}__{engine}__{model.replace('/', '--')}.csv.gz").exists()
                if not has_table and not _is_odd(gpu, engine, model):
                    rows += _drawn(gpu, engine, model)
    write_rows(OTHER_MODELS, rows)


def _drawn(gpu: str, engine: str, model: str) -> Iterator[tuple[str, ...]]:
    """Rows of one model, evenly drawn; none where the package has no data."""
    from costmodels.silicon_config import Ask, NoData
    from costmodels.silicon_package import current_version
    from costmodels.silicon_rows import priced

    rows: list[tuple[str, ...]] = []
    for role, isl, osl in ASKED:
        try:
            rows += priced(Ask(gpu, engine, current_version(gpu, engine), model, role, None, isl, osl)).rows
        except NoData as reason:
            _LOG.info("%s %s %s %s: %s", gpu, engine, model, role, reason)
    chosen = np.sort(np.random.default_rng(0).choice(len(rows), min(len(rows), DRAWN), replace=False))
    yield from (rows[i] for i in chosen.tolist())


if __name__ == "__main__":
    main()
