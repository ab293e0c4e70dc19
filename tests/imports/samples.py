"""Documents in the shape of each format, small and made by hand where no real file can be carried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from costmodels.imports.convert import Imported, convert
from costmodels.imports.engine import Given

DATA = Path(__file__).parent / "data"
PREFILL, DECODE = DATA / "prefill_raw_data.json", DATA / "decode_raw_data.json"
GUIDELLM = DATA / "guidellm_report_v2.json"
VLLM = [DATA / f"vllm_gpt-oss-120b_conc{n}.json" for n in (4, 32, 256)]
INFERENCEX = [DATA / f"inferencex_kimik2.5_{name}.json" for name in ("1k1k_conc4", "8k1k_conc32", "8k1k_conc64")]

NAMES: dict[str, Any] = {
    "system": "h200_sxm",
    "backend": "vllm",
    "backend_version": "0.11.0",
    "model": "meta-llama/Llama-3.1-8B",
    "precision": "fp8",
}
GIVEN = Given(**NAMES, tp=1)

SGLANG: dict[str, Any] = {
    # 64 in flight: 4 requests/s x (500 ms + 99 x 156.6 ms) = 64.01
    "backend": "sglang",
    "dataset_name": "random",
    "request_rate": float("inf"),
    "max_concurrency": 64,
    "random_input_len": 1000,
    "random_output_len": 100,
    "random_range_ratio": 1.0,
    "duration": 160.0,
    "completed": 640,
    "total_input_tokens": 640_000,
    "total_output_tokens": 64_000,
    "request_throughput": 4.0,
    "input_throughput": 4000.0,
    "output_throughput": 400.0,
    "mean_e2e_latency_ms": 16003.4,
    "mean_ttft_ms": 500.0,
    "median_ttft_ms": 400.0,
    "mean_tpot_ms": 156.6,
    "p99_tpot_ms": 170.0,
    "mean_itl_ms": 156.0,
    "concurrency": 64.01,
    "accept_length": None,
}
"""One line of sglang.bench_serving."""

AIPERF: dict[str, Any] = {
    # 10 requests/s x (100 ms + 99 x 15 ms) = 15.85 in flight of 16
    "schema_version": "1.5",
    "aiperf_version": "0.5.0",
    "was_cancelled": False,
    "input_config": {"endpoint": {"model_names": ["Qwen/Qwen3-32B"]}, "loadgen": {"concurrency": 16}},
    "request_throughput": {"unit": "requests/sec", "avg": 10.0},
    "request_latency": {"unit": "ms", "avg": 1585.0, "std": 20.0},
    "request_count": {"unit": "requests", "avg": 1000.0},
    "time_to_first_token": {"unit": "ms", "avg": 100.0, "p99": 300.0, "std": 12.0},
    "inter_token_latency": {"unit": "ms", "avg": 15.0, "p99": 18.0},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 1000.0},
    "input_sequence_length": {"unit": "tokens", "avg": 550.0, "std": 0.0},
    "output_sequence_length": {"unit": "tokens", "avg": 100.0, "std": 0.0},
}
"""A summary of AIPerf."""

AIPERF_CSV = """Metric,avg,min,max,p99,std
Time to First Token (ms),100.00,90.00,400.00,300.00,12.00
Inter Token Latency (ms),15.00,14.00,20.00,18.00,1.00
Request Latency (ms),"1,585.00",1500.00,1700.00,1690.00,20.00
Input Sequence Length (tokens),550.00,550.00,550.00,550.00,0.00
Output Sequence Length (tokens),100.00,100.00,100.00,100.00,0.00

Metric,Value
Request Count (requests),1000.00
Request Throughput (requests/sec),10.00
"""

DISAGGREGATED: dict[str, Any] = {
    # 2 prefill workers of TP4, 1 decode worker of 16 ranks; 20 requests/s of 900/101 tokens:
    # 20 x (1 s + 100 x 0.02 s) = 60 in flight
    "hw": "h200",
    "conc": 60,
    "image": "lmsysorg/sglang:v0.5.5",
    "model": "deepseek-ai/DeepSeek-R1-0528",
    "infmax_model_prefix": "dsr1",
    "framework": "dynamo-sglang",
    "precision": "fp8",
    "spec_decoding": "none",
    "disagg": True,
    "isl": 1000,
    "osl": 110,
    "is_multinode": True,
    "prefill_tp": 4,
    "prefill_ep": 1,
    "prefill_dp_attention": "false",
    "prefill_num_workers": 2,
    "decode_tp": 16,
    "decode_ep": 16,
    "decode_dp_attention": "true",
    "decode_num_workers": 1,
    "num_prefill_gpu": 8,
    "num_decode_gpu": 16,
    "tput_per_gpu": 20 * 1001 / 24,
    "output_tput_per_gpu": 20 * 101 / 16,
    "input_tput_per_gpu": 20 * 900 / 8,
    "mean_ttft": 1.0,
    "mean_tpot": 0.02,
    "mean_e2el": 3.0,
}
"""A row of InferenceX from a disaggregated run."""

API: dict[str, Any] = {
    # one engine of TP8 with EP8, shown under both roles; the counts are tp x ep
    "hardware": "b200",
    "model": "dsr1",
    "framework": "trt",
    "precision": "fp4",
    "spec_method": "none",
    "image": "nvcr.io/nvidia/tensorrt-llm/release:1.2.0",
    "disagg": False,
    "is_multinode": False,
    "prefill_tp": 8,
    "prefill_ep": 8,
    "prefill_dp_attention": False,
    "prefill_num_workers": 0,
    "decode_tp": 8,
    "decode_ep": 8,
    "decode_dp_attention": False,
    "decode_num_workers": 0,
    "num_prefill_gpu": 64,
    "num_decode_gpu": 64,
    "benchmark_type": "single_turn",
    "isl": 1024,
    "osl": 1024,
    "conc": 32,
    "date": "2026-07-01",
    "metrics": {
        # 3.2 requests/s of 920/921 tokens, 10 s each
        "mean_ttft": 0.8,
        "mean_tpot": 0.01,
        "mean_e2el": 10.0,
        "tput_per_gpu": 3.2 * 1841 / 8,
        "output_tput_per_gpu": 3.2 * 921 / 8,
        "input_tput_per_gpu": 3.2 * 920 / 8,
    },
}
"""A row of the API of InferenceX."""

LLMD: dict[str, Any] = {
    # 8 requests/s x (50 ms + 99 x 20 ms) = 16.24 in flight
    "version": "0.2",
    "run": {"uid": "1"},
    "scenario": {
        "load": {
            "standardized": {
                "tool": "guidellm",
                "tool_version": "0.5",
                "source": "random",
                "input_seq_len": {"distribution": "fixed", "value": 1000},
                "output_seq_len": {"distribution": "fixed", "value": 100},
                "concurrency": 16,
            }
        },
        "stack": [
            {
                "metadata": {"label": "vllm", "cfg_id": "1"},
                "standardized": {
                    "kind": "inference_engine",
                    "role": "replica",
                    "replicas": 2,
                    "tool": "vllm",
                    "tool_version": "vllm/vllm-openai:v0.11.0",
                    "model": {"name": "Qwen/Qwen3-32B"},
                    "accelerator": {
                        "model": "NVIDIA-H100-80GB-HBM3",
                        "count": 2,
                        "parallelism": {"tp": 2, "pp": 1, "dp": 1, "dp_local": 1, "ep": 1, "workers": 1},
                    },
                },
                "native": {},
            },
            {
                "metadata": {"label": "epp", "cfg_id": "2"},
                "standardized": {"kind": "generic", "tool": "x"},
                "native": {},
            },
        ],
    },
    "results": {
        "request_performance": {
            "aggregate": {
                "requests": {
                    "total": 500,
                    "failures": 0,
                    "input_length": {"units": "count", "mean": 1000.0, "stddev": 0.0},
                    "output_length": {"units": "count", "mean": 100.0, "stddev": 0.0},
                },
                "latency": {
                    "time_to_first_token": {"units": "ms", "mean": 50.0},
                    "time_per_output_token": {"units": "ms/token", "mean": 20.3},
                    "inter_token_latency": {"units": "s/token", "mean": 0.020},
                    "request_latency": {"units": "s", "mean": 2.03},
                },
                "throughput": {"request_rate": {"units": "queries/s", "mean": 8.0}},
            }
        }
    },
}
"""A report of llm-d."""


def written(folder: Path, document: Any, name: str = "file.json") -> Path:
    """A document as a JSON file."""
    path = folder / name
    path.write_text(json.dumps(document), "utf-8")
    return path


def table(imported: Imported) -> list[dict[str, str]]:
    """The rows of an import, column to cell."""
    header, *rows = (line.split(",") for line in imported.text.splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def imported(name: str, *paths: Path, given: Given = GIVEN) -> Imported:
    """An import."""
    return convert(name, paths, given)


def said(done: Imported) -> str:
    """The report as one text."""
    return "\n".join(done.report)
