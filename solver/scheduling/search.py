"""The search for a schedule: the static plan, a back end's, then branch and bound until the gap is closed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from solver.backends.base import BackendError, Controls
from solver.backends.mathopt import MathOpt
from solver.scheduling.branch import Tree
from solver.scheduling.draft import ScheduleModel
from solver.scheduling.lives import Leg, lives
from solver.scheduling.model import build
from solver.scheduling.plan import Plan
from solver.scheduling.problem import Problem

SHARE_OF_BACKEND = 0.5
"""Share of the time that is left which the back end may take; the rest is for the proof."""
LIKELY = 0.1
"""Share of the GPUs of its role that a column has in the relaxation, from which on it is likely to be needed."""
MANY_VARIABLES = 200
"""Variables from which on a model with few columns is asked first."""


@dataclass(frozen=True)
class Candidate:
    """
    A plan with a place for every replica.

    Parameters
    ----------
    plan, legs
        The plan, and the lives of its replicas.
    migrations
        Legs that began with a move.
    value
        The objective, moves included.
    """

    plan: Plan
    legs: tuple[Leg, ...]
    migrations: int
    value: Fraction


@dataclass(frozen=True)
class Found:
    """
    What the search found.

    Parameters
    ----------
    best
        The best plan, or None.
    bound
        Proved bound on the objective, in its unit; None without one.
    is_infeasible
        Whether it is proved that no plan meets every demand.
    nodes
        Relaxations solved.
    method
        Who found the best plan.
    is_stopped, is_interrupted
        Whether a limit or Ctrl-C ended the search, and whether it was Ctrl-C.
    model_hash
        Hash of the model that the bound is proved on.
    size
        Variables and rows of the model.
    """

    best: Candidate | None
    bound: Fraction | None
    is_infeasible: bool
    nodes: int
    method: str
    is_stopped: bool
    is_interrupted: bool
    model_hash: str
    size: tuple[int, int]


def candidate_of(plan: Plan) -> Candidate | None:
    """A plan with places; None where it does not hold, or no place is found for a replica."""
    if not plan.problem.may_fall_short and any(plan.shortfall(t, w) for t, w in plan.services):
        return None
    placed = lives(plan)
    if placed is None:
        return None
    legs, migrations = placed
    return Candidate(plan, legs, migrations, plan.value + _moved(plan, legs))


def _moved(plan: Plan, legs: tuple[Leg, ...]) -> Fraction:
    """What moves cost: a cold start each, while GPUs are held twice."""
    problem, total = plan.problem, Fraction(0)
    if problem.is_maximised:
        return total
    for leg in legs:
        if leg.began == "migration":
            column = problem.columns[leg.column]
            total += problem.holding(column) * column.cold_start_s / problem.demand.period_s + problem.starting(column)
    return total


def _few(problem: Problem, places: list[int]) -> Problem:
    """The problem with some of its columns, and no switches."""

    def some(counts: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(counts[j] for j in places)

    return replace(
        problem,
        fleet=problem.fleet.only(places),
        current=None if problem.current is None else some(problem.current),
        past_starts=tuple(map(some, problem.past_starts)),
        past_switches=tuple(map(some, problem.past_switches)),
    )


def _widened(problem: Problem, places: list[int], rows: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Replicas of some columns as those of all."""
    held = [[0] * len(problem.columns) for _ in rows]
    for wide, row in zip(held, rows, strict=True):
        for j, count in zip(places, row, strict=True):
            wide[j] = count
    return held


class Search:
    """
    Looks for the best plan of a problem.

    Parameters
    ----------
    problem
        The problem.
    controls
        Time limit and gap.
    start
        A plan to begin with, or None.
    floors
        Proved lower bounds on the cost of single periods (:func:`floors_of`), where there are some.
    """

    def __init__(
        self,
        problem: Problem,
        controls: Controls,
        start: Plan | None = None,
        floors: Mapping[int, Fraction] | None = None,
    ) -> None:
        self.problem = problem
        self.controls = controls
        self.started = time.perf_counter()
        self.model: ScheduleModel = build(problem, floors)
        self.best: Candidate | None = None
        self.method = ""
        self.is_stopped = self.is_interrupted = False
        self.tree = Tree(self.model.milp, self._found)
        if start is not None:
            self._offer(candidate_of(start), "the static plan")

    def run(self) -> Found:
        """Searches until the bound is met, the gap is small enough, or the time is over."""
        try:
            self.tree.start(self._left())
            if not self.tree.is_empty and not self._enough(self._value, self.tree.bound):
                self._backend()
                self.tree.improve(self._enough, self._left)
        except KeyboardInterrupt:
            self.is_stopped = self.is_interrupted = True
        except BackendError:
            self.is_stopped = True
        bound = self.tree.bound
        best = self._value
        if best is not None and bound is not None and bound > best:
            bound = None  # a plan below the bound: one of the two is wrong, and nothing is claimed
        milp = self.model.milp
        return Found(
            best=self.best,
            bound=None if bound is None else self._stepped(self._in_units(bound)),
            is_infeasible=self.tree.is_empty and self.best is None,
            nodes=self.tree.nodes,
            method=self.method,
            is_stopped=self.is_stopped,
            is_interrupted=self.is_interrupted,
            model_hash=milp.digest(),
            size=(len(self.tree.names), len(milp.problem.constraints)),
        )

    @property
    def _value(self) -> Fraction | None:
        """The best value in units of the model."""
        return None if self.best is None else self._of(self.best)

    def _of(self, candidate: Candidate) -> Fraction:
        value = candidate.value
        return (self.model.constant - value if self.problem.is_maximised else value) / self.model.unit

    def _in_units(self, value: Fraction) -> Fraction:
        value *= self.model.unit
        return self.model.constant - value if self.problem.is_maximised else value

    def _stepped(self, bound: Fraction) -> Fraction:
        """A bound in the unit of the objective, moved to the nearest value that a plan can have."""
        steps = bound / self.problem.step
        return (math.floor(steps) if self.problem.is_maximised else math.ceil(steps)) * self.problem.step

    def _offer(self, candidate: Candidate | None, method: str) -> Fraction | None:
        """Keeps a plan if it is the best so far; gives its value in units of the model."""
        if candidate is None:
            return None
        value = self._of(candidate)
        if self.best is None or value < self._of(self.best):
            self.best, self.method = candidate, method
        self.tree.best = value if self.tree.best is None else min(self.tree.best, value)
        return value

    def _found(self, values: Mapping[str, Fraction]) -> Fraction | None:
        if not self.tree.exact.holds({**values, **self._missed}):
            return None
        return self._offer(candidate_of(self.model.plan(dict(values))), "the relaxation")

    @property
    def _missed(self) -> dict[str, Fraction]:
        """What is missed is read off the plan; here the most that it may be, so that the other rows count."""
        return {
            v.name: Fraction(self.tree.exact.high[self.tree.exact.place[v.name]]) for v in self.model.missed.values()
        }

    def _backend(self) -> None:
        """Asks SCIP for plans, first with few columns where there are many; its word on the bound is not used."""
        places = self._likely()
        if len(self.tree.names) > MANY_VARIABLES and 0 < len(places) < len(self.problem.columns):
            few = _few(self.problem, places)
            model = build(few)
            values = self._asked(model, None)
            if values is not None:
                held = _widened(self.problem, places, model.plan(values).held)
                self._offer(candidate_of(Plan.of(self.problem, held, {})), "scip on few columns")
        if self._enough(self._value, self.tree.bound):
            return
        values = self._asked(self.model, self._hint())
        if values is not None and self.tree.exact.holds({**values, **self._missed}):
            self._offer(candidate_of(self.model.plan(values)), "scip")

    def _asked(self, model: ScheduleModel, hint: dict[str, Fraction] | None) -> dict[str, Fraction] | None:
        """What SCIP finds for a model in its share of the time."""
        left = self._left()
        controls = replace(self.controls, time_limit_s=None if left is None else left * SHARE_OF_BACKEND)
        try:
            answer = MathOpt("scip").solve(model.milp, controls, hint)
        except BackendError:
            return None
        if "interrupted" in answer.raw_status:
            self.is_stopped = self.is_interrupted = True
            self.controls = replace(self.controls, time_limit_s=0.0)
        return answer.values

    def _likely(self) -> list[int]:
        """The columns that carry weight in the relaxation, are in the best plan, or run already."""
        relaxed, total = self.tree.root, [0.0] * len(self.problem.columns)
        for (_, j), variable in self.model.held.items():
            total[j] += 0.0 if relaxed is None else relaxed.values.get(variable.name, 0.0)
        groups: dict[tuple[object, ...], float] = {}
        for j, column in enumerate(self.problem.columns):
            groups[column.group] = groups.get(column.group, 0.0) + total[j] * column.gpus
        used = set() if self.best is None else {j for row in self.best.plan.held for j, n in enumerate(row) if n}
        running = self.problem.current or (0,) * len(total)
        return [
            j
            for j, column in enumerate(self.problem.columns)
            if total[j] * column.gpus > LIKELY * groups[column.group] or j in used or running[j]
        ]

    def _hint(self) -> dict[str, Fraction] | None:
        if self.best is None:
            return None
        plan = self.best.plan
        held = {v.name: Fraction(plan.held[t][j]) for (t, j), v in self.model.held.items()}
        return held | {v.name: Fraction(plan.started[t][j]) for (t, j), v in self.model.started.items()}

    def _left(self) -> float | None:
        limit = self.controls.time_limit_s
        return None if limit is None else max(0.0, limit - (time.perf_counter() - self.started))

    def _enough(self, best: Fraction | None, bound: Fraction | None) -> bool:
        left = self._left()
        if left is not None and left <= 0:
            self.is_stopped = True
            return True
        if best is None or bound is None:
            return False
        value, proved = abs(self._in_units(best)), abs(self._in_units(bound))
        return bound >= best or abs(value - proved) <= Fraction(repr(self.controls.gap)) * value


def floors_of(problem: Problem, time_limit_s: float | None) -> dict[int, Fraction]:
    """
    What each period costs at least, as if it stood alone: proved, and worth a row where a role draws on several pools.

    With one engine a role the rows of the model are nearly integral, and such floors say nothing new; with several
    whose rates add up they are not.

    Parameters
    ----------
    problem
        The problem; nothing is said where demands may be missed.
    time_limit_s
        Wall seconds for all periods, or None.
    """
    pools: dict[tuple[str, str], set[str]] = {}
    for column in problem.columns:
        pools.setdefault((column.engine.workload.name, column.role), set()).add(column.engine.pool.name)
    alone = problem.fleet.instance.serving.engines_per_role == 1 and all(len(names) == 1 for names in pools.values())
    if alone or problem.may_fall_short:
        return {}
    started, found = time.perf_counter(), dict[int, Fraction]()
    known: dict[tuple[Fraction, ...], Fraction | None] = {}
    for period in range(problem.periods):
        spent = time.perf_counter() - started
        if time_limit_s is not None and spent > time_limit_s:
            break
        rates = tuple(series[period] for series in problem.demand.requests_per_s.values())
        if rates not in known:
            one = replace(problem.only(period, period + 1, None), max_changes=None, past_starts=(), past_switches=())
            known[rates] = Search(one, Controls(time_limit_s=1.0)).run().bound
        bound = known[rates]
        if bound is not None:
            found[period] = bound
    return found
