"""The targets of an export, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costmodels.errors import Fault
    from solver.manifests.engines import EngineName
    from solver.manifests.job import Job


@dataclass(frozen=True)
class Target:
    """
    A target.

    Parameters
    ----------
    name
        Its name.
    description
        What it writes, in words.
    module
        The module of ``faults(job)`` and ``files(job)``.
    engine
        The only engine that it runs; None: any.
    """

    name: str
    description: str
    module: str
    engine: EngineName | None = None

    def faults(self, job: Job) -> list[Fault]:
        """What the target cannot express."""
        check: Callable[[Job], list[Fault]] = import_module(f"solver.manifests.{self.module}").faults
        return check(job)

    def files(self, job: Job) -> dict[str, str]:
        """File name to text."""
        write: Callable[[Job], dict[str, str]] = import_module(f"solver.manifests.{self.module}").files
        return write(job)


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("dynamo", "NVIDIA Dynamo: DynamoGraphDeployment, v1beta1", "dynamo"),
        Target("llm-d", "llm-d: values of the llm-d-modelservice chart (vLLM)", "llm_d", "vllm"),
        Target("vllm", "vLLM: scripts for each node, vllm-router", "shell", "vllm"),
        Target("sglang", "SGLang: scripts for each node, sglang_router", "shell", "sglang"),
        Target(
            "trtllm", "TensorRT-LLM: configurations, scripts for each node, disaggregated server", "shell", "trtllm"
        ),
        Target("kubernetes", "Kubernetes: StatefulSet, LeaderWorkerSet, router", "kubernetes"),
    )
}
"""Name -> target."""
