"""One programme over all steps: every limit is kept, and its dual is what giving way would save."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fw_policies.search.steps import Answer, Shared, Step, solve

NO_MACHINE = np.zeros(0)
PLAIN = Step(np.array([1.0, 10.0]), np.array([0.6, 0.9]), volume=2.0, floor=0.75)
FREE = Shared(NO_MACHINE)


def found(steps: list[Step], shared: Shared = FREE) -> Answer:
    answer = solve(steps, shared)
    assert answer is not None
    return answer


def slope(spend: Callable[[float], float], at: float, step: float = 1e-4) -> float:
    return (spend(at + step) - spend(at - step)) / (2 * step)


def test_each_step_keeps_its_own_floor_at_least_cost() -> None:
    answer = found([PLAIN, replace(PLAIN, floor=0.9), replace(PLAIN, floor=None)])
    assert [own.tolist() for own in answer.weights] == [pytest.approx(own) for own in ([0.5, 0.5], [0, 1], [1, 0])]
    assert answer.spend == pytest.approx(2 * (5.5 + 10 + 1))
    assert solve([replace(PLAIN, floor=0.95)], FREE) is None


def test_the_price_of_quality_is_what_one_more_costs_a_call() -> None:
    answer = found([PLAIN])
    assert answer.price_of_quality[0] == pytest.approx(
        slope(lambda floor: found([replace(PLAIN, floor=floor)]).spend / PLAIN.volume, 0.75)
    )
    assert answer.price_of_quality[0] == pytest.approx(9 / 0.3)
    assert found([replace(PLAIN, floor=0.5)]).price_of_quality[0] == 0


def test_late_calls_are_limited_over_the_mixture_and_have_a_price() -> None:
    slow = replace(PLAIN, floor=None, late=np.array([0.2, 0.0]))
    answer = found([slow])
    assert answer.weights[0] == pytest.approx([0.25, 0.75])
    price = slope(lambda limit: -found([replace(slow, late_limit=limit)]).spend / slow.volume, 0.05)
    assert answer.price_of_time[0] == pytest.approx(price)


def test_a_machine_goes_to_the_step_that_gains_most_from_it() -> None:
    """100 tokens a call on one machine of 300 tokens/s, wanted by two steps of 2 calls a second each."""
    use = np.array([[100.0, 0.0]])
    gains = [Step(np.array([1.0, dear]), np.array([0.8, 0.8]), volume=2.0, use=use) for dear in (3.0, 11.0)]
    answer = found(gains, Shared(np.array([300.0])))
    assert answer.weights[1] == pytest.approx([1, 0])
    assert answer.weights[0] == pytest.approx([0.5, 0.5])
    assert answer.load == pytest.approx([300])
    price = slope(lambda tokens: -found(gains, Shared(np.array([tokens]))).spend, 300.0, 1.0)
    assert answer.price_of_capacity == pytest.approx([price])
    assert price == pytest.approx(2.0 / 100)
    roomy = found(gains, Shared(np.array([500.0])))
    assert roomy.price_of_capacity == pytest.approx([0.0])
    assert roomy.load == pytest.approx([400])


def test_the_busiest_hour_is_what_a_machine_must_carry() -> None:
    use = np.array([[100.0, 0.0]])
    step = Step(np.array([1.0, 5.0]), np.array([0.8, 0.8]), volume=1.0, peak=4.0, use=use)
    assert found([step], Shared(np.array([200.0]))).weights[0] == pytest.approx([0.5, 0.5])


def test_a_run_keeps_its_budget_over_its_steps() -> None:
    steps = [replace(PLAIN, floor=0.6, per_run=3.0), replace(PLAIN, floor=0.9, per_run=1.0)]
    assert solve(steps, Shared(NO_MACHINE, budget=12.9)) is None
    assert found(steps, Shared(NO_MACHINE, budget=13.1)).spend == pytest.approx(22)
    two = [replace(PLAIN, cost=np.array([1.0, 10.0]), quality=np.array([0.6, 0.9]), floor=0.75, per_run=2.0, use=None)]
    assert solve(two, Shared(NO_MACHINE, budget=10.0)) is None


def test_money_of_any_size_gives_the_same_plan_and_prices_that_scale() -> None:
    one = found([PLAIN, replace(PLAIN, volume=0.001)])
    other = found([replace(PLAIN, cost=PLAIN.cost * 1e9), replace(PLAIN, cost=PLAIN.cost * 1e9, volume=0.001)])
    assert other.weights[0] == pytest.approx(one.weights[0])
    assert other.price_of_quality == pytest.approx([price * 1e9 for price in one.price_of_quality])


def test_what_is_unknown_is_never_taken() -> None:
    unknown = replace(PLAIN, cost=np.array([np.nan, 10.0]))
    assert found([unknown]).weights[0].tolist() == [0.0, 1.0]
    assert solve([replace(PLAIN, cost=np.array([np.nan, np.nan]))], FREE) is None


def test_no_step_is_no_trouble() -> None:
    assert found([], Shared(np.array([5.0]))).load.tolist() == [0.0]
