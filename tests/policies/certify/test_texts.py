"""A rule by text is proven on runs that did not choose it, and taken only where it saves something."""

import numpy as np
import pytest

from fw_policies.by_text import ByText, Reads
from fw_policies.certify import texts
from fw_policies.certify.bounds import drawn
from fw_policies.certify.runs import Floor, Seen
from fw_policies.certify.samples import Certified, certify
from fw_policies.certify.texts import Rule
from tests.bench import spoken

FLOOR = Floor(ratio=0.95)
COSTS = np.array([100.0, 10.0, 10.0, 10.0])


def world(quality: list[list[float]], each: int, seed: int, *, odds: np.ndarray | None = None) -> dict[str, list[Seen]]:
    """Runs of models with this quality for each of two kinds of texts."""
    rng = np.random.default_rng(seed)
    table = np.array(quality)
    equal = np.full(table.shape, 1 / len(table))
    centre = rng.normal(size=(2, 128)) / np.sqrt(128)
    tongue = spoken.Tongue(np.array([0.5, 0.5]), table, centre, 0.05, equal if odds is None else odds)
    return spoken.runs(tongue, COSTS[: len(table)], each, rng)


def proven(seen: dict[str, list[Seen]], floor: Floor = FLOOR, embedding: str = "it") -> Certified:
    return certify(seen, "m0", floor, confidence=0.9, embedding=embedding)


TWO = [[0.9, 0.9], [0.95, 0.4], [0.4, 0.95]]
"""Two cheap models, each as good as the baseline at one kind."""


def test_two_cheap_models_that_are_good_at_one_kind_each_serve_by_text() -> None:
    found = proven(world(TWO, 400, 1))
    rule = found.passed[-1].rule
    assert rule is not None
    assert set(found.weights) == {"m1", "m2"}
    assert found.bound is not None
    assert 0 <= found.bound < 0.95 - 0.95 * 0.9 + 0.02
    assert found.cost is not None
    assert found.cost[0] == pytest.approx(10.0)
    assert found.saved is not None
    assert found.saved[0] == pytest.approx(0.9, abs=0.01)
    assert "by text: saves" in found.text
    assert found.quality == pytest.approx(0.95, abs=0.03)


def test_the_same_without_an_embedding_or_texts_is_what_it_was() -> None:
    seen = world(TWO, 400, 1)
    bare = {name: [Seen(one.run, one.value, one.cost) for one in mine] for name, mine in seen.items()}
    blind = proven(seen, embedding="")
    assert blind == proven(bare)
    assert blind.text == ""
    assert all(one.rule is None for one in blind.passed)


@pytest.mark.parametrize("quality", [[[0.9, 0.9], [0.8, 0.8]], [[0.99, 0.6], [0.94, 0.5], [0.93, 0.52]]])
def test_texts_that_say_nothing_of_which_model_serve_nothing_and_that_is_said(quality: list[list[float]]) -> None:
    found = proven(world(quality, 300, 2))
    assert all(one.rule is None for one in found.passed)
    assert found.text.startswith("by text: ")


def test_too_few_texts_are_said_to_be_too_few() -> None:
    assert "runs with a text chose, 100 of two models" in proven(world(TWO, 40, 3)).text


def test_a_rule_is_proven_where_no_model_alone_reaches_the_floor() -> None:
    found = proven(world([[0.8, 0.8], *TWO[1:]], 500, 4), Floor(level=0.88))
    assert [one.rule is not None for one in found.passed] == [True]
    assert found.text == "by text: nothing else is proven"


def rule_of(seen: dict[str, list[Seen]]) -> Rule:
    rule = proven(seen).passed[-1].rule
    assert rule is not None
    return rule


def test_the_mean_of_a_rule_is_that_of_runs_it_agrees_with_weighed_by_its_strata() -> None:
    seen = world(TWO, 400, 1)
    rule = rule_of(seen)
    read = texts.read(seen)
    shares = texts.shares(read, rule)
    assert sum(shares.values()) == pytest.approx(1.0)
    agree = {
        name: [one for one in seen[name] if one.text and rule.models[rule.by_text.choose(one.text)] == name]
        for name in rule.models
    }
    mean = sum(shares[name] * np.mean([one.value for one in mine]) for name, mine in agree.items())
    assert texts.mean(read, rule) == pytest.approx(mean)


def test_what_was_seldom_drawn_counts_for_more() -> None:
    """Half of the texts are hard, and the model was drawn for them eight times as seldom."""
    same, chosen = (
        bytes([1] * 128),
        ByText("it", 1.0, 0.1, (Reads(1.0, 0.0, 0.0, (0,) * 128), Reads(0.0, 9.0, 0.0, (0,) * 128))),
    )
    mine = [Seen(f"r{n}", float(n < 800), 1.0, same, 0.8 if n < 800 else 0.1) for n in range(900)]
    seen = {"m0": [Seen("b", 1.0, 1.0, same, 0.5)], "m1": mine}
    rule = Rule(("m1", "m0"), chosen)
    assert texts.mean(texts.read(seen), rule) == pytest.approx(0.5)
    held = texts.slack(texts.read(seen), rule, None, Floor(level=0.5), delta=0.1, rng=np.random.default_rng(0))
    assert -0.2 < held < 0


def test_a_stratum_that_nobody_tried_is_worth_nothing_in_the_bound() -> None:
    seen = world(TWO, 400, 1)
    rule = rule_of(seen)
    gone = {
        **seen,
        "m2": [one for one in seen["m2"] if one.text and rule.models[rule.by_text.choose(one.text)] != "m2"],
    }
    held, lost = (
        texts.slack(texts.read(each), rule, "m0", FLOOR, delta=0.1, rng=np.random.default_rng(0))
        for each in (seen, gone)
    )
    assert held > 0
    assert lost < held - 0.3


def test_weights_that_are_all_equal_are_none_and_one_heavy_run_widens_the_bound() -> None:
    values = np.array([1.0] * 30 + [0.0] * 5)
    plain, equal, heavy = (
        drawn(values, np.random.default_rng(0), low=True, weights=weights)
        for weights in (None, np.full(35, 7.0), np.r_[np.full(34, 1.0), 30.0])
    )
    assert np.allclose(plain, equal)
    assert np.quantile(heavy, 0.1) < np.quantile(plain, 0.1) - 0.1
