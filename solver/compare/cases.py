"""What is compared with aiconfigurator: model, GPU, fleet size, lengths and limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Case:
    """
    One comparison.

    Parameters
    ----------
    name
        Its name in the report.
    model, system, gpus
        As aiconfigurator names them, and the GPUs of the fleet.
    isl, osl
        Prompt and answer tokens.
    ttft_ms
        Limit on the first token.
    tpots_ms
        Limits on the time a token, loosest last: the interactivity sweep.
    reference_ms
        The one of them that whole runs are timed at, and GPUs for a load are counted at.
    loads
        Requests/s for which the fewest GPUs are asked.
    backend, version
        Serving engine and the version of its measurements.
    """

    name: str
    model: str
    system: str
    gpus: int
    isl: int
    osl: int
    ttft_ms: int
    tpots_ms: tuple[str, ...]
    reference_ms: str
    loads: tuple[int, ...]
    backend: str = "trtllm"
    version: str = "1.3.0rc20"

    def asked(self) -> dict[str, Any]:
        """The case as JSON."""
        return asdict(self)


DENSE = ("5", "6", "7", "8", "9", "10", "12", "13.5", "15", "17.5", "20", "22.5", "25", "30", "33", "40", "50", "100")
"""Limits on the time a token: on the grid that aiconfigurator sweeps (1 to 19 ms by 1, 20 to 295 by 5) and off it."""
MOE = ("10", "12", "15", "17.5", "20", "22.5", "25", "30", "33", "40", "50", "60", "75", "100")

CASES = (
    Case("llama-8b h100 8", "meta-llama/Meta-Llama-3.1-8B", "h100_sxm", 8, 1024, 128, 1000, DENSE, "10", (20, 50, 100)),
    Case("gpt-oss-120b h200 16", "openai/gpt-oss-120b", "h200_sxm", 16, 1024, 750, 1000, DENSE, "10", (20, 50, 100)),
    Case(
        "llama-70b h200 32", "meta-llama/Meta-Llama-3.1-70B", "h200_sxm", 32, 4500, 750, 4000, DENSE, "40", (5, 10, 20)
    ),
    Case("qwen3-32b h100 72", "Qwen/Qwen3-32B-FP8", "h100_sxm", 72, 4500, 750, 4000, DENSE, "20", (10, 30, 60)),
    Case(
        "llama-70b-fp8 b200 128", "nvidia/Llama-3.1-70B-Instruct-FP8", "b200_sxm", 128, 4500, 750, 4000, DENSE, "20",
        (20, 60, 120),
    ),
    Case("qwen3-32b gb200 72", "Qwen/Qwen3-32B-FP8", "gb200", 72, 8192, 750, 4000, DENSE, "15", (20, 60, 120)),
    Case("deepseek-v3 h200 64", "deepseek-ai/DeepSeek-V3", "h200_sxm", 64, 4500, 750, 8000, MOE, "50", (10, 20, 40)),
)  # fmt: skip
"""Seven cases: dense and mixture-of-experts models on 8 to 128 GPUs of four kinds."""


def cases_of(names: tuple[str, ...]) -> tuple[Case, ...]:
    """
    The cases of these names; all where none is given.

    Raises
    ------
    ValueError
        When a name is unknown.
    """
    known = {case.name.replace(" ", "-"): case for case in CASES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no case {', '.join(unknown)}; the cases are {', '.join(known)}")
    return tuple(known[name] for name in names) or CASES


def milliseconds(text: str) -> Fraction:
    """A limit as the rational number that its decimal names."""
    return Fraction(text)
