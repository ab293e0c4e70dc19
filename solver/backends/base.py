"""What every back end is to us: one small protocol, and answers that keep claims apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol

from solver.formulation.milp import Milp

Status = Literal["optimal", "feasible", "infeasible", "unknown"]
"""What the back end claims. ``optimal``: an optimum and its proof. ``feasible``: a solution, no proof (a limit, or a
back end that returns no bound). ``infeasible``: proved that none exists. ``unknown``: nothing, a limit came first."""

Capability = Literal["continuous", "dual_bound", "exact", "hint", "interrupt", "memory_limit", "seed", "threads"]
"""``exact``: integer arithmetic, its proofs need no tolerance. ``dual_bound``: returns a bound on the objective.
``continuous``: takes continuous variables without a grid."""


class BackendError(Exception):
    """A back end failed on a valid model: not found, no licence, crashed. One line for the user."""


@dataclass(frozen=True)
class Controls:
    """
    How to run; recorded in every result.

    Parameters
    ----------
    threads
        Worker threads; 1 is reproducible.
    seed
        Random seed.
    time_limit_s
        Wall seconds, or None.
    gap
        Relative gap at which to stop; 0 proves.
    memory_limit_mb
        Memory limit in MB where the back end has one, or None.
    log
        Called with lines of the back end's log, or None.
    watch
        Called with the relative gap between the best plan and the bound while a model is solved, or None; for display.
    """

    threads: int = 1
    seed: int = 0
    time_limit_s: float | None = None
    gap: float = 0.0
    memory_limit_mb: int | None = None
    log: Callable[[str], None] | None = field(default=None, compare=False)
    watch: Callable[[float], None] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Answer:
    """
    A back end's answer.

    Parameters
    ----------
    status
        Its claim.
    values
        Variable name to value, integers exactly rounded; None without a solution.
    bound
        Proved bound on the objective in the objective's unit; None where the back end gives none.
    raw_status
        The back end's own word.
    wall_s
        Wall time in seconds, model conversion included.
    """

    status: Status
    values: dict[str, Fraction] | None
    bound: Fraction | None
    raw_status: str
    wall_s: float


class Backend(Protocol):
    """A solver."""

    @property
    def name(self) -> str:
        """The name users give."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do."""

    def unavailable(self) -> str | None:
        """Why it cannot run here (not installed, no licence), or None when it can."""

    def version(self) -> str:
        """Its version, for the record."""

    def solve(self, milp: Milp, controls: Controls, hint: dict[str, Fraction] | None = None) -> Answer:
        """
        Solves a model.

        Raises
        ------
        BackendError
            When the back end fails for a reason other than the model.
        KeyboardInterrupt
            When the user interrupts and nothing was found yet.
        """
