"""Every value of a document is replaced by what does not belong there: a fault, or a table that the reader takes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from costmodels.errors import InputError
from costmodels.imports.convert import convert
from costmodels.imports.engine import Given
from costmodels.table import read_table
from tests.imports.samples import AIPERF, API, DECODE, DISAGGREGATED, GUIDELLM, INFERENCEX, LLMD, PREFILL, SGLANG, VLLM

BAD: list[object] = [
    None,
    True,
    -1,
    0,
    1e-300,
    1e300,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "x",
    "7",
    [],
    [1],
    {},
    {"a": 1},
]
STRIDE = 8
NAMES = {"system": "h200_sxm", "backend": "b", "backend_version": "1", "model": "m", "precision": "fp8"}
GIVEN = Given(**NAMES, tp=1)  # type: ignore[arg-type]
FREE = Given(**NAMES)  # type: ignore[arg-type]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values, at most two items of an array."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:2]):
            yield from places(inner, (*path, index))


def changed(document: Any, path: tuple[Any, ...], value: object) -> Any:
    """A copy with one value replaced."""
    if not path:
        return value
    copied = copy.copy(document)
    copied[path[0]] = changed(document[path[0]], path[1:], value)
    return copied


def slim() -> Any:
    """The GuideLLM report with its metrics and what the importer reads beside them."""
    report = json.loads(GUIDELLM.read_text())
    point = report["benchmarks"][0]
    metrics = {
        name: metric
        if name == "request_totals"
        else {"successful": {k: metric["successful"][k] for k in ("mean", "std_dev")}}
        for name, metric in point["metrics"].items()
        if isinstance(metric.get("successful"), dict) or name == "request_totals"
    }
    config = {"strategy": point["config"]["strategy"]}
    return {"metadata": {"version": 2}, "benchmarks": [{"config": config, "metrics": metrics}]}


CASES = [
    ("vllm", json.loads(VLLM[0].read_text()), GIVEN),
    ("sglang", SGLANG, GIVEN),
    ("aiperf", AIPERF, GIVEN.__class__(**{**NAMES, "model": None}, tp=1)),  # type: ignore[arg-type]
    ("guidellm", slim(), GIVEN),
    ("inferencex", json.loads(INFERENCEX[0].read_text()), FREE),
    ("inferencex", [API], FREE),
    ("inferencex", DISAGGREGATED, FREE),
    ("dynamo", json.loads(PREFILL.read_text()), GIVEN),
    ("dynamo", json.loads(DECODE.read_text()), Given(**NAMES, tp=1, osl=500)),  # type: ignore[arg-type]
    ("llm-d", LLMD, FREE),
]


def outcome(name: str, path: Path, given: Given) -> tuple[str, list[str]]:
    """The table, or the faults."""
    try:
        return convert(name, [path], given).text, []
    except InputError as error:
        return "", [str(fault) for fault in error.faults]


@pytest.mark.parametrize(
    ("name", "document", "given"), CASES, ids=[f"{name}-{number}" for number, (name, _, _) in enumerate(CASES)]
)
def test_no_value_breaks_an_importer(tmp_path: Path, name: str, document: Any, given: Given) -> None:
    path, out, refused, taken = tmp_path / "file.json", tmp_path / "out.csv", 0, 0
    for number, place in enumerate(places(document)):
        for value in BAD[number % STRIDE :: STRIDE]:  # all values, spread over the places
            path.write_text(json.dumps(changed(document, place, value)))
            text, faults = outcome(name, path, given)
            assert bool(text) != bool(faults)
            assert "files: no usable measurement: the files hold none" not in faults or place == ()
            if text:
                out.write_text(text)
                assert len(read_table(out)) >= 1
                taken += 1
            refused += bool(faults)
    assert refused > 10
    assert taken > 1 or "prefill_ttft" in document, "no other value of that file would be a measurement"
