"""Writes the model of an instance for other solvers: LP or MPS, a name map, and a solution."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from solver.backends.base import Controls
from solver.backends.registry import backend
from solver.claim import builder_of
from solver.columns import Candidates
from solver.deployment import Deployment
from solver.files import write_whole
from solver.formulation.plan_model import PlanModel
from solver.measure import objective_of
from solver.points import points_of
from solver.result import Result


def write_model(result: Result, path: Path, formulation: str = "points") -> list[Path]:
    """
    Writes the model of the first stage.

    Parameters
    ----------
    result
        The result whose instance is written.
    path
        ``.lp`` or ``.mps``.
    formulation
        ``points`` or ``piecewise``.

    Returns
    -------
    list of Path
        The model, its name map (``.names.json``) and, where the instance was solved, its solution (``.sol``): one
        line a variable. For ``throughput_per_gpu`` the objective is tokens/s minus the optimal ratio times GPUs, whose
        optimum is 0.
    """
    model = _model(result, formulation)
    model.maximise(objective_of(result.instance, result.deployment).objective(model))
    model.milp.check_digits()
    written = [path]
    write_whole(path, _text(model, path.suffix))
    names = {
        "model": model.milp.digest(),
        "flow_units_per_request_s": model.scaling.unit,
        "names": model.milp.names,
        "rows": "rows are named by constraint family, C1 to C8; p, w, m number pools, workloads and ways to serve",
    }
    written.append(path.with_suffix(".names.json"))
    write_whole(written[-1], json.dumps(names, indent=1) + "\n")
    if result.deployment is not None and formulation == "points":
        written.append(path.with_suffix(".sol"))
        write_whole(written[-1], _solution(model, result.deployment))
    return written


def _model(result: Result, formulation: str) -> PlanModel:
    candidates = Candidates(result.instance, result.engines, points_of(result.instance, result.engines))
    return builder_of(formulation, result.instance, candidates)()


def _text(model: PlanModel, suffix: str) -> str:
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"model{suffix}"
        (model.milp.problem.writeLP if suffix == ".lp" else model.milp.problem.writeMPS)(str(file))
        return file.read_text()


def _solution(model: PlanModel, deployment: Deployment) -> str:
    """The values of all variables with the replicas fixed, by a back end; the rest follows from them."""
    now = {(a.engine.index, a.batch): a.replicas for a in deployment.assignments}
    for unit, batch in zip(model.draft.units, model.batches, strict=True):
        count = int(now.get((unit.engine.index, batch), 0))
        unit.replicas.lowBound = unit.replicas.upBound = count
    answer = backend("scip").solve(model.milp, Controls())
    values = answer.values or {}
    return "".join(f"{name} {_number(value)}\n" for name, value in sorted(values.items()))


def _number(value: Fraction) -> str:
    return str(int(value)) if value.denominator == 1 else f"{float(value):.12g}"
