"""highspy and OR-Tools ship the same library (libhighs): in one process, the second one cannot be loaded."""

from __future__ import annotations

import importlib
import importlib.util
import sys

NATIVE = (".so", ".pyd", ".dylib")


def conflict() -> str | None:
    """
    Why OR-Tools cannot be loaded in this process, or None when it can.

    PuLP loads highspy's library wherever highspy is installed, so that installed is as bad as imported.
    """
    if _ortools_is_loaded():
        return None
    if "highspy" in sys.modules or ("pulp" in sys.modules and _highspy_is_installed()):
        return (
            "highspy was loaded before OR-Tools (PuLP loads it wherever it is installed); both ship libhighs and "
            "cannot share a process: uninstall highspy, or import ortools.init.python.init before pulp and highspy"
        )
    return None


def load_ortools_first() -> None:
    """Loads OR-Tools' library (30 ms) where highspy is installed; to be called before the first ``import pulp``."""
    if conflict() is None and _highspy_is_installed() and importlib.util.find_spec("ortools") is not None:
        importlib.import_module("ortools.init.python.init")


def _highspy_is_installed() -> bool:
    return "highspy" in sys.modules or importlib.util.find_spec("highspy") is not None


def _ortools_is_loaded() -> bool:
    """Whether a compiled part of OR-Tools is in; ``import ortools`` alone loads none."""
    return any(
        name.startswith("ortools.") and (getattr(module, "__file__", None) or "").endswith(NATIVE)
        for name, module in list(sys.modules.items())
    )
