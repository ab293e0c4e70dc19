"""The documentation tells the truth: its commands, examples, tables and links are checked against the product."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

from solver.read import instance_from

ROOT = Path(__file__).parent.parent


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generate = _loaded()
PAGES = generate.PAGES
EVERY_PAGE = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "instances" / "README.md"]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_print_what_the_page_shows(page: Path) -> None:
    """Every console and python block runs, and prints what stands below it, times apart."""
    for shown in generate.run(page):
        if not shown.is_current:
            text = "\n".join(shown.printed)
            pytest.fail(f"{_name(page)}:{shown.start}: stale, run docs/generate.py; printed now:\n{text}")


@pytest.mark.parametrize(("name", "schema"), generate.FORMATS.items())
def test_tables_of_keys_are_current(name: str, schema: str) -> None:
    """The tables of keys are those of the schema."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    assert generate.with_keys(text, schema) == text


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_json_examples_are_read(page: Path) -> None:
    """Every JSON block is JSON; one that is an instance is a valid one."""
    for block in generate.blocks(page.read_text("utf-8")):
        if block.language == "json":
            document = json.loads("\n".join(block.lines), parse_float=Decimal)
            if isinstance(document, dict) and document.get("format") == "disagg-instance":
                assert instance_from(document).name == document["name"]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=_name)
def test_links_resolve(page: Path) -> None:
    """Links inside the repository lead to files and headings that are there."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{_name(page)}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M)
            assert anchor in map(generate.slug, headings), f"{_name(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_are_named_exist(page: Path) -> None:
    """A path of a source file in a page is one in the repository."""
    for name in re.findall(r"`((?:solver|costmodels|instances|tests|docs)/[\w/.-]+\.\w+)`", page.read_text("utf-8")):
        assert (ROOT / name).exists(), name


def test_readme_commands_are_those_of_ci() -> None:
    """The two commands of the README: the tests as CI runs them, and one that installs and solves."""
    readme, ci = (ROOT / "README.md").read_text("utf-8"), (ROOT / ".ci" / "run").read_text("utf-8")
    ci = ci.replace("--disable-pip-version-check ", "")
    found = re.findall(r"^(?:\$ )?(python3 -m venv \.venv && .+)$", readme, re.M)
    solve, tests = (line.split(" && ") for line in found)
    assert solve[2].startswith(".venv/bin/python -m solver solve ")
    assert all(part in ci for part in tests), tests
    assert tests[0] == solve[0]


def test_shown_output_is_compared() -> None:
    """The comparison itself: masks, lines left out, and a difference that counts."""
    assert generate.matches(["a", "...", "d"], ["a", "b", "c", "d"])
    assert not generate.matches(["a", "..."], ["b"])
    assert generate.masked("run: 5 solves, 0.374 s, OR-Tools 9.15.6755") == "run: N solves, T s, OR-Tools V"
    assert generate.masked("72 of 72 GPUs") != generate.masked("71 of 72 GPUs")
