"""What quality to expect where little was seen: nearer to the truth than the mean of a few outcomes, and never a proof."""

import random

import pytest

from fw_policies.estimate import OutcomeSeen, Statistics
from fw_policies.estimate.expected import expected, kinship
from fw_policies.estimate.outcomes import Outcomes
from fw_policies.model import Facts
from fw_policies.optimize import optimize
from fw_policies.spec import parse
from tests.policies.worlds import FACTS, policy, seen, target, world


def outcomes(n: int, good: float) -> Outcomes:
    return Outcomes(n, good, good)


def test_where_nothing_is_known_nothing_is_expected() -> None:
    assert kinship({}, {}) is None
    assert Statistics().freeze().expected(FACTS, ["m"], outcome="tests_pass") == {"m": None}


def test_priors_alone_order_what_was_never_tried() -> None:
    found = Statistics().freeze()
    priors = {"good": 0.8, "weak": 0.4}
    likely = found.expected(FACTS, ["good", "weak", "other"], outcome="tests_pass", priors=priors)
    assert likely == {"good": pytest.approx(0.8), "weak": pytest.approx(0.4), "other": pytest.approx(0.6)}


def test_a_prior_fades_as_outcomes_come_in() -> None:
    def after(n: int) -> float:
        own = outcomes(n, 0.9 * n)
        found = kinship({("edit", "m"): own}, {"m": 0.3})
        assert found is not None
        return expected(found, "edit", "m", own)

    assert 0.3 < after(5) < after(50) < after(5000)
    assert after(5000) == pytest.approx(0.9, abs=0.01)


def test_a_model_that_is_good_elsewhere_is_expected_to_be_good_here_and_a_hard_step_to_be_hard() -> None:
    cells = {
        ("plan", "good"): outcomes(200, 180),
        ("plan", "weak"): outcomes(200, 100),
        ("edit", "weak"): outcomes(200, 60),
    }
    found = kinship(cells, {})
    assert found is not None
    assert expected(found, "edit", "good") > expected(found, "edit", "weak", cells["edit", "weak"])
    assert expected(found, "edit", "good") < expected(found, "plan", "good", cells["plan", "good"])


def test_it_is_nearer_to_the_truth_than_the_means_of_few_outcomes() -> None:
    dice, raw, mine = random.Random(3), 0.0, 0.0
    for _ in range(40):
        cells, truth = {}, {}
        ease = {f"s{k}": dice.gauss(0, 0.1) for k in range(4)}
        for m in range(6):
            level = dice.uniform(0.4, 0.8)
            for step, easier in ease.items():
                q = min(0.98, max(0.02, level + easier + dice.gauss(0, 0.05)))
                truth[step, f"m{m}"] = q
                n = dice.randint(3, 30)
                cells[step, f"m{m}"] = outcomes(n, sum(dice.random() < q for _ in range(n)))
        found = kinship(cells, {})
        assert found is not None
        for place, own in cells.items():
            raw += (own.total / own.n - truth[place]) ** 2
            mine += (expected(found, *place, own) - truth[place]) ** 2
    assert mine < 0.5 * raw


def test_no_plan_is_proven_by_what_is_expected() -> None:
    """A model that is perfect at another step, and would be by its prior, does not serve this one before it has proven itself here."""
    statistics = Statistics()
    seen(statistics, "base", passed=50)
    seen(statistics, "new", calls=200)
    for _ in range(3000):
        statistics.outcome(OutcomeSeen("coding", "plan", "new", "tests_pass", 1.0))
    snapshot = statistics.freeze()
    likely = snapshot.expected(Facts("coding", "edit"), ["new"], outcome="tests_pass", priors={"new": 0.99})["new"]
    assert likely is not None
    assert likely > 0.9
    here = world([target("base", dollars=10), target("new", dollars=1)], statistics)
    assert optimize(policy("quality >= 90% of baseline"), FACTS, here).targets[0].model == "base"


def test_what_is_expected_to_be_better_is_tried_more_often() -> None:
    """From outcomes of another step alone; and everything keeps its floor."""
    statistics = Statistics()
    for model, good in (("good", 0.9), ("weak", 0.3)):
        for number in range(200):
            statistics.outcome(OutcomeSeen("coding", "plan", model, "tests_pass", float(number < good * 200)))
    asked = parse({
        "policy": "coding", "baseline": "base", "quality": {"outcome": "tests_pass", "of": "step"},
        "explore": {"share": "10%", "max_cost": "1 USD/day", "max_quality_loss": "5pt"},
        "default": {"minimize": "cost", "require": ["quality >= 90% of baseline"]},
    })  # fmt: skip
    here = world([target("base"), target("good"), target("weak")], statistics)
    found = optimize(asked, FACTS, here).exploration
    assert found is not None
    share = {one.model: weight for weight, one in found.trials}
    assert share["good"] > 1.2 * share["weak"] > 0.25
    assert sum(share.values()) == pytest.approx(1.0)
