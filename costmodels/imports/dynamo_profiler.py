"""
NVIDIA Dynamo: the raw data of its profiler (JSON or NPZ), and the NPZ that its mocker reads.

Prefill: one prompt at a time, TTFT and input tokens/s per GPU over ISL. Decode: time between tokens and output tokens/s
per GPU over KV usage and mean context (ISL + OSL/2).

KV usage is *nominal*: what the profiler sent. Past saturation fewer sequences run than were sent, and the curve turns
back. The batch is therefore the effective one, throughput x time between tokens (Little's law), and points that were
sent more than 1.1 times of it are dropped.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

from costmodels.errors import Fault
from costmodels.imports.engine import Engine, Given, ask, settle
from costmodels.imports.reading import Node, Reading, brief, json_of
from costmodels.imports.rows import Row

PREFILL = ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu")
DECODE = ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu")
MOCKER_PREFILL = ("prefill_isl", "prefill_ttft_ms")
MOCKER_DECODE = ("decode_active_kv_tokens", "decode_context_length", "decode_itl")
KNOWN = {*PREFILL, *DECODE, *MOCKER_PREFILL, *MOCKER_DECODE, "max_kv_tokens"}
MOST_NOMINAL = 1.1


def read(path: Path, given: Given, reading: Reading) -> list[Row]:
    """
    The rows of one file of the profiler or the mocker.

    Parameters
    ----------
    path
        ``*.json`` or ``*.npz``.
    given
        The command line: the files name no engine. Decode needs ``osl``.
    reading
        Where faults, notes and counts go.
    """
    root = _arrays(path, reading) if path.suffix == ".npz" else json_of(path, reading)
    if root is None:
        return []
    if not isinstance(root.value, dict):
        root.fault("must be an object of arrays")
        return []
    parts = [(DECODE, _decode), (MOCKER_PREFILL, _mocker_prefill), (MOCKER_DECODE, _mocker_decode), (PREFILL, _prefill)]
    found = [part for names, part in parts if root.has(names[1])]
    if not found:
        root.fault(
            f"no measurement of the profiler; expected {', '.join(PREFILL)} or {', '.join(DECODE)}, max_kv_tokens"
        )
        return []
    root.count_unread(KNOWN)
    engine = settle(given, {}, root)
    return [row for part in found for row in (part(root, engine, given) if engine else [])]


def _arrays(path: Path, reading: Reading) -> Node | None:
    """The arrays of an NPZ file as lists."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            fields: dict[str, Any] = {name: archive[name].tolist() for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reading.faults.append(Fault(str(path), f"not an NPZ file of plain arrays: {error}"))
        return None
    return Node(str(path), "$", fields, reading)


def _column(root: Node, name: str, zero: bool = False) -> list[float] | None:
    """A field that is an array of finite numbers above 0 (or from 0 on)."""
    items = root.elements(name)
    numbers = [_number(item, zero) for item in items]
    if root.has(name) and isinstance(root.value[name], list) and not items:
        root.fault("the array is empty", name)
    known = [number for number in numbers if number is not None]
    return known if items and len(known) == len(numbers) else None


def _number(item: Node, zero: bool = False) -> float | None:
    value = item.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        item.fault(f"got {brief(value)}, must be a finite number {'of at least' if zero else 'above'} 0")
        return None
    if value == 0 and not zero:
        item.fault("got 0, must be a finite number above 0")
        return None
    return float(value)


def _columns(root: Node, names: tuple[str, ...], zero: bool = False) -> list[list[float]] | None:
    """Arrays of one length."""
    columns = [_column(root, name, zero) for name in names]
    lengths = {name: len(column) for name, column in zip(names, columns, strict=True) if column is not None}
    if len(set(lengths.values())) > 1:
        root.fault(f"arrays of different lengths: {', '.join(f'{k} {v}' for k, v in lengths.items())}")
        return None
    return [column for column in columns if column is not None] if len(lengths) == len(names) else None


def _prefill(root: Node, engine: Engine, _given: Given) -> list[Row]:
    columns = _columns(root, PREFILL)
    rows = []
    for index, (isl, ttft_ms, rate) in enumerate(zip(*columns, strict=True) if columns else ()):
        prompts = rate * engine.gpus * ttft_ms / 1000 / isl
        where = f"{root.where}.prefill_ttft[{index}]"
        batch = engine.attention_dp
        if all(abs(prompts / ran - 1) > MOST_NOMINAL - 1 for ran in (1, batch)):
            _wrong_gpus(root, engine, f"prompts at once (ISL {isl:g})", prompts)
            return []
        rows.append(Row(engine, "prefill", batch, 0, round(isl), None, ttft_ms, None, rate * engine.gpus / isl, where))
    return rows


def _wrong_gpus(root: Node, engine: Engine, what: str, implied: float) -> None:
    root.fault(
        f"throughput per GPU x {engine.gpus} GPUs x latency gives {implied:.3g} {what}: the GPUs of the engine are not "
        f"those that the file divided by; check --tp, --pp and --attention-dp, and that times are in ms"
    )


def _decode(root: Node, engine: Engine, given: Given) -> list[Row]:
    columns = _columns(root, DECODE)
    size = root.value.get("max_kv_tokens")
    flat = size[0] if isinstance(size, list) and len(size) == 1 else size
    tokens = Node(root.file, root.path, {"max_kv_tokens": flat}, root.reading).number("max_kv_tokens")
    osl = _osl(given, root)
    if columns is None or tokens is None or osl is None:
        return []
    points: list[tuple[int, float, float, float, float]] = []
    for index, (usage, context, itl_ms, rate) in enumerate(zip(*columns, strict=True)):
        if usage > 1:
            root.fault(f"got {usage}, must be a share of at most 1", f"x_kv_usage[{index}]")
            return []
        nominal = max(1.0, usage * tokens / context)
        points.append((index, context, itl_ms, rate * engine.gpus, nominal))
    rows, odd = [], 0.0
    for index, context, itl_ms, rate, nominal in points:
        running = rate * itl_ms / 1000
        where = f"{root.where}.z_itl[{index}]"
        if nominal > MOST_NOMINAL * running or running > MOST_NOMINAL * nominal:
            odd = running / nominal
            why = "sent more than 1.1 times the sequences that ran (saturated)"
            root.reading.dropped[why if odd < 1 else "more than 1.1 times the sequences that were sent ran"] += 1
            root.reading.notes[f"dropped {where}: {nominal:.4g} sequences sent, {running:.4g} ran"] += 1
            continue
        at = Node(root.file, where, None, root.reading)
        rows.append(_decode_row(engine, running, context, osl, itl_ms, rate / (osl - 1), at))
    if not rows:
        _wrong_gpus(root, engine, "times the sequences that were sent, or the like", odd)
    return [row for row in rows if row]


def _decode_row(
    engine: Engine, running: float, context: float, osl: int, itl_ms: float, rate: float | None, at: Node
) -> Row | None:
    isl = round(context - osl / 2)
    if isl < 1:
        at.reading.dropped[f"mean context of at most OSL/2: no prompt is left at --osl {osl}"] += 1
        return None
    at.reading.notes[f"decode rows stand for isl = mean context - OSL/2 at --osl {osl}"] += 1
    batch = engine.attention_dp * max(1, round(running / engine.attention_dp))
    return Row(engine, "decode", batch, 0, isl, osl, itl_ms, None, rate, at.path)


def _osl(given: Given, root: Node) -> int | None:
    if given.osl is None:
        ask("osl", root)
    elif given.osl < 2:
        root.fault(f"--osl {given.osl}: decode needs an OSL of at least 2")
    else:
        return given.osl
    return None


def _interpolated(root: Node) -> None:
    text = (
        f"{root.file}: a grid that the mocker's converter interpolated, not measured points; saturation cannot be seen"
    )
    root.reading.notes[text] += 1


def _mocker_prefill(root: Node, engine: Engine, _given: Given) -> list[Row]:
    columns = _columns(root, MOCKER_PREFILL, zero=True)
    _interpolated(root)
    rows = []
    for index, (isl, ttft_ms) in enumerate(zip(*columns, strict=True) if columns else ()):
        where = f"{root.where}.prefill_ttft_ms[{index}]"
        if round(isl) < 1 or not ttft_ms:
            root.reading.dropped["no prompt, or no time"] += 1
        else:
            rows.append(Row(engine, "prefill", engine.attention_dp, 0, round(isl), None, ttft_ms, None, None, where))
    return rows


def _mocker_decode(root: Node, engine: Engine, given: Given) -> list[Row]:
    kv, contexts = (_column(root, name, zero=True) for name in MOCKER_DECODE[:2])
    osl = _osl(given, root)
    lines = [row for row in root.elements("decode_itl") if isinstance(row.value, list)]
    grid = [[_number(cell) for cell in row.items()] for row in lines]
    if kv is None or contexts is None or osl is None:
        return []
    if len(grid) != len(kv) or any(len(row) != len(contexts) for row in grid):
        root.fault(f"must be {len(kv)} x {len(contexts)}, KV tokens by context", "decode_itl")
        return []
    _interpolated(root)
    rows: dict[tuple[int, int], Row] = {}
    for i, tokens in enumerate(kv):
        for j, context in enumerate(contexts):
            at = Node(root.file, f"{root.where}.decode_itl[{i}][{j}]", None, root.reading)
            if not context or tokens < context:
                root.reading.dropped["less than one sequence"] += 1
                continue
            row = _decode_row(engine, tokens / context, context, osl, grid[i][j] or 0.0, None, at)
            if row and (row.isl, row.batch) in rows:
                root.reading.dropped["another point of the grid has the same batch"] += 1
            elif row and row.latency_ms:
                rows[row.isl, row.batch] = row
    return list(rows.values())
