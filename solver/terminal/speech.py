"""How commands speak: lines for people, one JSON document for machines, or nothing; and how they fail."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from costmodels.errors import Fault
    from solver.frontier import Frontier

Command = TypeVar("Command", bound=Callable[..., Any])

VERDICTS = {
    "INFEASIBLE": "red",
    "OPTIMAL": "green",
    "FEASIBLE": "yellow",
    "UNKNOWN": "red",
    "REFUTED": "red",
    "verified exactly": "green",
    "NOT COMPLETE": "yellow",
    "<- binds": "yellow",
    "DEVIATES": "red",
}
"""Words that a reader looks for, and their colours."""


def listen(ctx: click.Context) -> None:
    """Notes at the start how the command that follows is asked to speak; faults need to know before it is parsed."""
    ctx.meta.update(json="--json" in ctx.args, quiet=False, verbose=False)


def _flag(name: str, text: str, *short: str) -> Callable[[Command], Command]:
    """An option that is noted here and not handed to the command."""

    def note(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.meta[name] = ctx.meta.get(name, False) or value

    return click.option(f"--{name}", *short, is_flag=True, expose_value=False, callback=note, help=text)


quiet = _flag("quiet", "Print faults only; exit code and files tell the rest.", "-q")
as_json = _flag("json", "Print one JSON document and nothing else.")
verbose = _flag("verbose", "Write the solver's log to standard error.")


def spoken(command: Command) -> Command:
    """The options of a command that machines may ask too: --quiet, --json."""
    return quiet(as_json(command))


def is_json() -> bool:
    """Whether one JSON document is wanted."""
    return bool(click.get_current_context().meta["json"])


def is_silent() -> bool:
    """Whether no progress is shown: nobody wants it, or the solver's log would break it."""
    meta = click.get_current_context().meta
    return bool(meta["quiet"] or meta["verbose"])


def log() -> Callable[[str], object] | None:
    """Where the solver's log goes, if anywhere."""
    return (lambda line: click.echo(line, err=True)) if click.get_current_context().meta["verbose"] else None


def tell(lines: Iterable[str], document: Callable[[], Mapping[str, Any]] | None = None) -> None:
    """What a command found, as it was asked for; a command without a document has no --json."""
    if is_json() and document is not None:
        _echo_json(document())
    elif not click.get_current_context().meta["quiet"]:
        for line in lines:
            click.echo(_coloured(line))


def fail(*faults: Fault | str) -> NoReturn:
    """Bad input: each fault on a line, exit code 2."""
    for fault in faults:
        click.echo(f"error: {fault}", err=True)
    end(2, *faults)


def end(code: int, *faults: Fault | str) -> NoReturn:
    """Ends with an exit code; for machines with a document that says why."""
    if is_json():
        told = [{"where": getattr(fault, "where", ""), "text": getattr(fault, "text", str(fault))} for fault in faults]
        _echo_json({"format": "disagg-error", "version": 1, "exit_code": code, "faults": told})
    click.get_current_context().exit(code)


def chart(frontier: Frontier, wanted: bool | None) -> list[str]:
    """The chart of a frontier under an empty line, where it is wanted: by default where a terminal shows it."""
    from solver.chart import chart_lines

    if not (sys.stdout.isatty() if wanted is None else wanted):
        return []
    lines = list(chart_lines(frontier, shutil.get_terminal_size().columns, sys.stdout.encoding or "ascii"))
    return ["", *lines] if lines else []


def command_line() -> str:
    """The command that is running, as a user may type it again."""
    import shlex

    return shlex.join(["python", "-m", "solver", *sys.argv[1:]])


def _echo_json(document: Mapping[str, Any]) -> None:
    from solver.result import to_json

    click.echo(to_json(document), nl=False)


def _coloured(line: str) -> str:
    """A line with its verdict in colour; click leaves the colour out where nobody would see it."""
    for word, colour in VERDICTS.items():
        if re.search(rf"(?<!\w){word}(?!\w)", line):
            return line.replace(word, click.style(word, fg=colour, bold=True), 1)
    return line
