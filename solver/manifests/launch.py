"""The command that starts one pod of a replica, whatever runs the pod."""

from __future__ import annotations

from dataclasses import dataclass

from costmodels.operating_curve import Role
from solver.manifests import engine_sglang, engine_vllm
from solver.manifests.engines import EngineName
from solver.manifests.nodes import Layout
from solver.manifests.plan import Group
from solver.manifests.yaml_text import Shell


@dataclass(frozen=True)
class Ports:
    """
    Ports of a replica.

    Parameters
    ----------
    http
        Requests.
    bootstrap
        SGLang: where decode servers find a prefill server.
    meeting
        Where the pods of a replica meet; None: the engine's usual port.
    """

    http: int = 8000
    bootstrap: int = engine_sglang.BOOTSTRAP_PORT
    meeting: int | None = None


@dataclass(frozen=True)
class Rank:
    """
    A pod's place in its replica.

    Parameters
    ----------
    number
        Its number, or a shell variable.
    leader
        Host name of pod 0, or a shell variable.
    start
        First data-parallel rank, a number or a shell expression; None for pod 0.
    """

    number: str = "0"
    leader: str = ""
    start: str | None = None

    @property
    def is_leader(self) -> bool:
        """Whether it is pod 0, which answers requests."""
        return self.start is None


def in_set(layout: Layout, is_leader: bool) -> Rank:
    """The place of a pod of a LeaderWorkerSet, which tells it by environment variables."""
    start = Shell(f'"$((LWS_WORKER_INDEX * {engine_vllm.ranks_per_pod(layout)}))"')
    return Rank(Shell('"$LWS_WORKER_INDEX"'), Shell('"$LWS_LEADER_ADDRESS"'), None if is_leader else start)


def words(engine: EngineName, layout: Layout, group: Group, rank: Rank, ports: Ports) -> list[str]:
    """
    The command of vLLM or SGLang, word by word.

    TensorRT-LLM is started by MPI and has commands of its own.
    """
    line = layout.line
    served = ["--served-model-name", line.workload.model, "--host", "0.0.0.0", "--port", str(ports.http)]
    if engine == "vllm":
        told = ["vllm", "serve", line.model_path, *served, *engine_vllm.flags(line, group)]
        meeting = ports.meeting or engine_vllm.MEETING_PORT
        return told + engine_vllm.rank_flags(layout, rank.number, rank.leader, rank.start, meeting)
    told = ["python3", "-m", "sglang.launch_server", "--model-path", line.model_path, *served]
    told += engine_sglang.flags(line, group)
    if group.is_disaggregated and line.role == "prefill":
        told += ["--disaggregation-bootstrap-port", str(ports.bootstrap)]
    meeting = ports.meeting or engine_sglang.MEETING_PORT
    return told + engine_sglang.rank_flags(layout, rank.number, rank.leader, meeting)


def router_words(engine: EngineName, group: Group, prefill: list[tuple[str, int]], others: list[str]) -> list[str]:
    """
    The command of the router of vLLM or SGLang.

    Parameters
    ----------
    engine
        The engine.
    group
        Whose requests it routes.
    prefill
        URL and bootstrap port of each prefill server, where it is disaggregated.
    others
        URLs of decode servers, or of servers that do both.
    """
    told = ["vllm-router"] if engine == "vllm" else ["python3", "-m", "sglang_router.launch_router"]
    told += ["--host", "0.0.0.0", "--port", "8000"]
    if not group.is_disaggregated:
        return [*told, "--policy", _policy(group, group.lines[0].role), "--worker-urls", *others]
    told += ["--vllm-pd-disaggregation" if engine == "vllm" else "--pd-disaggregation"]
    told += ["--prefill-policy", _policy(group, "prefill"), "--decode-policy", _policy(group, "decode")]
    for url, port in prefill:
        told += ["--prefill", url] if engine == "vllm" else ["--prefill", url, str(port)]
    for url in others:
        told += ["--decode", url]
    return told


def _policy(group: Group, role: Role) -> str:
    """Equal servers take turns; unequal ones are chosen by their load."""
    rates = {line.entry.requests_per_s.number for line in group.of_role(role)}
    return "power_of_two" if len(rates) > 1 else "round_robin"
