"""
InferenceX (once InferenceMAX): ``agg_*.json`` files, one row or an array, and rows of its API with nested ``metrics``.

Times are in s. Three traps of the rows, and what is done about them:

* *The lengths are nominal.* Requests are drawn from about 0.8 to 1.0 of ``isl`` and ``osl``. The mean OSL follows from
  the mean times, 1 + (e2el - ttft) / tpot, the mean ISL from it and the two token rates.
* *The GPU counts of co-located rows mislead.* The API repeats one engine under prefill and decode, so the two counts
  must not be added, and where no count was recorded it puts tp x ep, though the ranks of EP are those of TP. A
  co-located engine has tp x pp x pcp GPUs; Little's law against ``conc`` checks it.
* *Per-GPU rates have different divisors.* In a disaggregated row ``output_tput_per_gpu`` is over the decode GPUs only,
  ``input_tput_per_gpu`` over the prefill GPUs only.

``dp_attention`` is often the text ``"false"``, which is no falsehood to most languages.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from costmodels.imports.engine import Given, backend_of, system_of, version_of
from costmodels.imports.reading import Node, Reading, json_of
from costmodels.imports.rows import Row
from costmodels.imports.runs import Run, roles_of, row_of

IDENTITY = {
    *(
        "hw",
        "hardware",
        "model",
        "infmax_model_prefix",
        "framework",
        "precision",
        "spec_decoding",
        "spec_method",
        "mtp",
    ),
    *("image", "disagg", "is_multinode", "isl", "osl", "conc", "date", "run_url", "id", "config_id", "benchmark_type"),
    *(
        "scenario_type",
        "benchmark_outcome",
        "num_requests_total",
        "num_requests_successful",
        "router",
        "kv_p2p_transfer",
    ),
    *(
        "kv_offloading",
        "kv_offload_backend",
        "offload_mode",
        "metrics",
        "workers",
        "recipe_fingerprint",
        "github_run_id",
    ),
    *(
        "result_schema_version",
        "prefill_hw",
        "decode_hw",
        "num_gpus",
        "num_prefill_gpu",
        "num_decode_gpu",
        "run_attempt",
    ),
}
PARALLEL = r"(prefill_|decode_)?(tp|pp|ep|dcp_size|pcp_size|dp_attention|num_workers)"
STATISTICS = r"(mean|median|std|min|max|p\d+(\.\d+)?)_(ttft|tpot|itl|e2el|intvty)|((in|out)put_)?tput_per_gpu"
POWER = r"\w*(power|energy|joule|watt|temp|util)\w*"


def read(path: Path, given: Given, reading: Reading) -> list[Row]:
    """
    The rows of one file.

    Parameters
    ----------
    path
        ``agg_*.json``, ``agg_bmk.json``, or an answer of the API.
    given
        The command line; the rows name most of the engine themselves.
    reading
        Where faults, notes and counts go.
    """
    root = json_of(path, reading)
    if root is None:
        return []
    entries = list(root.items()) if isinstance(root.value, list) else [root]
    rows: list[Row] = []
    for entry in entries:
        if not isinstance(entry.value, dict) or not (entry.has("hw") or entry.has("hardware")):
            entry.fault("no row of InferenceX; expected an object with hw (or hardware), conc, tp and mean_ttft")
        elif (why := _left_out(entry)) is not None:
            reading.dropped[why] += 1
        else:
            rows += _rows(_flat(entry), given)
    return rows


def _left_out(entry: Node) -> str | None:
    """Why a row is not a measurement of fixed lengths, or None."""
    kinds = str(entry.value.get("scenario_type") or ""), str(entry.value.get("benchmark_type") or "")
    if any(kind.startswith("agentic") for kind in kinds):
        return "an agentic trace has no fixed ISL and OSL"
    outcome = entry.value.get("benchmark_outcome")
    if isinstance(outcome, dict) and outcome.get("status") == "failed":
        return "the run is marked as failed"
    return None


def _flat(entry: Node) -> Node:
    """Rows of the API hold the numbers in ``metrics``: one object of both, the row's own fields first."""
    metrics = entry.value.get("metrics")
    merged = {**metrics, **entry.value} if isinstance(metrics, dict) else entry.value
    return Node(entry.file, entry.path, merged, entry.reading)


def _rows(at: Node, given: Given) -> list[Row]:
    at.count_unread(IDENTITY, f"{PARALLEL}|{STATISTICS}|{POWER}")
    both = all(at.whole(f"{side}_num_workers", required=False, zero=True) for side in ("prefill", "decode"))
    disaggregated = both if at.flag("disagg") is None else bool(at.flag("disagg"))
    sides = {side: _Side(at, f"{side}_" if at.has(f"{side}_tp") else "") for side in ("prefill", "decode")}
    if disaggregated:
        counts = at.whole("num_prefill_gpu"), at.whole("num_decode_gpu")
        prefill, decode = sides["prefill"].engine(counts[0]), sides["decode"].engine(counts[1])
        divisors = counts
    else:
        side = sides["decode"] if sides["decode"].tp else sides["prefill"]
        prefill = decode = side.engine(None)
        divisors = (side.gpus, side.gpus)
    if prefill is None or decode is None:
        at.reading.dropped["the partition is not clear: GPUs, tp, pp, pcp, ep and dp_attention do not fit"] += 1
        return []
    run = _run(at, divisors)
    if run is None:
        return []
    names = _names(at)
    if disaggregated:
        split = [
            {**names, **part, "system": _system(at, side)} for part, side in ((prefill, "prefill"), (decode, "decode"))
        ]
        return roles_of(run, given, split[0], split[1], (sides["prefill"].workers, sides["decode"].workers))
    replicas = side.workers if given.replicas == 1 else given.replicas
    row = row_of(replace(run, said={**names, **decode, "system": _system(at, "")}), replace(given, replicas=replicas))
    return [row] if row else []


class _Side:
    """The parallel degrees of one role as a row states them; 0 where the role has no workers."""

    def __init__(self, at: Node, prefix: str) -> None:
        self.tp, self.ep = (at.whole(prefix + name, required=False, zero=True) or 0 for name in ("tp", "ep"))
        self.pp, self.cp, self.dcp = (
            at.whole(prefix + name, required=False, zero=True) or 1 for name in ("pp", "pcp_size", "dcp_size")
        )
        self.attention_dp = bool(at.flag(prefix + "dp_attention"))
        self.workers = max(1, at.whole(prefix + "num_workers", required=False, zero=True) or 0) if prefix else 1

    @property
    def gpus(self) -> int:
        """GPUs of the role as its degrees give them."""
        return self.tp * self.pp * self.cp * self.workers

    def engine(self, gpus: int | None) -> dict[str, int] | None:
        """
        The degrees in the words of the table; None where they do not fit.

        Parameters
        ----------
        gpus
            GPUs of the role as the row states them; None to take those of the degrees.
        """
        each, rest = divmod(gpus or self.gpus, self.workers)
        stage = self.tp * self.pp * self.cp
        if not self.tp or rest or each % stage or (each != stage and not self.attention_dp):
            return None
        tp, ranks = self.tp, each // stage
        if self.attention_dp and ranks == 1:
            tp, ranks = 1, self.tp  # every rank of tp is a rank of attention DP
        degrees = {"tp": tp, "pp": self.pp, "attention_dp": ranks, "cp": self.cp}
        if self.ep > 1 or ranks > 1:
            ep = max(1, self.ep)
            if tp * ranks % ep:
                return None
            degrees |= {"moe_ep": ep, "moe_tp": tp * ranks // ep}
        return degrees


def _system(at: Node, side: str) -> str | None:
    own = at.text(f"{side}_hw", required=False) if side else None
    return system_of(own or at.text("hw", required=False) or at.text("hardware", required=False))


def _names(at: Node) -> dict[str, Any]:
    """Names of the engine. What makes it another engine but has no column of its own is added to the version."""
    version = version_of(at.text("image", required=False))
    method = at.text("spec_decoding", required=False) or at.text("spec_method", required=False)
    method = method or at.text("mtp", required=False)
    if version and method and method.lower() not in ("none", "off", "false"):
        version += f"+{method.lower()}"
    width = max((at.whole(f"{side}dcp_size", required=False) or 1 for side in ("", "prefill_", "decode_")), default=1)
    if version and width > 1:
        version += f"+dcp{width}"
    return {
        "model": at.text("model"),
        "backend": backend_of(at.text("framework", required=False)),
        "backend_version": version,
        "precision": at.text("precision", required=False),
    }


def _run(at: Node, divisors: tuple[int | None, int | None]) -> Run | None:
    """The run of a row, lengths and rate recovered; None with a fault."""
    held = at.whole("conc")
    successful, total = (at.whole(f"num_requests_{x}", required=False, zero=True) for x in ("successful", "total"))
    if successful == 0:
        at.reading.dropped["no request of the run was completed"] += 1
        return None
    ttft, tpot, e2el = at.number("mean_ttft"), at.number("mean_tpot"), at.number("mean_e2el", required=False)
    nominal = at.whole("isl"), at.whole("osl")
    output = at.number("output_tput_per_gpu")
    if held is None or ttft is None or tpot is None or output is None or None in nominal or None in divisors:
        return None
    isl, osl = float(nominal[0] or 0), float(nominal[1] or 0)
    inputs = _input_rate(at, output, divisors)
    if e2el is None:
        at.reading.notes["no mean_e2el: the nominal ISL and OSL are taken, the real ones are up to 20 % shorter"] += 1
    elif e2el <= ttft:
        at.fault(f"got {e2el:g} s, must be above mean_ttft = {ttft:g} s", "mean_e2el")
        return None
    else:
        osl = 1 + (e2el - ttft) / tpot
        isl = isl if inputs is None else osl * inputs / (output * (divisors[1] or 0))
        at.reading.notes["ISL and OSL are the means that the times imply; the nominal ones are upper ends"] += 1
    return Run(
        at=at,
        said={},
        isl=isl,
        osl=osl,
        ttft_ms=1000 * ttft,
        tpot_ms=1000 * tpot,
        requests_per_s=output * (divisors[1] or 0) / osl,
        concurrency=float(held),
        completed=successful,
        failed=max(0, (total or 0) - (successful or 0)) if successful else 0,
        date=at.text("date", required=False) or "",
    )


def _input_rate(at: Node, output: float, divisors: tuple[int | None, int | None]) -> float | None:
    """Input tokens/s of the whole run; older rows give the sum of both per GPU only."""
    own = at.number("input_tput_per_gpu", required=False)
    if own is not None:
        return own * (divisors[0] or 0)
    both = at.number("tput_per_gpu", required=False)
    same = divisors[0] == divisors[1] and not at.flag("disagg")
    return (both - output) * (divisors[0] or 0) if both and same and both > output else None
