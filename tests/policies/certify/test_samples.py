"""Certificates from independent runs: what they promise holds, and what cannot be proven is refused with a reason."""

import numpy as np
import pytest

from fw_policies.certify.bounds import lower_mean, upper_mean
from fw_policies.certify.samples import Floor, Seen, certify, cheapest
from fw_policies.certify.sequence import fixed_sequence
from fw_policies.estimate.intervals import lower_share
from fw_policies.search.programme import Problem, solve

FLOOR = Floor(ratio=0.98)


def runs(name: str, quality: float, count: int, cost: float, rng: np.random.Generator) -> list[Seen]:
    return [Seen(f"{name}-{index}", float(rng.random() < quality), cost) for index in range(count)]


def world(seed: int, models: dict[str, tuple[float, int, float]]) -> dict[str, list[Seen]]:
    rng = np.random.default_rng(seed)
    return {name: runs(name, *spec, rng) for name, spec in models.items()}


def test_a_cheaper_model_that_is_as_good_is_certified_with_what_it_saves() -> None:
    found = certify(world(1, {"big": (0.8, 1500, 100.0), "small": (0.85, 1500, 10.0)}), "big", FLOOR, confidence=0.9)
    assert found.weights == {"small": 1.0}
    assert found.bound is not None
    assert found.bound >= 0
    assert found.saved is not None
    assert found.saved[1] <= 0.9 <= found.saved[2] + 1e-9
    assert found.tested > 1000


def test_a_worse_model_is_refused_and_no_number_of_runs_is_named() -> None:
    found = certify(world(2, {"small": (0.6, 600, 10.0)}), None, Floor(level=0.85), confidence=0.9)
    assert not found.weights
    assert found.more is None
    assert "reaches the floor" in found.reason or "is asked" in found.reason


def test_a_weak_model_may_serve_the_share_of_calls_that_the_floor_leaves() -> None:
    found = certify(world(2, {"big": (0.9, 600, 100.0), "small": (0.6, 600, 10.0)}), "big", FLOOR, confidence=0.9)
    assert 0 < found.weights["small"] < 0.06  # 6 % of it would take 98 % of the baseline's mean


def test_too_few_runs_are_said_to_be_too_few() -> None:
    found = certify(world(3, {"big": (0.9, 10, 100.0), "small": (0.9, 600, 10.0)}), "big", FLOOR, confidence=0.9)
    assert not found.weights
    assert "fewer than 20 runs" in found.reason


def test_a_model_of_unknown_cost_is_no_candidate() -> None:
    seen = world(4, {"big": (0.8, 800, 100.0), "free": (0.9, 800, 1.0)})
    seen["free"] = [Seen(run.run, run.value, None) for run in seen["free"]]
    found = certify(seen, "big", FLOOR, confidence=0.9)
    assert not found.weights
    assert "known cost" in found.reason


def test_the_same_runs_and_seed_give_the_same_certificate() -> None:
    seen = world(5, {"big": (0.8, 700, 100.0), "small": (0.85, 700, 10.0)})
    assert certify(seen, "big", FLOOR, confidence=0.9, seed=3) == certify(seen, "big", FLOOR, confidence=0.9, seed=3)


@pytest.mark.parametrize("kind", ["near-equal", "unbalanced"])
def test_promises_are_seldom_broken(kind: str) -> None:
    """At δ = 0.1, among many models that are all a little too weak, or whose numbers of runs differ widely."""
    broken = 0
    worlds = 30
    for number in range(worlds):
        rng = np.random.default_rng((number, 11))
        truth = {"big": 0.8}
        counts = {"big": 200}
        for index in range(20 if kind == "near-equal" else 6):
            name = f"m{index}"
            truth[name] = 0.78 - rng.uniform(0, 0.006) if kind == "near-equal" else rng.uniform(0.6, 0.82)
            counts[name] = 120 if kind == "near-equal" else int(rng.integers(20, 400))
        seen = {name: runs(name, truth[name], counts[name], 10 + 90 * rng.random(), rng) for name in truth}
        found = certify(seen, "big", FLOOR, confidence=0.9, seed=number)
        if found.weights:
            broken += sum(w * truth[model] for model, w in found.weights.items()) < 0.98 * truth["big"]
    assert broken <= 0.2 * worlds  # 10 % are allowed; the rest is the luck of 30 worlds


def test_the_lower_bound_of_zeros_and_ones_is_clopper_and_pearsons() -> None:
    values = np.r_[np.ones(70), np.zeros(30)]
    bound = lower_mean(values, 0.1, np.random.default_rng(0), draws=200_000)
    assert bound == pytest.approx(lower_share(70, 100, 0.9), abs=0.002)
    assert upper_mean(values, 0.1, np.random.default_rng(0)) > 0.7


@pytest.mark.parametrize("shape", [(0.3, 0.2), (8.0, 0.5), (2.0, 2.0)])
def test_the_lower_bound_holds_for_values_between(shape: tuple[float, float]) -> None:
    truth = shape[0] / sum(shape)
    missed = 0
    for number in range(200):
        rng = np.random.default_rng((number, 5))
        missed += lower_mean(rng.beta(*shape, size=40), 0.1, rng, draws=1000) > truth
    assert missed <= 32  # 20 are expected at most; three standard deviations more


def test_the_first_failure_ends_the_tests() -> None:
    asked = []

    def holds(plan: int) -> bool:
        asked.append(plan)
        return plan != 2

    found = fixed_sequence([0, 1, 2, 3], holds)
    assert (found.last, found.tested, asked) == (1, 3, [0, 1, 2])
    assert fixed_sequence([2, 3], holds).last is None


def test_the_cheapest_mixture_of_one_step_is_that_of_the_linear_programme() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        count, floor = int(rng.integers(1, 9)), float(rng.random())
        quality, cost = np.round(rng.random(count), 2), rng.random(count)
        mine, found = cheapest(quality, cost, floor), solve(Problem(np.ones(1), quality[None], cost[None]), floor)
        assert (mine is None) == (found is None)
        if mine is not None and found is not None:
            assert mine @ cost == pytest.approx(found.cost, abs=1e-7)
            assert mine @ quality >= floor - 1e-9
            assert mine.sum() == pytest.approx(1.0)


def test_several_values_of_one_run_count_as_one() -> None:
    """What a run's steps share is one observation, however many calls repeat it."""
    seen = world(6, {"big": (0.8, 900, 100.0), "small": (0.85, 900, 10.0)})
    twice = {name: [one for one in mine for _ in range(4)] for name, mine in seen.items()}
    once = certify(seen, "big", FLOOR, confidence=0.9)
    again = certify(twice, "big", FLOOR, confidence=0.9)
    assert (again.weights, again.tested, again.bound) == (once.weights, once.tested, once.bound)
