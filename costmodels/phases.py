"""Latencies of the three roles of an engine, over batches per attention-DP rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodels.layers import Engine, Step, StepTime, step_times
from costmodels.operators import HIDDEN_BYTES, Array, Number, operator_ms, send
from costmodels.options import EngineOptions
from costmodels.plans import Demand, Plan, plan_of, step_of

__all__ = ["Demand", "Steady", "Timed", "Turns", "priced", "steady", "step_of", "turns_of"]


@dataclass(frozen=True)
class Steady:
    """
    Steady state of one role, per replica.

    Parameters
    ----------
    latency_ms
        TTFT of prefill; TPOT of decode and co-located.
    requests_per_s
        Completed requests per second.
    ttft_ms, itl_ms
        Co-located: TTFT; decode and co-located: the longest gap between two steps. None elsewhere.
    """

    latency_ms: Array
    requests_per_s: Array
    ttft_ms: Array | None = None
    itl_ms: Array | None = None


@dataclass(frozen=True)
class Timed:
    """
    A step, priced.

    Parameters
    ----------
    time
        Its times.
    tokens
        Its tokens per attention-DP rank.
    """

    time: StepTime
    tokens: Array

    def cut(self, count: int) -> Timed:
        """Of the first batches only."""
        return Timed(self.time.part(0, count), self.tokens[:count])


@dataclass(frozen=True)
class Turns:
    """
    The steps of a role, priced as if there was one pipeline stage.

    Parameters
    ----------
    plan
        The steps.
    timed
        Their times, by name.
    count
        How many of the batches are looked at, the first ones.
    """

    plan: Plan
    timed: dict[str, Timed]
    count: int

    def cut(self, count: int) -> Turns:
        """The first batches only."""
        return Turns(self.plan, self.timed, count)

    @property
    def batch(self) -> Array:
        """Sequences per attention-DP rank and micro-batch."""
        return self.plan.batch[: self.count]

    def of(self, *names: str) -> Timed:
        """The first of the named steps that there is."""
        return next(self.timed[name] for name in names if name in self.timed).cut(self.count)


def turns_of(engine: Engine, demand: Demand, batch: Array) -> Turns:
    """The steps of any role, over batches per attention-DP rank, priced."""
    return priced(engine, [plan_of(engine, demand, batch)])[0]


def priced(engine: Engine, plans: Sequence[Plan]) -> list[Turns]:
    """Prices plans of one engine together, whatever their roles."""
    steps = [step for plan in plans for step in plan.steps.values()]
    times = iter(zip(steps, step_times(engine, steps), strict=True))
    found = []
    for plan in plans:
        timed = {name: Timed(*_drafted(engine, plan, *next(times))) for name in plan.steps}
        found.append(Turns(plan, timed, len(plan.batch)))
    return found


def _drafted(engine: Engine, plan: Plan, step: Step, time: StepTime) -> tuple[StepTime, Array]:
    """
    Adds the drafting of speculative decoding to a step: a layer and the head, once for each draft. Gives tokens too.

    Taken as a mean layer of the step and its share of the head: drafts are few tokens, so weights are read either way.
    """
    if plan.drafts:
        head = time.total - engine.model.layers * time.layer
        time = StepTime(np.asarray(time.total + plan.drafts * (time.layer + head)), time.layer)
    return time, np.asarray(step.tokens)


def steady(engine: Engine, demand: Demand, turns: Turns) -> Steady:
    """The steady state of any role, from its steps."""
    if demand.role == "prefill":
        return _prefill(engine, demand, turns)
    return _decode(engine, demand, turns) if demand.role == "decode" else _colocated(engine, demand, turns)


def _stage_ms(engine: Engine, options: EngineOptions, turn: Timed) -> Number:
    """
    Time after which a full pipeline takes the next micro-batch.

    The head's share is balanced over the stages; whole layers are not: the fullest stage has ``ceil(layers / pp)``.
    """
    pp, time = engine.partition.pp, turn.time
    if pp == 1:
        return time.total
    fullest = -(-engine.model.layers // pp) * time.layer
    reached = float(dict(options.pp_efficiency).get(pp, 1))
    return (np.maximum(time.total / pp, fullest) + _send_ms(engine, turn.tokens)) / reached


def _send_ms(engine: Engine, tokens: Number) -> Number:
    crosses = engine.partition.gpus > engine.domain_gpus
    hop = send(crosses, tokens * engine.model.d_model * HIDDEN_BYTES)
    return operator_ms(engine.gpu, engine.constants, hop)


def _prefill(engine: Engine, demand: Demand, turns: Turns) -> Steady:
    """
    Prefill of whole prompts, or of chunks that follow one another through the stages.

    Whole: every stage passes the whole batch on. Chunks: a stage takes the next chunk while the one before is in the
    next stage, so the first token waits for all chunks in one stage and for the last one in the others.
    """
    cut, options = engine.partition, demand.options
    rate = 1000 * turns.batch * cut.attention_dp / (_stage_ms(engine, options, turns.of("main")) * demand.steps)
    stated = turns.of("first", "main")
    if demand.is_cut:
        fill = (cut.pp - 1) * _stage_ms(engine, options, turns.of("last"))
        latency = turns.plan.first_steps * _stage_ms(engine, options, stated) + fill
        return Steady(np.asarray(latency), np.asarray(rate))
    hops = (cut.pp - 1) * _send_ms(engine, stated.tokens) if cut.pp > 1 else 0.0
    return Steady(np.asarray(stated.time.total + hops), np.asarray(rate))


def _decode(engine: Engine, demand: Demand, turns: Turns) -> Steady:
    """A step takes one turn through all stages, each busy with one micro-batch; it yields the accepted tokens."""
    cut, options = engine.partition, demand.options
    turn = cut.pp * _stage_ms(engine, options, turns.of("main"))
    rate = 1000 * cut.pp * cut.attention_dp * turns.batch / (turn * demand.decode_steps)
    return Steady(np.asarray(turn / float(options.accepted_tokens)), np.asarray(rate), itl_ms=np.asarray(turn))


def _colocated(engine: Engine, demand: Demand, turns: Turns) -> Steady:
    """
    Closed-loop in-flight batching: a finished sequence is replaced at once.

    TPOT is the mean of the steps with ``floor(load)`` and ``ceil(load)`` prompts, TTFT the prompt's own steps. The rate
    is ``batch * pp / (TTFT + decode_steps * step)`` with the TTFT of a mean prompt: Little's law, exactly.
    """
    cut, options = engine.partition, demand.options
    if turns.plan.load is None:
        raise ValueError("co-located engines need the turns of co-located steps")

    def turn(*names: str) -> Number:
        return cut.pp * _stage_ms(engine, options, turns.of(*names))

    load = turns.plan.load[: turns.count]
    plain, busy = turn("main"), turn("busy")
    step = plain + (load - np.floor(load)) * (busy - plain)
    own = demand.steps * turn("own")
    rate = 1000 * turns.batch * cut.attention_dp * cut.pp / (own + demand.decode_steps * step)
    ttft = turns.plan.first_steps * turn("first", "own")
    gap = np.maximum(busy, turn("longest"))
    tpot = step / float(options.accepted_tokens)
    return Steady(np.asarray(tpot), np.asarray(rate), np.asarray(ttft), np.asarray(gap))
