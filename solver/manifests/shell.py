"""Targets ``vllm``, ``sglang`` and ``trtllm``: a script for each node, and one for the router of each group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from costmodels.errors import Fault
from solver.manifests import engine_sglang, engine_trtllm, engine_vllm, mpi
from solver.manifests.engines import EngineName, engine_faults
from solver.manifests.job import Job
from solver.manifests.launch import Ports, Rank, router_words, words
from solver.manifests.nodes import Layout, Pod
from solver.manifests.plan import Group
from solver.manifests.yaml_text import command, script, yaml_text

HTTP_PORT, SIDE_CHANNEL_PORT = 30000, 5600
"""First port of requests and of the KV hand-over; each process of a node has its own."""
STEP = 100
"""Distance of the ports of two processes: engines take the ports behind the one that they are given."""


@dataclass(frozen=True)
class Process:
    """
    One process to start.

    Parameters
    ----------
    group, layout
        What it is part of.
    replica, rank
        Number of the replica of its line, and of the pod in the replica.
    slot
        Number of the process on its node.
    host
        Its node.
    """

    group: Group
    layout: Layout
    replica: int
    rank: int
    slot: int
    host: str

    @property
    def name(self) -> str:
        """Its name, that of its log."""
        ending = "" if self.layout.pods_per_replica == 1 else f"-rank{self.rank}"
        return f"{self.layout.line.name}-{self.replica}{ending}"

    @property
    def pod(self) -> Pod:
        """Its GPUs."""
        return self.layout.replicas[self.replica][self.rank]

    @property
    def ports(self) -> Ports:
        """Ports of its slot."""
        engine = self.slot * STEP
        return Ports(HTTP_PORT + engine, engine_sglang.BOOTSTRAP_PORT + self.slot, engine_vllm.MEETING_PORT + engine)


def host_of(job: Job, layout: Layout, pod: Pod) -> str:
    """Name of a node: that of its pool and its number."""
    return f"{job.plan.hosts[layout.line.pool.name]}-{pod.node}"


def processes(job: Job) -> list[Process]:
    """All processes, each with a slot on its node."""
    slots: dict[str, int] = {}
    told = []
    for group in job.plan.groups:
        for line in group.lines:
            layout = job.found[line.name]
            for replica, pods in enumerate(layout.replicas):
                for rank, pod in enumerate(pods):
                    host = host_of(job, layout, pod)
                    told.append(Process(group, layout, replica, rank, slots.get(host, 0), host))
                    slots[host] = slots.get(host, 0) + 1
    return told


def faults(job: Job) -> list[Fault]:
    """Groups that were priced for another engine."""
    return [fault for group in job.plan.groups for fault in engine_faults(group, _engine(job), job.settings.target)]


def _engine(job: Job) -> EngineName:
    return next(name for name in ("vllm", "sglang", "trtllm") if name == job.settings.target)


def files(job: Job) -> dict[str, str]:
    """Scripts of nodes and routers; for TensorRT-LLM the files that they read."""
    told: dict[str, str] = {}
    started = processes(job)
    leaders = {(p.layout.line.name, p.replica): p for p in started if p.rank == 0}
    if job.settings.target == "trtllm":
        for group in job.plan.groups:
            for line in group.lines:
                config = engine_trtllm.config(line, group, job.found[line.name])
                told[f"{line.name}.yaml"] = yaml_text([config], job.header(group))
    order = [pool.name for pool in job.plan.instance.pools]
    hosts = sorted((order.index(p.layout.line.pool.name), p.pod.node, p.host) for p in started)
    for host in dict.fromkeys(host for _, _, host in hosts):
        mine = [process for process in started if process.host == host]
        groups = tuple({process.group.name: process.group for process in mine}.values())
        told[f"run_{host.replace('-', '_')}.sh"] = script(_head(job, host, groups), _node(job, mine, leaders))
    for group in job.plan.groups:
        told |= _router(job, group, [p for p in leaders.values() if p.group.name == group.name])
    return told


def _head(job: Job, host: str, groups: tuple[Group, ...]) -> list[str]:
    told = [*job.header(*groups), f"run this on node {host}; nodes reach each other by these names (DNS or /etc/hosts)"]
    for pool, count in _domains(job).items():
        told.append(f"assumed: {pool}-0 to {pool}-{count - 1} are one NVLink domain, and so on, {count} nodes each")
    if job.settings.target == "trtllm" and any(layout.pods_per_replica > 1 for layout in job.found.values()):
        told.append("assumed: MPI reaches all nodes without a password, and each has this folder at the same path")
    if job.settings.image:
        told.append(f"run it in the image {job.settings.image}")
    return told


def _domains(job: Job) -> dict[str, int]:
    """Pools where several nodes must share an NVLink domain, and how many nodes a domain has."""
    bound = [layout for layout in job.found.values() if layout.is_bound_to_domain]
    return {job.plan.hosts[layout.line.pool.name]: layout.nodes_per_domain for layout in bound}


def _node(job: Job, mine: list[Process], leaders: dict[tuple[str, int], Process]) -> list[str]:
    """Starts all processes of a node, each with a log, and ends when one of them does."""
    told = ['cd "$(dirname "$0")"', "mkdir -p logs", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", ""]
    count = 0
    for process in mine:
        if job.settings.target == "trtllm" and process.rank > 0:
            told.append(
                f"# {process.name}: started by MPI from {leaders[process.layout.line.name, process.replica].host}"
            )
            continue
        count += 1
        told.append(f"# {process.name}: GPUs {', '.join(map(str, process.pod.gpus))}")
        told.append(f"{_start(job, process, leaders)} > {f'logs/{process.name}.log'} 2>&1 &\n")
    return [*told, "wait -n" if count else "echo 'nothing to start here'"]


def _start(job: Job, process: Process, leaders: dict[tuple[str, int], Process]) -> str:
    leader = leaders[process.layout.line.name, process.replica]
    if job.settings.target == "trtllm":
        return _mpi(job, process) if process.layout.pods_per_replica > 1 else _served(process)
    engine = _engine(job)
    ports = Ports(process.ports.http, process.ports.bootstrap, leader.ports.meeting)
    start = None if process.rank == 0 else str(process.rank * engine_vllm.ranks_per_pod(process.layout))
    told = words(engine, process.layout, process.group, Rank(str(process.rank), leader.host, start), ports)
    env = [f"CUDA_VISIBLE_DEVICES={_devices(process.pod)}"]
    if engine == "vllm" and process.group.is_disaggregated:
        side_channel = SIDE_CHANNEL_PORT + process.slot * STEP
        env += [f"VLLM_NIXL_SIDE_CHANNEL_HOST={process.host}", f"VLLM_NIXL_SIDE_CHANNEL_PORT={side_channel}"]
    return f"{' '.join(env)} \\\n  {command(told, '    ')}"


def _devices(pod: Pod) -> str:
    return ",".join(map(str, pod.gpus))


def _served(process: Process) -> str:
    line = process.layout.line
    run = command(mpi.served(line, f"{line.name}.yaml", process.ports.http), "    ")
    return f"CUDA_VISIBLE_DEVICES={_devices(process.pod)} \\\n  {run}"


def _mpi(job: Job, process: Process) -> str:
    """All ranks of a replica, node after node, each node with its own GPUs."""
    line, layout = process.layout.line, process.layout
    served = command(mpi.served(line, f"{line.name}.yaml", process.ports.http), "    ")
    parts = []
    for pod in layout.replicas[process.replica]:
        host = host_of(job, layout, pod)
        parts.append(
            f"-n {layout.pod_gpus} --host {host}:{layout.pod_gpus} -x CUDA_VISIBLE_DEVICES={_devices(pod)} \\\n"
            f"    trtllm-llmapi-launch {served}"
        )
    return "mpirun " + " : \\\n  ".join(parts)


def _router(job: Job, group: Group, leaders: list[Process]) -> dict[str, str]:
    """The router of a group."""
    prefill = [p for p in leaders if p.layout.line.role == "prefill" and group.is_disaggregated]
    others = [p for p in leaders if p not in prefill]
    name = f"router_{group.name.replace('-', '_')}"
    head = [*job.header(group), "run this where requests come in, port 8000"]
    if job.settings.target != "trtllm":
        bootstrap = [(f"http://{p.host}:{p.ports.http}", p.ports.bootstrap) for p in prefill]
        run = router_words(_engine(job), group, bootstrap, [f"http://{p.host}:{p.ports.http}" for p in others])
        return {f"{name}.sh": script(head, [f"exec {command(run)}"])}
    hosts = [[f"{p.host}:{p.ports.http}" for p in some] for some in (prefill, others)]
    if group.is_disaggregated:
        config = yaml_text([mpi.disaggregated(hosts[0], hosts[1], HTTP_PORT)], head)
        run = ["exec", "trtllm-serve", "disaggregated", "-c", f"{name}.yaml"]
        return {f"{name}.yaml": config, f"{name}.sh": script(head, ['cd "$(dirname "$0")"', command(run)])}
    told = ['cd "$(dirname "$0")"', f'exec nginx -p "$PWD" -c {name}.conf']
    return {f"{name}.conf": "\n".join(_nginx(head, hosts[1])), f"{name}.sh": script(head, told)}


def _nginx(head: list[str], hosts: list[str]) -> Iterator[str]:
    """TensorRT-LLM has no router for servers that do both; nginx sends requests to the least busy one."""
    yield from (f"# {line}" for line in head)
    yield from ("daemon off;", "pid nginx.pid;", "error_log stderr;", "events {}", "http {", "  upstream servers {")
    yield "    least_conn;"
    yield from (f"    server {host};" for host in hosts)
    yield from ("  }", "  server {", "    listen 8000;", "    location / {")
    yield from ("      proxy_pass http://servers;", "      proxy_buffering off;", "      proxy_read_timeout 1h;")
    yield from ("    }", "  }", "}", "")
