"""Time per output token: recorded of streamed answers, estimated, required and explained."""

import pytest

from fw_policies import explain
from fw_policies.estimate import Observation, Statistics
from fw_policies.explaining.numbers import pace
from fw_policies.optimize import optimize
from tests.policies.worlds import FACTS, policy, seen, target, world

BASE, QUICK, SLOW = target("base", dollars=10), target("quick", dollars=1), target("slow", dollars=0.1)
ASKED = policy("p95 tpot <= 20ms")


def known() -> Statistics:
    """`quick` takes 0.01 s a token, `slow`, which is cheaper, 0.05 s; what `base` takes is not known."""
    found = Statistics()
    seen(found, "quick", ttft=0.5, latency=2.5, output_tokens=201)
    seen(found, "slow", ttft=0.5, latency=10.5, output_tokens=201)
    return found


@pytest.mark.parametrize(
    ("ttft", "latency", "tokens", "value"),
    [
        (0.5, 2.5, 201, 0.01),
        (0.5, 2.5, 1, 2.0),
        (0.5, 0.4, 10, 0.0),
        (None, 2.5, 201, None),
        (0.5, None, 201, None),
        (0.5, 2.5, None, None),
    ],
)
def test_the_time_per_token_is_that_after_the_first_and_unknown_without_a_part(
    ttft: float | None, latency: float | None, tokens: int | None, value: float | None
) -> None:
    one = Observation("a", "x", "m", "m@a", ok=True, ttft=ttft, latency=latency, output_tokens=tokens)
    assert one.tpot == (None if value is None else pytest.approx(value))


def test_it_is_estimated_with_an_interval_and_a_proven_percentile() -> None:
    found = known().freeze().outlook(FACTS, QUICK).tpot
    assert found is not None
    assert found.mean == pytest.approx(0.01)
    assert found.p95 is not None
    assert found.low <= found.mean <= found.high
    assert found.p95 == pytest.approx(0.01, rel=0.1)
    assert Statistics().freeze().outlook(FACTS, QUICK).tpot is None


def test_what_writes_quickly_enough_serves_and_what_is_cheaper_and_slower_does_not() -> None:
    found = optimize(ASKED, FACTS, world([BASE, QUICK, SLOW], known()))
    assert [one.model for one in found.targets][:1] == ["quick"]
    out = {one.target.model: (one.excluded, one.why) for one in found.candidates}
    assert out["slow"] == ("latency", "tpot > 0.02 s in 60 of 60 calls")
    assert out["base"][0] == "unknown"


def test_a_failed_call_counts_against_it() -> None:
    statistics = known()
    for _ in range(6):
        statistics.observe(Observation("coding", "edit", "quick", "quick@here", ok=False))
    assert optimize(ASKED, FACTS, world([BASE, QUICK], statistics)).targets[0].model == "base"


def test_it_survives_the_disk_and_adds_up() -> None:
    again = Statistics.from_dict(known().to_dict())
    again.merge(known())
    found = again.freeze().outlook(FACTS, QUICK).tpot
    assert found is not None
    assert found.n == 120


def test_explain_prints_it_where_it_is_asked_for_and_only_there() -> None:
    here = world([BASE, QUICK, SLOW], known())
    text = explain.text(explain.mapping(optimize(ASKED, FACTS, here), decision_id="d"))
    assert "tpot" in next(line for line in text.splitlines() if "10 ms" in line)
    assert "≤ 20 ms" in text
    other = explain.text(explain.mapping(optimize(policy("p95 ttft <= 2s"), FACTS, here), decision_id="d"))
    assert "tpot" not in other


def test_paces_are_printed_finely() -> None:
    assert [pace(value) for value in (0.00042, 0.0084, 0.25, None)] == ["0.42 ms", "8.4 ms", "250 ms", "unknown"]
