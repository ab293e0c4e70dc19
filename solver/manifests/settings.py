"""What the user chooses about an export."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from costmodels.errors import Fault, InputError
from solver.instance import Instance
from solver.manifests.engines import ENGINES, EngineName


@dataclass(frozen=True)
class Settings:
    """
    Choices of an export.

    Parameters
    ----------
    target
        Name of the target.
    engine
        Engine where the plan was priced without one; None: vLLM.
    image
        Container image of the workers; None: the target's.
    model_paths
        Workload to the path of its weights.
    namespace
        Kubernetes namespace; None: that of the context.
    """

    target: str
    engine: EngineName | None = None
    image: str | None = None
    model_paths: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = None


def settings_of(
    instance: Instance,
    target: str,
    engine: EngineName | None,
    image: str | None,
    model_paths: Mapping[str, str] | Sequence[str],
    namespace: str | None,
) -> Settings:
    """
    Checks what the user chose.

    Raises
    ------
    InputError
        With every fault.
    """
    faults: list[Fault] = []
    names = [workload.name for workload in instance.workloads]
    pairs = model_paths.items() if isinstance(model_paths, Mapping) else [_pair(text, names) for text in model_paths]
    paths: dict[str, str] = {}
    for name, path in pairs:
        if name not in names:
            text = f"got workload {name!r}, must be WORKLOAD=PATH with WORKLOAD {' or '.join(names)}"
            faults.append(Fault("--model-path", text))
        elif name in paths:
            faults.append(Fault("--model-path", f"is given twice for {name}; give one"))
        elif not _is_word(path):
            faults.append(
                Fault("--model-path", f"got {path!r}, must be a path or a name, without blanks or a leading -")
            )
        paths[name] = path
    if image is not None and not _is_word(image):
        faults.append(Fault("--image", f"got {image!r}, must be an image name"))
    if namespace is not None and not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", namespace):
        text = f"got {namespace!r}, must be lower-case letters, digits and hyphens, 63 at most"
        faults.append(Fault("--namespace", text))
    if engine is not None and engine not in ENGINES:
        faults.append(Fault("--engine", f"got {engine!r}, must be {' or '.join(ENGINES)}"))
    if faults:
        raise InputError(faults)
    return Settings(target, engine, image, paths, namespace)


def _pair(text: str, names: Sequence[str]) -> tuple[str, str]:
    """Workload and path; a path alone is that of the only workload."""
    name, equals, path = text.partition("=")
    if equals and (name in names or len(names) > 1):
        return name, path
    return (names[0], text) if len(names) == 1 else ("", text)


def _is_word(text: str) -> bool:
    return bool(text) and text.isprintable() and not text.startswith("-") and " " not in text
