"""Estimates: known values, coverage by simulation, and sums that do not depend on who counted."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_policies.estimate import Observation, Statistics, charge, quantise
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.intervals import (
    beta_cdf,
    lower_share,
    needed,
    t_quantile,
    upper_share,
)
from fw_policies.model import MachinePrice, TokenPrice


def test_bounds_equal_known_values() -> None:
    """Closed forms: I_x(1,1) = x, I_x(2,2) = 3x² − 2x³; bounds of 0 and n successes; tables of Student's t."""
    assert beta_cdf(0.3, 1, 1) == pytest.approx(0.3, abs=1e-12)
    assert beta_cdf(0.3, 2, 2) == pytest.approx(3 * 0.09 - 2 * 0.027, abs=1e-12)
    assert upper_share(0, 10, 0.95) == pytest.approx(1 - 0.05**0.1, abs=1e-9)
    assert lower_share(10, 10, 0.95) == pytest.approx(0.05**0.1, abs=1e-9)
    assert upper_share(5, 10, 0.975) == pytest.approx(0.8129, abs=1e-4)
    assert t_quantile(0.975, 10) == pytest.approx(2.2281, abs=1e-4)
    assert (needed(0.05, 0.90), needed(0.05, 0.95)) == (45, 59)


def test_a_failure_is_slower_than_any_limit() -> None:
    """Failures are censored: they count against every promise."""
    histogram = Histogram()
    for _ in range(45):
        histogram.add(1.0)
    assert histogram.proves(2.0, 0.05, 0.90)
    histogram.censor()
    assert not histogram.proves(1e6, 0.05, 0.90)


SEEN = st.lists(
    st.builds(
        Observation,
        agent=st.just("a"),
        step=st.sampled_from("xy"),
        model=st.just("m"),
        deployment=st.sampled_from(["m@1", "m@2"]),
        ok=st.booleans(),
        ttft=st.floats(0.01, 9),
        latency=st.floats(0.01, 90),
        output_tokens=st.integers(0, 5000),
    ),
    max_size=30,
)


@given(one=SEEN, two=SEEN)
def test_statistics_added_up_are_those_of_who_saw_all(one: list[Observation], two: list[Observation]) -> None:
    """Merging equals observing everything, and the disk forgets nothing."""
    a, b, both = Statistics(), Statistics(), Statistics()
    for item in one:
        a.observe(item)
        both.observe(item)
    for item in two:
        b.observe(item)
        both.observe(item)
    a.merge(Statistics.from_dict(json.loads(json.dumps(b.to_dict()))))
    left, right = a.to_dict(), both.to_dict()
    for kind in ("ttft", "latency", "tokens"):
        assert left[kind].keys() == right[kind].keys()
        for key, found in left[kind].items():
            assert found["counts"] == right[kind][key]["counts"]
            assert found["beyond"] == right[kind][key]["beyond"]
            assert found["sum"] == pytest.approx(right[kind][key]["sum"], rel=1e-12)


@given(tokens=st.integers(1, 2_000_000))
def test_sizes_round_up_by_less_than_a_tenth(tokens: int) -> None:
    """Rounding up is stable and small."""
    size = quantise(tokens)
    assert tokens <= size <= tokens * 2 ** (1 / 8) + 1
    assert quantise(size) == size


@dataclass
class Usage:
    """Tokens of a reply."""

    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


def test_a_charge_rounds_half_up_once_per_kind_of_token_and_unknown_stays_unknown() -> None:
    """Integer nano-USD; a missing price or count is no zero."""
    price = TokenPrice(input=500_000, output=2_000_000, cached_input=50_000)
    assert charge(price, Usage(1, 1)) == 1 + 2
    assert charge(price, Usage(100, 10, cached_tokens=40)) == 30 + 2 + 20
    assert charge(price, Usage(100, None)) is None
    assert charge(None, Usage(100, 10)) is None
    assert charge(MachinePrice(3_600_000_000_000), None, machine_seconds=0.5) == 500_000_000
    assert charge(MachinePrice(1), None) is None
