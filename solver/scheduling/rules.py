"""What a change costs: cold starts, minimum up time, role switches; with defaults and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from costmodels.errors import Fault, InputError
from solver.read import read_json
from solver.result import exact_text
from solver.schema import shown

Warming = Literal["whole", "share"]
MOST = {"load_gbps": 10**6, "init_s": 10**5, "cold_start_s": 10**6, "min_up_s": 10**7, "switch_s": 10**6,
        "start_usd_per_gpu": 10**6, "switch_usd_per_gpu": 10**6}  # fmt: skip
"""Number to the largest value that is no slip of the pen."""


@dataclass(frozen=True)
class Rules:
    """
    What a change of the deployment takes.

    Parameters
    ----------
    load_gbps
        Weights that one GPU loads, in GB/s (10^9 bytes). Default 2: a local NVMe drive read by a usual loader; object
        stores are slower, loaders made for it reach several times as much (Fu et al., ServerlessLLM, OSDI 2024).
    init_s
        Seconds from loaded weights to the first request: processes, memory, captured graphs. Default 30, an assumption
        within what servers write in their own start-up logs; measure yours.
    cold_start_s
        Seconds of a whole cold start, in place of load and init; None: weights of a GPU / ``load_gbps`` + ``init_s``.
    min_up_s
        Seconds for which a started or switched replica stays. Default 300, the window over which the Horizontal Pod
        Autoscaler of Kubernetes looks back before it removes a replica.
    switch_s
        Seconds in which a replica changes from prefill to decode or back on the same GPUs with the same partition: the
        weights stay, requests drain. Default 10, an assumption. None: roles are not switched.
    start_usd_per_gpu, switch_usd_per_gpu
        Dollars of a cold start and of a switch per GPU, beside the time for which GPUs are held. Default 0.
    warming
        ``whole``: a starting replica counts from the first period at whose beginning it is ready, so that every period
        is covered at every moment. ``share``: it counts for the rest of the period in which it becomes ready, so that
        only the mean of a period is covered.
    """

    load_gbps: Fraction = Fraction(2)
    init_s: Fraction = Fraction(30)
    cold_start_s: Fraction | None = None
    min_up_s: Fraction = Fraction(300)
    switch_s: Fraction | None = Fraction(10)
    start_usd_per_gpu: Fraction = Fraction(0)
    switch_usd_per_gpu: Fraction = Fraction(0)
    warming: Warming = "whole"

    def as_dict(self) -> dict[str, Any]:
        """For the schedule file, exactly."""
        return {
            f.name: exact_text(value) if isinstance(value := getattr(self, f.name), Fraction) else value
            for f in fields(self)
        }


def read_rules(path: Path) -> Rules:
    """
    Reads rules from a JSON object with any of the keys of :class:`Rules`.

    Raises
    ------
    InputError
        When the file cannot be read, has unknown keys, or numbers out of range.
    """
    return rules_from(read_json(path), str(path))


def rules_from(document: Any, where: str) -> Rules:
    """
    Rules from parsed JSON.

    Parameters
    ----------
    document
        The JSON; decimals as ``Decimal``.
    where
        What to call it in messages.

    Raises
    ------
    InputError
        With every fault.
    """
    if not isinstance(document, Mapping):
        raise InputError([Fault(where, f'got {shown(document)}, must be an object such as {{"min_up_s": 600}}')])
    faults, given = [], dict[str, Any]()
    allowed = [f.name for f in fields(Rules)]
    faults += [Fault(f"{where} $.{name}", "is given twice; keep one") for name in getattr(document, "twice", ())]
    for name, value in document.items():
        if name not in allowed:
            faults.append(Fault(f"{where} $.{name}", f"unknown key; allowed are {', '.join(allowed)}"))
        elif name == "warming":
            given[name] = value
            if value not in ("whole", "share"):
                faults.append(Fault(f"{where} $.warming", f"got {shown(value)}, must be whole or share"))
        elif value is None and name in ("cold_start_s", "switch_s"):
            given[name] = None
        elif isinstance(value, bool) or not isinstance(value, int | Decimal):
            faults.append(Fault(f"{where} $.{name}", f"got {shown(value)}, must be a number"))
        elif not (value > 0 if name == "load_gbps" else value >= 0) or value > MOST[name]:
            least = "above 0" if name == "load_gbps" else "at least 0"
            faults.append(Fault(f"{where} $.{name}", f"got {value}, must be {least} and at most {MOST[name]}"))
        else:
            given[name] = Fraction(value)
    if faults:
        raise InputError(faults)
    return Rules(**given)
