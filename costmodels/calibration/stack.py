"""Counted steps, laid out flat so that many of them are priced at once with any constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from costmodels.gpus import Gpu, MathKind
from costmodels.operators import BYTES_PER_MS, FLOPS_PER_MS, KINDS, Array, Kind, Number, Work

_MATHS: tuple[MathKind, ...] = ("bf16", "fp8", "fp4")
_FIELDS = (
    "flops", "moved", "launches", "over_nvlink", "over_link", "sharing", "starts", "crossings", "rows", "held", "ranks",
    "weight_bytes", "width",
)  # fmt: skip
_PER_RUN = ("flops", "moved", "launches", "over_nvlink", "over_link", "starts", "crossings", "weight_bytes")

Values = dict[str, float]
"""Constants by name."""


class Stack:
    """
    Steps of any engines on any GPUs.

    The formulas are those of :mod:`costmodels.operators`, once more over flat arrays: pricing operator by operator
    would take minutes where a fit needs thousands of evaluations. A test holds the two together.

    Parameters
    ----------
    steps
        Per step: the GPU, the operators over an array of batches, how many batches, and MoE layers.
    """

    def __init__(self, steps: Sequence[tuple[Gpu, Work, int, int]]) -> None:
        columns: dict[str, list[Array]] = {name: [] for name in (*_FIELDS, "row", "kind", "math")}
        counts = [count for _, _, count, _ in steps]
        starts = np.concatenate([[0], np.cumsum(counts)])
        for (gpu, work, count, _), base in zip(steps, starts, strict=False):
            for times, operator in work:
                columns["row"].append(np.arange(base, base + count))
                columns["kind"].append(np.full(count, KINDS.index(operator.kind)))
                columns["math"].append(np.full(count, _MATHS.index(operator.math)))
                for name, value in _scaled(
                    gpu, times, {name: getattr(operator, name) for name in _FIELDS}, operator.math
                ):
                    columns[name].append(np.broadcast_to(np.asarray(value, dtype=float), (count,)))
        whole = {name: np.concatenate(parts) for name, parts in columns.items()}
        self._kinds = {
            kind: {name: column[whole["kind"] == number] for name, column in whole.items()}
            for number, kind in enumerate(KINDS)
        }
        self._rows = {kind: c["row"].astype(int) for kind, c in self._kinds.items()}
        self._maths = {kind: c["math"].astype(int) for kind, c in self._kinds.items()}
        self.count = int(starts[-1])
        self._moe_layers = np.repeat(np.array([float(layers) for *_, layers in steps]), counts)

    def times_ms(self, values: Values) -> Array:
        """Times of all steps in ms, in the order given."""
        parts = [
            np.bincount(self._rows[kind], _busy_ms(kind, c, self._maths[kind], values), self.count)
            for kind, c in self._kinds.items()
            if len(c["row"])
        ]
        return np.asarray(np.sum(parts, axis=0) + self._moe_layers * values["routing_ms"] + values["step_ms"])


def _busy_ms(kind: Kind, c: dict[str, Array], math: npt.NDArray[np.int_], at: Values) -> Array:
    """Times of the operators of one kind."""
    if kind in ("collective", "dispatch"):
        gathers = kind == "collective"
        inside = at["nvlink" if gathers else "dispatch"]
        across = at["link"] * c["sharing"] ** at["spread"] if gathers else at["dispatch_link"]
        begun = c["starts"] * at["collective_ms"] + c["crossings"] * at["crossing_ms"]
        return np.asarray(c["over_nvlink"] / inside + c["over_link"] / across + begun)
    if kind == "stream":
        return np.asarray(c["moved"] / at["memory"] + c["launches"] * at["launch_ms"])
    plain = np.array([at["bf16"], at["fp8"], at["fp4"]])[math]
    if kind == "experts":
        hot = c["ranks"] ** at["skew"]
        loaded = c["held"] * -np.expm1(-c["rows"] * hot / c["held"])
        compute = c["flops"] * hot * (1 + at["expert_width"] / c["width"]) / (plain * at["expert_compute"])
        moved = (c["moved"] * hot + loaded * c["weight_bytes"]) / at["expert_memory"]
        return np.asarray(np.maximum(compute, moved) + c["launches"] * at["launch_ms"])
    if kind == "matmul":
        each = at["launch_ms"] + (math > 0) * at["quantise_ms"]
        return np.asarray(np.maximum(c["flops"] / plain, c["moved"] / at["memory"]) + c["launches"] * each)
    start = at["launch_ms"] + (2 * at["attention_ms"] if kind == "decode_attention" else 0.0)
    return np.asarray(np.maximum(c["flops"] / at[kind], c["moved"] / at["kv_memory"]) + c["launches"] * start)


def _scaled(gpu: Gpu, times: float, fields: dict[str, Number], math: MathKind) -> list[tuple[str, Number]]:
    """The fields over all runs of an operator, in ms at the GPU's own figures."""
    own = {
        "flops": (gpu.tflops(math) or 1.0) * FLOPS_PER_MS, "moved": gpu.memory_gbps * BYTES_PER_MS,
        "weight_bytes": gpu.memory_gbps * BYTES_PER_MS, "over_nvlink": gpu.nvlink_gbps * BYTES_PER_MS,
        "over_link": gpu.link_gbps * BYTES_PER_MS,
    }  # fmt: skip
    return [
        (name, (value * times if name in _PER_RUN else value) / own.get(name, 1.0)) for name, value in fields.items()
    ]
