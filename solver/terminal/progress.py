"""Progress of long work on standard error: what is done, for how long, and how long it may still take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.text import Text


class Tell(Protocol):
    """What work calls as it goes on."""

    def __call__(self, share: float | None = None, text: str = "", line: str = "") -> None:
        """The share that is done (0 to 1), what is going on, and a line to keep above the progress."""


class _Bar(BarColumn):
    """The share that is done; against a time limit, the time that has passed of it."""

    def render(self, task: Task) -> ProgressBar:
        """The bar."""
        if task.fields["limit_s"]:
            task.completed = min(task.fields["limit_s"], task.elapsed or 0.0)
        return super().render(task)


class _Left(TimeRemainingColumn):
    """The time left at the pace so far; against a time limit, what is left of it."""

    def render(self, task: Task) -> Text:
        """The time."""
        if not task.fields["limit_s"]:
            return super().render(task)
        left = max(0, round(task.fields["limit_s"] - (task.elapsed or 0.0)))
        return Text(f"{timedelta(seconds=left)}", style="progress.remaining")


class _Word(TextColumn):
    """What the time behind it means."""

    def render(self, task: Task) -> Text:
        """The word."""
        word = "to the limit" if task.fields["limit_s"] else "left"
        return Text("" if task.total is None else word)


@contextmanager
def shown(text: str, *, quiet: bool = False, limit_s: float | None = None) -> Iterator[Tell]:
    """
    Shows progress while the block runs, where standard error is a terminal; elsewhere only lines to keep are written.

    Parameters
    ----------
    text
        What is going on at first.
    quiet
        Whether to show nothing at all.
    limit_s
        Wall seconds after which the work ends; then the bar is the time that has passed, not the share that is done.
    """
    console = Console(stderr=True, quiet=quiet, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), _Bar(), TimeElapsedColumn(), _Left(), _Word(""))
    hidden = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(escape(text), total=limit_s or None, limit_s=limit_s)

        def tell(share: float | None = None, text: str = "", line: str = "") -> None:
            if line:
                console.print(line, markup=False, soft_wrap=True)
            if share is not None and not limit_s:
                bar.update(task, total=1.0, completed=share)
            if text:
                bar.update(task, description=escape(text))

        yield tell
