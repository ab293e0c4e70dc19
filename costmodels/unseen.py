"""Errors of predictions by fits that had not seen what they predict, as the calibration recorded them."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

FILE = Path(__file__).parent / "data" / "unseen.csv"
Label = tuple[str, str, str, str, str]
"""Quantity, kind of model, model, GPU, serving engine."""


@dataclass(frozen=True)
class Unseen:
    """
    The error of a set of predictions; shares, 0.1 is 10 %.

    Parameters
    ----------
    left_out
        What the fit had not seen: ``models``, ``gpus``, ``rows``, ``nothing`` (all was in the fit), or ``everything``
        (the plain roofline, without any fit).
    quantity
        ``decode`` and ``prefill`` latencies of tables, ``tpot`` and ``ttft`` of measured rows.
    kind
        ``dense`` or ``moe`` for tables, else empty.
    model, gpu, engine
        The group; empty: all of them together.
    n
        Rows.
    median_ape, mape, bias
        Median and mean of the absolute, mean of the signed relative error.
    group_mean, worst
        Of all together: the plain mean and the largest of the medians of (model, GPU, serving engine) groups.
    """

    left_out: str
    quantity: str
    kind: str
    model: str
    gpu: str
    engine: str
    n: int
    median_ape: float
    mape: float
    bias: float
    group_mean: float
    worst: float


def summarised(left_out: str, labels: Sequence[Label], errors: npt.NDArray[np.float64]) -> Iterator[Unseen]:
    """Yields the errors of each (quantity, kind) together, then of each of its groups."""
    groups: dict[Label, list[float]] = defaultdict(list)
    for label, error in zip(labels, errors.tolist(), strict=True):
        groups[label].append(error)
    for quantity, kind in sorted({label[:2] for label in groups}):
        own = {label: np.array(found) for label, found in sorted(groups.items()) if label[:2] == (quantity, kind)}
        medians = [float(np.median(np.abs(found))) for found in own.values()]
        together = np.concatenate(list(own.values()))
        yield _of(left_out, (quantity, kind, "", "", ""), together, float(np.mean(medians)), max(medians))
        for (label, found), median in zip(own.items(), medians, strict=True):
            yield _of(left_out, label, found, median, median)


def _of(left_out: str, label: Label, e: npt.NDArray[np.float64], mean: float, worst: float) -> Unseen:
    size = np.abs(e)
    figures = (float(np.median(size)), float(size.mean()), float(e.mean()), mean, worst)
    return Unseen(left_out, *label, len(e), *figures)


def as_csv(found: Iterable[Unseen]) -> str:
    """The content of :data:`FILE`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([field.name for field in fields(Unseen)])
    writer.writerows([f"{value:.4f}" if isinstance(value, float) else value for value in astuple(one)] for one in found)
    return out.getvalue()


def recorded() -> list[Unseen]:
    """The carried record; empty where there is none."""
    if not FILE.exists():
        return []
    with FILE.open(newline="", encoding="utf-8") as file:
        return [
            Unseen(
                row["left_out"], row["quantity"], row["kind"], row["model"], row["gpu"], row["engine"], int(row["n"]),
                *(float(row[name]) for name in ("median_ape", "mape", "bias", "group_mean", "worst")),
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip
