"""Parts of Kubernetes objects that several targets share: pods, node selection, NVLink domains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from solver.instance import Pool
from solver.manifests.nodes import Layout
from solver.manifests.plan import Plan

Node = dict[str, Any]
PRODUCTS = {
    "a100_sxm": "NVIDIA-A100-SXM4-80GB",
    "b200_sxm": "NVIDIA-B200",
    "gb200": "NVIDIA-GB200",
    "gb300": "NVIDIA-GB300",
    "h100_sxm": "NVIDIA-H100-80GB-HBM3",
    "h20_sxm": "NVIDIA-H20",
    "h200_sxm": "NVIDIA-H200",
    "h800_sxm": "NVIDIA-H800",
}
"""GPU to the product name that NVIDIA's feature discovery writes on nodes; GPUs not listed are told by pool."""
PRODUCT_LABEL, POOL_LABEL = "nvidia.com/gpu.product", "ratematch.io/pool"
CLIQUE_LABEL = "nvidia.com/gpu.clique"
"""Label of the NVLink domain (fabric clique) of a node, as NVIDIA's feature discovery writes it."""
CHANNEL = "nvlink-channel"
AMD = ("mi300x", "mi355x")
STARTUP_S = 3600
"""Seconds that a model may take to load."""
TOKEN_SECRET = "hf-token-secret"
"""Secret with the key HF_TOKEN; optional."""


def resource(pool: Pool) -> str:
    """The extended resource of a pool's GPUs."""
    return "amd.com/gpu" if pool.gpu in AMD else "nvidia.com/gpu"


def node_label(plan: Plan, pool: Pool) -> tuple[str, str]:
    """The label and value that nodes of a pool have: the product where it tells the pool, else the pool's name."""
    same = [other for other in plan.instance.pools if other.gpu == pool.gpu]
    if pool.gpu in PRODUCTS and len(same) == 1:
        return PRODUCT_LABEL, PRODUCTS[pool.gpu]
    return POOL_LABEL, plan.hosts[pool.name]


def limits(layout: Layout) -> Node:
    """Limits of the container that holds the GPUs."""
    return {resource(layout.line.pool): str(layout.pod_gpus)}


def crosses_nodes(layout: Layout) -> bool:
    """Whether NVLink must reach over nodes: then NVIDIA's driver wants a ComputeDomain."""
    return layout.is_bound_to_domain and layout.line.pool.gpu not in AMD


def compute_domain(name: str, namespace: str | None) -> Node:
    """The ComputeDomain that gives pods a channel over multi-node NVLink."""
    channel = {"resourceClaimTemplate": {"name": claim_template(name)}}
    return {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "ComputeDomain",
        "metadata": metadata(f"{name}-nvlink", namespace),
        "spec": {"numNodes": 0, "channel": channel},
    }


def claim_template(name: str) -> str:
    """Name of the claim template that the ComputeDomain of a plan makes."""
    return f"{name}-nvlink-channel"


def metadata(name: str, namespace: str | None, labels: Mapping[str, str] | None = None) -> Node:
    """Metadata of an object."""
    told: Node = {"name": name}
    if namespace:
        told["namespace"] = namespace
    if labels:
        told["labels"] = dict(labels)
    return told


def group_affinity(set_name: str, layout: Layout) -> Node:
    """
    Pods of one group (or of one stage of it) must share an NVLink domain.

    LeaderWorkerSet labels each pod with its group and subgroup; ``matchLabelKeys`` compares these labels, so that
    several groups may share a domain, which the exclusive-topology annotation of LeaderWorkerSet would forbid.
    """
    keys = ["leaderworkerset.sigs.k8s.io/group-index"]
    if layout.line.entry.partition.pp > 1:
        keys.append("leaderworkerset.sigs.k8s.io/subgroup-index")
    term = {
        "labelSelector": {"matchLabels": {"leaderworkerset.sigs.k8s.io/name": set_name}},
        "matchLabelKeys": keys,
        "topologyKey": CLIQUE_LABEL,
    }
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def probes(port: int) -> Node:
    """A server is ready when it answers; until then it has an hour to load the model."""
    health = {"path": "/health", "port": port}
    return {
        "startupProbe": {"httpGet": health, "periodSeconds": 10, "failureThreshold": STARTUP_S // 10},
        "readinessProbe": {"httpGet": health, "periodSeconds": 10},
    }


def token_env() -> list[Node]:
    """The Hugging Face token, where there is a secret for it."""
    key = {"name": TOKEN_SECRET, "key": "HF_TOKEN", "optional": True}
    return [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}}]


def pod_ip_env(name: str) -> Node:
    """A variable with the pod's address."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def assumptions(layouts: Iterable[Layout], plan: Plan) -> list[str]:
    """What labels and controllers the file takes for granted."""
    found = list(layouts)
    lines = []
    for pool in {layout.line.pool.name: layout.line.pool for layout in found}.values():
        label, value = node_label(plan, pool)
        by = (
            "written by GPU feature discovery" if label == PRODUCT_LABEL else "label the nodes of this pool so yourself"
        )
        lines.append(f"assumed: nodes of pool {pool.name} are labelled {label}={value} ({by})")
    if any(layout.pod_gpus < layout.gpus_per_node for layout in found) and len({each.pod_gpus for each in found}) > 1:
        text = "assumed: the scheduler fills nodes one after the other (NodeResourcesFit, MostAllocated); "
        lines.append(f"{text}small pods that are spread out leave no node for large ones")
    if any(layout.is_bound_to_domain for layout in found):
        lines.append(f"assumed: nodes are labelled {CLIQUE_LABEL} by their NVLink domain (GPU feature discovery)")
    if any(crosses_nodes(layout) for layout in found):
        lines.append("assumed: NVIDIA's DRA driver serves ComputeDomain (multi-node NVLink)")
    return lines
