"""Counted steps, laid out flat so that many of them are priced at once with any constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodels.gpus import GPUS, Gpu
from costmodels.layers import StepWork
from costmodels.operators import BYTES_PER_MS, FLOPS_PER_MS, KINDS, Array, Kind, Number, Operator

_FIELDS = (
    "flops", "moved", "passed", "launches", "over_nvlink", "over_link", "sharing", "crossings", "begun", "tail",
    "plain", "least_moved", "least_flops", "handled_ms", "ramp_ms",
)  # fmt: skip
_OF_OPERATOR = tuple(name for name in _FIELDS if name not in ("begun", "tail", "plain", "least_moved", "least_flops"))
_PER_RUN = (
    "flops", "moved", "passed", "launches", "over_nvlink", "over_link", "crossings", "begun", "tail",
    "least_moved", "least_flops", "handled_ms", "ramp_ms",
)  # fmt: skip

_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "matmul": ("product_memory", "product_compute"),
    "experts": ("expert_memory", "expert_compute"),
    "prefill_attention": ("attention_speed", "prefill_attention", "kv_memory", "launch_ms"),
    "decode_attention": ("attention_speed", "decode_attention", "kv_memory", "launch_ms", "attention_ms"),
    "latent_prefill": ("latent_speed",),
    "latent_decode": ("latent_speed", "attention_ms"),
    "stream": ("memory", "launch_ms"),
    "collective": ("collective", "link", "spread", "crossing_ms"),
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
        told: list[tuple[int, int, int]] = []
        for (gpu, work, count, _), base in zip(steps, starts.tolist(), strict=False):
            experts = (work.experts.routed, work.experts.shared) if work.experts else ()
            for part, operators in enumerate(([*work.layers, *work.head], *experts)):
                for times, operator in operators:
                    blocks.append(_block(gpu, times, operator, count))
                    told.append((base + part * self.count, KINDS.index(operator.kind), count))
        fields = np.concatenate(blocks, axis=1)
        first, kinds, many = np.array(told).T
        offsets = np.arange(fields.shape[1]) - np.repeat(np.cumsum(many) - many, many)
        whole = dict(zip(_FIELDS, fields, strict=True))
        whole |= {"row": np.repeat(first, many) + offsets, "kind": np.repeat(kinds, many)}
        self._kinds = {
            kind: {name: column[whole["kind"] == number] for name, column in whole.items()}
            for number, kind in enumerate(KINDS)
        }
        self._rows = {kind: c["row"].astype(int) for kind, c in self._kinds.items()}
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
            busy = _busy_ms(kind, self._kinds[kind], values)
            known[key] = np.asarray(np.bincount(self._rows[kind], busy, 3 * self.count))
        else:
            known[key] = known.pop(key)  # the last used stays longest
        return known[key]


def _busy_ms(kind: Kind, c: dict[str, Array], at: Values) -> Array:
    """Times of the operators of one kind."""
    if kind == "dispatch":
        inside = (c["over_nvlink"] + c["handled_ms"]) / at["dispatch"]
        return np.asarray(inside + c["over_link"] / at["dispatch_link"] + c["crossings"] * at["crossing_ms"])
    if kind == "collective":
        across = c["over_link"] / (at["link"] * c["sharing"] ** at["spread"])
        inside, across = (way + 2 * np.sqrt(c["ramp_ms"] * way) for way in (c["over_nvlink"], across))
        return np.asarray((inside + c["handled_ms"]) / at["collective"] + across + c["crossings"] * at["crossing_ms"])
    if kind == "stream":
        return np.asarray(c["moved"] / at["memory"] + c["launches"] * at["launch_ms"])
    if kind in ("matmul", "experts", "latent_prefill", "latent_decode"):
        return _measured_ms(kind, c, at)
    start = at["launch_ms"] + (2 * at["attention_ms"] if kind == "decode_attention" else 0.0)
    plain = np.maximum(c["flops"] / at[kind], c["moved"] / at["kv_memory"]) + c["launches"] * start
    return np.asarray(np.where(c["plain"] > 0, plain, _measured_ms(kind, c, at)))


_SPEEDS: dict[Kind, tuple[str, str]] = {
    "matmul": ("product_memory", "product_compute"),
    "experts": ("expert_memory", "expert_compute"),
    "prefill_attention": ("attention_speed", "attention_speed"),
    "decode_attention": ("attention_speed", "attention_speed"),
    "latent_prefill": ("latent_speed", "latent_speed"),
    "latent_decode": ("latent_speed", "latent_speed"),
}
"""Constants that the memory traffic and the arithmetic of a measured kernel depend on."""


def _measured_ms(kind: Kind, c: dict[str, Array], at: Values) -> Array:
    """Times of operators whose kernels were measured."""
    memory, compute = (at[name] for name in _SPEEDS[kind])
    streamed = np.maximum(c["moved"] / memory, c["least_moved"])
    busy = np.maximum(c["flops"] / compute, c["least_flops"])
    run = np.sqrt(streamed * streamed + busy * busy)
    waited = np.where(c["tail"] > 0, c["tail"] * run / np.maximum(run + c["tail"], 1e-30), 0.0)
    run = run + waited + c["begun"] + c["passed"] / memory
    around = 2 * at["attention_ms"] if kind in ("decode_attention", "latent_decode") else 0.0
    plain = np.where(c["plain"] > 0, np.maximum(c["moved"], c["flops"]), run)
    return np.asarray(plain + c["launches"] * around)


def _block(gpu: Gpu, times: float, operator: Operator, count: int) -> Array:
    """The fields over all runs of an operator, one line each, in ms at the GPU's own figures, or at those measured."""
    how = operator.measured
    peak, stream = (gpu.tflops(operator.math) or 1.0) * FLOPS_PER_MS, gpu.memory_gbps * BYTES_PER_MS
    link = gpu.link_gbps * BYTES_PER_MS
    own: dict[str, Number] = {
        "flops": peak, "moved": stream, "passed": stream, "least_flops": peak, "least_moved": stream,
        "over_nvlink": gpu.nvlink_gbps * BYTES_PER_MS, "over_link": link,
    }  # fmt: skip
    fields: dict[str, Number] = {name: getattr(operator, name) for name in _OF_OPERATOR}
    if how is None:
        fields["plain"] = 1.0
    else:
        begun = np.where(np.asarray(operator.moved) > 0, how.start_ms, 0.0)
        fields |= {"begun": begun, "tail": how.tail_ms, "least_moved": operator.moved, "least_flops": operator.flops}
        own |= {"flops": peak * how.compute, "moved": stream * how.memory, "least_flops": peak * how.most}
    block = np.zeros((len(_FIELDS), count))
    for name, value in fields.items():
        if isinstance(value, np.ndarray) or value:
            block[_FIELDS.index(name)] = (value * times if name in _PER_RUN else value) / own.get(name, 1.0)
    return block
