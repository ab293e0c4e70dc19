"""Axes of a grid: keys of the instance, and the values that they take."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from costmodels.errors import Fault
from solver.schema import faults_of, instance_schema, shown

Json = Any
Step = str | int | None
"""A key, the number of an entry, or None for every entry."""
Place = tuple[str | int, ...]
Change = tuple[str, Json]
"""A path in the instance, and the value that it gets."""
PART = re.compile(r"([A-Za-z_][\w/-]*)(\[(\d{0,4})\])?")
FIXED = ("format", "version")
"""Keys of an instance that cannot be varied."""


@dataclass(frozen=True)
class Axis:
    """
    What is varied together.

    Parameters
    ----------
    name
        Name of its column.
    labels
        The values as the tables show them: numbers, truth values and texts; None for null.
    changes
        For each label what it sets.
    """

    name: str
    labels: tuple[Json, ...]
    changes: tuple[tuple[Change, ...], ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that the axis sets, in order of appearance."""
        return tuple(dict.fromkeys(path for changes in self.changes for path, _ in changes))


def axis_of(name: str, value: Json, taken: tuple[str, ...], faults: list[Fault]) -> Axis:
    """
    Reads an axis.

    Parameters
    ----------
    name, value
        As they stand in the grid.
    taken
        Names of columns that an axis cannot have.
    faults
        Faults are added here.
    """
    where = f"$.vary.{name}"
    if name in taken:
        text = "is the name of a column of the results; name the axis otherwise and give labels: "
        faults.append(Fault(where, text + '{"my name": {"label": {"path": value}}}'))
    if isinstance(value, list):
        _check_list(where, value, faults)
        labels = tuple(_label(each) for each in value)
        single: tuple[tuple[Change, ...], ...] = tuple(((name, each),) for each in value)
        for index, each in enumerate(value):
            _check(name, each, f"{where}[{index}]", faults)
        return Axis(name, labels, single)
    if not isinstance(value, dict) or not value:
        faults.append(Fault(where, f"got {shown(value)}, must be a list of values, or an object of labels"))
        return Axis(name, (), ())
    faults += [Fault(f"{where}.{label}", "is given twice; keep one") for label in getattr(value, "twice", ())]
    for label, change in value.items():
        if not isinstance(change, dict) or not change:
            text = f"got {shown(change)}, must be an object of paths in the instance and their values"
            faults.append(Fault(f"{where}.{label}", text))
            continue
        faults += [Fault(f"{where}.{label}.{path}", "is given twice") for path in getattr(change, "twice", ())]
        for path, each in change.items():
            _check(path, each, f"{where}.{label}.{path}", faults)
    changes = tuple(tuple(change.items()) for change in value.values() if isinstance(change, dict))
    return Axis(name, tuple(value), changes)


def _check_list(where: str, value: list[Json], faults: list[Fault]) -> None:
    if not value:
        faults.append(Fault(where, "has 0 entries, must have at least 1"))
    if len({repr(each) for each in value}) < len(value):
        faults.append(Fault(where, f"got {shown(value)}, entries must differ"))


def _label(value: Json) -> Json:
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=float, separators=(",", ":"))
    return value


def _check(path: str, value: Json, where: str, faults: list[Fault]) -> None:
    """Whether the instance has such a key, and may have such a value there; of a path one fault is enough."""
    try:
        nodes = _nodes_of(path)
    except ValueError as error:
        if not any(fault.text == str(error) for fault in faults):
            faults.append(Fault(where, str(error)))
        return
    fewest: list[Fault] = min((faults_of(value, node, where) for node in nodes), key=len)
    faults += fewest


def _nodes_of(path: str) -> list[dict[str, Json]]:
    """
    The parts of the instance's schema that a path leads to.

    Raises
    ------
    ValueError
        When it leads to none.
    """
    steps = steps_of(path)
    if steps is None or steps[0] in FIXED:
        text = "is no key of an instance that can be varied; write pools[].gpus, or pools[0].gpus of one pool"
        raise ValueError(f"{path!r} {text}")
    nodes = [instance_schema()]
    for step in steps:
        inner = [found for node in nodes for found in _inner(node, step)]
        if not inner:
            options = [option for node in nodes for option in _options(node)]
            allowed = sorted({key for option in options for key in option.get("properties", ())})
            there = f"allowed are {', '.join(allowed)}" if allowed else "there is no list there"
            raise ValueError(f"an instance has no {path}; {shown_step(step)} is unknown; {there}")
        nodes = inner
    return nodes


def shown_step(step: Step) -> str:
    """A step as a user writes it."""
    return step if isinstance(step, str) else f"[{'' if step is None else step}]"


def _options(node: dict[str, Json]) -> list[dict[str, Json]]:
    return list(node.get("oneOf", [node]))


def _inner(node: dict[str, Json], step: Step) -> Iterator[dict[str, Json]]:
    """The parts of a schema that a step leads to."""
    for option in _options(node):
        if not isinstance(step, str):
            if "items" in option:
                yield option["items"]
        elif step in option.get("properties", ()):
            yield option["properties"][step]
        elif isinstance(option.get("additionalProperties"), dict):
            yield option["additionalProperties"]


def steps_of(path: str) -> tuple[Step, ...] | None:
    """The steps of a path such as ``pools[].gpus``; None where it is no path."""
    steps: list[Step] = []
    for part in path.split("."):
        match = PART.fullmatch(part)
        if match is None:
            return None
        steps.append(match[1])
        if match[2]:
            steps.append(int(match[3]) if match[3] else None)
    return tuple(steps)


def places_of(path: str, document: Json) -> list[Place]:
    """
    The places in an instance that a path leads to.

    Raises
    ------
    ValueError
        When it leads nowhere: an entry that is not there, or a key of something that is no object.
    """
    found: list[tuple[Place, Json]] = [((), document)]
    for step in steps_of(path) or ():
        found = [inner for place, value in found for inner in _stepped(path, place, value, step)]
    return [place for place, _ in found]


def _stepped(path: str, place: Place, value: Json, step: Step) -> Iterator[tuple[Place, Json]]:
    here = where_of(place)
    if isinstance(step, str):
        if value is not None and not isinstance(value, dict):
            raise ValueError(f"{path}: {here} of the instance is {shown(value)}, which has no {step}")
        yield (*place, step), None if value is None else value.get(step)
        return
    if not isinstance(value, list) or (step is not None and step >= len(value)):
        count = len(value) if isinstance(value, list) else 0
        raise ValueError(f"{path}: {here} of the instance has {count} entries")
    for index, item in enumerate(value):
        if step is None or step == index:
            yield (*place, index), item


def where_of(place: Place) -> str:
    """A place as faults show it: ``$.pools[0].gpus``."""
    return "$" + "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in place)


def changed(document: Json, changes: Mapping[str, Json]) -> Json:
    """
    A copy of an instance with some values set; objects on the way to them are made.

    Raises
    ------
    ValueError
        When a path leads nowhere.
    """
    for path, value in changes.items():
        for place in places_of(path, document):
            document = _put(document, place, value)
    return document


def _put(node: Json, place: Place, value: Json) -> Json:
    """The node with one value set; only what lies on the way is copied."""
    if not place:
        return value
    first, rest = place[0], place[1:]
    if isinstance(first, int):
        return [_put(item, rest, value) if index == first else item for index, item in enumerate(node)]
    inner = {} if node is None else node
    return {**inner, first: _put(inner.get(first), rest, value)}


def canonical(document: Json) -> str:
    """A document as one text, the same whatever the order of its keys; decimals stay exact."""

    def exact(value: object) -> str:
        return f"#{value.normalize()}" if isinstance(value, Decimal) else f"#{value}"

    return json.dumps(document, sort_keys=True, default=exact, ensure_ascii=True)
