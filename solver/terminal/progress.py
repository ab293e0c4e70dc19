"""Progress of long work on standard error: what is done, for how long, and how long it may still take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Tell(Protocol):
    """What work calls as it goes on."""

    def __call__(self, share: float | None = None, text: str = "", line: str = "") -> None:
        """The share that is done (0 to 1), what is going on, and a line to keep above the progress."""


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
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=quiet, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    left = TimeRemainingColumn(elapsed_when_finished=True)
    started = time.monotonic()
    with Progress(
        *columns, TextColumn("left"), left, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task(escape(text), total=limit_s or None)

        def tell(share: float | None = None, text: str = "", line: str = "") -> None:
            if line:
                console.print(line, markup=False, soft_wrap=True)
            if share is not None and limit_s is None:
                bar.update(task, total=1.0, completed=share)
            if limit_s is not None:
                bar.update(task, completed=min(limit_s, time.monotonic() - started))
            if text:
                bar.update(task, description=escape(text))

        yield tell
