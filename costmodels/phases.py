"""Latencies of the three roles of an engine, over batches per attention-DP rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodels.layers import Engine, Step, StepTime, step_time
from costmodels.operating_curve import Role
from costmodels.operators import HIDDEN_BYTES, Array, Number, send_ms


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
    ttft_ms
        TTFT of co-located; None elsewhere.
    """

    latency_ms: Array
    requests_per_s: Array
    ttft_ms: Array | None = None


def stage_ms(engine: Engine, time: StepTime, tokens: Number) -> Number:
    """
    Time after which a full pipeline takes the next micro-batch.

    The head's share is balanced over the stages; whole layers are not: the fullest stage has ``ceil(layers / pp)``.
    """
    cut = engine.partition
    if cut.pp == 1:
        return time.total
    fullest = -(-engine.model.layers // cut.pp) * time.layer
    return np.maximum(time.total / cut.pp, fullest) + _send_ms(engine, tokens)


def _send_ms(engine: Engine, tokens: Number) -> Number:
    crosses = engine.partition.gpus > engine.domain_gpus
    return send_ms(engine.gpu, crosses, tokens * engine.model.d_model * HIDDEN_BYTES)


def _pairs(chunk: float, earlier: float, window: int) -> tuple[float, float]:
    """Query-key pairs of a chunk after ``earlier`` tokens: under the causal mask, and in a sliding window."""
    full = chunk * earlier + chunk * chunk / 2
    if not window:
        return full, 0.0
    ramp = max(0.0, min(chunk, window - earlier))
    return full, ramp * (earlier + ramp / 2) + (chunk - ramp) * window


@dataclass(frozen=True)
class Turns:
    """
    The steps that a role is made of, priced without regard to PP: engines that differ in PP alone share them.

    Parameters
    ----------
    batch
        Sequences per attention-DP rank and micro-batch.
    main
        The prefill or decode step; of co-located, the step with the fewer prompts.
    tokens
        Tokens of it.
    busy, first
        Co-located only: the step with one prompt more, and the step in which a prompt is taken in; with their tokens.
    load
        Co-located only: prompts (or chunks) of other sequences per step.
    """

    batch: Array
    main: StepTime
    tokens: Array
    busy: tuple[StepTime, Array] | None = None
    first: tuple[StepTime, Array] | None = None
    load: Array | None = None

    def cut(self, count: int) -> Turns:
        """The first batches only."""
        if self.busy is None or self.first is None or self.load is None:
            return Turns(self.batch[:count], self.main.first(count), self.tokens[:count])
        busy, first = ((pair[0].first(count), pair[1][:count]) for pair in (self.busy, self.first))
        return Turns(self.batch[:count], self.main.first(count), self.tokens[:count], busy, first, self.load[:count])


def prefill_turns(engine: Engine, batch: Array, isl: int) -> Turns:
    """The step of a prefill engine: whole prompts of ``isl`` tokens, ``batch`` of them per attention-DP rank."""
    pairs, windowed = _pairs(isl, 0, engine.model.window)
    tokens = batch * isl
    step = Step(tokens, batch * pairs, tokens, batch * windowed, batch * 0.0, 1.0, batch)
    return Turns(batch, step_time(engine, step), tokens)


def prefill(engine: Engine, turns: Turns) -> Steady:
    """
    Prefill of whole prompts.

    Parameters
    ----------
    engine
        The engine.
    turns
        Of :func:`prefill_turns`.
    """
    cut = engine.partition
    hops = (cut.pp - 1) * _send_ms(engine, turns.tokens) if cut.pp > 1 else 0.0
    rate = 1000 * turns.batch * cut.attention_dp / stage_ms(engine, turns.main, turns.tokens)
    return Steady(np.asarray(turns.main.total + hops), np.asarray(rate))


def decode_turns(engine: Engine, batch: Array, isl: int, osl: int) -> Turns:
    """The step of a decode engine: every sequence at the mean context ISL + OSL/2."""
    none = batch * 0.0
    return Turns(batch, step_time(engine, Step(none, none, none, none, batch, isl + osl / 2, batch)), batch)


def decode(engine: Engine, turns: Turns, osl: int) -> Steady:
    """
    Decode: a token takes one turn through all stages, each busy with one micro-batch.

    Parameters
    ----------
    engine
        The engine.
    turns
        Of :func:`decode_turns`.
    osl
        Output tokens, at least 2.
    """
    cut = engine.partition
    turn = cut.pp * stage_ms(engine, turns.main, turns.tokens)
    rate = 1000 * cut.pp * cut.attention_dp * turns.batch / (turn * (osl - 1))
    return Steady(np.asarray(turn), np.asarray(rate))


def prompt_steps(isl: int, chunk_tokens: int) -> tuple[int, int]:
    """Steps that one prompt takes, and prompts that fit into one step, at a number of prompt tokens per mixed step."""
    return -(-isl // chunk_tokens), max(1, chunk_tokens // isl)


def largest_busy_batch(isl: int, osl: int, chunk_tokens: int) -> int:
    """
    Largest batch per rank whose prompts still find room without waiting.

    During the ``osl - 1`` decode steps of a sequence the others need ``(batch - 1) * steps`` mixed steps, of which
    each has room for ``prompts``. Beyond that sequences only wait: TTFT grows, the rate does not.
    """
    steps, prompts = prompt_steps(isl, chunk_tokens)
    return 1 + (osl - 1) * prompts // steps


def colocated_turns(engine: Engine, batch: Array, isl: int, osl: int, chunk_tokens: int) -> Turns:
    """
    The steps of closed-loop in-flight batching, prompts spread evenly over them.

    A sequence spends its own prompt steps, then ``osl - 1`` decode steps that the prompts of the other ``batch - 1``
    sequences interfere with: ``load = (batch - 1) * steps / (osl - 1)`` prompts (or chunks) in a step on average.

    Parameters
    ----------
    engine
        The engine.
    batch
        Sequences per attention-DP rank and micro-batch, at most :func:`largest_busy_batch`.
    isl, osl
        Input and output tokens; OSL at least 2.
    chunk_tokens
        Prompt tokens per mixed step: whole prompts from ISL on, piggybacking below.
    """
    steps, _ = prompt_steps(isl, chunk_tokens)
    share = isl / steps
    pairs, windowed = np.mean([_pairs(share, turn * share, engine.model.window) for turn in range(steps)], axis=0)
    read = share * (steps + 1) / 2
    context = isl + osl / 2

    def turn(prompts: Array, decodes: Array) -> tuple[StepTime, Array]:
        outputs = decodes + prompts / steps
        work = Step(prompts * share, prompts * pairs, prompts * read, prompts * windowed, decodes, context, outputs)
        return step_time(engine, work), np.asarray(work.tokens)

    load = (batch - 1) * steps / (osl - 1)
    taken = np.maximum(1.0, np.ceil(load))
    # sequences in prompt steps do not decode; at least the observed one does
    decodes = np.maximum(1.0, batch - load)
    main, tokens = turn(np.floor(load), decodes)
    return Turns(batch, main, tokens, turn(np.ceil(load), decodes), turn(taken, np.maximum(0.0, batch - taken)), load)


def colocated(engine: Engine, turns: Turns, isl: int, osl: int, chunk_tokens: int) -> Steady:
    """
    Closed-loop in-flight batching: a finished sequence is replaced at once.

    TPOT is the mean of the steps with ``floor(load)`` and ``ceil(load)`` prompts, TTFT the prompt's own steps. The rate
    is ``batch * pp / (TTFT + (osl - 1) TPOT)``: Little's law, exactly.

    Parameters
    ----------
    engine
        The engine.
    turns
        Of :func:`colocated_turns`, with the same tokens.
    isl, osl, chunk_tokens
        As there.
    """
    cut = engine.partition
    if turns.busy is None or turns.first is None or turns.load is None:
        raise ValueError("co-located engines need the turns of colocated_turns")
    plain = cut.pp * stage_ms(engine, turns.main, turns.tokens)
    busy = cut.pp * stage_ms(engine, *turns.busy)
    tpot = plain + (turns.load - np.floor(turns.load)) * (busy - plain)
    ttft = prompt_steps(isl, chunk_tokens)[0] * cut.pp * stage_ms(engine, *turns.first)
    rate = 1000 * turns.batch * cut.attention_dp * cut.pp / (ttft + (osl - 1) * tpot)
    return Steady(np.asarray(tpot), np.asarray(rate), np.asarray(ttft))


def steady(engine: Engine, role: Role, turns: Turns, isl: int, osl: int, chunk_tokens: int) -> Steady:
    """The steady state of any role; see :func:`prefill`, :func:`decode` and :func:`colocated`."""
    if role == "prefill":
        return prefill(engine, turns)
    return decode(engine, turns, osl) if role == "decode" else colocated(engine, turns, isl, osl, chunk_tokens)


def role_turns(engine: Engine, role: Role, batch: Array, isl: int, osl: int, chunk_tokens: int) -> Turns:
    """The steps of any role; see :func:`prefill_turns`, :func:`decode_turns` and :func:`colocated_turns`."""
    if role == "prefill":
        return prefill_turns(engine, batch, isl)
    if role == "decode":
        return decode_turns(engine, batch, isl, osl)
    return colocated_turns(engine, batch, isl, osl, chunk_tokens)
