"""YAML and shell text of an export; always through PyYAML and shlex, never pasted together."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
_WIDTH = 10_000
"""Lines are not folded: a folded flag is hard to read and to search."""


class Shell(str):
    """A word that the shell expands, quoted as it must be; all other words are quoted so that nothing is expanded."""


def yaml_text(documents: Sequence[Document], header: Sequence[str]) -> str:
    """
    YAML documents below a comment.

    Parameters
    ----------
    documents
        Plain dictionaries, keys in the order in which they are to stand.
    header
        Lines of the comment.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        """Indented lists, and texts of several lines as blocks."""

        def increase_indent(self, flow: bool = False, *_: object, **__: object) -> None:
            """Lists are indented, as people write them."""
            super().increase_indent(flow, False)

        def ignore_aliases(self, *_: object) -> bool:
            """What stands twice is written twice."""
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    body = yaml.dump_all(
        list(documents),
        Dumper=Dumper,
        sort_keys=False,
        width=_WIDTH,
        allow_unicode=True,
        explicit_start=len(documents) > 1,
    )
    return comment(header) + str(body)


def comment(lines: Sequence[str]) -> str:
    """Lines as a comment, each on one line whatever the file said."""
    return "".join(f"# {_printable(line)}".rstrip() + "\n" for line in lines)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def command(words: Sequence[str], indent: str = "  ") -> str:
    """A shell command, each flag with its value on a line of its own."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--") and lines[-1]:
            lines.append([])
        lines[-1].append(str(word) if isinstance(word, Shell) else shlex.quote(word))
    return f" \\\n{indent}".join(" ".join(line) for line in lines)


def script(header: Sequence[str], body: Sequence[str]) -> str:
    """A bash script."""
    return "#!/usr/bin/env bash\n" + comment(header) + "set -euo pipefail\n\n" + "\n".join(body) + "\n"
