"""Tokens/s per GPU where a limiting engine is worth less than its GPUs: fewer of it can be better."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from pathlib import Path

import pytest

from solver import solve
from tests.oracles import enumerate as enumeration
from tests.oracles.tables import read_case

HEADER = (
    "system,backend,backend_version,model,precision,phase,tp,pp,attention_dp,moe_tp,moe_ep,cp,gpus,domain_gpus,batch,"
    "chunk_tokens,isl,osl,latency_ms,ttft_ms,requests_per_s,memory_gib"
)
ROW = "toy,toy,1,{model},bf16,colocated,1,1,1,1,1,1,1,8,1,100,100,11,10,100,{rate},"


def write(folder: Path, rng: random.Random) -> Path:
    """Two co-located models of nearly the same rate: one bounded in replicas, one with a demand."""
    better = round(rng.uniform(900, 1100), 2)
    worse = round(better - rng.choice([0.01, 0.02, 0.05, 0.1, 0.3]), 2)
    rows = [ROW.format(model="m1", rate=better), ROW.format(model="m2", rate=worse)]
    (folder / "curves.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    document = {
        "format": "disagg-instance",
        "version": 1,
        "name": "ratio",
        "pools": [{"name": "p", "gpu": "toy", "gpus": rng.choice([4, 6, 8, 12]), "nvlink_domain_gpus": 8}],
        "workloads": [
            {"name": "w1", "model": "m1", "isl": 100, "osl": 11},
            {
                "name": "w2",
                "model": "m2",
                "isl": 100,
                "osl": 11,
                "requests_per_s": round(worse * rng.choice([0.5, 1.5, 2.5]), 2),
            },
        ],
        "serving": {"modes": ["colocated"], "max_replicas": {"w1": {"colocated": rng.choice([1, 2, 3])}}},
        "cost_model": {"kind": "curves", "path": "curves.csv"},
        "objective": "throughput_per_gpu",
    }
    (folder / "instance.json").write_text(json.dumps(document))
    return folder / "instance.json"


@pytest.mark.parametrize(
    "seeds", [range(start, start + 20) for start in range(0, 120, 20)], ids=lambda r: f"{r[0]}-{r[-1]}"
)
def test_the_ratio_is_that_of_enumeration(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        path = write(tmp_path, random.Random(seed))
        result = solve(path)
        wanted: Fraction | None = enumeration.optimum(*read_case(path))
        assert (result.status, result.objective) == ("optimal", wanted), seed
