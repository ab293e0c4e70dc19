"""The steps that a role is made of: what each of them holds, over batches per attention-DP rank."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from costmodels.engine import Engine
from costmodels.layers import Step
from costmodels.operating_curve import Role
from costmodels.operators import Array
from costmodels.options import EngineOptions
from costmodels.steps import (
    LONGEST_SHARE,
    Prompt,
    chunks_of,
    last_chunk,
    mean_chunk,
    reach,
    reserved_tokens,
    whole_prompt,
)
from costmodels.traffic import Traffic


@dataclass(frozen=True)
class Demand:
    """
    What is asked of an engine.

    Parameters
    ----------
    role
        Prefill, decode or co-located.
    traffic
        Lengths of the requests.
    options
        What else.
    chunk_tokens
        Prompt tokens per step. Co-located: whole prompts from the mean prompt on, piggybacking below. Prefill: 0 for
        whole prompts, else chunks that flow through the pipeline stages.
    """

    role: Role
    traffic: Traffic
    options: EngineOptions
    chunk_tokens: int = 0

    @cached_property
    def computed(self) -> float:
        """Mean prompt tokens that no prefix cache holds."""
        return whole_prompt(self.traffic, 0, self.options.prefix_hit_rate).tokens

    @property
    def is_cut(self) -> bool:
        """Whether prompts are cut into chunks."""
        return 0 < self.chunk_tokens < self.computed

    @cached_property
    def steps(self) -> float:
        """Steps that a prompt takes, mean over the traffic."""
        return self.steps_of(self.traffic)

    def steps_of(self, traffic: Traffic) -> float:
        """Steps that prompts of some traffic take on average."""
        return chunks_of(traffic, self.options.prefix_hit_rate, self.chunk_tokens) if self.is_cut else 1.0

    @property
    def prompts(self) -> int:
        """Prompts that fit into one step."""
        return max(1, int(self.chunk_tokens // self.computed)) if self.chunk_tokens else 1

    @cached_property
    def reserved(self) -> int:
        """KV cache kept free per sequence, in tokens."""
        return reserved_tokens(self.traffic, self.options, self.role == "prefill")

    @cached_property
    def decode_steps(self) -> float:
        """Decode steps of a mean request: the prefill yields the first token, a step ``accepted_tokens``."""
        return (float(self.traffic.osl) - 1) / float(self.options.accepted_tokens)

    @cached_property
    def stated(self) -> Traffic | None:
        """The prompt that TTFT is stated of, where it is not the mean one."""
        percentile = self.options.ttft_percentile
        return None if percentile is None else Traffic.constant(self.traffic.isl_at(percentile), 1)

    def largest_busy_batch(self) -> int:
        """
        Largest co-located batch per rank whose prompts still find room without waiting.

        During the decode steps of a sequence the others need ``(batch - 1) * steps`` mixed steps, of which each has
        room for ``prompts``. Beyond that sequences only wait: TTFT grows, the rate does not.
        """
        return 1 + int(self.decode_steps * self.prompts // self.steps)


@dataclass(frozen=True)
class Plan:
    """
    The steps that a role is made of, without regard to PP: engines that differ in PP alone share them.

    Parameters
    ----------
    batch
        Sequences per attention-DP rank and micro-batch.
    main
        The prefill or decode step (chunks: the mean one); of co-located, the step with the fewer prompts.
    busy
        Co-located: the step with one prompt more.
    own
        Co-located: the step in which a mean prompt (or its mean chunk) is taken in.
    first
        The step that TTFT is stated of, where it is not the main one (co-located: its own).
    last
        Chunks that flow through stages: the last one of the prompt that TTFT is stated of.
    longest
        Co-located: the busy step with the longest prompts.
    load
        Co-located: prompts (or chunks) of other sequences per step.
    first_steps
        Steps that the prompt takes that TTFT is stated of.
    drafts
        Tokens that each step drafts one after another.
    """

    batch: Array
    main: Step
    busy: Step | None = None
    own: Step | None = None
    first: Step | None = None
    last: Step | None = None
    longest: Step | None = None
    load: Array | None = None
    first_steps: float = 1.0
    drafts: int = 0

    @cached_property
    def steps(self) -> dict[str, Step]:
        """Those there are, by name."""
        named = {name: getattr(self, name) for name in ("main", "busy", "own", "first", "last", "longest")}
        return {name: step for name, step in named.items() if step is not None}

    @cached_property
    def rows(self) -> dict[str, int]:
        """Where each step stands in ``stacked``; a step of two names stands there once."""
        once: dict[int, int] = {}
        return {name: once.setdefault(id(step), len(once)) for name, step in self.steps.items()}

    @cached_property
    def stacked(self) -> Array:
        """The steps, shape (fields of a step, steps, batches)."""
        found = np.empty((len(fields(Step)), max(self.rows.values()) + 1, len(self.batch)))
        for name, row in self.rows.items():
            for place, one in enumerate(fields(Step)):
                found[place, row] = getattr(self.steps[name], one.name)
        return found

    @cached_property
    def tokens(self) -> Array:
        """Tokens per attention-DP rank, shape (steps, batches)."""
        return np.asarray(Step(*self.stacked).tokens)


def step_of(engine: Engine, demand: Demand, batch: Array) -> Step:
    """The step of a prefill engine with whole prompts, or of a decode engine."""
    if demand.role == "prefill":
        return whole_prompt(demand.traffic, reach(engine.model), demand.options.prefix_hit_rate).step(batch, batch)
    none, queries = batch * 0.0, 1.0 + demand.options.draft_tokens
    return Step(none, none, none, none, none, batch, queries, demand.traffic.decode_context, batch * queries)


def plan_of(engine: Engine, demand: Demand, batch: Array) -> Plan:
    """The steps of any role, over batches per attention-DP rank."""
    if demand.role == "prefill":
        return _chunks(engine, demand, batch) if demand.is_cut else _prompts(engine, demand, batch)
    if demand.role == "decode":
        # every sequence at the mean context of a generated token, with its drafts
        return Plan(batch, step_of(engine, demand, batch), drafts=demand.options.draft_tokens)
    return _mixed(engine, demand, batch)


def _prompts(engine: Engine, demand: Demand, batch: Array) -> Plan:
    """Whole prompts; TTFT of a longer one: in a batch with mean ones."""
    main = step_of(engine, demand, batch)
    if demand.stated is None:
        return Plan(batch, main)
    long = whole_prompt(demand.stated, reach(engine.model), demand.options.prefix_hit_rate)
    return Plan(batch, main, first=_added(step_of(engine, demand, batch - 1), long.step(batch / batch, 1.0)))


def _chunks(engine: Engine, demand: Demand, batch: Array) -> Plan:
    """The mean and the last of the chunks of prompts."""
    mean, last = _cut(engine, demand, demand.traffic)
    main, end = mean.step(batch, batch / demand.steps), last.step(batch, batch)
    if demand.stated is None:
        return Plan(batch, main, last=end, first_steps=demand.steps)
    steps = demand.steps_of(demand.stated)
    long, long_end = _cut(engine, demand, demand.stated)
    one = batch / batch
    return Plan(
        batch, main,
        first=_added(mean.step(batch - 1, (batch - 1) / demand.steps), long.step(one, 1 / steps)),
        last=_added(last.step(batch - 1, batch - 1), long_end.step(one, 1.0)),
        first_steps=steps,
    )  # fmt: skip


def _cut(engine: Engine, demand: Demand, traffic: Traffic) -> tuple[Prompt, Prompt]:
    """The mean and the last chunk of prompts."""
    options = demand.options
    how = (traffic, options.prefix_hit_rate, demand.chunk_tokens, reach(engine.model), options.cache_up_projection)
    return mean_chunk(*how), last_chunk(*how)


def _added(one: Step, other: Step) -> Step:
    """Two sets of prompts in one step, with the decodes of the first."""
    return replace(
        one,
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        prompt_pairs=one.prompt_pairs + other.prompt_pairs,
        prompt_context=one.prompt_context + other.prompt_context,
        projected=one.projected + other.projected,
        windowed_pairs=one.windowed_pairs + other.windowed_pairs,
        heads_out=one.heads_out + other.heads_out,
    )


def _mixed(engine: Engine, demand: Demand, batch: Array) -> Plan:
    """
    The steps of closed-loop in-flight batching, prompts spread evenly over them.

    A sequence spends its own prompt steps, then decode steps that the prompts of the other ``batch - 1`` sequences
    interfere with: ``load = (batch - 1) * steps / decode_steps`` prompts (or chunks) in a step on average.
    """
    options, steps = demand.options, demand.steps
    long = Traffic.constant(demand.traffic.isl_at(LONGEST_SHARE), 1)
    if demand.is_cut:
        prompt, longest = _cut(engine, demand, demand.traffic)[0], _cut(engine, demand, long)[1]
    else:
        back, hit = reach(engine.model), options.prefix_hit_rate
        prompt, longest = (whole_prompt(traffic, back, hit) for traffic in (demand.traffic, long))

    def step(kind: Prompt, prompts: Array, decodes: Array) -> Step:
        queries = 1.0 + options.draft_tokens
        rows = decodes * queries + prompts / steps
        return kind.step(prompts, rows, decodes, demand.traffic.decode_context, queries)

    load = (batch - 1) * steps / demand.decode_steps
    taken = np.maximum(1.0, np.ceil(load))
    # sequences in prompt steps do not decode; at least the observed one does
    decodes, others = np.maximum(1.0, batch - load), np.maximum(0.0, batch - taken)
    first, first_steps = None, steps
    if demand.stated is not None:
        first_steps = demand.steps_of(demand.stated)
        stated = _cut(engine, demand, demand.stated)[0] if demand.is_cut else whole_prompt(demand.stated, back, hit)
        first = _added(step(prompt, taken - 1, others), stated.step(taken / taken, 1 / first_steps))
    busy = step(prompt, np.ceil(load), decodes)
    return Plan(
        batch, step(prompt, np.floor(load), decodes), busy=busy, own=step(prompt, taken, others), first=first,
        longest=busy if longest == prompt else step(longest, np.ceil(load), decodes), load=load,
        first_steps=first_steps, drafts=options.draft_tokens,
    )  # fmt: skip
