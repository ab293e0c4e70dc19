"""TensorRT-LLM over several nodes: ranks are started by MPI; and the file of its router."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solver.manifests.nodes import Layout
from solver.manifests.plan import Line
from solver.manifests.yaml_text import Shell, command

SECRET, KEYS = "mpi-ssh", "/ssh-keys"
SSH_PORT = 2222


def served(line: Line, config: str, port: int) -> list[str]:
    """The command of one server."""
    told = ["trtllm-serve", line.model_path, "--host", "0.0.0.0", "--port", str(port)]
    return [*told, "--served_model_name", line.workload.model, "--config", config]


def _keys() -> list[str]:
    return [
        "set -euo pipefail",
        'mkdir -p "$HOME/.ssh"',
        f'install -m 600 {KEYS}/private.key "$HOME/.ssh/id_rsa"',
        f'install -m 600 {KEYS}/private.key.pub "$HOME/.ssh/authorized_keys"',
    ]


def leader(layout: Layout, words: Sequence[str]) -> str:
    """Script of the first pod of a LeaderWorkerSet: waits for the others, starts all ranks."""
    ranks, ssh = layout.line.entry.partition.gpus, f"-p {SSH_PORT} -o StrictHostKeyChecking=no"
    run = ["mpirun", "--allow-run-as-root", "-n", str(ranks), "--host", Shell('"$hosts"'), "--mca", "plm_rsh_args", ssh]
    run += ["-x", "HF_TOKEN", "trtllm-llmapi-launch"]
    return "\n".join(
        [
            *_keys(),
            "base=${LWS_LEADER_ADDRESS%%.*} domain=${LWS_LEADER_ADDRESS#*.}",
            'export HF_TOKEN="${HF_TOKEN:-}"',
            f'hosts="localhost:{layout.pod_gpus}"',
            "for index in $(seq 1 $((LWS_GROUP_SIZE - 1))); do",
            '  host="$base-$index.$domain"',
            f'  until (exec 3<>"/dev/tcp/$host/{SSH_PORT}") 2>/dev/null; do sleep 2; done',
            f'  hosts="$hosts,$host:{layout.pod_gpus}"',
            "done",
            f"exec {command([*run, *words])}",
            "",
        ]
    )


def worker() -> str:
    """Script of the other pods: lets MPI in."""
    return "\n".join(
        [
            *_keys(),
            "ssh-keygen -A",
            "mkdir -p /run/sshd",
            f"exec /usr/sbin/sshd -D -p {SSH_PORT}",
            "",
        ]
    )


def disaggregated(prefill: Sequence[str], decode: Sequence[str], port: int) -> dict[str, Any]:
    """
    The file of ``trtllm-serve disaggregated``.

    Parameters
    ----------
    prefill, decode
        Hosts, with a port where it is not ``port``.
    port
        Port of the servers.
    """

    def part(hosts: Sequence[str]) -> dict[str, Any]:
        urls = [host if ":" in host else f"{host}:{port}" for host in hosts]
        return {"num_instances": len(urls), "urls": urls}

    return {
        "hostname": "0.0.0.0",
        "port": 8000,
        "backend": "pytorch",
        "context_servers": part(prefill),
        "generation_servers": part(decode),
    }
