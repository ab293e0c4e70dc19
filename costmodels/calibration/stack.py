"""Counted steps, laid out flat so that many of them are priced at once with any constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from costmodels.gpus import Gpu, MathKind
from costmodels.layers import StepWork
from costmodels.operators import BYTES_PER_MS, FLOPS_PER_MS, KINDS, Array, Kind, Number, Operator

_MATHS: tuple[MathKind, ...] = ("bf16", "fp8", "fp4")
_FIELDS = (
    "flops", "moved", "launches", "over_nvlink", "over_link", "sharing", "starts", "crossings", "begun", "plain",
    "least_moved", "least_flops",
)  # fmt: skip
_PER_RUN = (
    "flops", "moved", "launches", "over_nvlink", "over_link", "starts", "crossings", "begun",
    "least_moved", "least_flops",
)  # fmt: skip

Values = dict[str, float]
"""Constants by name."""


class Stack:
    """
    Steps of any engines on any GPUs.

    The formulas are those of :mod:`costmodels.operators` and :func:`costmodels.layers.step_time`, once more over flat
    arrays: pricing operator by operator would take minutes where a fit needs thousands of evaluations. A test holds the
    two together.

    Parameters
    ----------
    steps
        Per step: the GPU, the operators over an array of batches, how many batches, and MoE layers.
    """

    def __init__(self, steps: Sequence[tuple[Gpu, StepWork, int, int]]) -> None:
        columns: dict[str, list[Array]] = {name: [] for name in (*_FIELDS, "row", "kind", "math")}
        counts = [count for _, _, count, _ in steps]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        self.count = int(starts[-1])
        self._moe_layers = np.repeat(np.array([float(layers) for *_, layers in steps]), counts)
        self._beside = np.concatenate(
            [np.broadcast_to(work.experts.beside if work.experts else False, count) for _, work, count, _ in steps]
        )
        for (gpu, work, count, _), base in zip(steps, starts.tolist(), strict=False):
            experts = (work.experts.routed, work.experts.shared) if work.experts else ()
            for part, operators in enumerate(([*work.layers, *work.head], *experts)):
                for times, operator in operators:
                    columns["row"].append(np.arange(base, base + count) + part * self.count)
                    columns["kind"].append(np.full(count, KINDS.index(operator.kind)))
                    columns["math"].append(np.full(count, _MATHS.index(operator.math)))
                    for name, value in _columns(gpu, times, operator):
                        columns[name].append(np.broadcast_to(np.asarray(value, dtype=float), (count,)))
        whole = {name: np.concatenate(parts) for name, parts in columns.items()}
        self._kinds = {
            kind: {name: column[whole["kind"] == number] for name, column in whole.items()}
            for number, kind in enumerate(KINDS)
        }
        self._rows = {kind: c["row"].astype(int) for kind, c in self._kinds.items()}
        self._maths = {kind: c["math"].astype(int) for kind, c in self._kinds.items()}

    def times_ms(self, values: Values) -> Array:
        """Times of all steps in ms, in the order given."""
        parts = [
            np.bincount(self._rows[kind], _busy_ms(kind, c, self._maths[kind], values), 3 * self.count)
            for kind, c in self._kinds.items()
            if len(c["row"])
        ]
        layers, routed, shared = np.sum(parts, axis=0).reshape(3, self.count)
        routed = routed + (self._moe_layers > 0) * values["routing_ms"]
        experts = np.where(self._beside, np.maximum(routed, shared), routed + shared)
        return np.asarray(layers + self._moe_layers * experts + values["step_ms"])


def _busy_ms(kind: Kind, c: dict[str, Array], math: npt.NDArray[np.int_], at: Values) -> Array:
    """Times of the operators of one kind."""
    if kind in ("collective", "dispatch"):
        gathers = kind == "collective"
        inside = at["nvlink" if gathers else "dispatch"]
        across = at["link"] * c["sharing"] ** at["spread"] if gathers else at["dispatch_link"]
        begun = c["starts"] * at["collective_ms"] + c["crossings"] * at["crossing_ms"]
        full = (c["over_nvlink"] / inside, c["over_link"] / across)
        ramps = 2 * sum(np.sqrt(at["ramp_ms"] * c["starts"] * way) for way in full)
        return np.asarray(full[0] + full[1] + ramps + begun)
    if kind == "stream":
        return np.asarray(c["moved"] / at["memory"] + c["launches"] * at["launch_ms"])
    if kind in ("experts", "latent_prefill", "latent_decode"):
        speed = at["latent_speed"]
        memory, compute = (at["expert_memory"], at["expert_compute"]) if kind == "experts" else (speed, speed)
        streamed = np.maximum(c["moved"] / memory, c["least_moved"])
        busy = np.maximum(c["flops"] / compute, c["least_flops"])
        run = np.sqrt(streamed * streamed + busy * busy) + c["begun"]
        small = {"experts": 0.0, "latent_prefill": at["launch_ms"]}.get(kind, at["launch_ms"] + 2 * at["attention_ms"])
        return np.asarray(np.where(c["plain"] > 0, np.maximum(c["moved"], c["flops"]), run) + c["launches"] * small)
    if kind == "matmul":
        plain = np.array([at["bf16"], at["fp8"], at["fp4"]])[math]
        each = at["launch_ms"] + (math > 0) * at["quantise_ms"]
        return np.asarray(np.maximum(c["flops"] / plain, c["moved"] / at["memory"]) + c["launches"] * each)
    start = at["launch_ms"] + (2 * at["attention_ms"] if kind == "decode_attention" else 0.0)
    return np.asarray(np.maximum(c["flops"] / at[kind], c["moved"] / at["kv_memory"]) + c["launches"] * start)


def _columns(gpu: Gpu, times: float, operator: Operator) -> list[tuple[str, Number]]:
    """The fields over all runs of an operator, in ms at the GPU's own figures, or at those measured."""
    how = operator.measured
    peak, stream = (gpu.tflops(operator.math) or 1.0) * FLOPS_PER_MS, gpu.memory_gbps * BYTES_PER_MS
    fields: dict[str, Number] = {name: getattr(operator, name, 0.0) for name in _FIELDS}
    own = {
        "flops": peak, "moved": stream, "over_nvlink": gpu.nvlink_gbps * BYTES_PER_MS,
        "over_link": gpu.link_gbps * BYTES_PER_MS,
    }  # fmt: skip
    if how is None:
        fields["plain"] = 1.0
    else:
        begun = np.where(np.asarray(operator.moved) > 0, how.start_ms, 0.0)
        fields |= {"begun": begun, "least_moved": operator.moved, "least_flops": operator.flops}
        own |= {
            "flops": peak * how.compute, "moved": stream * how.memory, "least_flops": peak * how.most,
            "least_moved": stream,
        }  # fmt: skip
    return [
        (name, (value * times if name in _PER_RUN else value) / own.get(name, 1.0)) for name, value in fields.items()
    ]
