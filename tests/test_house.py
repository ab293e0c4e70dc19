"""The house rules: layers, sizes, what an import costs, and who may print."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("costmodels", "instances", "solver")
PRODUCT = sorted([ROOT / "cli.py", *(file for layer in LAYERS for file in (ROOT / layer).rglob("*.py"))])
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60
MOST_LINES_OF_THE_CLI = 900  # a flat list of commands
HEAVY = ("numpy", "pandas", "pulp", "ortools", "networkx", "matplotlib", "rich", "highspy")

FORBIDDEN = {
    "costmodels": ("solver", "instances", "cli"),
    "instances": ("solver", "costmodels", "cli"),
    "solver": ("cli",),
}
"""Layer to what it must not know."""
ABOVE = {"solver/__main__.py"}
"""Files that may know the command line."""
TERMINAL = "solver/terminal/"
"""What commands share when they speak: the only part of the solver that may know click and rich."""
APART = ("formulation", "backends", "points", "columns", "optimise", "deployment", "stages", "measure", "placement",
         "handover", "kv_flows", "resources", "relaxation", "cover", "dual_bound", "multipliers", "dual")  # fmt: skip
"""Modules of the solver that the verifier must share nothing with."""


def named(file: Path) -> str:
    """A file as the tests name it."""
    return file.relative_to(ROOT).as_posix()


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text("utf-8"))


def imported(nodes: ast.AST) -> Iterator[str]:
    """Every module that is imported below a node, wherever that stands."""
    for node in ast.walk(nodes):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module":
            yield from (str(each.value) for each in node.args if isinstance(each, ast.Constant))


def is_of(module: str, package: str) -> bool:
    """Whether a module is a package or inside of it."""
    return module == package or module.startswith(f"{package}.")


def test_there_is_something_to_check() -> None:
    assert len(PRODUCT) > 40
    assert {"solver/planner.py", "solver/verifier.py", "costmodels/table.py", "cli.py"} <= {named(f) for f in PRODUCT}


@pytest.mark.parametrize("file", PRODUCT, ids=named)
def test_layers_look_one_way(file: Path) -> None:
    for package in FORBIDDEN.get(named(file).split("/")[0], ()):
        if named(file) not in ABOVE:
            assert [module for module in imported(parsed(file)) if is_of(module, package)] == []


VERIFIER = [file for file in PRODUCT if named(file).startswith("solver/verif")]


def behind(file: Path, seen: set[Path]) -> set[Path]:
    """The files of the solver that a file imports when it is loaded, directly or by way of others."""
    for module in imported(parsed(file)):
        for there in (ROOT / f"{module.replace('.', '/')}.py", ROOT / module.replace(".", "/") / "__init__.py"):
            if there in PRODUCT and there not in seen and named(there) != "solver/__init__.py":
                seen.add(there)
                behind(there, seen)
    return seen


@pytest.mark.parametrize("file", VERIFIER, ids=named)
def test_the_verifier_shares_nothing_with_what_it_checks(file: Path) -> None:
    wrong = {f"solver.{name}" for name in APART}
    assert [module for module in imported(parsed(file)) if any(is_of(module, name) for name in wrong)] == []
    for other in behind(file, set()):
        parts = named(other).removesuffix(".py").split("/")
        assert parts[0] != "solver" or parts[1] not in APART, f"{named(file)} reaches {named(other)}"
    assert [module for module in imported(parsed(file)) if is_of(module, "pulp") or is_of(module, "ortools")] == []


def test_the_verifier_is_there() -> None:
    assert len(VERIFIER) >= 5


@pytest.mark.parametrize("file", PRODUCT, ids=named)
def test_files_and_functions_are_short(file: Path) -> None:
    most = MOST_LINES_OF_THE_CLI if named(file) == "cli.py" else MOST_LINES
    assert len(file.read_text("utf-8").splitlines()) <= most
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{node.name}: {length} lines"


def definitions(body: list[ast.stmt], public: bool = True) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public classes, their public methods, and public functions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body)


@pytest.mark.parametrize("file", PRODUCT, ids=named)
def test_what_is_public_is_described(file: Path) -> None:
    tree = parsed(file)
    if tree.body:
        assert ast.get_docstring(tree), "the file says what it is for"
    assert [node.name for node in definitions(tree.body) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("file", PRODUCT, ids=named)
def test_only_the_command_line_prints(file: Path) -> None:
    calls = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.Call)]
    names = [node.func.id for node in calls if isinstance(node.func, ast.Name)]
    assert [name for name in names if name in ("print", "input", "breakpoint", "exec", "eval")] == []
    if named(file) != "cli.py":
        modules = [] if named(file).startswith(TERMINAL) else list(imported(parsed(file)))
        assert [module for module in modules if is_of(module, "click") or is_of(module, "rich")] == []
        assert [module for module in modules if is_of(module, "solver.terminal")] == []
        attributes = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.Attribute)]
        streams = [f"{a.value.id}.{a.attr}" for a in attributes if isinstance(a.value, ast.Name) and a.attr == "exit"]
        assert "sys.exit" not in streams


@pytest.mark.parametrize("file", PRODUCT, ids=named)
def test_no_file_loads_highspy(file: Path) -> None:
    """It shares a library with OR-Tools, and the two cannot live in one process."""
    assert [module for module in imported(parsed(file)) if is_of(module, "highspy")] == []


@pytest.mark.parametrize("file", [file for file in PRODUCT if named(file).startswith("costmodels/")], ids=named)
def test_cost_models_know_no_solver_library(file: Path) -> None:
    assert [m for m in imported(parsed(file)) if any(is_of(m, name) for name in ("pulp", "ortools", "networkx"))] == []


@pytest.mark.parametrize("file", PRODUCT, ids=named)
def test_exact_arithmetic_is_not_left_for_floats(file: Path) -> None:
    """``Fraction(0.1)`` is not a tenth: a float literal never becomes a rational."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Fraction", "Decimal"):
            floats = [a for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, float)]
            assert floats == []


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module", ["solver", "cli", "instances", "costmodels", "solver.read", "solver.backends.registry"]
)
def test_an_import_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    assert python(code) == ""


def test_the_public_names_are_there() -> None:
    code = "import solver; print(len(solver.__all__) > 5, all(hasattr(solver, name) for name in solver.__all__))"
    assert python(code) == "True True"
    assert python("import solver; print(hasattr(solver, 'no_such_name'))") == "False"


def test_the_top_level_is_what_the_design_says() -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in done.stdout.splitlines()}
    visible = {name for name in top if not name.startswith(".")}
    required = {"pyproject.toml", "solver", "costmodels", "instances", "tests", "cli.py"}
    allowed = required | {"docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "NOTICE"}
    assert required <= visible <= allowed
