"""What a record is bound to besides its instance: the program that made it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PARTS = (("costmodels", "**/*.py"), ("costmodels/data", "*"), ("solver", "**/*.py"))
DECISIVE = ("aiconfigurator-core", "ortools")
"""Packages whose version can change what is found."""


@cache
def program() -> str:
    """SHA-256 over code, constants and the versions that decide; 16 hexadecimal digits, equal on equal machines."""
    digest = hashlib.sha256()
    for folder, pattern in PARTS:
        for file in sorted((ROOT / folder).glob(pattern)):
            if file.is_file():
                digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    for name in DECISIVE:
        digest.update(f"{name} {_version(name)}".encode())
    return digest.hexdigest()[:16]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
