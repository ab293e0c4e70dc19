"""From a result or frontier file to files that deploy it; the whole story in one function."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import instances
from costmodels.errors import Fault, InputError
from solver.engines import EngineSet, cost_model_of, engines_of
from solver.instance import Instance
from solver.manifests import engine_sglang, engine_trtllm, engine_vllm
from solver.manifests.checked import checked
from solver.manifests.chosen import chosen, plan_file
from solver.manifests.engines import TITLES, EngineName, engine_of, is_priced
from solver.manifests.job import Job
from solver.manifests.nodes import Layout, layouts
from solver.manifests.plan import Group, Plan, plan_of
from solver.manifests.pods import AMD
from solver.manifests.registry import TARGETS
from solver.manifests.settings import Settings, settings_of
from solver.read import read_instance, read_json
from solver.result import Result

ENGINE_MODULES = {"vllm": engine_vllm, "sglang": engine_sglang, "trtllm": engine_trtllm}


def export_deployment(
    result: Result | Mapping[str, Any] | str | Path,
    to: str,
    *,
    instance: str | Path | None = None,
    point: int | None = None,
    at: str | None = None,
    engine: EngineName | None = None,
    image: str | None = None,
    model_paths: Mapping[str, str] | Sequence[str] = (),
    namespace: str | None = None,
) -> dict[str, str]:
    """
    Manifests and commands for the deployment that a result or a frontier point names.

    Parameters
    ----------
    result
        A result (its own instance is used), a parsed result or frontier, or the path of either file (JSON).
    to
        Target: ``dynamo``, ``llm-d``, ``vllm``, ``sglang``, ``trtllm``, ``kubernetes``.
    instance
        Path or built-in name of the instance; None: the built-in one that the file names.
    point, at
        Which point of a frontier: its number from 0, or the interactivity that it must reach in tokens/s/user, or
        ``max-throughput`` or ``max-interactivity``.
    engine
        Serving engine where the plan was priced without one; vLLM by default.
    image
        Container image of the workers.
    model_paths
        Workload to the path of its weights, or texts ``WORKLOAD=PATH``, ``PATH`` where there is one workload; the
        model's name on the Hugging Face hub by default.
    namespace
        Kubernetes namespace.

    Returns
    -------
    dict
        File name to text. Nothing is written.

    Raises
    ------
    InputError
        When the file does not belong to the instance or holds no deployment, when there is no such point, or when the
        target has no words for the deployment; every fault is named.
    """
    if to not in TARGETS:
        raise InputError([Fault("--to", f"got {to!r}, must be {' or '.join(TARGETS)}")])
    document = _document(result)
    read, engines = _priced(result, document, instance)
    settings = settings_of(read, to, engine, image, model_paths, namespace)
    plan = plan_of(chosen(document, read, engines, point, at), read, settings.model_paths)
    job = Job(plan, settings, _engines(plan, settings), layouts(plan))
    faults = [*TARGETS[to].faults(job), *_faults(job)]
    if faults:
        raise InputError(dict.fromkeys(faults))
    return checked(to, TARGETS[to].files(job), job)


def _priced(
    result: Result | Mapping[str, Any] | str | Path, document: Any, given: str | Path | None
) -> tuple[Instance, EngineSet]:
    """The instance with its engines: those of a result at hand, else read anew."""
    if isinstance(result, Result):
        return result.instance, result.engines
    path = _instance_path(plan_file(document), given)
    instance = read_instance(path)
    return instance, engines_of(instance, cost_model_of(instance, path.parent))


def _document(result: Result | Mapping[str, Any] | str | Path) -> Any:
    if isinstance(result, Result):
        return result.as_dict()
    if isinstance(result, Mapping):
        return result
    path = Path(result)
    if path.suffix == ".csv":
        text = "a frontier as CSV names no partitions of its engines; write it with frontier -o F.json and export that"
        raise InputError([Fault(str(path), text)])
    return read_json(path)


def _instance_path(document: Mapping[str, Any], given: str | Path | None) -> Path:
    """The instance's file: the one given, else the built-in one of the name in the file."""
    try:
        if given is not None:
            return instances.resolve(str(given))
        name = document.get("instance")
        known = [each for each in instances.names() if each == name or each.rsplit("/", 1)[-1] == name]
        if known:
            return instances.path(known[0])
        text = f"needed, since {name!r} is no built-in instance; give the file that was solved"
        raise InputError([Fault("--instance", text)])
    except ValueError as error:
        raise InputError([Fault("--instance", str(error))]) from None


def _engines(plan: Plan, settings: Settings) -> dict[str, EngineName]:
    """Group name to engine: the target's own, else the one that it was priced for, else the one asked for."""
    own = TARGETS[settings.target].engine
    return {group.name: own or engine_of(group, settings.engine) for group in plan.groups}


def _faults(job: Job) -> list[Fault]:
    """What the engines cannot express; an engine option that contradicts the target or the plan."""
    found = []
    own, asked = TARGETS[job.settings.target].engine, job.settings.engine
    for group in job.plan.groups:
        engine = job.engines[group.name]
        if asked and asked != engine:
            why = f"--to {job.settings.target}" if own else f"the plan of {group.name}, priced for {engine}"
            found.append(Fault("--engine", f"got {asked}, which contradicts {why}; leave it out"))
        if not is_priced(group) or group.lines[0].entry.backend == engine:
            found += [fault for line in group.lines for fault in _line_faults(group, job.found[line.name], engine)]
    return found


def _line_faults(group: Group, layout: Layout, engine: EngineName) -> list[Fault]:
    found = list(ENGINE_MODULES[engine].faults(layout.line, group, layout))
    if engine == "trtllm" and layout.line.pool.gpu in AMD:
        text = f"got {layout.line.pool.gpu}, {TITLES[engine]} runs on NVIDIA GPUs only"
        found.append(Fault(f"{layout.line.entry.where}.pool", text))
    return found


def as_text(files: Mapping[str, str]) -> str:
    """All files one after the other: YAML files as documents of one stream, others after a line with their name."""
    parts = []
    for name, text in files.items():
        is_yaml = name.endswith(".yaml")
        parts.append(f"{'---' + chr(10) if is_yaml else ''}# file: {name}\n{text}")
    return "\n".join(parts)


def check_folder(folder: Path) -> None:
    """
    Says early that the files could not be written into a folder.

    Raises
    ------
    InputError
        When it exists and is not empty, so that files of different plans would stand beside each other, or cannot be
        made.
    """
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError([Fault(str(folder), "is not empty; files of two plans must not mix, give a new folder")])
        if folder.exists() and not folder.is_dir():
            raise InputError([Fault(str(folder), "is no folder")])
        if not folder.parent.is_dir() or not os.access(folder.parent, os.W_OK):
            raise InputError([Fault(str(folder), f"cannot be made in {folder.parent}")])
    except OSError as error:
        raise InputError([Fault(str(folder), f"cannot be written: {error.strerror or error}")]) from None


def write_files(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """
    Writes all files into a new or empty folder, all or none; scripts can be run.

    Raises
    ------
    InputError
        As :func:`check_folder`, or when writing fails; nothing is left behind.
    """
    check_folder(folder)
    try:
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".export."))
    except OSError as error:
        raise InputError([Fault(str(folder), f"cannot be written: {error.strerror or error}")]) from None
    try:
        for name, text in files.items():
            (made / name).write_text(text, "utf-8")
            (made / name).chmod(0o755 if name.endswith(".sh") else 0o644)
        made.chmod(0o755)
        made.replace(folder)
    except OSError as error:
        raise InputError([Fault(str(folder), f"cannot be written: {error.strerror or error}")]) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return [folder / name for name in files]
