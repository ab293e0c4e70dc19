"""The chart of a frontier in characters: heights, modes, widths, and plain ASCII where nothing else is possible."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

import instances
from solver.chart import LETTERS, ROWS, chart_lines
from solver.frontier import Frontier
from solver.planner import trace

ROOT = Path(__file__).parents[2]


@cache
def traced(name: str) -> Frontier:
    return trace(instances.path(name))


def body(lines: list[str]) -> list[str]:
    """The rows between title and axis, without labels."""
    return [line[line.index("│" if "│" in line else "|") + 1 :] for line in lines[1 : 1 + ROWS]]


@pytest.mark.parametrize("name", ["llama-70b-h200-72", "two-models-h100-48-cost", "deepseek-v3-gb200-144"])
@pytest.mark.parametrize("width", [30, 80, 300])
def test_the_curve_stands_where_the_values_do(name: str, width: int) -> None:
    """Each column, counted again from the points: the row of the first point that is fast enough, to one row."""
    found = traced(name)
    rows = body(list(chart_lines(found, width, "ascii")))
    across = max(len(row) for row in rows)
    assert 25 < across <= 110
    points = [p for p in found.points if p.tokens_per_s_per_user is not None]
    value = {id(p): p.value if found.instance.is_minimised else p.deployment.tokens_per_s_per_gpu for p in points}
    most, fastest = max(value.values()), points[-1].tokens_per_s_per_user
    assert fastest is not None
    axis = len(list(chart_lines(found, width, "ascii"))[1 + ROWS].split("+")[1])
    for column in range(axis):
        user = Fraction(2 * column + 1, 2 * axis) * fastest
        point = next(p for p in points if (p.tokens_per_s_per_user or 0) >= user)
        stars = [ROWS - 1 - row for row, text in enumerate(rows) if text[column : column + 1] == "*"]
        assert len(stars) == 1
        assert abs(stars[0] - value[id(point)] / most * (ROWS - 1)) <= Fraction(1, 2) + Fraction(1, 10**6)


def test_the_strip_names_the_best_mode() -> None:
    found = traced("llama-70b-h200-72")
    lines = list(chart_lines(found, 100))
    strip = lines[-2].strip()
    points = found.points
    for column, letter in enumerate(strip):
        user = Fraction(2 * column + 1, 2 * len(strip)) * (points[-1].tokens_per_s_per_user or 0)
        point = next(p for p in points if (p.tokens_per_s_per_user or 0) >= user)
        assert letter == LETTERS[point.mode]
    assert set(strip) == {"c", "d"}
    assert lines[-1].endswith("c co-located, d disaggregated")


def test_braille_where_it_can_be_written() -> None:
    found = traced("llama-70b-h200-72")
    braille, plain = ("\n".join(chart_lines(found, 80, encoding)) for encoding in ("utf-8", "latin-1"))
    assert any(0x2800 < ord(c) < 0x2900 for c in braille)
    plain.encode("ascii")
    assert all(len(line) <= 80 for line in (*braille.splitlines(), *plain.splitlines()[:-1]))
    assert braille.splitlines()[-3] == plain.splitlines()[-3]


def test_one_point_is_no_chart() -> None:
    assert list(chart_lines(traced("tiny-tie"), 80)) == []
    assert list(chart_lines(traced("tiny-prompts-only"), 80)) == []


def test_a_chart_is_printed_when_asked_for_and_fits_the_encoding() -> None:
    command = [sys.executable, "-m", "solver", "frontier", "llama-70b-h200-72"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    piped, asked = (
        subprocess.run([*command, *more], cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
        for more in ([], ["--chart"])
    )
    assert "best mode" not in piped
    assert "best mode: c co-located, d disaggregated" in asked
    assert asked.isascii()
