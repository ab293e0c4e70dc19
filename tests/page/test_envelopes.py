"""Envelopes are the exact frontiers of forced modes, and lie as they must to the frontier of the instance."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import instances
from costmodels.errors import InputError
from solver.backends.base import Controls
from solver.frontier import Frontier
from solver.page.envelopes import FORCED, Envelope, envelopes_of, forced
from solver.planner import Options, trace
from solver.read import read_instance
from solver.verifier import verify_frontier
from tests.oracles import enumerate as plain
from tests.oracles.generate import random_case, write_case

SEEDS = range(70_000, 70_020)


def of(name: str, options: Options | None = None) -> tuple[Frontier, dict[str, Envelope]]:
    """The frontier and the envelopes of a built-in instance."""
    path = instances.path(name)
    found = envelopes_of(read_instance(path), options or Options(), path.parent)
    return trace(path), {one.name: one for one in found}


def at(frontier: Frontier | None, user: Fraction) -> Fraction | None:
    """What a frontier offers at an interactivity: the value of its first point that is as fast."""
    points = () if frontier is None else frontier.points
    fast = [p for p in points if p.tokens_per_s_per_user is not None and p.tokens_per_s_per_user >= user]
    return fast[0].value if fast else None


def test_envelopes_of_random_instances_are_those_of_enumeration(tmp_path: Path) -> None:
    compared = dict.fromkeys(FORCED, 0)
    for seed in SEEDS:
        instance, rows = random_case(seed)
        path = write_case(tmp_path / str(seed), instance, rows)
        try:
            read = read_instance(path)
        except InputError:
            continue
        for one in envelopes_of(read, Options(), path.parent):
            modes, hybrid = FORCED[one.name]
            forced_case = {**instance, "serving": {**instance["serving"], "modes": list(modes), "hybrid": hybrid}}
            wanted = plain.frontier(forced_case, rows)
            assert one.frontier is not None
            divisor = read.inventory_gpus if read.objective == "throughput" else 1
            found = [(p.tpot_ms or Fraction(0), p.value / divisor) for p in one.frontier.points]
            assert sorted(found) == sorted(wanted), (seed, one.name)
            assert one.frontier.faults == (), (seed, one.name)
            compared[one.name] += len(wanted)
    assert all(count > 5 for count in compared.values()), compared


@pytest.mark.parametrize("name", ["llama-70b-h200-72", "llama-70b-gb200-36-tight"])
def test_the_frontier_is_the_upper_envelope(name: str) -> None:
    """One workload in one mode: at every interactivity the better of the two; both at once is never worse."""
    own, envelopes = of(name)
    every = [own, *(one.frontier for one in envelopes.values() if one.frontier is not None)]
    users = sorted({p.tokens_per_s_per_user for f in every for p in f.points if p.tokens_per_s_per_user is not None})
    better = 0
    for user in users:
        values = {each: at(one.frontier, user) for each, one in envelopes.items()}
        single = [value for each in ("colocated", "disaggregated") if (value := values[each]) is not None]
        assert at(own, user) == max(single, default=None)
        both = values["hybrid"]
        assert not single or (both is not None and both >= max(single))
        better += bool(single) and both != max(single)
    assert better > 0 or name != "llama-70b-h200-72", "the hybrid envelope is another one"


def test_envelopes_hold_their_modes_and_are_verified() -> None:
    path = instances.path("two-models-b200-64-e2e")
    instance = read_instance(path)
    for one in envelopes_of(instance, Options(), path.parent):
        assert one.frontier is not None
        modes = {p.deployment.mode(w) for p in one.frontier.points for w in instance.workloads}
        assert modes <= {one.name} or one.name == "hybrid"
        check = verify_frontier(forced(instance, one.name), one.frontier.engines, one.frontier.as_dict())
        assert check.faults == ()
        assert one.frontier.points


def test_a_limit_leaves_envelopes_out_and_says_so() -> None:
    _, found = of("llama-70b-h200-72", Options(controls=Controls(time_limit_s=0.0)))
    assert all(one.frontier is None for one in found.values())
    assert all("limit" in one.missing for one in found.values())


def test_co_located_frontiers_with_wide_rates() -> None:
    """Rates of a roofline that do not fit 64 bits, and no prefill beside them: they overflowed once."""
    path = instances.path("llama-70b-h100-64-roofline")
    instance = forced(read_instance(path), "colocated")
    quick = trace(instance, folder=path.parent)
    limits = [1000 / p.tokens_per_s_per_user for p in quick.points[::30] if p.tokens_per_s_per_user is not None]
    slow = trace(instance, Options(incremental=False), folder=path.parent, at=[1000 / limit for limit in limits])
    assert [p.value for p in quick.points[::30]] == [p.value for p in slow.points]
    assert len(quick.points) > 50


def test_whether_the_instance_allows_it() -> None:
    instance = read_instance(instances.path("llama-70b-h200-72"))
    both = replace(instance, serving=replace(instance.serving, hybrid=True))
    folder = instances.path("llama-70b-h200-72").parent
    told = [[one.is_allowed for one in envelopes_of(each, Options(), folder)] for each in (instance, both)]
    assert told == [[True, True, False], [True, True, True]]


def test_what_is_the_same_is_not_traced_again() -> None:
    path = instances.path("llama-70b-h200-72")
    instance = forced(read_instance(path), "hybrid")
    own = trace(instance, folder=path.parent)
    found = {one.name: one for one in envelopes_of(instance, Options(), path.parent, own=own)}
    assert found["hybrid"].frontier is own
    again = {one.name: one.frontier for one in envelopes_of(instance, Options(), path.parent)}
    for name, one in found.items():
        traced = again[name]
        assert one.frontier is not None
        assert traced is not None
        assert [p.value for p in one.frontier.points] == [p.value for p in traced.points]
