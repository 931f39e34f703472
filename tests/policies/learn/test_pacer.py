"""A budget is met and never exceeded; a new model is found."""

import json
from typing import Any

import numpy as np
import pytest

from fw_policies.learn import pacer

QUALITY = np.array([0.55, 0.72, 0.88])
PRICE = np.array([1.0, 4.0, 20.0])


def matrix(seed: int, queries: int = 4000) -> tuple[Any, Any]:
    """Costs and qualities of three models."""
    rng = np.random.default_rng(seed)
    qualities = (rng.random((queries, 3)) < QUALITY).astype(float)
    return PRICE * rng.gamma(4.0, 0.25, (queries, 3)), qualities


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_spending_is_within_four_thousandths_of_the_budget_and_below_it(share: float, seed: int) -> None:
    """Whatever the budget lies between; quality is no less than that of mixing the two ends at random."""
    costs, qualities = matrix(seed)
    mean, ends = costs.mean(axis=0), qualities.mean(axis=0)
    budget = len(costs) * float(mean[0] + share * (mean[2] - mean[0]))
    found = pacer.pace(costs, qualities, budget, seed=seed)
    assert found["binding"]
    assert found["ceiling_kept"]
    assert found["error"] <= 0.004, found
    assert found["declined"] <= 8
    assert found["quality"] >= ends[0] + share * (ends[2] - ends[0]) - 0.02, found


def test_the_ceiling_holds_when_nothing_fits() -> None:
    """A budget for a tenth of the cheapest model: calls are declined, money is not overspent."""
    costs, qualities = matrix(3, 1000)
    found = pacer.pace(costs, qualities, 100.0, seed=1)
    assert found["ceiling_kept"]
    assert found["declined"] > 800


def test_a_budget_that_does_not_bind_buys_the_best() -> None:
    """With money for more than the best model, the best model serves but for what explores."""
    costs, qualities = matrix(4, 3000)
    found = pacer.pace(costs, qualities, 1e6, seed=1, replay=pacer.Replay(warm=100))
    assert not found["binding"]
    assert found["shares"][2] > 0.9


def test_a_new_model_is_adopted_within_142_calls() -> None:
    """ParetoBandit's published figure: the median over seeds, of calls until half of the final share."""
    adopted = []
    for seed in range(7):
        costs, qualities = matrix(seed, 3000)
        budget = len(costs) * 8.0
        found = pacer.pace(costs, qualities, budget, seed=seed, replay=pacer.Replay(arrival=(1, 1000)))
        if found["adoption"] is not None:
            adopted.append(found["adoption"])
    assert len(adopted) >= 6, adopted
    assert np.median(adopted) <= 142, adopted


def test_propensities_are_the_chances_of_the_draw() -> None:
    """Drawn 4,000 times from one state, each arm comes as often as its propensity says."""
    settings = pacer.Settings(explore=0.3)
    state = pacer.start(1000.0, 100, steps=1, arms=3)
    for arm in range(3):
        state = pacer.learn(state, (0, arm), cost=float(PRICE[arm]), quality=float(QUALITY[arm]), settings=settings)
    rng = np.random.default_rng(1)
    counts, said = np.zeros(3), np.zeros(3)
    for _ in range(4000):
        found = pacer.draw(state, 0, np.full(3, 30.0), rng=rng, settings=settings)
        assert found.arm is not None
        counts[found.arm] += 1
        said[found.arm] = found.propensity
    assert said.sum() == pytest.approx(1)
    assert counts / 4000 == pytest.approx(said, abs=0.03)


def test_the_state_survives_a_restart() -> None:
    """Through JSON and back: the same draw."""
    settings = pacer.Settings()
    state = pacer.start(50.0, 10, steps=2, arms=3)
    state = pacer.learn(pacer.spend(state, 3.0, settings=settings), (1, 2), cost=3.0, quality=1.0, settings=settings)
    again = pacer.State.from_dict(json.loads(json.dumps(state.to_dict())))
    caps = np.array([2.0, 5.0, 25.0])
    draws = [pacer.draw(each, 1, caps, rng=np.random.default_rng(4), settings=settings) for each in (state, again)]
    assert draws[0] == draws[1]
    assert again.to_dict() == state.to_dict()


def test_a_budget_must_be_one() -> None:
    """Nothing can be paced without money or calls."""
    with pytest.raises(ValueError, match="positive"):
        pacer.start(0.0, 10, steps=1, arms=1)
