"""How much work a prompt is, by its length."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from costmodels.operating_curve import OperatingCurve
from costmodels.traffic import Traffic
from solver.engines import CostModel, Engine, query_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRID = 16
"""Lengths at which the roofline is asked; between them work is linear in tokens."""


class PromptWork:
    """
    Work of prompts, in mean prompts of the plan: over the lengths that were planned with, its mean is 1.

    The roofline prices a full batch of equal prompts at :data:`GRID` lengths; where its steps are linear in what they
    hold, a batch of different prompts then takes exactly the mean of their work. Tables know one length, or few: there
    work is proportional to tokens.

    Parameters
    ----------
    model
        The cost model of the instance.
    isl
        All input lengths that will be asked for.
    """

    def __init__(self, model: CostModel, isl: NDArray[np.int64]) -> None:
        self._model, self._isl = model, isl

    @property
    def description(self) -> str:
        """One line for the report."""
        if self._model.name == "roofline":
            return f"prompts by their length: priced by the roofline at {GRID} lengths, linear between them"
        return "prompts by their length: work in proportion to tokens"

    def of(self, engine: Engine, curve: OperatingCurve, batch: int) -> list[float]:
        """Work of each of the prompts on an engine that takes batches of that many (co-located: one at a time)."""
        import numpy as np

        traffic = engine.workload.lengths
        planned = np.array([isl for isl, _, _ in traffic.classes])
        shares = np.array([float(share) for _, _, share in traffic.classes])
        if self._model.name != "roofline":
            return list(map(float, self._isl / float(traffic.isl)))
        at = _grid(np.concatenate([planned, self._isl]))
        known = np.array([_prompt_s(self._model, engine, curve, batch, int(isl)) for isl in at])
        mean = float(shares @ np.interp(planned, at, known))
        return list(map(float, np.interp(self._isl, at, known) / mean))


def _grid(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Some lengths from the shortest to the longest, half by quantiles, half by equal ratios."""
    import numpy as np

    quantiles = np.quantile(lengths, np.linspace(0, 1, GRID // 2))
    ratios = np.geomspace(lengths.min(), lengths.max(), GRID // 2)
    return np.unique(np.concatenate([quantiles, ratios]).round().astype(np.int64))


def _prompt_s(model: CostModel, engine: Engine, curve: OperatingCurve, batch: int, isl: int) -> float:
    """Seconds that one of equal prompts takes of an engine, in full batches."""
    query = query_of(engine.workload, engine.pool)
    traffic = Traffic.constant(isl, max(2, round(engine.workload.osl)))
    options = replace(query.options, ttft_percentile=None)
    full = replace(
        curve,
        role="prefill",
        chunk_tokens=curve.chunk_tokens if curve.role == "prefill" else 0,
        batch=(batch if curve.role == "prefill" else curve.batch_step,),
    )
    asked = replace(query, isl=isl, osl=traffic.classes[0][1], traffic=traffic, options=options)
    *_, rates = model.samples(asked, full)  # type: ignore[attr-defined]  # the roofline's own
    return 1 / float(rates[-1])
