"""CBC, the binary that PuLP brings: PuLP writes the model, the answer is read from CBC's own files."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pulp

from solver.backends.base import Answer, BackendError, Capability, Controls, Status
from solver.backends.clone import clone, crossed, objective_is_bounded, rounded
from solver.formulation.milp import Milp

GRACE_S = 10.0
"""Seconds past its limit, or past an interrupt, after which CBC is stopped from outside."""

INCREMENT = 1e-9
"""How much better a solution must be to count; CBC's own 1e-5 calls worse plans optimal."""


class Cbc:
    """CBC. PuLP's solve() would lose digits (its solution file has 8) and leave a running process on Ctrl-C."""

    name = "cbc"
    capabilities: frozenset[Capability] = frozenset({"continuous", "hint", "interrupt", "seed", "threads"})

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None."""
        return None if _executable() else "no cbc binary in PuLP or on the PATH"

    def version(self) -> str:
        """CBC's version."""
        try:
            command = [_executable() or "cbc", "-quit"]
            text = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise BackendError(f"cbc cannot be executed: {error}") from error
        found = re.search(r"Version:\s*(\S+)", text)
        return f"CBC {found[1]}" if found else "CBC"

    def solve(self, milp: Milp, controls: Controls, hint: dict[str, Fraction] | None = None) -> Answer:
        """
        Solves a model.

        Raises
        ------
        BackendError
            When CBC cannot be run, fails, or calls the model unbounded.
        KeyboardInterrupt
            When the user interrupts and nothing was found yet.
        """
        start = time.perf_counter()
        executable = _executable()
        if executable is None:
            raise BackendError(f"cbc: {self.unavailable()}")
        if name := crossed(milp):
            return Answer("infeasible", None, None, f"bounds of {name} cross", time.perf_counter() - start)
        with tempfile.TemporaryDirectory(prefix="cbc-") as folder:
            files = _Files(Path(folder))
            problem = clone(milp.problem)
            columns, names, *_ = problem.writeMPS(str(files.model), rename=1)
            if hint:
                files.write_hint({names[name]: value for name, value in hint.items() if name in names})
            command = [executable, *_arguments(files, milp, controls, bool(hint))]
            interrupted = _run(command, controls)
            raw = files.status()
            status = _status(raw, milp)
            found = files.values([variable.name for variable in columns]) if status in ("optimal", "feasible") else None
        if interrupted and status == "unknown":
            raise KeyboardInterrupt
        values = None if found is None else rounded(milp, found)
        return Answer(status, values, None, raw + (", interrupted" if interrupted else ""), time.perf_counter() - start)


@dataclass(frozen=True)
class _Files:
    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model.mps"

    @property
    def hint(self) -> Path:
        return self.folder / "hint.sol"

    @property
    def text(self) -> Path:
        """The solution as text: its first line is the status, its numbers have 8 digits."""
        return self.folder / "solution.txt"

    @property
    def binary(self) -> Path:
        """The solution in full doubles."""
        return self.folder / "solution.bin"

    def write_hint(self, hint: dict[str, Fraction]) -> None:
        lines = [f"{index} {name} {float(value)!r} 0" for index, (name, value) in enumerate(hint.items())]
        self.hint.write_text("\n".join(["Stopped on time - objective value 0", *lines, ""]))

    def status(self) -> str:
        """First line of the solution without the objective; empty where CBC was stopped before it wrote one."""
        if not self.text.exists():
            return ""
        with self.text.open() as lines:
            return re.sub(r"\s*- objective value.*", "", lines.readline()).strip()

    def values(self, columns: list[str]) -> dict[str, float]:
        """CBC's ``-saveSolution``: rows and columns as ints, the objective, activities and duals, values and costs."""
        data = self.binary.read_bytes()
        rows, count = struct.unpack_from("ii", data)
        if count != len(columns):
            raise BackendError(f"cbc returned {count} values for {len(columns)} variables")
        values = struct.unpack_from(f"{count}d", data, 16 + 16 * rows)
        return {name: value for name, value in zip(columns, values, strict=True) if name != "__dummy"}


def _executable() -> str | None:
    bundled = getattr(getattr(pulp, "PULP_CBC_CMD", None), "pulp_cbc_path", None)
    if bundled and os.access(bundled, os.X_OK):
        return str(bundled)
    return shutil.which("cbc")


def _arguments(files: _Files, milp: Milp, controls: Controls, hinted: bool) -> list[str]:
    arguments = [str(files.model)]
    if milp.is_maximised:
        arguments.append("-max")
    if hinted:
        arguments += ["-mips", str(files.hint)]
    arguments += ["-timeMode", "elapsed", "-ratio", str(controls.gap), "-allow", "0", "-increment", str(INCREMENT)]
    seed = str(controls.seed)
    arguments += ["-threads", str(controls.threads if controls.threads > 1 else 0), "-randomCbcSeed", seed]
    if controls.time_limit_s is not None:
        arguments += ["-sec", str(max(controls.time_limit_s, 0.0))]
    arguments += ["-solve", "-printingOptions", "all"]
    return [*arguments, "-solution", str(files.text), "-saveSolution", str(files.binary)]


def _run(command: list[str], controls: Controls) -> bool:
    """Runs CBC to its end and returns whether the user interrupted; CBC then stops and writes what it has."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise BackendError(f"cbc cannot be executed: {error}") from error
    reader = threading.Thread(target=_read, args=(process, controls), daemon=True)
    reader.start()
    limit = None if controls.time_limit_s is None else max(controls.time_limit_s, 0.0) + GRACE_S
    interrupted = False
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        _stop(process)
    except KeyboardInterrupt:
        interrupted = True
        _stop(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join()
    return interrupted


def _stop(process: subprocess.Popen[str]) -> None:
    """Asks CBC to stop and to write what it has; waits a while."""
    if os.name == "posix":
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)


def _read(process: subprocess.Popen[str], controls: Controls) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            if controls.log is not None:
                controls.log(line.rstrip("\n"))


def _status(raw: str, milp: Milp) -> Status:
    """CBC's first line; a stop "(no integer solution ...)" shows the relaxation's values, which are no plan."""
    if raw == "Optimal":
        return "optimal"
    if raw in ("Infeasible", "Integer infeasible"):
        return "infeasible" if objective_is_bounded(milp) else "unknown"
    if raw == "Unbounded":
        raise BackendError("cbc: the model is unbounded; bound every variable")
    if not raw:
        return "unknown"
    return "feasible" if raw.startswith("Stopped") and "no integer solution" not in raw else "unknown"
