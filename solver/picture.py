"""Pictures by matplotlib, which is optional: an empty one, and what is written to a file."""

from __future__ import annotations

import io
from typing import Any

from costmodels.errors import Fault, InputError


def blank(width: float, height: float) -> Any:
    """
    An empty matplotlib figure, sizes in inches; no window and no global state.

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401 - the whole of it, where parts are loaded already
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError([Fault("--plot", "needs matplotlib: pip install 'ratematch[plot]'")]) from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def rendered(figure: Any, kind: str, dpi: int) -> bytes:
    """A figure as a file of that kind (``png``, ``svg``), the same bytes on any day."""
    out = io.BytesIO()
    figure.savefig(out, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()
