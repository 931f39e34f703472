"""Estimates: the bounds hold as often as they say, counts add up over processes, money is rounded once per kind of token."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fw_policies.estimate import Observation, OutcomeSeen, Statistics, charge, intervals, quantise
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.intervals import (
    beta_cdf,
    beta_quantile,
    bounded_mean,
    lower_share,
    needed,
    proven,
    t_quantile,
    upper_share,
)
from fw_policies.model import NANO_USD, Facts, MachinePrice, Target, TokenPrice


@dataclass(frozen=True, slots=True)
class Counts:
    """Usage as a provider reports it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


@pytest.mark.parametrize(
    ("x", "a", "b", "value"),
    [
        (0.5, 2, 3, 0.6875),
        (0.1, 1, 1, 0.1),
        (0.3, 1, 5, 1 - 0.7**5),
        (0.3, 5, 1, 0.3**5),
        (0.5, 0.5, 0.5, 0.5),
        (0.5, 5e3, 5e3, 0.5),
        (0.5, 5e5, 5e5, 0.5),
    ],
)
def test_the_incomplete_beta_function_has_its_known_values(x: float, a: float, b: float, value: float) -> None:
    """Closed forms for small integers, symmetry for large counts."""
    assert beta_cdf(x, a, b) == pytest.approx(value, abs=1e-7)


@settings(deadline=None)
@given(p=st.floats(0.001, 0.999), a=st.floats(0.5, 500), b=st.floats(0.5, 500))
def test_the_beta_quantile_inverts_the_distribution(p: float, a: float, b: float) -> None:
    """To the precision of the search."""
    assert beta_cdf(beta_quantile(p, a, b), a, b) == pytest.approx(p, abs=1e-6)


def test_clopper_and_pearson_give_the_textbook_values() -> None:
    """No success in n: 1 - alpha^(1/n); 1 of 10 at 97.5 % a side: 0.25 % to 44.5 %."""
    assert upper_share(0, 45, 0.90) == pytest.approx(1 - 0.1 ** (1 / 45))
    assert upper_share(1, 10, 0.975) == pytest.approx(0.4450161, abs=1e-6)
    assert lower_share(1, 10, 0.975) == pytest.approx(0.0025286, abs=1e-6)
    assert (upper_share(0, 0, 0.9), lower_share(0, 0, 0.9)) == (1.0, 0.0)


def test_fifty_six_clean_calls_prove_a_95th_percentile_at_90_per_cent_and_fifty_five_do_not() -> None:
    """79/(79 + n) ÷ 0.95^n >= 10 from n = 56 on; a single look would have needed 45, and each miss costs some 45 calls more."""
    assert needed(0.05, 0.90) == 56
    assert proven(0, 56, 0.05, 0.90)
    assert not proven(0, 55, 0.05, 0.90)
    assert proven(1, 106, 0.05, 0.90)
    assert not proven(1, 105, 0.05, 0.90)
    assert not proven(30, 40, 0.05, 0.90), "far more than allowed is no proof of less"
    assert not proven(0, 0, 0.05, 0.90)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.025, 0.01])
def test_what_is_needed_is_the_least_that_proves(share: float) -> None:
    least = needed(share, 0.95)
    assert proven(0, least, share, 0.95)
    assert not proven(0, least - 1, share, 0.95)


def test_looking_after_every_call_proves_what_is_not_true_no_oftener_than_promised() -> None:
    """6 % are late where 5 % may be; 1,000 calls, a look after each."""
    wrong = 0
    for seed in range(200):
        dice, late = random.Random(seed), 0
        for number in range(1, 1001):
            late += dice.random() < 0.06
            if proven(late, number, 0.05, 0.90):
                wrong += 1
                break
    assert wrong <= 200 - held(200, 0.90)


def test_students_t_has_its_tabled_quantiles() -> None:
    """95 % and 97.5 % points."""
    assert t_quantile(0.95, 1) == pytest.approx(6.3138, abs=1e-3)
    assert t_quantile(0.975, 10) == pytest.approx(2.2281, abs=1e-4)
    assert t_quantile(0.025, 10) == -t_quantile(0.975, 10)
    assert t_quantile(0.975, 400) == pytest.approx(1.9659, abs=1e-4)
    assert t_quantile(0.025, 401) == -t_quantile(0.975, 401) == pytest.approx(-1.95996, abs=1e-5)


def test_quantiles_of_more_and_more_calls_take_no_more_memory() -> None:
    """Those of many degrees of freedom are remembered as one."""
    t_quantile(0.9375, 500)
    before = intervals._t_quantile.cache_info().currsize
    for degrees in range(501, 600):
        t_quantile(0.9375, degrees)
    assert intervals._t_quantile.cache_info().currsize == before


@pytest.mark.parametrize("calls", [100_000, 1_000_000, 20_000_000])
def test_a_bound_stays_a_bound_for_very_many_calls(calls: int) -> None:
    """Above the share that was seen, and close to it."""
    share = calls // 20 / calls
    assert share < upper_share(calls // 20, calls, 0.9) < share * 1.05
    assert share > lower_share(calls // 20, calls, 0.9) > share * 0.95


def held(trials: int, confidence: float) -> int:
    """The fewest of `trials` intervals that may hold before three standard errors are exceeded."""
    return math.floor(trials * confidence - 3 * math.sqrt(trials * confidence * (1 - confidence)))


@pytest.mark.parametrize(("share", "calls"), [(0.05, 60), (0.5, 20), (0.9, 200)])
def test_intervals_of_a_share_hold_as_often_as_they_say(share: float, calls: int) -> None:
    """Simulated success counts at 90 %."""
    dice, inside = random.Random(7), 0
    for _ in range(600):
        total = float(sum(dice.random() < share for _ in range(calls)))
        low, high = bounded_mean(calls, total, total, 0.90)
        inside += low <= share <= high
    assert inside >= held(600, 0.90)


def test_intervals_of_a_graded_outcome_hold_as_often_as_they_say() -> None:
    """Beta(2, 1) values, whose mean is 2/3: they hold, and are narrower than those of as many successes and failures."""
    dice, inside, width = random.Random(8), 0, 0.0
    for _ in range(400):
        values = [dice.betavariate(2, 1) for _ in range(80)]
        low, high = bounded_mean(80, sum(values), sum(v * v for v in values), 0.90)
        inside += low <= 2 / 3 <= high
        width += (high - low) / 400
    assert inside >= held(400, 0.90)
    exact = bounded_mean(80, 53.0, 53.0, 0.90)
    assert width < 0.65 * (exact[1] - exact[0])


SHAPES: dict[str, tuple[Callable[[random.Random], float], float]] = {
    "log-normal": (lambda dice: dice.lognormvariate(0, 0.7), math.exp(0.245)),
    "gamma": (lambda dice: dice.gammavariate(0.8, 2.0), 1.6),
    "two peaks": (
        lambda dice: dice.lognormvariate(1.8 if dice.random() < 0.1 else 0, 0.3),
        (0.9 + 0.1 * math.exp(1.8)) * math.exp(0.045),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_of_a_skewed_mean_hold_nearly_as_often_as_they_say(shape: str) -> None:
    """Whatever the family; the method is an approximation, and two points are allowed to it."""
    draw, truth = SHAPES[shape]
    dice, inside = random.Random(9), 0
    for _ in range(400):
        histogram = Histogram()
        for _ in range(60):
            histogram.add(draw(dice))
        found = histogram.estimate(0.90)
        assert found is not None
        inside += found.low <= truth <= found.high
    assert inside >= held(400, 0.88)


def test_a_proven_percentile_is_too_low_no_more_often_than_it_says() -> None:
    """The true 95th percentile of an exponential is ln 20; the bound is at 90 %."""
    dice, inside = random.Random(10), 0
    for _ in range(300):
        histogram = Histogram()
        for _ in range(120):
            histogram.add(dice.expovariate(1.0))
        bound = histogram.percentile(0.95, 0.90)
        inside += bound is None or bound >= math.log(20)
    assert inside >= held(300, 0.90)


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60), st.floats(1e-6, 1e6))
def test_a_histogram_never_counts_fewer_above_a_limit_than_there_are(values: list[float], limit: float) -> None:
    """Whole buckets count: the mistake is on the safe side, and less than one bucket wide."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    truth = sum(value > limit * (1 + 1e-9) for value in values)
    assert truth <= histogram.above(limit) <= sum(value >= limit * 2 ** (-1 / 8) * (1 - 1e-9) for value in values)


def test_a_failure_counts_as_longer_than_any_limit() -> None:
    """Six failures in a hundred calls: no limit on the 95th percentile is met."""
    histogram = Histogram()
    for _ in range(94):
        histogram.add(0.1)
    for _ in range(6):
        histogram.censor()
    assert histogram.above(1e8) == 6
    assert histogram.percentile(0.95, 0.90) is None


SEEN = st.builds(
    Observation,
    agent=st.just("a"),
    step=st.sampled_from(["x", "y"]),
    model=st.just("m"),
    deployment=st.sampled_from(["m@a", "m@b"]),
    ok=st.booleans(),
    ttft=st.none() | st.floats(0.001, 10),
    latency=st.none() | st.floats(0.001, 10),
    output_tokens=st.none() | st.integers(0, 10_000),
    machine_seconds=st.none() | st.floats(0, 10),
)
FACTS = Facts("a", "x", input_tokens=100)
TARGETS = [Target("m", f"m@{place}", "p", "m", TokenPrice(10**9, 2 * 10**9)) for place in "ab"]


def taught(seen: list[Observation], values: list[float]) -> Statistics:
    """Statistics that saw these."""
    out = Statistics()
    for one in seen:
        out.observe(one)
    for value in values:
        out.outcome(OutcomeSeen("a", "x", "m", "ok", value))
    return out


@settings(deadline=None)
@given(st.lists(SEEN, max_size=20), st.lists(SEEN, max_size=20), st.lists(st.sampled_from([0.0, 1.0]), max_size=9))
def test_merging_two_processes_knows_what_one_that_saw_everything_knows(
    one: list[Observation], two: list[Observation], values: list[float]
) -> None:
    """And so does what comes back from the disk."""
    merged = taught(one, values[::2])
    merged.merge(taught(two, values[1::2]))
    read = Statistics.from_dict(json.loads(json.dumps(merged.to_dict())))
    whole = taught([*one, *two], [*values[::2], *values[1::2]]).freeze()
    for target in TARGETS:
        expected = whole.outlook(FACTS, target, outcome="ok")
        for found in (
            merged.freeze().outlook(FACTS, target, outcome="ok"),
            read.freeze().outlook(FACTS, target, outcome="ok"),
        ):
            assert found.quality == expected.quality
            for measure in ("ttft", "latency", "cost"):
                mine, theirs = getattr(found, measure), getattr(expected, measure)
                assert (mine is None) == (theirs is None)
                if mine is not None:
                    assert (mine.mean, mine.p95, mine.n) == pytest.approx((theirs.mean, theirs.p95, theirs.n))


def test_what_is_frozen_does_not_change_when_more_is_seen() -> None:
    """A decision and its explanation look at the same numbers."""
    statistics = taught([Observation("a", "x", "m", "m@a", ok=True, ttft=1.0)], [])
    frozen = statistics.freeze()
    statistics.observe(Observation("a", "x", "m", "m@a", ok=True, ttft=9.0))
    found, later = frozen.outlook(FACTS, TARGETS[0]).ttft, statistics.freeze().outlook(FACTS, TARGETS[0]).ttft
    assert found is not None
    assert later is not None
    assert (found.n, later.n) == (1, 2)


def test_a_quantity_that_was_never_seen_has_no_estimate() -> None:
    """Not zero: none."""
    found = Statistics().freeze().outlook(FACTS, TARGETS[0], outcome="ok")
    assert (found.quality, found.ttft, found.latency, found.cost) == (None, None, None, None)


@settings(deadline=None)
@given(st.integers(1, 10**9))
def test_a_size_is_rounded_up_by_less_than_an_eighth_of_an_octave(tokens: int) -> None:
    """And a larger size never gets a smaller one."""
    found = quantise(tokens)
    assert tokens <= found <= tokens * 2 ** (1 / 8) + 1
    assert quantise(tokens + 1) >= found


def test_each_kind_of_token_is_rounded_half_up_once() -> None:
    """Half a nano-dollar is one; input includes what was cached and written."""
    price = TokenPrice(input=500_000, output=500_000, cached_input=100_000, cache_write=1_000_000)
    assert charge(price, Counts(input_tokens=1, output_tokens=1)) == 2
    assert charge(price, Counts(100, 10, 60, 20)) == 10 + 6 + 20 + 5
    assert charge(TokenPrice(10**9, 0), Counts(3)) == 3000, "a price of zero needs no count"


def test_what_is_not_known_costs_an_unknown_amount_and_never_nothing() -> None:
    """No price, no usage, no output count, no machine time."""
    price = TokenPrice(1, 1)
    assert charge(None, Counts(1, 1)) is None
    assert charge(price, None) is None
    assert charge(price, Counts(1, None)) is None
    assert charge(price, Counts(None, 1)) is None
    assert charge(MachinePrice(NANO_USD), Counts(1, 1)) is None
    assert charge(MachinePrice(36 * NANO_USD), None, machine_seconds=100) == NANO_USD


@settings(deadline=None)
@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(1, 10**12))
def test_money_scales_with_the_price(incoming: int, outgoing: int, price: int) -> None:
    """A thousand times the price is a thousand times the cost, but for the last rounding."""
    one = charge(TokenPrice(price, price), Counts(incoming, outgoing))
    thousand = charge(TokenPrice(price * 1000, price * 1000), Counts(incoming, outgoing))
    assert one is not None
    assert thousand is not None
    assert abs(thousand - 1000 * one) <= 1000


def test_the_size_of_a_request_is_corrected_by_what_was_billed() -> None:
    """Twice the tokens that were guessed cost twice as much; one odd call in two hundred does not price all others."""
    statistics, facts = Statistics(), Facts("a", "x", input_tokens=1000)
    priced = Target("m", "m@here", "openai", "m", price=TokenPrice(NANO_USD, 0))
    guessed = statistics.freeze().cost_percentile(facts, priced, 0.95, 0.90)
    assert guessed is None
    for number in range(200):
        billed = 90_000 if number == 70 else 2000
        one = Observation("a", "x", "m", "m@here", True, input_tokens=billed, output_tokens=1, expected_tokens=1000)
        statistics.observe(one)
    found = statistics.freeze()
    outlook = found.outlook(facts, priced)
    assert outlook.cost is not None
    assert outlook.cost.mean == pytest.approx((199 * 2000 + 90_000) / 200 * NANO_USD / 1e6, rel=0.1)
    proven = found.cost_percentile(facts, priced, 0.95, 0.90)
    assert proven is not None
    assert 1.0 <= proven / outlook.cost.mean < 1.1


def test_small_requests_are_further_from_their_guess_than_large_ones() -> None:
    """300 tokens of a template are much beside 20 and nothing beside 10,000: each size has its own factor."""
    statistics = Statistics()
    priced = Target("m", "m@here", "openai", "m", price=TokenPrice(NANO_USD, 0))
    for number in range(400):
        guess = 20 if number % 2 else 10_000
        statistics.observe(
            Observation("a", "x", "m", "m@here", True, input_tokens=guess + 300, output_tokens=1, expected_tokens=guess)
        )
    found = statistics.freeze()
    for guess in (20, 10_000):
        facts = Facts("a", "x", input_tokens=guess)
        cost, true = found.outlook(facts, priced).cost, (guess + 300) * NANO_USD / 1e6
        assert cost is not None
        assert cost.mean == pytest.approx(true, rel=1e-3)
        proven = found.cost_percentile(facts, priced, 0.95, 0.90)
        assert proven is not None
        assert true <= proven < 1.1 * true
    again = Statistics.from_dict(statistics.to_dict()).freeze()
    assert again.outlook(facts, priced).cost == found.outlook(facts, priced).cost
