"""The read-out finds what texts tell of each arm, and nothing where they tell nothing."""

import numpy as np
import pytest

from fw_policies.by_text import SIZE
from fw_policies.search import readout


def runs(n: int, seed: int, *, tells: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two kinds of texts; arm 0 is good at the first and arm 1 at the second, by `tells` either way."""
    rng = np.random.default_rng(seed)
    kind, arm = rng.integers(0, 2, n), rng.integers(0, 2, n)
    centre = rng.normal(size=(2, SIZE))
    texts = centre[kind] + 0.3 * rng.normal(size=(n, SIZE))
    texts = np.rint(texts / np.linalg.norm(texts, axis=1, keepdims=True) * 169)
    values = (rng.random(n) < 0.6 + np.where(arm == kind, tells, -tells)).astype(float)
    return texts, arm, values


def test_where_texts_tell_two_arms_apart_each_text_gets_its_own() -> None:
    texts, arm, values = runs(600, 0, tells=0.3)
    found = readout.fit(texts / 169, arm, values, 2)
    assert found is not None
    assert found.adds > 0.2
    rule = readout.rule(found, np.array([10.0, 10.0]), 1000.0, embedding="it", scale=1 / 169)
    chosen = readout.chosen(rule, texts)
    kind = np.where(values == 1, arm, 1 - arm)  # what a run suggests of its kind; right four times out of five or more
    assert np.mean(chosen == kind) > 0.75


def test_where_texts_tell_nothing_there_is_mostly_no_read_out_and_it_adds_next_to_nothing() -> None:
    found = [
        readout.fit(texts / 169, arm, values, 2) for texts, arm, values in (runs(300, n, tells=0.0) for n in range(20))
    ]
    assert sum(one is None for one in found) >= 10
    assert all(one is None or one.adds < 0.03 for one in found)


def test_leave_one_out_is_what_leaving_one_out_gives() -> None:
    """The closed form against 60 fits of 59 runs; means of arms are those of all runs in both."""
    texts, arm, values = runs(60, 3, tells=0.3)
    texts = texts / 169
    found = readout.fit(texts, arm, values, 2)
    assert found is not None
    left = values - found.means[arm]
    features = readout._features(texts, arm, 2, found.shape.shared)
    squares = []
    for out in range(60):
        rest = np.arange(60) != out
        inner = features[rest].T @ features[rest] + found.shape.ridge * np.eye(features.shape[1])
        told = np.linalg.solve(inner, features[rest].T @ left[rest])
        squares.append((left[out] - features[out] @ told) ** 2)
    assert found.adds == pytest.approx(1 - np.mean(squares) / np.mean(left**2))


def test_an_arm_of_which_texts_tell_nothing_keeps_its_mean() -> None:
    means, slopes = np.array([0.9, 0.5]), np.zeros((2, SIZE))
    rule = readout.rule(
        readout.Readout(means, slopes, readout.Shape(0.0, 1.0), 0.1), np.array([5.0, 1.0]), 1.0, embedding="", scale=1.0
    )
    assert [(one.quality, one.cost, set(one.weights)) for one in rule.reads] == [(0.9, 5.0, {0}), (0.5, 1.0, {0})]


def test_the_rule_of_numpy_is_the_rule_that_serves() -> None:
    texts, arm, values = runs(300, 5, tells=0.2)
    found = readout.fit(texts / 169, arm, values, 2)
    assert found is not None
    for price in (0.1, 10.0, 40.0, 1e4):
        rule = readout.rule(found, np.array([1.0, 9.0]), price, embedding="it", scale=1 / 169)
        served = [rule.choose(text.astype(np.int8).tobytes()) for text in texts]
        assert served == readout.chosen(rule, texts).tolist()
