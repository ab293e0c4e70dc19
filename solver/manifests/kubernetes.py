"""Target ``kubernetes``: StatefulSets, LeaderWorkerSets where a replica has several pods, a router for each group."""

from __future__ import annotations

from typing import Any

from costmodels.errors import Fault
from solver.manifests import engine_trtllm, mpi
from solver.manifests.engines import EngineName, version_of
from solver.manifests.job import Job
from solver.manifests.launch import Ports, Rank, in_set, router_words, words
from solver.manifests.nodes import Layout
from solver.manifests.plan import Group, Line
from solver.manifests.pods import (
    CHANNEL,
    assumptions,
    claim_template,
    compute_domain,
    crosses_nodes,
    group_affinity,
    limits,
    metadata,
    node_label,
    pod_ip_env,
    probes,
    token_env,
)
from solver.manifests.yaml_text import command, yaml_text

Node = dict[str, Any]
IMAGES: dict[EngineName, str] = {
    "vllm": "vllm/vllm-openai:v{}",
    "sglang": "lmsysorg/sglang:v{}",
    "trtllm": "nvcr.io/nvidia/tensorrt-llm/release:{}",
}
PORTS = Ports()
SIDE_CHANNEL_PORT = 5600
GROUP_LABEL, LINE_LABEL = "ratematch.io/group", "ratematch.io/line"


def faults(job: Job) -> list[Fault]:
    """Kubernetes itself refuses nothing that an engine can do."""
    del job
    return []


def files(job: Job) -> dict[str, str]:
    """One file for each group, and one for the NVLink domain where pods share one over nodes."""
    told = {}
    if any(crosses_nodes(layout) for layout in job.found.values()):
        told["nvlink-domain.yaml"] = nvlink_file(job)
    for group in job.plan.groups:
        layouts = [job.found[line.name] for line in group.lines]
        head = [*job.header(group), *assumptions(layouts, job.plan), *_more(layouts, job.engines[group.name])]
        told[f"{group.name}.yaml"] = yaml_text(_documents(job, group), head)
    return told


def nvlink_file(job: Job) -> str:
    """The ComputeDomain, which all pods of the plan share: a node belongs to one at a time."""
    head = [*job.header(), "apply this first: the pods claim a channel of this domain"]
    return yaml_text([compute_domain(job.plan.name, job.settings.namespace)], head)


def _more(layouts: list[Layout], engine: EngineName) -> list[str]:
    lines = []
    if any(layout.pods_per_replica > 1 for layout in layouts):
        lines.append("assumed: the LeaderWorkerSet controller is installed (leaderworkerset.x-k8s.io/v1)")
        if any(layout.is_bound_to_domain for layout in layouts):
            lines.append("assumed: Kubernetes 1.31 or newer (matchLabelKeys of a pod affinity)")
        if engine == "trtllm":
            lines.append(f"assumed: secret {mpi.SECRET} holds an SSH key pair as private.key and private.key.pub")
    first = layouts[0].line
    if first.model_path.startswith("/"):
        lines.append(f"assumed: claim {first.weights_claim} holds the weights that are mounted at {first.model_path}")
    return lines


def _documents(job: Job, group: Group) -> list[Node]:
    engine = job.engines[group.name]
    told: list[Node] = []
    for line in group.lines:
        layout = job.found[line.name]
        if engine == "trtllm":
            told.append(_config_map(job, line, group, layout))
        if layout.pods_per_replica == 1:
            told += [_headless(job, line), _stateful_set(job, group, layout)]
        else:
            told.append(_worker_set(job, group, layout))
    return told + _router(job, group, engine)


def _config_map(job: Job, line: Line, group: Group, layout: Layout) -> Node:
    content = yaml_text([engine_trtllm.config(line, group, layout)], [])
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(f"{line.name}-engine", job.settings.namespace),
        "data": {"engine.yaml": content},
    }


def _labels(line: Line, group: Group) -> dict[str, str]:
    return {GROUP_LABEL: group.name, LINE_LABEL: line.name}


def _headless(job: Job, line: Line) -> Node:
    """Gives each pod of a StatefulSet a name of its own; the router knows them before they are ready."""
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {LINE_LABEL: line.name}}
    spec |= {"ports": [{"name": "http", "port": PORTS.http}]}
    told = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(line.name, job.settings.namespace),
        "spec": spec,
    }
    return told


def _stateful_set(job: Job, group: Group, layout: Layout) -> Node:
    line = layout.line
    labels = _labels(line, group) | {"ratematch.io/answers": group.name}
    spec = {
        "serviceName": line.name,
        "replicas": line.replicas,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {LINE_LABEL: line.name}},
        "template": {"metadata": {"labels": labels}, "spec": _pod(job, group, layout, Rank())},
    }
    meta = metadata(line.name, job.settings.namespace, {GROUP_LABEL: group.name})
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": spec}


def _worker_set(job: Job, group: Group, layout: Layout) -> Node:
    """A replica over several pods; the controller makes a headless service of the same name."""
    line = layout.line
    labels = _labels(line, group)
    leader = {"metadata": {"labels": labels | {"ratematch.io/answers": group.name}}}
    leader["spec"] = _pod(job, group, layout, in_set(layout, True))
    worker = {"metadata": {"labels": labels}, "spec": _pod(job, group, layout, in_set(layout, False))}
    template: Node = {"size": layout.pods_per_replica, "restartPolicy": "RecreateGroupOnPodRestart"}
    if layout.is_bound_to_domain and line.entry.partition.pp > 1:
        template["subGroupPolicy"] = {"subGroupSize": layout.pods_per_stage}
    template |= {"leaderTemplate": leader, "workerTemplate": worker}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": metadata(line.name, job.settings.namespace, {GROUP_LABEL: group.name}),
        "spec": {"replicas": line.replicas, "leaderWorkerTemplate": template},
    }


def _pod(job: Job, group: Group, layout: Layout, rank: Rank) -> Node:
    line, plan = layout.line, job.plan
    label, value = node_label(plan, line.pool)
    pod: Node = {"nodeSelector": {label: value}}
    if layout.is_bound_to_domain:
        pod["affinity"] = group_affinity(line.name, layout)
    container = _container(job, group, layout, rank)
    volumes: list[Node] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
    mounts: list[Node] = [{"name": "shm", "mountPath": "/dev/shm"}]
    if job.engines[group.name] == "trtllm":
        volumes.append({"name": "engine", "configMap": {"name": f"{line.name}-engine"}})
        mounts.append({"name": "engine", "mountPath": "/engine", "readOnly": True})
        if layout.pods_per_replica > 1:
            volumes.append({"name": "ssh", "secret": {"secretName": mpi.SECRET, "defaultMode": 0o400}})
            mounts.append({"name": "ssh", "mountPath": mpi.KEYS, "readOnly": True})
    if line.model_path.startswith("/"):
        claim = {"claimName": line.weights_claim, "readOnly": True}
        volumes.append({"name": "weights", "persistentVolumeClaim": claim})
        mounts.append({"name": "weights", "mountPath": line.model_path, "readOnly": True})
    container["volumeMounts"] = mounts
    if crosses_nodes(layout):
        container["resources"]["claims"] = [{"name": CHANNEL}]
        pod["resourceClaims"] = [{"name": CHANNEL, "resourceClaimTemplateName": claim_template(plan.name)}]
    return pod | {"containers": [container], "volumes": volumes}


def _container(job: Job, group: Group, layout: Layout, rank: Rank) -> Node:
    engine = job.engines[group.name]
    told: Node = {"name": "engine", "image": _image(job, group, engine)}
    told |= _command(group, layout, rank, engine)
    env = token_env()
    if engine == "vllm" and group.is_disaggregated:
        env += [pod_ip_env("VLLM_NIXL_SIDE_CHANNEL_HOST")]
        env += [{"name": "VLLM_NIXL_SIDE_CHANNEL_PORT", "value": str(SIDE_CHANNEL_PORT)}]
    told["env"] = env
    told["resources"] = {"limits": limits(layout)}
    if rank.is_leader:
        told["ports"] = [{"name": "http", "containerPort": PORTS.http}]
        told |= probes(PORTS.http)
    return told


def _image(job: Job, group: Group, engine: EngineName) -> str:
    return job.settings.image or IMAGES[engine].format(version_of(group, engine))


def _command(group: Group, layout: Layout, rank: Rank, engine: EngineName) -> Node:
    """Plain words where nothing is to be expanded, else a line for the shell."""
    if engine == "trtllm":
        served = mpi.served(layout.line, "/engine/engine.yaml", PORTS.http)
        if layout.pods_per_replica == 1:
            return {"command": served[:1], "args": served[1:]}
        return {
            "command": ["/bin/bash", "-c"],
            "args": [mpi.leader(layout, served) if rank.is_leader else mpi.worker()],
        }
    told = words(engine, layout, group, rank, PORTS)
    if layout.pods_per_replica == 1:
        first = 2 if engine == "vllm" else 3
        return {"command": told[:first], "args": told[first:]}
    return {"command": ["/bin/bash", "-c"], "args": [f"exec {command(told)}\n"]}


def _hosts(line: Line) -> list[str]:
    """Names of the pods that answer requests: pods of a StatefulSet and leaders of a LeaderWorkerSet alike."""
    return [f"{line.name}-{number}.{line.name}" for number in range(line.replicas)]


def _router(job: Job, group: Group, engine: EngineName) -> list[Node]:
    """The router and its service; TensorRT-LLM has none for servers that do both, there the service balances."""
    name = f"{group.name}-router"
    selector = {"ratematch.io/router": group.name}
    prefill = [host for line in group.of_role("prefill") for host in _hosts(line)]
    others = [
        host for line in group.lines if line.role != "prefill" or not group.is_disaggregated for host in _hosts(line)
    ]
    told: list[Node] = []
    if engine == "trtllm" and not group.is_disaggregated:
        selector = {"ratematch.io/answers": group.name}
    elif engine == "trtllm":
        config = mpi.disaggregated(prefill, others, PORTS.http)
        data = {"disagg_config.yaml": yaml_text([config], [])}
        meta = metadata(name, job.settings.namespace)
        told.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})
        run = ["trtllm-serve", "disaggregated", "-c", "/router/disagg_config.yaml"]
        told.append(_router_deployment(job, group, selector, run, config_map=name))
    else:
        bootstrap = [(f"http://{host}:{PORTS.http}", PORTS.bootstrap) for host in prefill]
        run = router_words(engine, group, bootstrap, [f"http://{host}:{PORTS.http}" for host in others])
        if engine == "vllm":
            run = ["/bin/bash", "-c", f"pip install --quiet vllm-router\nexec {command(run)}\n"]
        told.append(_router_deployment(job, group, selector, run))
    ports = [{"name": "http", "port": 8000, "targetPort": 8000}]
    meta = metadata(name, job.settings.namespace)
    told.append(
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": selector, "ports": ports}}
    )
    return told


def _router_deployment(
    job: Job, group: Group, selector: dict[str, str], run: list[str], config_map: str | None = None
) -> Node:
    container: Node = {"name": "router", "image": _image(job, group, job.engines[group.name])}
    split = 2 if run[0] == "/bin/bash" else 1
    container |= {"command": run[:split], "args": run[split:], "ports": [{"name": "http", "containerPort": 8000}]}
    pod: Node = {"containers": [container]}
    if config_map:
        container["volumeMounts"] = [{"name": "router", "mountPath": "/router", "readOnly": True}]
        pod["volumes"] = [{"name": "router", "configMap": {"name": config_map}}]
    spec = {"replicas": 1, "selector": {"matchLabels": selector}}
    spec |= {"template": {"metadata": {"labels": selector}, "spec": pod}}
    meta = metadata(f"{group.name}-router", job.settings.namespace)
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
