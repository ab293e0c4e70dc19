"""Target ``llm-d``: values of the llm-d-modelservice chart, one release for each pair of prefill and decode engines."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from costmodels.errors import Fault
from solver.manifests import engine_vllm
from solver.manifests.engines import engine_faults, partition_fault
from solver.manifests.job import Job
from solver.manifests.kubernetes import nvlink_file
from solver.manifests.launch import Ports, in_set, words
from solver.manifests.nodes import Layout
from solver.manifests.plan import Group, Line, dns_name
from solver.manifests.pods import (
    AMD,
    CHANNEL,
    assumptions,
    claim_template,
    crosses_nodes,
    group_affinity,
    limits,
    node_label,
    pod_ip_env,
    probes,
)
from solver.manifests.yaml_text import command, yaml_text

Node = dict[str, Any]
IMAGE = "ghcr.io/llm-d/llm-d-cuda:latest"
SERVICE_PORT, TARGET_PORT, SIDE_CHANNEL_PORT = 8000, 8200, 5600
"""Ports of requests, of vLLM behind the decode sidecar, and of the KV hand-over."""
CHART_FLAGS = ("--tensor-parallel-size", "--data-parallel-size")
"""Flags that the chart writes itself from ``parallelism``."""


def faults(job: Job) -> list[Fault]:
    """What the chart cannot express."""
    found = []
    for group in job.plan.groups:
        found += engine_faults(group, "vllm", "llm-d")
        for line in group.lines:
            layout, cut = job.found[line.name], line.entry.partition
            if layout.pods_per_replica > 1 and cut.attention_dp == 1:
                text = (
                    "the chart sends requests to every pod of a LeaderWorkerSet and has no field for pods without an "
                )
                text += f"HTTP server, as {layout.pods_per_replica} pods of one tensor or pipeline parallel rank need"
                found.append(partition_fault(line, text))
            if layout.is_bound_to_domain and cut.pp > 1:
                found.append(partition_fault(line, "the chart has no affinity for one stage of a replica"))
    return found


def files(job: Job) -> dict[str, str]:
    """One values file for each release."""
    told = {}
    if any(crosses_nodes(layout) for layout in job.found.values()):
        told["nvlink-domain.yaml"] = nvlink_file(job)
    for group in job.plan.groups:
        serving = [line for line in group.lines if line.role != "prefill" or not group.is_disaggregated]
        pairs = zip_longest(group.of_role("prefill") if group.is_disaggregated else (), serving)
        for number, (prefill, decode) in enumerate(pairs, start=1):
            name = f"{group.name}{'' if number == 1 else f'-{number}'}"
            layouts = [job.found[line.name] for line in (prefill, decode) if line]
            head = [*job.header(group), *assumptions(layouts, job.plan), *_more(name, job, layouts)]
            told[f"{name}-values.yaml"] = yaml_text([_values(job, group, name, prefill, decode)], head)
    return told


def _more(name: str, job: Job, layouts: list[Layout]) -> list[str]:
    lines = [f"this release: {', '.join(f'{layout.line.replicas} x {layout.line.name}' for layout in layouts)}"]
    where = f" -n {job.settings.namespace}" if job.settings.namespace else ""
    lines.append(f"apply: helm install {name} llm-d-modelservice/llm-d-modelservice{where} -f {name}-values.yaml")
    lines.append("assumed: secret hf-token-secret has the key HF_TOKEN")
    lines.append("assumed: an InferencePool with an endpoint picker selects pods by the labels of modelArtifacts")
    if job.settings.image is None:
        lines.append("the image is not pinned; name a release of it with --image")
    return lines


def _values(job: Job, group: Group, release: str, prefill: Line | None, decode: Line | None) -> Node:
    lines = [line for line in (prefill, decode) if line]
    first = lines[0]
    path = first.model_path
    is_local = path.startswith("/")
    labels = {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": dns_name(group.name)}
    return {
        "fullnameOverride": release,
        "multinode": any(job.found[line.name].pods_per_replica > 1 for line in lines),
        "accelerator": {"type": "amd" if first.pool.gpu in AMD else "nvidia"},
        "modelArtifacts": {
            "name": first.workload.model,
            "uri": f"pvc://{first.weights_claim}{path}" if is_local else f"hf://{path}",
            "size": f"{_size_gib(first)}Gi",
            "authSecretName": "hf-token-secret",
            "labels": labels,
        },
        "routing": {
            "servicePort": SERVICE_PORT,
            "proxy": {
                "enabled": group.is_disaggregated,
                "targetPort": TARGET_PORT,
                "connector": "nixlv2",
                "secure": False,
            },
        },
        "decode": _role(job, group, decode, "decode", release),
        "prefill": _role(job, group, prefill, "prefill", release),
    }


def _size_gib(line: Line) -> int:
    """Room for the weights: two bytes a parameter, whatever their format; 1 TiB where nobody knows."""
    return 1024 if line.shape is None else -(-2 * int(line.shape.parameters) // 2**30)


def _role(job: Job, group: Group, line: Line | None, role: str, release: str) -> Node:
    if line is None:
        return {"create": False}
    layout, cut = job.found[line.name], line.entry.partition
    port = TARGET_PORT if group.is_disaggregated and role == "decode" else SERVICE_PORT
    label, value = node_label(job.plan, line.pool)
    ranks = engine_vllm.ranks_per_pod(layout) if cut.attention_dp > 1 else 1
    parallelism = {"tensor": cut.tp, "data": cut.attention_dp, "dataLocal": ranks, "workers": layout.pods_per_replica}
    told: Node = {"create": True, "replicas": line.replicas, "parallelism": parallelism}
    told["extraConfig"] = {"nodeSelector": {label: value}}
    if layout.is_bound_to_domain:
        told["extraConfig"]["affinity"] = group_affinity(f"{release}-{role}", layout)
    container = _container(job, group, layout, port)
    if crosses_nodes(layout):
        container["resources"]["claims"] = [{"name": CHANNEL}]
        told["resourceClaims"] = [{"name": CHANNEL, "resourceClaimTemplateName": claim_template(job.plan.name)}]
    return told | {"containers": [container]}


def _container(job: Job, group: Group, layout: Layout, port: int) -> Node:
    told: Node = {"name": "vllm", "image": job.settings.image or IMAGE}
    if layout.pods_per_replica == 1:
        told |= {"modelCommand": "vllmServe", "args": _without(engine_vllm.flags(layout.line, group), CHART_FLAGS)}
    else:
        run = command([*words("vllm", layout, group, in_set(layout, True), Ports(port)), *_balanced(layout)])
        told |= {"modelCommand": "custom", "command": ["/bin/bash", "-c"], "args": [f"exec {run}\n"]}
    env = []
    if group.is_disaggregated:
        env = [pod_ip_env("VLLM_NIXL_SIDE_CHANNEL_HOST")]
        env += [{"name": "VLLM_NIXL_SIDE_CHANNEL_PORT", "value": str(SIDE_CHANNEL_PORT)}]
    amount = limits(layout)
    told["extraConfig"] = probes(port)
    told |= {"env": env, "ports": [{"containerPort": port, "protocol": "TCP"}]}
    return told | {"resources": {"limits": amount, "requests": dict(amount)}, "mountModelVolume": True}


def _balanced(layout: Layout) -> list[str]:
    """Every pod answers requests for its own data-parallel ranks."""
    start = in_set(layout, False).start
    return ["--data-parallel-hybrid-lb", "--data-parallel-start-rank", start or "0"]


def _without(flags: list[str], dropped: tuple[str, ...]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in flags:
        if skip or word in dropped:
            skip = not skip
            continue
        kept.append(word)
    return kept
