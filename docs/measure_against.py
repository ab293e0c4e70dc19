"""
The cost model and ``aiconfigurator-core`` on the same measured rows: ``python docs/measure_against.py``.

Prints how many of the carried rows of whole servers each of the two prices, why the package does not price the others,
and the errors of TPOT and TTFT on the rows that both price. *ours*: each third of the rows by a fit to the other two
thirds. *raw*: the package as it is, with its current data of each serving engine. *refitted*: the same, times one
constant for each serving engine and GPU: the median of measured / predicted over the very rows it is judged by, one for
TPOT and one for TTFT. Errors are predicted / measured - 1 in percent; *bias* is their mean, with its sign.

The package is asked at nominal lengths and without regard to memory. Co-located rows: ``run_agg`` with ``ctx_tokens`` =
input length, which is the default of ``aiconfigurator``'s own estimate. Disaggregated rows: TTFT is the latency of the
prefill engine's batch, TPOT the decode engine's mean step; no queueing. Models are the package's own checkpoints in the
row's precision where it carries one, else the row's model set to that precision.

Needs numpy and ``pip install 'ratematch[silicon]'``; some five minutes of one core.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from costmodels.calibration.left_out import fit_operators, names_of, one_left_out, seen
from costmodels.closed_loop import Prediction
from costmodels.measured import MeasuredRow, read_measured
from costmodels.operating_curve import Role
from costmodels.partition import Partition
from costmodels.silicon_config import Ask, NoData, Setup, setup
from costmodels.silicon_package import (
    bundled_models,
    current_version,
    package_version,
    quiet,
    require_package,
    versions,
)
from costmodels.silicon_rows import _guarded

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "costmodels" / "data" / "measured.csv.gz"
CURVES = sorted((ROOT / "instances" / "curves").glob("*__*.csv.gz"))
RENAMED = {
    "meta-llama/Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B",
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek-ai/DeepSeek-R1",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "meta-llama/Meta-Llama-3.1-8B",
    "nvidia/Qwen3-32B-NVFP4": "Qwen/Qwen3-32B",
    "zhipuai/GLM-5": "zai-org/GLM-5",
}
"""Names of rows that the package does not carry, and those of the same shape that it does."""
CHECKPOINTS = {
    ("meta-llama/Meta-Llama-3.1-70B", "fp8"): "nvidia/Llama-3.1-70B-Instruct-FP8",
    ("Qwen/Qwen3-32B", "fp8"): "Qwen/Qwen3-32B-FP8",
    ("zai-org/GLM-5", "fp8"): "zai-org/GLM-5-FP8",
    ("zai-org/GLM-5", "fp4"): "nvidia/GLM-5-NVFP4",
    ("deepseek-ai/DeepSeek-R1", "fp4"): "nvidia/DeepSeek-V3.1-NVFP4",
    ("deepseek-ai/DeepSeek-V3", "fp4"): "nvidia/DeepSeek-V3.1-NVFP4",
    ("MiniMaxAI/MiniMax-M2.5", "fp4"): "nvidia/MiniMax-M2.5-NVFP4",
    ("Qwen/Qwen3.5-397B-A17B", "fp4"): "nvidia/Qwen3.5-397B-A17B-NVFP4",
    ("moonshotai/Kimi-K2.5", "fp4"): "nvidia/Kimi-K2.5-NVFP4",
    ("openai/gpt-oss-120b", "fp4"): "openai/gpt-oss-120b",
    ("openai/gpt-oss-120b", "fp8"): "openai/gpt-oss-120b",
}
"""The checkpoints of the package that are published in a row's precision; gpt-oss ran so whatever the label."""
LABELS = {"fp4": "nvfp4", "": None}
"""What a row's precision is called where the package is asked for it; None: the checkpoint's own."""
QUANTITIES = ("tpot", "ttft")
MODES = ("all", "agg", "disagg")

Predictions = dict[int, Prediction]
"""Number of a row in its file to what is predicted."""


@dataclass(frozen=True)
class Asked:
    """One model of the package, cut and set up, with a backend of its own (it remembers results, but not of whom)."""

    found: Setup
    model: Any
    backend: Any

    def run(self, role: Role, row: MeasuredRow, batch: int) -> tuple[float, float]:
        """TTFT and TPOT in ms at one batch per attention-DP rank; NaN where a role has none."""
        from aiconfigurator_core.sdk.config import RuntimeConfig

        runtime = RuntimeConfig(isl=row.isl, osl=row.osl, batch_size=batch)
        if role == "colocated":
            summary = self.backend.run_agg(self.model, self.found.database, runtime, ctx_tokens=row.isl)
            result = summary.get_result_dict()
            return float(result["ttft"]), float(result["tpot"])
        mode = "static_ctx" if role == "prefill" else "static_gen"
        summary = self.backend.run_static(self.model, self.found.database, runtime, mode)
        if role == "prefill":
            return float(sum(summary.get_context_latency_dict().values())), np.nan
        return np.nan, float(sum(summary.get_generation_latency_dict().values())) / (row.osl - 1)


@cache
def set_up(system: str, backend: str, model: str, precision: str | None, role: Role) -> Setup | str:
    """A role's set-up, for any lengths, or why there is none."""
    if backend not in versions().get(system, {}):
        return "no data of this serving engine on this GPU"
    try:
        return setup(Ask(system, backend, current_version(system, backend), model, role, precision, isl=1, osl=2))
    except NoData as error:
        return str(error)


@cache
def asked(system: str, backend: str, model: str, precision: str | None, role: Role, cut: Partition) -> Asked | str:
    """One model of the package, or why there is none."""
    from aiconfigurator_core.sdk.backends.factory import get_backend

    found = set_up(system, backend, model, precision, role)
    if isinstance(found, str):
        return found
    if not found.is_moe:
        cut = replace(cut, moe_tp=1, moe_ep=1)
    try:
        return Asked(found, _guarded(partial(found.model, cut)), get_backend(backend))
    except NoData as error:
        return str(error)


def checkpoint(row: MeasuredRow) -> tuple[str, str | None]:
    """The model that the package is asked for, and the precision."""
    name = RENAMED.get(row.model, row.model)
    published = CHECKPOINTS.get((name, row.precision))
    return (published, None) if published else (name, LABELS.get(row.precision, row.precision))


def theirs(row: MeasuredRow) -> Prediction | str:
    """What the package says of a row, or why it says nothing."""
    model, precision = checkpoint(row)
    if model not in bundled_models():
        return "model not bundled"
    roles: tuple[Role, ...] = ("colocated",) if row.mode == "agg" else ("prefill", "decode")
    found: list[tuple[float, float]] = []
    for role, engine in zip(roles, row.engines, strict=True):
        one = asked(row.system, row.backend, model, precision, role, engine.partition)
        if isinstance(one, str):
            return one
        try:
            found.append(_guarded(partial(one.run, role, row, engine.batch_per_rank)))
        except NoData as error:
            return str(error)
    return Prediction(ttft_ms=found[0][0], tpot_ms=found[-1][1])


def of_package(rows: Sequence[MeasuredRow]) -> tuple[Predictions, Counter[str]]:
    """What the package says, and how many rows it does not price, by reason."""
    told, reasons = Predictions(), Counter[str]()
    with quiet():
        for row in rows:
            one = theirs(row)
            if isinstance(one, str):
                reasons[one] += 1
            else:
                told[row.index] = one
    return told, reasons


def ours() -> Predictions:
    """What this cost model says of each third of the rows, fitted to the others."""
    whole = seen(CURVES, MEASURED)
    operators = fit_operators(whole)
    told = Predictions()
    for name in names_of(whole, "rows"):
        part = one_left_out(whole, "rows", name, operators)
        for loop, tpot, ttft in zip(part.loops, part.tpot.tolist(), part.ttft.tolist(), strict=True):
            told[whole.loops[loop].row.index] = Prediction(ttft_ms=ttft, tpot_ms=tpot)
    return told


def refitted(rows: Sequence[MeasuredRow], told: Predictions) -> Predictions:
    """The same, times the median of measured / predicted of a serving engine on a GPU."""
    fitted = Predictions()
    for group in {(row.backend, row.system) for row in rows}:
        own = [row for row in rows if (row.backend, row.system) == group]
        tpot = float(np.median([row.tpot_ms / told[row.index].tpot_ms for row in own]))
        ttft = float(np.median([row.ttft_ms / told[row.index].ttft_ms for row in own]))
        for row in own:
            one = told[row.index]
            fitted[row.index] = Prediction(ttft_ms=one.ttft_ms * ttft, tpot_ms=one.tpot_ms * tpot)
    return fitted


def lines(rows: Sequence[MeasuredRow], told: dict[str, Predictions]) -> Iterator[str]:
    """The table of errors."""
    yield f"{'':6}{'rows':8}{'':12}{'n':>6}{'median':>8}{'mean':>8}{'bias':>8}"
    for quantity in QUANTITIES:
        for mode in MODES:
            chosen = [row for row in rows if mode in ("all", row.mode)]
            for name, predictions in told.items():
                field = f"{quantity}_ms"
                ratios = [getattr(predictions[row.index], field) / getattr(row, field) for row in chosen]
                error = 100 * (np.array(ratios) - 1)
                figures = (np.median(np.abs(error)), np.mean(np.abs(error)), np.mean(error))
                shown = "".join(f"{float(figure):8.1f}" for figure in figures)
                yield f"{quantity:6}{mode:8}{name:12}{len(chosen):6}{shown}"


def main() -> None:
    """Prices all rows both ways, and prints both."""
    require_package()
    rows, skipped = read_measured(MEASURED)
    print(f"{len(rows) + sum(skipped.values())} rows, {len(rows)} usable")
    started = time.perf_counter()
    raw, reasons = of_package(rows)
    print(f"aiconfigurator-core {package_version()}: {len(raw)} priced ({time.perf_counter() - started:.0f} s)")
    for reason, count in reasons.most_common():
        print(f"  {count:5} {reason}")
    started = time.perf_counter()
    own = ours()
    print(f"ours: {len(own)} priced ({time.perf_counter() - started:.0f} s)")
    both = [row for row in rows if row.index in raw and row.index in own]
    print(f"both: {len(both)}\n")
    for line in lines(both, {"ours": own, "raw": raw, "refitted": refitted(both, raw)}):
        print(line)


if __name__ == "__main__":
    main()
