"""What every back end owes: an honest status, values that hold, a bound on the right side, no traces."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from solver.backends.base import Answer, Backend, BackendError, Controls
from solver.backends.registry import BACKENDS, available, backend
from solver.formulation.milp import Milp
from tests.backends.conftest import need
from tests.backends.models import (
    CASES,
    Case,
    enumerate_optimum,
    gridded,
    hard_knapsack,
    knapsack,
    market_split,
    objective_of,
    parity,
    violation,
)

FLOAT = Fraction(1, 10**6)


def _solve(
    made: Backend, milp: Milp, controls: Controls | None = None, hint: dict[str, Fraction] | None = None
) -> Answer:
    return made.solve(milp, controls or Controls(time_limit_s=20), hint)


def _slack(made: Backend, value: Fraction) -> Fraction:
    return Fraction(0) if "exact" in made.capabilities else FLOAT * max(Fraction(1), abs(value))


@pytest.mark.parametrize("case", [c for c in CASES if not c.is_continuous], ids=lambda c: c.name)
def test_cases_are_right(case: Case) -> None:
    """Plain enumeration agrees with every written optimum."""
    assert enumerate_optimum(case.build()) == case.optimum


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_small_models(any_backend: Backend, case: Case) -> None:
    """Status, values, objective and bound of a model whose answer is known."""
    if case.is_continuous:
        need(any_backend, "continuous", "integers only, every variable needs bounds")
    milp = case.build()
    answer = _solve(any_backend, milp)
    if case.optimum is None:
        assert (answer.status, answer.values, answer.bound) == ("infeasible", None, None)
        return
    assert answer.status == "optimal"
    assert answer.values is not None
    assert set(answer.values) == {variable.name for variable in milp.problem.variables()}
    loose = case.is_continuous or milp.grid
    assert violation(milp, answer.values) <= (FLOAT if loose and "exact" not in any_backend.capabilities else 0)
    assert abs(objective_of(milp, answer.values) - case.optimum) <= _slack(any_backend, case.optimum)
    if "dual_bound" in any_backend.capabilities:
        assert answer.bound is not None
        assert abs(answer.bound - case.optimum) <= _slack(any_backend, case.optimum)
    else:
        assert answer.bound is None


@pytest.mark.parametrize("limit", [0.0, 0.3])
@pytest.mark.parametrize("build", [hard_knapsack, market_split])
def test_limit_is_honest(any_backend: Backend, build: Callable[[], Milp], limit: float) -> None:
    """Stopped early on a hard model: never optimal, never infeasible, and a bound no plan can beat."""
    milp = build()
    start = time.perf_counter()
    answer = _solve(any_backend, milp, Controls(time_limit_s=limit))
    assert time.perf_counter() - start < limit + 5
    assert answer.status in ("feasible", "unknown")
    assert (answer.values is None) == (answer.status == "unknown")
    if answer.values is not None:
        assert violation(milp, answer.values) == 0
    if answer.bound is not None:
        value = objective_of(milp, answer.values) if answer.values else Fraction(1000 if build is hard_knapsack else 0)
        assert answer.bound >= value - _slack(any_backend, value)


def test_gap_is_not_a_proof(any_backend: Backend) -> None:
    """A solution inside a wide gap, with a bound elsewhere, is no optimum."""
    need(any_backend, "dual_bound", "without a bound the claim is all there is")
    milp = hard_knapsack()
    answer = _solve(any_backend, milp, Controls(time_limit_s=20, gap=0.05))
    assert answer.values is not None
    assert answer.bound is not None
    assert answer.wall_s < 10
    assert answer.status == "feasible"
    assert answer.bound > objective_of(milp, answer.values)


def test_hint_is_taken(any_backend: Backend) -> None:
    """A whole hint, a partial one, an infeasible one, one with unknown names: none changes the optimum."""
    need(any_backend, "hint", "no warm start")
    whole = {"a": Fraction(1), "b": Fraction(0), "c": Fraction(1)}
    for hint in (whole, {"a": Fraction(1)}, dict.fromkeys("abc", Fraction(1)), {"a": Fraction(7)}, {"zz": Fraction(1)}):
        milp = knapsack()
        answer = _solve(any_backend, milp, hint=hint)
        assert answer.status == "optimal"
        assert answer.values is not None
        assert objective_of(milp, answer.values) == 17


def test_hint_is_used(any_backend: Backend) -> None:
    """Where no back end finds a plan in the limit, the hint becomes one."""
    need(any_backend, "hint", "no warm start")
    milp, plan = _planted()
    answer = _solve(any_backend, milp, Controls(time_limit_s=0.5), plan)
    assert answer.status in ("feasible", "optimal")
    assert answer.values is not None
    assert violation(milp, answer.values) == 0


def _planted() -> tuple[Milp, dict[str, Fraction]]:
    """A market split with a solution that only we know."""
    milp = market_split()
    plan = {variable.name: Fraction(index % 2) for index, variable in enumerate(milp.problem.variables())}
    for row in milp.problem.constraints.values():
        row.constant = -int(
            sum((Fraction(value) * plan[variable.name] for variable, value in row.items()), Fraction(0))
        )
    return milp, plan


def test_same_seed_same_plan(any_backend: Backend) -> None:
    """One thread and one seed give one plan, optimum or not."""
    answers = [_solve(any_backend, hard_knapsack(25, 5, 2), Controls(seed=3, time_limit_s=20)) for _ in range(2)]
    assert answers[0].status == answers[1].status == "optimal"
    assert answers[0].values == answers[1].values


def test_solving_leaves_no_trace(any_backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model, its hash and the working directory are as before; an infeasible model gets no values of another."""
    monkeypatch.chdir(tmp_path)
    milp = knapsack()
    before = milp.digest()
    first = _solve(any_backend, milp)
    second = _solve(any_backend, milp)
    assert first.values == second.values
    assert milp.digest() == before
    assert [variable.varValue for variable in milp.problem.variables()] == [None] * 3
    assert milp.problem.status == 0
    assert _solve(any_backend, parity()).values is None
    milp.problem += milp.problem.variablesDict()["a"] == 0, "C7_without_a"
    changed = _solve(any_backend, milp)
    assert changed.values is not None
    assert changed.values["a"] == 0
    assert list(tmp_path.iterdir()) == []


def test_log_goes_to_the_caller(any_backend: Backend, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines of the log arrive without line ends; nothing is written to the terminal, with and without a log."""
    lines: list[str] = []
    _solve(any_backend, hard_knapsack(25, 5, 2), Controls(time_limit_s=5, log=lines.append))
    _solve(any_backend, hard_knapsack(), Controls(time_limit_s=0.5))
    assert tuple(capfd.readouterr()) == ("", "")
    assert not any("\n" in line for line in lines.copy())
    if any_backend.name in ("cp-sat", "scip", "highs", "cbc"):
        assert len(lines) > 5


def test_gridded_values_are_exact(any_backend: Backend) -> None:
    """Values come as Fractions, an integer one as a whole number."""
    answer = _solve(any_backend, gridded())
    assert answer.values is not None
    assert all(isinstance(value, Fraction) for value in answer.values.values())
    assert answer.values["n"].denominator == 1


INTERRUPTED = """
import sys
from solver.backends.base import Controls
from solver.backends.registry import backend
from tests.backends.models import hard_knapsack, market_split
model = {"some": hard_knapsack, "none": market_split}[sys.argv[2]]()
print("ready", flush=True)
try:
    answer = backend(sys.argv[1]).solve(model, Controls(time_limit_s=20))
    print(answer.status, "interrupted" in answer.raw_status, flush=True)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a single process")
@pytest.mark.parametrize("found", ["some", "none"])
def test_interrupt(any_backend: Backend, found: str) -> None:
    """Ctrl-C hands over what was found, or is a KeyboardInterrupt; both within seconds."""
    if any_backend.name not in ("cp-sat", "scip", "highs", "cbc"):
        need(any_backend, "interrupt", "the vendor's package decides")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "ignore", "-c", INTERRUPTED, any_backend.name, found]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        start = time.perf_counter()
        said, errors = process.communicate(timeout=15)
    assert time.perf_counter() - start < 5
    can_stop = "interrupt" in any_backend.capabilities
    assert (said, process.returncode) == (
        "feasible True\n" if found == "some" and can_stop else "KeyboardInterrupt\n",
        0,
    )
    assert errors == ""


def test_registry() -> None:
    """Names are the back ends' own; an unknown one is refused with what is allowed; absence is a sentence."""
    assert [backend(name).name for name in BACKENDS] == list(BACKENDS)
    with pytest.raises(ValueError, match=r"backend must be one of cp-sat, scip, highs, cbc.*; got 'glpk'"):
        backend("glpk")
    reasons = dict(available())
    assert list(reasons) == list(BACKENDS)
    assert reasons["cp-sat"] is reasons["scip"] is reasons["highs"] is reasons["cbc"] is None
    for name, reason in reasons.items():
        if reason is not None:
            assert "\n" not in reason
            with pytest.raises(BackendError, match=name):
                backend(name).solve(knapsack(), Controls())
        else:
            assert any(character.isdigit() for character in backend(name).version())
