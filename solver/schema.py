"""Checks a JSON document against the shipped JSON Schema; every fault is located and none hides another."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from costmodels.errors import Fault

Json = Any
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, Decimal),
    "boolean": (bool,),
    "null": (type(None),),
}
_NAMES = {"object": "an object", "array": "a list", "string": "a text", "integer": "a whole number",
          "number": "a number", "boolean": "true or false", "null": "null"}  # fmt: skip


@dataclass(frozen=True)
class NotANumber:
    """A word where a number should stand: NaN, Infinity, or more digits than anybody needs."""

    word: str

    def __str__(self) -> str:
        return self.word


class Object(dict[str, Json]):
    """
    A JSON object that remembers which keys were given twice.

    Parameters
    ----------
    pairs
        Keys and values as they stand in the file.
    """

    def __init__(self, pairs: list[tuple[str, Json]]) -> None:
        super().__init__(pairs)
        self.twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]


@cache
def instance_schema() -> dict[str, Json]:
    """The JSON Schema (2020-12) of instance files. ``x-`` keywords carry what JSON Schema has no word for."""
    schema: dict[str, Json] = json.loads(Path(__file__).with_name("instance_schema.json").read_text("utf-8"))
    return schema


def faults_of(value: Json, schema: dict[str, Json], where: str = "$") -> list[Fault]:
    """
    The faults of a value.

    Parameters
    ----------
    value
        Parsed JSON, decimals as ``Decimal``.
    schema
        The part of the schema that applies.
    where
        The path of the value.
    """
    if "oneOf" in schema:
        return _alternatives(value, schema, where)
    wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not _is_a(value, wanted):
        return [Fault(where, f"got {shown(value)}, must be {' or '.join(_NAMES[name] for name in wanted)}")]
    if isinstance(value, dict):
        return _object(value, schema, where)
    if isinstance(value, list):
        return _array(value, schema, where)
    text = _scalar(value, schema)
    return [Fault(where, text)] if text else []


def shown(value: Json) -> str:
    """A value as an error message shows it: short, on one line."""
    text = str(value) if isinstance(value, (Decimal, NotANumber)) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_a(value: Json, names: list[str]) -> bool:
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, _TYPES[name]) for name in names if name != "boolean")


def _object(value: dict[str, Json], schema: dict[str, Json], where: str) -> list[Fault]:
    faults = [
        Fault(f"{where}.{name}", "is missing; " + schema["properties"][name].get("description", "it must be given"))
        for name in schema["required"]
        if name not in value
    ]
    faults += _missing_alternative(value, schema, where)
    faults += [Fault(f"{where}.{name}", "is given twice; keep one") for name in getattr(value, "twice", ())]
    rest = schema["additionalProperties"]
    for name, item in value.items():
        if name in schema["properties"]:
            faults += faults_of(item, schema["properties"][name], f"{where}.{name}")
        elif rest is False:
            allowed = ", ".join(schema["properties"])
            faults.append(Fault(f"{where}.{name}", f"unknown key; allowed are {allowed}"))
        else:
            faults += faults_of(item, rest, f"{where}.{name}")
    return faults


def _missing_alternative(value: dict[str, Json], schema: dict[str, Json], where: str) -> list[Fault]:
    """Of ``anyOf`` sets of required keys none is complete: what is missing of the one that is nearest."""
    missing = [[name for name in option["required"] if name not in value] for option in schema.get("anyOf", ())]
    if not missing or [] in missing:
        return []
    names = [option["required"] for option in schema["anyOf"]]
    given = [len(wanted) - len(absent) for wanted, absent in zip(names, missing, strict=True)]
    nearest = given.index(max(given))
    instead = "".join(f"; or give {' and '.join(other)} instead" for other in names if other is not names[nearest])
    return [
        Fault(f"{where}.{name}", f"is missing; {schema['properties'][name]['description']}{instead}")
        for name in missing[nearest]
    ]


def _array(value: list[Json], schema: dict[str, Json], where: str) -> list[Fault]:
    faults = [f for i, item in enumerate(value) for f in faults_of(item, schema["items"], f"{where}[{i}]")]
    if len(value) < schema.get("minItems", 0):
        faults.append(Fault(where, f"has {len(value)} entries, must have at least {schema['minItems']}"))
    if len(value) > schema.get("maxItems", len(value)):
        faults.append(Fault(where, f"has {len(value)} entries, must have at most {schema['maxItems']}"))
    if schema.get("uniqueItems") and len({repr(item) for item in value}) < len(value):
        faults.append(Fault(where, f"got {shown(value)}, entries must differ"))
    return faults


def _scalar(value: Json, schema: dict[str, Json]) -> str | None:
    if "enum" in schema and value not in schema["enum"]:
        return f"got {shown(value)}, must be {' or '.join(map(str, schema['enum']))}"
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        return "got an empty text, must not be empty"
    if isinstance(value, str) and not (value.isprintable() or (schema.get("x-lines") and _is_text(value))):
        return f"got {shown(value)}, must be text of printable characters"
    if isinstance(value, str) and "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        return f"got {shown(value)}, must be {schema['x-allowed']}"
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return _number(value, schema)
    return None


def _is_text(value: str) -> bool:
    """Whether every line is of printable characters."""
    return all(line.isprintable() for line in value.split("\n"))


def _number(value: int | Decimal, schema: dict[str, Json]) -> str | None:
    low, above, high = schema.get("minimum"), schema.get("exclusiveMinimum"), schema.get("maximum")
    low = None if low is None else Decimal(str(low))
    if low is not None and value < low:
        return f"got {shown(value)}, must be at least {low}"
    if above is not None and value <= above:
        return f"got {shown(value)}, must be greater than {above}"
    if high is not None and value > high:
        return f"got {shown(value)}, must be at most {high}"
    places = schema.get("x-decimals", 18)
    if isinstance(value, Decimal) and int(value.normalize().as_tuple().exponent) < -places:
        return f"got {shown(value)}, must have at most {places} decimal places"
    return None


def _alternatives(value: Json, schema: dict[str, Json], where: str) -> list[Fault]:
    """The faults against the alternative that fits best: by discriminator, else by type."""
    options: list[dict[str, Json]] = schema["oneOf"]
    key = schema.get("x-discriminator")
    if key:
        return _discriminated(value, options, key, where)
    typed = [option for option in options if _is_a(value, [option["type"]])]
    if not typed:
        names = " or ".join(_alternative_name(option) for option in options)
        return [Fault(where, f"got {shown(value)}, must be {names}")]
    return min((faults_of(value, option, where) for option in typed), key=len)


def _alternative_name(option: dict[str, Json]) -> str:
    return " or ".join(map(json.dumps, option["enum"])) if "enum" in option else _NAMES[option["type"]]


def _discriminated(value: Json, options: list[dict[str, Json]], key: str, where: str) -> list[Fault]:
    kinds = {option["properties"][key]["enum"][0]: option for option in options}
    if not isinstance(value, dict):
        return [Fault(where, f"got {shown(value)}, must be an object with {key} {' or '.join(kinds)}")]
    kind = value.get(key)
    if not isinstance(kind, str) or kind not in kinds:
        got = f"got {shown(kind)}, " if key in value else "is missing, "
        return [Fault(f"{where}.{key}", f"{got}must be {' or '.join(kinds)}")]
    return faults_of(value, kinds[kind], where)
