"""Flat pricing: as the cost model prices, on engines of every kind."""

from dataclasses import replace

import numpy as np
import pytest

from costmodels.calibration.hierarchy import START, bounds
from costmodels.calibration.kernels import alone, kernel_rows
from costmodels.calibration.stack import REPEATED, Stack
from costmodels.constants import NAMES, Basis, Constants
from costmodels.engine import Engine
from costmodels.formats import formats
from costmodels.gpus import GPUS
from costmodels.kernel_sets import carried
from costmodels.layers import Step, StepWork, step_time, work_of
from costmodels.mixture import sent
from costmodels.models import MODELS
from costmodels.operators import KINDS, price
from costmodels.partition import Partition
from tests.costmodels.test_phases import ENGINES


def steps_of(size: int) -> list[Step]:
    rng = np.random.default_rng(1)
    none, batch = np.zeros(size), rng.uniform(1, 500, size)
    tokens = rng.uniform(1, 9000, size)
    return [
        Step(none, none, none, none, none, batch, 1.0, 5000.0, batch),
        Step(none, none, none, none, none, batch, 3.0, 70.0, batch * 3),
        Step(tokens, tokens**2 / 2, tokens, tokens, tokens * 128, none, 1.0, 1.0, tokens / 500),
        Step(tokens, tokens**2, tokens * 3, tokens * 2, tokens * 99, batch, 2.0, 900.0, batch),
    ]


def random_constants(seed: int) -> dict[str, float]:
    low, high = bounds()
    return dict(zip(NAMES, np.exp(np.random.default_rng(seed).uniform(low, high)).tolist(), strict=True))


@pytest.mark.parametrize("name", ENGINES)
def test_the_flat_prices_are_those_of_the_cost_model(name: str) -> None:
    """On engines of every kind, inside and across NVLink domains, at random constants."""
    engine = ENGINES[name]
    for domain, seed in ((2, 1), (8, 2), (72, 3)):
        moved = Engine(engine.model, engine.gpu, engine.formats, engine.partition, domain, engine.serving)
        values = random_constants(seed)
        moved.__dict__["constants"] = Constants(**values)  # in place of the cached ones
        works = [work_of(moved, step) for step in steps_of(7)]
        flat = Stack([(engine.gpu, work, 7, engine.model.moe_layers) for work in works]).times_ms(values)
        each = [step_time(moved, step).total for step in steps_of(7)]
        assert flat == pytest.approx(np.concatenate(each), rel=1e-12)
        hop = StepWork([(3.0, sent(moved, domain == 2, steps_of(7)[2].tokens))], [])
        flat = Stack([(engine.gpu, hop, 7, 0)]).times_ms(values)
        priced = np.asarray(price(engine.gpu, Constants(**values), hop.layers)) + values["step_ms"]
        assert flat == pytest.approx(priced, rel=1e-12)


def test_what_a_stack_remembers_is_what_it_prices() -> None:
    """Moving constants one after another gives what a stack gives that has seen nothing before."""
    works = [work_of(engine, step) for engine in ENGINES.values() for step in steps_of(3)]
    steps = [
        (engine.gpu, work, 3, engine.model.moe_layers)
        for engine, work in zip([one for one in ENGINES.values() for _ in range(4)], works, strict=True)
    ]
    one, values = Stack(steps), random_constants(0)
    for name, other in random_constants(1).items():
        one.times_ms(values)
        moved = one.times_ms(values | {name: other})
        assert np.array_equal(moved, Stack(steps).times_ms(values | {name: other})), name
        assert np.array_equal(one.times_ms(values), Stack(steps).times_ms(values)), name


CUTS = {
    "dense": ("meta-llama/Meta-Llama-3.1-70B", Partition(tp=4)),
    "dense beyond a node": ("meta-llama/Meta-Llama-3.1-70B", Partition(tp=16)),
    "shared": ("Qwen/Qwen3-235B-A22B", Partition(tp=4, moe_ep=4)),
    "shared, attention dp": ("Qwen/Qwen3-235B-A22B", Partition(tp=1, attention_dp=4, moe_tp=4)),
    "shared, latent": ("deepseek-ai/DeepSeek-V3", Partition(tp=16, moe_ep=16)),
    "dispatched": ("deepseek-ai/DeepSeek-V3", Partition(tp=2, attention_dp=8, moe_ep=16)),
}
WHERE = (
    ("h100_sxm", "trtllm"), ("h200_sxm", "sglang"), ("h20_sxm", "vllm"), ("b200_sxm", "trtllm"), ("gb200", "trtllm"),
    ("gb300", "vllm"), ("b300_sxm", None), ("mi300x", "sglang"),
)  # fmt: skip
"""GPUs and engines, measured and not."""


def engine_of(case: str, gpu_name: str, serving: str | None, basis: Basis) -> Engine:
    """In NVFP4 where the GPU can, else in FP8."""
    (name, cut), gpu = CUTS[case], GPUS[gpu_name]
    form = "fp8" if gpu.fp4_tflops is None else "nvfp4"
    used = formats(f"gemm:{form} moe:{form} kv:fp8 fmha:bfloat16")
    return Engine(MODELS[name], gpu, used, cut, 72 if gpu_name.startswith("gb") else 8, serving, basis)


@pytest.mark.parametrize("basis", ["operators", "served", "ideal"])
@pytest.mark.parametrize("case", CUTS)
def test_flat_prices_agree_under_carried_and_any_constants(case: str, basis: Basis) -> None:
    """Every path through experts, on GPUs and under engines that were measured and that were not."""
    steps = steps_of(9)
    for seed, (gpu_name, serving) in enumerate(WHERE):
        engine = engine_of(case, gpu_name, serving, basis)
        assert engine.path == case.split(",")[0].split(" ")[0]
        flat = Stack([(engine.gpu, work_of(engine, step), 9, engine.model.moe_layers) for step in steps])
        carried_values = {name: getattr(engine.constants, name) for name in NAMES}
        for values in (carried_values, random_constants(seed), random_constants(100 + seed)):
            moved = replace(engine)
            moved.__dict__["constants"] = Constants(**values)
            each = np.concatenate([step_time(moved, step).total for step in steps])
            assert flat.times_ms(values) == pytest.approx(each, rel=1e-12), (gpu_name, serving)


def test_flat_prices_know_the_kernel_of_few_tokens() -> None:
    """Batches of one array on both sides of 128 tokens."""
    engine = engine_of("shared", "b200_sxm", "trtllm", "operators")
    none, batch = np.zeros(4), np.array([1.0, 128.0, 129.0, 500.0])
    step = Step(none, none, none, none, none, batch, 1.0, 4000.0, batch)
    values = {name: getattr(engine.constants, name) for name in NAMES}
    found = Stack([(engine.gpu, work_of(engine, step), 4, engine.model.moe_layers)]).times_ms(values)
    assert found == pytest.approx(step_time(engine, step).total, rel=1e-12)
    without = replace(engine, other_kernels=replace(engine.kernels, few_experts=None))
    plain = step_time(without, step).total
    assert found[2:] == pytest.approx(plain[2:]) and bool((np.abs(found[:2] / plain[:2] - 1) > 0.01).all())


def test_an_operator_alone_is_a_step_of_nothing_else() -> None:
    """Of every kind of kernel, at constants of a fit: its own time, and the measured one beside it."""
    found = alone(carried(), kernel_rows())[::53]
    measured_alone = {one.operator.kind for one in found}
    assert measured_alone == set(KINDS) - {"stream"}
    values = random_constants(7) | {"step_ms": 8.0}
    times = Stack([one.step for one in found]).times_ms(values)
    by_hand = [float(np.sum(price(GPUS[one.gpu], Constants(**values), [(1, one.operator)]))) for one in found]
    assert times / REPEATED == pytest.approx(by_hand, rel=2e-3)
    assert [one.step_ms for one in found] == pytest.approx([REPEATED * one.latency_ms for one in found])
    # where everything is as measured they are met, within what their kernels miss
    as_measured = dict.fromkeys(NAMES, 1.0) | dict.fromkeys(("step_ms", "attention_ms", "launch_ms"), 1e-6)
    missed = Stack([one.step for one in found]).times_ms(as_measured | {"crossing_ms": 0.0})
    errors = np.abs(missed / [one.step_ms for one in found] - 1)
    assert float(np.median(errors)) < 0.08 and START["collective"] == 1.0
