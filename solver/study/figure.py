"""What a figure of the study holds: named series of rows, and how they are to be read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Series:
    """
    One line or set of points.

    Parameters
    ----------
    name
        What it is, as the legend says it.
    rows
        Its points: column name to number or text.
    panel
        Which panel of the figure it belongs to.
    source
        Where measured points are from; empty for our own.
    """

    name: str
    rows: list[Row]
    panel: str = ""
    source: str = ""

    def values(self, column: str) -> list[float]:
        """One column as numbers."""
        return [float(row[column]) for row in self.rows]


@dataclass(frozen=True)
class Axes:
    """
    How the panels of a figure are drawn.

    Parameters
    ----------
    x, y
        Columns of the rows.
    x_label, y_label
        What they are, with units.
    log_x, log_y
        Whether an axis is logarithmic.
    y_from
        Where the vertical axis begins.
    """

    x: str
    y: str
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False
    y_from: float = 0.0


@dataclass(frozen=True)
class Figure:
    """
    A figure.

    Parameters
    ----------
    number
        Its number in the paper.
    title
        What it shows.
    axes
        How it is drawn.
    series
        What it holds.
    notes
        What a reader should know of it.
    panel_axes
        Axes of panels that are not drawn as the others.
    """

    number: int
    title: str
    axes: Axes
    series: list[Series]
    notes: list[str] = field(default_factory=list)
    panel_axes: dict[str, Axes] = field(default_factory=dict)

    def of(self, name: str, panel: str = "") -> Series:
        """The series of that name, in a panel where several have it."""
        return next(s for s in self.series if s.name == name and (not panel or s.panel == panel))

    def panels(self) -> list[str]:
        """The panels, in order of appearance."""
        return list(dict.fromkeys(series.panel for series in self.series))

    def as_dict(self) -> dict[str, Any]:
        """For the file of the figure."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Figure:
        """From the file of a figure."""
        axes, series = Axes(**document["axes"]), [Series(**each) for each in document["series"]]
        others = {panel: Axes(**each) for panel, each in document["panel_axes"].items()}
        return cls(document["number"], document["title"], axes, series, document["notes"], others)

    def as_csv(self) -> str:
        """One row a point, with panel, series and source first."""
        columns = list(dict.fromkeys(name for series in self.series for row in series.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, ["panel", "series", *columns, "source"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows())
        return text.getvalue()

    def _rows(self) -> Iterator[Row]:
        for series in self.series:
            for row in series.rows:
                yield {"panel": series.panel, "series": series.name, **row, "source": series.source}
