"""llm-d's benchmark report: units, roles, which time per token, and YAML."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from costmodels.errors import InputError
from costmodels.imports.engine import Given
from tests.imports.samples import LLMD, imported, said, table, written

NEEDED = Given(precision="bf16")


def report() -> dict[str, Any]:
    """A copy to change."""
    return copy.deepcopy(LLMD)


def test_a_colocated_stack(tmp_path: Path) -> None:
    done = imported("llm-d", written(tmp_path, LLMD), given=NEEDED)
    (row,) = table(done)
    assert (row["system"], row["backend"], row["backend_version"], row["model"]) == (
        *("h100_sxm", "vllm"),
        *("v0.11.0", "Qwen/Qwen3-32B"),
    )
    # 16 in flight and 8 requests/s over two replicas of TP2
    assert (row["phase"], row["tp"], row["batch"], row["requests_per_s"]) == ("colocated", "2", "8", "4")
    # 50 + 99 x 20.0 = 2030 ms is the latency of a request; with 20.3 it would be 2059.7
    assert (row["latency_ms"], row["ttft_ms"]) == ("20", "50")
    assert "TPOT is inter_token_latency" in said(done)
    assert "does not know" not in said(done)


def test_a_disaggregated_stack_gives_both_roles(tmp_path: Path) -> None:
    changed = report()
    stack = changed["scenario"]["stack"]
    stack[0]["standardized"] |= {"role": "decode", "replicas": 1}
    stack.append(copy.deepcopy(stack[0]))
    stack[-1]["standardized"] |= {"role": "prefill", "replicas": 4}
    rows = {row["phase"]: row for row in table(imported("llm-d", written(tmp_path, changed), given=NEEDED))}
    assert (rows["prefill"]["requests_per_s"], rows["decode"]["requests_per_s"]) == ("2", "8")
    assert rows["decode"]["batch"] == "16"  # 8 x 99 x 20 ms = 15.84


def test_units_are_checked(tmp_path: Path) -> None:
    changed = report()
    changed["results"]["request_performance"]["aggregate"]["throughput"]["request_rate"]["units"] = "furlongs"
    file = written(tmp_path, changed)
    with pytest.raises(InputError) as caught:
        imported("llm-d", file, given=NEEDED)
    where = "$.results.request_performance.aggregate.throughput.request_rate.units"
    assert [fault.where for fault in caught.value.faults] == [f"{file} {where}"]


@pytest.mark.parametrize(
    ("role", "text"), [("router", "must be one of replica, aggregated"), (None, "missing; must be a text")]
)
def test_unknown_roles_are_faults(tmp_path: Path, role: str | None, text: str) -> None:
    changed = report()
    changed["scenario"]["stack"][0]["standardized"]["role"] = role
    with pytest.raises(InputError, match=text):
        imported("llm-d", written(tmp_path, changed), given=NEEDED)


def test_two_engines_of_a_role_are_a_fault(tmp_path: Path) -> None:
    changed = report()
    changed["scenario"]["stack"].append(changed["scenario"]["stack"][0])
    with pytest.raises(InputError, match="the run mixes engines"):
        imported("llm-d", written(tmp_path, changed), given=NEEDED)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got '0.1', must be 0.2"):
        imported("llm-d", written(tmp_path, {**LLMD, "version": "0.1"}), given=NEEDED)


def test_an_endless_concurrency_is_open_loop(tmp_path: Path) -> None:
    changed = report()
    changed["scenario"]["load"]["standardized"] |= {"concurrency": float("inf"), "rate_qps": 8.0}
    done = imported("llm-d", written(tmp_path, changed), given=replace(NEEDED, replicas=1))
    assert "from Little's law" in said(done)
    assert table(done)[0]["batch"] == "8"


def test_yaml_says_what_it_needs(tmp_path: Path) -> None:
    file = written(tmp_path, LLMD, "report.yaml")  # JSON is YAML
    if importlib.util.find_spec("yaml"):
        assert (
            imported("llm-d", file, given=NEEDED).text == imported("llm-d", written(tmp_path, LLMD), given=NEEDED).text
        )
    else:
        with pytest.raises(
            InputError, match="YAML needs the package PyYAML: pip install pyyaml, or give the report as JSON"
        ):
            imported("llm-d", file, given=NEEDED)
