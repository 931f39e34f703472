"""The offline search: frontiers, the programme, shrinkage, and what a text may add."""

import numpy as np
import pytest

from fw_policies.search import residual
from fw_policies.search.frontier import frontier, recovered, saved, strong_calls, threshold_curve
from fw_policies.search.programme import Problem, best_quality, solve
from fw_policies.search.shrink import shrunk
from fw_policies.search.words import learnt


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


@pytest.mark.parametrize("seed", range(20))
def test_without_other_limits_the_hulls_give_what_the_programme_gives(seed: int) -> None:
    """A limit on late calls that nothing is late for sends the same problem to the solver."""
    rng = np.random.default_rng(seed)
    quality, cost = rng.random((5, 7)), rng.random((5, 7)) ** 3
    cost[0, :3] = np.nan
    cost[1, 2] = cost[1, 4]
    share = rng.dirichlet(np.ones(5))
    floor = float(rng.uniform(0.2, 0.95))
    mine = solve(Problem(share, quality, cost), floor)
    theirs = solve(Problem(share, quality, cost, late=np.zeros((5, 7)), per_step=False), floor)
    assert (mine is None) == (theirs is None)
    if mine is not None and theirs is not None:
        assert mine.cost == pytest.approx(theirs.cost, abs=1e-6)
        assert mine.quality >= floor - 1e-9
        assert mine.price_of_quality == pytest.approx(theirs.price_of_quality, abs=1e-6)
        assert mine.weights.sum(1) == pytest.approx(np.ones(5))


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
    found = residual.fit(scores[:200], steps[:200], 1, residual.Texts(vectors[:200]))
    assert found.gain > 0.1
    picked = np.argmax(found.at(residual.Texts(vectors[200:]), steps[200:]), axis=1)
    assert (picked == kind[200:]).mean() > 0.95


def test_a_text_that_says_nothing_weighs_next_to_nothing() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((300, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (rng.random((300, 3)) < np.array([0.8, 0.6, 0.4])).astype(float)
    steps = np.zeros(300, dtype=np.int64)
    found = residual.fit(scores, steps, 1, residual.Texts(vectors))
    assert found.gain < 0.02
    assert found.at(None, steps) == pytest.approx(found.means.mean[steps])


def test_words_that_few_texts_share_say_more_than_those_of_all() -> None:
    texts = ["the cat sat", "the cat ran", "the dog ran", "the end"]
    words = learnt(texts)
    cat, also, dog, end, unknown = words.at([*texts, "zyx"])
    assert cat @ also > cat @ end > 0  # `the` is everywhere, and says little
    assert cat @ also > cat @ dog
    assert not unknown.any()
    assert np.linalg.norm(cat) == pytest.approx(1.0)


def test_words_tell_apart_what_lies_together_in_meaning() -> None:
    """All texts have one vector; only a word says which model is good."""
    rng = np.random.default_rng(6)
    kind = rng.integers(0, 2, 300)
    written = tuple(f"please fix {'pandas' if one else 'django'} {number}" for number, one in enumerate(kind))
    vectors = np.tile([1.0, 0.0], (300, 1))
    scores = (rng.random((300, 2)) < np.where(kind[:, None] == 0, [0.9, 0.3], [0.3, 0.9])).astype(float)
    steps = np.zeros(300, dtype=np.int64)
    texts = residual.Texts(vectors, written)
    blind = residual.fit(scores[:200], steps[:200], 1, residual.Texts(vectors[:200]))
    found = residual.fit(scores[:200], steps[:200], 1, texts.part(np.arange(200)))
    assert blind.gain < 0.02
    assert found.gain > 0.1
    picked = np.argmax(found.at(texts.part(np.arange(200, 300)), steps[200:]), axis=1)
    assert (picked == kind[200:]).mean() > 0.95


def test_of_many_texts_some_are_compared() -> None:
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((200, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (rng.random((200, 2)) < 0.5).astype(float)
    steps = np.arange(200) % 2
    found = residual.fit(scores, steps, 2, residual.Texts(vectors), largest=50)
    assert found.seen is not None
    assert len(found.seen.vectors) == 50
    assert set(found.seen.steps) == {0, 1}
    assert found.at(residual.Texts(vectors), steps).shape == (200, 2)
