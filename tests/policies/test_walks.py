"""How plans are walked when answers must pass checks, and what is left to chance in them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_policies import draw, explain
from fw_policies.estimate import OutcomeSeen, Statistics
from fw_policies.estimate.outcomes import ACCEPTED
from fw_policies.flow import Answer, Commit, Failed, Open, Verdict, Verify, flow
from fw_policies.model import Exclusion, Exploration, Facts, MachinePrice, Plan, Target, TokenPrice
from fw_policies.optimize import optimize
from fw_policies.rules import explore
from fw_policies.rules.ask import Ask
from fw_policies.rules.explore import worst
from fw_policies.rules.verify import verify
from fw_policies.spec import parse
from tests.policies.worlds import FACTS, policy, seen, target, world

A, B, B2 = target("a"), target("b"), target("b", "there")
LIMITS = {"share": "10%", "max_cost": "1 USD/day", "max_quality_loss": "5pt"}


def plan(*targets: Target, **more: object) -> Plan:
    found = Plan("p", "1", "s", "minimize cost", "cascade", "best_score", targets, verify=("not_empty",))
    return replace(found, **more)


def test_an_accepted_answer_is_committed() -> None:
    walk = flow(plan(A, B))
    assert next(walk) == Open(A, hold=True)
    answer = Answer(A, "x")
    assert walk.send(answer) == Verify(answer, ("not_empty",))
    assert walk.send(Verdict(accepted=True)) == Commit(answer)
    with pytest.raises(StopIteration):
        walk.send(None)


def test_a_rejected_answer_goes_on_to_the_next_model_and_not_to_another_place_of_the_same() -> None:
    walk = flow(plan(B, B2, A))
    next(walk)
    walk.send(Answer(B, "x"))
    assert walk.send(Verdict(False, "not_empty", "empty")) == Open(A, hold=True, cascade=True)


def test_a_failure_goes_on_to_another_place_of_the_same_model() -> None:
    walk = flow(plan(B, B2, A))
    next(walk)
    assert walk.send(Failed(B, "fault")) == Open(B2, hold=True)


@pytest.mark.parametrize("otherwise", ["baseline", "refuse"])
def test_the_last_rejected_answer_is_passed_on_unless_the_policy_refuses(otherwise: str) -> None:
    walk = flow(plan(A, otherwise=otherwise))
    next(walk)
    answer, verdict = Answer(A, "x"), Verdict(False, "not_empty", "empty")
    walk.send(answer)
    if otherwise == "refuse":
        with pytest.raises(StopIteration):
            walk.send(verdict)
    else:
        assert walk.send(verdict) == Commit(answer, verdict)


def test_when_what_follows_a_rejected_answer_fails_the_rejected_one_is_passed_on() -> None:
    walk = flow(plan(A, B))
    next(walk)
    answer, verdict = Answer(A, "x"), Verdict(False, "not_empty", "empty")
    walk.send(answer)
    walk.send(verdict)
    assert walk.send(Failed(B, "fault")) == Commit(answer, verdict)


def proven(*require: str, **more: object) -> Plan:
    """A plan in a world where `cheap` and `base` are proven and `new` is not."""
    known = Statistics()
    seen(known, "base", passed=58)
    seen(known, "cheap", passed=58)
    for _ in range(58):
        known.outcome(OutcomeSeen("coding", "edit", "cheap", ACCEPTED, 1.0))
    targets = [target("base", dollars=10.0, max_output=1000), target("cheap"), target("new", max_output=1000)]
    facts = FACTS._replace(checks=more.pop("checks", ()))  # type: ignore[arg-type]
    text = {"policy": "coding", "baseline": "base", "quality": {"outcome": "tests_pass", "of": "step"}}
    lines = {"minimize": "cost", "require": list(require), **more}
    explore = lines.pop("explore", None)
    text |= {"default": lines, **({"explore": explore} if explore else {})}
    return optimize(parse(text), facts, world(targets, known))


def test_checks_turn_a_fall_back_over_models_into_a_cascade() -> None:
    found = proven("quality >= 80%", verify="not_empty")
    assert (found.strategy, found.verify) == ("cascade", ("not_empty",))
    assert [one.model for one in found.targets] == ["cheap", "base"]


def test_under_checks_the_walk_is_judged_whole() -> None:
    """A rejected answer costs its price and the baseline's: both are in the plan's figures, and the limit holds for the sum."""
    known = Statistics()
    seen(known, "base", calls=150, passed=148)
    seen(known, "cheap", calls=150, passed=148)
    for number in range(100):
        known.outcome(OutcomeSeen("coding", "edit", "cheap", ACCEPTED, float(number >= 20)))
    targets = [target("base", dollars=10.0), target("cheap")]
    text = {"policy": "coding", "baseline": "base", "quality": {"outcome": "tests_pass", "of": "step"}}
    one_call, both = "p95 latency <= 3s", "p95 latency <= 5s"
    plans = {}
    for line in (one_call, both):
        lines = {"minimize": "cost", "verify": "not_empty", "require": ["quality >= 80%", line]}
        plans[line] = optimize(parse(text | {"default": lines}), FACTS, world(targets, known))
    assert plans[one_call].targets[0].model == "base", "2 s and another 2 s are more than 3 s"
    found = plans[both]
    assert [one.model for one in found.targets] == ["cheap", "base"]
    own = {c.target.model: c.outlook.cost for c in found.candidates}
    assert found.outlook.cost is not None
    assert own["cheap"] is not None
    assert own["base"] is not None
    assert found.outlook.cost.mean == pytest.approx(own["cheap"].mean + 0.2 * own["base"].mean)
    assert found.reach == (1.0, pytest.approx(0.2))
    assert found.outlook.ttft == found.outlook.latency, "what is held back shows its first byte when it is whole"
    (_, time) = found.proofs
    assert time.holds
    assert time.value is not None
    assert 4 <= time.value <= 5


def test_what_is_rejected_goes_on_to_the_next_model_and_not_to_another_place_of_the_same() -> None:
    known = Statistics()
    seen(known, "base", calls=120, passed=118)
    seen(known, "cheap", calls=120, passed=118)
    seen(known, "cheap", calls=120, place="there")
    for number in range(100):
        known.outcome(OutcomeSeen("coding", "edit", "cheap", ACCEPTED, float(number >= 50)))
    targets = [target("base", dollars=10.0), target("cheap"), target("cheap", "there", dollars=1.1)]
    lines = {"minimize": "cost", "verify": "not_empty", "require": ["quality >= 80%"]}
    text = {
        "policy": "coding",
        "baseline": "base",
        "quality": {"outcome": "tests_pass", "of": "step"},
        "default": lines,
    }
    found = optimize(parse(text), FACTS, world(targets, known))
    assert [one.deployment for one in found.targets] == ["cheap@here", "cheap@there", "base@here"]
    assert found.reach == (1.0, 0.0, pytest.approx(0.5))


def test_what_is_tried_promises_nothing_that_was_promised_of_the_plan_in_its_place() -> None:
    found = proven("quality >= 80%", "p95 latency <= 30s", explore=LIMITS)
    assert found.exploration is not None
    assert found.proofs
    tried = explore.trial(found, found.exploration.trials[0][1])
    assert (tried.proofs, tried.certificate, tried.near, tried.reach) == ((), None, None, ())
    assert "slack" not in explain.text(explain.mapping(tried, decision_id=""))


@pytest.mark.parametrize(("blocked", "served"), [({}, "base"), ({"base@slow": "cooldown"}, "cheap")])
def test_whichever_place_of_the_baseline_follows_the_walk_keeps_its_limit(
    blocked: dict[str, Exclusion], served: str
) -> None:
    """One that takes 60 s may follow a rejected answer: then nothing proves 30 s; out of service it may not."""
    known = Statistics()
    seen(known, "base", calls=200, passed=190)
    seen(known, "base", calls=200, place="slow", latency=60.0)
    seen(known, "cheap", calls=200, passed=190)
    for _ in range(50):
        known.outcome(OutcomeSeen("coding", "edit", "cheap", ACCEPTED, 1.0))
    targets = [target("base", dollars=10.0), target("base", "slow", dollars=10.0), target("cheap")]
    lines = {"minimize": "cost", "verify": "not_empty", "require": ["quality >= 80%", "p95 latency <= 30s"]}
    text = {
        "policy": "coding",
        "baseline": "base",
        "quality": {"outcome": "tests_pass", "of": "step"},
        "default": lines,
    }
    found = optimize(parse(text), FACTS, world(targets, known, blocked=blocked))
    assert found.targets[0].model == served


def test_a_check_of_the_client_is_run_only_by_a_client_that_says_so() -> None:
    """Undeclared it is left out, and the plan says so; declared by name or by `*` it is in."""
    silent = proven("quality >= 80%", verify=["not_empty", "patch_applies"])
    assert silent.verify == ("not_empty",)
    assert any("patch_applies is not run by this client" in one.text for one in silent.notes)
    for said in ("patch_applies", "*"):
        assert proven("quality >= 80%", verify="patch_applies", checks=(said,)).verify == ("patch_applies",)


def test_a_cascade_that_leans_on_a_check_nobody_runs_is_its_last_target_alone() -> None:
    rules = policy(verify="patch_applies")
    ask = Ask(rules, rules.default, FACTS, world([A, B], Statistics()))
    found = verify(plan(A, B, verify=("patch_applies",)), ask)
    assert (found.strategy, found.targets, found.verify) == ("single", (B,), ())


def test_effort_is_the_usual_one_or_the_allowed_one_nearest_to_it() -> None:
    assert proven("quality >= 80%").effort is None
    assert proven("quality >= 80%", effort=["low", "medium", "high"]).effort == "medium"
    assert proven("quality >= 80%", effort=["low", "high"]).effort == "high"
    assert proven("quality >= 80%", effort=["minimal", "low"]).effort == "low"


def test_without_explore_nothing_unproven_is_ever_in_a_plan() -> None:
    found = proven("quality >= 80%")
    assert found.exploration is None
    assert "new" not in {one.model for one in found.targets}


def test_explore_offers_what_is_not_proven_and_falls_back_to_the_baseline() -> None:
    found = proven("quality >= 80%", explore=LIMITS)
    assert found.exploration is not None
    ((weight, offered),) = found.exploration.trials
    assert weight == 1
    trial = explore.trial(found, offered)
    assert [one.model for one in trial.targets] == ["new", "base", "cheap"]
    assert (trial.reason, trial.explored, trial.exploration) == ("explored", True, None)


def test_use_baseline_is_never_explored() -> None:
    assert proven("quality >= 80%", explore=LIMITS, use="baseline").exploration is None


@pytest.mark.parametrize(("passed", "offered"), [(40, True), (2, False)])
def test_a_candidate_surely_worse_than_the_loss_allows_is_explored_no_more(passed: int, offered: bool) -> None:
    """60 outcomes: 40 good may still be within 5 points of 58 good ones' mean or not; 2 good are surely not."""
    known = Statistics()
    seen(known, "base", passed=45)
    seen(known, "new", calls=12 if offered else 60, passed=min(passed, 8))
    text = {
        "policy": "coding",
        "baseline": "base",
        "quality": {"outcome": "tests_pass", "of": "step"},
        "explore": LIMITS,
    }
    found = optimize(
        parse({**text, "default": {"require": ["quality >= 70%", "p95 ttft <= 9s"]}}),
        FACTS,
        world([target("base"), target("new")], known),
    )
    assert (found.exploration is not None) is offered


@pytest.mark.parametrize(
    ("texts", "loss", "offered"), [(False, "50pt", False), (True, "50pt", True), (True, "5pt", False)]
)
def test_where_texts_are_kept_what_fails_on_average_is_explored_on_within_its_loss(
    texts: bool, loss: str, offered: bool
) -> None:
    known = Statistics()
    seen(known, "base", passed=58)
    seen(known, "new", passed=30)
    lines = parse({
        "policy": "coding", "baseline": "base", "quality": {"outcome": "tests_pass", "of": "step"},
        "explore": {**LIMITS, "max_quality_loss": loss}, "default": {"require": ["quality >= 80%"]},
    })  # fmt: skip
    found = optimize(lines, FACTS, replace(world([target("base"), target("new")], known), texts=texts))
    assert next(c.excluded for c in found.candidates if c.target.model == "new") == "quality"
    assert (found.exploration is not None) is offered


def test_hard_rules_bind_what_is_explored() -> None:
    known = Statistics()
    text = {
        "policy": "coding",
        "baseline": "base",
        "explore": LIMITS,
        "default": {"models": {"exclude": ["new"]}, "require": ["p95 ttft <= 2s"]},
    }
    found = optimize(
        parse(text),
        FACTS,
        world([target("base"), target("new"), target("dead")], known, blocked={"dead@here": "unhealthy"}),
    )
    assert found.exploration is None


EXPLORING = plan(A, exploration=Exploration(0.1, 1, "p", ((0.25, B), (0.75, B2))), strategy="single", verify=())


def test_propensities_are_the_probabilities_with_which_plans_are_drawn() -> None:
    """Over an even grid of draws, each plan comes up as often as its propensity says, and they sum to one."""
    size = 10_000
    counts: dict[str, int] = {}
    said: dict[str, float] = {}
    for number in range(size):
        found = draw.tried(EXPLORING, (number + 0.5) / size, lambda trial: True)
        name = found.targets[0].deployment if found is not None else "kept"
        counts[name] = counts.get(name, 0) + 1
        said[name] = found.propensity if found is not None else draw.kept(EXPLORING, lambda trial: True)
    assert sum(said.values()) == pytest.approx(1)
    assert {name: count / size for name, count in counts.items()} == pytest.approx(said, abs=1e-3)


def test_what_cannot_be_afforded_is_not_drawn_and_the_others_propensity_says_so() -> None:
    def cheap(trial: Target) -> bool:
        return trial == B

    found = draw.tried(EXPLORING, 0.0999, cheap)
    assert found is not None
    assert (found.targets[0], found.propensity) == (B, pytest.approx(0.1))
    assert draw.tried(EXPLORING, 0.0, lambda trial: False) is None
    assert draw.kept(EXPLORING, lambda trial: False) == 1.0


MIXED = plan(strategy="mixture", arms=((0.2, plan(A)), (0.5, plan(B)), (0.3, plan(target("c")))))


def test_arms_are_drawn_with_their_weights_by_chance_and_by_key() -> None:
    size = 4000
    for chosen in (
        [draw.arm(MIXED, (number + 0.5) / size) for number in range(size)],
        [draw.sticky_arm(MIXED, "run", str(number)) for number in range(size)],
    ):
        for weight, one in MIXED.arms:
            found = [each for each in chosen if each.targets == one.targets]
            assert len(found) / size == pytest.approx(weight, abs=0.03)
            assert all(each.propensity == weight for each in found)


def test_a_run_keeps_its_arm_when_another_arm_goes() -> None:
    """Only runs whose own arm is gone move."""
    less = replace(MIXED, arms=tuple((weight / 0.7, one) for weight, one in MIXED.arms[:2]))
    for number in range(300):
        before = draw.sticky_arm(MIXED, "run", str(number)).targets
        if before != MIXED.arms[2][1].targets:
            assert draw.sticky_arm(less, "run", str(number)).targets == before


def test_the_worst_cost_is_unknown_when_nothing_bounds_it() -> None:
    priced = replace(A, price=TokenPrice(1_000_000, 2_000_000), max_output=1000)
    assert worst(priced, Facts(), size=976, seconds=1.0) == 2000 + 2000
    assert worst(priced, Facts(max_output_tokens=10), size=976, seconds=1.0) == 2020
    assert worst(replace(priced, max_output=None), Facts(), size=1, seconds=1.0) is None
    assert worst(priced, Facts(needs=frozenset({"vision"})), size=1, seconds=1.0) is None
    assert worst(replace(priced, price=None), Facts(), size=1, seconds=1.0) is None
    assert worst(replace(priced, price=MachinePrice(3600)), Facts(), size=1, seconds=10.0) == 10


def test_a_run_stays_with_its_model_while_nothing_speaks_against_it() -> None:
    """Another proven model, or the baseline, may stay in front; the plan says why."""
    found = proven("quality >= 80%")
    assert found.targets[0].model == "cheap"
    stays = draw.stay(found, "base")
    assert [one.model for one in stays.targets] == ["base", "cheap"]
    assert any(one.rule == "sticky" for one in stays.notes)
    assert draw.stay(found, "cheap") is found
    assert draw.stay(found, "gone") is found


def test_a_run_leaves_a_model_that_may_no_longer_serve_and_never_reorders_a_cascade() -> None:
    found = proven("quality >= 80%")
    out = tuple(one._replace(excluded="cooldown") if one.target.model == "base" else one for one in found.candidates)
    assert draw.stay(replace(found, candidates=out), "base").targets[0].model == "cheap"
    unproven = draw.stay(found, "new")
    assert unproven is found
    cascade = proven("quality >= 80%", verify="not_empty")
    assert draw.stay(cascade, "base") is cascade


def test_several_choices_cost_several_times() -> None:
    priced = replace(A, price=TokenPrice(0, 1_000_000), max_output=10)
    assert worst(priced, Facts(), size=0, seconds=1.0, choices=3) == 30


@given(
    weights=st.lists(st.integers(1, 100), min_size=1, max_size=6),
    share=st.floats(0.001, 0.5),
    keep=st.sets(st.integers(0, 5)),
)
def test_whatever_can_be_afforded_the_probabilities_of_all_that_may_be_drawn_sum_to_one(
    weights: list[int], share: float, keep: set[int]
) -> None:
    """Each trial is found by a draw of its own part of [0, share), and what is kept has the rest."""
    total = sum(weights)
    trials = tuple((weight / total, target(f"t{number}")) for number, weight in enumerate(weights))
    base = plan(A, exploration=Exploration(share, 1, "p", trials))

    def affordable(trial: Target) -> bool:
        return int(trial.model[1:]) in keep

    left = sum(weight for number, weight in enumerate(weights) if number in keep)
    found: dict[str, float] = {}
    at = 0.0
    for number, weight in enumerate(weights):
        if number in keep:
            drawn = draw.tried(base, (at + weight / left / 2) * share, affordable)
            assert drawn is not None
            found[drawn.targets[0].model] = drawn.propensity
            at += weight / left
    assert set(found) == {f"t{number}" for number in range(len(weights)) if number in keep}
    assert sum(found.values()) + draw.kept(base, affordable) == pytest.approx(1)
    assert draw.tried(base, share, affordable) is None


@pytest.mark.parametrize(("cached", "stays"), [(950, True), (100, False)])
def test_a_run_leaves_its_model_when_that_pays_for_the_cache_it_loses(cached: int, stays: bool) -> None:
    """A dear model that reads 95 % of a long input from its cache is cheaper than a cheap one that reads it anew."""
    known = Statistics()
    for model, price in (("base", cached), ("cheap", 0)):
        seen(known, model, passed=58, input_tokens=1000, cached_tokens=price, output_tokens=1)
    base = replace(target("base"), price=TokenPrice(10_000_000, 1_000_000, cached_input=500_000))
    cheap = replace(target("cheap"), price=TokenPrice(6_000_000, 1_000_000, cached_input=3_000_000))
    asked = policy("quality >= 80%")
    facts = FACTS._replace(input_tokens=50_000)
    plan_now = optimize(asked, facts, world([base, cheap], known))
    costs = {c.target.model: c.outlook.cost.mean for c in plan_now.candidates if c.outlook.cost}
    assert costs["base"] == pytest.approx(50_000 * (10 - cached / 1000 * 9.5), rel=1e-4)
    fixed = replace(plan_now, targets=(cheap, base))
    found = draw.stay(fixed, "base")
    assert (found.targets[0].model == "base") is stays
    assert any(one.rule == "sticky" for one in found.notes)
