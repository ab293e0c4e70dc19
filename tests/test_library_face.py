"""The library face: instances built in code, results as rows, names that resolve."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import solver
from costmodels import CurveQuery, CurveSet
from instances import path
from solver import InputError, build_instance, load_instance
from solver.engines import cost_model_of

POOL = {"name": "h100", "gpu": "h100_sxm", "gpus": 8, "nvlink_domain_gpus": 8}
CHAT = {"name": "chat", "model": "meta-llama/Meta-Llama-3.1-8B", "isl": 1000, "osl": 100}


def test_an_instance_in_code_is_the_one_of_the_file() -> None:
    for name in ("tiny-cost", "deepseek-v3-gb200-144", "llama-70b-h100-64-azure-conversation"):
        document: dict[str, Any] = json.loads(path(name).read_text("utf-8"))
        parts = {key: value for key, value in document.items() if key not in ("format", "version")}
        assert build_instance(**parts, folder=path(name).parent) == load_instance(name)[0]


@pytest.mark.parametrize("limit", [12.5, Decimal("12.5")])
def test_numbers_count_as_printed(limit: object) -> None:
    found = build_instance("mine", [POOL], [CHAT | {"sla": {"tpot_ms": limit, "ttft_ms": 0.1}}]).workloads[0]
    assert (found.tpot_ms, found.ttft_ms) == (Fraction(25, 2), Fraction(1, 10))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "$.workloads[0].sla.tpot_ms: got NaN, must be a number or null"),
        (object(), "$.workloads[0].sla.tpot_ms: got object, must be a text, a number, true or false, None, a list"),
        ("fast", '$.workloads[0].sla.tpot_ms: got "fast", must be a number or null'),
    ],
)
def test_faults_are_placed_as_in_a_file(value: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        build_instance("mine", [POOL], [CHAT | {"sla": {"tpot_ms": value}}])
    assert said in str(caught.value)


def test_all_faults_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        build_instance("mine", [POOL | {"gpus": 0}], [CHAT | {"isl": -1, "colour": "red"}], objektive="cost")
    assert len(caught.value.faults) == 4


def test_a_name_that_is_nothing() -> None:
    with pytest.raises(InputError, match="did you mean llama-70b-h200-72"):
        solver.solve("llama-70b-h200")


def test_an_instance_in_memory_starts_in_the_folder_given(tmp_path: Path) -> None:
    instance, folder = load_instance("tiny-cost")
    assert folder == path("tiny-cost").parent
    assert load_instance(instance) == (instance, Path())
    assert load_instance(instance, tmp_path) == (instance, tmp_path)
    assert solver.solve(instance, folder=folder).objective == Fraction(11, 2)


def test_rows_are_a_data_frame() -> None:
    result = solver.solve("llama-70b-h200-72")
    frame = pd.DataFrame(result.rows())
    assert list(frame["role"]) == ["decode", "prefill"]
    assert frame["gpus"].sum() == result.deployment.gpus_used
    assert dict(zip(frame["role"], frame["engine"], strict=True)) == {"prefill": "tp1", "decode": "tp2"}
    planned = frame["replicas"] * frame["requests_per_s"]
    assert planned.tolist() == pytest.approx(frame["planned_requests_per_s"].tolist())
    assert solver.solve("infeasible-tpot").rows() == []


def test_a_frontier_as_rows_is_its_csv() -> None:
    frontier = solver.trace("llama-8b-h100-8")
    frame = pd.DataFrame(frontier.rows())
    assert len(frame) == len(frontier.points) == len(frontier.as_csv().splitlines()) - 1
    assert frame["tokens_per_s_per_user"].is_monotonic_increasing
    assert frame["tokens_per_s_per_gpu"].is_monotonic_decreasing
    assert frame.iloc[0]["mode"] == frontier.points[0].mode


def test_polars_takes_the_rows() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    assert polars.DataFrame(solver.trace("llama-8b-h100-8").rows()).height == 18


def test_a_cost_model_of_ones_own() -> None:
    class Half:
        """The table of an instance, at half the rates."""

        name, description, known_error = "half", "half of the table", "none, a test"

        def curves(self, query: CurveQuery) -> CurveSet:
            answer = table.curves(query)
            curves = (
                replace(curve, requests_per_s=tuple(rate / 2 for rate in curve.requests_per_s))
                for curve in answer.curves
            )
            return replace(answer, curves=tuple(curves))

    instance, folder = load_instance("tiny-rate-match")
    table = cost_model_of(instance, folder)
    whole, half = solver.solve(instance, folder=folder), solver.solve(instance, cost_model=Half())
    assert (half.status, half.objective) == ("optimal", whole.objective / 2)
    assert half.as_dict()["cost_model"]["description"] == "half of the table"
    assert half.as_dict()["instance_hash"] != whole.as_dict()["instance_hash"]
    assert solver.verify(instance, half.engines, half.as_dict()).ok
    assert solver.trace(instance, cost_model=Half()).points[0].value == half.objective
