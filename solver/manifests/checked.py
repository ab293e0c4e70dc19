"""
Holds what was written against the schemas that the project carries, and counts its GPUs again.

A failure here is our fault, never the user's: it is raised as a plain error, before anything leaves the package.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from solver.manifests.job import Job
from solver.schema import faults_of

Node = Any
KINDS = {
    "StatefulSet": "kubernetes",
    "Deployment": "kubernetes",
    "Service": "kubernetes",
    "ConfigMap": "kubernetes",
    "LeaderWorkerSet": "leader_worker_set",
    "ComputeDomain": "compute_domain",
    "DynamoGraphDeployment": "dynamo",
}
"""Kind of an object to the file of its schema."""


class NotAsItShould(RuntimeError):
    """An export that breaks the format of its target."""


def checked(target: str, files: dict[str, str], job: Job) -> dict[str, str]:
    """
    The files, if all is well with them.

    Raises
    ------
    NotAsItShould
        When a document breaks its schema, a flag is not known, or the GPUs are not those of the plan.
    """
    faults = [f"{name}: {fault}" for name, text in files.items() for fault in file_faults(name, text)]
    counted = sum(gpus_of(name, text) for name, text in files.items())
    if counted != job.plan.gpus:
        faults.append(f"{counted} GPUs in the files, {job.plan.gpus} in the plan")
    if faults:
        raise NotAsItShould(f"--to {target}: " + "; ".join(faults))
    return files


@cache
def schema(file: str, name: str) -> dict[str, Node]:
    """A definition of a schema file, all references put in."""
    found: dict[str, Node] = _resolved(_file(file)["$defs"][name], file)
    return found


@cache
def _file(name: str) -> dict[str, Node]:
    found: dict[str, Node] = json.loads((Path(__file__).parent / "schemas" / f"{name}.json").read_text("utf-8"))
    return found


def _resolved(node: Node, file: str) -> Node:
    if isinstance(node, list):
        return [_resolved(item, file) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        place, _, name = str(node["$ref"]).partition("#/$defs/")
        other = place.removesuffix(".json") or file
        return schema(other, name)
    return {key: _resolved(value, file) for key, value in node.items()}


@cache
def flags_of(program: str) -> frozenset[str]:
    """The flags that are known of a program."""
    told = _file("flags")[program]
    return frozenset(told["flags"]) | (flags_of(told["and"]) if "and" in told else frozenset())


def file_faults(name: str, text: str) -> Iterator[str]:
    """What is wrong with a file."""
    if not name.endswith(".yaml"):
        yield from flag_faults(shlex.split(text, comments=True)) if name.endswith(".sh") else ()
        return
    for document in documents_of(text):
        yield from document_faults(document, name)


def documents_of(text: str) -> list[Node]:
    """The documents of a YAML file."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(yaml.load_all(text, Loader=loader))


def document_faults(document: Node, name: str) -> Iterator[str]:
    """What is wrong with a document: its schema, the files inside of it, and the flags of its commands."""
    file, kind = _schema_of(document, name)
    yield from map(str, faults_of(document, schema(file, kind)))
    if kind == "ConfigMap":
        for inner in document["data"].values():
            for part in documents_of(inner):
                yield from document_faults(part, name)
    for container in _containers(document):
        words = [*container.get("command", []), *container.get("args", [])]
        if words[:2] == ["/bin/bash", "-c"]:
            words = shlex.split(words[2], comments=True)
        elif container.get("modelCommand") == "vllmServe":
            words = ["vllm", "serve", *words]
        yield from flag_faults(words)


def _schema_of(document: Node, name: str) -> tuple[str, str]:
    kind = document.get("kind")
    if kind:
        return KINDS[kind], kind
    if name.endswith("-values.yaml"):
        return "llm_d", "values"
    return "trtllm", "disaggregated" if "context_servers" in document else "engine"


def _containers(node: Node) -> Iterator[dict[str, Node]]:
    if isinstance(node, dict):
        yield from node.get("containers", ())
        for key, value in node.items():
            if key != "containers":
                yield from _containers(value)
    elif isinstance(node, list):
        for item in node:
            yield from _containers(item)


def flag_faults(words: list[str]) -> Iterator[str]:
    """Flags that their program does not have, as far as is known here."""
    program = None
    for index, word in enumerate(words):
        if word == "vllm" and words[index + 1 : index + 2] == ["serve"]:
            program = "vllm serve"
        elif word in _file("flags"):
            program = word
        elif re.match(r"--[a-z]", word) and program and word not in flags_of(program):
            yield f"{program} has no flag {word}"


def gpus_of(name: str, text: str) -> int:
    """GPUs that a file asks for, counted from its text alone."""
    if name.endswith(".sh"):
        given = re.findall(r"CUDA_VISIBLE_DEVICES=([0-9,]+)", text)
        return sum(len(devices.split(",")) for devices in given)
    if not name.endswith(".yaml"):
        return 0
    return sum(_gpus_in(document) for document in documents_of(text))


def _gpus_in(document: Node) -> int:
    kind = document.get("kind")
    if kind == "StatefulSet":
        return int(document["spec"]["replicas"]) * _gpus_of_pod(document["spec"]["template"]["spec"])
    if kind == "LeaderWorkerSet":
        template = document["spec"]["leaderWorkerTemplate"]
        leader, worker = (_gpus_of_pod(template[f"{part}Template"]["spec"]) for part in ("leader", "worker"))
        return int(document["spec"]["replicas"]) * (leader + (int(template["size"]) - 1) * worker)
    if kind == "DynamoGraphDeployment":
        return sum(
            int(part["replicas"])
            * int(part.get("multinode", {}).get("nodeCount", 1))
            * _gpus_of_pod(part["podTemplate"]["spec"])
            for part in document["spec"]["components"]
        )
    if kind is None and "modelArtifacts" in document:
        roles = [document[role] for role in ("prefill", "decode") if document[role]["create"]]
        return sum(role["replicas"] * role["parallelism"]["workers"] * _gpus_of_pod(role) for role in roles)
    return 0


def _gpus_of_pod(pod: Mapping[str, Node]) -> int:
    amounts = [container.get("resources", {}).get("limits", {}) for container in pod["containers"]]
    return sum(int(amount) for limits in amounts for amount in limits.values())
