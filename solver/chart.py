"""A frontier as a small chart of characters, for terminals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from solver.frontier import Frontier, FrontierPoint
from solver.plot import Y_LABELS, height
from solver.report import number

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the eight dots of a braille character, by row and column."""
LETTERS = {"colocated": "c", "disaggregated": "d", "hybrid": "h", "mixed": "m"}
WORDS = {"colocated": "co-located", "disaggregated": "disaggregated", "hybrid": "hybrid", "mixed": "mixed"}
LEAST_WIDTH, MOST_WIDTH = 40, 110
ROWS = 12


def chart_lines(frontier: Frontier, width: int, encoding: str = "utf-8") -> Iterator[str]:
    """
    The frontier as steps over the interactivity, and below them the mode that is best there.

    Parameters
    ----------
    frontier
        The frontier. Fewer than two points that decode give no chart.
    width
        Columns of the terminal.
    encoding
        Of the output: where it has no braille, the chart is plain ASCII.
    """
    points = [point for point in frontier.points if point.tokens_per_s_per_user is not None]
    if len(points) < 2:
        return
    is_plain = not _can("⣿", encoding)
    most = max(height(point) for point in points)
    label = max(len(number(most, 4)), 1)
    across = max(LEAST_WIDTH, min(width, MOST_WIDTH)) - label - 3
    best = [_best(points, (column + 0.5) / across) for column in range(across)]
    drawn = _plain(points, across, most) if is_plain else _braille(points, across, most)
    corner, upright, flat = ("+", "|", "-") if is_plain else ("└", "│", "─")
    yield f"{Y_LABELS[frontier.instance.objective]}"
    for row, text in enumerate(drawn):
        told = number(most * (ROWS - row) / ROWS, 4) if row % 4 == 0 else ""
        yield f"{told:>{label}} {upright}{text}".rstrip()
    yield f"{'0':>{label}} {corner}{flat * across}"
    yield f"{'':>{label}}  {_scale(points, across)}"
    modes = "".join("" if point is None else LETTERS[point.mode] for point in best)
    used = [mode for mode in LETTERS if any(point.mode == mode for point in points)]
    legend = ", ".join(f"{LETTERS[mode]} {WORDS[mode]}" for mode in used)
    yield f"{'':>{label}}  {modes}"
    yield f"{'':>{label}}  tokens/s/user; best mode: {legend}"


def _can(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _best(points: Sequence[FrontierPoint], share: float) -> FrontierPoint | None:
    """The point that holds at a share of the largest interactivity: the first that is at least so fast."""
    user = share * float(points[-1].tokens_per_s_per_user or 0)
    return next((point for point in points if float(point.tokens_per_s_per_user or 0) >= user), None)


def _levels(points: Sequence[FrontierPoint], across: int, most: float, high: int) -> list[int]:
    """For each column the row of the frontier, 0 at the bottom."""
    best = (_best(points, (column + 0.5) / across) for column in range(across))
    return [0 if point is None else round(height(point) / most * (high - 1)) for point in best]


def _braille(points: Sequence[FrontierPoint], across: int, most: float) -> list[str]:
    high = 4 * ROWS
    cells = [[0] * across for _ in range(ROWS)]
    levels = _levels(points, 2 * across, most, high)
    for column, level in enumerate(levels):
        before = levels[column - 1] if column else level
        for each in range(min(level, before), max(level, before) + 1):
            row = high - 1 - each
            cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]
    return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in cells]


def _plain(points: Sequence[FrontierPoint], across: int, most: float) -> list[str]:
    levels = _levels(points, across, most, ROWS)
    rows = [[" "] * across for _ in range(ROWS)]
    for column, level in enumerate(levels):
        before = levels[column - 1] if column else level
        for between in range(min(level, before) + 1, max(level, before)):
            rows[ROWS - 1 - between][column] = "|"
        rows[ROWS - 1 - level][column] = "*"
    return ["".join(row) for row in rows]


def _scale(points: Sequence[FrontierPoint], across: int) -> str:
    """Interactivities below the axis: at its start, at quarters, at its end."""
    line = [" "] * across
    for quarter in range(5):
        text = number(round(float(points[-1].tokens_per_s_per_user or 0) * quarter / 4, 1), 4)
        start = min(max(0, round(across * quarter / 4) - len(text) // 2), across - len(text))
        line[start : start + len(text)] = text
    return "".join(line).rstrip()
