"""The formats that can be imported. Light on purpose: the help of the command line is made from it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from costmodels.imports.engine import Given
    from costmodels.imports.reading import Reading
    from costmodels.imports.rows import Row

UNSEEN = "no real file was seen"


@dataclass(frozen=True)
class Format:
    """
    One format of files.

    Parameters
    ----------
    name
        As the command line calls it.
    files
        The tool, and which of its files.
    module
        Module of this package with a function ``read(path, given, reading)``.
    unseen
        What of it was built from documentation and source alone; empty where a real file was read.
    """

    name: str
    files: str
    module: str
    unseen: str = ""

    def reader(self) -> Callable[[Path, Given, Reading], list[Row]]:
        """The function that reads one file; its module is imported here."""
        module = importlib.import_module(f"costmodels.imports.{self.module}")
        return cast("Callable[[Path, Given, Reading], list[Row]]", module.read)


FORMATS = {
    entry.name: entry
    for entry in (
        Format("aiperf", "AIPerf and genai-perf: summary .json or .csv, records .jsonl", "aiperf", UNSEEN),
        Format("vllm", "vllm bench serve --save-result: .json", "vllm_bench"),
        Format("sglang", "sglang.bench_serving --output-file: .jsonl", "sglang_bench", UNSEEN),
        Format("guidellm", "GuideLLM report, schema 2: .json", "guidellm"),
        Format(
            "inferencex",
            "InferenceX agg_*.json or rows of its API",
            "inferencex",
            f"{UNSEEN} of disaggregated rows and API",
        ),
        Format(
            "dynamo", "Dynamo profiler raw_data .json or .npz; mocker .npz", "dynamo_profiler", f"{UNSEEN} of the .npz"
        ),
        Format("llm-d", "llm-d benchmark report 0.2: .json, or .yaml with PyYAML", "llmd_report", UNSEEN),
    )
}
"""Name -> format."""


OPTIONS = (
    ("--system", "NAME", "GPU type, as pools[].gpu of an instance."),
    ("--backend", "NAME", "Serving engine."),
    ("--backend-version", "NAME", "Its version."),
    ("--model", "NAME", "Model, as workloads[].model of an instance."),
    ("--precision", "NAME", "Precision, a label or an exact string."),
    ("--tp", "N", "Tensor parallel."),
    ("--pp", "N", "Pipeline parallel."),
    ("--attention-dp", "N", "Attention data parallel."),
    ("--moe-tp", "N", "Tensor parallel of the experts."),
    ("--moe-ep", "N", "Expert parallel."),
    ("--cp", "N", "Context parallel."),
    ("--domain-gpus", "N", "NVLink domain it ran in; for known GPUs that of the catalogue."),
    ("--role", "prefill|decode|colocated", "What the runs measured; co-located unless the file says it."),
    ("--replicas", "N", "Replicas that shared the load of a run."),
    ("--concurrency", "N", "Requests kept in flight by each run."),
    ("--isl", "N", "Label rows with this ISL; within 5 % of the measured one."),
    ("--osl", "N", "Label rows with this OSL; within 5 % of the measured one. Dynamo: the OSL to stand for."),
    ("--chunk-tokens", "N", "Prompt tokens per mixed step; whole prompts unless given."),
)
"""Flag, metavar and help of the options that stand in for what files lack (:class:`..engine.Given`)."""


def listing() -> str:
    """One line per format, with what was not seen."""
    lines = [f"{each.name:<11}{each.files}{f' ({each.unseen})' if each.unseen else ''}" for each in FORMATS.values()]
    return "\n".join(lines)
