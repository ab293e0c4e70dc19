"""The optional package ``aiconfigurator-core``: is it there, and what does it hold."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError

PACKAGE = "aiconfigurator-core"
INSTALL = "pip install 'ratematch[silicon]'"
BACKENDS = ("sglang", "trtllm", "vllm")
"""Serving engines that the package knows."""
_KIND = "$.cost_model.kind"


def missing(python: tuple[int, int]) -> Fault:
    """What to say where the package is not installed, on the given version of Python."""
    text = f"silicon needs the package {PACKAGE}, which is not installed: {INSTALL}"
    if not (3, 11) <= python <= (3, 13):
        text += f"; it exists for Python 3.11 to 3.13, this is Python {python[0]}.{python[1]}"
    return Fault(_KIND, f"{text}; or take kind roofline or curves")


def package_version() -> str:
    """
    The version of the installed package; cheap, imports nothing of it.

    Raises
    ------
    InputError
        When the package is not installed.
    """
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise InputError([missing(sys.version_info[:2])]) from None


def require_package() -> None:
    """
    Makes sure that the package can be imported.

    Raises
    ------
    InputError
        When it cannot; the message says what to do.
    """
    version = package_version()
    try:
        import aiconfigurator_core.sdk.perf_database  # noqa: F401
    except ImportError as error:
        text = f"{PACKAGE} {version} is installed but cannot be imported ({error}); install it again: {INSTALL}"
        raise InputError([Fault(_KIND, text)]) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the package's own log while it prices; what it would say is in the notes and the dropped counts."""
    logger = logging.getLogger("aiconfigurator_core")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@cache
def versions() -> dict[str, dict[str, tuple[str, ...]]]:
    """GPU type -> serving engine -> the versions of the measured data, for all that have any."""
    from aiconfigurator_core.sdk.perf_database import get_supported_databases

    with quiet():
        found = get_supported_databases()
    kept = {
        system: {backend: tuple(engines[backend]) for backend in sorted(engines) if engines[backend]}
        for system, engines in sorted(found.items())
    }
    return {system: engines for system, engines in kept.items() if engines}


def current_version(system: str, backend: str) -> str:
    """The version of the data that the package maintains, where no other is asked for."""
    from aiconfigurator_core.sdk.perf_database import get_latest_database_version

    with quiet():
        found = get_latest_database_version(system=system, backend=backend)
    return str(found) if found else versions()[system][backend][-1]


def _folder(name: str) -> Path:
    """A folder of the installed package; found without importing it."""
    return Path(str(metadata.distribution(PACKAGE).locate_file("aiconfigurator_core"))) / name


@cache
def bundled_models() -> tuple[str, ...]:
    """Names of the models whose configuration the package carries; nothing is fetched from the network."""
    names = (path.name.removesuffix("_config.json") for path in _folder("model_configs").glob("*_config.json"))
    return tuple(sorted(name.replace("--", "/", 1) for name in names if not name.endswith("_hf_quant")))


@cache
def passing(model: str) -> dict[str, tuple[str, ...]]:
    """GPU type -> serving engines on which the package's own support matrix lists a model as priced."""
    found: dict[str, set[str]] = {}
    for path in sorted(_folder("systems/support_matrix").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("HuggingFaceID") == model and row.get("Status") == "PASS":
                    found.setdefault(row["System"], set()).add(row["Backend"])
    return {system: tuple(sorted(backends)) for system, backends in sorted(found.items())}


def database(system: str, backend: str, version: str) -> Any:
    """
    The measured data of one GPU type and serving engine.

    Raises
    ------
    ValueError, RuntimeError, FileNotFoundError
        When the package holds no such data.
    """
    from aiconfigurator_core.sdk.perf_database import get_database_view

    found = get_database_view(system, backend, version)
    if found is None:
        raise RuntimeError(f"no data of {backend} {version} for {system}")
    return found
