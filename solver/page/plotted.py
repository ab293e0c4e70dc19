"""The plot of a frontier, by the ending of its file: an interactive page, or a picture for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from solver.files import write_whole
from solver.frontier import Frontier
from solver.page.document import document
from solver.page.envelopes import Envelope, Progress, envelopes_of
from solver.page.report import Report
from solver.planner import Options
from solver.plot import plot_frontier


def plotted(
    frontier: Frontier,
    path: Path,
    folder: Path,
    command: str,
    options: Options | None = None,
    progress: Progress | None = None,
    **swept: Any,
) -> None:
    """
    Writes the plot.

    Parameters
    ----------
    frontier
        The frontier.
    path
        ``.html``, ``.png`` or ``.svg``.
    folder
        The folder of the instance file.
    command
        The command that makes the plot, for the reader.
    options
        How to trace envelopes; None for a plot without them.
    progress
        Called as they are traced.
    **swept
        As for :func:`solver.page.envelopes.envelopes_of`.

    Raises
    ------
    costmodels.errors.InputError
        When a picture needs matplotlib and it is not installed.
    """
    envelopes: tuple[Envelope, ...] = ()
    if options is not None:
        envelopes = envelopes_of(frontier.instance, options, folder, progress, frontier, **swept)
    if path.suffix != ".html":
        return plot_frontier(frontier, path, envelopes)
    report = Report(frontier.instance, frontier.engines, None, frontier, envelopes=envelopes)
    return write_whole(path, document(report, command))
