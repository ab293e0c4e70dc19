"""
Steps of many engines priced together: what does not depend on how experts are cut is priced once.

Attention, dense layers and the head depend on TP and constants alone, so engines that differ in attention DP and in the
cut of their experts share them. The times are those of :func:`costmodels.layers.step_time`, but for rounding of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodels.engine import Engine
from costmodels.layers import Step, StepTime, head_work, layers_work
from costmodels.mixture import expert_work, experts_ms
from costmodels.operators import Array, price
from costmodels.phases import Hops, Turns, split
from costmodels.plans import Plan


@dataclass(frozen=True)
class Stage:
    """
    Plans to price on an engine, whatever its number of pipeline stages.

    Parameters
    ----------
    engine
        The engine.
    plans
        The plans.
    counts
        How many of the batches of each are wanted, the first ones.
    """

    engine: Engine
    plans: Sequence[Plan]
    counts: Sequence[int]

    def joined(self, rows: Sequence[Array]) -> Array:
        """Of arrays of shape (..., steps, batches), one for each plan, what is wanted, one after another."""
        parts = [row[..., :count] for row, count in zip(rows, self.counts, strict=True)]
        return np.concatenate([part.reshape(*part.shape[:-2], -1) for part in parts], axis=-1)


def priced_together(stages: Sequence[Stage]) -> list[list[Turns]]:
    """The plans of each stage, priced; engines are of one model on one GPU type and domain."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, stage in enumerate(stages):
        engine = stage.engine
        key = (engine.formats.precision, engine.partition.tp, engine.constants)
        alike.setdefault(key, []).append(index)
    found: list[list[Turns]] = [[] for _ in stages]
    for indices in alike.values():
        most: dict[int, int] = {}
        plans: dict[int, Plan] = {}
        for index in indices:
            for plan, count in zip(stages[index].plans, stages[index].counts, strict=True):
                plans[id(plan)], most[id(plan)] = plan, max(count, most.get(id(plan), 0))
        layers, heads = _without_experts(Stage(stages[indices[0]].engine, list(plans.values()), list(most.values())))
        hops: list[Hops] = [{} for _ in plans]
        shared = dict(zip(plans, zip(layers, heads, hops, strict=True), strict=True))
        for index in indices:
            stage = stages[index]
            found[index] = _turns(stage, *zip(*(shared[id(plan)] for plan in stage.plans), strict=True))
    return found


def _without_experts(stage: Stage) -> tuple[list[Array], list[Array]]:
    """Times of attention and dense layers, and of the head, of each plan, shape (steps, batches)."""
    engine = stage.engine
    step = Step(*stage.joined([plan.stacked for plan in stage.plans]))
    work = layers_work(engine, step)
    layers = np.asarray(price(engine.gpu, engine.constants, work))
    head = np.asarray(price(engine.gpu, engine.constants, head_work(engine, step.heads_out)))
    steps = [len(plan.tokens) for plan in stage.plans]
    ends = np.cumsum([many * count for many, count in zip(steps, stage.counts, strict=True)])[:-1]
    each, last = (
        [part.reshape(many, -1) for part, many in zip(np.split(times, ends), steps, strict=True)]
        for times in (layers, head)
    )
    return each, last


def _turns(stage: Stage, layers: Sequence[Array], heads: Sequence[Array], hops: Sequence[Hops]) -> list[Turns]:
    """The plans of a stage, priced, from the times of all but the experts."""
    engine, each = stage.engine, stage.joined(layers)
    model = engine.model
    if model.is_moe:
        tokens = stage.joined([plan.tokens for plan in stage.plans])
        prompts = stage.joined([plan.stacked[0] for plan in stage.plans])
        work = expert_work(engine, tokens, prompts)
        each = each + model.moe_layers * experts_ms(engine, work)
    total = each + stage.joined(heads) + engine.constants.step_ms
    time = StepTime(np.asarray(total), np.asarray(each / model.layers))
    return split(engine, stage.plans, stage.counts, time, hops)
