"""The built-in instances as models for other solvers: LP and MPS files, and a manifest of their known optima."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import pulp

import instances
from costmodels.errors import Fault, InputError
from solver import __version__
from solver.backends.base import Controls
from solver.bench import Recorded, recorded
from solver.claim import builder_of
from solver.columns import Candidates
from solver.engines import EngineSet
from solver.files import check_writable, write_whole
from solver.formulation.plan_model import PlanModel
from solver.instance import Instance
from solver.measure import objective_of
from solver.planner import Options, solve
from solver.points import points_of
from solver.result import Result, exact_text

MANIFEST = "manifest.csv"
VARIANTS = {"": True, ".all": False}
"""Suffix of a model's name to whether dominated points are left out of it."""
FROM_TABLES = "curves"
"""The cost model whose instances do not change with fitted constants."""


@dataclass(frozen=True)
class Entry:
    """
    One line of the manifest: a model and what is known of it.

    Parameters
    ----------
    model, instance
        Name of the files without suffix, and of the instance.
    dominance
        ``yes`` where dominated points were left out before the model was built, ``no`` where all are in it.
    sense
        ``max``, as the LP file says; the MPS file minimises the negative.
    status
        ``optimal`` or ``infeasible``.
    model_optimum
        The optimum of the LP file's objective, in the model's units: ``exact_model_optimum`` to 12 digits.
    exact_model_optimum
        The same as a fraction, of the problem that the file writes with 12 digits.
    exact_optimum, unit
        The optimum of the instance as a fraction, and in what: tokens/s, tokens/s per GPU used, GPUs or USD/hour.
    flow_units_per_request_s
        How many units of a flow variable are one request/s.
    rows, columns, integers, nonzeros
        The size.
    sha256_lp, sha256_mps
        Hashes of the files.
    proved_by, oracle, provenance
        The proofs of the optimum, the oracle that agrees, and where the numbers come from.
    """

    model: str
    instance: str
    dominance: str
    sense: str
    status: str
    model_optimum: str
    exact_model_optimum: str
    exact_optimum: str
    unit: str
    flow_units_per_request_s: int
    rows: int
    columns: int
    integers: int
    nonzeros: int
    sha256_lp: str
    sha256_mps: str
    proved_by: str
    oracle: str
    provenance: str


UNITS = {
    "throughput": "weighted tokens/s",
    "throughput_per_gpu": "weighted tokens/s per GPU used",
    "gpus": "GPUs",
    "cost": "USD/hour",
}


def export(names: Sequence[str], folder: Path, *, time_limit_s: float, say: Callable[[str], object]) -> bool:
    """
    Writes the first-stage models of built-in instances, each as LP and MPS, and ``manifest.csv``.

    Parameters
    ----------
    names
        Built-in names; all where empty.
    folder
        Where to write; made if it is not there.
    time_limit_s
        Seconds a solve.
    say
        Called with each line of progress.

    Returns
    -------
    bool
        Whether every optimum is the recorded one.

    Raises
    ------
    InputError
        When a name is unknown, or the folder cannot be written.
    """
    known = instances.names()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError([Fault(name, "unknown built-in instance; `instances` lists them") for name in unknown])
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder / MANIFEST)
    records, entries, good = recorded(), list[Entry](), True
    for name in names or known:
        result = solve(instances.path(name), Options(controls=Controls(time_limit_s=time_limit_s), tiebreak=False))
        if result.instance.is_unlimited:
            say(f"{name:<42}no model: with unlimited GPUs the answer is a comparison of rational numbers")
            continue
        old = records.get(name)
        same = old is not None and (old.status, old.objective) == (result.status, result.objective)
        good &= same
        for entry in written(name, result, old if same else None, folder):
            entries.append(entry)
            size = f"{entry.rows:>6} rows{entry.columns:>7} columns"
            more = "" if same else "  NOT RECORDED"
            say(f"{entry.model:<42}{size}  {entry.status:<11}{entry.model_optimum:>18}{more}")
    write_whole(folder / MANIFEST, manifest(entries))
    say(f"{len(entries)} models in {folder}, {MANIFEST} lists them")
    return good


def written(name: str, result: Result, record: Recorded | None, folder: Path) -> Iterator[Entry]:
    """Writes the models of one instance, with dominated points and, where that is another model, without."""
    before = ""
    for suffix, dominance in VARIANTS.items():
        model = model_of(result.instance, result.engines, dominance)
        model.maximise(objective_of(result.instance, result.deployment).objective(model))
        model.milp.check_digits()
        if model.milp.digest() == before:
            return
        before = model.milp.digest()
        file = name.replace("/", "-") + suffix
        texts = {ending: _text(model.milp.problem, ending) for ending in ("lp", "mps")}
        for ending, text in texts.items():
            write_whole(folder / f"{file}.{ending}", text)
        yield entry_of(file, name, result, record, model, texts, dominance)


def model_of(instance: Instance, engines: EngineSet, dominance: bool) -> PlanModel:
    """The first-stage model of the ``points`` formulation, without an objective."""
    candidates = Candidates(instance, engines, points_of(instance, engines), dominance)
    return builder_of("points", instance, candidates)()


def entry_of(
    file: str,
    name: str,
    result: Result,
    record: Recorded | None,
    model: PlanModel,
    texts: dict[str, str],
    dominance: bool,
) -> Entry:
    """The manifest's line of a model."""
    problem, deployment = model.milp.problem, result.deployment
    optimum = None
    if deployment is not None:
        optimum = objective_of(result.instance, deployment).of(deployment) * model.scaling.unit
    variables = problem.variables()
    hashes = {ending: hashlib.sha256(text.encode()).hexdigest() for ending, text in texts.items()}
    return Entry(
        model=file,
        instance=name,
        dominance="yes" if dominance else "no",
        sense="max",
        status=result.status,
        model_optimum="" if optimum is None else decimal(optimum),
        exact_model_optimum=exact_text(optimum) or "",
        exact_optimum=exact_text(result.objective) or "",
        unit=UNITS[result.instance.objective],
        flow_units_per_request_s=model.scaling.unit,
        rows=len(problem.constraints),
        columns=len(variables),
        integers=sum(variable.cat == pulp.LpInteger for variable in variables),
        nonzeros=sum(len(row) for row in problem.constraints.values()),
        sha256_lp=hashes["lp"],
        sha256_mps=hashes["mps"],
        proved_by=record.proved_by if record else "",
        oracle=record.oracle if record else "",
        provenance=f"ratematch {__version__}, instances/{name}.json, {provenance(result.instance)}",
    )


def provenance(instance: Instance) -> str:
    """Where the latencies of an instance come from."""
    source = instance.cost_model
    return ", ".join(f"instances/{path}" for path in source.paths) if source.kind == FROM_TABLES else source.kind


def decimal(value: Fraction) -> str:
    """A fraction to 12 significant digits."""
    return f"{Context(prec=12).divide(Decimal(value.numerator), Decimal(value.denominator)).normalize():f}"


def manifest(entries: Sequence[Entry]) -> str:
    """The manifest as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Entry)]
    writer.writerow(names)
    writer.writerows([getattr(entry, name) for name in names] for entry in entries)
    return text.getvalue()


def _text(problem: pulp.LpProblem, ending: str) -> str:
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"model.{ending}"
        if ending == "lp":
            problem.writeLP(str(file))
        else:
            problem.writeMPS(str(file), mpsSense=pulp.LpMinimize)  # readers minimise what an MPS file holds
        return file.read_text()
