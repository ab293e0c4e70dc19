"""Latencies of the three roles of an engine, over batches per attention-DP rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from costmodels.engine import Engine
from costmodels.layers import Step, StepTime, step_time
from costmodels.mixture import sent
from costmodels.operators import Array, operator_ms
from costmodels.plans import Demand, Plan, plan_of, step_of

__all__ = ["Demand", "Steady", "Turns", "priced", "steady", "step_of", "turns_of"]


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


Hops = dict[tuple[int, bool], Array]
"""Times by row of a plan, and whether a hop leaves the domain."""


@dataclass(frozen=True)
class Turns:
    """
    The steps of a role, priced as if there was one pipeline stage.

    Parameters
    ----------
    plan
        The steps.
    times
        Their times, by their row in the plan.
    count
        How many of the batches are looked at, the first ones.
    hops
        Times to the next pipeline stage at all batches of the plan, by row and whether that lies beyond the domain;
        found when they are first asked for. Engines of the same constants may share them.
    """

    plan: Plan
    times: list[StepTime]
    count: int
    hops: Hops = field(default_factory=dict)

    def cut(self, count: int) -> Turns:
        """The first batches only."""
        return Turns(self.plan, self.times, count, self.hops)

    @property
    def batch(self) -> Array:
        """Sequences per attention-DP rank and micro-batch."""
        return self.plan.batch[: self.count]

    def row(self, *names: str) -> int:
        """The first of the named steps that there is."""
        return next(self.plan.rows[name] for name in names if name in self.plan.rows)


def turns_of(engine: Engine, demand: Demand, batch: Array) -> Turns:
    """The steps of any role, over batches per attention-DP rank, priced."""
    return priced(engine, [plan_of(engine, demand, batch)])[0]


def priced(engine: Engine, plans: Sequence[Plan]) -> list[Turns]:
    """Prices plans of one engine together, whatever their roles: arrays of few long ones are faster."""
    whole = Step(*np.concatenate([plan.stacked.reshape(len(plan.stacked), -1) for plan in plans], axis=1))
    counts = [len(plan.batch) for plan in plans]
    return split(engine, plans, counts, step_time(engine, whole), [{} for _ in plans])


def split(
    engine: Engine, plans: Sequence[Plan], counts: Sequence[int], time: StepTime, hops: Sequence[Hops]
) -> list[Turns]:
    """
    The turns of plans whose steps were priced together.

    Parameters
    ----------
    engine
        The engine.
    plans, counts
        The plans, and how many of the batches of each were priced, the first ones.
    time
        Times of all steps of all plans, one after another.
    hops
        What is known of the times to the next pipeline stage of each plan.
    """
    found, start = [], 0
    for plan, count, known in zip(plans, counts, hops, strict=True):
        times = []
        for _ in range(len(plan.tokens)):
            stop = start + count
            times.append(_drafted(engine, plan, time.part(start, stop)))
            start = stop
        found.append(Turns(plan, times, count, known))
    return found


def _drafted(engine: Engine, plan: Plan, time: StepTime) -> StepTime:
    """
    Adds the drafting of speculative decoding to a step: a layer and the head, once for each draft.

    Taken as a mean layer of the step and its share of the head: drafts are few tokens, so weights are read either way.
    """
    if not plan.drafts:
        return time
    head = time.total - engine.model.layers * time.layer
    return StepTime(np.asarray(time.total + plan.drafts * (time.layer + head)), time.layer)


def steady(engine: Engine, demand: Demand, turns: Turns) -> Steady:
    """The steady state of any role, from its steps."""
    return steadies([engine], demand, turns, [turns.count])[0]


def steadies(engines: Sequence[Engine], demand: Demand, turns: Turns, counts: Sequence[int]) -> list[Steady]:
    """
    The steady states of engines that differ in their number of pipeline stages alone.

    Parameters
    ----------
    engines
        The engines.
    demand
        What is asked of them.
    turns
        Their steps, at as many batches as any of them looks at.
    counts
        How many of the batches each of them looks at, the first ones.
    """
    pipes = _Pipes(engines, demand, turns)
    if demand.role == "prefill":
        found = _prefill(pipes)
    else:
        found = _decode(pipes) if demand.role == "decode" else _colocated(pipes)
    series = (found.latency_ms, found.requests_per_s, found.ttft_ms, found.itl_ms)
    return [
        Steady(*(None if one is None else one[row, :count] for one in series))  # type: ignore[arg-type]
        for row, count in enumerate(counts)
    ]


class _Pipes:
    """Engines that differ in PP; ``pp`` is a column, one row an engine."""

    def __init__(self, engines: Sequence[Engine], demand: Demand, turns: Turns) -> None:
        self.demand, self.turns, self.engine = demand, turns, engines[0]
        layers, domain = self.engine.model.layers, self.engine.domain_gpus
        depths = np.array([engine.partition.pp for engine in engines])[:, None]
        self.pp, self._paced = depths.astype(np.float64), (-(-layers // depths) * depths).astype(np.float64)
        self.sequences = turns.batch * self.engine.partition.attention_dp
        beyond, piped = [[engine.partition.gpus > domain] for engine in engines], depths > 1
        self._hopping = [(crosses, piped & (np.array(beyond) == crosses)) for crosses in (False, True)]
        self._hopping = [(crosses, rows) for crosses, rows in self._hopping if rows.any()]

    def total_ms(self, step: int) -> Array:
        """Time of a step through all layers, without hops."""
        return np.asarray(self.turns.times[step].total[: self.turns.count])

    def send(self, times: Array, step: int, hops: Array) -> None:
        """Adds to times of each engine that of some hops of a step's tokens to the next stage."""
        engine, turns = self.engine, self.turns
        for crosses, rows in self._hopping:
            if (step, crosses) not in turns.hops:
                hop = sent(engine, crosses, turns.plan.tokens[step])
                turns.hops[step, crosses] = np.asarray(operator_ms(engine.gpu, engine.constants, hop))
            times += (rows * hops) * turns.hops[step, crosses][: turns.count]

    def turn_ms(self, step: int) -> Array:
        """
        Time in which a full pipeline takes a micro-batch from each stage to the next: PP times that of a stage.

        The head's share is balanced over the stages; whole layers are not: the fullest stage has ``ceil(layers / pp)``.
        """
        turn: Array = self._paced * self.turns.times[step].layer[: self.turns.count]
        np.maximum(turn, self.total_ms(step), out=turn)
        self.send(turn, step, self.pp)
        for pp, reached in dict(self.demand.options.pp_efficiency).items():
            if pp > 1:
                turn[self.pp[:, 0] == pp] /= float(reached)
        return turn

    def token_ms(self, step_ms: Array) -> Array:
        """Time of an output token, from that of a step."""
        accepted = self.demand.options.accepted_tokens
        return step_ms if accepted == 1 else np.asarray(step_ms / float(accepted))


def _prefill(pipes: _Pipes) -> Steady:
    """
    Prefill of whole prompts, or of chunks that follow one another through the stages.

    Whole: every stage passes the whole batch on. Chunks: a stage takes the next chunk while the one before is in the
    next stage, so the first token waits for all chunks in one stage and for the last one in the others.
    """
    demand, turns = pipes.demand, pipes.turns
    main, stated = turns.row("main"), turns.row("first", "main")
    turn = pipes.turn_ms(main)
    rate = 1000 * pipes.pp * pipes.sequences / (turn * demand.steps)
    if demand.is_cut:
        fill = (pipes.pp - 1) / pipes.pp * pipes.turn_ms(turns.row("last"))
        first = turn if stated == main else pipes.turn_ms(stated)
        return Steady(turns.plan.first_steps / pipes.pp * first + fill, rate)
    latency = np.repeat(pipes.total_ms(stated)[None], len(pipes.pp), axis=0)
    pipes.send(latency, stated, pipes.pp - 1)
    return Steady(latency, rate)


def _decode(pipes: _Pipes) -> Steady:
    """A step takes one turn through all stages, each busy with one micro-batch; it yields the accepted tokens."""
    turn = pipes.turn_ms(pipes.turns.row("main"))
    rate = 1000 / pipes.demand.decode_steps * pipes.pp * pipes.sequences / turn
    return Steady(pipes.token_ms(turn), rate, itl_ms=turn)


def _colocated(pipes: _Pipes) -> Steady:
    """
    Closed-loop in-flight batching: a finished sequence is replaced at once.

    TPOT is the mean of the steps with ``floor(load)`` and ``ceil(load)`` prompts, TTFT the prompt's own steps. The rate
    is ``batch * pp / (TTFT + decode_steps * step)`` with the TTFT of a mean prompt: Little's law, exactly.
    """
    demand, turns = pipes.demand, pipes.turns
    if turns.plan.load is None:
        raise ValueError("co-located engines need the turns of co-located steps")
    load = turns.plan.load[: turns.count]
    names = ("main",), ("busy",), ("own",), ("first", "own"), ("longest",)
    rows = [turns.row(*either) for either in names]
    turn = {row: pipes.turn_ms(row) for row in set(rows)}
    plain, busy, own, first, longest = (turn[row] for row in rows)
    step = busy - plain
    step *= load - np.floor(load)
    step += plain
    inside = own * demand.steps
    ttft = inside if first is own else turns.plan.first_steps * first
    rate = 1000 * pipes.pp * pipes.sequences / (inside + demand.decode_steps * step)
    return Steady(pipes.token_ms(step), rate, ttft, busy if longest is busy else np.maximum(busy, longest))
