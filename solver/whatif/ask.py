"""What is asked: the axis, whom it concerns, and the values, read from ``gpus.h200=8:576``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from costmodels.errors import Fault, InputError

MOST_VALUES = 2000
"""Values that one question may list."""
WHOLE = ("gpus", "isl", "osl")
KEYS = ("gpus", "ttft_ms", "tpot_ms", "e2el_ms", "isl", "osl", "price", "request_rate", "usd_per_hour", "watts")
LARGEST = {"gpus": 10**5, "isl": 10**7, "osl": 10**7}
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,12})?(/\d{1,12})?")
_WAY_OUT = "give KEY[.NAME]=A:B, A:B:STEP or A,B,C, such as gpus=8:576"


@dataclass(frozen=True)
class Ask:
    """
    A question.

    Parameters
    ----------
    key
        The axis, one of :data:`KEYS`.
    name
        The pool or workload named, or an empty string.
    low, high
        The ends of the range.
    values
        The values asked for, ascending; empty where the whole range is.
    text
        The question as written.
    """

    key: str
    name: str
    low: Fraction
    high: Fraction
    values: tuple[Fraction, ...]
    text: str

    @classmethod
    def read(cls, text: str) -> Ask:
        """
        Reads a question.

        Raises
        ------
        InputError
            With every fault.
        """
        left, equals, right = text.rpartition("=")
        key, _, name = left.partition(".")
        if not equals or key not in KEYS:
            raise InputError([Fault("--vary", f"got {text}, KEY must be one of {', '.join(KEYS)}; {_WAY_OUT}")])
        faults: list[Fault] = []
        values = _values(key, right, faults)
        if faults:
            raise InputError(faults)
        is_range = ":" in right and right.count(":") == 1
        if is_range and key in ("isl", "osl") and values[0] != values[-1]:
            text = f"got {right}, {key} is priced value by value: give a step ({right}:STEP) or a list"
            raise InputError([Fault("--vary", text)])
        whole = is_range and key not in ("isl", "osl")
        return cls(key, name, values[0], values[-1], () if whole else tuple(values), text)


def _values(key: str, text: str, faults: list[Fault]) -> list[Fraction]:
    """The values of a list or of a range with a step; the two ends of a range without."""
    parts = text.split(":") if ":" in text else text.split(",")
    numbers = [number for part in parts if (number := _number(key, part, faults)) is not None]
    if faults:
        return []
    if ":" not in text:
        if len(numbers) > MOST_VALUES:
            faults.append(Fault("--vary", f"got {len(numbers)} values, at most {MOST_VALUES} are allowed"))
        return sorted(set(numbers))
    if len(parts) > 3:
        faults.append(Fault("--vary", f"got {text}, a range is A:B or A:B:STEP"))
        return []
    low, high = numbers[:2]
    if low > high:
        faults.append(Fault("--vary", f"got {text}, the range must rise: write {parts[1]}:{parts[0]}"))
    if len(numbers) == 2 or faults:
        return [low, high]
    step = numbers[2]
    count = (high - low) // step + 1 if step else 0
    if not 1 <= count <= MOST_VALUES:
        faults.append(Fault("--vary", f"got {text}, the step must be positive and give at most {MOST_VALUES} values"))
        return []
    return [low + index * step for index in range(int(count))]


def _number(key: str, word: str, faults: list[Fault]) -> Fraction | None:
    number: Fraction | None = None
    if _NUMBER.fullmatch(word):
        above, _, below = word.partition("/")
        number = None if below and not int(below) else Fraction(above) / int(below or 1)
    if number is None:
        faults.append(Fault("--vary", f"got {word!r}, must be a number such as 30 or 2.5; {_WAY_OUT}"))
    elif key in WHOLE and number.denominator != 1:
        faults.append(Fault("--vary", f"got {word}, {key} must be whole"))
    elif number > LARGEST.get(key, 10**12):
        faults.append(Fault("--vary", f"got {word}, {key} must be at most {LARGEST.get(key, 10**12)}"))
    elif number == 0 and key not in ("price", "usd_per_hour", "watts"):
        faults.append(Fault("--vary", f"got {word}, {key} must be positive"))
    else:
        return number
    return None
