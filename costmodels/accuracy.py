"""How far the roofline is from measured tables."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from costmodels.formats import formats
from costmodels.gpus import GPUS
from costmodels.layers import Engine
from costmodels.models import MODELS
from costmodels.operating_curve import ROLES, Role
from costmodels.operators import Array
from costmodels.partition import Partition
from costmodels.phases import largest_busy_batch, role_turns, steady

_KEY = (
    "phase", "precision", "tp", "pp", "attention_dp", "moe_tp", "moe_ep", "cp", "domain_gpus", "chunk_tokens", "isl",
    "osl",
)  # fmt: skip


def row_errors(path: Path, roles: Iterable[Role] = ROLES) -> dict[tuple[str, str, str], list[Array]]:
    """
    Relative errors of the roofline against every row of one table.

    Rows that it does not price are passed over: unknown model or GPU, context parallelism, and co-located batches at
    which sequences wait for room.

    Parameters
    ----------
    path
        A table of operating curves, ``.csv`` or ``.csv.gz``.
    roles
        Roles that are looked at.

    Returns
    -------
    dict
        (``dense`` or ``moe``, phase, ``inside`` or ``across`` NVLink domains) to arrays of ``model / measured - 1`` of
        latencies.
    """
    errors: dict[tuple[str, str, str], list[Array]] = defaultdict(list)
    groups: dict[tuple[str, ...], list[tuple[int, float]]] = defaultdict(list)
    wanted = tuple(roles)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for row in csv.DictReader(file):
            key = (row["system"], row["model"], *(row[name] for name in _KEY))
            groups[key].append((int(row["batch"]), float(row["latency_ms"])))
    for (system, model, *rest), points in groups.items():
        named = dict(zip(_KEY, rest, strict=True))
        role = next((role for role in wanted if role == named["phase"]), None)
        if role is None or system not in GPUS or model not in MODELS or named["cp"] != "1":
            continue
        cut = Partition(*(int(named[name]) for name in ("tp", "pp", "attention_dp", "moe_tp", "moe_ep")))
        engine = Engine(MODELS[model], GPUS[system], formats(named["precision"]), cut, int(named["domain_gpus"]))
        batch = np.array([point[0] for point in points]) / cut.attention_dp
        measured = np.array([point[1] for point in points])
        isl, osl, chunk_tokens = int(named["isl"]), int(named["osl"] or 1), int(named["chunk_tokens"])
        if role == "colocated":
            keep = batch <= largest_busy_batch(isl, osl, chunk_tokens)
            batch, measured = batch[keep], measured[keep]
        turns = role_turns(engine, role, batch, isl, osl, chunk_tokens)
        priced = steady(engine, role, turns, isl, osl, chunk_tokens)
        place = "inside" if cut.stage_group <= engine.domain_gpus else "across"
        errors["moe" if MODELS[model].is_moe else "dense", role, place].append(priced.latency_ms / measured - 1)
    return errors


def table_errors(paths: Iterable[Path], roles: Iterable[Role] = ROLES) -> dict[tuple[str, str, str], float]:
    """
    Median absolute percentage error of the roofline's latencies against tables.

    Parameters
    ----------
    paths
        Tables of operating curves.
    roles
        Roles that are looked at.

    Returns
    -------
    dict
        (``dense`` or ``moe``, phase, ``inside`` or ``across`` domains) to the median over all rows, in percent.
    """
    errors: dict[tuple[str, str, str], list[Array]] = defaultdict(list)
    wanted = tuple(roles)
    for path in paths:
        for key, found in row_errors(path, wanted).items():
            errors[key] += found
    return {key: float(100 * np.median(np.abs(np.concatenate(found)))) for key, found in sorted(errors.items())}
