"""The fields of a Hugging Face ``config.json``, read with a check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

Json = Mapping[str, object]

LARGEST = 10_000_000
"""No count in a configuration is larger."""


class Fields:
    """
    The fields of one configuration, read with a check; collects every fault.

    Parameters
    ----------
    values
        The object that describes the language model.
    path
        Its place in the file, such as ``$.text_config``.
    """

    def __init__(self, values: Json, path: str) -> None:
        self.values = values
        self.path = path
        self.faults: list[str] = []

    def fault(self, key: str, got: object, allowed: str) -> None:
        """Notes a fault of one field, once."""
        text = got if got == "nothing" else json.dumps(got)
        line = f"{self.path}.{key}: got {str(text)[:80]}, allowed: {allowed}"
        if line not in self.faults:
            self.faults.append(line)

    def sound(self, *keys: str) -> bool:
        """Whether no fault was noted of any of the fields."""
        return not any(f"{self.path}.{key}: " in line for key in keys for line in self.faults)

    def has(self, key: str) -> bool:
        """Whether a field is there and not null."""
        return self.values.get(key) is not None

    def count(self, *keys: str, low: int = 1, default: int | None = None) -> int:
        """
        A whole number, by the first of its names that is there.

        Parameters
        ----------
        keys
            The names of the field in the versions of the format.
        low
            Smallest allowed value.
        default
            Value where the field is missing or null; None where it must be there.
        """
        key = next((name for name in keys if self.has(name)), None)
        if key is None:
            if default is None:
                self.fault(keys[0], "nothing", f"a whole number from {low} to {LARGEST}")
            return low if default is None else default
        value = self.values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= LARGEST:
            self.fault(key, value, f"a whole number from {low} to {LARGEST}")
            return low
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.fault(key, value, "true or false")
        return default

    def listed(self, key: str) -> list[object] | None:
        """A list; None where the field is missing or null."""
        value = self.values.get(key)
        if value is None or isinstance(value, list):
            return value
        self.fault(key, value, "a list")
        return None


def read_object(file: Path) -> Json:
    """
    The JSON object that a file holds.

    Parameters
    ----------
    file
        A JSON file in UTF-8.

    Raises
    ------
    ValueError
        When it cannot be read, is not JSON, holds a key twice, or holds something else than an object.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
        return found

    try:
        found = json.loads(file.read_text("utf-8"), object_pairs_hook=unique)
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: got {json.dumps(found)[:80]}, allowed: a JSON object")
    return found
