"""A lock serves its step for as long as what it was proven under holds; then the baseline does, and says why."""

from dataclasses import replace

import pytest

from fw_policies.estimate import Observation, OutcomeSeen, Statistics
from fw_policies.estimate.outcomes import ACCEPTED
from fw_policies.explain import mapping, text
from fw_policies.lock import Arm, Certificate, Lock, LockedStep, Unfit, from_dict, to_dict
from fw_policies.model import Facts, Plan, Target, TokenPrice, World
from fw_policies.optimize import optimize
from fw_policies.spec import Policy, parse

TODAY = "2026-11-23"
POLICY = parse({
    "policy": "p", "baseline": "big", "quality": {"outcome": "ok", "of": "step", "confidence": "90%"},
    "default": {"minimize": "cost", "require": ["quality >= 98% of baseline"]},
    "steps": {
        "sure": {"verify": "not_empty"}, "slow": {"require": ["p95 latency <= 1s"]},
        "own": {"cases": [{"when": "attempt >= 2", "require": ["quality >= 0.9"]}]},
    },
})  # fmt: skip
BIG = Target("big", "big@a", "x", "big", price=TokenPrice(10**9, 10**10))
SMALL = Target("small", "small@b", "y", "small", price=TokenPrice(10**8, 10**9))
PROOF = Certificate("quality >= 98% of baseline", "ok", "step", 0.9, 0.91, 0.012, 400, "2026-12-06")


def lock(policy: Policy = POLICY, **steps: LockedStep) -> Lock:
    return Lock("p", policy.digest, "big", "2026-11-22", "d1", "2026-11-01", "2026-11-22", "prices", 0, steps)


ONE = LockedStep((Arm(("small",)),), PROOF, (100.0, 90.0, 110.0), (0.9, 0.88, 0.92))
TWO = LockedStep((Arm(("small",), 0.7), Arm(("big",), 0.3)), PROOF)


def decide(found: Lock, step: str = "edit", *, statistics: Statistics | None = None, **world: object) -> Plan:
    base = World((BIG, SMALL), {}, (statistics or Statistics()).freeze(), TODAY, locks={"p": found})
    return optimize(POLICY, Facts(agent="p", step=step), replace(base, **world))  # type: ignore[arg-type]


def test_what_is_certified_serves_and_falls_back_to_the_baseline() -> None:
    plan = decide(lock(edit=ONE))
    assert [target.model for target in plan.targets] == ["small", "big"]
    assert plan.reason == "best_score"
    found = mapping(plan, decision_id="d")
    assert found["certificate"]["expires"] == "2026-12-06"
    assert found["certificate"]["lock"] == lock(edit=ONE).digest
    said = text(found)
    assert "certified at 90% to 2026-12-06" in said
    assert "by 400 runs; it certifies this step" in said


def test_a_mixture_of_two_is_drawn_from_with_its_weights() -> None:
    plan = decide(lock(edit=TWO))
    assert plan.strategy == "mixture"
    assert [(weight, arm.targets[0].model) for weight, arm in plan.arms] == [(0.7, "small"), (0.3, "big")]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (replace(lock(edit=ONE), version="other"), "made for version other"),
        (lock(edit=replace(ONE, certificate=replace(PROOF, expires=TODAY))), "expired on"),
        (lock(edit=LockedStep((), reason="not proven by 12 runs")), "not proven by 12 runs"),
        (lock(plan=ONE), "has no such step"),
        (lock(edit=LockedStep((Arm(("gone",)),), PROOF)), "gone may not serve now"),
    ],
)
def test_what_no_longer_holds_leaves_the_baseline_and_says_why(found: Lock, why: str) -> None:
    plan = decide(found)
    assert plan.targets[0].model == "big"
    assert plan.certificate is None
    assert any(why in note.text for note in plan.notes if note.rule == "lock")


def test_a_model_that_may_not_serve_now_voids_the_whole_mixture() -> None:
    plan = decide(lock(edit=TWO), blocked={"small@b": "cooldown"})
    assert plan.targets[0].model == "big"
    assert not plan.arms


def test_a_certificate_of_quality_proves_nothing_of_latency() -> None:
    assert decide(lock(slow=ONE), "slow").targets[0].model == "big"
    seen = Statistics()
    for _ in range(60):
        seen.observe(Observation("p", "slow", "small", "small@b", ok=True, latency=0.2, output_tokens=5))
    assert decide(lock(slow=ONE), "slow", statistics=seen).targets[0].model == "small"


def test_what_a_point_of_quality_costs_comes_with_the_plan() -> None:
    plan = decide(lock(edit=replace(ONE, dual=600_000.0)))
    assert plan.certificate is not None
    assert plan.certificate["dual"] == 600_000.0
    assert "dual" not in (decide(lock(edit=ONE)).certificate or {})


def test_a_cascade_is_served_as_it_was_certified_and_costs_what_the_whole_walk_does() -> None:
    cascade = LockedStep((Arm(("small", "big")),), PROOF, verify=("not_empty",))
    seen = Statistics()
    for model, place in (("small", "small@b"), ("big", "big@a")):
        for number in range(60):
            seen.observe(
                Observation("p", "sure", model, place, ok=True, latency=0.2, input_tokens=100, output_tokens=50)
            )
            seen.outcome(OutcomeSeen("p", "sure", model, ACCEPTED, float(number % 4 != 0)))
    plan = decide(lock(sure=cascade), "sure", statistics=seen)
    assert plan.strategy == "cascade"
    assert [target.model for target in plan.targets] == ["small", "big"]
    assert plan.certificate is not None
    costs = {c.target.model: c.outlook.cost for c in plan.candidates}
    assert plan.outlook.cost is not None
    assert costs["small"] is not None
    assert costs["big"] is not None
    assert plan.outlook.cost.mean == pytest.approx(costs["small"].mean + 0.25 * costs["big"].mean, rel=0.1)


def test_what_was_proven_under_other_checks_does_not_serve() -> None:
    plan = decide(lock(sure=ONE), "sure")
    assert plan.targets[0].model == "big"
    assert any("other checks" in note.text for note in plan.notes)


def test_a_case_that_asks_for_more_is_not_served_by_it() -> None:
    world = World((BIG, SMALL), {}, Statistics().freeze(), TODAY, locks={"p": lock(own=ONE)})
    assert optimize(POLICY, Facts(agent="p", step="own"), world).targets[0].model == "small"
    assert optimize(POLICY, Facts(agent="p", step="own", attempt=2), world).targets[0].model == "big"


def test_a_lock_survives_its_file_and_every_change_changes_its_digest() -> None:
    found = lock(edit=ONE, plan=TWO)
    assert from_dict(to_dict(found)).digest == found.digest
    assert lock(edit=TWO).digest != lock(edit=ONE).digest


@pytest.mark.parametrize("bad", [None, [], {"lock": 9}, {"lock": 1}, {"lock": 1, "steps": 3, "data": {}}])
def test_what_is_no_lock_is_refused_in_words(bad: object) -> None:
    with pytest.raises(Unfit, match="lock"):
        from_dict(bad)


def test_a_mixture_shows_the_bound_that_all_of_its_arms_keep() -> None:
    """Not that of its quick arm alone; each arm that is drawn shows its own."""
    asked = parse(
        {**dict(POLICY.canonical), "default": {"minimize": "cost", "require": [PROOF.promise, "p95 latency <= 30s"]}}
    )
    statistics = Statistics()
    for model, place, seconds in (("small", "small@b", 1.0), ("big", "big@a", 20.0)):
        for _ in range(200):
            statistics.observe(Observation("p", "plan", model, place, ok=True, latency=seconds, output_tokens=100))
    found = replace(lock(plan=TWO), version=asked.digest)
    world = World((BIG, SMALL), {}, statistics.freeze(), TODAY, locks={"p": found})
    plan = optimize(asked, Facts(agent="p", step="plan"), world)
    quality, latency = plan.proofs
    assert quality.holds
    assert latency.holds
    assert latency.value == pytest.approx(20.0, rel=0.1)
    assert [arm.proofs[1].value for _, arm in plan.arms] == [pytest.approx(1.0, rel=0.1), latency.value]
    told = mapping(plan, decision_id="d")
    assert told["rejected"] == {}
    assert told["saves"]["share"] == pytest.approx(0.7 * 0.9, rel=0.01)
