"""Which engine was measured: what the user gives, what a file says, and what must be asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from costmodels.gpus import GPUS
from costmodels.imports.reading import Node, Reading

Role = Literal["prefill", "decode", "colocated"]
NAMES = ("system", "backend", "backend_version", "model", "precision")
DEGREES = ("tp", "pp", "attention_dp", "moe_tp", "moe_ep", "cp")
_EXAMPLES = {
    "system": "h200_sxm",
    "backend": "vllm",
    "backend_version": "0.11.0",
    "model": "meta-llama/Llama-3.1-8B",
    "precision": "fp8",
    "tp": "8",
    "domain_gpus": "8",
}


@dataclass(frozen=True)
class Given:
    """
    What the user says on the command line; None where he leaves it to the files.

    Parameters
    ----------
    system, backend, backend_version, model, precision
        Names as the table carries them.
    tp, pp, attention_dp, moe_tp, moe_ep, cp
        Degrees of the partition.
    domain_gpus
        NVLink domain that was measured in.
    role
        The role that was measured, where the runs are not co-located.
    replicas
        Replicas that shared the load of a run.
    concurrency
        Requests that were kept in flight, where the file does not say.
    isl, osl
        Lengths to label the rows with, in tokens; within 5 % of what was measured.
    chunk_tokens
        Prompt tokens per mixed step of a co-located engine.
    """

    system: str | None = None
    backend: str | None = None
    backend_version: str | None = None
    model: str | None = None
    precision: str | None = None
    tp: int | None = None
    pp: int | None = None
    attention_dp: int | None = None
    moe_tp: int | None = None
    moe_ep: int | None = None
    cp: int | None = None
    domain_gpus: int | None = None
    role: Role | None = None
    replicas: int = 1
    concurrency: int | None = None
    isl: int | None = None
    osl: int | None = None
    chunk_tokens: int | None = None


@dataclass(frozen=True, order=True)
class Engine:
    """The engine of a row, in the words of the table (:data:`costmodels.table.HEADER`)."""

    system: str
    backend: str
    backend_version: str
    model: str
    precision: str
    tp: int
    pp: int
    attention_dp: int
    moe_tp: int
    moe_ep: int
    cp: int
    domain_gpus: int

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tp * self.pp * self.attention_dp * self.cp

    @property
    def partition(self) -> str:
        """The degrees above 1, for people; ``tp1`` where there are none."""
        return " ".join(f"{name}{getattr(self, name)}" for name in DEGREES if getattr(self, name) > 1) or "tp1"

    def __str__(self) -> str:
        return f"{self.system} {self.backend} {self.backend_version} {self.model} {self.precision} {self.partition}"


Said = Mapping[str, str | int | None]
"""What a file says of the engine: name or degree -> value."""


def settle(given: Given, said: Said, at: Node) -> Engine | None:
    """
    The engine of a measurement; None where something is missing or contradicts.

    A name of the command line wins over that of the file, with a note: files hold paths and nicknames. A degree that
    differs is a fault: the file knows what ran. Degrees that neither says are 1, except ``tp``, which is asked for.

    Parameters
    ----------
    given, said
        The command line, the file.
    at
        Where the measurement stands.
    """
    names = {name: _name(name, given, said, at) for name in NAMES}
    degrees = {name: _degree(name, given, said, at) for name in DEGREES}
    domain = given.domain_gpus or said.get("domain_gpus") or _domain(names["system"])
    if domain is None and names["system"]:
        ask("domain_gpus", at)
    if any(value is None for value in (*names.values(), *degrees.values(), domain)):
        return None
    engine = Engine(**names, **degrees, domain_gpus=domain)  # type: ignore[arg-type]
    experts, ranks = engine.moe_tp * engine.moe_ep, engine.tp * engine.attention_dp
    if engine.cp == 1 and experts not in (1, ranks):
        text = f"moe_tp x moe_ep = {experts}, must be tp x attention_dp = {ranks} (or 1 for a dense model)"
        at.fault(f"{text}; see --moe-tp, --moe-ep, --attention-dp")
        return None
    return engine


def ask(name: str, at: Node) -> None:
    """Remembers that an option is needed; it becomes one fault, however many rows need it."""
    at.reading.asked.setdefault(name, at.where)


def asked_faults(reading: Reading) -> list[tuple[str, str]]:
    """Place and text of each option that is missing."""
    faults = []
    for name, where in reading.asked.items():
        option = f"--{name.replace('_', '-')}"
        example = f", such as {option} {_EXAMPLES[name]}" if name in _EXAMPLES else ""
        faults.append((option, f"needed, since {where} does not say it{example}"))
    return faults


def _name(name: str, given: Given, said: Said, at: Node) -> str | None:
    mine, theirs = getattr(given, name), said.get(name)
    if mine is None and theirs is None:
        ask(name, at)
        return None
    if mine is not None and theirs is not None and mine != theirs:
        at.reading.notes[f"{name}: the file says {theirs}, --{name.replace('_', '-')} {mine} is taken"] += 1
    chosen = str(mine if mine is not None else theirs)
    if chosen != chosen.strip() or not chosen or not chosen.isprintable():
        at.fault(f"{name} {chosen!r} is not a usable name; give --{name.replace('_', '-')}")
        return None
    return chosen


def _degree(name: str, given: Given, said: Said, at: Node) -> int | None:
    mine, theirs = getattr(given, name), said.get(name)
    if mine is not None and theirs is not None and mine != theirs:
        option = f"--{name.replace('_', '-')}"
        at.fault(f"{name} is {theirs} here, but {option} says {mine}; leave {option} out, or import the file alone")
        return None
    if mine is None and theirs is None and name == "tp":
        ask(name, at)
        return None
    return int(mine or theirs or 1)


def _domain(system: str | None) -> int | None:
    gpu = GPUS.get(system or "")
    return gpu.nvlink_domain_gpus if gpu else None


def system_of(name: str | None) -> str | None:
    """
    The catalogue name of a GPU that a tool calls otherwise; None where it is not certain.

    Parameters
    ----------
    name
        Such as ``h200``, ``h200-nvs``, ``NVIDIA-H100-80GB-HBM3`` or ``mi355x``.
    """
    words = re.findall(r"[a-z0-9]+", (name or "").lower())
    if "pcie" in words or "nvl" in words:
        return None  # another product than the catalogue's
    found = {gpu for gpu in GPUS for word in words if word in (gpu, gpu.removesuffix("_sxm"))}
    return found.pop() if len(found) == 1 else None


def backend_of(name: str | None) -> str | None:
    """The serving engine behind a framework name: orchestration before and after it is cut, TensorRT-LLM is trtllm."""
    if name is None:
        return None
    word = name.lower().removeprefix("dynamo-").removeprefix("llm-d-").removesuffix("-disagg")
    return {"trt": "trtllm", "trt-llm": "trtllm", "tensorrt-llm": "trtllm", "tensorrt_llm": "trtllm"}.get(word, word)


def version_of(image: str | None) -> str | None:
    """The tag of a container image; None where it has none."""
    found = re.search(r"[:#]([A-Za-z0-9_][\w.+-]*)$", image or "")
    return found.group(1) if found else None
