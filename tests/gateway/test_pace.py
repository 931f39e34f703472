"""The purse of a day lasts the day, whatever the traffic; its ceiling is another's to hold."""

import random

import pytest

from fw_gateway.engine.purses import LEAD, pace

CEILING, COST = 10**9, 10**6
"""A dollar, and a thousandth of it for each attempt."""


def spent_by_hour(calls: int, *, share: float = 0.05, quiet: tuple[int, ...] = ()) -> list[float]:
    """Share of the ceiling that is spent at the end of each hour, when so many calls come evenly, but for the quiet hours."""
    rng, spent, found = random.Random(1), 0, []
    for hour in range(24):
        for number in range(0 if hour in quiet else calls // 24):
            day = (hour + number / (calls // 24)) / 24
            drawn = rng.random() < share * pace(spent, CEILING, day=day, dearest=COST)
            if drawn and spent + COST <= CEILING:
                spent += COST
        found.append(spent / CEILING)
    return found


@pytest.mark.parametrize("times", [2, 10, 50])
def test_more_traffic_than_the_purse_can_pay_for_is_explored_evenly_over_the_day(times: int) -> None:
    """With up to fifty times too much, each hour has its part: never more than the lead beyond the clock, and in the end nearly all of it."""
    found = spent_by_hour(20_000 * times)
    for hour, share in enumerate(found, 1):
        assert share <= hour / 24 + LEAD + 0.01, (hour, share)
        assert share >= hour / 24 - 0.01, (hour, share)
    assert found[-1] >= 0.97


def test_what_a_quiet_night_left_is_spent_by_day() -> None:
    found = spent_by_hour(400_000, quiet=tuple(range(8)))
    assert found[7] == 0.0
    assert found[8] >= 0.33
    assert found[-1] >= 0.97


def test_less_traffic_than_the_purse_can_pay_for_is_explored_with_the_whole_share() -> None:
    assert spent_by_hour(10_000)[-1] == pytest.approx(0.5, abs=0.05)
    assert pace(0, CEILING, day=0.0, dearest=COST) == 1.0
    assert pace(CEILING // 2, CEILING, day=0.5, dearest=COST) == 1.0


@pytest.mark.parametrize("day", [0.0, 0.3, 0.9, 0.999])
def test_a_purse_of_a_few_attempts_is_not_spread(day: float) -> None:
    """There is nothing to spread: the first that comes is tried, at any hour."""
    assert pace(2 * COST, 3 * COST, day=day, dearest=COST) == 1.0
