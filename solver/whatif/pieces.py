"""Pieces of a value function, the answer to a question, and the files that hold one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from solver.deployment import Deployment
from solver.engines import EngineSet
from solver.instance import Instance
from solver.result import deployment_dict, exact_text, instance_hash
from solver.whatif.ask import Ask
from solver.whatif.axes import Axis


@dataclass(frozen=True)
class Piece:
    """
    A stretch of an axis with one optimal deployment, or where there is none, or that was not settled.

    Parameters
    ----------
    low, high
        Its ends; equal for a single position.
    open_low, open_high
        Whether an end does not belong to it.
    status
        ``optimal``: the value is proved at every position of it. ``infeasible``: that is. ``unsettled``: a limit or an
        interrupt came first; the value lies in [lower, upper]. ``refused``: the cost model does not price it.
    value
        The value of the instance's objective at ``low``; None where there is none.
    slope
        By how much it grows per unit of the axis; 0 but for a price.
    deployment
        An optimal deployment, the same on the whole piece.
    proof
        Who proved it, or why there is no answer.
    lower, upper
        Proved bounds where the piece is not settled: the value is no smaller and no larger, where it exists.
    """

    low: Fraction
    high: Fraction
    open_low: bool
    open_high: bool
    status: str
    value: Fraction | None
    slope: Fraction
    deployment: Deployment | None
    proof: str
    lower: Fraction | None = None
    upper: Fraction | None = None

    def holds(self, position: Fraction) -> bool:
        """Whether a position belongs to the piece."""
        below = self.low < position or (self.low == position and not self.open_low)
        return below and (position < self.high or (position == self.high and not self.open_high))

    def at(self, position: Fraction) -> Fraction | None:
        """The value at a position of the piece."""
        return None if self.value is None else self.value + self.slope * (position - self.low)

    @property
    def words(self) -> str:
        """The deployment in words."""
        return "" if self.deployment is None else in_words(self.deployment)


def in_words(deployment: Deployment) -> str:
    """A deployment in words, one part a role and engine."""
    several = len(deployment.instance.workloads) > 1
    pools = len(deployment.instance.pools) > 1

    def parts() -> Iterator[str]:
        for a in deployment.assignments:
            chunk = f" chunk {a.engine.curve.chunk_tokens}" if a.engine.curve.chunk_tokens else ""
            whom = f"{a.engine.workload.name} " if several else ""
            where = f" on {a.engine.pool.name}" if pools else ""
            yield f"{whom}{a.role} {a.replicas} x {a.engine.curve.partition.label}{chunk} batch {a.batch}{where}"

    return "; ".join(parts())


@dataclass(frozen=True)
class WhatIf:
    """
    The answer to a question: the value function along an axis.

    Parameters
    ----------
    instance, engines
        The instance, and engines that its pieces use.
    ask, axis
        What was asked.
    pieces
        By ascending position.
    missing
        What was not reached, in words; empty where complete.
    solves, wall_s
        Models solved, and wall seconds.
    faults
        What the independent verifier found wrong; empty unless we are at fault.
    """

    instance: Instance
    engines: EngineSet
    ask: Ask
    axis: Axis
    pieces: tuple[Piece, ...]
    missing: str
    solves: int
    wall_s: float
    faults: tuple[str, ...] = ()

    def piece_at(self, position: Fraction) -> Piece | None:
        """The piece that holds a position."""
        return next((piece for piece in self.pieces if piece.holds(position)), None)

    @property
    def breakpoints(self) -> list[Fraction]:
        """The positions at which the optimal deployment changes, or ceases to exist."""
        settled = [piece for piece in self.pieces if piece.status in ("optimal", "infeasible")]
        return [] if self.ask.values else [b.low for a, b in pairwise(settled) if a.high == b.low]

    def rows(self) -> list[dict[str, object]]:
        """One row a piece, for pandas or polars."""
        return [
            {
                "from": float(piece.low),
                "to": float(piece.high),
                "from_open": piece.open_low,
                "to_open": piece.open_high,
                "status": piece.status,
                "value": None if piece.value is None else float(piece.value),
                "value_at_to": None if piece.value is None else float(piece.at(piece.high) or 0),
                "lower": None if piece.lower is None else float(piece.lower),
                "upper": None if piece.upper is None else float(piece.upper),
                "gpus_used": None if piece.deployment is None else int(piece.deployment.gpus_used),
                "deployment": piece.words,
                "proof": piece.proof,
            }
            for piece in self.pieces
        ]

    def as_csv(self) -> str:
        """The pieces as a table."""
        out = io.StringIO()
        rows = self.rows()
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["from", "to"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def as_dict(self) -> dict[str, Any]:
        """The file, version 1."""
        return {
            "format": "disagg-whatif",
            "version": 1,
            "instance": self.instance.name,
            "instance_hash": instance_hash(self.instance, self.engines),
            "objective_kind": self.instance.objective,
            "cost_model": {"description": self.engines.cost_model, "known_error": self.engines.known_error},
            "vary": {"key": self.axis.key, "names": list(self.axis.names), "unit": self.axis.unit},
            "asked": self.ask.text,
            "complete": not self.missing,
            "missing": self.missing,
            "solves": self.solves,
            "wall_s": round(self.wall_s, 6),
            "pieces": [_piece_dict(piece) for piece in self.pieces],
        }


def _piece_dict(piece: Piece) -> dict[str, Any]:
    exact = {name: exact_text(getattr(piece, name)) for name in ("low", "high", "value", "slope", "lower", "upper")}
    floats = {name: None if text is None else float(getattr(piece, name)) for name, text in exact.items()}
    return {
        **floats,
        "exact": exact,
        "open_low": piece.open_low,
        "open_high": piece.open_high,
        "status": piece.status,
        "proof": piece.proof,
        "deployment": None if piece.deployment is None else deployment_dict(piece.deployment),
    }
