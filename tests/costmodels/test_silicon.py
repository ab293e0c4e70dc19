"""The silicon cost model. What needs the package is skipped where it is missing."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import instances
from costmodels.curves import CurveTables
from costmodels.errors import InputError
from costmodels.operating_curve import ROLES, CurveQuery, CurveSet
from costmodels.options import EngineOptions
from costmodels.silicon import Silicon
from costmodels.silicon_cache import RowCache, default_folder
from costmodels.silicon_config import Ask
from costmodels.silicon_package import missing, package_version
from costmodels.silicon_rows import Rows
from costmodels.traffic import Traffic

INSTALLED = importlib.util.find_spec("aiconfigurator_core") is not None
silicon = pytest.mark.skipif(not INSTALLED, reason="aiconfigurator-core is not installed")
CURVES = Path(instances.__file__).parent / "curves"
ROOT = Path(__file__).parents[2]


def query(gpu="h100_sxm", model="Qwen/Qwen3-32B-FP8", backend="trtllm", precision=None, isl=4500, osl=750):
    """A query as the instance layer makes it."""
    domain = 72 if gpu.startswith("gb") else 8
    wanted = dict.fromkeys(ROLES, precision)
    chosen = {"model": model, "isl": isl, "osl": osl, "backend": backend, "precision": wanted}
    return CurveQuery(gpu=gpu, domain_gpus=domain, pool_gpus=64, **chosen)


def faults(asked: CurveQuery, cache: Path, version: str | None = None) -> list[str]:
    """The faults that a query ends in, one string each."""
    with pytest.raises(InputError) as caught:
        Silicon(version, cache=cache).curves(asked)
    return [str(fault) for fault in caught.value.faults]


def same(ours: CurveSet, table: CurveSet) -> None:
    """Asserts the same engines with the same batches, and every value within 1e-6."""

    def named(answer):
        return {
            (c.role, c.backend, c.backend_version, c.precision, c.partition, c.domain_gpus, c.chunk_tokens): c
            for c in answer.curves
        }

    mine, theirs = named(ours), named(table)
    assert mine.keys() == theirs.keys()
    for key, curve in theirs.items():
        other = mine[key]
        assert other.batch == curve.batch, key
        for name in ("latency_ms", "ttft_ms", "requests_per_s", "memory_gib"):
            pairs = list(zip(getattr(other, name), getattr(curve, name), strict=True))
            assert all(abs(a - b) <= b * Fraction(1, 10**6) for a, b in pairs), (key, name)


@pytest.mark.parametrize("python", [(3, 11), (3, 13)])
def test_missing_package_says_what_to_install(python):
    """The message names the extra, and no version of Python where that is not the reason."""
    text = str(missing(python))
    assert text.startswith("$.cost_model.kind: silicon needs the package aiconfigurator-core")
    assert "pip install 'ratematch[silicon]'" in text
    assert "this is Python" not in text


def test_missing_package_names_the_python_it_exists_for():
    """On a Python without the package the extra installs nothing, so the message must say why."""
    assert "exists for Python 3.11 to 3.13, this is Python 3.14" in str(missing((3, 14)))


@pytest.mark.skipif(INSTALLED, reason="aiconfigurator-core is installed")
def test_without_the_package_every_use_is_one_clear_fault(tmp_path):
    """No traceback, nothing written."""
    (only,) = faults(query(), tmp_path)
    assert "pip install 'ratematch[silicon]'" in only
    with pytest.raises(InputError):
        Silicon().inventory()
    assert list(tmp_path.iterdir()) == []


def test_module_imports_nothing_of_the_package():
    """The product starts as fast with the extra as without."""
    code = "import sys, costmodels.silicon; print([m for m in sys.modules if m.startswith(('aiconf', 'pandas'))])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


ASK = Ask("h100_sxm", "trtllm", "current", "m", "decode", None, 1024, 128)
ROWS = Rows((("h100_sxm", "14.492"), ("h100_sxm", "0.54333534")), {"memory": 3})


def test_cache_gives_back_what_was_saved(tmp_path):
    """Text cells, so decimals stay exact; keys tell versions and asks apart."""
    cache = RowCache(tmp_path, "0.12.0", "1")
    cache.save(ASK, ROWS)
    assert cache.load(ASK) == ROWS
    assert cache.load(replace(ASK, osl=129)) is None
    assert RowCache(tmp_path, "0.12.1", "1").load(ASK) is None
    assert RowCache(tmp_path, "0.12.0", "2").load(ASK) is None
    assert [path.name for path in tmp_path.iterdir()] == [cache.path(ASK).name]  # no leftovers


def _truncated(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def _altered(raw: bytes) -> bytes:
    return gzip.compress(gzip.decompress(raw).replace(b"14.492", b"14.493"))


def _other_key(raw: bytes) -> bytes:
    return gzip.compress(gzip.decompress(raw).replace(b"decode", b"prefil"))


def _not_an_object(_: bytes) -> bytes:
    return gzip.compress(json.dumps([1, 2]).encode())


@pytest.mark.parametrize(
    "damage", [_truncated, _altered, _other_key, _not_an_object, lambda raw: b"", lambda raw: b"no gzip"]
)
def test_damaged_cache_file_is_ignored_and_written_again(tmp_path, damage):
    """Whatever happened to the file, its content is not used."""
    cache = RowCache(tmp_path, "0.12.0", "1")
    cache.save(ASK, ROWS)
    path = cache.path(ASK)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.load(ASK) is None
    cache.save(ASK, ROWS)
    assert cache.load(ASK) == ROWS


def test_cache_that_cannot_be_written_is_done_without(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "taken").write_text("")
    cache = RowCache(tmp_path / "taken" / "below", "0.12.0", "1")
    cache.save(ASK, ROWS)
    assert cache.load(ASK) is None


def test_environment_moves_the_cache_or_turns_it_off(monkeypatch, tmp_path):
    """RATEMATCH_CACHE first, then the platform's folder."""
    monkeypatch.setenv("RATEMATCH_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "silicon"
    monkeypatch.setenv("RATEMATCH_CACHE", "")
    assert default_folder() is None
    assert RowCache(None, "0.12.0", "1").load(ASK) is None
    monkeypatch.delenv("RATEMATCH_CACHE")
    assert default_folder().parts[-2:] == ("ratematch", "silicon")


@silicon
@pytest.mark.parametrize(
    "gpu, backend, model",
    [
        ("h100_sxm", "trtllm", "Qwen/Qwen3-32B-FP8"),
        ("h100_sxm", "vllm", "meta-llama/Meta-Llama-3.1-70B"),
        ("gb200", "trtllm", "deepseek-ai/DeepSeek-V3"),
        ("h100_sxm", "sglang", "deepseek-ai/DeepSeek-V3"),
        ("h200_sxm", "trtllm", "openai/gpt-oss-120b"),
    ],
)
def test_equals_the_built_in_tables(tmp_path, gpu, backend, model):
    """Dense and MoE, experts inside and across nodes, chunks: exported from aiconfigurator 0.12 by another program."""
    if not package_version().startswith("0.12."):
        pytest.skip("the tables are of 0.12")
    table = CurveTables.read([CURVES / f"{gpu}__{backend}__{model.replace('/', '--')}.csv.gz"])
    asked = query(gpu, model, backend)
    same(Silicon(cache=tmp_path).curves(asked), table.curves(asked))


@silicon
def test_formats_are_those_of_the_role(tmp_path):
    """DeepSeek-V3 on TensorRT-LLM: FP8 attention was measured for decode only; KV must agree all the same."""
    answer = Silicon(cache=tmp_path).curves(query("h200_sxm", "deepseek-ai/DeepSeek-V3", isl=1024, osl=128))
    found = {curve.role: curve.precision for curve in answer.curves}
    assert found == {
        "prefill": "gemm:fp8_block moe:fp8_block kv:fp8 fmha:bfloat16",
        "decode": "gemm:fp8_block moe:fp8_block kv:fp8 fmha:fp8",
        "colocated": "gemm:fp8_block moe:fp8_block kv:fp8 fmha:bfloat16",
    }


@silicon
def test_label_overrides_the_checkpoint(tmp_path):
    """A bfloat16 checkpoint, asked for in fp8, is priced in fp8; an exact string gives exactly that."""
    asked = query("h200_sxm", "meta-llama/Meta-Llama-3.1-70B", precision="fp8", isl=1024, osl=128)
    answer = Silicon(cache=tmp_path).curves(asked)
    assert {c.precision for c in answer.curves} == {"gemm:fp8 moe:fp8 kv:fp8 fmha:fp8"}
    exact = "gemm:fp8 moe:fp8 kv:bfloat16 fmha:bfloat16"
    answer = Silicon(cache=tmp_path).curves(replace(asked, precision=dict.fromkeys(ROLES, exact)))
    assert {c.precision for c in answer.curves} == {exact}


@silicon
def test_dense_model_has_no_mxfp4(tmp_path):
    """Only expert weights have that format in the data; bfloat16 rows must not pass for it."""
    (only,) = faults(query(model="meta-llama/Meta-Llama-3.1-8B", precision="mxfp4", isl=1024, osl=128), tmp_path)
    assert "can price no engine" in only
    assert "no format for mxfp4" in only


@silicon
def test_any_engine_means_all_that_have_data(tmp_path):
    """Intel b60 was measured with vLLM only; the others are counted, not an error."""
    answer = Silicon(cache=tmp_path).curves(query("b60", "Qwen/Qwen3-8B", None, isl=1024, osl=128))
    assert {curve.backend for curve in answer.curves} == {"vllm"}
    assert answer.dropped["no data of trtllm for b60"] == 3


@silicon
def test_one_output_token_needs_no_decode(tmp_path):
    """OSL 1: prefill yields it."""
    answer = Silicon(cache=tmp_path).curves(query(isl=1024, osl=1))
    assert {curve.role for curve in answer.curves} == {"prefill"}


@silicon
def test_long_prompts_come_alone(tmp_path):
    """131,072 prompt tokens a rank bound the prefill batch."""
    answer = Silicon(cache=tmp_path).curves(query(isl=50000, osl=1))
    assert {curve.batch for curve in answer.curves} == {(1, 2)}


@silicon
def test_distributed_lengths_are_priced_where_they_are(tmp_path):
    """
    Two kinds of requests, alike: TTFT is the mean of both, and decode runs at the context that its steps meet.

    Of 2 x 100 steps at ISL 1000 and 2 x 300 steps at ISL 3000 the mean ISL is 2500 and the mean OSL 251.
    """
    half = Fraction(1, 2)
    mixed = replace(query(isl=2000, osl=201), traffic=Traffic(((1000, 101, half), (3000, 301, half))))
    answer = Silicon(cache=tmp_path).curves(mixed)
    found = {(c.role, c.partition): c.at(c.batch[0]) for c in answer.curves}
    assert {role for role, _ in found} == {"prefill", "decode"}

    def alone(isl, osl):
        curves = Silicon(cache=tmp_path).curves(query(isl=isl, osl=osl)).curves
        return {(c.role, c.partition): c.at(c.batch[0]) for c in curves}

    short, long, steps = alone(1000, 101), alone(3000, 301), alone(2500, 251)
    for key, point in found.items():
        if key[0] == "prefill":
            mean = (short[key].latency_ms + long[key].latency_ms) / 2
            assert point.latency_ms == mean
        else:
            assert abs(point.latency_ms / steps[key].latency_ms - 1) < Fraction(1, 1000), key


@silicon
def test_many_lengths_stay_few_prices(tmp_path):
    """200 prompt lengths: at most 16 are priced, the ends among them."""
    lengths = Traffic(tuple((isl, 1, Fraction(1, 200)) for isl in range(100, 2100, 10)))
    answer = Silicon(cache=tmp_path).curves(replace(query(isl=1095, osl=1), traffic=lengths))
    assert {curve.role for curve in answer.curves} == {"prefill"}
    assert len(list(tmp_path.iterdir())) == 16


@silicon
def test_all_faults_at_once_with_what_is_there(tmp_path):
    """Unknown GPU, model, engine and precision in one go; nothing is written."""
    found = faults(query("mi300x", "some/model", "tgi", "fp3"), tmp_path)
    assert [fault.split(":")[0] for fault in found] == [
        "$.pools[].gpu", "$.workloads[].model", "$.workloads[].backend", "$.workloads[].precision",
    ]  # fmt: skip
    assert "h200_sxm" in found[0]
    assert "deepseek-ai/DeepSeek-V3" in found[1]
    assert "trtllm" in found[2]
    assert "nvfp4" in found[3]
    assert list(tmp_path.iterdir()) == []


@silicon
def test_version_that_is_not_there(tmp_path):
    """The message lists the versions of that GPU and engine."""
    (only,) = faults(query(), tmp_path, version="9.9")
    assert only.startswith("$.cost_model.backend_version: no data of version '9.9'")
    assert "trtllm 1.3.0rc20" in only


@silicon
@pytest.mark.parametrize("wanted", ["gemm:fp8", "gemm:fp9 moe:fp8 kv:fp8 fmha:fp8"])
def test_precision_string_must_be_whole_and_known(tmp_path, wanted):
    """A partial string could never equal an engine's."""
    (only,) = faults(query(precision=wanted), tmp_path)
    assert only.startswith("$.workloads[].precision: got ")


@silicon
def test_known_but_not_measured_says_where_it_was(tmp_path):
    """NVFP4 experts need Blackwell."""
    (only,) = faults(query("h200_sxm", "nvidia/DeepSeek-V3.1-NVFP4", isl=1024, osl=128), tmp_path)
    assert "no operator data for this cut" in only
    assert "It has data on: b200_sxm" in only
    assert "h200_sxm (" not in only.split("It has data on:")[1]


@silicon
def test_options_that_the_data_does_not_hold_are_refused(tmp_path):
    """A prefix cache would be priced as if it were not there."""
    asked = replace(query(), options=EngineOptions(prefix_hit_rate=Fraction(1, 2)))
    (only,) = faults(asked, tmp_path)
    assert "without prefix_hit_rate" in only


@silicon
def test_second_time_needs_no_import_and_no_pricing(tmp_path):
    """The cached answer is the priced one, in a process that never loads the package."""
    asked = query(isl=1024, osl=128)
    first = Silicon(cache=tmp_path).curves(asked)
    code = (
        "import sys; from pathlib import Path; from tests.costmodels.test_silicon import query; "
        "from costmodels.silicon import Silicon; "
        "answer = Silicon(cache=Path(sys.argv[1])).curves(query(isl=1024, osl=128)); "
        "print('aiconfigurator_core' in sys.modules); print(repr(answer))"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["False", repr(first)], done.stderr


@silicon
def test_damaged_cache_gives_the_same_answer(tmp_path):
    """All three files broken: priced again."""
    asked = query(isl=1024, osl=128)
    first = Silicon(cache=tmp_path).curves(asked)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(kept) == len(ROLES)
    for path in kept:
        path.write_bytes(b"broken")
    assert Silicon(cache=tmp_path).curves(asked) == first
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept
