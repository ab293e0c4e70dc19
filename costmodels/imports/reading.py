"""What is read from a foreign file: checked values with their place, and everything that must be said about them."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from costmodels.errors import Fault

TIME_MS = {
    **dict.fromkeys(("ns", "nanoseconds"), 1e-6),
    **dict.fromkeys(("us", "µs", "microseconds"), 1e-3),
    **dict.fromkeys(("ms", "milliseconds", "ms/token", "ms/tokens"), 1.0),
    **dict.fromkeys(("s", "sec", "seconds", "s/token", "s/tokens"), 1e3),
}
"""Unit of time, as tools print it -> ms."""
RATE_PER_S = dict.fromkeys(("requests/sec", "requests/s", "req/s", "req/sec", "queries/s"), 1.0)
"""Unit of a request rate -> requests/s."""
TOKENS = dict.fromkeys(("tokens", "token", "count"), 1.0)
"""Unit of a length -> tokens."""
REQUESTS = dict.fromkeys(("requests", "request", "count"), 1.0)
"""Unit of a number of requests -> requests."""


@dataclass
class Reading:
    """
    What an import collects over all files.

    Parameters
    ----------
    faults
        What is wrong with the files; any of them stops the import.
    asked
        Options that no file could stand in for, each with the first place that needed it.
    notes
        Remarks to print -> how often.
    dropped
        Why a measurement was left out -> how often.
    unread
        Fields of the files that the importer does not know -> how often.
    """

    faults: list[Fault] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Node:
    """
    A value of a file with its place; the methods read the fields of an object and collect faults.

    Parameters
    ----------
    file
        The file as the user named it.
    path
        JSON path of the value, such as ``$.benchmarks[0].metrics``.
    value
        The value.
    reading
        Where faults go.
    """

    file: str
    path: str
    value: Any
    reading: Reading

    @property
    def where(self) -> str:
        """The place for messages."""
        return f"{self.file} {self.path}"

    def fault(self, text: str, key: str = "") -> None:
        """Records a fault of this value, or of one of its fields."""
        self.reading.faults.append(Fault(self.where + (f".{key}" if key else ""), text))

    def has(self, key: str) -> bool:
        """Whether the object has the field, with a value other than null."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def child(self, key: str, required: bool = True) -> Node | None:
        """A field that is an object."""
        return self._typed(key, dict, "an object", required)

    def elements(self, key: str, required: bool = True) -> list[Node]:
        """The items of a field that is an array; none where it is missing or empty."""
        array = self._typed(key, list, "an array", required)
        return list(array.items()) if array else []

    def items(self) -> Iterator[Node]:
        """The items of an array."""
        for index, value in enumerate(self.value):
            yield Node(self.file, f"{self.path}[{index}]", value, self.reading)

    def _typed(self, key: str, kind: type, name: str, required: bool) -> Node | None:
        if not self.has(key):
            if required:
                self.fault(f"missing; must be {name}", key)
            return None
        value = self.value[key]
        if not isinstance(value, kind):
            self.fault(f"got {brief(value)}, must be {name}", key)
            return None
        return Node(self.file, f"{self.path}.{key}", value, self.reading)

    def number(self, key: str, required: bool = True, zero: bool = False) -> float | None:
        """
        A finite number above 0 (or from 0 on).

        Parameters
        ----------
        key
            The field.
        required
            Whether its absence is a fault.
        zero
            Whether 0 is allowed.
        """
        allowed = "a finite number of at least 0" if zero else "a finite number above 0"
        if not self.has(key):
            if required:
                self.fault(f"missing; must be {allowed}", key)
            return None
        value = self.value[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault(f"got {brief(value)}, must be {allowed}", key)
            return None
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
            self.fault(f"got {brief(value)}, must be {allowed}", key)
            return None
        return number

    def whole(self, key: str, required: bool = True, zero: bool = False) -> int | None:
        """A whole number from 1 (or 0) on; text that holds one is taken as it."""
        least = 0 if zero else 1
        if not self.has(key):
            if required:
                self.fault(f"missing; must be a whole number of at least {least}", key)
            return None
        value = self.value[key]
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 10**12:
            self.fault(f"got {brief(value)}, must be a whole number of at least {least}", key)
            return None
        return value

    def text(self, key: str, required: bool = True) -> str | None:
        """A text that is not empty."""
        if not self.has(key):
            if required:
                self.fault("missing; must be a text", key)
            return None
        value = self.value[key]
        if not isinstance(value, str) or not value.strip():
            self.fault(f"got {brief(value)}, must be a text", key)
            return None
        return value.strip()

    def flag(self, key: str) -> bool | None:
        """A truth value, or the words ``true`` and ``false``; None where it is missing."""
        if not self.has(key):
            return None
        value = self.value[key]
        word = value.lower() if isinstance(value, str) else value
        if isinstance(word, bool):
            return word
        if word in ("true", "false"):
            return bool(word == "true")
        self.fault(f"got {brief(value)}, must be true or false", key)
        return None

    def measured(self, value: str, unit: str, units: dict[str, float], zero: bool = False) -> float | None:
        """
        A number with a unit beside it, converted.

        Parameters
        ----------
        value, unit
            The fields that hold the number and its unit.
        units
            Known units and what one of them is worth.
        zero
            Whether 0 is allowed.
        """
        number = self.number(value, zero=zero)
        name = self.text(unit)
        if number is None or name is None:
            return None
        if name not in units:
            self.fault(f"unit {name!r} is not known here; allowed are {', '.join(units)}", unit)
            return None
        return number * units[name]

    def count_unread(self, known: Container[str], pattern: str = "(?!)", prefix: str = "") -> None:
        """Counts the fields of an object that are neither known nor match the pattern."""
        for key in self.value if isinstance(self.value, dict) else ():
            if key not in known and not re.fullmatch(pattern, key):
                self.reading.unread[prefix + key] += 1


def brief(value: object) -> str:
    """A value for a message, cut to a readable length."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def content(path: Path, reading: Reading) -> str | None:
    """The text of a file, plain or gzip; None with a fault where it cannot be had."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reading.faults.append(Fault(str(path), f"not UTF-8 text (byte {error.start})"))
    except (OSError, EOFError, zlib.error) as error:
        reading.faults.append(Fault(str(path), f"cannot be read: {getattr(error, 'strerror', None) or error}"))
    else:
        if text.strip():
            return text
        reading.faults.append(Fault(str(path), "the file is empty"))
    return None


def json_of(path: Path, reading: Reading) -> Node | None:
    """The JSON value of a file."""
    text = content(path, reading)
    return None if text is None else _parsed(text, str(path), "$", reading)


def json_lines_of(path: Path, reading: Reading) -> list[Node]:
    """The JSON objects of a file with one per line; blank lines are skipped."""
    text = content(path, reading)
    lines = [(i, line) for i, line in enumerate((text or "").split("\n"), 1) if line.strip()]
    nodes = [_parsed(line, f"{path}:{number}", "$", reading) for number, line in lines]
    for node in nodes:
        if node and not isinstance(node.value, dict):
            node.fault(f"got {brief(node.value)}, must be an object; is this the format of the file?")
    return [node for node in nodes if node and isinstance(node.value, dict)]


def _parsed(text: str, file: str, path: str, reading: Reading) -> Node | None:
    try:
        return Node(file, path, json.loads(text, object_pairs_hook=_object), reading)
    except json.JSONDecodeError as error:
        where = f"{file}" if ":" in file and error.lineno == 1 else f"{file}:{error.lineno}"
        reading.faults.append(Fault(where, f"not JSON: {error.msg} at column {error.colno}"))
    except RecursionError:
        reading.faults.append(Fault(file, "nested too deeply to be a measurement"))
    except ValueError as error:
        reading.faults.append(Fault(file, f"not usable JSON: {error}"))
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object; keep one")
    return fields
