"""The optimizer: who serves, who follows, who never does."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fw_policies import explain
from fw_policies.estimate import Statistics
from fw_policies.model import Exclusion
from fw_policies.optimize import optimize, pinned
from tests.policies.worlds import FACTS, policy, seen, target, world

BASE, CHEAP = target("base", dollars=10), target("cheap", dollars=1)
LINES = ("quality >= 90% of baseline", "p95 ttft <= 2s")


def _known() -> Statistics:
    statistics = Statistics()
    seen(statistics, "base", calls=400, passed=360)
    seen(statistics, "cheap", calls=400, passed=372)
    return statistics


def test_on_day_one_the_baseline_serves_and_the_plan_says_what_is_missing() -> None:
    """With no evidence nothing is proven, whatever it costs."""
    plan = optimize(policy(*LINES), FACTS, world([CHEAP, BASE], Statistics()))
    assert (plan.reason, plan.targets) == ("baseline", (BASE,))
    assert plan.evidence["missing"]
    assert "56 calls" in str(plan.evidence["missing"])


def test_a_cheaper_model_serves_once_it_is_proven_and_the_baseline_follows() -> None:
    """Proven at the policy's confidence for every line: then the objective decides."""
    plan = optimize(policy(*LINES), FACTS, world([BASE, CHEAP], _known()))
    assert plan.reason == "best_score"
    assert plan.targets == (CHEAP, BASE)
    assert plan.strategy == "fall_back"


def test_an_unproven_model_serves_not_even_as_a_fallback() -> None:
    """Fewer calls than a proof needs leave a model out of every plan."""
    statistics = Statistics()
    seen(statistics, "base", calls=400, passed=360)
    seen(statistics, "cheap", calls=20, passed=20)
    plan = optimize(policy(*LINES), FACTS, world([BASE, CHEAP], statistics))
    assert plan.targets == (BASE,)
    assert {c.target.model: c.excluded for c in plan.candidates}["cheap"] == "unknown"


def test_a_model_seen_to_be_worse_is_excluded_for_its_quality() -> None:
    """The reason is the measure, with the figures."""
    statistics = Statistics()
    seen(statistics, "base", calls=400, passed=360)
    seen(statistics, "cheap", calls=400, passed=100)
    plan = optimize(policy(*LINES), FACTS, world([BASE, CHEAP], statistics))
    found = next(c for c in plan.candidates if c.target.model == "cheap")
    assert found.excluded == "quality"
    assert "0.25" in found.why


@pytest.mark.parametrize("reason", ["no_credential", "unhealthy", "cooldown", "rate_limited"])
def test_a_blocked_baseline_yields_to_the_stand_in_or_to_nothing(reason: Exclusion) -> None:
    """Without a stand-in the plan is infeasible and names the baseline."""
    blocked: dict[str, Exclusion] = {"base@here": reason}
    with_one = optimize(policy(), FACTS, world([BASE, CHEAP], Statistics(), blocked=blocked, stand_in="cheap"))
    assert (with_one.reason, with_one.targets) == ("degraded", (CHEAP,))
    without = optimize(policy(), FACTS, world([BASE, CHEAP], Statistics(), blocked=blocked))
    assert (without.reason, without.targets) == ("infeasible", ())
    refusing = policy(otherwise="refuse")
    assert (
        optimize(refusing, FACTS, world([BASE, CHEAP], Statistics(), blocked=blocked, stand_in="cheap")).reason
        == "infeasible"
    )


def test_refuse_refuses_what_is_seen_to_miss_and_serves_what_is_unknown() -> None:
    """On day one the baseline serves; a baseline that is seen too slow does not."""
    strict = policy("p95 ttft <= 100ms", otherwise="refuse")
    assert optimize(strict, FACTS, world([BASE], Statistics())).reason == "baseline"
    assert optimize(strict, FACTS, world([BASE], _known())).reason == "infeasible"


def test_relax_gives_up_the_named_line_and_no_other() -> None:
    """What is given up is noted, and the rest is still proven."""
    loose = policy("quality >= 90% of baseline", "p95 ttft <= 100ms", otherwise={"relax": ["ttft"]})
    plan = optimize(loose, FACTS, world([BASE, CHEAP], _known()))
    assert plan.targets[0] == CHEAP
    assert [line.measure for line in plan.requirements] == ["quality"]


def test_hard_rules_bind_the_baseline_too() -> None:
    """A region, a capability and a date are never traded."""
    eu = policy(data={"regions": ["eu"]})
    assert optimize(eu, FACTS, world([replace(BASE, region="us")], Statistics())).reason == "infeasible"
    seeing = FACTS._replace(needs=frozenset({"vision"}))
    assert (
        optimize(policy(), seeing, world([replace(BASE, capabilities=frozenset({"chat"}))], Statistics())).reason
        == "infeasible"
    )
    assert optimize(policy(), seeing, world([BASE], Statistics())).reason == "baseline"
    assert (
        optimize(policy(), FACTS, world([replace(BASE, deprecated_on="2026-11-23")], Statistics())).reason
        == "infeasible"
    )


def test_a_higher_percentile_needs_more_proof() -> None:
    """What proves p95 of the cost does not prove p99 of it."""
    statistics = Statistics()
    seen(statistics, "base", calls=60)
    seen(statistics, "cheap", calls=60)
    wide = world([BASE, CHEAP], statistics)
    assert optimize(policy("p95 cost <= 1 USD"), FACTS, wide).targets[0] == CHEAP
    assert optimize(policy("p99 cost <= 1 USD"), FACTS, wide).reason == "baseline"


def test_an_unknown_price_meets_no_bound_on_cost() -> None:
    """Unknown is not zero: free is not what nobody priced."""
    free = replace(CHEAP, price=None)
    plan = optimize(policy("cost <= 1 USD"), FACTS._replace(max_output_tokens=100), world([BASE, free], _known()))
    assert plan.targets == (BASE,)


def test_other_deployments_of_the_same_model_follow_and_domains_come_apart() -> None:
    """The same model elsewhere has the same quality; a policy may ask for another provider and zone first."""
    near = target("base", "near", zone="a", provider="openai")
    far = target("base", "yonder", zone="b", provider="azure")
    first = replace(BASE, zone="a")
    plan = optimize(policy(failure_domains=2), FACTS, world([first, near, far], Statistics()))
    assert plan.targets == (first, far, near)


def test_a_pinned_model_meets_no_test_but_health() -> None:
    """Its deployments in the config's order, whatever a policy would say."""
    away = target("cheap", "away", deprecated_on="2020-01-01")
    plan = pinned(FACTS._replace(model="cheap"), world([BASE, CHEAP, away], Statistics()))
    assert (plan.reason, plan.targets) == ("pinned", (CHEAP, away))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_candidates_does_not_matter_and_no_target_is_invented(seed: int) -> None:
    """The same plan from a shuffled config, made of its targets alone."""
    dice = random.Random(seed)
    statistics = Statistics()
    targets = [BASE]
    seen(statistics, "base", calls=100, passed=90)
    for number in range(5):
        targets.append(target(f"m{number}", dollars=dice.randint(1, 20)))
        seen(
            statistics,
            f"m{number}",
            calls=dice.choice([0, 20, 100]),
            passed=dice.choice([0, 18, 20]),
            ttft=dice.choice([0.2, 3.0]),
        )
    shuffled = dice.sample(targets, len(targets))
    asked = policy("p95 ttft <= 2s")
    one, two = (optimize(asked, FACTS, world(order, statistics)) for order in (targets, shuffled))
    assert one.targets == two.targets
    assert set(one.targets) <= set(targets)


@settings(max_examples=40, deadline=None)
@given(
    prices=st.lists(st.integers(1, 50), min_size=2, max_size=6),
    times=st.lists(st.sampled_from([0.2, 0.9, 1.8]), min_size=6, max_size=6),
)
def test_tightening_never_lowers_the_cost_of_what_is_proven(prices: list[int], times: list[float]) -> None:
    """Fewer choices are never cheaper than more."""
    statistics = Statistics()
    targets = []
    for number, (price, ttft) in enumerate(zip(prices, times, strict=False)):
        name = "base" if number == 0 else f"m{number}"
        targets.append(target(name, dollars=price))
        seen(statistics, name, calls=60, ttft=ttft)
    here = world(targets, statistics)
    plans = [optimize(policy(f"p95 ttft <= {limit}s"), FACTS, here) for limit in ("2", "1", "0.5")]
    costs = [p.outlook.cost.mean for p in plans if p.reason == "best_score" and p.outlook.cost is not None]
    assert costs == sorted(costs)


def test_explain_prints_the_same_object_it_gives_as_json() -> None:
    """Everything is plain JSON, within the width of a terminal, and unknown prints as unknown."""
    for statistics in (Statistics(), _known()):
        plan = optimize(policy(*LINES), FACTS, world([BASE, CHEAP], statistics))
        found = json.loads(json.dumps(explain.mapping(plan, decision_id="01J8"), allow_nan=False))
        text = explain.text(found)
        assert max(map(len, text.splitlines())) <= 100
        assert "uncertified" in text
        assert ("unknown" in text) == (statistics.to_dict()["latency"] == {})
