"""A short run of `tests.bench.coverage`: intervals hold, and promises are kept, as often as they say."""

import numpy as np
import pytest

from fw_policies.estimate.intervals import beta_cdf
from tests.bench import coverage, spoken

WORLDS = 150
LUCK = 1e-3
"""Chance that a row fails though it keeps its promise exactly."""


def likely_at_least(k: int, n: int, share: float) -> float:
    """P(X >= k), X binomial."""
    return beta_cdf(share, k, n - k + 1) if k > 0 else 1.0


@pytest.mark.slow
def test_intervals_hold_in_88_of_100_worlds_and_are_at_most_a_fifth_wider_than_exact_ones() -> None:
    for row in coverage.simulated("intervals", WORLDS, 1):
        missed = round((1 - row.share) * WORLDS)
        assert likely_at_least(missed, WORLDS, 1 - coverage.COVERS) > LUCK, row
        assert row.other <= coverage.WIDER, row


@pytest.mark.slow
@pytest.mark.parametrize("part", ["certificates", "proofs"])
def test_promises_are_broken_in_no_more_worlds_than_they_say_and_are_made_in_many(part: str) -> None:
    worlds = WORLDS // 5
    for row in coverage.simulated(part, worlds, 1):
        broken = round(row.share * worlds)
        assert likely_at_least(broken, worlds, 1 - coverage.CONFIDENCE) > LUCK, row
        assert row.other >= coverage.LEAST, row


@pytest.mark.slow
@pytest.mark.parametrize("name", spoken.TONGUES)
def test_where_runs_have_texts_promises_are_kept_and_rules_are_found_where_texts_matter(name: str) -> None:
    worlds = WORLDS // 20
    row = coverage.texts(name, worlds, np.random.default_rng(3))
    assert likely_at_least(round(row.share * worlds), worlds, 1 - coverage.CONFIDENCE) > LUCK, row
    assert (row.other >= coverage.LEAST) is (name in {"texts matter", "draws depend on texts"}), row


def test_an_interval_that_holds_too_seldom_is_noticed() -> None:
    """80 % where 88 % is asked: 30 missed of 150."""
    assert likely_at_least(30, WORLDS, 0.12) < 0.005
    assert likely_at_least(18, WORLDS, 0.12) > 0.4
