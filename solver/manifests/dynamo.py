"""Target ``dynamo``: one DynamoGraphDeployment (nvidia.com/v1beta1) for each group."""

from __future__ import annotations

import re
from typing import Any

from costmodels.errors import Fault
from solver.manifests import engine_sglang, engine_trtllm, engine_vllm
from solver.manifests.engines import EngineName, partition_fault
from solver.manifests.job import Job
from solver.manifests.kubernetes import nvlink_file
from solver.manifests.nodes import Layout
from solver.manifests.plan import Group, Line
from solver.manifests.pods import (
    CHANNEL,
    CLIQUE_LABEL,
    TOKEN_SECRET,
    assumptions,
    claim_template,
    crosses_nodes,
    limits,
    metadata,
    node_label,
    token_env,
)
from solver.manifests.yaml_text import yaml_text

Node = dict[str, Any]
VERSION = "1.3.1"
IMAGES: dict[EngineName, str] = {
    "vllm": f"nvcr.io/nvidia/ai-dynamo/vllm-runtime:{VERSION}",
    "sglang": f"nvcr.io/nvidia/ai-dynamo/sglang-runtime:{VERSION}",
    "trtllm": f"nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:{VERSION}",
}
TOPOLOGY, DOMAIN = "nvlink", "nvlink-domain"
"""Names of the ClusterTopology and of its level that pods of a stage group are packed into."""
MOST_COMPONENTS = 25
TYPES = {"prefill": "prefill", "decode": "decode", "colocated": "worker"}


def faults(job: Job) -> list[Fault]:
    """What a DynamoGraphDeployment cannot express."""
    found = []
    for layout in job.found.values():
        line, cut = layout.line, layout.line.entry.partition
        if layout.is_bound_to_domain and not layout.is_in_one_domain:
            text = (
                f"topologyConstraint.packDomain keeps a whole replica of {cut.gpus} GPUs in one NVLink domain, there "
            )
            found.append(partition_fault(line, f"{text}is no field for one stage of {cut.stage_group} GPUs"))
    for group in job.plan.groups:
        if len(group.lines) >= MOST_COMPONENTS:
            text = f"has {len(group.lines)} different engines, a DynamoGraphDeployment {MOST_COMPONENTS - 1} at most"
            found.append(Fault(group.lines[0].entry.where, text))
    return found


def files(job: Job) -> dict[str, str]:
    """One file for each group, and one for the NVLink domain where pods share one over nodes."""
    told = {}
    if any(crosses_nodes(layout) for layout in job.found.values()):
        told["nvlink-domain.yaml"] = nvlink_file(job)
    for group in job.plan.groups:
        layouts = [job.found[line.name] for line in group.lines]
        head = [*job.header(group), *assumptions(layouts, job.plan), *_more(layouts)]
        told[f"{group.name}.yaml"] = yaml_text(_documents(job, group), head)
    return told


def _more(layouts: list[Layout]) -> list[str]:
    lines = [f"assumed: the Dynamo operator is installed; secret {TOKEN_SECRET} is optional"]
    if any(layout.is_bound_to_domain for layout in layouts):
        lines.append(
            f"assumed: Grove with a ClusterTopology {TOPOLOGY} whose level {DOMAIN} has the key {CLIQUE_LABEL}"
        )
    return lines


def _documents(job: Job, group: Group) -> list[Node]:
    engine = job.engines[group.name]
    told: list[Node] = []
    if engine == "trtllm":
        for line in group.lines:
            data = {"engine.yaml": yaml_text([engine_trtllm.config(line, group, job.found[line.name])], [])}
            meta = metadata(f"{line.name}-engine", job.settings.namespace)
            told.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})
    spec: Node = {"backendFramework": engine}
    if any(job.found[line.name].is_bound_to_domain for line in group.lines):
        spec["topologyConstraint"] = {"clusterTopologyName": TOPOLOGY}
    front = {"name": "main", "image": _image(job, engine), "command": ["python3", "-m", "dynamo.frontend"]}
    frontend: Node = {"name": "frontend", "type": "frontend"} | _runtime(job, engine)
    frontend |= {"replicas": 1, "podTemplate": {"spec": {"containers": [front]}}}
    spec["components"] = [frontend, *(_component(job, group, line) for line in group.lines)]
    told.append(
        {
            "apiVersion": "nvidia.com/v1beta1",
            "kind": "DynamoGraphDeployment",
            "metadata": metadata(group.name, job.settings.namespace),
            "spec": spec,
        }
    )
    return told


def _image(job: Job, engine: EngineName) -> str:
    return job.settings.image or IMAGES[engine]


def _runtime(job: Job, engine: EngineName) -> Node:
    """The operator wants to know Dynamo's version where the tag of the image does not tell it."""
    has_version = re.search(r":v?[0-9]+\.[0-9]+\.[0-9]+", _image(job, engine))
    return {} if has_version else {"runtimeVersionOverride": VERSION}


def _component(job: Job, group: Group, line: Line) -> Node:
    layout, engine = job.found[line.name], job.engines[group.name]
    kind = TYPES[line.role] if group.is_disaggregated else "worker"
    told: Node = {"name": line.name, "type": kind} | _runtime(job, engine) | {"replicas": line.replicas}
    if layout.pods_per_replica > 1:
        told["multinode"] = {"nodeCount": layout.pods_per_replica}
    if layout.is_bound_to_domain:
        told["topologyConstraint"] = {"packDomain": DOMAIN}
    label, value = node_label(job.plan, line.pool)
    container: Node = {
        "name": "main",
        "image": _image(job, engine),
        "command": ["python3", "-m", f"dynamo.{engine}"],
        "args": _args(group, line, engine),
        "env": token_env(),
        "resources": {"limits": limits(layout)},
    }
    pod: Node = {"nodeSelector": {label: value}, "containers": [container]}
    mounts, volumes = _volumes(line, engine)
    if mounts:
        container["volumeMounts"] = mounts
        pod["volumes"] = volumes
    if crosses_nodes(layout):
        container["resources"]["claims"] = [{"name": CHANNEL}]
        pod["resourceClaims"] = [{"name": CHANNEL, "resourceClaimTemplateName": claim_template(job.plan.name)}]
    told["podTemplate"] = {"spec": pod}
    return told


def _volumes(line: Line, engine: EngineName) -> tuple[list[Node], list[Node]]:
    mounts, volumes = [], []
    if engine == "trtllm":
        mounts.append({"name": "engine", "mountPath": "/engine", "readOnly": True})
        volumes.append({"name": "engine", "configMap": {"name": f"{line.name}-engine"}})
    if line.model_path.startswith("/"):
        mounts.append({"name": "weights", "mountPath": line.model_path, "readOnly": True})
        claim: Node = {"claimName": line.weights_claim, "readOnly": True}
        volumes.append({"name": "weights", "persistentVolumeClaim": claim})
    return mounts, volumes


def _args(group: Group, line: Line, engine: EngineName) -> list[str]:
    """Arguments of the worker; the operator adds those of ranks over several nodes."""
    served = ["--served-model-name", line.workload.model]
    mode = ["--disaggregation-mode", line.role] if group.is_disaggregated else []
    if engine == "vllm":
        return ["--model", line.model_path, *served, *engine_vllm.flags(line, group), *mode]
    if engine == "trtllm":
        return ["--model-path", line.model_path, *served, "--extra-engine-args", "/engine/engine.yaml", *mode]
    told = ["--model-path", line.model_path, *served, *engine_sglang.flags(line, group), "--host", "0.0.0.0"]
    if group.is_disaggregated:
        told += ["--disaggregation-bootstrap-port", str(engine_sglang.BOOTSTRAP_PORT)]
    return told
