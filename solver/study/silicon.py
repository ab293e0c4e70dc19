"""
Frontiers from measured operators, recorded as data, so that they can be drawn without the package that prices them.

They are recorded with ``python -m solver study paper --record-silicon``, where ``aiconfigurator-core`` is installed.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import instances
from costmodels.silicon import Silicon
from costmodels.silicon_package import INSTALL, PACKAGE, package_version
from solver.engines import EngineSet, engines_of
from solver.files import write_whole
from solver.instance import Instance, Mode
from solver.read import read_instance
from solver.study.bench import of_modes, rows_of, traced
from solver.study.figure import Row, Series
from solver.study.gains import GPU, USER

FILE = Path(instances.__file__).parent / "paper" / "silicon.csv"
BACKEND = "trtllm"
"""Serving engine whose operators are taken: the one with NVFP4 data of all four models."""
PREFIX = "silicon: "
"""What names of its series begin with."""
R1, SIZES = "nvidia/DeepSeek-V3.1-NVFP4", {"8b": "8B", "70b": "70B", "405b": "405B"}
"""DeepSeek-V3.1 has the layers of R1, and its NVFP4 checkpoint is measured."""
CASES = {
    **{f"r1-{lengths}": R1 for lengths in ("16k-2k", "1k-32k", "16k-16k", "2k-2k", "2k-16k")},
    **{f"llama-{size}-{lengths}": f"meta-llama/Meta-Llama-3.1-{name}"
       for size, name in SIZES.items() for lengths in ("16k-2k", "4k-256")},
}  # fmt: skip
"""Instance to the model that stands for its own in the package's data."""
MODES: tuple[Mode, ...] = ("disaggregated", "colocated")
NUMBERS = (USER, GPU, "ctx_gen", "ttft_ms")
WORDS = ("prefill_partition", "prefill_batch", "decode_partition", "decode_batch", "colocated_partition",
         "colocated_batch", "chunk_tokens")  # fmt: skip
FIELDS = ("instance", "mode", *NUMBERS, *WORDS, "model", "source", "recorded")


def priced_instance(name: str) -> Instance:
    """The instance of that name with the model, the formats and the serving engine of the measured operators."""
    instance = read_instance(instances.path(f"paper/{name}"))
    workload = replace(instance.workloads[0], model=CASES[name], backend=BACKEND)
    return replace(instance, workloads=(workload,))


def record(tick: Callable[[], object] = lambda: None) -> int:
    """
    Traces every frontier of :data:`CASES` and writes the record.

    Parameters
    ----------
    tick
        Called after every proved point.

    Returns
    -------
    int
        How many points were recorded.

    Raises
    ------
    InputError
        When the package is not installed.
    """
    package, today = f"{PACKAGE} {package_version()}", datetime.date.today().isoformat()
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    count = 0
    for name, model in CASES.items():
        instance = priced_instance(name)
        engines = engines_of(instance, Silicon())
        for mode in MODES:
            rows = _rows(instance, engines, mode, tick)
            versions = sorted({engine.curve.backend_version for engine in engines.engines})
            source = f"{package}, {BACKEND} {' '.join(versions)}, gb200, nvfp4"
            for row in rows:
                words = {key: value for key, value in row.items() if key in WORDS}
                numbers = {key: f"{row[key]:.9g}" for key in NUMBERS if key in row}
                said = {"instance": name, "mode": mode, "model": model, "source": source, "recorded": today}
                writer.writerow({**said, **words, **numbers})
            count += len(rows)
    write_whole(FILE, text.getvalue())
    recorded.cache_clear()
    return count


def _rows(instance: Instance, engines: EngineSet, mode: Mode, tick: Callable[[], object]) -> list[Row]:
    instance = replace(instance, serving=replace(instance.serving, modes=(mode,)))
    return rows_of(traced(instance, of_modes(engines, instance, (mode,)), tick=tick))


@cache
def recorded() -> dict[tuple[str, str], tuple[list[Row], str]]:
    """Instance and mode to rows and their source; empty where nothing is recorded."""
    if not FILE.exists():
        return {}
    found: dict[tuple[str, str], tuple[list[Row], str]] = {}
    with FILE.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            row: Row = {name: float(line[name]) for name in NUMBERS if line[name]}
            row |= {name: line[name] for name in WORDS if line[name]}
            found.setdefault((line["instance"], line["mode"]), ([], line["source"]))[0].append(row)
    return found


def silicon(name: str, mode: Mode, panel: str, label: str) -> list[Series]:
    """The recorded frontier of an instance as one series; none where it is not recorded."""
    found = recorded().get((name, mode))
    return [] if found is None else [Series(PREFIX + label, found[0], panel, found[1])]


def statement() -> str:
    """What a run says about its silicon curves."""
    found = recorded()
    here = "is" if find_spec("aiconfigurator_core") else "is not"
    if not found:
        how = "" if here == "is" else f", {INSTALL}"
        return f"silicon: left out, nothing is recorded; {PACKAGE} {here} installed (--record-silicon{how})"
    points = sum(len(rows) for rows, _ in found.values())
    sources = ", ".join(sorted({source for _, source in found.values()}))
    return f"silicon: {len(found)} recorded frontiers, {points} points, drawn beside the roofline ({sources}); " + (
        f"{PACKAGE} {here} installed, --record-silicon prices them anew" if here == "is"
        else f"not priced anew, {PACKAGE} is not installed"
    )  # fmt: skip
