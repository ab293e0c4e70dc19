"""Counted steps, laid out flat so that many of them are priced at once with any constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from costmodels.gpus import GPUS, Gpu, MathKind
from costmodels.layers import StepWork
from costmodels.operators import BYTES_PER_MS, FLOPS_PER_MS, KINDS, Array, Kind, Number, Operator

_MATHS: tuple[MathKind, ...] = ("bf16", "fp8", "fp4")
_FIELDS = (
    "flops", "moved", "launches", "over_nvlink", "over_link", "around", "sharing", "starts", "crossings", "begun",
    "plain", "least_moved", "least_flops", "handled_ms",
)  # fmt: skip
_OF_OPERATOR = tuple(name for name in _FIELDS if name not in ("begun", "plain", "least_moved", "least_flops"))
_PER_RUN = (
    "flops", "moved", "launches", "over_nvlink", "over_link", "around", "starts", "crossings", "begun",
    "least_moved", "least_flops", "handled_ms",
)  # fmt: skip

_LINKS = ("nvlink", "link", "spread", "ring", "ramp_ms", "collective_ms", "crossing_ms")
_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "matmul": ("bf16", "fp8", "fp4", "memory", "launch_ms", "quantise_ms"),
    "experts": ("expert_memory", "expert_compute"),
    "prefill_attention": ("prefill_attention", "kv_memory", "launch_ms"),
    "decode_attention": ("decode_attention", "kv_memory", "launch_ms", "attention_ms"),
    "latent_prefill": ("latent_speed", "launch_ms"),
    "latent_decode": ("latent_speed", "launch_ms", "attention_ms"),
    "stream": ("memory", "launch_ms"),
    "collective": _LINKS,
    "all_reduce": (*_LINKS, "reduce"),
    "dispatch": ("dispatch", "dispatch_link", "crossing_ms"),
}
"""Constants that the time of a kind depends on."""
_REMEMBERED = 8
"""Times of a kind that are kept: those at a point, and at points beside it."""
REPEATED = 1e6
"""Runs of an operator in a step of nothing else, so that the host work of the step vanishes beside them."""
Values = dict[str, float]
"""Constants by name."""
Counted = tuple[Gpu, StepWork, int, int]
"""A step over an array of batches: the GPU, its operators, how many batches, and MoE layers."""


@dataclass(frozen=True)
class Alone:
    """
    An operator that was measured alone.

    Parameters
    ----------
    gpu, engine
        Where.
    operator
        The operator.
    latency_ms
        Measured time.
    """

    gpu: str
    engine: str
    operator: Operator
    latency_ms: float

    @property
    def step(self) -> Counted:
        """A step of nothing but the operator, many times."""
        return GPUS[self.gpu], StepWork([], [(REPEATED, self.operator)]), 1, 0

    @property
    def step_ms(self) -> float:
        """The time of that step in ms."""
        return REPEATED * self.latency_ms


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

    def __init__(self, steps: Sequence[Counted]) -> None:
        counts = [count for _, _, count, _ in steps]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        self.count = int(starts[-1])
        self._moe_layers = np.repeat(np.array([float(layers) for *_, layers in steps]), counts)
        self._beside = np.concatenate(
            [np.broadcast_to(work.experts.beside if work.experts else False, count) for _, work, count, _ in steps]
        )
        blocks: list[Array] = []
        told: list[tuple[int, int, int, int]] = []
        for (gpu, work, count, _), base in zip(steps, starts.tolist(), strict=False):
            experts = (work.experts.routed, work.experts.shared) if work.experts else ()
            for part, operators in enumerate(([*work.layers, *work.head], *experts)):
                for times, operator in operators:
                    blocks.append(_block(gpu, times, operator, count))
                    kind, math = KINDS.index(operator.kind), _MATHS.index(operator.math)
                    told.append((base + part * self.count, kind, math, count))
        fields = np.concatenate(blocks, axis=1)
        first, kinds, maths, many = np.array(told).T
        offsets = np.arange(fields.shape[1]) - np.repeat(np.cumsum(many) - many, many)
        whole = dict(zip(_FIELDS, fields, strict=True))
        whole |= {
            "row": np.repeat(first, many) + offsets,
            "kind": np.repeat(kinds, many),
            "math": np.repeat(maths, many),
        }
        self._kinds = {
            kind: {name: column[whole["kind"] == number] for name, column in whole.items()}
            for number, kind in enumerate(KINDS)
        }
        self._rows = {kind: c["row"].astype(int) for kind, c in self._kinds.items()}
        self._maths = {kind: c["math"].astype(int) for kind, c in self._kinds.items()}
        self._known: dict[Kind, dict[tuple[float, ...], Array]] = {}

    def times_ms(self, values: Values) -> Array:
        """Times of all steps in ms, in the order given."""
        parts = [self._part(kind, values) for kind, c in self._kinds.items() if len(c["row"])]
        layers, routed, shared = np.sum(parts, axis=0).reshape(3, self.count)
        routed = routed + (self._moe_layers > 0) * values["routing_ms"]
        experts = np.where(self._beside, np.maximum(routed, shared), routed + shared)
        return np.asarray(layers + self._moe_layers * experts + values["step_ms"])

    def _part(self, kind: Kind, values: Values) -> Array:
        """Times of the operators of one kind, remembered: a fit moves one constant at a time."""
        key = tuple(values[name] for name in _OF_KIND[kind])
        known = self._known.setdefault(kind, {})
        if key not in known:
            while len(known) >= _REMEMBERED:
                del known[next(iter(known))]
            busy = _busy_ms(kind, self._kinds[kind], self._maths[kind], values)
            known[key] = np.asarray(np.bincount(self._rows[kind], busy, 3 * self.count))
        else:
            known[key] = known.pop(key)  # the last used stays longest
        return known[key]


def _busy_ms(kind: Kind, c: dict[str, Array], math: npt.NDArray[np.int_], at: Values) -> Array:
    """Times of the operators of one kind."""
    if kind == "dispatch":
        inside = (c["over_nvlink"] + c["handled_ms"]) / at["dispatch"]
        return np.asarray(inside + c["over_link"] / at["dispatch_link"] + c["crossings"] * at["crossing_ms"])
    if kind in ("collective", "all_reduce"):
        speed = at["reduce"] if kind == "all_reduce" else 1.0
        across = at["link"] * speed * c["sharing"] ** at["spread"]
        begun = c["starts"] * at["collective_ms"] + c["crossings"] * at["crossing_ms"]
        full = (c["over_nvlink"] / (at["nvlink"] * speed), (c["over_link"] + at["ring"] * c["around"]) / across)
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


def _block(gpu: Gpu, times: float, operator: Operator, count: int) -> Array:
    """The fields over all runs of an operator, one line each, in ms at the GPU's own figures, or at those measured."""
    how = operator.measured
    peak, stream = (gpu.tflops(operator.math) or 1.0) * FLOPS_PER_MS, gpu.memory_gbps * BYTES_PER_MS
    link = gpu.link_gbps * BYTES_PER_MS
    own = {
        "flops": peak, "moved": stream, "least_flops": peak, "least_moved": stream,
        "over_nvlink": gpu.nvlink_gbps * BYTES_PER_MS, "over_link": link, "around": link,
    }  # fmt: skip
    fields: dict[str, Number] = {name: getattr(operator, name) for name in _OF_OPERATOR}
    if how is None:
        fields["plain"] = 1.0
    else:
        begun = np.where(np.asarray(operator.moved) > 0, how.start_ms, 0.0)
        fields |= {"begun": begun, "least_moved": operator.moved, "least_flops": operator.flops}
        own |= {"flops": peak * how.compute, "moved": stream * how.memory, "least_flops": peak * how.most}
    block = np.zeros((len(_FIELDS), count))
    for name, value in fields.items():
        if isinstance(value, np.ndarray) or value:
            block[_FIELDS.index(name)] = (value * times if name in _PER_RUN else value) / own.get(name, 1.0)
    return block
