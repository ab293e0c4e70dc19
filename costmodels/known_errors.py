"""What is known of the cost model's error: medians that were recorded on the carried data, for results to quote."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

from costmodels import unseen
from costmodels.errors_of import FLAGGED_ABOVE, QUANTITIES, Accuracy, Statistics
from costmodels.models import MODELS, Model
from costmodels.operating_curve import Role

FILE = Path(__file__).parent / "data" / "known_errors.csv"
FIELDS = ("quantity", "model", "gpu", "backend", "n", "median_ape", "bias")
LEVELS = (("model", "gpu", "backend"), ("model", "gpu"), ("gpu",), ())
"""Groups that are recorded, the nearest first; what a group does not name is empty in the file."""

_ASKED: dict[Role, tuple[str, ...]] = {
    "prefill": ("prefill", "ttft"),
    "decode": ("decode", "tpot"),
    "colocated": ("tpot", "ttft"),
}
_NAMES = {
    "tpot": "TPOT against measured rows",
    "ttft": "TTFT against measured rows",
    "prefill": "prefill latency against table rows",
    "decode": "decode latency against table rows",
}


@dataclass(frozen=True)
class KnownError:
    """
    The recorded error of one quantity in one group.

    Parameters
    ----------
    quantity
        One of :data:`costmodels.errors_of.QUANTITIES`.
    model, gpu, backend
        The group; empty: all of them. The model stands for all checkpoints of its shape.
    n
        Rows.
    median_ape, bias
        Median absolute, and mean signed relative error (shares).
    """

    quantity: str
    model: str
    gpu: str
    backend: str
    n: int
    median_ape: float
    bias: float

    @property
    def is_flagged(self) -> bool:
        """Whether the median is so large that predictions should not be relied on."""
        return self.median_ape > FLAGGED_ABOVE

    @property
    def scope(self) -> str:
        """The group in words."""
        if not self.gpu:
            return "all models and GPUs"
        return " ".join(filter(None, (self.model or "all models", f"on {self.gpu}", self.backend)))

    def __str__(self) -> str:
        """One sentence."""
        flag = f" (ABOVE {100 * FLAGGED_ABOVE:.0f} %: do not rely on it)" if self.is_flagged else ""
        error = f"median error {100 * self.median_ape:.1f} %, bias {100 * self.bias:+.1f} %{flag}"
        return f"{_NAMES.get(self.quantity, self.quantity)}: {error}, {self.n:,} rows of {self.scope}"


def as_csv(found: Accuracy) -> str:
    """The content of :data:`FILE` for an evaluation: every level of :data:`LEVELS`, models by shape."""
    found = Accuracy([replace(one, model=shape_name(one.model)) for one in found.comparisons])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for names in LEVELS:
        for key, group in found.grouped(*names).items():
            named = dict(zip(names, key, strict=True))
            for quantity in QUANTITIES:
                if quantity in group:
                    place = (named.get(name, "") for name in ("model", "gpu", "backend"))
                    writer.writerow((quantity, *place, *_figures(group[quantity])))
    return out.getvalue()


def _figures(one: Statistics) -> tuple[int, str, str]:
    return one.n, f"{one.median_ape:.4f}", f"{one.bias:.4f}"


@cache
def _shapes() -> dict[Model, str]:
    """Each shape of the catalogue, without what tells its checkpoints apart, and the first name it has there."""
    return {_bare(entry): entry.name for entry in reversed(MODELS.values())}


def _bare(entry: Model) -> Model:
    return replace(entry, name="", source="", precision="", max_context=0)


def shape_name(model: str) -> str:
    """The name under which the errors of a model are recorded: that of the first catalogued model of its shape."""
    return _shapes()[_bare(MODELS[model])] if model in MODELS else model


@cache
def recorded() -> dict[tuple[str, str, str, str], KnownError]:
    """The carried records by (quantity, model, GPU, serving engine); empty where the file is not there."""
    if not FILE.exists():
        return {}
    with FILE.open(newline="", encoding="utf-8") as file:
        entries = [
            KnownError(
                quantity=row["quantity"],
                model=row["model"],
                gpu=row["gpu"],
                backend=row["backend"],
                n=int(row["n"]),
                median_ape=float(row["median_ape"]),
                bias=float(row["bias"]),
            )
            for row in csv.DictReader(file)
        ]
    return {(one.quantity, one.model, one.gpu, one.backend): one for one in entries}


def nearest(quantity: str, model: str, gpu: str, backend: str | None = None) -> KnownError | None:
    """
    The record of the nearest group.

    Parameters
    ----------
    quantity
        One of :data:`costmodels.errors_of.QUANTITIES`.
    model, gpu, backend
        What a result uses; the serving engine may be None.

    Returns
    -------
    KnownError or None
        Of the model's shape on the GPU with the serving engine, else without it, else of the GPU, else of all.
    """
    named = {"model": shape_name(model), "gpu": gpu, "backend": backend or ""}
    for names in LEVELS:
        if "backend" in names and not backend:
            continue
        place = {name: named[name] if name in names else "" for name in named}
        found = recorded().get((quantity, place["model"], place["gpu"], place["backend"]))
        if found is not None:
            return found
    return None


@cache
def unseen_errors() -> str:
    """The pooled errors of measured rows that a fit had not seen, in words; empty where none are recorded."""
    names = {"rows": "other rows", "models": "other models", "gpus": "other GPUs"}
    medians: dict[str, dict[str, float]] = {}
    for one in unseen.recorded():
        if not one.model and one.quantity in ("tpot", "ttft") and one.left_out in names:
            medians.setdefault(one.left_out, {})[one.quantity] = one.median_ape
    told = [
        f"from {names[way]} TPOT {100 * found['tpot']:.0f} %, TTFT {100 * found['ttft']:.0f} %"
        for way, found in medians.items()
    ]
    return "predicted " + "; ".join(told) + " (medians of all measured rows)" if told else ""


def known_error(model: str, gpu: str, backend: str | None, role: Role) -> str:
    """
    What is known of the error of a role's latencies, in words.

    Parameters
    ----------
    model, gpu, backend
        What is planned; names as in the carried data.
    role
        ``prefill``: latencies of tables and measured TTFT; ``decode``: of tables and measured TPOT; ``colocated``:
        measured TPOT and TTFT.

    Returns
    -------
    str
        One line; says so where nothing is known.
    """
    found = [nearest(quantity, model, gpu, backend) for quantity in _ASKED[role]]
    return "; ".join(str(one) for one in found if one) or f"nothing is recorded about the error of {role} latencies"


def largest_error(model: str, gpu: str, backend: str | None, role: Role) -> Fraction | None:
    """The largest of the medians that :func:`known_error` quotes, as an exact share; None where nothing is recorded."""
    found = [nearest(quantity, model, gpu, backend) for quantity in _ASKED[role]]
    return max((Fraction(f"{one.median_ape:.4f}") for one in found if one), default=None)
