"""All plans that passed keep the promise together, so that what is shared may be shared out among them."""

import numpy as np
import pytest

from fw_policies.certify.samples import Floor, Seen, bound, certify, fitting

DELTA = 0.1
FLOOR = Floor(ratio=0.95)


def world(number: int) -> tuple[dict[str, float], dict[str, list[Seen]], dict[str, float]]:
    """Five models around the floor; what they take of a shared machine."""
    rng = np.random.default_rng((number, 5))
    truth = {"big": 0.85} | {f"m{index}": float(rng.uniform(0.7, 0.86)) for index in range(4)}
    seen = {
        name: [
            Seen(
                f"{name}-{run}",
                float(rng.random() < chance),
                100.0 if name == "big" else 10.0 + 5 * len(truth) * chance,
            )
            for run in range(240)
        ]
        for name, chance in truth.items()
    }
    return truth, seen, {name: float(rng.uniform(0, 60)) for name in truth if name != "big"}


def test_no_mixture_of_plans_that_passed_breaks_the_promise_too_often() -> None:
    """Each world counts as broken as soon as one of its plans is: mixtures lie between them."""
    worlds, broken, answered, several = 200, 0, 0, 0
    for number in range(worlds):
        truth, seen, dearer = world(number)
        found = certify(seen, "big", FLOOR, confidence=1 - DELTA, seed=number, dearer=dearer)
        qualities = [sum(w * truth[name] for name, w in plan.weights.items()) for plan in found.passed]
        answered += bool(qualities)
        several += len(qualities) > 1
        broken += any(quality < 0.95 * truth["big"] - 1e-12 for quality in qualities)
    assert answered > worlds / 4
    assert several > worlds / 8
    assert broken <= worlds * DELTA + 2.6 * np.sqrt(worlds * DELTA * (1 - DELTA))


def test_what_a_machine_is_worth_changes_which_plans_are_tested() -> None:
    rng = np.random.default_rng(1)
    seen = {
        name: [Seen(f"{name}-{run}", float(rng.random() < chance), cost) for run in range(600)]
        for name, chance, cost in (("big", 0.9, 100.0), ("own", 0.97, 10.0), ("rented", 0.95, 20.0))
    }
    plain = certify(seen, "big", FLOOR, confidence=0.9)
    priced = certify(seen, "big", FLOOR, confidence=0.9, dearer={"own": 50.0})
    assert {name for plan in plain.passed for name in plan.weights} == {"own"}
    assert {name for plan in priced.passed for name in plan.weights} == {"own", "rented"}


def test_a_mixture_is_bounded_as_a_whole() -> None:
    rng = np.random.default_rng(2)
    seen = {
        name: [Seen(f"{name}-{run}", float(rng.random() < chance), 1.0) for run in range(800)]
        for name, chance in (("big", 0.9), ("own", 0.88))
    }
    alone = bound(seen, {"own": 1.0}, "big", FLOOR, confidence=0.9)
    half = bound(seen, {"own": 0.5, "big": 0.5}, "big", FLOOR, confidence=0.9)
    assert alone < half < 0.05 * 0.95
    assert bound(seen, {"own": 1.0}, "big", FLOOR, confidence=0.99) < alone


def test_the_fitting_half_is_looked_at_alone() -> None:
    runs = [Seen(f"r{number}", float(number % 2), 10.0) for number in range(100)]
    found = fitting(runs)
    assert found is not None
    assert found[1] == pytest.approx(10.0)
    assert fitting(runs[:5]) is None
    assert fitting([*runs, Seen("x", 1.0, None)]) is None
