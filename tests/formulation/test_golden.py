"""
The text of every constraint family is fixed in a file, and what is written reads back as the same problem.

``UPDATE_GOLDEN=1 pytest tests/formulation/test_golden.py`` writes the files anew; read the diff.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pulp
import pytest

from solver.backends.base import Controls
from solver.backends.clone import clone
from solver.backends.registry import backend
from solver.formulation import families, packing, points
from solver.formulation.milp import Milp
from tests.formulation.golden_cases import FAMILIES, MODELS

GOLDEN = Path(__file__).parent / "golden"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"


def family_rows(problem: pulp.LpProblem, prefix: str) -> pulp.LpProblem:
    """The problem with one family's rows only."""
    whole = clone(problem)
    part = pulp.LpProblem(problem.name, problem.sense)
    part.setObjective(whole.objective)
    for name, row in whole.constraints.items():
        if name.startswith(prefix):
            part.addConstraint(row, name)
    assert part.constraints, f"no row starts with {prefix}"
    return part


def lp_text(problem: pulp.LpProblem, folder: Path) -> str:
    """The problem in LP format."""
    path = folder / "model.lp"
    problem.writeLP(str(path))
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODELS)
def test_model_is_as_fixed(name: str, tmp_path: Path) -> None:
    """The rows of a family (all rows for piecewise) are those of its golden file."""
    model = MODELS[name]()
    model.milp.check_digits()
    problem = clone(model.milp.problem) if name == "piecewise" else family_rows(model.milp.problem, FAMILIES[name][0])
    text = lp_text(problem, tmp_path)
    path = GOLDEN / f"{name}.lp"
    if UPDATE:
        path.write_text(text, encoding="utf-8", newline="\n")
    assert path.exists(), f"{path.name} is missing; UPDATE_GOLDEN=1 writes it"
    assert text == path.read_text(encoding="utf-8")


def functions_of_families(*modules: ModuleType) -> set[str]:
    """Names of all functions that define a family."""
    found = {name for module in modules for name, _ in inspect.getmembers(module, inspect.isfunction)}
    return {name for name in found if re.match(r"c\d+_", name)}


def test_every_family_has_a_golden_file() -> None:
    """A new family needs a golden file, and no file is left over."""
    files = {path.stem for path in GOLDEN.iterdir()}
    assert files == set(MODELS)
    assert functions_of_families(families, packing, points) == {name.partition("-")[0] for name in FAMILIES}


def optimum(milp: Milp) -> float | None:
    """The optimum through SCIP, from the model in memory; None for an infeasible one."""
    answer = backend("scip").solve(milp, Controls(time_limit_s=30))
    assert answer.status in ("optimal", "infeasible"), answer
    if answer.values is None:
        return None
    return float(sum((Fraction(c) * answer.values[v.name] for v, c in milp.problem.objective.items()), Fraction(0)))


def assert_same(found: float | None, wanted: float | None) -> None:
    """Equal up to the digits that CBC prints, or both infeasible."""
    assert (found is None) == (wanted is None)
    assert found is None or found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_mps_reads_back_as_the_same_problem(name: str, tmp_path: Path) -> None:
    """Written as MPS, read back by PuLP and solved by CBC, a model has the same optimum."""
    milp = MODELS[name]().milp
    path = tmp_path / "model.mps"
    clone(milp.problem).writeMPS(str(path))
    _, problem = pulp.LpProblem.fromMPS(str(path), sense=milp.problem.sense)
    problem.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=30, gapRel=0))
    found = pulp.value(problem.objective) if problem.sol_status == pulp.LpSolutionOptimal else None
    assert_same(found, optimum(milp))


@pytest.mark.parametrize("name", MODELS)
def test_lp_reads_back_as_the_same_problem(name: str, tmp_path: Path) -> None:
    """Written as LP and read by CBC itself, a model has the same optimum."""
    milp = MODELS[name]().milp
    model, solution = tmp_path / "model.lp", tmp_path / "solution.txt"
    clone(milp.problem).writeLP(str(model))
    command = [pulp.PULP_CBC_CMD.pulp_cbc_path, str(model), "-ratio", "0", "-solve", "-solution", str(solution)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    first = solution.read_text(encoding="utf-8").splitlines()[0]
    found = float(first.split()[-1]) if first.startswith("Optimal") else None
    assert_same(None if found is None else abs(found), optimum(milp))


def test_models_are_mostly_feasible() -> None:
    """Equal optima mean something only where there is one."""
    assert {name for name, make in MODELS.items() if optimum(make().milp) is None} <= {"c7_budgets-idle"}
