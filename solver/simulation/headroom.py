"""How much headroom a plan needs: the largest utilization caps whose plan meets its percentiles in simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from costmodels.operating_curve import ROLES, Role
from solver.deployment import Deployment
from solver.instance import Instance
from solver.result import Result
from solver.simulation.arrivals import Arrivals
from solver.simulation.ask import Asked, solved
from solver.simulation.promise import planned_rates
from solver.simulation.router import Policy
from solver.simulation.run import Simulation, run
from solver.simulation.verdicts import Verdict, verdicts_of

GRID = tuple(Fraction(percent, 100) for percent in range(100, 0, -5))
"""Utilizations that are tried, from the largest."""
Draw = Callable[[Deployment, int], Arrivals]
"""Gives the arrivals of a replication for a plan; the same random numbers for every plan."""
Caps = dict[Role, Fraction]


@dataclass(frozen=True, eq=False)
class Step:
    """
    One set of caps, its plan, and what simulation says.

    Parameters
    ----------
    caps
        Role to utilization.
    result
        The plan: again the proved optimum.
    verdicts
        Limit by limit; empty where there is no plan.
    """

    caps: Caps
    result: Result
    verdicts: tuple[Verdict, ...]

    @property
    def passes(self) -> bool:
        """Whether there is a plan and it meets every limit."""
        return self.result.deployment is not None and all(verdict.passes for verdict in self.verdicts)


@dataclass(frozen=True, eq=False)
class Headroom:
    """
    What a search found.

    Parameters
    ----------
    steps
        Every step tried, in that order; the first is the mean-value plan.
    best
        The step with the largest caps that passes; None where none does.
    percentile
        Share of the requests that must be within limits.
    replications
        Runs of each step.
    arrivals
        What came, in a line, for the mean-value plan.
    is_complete
        Whether the search came to its end.
    """

    steps: tuple[Step, ...]
    best: Step | None
    percentile: Fraction
    replications: int
    arrivals: str
    is_complete: bool = True

    @property
    def plain(self) -> Step:
        """The mean-value plan."""
        return self.steps[0]


class Search:
    """
    The search over caps.

    All caps start at 1. While a limit fails, the caps of the roles that answer for it go down by a step: for TTFT
    prefill, for TPOT decode, for both co-located, end to end all. Then each cap is raised again as long as the plan
    passes. What is found passes, and with any one cap a step higher it does not; with one role in use it is the largest
    of the grid that passes, all larger ones having failed.

    Parameters
    ----------
    asked
        The instance.
    draw
        Arrivals of a replication.
    percentile
        Share of the requests (0 to 1) that must be within limits, where a workload says nothing else.
    replications
        Runs of each step, at least 2.
    policy
        How requests find a replica.
    say
        Gets each step as it is done.
    """

    def __init__(
        self,
        asked: Asked,
        draw: Draw,
        *,
        percentile: Fraction,
        replications: int,
        policy: Policy,
        say: Callable[[Step], None] | None = None,
    ) -> None:
        self._asked, self._draw, self._percentile = asked, draw, percentile
        self._replications, self._policy, self._say = replications, policy, say
        self._known: dict[tuple[Fraction, ...], Step] = {}
        self._judgements: dict[object, tuple[Verdict, ...]] = {}
        self._arrivals = ""

    def run(self) -> Headroom:
        """
        Searches; an interrupt ends the search with what is known by then.

        Raises
        ------
        KeyboardInterrupt
            When it comes before the first plan is judged.
        """
        try:
            best, is_complete = self._search(), True
        except KeyboardInterrupt:
            if not self._known:
                raise
            passing = [step for step in self._known.values() if step.passes]
            best, is_complete = (passing[-1] if passing else None), False
        steps = tuple(self._known.values())
        return Headroom(steps, best, self._percentile, self._replications, self._arrivals, is_complete)

    def _search(self) -> Step | None:
        place: dict[Role, int] = dict.fromkeys(ROLES, 0)
        step = self._step(place)
        while not step.passes and step.result.deployment is not None:
            lower = [role for role in _answering(step) if place[role] + 1 < len(GRID)]
            if not lower:
                break
            place |= {role: place[role] + 1 for role in lower}
            step = self._step(place)
        return self._raised(place, step) if step.passes else None

    def _raised(self, place: dict[Role, int], step: Step) -> Step:
        """Raises one cap after the other as long as the plan passes: to the largest of all where that will do."""
        raised = True
        while raised:
            raised = False
            for role in ROLES:
                for higher in dict.fromkeys((0, place[role] - 1) if place[role] else ()):
                    trial = self._step({**place, role: higher})
                    if trial.passes:
                        place, step, raised = {**place, role: higher}, trial, True
                        break
        return step

    def _step(self, place: dict[Role, int]) -> Step:
        key = tuple(GRID[place[role]] for role in ROLES)
        if key not in self._known:
            caps = {role: GRID[place[role]] for role in ROLES}
            instance = capped(self._asked.instance, caps)
            result = solved(replace(self._asked, instance=instance))
            verdicts = () if result.deployment is None else self._judged(instance, result.deployment)
            self._known[key] = Step(caps, result, verdicts)
            if self._say is not None:
                self._say(self._known[key])
        return self._known[key]

    def _judged(self, instance: Instance, deployment: Deployment) -> tuple[Verdict, ...]:
        """
        The verdicts on a plan; one that has come before at the same rates is not run again.

        All but the first plan are given up as soon as a limit would fail even if everything was within it in all
        replications that are left: the mean, and so the lower end of the interval, is then below what is wanted.
        """
        plan = tuple((a.engine.key, a.batch, a.replicas) for a in deployment.assignments)
        key = (plan, tuple(planned_rates(deployment)))
        if key not in self._judgements:
            is_first, runs = not self._judgements, list[Simulation]()
            for number in range(self._replications):
                arrivals = self._draw(deployment, number)
                self._arrivals = self._arrivals or arrivals.description
                runs.append(run(instance, deployment, self._asked.model, arrivals, self._policy))
                if not is_first and self._is_lost(verdicts_of(runs, self._percentile)):
                    break
            self._judgements[key] = tuple(verdicts_of(runs, self._percentile))
        return self._judgements[key]

    def _is_lost(self, verdicts: Sequence[Verdict]) -> bool:
        left = [self._replications - verdict.runs for verdict in verdicts]
        return any(
            verdict.share * verdict.runs + more < verdict.wanted * self._replications
            for verdict, more in zip(verdicts, left, strict=True)
        )


def _answering(step: Step) -> list[Role]:
    """The roles in use that answer for the limits that fail."""
    roles_of: dict[str, Sequence[Role]] = {
        "ttft": ("prefill", "colocated"),
        "tpot": ("decode", "colocated"),
        "e2el": ROLES,
    }
    blamed: set[Role] = set()
    for verdict in step.verdicts:
        if not verdict.passes:
            blamed |= set(roles_of[verdict.limit])
    deployment = step.result.deployment
    used = {a.role for a in deployment.assignments} if deployment is not None else set()
    return [role for role in ROLES if role in blamed & used]


def capped(instance: Instance, caps: Caps) -> Instance:
    """The instance with no role planned beyond its cap."""
    serving = replace(
        instance.serving,
        utilization={role: min(share, caps[role]) for role, share in instance.serving.utilization.items()},
    )
    workloads = tuple(
        replace(each, utilization={role: min(share, caps[role]) for role, share in each.utilization.items()})
        for each in instance.workloads
    )
    return replace(instance, serving=serving, workloads=workloads)
