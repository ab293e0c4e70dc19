"""Lengths of requests: how distributions are made, read, priced and planned with."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from costmodels.curves import CurveTables
from costmodels.errors import InputError
from costmodels.interpolate import Measured, decode_points, expectation, left_out_errors, prefill_points
from costmodels.lengths import (
    MOST_CLASSES,
    constant,
    histogram,
    independent,
    log_normal,
    log_normal_at,
    of_requests,
    p50,
)
from costmodels.operating_curve import OperatingCurve
from costmodels.options import EngineOptions
from costmodels.partition import Partition
from costmodels.traces import read_trace
from costmodels.traffic import Traffic
from solver.engines import EngineSet, cost_model_of, engines_of
from solver.instance import Instance, Serving, Workload
from solver.planner import Options, solve
from solver.points import points_of
from solver.read import instance_from
from solver.report import report
from solver.verifier import verify
from tests import corpus
from tests.formulation.cases import CHAT, POOL

HALF = Fraction(1, 2)
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2225670,879,55
"""
"""The first requests of the conversation trace of the Azure Public Dataset (2023)."""
MOONCAKE = """{"timestamp": 0, "input_length": 40160, "output_length": 6, "hash_ids": [0, 1]}
{"timestamp": 0, "input_length": 36640, "output_length": 4, "hash_ids": [79, 80]}
{"timestamp": 40, "input_length": 23769, "output_length": 3, "hash_ids": [151, 152]}
"""
"""The first requests of the synthetic Mooncake trace, with fewer hash_ids."""

ROWS = [
    # isl 100, 200, 400 of one prefill engine at batches 1 and 2; batch 4 was measured at 100 alone
    *("toy,trtllm,1.0,org/toy,kv:fp8,prefill,1,1,1,1,1,1,1,8,1,0,100,,10,,,20",),
    *("toy,trtllm,1.0,org/toy,kv:fp8,prefill,1,1,1,1,1,1,1,8,1,0,200,,25,,,21",),
    *("toy,trtllm,1.0,org/toy,kv:fp8,prefill,1,1,1,1,1,1,1,8,1,0,400,,50,,,23",),
    *("toy,trtllm,1.0,org/toy,kv:fp8,prefill,1,1,1,1,1,1,1,8,2,0,100,,20,,,22",),
    *("toy,trtllm,1.0,org/toy,kv:fp8,prefill,1,1,1,1,1,1,1,8,2,0,400,,80,,,26",),
    *("toy,trtllm,1.0,org/toy,kv:fp8,prefill,1,1,1,1,1,1,1,8,4,0,100,,34,,,24",),
    # contexts 105 and 405
    *("toy,trtllm,1.0,org/toy,kv:fp8,decode,1,1,1,1,1,1,1,8,8,0,100,11,10,,,30",),
    *("toy,trtllm,1.0,org/toy,kv:fp8,decode,1,1,1,1,1,1,1,8,8,0,400,11,13,,,33",),
    *("toy,trtllm,1.0,org/toy,kv:fp8,colocated,1,1,1,1,1,1,1,8,4,100,100,11,20,80,14,40",),
]
TABLE = "\n".join([corpus.HEADER, *ROWS, ""])


def document(isl: Any, osl: Any = 11, **workload: Any) -> dict[str, Any]:
    """An instance over the table above; a length of None is left out."""
    lengths = {side: value for side, value in (("isl", isl), ("osl", osl)) if value is not None}
    return {
        "format": "disagg-instance",
        "version": 1,
        "name": "traffic",
        "pools": [{"name": "pool", "gpu": "toy", "gpus": 16, "nvlink_domain_gpus": 8}],
        "workloads": [{"name": "chat", "model": "org/toy", **lengths, **workload}],
        "cost_model": {"kind": "curves", "path": "table.csv"},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the table and two traces."""
    (tmp_path / "table.csv").write_text(TABLE, "utf-8")
    (tmp_path / "azure.csv").write_text(AZURE, "utf-8")
    (tmp_path / "mooncake.jsonl.gz").write_bytes(gzip.compress(MOONCAKE.encode()))
    return tmp_path


def loaded(folder: Path, made: dict[str, Any]) -> tuple[Instance, EngineSet]:
    """Instance and engines of a document."""
    instance = instance_from(json.loads(json.dumps(made), parse_float=Decimal), folder)
    return instance, engines_of(instance, cost_model_of(instance, folder))


def of(engines: EngineSet, role: str) -> OperatingCurve:
    """The only curve of a role."""
    (curve,) = [engine.curve for engine in engines.engines if engine.curve.role == role]
    return curve


class TestLogNormal:
    """Classes of a log-normal distribution."""

    @pytest.mark.parametrize(("mean", "std"), [(4500, 3500), (750, 750), (1000, 50), (211, 160)])
    def test_the_mean_is_exact_and_the_deviation_nearly(self, mean: int, std: int) -> None:
        found = log_normal(Fraction(mean), Fraction(std))
        assert sum(share for _, share in found) == 1
        assert sum(share * tokens for tokens, share in found) == mean
        spread = float(sum(share * (tokens - mean) ** 2 for tokens, share in found)) ** 0.5
        assert 0.975 * std <= spread <= 1.001 * std

    def test_classes_are_the_means_of_their_quantiles(self) -> None:
        """Against sorted draws of numpy's own log-normal, which knows nothing of ours."""
        sigma = np.log(1 + (3500 / 4500) ** 2) ** 0.5
        draws = np.sort(np.random.default_rng(1).lognormal(np.log(4500) - sigma**2 / 2, sigma, 1_000_000))
        found = log_normal(Fraction(4500), Fraction(3500))
        ends = np.round(np.cumsum([float(share) for _, share in found]) * len(draws)).astype(int)
        for (tokens, _), low, high in zip(found, [0, *ends], ends, strict=False):
            assert tokens == pytest.approx(draws[low:high].mean(), rel=0.02)

    def test_a_few_tokens_are_at_least_one(self) -> None:
        found = log_normal(Fraction(2), Fraction(20))
        assert found[0][0] == 1
        assert sum(share * tokens for tokens, share in found) >= 2

    def test_percentiles_are_those_of_the_distribution(self) -> None:
        """The median is mean / sqrt(1 + cv^2): 4500 / sqrt(1 + (35/45)^2) = 3552.1."""
        assert log_normal_at(Fraction(4500), Fraction(3500), HALF) == 3553
        share = sum(share for tokens, share in log_normal(Fraction(4500), Fraction(3500)) if tokens <= 3553)
        assert abs(share - HALF) <= Fraction(1, 25)


class TestTraces:
    """Requests to classes."""

    def test_readers(self, folder: Path) -> None:
        azure = read_trace(folder / "azure.csv", "azure")
        assert azure.classes == tuple((isl, osl, Fraction(1, 3)) for isl, osl in ((374, 44), (396, 109), (879, 55)))
        mooncake = read_trace(folder / "mooncake.jsonl.gz", "mooncake", isl=(None, 36640), osl=(4, None))
        assert mooncake.classes == ((23769, 4, Fraction(1, 3)), (36640, 4, Fraction(1, 3)), (36640, 6, Fraction(1, 3)))

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def test_many_requests_become_classes_of_the_same_means(self, seed: int) -> None:
        rng = random.Random(seed)
        pairs = [(round(rng.lognormvariate(7, 1)) + 1, round(rng.expovariate(0.005)) + 1) for _ in range(3000)]
        requests = {pair: pairs.count(pair) for pair in set(pairs)}
        assert len(requests) > MOST_CLASSES
        traffic = of_requests(requests, "random")
        assert len(traffic.classes) <= MOST_CLASSES
        assert sum(share for *_, share in traffic.classes) == 1
        for side, mean in ((0, traffic.isl), (1, traffic.osl)):
            assert abs(mean - Fraction(sum(pair[side] for pair in pairs), len(pairs))) <= Fraction(1, 6400)
            values = [one[side] for one in traffic.classes]
            assert min(pair[side] for pair in pairs) <= min(values) <= max(values) <= max(pair[side] for pair in pairs)
        shuffled = dict(sorted(requests.items(), key=lambda item: hash((item, seed))))
        assert of_requests(shuffled, "random") == traffic

    @pytest.mark.parametrize(
        ("name", "isl", "osl"),
        [
            ("azure-conversation-2023", 22361870 / 19366, 4088665 / 19366),
            ("azure-code-2023", 18059974 / 8819, 245896 / 8819),
            ("mooncake-synthetic", 61194628 / 3993, 595432 / 3993),
        ],
    )
    def test_carried_traces_have_the_means_of_the_published_ones(self, name: str, isl: float, osl: float) -> None:
        """The sums are those of all requests of the published files."""
        path = Path(__file__).parent.parent / "instances" / "traffic" / f"{name}.csv"
        traffic = read_trace(path, "histogram")
        assert float(traffic.isl) == pytest.approx(isl, abs=2e-4)
        assert float(traffic.osl) == pytest.approx(osl, abs=2e-4)

    def test_the_shortcut_of_the_literature(self) -> None:
        """4500 +- 3500 and 750 +- 750 tokens: constant 4096/512."""
        isl, osl = log_normal(Fraction(4500), Fraction(3500)), log_normal(Fraction(750), Fraction(750))
        found = p50(independent(isl, osl, "paper"), power_of_two=True)
        assert found.classes == ((4096, 512, Fraction(1)),)

    def test_too_many_pairs(self) -> None:
        wide = histogram((tokens, Fraction(1)) for tokens in range(1, 34))
        with pytest.raises(ValueError, match="33 input x 33 output lengths, at most 1024 pairs"):
            independent(wide, wide, "")


class TestInterpolation:
    """Curves between measured lengths."""

    def test_weights(self) -> None:
        nodes = tuple(map(Fraction, (0, 10, 30)))
        assert expectation(nodes, ((Fraction(4), HALF), (Fraction(20), HALF))) == (
            Fraction(3, 10),
            Fraction(9, 20),
            Fraction(1, 4),
        )
        assert expectation(nodes, ((Fraction(31), Fraction(1)),)) is None
        assert expectation((Fraction(7),), ((Fraction(7), Fraction(1)),)) == (Fraction(1),)

    def test_prefill_at_a_constant_length(self, folder: Path) -> None:
        """At 300 of 200..400: batch 1 (25 + 50) / 2; batch 2 was measured at 100 and 400: 20 + 2/3 x 60."""
        made = document(300)
        made["cost_model"]["interpolate_lengths"] = True
        curve = of(loaded(folder, made)[1], "prefill")
        assert curve.batch == (1, 2)
        assert curve.latency_ms == (Fraction("37.5"), 60)
        assert curve.requests_per_s == (Fraction("26.6666666"), Fraction("33.3333333"))
        assert curve.memory_gib == (22, Fraction("24.6666667"))

    def test_prefill_at_a_distribution(self, folder: Path) -> None:
        """Half the prompts have 100 tokens and half 300: at batch 1 (10 + 37.5) / 2, at batch 2 (20 + 60) / 2."""
        curve = of(loaded(folder, document({"histogram": [[100, 5], [300, 5]]}))[1], "prefill")
        assert curve.latency_ms == (Fraction("23.75"), 40)
        assert curve.requests_per_s == (Fraction("42.1052631"), 50)

    def test_ttft_at_a_percentile(self, folder: Path) -> None:
        """The slowest half of the prompts: TTFT is that of 300 tokens, the rate that of all."""
        made = document({"histogram": [[100, 5], [300, 5]]}, sla={"ttft_percentile": 90})
        curve = of(loaded(folder, made)[1], "prefill")
        assert curve.latency_ms == (Fraction("37.5"), 60)
        assert curve.requests_per_s == (Fraction("42.1052631"), 50)

    def test_decode_at_the_mean_context(self, folder: Path) -> None:
        """Prompts of 100 and 300, 11 tokens each: context 205.5, a third of the way from 105.5 to 405.5: 11 ms."""
        curve = of(loaded(folder, document({"histogram": [[100, 1], [300, 1]]}))[1], "decode")
        assert curve.latency_ms == (11,)
        assert curve.requests_per_s == (Fraction("72.7272727"),)
        assert curve.memory_gib == (31,)

    def test_long_answers_count_longer(self) -> None:
        """OSL 1 and 21 with ISL 100 and 300: all steps are those of the long one, its context is 310.5."""
        traffic = Traffic(((100, 1, HALF), (300, 21, HALF)))
        rows = [
            Measured(8, isl, 21, Fraction(latency), Fraction(8000, latency * 20), None)
            for isl, latency in ((100, 10), (300, 20))
        ]
        (point,) = decode_points(rows, traffic)
        assert point.latency_ms == 20
        assert point.requests_per_s == 40  # 8 sequences / 20 ms / 10 steps on average

    def test_a_constant_length_that_was_measured_is_the_row(self, folder: Path) -> None:
        plain = document(100)
        wide = copy.deepcopy(plain)
        wide["cost_model"]["interpolate_lengths"] = True
        assert loaded(folder, plain)[1].engines == loaded(folder, wide)[1].engines

    @pytest.mark.parametrize(
        ("isl", "text"),
        [
            ({"histogram": [[50, 1], [200, 1]]}, "prompts of 50 to 200 tokens .*rows there are for ISL 100, 200, 400"),
            ({"histogram": [[400, 1], [401, 1]]}, "prompts of 400 to 401 tokens"),
        ],
    )
    def test_nothing_is_extrapolated(self, folder: Path, isl: Any, text: str) -> None:
        with pytest.raises(InputError, match=r"^\$\.workloads\[0\]\.isl: " + text):
            loaded(folder, document(isl))

    def test_contexts_outside_are_refused(self, folder: Path) -> None:
        with pytest.raises(InputError, match=r"a mean context .* of 450 tokens .*isl/osl 100/11, 400/11"):
            loaded(folder, document({"histogram": [[300, 1], [400, 1]]}, 200))

    def test_without_the_option_other_lengths_are_refused(self, folder: Path) -> None:
        with pytest.raises(InputError, match=r"nothing for org/toy with isl/osl 300/11 .* there is: .*100/11 400/11"):
            loaded(folder, document(300))

    def test_the_error_of_interpolation_is_stated(self, folder: Path) -> None:
        """200 predicted from 100 and 400: 10 + 40 / 3 = 23.33 for 22 ms, 6.1 % off."""
        rows = [
            Measured(1, isl, 0, Fraction(ms), Fraction(1000, ms), None) for isl, ms in ((100, 10), (200, 22), (400, 50))
        ]
        assert left_out_errors(rows) == pytest.approx([70 / 3 / 22 - 1])
        notes = loaded(folder, document({"histogram": [[100, 1], [300, 1]]}))[1].notes
        assert [note for note in notes if "off by 6.7% (median of 1 rows), at most 7%" in note]

    def test_dropped_rows_are_counted(self, folder: Path) -> None:
        engines = loaded(folder, document({"histogram": [[100, 1], [300, 1]]}))[1]
        assert engines.dropped == {
            "lengths not measured on both sides": 1,
            "co-located rows of other lengths (they are not interpolated)": 1,
        }

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(100, 400), st.integers(1, 9)), min_size=1, max_size=8), st.integers(2, 99))
    def test_rounding_is_never_in_favour(self, prompts: list[tuple[int, int]], slow: int) -> None:
        """Latency is never below the exact mean, rate never above."""
        rows = [
            Measured(3, isl, 0, Fraction(isl * slow, 7), Fraction(3000 * 7, isl * slow), None)
            for isl in (100, 170, 400)
        ]
        traffic = independent(histogram((isl, Fraction(weight)) for isl, weight in prompts), constant(2), "")
        (point,) = prefill_points(rows, traffic)
        exact = traffic.isl * slow / 7
        assert exact <= point.latency_ms <= exact * (1 + Fraction(1, 10**8))
        assert 3000 / exact * (1 - Fraction(1, 10**8)) <= point.requests_per_s <= 3000 / exact


class TestInstances:
    """What an instance says of lengths."""

    @pytest.mark.parametrize("isl", [{"histogram": [[100, 7]]}, {"histogram": [[50, 1], [90, 2]], "min_tokens": 100}])
    def test_one_length_is_the_number(self, folder: Path, isl: Any) -> None:
        assert loaded(folder, document(isl)) == loaded(folder, document(100))

    def test_a_trace_of_one_length_is_the_number(self, folder: Path) -> None:
        (folder / "one.csv").write_text("isl,osl,requests\n100,11,3\n", "utf-8")
        made = document(None, None, traffic={"trace": "one.csv", "format": "histogram"})
        assert loaded(folder, made) == loaded(folder, document(100))

    def test_the_order_of_a_histogram_changes_nothing(self, folder: Path) -> None:
        bins = [[100, 1], [300, 2.5], [150, 0.5]]
        assert loaded(folder, document({"histogram": bins})) == loaded(folder, document({"histogram": bins[::-1]}))

    def test_the_scale_of_weights_changes_nothing(self, folder: Path) -> None:
        small = document({"histogram": [[100, 0.1], [300, 0.2]]})
        large = document({"histogram": [[100, 100], [300, 200]]})
        assert loaded(folder, small) == loaded(folder, large)

    def test_throughput_is_rate_times_the_exact_mean(self, folder: Path) -> None:
        """OSL 10 or 12 in shares 1 : 2 are 34/3 tokens; both back ends and both formulations agree."""
        made = document({"histogram": [[100, 1], [300, 1]]}, {"histogram": [[10, 1], [12, 2]]})
        (folder / "instance.json").write_text(json.dumps(made), "utf-8")
        result = solve(folder / "instance.json")
        assert result.status == "optimal"
        assert result.deployment is not None
        flow = result.deployment.flow(result.instance.workloads[0])
        assert result.objective == flow * Fraction(34, 3)
        plain = Options(backend="scip", formulation="piecewise", tiebreak=False)
        assert solve(folder / "instance.json", plain).objective == result.objective
        text = json.dumps(result.as_dict())
        assert verify(result.instance, result.engines, json.loads(text)).ok
        wrong = json.loads(text)
        wrong["totals"]["exact"]["output_tokens_per_s"] = str(flow * 11)
        assert not verify(result.instance, result.engines, wrong).ok
        assert "mean ISL 200, OSL 11.3333; ISL histogram of 2 lengths, OSL histogram of 2 lengths" in report(result)

    def test_end_to_end_takes_the_mean_answer(self, folder: Path) -> None:
        """TTFT 23 ms + (34/3 - 1) x 11.0085.. ms: the limit that is met is met exactly, a little less is not."""
        made = document({"histogram": [[100, 1], [300, 1]]}, {"histogram": [[10, 1], [12, 2]]})
        instance, engines = loaded(folder, made)
        ttft, tpot = min(of(engines, "prefill").latency_ms), min(of(engines, "decode").latency_ms)
        for less, status in ((Fraction(0), "optimal"), (Fraction(1, 10**9), "infeasible")):
            limit = ttft + Fraction(31, 3) * tpot - less
            workload = replace(instance.workloads[0], e2el_ms=limit)
            assert solve(replace(instance, workloads=(workload,)), folder=folder).status == status

    def test_percentiles_come_from_the_source(self, folder: Path) -> None:
        """The 95th of a log-normal exactly; of KV the 90th, as near as the classes are."""
        made = document({"mean": 4500, "std": 3500}, sla={"ttft_percentile": 95})
        made["cost_model"] = {"kind": "roofline", "kv_reservation": "p90"}
        instance = instance_from(json.loads(json.dumps(made), parse_float=Decimal), folder)
        traffic = instance.workloads[0].lengths
        assert traffic.isl_at(Fraction(95, 100)) == log_normal_at(Fraction(4500), Fraction(3500), Fraction(95, 100))
        ninth = log_normal_at(Fraction(4500), Fraction(3500), Fraction(9, 10)) + 11
        assert traffic.total_at(Fraction(9, 10)) == pytest.approx(ninth, rel=0.03)

    def test_engine_options_reach_the_cost_model(self, folder: Path) -> None:
        made = document(
            300,
            prefix_hit_rate=0.25,
            speculative={"draft_tokens": 3, "accepted_tokens": 2.5},
            sla={"ttft_percentile": 99},
        )
        made["cost_model"] = {
            "kind": "roofline",
            "kv_reservation": "mean",
            "pp_efficiency": "measured",
            "expert_imbalance": 1.5,
            "cache_up_projection": True,
        }
        instance = instance_from(json.loads(json.dumps(made), parse_float=Decimal), folder)
        measured = ((2, Fraction("0.88")), (4, Fraction("0.82")), (8, Fraction("0.74")))
        assert instance.workloads[0].options == EngineOptions(
            kv_reservation="mean",
            prefix_hit_rate=Fraction(1, 4),
            draft_tokens=3,
            accepted_tokens=Fraction(5, 2),
            ttft_percentile=Fraction(99, 100),
            pp_efficiency=measured,
            expert_imbalance=Fraction(3, 2),
            cache_up_projection=True,
        )

    def test_a_device_reaches_the_cost_model(self, folder: Path) -> None:
        made = document(300)
        made["cost_model"] = {"kind": "roofline"}
        made["pools"][0]["device"] = corpus.DEVICE
        instance = instance_from(json.loads(json.dumps(made), parse_float=Decimal), folder)
        device = instance.pools[0].device
        assert device is not None
        assert (device.name, device.memory_gib, device.nvlink_domain_gpus, device.fp4_tflops) == ("toy", 96, 8, None)


class TestShortcut:
    """Constant medians in place of a distribution."""

    def test_its_error_is_shown(self, folder: Path) -> None:
        """
        Prompts 100, 200, 400 in shares 2 : 1 : 2: the median is 200. Batch 1 takes 25 ms and not (20 + 25 + 100) / 5:
        16 % more requests/s; at batch 2 no prompt of 200 was measured.
        """
        made = document({"histogram": [[100, 2], [200, 1], [400, 2]]}, lengths="p50")
        made["cost_model"]["interpolate_lengths"] = True
        instance, engines = loaded(folder, made)
        assert (instance.workloads[0].isl, instance.workloads[0].traffic) == (200, None)
        (note,) = [note for note in engines.notes if "constant P50" in note]
        assert note.startswith("chat on pool: constant P50 200/11 in place of ISL histogram of 3 lengths, OSL 11")
        assert "prefill +16.0% requests/s" in note

    def test_it_says_where_the_error_is_not_known(self, folder: Path) -> None:
        made = document({"histogram": [[50, 1], [100, 1], [400, 1]]}, lengths="p50")
        (note,) = [note for note in loaded(folder, made)[1].notes if "P50" in note]
        assert "is not known, the distribution cannot be priced: prompts of 50 to 400 tokens" in note


def curve(role: str, itl_ms: Sequence[int] = ()) -> OperatingCurve:
    """A curve of one GPU with batches 1, 2, 4: TPOT or TTFT 10, 20, 40 ms."""
    rates = (Fraction(10), Fraction(15), Fraction(18))
    return OperatingCurve(
        role=role,  # type: ignore[arg-type]
        system="gpu_a",
        backend="b",
        backend_version="1",
        model="org/model",
        precision="fp8",
        partition=Partition(1, 1, 1, 1, 1, 1),
        domain_gpus=8,
        chunk_tokens=100 if role == "colocated" else 0,
        batch=(1, 2, 4),
        latency_ms=(Fraction(10), Fraction(20), Fraction(40)),
        requests_per_s=rates,
        ttft_ms=(Fraction(50), Fraction(60), Fraction(70)) if role == "colocated" else (),
        interpolate=True,
        itl_ms=tuple(map(Fraction, itl_ms)),
    )


class Curves:
    """A cost model of given curves."""

    name = "given"
    known_error = "none"
    description = "given curves"

    def __init__(self, *curves: OperatingCurve) -> None:
        self.given = curves

    def curves(self, query: object) -> Any:
        """The same for every query."""
        from costmodels.operating_curve import CurveSet

        return CurveSet(self.given, {})


class TestTokenGaps:
    """``itl_ms``: the longest gap between two tokens."""

    @pytest.mark.parametrize(
        ("role", "gaps", "limit", "batches"),
        [
            ("decode", (), 20, [1, 2]),  # the gap of a decode engine is its TPOT where nothing else is known
            ("decode", (15, 25, 45), 25, [1, 2]),
            ("decode", (15, 25, 45), 35, [1, 2, 3]),  # 35 lies half way between 25 and 45: equal is within
            ("decode", (15, 25, 45), 34, [1, 2]),
            ("colocated", (100, 200, 300), 200, [1, 2]),
            ("colocated", (), 10**6, []),  # not known: dropped
            ("prefill", (), 1, [1, 2, 3, 4]),
        ],
    )
    def test_points_above_the_limit_are_dropped(
        self, role: str, gaps: tuple[int, ...], limit: int, batches: list[int]
    ) -> None:
        workload = replace(CHAT, itl_ms=Fraction(limit))
        instance = Instance("gaps", (POOL,), (workload,))
        table = points_of(instance, engines_of(instance, Curves(curve(role, gaps))))
        assert list(table.batch) == batches
        unknown = {"token gap unknown": 4} if role == "colocated" and not gaps else {}
        above = 4 - len(batches) if not unknown else 0
        assert table.dropped == (unknown or ({"token gap above its limit": above} if above else {}))

    def test_the_verifier_checks_it_by_itself(self) -> None:
        free = Instance("gaps", (POOL,), (CHAT,), Serving(modes=("colocated",)))
        result = _solved(free, Curves(curve("colocated", (100, 200, 300))))
        document = result.as_dict()
        batch = document["deployment"]["workloads"][0]["colocated"][0]["batch"]
        gap = curve("colocated", (100, 200, 300)).at(batch).itl_ms
        assert gap is not None
        for limit, ok in ((gap, True), (gap - Fraction(1, 1000), False)):
            limited = replace(free, workloads=(replace(CHAT, itl_ms=limit),))
            found = verify(limited, engines_of(limited, Curves(curve("colocated", (100, 200, 300)))), document)
            assert any("longest token gap" in fault for fault in found.faults) != ok
        unknown = verify(
            replace(free, workloads=(replace(CHAT, itl_ms=gap),)),
            engines_of(free, Curves(curve("colocated"))),
            document,
        )
        assert any("longest token gap not known" in fault for fault in unknown.faults)


def _solved(instance: Instance, model: Curves) -> Any:
    """The result of an instance priced by given curves."""
    from solver.backends.base import Controls
    from solver.backends.cpsat import CpSat
    from solver.clock import Clock
    from solver.columns import Candidates
    from solver.result import Run
    from solver.stages import Stages
    from solver.verdict import judged

    engines = engines_of(instance, model)
    candidates = Candidates(instance, engines, points_of(instance, engines), True)
    staged = Stages(instance, candidates, CpSat(), Clock(Controls())).run(last="canonical", start=None)
    run = Run("cp-sat", "", "points", True, True, {}, 0, 0, {}, 0, 0.0)
    return judged(instance, engines, staged, run, ())


class TestUtilization:
    """``workloads[].utilization`` against ``serving.utilization``."""

    def test_of_the_only_workload_it_is_the_same(self, folder: Path) -> None:
        general, own = document(100, sla={"tpot_ms": 12}), document(100, sla={"tpot_ms": 12})
        general["serving"] = {"utilization": {"prefill": 0.9, "decode": 0.7, "colocated": 0.8}}
        own["serving"] = {"utilization": {"prefill": 0.9, "decode": 0.3}}
        own["workloads"][0]["utilization"] = {"decode": 0.7, "colocated": 0.8}
        values = []
        for index, made in enumerate((general, own)):
            path = folder / f"{index}.json"
            path.write_text(json.dumps(made), "utf-8")
            result = solve(path)
            assert result.status == "optimal"
            reference = Options(backend="scip", formulation="piecewise", tiebreak=False)
            assert solve(path, reference).objective == result.objective
            document_of = result.as_dict()
            assert document_of["deployment"]["workloads"][0]["planned_utilization"]["decode"] == 0.7
            values.append(result.objective)
        assert values[0] == values[1]
        assert "utilization of chat: prefill 0.9, decode 0.7, colocated 0.8" in report(result)


def test_the_report_counts_what_was_dropped(folder: Path) -> None:
    (folder / "i.json").write_text(json.dumps(document({"histogram": [[100, 1], [300, 1]]})), "utf-8")
    done = CliRunner().invoke(cli.main, ["solve", str(folder / "i.json")])
    assert done.exit_code == 0, done.output
    dropped = "1 co-located rows of other lengths (they are not interpolated), 1 lengths not measured on both sides"
    assert f"5 rows considered, 2 dropped: {dropped}" in done.output


def test_tables_without_interpolation_ask_nothing_of_lengths() -> None:
    """The class attribute says what is counted."""
    assert CurveTables.counted == "rows"
    assert Workload("w", "m", 5, 7).lengths == Traffic.constant(5, 7)
