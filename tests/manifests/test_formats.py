"""Everything that is written holds against schemas: our own, those of Kubernetes, and the rules of the shell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from costmodels.errors import InputError
from solver.manifests import checked, engines
from solver.manifests.checked import NotAsItShould, document_faults, documents_of, flag_faults, gpus_of, schema
from solver.manifests.export import export_deployment
from solver.manifests.registry import TARGETS
from solver.result import Result
from solver.schema import faults_of
from tests.manifests.cases import random_result, solved

SCHEMAS = Path(checked.__file__).parent / "schemas"
PLANS = [
    "chunks", "hetero", "wide", "pipeline", "deepseek-v3-gb200-144", "deepseek-v3-sglang-h100-61", "llama-70b-h200-72",
    "tiny-packing", "tiny-odd-groups", "tiny-prompts-only", "tiny-cost", "tiny-unserved", "tiny-mixed-scales",
    "gpt-oss-120b-h100-40-hybrid",
]  # fmt: skip
RANDOM = [
    "deepseek-v3-b200-128-budget", "deepseek-v3-gb200-144", "deepseek-v3-h100-h200", "deepseek-v3-sglang-h200-128",
    "gpt-oss-120b-gb200-72-e2e-hybrid", "llama-70b-gb200-100",
    "llama-70b-h100-64-lognormal", "llama-70b-h100-64-roofline", "llama-70b-h100-vllm-64",
    "llama-70b-h200-gb200-handover",
    "llama-70b-three-pools-budget", "llama-8b-gb200-7", "llama-8b-h100-8", "qwen3-32b-gb200-72-e2e", "tiny-e2e",
    "tiny-packing-mixed", "tiny-odd-groups", "tiny-wide-groups", "two-models-h200-96",
]  # fmt: skip


def exports(name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """All targets that can express a plan."""
    for target in TARGETS:
        try:
            yield target, export_deployment(solved(name)[1], target)
        except InputError:
            continue


@pytest.mark.parametrize("name", PLANS)
def test_exports_hold_against_all_schemas(name: str, tmp_path: Path) -> None:
    found = list(exports(name))
    assert {"kubernetes", "dynamo"} <= {target for target, _ in found}
    for target, files in found:
        for file, text in files.items():
            if file.endswith(".yaml"):
                for document in yaml.safe_load_all(text):
                    by_json_schema(document, file)
                    by_kubernetes(document)
            elif file.endswith(".sh"):
                (tmp_path / f"{target}-{file}").write_text(text)
        assert sum(gpus_of(file, text) for file, text in files.items()) == solved(name)[1].deployment.gpus_used  # type: ignore[union-attr]
    for bare in tmp_path.iterdir():
        subprocess.run(["bash", "-n", str(bare)], check=True)
    scripts = [str(file) for file in sorted(tmp_path.iterdir())][:8]
    if scripts:
        lint = Path(sys.executable).with_name("shellcheck")
        done = subprocess.run([str(lint), *scripts], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def by_json_schema(document: Any, file: str) -> None:
    """The general validator agrees with the product's own checker."""
    name, kind = checked._schema_of(document, file)
    jsonschema.Draft202012Validator(schema(name, kind)).validate(document)
    for inner in document.get("data", {}).values() if kind == "ConfigMap" else ():
        for part in documents_of(inner):
            by_json_schema(part, file)


def by_kubernetes(document: Any) -> None:
    """Kubernetes' own OpenAPI schemas, for what is Kubernetes' own; pods inside of custom objects count as pods."""
    if document.get("apiVersion") in ("v1", "apps/v1"):
        kubernetes_validate.validate(document, "1.33", strict=True)
        return
    for pod in pods(document):
        bare = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"} | pod.get("metadata", {})}
        kubernetes_validate.validate(bare | {"spec": pod["spec"]}, "1.33", strict=True)


def pods(node: Any) -> Iterator[Any]:
    """Pod templates at any depth."""
    if isinstance(node, dict):
        if isinstance(node.get("spec"), dict) and "containers" in node["spec"]:
            yield node
        for value in node.values():
            yield from pods(value)
    elif isinstance(node, list):
        for item in node:
            yield from pods(item)


REFUSALS = (
    "no flag",
    "no key",
    "no field",
    "priced for",
    "--kv-transfer-config",
    "no settled",
    "checkpoint",
    "does not fit",
)


def expressed(result: Result, target: str) -> dict[str, str] | None:
    """The export, or None where it is refused with a word on what is missing."""
    try:
        return export_deployment(result, target)
    except InputError as error:
        faults = error.faults
    assert [fault for fault in faults if not any(word in fault.text for word in REFUSALS)] == []
    return None


@pytest.mark.parametrize("name", RANDOM)
def test_random_plans_have_their_gpus_in_every_target(name: str) -> None:
    """Each export is checked by the product; here its GPUs are counted against plan and inventory once more."""
    met = 0
    for seed in range(2):
        result = random_result(name, seed)
        if result is None:
            continue
        assert result.deployment is not None
        for target in TARGETS:
            files = expressed(result, target)
            if files is None:
                continue
            met += 1
            counted = sum(gpus_of(file, text) for file, text in files.items())
            assert counted == sum(a.gpus for a in result.deployment.assignments) <= result.instance.inventory_gpus
    assert met


def test_schemas_are_schemas_and_say_where_they_are_from() -> None:
    for file in SCHEMAS.iterdir():
        document = json.loads(file.read_text())
        if file.name == "flags.json":
            assert all(told["source"] and set(told) <= {"source", "flags", "and"} for told in document.values())
            continue
        assert document["x-source"]
        jsonschema.Draft202012Validator.check_schema(document)
        for name in document["$defs"]:
            assert objects_are_strict(schema(file.stem, name))


def objects_are_strict(node: Any) -> bool:
    """No object lets unknown keys pass, but maps of texts."""
    if isinstance(node, list):
        return all(map(objects_are_strict, node))
    if not isinstance(node, dict):
        return True
    if node.get("type") == "object" and node["additionalProperties"] is not False:
        return not node["properties"] and node["additionalProperties"]["type"] == "string"
    return all(map(objects_are_strict, node.values()))


def test_what_breaks_a_format_is_found() -> None:
    files = export_deployment(solved("wide")[1], "kubernetes")
    documents = documents_of(files["chat.yaml"])
    workers = next(document for document in documents if document["kind"] == "LeaderWorkerSet")
    template = workers["spec"]["leaderWorkerTemplate"]
    assert not list(document_faults(workers, "chat.yaml"))
    template["sizes"] = template.pop("size")
    assert [fault.split(":")[0] for fault in document_faults(workers, "chat.yaml")] == [
        "$.spec.leaderWorkerTemplate.size",
        "$.spec.leaderWorkerTemplate.sizes",
    ]
    template["size"] = template.pop("sizes")
    script = template["leaderTemplate"]["spec"]["containers"][0]["args"]
    script[0] = script[0].replace("--max-num-seqs", "--max-num-sequences")
    assert list(document_faults(workers, "chat.yaml")) == ["vllm serve has no flag --max-num-sequences"]
    assert list(flag_faults(["mpirun", "--hosts", "a", "trtllm-serve", "x", "--config", "y"])) == [
        "mpirun has no flag --hosts"
    ]


def test_an_export_with_other_gpus_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.manifests.kubernetes.limits", lambda layout: {"nvidia.com/gpu": "1"})
    with pytest.raises(NotAsItShould, match="4 GPUs in the files, 32 in the plan"):
        export_deployment(solved("wide")[1], "kubernetes")


def test_engines_are_those_of_the_tables() -> None:
    assert set(engines.VERSIONS) == set(engines.ENGINES) == set(engines.TITLES)


def test_texts_of_several_lines_are_told_apart() -> None:
    lines, line = {"type": "string", "x-lines": True}, {"type": "string"}
    assert not faults_of("a\nb\n", lines)
    assert faults_of("a\nb", line)
    assert faults_of("a\x00b", lines)
