"""How far the roofline is from the rows of measured tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from costmodels.calibration.table_rows import table_series
from costmodels.errors_of import Comparison
from costmodels.operators import Array
from costmodels.phases import steady, turns_of


def table_predictions(path: Path) -> tuple[list[Comparison], Counter[str]]:
    """
    Compares the latencies of every row of a table with the roofline's on the basis of operators.

    Tables hold latencies put together from measured operators, without the host work of a server, and so does this
    basis; its constants were fitted on the carried tables.

    Parameters
    ----------
    path
        A table of operating curves, ``.csv`` or ``.csv.gz``.

    Returns
    -------
    tuple
        Relative errors by model, GPU, serving engine and role; and the rows that are not priced, by reason.

    Raises
    ------
    InputError
        When the table cannot be read or holds faults.
    """
    found, skipped = table_series(path)
    errors: dict[tuple[str, str, str, str], list[Array]] = defaultdict(list)
    for one in found:
        state = steady(one.engine, one.demand, turns_of(one.engine, one.demand, one.batch))
        key = (one.engine.model.name, one.engine.gpu.name, str(one.engine.serving), one.demand.role)
        errors[key].append(state.latency_ms / one.latency_ms - 1)
    comparisons = [
        Comparison("curves", model, gpu, backend, role, np.concatenate(parts))
        for (model, gpu, backend, role), parts in sorted(errors.items())
    ]
    return comparisons, skipped
