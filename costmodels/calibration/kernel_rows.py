"""
Measurements of kernels alone: what the product carries of them, and how it was drawn.

``python -m costmodels.calibration.kernel_rows`` draws them anew from the package ``aiconfigurator-core``; it needs that
package and ``pyarrow``. Of each format (products, attention), shape (experts) or head count (latent attention), serving
engine and GPU some rows, evenly: experts under both uneven popularities that the package holds (power laws of 1.01 and
1.2); of several kernels of experts the one that was measured most.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from costmodels.calibration.files import write_rows
from costmodels.constants import ARCHITECTURES
from costmodels.formats import FORMATS
from costmodels.gpus import GPUS
from costmodels.kernels import COARSE, FEW, FINE_FROM, GENTLE, MOST_FEW, SENT, STATIC, STEEP

_DATA = Path(__file__).parents[1] / "data"
PRODUCT_ROWS = _DATA / "product_rows.csv.gz"
ATTENTION_ROWS = _DATA / "attention_rows.csv.gz"
EXPERT_ROWS, LATENT_ROWS = _DATA / "expert_rows.csv.gz", _DATA / "latent_rows.csv.gz"
VERSIONS = {"trtllm": "1.3.0rc20", "sglang": "0.5.14", "vllm": "0.24.0"}
"""Version of each serving engine whose measurements are read."""
SENT_TO: dict[str, tuple[str, tuple[str, ...]]] = {
    "sglang": ("0.5.10", ("wideep_context_moe_perf", "wideep_generation_moe_perf")),
    "trtllm": ("1.3.0rc10", ("wideep_moe_perf",)),
}
"""Engine -> version and files of experts that tokens were sent to (:data:`costmodels.kernels.SENT`)."""
MOST_GPUS = 64
MOST_COPIES = 10
"""Experts of a token; above that are models whose experts work in a narrower space."""
DRAWN, PRODUCTS_DRAWN = 40, 600
"""Rows of a shape or head count; of a format of products or of attention."""
SMALLEST, LARGEST = 512, 2**28
"""Inputs or outputs from which, and values of a weight matrix up to which, a product is looked at."""
SLOWEST_START_MS = 0.05
"""A product that takes longer with hardly any work is no kernel of a serving engine (vLLM, FP8 in blocks)."""
FEWEST_TOKENS = 256
"""Tokens read from which attention is more than a start."""
SHORTEST, FEWEST_QUERIES = 512, 4
"""Prompt from which, and sequences times heads from which, attention of prompts fills a GPU."""
SIZES, LARGEST_GROUP = (64, 128), 16
"""Sizes of heads, and query heads of a key-value head up to which, attention is looked at; from 2 on."""
_POPULARITY = (f"power_law_{GENTLE}", f"power_law_{STEEP}")
FEW_TOKENS = "min_latency"
"""A kernel of TensorRT-LLM that servers, and tables, take for few tokens."""
_CUT = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
_LEFT_OUT = ("nongated",)
"""Parts of the names of kernels whose experts are no gated FFNs."""


@dataclass(frozen=True)
class ProductRow:
    """
    One product with a weight matrix.

    Parameters
    ----------
    gpu, engine, form
        Where, and in which format (:attr:`costmodels.formats.Format.product`).
    tokens, inputs, outputs
        Rows, and the shape of the weights.
    latency_ms
        Measured time.
    """

    gpu: str
    engine: str
    form: str
    tokens: int
    inputs: int
    outputs: int
    latency_ms: float


@dataclass(frozen=True)
class ExpertRow:
    """
    The experts of one layer on the fullest rank.

    Parameters
    ----------
    gpu, engine, form
        Where, and in which format (:attr:`costmodels.formats.Format.kernel`).
    tokens, d_model, width, experts_per_token, experts, moe_tp, moe_ep
        Tokens of the whole group, hidden size, width of an expert, and how they are cut.
    popularity
        With which power of its rank the popularity of an expert falls.
    latency_ms
        Measured time.
    """

    gpu: str
    engine: str
    form: str
    tokens: int
    d_model: int
    width: int
    experts_per_token: int
    experts: int
    moe_tp: int
    moe_ep: int
    popularity: float
    latency_ms: float


@dataclass(frozen=True)
class AttentionRow:
    """
    Grouped-query attention of one layer.

    Parameters
    ----------
    gpu, engine, form
        Where; of prompts the formats of arithmetic and of the KV cache, of single queries that of the cache.
    decodes
        1: single queries; 0: prompts.
    heads, kv_heads, size
        Query heads and key-value heads on one GPU, values of each.
    sequences, context
        Sequences, tokens of each.
    latency_ms
        Measured time.
    """

    gpu: str
    engine: str
    form: str
    decodes: int
    heads: int
    kv_heads: int
    size: int
    sequences: int
    context: int
    latency_ms: float


@dataclass(frozen=True)
class LatentRow:
    """
    Latent attention of one layer, of DeepSeek's sizes (512 values kept of a token and 64 of its rotary key).

    Parameters
    ----------
    gpu, engine, form
        Where, and the format of the KV cache.
    decodes
        1: single queries; 0: prompts.
    heads, sequences, context
        Heads on one GPU, sequences, tokens of each.
    latency_ms
        Measured time.
    """

    gpu: str
    engine: str
    form: str
    decodes: int
    heads: int
    sequences: int
    context: int
    latency_ms: float


def product_rows(path: Path = PRODUCT_ROWS) -> list[ProductRow]:
    """The measurements of products that the product carries."""
    return [ProductRow(*_typed(row)) for row in read_rows(path)]


def expert_rows(path: Path = EXPERT_ROWS) -> list[ExpertRow]:
    """The measurements of experts that the product carries."""
    return [ExpertRow(*_typed(row)) for row in read_rows(path)]


def attention_rows(path: Path = ATTENTION_ROWS) -> list[AttentionRow]:
    """The measurements of grouped-query attention that the product carries."""
    return [AttentionRow(*_typed(row)) for row in read_rows(path)]


def latent_rows(path: Path = LATENT_ROWS) -> list[LatentRow]:
    """The measurements of latent attention that the product carries."""
    return [LatentRow(*_typed(row)) for row in read_rows(path)]


def read_rows(path: Path) -> list[list[str]]:
    """The lines of a carried file below its head."""
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.reader(file))[1:]


def _typed(row: list[str]) -> tuple[Any, ...]:
    return (*row[:3], *(float(value) if "." in value else int(value) for value in row[3:-1]), float(row[-1]))


def main() -> None:
    """Draws the rows and writes them."""
    from costmodels.silicon_package import require_package

    require_package()
    import aiconfigurator_core

    systems = Path(aiconfigurator_core.__file__).parent / "systems" / "data"
    products: list[ProductRow] = []
    experts: list[ExpertRow] = []
    attention: list[AttentionRow] = []
    latent: list[LatentRow] = []
    for gpu in sorted(ARCHITECTURES):
        for engine, version in sorted(VERSIONS.items()):
            there = (gpu, engine)
            products += _products(systems / gpu, *there)
            experts += _experts([systems / gpu / "moe" / engine / version / "moe_perf.parquet"], *there)
            older, names = SENT_TO.get(engine, ("", ()))
            sent = [systems / gpu / "moe" / engine / older / f"{name}.parquet" for name in names]
            experts += _experts(sent, *there, SENT)
            for name, decodes in (("generation_attention_perf", 1), ("context_attention_perf", 0)):
                there_is = systems / gpu / "attention" / engine / version / f"{name}.parquet"
                attention += _attention(there_is, *there, decodes)
            for name, decodes in (("generation_mla_perf", 1), ("context_mla_perf", 0)):
                latent += _latent(systems / gpu / "mla" / engine / version / f"{name}.parquet", *there, decodes)
    write_rows(PRODUCT_ROWS, lines(ProductRow, products))
    write_rows(EXPERT_ROWS, lines(ExpertRow, experts))
    write_rows(ATTENTION_ROWS, lines(AttentionRow, attention))
    write_rows(LATENT_ROWS, lines(LatentRow, latent))


def _products(folder: Path, gpu: str, engine: str) -> Iterator[ProductRow]:
    """Rows of one engine on a GPU, evenly drawn of each format that the GPU has units for."""
    version = VERSIONS[engine]
    forms = {one.product: one.math for one in FORMATS.values() if GPUS[gpu].tflops(one.math) is not None}
    scales = {
        (row["m"], row["k"]): row["latency"]
        for row in table_of(folder / "quantize" / engine / version / "computescale_perf.parquet")
    }
    found: dict[str, list[ProductRow]] = defaultdict(list)
    for row in table_of(folder / "gemm" / engine / version / "gemm_perf.parquet"):
        form, size, latency = row["gemm_dtype"], (row["m"], row["k"], row["n"]), row["latency"]
        if form not in forms or latency <= 0 or min(size[1:]) < SMALLEST or size[1] * size[2] > LARGEST:
            continue
        found[form].append(ProductRow(gpu, engine, form, *size, latency))
        if form == "fp8" and 0 < scales.get(size[:2], np.inf) < latency:  # so the package has static scales
            found[form + STATIC].append(ProductRow(gpu, engine, form + STATIC, *size, latency - scales[size[:2]]))
    for _, rows in sorted(found.items()):
        if len(rows) >= PRODUCTS_DRAWN and min(row.latency_ms for row in rows) < SLOWEST_START_MS:
            yield from _drawn(sorted(rows, key=astuple), lambda row: row.form, PRODUCTS_DRAWN)


def _experts(paths: Sequence[Path], gpu: str, engine: str, added: str = "") -> Iterator[ExpertRow]:
    """
    Rows of files, evenly drawn of each format and shape; something may be added to the names of formats.

    Of several kernels of a format the one that was measured most: others are for shapes that it does not take.
    """
    by_kernel: dict[str, dict[str, dict[tuple[Any, ...], float]]] = defaultdict(lambda: defaultdict(dict))
    for row in (row for path in paths for row in table_of(path) if _is_looked_at(row)):
        ending = added or (COARSE if row["topk"] < FINE_FROM else "")
        form = row["moe_dtype"] + (FEW if FEW_TOKENS in row["kernel_source"] else ending)
        popularity = float(row["distribution"].removeprefix("power_law_"))
        fastest, key = by_kernel[form][row["kernel_source"]], (form, *(row[name] for name in _CUT), popularity)
        fastest[key] = min(row["latency"], fastest.get(key, np.inf))
    for _, kernels in sorted(by_kernel.items()):
        most = max(kernels.values(), key=len)
        found = [ExpertRow(*(gpu, engine, *key, latency)) for key, latency in sorted(most.items())]
        yield from _drawn(found, lambda row: (row.form, row.d_model, row.width, row.experts_per_token, row.experts))


def _is_looked_at(row: dict[str, Any]) -> bool:
    """Whether a measurement of experts is one of gated experts as models have them, and each once."""
    if row["distribution"] not in _POPULARITY or any(part in row["kernel_source"] for part in _LEFT_OUT):
        return False
    few = FEW_TOKENS in row["kernel_source"] and row["num_tokens"] > MOST_FEW
    copied = row.get("num_slots", row["num_experts"]) != row["num_experts"]
    wide = row["moe_tp_size"] * row["moe_ep_size"] > MOST_GPUS or row["topk"] > MOST_COPIES
    return not (few or copied or wide) and row["latency"] > 0


def _attention(path: Path, gpu: str, engine: str, decodes: int) -> Iterator[AttentionRow]:
    """Rows of one file, evenly drawn of each format, as models and their cuts have them."""
    fastest: dict[tuple[Any, ...], float] = {}
    for row in table_of(path):
        heads, kv_heads, size = row["num_heads"], row["num_key_value_heads"], row["head_dim"]
        context = row["isl"] + row["step"] if decodes else row["isl"]
        queries = row["batch_size"] * heads
        enough = context >= FEWEST_TOKENS if decodes else context >= SHORTEST and queries >= FEWEST_QUERIES
        if not enough or row["window_size"] or size not in SIZES or row["latency"] <= 0:
            continue
        if heads not in range(2 * kv_heads, LARGEST_GROUP * kv_heads + 1):
            continue
        form = row["kv_cache_dtype"] if decodes else f"{row['attn_dtype']} {row['kv_cache_dtype']}"
        key = (form, decodes, heads, kv_heads, size, row["batch_size"], context)
        fastest[key] = min(row["latency"], fastest.get(key, np.inf))
    found = [AttentionRow(*(gpu, engine, *key, latency)) for key, latency in sorted(fastest.items())]
    yield from _drawn(found, lambda row: row.form, PRODUCTS_DRAWN)


def _latent(path: Path, gpu: str, engine: str, decodes: int) -> Iterator[LatentRow]:
    """Rows of one file, evenly drawn of each format and head count."""
    fastest: dict[tuple[Any, ...], float] = {}
    for row in table_of(path):
        context = row["step"] + 1 if decodes else row["isl"]
        if context * row["batch_size"] < FEWEST_TOKENS or row["latency"] <= 0:
            continue
        key = (row["kv_cache_dtype"], decodes, row["num_heads"], row["batch_size"], context)
        fastest[key] = min(row["latency"], fastest.get(key, np.inf))
    found = [LatentRow(*(gpu, engine, *key, latency)) for key, latency in sorted(fastest.items())]
    yield from _drawn(found, lambda row: (row.form, row.heads))


def table_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of the package; none where it has no such file."""
    if not path.exists():
        return []
    from pyarrow import parquet

    return list(parquet.read_table(path).to_pylist())


def _drawn(rows: list[Any], key_of: Any, most: int = DRAWN) -> Iterator[Any]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        groups[key_of(row)].append(row)
    draw = np.random.default_rng(0)
    for _, there in sorted(groups.items()):
        yield from (there[i] for i in np.sort(draw.choice(len(there), min(len(there), most), replace=False)).tolist())


def lines(kind: type, rows: Iterable[Any]) -> Iterator[list[object]]:
    """A head and a line a row, latencies of five significant digits."""
    yield [field.name for field in fields(kind)]
    for row in rows:
        yield [*astuple(row)[:-1], f"{row.latency_ms:.5g}"]


if __name__ == "__main__":
    main()
