"""
Measurements of kernels alone: what the product carries of them, and how it was drawn.

``python -m costmodels.calibration.kernel_rows`` draws them anew from the package ``aiconfigurator-core``; it needs that
package and ``pyarrow``. Of each shape (experts) or head count (latent attention), format, serving engine and GPU some
rows, evenly: experts under both uneven popularities that the package holds (power laws of 1.01 and 1.2); the fastest
where several kernels were measured.
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
from costmodels.kernels import SENT

_DATA = Path(__file__).parents[1] / "data"
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
DRAWN = 40
"""Rows of a shape or head count."""
FEWEST_TOKENS = 256
"""Tokens read from which attention is more than a start."""
_POPULARITY = ("power_law_1.01", "power_law_1.2")
_LEFT_OUT = ("nongated",)
"""Parts of the names of kernels whose experts are no gated FFNs."""


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


def expert_rows(path: Path = EXPERT_ROWS) -> list[ExpertRow]:
    """The measurements of experts that the product carries."""
    return [ExpertRow(*_typed(row)) for row in read_rows(path)]


def latent_rows(path: Path = LATENT_ROWS) -> list[LatentRow]:
    """The measurements of latent attention that the product carries."""
    return [LatentRow(*_typed(row)) for row in read_rows(path)]


def read_rows(path: Path) -> list[list[str]]:
    """The lines of a carried file below its head."""
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.reader(file))[1:]


def _typed(row: list[str]) -> tuple[Any, ...]:
    return (*row[:3], *map(int, row[3:-1]), float(row[-1]))


def main() -> None:
    """Draws the rows and writes them."""
    from costmodels.silicon_package import require_package

    require_package()
    import aiconfigurator_core

    systems = Path(aiconfigurator_core.__file__).parent / "systems" / "data"
    experts: list[ExpertRow] = []
    latent: list[LatentRow] = []
    for gpu in sorted(ARCHITECTURES):
        for engine, version in sorted(VERSIONS.items()):
            there = (gpu, engine)
            experts += _experts([systems / gpu / "moe" / engine / version / "moe_perf.parquet"], *there)
            older, names = SENT_TO.get(engine, ("", ()))
            sent = [systems / gpu / "moe" / engine / older / f"{name}.parquet" for name in names]
            experts += _experts(sent, *there, SENT)
            for name, decodes in (("generation_mla_perf", 1), ("context_mla_perf", 0)):
                latent += _latent(systems / gpu / "mla" / engine / version / f"{name}.parquet", *there, decodes)
    write_rows(EXPERT_ROWS, lines(ExpertRow, experts))
    write_rows(LATENT_ROWS, lines(LatentRow, latent))


def _experts(paths: Sequence[Path], gpu: str, engine: str, added: str = "") -> Iterator[ExpertRow]:
    """Rows of files, evenly drawn of each format and shape; something may be added to the names of formats."""
    fastest: dict[tuple[Any, ...], float] = {}
    for row in (row for path in paths for row in table_of(path)):
        if row["distribution"] not in _POPULARITY or any(part in row["kernel_source"] for part in _LEFT_OUT):
            continue
        if row.get("num_slots", row["num_experts"]) != row["num_experts"]:
            continue  # experts with copies
        if row["moe_tp_size"] * row["moe_ep_size"] > MOST_GPUS or row["topk"] > MOST_COPIES or row["latency"] <= 0:
            continue
        names = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
        key = (row["moe_dtype"] + added, *(row[name] for name in names), row["distribution"])
        fastest[key] = min(row["latency"], fastest.get(key, np.inf))
    found = [ExpertRow(*(gpu, engine, *key[:-1], latency)) for key, latency in sorted(fastest.items())]
    yield from _drawn(found, lambda row: (row.form, row.d_model, row.width, row.experts_per_token, row.experts))


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


def _drawn(rows: list[Any], key_of: Any) -> Iterator[Any]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        groups[key_of(row)].append(row)
    draw = np.random.default_rng(0)
    for _, there in sorted(groups.items()):
        yield from (there[i] for i in np.sort(draw.choice(len(there), min(len(there), DRAWN), replace=False)).tolist())


def lines(kind: type, rows: Iterable[Any]) -> Iterator[list[object]]:
    """A head and a line a row, latencies of five significant digits."""
    yield [field.name for field in fields(kind)]
    for row in rows:
        yield [*astuple(row)[:-1], f"{row.latency_ms:.5g}"]


if __name__ == "__main__":
    main()
