"""The measured traps: each test first shows the trap where it can be shown, then that we do not fall into it."""

from __future__ import annotations

import itertools
import json
import math
import random
import subprocess
import sys
import types
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pulp
import pytest

from solver.backends.base import BackendError, Controls
from solver.backends.cbc import Cbc
from solver.backends.clone import clone, holds
from solver.backends.conflict import conflict, load_ortools_first
from solver.backends.cpsat import CpSat
from solver.backends.mathopt import MathOpt
from solver.backends.pulp_solvers import KINDS, PulpSolver, _Kind
from solver.backends.registry import backend
from solver.formulation.milp import MOST_DIGITS, Milp, significant_digits
from tests.backends.models import (
    enumerate_optimum,
    hard_knapsack,
    knapsack,
    market_split,
    objective_of,
    violation,
)

ROOT = Path(__file__).parents[2]


def _in_a_process(code: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def _cover(constant: float) -> Milp:
    """A covering problem with optimum 1110 + constant."""
    draw = random.Random(0)
    problem = pulp.LpProblem("cover", pulp.LpMinimize)
    x = [problem.add_variable(f"x{index:02}", 0, 4, pulp.LpInteger) for index in range(30)]
    for row in range(8):
        problem += pulp.lpSum(draw.randint(1, 40) * v for v in x) >= draw.randint(900, 1100), f"C1_{row}"
    problem += pulp.lpSum(draw.randint(20, 40) * v for v in x) + constant
    return Milp(problem)


class TestStatus:
    """Trap 1: PuLP's word for a run that a limit stopped."""

    def test_pulp_says_optimal_for_a_stopped_cbc(self) -> None:
        """``LpStatus`` is "Optimal" without a proof; our answer is feasible."""
        problem = clone(hard_knapsack().problem)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            problem.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=1))
        assert pulp.LpStatus[problem.status] == "Optimal"
        assert problem.sol_status == pulp.LpSolutionIntegerFeasible
        answer = Cbc().solve(hard_knapsack(), Controls(time_limit_s=1))
        assert (answer.status, answer.bound) == ("feasible", None)

    def test_values_of_the_relaxation_are_no_plan(self) -> None:
        """Without an integer solution CBC writes the relaxation's values into its solution file."""
        answer = Cbc().solve(market_split(), Controls(time_limit_s=0.5))
        assert (answer.status, answer.values) == ("unknown", None)
        assert "no integer solution" in answer.raw_status

    def test_pulp_says_infeasible_for_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``LpStatus`` Not Solved and Undefined become "No Solution Exists" in ``sol_status``: unknown, for us."""
        for status in (pulp.LpStatusNotSolved, pulp.LpStatusUndefined):
            assert pulp.LpStatusToSolution[status] == pulp.LpSolutionInfeasible
            answer = _vendor(monkeypatch, status, None).solve(knapsack(), Controls())
            assert (answer.status, answer.values, answer.bound) == ("unknown", None, None)

    def test_vendor_claims_at_the_limit_are_not_believed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A claim that comes with the time limit may be the limit's; one before it stands."""
        plan = {"a": 1.0, "b": 0.0, "c": 1.0}
        for status, values, early, late in (
            (pulp.LpStatusOptimal, plan, "optimal", "feasible"),
            (pulp.LpStatusInfeasible, None, "infeasible", "unknown"),
        ):
            made = _vendor(monkeypatch, status, values)
            assert made.solve(knapsack(), Controls()).status == early
            assert made.solve(knapsack(), Controls(time_limit_s=0.0)).status == late

    def test_vendor_values_must_hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Values that break a row are no plan, whatever the status; a whole plan without a claim is feasible."""
        broken = _vendor(monkeypatch, pulp.LpStatusOptimal, dict.fromkeys("abc", 1.0))
        assert broken.solve(knapsack(), Controls()).status == "unknown"
        found = _vendor(monkeypatch, pulp.LpStatusUndefined, {"a": 1.0, "b": 0.0, "c": 0.0})
        answer = found.solve(knapsack(), Controls())
        assert answer.status == "feasible"
        assert answer.values == {"a": Fraction(1), "b": Fraction(0), "c": Fraction(0)}

    def test_vendor_errors_are_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No licence at solve time is a BackendError."""
        with pytest.raises(BackendError, match="gurobi failed: no licence for this"):
            _vendor(monkeypatch, 1, None, RuntimeError("no licence\nfor this")).solve(knapsack(), Controls())


def _vendor(
    monkeypatch: pytest.MonkeyPatch, status: int, values: dict[str, float] | None, error: Exception | None = None
) -> PulpSolver:
    """The back end 'gurobi' over a stand-in that leaves a status and values in the problem, as PuLP's classes do."""

    class StandIn:
        def available(self) -> bool:
            return True

        def actualSolve(self, problem: pulp.LpProblem) -> int:
            if error is not None:
                raise error
            problem.assignStatus(status)
            if values is not None:
                problem.assignVarsVals(values)
            return status

    monkeypatch.setitem(KINDS, "gurobi", _Kind("GUROBI", "pulp", lambda controls: {}))
    monkeypatch.setattr(pulp, "getSolver", lambda name, **options: StandIn())
    return PulpSolver("gurobi")


class TestDigits:
    """Trap 2: digits lost in files."""

    def _wide(self, limit: int) -> Milp:
        problem = pulp.LpProblem("wide", pulp.LpMaximize)
        x = problem.add_variable("x", 0, limit, pulp.LpInteger)
        y = problem.add_variable("y", 0, 1, pulp.LpInteger)
        problem += x + y
        problem += 2 * x + 3 * y <= 2 * limit + 1, "C3_weight"
        return Milp(problem)

    def test_thirteen_digits_are_refused(self) -> None:
        """A coefficient that an LP file would round is an error when the model is built."""
        milp = self._wide(3703703670369)
        assert significant_digits(2.0 * 3703703670369 + 1) > MOST_DIGITS
        with pytest.raises(ValueError, match=r"(C3_weight|bound of x).* more than 12 significant digits"):
            milp.check_digits()

    def test_twelve_digits_round_trip(self, tmp_path: Path) -> None:
        """LP and MPS carry 12 digits through unchanged."""
        milp = self._wide(370370367036)
        milp.check_digits()
        milp.problem.writeLP(str(tmp_path / "m.lp"))
        milp.problem.writeMPS(str(tmp_path / "m.mps"))
        assert "<= 740740734073" in (tmp_path / "m.lp").read_text()
        _, back = pulp.LpProblem.fromMPS(str(tmp_path / "m.mps"), sense=pulp.LpMaximize)
        (row,) = (row for _, row in back.constraints.items())
        assert row.constant == -740740734073
        assert {variable.name: value for variable, value in row.items()} == {"x": 2, "y": 3}
        assert {variable.name: variable.upBound for variable in back.variables()} == {"x": 370370367036, "y": 1}

    def test_cbc_solution_keeps_every_digit(self) -> None:
        """PuLP reads eight digits of CBC's solution: 370370370000 for 370370367036. We read the doubles."""
        problem = clone(self._wide(370370367036).problem)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            problem.solve(pulp.PULP_CBC_CMD(msg=False))
        assert problem.variablesDict()["x"].varValue == 370370370000
        answer = Cbc().solve(self._wide(370370367036), Controls())
        assert answer.values == {"x": Fraction(370370367036), "y": Fraction(0)}


class TestGaps:
    """Trap 3: gaps that solvers allow themselves."""

    def test_highs_at_default_gaps_is_wrong(self) -> None:
        """MathOpt's HiGHS says OPTIMAL 22 above the optimum: 1e-4 of a large constant covers the difference."""
        from ortools.math_opt.python import mathopt

        from solver.backends import mathopt as ours

        milp = _cover(123_000_000)
        result = mathopt.solve(ours._translate(milp, mathopt)[0], mathopt.SolverType.HIGHS)
        assert result.termination.reason == mathopt.TerminationReason.OPTIMAL
        assert result.objective_value() > 123_001_110 + 10
        for name in ("highs", "scip"):
            answer = MathOpt(name).solve(milp, Controls(time_limit_s=20))
            assert answer.status == "optimal"
            assert answer.values is not None
            assert answer.bound is not None
            assert objective_of(milp, answer.values) == 123_001_110
            assert abs(answer.bound - 123_001_110) < Fraction(1, 100)

    def test_optimal_with_a_gap_is_feasible(self) -> None:
        """HiGHS calls a plan inside the gap OPTIMAL although its bounds differ."""
        answer = MathOpt("highs").solve(_cover(123_000_000), Controls(gap=1e-4))
        assert (answer.raw_status, answer.status) == ("OPTIMAL", "feasible")

    def test_cbc_increment(self) -> None:
        """CBC wants every plan better by 1e-5; objectives in natural units may differ by less."""
        draw = random.Random(5)
        problem = pulp.LpProblem("fine", pulp.LpMaximize)
        x = [problem.add_variable(f"x{index:02}", 0, 1, pulp.LpInteger) for index in range(30)]
        weights = [draw.randint(20, 60) for _ in x]
        problem += pulp.lpSum(draw.randint(20, 60) * v for v in x) * 1e-6
        problem += pulp.lpSum(weight * v for weight, v in zip(weights, x, strict=True)) <= 301, "C3_weight"
        milp = Milp(problem)
        copy = clone(problem)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            copy.solve(pulp.PULP_CBC_CMD(msg=False, gapRel=0, gapAbs=0))
        assert pulp.LpSolution[copy.sol_status] == "Optimal Solution Found"
        best = CpSat().solve(milp, Controls()).bound
        assert best is not None
        assert Fraction(pulp.value(copy.objective)) < best - Fraction(1, 10**6)
        answer = Cbc().solve(milp, Controls())
        assert answer.values is not None
        assert objective_of(milp, answer.values) == best


class TestScaling:
    """Trap 4: floats get natural units, integers go to CP-SAT."""

    def _rates(self, seed: int, unit: int, digits: int) -> Milp:
        """X <= flow of each of two roles, GPUs shared; rates with so many digits, in 1/unit requests/s."""
        draw = random.Random(seed)
        problem = pulp.LpProblem("rates", pulp.LpMaximize)
        x = problem.add_variable("X", 0, 1000 * unit)
        gpus = []
        for role in ("prefill", "decode"):
            counts = [problem.add_variable(f"n_{role}_{index}", 0, 3, pulp.LpInteger) for index in range(3)]
            rates = [draw.randint(10**digits, 10 ** (digits + 1)) * unit / 10**digits for _ in counts]
            problem += x <= pulp.lpSum(rate * n for rate, n in zip(rates, counts, strict=True)), f"C1_{role}"
            gpus += [draw.choice((1, 2, 4, 8)) * n for n in counts]
        problem += x
        problem += pulp.lpSum(gpus) <= 16, "C3_gpus"
        return Milp(problem, grid={"X": Fraction(unit, 10**digits)})

    def _flow(self, milp: Milp, values: dict[str, Fraction]) -> Fraction:
        """The objective from the replicas alone: the least of the two flows."""
        flows = []
        for role in ("prefill", "decode"):
            row = milp.problem.constraints[f"C1_{role}"]
            terms = [(v.name, Fraction(repr(float(c)))) for v, c in row.items() if v.name != "X"]
            flows.append(sum((-rate * values[name] for name, rate in terms), Fraction(0)))
        return min(flows)

    def _optimum(self, milp: Milp) -> Fraction:
        """The best flow over all replica counts that fit the GPUs."""
        row = milp.problem.constraints["C3_gpus"]
        gpus = {v.name: int(c) for v, c in row.items()}
        best = Fraction(0)
        for counts in itertools.product(range(4), repeat=len(gpus)):
            if sum(g * n for g, n in zip(gpus.values(), counts, strict=True)) <= 16:
                best = max(best, self._flow(milp, dict(zip(gpus, map(Fraction, counts), strict=True))))
        return best

    @pytest.mark.parametrize("name", ["scip", "highs", "cbc"])
    def test_natural_units(self, name: str) -> None:
        """In requests/s, X continuous, float back ends find the optimum, and their bounds stay on their side."""
        for seed in range(25):
            milp = self._rates(seed, 1, 8)
            best = self._optimum(milp)
            answer = backend(name).solve(milp, Controls())
            assert answer.status == "optimal"
            assert answer.values is not None
            assert self._flow(milp, answer.values) == best
            assert answer.bound is None or abs(answer.bound - best) <= best / 10**6

    def test_units_do_not_matter_to_integers(self) -> None:
        """CP-SAT proves the same optimum in requests/s and in units of 1e-8, exactly."""
        for seed in range(10):
            best = self._optimum(self._rates(seed, 1, 2))
            for unit in (1, 10**8):
                answer = CpSat().solve(self._rates(seed, unit, 2), Controls())
                assert (answer.status, answer.bound) == ("optimal", best * unit)


class TestMathOptErrors:
    """Trap 5: parameters that MathOpt refuses, and how it says so."""

    def test_threads_are_not_passed(self) -> None:
        """HiGHS refuses them, SCIP fails on whatever presolve leaves open; ours do not claim them and run."""
        from ortools.math_opt.python import mathopt

        from solver.backends import mathopt as ours

        for name, kind in (("highs", mathopt.SolverType.HIGHS), ("scip", mathopt.SolverType.GSCIP)):
            model, _ = ours._translate(hard_knapsack(), mathopt)
            with pytest.raises(AttributeError, match="canonical_code"):
                mathopt.solve(model, kind, params=mathopt.SolveParameters(threads=2))
            made = MathOpt(name)  # type: ignore[arg-type]
            assert "threads" not in made.capabilities
            assert made.solve(knapsack(), Controls(threads=2)).status == "optimal"

    def test_error_path_is_wrapped(self) -> None:
        """What MathOpt refuses is a sentence, not an AttributeError."""
        with pytest.raises(BackendError, match="scip: MathOpt refused the model or a parameter: ") as caught:
            MathOpt("scip").solve(knapsack(), Controls(gap=-1.0))
        assert "canonical_code" not in str(caught.value)

    def test_unbounded_is_an_error(self) -> None:
        """No back end calls an unbounded model infeasible."""
        problem = pulp.LpProblem("unbounded", pulp.LpMaximize)
        x, y = (problem.add_variable(name, 0, None, pulp.LpInteger) for name in "xy")
        problem += x
        problem += x - y <= 1, "C1_sum"
        for made in (MathOpt("highs"), Cbc(), CpSat()):
            with pytest.raises(BackendError, match=r"unbounded|bounds"):
                made.solve(Milp(problem), Controls())
        with pytest.raises(BackendError):
            MathOpt("scip").solve(Milp(problem), Controls())


class TestHighspy:
    """Trap 6: highspy and OR-Tools in one process."""

    def test_pulp_and_ortools_share_a_process(self) -> None:
        """Without highspy, in either order."""
        for order in (("pulp", "ortools.sat.python.cp_model"), ("ortools.math_opt.python.mathopt", "pulp")):
            assert _in_a_process(f"import {order[0]}, {order[1]}; print('fine')") == "fine"

    @pytest.mark.parametrize("how", ["imported", "installed"])
    def test_conflict_is_said(self, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
        """Imported, or only installed where PuLP has loaded its library: every back end of OR-Tools says so."""
        for name in [name for name in sys.modules if name.startswith("ortools")]:
            monkeypatch.delitem(sys.modules, name)
        assert conflict() is None
        if how == "imported":
            monkeypatch.setitem(sys.modules, "highspy", types.ModuleType("highspy"))
        else:
            monkeypatch.setattr("solver.backends.conflict._highspy_is_installed", lambda: True)
        message = conflict()
        assert message is not None
        assert "uninstall highspy" in message
        monkeypatch.setitem(sys.modules, "ortools", types.ModuleType("ortools"))
        for made in (CpSat(), MathOpt("scip"), MathOpt("highs")):
            assert made.unavailable() == message
            with pytest.raises(BackendError, match="uninstall highspy"):
                made.solve(knapsack(), Controls())

    def test_ortools_first_is_no_conflict(self) -> None:
        """With OR-Tools' library loaded, highspy comes too late to harm; loading it costs no pandas."""
        code = """
import sys, types
from solver.backends import conflict
conflict._highspy_is_installed = lambda: True
conflict.load_ortools_first()
import pulp
sys.modules["highspy"] = types.ModuleType("highspy")
print(conflict.conflict(), "pandas" in sys.modules)
"""
        assert _in_a_process(code) == "None False"

    def test_nothing_is_loaded_without_highspy(self) -> None:
        """The guard is free where there is nothing to guard against."""
        code = """
import sys
from solver.backends.conflict import load_ortools_first
load_ortools_first()
print("ortools" in sys.modules)
"""
        if conflict() is None and "highspy" not in sys.modules:
            load_ortools_first()
            assert _in_a_process(code) == "False"


class TestIntegersOnly:
    """Trap 7: CP-SAT's integers."""

    @pytest.mark.parametrize("bounds", [(0, None), (None, 5), (None, None)])
    def test_unbounded_variables_are_refused(self, bounds: tuple[int | None, int | None]) -> None:
        """No silent cap at 1e7."""
        problem = pulp.LpProblem("capped", pulp.LpMaximize)
        x = problem.add_variable("x", *bounds, pulp.LpInteger)
        problem += x
        problem += x <= 10**8, "C1_most"
        with pytest.raises(BackendError, match="needs integers and bounds; x has none"):
            CpSat().solve(Milp(problem), Controls())

    def test_continuous_without_a_grid_is_refused(self) -> None:
        """No silent rounding."""
        problem = pulp.LpProblem("continuous", pulp.LpMaximize)
        problem += problem.add_variable("x", 0, 0.5)
        with pytest.raises(BackendError, match="x has none"):
            CpSat().solve(Milp(problem), Controls())

    @pytest.mark.parametrize("where", ["row", "right side", "objective", "bound"])
    def test_overflow_is_refused(self, where: str) -> None:
        """Whatever does not fit 64 bits is an error, not another model."""
        problem = pulp.LpProblem("overflow", pulp.LpMaximize)
        x = problem.add_variable("x", 0, 10**19 if where == "bound" else 10**6, pulp.LpInteger)
        y = problem.add_variable("y", 0, 10**6, pulp.LpInteger)
        problem += (10**13 if where == "objective" else 1) * x + 3 * y
        problem += (10**13 if where == "row" else 1) * x + 3 * y <= (10**20 if where == "right side" else 100), "C3_sum"
        with pytest.raises(BackendError, match="64-bit"):
            CpSat().solve(Milp(problem), Controls())


class TestDecimals:
    """Trap 8: ceil of a float."""

    def test_float_ceil_is_off_by_one(self) -> None:
        """Latencies of 0.001 to 99.999 ms in nanoseconds: exact decimals need no ceil at all, floats go wrong."""
        texts = [f"{number / 1000:.3f}" for number in range(1, 100_000)]
        assert all((Fraction(Decimal(text)) * 10**6).denominator == 1 for text in texts)
        wrong = sum(math.ceil(float(text) * 1e6) != Fraction(Decimal(text)) * 10**6 for text in texts)
        assert wrong > 100

    def test_a_row_at_its_limit_is_feasible(self) -> None:
        """0.1 + 0.2 <= 0.3, on which floats and CP-SAT's integers agree."""
        problem = pulp.LpProblem("decimals", pulp.LpMaximize)
        x, y = (problem.add_variable(name, 0, 1, pulp.LpInteger) for name in "xy")
        problem += x + y
        problem += 0.1 * x + 0.2 * y <= 0.3, "C2_ttft"
        assert 0.1 + 0.2 > 0.3
        for made in (CpSat(), MathOpt("scip"), MathOpt("highs"), Cbc()):
            answer = made.solve(Milp(problem), Controls())
            assert answer.values == {"x": Fraction(1), "y": Fraction(1)}


class TestReproducible:
    """Trap 9: several workers, several plans."""

    def test_one_thread_by_default(self) -> None:
        """And two runs of a model with thousands of optima give one plan, in two processes."""
        assert Controls().threads == 1
        code = """
import pulp
from solver.backends.base import Controls
from solver.backends.cpsat import CpSat
from solver.formulation.milp import Milp
problem = pulp.LpProblem("ties", pulp.LpMaximize)
x = [problem.add_variable(f"x{i:02}", 0, 3, pulp.LpInteger) for i in range(12)]
problem += pulp.lpSum(x)
problem += pulp.lpSum(x) <= 17, "C3_gpus"
print({name: str(value) for name, value in sorted(CpSat().solve(Milp(problem), Controls()).values.items())})
"""
        assert _in_a_process(code) == _in_a_process(code)


class TestLazyImports:
    """Trap 10: half a second of pandas before ``--help``."""

    @pytest.mark.parametrize(
        ("module", "banned"),
        [
            ("solver.backends.registry", ["ortools", "pandas", "pulp", "numpy", "highspy"]),
            ("solver.backends.base", ["ortools", "pandas", "numpy"]),
            ("solver.backends.cpsat", ["ortools", "pandas", "numpy"]),
            ("solver.backends.mathopt", ["ortools", "pandas", "numpy"]),
            ("solver.backends.cbc", ["ortools", "pandas", "numpy"]),
            ("solver.backends.pulp_solvers", ["ortools", "pandas"]),
            ("solver", ["ortools", "pandas"]),
        ],
    )
    def test_nothing_heavy_at_import(self, module: str, banned: list[str]) -> None:
        """Importing our modules imports no solver."""
        code = f"import json, sys, {module}; print(json.dumps([name for name in {banned!r} if name in sys.modules]))"
        assert json.loads(_in_a_process(code)) == []

    def test_registry_is_quick(self) -> None:
        """Under 10 ms with room for a slow machine; 1 ms measured."""
        code = """
import solver.backends, time
start = time.perf_counter()
import solver.backends.registry
print((time.perf_counter() - start) * 1000)
"""
        assert min(float(_in_a_process(code)) for _ in range(3)) < 10


def test_holds_agrees_with_violation() -> None:
    """The back ends' own check of a plan: bounds and rows, each side."""
    milp = knapsack()
    good = {"a": Fraction(1), "b": Fraction(0), "c": Fraction(1)}
    assert holds(milp, good, Fraction(0))
    assert violation(milp, good) == 0
    for bad in (dict.fromkeys("abc", Fraction(1)), good | {"a": Fraction(-1)}, good | {"c": Fraction(3, 2)}):
        assert not holds(milp, bad, Fraction(0))
        assert violation(milp, bad) > 0
    assert enumerate_optimum(milp) == 17


def test_cpsat_presolve_does_not_make_a_feasible_model_infeasible():
    """CP-SAT 9.15.6755 with default parameters says INFEASIBLE; one more than a wrong answer is a wrong proof."""
    stored = json.loads((Path(__file__).parent / "data" / "cpsat_presolve.json").read_text())
    problem = pulp.LpProblem("trap", pulp.LpMaximize)
    bounds = stored["bounds"].items()
    variables = {name: pulp.LpVariable(name, low, high, pulp.LpInteger) for name, (low, high) in bounds}
    problem.setObjective(pulp.lpSum(value * variables[name] for name, value in stored["objective"].items()))
    for name, row, sense, right in stored["rows"]:
        left = pulp.lpSum(value * variables[variable] for variable, value in row.items())
        problem.addConstraint(left <= right if sense == -1 else left >= right, name)
    for presolve in (None, True, False):
        answer = CpSat(presolve).solve(Milp(problem), Controls())
        assert (answer.status, answer.bound) == ("optimal", 2), f"presolve {presolve}"
