"""A against B: what is promoted is seldom wrong, what is undecided says how much is missing."""

from collections import Counter

import numpy as np
import pytest

from fw_policies.learn.compare import Comparison, Run, compare


def runs(rng: np.random.Generator, *, a: float, b: float, tasks: int, each: int = 3, shared: bool = True) -> Comparison:
    """A world where tasks differ: runs of one task succeed together. B costs 70 % of A."""

    def side(mean: float, names: range, hard: np.ndarray, price: float) -> list[Run]:
        found = []
        for name, level in zip(names, hard, strict=True):
            count = 1 + int(rng.integers(0, 2 * each - 1))  # unequal sizes
            chance = mean + (1 - mean) * mean * level
            draws = [(float(rng.random() < chance), price * float(rng.gamma(4, 0.25))) for _ in range(count)]
            found.extend(Run(str(name), quality, cost) for quality, cost in draws)
        return found

    hard = rng.uniform(-0.9, 0.9, tasks)
    other = hard if shared else rng.uniform(-0.9, 0.9, tasks)
    names = range(tasks) if shared else range(tasks, 2 * tasks)
    return compare(side(a, range(tasks), hard, 1.0), side(b, names, other, 0.7), margin=0.05)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("a", "tasks"), [(0.97, 20), (0.8, 60), (0.6, 120)])
def test_a_policy_at_the_margin_is_promoted_in_at_most_one_of_ten(a: float, tasks: int, shared: bool) -> None:
    """Confidence 90 %: the worst case of a wrong promotion is a quality lower by exactly the margin."""
    rng = np.random.default_rng(11)
    found = Counter(runs(rng, a=a, b=a - 0.05, tasks=tasks, shared=shared).verdict for _ in range(300))
    assert found["PROMOTE"] <= 0.1 * 300 + 3 * (0.09 * 300) ** 0.5, found


def test_an_equal_and_cheaper_policy_is_promoted_and_a_worse_one_rejected() -> None:
    """With 400 paired tasks both are seen nearly always."""
    rng = np.random.default_rng(12)
    equal = Counter(runs(rng, a=0.8, b=0.8, tasks=400).verdict for _ in range(40))
    worse = Counter(runs(rng, a=0.8, b=0.6, tasks=400).verdict for _ in range(40))
    assert equal["PROMOTE"] >= 33, equal
    assert worse["REJECT"] >= 38, worse


def test_a_good_policy_is_seldom_rejected() -> None:
    """Equal quality, lower cost: a rejection is an error, of at most one in ten."""
    rng = np.random.default_rng(13)
    found = Counter(runs(rng, a=0.7, b=0.7, tasks=40).verdict for _ in range(200))
    assert found["REJECT"] <= 20, found


def test_twenty_tasks_without_a_failure_prove_no_margin_of_five_points() -> None:
    """Nothing varied, and yet a loss of 10 % would often have stayed unseen."""
    a = [Run(str(task), 1.0, 2.0) for task in range(20)]
    b = [Run(str(task), 1.0, 1.0) for task in range(20)]
    found = compare(a, b, margin=0.05)
    assert found.verdict == "INCONCLUSIVE"
    assert found.quality is not None
    assert found.quality.low < -0.05
    assert found.more is not None
    assert found.more > 0


def test_the_tasks_that_are_asked_for_decide() -> None:
    """Of comparisons continued with that many tasks, at least 70 % have a verdict."""
    rng = np.random.default_rng(14)
    decided = asked = 0
    for _ in range(60):
        first = runs(rng, a=0.75, b=0.77, tasks=60)
        if first.more is None or first.more > 1500:
            continue
        asked += 1
        decided += runs(rng, a=0.75, b=0.77, tasks=60 + first.more).verdict != "INCONCLUSIVE"
    assert asked >= 20
    assert decided >= 0.7 * asked


def test_pairing_is_used_where_both_did_the_same_tasks() -> None:
    """The interval of paired tasks is narrower than that of as many unrelated ones."""
    paired = runs(np.random.default_rng(15), a=0.7, b=0.7, tasks=200)
    apart = runs(np.random.default_rng(15), a=0.7, b=0.7, tasks=200, shared=False)
    assert paired.quality is not None
    assert apart.quality is not None
    assert paired.quality.paired
    assert not apart.quality.paired
    assert paired.quality.high - paired.quality.low < apart.quality.high - apart.quality.low


def test_a_dearer_policy_needs_a_margin_for_cost() -> None:
    """Better, and proven dearer: rejected until someone says what it may cost more."""
    rng = np.random.default_rng(16)
    a = [Run(str(task), float(rng.random() < 0.6), 1.0 + 0.1 * float(rng.random())) for task in range(200)]
    b = [Run(str(task), float(rng.random() < 0.9), 1.5 + 0.1 * float(rng.random())) for task in range(200)]
    assert compare(a, b, margin=0.02).verdict == "REJECT"
    assert compare(a, b, margin=0.02, cost_margin=0.6).verdict == "PROMOTE"
    assert compare(a, b, margin=0.02, cost_margin=None).verdict == "PROMOTE"


def test_what_is_unknown_decides_nothing() -> None:
    """No outcomes: inconclusive. Unknown costs: inconclusive while cost is tested."""
    silent = [Run(str(task), None, 1.0) for task in range(50)]
    found = compare(silent, silent, margin=0.05)
    assert (found.verdict, found.quality, found.more) == ("INCONCLUSIVE", None, None)
    priceless = [Run(str(task), 1.0, None) for task in range(500)]
    assert compare(priceless, priceless, margin=0.05).verdict == "INCONCLUSIVE"
    assert compare(priceless, priceless, margin=0.05, cost_margin=None).verdict == "PROMOTE"


def test_no_worse_without_a_margin_is_refused() -> None:
    """It cannot be proven."""
    with pytest.raises(ValueError, match="margin"):
        compare([], [], margin=0.0)
    with pytest.raises(ValueError, match="quality"):
        compare([Run("a", 2.0, 1.0)], [], margin=0.1)
