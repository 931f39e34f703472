"""Logged calls made ready for evaluation: by call, by run."""

import numpy as np
import pytest

from fw_policies.learn import traffic
from fw_policies.learn.ope import Answer, Refused

TO_B = {"plan": {"b": 1.0}, "edit": {"b": 1.0}}


def runs(rng: np.random.Generator, count: int, *, certain: bool = False) -> tuple[list[traffic.Call], dict[str, float]]:
    """Runs of two steps, each drawing model `b` in half of its calls; a run succeeds more often with each `b`."""
    found, values = [], {}
    for number in range(count):
        good = 0
        for step in TO_B:
            arm = "a" if certain and step == "plan" else str(rng.choice(["a", "b"]))
            good += arm == "b"
            chance = 1.0 if certain and step == "plan" else 0.5
            found.append(traffic.Call(step, arm, chance, str(number), None))
        values[str(number)] = float(rng.random() < 0.5 + 0.2 * good)
    return found, values


def test_a_run_speaks_for_a_policy_when_all_of_its_calls_do() -> None:
    """Both steps changed give 0.9, which no single call's change would show; at least 93 % of the intervals hold it."""
    rng, held = np.random.default_rng(1), 0
    for seed in range(60):
        calls, values = runs(rng, 600)
        found = traffic.per_run(calls, values, TO_B, seed=seed, bounded=True)
        assert isinstance(found, Answer)
        held += found.low <= 0.9 <= found.high
    assert held >= 56


def test_a_run_with_a_call_that_left_no_chance_says_nothing() -> None:
    """`plan` was always model `a`: what `b` does there is unknown, however often `edit` varied."""
    calls, values = runs(np.random.default_rng(2), 600, certain=True)
    found = traffic.per_run(calls, values, TO_B, seed=1, bounded=True)
    assert isinstance(found, Refused)
    assert found.uncovered > 0.9


def test_a_mixture_is_not_judged_by_runs() -> None:
    """It is refused with what would help; by calls it is answered."""
    calls, values = runs(np.random.default_rng(3), 300)
    half = {"plan": {"a": 0.5, "b": 0.5}, "edit": {"b": 1.0}}
    found = traffic.per_run(calls, values, half, seed=1, bounded=True)
    assert isinstance(found, Refused)
    assert "mixture" in found.reason
    single = [traffic.Call(c.context, c.arm, c.propensity, "", values[c.run]) for c in calls]
    assert isinstance(traffic.per_call(single, half, seed=1, bounded=True), Answer)


def test_calls_of_one_run_share_their_luck() -> None:
    """The same rows say less when they belong to few runs."""
    rng = np.random.default_rng(4)
    luck = [float(rng.random() < 0.6) for _ in range(60)]
    arms = [str(rng.choice(["a", "b"])) for _ in range(60)]
    together = [traffic.Call("edit", arms[at // 10], 0.5, str(at // 10), luck[at // 10]) for at in range(600)]
    apart = [traffic.Call(c.context, c.arm, c.propensity, "", c.value) for c in together]
    would = {"edit": {"b": 1.0}}
    one = traffic.per_call(together, would, seed=1, bounded=True)
    other = traffic.per_call(apart, would, seed=1, bounded=True)
    assert one.ess < other.ess / 4


@pytest.mark.parametrize("calls", [[], [traffic.Call("edit", "a", 1.0, "r", None)]])
def test_nothing_known_is_refused(calls: list[traffic.Call]) -> None:
    """Neither an error nor a number."""
    assert isinstance(traffic.per_call(calls, {"edit": {"a": 1.0}}, seed=1, bounded=True), Refused)
    assert isinstance(traffic.per_run(calls, {}, {"edit": {"a": 1.0}}, seed=1, bounded=True), Refused)
