"""
Measurements of exchanges alone: what the product carries of them, how it was drawn, and how a fit sees it.

They keep constants of mixtures of experts where the operators are: a table gives sums alone, in which one operator can
pay for another. ``python -m costmodels.calibration.operator_rows`` draws them anew from the package
``aiconfigurator-core``; it needs that package and ``pyarrow``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costmodels.calibration.files import write_rows
from costmodels.calibration.kernel_rows import lines, read_rows, table_of
from costmodels.constants import ARCHITECTURES
from costmodels.kernels import DECODES, GATHER, MANY, PROMPTS, REDUCE, REDUCE_MANY

OPERATOR_ROWS = Path(__file__).parents[1] / "data" / "operator_rows.csv.gz"
DRAWN = 120
"""Rows of a kind and format on a GPU under a serving engine."""
VERSIONS = {"trtllm": "1.3.0rc20", "sglang": "0.5.14", "vllm": "0.24.0"}
EXCHANGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "trtllm": ("1.3.0rc11", ("moe_a2a_perf",)), "vllm": ("0.24.0", ("moe_a2a_perf",)),
    "sglang": ("0.5.12", ("wideep_deepep_normal_perf", "wideep_deepep_ll_perf")),
}  # fmt: skip
"""Engine -> version and files of tokens sent to experts."""
LIBRARIES = {"deepep_ht": PROMPTS, "trtllm_deepep_ht": PROMPTS, "deepep_ll": DECODES, "trtllm_deepep_ll": DECODES}
"""Library that carries them -> for which steps."""
NCCL = {"h100_sxm": "2.29.2", "h200_sxm": "2.29.2", "b200_sxm": "2.29.2", "gb200": "2.29.2"}
"""GPU -> version of NCCL."""
_WIDTHS = {"default": 1.0, "bfloat16": 2.0, "fp8": 1.0, "nvfp4": 0.5625}
"""Bytes of a value that is sent to an expert, by the name of the measurement."""


@dataclass(frozen=True)
class OperatorRow:
    """
    One operator alone.

    Parameters
    ----------
    gpu, engine
        Where.
    form
        All-gather or reduce-scatter (:data:`costmodels.kernels.GATHER`), all-reduce (``REDUCE``, ``REDUCE_MANY``);
        of tokens sent :data:`costmodels.kernels.PROMPTS` or :data:`costmodels.kernels.DECODES`.
    tokens, d_model
        Of an exchange: tokens of a GPU, and their hidden size. Else values of the whole message.
    gpus, copies, experts
        GPUs that take part; of an exchange: experts of a token, and experts.
    width
        Bytes of a value that is sent.
    latency_ms
        Measured time.
    """

    gpu: str
    engine: str
    form: str
    tokens: int
    d_model: int
    gpus: int
    copies: int
    experts: int
    width: float
    latency_ms: float


def operator_rows(path: Path = OPERATOR_ROWS) -> list[OperatorRow]:
    """The measurements that the product carries."""
    return [_typed(row) for row in read_rows(path)]


def _typed(row: list[str]) -> OperatorRow:
    tokens, d_model, gpus, copies, experts = map(int, row[3:8])
    return OperatorRow(*(row[0], row[1], row[2]), tokens, d_model, gpus, copies, experts, float(row[8]), float(row[9]))


def main() -> None:
    """Draws the rows and writes them."""
    from costmodels.silicon_package import require_package

    require_package()
    import aiconfigurator_core

    data = Path(aiconfigurator_core.__file__).parent / "systems" / "data"
    rows: list[OperatorRow] = []
    for gpu in sorted(ARCHITECTURES):
        for engine, version in sorted(VERSIONS.items()):
            draw = np.random.default_rng(0)
            comm = data / gpu / "comm"
            older, names = EXCHANGES[engine]
            exchanges = list(_exchanges([comm / engine / older / f"{name}.parquet" for name in names], gpu, engine))
            for found in (
                list(_gathers(comm / "nccl" / NCCL.get(gpu, "") / "nccl_perf.parquet", gpu, engine)),
                list(_all_reduces(comm / engine / version / "custom_allreduce_perf.parquet", gpu, engine)),
                *([one for one in exchanges if one.form == form] for form in (PROMPTS, DECODES)),
            ):
                chosen = np.sort(draw.choice(len(found), min(len(found), DRAWN), replace=False))
                rows += [found[index] for index in chosen.tolist()]
    write_rows(OPERATOR_ROWS, lines(OperatorRow, rows))


def _gathers(path: Path, gpu: str, engine: str) -> Iterator[OperatorRow]:
    for row in table_of(path):
        if row["op_name"] in ("all_gather", "reduce_scatter") and row["nccl_dtype"] == "half":
            yield OperatorRow(gpu, engine, GATHER, row["message_size"], 0, row["num_gpus"], 0, 0, 2.0, row["latency"])


def _all_reduces(path: Path, gpu: str, engine: str) -> Iterator[OperatorRow]:
    for row in table_of(path):
        if "eager" not in row["kernel_source"]:
            form = REDUCE_MANY if row["num_gpus"] >= MANY else REDUCE
            yield OperatorRow(gpu, engine, form, row["message_size"], 0, row["num_gpus"], 0, 0, 2.0, row["latency"])


def _exchanges(paths: Sequence[Path], gpu: str, engine: str) -> Iterator[OperatorRow]:
    """Tokens sent to experts of one node and back; the fastest where several numbers of multiprocessors were tried."""
    fastest: dict[tuple[Any, ...], float] = {}
    for row in (row for path in paths for row in table_of(path)):
        for key, latency in _sent(row, gpu):
            fastest[key] = min(latency, fastest.get(key, np.inf))
    for (form, tokens, d_model, gpus, copies, experts, width), latency in sorted(fastest.items()):
        yield OperatorRow(gpu, engine, form, tokens, d_model, gpus, copies, experts, width, latency)


def _sent(row: dict[str, Any], gpu: str) -> Iterator[tuple[tuple[Any, ...], float]]:
    """The exchanges that a row of a file holds, latencies in ms."""
    if row["node_num"] != 1:
        return
    node = 4 if gpu in ("gb200", "gb300") else 8
    if "comm_backend" not in row:  # SGLang's files have both ways in one row
        few = "dispatch_avg_t_us" in row
        key = (row["num_token"], row["hidden_size"], node, row["num_topk"], row["num_experts"])
        for way, width in (("dispatch", 1.0), ("combine", 2.0)):
            taken = row[f"{way}_avg_t_us"] if few else row[f"{way}_transmit_us"] + row[f"{way}_notify_us"]
            yield (DECODES if few else PROMPTS, *key, width), taken / 1000
    elif row["comm_backend"] in LIBRARIES:
        width = 2.0 if row["phase"] == "combine" else _WIDTHS[row["comm_dtype"]]
        key = (row["num_tokens"], row["hidden_size"], row["ep_size"], row["topk"], row["num_experts"])
        yield (LIBRARIES[row["comm_backend"]], *key, width), row["latency"] / 1000


if __name__ == "__main__":
    main()
