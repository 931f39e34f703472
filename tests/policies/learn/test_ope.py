"""What another policy would have given: intervals that hold, refusals that say why."""

from typing import Any

import numpy as np
import pytest

from fw_policies.learn import ope

QUALITY = np.array([[0.95, 0.90, 0.60], [0.70, 0.75, 0.97], [0.99, 0.99, 0.80]])
"""Of three models at three steps."""
SHARE = np.array([0.5, 0.3, 0.2])
BEST = np.eye(3)[[0, 2, 0]]
CHANGED = np.eye(3)[[1, 1, 1]]


def matrix(seed: int, queries: int = 3000) -> tuple[Any, Any]:
    """Outcomes of every model on every query."""
    rng = np.random.default_rng(seed)
    steps = rng.choice(3, queries, p=SHARE)
    return (rng.random((queries, 3)) < QUALITY[steps]).astype(float), steps


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.3])
def test_intervals_hold_the_truth_whenever_an_answer_is_given(epsilon: float) -> None:
    """At the gate of 93 %, where the naive interval covers far less when little is explored."""
    scores, steps = matrix(1)
    found = ope.coverage(scores, steps, epsilon, seed=7, repetitions=150, rows=8000)
    assert found["answered"] > 40, found
    assert found["coverage"] >= 0.93, found
    if epsilon == 0.02:
        assert found["naive_coverage"] < 0.93, found


def test_the_difference_to_what_was_done_holds_too() -> None:
    """Of 200 logs, at least 93 % of the intervals of new minus old hold the true difference."""
    scores, steps = matrix(2)
    steps = steps.astype(np.int64)
    rng = np.random.default_rng(3)
    best = int(scores.mean(axis=0).argmax())
    logged = 0.8 * scores[:, best].mean() + 0.2 * scores.mean()
    truth = (scores * CHANGED[steps]).sum(axis=1).mean() - logged
    held = answered = 0
    for _ in range(200):
        log = ope.simulate(scores, steps, epsilon=0.2, rows=5000, rng=rng)
        found = ope.evaluate(log, CHANGED, rng=rng)
        if isinstance(found, ope.Answer):
            answered += 1
            held += found.difference[1] <= truth <= found.difference[2]
    assert answered > 150
    assert held >= 0.93 * answered


def test_rows_of_one_run_do_not_count_as_independent() -> None:
    """Ten equal rows a run: the interval over runs holds the truth, and the effective size is that of the runs."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(150):
        runs, each = 400, 10
        cluster = np.repeat(np.arange(runs), each)
        arm = np.repeat(rng.integers(0, 2, runs), each)
        value = np.repeat((rng.random(runs) < 0.6).astype(float), each)
        log = ope.Log(np.zeros(runs * each, dtype=np.int64), arm, np.full(runs * each, 0.5), value, cluster)
        found = ope.evaluate(log, np.array([[0.0, 1.0]]), rng=rng)
        assert isinstance(found, ope.Answer)
        assert found.ess < 400
        held += found.low <= 0.6 <= found.high
    assert held >= 140


def test_too_little_exploration_is_refused_with_the_effective_size() -> None:
    """Two rows in a hundred spread over three models prove nothing about a change at every step."""
    scores, steps = matrix(4, 800)
    log = ope.simulate(scores, steps.astype(np.int64), epsilon=0.05, rows=800, rng=np.random.default_rng(1))
    found = ope.evaluate(log, CHANGED, rng=np.random.default_rng(1))
    assert isinstance(found, ope.Refused)
    assert found.ess < 100
    assert "effective sample size" in found.reason


def test_what_was_never_tried_is_refused_and_not_guessed() -> None:
    """A log that always drew model 0 says nothing about model 1; of itself it says everything."""
    n = 1000
    value = (np.arange(n) % 10 < 9).astype(float)
    log = ope.Log(np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.ones(n), value)
    other = ope.evaluate(log, np.array([[0.0, 1.0]]), rng=np.random.default_rng(1))
    assert isinstance(other, ope.Refused)
    assert other.uncovered == 1
    assert "never tried" in other.reason
    same = ope.evaluate(log, np.array([[1.0, 0.0]]), rng=np.random.default_rng(1))
    assert isinstance(same, ope.Answer)
    assert same.value == pytest.approx(0.9)
    assert same.ess == pytest.approx(n)
    assert same.difference == pytest.approx((0, 0, 0))


def test_a_small_unseen_step_widens_the_interval_by_all_it_could_be() -> None:
    """3 % of the traffic was never tried: the bounds allow for its worst and its best."""
    n = 2000
    step = (np.arange(n) % 100 < 3).astype(np.int64)
    log = ope.Log(step, np.zeros(n, dtype=np.int64), np.ones(n), np.ones(n))
    found = ope.evaluate(log, np.array([[1.0, 0.0], [0.0, 1.0]]), rng=np.random.default_rng(1))
    assert isinstance(found, ope.Answer)
    assert found.uncovered == pytest.approx(0.03)
    assert found.low < 0.97 <= found.high <= 1


def test_a_cost_has_an_interval_of_its_own() -> None:
    """Without bounds the interval is Student's, and it holds in at least 93 % of 200 logs."""
    rng = np.random.default_rng(9)
    price, held = np.array([5.0, 1.0]), 0
    for _ in range(200):
        arm = (rng.random(1500) < 0.2).astype(np.int64)
        value = price[arm] * rng.gamma(4.0, 0.25, 1500)
        log = ope.Log(np.zeros(1500, dtype=np.int64), arm, np.where(arm == 1, 0.2, 0.8), value)
        found = ope.evaluate(log, np.array([[0.0, 1.0]]), rng=rng, bounds=None)
        assert isinstance(found, ope.Answer)
        held += found.low <= 1.0 <= found.high
    assert held >= 186


def test_a_skewed_cost_seen_seldom_holds_too() -> None:
    """Log-normal with sigma 1, the target's arm drawn in some 40 rows of each of three steps: at least 93 % of 150."""
    rng = np.random.default_rng(10)
    held = answered = 0
    for _ in range(150):
        step = rng.integers(0, 3, 4500)
        arm = (rng.random(4500) < 0.03).astype(np.int64)
        value = np.where(arm == 1, 2.0, 1.0) * np.exp(rng.normal(-0.5, 1.0, 4500))
        log = ope.Log(step, arm, np.where(arm == 1, 0.03, 0.97), value)
        found = ope.evaluate(log, np.tile([0.0, 1.0], (3, 1)), rng=rng, bounds=None)
        if isinstance(found, ope.Answer):
            answered += 1
            held += found.low <= 2.0 <= found.high
    assert answered > 130
    assert held >= 0.93 * answered, held


def test_a_log_that_cannot_be_one_is_an_error() -> None:
    """A propensity of 0 cannot have been drawn; quality lies in [0, 1]."""
    zero = np.zeros(3, dtype=np.int64)
    with pytest.raises(ValueError, match="propensity"):
        ope.evaluate(ope.Log(zero, zero, np.zeros(3), np.ones(3)), np.ones((1, 1)), rng=np.random.default_rng(1))
    with pytest.raises(ValueError, match="outside"):
        ope.evaluate(ope.Log(zero, zero, np.ones(3), np.full(3, 2.0)), np.ones((1, 1)), rng=np.random.default_rng(1))


def test_the_same_seed_gives_the_same_answer() -> None:
    """Randomness is an argument."""
    scores, steps = matrix(6, 1000)
    assert ope.coverage(scores, steps, 0.3, seed=2, repetitions=5) == ope.coverage(
        scores, steps, 0.3, seed=2, repetitions=5
    )
