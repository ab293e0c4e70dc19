"""
Whole exports, file by file, as they were read and found right.

``UPDATE_GOLDEN=1 pytest tests/manifests/test_golden.py`` writes the files anew; read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from solver import __version__
from solver.manifests.export import as_text, export_deployment
from tests.manifests.cases import solved

GOLDEN = Path(__file__).parent / "golden"
CASES = [
    ("llama-70b-h200-72", "trtllm"),
    ("llama-70b-h200-72", "dynamo"),
    ("deepseek-v3-gb200-144", "dynamo"),
    ("deepseek-v3-gb200-144", "kubernetes"),
    ("deepseek-v3-gb200-144", "trtllm"),
    ("deepseek-v3-sglang-h100-61", "sglang"),
    ("deepseek-v3-sglang-h100-61", "kubernetes"),
    ("pipeline", "sglang"),
    ("pipeline", "dynamo"),
    ("chunks", "vllm"),
    ("chunks", "llm-d"),
    ("chunks", "kubernetes"),
    ("hetero", "llm-d"),
    ("hetero", "dynamo"),
    ("hetero", "kubernetes"),
    ("hetero", "vllm"),
    ("wide", "vllm"),
    ("wide", "llm-d"),
    ("wide", "kubernetes"),
    ("tiny-packing", "kubernetes"),
]


@pytest.mark.parametrize(("name", "target"), CASES)
def test_exports_are_those_of_the_golden_files(name: str, target: str) -> None:
    file, result = solved(name)
    text = settled(as_text(export_deployment(result, target, instance=file)))
    golden = GOLDEN / f"{name}.{target}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def settled(text: str) -> str:
    """The text without what changes with the product and not with the export."""
    return re.sub(r"hash [0-9a-f]{16}", "hash X", text.replace(f"ratematch {__version__}", "ratematch X"))
