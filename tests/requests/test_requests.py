"""Traces with times: formats, repairs, faults by line, scaling, rates, statistics."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import cli
import instances
from costmodels.errors import InputError
from solver.traffic.rates import last_period, periods_of, rates_per_period
from solver.traffic.rates_file import read_rates
from solver.traffic.requests import Requests, read_requests
from solver.traffic.statistics import statistics_of
from solver.traffic.times import seconds_of, seconds_text

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def written(folder: Path, text: str, name: str = "trace.csv") -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    return file


def faults(file: Path, **given: object) -> str:
    with pytest.raises(InputError) as caught:
        read_requests(file, **given)  # type: ignore[arg-type]
    return str(caught.value)


def mooncake(*rows: tuple[int, int, int, list[int]]) -> str:
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    return "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows)


def test_azure(tmp_path: Path) -> None:
    text = f"{AZURE}2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109"
    found = read_requests(written(tmp_path, text))
    assert found.arrival_s.tolist() == [0.0, 4.314579]
    assert (found.isl.tolist(), found.osl.tolist()) == ([374, 396], [44, 109])
    assert (found.start, found.notes, found.blocks) == ("2023-11-16T18:15:46", (), None)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert read_requests(tmp_path / "t.csv.gz").arrival_s.tolist() == [0.0, 4.314579]


def test_mooncake(tmp_path: Path) -> None:
    file = written(tmp_path, mooncake((1000, 600, 3, [1, 2]), (1250, 512, 1, [1])))
    found = read_requests(file)
    assert found.arrival_s.tolist() == [0.0, 0.25]
    assert (found.blocks, found.tokens_per_block, found.start) == (((1, 2), (1,)), 512, None)


def test_burstgpt(tmp_path: Path) -> None:
    newer = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    found = read_requests(
        written(tmp_path, f"{newer}5,a,1.5,ChatGPT,472,18,490,Conversation log\n7.5,,2,GPT-4,9,0,9,API log\n")
    )
    assert (found.isl.tolist(), found.notes) == (
        [472], ("1 failed requests (no response tokens) left out, the first in line 3",),
    )  # fmt: skip
    found = read_requests(written(tmp_path, f"{BURST}5,ChatGPT,472,18,490,log\n7.5,GPT-4,9,1,10,log\n"))
    assert found.arrival_s.tolist() == [0.0, 2.5]


def test_what_is_certain_is_repaired_and_said(tmp_path: Path) -> None:
    rows = [
        "2024-05-10 12:00:00+00:00,1,1",
        "2024-05-10 14:00:05+02:00,2,2",  # 12:00:05
        "2024-05-10T12:00:03.5Z,3,3",
        "2024-05-10 12:00:05+00:00,4,4",
    ]
    found = read_requests(written(tmp_path, AZURE + "\n".join(rows) + "\n\n"))
    assert found.arrival_s.tolist() == [0.0, 3.5, 5.0, 5.0]
    assert found.isl.tolist() == [1, 3, 2, 4]
    assert found.start == "2024-05-10T12:00:00Z"
    assert found.notes == (
        "2 offsets from UTC converted to it: +00:00 (first in line 2), +02:00 (first in line 3)",
        "1 times before that of the line above sorted, the first in line 4, by up to 1.5 s",
        "1 times equal to the one before kept, the first in line 5",
    )


def test_gaps_are_named(tmp_path: Path) -> None:
    seconds = [*range(100), *range(1000, 1100)]
    text = BURST + "".join(f"{second},GPT-4,10,10,20,log\n" for second in seconds)
    assert read_requests(written(tmp_path, text)).notes == (
        "1 gaps without requests kept, the longest of 901 s before line 102",
    )


GOOD = "2023-11-16 18:15:46,10,10\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "trace.csv:1: the file is empty"),
        (AZURE, "holds no request"),
        ("a,b\n1,2\n", "no known trace: the first line is 'a,b'"),
        ("isl,osl,requests\n1,2,3\n", "lengths without times of arrival"),
        ("start_s,requests_per_s\n0,2\n", "rates per period"),
        (f"{AZURE}{GOOD}2023-11-16 18:15:4x,1,1\n", "trace.csv:3 TIMESTAMP: got '2023-11-16 18:15:4x'"),
        (f"{AZURE}{GOOD}2023-02-30 18:15:40,1,1\n", "trace.csv:3 TIMESTAMP"),
        (f"{AZURE}{GOOD}2023-11-16 18:15:47,0,5\n", "trace.csv:3 ContextTokens: got '0', must be a whole"),
        (f"{AZURE}{GOOD}2023-11-16 18:15:47,5,0\n", "trace.csv:3 GeneratedTokens: got '0'"),
        (f"{AZURE}{GOOD}2023-11-16 18:15:47,5", "trace.csv:3: 2 cells where the header has 3; the file ends within"),
        (f"{AZURE}{GOOD}2023-11-16 18:15:47+00:00,5,5\n", "TIMESTAMP: has an offset from UTC, line 2 has none"),
        (f"{AZURE}2023-10-29 02:59:59,1,1\n2023-10-29 02:00:01,1,1\n", "trace.csv:3 TIMESTAMP: goes back by an hour"),
        (f"{BURST}5,GPT-4,0,7,7,log\n", "trace.csv:2 Request tokens: got '0' with an answer"),
        (f"{BURST}-5,GPT-4,3,7,7,log\n", "trace.csv:2 Timestamp: got '-5', must be a number of seconds"),
        (BURST.replace("Model", "Modell") + "5,GPT-4,3,7,7,log\n", "no known trace"),
        (mooncake((0, 513, 1, [1, 2, 3])), "trace.csv:1 hash_ids: 3 blocks of 512 tokens are more than 513"),
        (mooncake((0, 5, 1, [1]))[:-1] + '\n{"timestamp": 7, "inp', "trace.csv:2: not JSON"),
        ('{"timestamp": 7, "inp', "the file ends within this line"),
        ('{"input_length": 7, "output_length": 8}\n', "trace.csv:1 timestamp: is missing"),
        ('{"timestamp": "x", "input_length": 7, "output_length": 8}\n', "trace.csv:1 timestamp: got 'x'"),
        ('{"timestamp": 1, "input_length": 7, "output_length": 8, "hash_ids": [1.5]}\n', "1 hash_ids: got [\"1.5\"]"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_a_fault_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    assert words in faults(written(tmp_path, text))


def test_many_faults_are_counted_and_cut_gzip_is_told(tmp_path: Path) -> None:
    told = faults(written(tmp_path, AZURE + "2023-11-16 18:15:47,0,5\n" * 30)).splitlines()
    assert len(told) == 21
    assert told[-1].endswith("and 10 more faults of this kind")
    packed = gzip.compress((AZURE + GOOD * 1000).encode())
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    assert "broken gzip file" in faults(tmp_path / "cut.csv.gz")
    (tmp_path / "lie.csv.gz").write_text(AZURE, "utf-8")
    assert "named .gz but not a gzip file" in faults(tmp_path / "lie.csv.gz")
    file = written(tmp_path, AZURE + GOOD)
    assert "got the header" in faults(file, form="burstgpt")
    assert "--rate-scale" in faults(file, rate_scale=Fraction(0), time_scale=Fraction(-1))


def numbers(count: int) -> Requests:
    rng = np.random.default_rng(3)
    arrival = np.cumsum(rng.exponential(2.0, count))
    marks = np.arange(1, count + 1)
    return Requests("numbers", arrival - arrival[0], marks, marks, tuple((int(i),) for i in marks), 512)


@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(1), Fraction(2), Fraction(7, 2), Fraction(1, 1000)])
def test_rate_scale_is_exact_in_count_and_every_request_comes_as_often(tmp_path: Path, scale: Fraction) -> None:
    from solver.traffic.scale import scaled

    whole = numbers(1000)
    found, again = scaled(whole, scale, Fraction(1), 5), scaled(whole, scale, Fraction(1), 5)
    assert len(found) == round(scale * 1000)
    assert found.arrival_s.tolist() == again.arrival_s.tolist()
    assert (np.diff(found.arrival_s) >= 0).all()
    assert found.arrival_s[0] == 0
    assert found.duration_s <= whole.duration_s * 1.01
    times = Counter(found.isl.tolist())
    least = int(scale)
    assert all(times[i] in (least, least + 1) for i in range(1, 1001))
    other = scaled(whole, scale, Fraction(1), 6)
    assert (found.isl.tolist() != other.isl.tolist()) is (scale != 1)
    assert found.blocks is not None
    prefixes = Counter(found.blocks)
    assert max(prefixes.values()) == 1  # a copy stands for other users: no request finds its own double in the cache


def test_time_scale_moves_times_alone() -> None:
    from solver.traffic.scale import scaled

    whole = numbers(10)
    assert scaled(whole, Fraction(1), Fraction(1, 2)).arrival_s.tolist() == (whole.arrival_s / 2).tolist()


def at(*seconds: float) -> Requests:
    ones = np.ones(len(seconds), dtype=np.int64)
    return Requests("at", np.array(seconds), ones, ones)


def test_rates_are_exact_counts_and_the_last_period_is_said() -> None:
    requests = at(0, 1, 9.999, 10, 10.5, 18)
    assert periods_of(requests, Fraction(10)) == ((3, 3), Fraction(8, 10))
    assert rates_per_period(requests, Fraction(10)) == (Fraction(3, 10), Fraction(2, 8))
    assert "covers 80% of period 2, 3 requests: its rate is that of the covered part" in last_period(
        requests, Fraction(10)
    )
    short = at(0, 1, 9.999, 10, 12)
    assert rates_per_period(short, Fraction(10)) == (Fraction(3, 10),)
    assert "left out" in last_period(short, Fraction(10))
    third = Fraction(1, 3)
    borders = at(0.0, 1 / 3, float(np.nextafter(1 / 3, 1)), 0.9)  # the double 1/3 is below a third
    assert periods_of(borders, third)[0] == (2, 1, 1)
    with pytest.raises(InputError, match="at most 100000"):
        periods_of(at(0, 10**6), Fraction(1))
    assert rates_per_period(at(0.0), Fraction(10)) == (Fraction(1, 10),)


def test_rates_from_a_file(tmp_path: Path) -> None:
    text = "start_s,requests_per_s\n0,1.5\n60,0\n120,3\n"
    found = read_rates(written(tmp_path, text), rate_scale=Fraction(2), time_scale=Fraction(1, 2))
    assert (found.period_s, found.requests_per_s) == (Fraction(30), ((Fraction(3), Fraction(0), Fraction(6)),))
    text = "time,requests_per_s,workload\n2024-05-10T00:05:00Z,4,a\n2024-05-10T00:00:00Z,1,a\n"
    text += "2024-05-10T02:00:00+02:00,2,b\n2024-05-10T00:05:00Z,3,b\n"
    found = read_rates(written(tmp_path, text))
    assert (found.workloads, found.start, found.period_s) == (("a", "b"), "2024-05-10T00:00:00Z", 300)
    assert found.requests_per_s == ((1, 4), (2, 3))
    assert found.notes == ("1 periods before the one above sorted, the first in line 3",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("start,requests\n0,1\n", "got the header start,requests"),
        ("start_s,requests_per_s\n0,1\n", "holds 1 periods, must be 2"),
        ("start_s,requests_per_s\n0,1\n60,-1\n", "trace.csv:3 requests_per_s: got '-1'"),
        ("start_s,requests_per_s\n0,1\n60,1e3\n", "trace.csv:3 requests_per_s"),
        ("start_s,requests_per_s\n0,1\n60,1\n60,1\n", "trace.csv:4 start_s: this period is given twice"),
        ("start_s,requests_per_s\n0,1\n60,1\n180,1\n", "trace.csv:4: 1 periods are missing before this one"),
        ("start_s,requests_per_s\n0,1\n60,1\n150,1\n", "trace.csv:4: starts 90 s after the one before, others 60 s"),
        ("time,requests_per_s\n2024-05-10 00:00,1\n2024-05-10 00:05Z,1\n", "has an offset from UTC, line 2 has none"),
        ("start_s,requests_per_s,workload\n0,1,a\n60,1,a\n0,1,b\n", "workload b has no rate for 1 periods"),
    ],
)
def test_wrong_rates(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_rates(written(tmp_path, text))
    assert words in str(caught.value)


def test_statistics_of_known_streams() -> None:
    clock = at(*range(1000))
    found = statistics_of(clock, Fraction(60))
    assert (found.gaps_scv, found.dispersion[10], found.requests_per_s, found.peak_to_mean) == (0, 0, 1, 1)
    rng = np.random.default_rng(1)
    poisson = np.cumsum(rng.exponential(1.0, 50_000))
    ones = np.ones(50_000, dtype=np.int64)
    found = statistics_of(Requests("p", poisson - poisson[0], ones, ones), Fraction(60))
    assert found.gaps_scv == pytest.approx(1, abs=4 * (8 / 50_000) ** 0.5)  # sd of the SCV of n exponentials: sqrt(8/n)
    assert found.dispersion[10] == pytest.approx(1, abs=4 * (2 / 5000) ** 0.5)
    pairs = Requests("b", np.repeat(np.arange(500.0), 2), *(np.ones(1000, dtype=np.int64),) * 2)
    assert statistics_of(pairs, Fraction(60)).dispersion[1] == 0
    rare = at(*range(0, 10**6, 1000))  # more seconds than a trace may have periods
    assert statistics_of(rare, Fraction(10**5)).dispersion[1] == pytest.approx(0.999, abs=1e-4)
    lengths = Requests("l", np.arange(4.0), np.array([1, 2, 3, 10]), np.array([1, 1, 1, 1]))
    isl = statistics_of(lengths, Fraction(1)).isl
    assert (isl.mean, isl.p50, isl.p90, isl.most) == (4, 2, 10, 10)
    assert isl.sd == pytest.approx(np.std([1, 2, 3, 10]))


def test_prefixes_count_leading_blocks_only() -> None:
    ids = ((1, 2, 3), (1, 2, 4), (2, 3), (1, 9, 3), (1, 2, 3))
    isl = np.array([1536, 1500, 1000, 1536, 1100])
    found = statistics_of(Requests("x", np.arange(5.0), isl, isl, ids, 512), Fraction(1)).prefixes
    assert found is not None
    # nothing; blocks 1 and 2; nothing (2 comes first, so it is another block); block 1; all, of 1100 tokens
    assert (found.found, found.tokens, found.different) == (1024 + 512 + 1100, int(isl.sum()), 5)


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def test_the_command_and_the_built_in_traces(tmp_path: Path) -> None:
    assert instances.traces() == ["azure-code-2023", "azure-conversation-2023", "mooncake-synthetic"]
    means = {
        "azure-code-2023": (18059974 / 8819, 245896 / 8819),
        "azure-conversation-2023": (22361870 / 19366, 4088665 / 19366),
    }
    for name, (isl, osl) in means.items():
        done = command("trace", name, "-o", tmp_path / "s.json", "--period", "5m")
        assert done.exit_code == 0, done.output
        document = json.loads((tmp_path / "s.json").read_text("utf-8"))
        assert (document["isl"]["mean"], document["osl"]["mean"]) == (pytest.approx(isl), pytest.approx(osl))
    done = command("trace", "mooncake-synthetic", "--plot", tmp_path / "p.png", "--rate-scale", "2")
    assert (done.exit_code, "prefixes: 15.6%" in done.output) == (0, True)
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    for arguments, words in (
        (["no-such"], "neither a file nor a built-in trace"),
        (["azure-code-2023", "--period", "0m"], "must be a time above 0"),
        (["azure-code-2023", "--rate-scale", "x"], "--rate-scale: got 'x'"),
        (["azure-code-2023", "-o", str(tmp_path / "no" / "x.json")], "does not exist"),
        (["azure-code-2023", "--form", "mooncake"], "not JSON"),
    ):
        done = command("trace", *arguments)
        assert (done.exit_code, words in done.output) == (2, True), done.output


def test_lengths_of_time() -> None:
    assert [seconds_of(text) for text in ("90", "90s", "5m", "1.5h", "1d")] == [90, 90, 300, 5400, 86400]
    assert [seconds_text(seconds) for seconds in (90, 300, 7200)] == ["90 s", "5 min", "2 h"]
