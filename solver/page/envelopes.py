"""Envelopes: the exact frontiers of an instance with its modes forced."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from costmodels.errors import InputError
from solver.frontier import Frontier
from solver.instance import MODES, Instance, Mode
from solver.planner import Options, trace

FORCED: dict[str, tuple[tuple[Mode, ...], bool]] = {
    "colocated": (("colocated",), False),
    "disaggregated": (("disaggregated",), False),
    "hybrid": (MODES, True),
}
"""Name of an envelope to the modes that it allows, and whether one workload may be served in both at once."""

Progress = Callable[[str, float], None]
"""Called with the name of what is traced, and the share of all the work that is done."""


@dataclass(frozen=True)
class Envelope:
    """
    The frontier of an instance under forced modes.

    Parameters
    ----------
    name
        ``colocated``, ``disaggregated`` or ``hybrid``.
    is_allowed
        Whether the instance itself allows all that the envelope does; else it shows what would be.
    frontier
        The frontier; None where time ran out before it was begun, or it could not be asked for.
    reason
        Why there is none; empty where there is one.
    """

    name: str
    is_allowed: bool
    frontier: Frontier | None
    reason: str = ""

    @property
    def missing(self) -> str:
        """What is not there, in words; empty where the envelope is complete."""
        return self.reason if self.frontier is None else self.frontier.missing


def forced(instance: Instance, name: str) -> Instance:
    """The instance with the modes of an envelope, everything else as it is."""
    modes, hybrid = FORCED[name]
    return replace(instance, serving=replace(instance.serving, modes=modes, hybrid=hybrid))


def is_allowed(instance: Instance, name: str) -> bool:
    """Whether every deployment of an envelope is one of the instance."""
    modes, hybrid = FORCED[name]
    return set(modes) <= set(instance.serving.modes) and (instance.serving.hybrid or not hybrid)


def envelopes_of(
    instance: Instance,
    options: Options,
    folder: Path,
    progress: Progress | None = None,
    own: Frontier | None = None,
    **swept: Any,
) -> tuple[Envelope, ...]:
    """
    The three envelopes of an instance, each traced exactly, the quick ones first.

    Parameters
    ----------
    instance, options, folder
        As for :func:`solver.planner.trace`; a time limit in the options is for all three together.
    progress
        Called as the tracing goes on.
    own
        The frontier of the instance itself, where it is there: what is the same is not traced again.
    **swept
        Which workloads are swept, and whether some may end unserved; as for :func:`solver.planner.trace`.

    Notes
    -----
    Where the instance allows exactly what an envelope does, that envelope is the instance's own frontier.
    """
    started, limit = time.perf_counter(), options.controls.time_limit_s
    found: list[Envelope] = []
    stopped = False
    for name in FORCED:
        left = None if limit is None else limit - (time.perf_counter() - started)
        allowed = is_allowed(instance, name)
        if own is not None and forced(instance, name) == instance:
            found.append(Envelope(name, allowed, own))
            continue
        if stopped or (left is not None and left <= 0):
            found.append(Envelope(name, allowed, None, "not traced: a limit or an interrupt came first"))
            continue
        asked = replace(options, controls=replace(options.controls, time_limit_s=left))
        tell = None if progress is None else _telling(progress, name, len(found))
        try:
            frontier = trace(forced(instance, name), asked, folder=folder, reached=tell, **swept)
        except InputError as error:
            found.append(Envelope(name, allowed, None, f"not traced: {error.faults[0].text}"))
            continue
        found.append(Envelope(name, allowed, frontier))
        stopped = bool(frontier.missing)
    return tuple(found)


def _telling(progress: Progress, name: str, done: int) -> Callable[[float], None]:
    return lambda share: progress(name, (done + share) / len(FORCED))
