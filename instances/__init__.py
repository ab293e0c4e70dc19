"""The built-in instances: data files, and the few lines that find them. Imports nothing but the standard library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

_FOLDER = Path(__file__).parent
_LISTED_BY = "python -m solver instances"


class Description(TypedDict):
    """
    What a list of instances shows of one.

    Attributes
    ----------
    name, description
        As in the file.
    objective
        ``throughput``, ``throughput_per_gpu``, ``gpus`` or ``cost``.
    gpus
        GPUs of all pools, or ``"unlimited"``.
    pools
        For each pool its GPUs, such as ``72 x h200_sxm``.
    workloads
        For each workload its model and ISL/OSL, such as ``Qwen/Qwen3-32B-FP8 4500/750``; of lengths that differ the
        mean (``~4500``), ``histogram``, or the name of the trace.
    cost_model
        The kind of cost model: ``curves`` or ``roofline``.
    """

    name: str
    description: str
    objective: str
    gpus: int | str
    pools: list[str]
    workloads: list[str]
    cost_model: str


def names() -> list[str]:
    """The names of all built-in instances, sorted; those in a folder start with its name: ``paper/r1-16k-2k``."""
    return sorted(file.relative_to(_FOLDER).as_posix().removesuffix(".json") for file in _FOLDER.rglob("*.json"))


def path(name: str) -> Path:
    """
    The file of a built-in instance.

    Raises
    ------
    ValueError
        When there is none of that name; the message offers close ones.
    """
    if name not in names():
        raise ValueError(f"no built-in instance {name!r}{_offer(name)}; {_LISTED_BY} lists all")
    return _FOLDER / f"{name}.json"


def resolve(text: str) -> Path:
    """
    The file that a user means: a path, or the name of a built-in instance. An existing file wins over a name.

    Raises
    ------
    ValueError
        When it is neither; the message offers close names.
    """
    if _is_there(Path(text)):
        return Path(text)
    if text in names():
        return path(text)
    raise ValueError(f"{text!r} is neither a file nor a built-in instance{_offer(text)}; {_LISTED_BY} lists all")


def traces() -> list[str]:
    """The names of all built-in traces, sorted: requests with their times, for ``trace`` and ``simulate``."""
    return sorted(file.name.split("-requests.")[0] for file in (_FOLDER / "traffic").glob("*-requests.*"))


def resolve_trace(text: str) -> Path:
    """
    The file that a user means: a path, or the name of a built-in trace. An existing file wins over a name.

    Raises
    ------
    ValueError
        When it is neither.
    """
    if _is_there(Path(text)):
        return Path(text)
    if text in traces():
        return next((_FOLDER / "traffic").glob(f"{text}-requests.*"))
    raise ValueError(f"{text!r} is neither a file nor a built-in trace; those are {', '.join(traces())}")


def describe(name: str) -> Description:
    """
    What a built-in instance is about, read from its JSON alone; no table is opened.

    Raises
    ------
    ValueError
        When there is no built-in instance of that name.
    """
    import json

    document: dict[str, Any] = json.loads(path(name).read_text("utf-8"))
    counts = [pool["gpus"] for pool in document["pools"]]
    return Description(
        name=document["name"],
        description=document["description"],
        objective=document.get("objective", "throughput"),
        gpus="unlimited" if "unlimited" in counts else sum(counts),
        pools=[f"{pool['gpus']} x {pool['gpu']}" for pool in document["pools"]],
        workloads=[f"{item['model']} {_lengths(item)}" for item in document["workloads"]],
        cost_model=document.get("cost_model", {"kind": "roofline"})["kind"],
    )


def _lengths(workload: dict[str, Any]) -> str:
    if "traffic" in workload:
        return Path(workload["traffic"]["trace"]).stem
    sides = (workload["isl"], workload["osl"])
    return "/".join(f"{side}" if isinstance(side, int) else _distribution(side) for side in sides)


def _distribution(side: dict[str, Any]) -> str:
    return f"~{side['mean']}" if "mean" in side else "histogram"


def _is_there(file: Path) -> bool:
    """Whether something that can be read is there; a folder cannot, nor can a name too long for a file."""
    try:
        return file.exists() and not file.is_dir()
    except (OSError, ValueError):
        return False


def _offer(text: str) -> str:
    from difflib import get_close_matches

    wanted = text.removesuffix(".json")
    close = get_close_matches(wanted, names(), cutoff=0.5) or get_close_matches(Path(wanted).name, names(), cutoff=0.5)
    return f"; did you mean {' or '.join(close)}" if close else ""
