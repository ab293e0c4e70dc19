"""Measured servers predicted: the stated accuracy, and the loop by hand."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import costmodels
from costmodels.closed_loop import (
    MEAN_LENGTH,
    TERMS,
    Loop,
    Prediction,
    fitted,
    loop_of,
    predict,
    terms,
    times_of,
    tpot_ms,
    waiting_ms,
)
from costmodels.measured import MeasuredEngine, MeasuredRow, read_measured
from costmodels.partition import Partition

FILE = Path(costmodels.__file__).parent / "data" / "measured.csv.gz"


@cache
def carried() -> tuple[list[MeasuredRow], list[Prediction | str]]:
    """The carried rows and their predictions."""
    rows, _ = read_measured(FILE)
    return list(rows), predict(rows)


def row(mode: str = "agg", model: str = "meta-llama/Llama-3.1-70B", batch: int = 16, **more: object) -> MeasuredRow:
    cut = Partition(tp=8)
    engines = (MeasuredEngine(batch, 1, cut),)
    if mode == "disagg":
        engines = (MeasuredEngine(1, 2, cut), MeasuredEngine(batch, 1, cut))
    found = carried()[0][0]
    values = {
        "mode": mode, "backend": "vllm", "backend_version": "", "model": model, "system": "h200_sxm",
        "precision": "bf16", "isl": 1000, "osl": 1000, "gemm": None, "moe": None, "engines": engines, **more,
    }  # fmt: skip
    return type(found)(**{**vars(found), **values})


def test_the_accuracy_of_the_carried_rows() -> None:
    """Measured when the constants were fitted: TPOT 5.2 %, TTFT 17 %, 97 % of the usable rows."""
    rows, answers = carried()
    pairs = [(row, found) for row, found in zip(rows, answers, strict=True) if isinstance(found, Prediction)]
    assert len(pairs) >= 0.95 * len(rows)
    tpot = np.array([found.tpot_ms / row.tpot_ms - 1 for row, found in pairs])
    ttft = np.array([found.ttft_ms / row.ttft_ms - 1 for row, found in pairs])
    assert np.median(np.abs(tpot)) < 0.08 and np.median(np.abs(ttft)) < 0.24
    assert abs(tpot.mean()) < 0.05 and abs(ttft.mean()) < 0.15


def test_rows_that_cannot_be_modelled_say_why() -> None:
    unknown = row(model="no/model"), row(system="h999"), row(engines=(MeasuredEngine(4, 1, Partition(tp=3)),))
    assert predict(unknown) == ["unknown model or format: no/model", "unknown GPU h999", "heads % tp"]
    assert predict([row(model="meta-llama/Llama-3.1-405B", engines=(MeasuredEngine(4, 1, Partition()),))]) == ["memory"]
    assert predict([]) == []
    reasons = [found for found in carried()[1] if isinstance(found, str)]
    assert all(reasons)


def test_answers_keep_the_order_of_the_rows() -> None:
    first, bad, second = row(batch=4), row(model="no/model"), row(batch=64)
    one, text, two = predict([first, bad, second])
    assert text == "unknown model or format: no/model"
    assert predict([first])[0] == one and predict([second])[0] == two and one != two


def loops_of(*rows: MeasuredRow) -> list[Loop]:
    found = [loop_of(one) for one in rows]
    assert all(isinstance(one, Loop) for one in found), found
    return [one for one in found if isinstance(one, Loop)]


def test_co_located_tpot_by_hand() -> None:
    """A decode step, and a prompt of each other sequence once in a life."""
    loops = loops_of(row())
    step, _, full, _ = times_of(loops[0])
    prompts = 8192 / (1000 * MEAN_LENGTH)
    by_hand = step + 15 * full / prompts / (1000 * MEAN_LENGTH)
    times = np.array([times_of(loops[0])])
    assert float(tpot_ms(loops, times)[0]) == pytest.approx(by_hand)
    factor = fitted().factors.get(loops[0].version, 1.0)
    found = predict([row()])[0]
    assert isinstance(found, Prediction) and found.tpot_ms == pytest.approx(by_hand * factor)


def test_few_prefill_workers_starve_the_decode() -> None:
    """Halving the prefill workers lowers the sequences that decode, and so TPOT; a plenty of them changes nothing."""
    cut = Partition(tp=8)

    def with_workers(workers: int) -> float:
        loops = loops_of(
            row("disagg", isl=8000, engines=(MeasuredEngine(1, workers, cut), MeasuredEngine(256, 1, cut)))
        )
        return float(tpot_ms(loops, np.array([times_of(one) for one in loops]))[0])

    assert with_workers(1) < with_workers(2) <= with_workers(1000) == with_workers(2000)


def test_terms_are_not_negative_and_grow_with_concurrency() -> None:
    for mode in ("agg", "disagg"):
        loops = loops_of(*(row(mode, batch=batch) for batch in (1, 8, 64)))
        times = np.array([times_of(one) for one in loops])
        found = terms(loops, times, tpot_ms(loops, times))
        assert found.shape == (3, len(TERMS)) and bool((found >= 0).all())
        assert bool((np.diff(found[:, [TERMS.index("requests"), TERMS.index("burst")]], axis=0) > 0).all())


def test_what_the_cache_cannot_hold_waits() -> None:
    room = row(batch=64, isl=30000, engines=(MeasuredEngine(64, 1, Partition(tp=4)),), system="h100_sxm")
    loops = loops_of(room, row(batch=2))
    tpot = np.array([20.0, 20.0])
    wait = waiting_ms(loops, tpot)
    assert loops[0].resident < 64 and float(wait[1]) == 0
    life = 20 * 1000 * MEAN_LENGTH
    assert float(wait[0]) == pytest.approx((64 - loops[0].resident) * life / loops[0].resident)


def test_weights_of_the_nearest_group_apply() -> None:
    known = fitted()
    own = next(key for key in known.weights if key[2] != "*")
    assert known.weights_of(row(own[0], backend=own[1], system=own[2])) == known.weights[own]
    assert known.weights_of(row("agg", backend="vllm", system="a100_sxm")) == known.weights["agg", "vllm", "*"]
    assert known.weights_of(row("agg", backend="other")) == known.weights["agg", "*", "*"]
