"""
Makes the pages of ``docs`` a site (``mkdocs build --strict -f .mkdocs.yml``); the pages themselves stay plain Markdown.

* README, CONTRIBUTING, CHANGELOG and ``instances/README.md`` become pages of the folder ``project``; links lead there.
* Links to other files of the repository show the file's name: a site holds no source.
* ``<!-- code: FILE NAME -->`` becomes a fold with the source of that function: mathematics and code stand together.
* Every decision is in the navigation.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PROJECT = {
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "instances/README.md": "project/instances.md",
}
"""Pages outside of ``docs``, and where they stand in the site."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
CODE = re.compile(r"^<!-- code: (\S+) (\w+) -->$", re.M)


def on_config(config: Any) -> Any:
    """Fills the navigation with the decisions there are."""
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    config["nav"][-1]["Decisions"] = [f"decisions/{file.name}" for file in decisions]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that stand outside of ``docs``."""
    for source, page in PROJECT.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page with links that lead inside the site, and code beside mathematics."""
    here = page.file.src_uri
    origin = next((source for source, name in PROJECT.items() if name == here), f"docs/{here}")
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.S | re.M)
    linked = (part if i % 2 else LINK.sub(lambda m: _link(m, origin, here), part) for i, part in enumerate(parts))
    return CODE.sub(lambda m: _fold(m[1], m[2]), "".join(linked))


def _link(match: re.Match[str], origin: str, here: str) -> str:
    """A link of a page, by the place that its target has in the site."""
    picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
    if "://" in target or target.startswith("mailto:"):
        return match[0]
    file = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    inside = PROJECT.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else "")
    if not inside or inside.endswith(".py"):
        return f"{text} (`{file}`)" if text.strip("`") != file else f"`{file}`"
    return f"{picture}[{text}]({posixpath.relpath(inside, posixpath.dirname(here))}{anchor})"


def _fold(file: str, name: str) -> str:
    """The source of a function or class, folded."""
    text = (ROOT / file).read_text("utf-8")
    node = next(n for n in ast.walk(ast.parse(text)) if getattr(n, "name", "") == name)
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    body = "\n".join(f"    {line}" for line in ["```python", *lines, "```"])
    return f'??? note "Code: `{name}` in `{file}`"\n\n{body}\n'
