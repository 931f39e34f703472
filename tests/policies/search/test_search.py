"""The offline search: frontiers, the programme, shrinkage, and what a text may add."""

import numpy as np
import pytest

from fw_policies.search import residual
from fw_policies.search.frontier import frontier, recovered, saved, strong_calls, threshold_curve
from fw_policies.search.programme import Problem, best_quality, solve
from fw_policies.search.shrink import shrunk


def test_the_frontier_keeps_what_no_mixture_beats() -> None:
    found = frontier(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, 0.55, 0.9, 0.8]))
    assert found.cost.tolist() == [1.0, 3.0]
    assert found.cost_at(0.7) == pytest.approx(2.0)
    assert np.isnan(found.cost_at(0.95))
    assert found.quality_at(10.0) == pytest.approx(0.9)
    assert saved(found, 0.9, 3.0, 1.0) == pytest.approx(0.0)
    assert found.aiq(4.0) == pytest.approx((0.5 * 1 * 0 + (0.5 + 0.9) / 2 * 2 + 0.9) / 4, rel=0.05)


def test_random_mixing_recovers_half_of_the_gap() -> None:
    rng = np.random.default_rng(0)
    weak, strong = (rng.random(20_000) < 0.5).astype(float), (rng.random(20_000) < 0.8).astype(float)
    shares, quality = threshold_curve(rng.random(20_000), strong, weak)
    assert recovered(shares, quality, weak.mean(), strong.mean()) == pytest.approx(0.5, abs=0.01)
    assert strong_calls(shares, quality, weak.mean(), strong.mean(), gap=0.5) == pytest.approx(0.5, abs=0.11)


def test_a_mixture_reaches_a_floor_that_the_cheap_model_misses() -> None:
    problem = Problem(np.array([0.5, 0.5]), np.array([[0.9, 0.6], [0.9, 0.8]]), np.array([[10.0, 1.0], [10.0, 1.0]]))
    found = solve(problem, 0.85)
    assert found is not None
    assert found.quality == pytest.approx(0.85)
    assert found.weights[0].tolist() == pytest.approx([1.0, 0.0])  # where strength is worth most
    assert found.price_of_quality > 0
    assert solve(problem, 0.95) is None
    top = best_quality(problem)
    assert top is not None
    assert top.quality == pytest.approx(0.9)


def test_a_limit_on_late_calls_holds_over_the_mixture() -> None:
    problem = Problem(
        np.ones(1), np.array([[0.9, 0.7]]), np.array([[1.0, 2.0]]), late=np.array([[0.2, 0.0]]), late_limit=0.05
    )
    found = solve(problem, 0.0)
    assert found is not None
    assert found.weights[0].tolist() == pytest.approx([0.25, 0.75])


def test_capacity_that_binds_has_a_price_and_none_that_does_not() -> None:
    quality, cost = np.array([[0.9, 0.9]]), np.array([[1.0, 5.0]])
    use = np.array([[[1.0, 0.0]]])
    tight = solve(Problem(np.ones(1), quality, cost, use=use, capacity=np.array([0.25])), 0.5)
    loose = solve(Problem(np.ones(1), quality, cost, use=use, capacity=np.array([2.0])), 0.5)
    assert tight is not None
    assert loose is not None
    assert tight.price_of_capacity.tolist() == pytest.approx([4.0])
    assert loose.price_of_capacity.tolist() == pytest.approx([0.0])


def test_money_of_any_size_gives_the_same_weights() -> None:
    rng = np.random.default_rng(3)
    quality, cost = rng.random((4, 6)), rng.random((4, 6))
    share = np.full(4, 0.25)
    one = solve(Problem(share, quality, cost), 0.7)
    other = solve(Problem(share, quality, cost * 1e-9), 0.7)
    assert one is not None
    assert other is not None
    assert one.weights == pytest.approx(other.weights, abs=1e-6)


def test_small_steps_are_shrunk_more_and_none_is_nought() -> None:
    rng = np.random.default_rng(1)
    steps = np.r_[np.zeros(400, dtype=np.int64), np.ones(4, dtype=np.int64)]
    scores = (rng.random((404, 3)) < np.array([0.9, 0.7, 0.5])).astype(float)
    found = shrunk(scores, steps, 3)
    assert (found.weight[0] > found.weight[1]).all()
    assert np.isfinite(found.mean).all()  # a step that was never seen has what its kin have
    assert found.n[2].tolist() == [0, 0, 0]


def test_a_text_that_tells_models_apart_is_used() -> None:
    rng = np.random.default_rng(2)
    kind = rng.integers(0, 2, 300)
    vectors = np.eye(2)[kind] + 0.05 * rng.standard_normal((300, 2))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chance = np.where(kind[:, None] == 0, [0.9, 0.3], [0.3, 0.9])
    scores = (rng.random((300, 2)) < chance).astype(float)
    steps = np.zeros(300, dtype=np.int64)
    found = residual.fit(scores[:200], steps[:200], 1, vectors[:200])
    assert found.gain > 0.1
    picked = np.argmax(found.at(vectors[200:], steps[200:]), axis=1)
    assert (picked == kind[200:]).mean() > 0.95


def test_a_text_that_says_nothing_weighs_next_to_nothing() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((300, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (rng.random((300, 3)) < np.array([0.8, 0.6, 0.4])).astype(float)
    steps = np.zeros(300, dtype=np.int64)
    found = residual.fit(scores, steps, 1, vectors)
    assert found.gain < 0.02
    assert found.at(None, steps) == pytest.approx(found.means.mean[steps])
