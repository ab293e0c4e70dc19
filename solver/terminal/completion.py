"""What a shell completes: the names of built-in instances, and the scripts that make it ask."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "ratematch"


def instances(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The built-in instances that start so; where none does, files."""
    from instances import names

    found = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def script(command: click.Command, shell: str) -> str:
    """The script that a shell reads so as to complete the installed program."""
    found = get_completion_class(shell)
    if found is None:
        raise ValueError(f"shell must be one of {', '.join(SHELLS)}; got {shell}")
    return found(command, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source()
