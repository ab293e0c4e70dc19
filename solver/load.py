"""An instance from what a caller has: the instance itself, a path, a built-in name, or its parts in code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from instances import resolve
from solver.instance import Instance
from solver.read import instance_from, read_instance


def load_instance(what: Instance | str | Path, folder: Path | None = None) -> tuple[Instance, Path]:
    """
    An instance, and the folder where the relative paths in it start.

    Parameters
    ----------
    what
        An instance, the path of an instance file, or the name of a built-in instance; a file wins over a name.
    folder
        The folder, where it is not that of the file (or, for an instance in memory, the current one).

    Raises
    ------
    InputError
        When there is no such file or name, or the file has faults.
    """
    if isinstance(what, Instance):
        return what, folder or Path()
    try:
        path = resolve(str(what))
    except ValueError as error:
        raise InputError([Fault("instance", str(error))]) from None
    return read_instance(path), folder or path.parent


def build_instance(
    name: str,
    pools: Sequence[Mapping[str, Any]],
    workloads: Sequence[Mapping[str, Any]],
    *,
    folder: Path = Path(),
    **keys: Any,
) -> Instance:
    """
    An instance from its parts, with the keys, units and checks of an instance file.

    Numbers may be ``int``, ``float``, ``Decimal``; a float counts as the decimal that Python prints for it: 0.1 is
    exactly 1/10.

    Parameters
    ----------
    name
        Its name.
    pools, workloads
        As the lists ``pools`` and ``workloads`` of an instance file.
    folder
        Where the paths of traces and model files in it start.
    keys
        Any other key of an instance file: ``serving``, ``cost_model``, ``objective``, ``budget``, ...

    Raises
    ------
    InputError
        With every fault, as for a file.

    Examples
    --------
    >>> pool = {"name": "h100", "gpu": "h100_sxm", "gpus": 8, "nvlink_domain_gpus": 8}
    >>> chat = {"name": "chat", "model": "meta-llama/Meta-Llama-3.1-8B", "isl": 1000, "osl": 100}
    >>> build_instance("mine", [pool], [chat | {"sla": {"tpot_ms": 12.5}}]).workloads[0].tpot_ms
    Fraction(25, 2)
    """
    document = {"format": "disagg-instance", "version": 1, "name": name, "pools": pools, "workloads": workloads, **keys}
    return instance_from(_exact(document, "$"), folder)


def _exact(value: Any, where: str) -> Any:
    """A value as an instance file would hold it: lists, objects with text keys, exact numbers."""
    if isinstance(value, Mapping):
        return {str(key): _exact(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float):
        return Decimal(repr(value)) if isfinite(value) else value
    if value is None or isinstance(value, str | bool | int | Decimal):
        return value
    text = f"got {type(value).__name__}, must be a text, a number, true or false, None, a list or a mapping"
    raise InputError([Fault(where, text)])
