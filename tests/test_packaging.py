"""The wheel carries what a user needs, and works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import costmodels
import instances

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "solver" / "page"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked files, so that nothing is left in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    assert list(out.glob("ratematch-*.tar.gz"))
    return next(out.glob("ratematch-*.whl"))


def test_the_wheel_holds_instances_tables_and_schema(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    folder = Path(instances.__file__).parent
    wanted = {f"instances/{name}.json" for name in instances.names()}
    wanted |= {f"instances/curves/{file.name}" for file in (folder / "curves").iterdir()}
    wanted |= {"instances/optima.csv", "instances/README.md", "solver/instance_schema.json", "cli.py"}
    wanted |= {"solver/manifests/schemas/flags.json", "solver/manifests/schemas/kubernetes.json"}
    data = Path(costmodels.__file__).parent / "data"
    wanted |= {f"costmodels/data/{file.name}" for file in data.iterdir()}
    wanted |= {f"instances/traffic/{file.name}" for file in (folder / "traffic").iterdir()}
    wanted |= {f"solver/page/{file.name}" for file in PAGE.iterdir() if file.suffix in (".html", ".css", ".js")}
    assert wanted <= names
    assert "solver/page/main.js" in wanted
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-m", "solver", "solve", "llama-8b-h100-8", "-o", "result.json"]
    done = subprocess.run(
        command, cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "OPTIMAL" in done.stdout
    assert [file.name for file in elsewhere.iterdir()] == ["result.json"]
